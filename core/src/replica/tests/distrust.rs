//! What a peer with a valid certificate says and what can't be so: how much of it costs anything.

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

/// A bed with so many namespaces, with a batch in each.
fn with_namespaces(count: usize) -> Bed {
    let mut bed = Bed::new();
    bed.meet_as(LIAR, "liar", &[]);
    for number in 1..=count {
        bed.hear_as(LIAR, batch(namespace(number), 1, vec![1; 40]));
        bed.sync();
    }
    for _ in 0..10 {
        bed.now_ms += 1_000;
        bed.give(Input::Tick);
    }
    bed
}

/// A peer asks for a comparison of the namespace of that number; the reasons for which comparisons with it end.
fn ends_on(bed: &mut Bed, peer: u8, number: u8) -> Vec<(u64, Reason)> {
    let compare = RepairMessage::Compare {
        // The higher of two names takes odd numbers.
        number: 2 * u64::from(number) + 1,
        namespace: namespace(number.into()),
        positions: Vec::new(),
        documents: 0,
        expected: 0,
        whole: false,
        since_ms: u64::MAX,
        follows: 0,
        counters: Vec::new(),
    };
    bed.said_to(peer);
    bed.tell_as(peer, &Message::Repair(compare));
    let said = bed.said_to(peer).into_iter();
    let ends = said.filter_map(|said| match said {
        Message::Repair(RepairMessage::End { number, reason }) => Some((number / 2, reason)),
        _ => None,
    });
    ends.collect()
}

/// Whoever asks for comparisons and never goes on with them took all the room there is for them.
#[test]
fn a_peer_is_in_so_many_comparisons_at_once() {
    let mut bed = with_namespaces(5);
    for number in 1..=4 {
        let ends = ends_on(&mut bed, LIAR, number);
        assert_eq!(ends, []);
    }
    // One that has forgotten its first could not ask again until that was too old.
    let ends = ends_on(&mut bed, LIAR, 5);
    assert_eq!(ends, [(1, Reason::Busy)]);
}

#[test]
fn of_all_comparisons_everybody_gets_a_share() {
    let mut bed = with_namespaces(4);
    for peer in [3, 4] {
        bed.meet_as(peer, "busy", &[]);
        for number in 1..=4 {
            assert_eq!(ends_on(&mut bed, peer, number), []);
        }
    }
    for peer in [5, 6, 7] {
        bed.meet_as(peer, "late", &[]);
        assert_eq!(ends_on(&mut bed, peer, 1), []);
    }
}

/// The one who asks for a comparison and is not answered for too long says so, or the other would keep it.
#[test]
fn who_gives_a_comparison_up_says_so() {
    let mut bed = Bed::new();
    bed.meet_as(LIAR, "liar", &[(origin(LIAR, 1), 3)]);
    let origin = origin(LIAR, 1);
    let behind = RepairMessage::Behind(vec![(namespace(0), origin, Seq(3))]);
    bed.run_until(2_000);
    bed.tell_as(LIAR, &Message::Repair(behind));
    let of = |message: Message| match message {
        Message::Repair(RepairMessage::Compare { number, .. }) => Some((number, None)),
        Message::Repair(RepairMessage::End { number, reason }) => Some((number, Some(reason))),
        _ => None,
    };
    let said: Vec<_> = bed.said_to(LIAR).into_iter().filter_map(of).collect();
    let [(number, None)] = said[..] else {
        panic!("{said:?}")
    };
    bed.run_until(20_000);
    let said: Vec<_> = bed.said_to(LIAR).into_iter().filter_map(of).collect();
    assert_eq!(said[0], (number, Some(Reason::Outdated)));
}
