//! Records of the log that are lost, with batches of our own behind them.

use std::sync::Arc;

use serde_json::json;

use super::bed::{Bed, increment, namespace, origin, write, writing};
use crate::effect::{Input, Notice, Output};
use crate::message::Message;
use crate::persist::LogRecord;
use crate::replica::Room;
use crate::{Batch, Incarnation, Intent, Lsn, Seq, Token, batch};

fn bed() -> Bed {
    Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        recent_log_bytes_max: 0,
        ..Room::default()
    })
}

fn add(bed: &mut Bed, keys: &[&str]) {
    let writes = keys.iter().map(|key| increment(key, "/n")).collect();
    bed.request(writing(writes), &Token::default()).unwrap();
}

/// The record is gone, as the store finds when it is opened; before anything else it begins another incarnation.
fn lose(bed: &mut Bed, lsn: u64) -> Arc<Batch> {
    let at = bed.store.log.iter().position(|r| r.lsn == Lsn(lsn));
    let record: LogRecord = bed.store.log.remove(at.unwrap());
    bed.restart_as(Incarnation(2));
    batch::decode(record.bytes).unwrap().remove(0)
}

fn told(bed: &Bed) -> Vec<(u64, u64, u64)> {
    let told = bed.outputs.iter().filter_map(|output| match output {
        Output::Notice(Notice::RecordsLost {
            rewritten,
            waiting,
            lost,
        }) => Some((*rewritten, *waiting, *lost)),
        _ => None,
    });
    told.collect()
}

fn accepted(bed: &Bed, incarnation: u64) -> Seq {
    let own = origin(1, incarnation);
    bed.replica.history.accepted(&namespace(0), &own)
}

#[test]
fn what_was_written_after_a_lost_record_is_not_lost() {
    let mut bed = bed();
    for keys in [&["a"][..], &["b"], &["c", "d"], &["a"]] {
        add(&mut bed, keys);
    }
    lose(&mut bed, 2);
    assert_eq!(accepted(&bed, 1), Seq(1));
    bed.hold_commits = true;
    bed.give(Input::Tick);
    assert_eq!(told(&bed), [(2, 0, 0)]);
    bed.run_until(bed.now_ms + 500);
    assert_eq!(bed.store.checkpoint, None, "a crash begins this again");
    bed.sync();
    let read = ["a", "b", "c", "d"].map(|key| bed.read(key));
    let one = |n| Some(json!({"n": n}));
    assert_eq!(read, [one(2), None, one(1), one(1)]);
    // Others get it as they get everything.
    bed.hold_commits = false;
    bed.outputs.clear();
    bed.meet([]);
    bed.run_until(bed.now_ms + 500);
    let sent = bed
        .messages()
        .into_iter()
        .flat_map(|message| match message {
            Message::Delta(batches) => batches,
            _ => Vec::new(),
        });
    let sent: Vec<_> = sent
        .map(|batch| (batch.origin, batch.seq, batch.writes.len()))
        .collect();
    let (old, new) = (origin(1, 1), origin(1, 2));
    assert_eq!(sent, [(old, Seq(1), 1), (new, Seq(1), 2), (new, Seq(2), 1)]);
    // All is in the documents now, and it begins there.
    bed.run_until(bed.now_ms + 5_000);
    assert_ne!(bed.store.checkpoint, None);
    bed.restart_as(Incarnation(2));
    bed.give(Input::Tick);
    assert_eq!(told(&bed), []);
    assert_eq!(bed.read("a"), one(2));
}

#[test]
fn what_builds_on_a_lost_record_waits_for_it() {
    let mut bed = bed();
    for keys in [&["a"][..], &["a"], &["a"], &["b", "a"], &["c"]] {
        add(&mut bed, keys);
    }
    let lost = lose(&mut bed, 2);
    bed.give(Input::Tick);
    assert_eq!(told(&bed), [(1, 2, 0)]);
    assert_eq!(bed.read("b"), None, "all of a batch or nothing of it");
    bed.run_until(bed.now_ms + 2_000);
    assert_eq!(bed.store.checkpoint, None, "a crash begins this again");
    bed.meet([]);
    bed.tell(&Message::Delta(vec![lost]));
    bed.run_until(bed.now_ms + 2_000);
    let read = ["a", "b", "c"].map(|key| bed.read(key));
    let one = |n| Some(json!({"n": n}));
    assert_eq!(read, [one(4), one(1), one(1)]);
    assert_eq!(accepted(&bed, 1), Seq(2));
    assert_eq!(accepted(&bed, 2), Seq(3));
    bed.run_until(bed.now_ms + 5_000);
    assert_ne!(bed.store.checkpoint, None);
}

#[test]
fn what_nobody_has_is_not_waited_for_in_the_end() {
    let mut bed = bed();
    for _ in 0..3 {
        add(&mut bed, &["a"]);
    }
    lose(&mut bed, 2);
    bed.give(Input::Tick);
    assert_eq!(told(&bed), [(0, 1, 0)]);
    bed.run_until(bed.now_ms + 700_000);
    assert_eq!(told(&bed), [(0, 1, 0), (0, 0, 1)]);
    assert_ne!(bed.store.checkpoint, None);
    assert_eq!(bed.read("a"), Some(json!({"n": 1})));
}

#[test]
fn a_full_disk_does_not_end_it() {
    let mut bed = bed();
    let puts = ["a", "b", "c"].map(|key| write(key, Intent::Replace(json!({"n": 1}))));
    for put in puts {
        bed.request(writing(vec![put]), &Token::default()).unwrap();
    }
    lose(&mut bed, 1);
    bed.hold_commits = true;
    bed.give(Input::Tick);
    bed.is_full();
    assert_eq!(accepted(&bed, 2), Seq(0));
    bed.hold_commits = false;
    bed.run_until(bed.now_ms + 5_000);
    assert_eq!(accepted(&bed, 2), Seq(2));
    let read = ["a", "b", "c"].map(|key| bed.read(key).is_some());
    assert_eq!(read, [false, true, true]);
}
