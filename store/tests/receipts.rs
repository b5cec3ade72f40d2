//! Receipts: found by key, forgotten by age.
#![allow(clippy::unwrap_used)]

mod bed;

use anabranch_core::limits::RECEIPTS_FORGOTTEN_PER_COMMIT_MAX;
use anabranch_core::persist::{Commit, Retention};
use anabranch_store::Store;
use bed::{MemoryDisk, empty, opening, receipt, record, remembered};

/// A record with a receipt under the same number.
fn written(n: u64) -> Commit {
    Commit {
        log: vec![record(n, "")],
        receipts: vec![receipt(n, n, n * 10, format!("answer {n}"))],
        ..empty(n)
    }
}

fn forgetting(ticket: u64, count_max: u64, not_before_ms: u64) -> Commit {
    Commit {
        retain_receipts: Some(Retention {
            count_max,
            not_before_ms,
        }),
        ..empty(ticket)
    }
}

fn kept(store: &Store, through: u64) -> Vec<u64> {
    let there = |n: &u64| remembered(store, *n).unwrap().is_some();
    (1..=through).filter(there).collect()
}

#[test]
fn a_receipt_is_there_after_reopening() {
    let disk = MemoryDisk::default();
    bed::open(&disk).commit(&[written(1), written(2)]).unwrap();
    let (store, _) = Store::open(disk, opening("medium", 2)).unwrap();
    let expected = receipt(2, 2, 20, "answer 2");
    assert_eq!(remembered(&store, 2).unwrap(), Some(expected));
    assert_eq!(remembered(&store, 3).unwrap(), None);
}

#[test]
fn the_oldest_are_forgotten_by_number() {
    let store = bed::open(&MemoryDisk::default());
    let commits: Vec<_> = (1..=10).map(written).collect();
    store.commit(&commits).unwrap();
    store.commit(&[forgetting(11, 10, 0)]).unwrap();
    assert_eq!(kept(&store, 10).len(), 10);
    // What the same commit brings counts.
    let last = Commit {
        retain_receipts: forgetting(0, 4, 0).retain_receipts,
        ..written(11)
    };
    store.commit(&[last]).unwrap();
    assert_eq!(kept(&store, 11), [8, 9, 10, 11]);
}

#[test]
fn the_oldest_are_forgotten_by_age_up_to_the_first_that_is_not() {
    let store = bed::open(&MemoryDisk::default());
    let late = Commit {
        receipts: vec![receipt(3, 3, 1_000, "")],
        ..written(3)
    };
    store
        .commit(&[written(1), written(2), late, written(4)])
        .unwrap();
    store.commit(&[forgetting(5, 100, 20)]).unwrap();
    assert_eq!(kept(&store, 4), [2, 3, 4]);
    store.commit(&[forgetting(6, 100, 500)]).unwrap();
    assert_eq!(kept(&store, 4), [3, 4]);
}

#[test]
fn a_receipt_that_takes_anothers_place_is_as_young_as_its_own_record() {
    let store = bed::open(&MemoryDisk::default());
    store.commit(&[written(1), written(2)]).unwrap();
    let again = Commit {
        log: vec![record(3, "")],
        receipts: vec![receipt(1, 3, 30, "again")],
        ..empty(3)
    };
    store.commit(&[again, forgetting(4, 1, 0)]).unwrap();
    assert_eq!(kept(&store, 2), [1]);
    let expected = receipt(1, 3, 30, "again");
    assert_eq!(remembered(&store, 1).unwrap(), Some(expected));
    store.commit(&[forgetting(5, 0, 0)]).unwrap();
    assert_eq!(kept(&store, 2), [] as [u64; 0]);
}

#[test]
fn one_commit_forgets_a_bounded_number() {
    let most = RECEIPTS_FORGOTTEN_PER_COMMIT_MAX as u64;
    let store = bed::open(&MemoryDisk::default());
    let commits: Vec<_> = (1..=3 * most).map(written).collect();
    store.commit(&commits).unwrap();
    store.commit(&[forgetting(0, 0, 0)]).unwrap();
    assert_eq!(kept(&store, 3 * most).len() as u64, 2 * most);
    let group = [forgetting(0, 0, 0), forgetting(0, 0, 0)];
    store.commit(&group).unwrap();
    assert_eq!(kept(&store, 3 * most).len(), 0);
}
