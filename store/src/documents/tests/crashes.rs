//! The power goes off at every call that changes the disk; what was reported is there afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::disks::{FaultyDisk, Trouble};
use super::{change, checkpoint, compact, content, folding, id, list, open, receipt, try_open};
use crate::documents::Documents;
use crate::meta::Meta;

const DOCUMENTS: u64 = 60;
const ROUNDS: u64 = 5;

/// Round `n` gives every third document a change; the receipt and the checkpoint name the round.
fn round(n: u64) -> anabranch_core::persist::Fold {
    let touched = (0..DOCUMENTS).filter(|number| (number + n).is_multiple_of(3));
    let mut fold = folding(touched.map(|number| (number, vec![change(n, 300)])));
    fold.compact = n.is_multiple_of(2);
    fold.receipts.push(receipt(n, n));
    fold.checkpoint = checkpoint(n);
    fold
}

fn after_rounds(rounds: u64) -> BTreeMap<anabranch_core::DocumentId, BTreeSet<u64>> {
    let mut expected = BTreeMap::<_, BTreeSet<u64>>::new();
    for n in 1..=rounds {
        for document in round(n).documents {
            expected.entry(document.id).or_default().insert(n);
        }
    }
    expected
}

/// How many rounds were reported.
fn work(documents: &Documents, from: u64) -> u64 {
    (from..=ROUNDS)
        .take_while(|n| documents.fold(&round(*n), compact).is_ok())
        .last()
        .unwrap_or(from - 1)
}

fn made(disk: &FaultyDisk) -> Option<Documents> {
    let (documents, meta): (Documents, Option<Meta>) = try_open(disk).ok()?;
    if meta.is_none() {
        documents
            .begin(b"medium", anabranch_core::Incarnation(7), true)
            .ok()?;
    }
    Some(documents)
}

#[test]
fn what_was_reported_survives_a_power_cut_at_any_call() {
    let whole = FaultyDisk::new(Vec::new());
    let documents = open(&whole);
    assert_eq!(work(&documents, 1), ROUNDS);
    let calls = whole.calls();
    let mut ahead = 0;
    for calls_left in 0..calls {
        for seed in 0..3 {
            let disk = FaultyDisk::new(Vec::new());
            disk.plan(Trouble::PowerCut, calls_left, seed);
            let reported = made(&disk).map_or(0, |documents| work(&documents, 1));
            let disk = FaultyDisk::new(disk.after_crash());
            let (documents, meta) =
                try_open(&disk).unwrap_or_else(|error| panic!("cut at {calls_left}: {error}"));
            let Some(meta) = meta else {
                assert_eq!(reported, 0);
                continue;
            };
            let rounds = meta
                .checkpoint
                .map_or(0, |checkpoint| checkpoint.replay_from.0);
            assert!(
                rounds == reported || rounds == reported + 1,
                "cut at {calls_left}: {reported} reported, {rounds} there"
            );
            ahead += u64::from(rounds > reported);
            assert!(list(&documents, 50).unwrap() == after_rounds(rounds));
            for n in 1..=ROUNDS {
                let held = documents.receipt(super::receipt_key(n)).unwrap();
                assert_eq!(held.is_some(), n <= rounds);
            }
            // The tail of the log is folded again, and it goes on.
            assert_eq!(work(&documents, rounds.max(1)), ROUNDS);
            assert!(list(&documents, 50).unwrap() == after_rounds(ROUNDS));
        }
    }
    assert!(ahead > 0, "the cuts never came at an interesting moment");
    println!("{calls} calls");
}

/// A fold of many slices: some are there, some not, and the checkpoint only with all of them.
#[test]
fn a_large_fold_that_was_cut_short_is_done_again() {
    let large = || {
        let mut noise = super::Random(1);
        let mut fold = folding((0..1_500).map(|number| {
            let digits: String = (0..250).map(|_| format!("{:016x}", noise.next())).collect();
            (number, vec![format!("<1:{digits}>").into_bytes().into()])
        }));
        fold.checkpoint = checkpoint(9);
        fold
    };
    let whole = FaultyDisk::new(Vec::new());
    let documents = open(&whole);
    let before = whole.calls();
    documents.fold(&large(), compact).unwrap();
    let calls = whole.calls() - before;
    let mut partial = 0;
    for part in 1..8 {
        let disk = FaultyDisk::new(Vec::new());
        let documents = open(&disk);
        disk.plan(Trouble::PowerCut, calls * part / 8, part);
        assert!(documents.fold(&large(), compact).is_err());
        drop(documents);
        let disk = FaultyDisk::new(disk.after_crash());
        let (documents, meta) = try_open(&disk).unwrap();
        assert_eq!(meta.unwrap().checkpoint, None);
        let held = list(&documents, 500).unwrap().len();
        partial += u64::from(held > 0 && held < 1_500);
        documents.fold(&large(), compact).unwrap();
        assert_eq!(list(&documents, 500).unwrap().len(), 1_500);
        let one = documents.document(&id(700)).unwrap().unwrap();
        assert_eq!(content(&one).len(), 1);
        assert!(one.changes.len() <= 1);
    }
    assert!(partial > 2, "it is written in one piece");
}
