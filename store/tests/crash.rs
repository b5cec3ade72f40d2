//! The power is cut at every single call to the disk of a reference workload.
#![allow(clippy::unwrap_used)]

mod bed;

use anabranch_core::persist::{Checkpoint, Commit, Continuity, Retention};
use anabranch_core::{Incarnation, Lsn};
use anabranch_store::Store;
use bed::{
    CrashingDisk, MemoryDisk, document, empty, id, log, opening, page, receipt, record, remembered,
    stored,
};

const GROUPS: u64 = 8;
/// Different choices of what the crash leaves, for each call.
const SEEDS: u64 = 2;

/// Receipts that are kept; each group brings one more.
const RECEIPTS_KEPT: u64 = 3;

/// Group `n` holds two commits: two records, two documents that name the group, a receipt, a checkpoint.
fn group(n: u64) -> [Commit; 2] {
    let state = || format!("group {n}").repeat(200);
    let first = Commit {
        log: vec![record(2 * n - 1, state())],
        receipts: vec![receipt(n, 2 * n - 1, n, state())],
        retain_receipts: Some(Retention {
            count_max: RECEIPTS_KEPT,
            not_before_ms: 0,
        }),
        documents: vec![(id("n", "shared"), stored(state(), true))],
        ..empty(2 * n - 1)
    };
    let second = Commit {
        log: vec![record(2 * n, "")],
        documents: vec![(id("n", &format!("group-{n}")), stored(state(), true))],
        checkpoint: Some(Checkpoint {
            replay_from: Lsn(2 * n),
            state: state().into(),
        }),
        ..empty(2 * n)
    };
    [first, second]
}

/// How far the workload came.
#[derive(Default)]
struct Reported {
    opened: bool,
    groups: u64,
    /// Every group was committed and the store was opened a second time.
    finished: bool,
}

/// Commits half of the groups, reopens, and commits the rest, until the disk fails.
fn work(disk: &CrashingDisk) -> Reported {
    let mut reported = Reported::default();
    for half in [1..=GROUPS / 2, GROUPS / 2 + 1..=GROUPS] {
        let Ok((store, recovery)) = Store::open(disk.clone(), opening("medium", 7)) else {
            return reported;
        };
        reported.opened = true;
        assert_eq!(recovery.incarnation, Incarnation(7));
        assert_eq!(recovery.log_end.map_or(0, |lsn| lsn.0), 2 * reported.groups);
        for n in half {
            if store.commit(&group(n)).is_err() {
                // Neither may be hidden by what comes after.
                assert!(store.commit(&group(n)).is_err());
                return reported;
            }
            reported.groups = n;
        }
    }
    reported.finished = true;
    reported
}

fn assert_whole(store: &Store, groups: u64) {
    let state = |n: u64| format!("group {n}").repeat(200);
    let expected: Vec<_> = (1..=groups)
        .flat_map(|n| group(n).map(|commit| commit.log[0].clone()))
        .collect();
    assert_eq!(log(store, 1, usize::MAX).unwrap(), expected);
    let shared = (groups > 0).then(|| stored(state(groups), true));
    assert_eq!(document(store, &id("n", "shared")).unwrap(), shared);
    for n in 1..=GROUPS + 1 {
        let kept = n <= groups && n + RECEIPTS_KEPT > groups;
        let expected = kept.then(|| receipt(n, 2 * n - 1, n, state(n)));
        assert_eq!(remembered(store, n).unwrap(), expected, "receipt {n}");
    }
    let listed = page(store, "n", "group-", None, usize::MAX).unwrap();
    assert_eq!(listed.len() as u64, groups);
    for (key, held) in listed {
        let n: u64 = key["group-".len()..].parse().unwrap();
        assert!(n <= groups);
        assert_eq!(held, stored(state(n), true));
    }
}

#[test]
fn what_was_reported_survives_a_power_cut_at_any_call() {
    let whole = CrashingDisk::new(0, u64::MAX, Vec::new());
    assert!(work(&whole).finished);
    let calls = whole.calls();
    let (mut new, mut ahead) = (0, 0);
    for calls_left in 0..calls {
        for seed in 0..SEEDS {
            let disk = CrashingDisk::new(calls_left * SEEDS + seed, calls_left, Vec::new());
            let reported = work(&disk);
            let medium = MemoryDisk::holding(disk.after_crash());
            let (store, recovery) = Store::open(medium, opening("medium", 8))
                .unwrap_or_else(|error| panic!("cut at call {calls_left}, seed {seed}: {error}"));
            if recovery.continuity == Continuity::New {
                assert!(
                    !reported.opened,
                    "cut at call {calls_left}: an incarnation was lost"
                );
                new += 1;
            } else {
                assert_eq!(
                    (recovery.continuity, recovery.incarnation),
                    (Continuity::Proven, Incarnation(7))
                );
            }
            let end = recovery.log_end.map_or(0, |lsn| lsn.0);
            assert!(
                end.is_multiple_of(2),
                "cut at call {calls_left}: half a group"
            );
            let groups = end / 2;
            assert!(
                groups == reported.groups || groups == reported.groups + 1,
                "cut at call {calls_left}, seed {seed}: {} groups reported, {groups} there",
                reported.groups
            );
            ahead += u64::from(groups > reported.groups);
            assert_whole(&store, groups);
            let from = recovery
                .checkpoint
                .map_or(0, |checkpoint| checkpoint.replay_from.0);
            assert_eq!(from, end, "the checkpoint is that of the last group");
            store.commit(&group(groups + 1)).unwrap();
            assert_whole(&store, groups + 1);
        }
    }
    println!(
        "{calls} calls, {SEEDS} crashes at each: {new} found nothing yet, {ahead} kept a group that was not reported, 0 lost"
    );
    assert!(
        new > 0 && ahead > 0,
        "the crashes never came at an interesting moment"
    );
}

/// The second crash comes while the first is being recovered from.
#[test]
fn recovery_survives_power_cuts_too() {
    let first = CrashingDisk::new(0, u64::MAX, Vec::new());
    work(&first);
    let cut = CrashingDisk::new(1, first.calls() * 2 / 3, Vec::new());
    let reported = work(&cut);
    assert!(reported.groups > 1 && !reported.finished);
    let medium = cut.after_crash();
    let probe = CrashingDisk::new(2, u64::MAX, medium.clone());
    let opened = Store::open(probe.clone(), opening("medium", 8)).unwrap();
    let calls = probe.calls();
    drop(opened);
    for calls_left in 0..calls {
        let disk = CrashingDisk::new(calls_left, calls_left, medium.clone());
        // Whether this one opens is its own affair; what it leaves behind must open.
        drop(Store::open(disk.clone(), opening("medium", 9)));
        let (store, recovery) = Store::open(
            MemoryDisk::holding(disk.after_crash()),
            opening("medium", 10),
        )
        .unwrap();
        assert_eq!(
            (recovery.continuity, recovery.incarnation),
            (Continuity::Proven, Incarnation(7))
        );
        let groups = recovery.log_end.unwrap().0 / 2;
        assert!(
            groups >= reported.groups,
            "cut at call {calls_left} of recovery"
        );
        assert_whole(&store, groups);
    }
}
