//! Backups of a store that is written to meanwhile, and stores made of them.
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anabranch_core::persist::{
    Checkpoint, Continuity, DocumentFold, Fetch, Fetched, Fold, FoldId, Recovery, Retention,
    StoreError,
};
use anabranch_core::{DocumentId, Incarnation, Lsn};
use anabranch_store::backup::{
    BackupError, BackupId, ChainError, LogShare, Mark, Order, ReadError, RestoreError, Restoring,
    Summary, in_order, verify,
};
use anabranch_store::conformance::{compact, content, document, receipt, record, stored_receipt};
use anabranch_store::{OpenError, Store};
use bytes::Bytes;

use bed::{CACHE_BYTES, empty, id};

const DOCUMENTS: u64 = 150;
const RECEIPT_KEYS: u64 = 50;
const RECEIPTS_KEPT: u64 = 30;

fn documents_of(lsn: u64) -> [DocumentId; 2] {
    [lsn * 7 % DOCUMENTS, (lsn * 13 + 5) % DOCUMENTS].map(|n| id("n", &format!("{n:03}")))
}

/// So much of it that a backup has several pages.
fn change(lsn: u64) -> Bytes {
    format!("{lsn:06}:{}", noise(lsn).repeat(30)).into()
}

fn noise(lsn: u64) -> String {
    let mixed = (0..16).map(|n| (lsn + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (n << 40)));
    mixed.map(|word| format!("{word:016x}")).collect()
}

/// A store whose records change documents in a way that follows from their positions.
struct Workload {
    store: Arc<Store>,
    end: u64,
    folded: u64,
    folds: u64,
    released: bool,
}

impl Workload {
    fn begin(directory: &Path) -> Self {
        let (store, _) = open(directory, 1).unwrap();
        Self {
            store: Arc::new(store),
            end: 0,
            folded: 0,
            folds: 0,
            released: true,
        }
    }

    fn write(&mut self, records: u64) {
        for _ in 0..records {
            self.end += 1;
            let mut commit = empty(self.end);
            commit.log.push(record(self.end, change(self.end)));
            self.store.commit(&[commit]).unwrap();
        }
    }

    /// Folds all that is written; a part of it if not all is wanted, as a slice of a sweep.
    fn fold(&mut self, whole: bool) {
        let mut changes: BTreeMap<DocumentId, Vec<Bytes>> = BTreeMap::new();
        for lsn in self.folded + 1..=self.end {
            for id in documents_of(lsn) {
                let changes = changes.entry(id).or_default();
                if !changes.contains(&change(lsn)) {
                    changes.push(change(lsn));
                }
            }
        }
        let count = changes.len();
        let documents = changes.into_iter().map(|(id, changes)| DocumentFold {
            id,
            changes,
            present: Some(true),
        });
        self.folds += 1;
        let mut fold = Fold {
            compact: self.folds.is_multiple_of(2),
            documents: match whole {
                true => documents.collect(),
                false => documents.take(count / 2).collect(),
            },
            ..Fold::new(FoldId(self.folds))
        };
        if whole {
            let new = (self.folded + 1..=self.end).filter(|lsn| lsn.is_multiple_of(5));
            fold.receipts = new
                .map(|lsn| stored_receipt(lsn / 5 % RECEIPT_KEYS, lsn, lsn, change(lsn)))
                .collect();
            fold.retain_receipts = Some(Retention {
                count_max: RECEIPTS_KEPT,
                not_before_ms: 0,
                stable_before: Lsn(u64::MAX),
            });
            fold.checkpoint = Some(Checkpoint {
                replay_from: Lsn(self.end + 1),
                state: format!("state at {}", self.end).into(),
            });
            fold.release_before = self.released.then_some(Lsn(self.end + 1));
            self.folded = self.end;
        }
        self.store.fold(&fold).unwrap();
    }

    fn begin_backup(
        &self,
        id: u8,
        since: Option<Mark>,
    ) -> Result<anabranch_store::backup::Backing, BackupError> {
        self.store.back_up(order(id, since))
    }

    fn back_up(&self, id: u8, since: Option<Mark>) -> (Vec<u8>, Summary) {
        let mut bytes = Vec::new();
        let summary = self
            .begin_backup(id, since)
            .unwrap()
            .write(&mut bytes)
            .unwrap();
        assert_eq!(verify(&bytes[..], |_| ()).unwrap(), summary);
        assert_eq!(Summary::glance(io::Cursor::new(&bytes)).unwrap(), summary);
        (bytes, summary)
    }
}

fn order(id: u8, since: Option<Mark>) -> Order {
    Order {
        id: BackupId([id; 16]),
        time_ms: 1_700_000_000_000,
        name: "eu-1".to_owned(),
        replica: [7; 16],
        standalone: true,
        since,
        log: LogShare::All,
        log_bytes_max: 1 << 30,
    }
}

fn open(directory: &Path, fresh: u64) -> Result<(Store, Recovery), OpenError> {
    Store::open_directory(directory, Incarnation(fresh), compact, CACHE_BYTES)
}

/// Lets the store live on between any two frames of a backup.
struct Meanwhile<'a> {
    workload: &'a mut Workload,
    bytes: Vec<u8>,
    writes: u64,
}

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        // Head and content of a frame come apart.
        if self.writes.is_multiple_of(2) {
            self.workload.write(3);
            self.workload.fold(!self.writes.is_multiple_of(3));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn restore(directory: &Path, chain: &[&[u8]]) -> Result<(), RestoreError> {
    let mut restoring = Restoring::begin(directory)?;
    for bytes in chain {
        restoring.take(*bytes, |_| ())?;
    }
    restoring.finish().map(drop)
}

/// Holds a restored store against what was written up to a record, and nothing else.
fn check(directory: &Path, end: u64) -> (Store, Recovery) {
    let (store, recovery) = open(directory, 99).unwrap();
    assert_eq!(recovery.continuity, Continuity::Broken);
    assert_eq!(recovery.incarnation, Incarnation(99));
    assert_eq!(recovery.log_end.map_or(0, |lsn| lsn.0), end);
    let replay_from = recovery
        .checkpoint
        .as_ref()
        .map_or(1, |to| to.replay_from.0);
    let mut held: BTreeMap<DocumentId, BTreeSet<Bytes>> = BTreeMap::new();
    for n in 0..DOCUMENTS {
        let id = id("n", &format!("{n:03}"));
        if let Some(stored) = document(&store, &id).unwrap() {
            held.insert(id, content(&stored).into_iter().collect());
        }
    }
    let mut next = Lsn(replay_from);
    while next.0 <= end {
        let fetch = Fetch::Log {
            from: next,
            bytes_max: 1 << 20,
        };
        let Fetched::Log(records) = store.fetch(&fetch).unwrap() else {
            panic!("another question");
        };
        for record in records {
            assert_eq!((record.lsn, &record.bytes), (next, &change(next.0)));
            for id in documents_of(next.0) {
                held.entry(id).or_default().insert(record.bytes.clone());
            }
            next = next.next();
        }
    }
    let mut expected: BTreeMap<DocumentId, BTreeSet<Bytes>> = BTreeMap::new();
    for lsn in 1..=end {
        for id in documents_of(lsn) {
            expected.entry(id).or_default().insert(change(lsn));
        }
    }
    assert!(held == expected, "not what was written up to {end}");
    (store, recovery)
}

#[test]
fn a_store_that_lives_on_is_restored_as_it_was_at_the_end_of_its_backup() {
    let root = tempfile::tempdir().unwrap();
    for (round, (written, whole)) in [(0, true), (40, false), (900, true), (900, false)]
        .into_iter()
        .enumerate()
    {
        let mut workload = Workload::begin(&root.path().join(format!("{round}")));
        for _ in 0..3 {
            workload.write(written / 3);
            workload.fold(whole);
        }
        let backing = workload.begin_backup(1, None).unwrap();
        let mut out = Meanwhile {
            workload: &mut workload,
            bytes: Vec::new(),
            writes: 0,
        };
        let summary = backing.write(&mut out).unwrap();
        let bytes = out.bytes;
        assert_eq!(verify(&bytes[..], |_| ()).unwrap(), summary);
        let end = summary.totals.log_end.0;
        assert!(written < 900 || end > written, "nothing happened meanwhile");

        let directory = root.path().join(format!("{round}-restored"));
        restore(&directory, &[&bytes]).unwrap();
        assert_eq!(
            std::fs::read(directory.join("replica-id")).unwrap(),
            [7; 16]
        );
        let (store, recovery) = check(&directory, end);
        let replay_from = recovery.checkpoint.map_or(1, |to| to.replay_from.0);
        for key in 0..RECEIPT_KEYS {
            // What came later comes again with its record.
            if let Some(held) = receipt(&*workload.store, key).unwrap()
                && held.lsn.0 < replay_from
            {
                assert_eq!(receipt(&store, key).unwrap(), Some(held));
            }
        }
        let mut commit = empty(1);
        commit.log.push(record(end + 1, "it goes on"));
        store.commit(&[commit]).unwrap();
    }
}

#[test]
fn incremental_backups_bring_a_full_one_up_to_date() {
    let root = tempfile::tempdir().unwrap();
    let mut workload = Workload::begin(&root.path().join("a"));
    workload.released = false;
    workload.write(200);
    workload.fold(true);
    workload.write(30);
    let (full, at_first) = workload.back_up(1, None);
    workload.write(70);
    workload.fold(true);
    let (second, at_second) = workload.back_up(2, Some(at_first.mark()));
    let (empty, at_third) = workload.back_up(3, Some(at_second.mark()));
    assert_eq!(at_third.totals.records, 0);
    workload.write(5);
    let (last, at_last) = workload.back_up(4, Some(at_third.mark()));
    assert_eq!((at_second.totals.records, at_last.totals.records), (70, 5));
    assert!(second.len() < full.len());

    restore(&root.path().join("b"), &[&full, &second, &empty, &last]).unwrap();
    check(&root.path().join("b"), 305);
    restore(&root.path().join("c"), &[&full]).unwrap();
    check(&root.path().join("c"), 230);

    let found = [&at_last, &at_first, &at_third, &at_second].map(Clone::clone);
    assert_eq!(in_order(&found).unwrap(), [1, 3, 2, 0]);
    assert!(matches!(
        in_order(&found[2..]),
        Err(ChainError::NoBase { .. })
    ));
    assert!(matches!(in_order(&[]), Err(ChainError::Nothing)));

    for chain in [
        &[&full[..], &last][..],
        &[&second],
        &[&full, &full],
        &[&full, &second, &second],
        &[],
    ] {
        let error = restore(&root.path().join("d"), chain).unwrap_err();
        assert!(matches!(error, RestoreError::Chain(_)), "{error}");
        assert!(!root.path().join("d").exists(), "nothing is left");
    }
}

#[test]
fn an_incremental_backup_needs_the_log_that_the_earlier_one_ends_on() {
    let root = tempfile::tempdir().unwrap();
    let mut workload = Workload::begin(&root.path().join("a"));
    workload.write(50);
    let (_, summary) = workload.back_up(1, None);
    let mark = summary.mark();
    assert_eq!(mark.to_string().parse(), Ok(mark));
    let refused = |workload: &Workload, mark: Mark| {
        let error = workload.begin_backup(2, Some(mark)).unwrap_err();
        assert!(matches!(error, BackupError::NotSince { .. }), "{error}");
        error.to_string()
    };
    let mut other = mark;
    other.replica = [8; 16];
    assert!(refused(&workload, other).contains("another node"));
    other = mark;
    other.incarnation = Incarnation(5);
    assert!(refused(&workload, other).contains("new incarnation"));
    other = mark;
    other.log_end = Lsn(51);
    assert!(refused(&workload, other).contains("back in time"));
    other.log_end = Lsn(49);
    assert!(refused(&workload, other).contains("not the one"));
    // Into other segments, until the first is released.
    for _ in 0..60 {
        workload.write(40);
        workload.fold(true);
    }
    assert!(refused(&workload, mark).contains("reaches back"));
}

#[test]
fn a_backup_holds_the_log_and_gives_way_when_it_grows_too_long() {
    let root = tempfile::tempdir().unwrap();
    let mut workload = Workload::begin(&root.path().join("a"));
    workload.write(200);
    let held = workload.begin_backup(1, None).unwrap();
    for _ in 0..50 {
        workload.write(40);
        workload.fold(true);
    }
    let long = workload.store.log_bytes();
    assert!(long > 2_000 * 7_000, "{long}");
    let mut bytes = Vec::new();
    let summary = held.write(&mut bytes).unwrap();
    assert!(workload.store.log_bytes() < long / 2);
    let directory = root.path().join("b");
    restore(&directory, &[&bytes]).unwrap();
    check(&directory, summary.totals.log_end.0);

    let mut limited = order(2, None);
    limited.log_bytes_max = long / 2;
    let held = workload.store.back_up(limited).unwrap();
    for _ in 0..50 {
        workload.write(40);
        workload.fold(true);
    }
    assert!(workload.store.log_bytes() < long);
    let error = held.write(io::sink()).unwrap_err();
    assert!(matches!(error, BackupError::LetGo), "{error}");
}

/// A small backup of every kind of content.
fn small(root: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut workload = Workload::begin(&root.join("small"));
    workload.write(6);
    workload.fold(true);
    workload.write(2);
    let (full, summary) = workload.back_up(1, None);
    workload.write(2);
    let (incremental, _) = workload.back_up(2, Some(summary.mark()));
    (full, incremental)
}

#[test]
fn every_cut_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let (full, incremental) = small(root.path());
    for bytes in [full, incremental] {
        for len in 0..bytes.len() {
            let error = verify(&bytes[..len], |_| ()).unwrap_err();
            let cut = matches!(error, ReadError::CutShort { .. });
            assert!(cut || len == 0, "{len}: {error}");
            Summary::glance(io::Cursor::new(&bytes[..len])).unwrap_err();
        }
        let error = verify(&[&bytes[..], b"x"].concat()[..], |_| ()).unwrap_err();
        assert!(matches!(error, ReadError::Followed { .. }), "{error}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let (full, incremental) = small(root.path());
    for mut bytes in [full, incremental] {
        // All of what frames the content, and some of the content.
        let step = 1 + bytes.len() / 400;
        let places =
            (0..bytes.len()).filter(|at| *at < 300 || at % step == 0 || at + 200 > bytes.len());
        for at in places.collect::<Vec<_>>() {
            for bit in [0, 3, 7] {
                bytes[at] ^= 1 << bit;
                let error = verify(&bytes[..], |_| ()).unwrap_err();
                assert!(
                    !matches!(error, ReadError::Input(_) | ReadError::Senseless { .. }),
                    "{at}: {error}"
                );
                bytes[at] ^= 1 << bit;
            }
        }
        verify(&bytes[..], |_| ()).unwrap();
    }
}

/// Where each frame of a backup begins.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut at = 16;
    let mut frames = vec![at];
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        at += 28 + len as usize;
        frames.push(at);
    }
    frames
}

#[test]
fn frames_count_in_their_own_place_only() {
    let root = tempfile::tempdir().unwrap();
    let (full, incremental) = small(root.path());
    let places = frames(&full);
    assert!(places.len() > 6, "{places:?}");
    let frame = |at: usize| &full[places[at]..places[at + 1]];
    let before = |at: usize| &full[..places[at]];
    let after = |at: usize| &full[places[at]..];
    for at in 1..places.len() - 2 {
        let doubled = [before(at + 1), frame(at), after(at + 1)].concat();
        let left_out = [before(at), after(at + 1)].concat();
        let swapped = [before(at), frame(at + 1), frame(at), after(at + 2)].concat();
        let theirs = frames(&incremental);
        let foreign = &incremental[theirs[1]..theirs[2]];
        let replaced = [before(at), foreign, after(at + 1)].concat();
        for wrong in [doubled, left_out, swapped, replaced] {
            let error = verify(&wrong[..], |_| ()).unwrap_err();
            assert!(
                matches!(error, ReadError::Damaged { frame, .. } if frame >= at as u64),
                "{at}: {error}"
            );
        }
    }
    assert!(matches!(
        verify(&b"not a backup"[..], |_| ()),
        Err(ReadError::Foreign)
    ));
}

#[test]
fn what_was_not_restored_to_the_end_is_no_store() {
    let root = tempfile::tempdir().unwrap();
    let (full, _) = small(root.path());
    let directory = root.path().join("b");
    // As a killed process leaves it.
    let mut restoring = Restoring::begin(&directory).unwrap();
    restoring.take(&full[..], |_| ()).unwrap();
    let error = Restoring::begin(&directory).unwrap_err();
    assert!(
        matches!(error, RestoreError::Open(OpenError::Locked { .. })),
        "{error}"
    );
    let left = root.path().join("left");
    std::fs::create_dir(&left).unwrap();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, left.join(path.file_name().unwrap())).unwrap();
    }
    let error = open(&left, 5).unwrap_err();
    assert!(matches!(error, OpenError::HalfRestored), "{error}");
    restore(&left, &[&full]).unwrap();
    check(&left, 8);
    drop(restoring);
    assert!(!directory.exists());

    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("notes"), "mine").unwrap();
    let error = restore(&directory, &[&full]).unwrap_err();
    assert!(
        matches!(&error, RestoreError::NotEmpty { name, .. } if name == "notes"),
        "{error}"
    );
    let error = restore(&left, &[&full]).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    std::fs::remove_file(directory.join("notes")).unwrap();
    let error = restore(&directory, &[&full[..full.len() - 1]]).unwrap_err();
    assert!(
        matches!(error, RestoreError::Read(ReadError::CutShort { .. })),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    restore(&directory, &[&full]).unwrap();
    check(&directory, 8);
}

/// Flips a bit wherever a file whose name begins so has a part of this, which may be compressed.
fn flip(directory: &Path, begins: &str, wanted: &str) {
    const PART_BYTES: usize = 10;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(begins)
        {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        for part in wanted.as_bytes().windows(PART_BYTES) {
            let found = bytes.windows(PART_BYTES).enumerate();
            let found = found.filter(|(_, window)| *window == part);
            let places: Vec<usize> = found.map(|(at, _)| at).collect();
            if !places.is_empty() {
                places.iter().for_each(|at| bytes[at + 5] ^= 1);
                return std::fs::write(&path, bytes).unwrap();
            }
        }
    }
    panic!("nothing to flip");
}

#[test]
fn what_can_not_be_read_is_in_no_backup() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a");
    let mut workload = Workload::begin(&directory);
    workload.released = false;
    workload.write(60);
    workload.fold(true);
    workload.write(3);
    drop(workload);
    flip(
        &directory,
        "log-",
        &format!("{:06}:{}", 10, &noise(10)[..8]),
    );
    let reopen = || Arc::new(open(&directory, 2).unwrap().0);
    let store = reopen();
    let error = store
        .back_up(order(1, None))
        .unwrap()
        .write(io::sink())
        .unwrap_err();
    assert!(
        matches!(&error, BackupError::LogLost { lost, tail_helps: true } if *lost == (Lsn(10)..=Lsn(10))),
        "{error}"
    );
    let tail = Order {
        log: LogShare::Tail,
        ..order(2, None)
    };
    let mut bytes = Vec::new();
    store
        .back_up(tail.clone())
        .unwrap()
        .write(&mut bytes)
        .unwrap();
    restore(&root.path().join("b"), &[&bytes]).unwrap();
    check(&root.path().join("b"), 63);

    drop(store);
    flip(&directory, "documents", &noise(20));
    let store = reopen();
    let error = store.back_up(tail).unwrap().write(io::sink()).unwrap_err();
    assert!(
        matches!(
            &error,
            BackupError::Store(StoreError::Damaged { range: Some(_), .. })
        ),
        "{error}"
    );
    let told = anabranch_store::Engine::tend(&*store, 0).damage;
    assert!(
        told.iter().any(|damage| damage.range.is_some()),
        "whoever mends it is told"
    );
}
