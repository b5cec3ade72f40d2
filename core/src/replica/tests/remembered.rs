//! What is remembered of writes comes with what they wrote, however a repair goes.

use super::bed::{Bed, increment, namespace, writing_once, written};
use super::pairs::Pair;
use super::sketches::{names, parted};
use crate::Token;
use crate::effect::Request;
use crate::message::Message;
use crate::repair_message::RepairMessage;

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
        let mut pair = parted(names(documents));
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

/// What comes to the source between two comparisons of one repair counts with the second.
#[test]
fn what_comes_during_a_repair_is_remembered() {
    for documents in [10, 100] {
        let mut pair = parted(names(documents));
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
