//! One bit is not what was written: that is noticed, names what is lost, and can be repaired.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_core::DocumentId;
use anabranch_core::persist::{DocumentRange, Fold, Repair, StoredDocument};

use super::disks::FaultyDisk;
use super::{
    Random, change, compact, content, empty_fold, folding, id, list, namespaces, noise, open,
    receipt, receipt_key, try_open,
};
use crate::documents::Documents;
use crate::engine::Fault;

const DOCUMENTS: u64 = 240;
const RECEIPTS: u64 = 60;
/// Bits that are tried; a thousand take about a minute.
const FLIPS: u64 = 400;

type Expected = BTreeMap<DocumentId, BTreeSet<u64>>;

/// A file with a past: pages that are free still hold older versions of what is in others.
fn made() -> (Vec<u8>, Expected) {
    let disk = FaultyDisk::new(Vec::new());
    let documents = open(&disk);
    let mut expected = Expected::new();
    for n in 1..=6 {
        let touched = (0..DOCUMENTS).filter(|number| n == 1 || (number * 7 + n).is_multiple_of(5));
        let mut fold = folding(touched.map(|number| (number, vec![noise(n, number * 10 + n)])));
        for document in &fold.documents {
            expected.entry(document.id.clone()).or_default().insert(n);
        }
        fold.compact = n.is_multiple_of(2);
        fold.receipts = (0..RECEIPTS / 6)
            .map(|number| receipt(n * 100 + number, n))
            .collect();
        documents.fold(&fold, compact).unwrap();
    }
    drop(documents);
    (disk.bytes(), expected)
}

/// Bits anywhere but in what was never written.
fn bits(bytes: &[u8]) -> Vec<usize> {
    let used = |page: &usize| {
        bytes[page * 4096..(page + 1) * 4096]
            .iter()
            .any(|byte| *byte != 0)
    };
    let pages: Vec<usize> = (0..bytes.len() / 4096).filter(used).collect();
    let mut random = Random(5);
    let mut bit = |_| {
        let page = pages[usize::try_from(random.below(pages.len() as u64)).unwrap()];
        page * 4096 * 8 + usize::try_from(random.below(4096 * 8)).unwrap()
    };
    (0..FLIPS).map(&mut bit).collect()
}

#[derive(Default, Debug)]
struct Tally {
    unopened: u64,
    whole: u64,
    damaged: u64,
    unfolded: u64,
    unrepaired: u64,
}

/// Every answer is right or an error; gives the ranges that were named.
fn look(documents: &Documents, expected: &Expected, bit: usize) -> Vec<DocumentRange> {
    let mut ranges = Vec::new();
    let mut note = |fault| match fault {
        Fault::Damaged { range, .. } => {
            let range: DocumentRange =
                range.unwrap_or_else(|| panic!("bit {bit}: of documents, without a range"));
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
        fault => panic!("bit {bit}: {fault:?}"),
    };
    for number in 0..DOCUMENTS + 30 {
        match documents.document(&id(number)) {
            Ok(held) => {
                let held = held.map(|held| content(&held));
                assert!(
                    held.as_ref() == expected.get(&id(number)),
                    "bit {bit}: wrong content in {number}"
                );
            }
            Err(fault) => note(fault),
        }
    }
    for namespace in namespaces() {
        let expected: Vec<_> = expected
            .iter()
            .filter(|(id, _)| id.namespace == namespace)
            .collect();
        let mut after = None;
        let mut seen = 0;
        loop {
            match documents.page(&namespace, "", after.as_ref(), 30, usize::MAX, true) {
                Ok((page, more)) => {
                    for ((key, held), (id, content_there)) in page.iter().zip(&expected[seen..]) {
                        assert!(
                            *key == id.key && content(held) == **content_there,
                            "bit {bit}: a wrong page"
                        );
                    }
                    seen += page.len();
                    after = page.last().map(|(key, _)| key.clone()).or(after);
                    if !more {
                        assert!(seen == expected.len(), "bit {bit}: a page with gaps");
                        break;
                    }
                }
                Err(fault) => {
                    note(fault);
                    break;
                }
            }
        }
    }
    for n in 1..=6 {
        for number in 0..RECEIPTS / 6 {
            let known = receipt(n * 100 + number, n);
            match documents.receipt(known.key) {
                Ok(held) => assert_eq!(held, Some(known), "bit {bit}"),
                Err(Fault::Damaged { .. }) => {}
                Err(fault) => panic!("bit {bit}: {fault:?}"),
            }
        }
    }
    drop(documents.receipt(receipt_key(99_999)));
    ranges
}

fn repairing(range: &DocumentRange, expected: &Expected) -> Fold {
    let inside = expected.iter().filter(|(id, _)| range.contains(id));
    let stored = |content: &BTreeSet<u64>| StoredDocument {
        state: content
            .iter()
            .flat_map(|number| change(*number, 300))
            .collect(),
        ..StoredDocument::default()
    };
    Fold {
        repair: Some(Repair {
            range: range.clone(),
            documents: inside
                .map(|(id, content)| (id.clone(), stored(content)))
                .collect(),
        }),
        ..empty_fold()
    }
}

/// Repairs what is named until nothing is; what is left, and why.
fn repair(
    documents: &Documents,
    mut left: Vec<DocumentRange>,
    elsewhere: &Expected,
    expected: &Expected,
    bit: usize,
) -> (Vec<DocumentRange>, Vec<(DocumentRange, String)>) {
    let mut fault = Vec::new();
    for _ in 0..10 {
        let Some(range) = left.first() else { break };
        match documents.fold(&repairing(range, elsewhere), compact) {
            Ok(folded) => fault = folded.damaged,
            Err(error) => {
                fault = vec![(range.clone(), error.to_string())];
                break;
            }
        }
        left = look(documents, expected, bit);
    }
    (left, fault)
}

#[test]
fn a_flipped_bit_is_an_error_or_nothing_and_can_be_repaired() {
    let (bytes, before) = made();
    let mut tally = Tally::default();
    for bit in bits(&bytes) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let disk = FaultyDisk::new(flipped);
        let Ok((documents, Some(_))) = try_open(&disk) else {
            tally.unopened += 1;
            continue;
        };
        let mut expected = before.clone();
        let ranges = look(&documents, &expected, bit);
        if ranges.is_empty() && bit % 4 > 0 {
            tally.whole += 1;
            continue;
        }
        let mut fold = folding(
            (0..DOCUMENTS)
                .step_by(3)
                .map(|number| (number, vec![noise(7, number)])),
        );
        fold.receipts = vec![receipt(700, 7)];
        let folded = match documents.fold(&fold, compact) {
            Ok(folded) => folded,
            Err(fault) => {
                assert!(
                    matches!(fault, Fault::Damaged { .. }),
                    "bit {bit}: {fault:?}"
                );
                tally.unfolded += 1;
                continue;
            }
        };
        for document in fold.documents {
            expected.entry(document.id).or_default().insert(7);
        }
        // What others have of these lacks the change that waits in quarantine.
        let mut elsewhere = expected.clone();
        for id in &folded.quarantined {
            elsewhere.get_mut(id).unwrap().remove(&7);
        }
        let damage = look(&documents, &expected, bit);
        tally.damaged += u64::from(!damage.is_empty());
        let (left, fault) = repair(&documents, damage, &elsewhere, &expected, bit);
        if left.is_empty() {
            assert!(list(&documents, 1_000).unwrap() == expected);
        } else {
            println!(
                "page {} byte {}: not repaired: {:?}",
                bit / 8 / 4096,
                bit / 8 % 4096,
                fault.first()
            );
            tally.unrepaired += 1;
        }
    }
    println!("{} bytes, {FLIPS} bits: {tally:?}", bytes.len());
    assert!(
        tally.unopened + tally.unfolded + tally.unrepaired < FLIPS / 50,
        "{tally:?}"
    );
}
