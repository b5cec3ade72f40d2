//! A tile is lost while the store is open: what comes for it waits, and comes back with its repair.

use std::sync::Arc;

use anabranch_core::Lsn;
use anabranch_core::persist::{DocumentRange, Fold, Repair, Retention, StoredDocument};
use redb::ReadableTable as _;

use super::disks::FaultyDisk;
use super::{
    change, checkpoint, compact, content, empty_fold, folding, id, list, noise, open, receipt,
    receipt_key,
};
use crate::documents::Documents;
use crate::engine::Fault;
use crate::tables::{DIRECTORY, Definition, RECEIPTS, TILES};

/// Overwrites one byte in every tile from the `skip`-th on, `most` of them.
fn spoil(documents: &Documents, table: Definition, skip: usize, most: usize) {
    let spoilt = documents.transact(|transaction| {
        let mut table = transaction.open_table(table)?;
        let rows = table.range::<&[u8]>(..)?.skip(skip).take(most);
        let rows: Vec<_> = rows
            .map(|row| row.map(|(low, stored)| (low.value().to_vec(), stored.value().to_vec())))
            .collect::<Result<_, _>>()?;
        for (low, mut stored) in rows {
            stored[9] ^= 1;
            table.insert(low.as_slice(), stored.as_slice())?;
        }
        Ok(())
    });
    spoilt.unwrap();
}

fn damaged_range(documents: &Documents, number: u64) -> DocumentRange {
    match documents.document(&id(number)) {
        Err(Fault::Damaged {
            range: Some(range), ..
        }) => range,
        other => panic!("{other:?}"),
    }
}

fn tidied(documents: &Documents) -> usize {
    let (mut after, mut damaged) = (None, 0);
    loop {
        let tidied = documents.tidy(after, 30_000, compact).unwrap();
        damaged += tidied.damaged.len();
        after = tidied.next;
        if after.is_none() {
            return damaged;
        }
    }
}

fn filled() -> Documents {
    let documents = open(&FaultyDisk::new(Vec::new()));
    let mut fold = folding((0..600).map(|number| (number, vec![noise(number, number)])));
    fold.receipts = (0..300).map(|number| receipt(number, number + 1)).collect();
    documents.fold(&fold, compact).unwrap();
    documents
}

/// The disk says that it can't read, instead of giving something else.
#[test]
fn a_sector_that_cannot_be_read_concerns_its_documents_alone() {
    let disk = FaultyDisk::new(Vec::new());
    let fold = folding((0..600).map(|number| (number, vec![noise(number, number)])));
    open(&disk).fold(&fold, compact).unwrap();
    let documents = open(&disk);
    let stored = documents.view(|view| {
        let table = view.open_table(TILES)?;
        let (_, stored) = table.range::<&[u8]>(..)?.nth(40).unwrap()?;
        Ok(stored.value().to_vec())
    });
    drop(documents);
    let (stored, bytes) = (stored.unwrap(), disk.bytes());
    let part = &stored[stored.len() / 2..stored.len() / 2 + 64];
    // The file has older copies of it, too.
    let places = bytes.windows(part.len()).enumerate();
    let places = places.filter_map(|(at, bytes)| (bytes == part).then_some(at));
    let mut documents = places.map(|at| {
        let disk = FaultyDisk::new(bytes.clone());
        // In tests, the engine reads everything when it is opened; so without a cache, and only then.
        let (documents, _) = Documents::open(Arc::new(disk.clone()), 0).unwrap();
        disk.break_sector(at);
        documents
    });
    let is_whole = |documents: &Documents| (0..600).all(|n| documents.document(&id(n)).is_ok());
    let documents = documents.find(|documents| !is_whole(documents));
    let documents = documents.expect("one of them is the one that counts");
    let lost = |documents: &Documents| -> Vec<u64> {
        let is_lost = |number: &u64| match documents.document(&id(*number)) {
            Ok(held) => {
                assert!(held.is_some());
                false
            }
            Err(Fault::Damaged { range, .. }) => {
                assert!(range.is_some());
                true
            }
            Err(other) => panic!("{other:?}"),
        };
        (0..600).filter(is_lost).collect()
    };
    let before = lost(&documents);
    assert!(!before.is_empty() && before.len() < 100, "{before:?}");
    assert!(tidied(&documents) > 0, "the scrub finds it, too");
    let fold = folding((0..600).map(|number| (number, vec![change(1_000 + number, 5)])));
    let folded = documents.fold(&fold, compact).unwrap();
    assert_eq!(folded.quarantined.len(), before.len());
    assert_eq!(lost(&documents), before);
}

#[test]
fn changes_wait_for_the_repair_of_their_tile() {
    let documents = filled();
    let whole = list(&documents, 100).unwrap();
    spoil(&documents, TILES, 2, 2);
    let lost: Vec<u64> = (0..600)
        .filter(|number| documents.document(&id(*number)).is_err())
        .collect();
    assert!(lost.len() > 10 && lost.len() < 500, "{}", lost.len());
    assert_eq!(tidied(&documents), 1, "two neighbours are one range");
    let mut fold = folding((0..600).map(|number| (number, vec![change(1_000 + number, 5)])));
    fold.checkpoint = checkpoint(5);
    let folded = documents.fold(&fold, compact).unwrap();
    assert_eq!(folded.quarantined.len(), lost.len());
    let range = damaged_range(&documents, lost[0]);
    let named: Vec<_> = folded.damaged.iter().map(|(range, _)| range).collect();
    assert_eq!(named, [&range]);
    for number in 0..600 {
        match documents.document(&id(number)) {
            Ok(held) => assert_eq!(content(&held.unwrap()).len(), 2),
            Err(_) => assert!(lost.contains(&number)),
        }
    }
    let inside = whole.iter().filter(|(id, _)| range.contains(id));
    let stored = |(id, numbers): (
        &anabranch_core::DocumentId,
        &std::collections::BTreeSet<u64>,
    )| {
        let number = *numbers.first().unwrap();
        let state = noise(number, number);
        let present = Some(true);
        (
            id.clone(),
            StoredDocument {
                state,
                present,
                ..StoredDocument::default()
            },
        )
    };
    let repair = Repair {
        range: range.clone(),
        documents: inside.map(stored).collect(),
    };
    let fold = Fold {
        repair: Some(repair),
        ..empty_fold()
    };
    assert!(documents.fold(&fold, compact).unwrap().damaged.is_empty());
    let repaired = list(&documents, 100).unwrap();
    assert!(repaired.len() == 600 && repaired.values().all(|numbers| numbers.len() == 2));
    assert_eq!(tidied(&documents), 0);
}

/// A tile as it was before its documents were last written, whole in itself, has taken the place of the newer one.
#[test]
fn an_older_version_of_a_tile_is_noticed_by_whatever_reads_it() {
    let documents = filled();
    let first = |documents: &Documents| {
        let mut found = None;
        let read = documents.transact(|transaction| {
            let table = transaction.open_table(TILES)?;
            let row = table.first()?;
            found = row.map(|(low, stored)| (low.value().to_vec(), stored.value().to_vec()));
            Ok(())
        });
        read.unwrap();
        found.unwrap()
    };
    let before = first(&documents);
    let fold = folding((0..600).map(|number| (number, vec![noise(number, 9_000 + number)])));
    documents.fold(&fold, compact).unwrap();
    assert_ne!(before, first(&documents));
    let written_back = documents.transact(|transaction| {
        let mut table = transaction.open_table(TILES)?;
        table.insert(before.0.as_slice(), before.1.as_slice())?;
        Ok(())
    });
    written_back.unwrap();
    let is_damage = |result: Result<(), Fault>| matches!(result, Err(Fault::Damaged { .. }));
    let lost = (0..600).find(|number| is_damage(documents.document(&id(*number)).map(drop)));
    let lost = id(lost.expect("looking for one document notices it"));
    let page = documents.page(&lost.namespace, "", None, 1_000, usize::MAX, true);
    assert!(is_damage(page.map(drop)), "going through all notices it");
    assert!(tidied(&documents) > 0, "so does the scrub");
}

#[test]
fn a_lost_part_of_the_directory_is_made_anew() {
    let documents = filled();
    spoil(&documents, DIRECTORY, 0, 1);
    assert!(documents.document(&id(0)).is_err());
    assert_eq!(tidied(&documents), 0);
    assert_eq!(list(&documents, 100).unwrap().len(), 600);
    spoil(&documents, DIRECTORY, 0, 1);
    let fold = folding((0..600).map(|number| (number, vec![change(1_000 + number, 5)])));
    assert!(
        !documents
            .fold(&fold, compact)
            .unwrap()
            .quarantined
            .is_empty()
    );
    assert!(documents.document(&id(0)).is_err(), "its change waits");
    documents.fold(&empty_fold(), compact).unwrap();
    let held = list(&documents, 100).unwrap();
    assert!(held.len() == 600 && held.values().all(|numbers| numbers.len() == 2));
}

#[test]
fn lost_receipts_are_an_error_until_they_would_be_forgotten() {
    let documents = filled();
    spoil(&documents, RECEIPTS, 1, 1);
    let is_lost = |number: &u64| documents.receipt(receipt_key(*number)).is_err();
    let lost: Vec<u64> = (0..300).filter(is_lost).collect();
    assert!(lost.len() > 10 && lost.len() < 290, "{}", lost.len());
    assert_eq!(tidied(&documents), 1);
    let renewed = receipt(lost[0], 900);
    let mut fold = empty_fold();
    fold.receipts = vec![renewed.clone()];
    documents.fold(&fold, compact).unwrap();
    assert_eq!(
        documents.receipt(renewed.key).unwrap(),
        Some(renewed.clone())
    );
    assert!(
        documents.receipt(receipt_key(lost[1])).is_err(),
        "unknown is not absent"
    );
    let mut fold = empty_fold();
    fold.retain_receipts = Some(Retention {
        count_max: 1,
        not_before_ms: 0,
        stable_before: Lsn(u64::MAX),
    });
    documents.fold(&fold, compact).unwrap();
    documents.fold(&fold, compact).unwrap();
    assert_eq!(tidied(&documents), 0);
    for number in 0..300 {
        let held = documents.receipt(receipt_key(number)).unwrap();
        assert_eq!(held, (number == lost[0]).then(|| renewed.clone()));
    }
}
