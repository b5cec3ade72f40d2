//! Where namespaces are, and what happens when that changes.

use proptest::prelude::*;

use super::bed::{Bed, increment, namespace, origin, writing};
use super::company::asking;
use super::trio::{Trio, room};
use crate::effect::{Ack, Input, Notice, Output, Reply, Request, RequestError};
use crate::message::{AskKept, Given, Message, Placements};
use crate::persist::DocumentRange;
use crate::placement::{Datacenters, Setting};
use crate::{ReplicaId, Seq, Token};

fn setting(version: u64, by: u8, names: &[&str]) -> Setting {
    Setting {
        version,
        by: ReplicaId([by; 16]),
        datacenters: Datacenters::new(names.iter().copied()).ok(),
    }
}

fn heard(settings: &[Setting]) -> Message {
    let settings = settings
        .iter()
        .map(|setting| (namespace(0), setting.clone()));
    Message::Placements(Placements {
        settings: settings.collect(),
        digest: None,
    })
}

fn place(names: &[&str], force: bool) -> Request {
    Request::Place {
        namespace: namespace(0),
        datacenters: Datacenters::new(names.iter().copied()).ok(),
        force,
    }
}

fn configure(names: Option<&[&str]>) -> Request {
    let placed = names.map(|names| Datacenters::new(names.iter().copied()).unwrap());
    let placements = placed.map(|datacenters| (namespace(0), datacenters));
    Request::Configure {
        placements: placements.into_iter().collect(),
    }
}

fn is_in(bed: &Bed) -> Option<String> {
    let known = bed.replica.datacenters_of(&namespace(0));
    known.map(|known| known.iter().collect::<Vec<_>>().join(","))
}

fn changed(bed: &mut Bed, request: Request) -> bool {
    match bed.request(request, &Token::default()).unwrap().reply {
        Reply::Placed { changed } => changed,
        other => panic!("asked to place, got {other:?}"),
    }
}

/// Two replicas may say something under the same version, and one that has lost its disk says it twice.
#[test]
fn of_settings_in_any_order_the_same_one_counts() {
    let all = [
        setting(1, 2, &["eu"]),
        setting(1, 3, &["us"]),
        setting(2, 2, &["here"]),
        setting(2, 2, &["there"]),
        setting(2, 1, &[]),
    ];
    let mut orders = vec![vec![]];
    for item in 0..all.len() {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, item);
                    order
                })
            })
            .collect();
    }
    assert_eq!(orders.len(), 120);
    for order in orders {
        let mut bed = Bed::new();
        bed.meet_newest();
        for at in order {
            bed.tell(&heard(&all[at..=at]));
        }
        assert_eq!(is_in(&bed).unwrap(), "there");
        bed.restart();
        assert_eq!(is_in(&bed).unwrap(), "there");
    }
}

#[test]
fn a_placement_is_answered_and_said_once_it_is_durable() {
    let mut bed = Bed::new();
    bed.meet_newest();
    bed.messages();
    bed.hold_commits = true;
    let asked = bed.ask(place(&["here"], false), &Token::default());
    assert_eq!(bed.answer(asked), None);
    assert_eq!(is_in(&bed), None);
    bed.sync();
    assert!(bed.answer(asked).unwrap().is_ok());
    let said = bed.messages();
    let said = said.iter().filter_map(|message| match message {
        Message::Placements(placements) => Some(placements.settings.len()),
        _ => None,
    });
    assert_eq!(said.sum::<usize>(), 1);
    bed.restart();
    assert_eq!(is_in(&bed).unwrap(), "here");
}

/// A disk without room takes back what was asked for, and the same may be asked for again.
#[test]
fn what_found_no_room_is_not_known() {
    let mut bed = Bed::new();
    bed.hold_commits = true;
    let asked = bed.ask(place(&["here"], false), &Token::default());
    bed.is_full();
    assert!(bed.answer(asked).unwrap().is_err());
    assert_eq!(is_in(&bed), None);
    bed.now_ms += 1_000;
    let asked = bed.ask(place(&["here"], false), &Token::default());
    bed.sync();
    assert!(bed.answer(asked).unwrap().is_ok());
    assert_eq!(is_in(&bed).unwrap(), "here");
}

#[test]
fn a_datacenter_that_nobody_is_in_has_to_be_meant() {
    let mut bed = Bed::new();
    bed.meet_newest();
    let refused = bed.request(place(&["here", "moon"], false), &Token::default());
    let Err(RequestError::NoDatacenter { strange, known }) = refused else {
        panic!("it was let in");
    };
    assert_eq!(
        (strange, known),
        (
            vec!["moon".to_owned()],
            vec!["here".to_owned(), "there".to_owned()]
        )
    );
    assert!(changed(&mut bed, place(&["here", "moon"], true)));
    assert!(!changed(&mut bed, place(&["here", "moon"], true)));
    assert!(changed(&mut bed, place(&[], false)));
    assert_eq!(is_in(&bed), None);
}

/// What the configuration says counts when it says something new, and never takes back what was asked for since.
#[test]
fn an_old_configuration_takes_nothing_back() {
    let mut bed = Bed::new();
    assert!(changed(&mut bed, configure(Some(&["here", "eu"]))));
    assert_eq!(is_in(&bed).unwrap(), "eu,here");
    assert!(changed(&mut bed, place(&["here"], false)));
    for _ in 0..2 {
        bed.run_until(bed.now_ms + 20_000);
        bed.restart();
        assert!(!changed(&mut bed, configure(Some(&["here", "eu"]))));
        assert_eq!(is_in(&bed).unwrap(), "here");
    }
    assert!(changed(&mut bed, configure(Some(&["here", "us"]))));
    assert_eq!(is_in(&bed).unwrap(), "here,us");
    // Taken out and put in again it is new once more.
    assert!(changed(&mut bed, configure(None)));
    assert_eq!(is_in(&bed).unwrap(), "here,us");
    assert!(changed(&mut bed, place(&[], false)));
    assert!(changed(&mut bed, configure(Some(&["here", "us"]))));
    assert_eq!(is_in(&bed).unwrap(), "here,us");
}

/// Whoever joins with a configuration of its own knows nothing yet of what was asked for.
#[test]
fn a_new_member_s_configuration_counts_less_than_what_was_asked_for() {
    let mut asked = Bed::new();
    asked.meet_newest();
    assert!(changed(&mut asked, place(&["there"], false)));
    asked.tell(&heard(&[setting(1, 9, &["here"])]));
    assert_eq!(is_in(&asked).unwrap(), "there");
}

#[test]
fn what_is_not_placed_here_is_refused_and_not_taken_in() {
    let mut trio = Trio::new(room(false), 1);
    assert!(trio.write(0, 0, "k").unwrap().is_ok());
    trio.place(1, 0, &[1, 2]);
    for outcome in [trio.write(0, 0, "k").unwrap(), {
        let request = Request::Changes {
            after: crate::Lsn(0),
            namespace: Some(namespace(0)),
        };
        trio.beds[0].request(request, &Token::default())
    }] {
        let Err(RequestError::NotPlacedHere { datacenters, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(datacenters, ["b", "c"]);
    }
    trio.write(1, 0, "k").unwrap().unwrap();
    trio.run(30_000);
    trio.check(0, &[1, 2]);
    assert_eq!(
        trio.beds[0].replica.status(trio.beds[0].now()).peers[0].ahead_batches,
        0
    );
}

/// It is kept until those who are to hold it say that they do, however long they are away.
#[test]
fn letting_go_waits_for_all_who_are_to_hold_it() {
    let mut trio = Trio::new(room(false), 2);
    trio.cut(0, 2);
    trio.cut(1, 2);
    for key in ["k", "l", "m"] {
        trio.write(0, 0, key);
    }
    trio.place(0, 0, &[1, 2]);
    trio.run(60_000);
    assert_eq!(trio.holds(1, 0).len(), 1);
    assert!(trio.beds[0].replica.is_leaving(&namespace(0)));
    trio.link(0, 2);
    trio.run(30_000);
    trio.check(0, &[1, 2]);
}

/// A datacenter where nobody is yet keeps nothing.
#[test]
fn nobody_is_not_enough_to_let_go() {
    let mut trio = Trio::new(room(false), 3);
    trio.write(0, 0, "k");
    let request = Request::Place {
        namespace: namespace(0),
        datacenters: Datacenters::new(["moon"]).ok(),
        force: true,
    };
    trio.beds[0].request(request, &Token::default()).unwrap();
    trio.run(60_000);
    for at in 0..3 {
        assert_eq!(trio.holds(at, 0).len(), 1, "at {at}");
    }
    trio.place(0, 0, &[0]);
    trio.run(60_000);
    trio.check(0, &[0]);
}

/// What a member said before that it holds does not do: it may have let go since, by a setting of its own.
///
/// One of two is told to leave while the other one has left already, and both settings are on their way at once: had either believed
/// the other's earlier word, both would have let go.
#[test]
fn an_earlier_word_does_not_let_go() {
    let mut bed = Bed::new();
    let own = origin(1, 1);
    bed.write("n0").unwrap();
    bed.meet_as(2, "there", &[(own, 1)]);
    assert!(changed(&mut bed, place(&["there"], false)));
    bed.run_until(20_000);
    assert!(
        bed.replica.is_leaving(&namespace(0)),
        "it only said so before"
    );
    let asked = bed
        .said_to(2)
        .into_iter()
        .find_map(|message| match message {
            Message::AskKept(asked) => Some(asked),
            _ => None,
        });
    let AskKept {
        number,
        setting,
        positions,
        ..
    } = asked.expect("it is asked");
    assert_eq!((setting.version, positions), (2, vec![(own, Seq(1))]));
    bed.tell_as(2, &Message::Kept { number: number + 1 });
    bed.run_until(30_000);
    assert!(
        bed.replica.is_leaving(&namespace(0)),
        "that was the answer to something else"
    );
    // By another setting it is asked anew.
    bed.tell_as(2, &heard(&[self::setting(3, 2, &["there", "far"])]));
    bed.tell_as(2, &Message::Kept { number });
    bed.run_until(40_000);
    assert!(
        bed.replica.is_leaving(&namespace(0)),
        "that was by the setting before"
    );
    bed.tell_as(2, &Message::Kept { number: number + 1 });
    bed.run_until(60_000);
    assert!(!bed.replica.is_leaving(&namespace(0)));
    assert!(bed.store.documents.is_empty());
    let gone = |output: &Output| matches!(output, Output::Notice(Notice::LetGo { .. }));
    assert!(bed.outputs.iter().any(gone));
}

/// Who is asked whether it keeps something says so only if it is one of those who do, by the very same setting.
#[test]
fn only_who_keeps_it_says_so() {
    let mut bed = Bed::new();
    let own = origin(1, 1);
    bed.write("n0").unwrap();
    bed.meet_as(2, "there", &[(own, 1)]);
    let here = setting(5, 2, &["here"]);
    let ask = |setting: &Setting, seq| {
        Message::AskKept(AskKept {
            number: 7,
            namespace: namespace(0),
            setting: setting.clone(),
            positions: vec![(own, Seq(seq))],
        })
    };
    let mut is_kept = |message: &Message| {
        bed.said_to(2);
        bed.tell_as(2, message);
        let said = bed.said_to(2);
        said.contains(&Message::Kept { number: 7 })
    };
    assert!(!is_kept(&ask(&here, 1)), "it had not heard of it");
    assert!(is_kept(&ask(&here, 1)));
    assert!(!is_kept(&ask(&here, 2)), "it has one batch");
    assert!(!is_kept(&ask(&setting(4, 2, &["here"]), 1)), "that is over");
    assert!(!is_kept(&ask(&setting(6, 2, &["there"]), 1)));
    assert!(
        !is_kept(&ask(&setting(6, 2, &["there"]), 1)),
        "it is not to keep it"
    );
}

/// Writers who wait for all, what is stable and the log that is kept are of those who are to hold it.
#[test]
fn only_who_is_to_hold_it_is_waited_for() {
    let mut bed = Bed::new();
    let own = origin(1, 1);
    bed.meet_as(2, "there", &[]);
    bed.meet_as(3, "far", &[]);
    assert!(changed(&mut bed, place(&["here", "there"], false)));
    let written = writing(vec![increment("k", "/n")]);
    let written = bed.ask(asking(Ack::All, written), &Token::default());
    assert_eq!(bed.acknowledged(written), None);
    bed.acknowledge(2, &[(own, 1)]);
    let acknowledged = bed.acknowledged(written).expect("both have it");
    assert_eq!(acknowledged.held_by, ["here", "there"]);
    assert!(acknowledged.missing.is_empty());
    let stable = bed.replica.stable_frontier(&namespace(0));
    assert_eq!(stable.of(&own), Seq(1));
    let status = bed.replica.status(bed.now());
    assert!(status.peers.iter().all(|peer| peer.behind_batches == 0));
}

/// Whoever can't read its documents is given those that are for its datacenter, and the others are not said to be all there are.
#[test]
fn documents_are_given_to_who_is_to_hold_them() {
    let mut bed = Bed::new();
    bed.write("n0").unwrap();
    bed.write("n1").unwrap();
    bed.meet_as(2, "there", &[]);
    assert!(changed(&mut bed, place(&["here"], false)));
    bed.said_to(2);
    let range = DocumentRange {
        from: None,
        before: None,
    };
    bed.tell_as(2, &Message::Ask { number: 1, range });
    let given = bed
        .said_to(2)
        .into_iter()
        .find_map(|message| match message {
            Message::Given(given) => Some(given),
            _ => None,
        });
    let given = given.expect("it is answered");
    let frontiers = given.frontiers.iter().map(|(of, _)| of.clone());
    assert_eq!(frontiers.collect::<Vec<_>>(), [namespace(1)]);
    let documents = given.documents.unwrap().into_iter();
    let documents = documents.map(|(id, _)| id.namespace);
    assert_eq!(documents.collect::<Vec<_>>(), [namespace(1)]);
}

/// A giver that leaves a namespace out does not have the asker replace it with nothing.
#[test]
fn what_a_giver_does_not_hold_is_not_replaced_with_nothing() {
    let mut bed = Bed::with_room(room(false));
    let own = origin(1, 1);
    bed.write("n0").unwrap();
    bed.run_until(5_000);
    bed.meet_as(2, "there", &[(own, 1)]);
    let range = DocumentRange {
        from: None,
        before: None,
    };
    let what = "found by itself".to_owned();
    bed.give(Input::Damaged { range, what });
    let asked = bed
        .said_to(2)
        .into_iter()
        .find_map(|message| match message {
            Message::Ask { number, .. } => Some(number),
            _ => None,
        });
    let given = Given {
        number: asked.expect("it says that it has all"),
        frontiers: Vec::new(),
        documents: Some(Vec::new()),
    };
    bed.hold_folds = true;
    bed.tell_as(2, &Message::Given(given));
    assert!(bed.folds.iter().all(|fold| fold.repair.is_none()));
    assert_eq!(bed.store.documents.len(), 1);
}

/// A round: all three hold it, one is taken out, killed `slices` of time later, put in again, and everything comes back.
fn taken_out_and_put_in(slices: usize, forgetful: bool) {
    let mut trio = Trio::new(room(forgetful), 5);
    for n in 0..14 {
        trio.write(n % 3, 0, &format!("k{n}"));
        trio.write(n % 3, 1, &format!("k{n}"));
    }
    trio.run(5_000);
    trio.place(1, 0, &[1, 2]);
    for _ in 0..slices {
        trio.run(3);
    }
    trio.crash(0);
    trio.link_all();
    trio.run(30_000);
    trio.check(0, &[1, 2]);
    trio.check(1, &[0, 1, 2]);
    let before = trio.written[&(namespace(0), origin(1, 1))];
    trio.write(2, 0, "k3");
    trio.crash(0);
    trio.run(2_000);
    trio.place(0, 0, &[0, 1, 2]);
    // Its own numbers have not come back yet.
    let refused = trio.write(0, 0, "new").unwrap();
    assert!(
        matches!(refused, Err(RequestError::MovingIn { .. })),
        "{refused:?}"
    );
    trio.link_all();
    trio.run(60_000);
    trio.write(0, 0, "new").unwrap().unwrap();
    assert_eq!(trio.written[&(namespace(0), origin(1, 1))], before.next());
    trio.run(5_000);
    trio.check(0, &[0, 1, 2]);
    trio.crash(0);
    trio.link_all();
    trio.run(20_000);
    trio.check(0, &[0, 1, 2]);
}

#[test]
fn a_crash_at_any_step_of_letting_go_changes_nothing() {
    for slices in 0..24 {
        taken_out_and_put_in(slices, false);
    }
}

#[test]
fn it_comes_back_without_the_log() {
    for slices in [0, 3, 40, 1_000] {
        taken_out_and_put_in(slices, true);
    }
}

/// What only the one has that is to let go goes to the others although the log does not reach back, and they show it nothing.
#[test]
fn what_leaves_without_the_log_is_given_whole() {
    let mut trio = Trio::new(room(true), 6);
    for key in ["k", "l"] {
        trio.write(1, 0, key);
    }
    trio.run(5_000);
    trio.cut(0, 1);
    trio.cut(0, 2);
    for n in 0..20 {
        trio.write(0, 0, &format!("k{n}"));
        trio.run(300);
    }
    trio.write(1, 0, "l");
    trio.place(0, 0, &[1, 2]);
    trio.run(5_000);
    trio.link_all();
    trio.run(120_000);
    trio.check(0, &[1, 2]);
}

fn some(trio: &mut Trio) -> Vec<usize> {
    let bits = trio.pick(7) + 1;
    (0..3).filter(|at| bits & (1 << at) != 0).collect()
}

fn moves(seed: u64, steps: usize) {
    let forgetful = seed % 2 == 0;
    let mut trio = Trio::new(room(forgetful), seed);
    let mut placed = vec![0, 1, 2];
    for _ in 0..steps {
        let (at, other) = (trio.pick(3), trio.pick(3));
        match trio.draw(20) {
            0 => {
                placed = some(&mut trio);
                trio.place(at, 0, &placed);
            }
            1 => trio.cut(at, other),
            2 => trio.link_all(),
            3 => {
                trio.beds[at].hold_commits = true;
            }
            4 => {
                trio.crash(at);
                trio.beds[at].hold_commits = false;
            }
            5 => {
                trio.beds[at].hold_commits = false;
                trio.beds[at].sync();
                trio.settle();
            }
            6..10 => {
                let ms = [3, 30, 300, 3_000][trio.pick(4)];
                trio.run(ms);
            }
            step => {
                let key = format!("k{}", trio.draw(12));
                trio.write(at, usize::from(step == 10), &key);
            }
        }
    }
    for at in 0..3 {
        trio.beds[at].hold_commits = false;
        trio.beds[at].sync();
    }
    trio.settle();
    trio.link_all();
    trio.run(20_000);
    // Whoever was last, at the same version as another one, has to be told.
    placed = some(&mut trio);
    trio.place(0, 0, &placed);
    trio.run(400_000);
    trio.check(0, &placed);
    trio.check(1, &[0, 1, 2]);
}

/// One was placed out and in again while its record of letting go was on its way. Whoever streams to it had been told before that all had
/// arrived, and has to begin anew.
#[test]
fn who_let_go_after_all_is_sent_everything_again() {
    moves(10_088_509_642_762_145_263, 101);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a namespace is placed, cut off, written to and crashed: nobody is shown what is not for its datacenter, no number stands for
    /// two batches, nothing acknowledged is lost, and in the end it is where it is to be and nowhere else.
    #[test]
    fn it_goes_where_it_is_placed_and_nothing_is_lost(seed in any::<u64>(), steps in 1_usize..120) {
        moves(seed, steps);
    }
}
