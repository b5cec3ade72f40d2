//! The store in a directory: locking, continuity, and refusals that say what to do.
#![allow(clippy::unwrap_used)]

mod bed;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anabranch_core::persist::{Checkpoint, Continuity, Recovery};
use anabranch_core::{Incarnation, Lsn};
use anabranch_store::conformance::{compact, log};
use anabranch_store::{OpenError, Store};
use bed::{CACHE_BYTES, change, folding, logging};

const DATA_FILE: &str = "documents.redb";
const DIRECTORY_VARIABLE: &str = "ANABRANCH_TEST_HOLD_DIRECTORY";

fn open(path: &Path, fresh: u64) -> Result<(Store, Recovery), OpenError> {
    Store::open_directory(path, Incarnation(fresh), compact, CACHE_BYTES)
}

/// Opens, appends a record, closes.
fn append(path: &Path, fresh: u64) -> Recovery {
    let (store, recovery) = open(path, fresh).unwrap();
    let next = recovery.log_end.map_or(1, |lsn| lsn.0 + 1);
    store.commit(&[logging(next, next, "record")]).unwrap();
    recovery
}

#[test]
fn a_restarted_process_continues_its_incarnation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on/the/way");
    let first = append(&path, 1);
    assert_eq!(
        (first.continuity, first.incarnation),
        (Continuity::New, Incarnation(1))
    );
    let (store, second) = open(&path, 2).unwrap();
    assert_eq!(log(&store, 1, usize::MAX).unwrap().len(), 1);
    // Only a machine that can tell its own restarts apart can prove anything.
    if cfg!(target_os = "linux") {
        assert_eq!(
            (second.continuity, second.incarnation),
            (Continuity::Proven, Incarnation(1))
        );
    }
}

/// Copies files over those of the same names, in place: they keep their inodes.
fn copy_over(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if wanted(entry.file_name().to_str().unwrap()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// `cp -r backup/* data/` keeps the inodes of the files that it writes over, so the medium looks
/// the same. The records written since the backup may be at the other replicas all the same.
#[test]
fn a_backup_written_over_the_data_in_place_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (data, backup) = (
        directory.path().join("data"),
        directory.path().join("backup"),
    );
    append(&data, 1);
    fs::create_dir(&backup).unwrap();
    let is_data = |name: &str| name == DATA_FILE || name.starts_with("log-");
    copy_over(&data, &backup, is_data);
    append(&data, 2);
    copy_over(&backup, &data, is_data);
    let (store, recovery) = open(&data, 3).unwrap();
    assert_eq!(
        (recovery.continuity, recovery.incarnation),
        (Continuity::Broken, Incarnation(3))
    );
    assert_eq!(log(&store, 1, usize::MAX).unwrap().len(), 1);
    // It was reported that there is a second record, so no other takes its position.
    assert_eq!(recovery.log_end.map(|lsn| lsn.0), Some(2));
    store.commit(&[logging(3, 3, "goes on")]).unwrap();
    drop(store);
    let (store, _) = open(&data, 4).unwrap();
    let held = log(&store, 1, usize::MAX).unwrap();
    assert_eq!(
        held.iter().map(|record| record.lsn.0).collect::<Vec<_>>(),
        [1, 3]
    );
}

/// Everything since is in the log, as long as nothing was let go.
#[test]
fn older_documents_under_a_newer_log_lose_nothing_that_the_log_has() {
    let directory = tempfile::tempdir().unwrap();
    let (data, backup) = (
        directory.path().join("data"),
        directory.path().join("backup"),
    );
    append(&data, 1);
    fs::create_dir(&backup).unwrap();
    copy_over(&data, &backup, |name| name == DATA_FILE);
    let (store, _) = open(&data, 2).unwrap();
    store.commit(&[logging(2, 2, "record")]).unwrap();
    let mut fold = folding(1, vec![change("a", "1")]);
    fold.checkpoint = Some(Checkpoint {
        replay_from: Lsn(3),
        state: "state".into(),
    });
    store.fold(&fold).unwrap();
    drop(store);
    copy_over(&backup, &data, |name| name == DATA_FILE);
    let (store, recovery) = open(&data, 3).unwrap();
    assert_eq!(recovery.checkpoint, None);
    assert_eq!(recovery.log_first, Some(Lsn(1)));
    assert_eq!(log(&store, 1, usize::MAX).unwrap().len(), 2);
}

#[test]
fn a_store_from_before_the_first_release_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("anabranch.redb");
    fs::write(&old, "whatever").unwrap();
    let refused = open(directory.path(), 1).unwrap_err();
    assert!(matches!(refused, OpenError::OldFormat { .. }), "{refused}");
    assert!(refused.to_string().contains("anabranch.redb"), "{refused}");
    assert_eq!(fs::read(&old).unwrap(), b"whatever");
    assert!(!directory.path().join(DATA_FILE).exists());
}

#[test]
fn a_directory_is_opened_once_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let held = open(directory.path(), 1).unwrap();
    let refused = open(directory.path(), 2).unwrap_err();
    let message = refused.to_string();
    match refused {
        OpenError::Locked { holder, .. } => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    assert!(
        message.contains(&directory.path().display().to_string()),
        "{message}"
    );
    assert!(
        message.contains(&std::process::id().to_string()),
        "{message}"
    );
    drop(held);
    open(directory.path(), 3).unwrap();
}

/// The other process of the test below; does nothing unless that test started it.
#[test]
fn hold_the_directory_named_by_the_environment() {
    let Some(path) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    let _held = open(Path::new(&path), 1).unwrap();
    println!("\nholding");
    // Until the parent closes our input, or kills us.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn another_process_is_kept_out_until_the_holder_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "hold_the_directory_named_by_the_environment",
            "--nocapture",
        ])
        .env(DIRECTORY_VARIABLE, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap() == "holding"),
        "the other process did not get the directory"
    );
    match open(directory.path(), 2) {
        Err(OpenError::Locked { holder: pid, .. }) => assert_eq!(pid, Some(holder.id())),
        other => panic!("{other:?}"),
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    let (_, recovery) = open(directory.path(), 3).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(
            (recovery.continuity, recovery.incarnation),
            (Continuity::Proven, Incarnation(1))
        );
    }
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join(DATA_FILE);
    let mut hollow = vec![0; 9_000];
    hollow[8_000] = 1;
    for content in [&b"not a store"[..], &[0xAA; 9_000], &b"red!"[..], &hollow] {
        fs::write(&data, content).unwrap();
        let refused = open(directory.path(), 1).unwrap_err();
        assert!(matches!(refused, OpenError::Foreign), "{refused}");
        assert_eq!(fs::read(&data).unwrap(), content);
    }
    fs::remove_file(&data).unwrap();
    let database = redb::Database::create(&data).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(redb::TableDefinition::<u64, u64>::new("theirs"))
        .unwrap()
        .insert(1, 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = open(directory.path(), 1).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign), "{refused}");
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    append(directory.path(), 1);
    let database = redb::Database::create(directory.path().join(DATA_FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    // As the next version would write it: the check first, then the number.
    let value = 3_u32.to_le_bytes();
    let key = blake3::derive_key("anabranch store 2026-11 meta", &[]);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher
        .update(&6_u64.to_le_bytes())
        .update(b"format")
        .update(&value);
    let mut row = hasher.finalize().as_bytes()[..8].to_vec();
    row.extend_from_slice(&value);
    let meta = redb::TableDefinition::<&[u8], &[u8]>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert(&b"format"[..], row.as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let log = directory.path().join("log-0000000001");
    let before = fs::read(&log).unwrap();
    for _ in 0..2 {
        let refused = open(directory.path(), 2).unwrap_err();
        assert!(
            matches!(refused, OpenError::NewerFormat { found: 3, known: 2 }),
            "{refused}"
        );
    }
    assert!(fs::read(&log).unwrap() == before, "nothing is changed");
}

#[test]
fn a_place_that_can_not_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let message = open(&file.join("data"), 1).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot create") && message.contains("choose a data directory"),
        "{message}"
    );
    let path = directory.path().join("data");
    fs::create_dir_all(path.join(DATA_FILE)).unwrap();
    let message = open(&path, 1).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot open for writing") && message.contains(DATA_FILE),
        "{message}"
    );
}
