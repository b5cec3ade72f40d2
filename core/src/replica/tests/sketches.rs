//! What differs is found in one round trip, by sketches; and by digests if they don't tell.

use serde_json::json;

use super::bed::{Bed, namespace};
use super::pairs::Pair;
use crate::message::Message;
use crate::repair_message::RepairMessage;
use crate::summary::Cell;

/// Two names whose places begin with the same 44 bits, found by trying.
const ALIKE: [&str; 2] = ["k802347", "k2714752"];

/// They meet again, and are equal once they have repaired each other. What they said of that.
fn repaired(pair: &mut Pair) -> Vec<RepairMessage> {
    pair.pass(1_000);
    pair.beds.iter_mut().for_each(Bed::restart);
    pair.pass(2_000);
    pair.sent.clear();
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
    let refused = pair
        .beds
        .iter()
        .map(|bed| bed.replica.counters.comparisons_refused);
    assert_eq!(refused.sum::<u64>(), 0);
    let of_repair = |message| match message {
        Message::Repair(message) => Some(message),
        _ => None,
    };
    std::mem::take(&mut pair.sent)
        .into_iter()
        .filter_map(of_repair)
        .collect()
}

pub(super) fn names(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("k{n}"))
}

fn goes_down(said: &[RepairMessage]) -> bool {
    let by_digests = |said: &RepairMessage| {
        matches!(
            said,
            RepairMessage::Differ { .. } | RepairMessage::Leaves { .. }
        )
    };
    said.iter().any(by_digests)
}

#[test]
fn what_differs_is_found_in_one_round_trip() {
    let mut pair = Pair::parted(names(300));
    for n in 0..20 {
        pair.count(0, &format!("k{}", n * 13));
        // Some that the other one does not have.
        pair.put(0, &format!("new{n}"), json!({"n": n}));
    }
    let said = repaired(&mut pair);
    assert!(!goes_down(&said), "{said:?}");
    let asked = said.iter().filter_map(|said| match said {
        RepairMessage::Sums { prefixes, .. } => Some(prefixes.len()),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [40]);
    let status = pair.beds[1].replica.comparisons.last[&namespace(0)];
    assert_eq!(
        (status.documents, status.round_trips),
        (40, 2),
        "{status:?}"
    );
}

#[test]
fn each_gets_what_the_other_has() {
    let mut pair = Pair::parted(names(300));
    for n in 0..30 {
        pair.count(n % 2, &format!("k{}", n / 3));
    }
    let said = repaired(&mut pair);
    assert!(!goes_down(&said), "{said:?}");
}

#[test]
fn a_sketch_that_tells_nothing_is_followed_by_digests() {
    let mut pair = Pair::parted(names(300));
    for n in 0..20 {
        pair.count(0, &format!("k{n}"));
    }
    pair.change = |message| {
        if let Message::Repair(RepairMessage::Cut { cells, .. }) = message
            && let Some(cell) = cells.first_mut()
        {
            *cell = Cell::new(7, 7 << 50).unwrap();
        }
    };
    let said = repaired(&mut pair);
    assert!(goes_down(&said));
    assert_eq!(pair.beds[1].replica.counters.sketches_failed, 1);
    assert_eq!(pair.beds[1].replica.counters.documents_repaired, 20);
}

/// If most of it differs, digests find it for less.
#[test]
fn where_most_differs_no_sketch_is_sent() {
    let mut pair = Pair::parted(names(300));
    for n in 0..250 {
        pair.count(0, &format!("k{n}"));
    }
    let said = repaired(&mut pair);
    assert!(goes_down(&said));
    assert_eq!(pair.beds[1].replica.counters.sketches_failed, 0);
}

/// Of names that a sketch does not tell apart one or both may differ, and one or both may be missing.
#[test]
fn two_names_that_a_sketch_takes_for_one_both_come() {
    for there in [&ALIKE[..], &ALIKE[..1], &ALIKE[1..], &[]] {
        for changed in [&ALIKE[..], &ALIKE[..1], &ALIKE[1..]] {
            for by in [0, 1] {
                let there = there.iter().map(ToString::to_string);
                let mut pair = Pair::parted(names(100).chain(there));
                for key in changed {
                    match pair.beds[by].read(key) {
                        Some(_) => pair.count(by, key),
                        None => pair.put(by, key, json!({"n": 1})),
                    }
                }
                let said = repaired(&mut pair);
                let asked = |said: &RepairMessage| matches!(said, RepairMessage::Sums { prefixes, .. } if prefixes.len() == 1);
                assert!(said.iter().any(asked), "{said:?}");
            }
        }
    }
}
