//! What goes to the store's documents behind the log, and what happens beside it.

use serde_json::json;

use super::bed::{
    Bed, PEER, batch, increment, namespace, origin, read, writing, writing_once, written,
};
use crate::document::Document;
use crate::effect::{Input, Notice, Output, Request, RequestError};
use crate::message::Message;
use crate::persist::StoreError;
use crate::replica::Room;
use crate::{Intent, Key, Lsn, Seq, Token};

fn bed() -> Bed {
    Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        checkpoint_records: 1,
        ..Room::default()
    })
}

fn add(bed: &mut Bed, key: &str) {
    bed.request(writing(vec![increment(key, "/n")]), &Token::default())
        .unwrap();
}

fn let_go(bed: &mut Bed) {
    bed.replica.shelf.evict(0, None);
    bed.replica.shelf.evict(0, None);
    assert_eq!(bed.replica.shelf.loaded(), 0);
}

#[test]
fn changes_go_to_the_store_sorted_and_the_log_begins_later() {
    let mut bed = bed();
    for key in ["c", "a", "b", "a"] {
        add(&mut bed, key);
    }
    bed.hold_folds = true;
    bed.run_until(200);
    let fold = &bed.folds[0];
    let keys: Vec<_> = fold
        .documents
        .iter()
        .map(|f| (f.id.key.as_str(), f.changes.len()))
        .collect();
    assert_eq!(keys, [("a", 2), ("b", 1), ("c", 1)]);
    assert!(fold.documents.iter().all(|f| f.present == Some(true)));
    assert_eq!(fold.checkpoint.as_ref().unwrap().replay_from, Lsn(5));
    bed.fold();
    assert_eq!(bed.replica.shelf.oldest_unfolded(), None);
    assert_eq!(bed.replica.unfolded_bytes(), 0);
    bed.run_until(1_000);
    assert_eq!(bed.replica.wake_at(), u64::MAX, "nothing is left to do");
    bed.restart();
    assert_eq!(bed.read("a"), Some(json!({"n": 2})));
}

/// The store answers with what it held before the fold, and by the time the answer comes the changes are gone
/// from memory.
#[test]
fn a_document_that_is_asked_for_while_it_is_folded_lacks_nothing() {
    let mut bed = bed();
    add(&mut bed, "a");
    let_go(&mut bed);
    bed.hold_folds = true;
    bed.run_until(200);
    assert_eq!(bed.folds.len(), 1);
    bed.hold_fetches = true;
    let id = bed.ask(read("a"), &Token::default());
    bed.fold();
    bed.fetch();
    assert!(bed.answer(id).unwrap().is_ok());
    bed.hold_fetches = false;
    assert_eq!(bed.read("a"), Some(json!({"n": 1})));
    let_go(&mut bed);
    assert_eq!(bed.read("a"), Some(json!({"n": 1})));
    bed.run_until(2_000);
    assert_eq!(bed.replica.unfolded_bytes(), 0);
}

#[test]
fn what_comes_while_a_document_is_folded_waits_for_the_next() {
    let mut bed = bed();
    add(&mut bed, "a");
    bed.hold_folds = true;
    bed.run_until(200);
    add(&mut bed, "a");
    bed.fold();
    assert_ne!(bed.replica.unfolded_bytes(), 0);
    bed.hold_folds = false;
    bed.run_until(2_000);
    assert_eq!(bed.replica.unfolded_bytes(), 0);
    bed.restart();
    assert_eq!(bed.read("a"), Some(json!({"n": 2})));
}

#[test]
fn nothing_is_folded_that_a_crash_could_take_back() {
    let mut bed = bed();
    add(&mut bed, "a");
    bed.hold_commits = true;
    bed.ask(writing(vec![increment("a", "/n")]), &Token::default());
    bed.hold_folds = true;
    bed.run_until(2_000);
    let folded: usize = bed
        .folds
        .iter()
        .flat_map(|f| &f.documents)
        .map(|f| f.changes.len())
        .sum();
    assert_eq!(folded, 1);
    // The checkpoint knows of no more either.
    bed.fold();
    bed.restart();
    assert_eq!(bed.replica.history.durable_end, Lsn(1));
    assert_eq!(bed.read("a"), Some(json!({"n": 1})));
}

#[test]
fn a_listing_shows_what_was_folded_while_the_store_was_asked() {
    let mut bed = bed();
    add(&mut bed, "a");
    let_go(&mut bed);
    bed.hold_folds = true;
    bed.run_until(200);
    bed.hold_fetches = true;
    let scan = Request::Scan {
        namespace: namespace(0),
        prefix: String::new(),
        after: None,
        limit: 10,
        values: true,
    };
    let id = bed.ask(scan, &Token::default());
    bed.fold();
    bed.fetch();
    let answer = format!("{:?}", bed.answer(id).unwrap());
    assert!(answer.contains("Number(1)"), "{answer}");
}

#[test]
fn a_fold_that_failed_is_tried_again_and_writes_go_on() {
    let mut bed = bed();
    add(&mut bed, "a");
    bed.hold_folds = true;
    bed.run_until(200);
    let id = bed.folds.pop_front().unwrap().id;
    let result = Err(StoreError::Full("no room".to_owned()));
    bed.give(Input::Folded { id, result });
    let noticed = |output: &Output| matches!(output, Output::Notice(Notice::FoldFailed { .. }));
    assert!(bed.outputs.iter().any(noticed));
    add(&mut bed, "a");
    bed.hold_folds = false;
    bed.run_until(5_000);
    assert_eq!(bed.replica.unfolded_bytes(), 0);
    bed.restart();
    assert_eq!(bed.read("a"), Some(json!({"n": 2})));
}

#[test]
fn writes_are_refused_when_nothing_can_be_folded_and_memory_is_full() {
    let mut bed = Bed::with_room(Room {
        unfolded_bytes_max: 1_000,
        ..Room::default()
    });
    bed.hold_folds = true;
    while !bed.replica.is_saturated() {
        add(&mut bed, "a");
        bed.now_ms += 1;
    }
    bed.give(Input::Tick);
    let id = bed.folds.pop_front().unwrap().id;
    let result = Err(StoreError::Full("no room".to_owned()));
    bed.give(Input::Folded { id, result });
    assert!(!bed.replica.is_saturated(), "requests are answered");
    let refused = bed.request(writing(vec![increment("a", "/n")]), &Token::default());
    assert!(matches!(refused, Err(RequestError::Full { .. })));
    assert!(bed.read("a").is_some());
    bed.hold_folds = false;
    bed.run_until(bed.now_ms + 5_000);
    add(&mut bed, "a");
}

#[test]
fn a_disk_without_room_takes_back_what_was_under_way_and_nothing_else() {
    let mut bed = bed();
    bed.meet([]);
    add(&mut bed, "a");
    bed.hold_commits = true;
    let once = |key: &str| writing_once(vec![increment("a", "/n")], key);
    let writes: Vec<_> = ["x", "y"]
        .map(|key| bed.ask(once(key), &Token::default()))
        .into();
    let reading = bed.ask(read("a"), &Token::default());
    let mut document = Document::empty(&origin(2, 1));
    let changes = document.write(&Intent::Replace(json!({"m": 1})), 0);
    let changes = changes.map_err(|f| f.error).unwrap();
    let remote = batch(origin(2, 1), 1, changes);
    bed.hear(remote.clone());
    assert_eq!(bed.commits.len(), 3);
    bed.is_full();
    for id in writes {
        assert!(matches!(
            bed.answer(id).unwrap(),
            Err(RequestError::Full { .. })
        ));
    }
    assert_eq!(bed.answer(reading).unwrap(), Err(RequestError::Busy));
    assert_eq!(bed.replica.history.log_end, Lsn(1));
    assert_eq!(bed.read("a"), Some(json!({"n": 1})), "reads go on");
    assert_eq!(bed.replica.requests_open, 0);
    // At first nothing is even tried.
    let refused = bed.request(once("x"), &Token::default());
    assert!(matches!(refused, Err(RequestError::Full { .. })));
    assert_eq!(bed.commits.len(), 0);
    // There is room again.
    bed.hold_commits = false;
    bed.now_ms += 1_000;
    assert!(
        !written(&bed.request(once("x"), &Token::default())).1,
        "it was never done"
    );
    assert_eq!(bed.read("a"), Some(json!({"n": 2})));
    bed.hear(remote);
    assert_eq!(
        bed.replica.history.accepted(&namespace(0), &origin(2, 1)),
        Seq(1)
    );
    let noticed = |output: &Output| matches!(output, Output::Notice(Notice::DiskHasRoom));
    assert!(bed.outputs.iter().any(noticed));
    // Positions go on without a gap, and a restart finds it all.
    assert_eq!(
        bed.store.log.iter().map(|r| r.lsn.0).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    bed.restart();
    assert_eq!(bed.read("a"), Some(json!({"n": 2})));
}

#[test]
fn what_was_built_on_a_failed_commit_fails_with_it_and_only_that() {
    let mut bed = bed();
    bed.hold_commits = true;
    bed.ask(writing(vec![increment("a", "/n")]), &Token::default());
    bed.ask(writing(vec![increment("a", "/n")]), &Token::default());
    let mut commits = std::mem::take(&mut bed.commits);
    let fail = |bed: &mut Bed, ticket| {
        let error = StoreError::Full("no room".to_owned());
        bed.give(Input::PersistFailed {
            from: ticket,
            through: ticket,
            error,
        });
    };
    fail(&mut bed, commits.pop_front().unwrap().ticket);
    bed.now_ms += 1_000;
    let third = bed.ask(writing(vec![increment("a", "/n")]), &Token::default());
    assert_eq!(
        bed.commits[0].log[0].lsn,
        Lsn(1),
        "the position is free again"
    );
    // The store says of the second only now that it can't follow.
    fail(&mut bed, commits.pop_front().unwrap().ticket);
    assert_eq!(bed.answer(third), None);
    bed.sync();
    assert!(bed.answer(third).unwrap().is_ok());
    assert_eq!(bed.read("a"), Some(json!({"n": 1})));
}

#[test]
fn the_log_is_kept_for_a_peer_that_lacks_it_also_over_restarts() {
    let mut bed = Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        log_bytes_kept: 0,
        ..Room::default()
    });
    bed.meet([]);
    add(&mut bed, "a");
    bed.run_until(1_000);
    assert_eq!(
        bed.store.log.len(),
        1,
        "the peer has not said that it holds it"
    );
    bed.restart();
    add(&mut bed, "a");
    bed.run_until(2_000);
    assert_eq!(bed.store.log.len(), 2, "nor now, though it is not there");
    for _ in 0..298 {
        add(&mut bed, "a");
    }
    bed.meet([(namespace(0), origin(1, 1), Seq(290))]);
    bed.run_until(3_000);
    // Positions are known once in so many.
    let first = bed.store.log[0].lsn;
    assert!(first > Lsn(150) && first <= Lsn(291), "{first:?}");
    let request = Request::Changes {
        after: Lsn(1),
        namespace: None,
    };
    let refused = bed.request(request, &Token::default());
    assert!(matches!(refused, Err(RequestError::Released { first: now, .. }) if now == first));
}

#[test]
fn a_peer_for_whom_the_log_is_too_short_is_named_once() {
    let mut bed = Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        log_bytes_kept: 0,
        log_bytes_max: 0,
        recent_log_bytes_max: 0,
        ..Room::default()
    });
    for _ in 0..3 {
        add(&mut bed, "a");
    }
    bed.run_until(1_000);
    assert!(bed.store.log.len() < 3);
    bed.outputs.clear();
    bed.meet([]);
    bed.run_until(200_000);
    let short = |output: &&Output| matches!(output, Output::Notice(Notice::LogTooShort { peer, .. }) if *peer == PEER);
    assert_eq!(bed.outputs.iter().filter(short).count(), 1);
}

/// Records of the log that can't be read leave a gap: what came after it is not taken for all that there was.
#[test]
fn what_is_lost_of_the_log_is_asked_for_again() {
    let mut bed = bed();
    bed.meet([]);
    let mut document = Document::empty(&origin(2, 1));
    let mut batches = Vec::new();
    for seq in 1..=3 {
        let intent = Intent::Replace(json!({"n": seq}));
        let changes = document.write(&intent, 0).map_err(|f| f.error).unwrap();
        batches.push(batch(origin(2, 1), seq, changes));
        bed.hear(batches[usize::try_from(seq).unwrap() - 1].clone());
    }
    bed.store.log.remove(1);
    bed.restart();
    assert_eq!(
        bed.replica.history.durable(&namespace(0), &origin(2, 1)),
        Seq(1)
    );
    assert_eq!(bed.read("k"), Some(json!({"n": 1})));
    bed.meet([(namespace(0), origin(2, 1), Seq(3))]);
    assert!(
        bed.messages()
            .iter()
            .any(|said| matches!(said, Message::Frontier { .. }))
    );
    for again in batches {
        bed.hear(again);
    }
    assert_eq!(bed.read("k"), Some(json!({"n": 3})));
    assert!(Key::new("k").is_ok());
}

/// Compacting takes far longer than appending, and whoever writes waits for the processor.
#[test]
fn nothing_is_compacted_while_there_are_writes() {
    let mut bed = Bed::with_room(Room {
        fold_after_ms: 50,
        fold_idle_ms: 20,
        ..Room::default()
    });
    bed.run_until(1_000);
    bed.hold_folds = true;
    for _ in 0..20 {
        add(&mut bed, "k");
        bed.run_until(bed.now_ms + 10);
    }
    let compacts = |bed: &Bed| bed.folds.front().map(|fold| fold.compact);
    assert_eq!(compacts(&bed), Some(false));
    bed.run_until(bed.now_ms + 1_000);
    bed.fold();
    add(&mut bed, "k");
    bed.run_until(bed.now_ms + 1_000);
    assert_eq!(compacts(&bed), Some(true));
}
