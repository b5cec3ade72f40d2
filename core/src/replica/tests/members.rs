//! Members that are away, are set aside, and come back; and what is stable meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::bed::{Bed, batch, increment, namespace, origin, writing, writing_once, written};
use super::company::{asking, id};
use crate::effect::{Ack, Input, Notice, Now, Output, Reply, RequestError, RequestId};
use crate::persist::StoreError;
use crate::replica::{Room, Standing};
use crate::{Frontier, Lsn, Origin, Seq, Token};

fn bed(set_aside_after_ms: Option<u64>) -> Bed {
    Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        checkpoint_records: 1,
        log_bytes_kept: 0,
        receipts_kept_ms: 1_000,
        set_aside_after_ms,
        ..Room::default()
    })
}

fn add(bed: &mut Bed) {
    bed.request(writing(vec![increment("k", "/n")]), &Token::default())
        .unwrap();
}

fn own(seq: u64) -> [(Origin, u64); 1] {
    [(origin(1, 1), seq)]
}

fn first(bed: &Bed) -> Lsn {
    bed.replica.history.extent.first
}

fn standing(bed: &Bed, peer: u8) -> (Standing, Option<u64>, u64) {
    let now = Now {
        mono_ms: bed.now_ms,
        wall_ms: bed.now_ms,
    };
    let status = bed.replica.status(now);
    let peer = status.peers.iter().find(|peer_| peer_.replica == id(peer));
    let peer = peer.unwrap();
    (peer.standing, peer.away_ms, peer.log_held_bytes)
}

fn stable(bed: &Bed) -> Frontier {
    bed.replica.stable_frontier(&namespace(0))
}

fn notices(bed: &mut Bed) -> Vec<Notice> {
    let notices = bed.outputs.drain(..).filter_map(|output| match output {
        Output::Notice(notice) => Some(notice),
        _ => None,
    });
    notices.collect()
}

fn set_aside(bed: &mut Bed, id: RequestId) -> bool {
    match bed.answer(id).expect("an answer").unwrap().reply {
        Reply::SetAside { changed } => changed,
        other => panic!("asked to set aside, got {other:?}"),
    }
}

#[test]
fn a_member_that_is_set_aside_holds_nothing_back() {
    let mut bed = bed(None);
    bed.meet_as(2, "us", &[]);
    bed.meet_as(3, "ap", &[]);
    for _ in 0..5 {
        add(&mut bed);
    }
    bed.acknowledge(2, &own(5));
    bed.part_from(3);
    let waits = asking(Ack::All, writing_once(vec![increment("k", "/n")], "a"));
    let waits = bed.ask_within(70, 60_000, waits);
    bed.run_until(5_000);
    bed.acknowledge(2, &own(6));
    assert_eq!(first(&bed), Lsn(1));
    assert_eq!(stable(&bed), Frontier::default());
    assert!(bed.answer(waits).is_none());
    let (is, away_ms, bytes) = standing(&bed, 3);
    assert_eq!((is, away_ms), (Standing::Counted, Some(4_999)));
    assert!(bytes > 0);
    assert_eq!(standing(&bed, 2), (Standing::Counted, None, 0));

    let decided = bed.decide(3, true);
    assert!(set_aside(&mut bed, decided));
    assert!(bed.acknowledged(waits).unwrap().reached);
    assert_eq!(bed.acknowledged(waits).unwrap().set_aside, ["ap"]);
    assert_eq!(standing(&bed, 3).0, Standing::SetAside);
    assert_eq!(stable(&bed).of(&origin(1, 1)), Seq(6));
    assert_eq!(
        first(&bed),
        Lsn(7),
        "the log was let go with the checkpoint"
    );
    bed.restart();
    assert_eq!(standing(&bed, 3), (Standing::SetAside, Some(4_999), 0));
    // Time counts from the first tick on: before, the process was away itself.
    bed.give(Input::Tick);
    assert_eq!(standing(&bed, 3).1, Some(4_999));
    bed.run_until(6_000);
    assert_eq!(standing(&bed, 3).1, Some(5_999));
}

#[test]
fn a_decision_is_answered_once_a_crash_can_not_undo_it() {
    let mut bed = bed(None);
    bed.meet_as(2, "us", &[]);
    bed.part_from(2);
    bed.run_until(1_000);
    add(&mut bed);
    bed.hold_folds = true;
    let aside = bed.decide(2, true);
    assert!(bed.answer(aside).is_none());
    assert_eq!(standing(&bed, 2).0, Standing::SetAside);
    bed.fold();
    assert!(set_aside(&mut bed, aside));
    // So it is already, and it is written down.
    let again = bed.decide(2, true);
    assert!(!set_aside(&mut bed, again));
    // What the checkpoint under way does not know waits for the next one.
    let back = bed.decide(2, false);
    let aside = bed.decide(2, true);
    assert!(bed.answer(back).is_none());
    bed.hold_folds = false;
    bed.fold();
    assert!(set_aside(&mut bed, back) && set_aside(&mut bed, aside));
    bed.restart();
    assert_eq!(standing(&bed, 2).0, Standing::SetAside);
    bed.run_until(5_000);
    assert!(bed.folds.is_empty());
    let nobody = bed.decide(9, true);
    let refused = bed.answer(nobody).unwrap();
    assert!(matches!(
        refused,
        Err(RequestError::NoMember { met: 1, .. })
    ));
    let ourselves = bed.decide(1, true);
    assert!(bed.answer(ourselves).unwrap().is_err());
}

#[test]
fn a_decision_that_can_not_be_written_down_is_said_to_be_in_doubt_and_written_later() {
    let mut bed = bed(None);
    bed.meet_as(2, "us", &[]);
    bed.part_from(2);
    bed.run_until(1_000);
    bed.hold_folds = true;
    let aside = bed.decide(2, true);
    let fold = bed.folds.pop_front().unwrap().id;
    bed.give(Input::Folded {
        id: fold,
        result: Err(StoreError::Full("no room".to_owned())),
    });
    let error = bed.answer(aside).unwrap().unwrap_err();
    assert!(matches!(error, RequestError::NotWrittenDown { .. }));
    assert_eq!(bed.replica.requests_open, 0);
    bed.hold_folds = false;
    bed.run_until(5_000);
    bed.restart();
    assert_eq!(standing(&bed, 2).0, Standing::SetAside);
}

#[test]
fn a_member_that_was_met_is_known_after_a_crash() {
    let mut bed = bed(None);
    bed.meet_as(2, "us", &[]);
    bed.run_until(1_000);
    bed.restart();
    assert_eq!(standing(&bed, 2).0, Standing::Counted);
}

#[test]
fn a_member_that_comes_back_counts_again_once_it_holds_what_was_here() {
    let mut bed = bed(Some(2_000));
    bed.meet_as(2, "us", &[]);
    bed.meet_as(3, "ap", &[]);
    add(&mut bed);
    for peer in [2, 3] {
        bed.acknowledge(peer, &own(1));
    }
    bed.part_from(3);
    bed.run_until(2_000);
    assert_eq!(standing(&bed, 3).0, Standing::Counted);
    bed.outputs.clear();
    bed.run_until(2_001);
    assert!(matches!(
        &notices(&mut bed)[..],
        [Notice::MemberSetAside { name, away_ms: 2_000, by_policy: true, .. }] if name == "ap-3"
    ));
    bed.run_until(3_000);
    bed.restart();
    bed.meet_as(2, "us", &own(1));
    add(&mut bed);
    add(&mut bed);
    bed.acknowledge(2, &own(3));
    // It has written meanwhile, and lacks two.
    bed.meet_as(3, "ap", &[(origin(1, 1), 1), (origin(3, 1), 1)]);
    bed.hear_as(3, batch(origin(3, 1), 1, Vec::new()));
    add(&mut bed);
    assert_eq!(standing(&bed, 3).0, Standing::SetAside);
    bed.acknowledge(3, &own(2));
    assert_eq!(standing(&bed, 3).0, Standing::SetAside);
    bed.outputs.clear();
    bed.acknowledge(3, &own(3));
    assert!(matches!(
        &notices(&mut bed)[..],
        [Notice::MemberWelcomed {
            caught_up: true,
            ..
        }]
    ));
    assert_eq!(standing(&bed, 3).1, None);
    assert_eq!(
        stable(&bed).of(&origin(1, 1)),
        Seq(3),
        "what came since is replication as ever"
    );
    bed.run_until(10_000);
    bed.restart();
    assert_ne!(standing(&bed, 3).0, Standing::SetAside);
}

/// Whoever sets somebody aside that is linked means it, until the link comes up anew.
#[test]
fn a_member_that_is_linked_stays_set_aside_until_it_comes_back() {
    let mut bed = bed(Some(1_000));
    bed.meet_as(2, "us", &[]);
    bed.decide(2, true);
    bed.acknowledge(2, &own(1));
    bed.state(2, &[]);
    bed.run_until(20_000);
    assert_eq!(standing(&bed, 2).0, Standing::SetAside);
    bed.part_from(2);
    bed.meet_as(2, "us", &[]);
    assert_eq!(standing(&bed, 2).0, Standing::Counted);
    // A link on which nothing is said is none.
    bed.part_from(2);
    for _ in 0..4 {
        bed.link_to(2);
        bed.run_until(bed.now_ms + 300);
        bed.part_from(2);
    }
    assert_eq!(standing(&bed, 2).0, Standing::SetAside);
    bed.decide(2, false);
    assert_eq!(standing(&bed, 2), (Standing::Counted, Some(0), 0));
}

/// Somebody who has not heard of a write may be asked for it, however late.
#[test]
fn a_receipt_is_not_forgotten_by_age_before_all_have_its_write() {
    let once = || writing_once(vec![increment("k", "/n")], "a");
    let mut bed = bed(None);
    bed.meet_as(2, "us", &[]);
    bed.request(once(), &Token::default()).unwrap();
    bed.run_until(20_000);
    let again = bed.request(once(), &Token::default());
    assert!(written(&again).1);
    assert_eq!(bed.store.retention.unwrap().stable_before, Lsn(1));
    bed.restart();
    bed.meet_as(2, "us", &[]);
    let again = bed.request(once(), &Token::default());
    assert!(written(&again).1);
    bed.acknowledge(2, &own(1));
    let anew = bed.request(once(), &Token::default());
    assert!(!written(&anew).1, "it is old, and known everywhere");
    bed.acknowledge(2, &own(2));
    bed.run_until(40_000);
    add(&mut bed);
    bed.acknowledge(2, &own(3));
    bed.run_until(60_000);
    assert_eq!(bed.store.retention.unwrap().stable_before, Lsn(4));
}

#[derive(Clone, Debug)]
enum Act {
    Write,
    /// A peer writes, and we hear of it.
    Hear(u8),
    /// A peer comes to hold some more, and says so.
    Hold(u8, u64),
    Part(u8),
    Meet(u8),
    /// A peer comes back with an empty disk.
    Lose(u8),
    SetAside(u8, bool),
    Wait(u64),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let peer = || 2..5_u8;
    prop_oneof![
        4 => Just(Act::Write),
        3 => peer().prop_map(Act::Hear),
        8 => (peer(), 1..4_u64).prop_map(|(peer, more)| Act::Hold(peer, more)),
        2 => peer().prop_map(Act::Part),
        3 => peer().prop_map(Act::Meet),
        1 => peer().prop_map(Act::Lose),
        2 => (peer(), any::<bool>()).prop_map(|(peer, aside)| Act::SetAside(peer, aside)),
        5 => (1..2_000_u64).prop_map(Act::Wait),
        1 => Just(Act::Crash),
    ]
}

/// A peer, as it really is.
#[derive(Default)]
struct Truth {
    holds: BTreeMap<Origin, u64>,
    linked: bool,
    met: bool,
    written: u64,
    /// It was set aside or lost its disk, so that log that it lacks may be gone.
    unprotected: bool,
}

impl Truth {
    fn held(&self) -> Vec<(Origin, u64)> {
        self.holds
            .iter()
            .map(|(origin, seq)| (*origin, *seq))
            .collect()
    }
}

struct Trial {
    bed: Bed,
    peers: BTreeMap<u8, Truth>,
    /// All batches that we hold, in the order of the log.
    log: Vec<(Origin, u64)>,
    own: u64,
    stable: Frontier,
}

impl Trial {
    fn new() -> Self {
        Self {
            bed: bed(Some(3_000)),
            peers: (2..5).map(|peer| (peer, Truth::default())).collect(),
            log: Vec::new(),
            own: 0,
            stable: Frontier::default(),
        }
    }

    fn meet(&mut self, peer: u8) {
        let truth = self.peers.get_mut(&peer).unwrap();
        (truth.linked, truth.met) = (true, true);
        let held = truth.held();
        self.bed.meet_as(peer, "us", &held);
    }

    fn act(&mut self, act: &Act) {
        let linked = |trial: &Self, peer: &u8| trial.peers[peer].linked;
        match act {
            Act::Write => {
                add(&mut self.bed);
                self.own += 1;
                self.log.push((origin(1, 1), self.own));
            }
            Act::Hear(peer) if linked(self, peer) => {
                let truth = self.peers.get_mut(peer).unwrap();
                truth.written += 1;
                let (from, seq) = (origin(*peer, 1), truth.written);
                truth.holds.insert(from, seq);
                self.log.push((from, seq));
                self.bed.hear_as(*peer, batch(from, seq, Vec::new()));
                let held = [(from, seq)];
                self.bed.acknowledge(*peer, &held);
            }
            Act::Hold(peer, more) if linked(self, peer) => {
                let truth = self.peers.get_mut(peer).unwrap();
                for (origin, seq) in &self.log {
                    let holds = truth.holds.entry(*origin).or_default();
                    if *seq > *holds && *seq <= *holds + more {
                        *holds = *seq;
                        break;
                    }
                }
                let held = truth.held();
                self.bed.acknowledge(*peer, &held);
            }
            Act::Part(peer) if linked(self, peer) => {
                self.peers.get_mut(peer).unwrap().linked = false;
                self.bed.part_from(*peer);
            }
            Act::Meet(peer) => self.meet(*peer),
            Act::Lose(peer) if self.peers[peer].met => {
                let truth = self.peers.get_mut(peer).unwrap();
                truth.unprotected = true;
                truth.holds.clear();
                self.meet(*peer);
            }
            Act::SetAside(peer, aside) if self.peers[peer].met => {
                self.bed.decide(*peer, *aside);
            }
            Act::Wait(ms) => self.bed.run_until(self.bed.now_ms + ms),
            Act::Crash => {
                // Whoever was met a moment ago may be forgotten.
                self.bed.run_until(self.bed.now_ms + 300);
                self.bed.restart();
                self.stable = Frontier::default();
                for peer in 2..5 {
                    if self.peers[&peer].linked {
                        self.meet(peer);
                    }
                }
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        let now = stable(&self.bed);
        assert!(
            now.covers(&self.stable),
            "it went back from {:?} to {now:?}",
            self.stable
        );
        let status = self.bed.replica.status(Now {
            mono_ms: self.bed.now_ms,
            wall_ms: self.bed.now_ms,
        });
        for peer in &status.peers {
            let truth = self.peers.get_mut(&peer.replica.0[0]).unwrap();
            truth.unprotected |= peer.standing == Standing::SetAside;
            let holds = |origin: &Origin| truth.holds.get(origin).copied().unwrap_or_default();
            let covered = now.iter().all(|(origin, seq)| holds(origin) >= seq.0);
            if peer.standing == Standing::Counted || !truth.unprotected {
                assert!(covered, "{} counts, and holds less than {now:?}", peer.name);
            }
            if truth.unprotected {
                continue;
            }
            assert_eq!(peer.standing, Standing::Counted, "{}", peer.name);
            for (at, (origin, seq)) in self.log.iter().enumerate() {
                let released = (at as u64) + 1 < self.bed.replica.history.extent.first.0;
                assert!(
                    !released || holds(origin) >= *seq,
                    "{} lacks {seq} of {origin}, and the log is gone",
                    peer.name
                );
            }
        }
        self.stable = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What is stable is held by all who count, never goes back, and only what is stable is let go; and all of it
    /// becomes stable once all hold all.
    #[test]
    fn what_is_stable_is_held_by_all_who_count(acts in prop::collection::vec(act(), 1..60)) {
        let mut trial = Trial::new();
        // A member that has not been met when log is let go is nobody who counts.
        for peer in 2..5 {
            trial.meet(peer);
        }
        for act in &acts {
            trial.act(act);
            trial.check();
        }
        let mut all: BTreeMap<Origin, u64> = BTreeMap::new();
        for (origin, seq) in &trial.log {
            all.insert(*origin, *seq);
        }
        for peer in 2..5 {
            trial.peers.get_mut(&peer).unwrap().holds = all.clone();
            trial.meet(peer);
        }
        trial.check();
        trial.bed.run_until(trial.bed.now_ms + 5_000);
        let end = stable(&trial.bed);
        for (origin, seq) in all {
            prop_assert_eq!(end.of(&origin), Seq(seq));
        }
        for peer in 2..5 {
            prop_assert_eq!(standing(&trial.bed, peer).0, Standing::Counted);
        }
    }
}
