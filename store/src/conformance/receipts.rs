//! Receipts: found by key, forgotten by age.

use anabranch_core::Lsn;
use anabranch_core::limits::RECEIPTS_FORGOTTEN_PER_FOLD_MAX;
use anabranch_core::persist::{Fold, FoldId, Retention, StoredReceipt};

use super::Bed;
use super::asking::{crash, open, receipt, stored_receipt};
use crate::seam::Engine;

/// A receipt under the number of its record.
fn written(n: u64) -> StoredReceipt {
    stored_receipt(n, n, n * 10, format!("answer {n}"))
}

fn remembering(receipts: impl IntoIterator<Item = StoredReceipt>) -> Fold {
    Fold {
        receipts: receipts.into_iter().collect(),
        ..Fold::new(FoldId(1))
    }
}

fn forgetting(count_max: u64, not_before_ms: u64) -> Fold {
    Fold {
        retain_receipts: Some(Retention {
            count_max,
            not_before_ms,
            stable_before: Lsn(u64::MAX),
        }),
        ..Fold::new(FoldId(1))
    }
}

fn kept(engine: &impl Engine, through: u64) -> Vec<u64> {
    let there = |n: &u64| receipt(engine, *n).unwrap().is_some();
    (1..=through).filter(there).collect()
}

/// Under its key and no other, in this run and the next.
pub fn a_receipt_is_found_and_no_other(bed: &mut impl Bed) {
    let engine = open(bed);
    assert_eq!(receipt(&engine, 1).unwrap(), None);
    engine.fold(&remembering([written(1), written(2)])).unwrap();
    assert_eq!(receipt(&engine, 2).unwrap(), Some(written(2)));
    let engine = crash(bed, engine);
    assert_eq!(receipt(&engine, 2).unwrap(), Some(written(2)));
    assert_eq!(receipt(&engine, 3).unwrap(), None);
}

/// Those of the same fold counted.
pub fn the_oldest_receipts_are_forgotten_by_number(bed: &mut impl Bed) {
    let engine = open(bed);
    engine.fold(&remembering((1..=10).map(written))).unwrap();
    engine.fold(&forgetting(10, 0)).unwrap();
    assert_eq!(kept(&engine, 10).len(), 10);
    let last = Fold {
        retain_receipts: forgetting(4, 0).retain_receipts,
        ..remembering([written(11)])
    };
    engine.fold(&last).unwrap();
    assert_eq!(kept(&engine, 11), [8, 9, 10, 11]);
    let engine = crash(bed, engine);
    assert_eq!(kept(&engine, 11), [8, 9, 10, 11]);
}

/// Up to the first that is not too old.
pub fn the_oldest_receipts_are_forgotten_by_age(bed: &mut impl Bed) {
    let engine = open(bed);
    let late = stored_receipt(3, 3, 1_000, "");
    engine
        .fold(&remembering([written(1), written(2), late, written(4)]))
        .unwrap();
    engine.fold(&forgetting(100, 20)).unwrap();
    assert_eq!(kept(&engine, 4), [2, 3, 4]);
    engine.fold(&forgetting(100, 500)).unwrap();
    assert_eq!(kept(&engine, 4), [3, 4]);
}

/// Unless there are too many.
pub fn receipts_of_what_is_not_stable_are_not_forgotten_by_age(bed: &mut impl Bed) {
    let engine = open(bed);
    engine.fold(&remembering((1..=10).map(written))).unwrap();
    let until = |count_max, lsn| {
        let mut fold = forgetting(count_max, u64::MAX);
        if let Some(retention) = &mut fold.retain_receipts {
            retention.stable_before = Lsn(lsn);
        }
        fold
    };
    engine.fold(&until(100, 4)).unwrap();
    assert_eq!(kept(&engine, 10), [4, 5, 6, 7, 8, 9, 10]);
    engine.fold(&until(5, 4)).unwrap();
    assert_eq!(kept(&engine, 10), [6, 7, 8, 9, 10]);
    engine.fold(&until(100, u64::MAX)).unwrap();
    assert_eq!(kept(&engine, 10), [] as [u64; 0]);
}

/// The older one under the same key is gone.
pub fn a_receipt_that_takes_anothers_place_is_as_young_as_its_own_record(bed: &mut impl Bed) {
    let engine = open(bed);
    engine.fold(&remembering([written(1), written(2)])).unwrap();
    let again = stored_receipt(1, 3, 30, "again");
    engine.fold(&remembering([again.clone()])).unwrap();
    engine.fold(&forgetting(1, 0)).unwrap();
    assert_eq!(kept(&engine, 2), [1]);
    assert_eq!(receipt(&engine, 1).unwrap(), Some(again));
    engine.fold(&forgetting(0, 0)).unwrap();
    assert_eq!(kept(&engine, 2), [] as [u64; 0]);
}

/// So that no fold takes long.
pub fn one_fold_forgets_a_bounded_number_of_receipts(bed: &mut impl Bed) {
    let most = RECEIPTS_FORGOTTEN_PER_FOLD_MAX as u64;
    let engine = open(bed);
    engine
        .fold(&remembering((1..=most + 10).map(written)))
        .unwrap();
    engine.fold(&forgetting(0, 0)).unwrap();
    let there = |n: &u64| receipt(&engine, *n).unwrap().is_some();
    assert_eq!((most - 10..=most + 10).find(there), Some(most + 1));
    engine.fold(&forgetting(0, 0)).unwrap();
    assert_eq!((most - 10..=most + 10).find(there), None);
}
