//! Records of the log that are lost, with batches of our own behind them.

use std::sync::Arc;

use serde_json::json;

use super::bed::{Bed, increment, namespace, origin, write, writing, writing_once, written};
use crate::effect::{Input, Notice, Now, Output, RequestError};
use crate::message::Message;
use crate::persist::{Continuity, Fetch, LogRecord, Recovery};
use crate::replica::{Config, Replica, Room};
use crate::{Batch, Incarnation, Intent, Lsn, ReplicaId, Seq, Token, batch};

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

#[test]
fn a_write_that_changed_nothing_is_no_obstacle() {
    let mut bed = bed();
    add(&mut bed, &["a"]);
    add(&mut bed, &["b"]);
    let nothing = write("c", Intent::Edits(Vec::new()));
    let once = writing_once(vec![nothing], "once");
    bed.request(once, &Token::default()).unwrap();
    assert_eq!(bed.store.log.len(), 3, "only a receipt is in it");
    add(&mut bed, &["d"]);
    lose(&mut bed, 2);
    bed.give(Input::Tick);
    assert_eq!(told(&bed), [(2, 0, 0)]);
    assert_eq!(bed.read("d"), Some(json!({"n": 1})));
}

#[test]
fn nothing_is_written_anew_before_the_replay_is_over() {
    let mut bed = bed();
    for keys in ["a", "b", "c"] {
        add(&mut bed, &[keys]);
    }
    bed.store.log.remove(1);
    let config = Config::new(ReplicaId([1; 16]), "a", "here", Incarnation(9));
    let recovery = Recovery {
        incarnation: Incarnation(2),
        continuity: Continuity::Broken,
        checkpoint: None,
        log_end: Some(Lsn(3)),
        log_first: Some(Lsn(1)),
    };
    let (mut replica, _) = Replica::recover(config, recovery).unwrap();
    replica.replay(bed.store.log.clone()).unwrap();
    // As if memory had run short in between.
    let now = Now {
        mono_ms: 0,
        wall_ms: 0,
    };
    replica.handle(now, Input::Tick);
    let fetches = |replica: &mut Replica| {
        let outputs = std::iter::from_fn(|| replica.poll());
        outputs
            .filter(|output| matches!(output, Output::Fetch { .. }))
            .count()
    };
    assert_eq!(fetches(&mut replica), 0);
    replica.begin(Some(Lsn(3)));
    replica.handle(now, Input::Tick);
    assert_eq!(fetches(&mut replica), 1);
}

/// The store looks at the end of the log when it is opened, and takes it for the one that it left.
#[test]
fn a_gap_that_nobody_has_noticed_begins_an_incarnation() {
    for lost in [1, 2, 3] {
        let mut bed = bed();
        for keys in ["a", "b", "c"] {
            add(&mut bed, &[keys]);
        }
        let end = Lsn(3);
        bed.store.log.retain(|record| record.lsn != Lsn(lost));
        bed.restart_with_end(end);
        assert_eq!(bed.replica.origin().incarnation, Incarnation(9));
        bed.give(Input::Tick);
        add(&mut bed, &["d"]);
        let kept = ["a", "b", "c", "d"].map(|key| bed.read(key).is_some());
        let mut expected = [true; 4];
        expected[usize::try_from(lost - 1).unwrap()] = false;
        assert_eq!(kept, expected);
        assert_eq!(accepted(&bed, 1), Seq(lost - 1), "no number is used twice");
    }
}

#[test]
fn a_full_disk_while_more_is_read_loses_nothing() {
    let mut bed = bed();
    let large = "x".repeat(400_000);
    for number in 0..8 {
        let put = write(&format!("k{number}"), Intent::Replace(json!({"x": large})));
        bed.request(writing(vec![put]), &Token::default()).unwrap();
    }
    lose(&mut bed, 1);
    bed.hold_commits = true;
    bed.hold_fetches = true;
    bed.give(Input::Tick);
    while bed.commits.is_empty() {
        bed.fetch_one();
    }
    // The next records are under way.
    while !matches!(bed.fetches.front(), Some((_, Fetch::Log { .. }, _))) {
        bed.fetch_one();
    }
    bed.is_full();
    bed.hold_commits = false;
    bed.hold_fetches = false;
    bed.fetch();
    bed.run_until(bed.now_ms + 20_000);
    let kept = (0..8).filter(|number| bed.read(&format!("k{number}")).is_some());
    assert_eq!(kept.count(), 7);
    assert_ne!(bed.store.checkpoint, None);
}

#[test]
fn a_key_of_what_waits_is_not_free() {
    let mut bed = bed();
    add(&mut bed, &["a"]);
    add(&mut bed, &["a"]);
    let once = || writing_once(vec![increment("a", "/n")], "once");
    bed.request(once(), &Token::default()).unwrap();
    let lost = lose(&mut bed, 2);
    bed.give(Input::Tick);
    let busy = Err(RequestError::Busy);
    assert_eq!(bed.request(once(), &Token::default()), busy);
    bed.meet([]);
    bed.tell(&Message::Delta(vec![lost]));
    bed.run_until(bed.now_ms + 2_000);
    let repeated = bed.request(once(), &Token::default());
    assert!(written(&repeated).1);
    assert_eq!(bed.read("a"), Some(json!({"n": 3})));
}

#[test]
fn what_was_taken_back_does_not_count_for_the_size_of_the_log() {
    let mut bed = bed();
    add(&mut bed, &["a"]);
    let bytes = bed.replica.history.extent.bytes();
    bed.hold_commits = true;
    for _ in 0..10 {
        let large = write("b", Intent::Replace(json!({"x": "x".repeat(300_000)})));
        bed.ask(writing(vec![large]), &Token::default());
        bed.is_full();
        bed.now_ms += 1_000;
    }
    assert_eq!(bed.replica.history.extent.bytes(), bytes);
}
