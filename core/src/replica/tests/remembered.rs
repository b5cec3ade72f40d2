//! What is remembered of writes comes with what they wrote, however a repair goes.

use serde_json::json;

use super::bed::{Bed, increment, namespace, write, writing, writing_once, written};
use super::pairs::Pair;
use super::sketches::names;
use crate::effect::{Input, Request};
use crate::message::Message;
use crate::repair_message::RepairMessage;
use crate::{Intent, Token};

const SEEKER: u8 = 9;

fn once(key: &str) -> Request {
    writing_once(vec![increment("k1", "/n")], key)
}

/// They lose what would be in their logs.
fn forget(pair: &mut Pair) {
    pair.pass(1_000);
    pair.beds.iter_mut().for_each(Bed::restart);
    pair.pass(2_000);
}

fn is_known(pair: &mut Pair, key: &str) -> bool {
    let answer = pair.beds[1].request(once(key), &Token::default());
    written(&answer).1
}

/// Seed 11: a repair was cut off when all documents had come. The next one found nothing that differed, and what it brought
/// counted without what was remembered of the writes.
#[test]
fn a_repair_that_has_its_documents_from_another_one_gets_what_is_remembered() {
    for documents in [10, 100] {
        let mut pair = Pair::parted(names(documents));
        pair.beds[0].request(once("a"), &Token::default()).unwrap();
        pair.change = |message| {
            if let Message::Repair(RepairMessage::Documents { receipts, last, .. }) = message {
                receipts.clear();
                *last = false;
            }
        };
        forget(&mut pair);
        pair.link();
        pair.pass(2_000);
        assert_eq!(pair.beds[1].replica.counters.repairs, 0);
        pair.cut();
        pair.change = |_| ();
        pair.link();
        pair.pass(5_000);
        pair.assert_equal();
        assert!(is_known(&mut pair, "a"), "{documents} documents");
    }
}

/// Seed 1919: nothing had to be put in place, and listings waited for it.
#[test]
fn a_repair_that_brings_no_documents_keeps_nobody_waiting() {
    let mut pair = Pair::parted(names(10));
    // It is as it was.
    let nothing = writing_once(vec![write("k1", Intent::Replace(json!({"n": 0})))], "a");
    pair.beds[0].request(nothing, &Token::default()).unwrap();
    forget(&mut pair);
    pair.beds[1].hold_commits = true;
    pair.link();
    pair.pass(1_000);
    let lacks_nothing = |pair: &Pair| {
        let [source, seeker] =
            [0, 1].map(|at| pair.beds[at].replica.durable_frontier(&namespace(0)));
        seeker.covers(&source)
    };
    assert!(!lacks_nothing(&pair));
    while !lacks_nothing(&pair) {
        assert!(pair.beds[1].sync_one(), "what has come is on its way");
    }
    pair.beds[1].restart();
    assert!(lacks_nothing(&pair), "it is durable");
    assert_eq!(pair.reads(1).0, pair.reads(0).0);
}

/// What is folded while it arrives began before: a checkpoint between what came and the record from which on it counts would
/// have a start find the one without the other.
#[test]
fn no_checkpoint_parts_what_came_from_its_arrival() {
    let mut pair = Pair::parted(names(10));
    let nothing = || writing_once(vec![write("k1", Intent::Replace(json!({"n": 0})))], "a");
    pair.beds[0].request(nothing(), &Token::default()).unwrap();
    forget(&mut pair);
    let seeker = &mut pair.beds[1];
    seeker.replica.config.room.fold_documents = 1;
    seeker.hold_commits = true;
    pair.link();
    pair.pass(1_000);
    let seeker = &mut pair.beds[1];
    assert_eq!(seeker.commits.len(), 1, "what came is on its way");
    for key in ["k2", "k3", "k4"] {
        seeker.ask(writing(vec![increment(key, "/n")]), &Token::default());
    }
    while seeker.commits.len() > 1 {
        seeker.sync_one();
    }
    let covers = |seeker: &Bed, source: &Bed| {
        let [seeker, source] =
            [seeker, source].map(|bed| bed.replica.durable_frontier(&namespace(0)));
        seeker.covers(&source)
    };
    seeker.hold_folds = true;
    seeker.now_ms += 50;
    seeker.give(Input::Tick);
    assert!(!seeker.folds.is_empty(), "some is being folded");
    assert!(!covers(&pair.beds[1], &pair.beds[0]));
    pair.beds[1].sync();
    assert!(covers(&pair.beds[1], &pair.beds[0]), "it has arrived");
    let seeker = &mut pair.beds[1];
    let before = seeker.store.checkpoint.clone();
    while seeker.store.checkpoint == before {
        if !seeker.fold_one() {
            seeker.now_ms += 50;
            seeker.give(Input::Tick);
        }
    }
    seeker.hold_folds = false;
    seeker.hold_commits = false;
    seeker.restart();
    assert!(covers(&pair.beds[1], &pair.beds[0]), "it is durable");
    let answer = pair.beds[1].request(nothing(), &Token::default());
    assert!(written(&answer).1, "it is remembered");
}

/// What comes to the source between two comparisons of one repair counts with the second.
#[test]
fn what_comes_during_a_repair_is_remembered() {
    for documents in [10, 100] {
        let mut pair = Pair::parted(names(documents));
        pair.beds[0].request(once("a"), &Token::default()).unwrap();
        // So that roots differ when all has come, and it is compared once more.
        pair.count(1, "k2");
        // What is written now does not come by itself, and the source is not repaired meanwhile, of which comparisons end.
        pair.change = |message| match message {
            Message::Delta(batches) | Message::Backlog { batches, .. } => batches.clear(),
            Message::Repair(RepairMessage::Compare {
                number,
                namespace: of,
                ..
            }) if *number % 2 == 0 => *of = namespace(9),
            _ => {}
        };
        forget(&mut pair);
        pair.beds[1].hold_commits = true;
        pair.link();
        pair.pass(600);
        assert!(!pair.beds[1].commits.is_empty(), "what was there has come");
        pair.beds[0].request(once("b"), &Token::default()).unwrap();
        pair.pass(200);
        pair.beds[1].hold_commits = false;
        pair.beds[1].sync();
        pair.pass(1_000);
        assert_eq!(pair.beds[1].replica.counters.repairs, 1);
        let frontiers = [0, 1].map(|at| pair.beds[at].replica.durable_frontier(&namespace(0)));
        assert!(frontiers[1].covers(&frontiers[0]), "that is counted");
        assert!(is_known(&mut pair, "a"), "{documents} documents");
        assert!(is_known(&mut pair, "b"), "{documents} documents");
    }
}

/// Whether a peer that asks for all is given what is remembered.
fn is_given(bed: &mut Bed, number: u64, follows: u64) -> bool {
    let compare = RepairMessage::Compare {
        number,
        namespace: namespace(0),
        positions: Vec::new(),
        documents: 0,
        expected: 0,
        whole: true,
        since_ms: 0,
        follows,
        counters: Vec::new(),
    };
    bed.said_to(SEEKER);
    bed.tell_as(SEEKER, &Message::Repair(compare));
    let said = bed.said_to(SEEKER).into_iter();
    let parts = said.filter_map(|said| match said {
        Message::Repair(RepairMessage::Documents { receipts, last, .. }) => Some((receipts, last)),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    assert!(parts.iter().any(|(_, last)| *last), "all of it");
    parts.iter().any(|(receipts, _)| !receipts.is_empty())
}

#[test]
fn what_is_remembered_is_given_once_in_a_repair() {
    let mut bed = Bed::new();
    bed.request(once("a"), &Token::default()).unwrap();
    bed.run_until(5_000);
    bed.meet_as(SEEKER, "elsewhere", &[]);
    assert!(is_given(&mut bed, 1, 0));
    assert!(!is_given(&mut bed, 3, 1), "that has come");
    bed.request(once("b"), &Token::default()).unwrap();
    assert!(is_given(&mut bed, 5, 3), "that has not");
    assert!(!is_given(&mut bed, 7, 5));
    assert!(!is_given(&mut bed, 9, 5), "the one between led to nothing");
    assert!(is_given(&mut bed, 11, 3), "who knows what that one brought");
    // What a repair brings counts later than it came, and with the one before as well what came to the log before that.
    bed.replica.end_serving(&namespace(0));
    assert!(
        is_given(&mut bed, 13, 11),
        "who knows when it came to count"
    );
}
