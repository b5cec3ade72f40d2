//! What a peer with a valid certificate says and what can't be so: how much of it costs anything.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::bed::{Bed, namespace, origin};
use crate::effect::Input;
use crate::message::Message;
use crate::repair_message::{Reason, RepairMessage};
use crate::{Batch, DocumentWrite, Key, Namespace, Seq};

const LIAR: u8 = 9;

fn batch(namespace: Namespace, seq: u64, change: Vec<u8>) -> Batch {
    Batch {
        namespace,
        origin: origin(LIAR, 1),
        seq: Seq(seq),
        time_ms: 1,
        causes: Vec::new(),
        writes: vec![DocumentWrite {
            key: Key::new("d").unwrap(),
            changes: vec![change.into()],
        }],
        receipt: None,
    }
}

/// Seed 84: every namespace that a peer had ever named stayed, and once there were as many as may be, none that somebody wrote to
/// had room.
#[test]
fn of_a_namespace_that_was_only_named_nothing_stays() {
    let mut bed = Bed::new();
    bed.meet_as(LIAR, "liar", &[]);
    for name in ["one", "two", "three"] {
        let namespace = Namespace::new(name).unwrap();
        bed.hear_as(LIAR, batch(namespace, 7, vec![1; 40]));
    }
    assert_eq!(bed.replica.namespaces().count(), 0);
}

/// A whole document in a batch was merged like a change, and counted as another one.
#[test]
fn a_batch_brings_no_whole_document() {
    let mut bed = Bed::new();
    bed.meet_as(LIAR, "liar", &[]);
    let whole = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 0, 0];
    let bytes = Message::Delta(vec![Arc::new(batch(namespace(0), 1, whole))]).encode();
    assert!(Message::decode(&bytes).is_err());
}

/// Whoever asks for comparisons and never goes on with them took all the room there is for them.
#[test]
fn a_peer_is_in_so_many_comparisons_at_once() {
    let mut bed = Bed::new();
    bed.meet_as(LIAR, "liar", &[]);
    let named: Vec<_> = (1..=5).map(|number| (number, namespace(number))).collect();
    for (_, namespace) in &named {
        bed.hear_as(LIAR, batch(namespace.clone(), 1, vec![1; 40]));
        bed.sync();
    }
    for _ in 0..10 {
        bed.now_ms += 1_000;
        bed.give(Input::Tick);
    }
    let mut busy = 0;
    for (number, namespace) in named {
        let number = number as u64;
        let compare = RepairMessage::Compare {
            number,
            namespace,
            positions: Vec::new(),
            documents: 0,
            expected: 0,
            whole: false,
            since_ms: u64::MAX,
        };
        bed.said_to(LIAR);
        bed.tell_as(LIAR, &Message::Repair(compare));
        let reason = Reason::Busy;
        let end = Message::Repair(RepairMessage::End { number, reason });
        let said = bed.said_to(LIAR);
        busy += said.iter().filter(|said| **said == end).count();
    }
    assert_eq!(busy, 1);
}
