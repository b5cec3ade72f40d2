//! Two replicas that have lost each other for longer than their logs reach back.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::bed::{Bed, LINK, increment, namespace, write, writing};
use crate::effect::{Compared, Input, Output, Reply, Request, RequestError, Verified};
use crate::message::{Message, PROTOCOL_NEWEST};
use crate::repair_message::RepairMessage;
use crate::replica::Room;
use crate::{Intent, Lsn, Token};

/// All documents, and the root with their number.
type Reading = (Vec<(String, Value)>, Option<(u64, u64)>);

pub(super) struct Pair {
    pub(super) beds: [Bed; 2],
    pub(super) linked: bool,
    /// Frames that were exchanged, by kind.
    pub(super) sent: Vec<Message>,
    /// What a link does to what is said.
    pub(super) change: fn(&mut Message),
}

/// Logs that keep nothing but what is not folded.
pub(super) fn forgetful() -> Room {
    Room {
        log_bytes_kept: 0,
        log_bytes_max: 1,
        fold_idle_ms: 10,
        fold_after_ms: 20,
        checkpoint_records: 1,
        recent_log_bytes_max: 0,
        ..Room::default()
    }
}

impl Pair {
    pub(super) fn new(room: Room) -> Self {
        Self {
            beds: [1, 2].map(|id| Bed::of(id, PROTOCOL_NEWEST, room)),
            linked: false,
            sent: Vec::new(),
            change: |_| (),
        }
    }

    /// Two that hold the same, and are cut off from each other; what comes from now on is not left in their logs.
    pub(super) fn parted(keys: impl IntoIterator<Item = String>) -> Self {
        let mut pair = Self::new(forgetful());
        for key in keys {
            pair.put(0, &key, json!({"n": 0}));
        }
        pair.link();
        pair.pass(5_000);
        pair.assert_equal();
        pair.cut();
        // Neither keeps its log for the other.
        for (bed, other) in pair.beds.iter_mut().zip([2, 1]) {
            bed.decide(other, true);
        }
        pair
    }

    pub(super) fn link(&mut self) {
        self.linked = true;
        for at in [0, 1] {
            let peer = self.beds[1 - at].replica.origin().replica;
            self.beds[at].give(Input::LinkUp { link: LINK, peer });
        }
        self.exchange();
    }

    pub(super) fn cut(&mut self) {
        self.linked = false;
        for bed in &mut self.beds {
            bed.give(Input::LinkDown { link: LINK });
        }
    }

    /// Carries frames over until there are none.
    pub(super) fn exchange(&mut self) {
        loop {
            let mut frames = Vec::new();
            for at in [0, 1] {
                for output in std::mem::take(&mut self.beds[at].outputs) {
                    match output {
                        Output::Send { frame, .. } => frames.push((1 - at, frame)),
                        Output::Disconnect { reason, .. } => panic!("disconnected: {reason}"),
                        reply @ Output::Reply { .. } => self.beds[at].outputs.push(reply),
                        _ => {}
                    }
                }
            }
            if frames.is_empty() {
                return;
            }
            for (to, bytes) in frames {
                if self.linked {
                    let mut message = Message::decode(&bytes).unwrap();
                    (self.change)(&mut message);
                    let bytes = message.encode();
                    self.sent.push(message);
                    self.beds[to].give(Input::Frame { link: LINK, bytes });
                }
            }
        }
    }

    /// Lets time pass for both.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.beds[0].now_ms.max(self.beds[1].now_ms) + ms;
        loop {
            self.exchange();
            let at = usize::from(self.beds[0].replica.wake_at() > self.beds[1].replica.wake_at());
            let bed = &mut self.beds[at];
            if bed.replica.wake_at() > end {
                break;
            }
            bed.now_ms = bed.now_ms.max(bed.replica.wake_at());
            bed.give(Input::Tick);
        }
        self.beds.iter_mut().for_each(|bed| bed.now_ms = end);
        self.exchange();
    }

    pub(super) fn put(&mut self, at: usize, key: &str, value: Value) {
        let request = writing(vec![write(key, Intent::Replace(value))]);
        self.beds[at].request(request, &Token::default()).unwrap();
    }

    pub(super) fn count(&mut self, at: usize, key: &str) {
        let request = writing(vec![increment(key, "/n")]);
        self.beds[at].request(request, &Token::default()).unwrap();
    }

    /// All documents, as they read here, and the root.
    pub(super) fn reads(&mut self, at: usize) -> Reading {
        let bed = &mut self.beds[at];
        let request = Request::Scan {
            namespace: namespace(0),
            prefix: String::new(),
            after: None,
            limit: 1_000,
            values: true,
        };
        let answer = bed.request(request, &Token::default()).unwrap();
        let Reply::Page(page) = answer.reply else {
            panic!("asked for a page");
        };
        let documents = page.documents.into_iter();
        let documents =
            documents.map(|listed| (listed.key.to_string(), listed.snapshot.unwrap().value));
        (
            documents.collect(),
            bed.replica.summaries.root(&namespace(0)),
        )
    }

    pub(super) fn assert_equal(&mut self) {
        let (one, other) = (self.reads(0), self.reads(1));
        assert!(one.1.is_some(), "the summaries are built");
        assert_eq!(one, other);
        let frontiers = [0, 1].map(|at| self.beds[at].replica.durable_frontier(&namespace(0)));
        assert_eq!(frontiers[0], frontiers[1]);
    }

    pub(super) fn verify(&mut self, at: usize) -> Verified {
        let request = Request::Verify {
            namespace: namespace(0),
        };
        let id = self.beds[at].ask(request, &Token::default());
        for _ in 0..100 {
            if let Some(answer) = self.beds[at].answer(id) {
                let Reply::Verified(verified) = answer.unwrap().reply else {
                    panic!("asked whether all is the same");
                };
                return verified;
            }
            self.exchange();
            if self.beds[at].answer(id).is_none() {
                let end = self.beds[0].now_ms + 100;
                for bed in &mut self.beds {
                    bed.now_ms = end;
                    bed.give(Input::Tick);
                }
            }
        }
        panic!("no answer");
    }
}

#[test]
fn a_new_replica_gets_everything_that_no_log_has_any_more() {
    let mut pair = Pair::new(forgetful());
    for n in 0..300 {
        pair.put(0, &format!("k{n}"), json!({"n": n, "text": "x".repeat(n)}));
        pair.count(0, &format!("k{}", n % 7));
    }
    pair.pass(1_000);
    assert!(
        pair.beds[0].replica.history.extent.first > Lsn(1),
        "the log is let go"
    );
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
    assert_eq!(pair.reads(1).0.len(), 300);
    assert_eq!(pair.beds[1].replica.counters.repairs, 1);
    // What comes after it comes by the log again.
    pair.count(0, "k3");
    pair.count(1, "k3");
    pair.pass(1_000);
    pair.assert_equal();
    assert_eq!(pair.beds[1].replica.counters.repairs, 1);
}

#[test]
fn only_what_differs_crosses() {
    let mut pair = Pair::new(forgetful());
    for n in 0..500 {
        pair.put(
            0,
            &format!("k{n}"),
            json!({"n": 0, "text": "x".repeat(300)}),
        );
    }
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
    pair.cut();
    for n in 0..5 {
        pair.count(0, &format!("k{}", n * 71));
    }
    pair.count(1, "k100");
    pair.pass(1_000);
    pair.sent.clear();
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
    let bytes: usize = pair.sent.iter().map(|message| message.encode().len()).sum();
    let (changes, finding) = (6 * 110, 6 * 400);
    assert!(bytes < changes + finding + 2_000, "{bytes} bytes");
    let given: Vec<_> = pair
        .sent
        .iter()
        .filter_map(|message| match message {
            Message::Repair(RepairMessage::Documents { documents, .. }) => Some(documents.len()),
            _ => None,
        })
        .collect();
    assert!(given.iter().sum::<usize>() <= 6, "{given:?}");
}

#[test]
fn nobody_sees_a_part_of_a_repair() {
    let mut pair = Pair::new(forgetful());
    for n in 0..50 {
        pair.put(0, &format!("k{n}"), json!({"n": n}));
    }
    pair.pass(1_000);
    pair.beds[1].hold_commits = true;
    pair.link();
    pair.pass(3_000);
    assert!(
        !pair.beds[1].commits.is_empty(),
        "what came is on its way to the log"
    );
    assert_eq!(pair.beds[1].read("k0"), None);
    // Documents and arrival become durable one by one.
    let mut seen = Vec::new();
    for _ in 0..100 {
        let held = std::mem::take(&mut pair.beds[1].commits);
        for commit in held {
            pair.beds[1].commits.push_back(commit);
            pair.beds[1].sync();
            pair.exchange();
            let there = |bed: &mut Bed, n: usize| bed.read(&format!("k{n}")).is_some();
            seen.push((0..50).filter(|n| there(&mut pair.beds[1], *n)).count());
        }
    }
    pair.beds[1].hold_commits = false;
    pair.pass(5_000);
    assert!(seen.iter().all(|count| [0, 50].contains(count)), "{seen:?}");
    pair.assert_equal();
}

#[test]
fn a_crash_in_the_middle_of_a_repair_loses_nothing() {
    for stop in 0..40 {
        let mut pair = Pair::new(forgetful());
        for n in 0..30 {
            pair.put(
                0,
                &format!("k{n}"),
                json!({"n": n, "text": "x".repeat(20_000)}),
            );
        }
        pair.put(1, "own", json!({"n": 1}));
        pair.pass(1_000);
        pair.linked = true;
        for at in [0, 1] {
            let peer = pair.beds[1 - at].replica.origin().replica;
            pair.beds[at].give(Input::LinkUp { link: LINK, peer });
        }
        let mut steps = 0;
        'steps: for _ in 0..200 {
            for at in [0, 1] {
                for output in std::mem::take(&mut pair.beds[at].outputs) {
                    if let Output::Send { frame: bytes, .. } = output {
                        steps += 1;
                        if steps > stop * 2 {
                            break 'steps;
                        }
                        pair.beds[1 - at].give(Input::Frame { link: LINK, bytes });
                    }
                }
                pair.beds[at].now_ms += 5;
                pair.beds[at].give(Input::Tick);
            }
        }
        pair.cut();
        pair.beds[1].restart();
        pair.beds[0].outputs.clear();
        pair.link();
        pair.pass(60_000);
        pair.assert_equal();
        assert_eq!(pair.reads(0).0.len(), 31, "after {stop} steps");
    }
}

#[test]
fn whoever_asks_is_told_that_all_is_equal_or_what_was_not() {
    let mut pair = Pair::new(Room::default());
    for n in 0..20 {
        pair.put(0, &format!("k{n}"), json!({"n": n}));
    }
    pair.link();
    pair.pass(2_000);
    let verified = pair.verify(0);
    assert_eq!(verified.documents, 20);
    assert!(
        matches!(
            verified.peers[0].compared,
            Compared::Equal { documents: 20 }
        ),
        "{verified:?}"
    );
    // A document is lost on one side, as by a disk that gives back an old page.
    pair.pass(30_000);
    let lost = pair.beds[1].store.documents.keys().nth(7).unwrap().clone();
    pair.beds[1].store.documents.remove(&lost);
    pair.beds[1].restart();
    pair.beds[0].give(Input::LinkDown { link: LINK });
    pair.link();
    pair.pass(2_000);
    let verified = pair.verify(1);
    let Compared::Different { repaired, .. } = &verified.peers[0].compared else {
        panic!("one is missing: {verified:?}");
    };
    assert_eq!(repaired.as_deref(), Some(&[lost.key.clone()][..]));
    pair.pass(2_000);
    pair.assert_equal();
    assert_eq!(pair.beds[1].replica.counters.roots_different, 1);
    let verified = pair.verify(0);
    assert!(
        matches!(verified.peers[0].compared, Compared::Equal { .. }),
        "{verified:?}"
    );
}

#[test]
fn without_a_summary_nobody_is_told_that_all_is_equal() {
    let mut pair = Pair::new(Room::default());
    pair.put(0, "k", json!({}));
    pair.beds[0].hold_fetches = true;
    pair.beds[0].restart();
    pair.beds[0].hold_folds = true;
    let request = Request::Verify {
        namespace: namespace(0),
    };
    let refused = pair.beds[0].request(request, &Token::default());
    assert_eq!(refused, Err(RequestError::NotReady));
}

#[test]
fn of_what_nobody_has_written_nobody_is_told_that_it_is_equal() {
    let mut pair = Pair::new(Room::default());
    pair.put(0, "k", json!({}));
    pair.link();
    pair.pass(2_000);
    let namespace = namespace(1);
    let request = Request::Verify {
        namespace: namespace.clone(),
    };
    let refused = pair.beds[0].request(request, &Token::default());
    assert_eq!(refused, Err(RequestError::NamespaceNotFound { namespace }));
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, u8),
    Count(usize, u8),
    Delete(usize, u8),
    Link,
    Cut,
    Pass(u16),
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..2, 0_u8..12, any::<u8>()).prop_map(|(at, key, value)| Step::Put(at, key, value)),
        6 => (0_usize..2, 0_u8..12).prop_map(|(at, key)| Step::Count(at, key)),
        1 => (0_usize..2, 0_u8..12).prop_map(|(at, key)| Step::Delete(at, key)),
        2 => Just(Step::Link),
        2 => Just(Step::Cut),
        4 => (1_u16..3_000).prop_map(Step::Pass),
        1 => (0_usize..2).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn however_it_goes_both_end_equal(steps in prop::collection::vec(step(), 1..60), forgets in any::<bool>()) {
        let mut pair = Pair::new(if forgets { forgetful() } else { Room::default() });
        for step in steps {
            match step {
                Step::Put(at, key, value) => pair.put(at, &format!("k{key}"), json!({"n": 0, "v": value})),
                Step::Count(at, key) => pair.count(at, &format!("k{key}")),
                Step::Delete(at, key) => {
                    let request = writing(vec![write(&format!("k{key}"), Intent::Delete)]);
                    pair.beds[at].request(request, &Token::default()).unwrap();
                }
                Step::Link if !pair.linked => pair.link(),
                Step::Cut if pair.linked => pair.cut(),
                Step::Link | Step::Cut => {}
                Step::Pass(ms) => pair.pass(ms.into()),
                Step::Restart(at) => {
                    let linked = pair.linked;
                    if linked {
                        pair.cut();
                    }
                    pair.beds[at].restart();
                    if linked {
                        pair.link();
                    }
                }
            }
        }
        if !pair.linked {
            pair.link();
        }
        pair.pass(120_000);
        pair.assert_equal();
        let counted = pair.beds.each_ref().map(|bed| (bed.replica.counters.comparisons_refused, bed.replica.counters.roots_different));
        prop_assert_eq!(counted, [(0, 0), (0, 0)]);
        // Perhaps nothing was written.
        if pair.beds[0].replica.history.space(&namespace(0)).is_some() {
            let verified = pair.verify(0);
            let equal = matches!(verified.peers[0].compared, Compared::Equal { .. });
            prop_assert!(equal, "{:?}", verified);
        }
    }
}

/// Each lacks what the other has, and begins to compare in the same moment, with its first comparison.
#[test]
fn two_that_seek_from_each_other_at_once_understand_each_other() {
    let mut pair = Pair::parted((0..3_000).map(|n| format!("k{n}")));
    for n in 0..240 {
        pair.count(n % 2, &format!("k{}", n % 4));
        pair.pass(50);
    }
    pair.beds.iter_mut().for_each(Bed::restart);
    pair.pass(2_000);
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
    for bed in &pair.beds {
        assert_eq!(bed.replica.counters.repairs, 1);
        assert_eq!(bed.replica.counters.comparisons_refused, 0);
    }
}
