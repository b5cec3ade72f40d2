//! Writes with an idempotency key are done once.

use serde_json::json;

use super::bed::{
    Bed, PEER, batch, increment, namespace, origin, write, writing, writing_once, written,
};
use crate::effect::RequestError;
use crate::replica::Room;
use crate::{Batch, Edit, Intent, Path, Token};

fn once(key: &str) -> crate::Request {
    writing_once(vec![increment("k", "/n"), increment("l", "/n")], key)
}

#[test]
fn a_repeat_gets_the_first_answer() {
    let mut bed = Bed::new();
    let first = bed.request(once("a"), &Token::default());
    let other = bed.request(once("b"), &Token::default());
    assert_ne!(written(&first).0, written(&other).0);
    for _ in 0..2 {
        let again = bed.request(once("a"), &Token::default());
        assert_eq!(written(&again), (written(&first).0, true));
        assert_ne!(again.unwrap().token, Token::default());
        bed.restart();
    }
    assert_eq!(bed.read("k"), Some(json!({"n": 2})));
}

#[test]
fn a_repeat_waits_until_the_first_is_durable() {
    let mut bed = Bed::new();
    bed.hold_commits = true;
    let first = bed.ask(once("a"), &Token::default());
    let again = bed.ask(once("a"), &Token::default());
    assert!(bed.answer(again).is_none());
    assert_eq!(bed.commits.len(), 1);
    bed.sync();
    let (first, again) = (bed.answer(first).unwrap(), bed.answer(again).unwrap());
    assert_eq!(written(&again), (written(&first).0, true));
    assert_eq!(again.unwrap().token, first.unwrap().token);
    assert!(bed.replica.receipts.is_at_rest());
}

#[test]
fn the_same_twice_at_the_same_time_is_done_once() {
    let mut bed = Bed::new();
    bed.hold_fetches = true;
    let ids: Vec<_> = (0..5)
        .map(|_| bed.ask(once("a"), &Token::default()))
        .collect();
    assert_eq!(bed.fetches.len(), 1, "one looks it up, the others wait");
    bed.fetch();
    let answers: Vec<_> = ids.iter().map(|id| bed.answer(*id).unwrap()).collect();
    let repeated: Vec<_> = answers.iter().map(|answer| written(answer).1).collect();
    assert_eq!(repeated, [false, true, true, true, true]);
    assert_eq!(bed.store.log.len(), 1);
    assert!(bed.replica.receipts.is_at_rest());
}

#[test]
fn what_failed_is_not_remembered() {
    let mut bed = Bed::new();
    let path = Path::parse("/n").unwrap();
    let value = json!("x");
    let edit = Edit::Append { path, value };
    let bad = || writing_once(vec![write("k", Intent::Edits(vec![edit.clone()]))], "a");
    bed.request(writing(vec![increment("k", "/n")]), &Token::default())
        .unwrap();
    bed.hold_fetches = true;
    let ids = [
        bed.ask(bad(), &Token::default()),
        bed.ask(bad(), &Token::default()),
        bed.ask(once("a"), &Token::default()),
    ];
    bed.fetch();
    assert!(bed.answer(ids[0]).unwrap().is_err());
    assert!(bed.answer(ids[1]).unwrap().is_err());
    assert!(!written(&bed.answer(ids[2]).unwrap()).1);
    assert!(bed.replica.receipts.is_at_rest());
}

#[test]
fn a_key_is_for_one_write() {
    let mut bed = Bed::new();
    bed.request(once("a"), &Token::default()).unwrap();
    let other = writing_once(vec![increment("k", "/n")], "a");
    let refused = bed.request(other.clone(), &Token::default());
    assert!(matches!(refused, Err(RequestError::KeyReused)));
    bed.restart();
    let refused = bed.request(other, &Token::default());
    assert!(matches!(refused, Err(RequestError::KeyReused)));
    assert_eq!(bed.read("k"), Some(json!({"n": 1})));
}

#[test]
fn a_write_that_changed_nothing_is_remembered_too() {
    let mut bed = Bed::new();
    let nothing = || writing_once(vec![write("k", Intent::Delete)], "a");
    let first = bed.request(nothing(), &Token::default());
    assert!(!written(&first).0[0].changed);
    assert_eq!(bed.visible(), [(1, 1, Vec::new())]);
    bed.request(writing(vec![increment("k", "/n")]), &Token::default())
        .unwrap();
    let again = bed.request(nothing(), &Token::default());
    assert_eq!(written(&again), (written(&first).0, true));
    assert_eq!(bed.read("k"), Some(json!({"n": 1})));
}

#[test]
fn what_is_too_old_counts_as_forgotten() {
    let room = Room {
        receipts_kept_ms: 1_000,
        receipts_max: 10,
        ..Room::default()
    };
    let mut bed = Bed::with_room(room);
    bed.request(once("a"), &Token::default()).unwrap();
    bed.now_ms = 1_000;
    assert!(written(&bed.request(once("a"), &Token::default())).1);
    bed.now_ms = 1_001;
    assert!(!written(&bed.request(once("a"), &Token::default())).1);
    assert_eq!(bed.read("k"), Some(json!({"n": 2})));
    bed.run_until(5_001);
    let retention = bed.store.retention.unwrap();
    assert_eq!(retention.count_max, 10);
    assert!(retention.not_before_ms >= 1_000, "{retention:?}");
}

#[test]
fn the_store_is_asked_to_forget_now_and_then_and_no_longer_than_need_be() {
    let mut bed = Bed::with_room(Room {
        receipts_kept_ms: 50_000,
        receipts_max: 1_000,
        ..Room::default()
    });
    let asked = |bed: &mut Bed, request| {
        bed.store.retention = None;
        bed.request(request, &Token::default()).unwrap();
        bed.run_until(bed.now_ms + 5_000);
        usize::from(bed.store.retention.is_some())
    };
    assert_eq!(asked(&mut bed, once("a")), 1);
    let plain = || writing(vec![increment("k", "/n")]);
    let later: usize = (0..100).map(|_| asked(&mut bed, plain())).sum();
    assert!((5..20).contains(&later), "{later}");
}

/// The batch of a write at another datacenter brings its receipt along.
#[test]
fn a_repeat_elsewhere_is_recognised_once_the_batch_is_there() {
    let mut writer = Bed::new();
    let first = writer.request(once("a"), &Token::default());
    let record = writer.store.log[0].bytes.clone();
    let sent = crate::batch::decode(record).unwrap().remove(0);
    let remote = Batch {
        origin: origin(2, 1),
        ..(*sent).clone()
    };
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(remote.clone());
    let again = bed.request(once("a"), &Token::default());
    assert_eq!(written(&again), (written(&first).0, true));
    bed.run_until(60_000);
    assert_eq!(bed.store.receipts.len(), 1);

    // It comes, and is durable, between the look-up in the store and its answer.
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hold_fetches = true;
    let id = bed.ask(once("a"), &Token::default());
    bed.hear(remote.clone());
    bed.fetch();
    assert!(written(&bed.answer(id).unwrap()).1);
    assert!(bed.replica.receipts.is_at_rest());

    // It comes while the documents are being loaded.
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hold_fetches = true;
    let id = bed.ask(once("a"), &Token::default());
    let (fetch, _, fetched) = bed.fetches.pop_front().unwrap();
    bed.give(crate::Input::Fetched {
        id: fetch,
        result: Ok(fetched),
    });
    assert_eq!(bed.fetches.len(), 2, "the documents");
    bed.hear(remote);
    bed.fetch();
    assert!(written(&bed.answer(id).unwrap()).1);
}

#[test]
fn a_receipt_that_makes_no_sense_is_no_answer() {
    let mut bed = Bed::new();
    bed.request(once("a"), &Token::default()).unwrap();
    bed.run_until(10_000);
    let key = *bed.store.receipts.keys().next().unwrap();
    let mut bed = Bed::new();
    bed.meet([]);
    let garbage = crate::Receipt {
        key,
        answer: vec![1; 40].into(),
    };
    bed.hear(Batch {
        receipt: Some(garbage),
        ..batch(origin(2, 1), 1, Vec::new())
    });
    let refused = bed.request(once("a"), &Token::default());
    assert!(matches!(refused, Err(RequestError::Store(_))));
    let _ = (PEER, namespace(0));
}
