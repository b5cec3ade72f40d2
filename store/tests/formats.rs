//! Stores that earlier versions have written are opened, and those of later ones refused.
//!
//! A fixture is a whole data directory in one compressed file; it is never changed once a version with its format has
//! been released. A new format gets a new one beside it:
//!
//! ```text
//! cargo nextest run -p anabranch-store --test formats --run-ignored only write_a_fixture
//! ```
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anabranch_core::persist::{
    Checkpoint, Commit, Continuity, DocumentFold, DocumentRange, Fetch, Fetched, Fold, FoldId,
    Recovery, Retention,
};
use anabranch_core::{DocumentId, Incarnation, Lsn};
use anabranch_store::conformance::{
    compact, content, document, log, receipt, record, stored_receipt,
};
use anabranch_store::faulty::Random;
use anabranch_store::{Engine as _, OpenError, Store};
use bed::{CACHE_BYTES, empty, id};

/// All formats that were ever written, but for the first, which was never released.
const FIXTURES: [&str; 1] = ["documents-2-log-1"];
/// What this version writes.
const PRESENT: &str = "documents-2-log-1";

const RECORDS: u64 = 60;
/// The last one that was folded; the checkpoint is before it, and what was let go is before that.
const FOLDED: u64 = 50;
const CHECKPOINT: u64 = 40;
const RELEASED_BEFORE: u64 = 10;
const RECEIPTS_KEPT: u64 = 12;

fn fixture(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    directory.join(format!("{name}.lz4"))
}

fn open(path: &Path, fresh: u64) -> Result<(Store, Recovery), OpenError> {
    Store::open_directory(path, Incarnation(fresh), compact, CACHE_BYTES)
}

/// Record `n`. It says nothing of documents; those follow from `n` as well.
fn bytes_of(n: u64) -> Vec<u8> {
    let mut random = Random(n);
    let len = if n.is_multiple_of(9) { 300 } else { n / 2 };
    (0..len).flat_map(|_| random.draw().to_le_bytes()).collect()
}

fn document_of(n: u64) -> DocumentId {
    let namespace = ["carts", "wishes"][usize::from(n.is_multiple_of(4))];
    id(namespace, &format!("of customer {:02}", n % 17))
}

/// Change `n`; every tenth deletes its document.
fn change_of(n: u64) -> Vec<u8> {
    let sign = if n.is_multiple_of(10) { "-" } else { "+" };
    format!("{sign}change {n} ")
        .repeat(usize::try_from(n % 40 + 1).unwrap())
        .into()
}

/// What the fold up to `until` brings.
fn fold(after: u64, until: u64) -> Fold {
    let mut documents: BTreeMap<DocumentId, DocumentFold> = BTreeMap::new();
    for n in after + 1..=until {
        let id = document_of(n);
        let fold = documents.entry(id.clone()).or_insert(DocumentFold {
            id,
            changes: Vec::new(),
            present: None,
        });
        fold.changes.push(change_of(n).into());
        fold.present = Some(!n.is_multiple_of(10));
    }
    Fold {
        documents: documents.into_values().collect(),
        compact: until.is_multiple_of(20),
        receipts: (after + 1..=until)
            .map(|n| stored_receipt(n, n, n, change_of(n)))
            .collect(),
        retain_receipts: Some(Retention {
            count_max: RECEIPTS_KEPT,
            not_before_ms: 0,
            stable_before: Lsn(u64::MAX),
        }),
        checkpoint: (until <= CHECKPOINT).then(|| Checkpoint {
            replay_from: Lsn(until + 1),
            state: bytes_of(until).into(),
        }),
        release_before: (until == CHECKPOINT).then_some(Lsn(RELEASED_BEFORE)),
        ..Fold::new(FoldId(until))
    }
}

fn commit(store: &Store, n: u64) {
    let commit = Commit {
        log: vec![record(n, bytes_of(n))],
        ..empty(n)
    };
    store.commit(&[commit]).unwrap();
}

fn fill(store: &Store) {
    for n in 1..=RECORDS {
        commit(store, n);
        if n.is_multiple_of(10) && n <= FOLDED {
            store.fold(&fold(n - 10, n)).unwrap();
        }
    }
}

/// All that a store holds to which so many records were folded, of so many.
fn assert_holds(store: &Store, folded: u64, records: u64) {
    let expected: Vec<_> = (RELEASED_BEFORE..=records)
        .map(|n| record(n, bytes_of(n)))
        .collect();
    assert!(log(store, RELEASED_BEFORE, usize::MAX).unwrap() == expected);
    let mut changes: BTreeMap<DocumentId, Vec<u64>> = BTreeMap::new();
    for n in 1..=folded {
        changes.entry(document_of(n)).or_default().push(n);
    }
    for (id, changes) in &changes {
        let stored = document(store, id).unwrap().unwrap();
        let written: Vec<_> = changes.iter().map(|n| change_of(*n)).collect();
        assert!(content(&stored) == written, "{id}");
        let last = changes.last().unwrap();
        assert_eq!(stored.present, Some(!last.is_multiple_of(10)), "{id}");
    }
    assert_eq!(document(store, &id("carts", "nobody")).unwrap(), None);
    let everything = Fetch::Range {
        range: DocumentRange {
            from: None,
            before: None,
        },
        bytes_max: usize::MAX,
    };
    let Fetched::Range { documents, more } = store.fetch(&everything).unwrap() else {
        panic!("asked for a range");
    };
    let ids: Vec<_> = documents.iter().map(|(id, _)| id).collect();
    assert!(!more && ids.iter().copied().eq(changes.keys()));
    for n in 1..=records {
        let kept = n <= folded && n + RECEIPTS_KEPT > folded;
        let expected = kept.then(|| stored_receipt(n, n, n, change_of(n)));
        assert_eq!(receipt(store, n).unwrap(), expected, "receipt {n}");
    }
}

/// Files with their names and lengths, one after the other, compressed.
fn pack(path: &Path) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, content) in files(path) {
        packed.extend((name.len() as u64).to_le_bytes());
        packed.extend(name.as_bytes());
        packed.extend((content.len() as u64).to_le_bytes());
        packed.extend(content);
    }
    lz4_flex::compress_prepend_size(&packed)
}

fn unpack(fixture: &Path, into: &Path) {
    let packed = lz4_flex::decompress_size_prepended(&fs::read(fixture).unwrap()).unwrap();
    let mut rest = &packed[..];
    let mut take = || {
        let (len, bytes) = rest.split_first_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap();
        let (taken, after) = bytes.split_at(len);
        rest = after;
        Some(taken)
    };
    while let Some(name) = take() {
        let name = std::str::from_utf8(name).unwrap();
        fs::write(into.join(name), take().unwrap()).unwrap();
    }
}

/// What lies in a directory, but for what tells who has it open.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = fs::read_dir(path).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name != "LOCK")
        .map(|name| (name.clone(), fs::read(path.join(name)).unwrap()))
        .collect()
}

#[test]
#[ignore = "writes the fixture of the present format"]
fn write_a_fixture() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path(), 7).unwrap();
    fill(&store);
    drop(store);
    let path = fixture(PRESENT);
    assert!(
        !path.exists(),
        "{} is there; fixtures are never changed",
        path.display()
    );
    fs::write(path, pack(directory.path())).unwrap();
}

#[test]
fn stores_of_earlier_versions_are_opened_read_and_written() {
    for name in FIXTURES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        unpack(&fixture(name), path);
        let (store, recovery) = open(path, 8).unwrap();
        // It is a copy.
        let found = (recovery.continuity, recovery.incarnation);
        assert_eq!(found, (Continuity::Broken, Incarnation(8)), "{name}");
        assert_eq!(recovery.log_end, Some(Lsn(RECORDS)));
        let checkpoint = recovery.checkpoint.unwrap();
        assert_eq!(checkpoint.replay_from, Lsn(CHECKPOINT + 1));
        assert!(checkpoint.state == bytes_of(CHECKPOINT));
        assert_holds(&store, FOLDED, RECORDS);
        let mut now_ms = 0;
        loop {
            now_ms += 60_000;
            let tended = store.tend(now_ms);
            assert_eq!(tended.damage, []);
            if tended.pass_finished {
                break;
            }
        }
        for n in RECORDS + 1..=RECORDS + 10 {
            commit(&store, n);
        }
        store.fold(&fold(FOLDED, RECORDS)).unwrap();
        assert_holds(&store, RECORDS, RECORDS + 10);
        drop(store);
        let (store, _) = open(path, 9).unwrap();
        assert_holds(&store, RECORDS, RECORDS + 10);
    }
}

/// What was written when this version was made, read by it: so that nobody forgets to add a fixture.
#[test]
fn the_present_format_has_a_fixture() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path(), 7).unwrap();
    fill(&store);
    assert_holds(&store, FOLDED, RECORDS);
    drop(store);
    let log = fs::read(directory.path().join("log-0000000001")).unwrap();
    let log_version = u32::from_le_bytes(log[8..12].try_into().unwrap());
    let database = redb::Database::open(directory.path().join("documents.redb")).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let meta = redb::TableDefinition::<&[u8], &[u8]>::new("meta");
    let row = transaction.open_table(meta).unwrap();
    let row = row.get(&b"format"[..]).unwrap().unwrap();
    let documents_version = u32::from_le_bytes(row.value()[8..].try_into().unwrap());
    assert_eq!(
        PRESENT,
        format!("documents-{documents_version}-log-{log_version}")
    );
    assert!(FIXTURES.contains(&PRESENT) && fixture(PRESENT).exists());
}

#[test]
fn a_log_of_a_later_version_is_refused_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    unpack(&fixture(PRESENT), path);
    let segment = path.join("log-0000000001");
    let mut content = fs::read(&segment).unwrap();
    // Both copies of the header.
    for at in [8, 4096 + 8] {
        content[at] = 2;
    }
    fs::write(&segment, &content).unwrap();
    let before = files(path);
    let refused = open(path, 8).unwrap_err();
    assert!(
        matches!(refused, OpenError::NewerFormat { found: 2, known: 1 }),
        "{refused}"
    );
    assert!(refused.to_string().contains("run the newer program"));
    let after = files(path);
    // The engine notes in its own file that it was opened and closed; what is in it stays.
    for (name, content) in before.iter().filter(|(name, _)| *name != "documents.redb") {
        assert!(after[name] == *content, "{name}");
    }
    assert_eq!(after.len(), before.len());
    for at in [8, 4096 + 8] {
        content[at] = 1;
    }
    fs::write(&segment, &content).unwrap();
    let (store, _) = open(path, 8).unwrap();
    assert_holds(&store, FOLDED, RECORDS);
}
