//! A reference workload: groups of commits, and folds behind them, on a medium that may fail at any call.

use std::ops::RangeInclusive;

use anabranch_core::persist::{
    Checkpoint, Commit, DocumentFold, Fold, FoldId, Recovery, Retention, StoreError,
};
use anabranch_core::{Incarnation, Lsn};
use anabranch_store::conformance::{content, document, log, page, receipt, record, stored_receipt};
use anabranch_store::faulty::{FaultyMedium, Random};
use anabranch_store::{CommitError, Engine as _, OpenError, Opening, Store};
use bytes::Bytes;

use super::{empty, id, opening};

/// Each brings two records.
pub const GROUPS: u64 = 12;
/// A fold follows every so many groups.
const GROUPS_PER_FOLD: u64 = 2;
/// Receipts that are kept; each fold brings one more.
const RECEIPTS_KEPT: u64 = 3;
/// Pieces in which the store looks after all of its data once.
const PIECES: u64 = 6;

/// Larger than half a segment now and then, so that there are several.
fn payload(n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(3) { 20_000 } else { 1_500 };
    format!("group {n} ")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(len)
        .collect()
}

/// Group `n` holds two commits.
pub fn group(n: u64) -> [Commit; 2] {
    let first = Commit {
        log: vec![record(2 * n - 1, payload(n))],
        ..empty(2 * n - 1)
    };
    let second = Commit {
        log: vec![record(2 * n, "")],
        ..empty(2 * n)
    };
    [first, second]
}

/// It does not compress, so that documents soon lie in several tiles, and a fold takes several transactions.
fn text(n: u64) -> Bytes {
    let mut random = Random(n);
    let noise = (0..200).flat_map(|_| random.draw().to_le_bytes());
    noise.collect::<Vec<u8>>().into()
}

/// Fold `n` changes a document that all change, and one of its own; with it comes a receipt and a checkpoint.
pub fn fold(n: u64) -> Fold {
    let end = 2 * GROUPS_PER_FOLD * n;
    let changed = |key: &str| DocumentFold {
        id: id("n", key),
        changes: vec![text(n)],
        present: Some(true),
    };
    Fold {
        documents: vec![changed(&format!("own-{n:02}")), changed("shared")],
        compact: n.is_multiple_of(2),
        receipts: vec![stored_receipt(n, end, n, text(n))],
        retain_receipts: Some(Retention {
            count_max: RECEIPTS_KEPT,
            not_before_ms: 0,
            stable_before: Lsn(u64::MAX),
        }),
        checkpoint: Some(Checkpoint {
            replay_from: Lsn(end + 1),
            state: text(n),
        }),
        release_before: Some(Lsn(end - 1)),
        ..Fold::new(FoldId(n))
    }
}

/// How far the workload came.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Reported {
    pub opened: bool,
    pub groups: u64,
    pub folds: u64,
    /// All of it was done, and the store was opened a second time on the way.
    pub finished: bool,
}

/// Does half of it, reopens, and does the rest, until the medium fails. What finds no room is tried a second time.
pub fn work(medium: &FaultyMedium) -> Reported {
    let mut reported = Reported::default();
    for half in [1..=GROUPS / 2, GROUPS / 2 + 1..=GROUPS] {
        let opened = open(medium).or_else(|error| match error {
            OpenError::Full(_) => open(medium),
            other => Err(other),
        });
        let Ok((store, recovery)) = opened else {
            return reported;
        };
        reported.opened = true;
        assert_eq!(recovery.incarnation, Incarnation(7));
        let end = recovery.log_end.map_or(0, |lsn| lsn.0);
        assert_eq!(end, 2 * reported.groups);
        if run(&store, half, &mut reported).is_none() {
            return reported;
        }
    }
    reported.finished = true;
    reported
}

fn open(medium: &FaultyMedium) -> Result<(Store, Recovery), OpenError> {
    let opening = Opening {
        log_segment_bytes: 32 << 10,
        fold_slice_bytes: 1,
        ..opening("medium", 7)
    };
    Store::open(medium.clone(), opening)
}

fn run(store: &Store, groups: RangeInclusive<u64>, reported: &mut Reported) -> Option<()> {
    for n in groups {
        let committed = store.commit(&group(n)).or_else(|error| match error {
            CommitError::Full(_) => store.commit(&group(n)),
            other => Err(other),
        });
        if committed.is_err() {
            // Neither may be hidden by what comes after.
            assert!(store.commit(&group(n)).is_err());
            return None;
        }
        reported.groups = n;
        store.prepare();
        if n.is_multiple_of(GROUPS_PER_FOLD) {
            let fold = fold(n / GROUPS_PER_FOLD);
            let folded = store.fold(&fold).or_else(|error| match error {
                StoreError::Full(_) => store.fold(&fold),
                other => Err(other),
            });
            folded.ok()?;
            reported.folds = fold.id.0;
            // Each time a whole pass, which compacts what the fold has left.
            for piece in 1..=PIECES {
                store.tend((n * PIECES + piece) * 3_600_000);
            }
        }
    }
    Some(())
}

/// Whether a store holds just so many groups, and folds: those of the checkpoint, and perhaps a part of the one after.
pub fn assert_holds(store: &Store, groups: u64, folds: u64) {
    let first = (2 * GROUPS_PER_FOLD * folds).saturating_sub(1).max(1);
    let expected: Vec<_> = (1..=groups)
        .flat_map(|n| group(n).map(|commit| commit.log[0].clone()))
        .filter(|record| record.lsn.0 >= first)
        .collect();
    assert_eq!(log(store, first, usize::MAX).unwrap(), expected);
    let texts = |folds: u64| -> Vec<Bytes> { (1..=folds).map(text).collect() };
    let shared = document(store, &id("n", "shared")).unwrap();
    let shared = shared.map(|stored| content(&stored)).unwrap_or_default();
    assert!(shared == texts(folds) || shared == texts(folds + 1));
    let (own, _) = page(store, "n", "own-", None, 100, usize::MAX).unwrap();
    let own: Vec<Vec<Bytes>> = own.iter().map(|(_, stored)| content(stored)).collect();
    let each = |folds: u64| -> Vec<Vec<Bytes>> { (1..=folds).map(|n| vec![text(n)]).collect() };
    assert!(own == each(folds) || own == each(folds + 1));
    for n in 1..=folds + 2 {
        let kept = n <= folds && n + RECEIPTS_KEPT > folds;
        let end = 2 * GROUPS_PER_FOLD * n;
        let expected = kept.then(|| stored_receipt(n, end, n, text(n)));
        assert_eq!(receipt(store, n).unwrap(), expected, "receipt {n}");
    }
}

/// What is left of a medium holds all that was reported, and at most one group and one fold more; and it goes on.
/// How many groups and folds there were.
pub fn assert_nothing_lost(
    opened: Result<(Store, Recovery), OpenError>,
    reported: Reported,
    how: &str,
) -> (u64, u64) {
    let (store, recovery) = opened.unwrap_or_else(|error| panic!("{how}: {error}"));
    let end = recovery.log_end.map_or(0, |lsn| lsn.0);
    assert!(end.is_multiple_of(2), "{how}: half a group");
    let groups = end / 2;
    let folds = recovery
        .checkpoint
        .map_or(0, |to| (to.replay_from.0 - 1) / (2 * GROUPS_PER_FOLD));
    let one_more = |found: u64, reported: u64| found == reported || found == reported + 1;
    assert!(
        one_more(groups, reported.groups) && one_more(folds, reported.folds),
        "{how}: {reported:?}, {groups} groups and {folds} folds there"
    );
    assert_holds(&store, groups, folds);
    store.commit(&group(groups + 1)).unwrap();
    if (folds + 1) * GROUPS_PER_FOLD <= groups {
        store.fold(&fold(folds + 1)).unwrap();
        assert_holds(&store, groups + 1, folds + 1);
    } else {
        assert_holds(&store, groups + 1, folds);
    }
    (groups, folds)
}
