//! Data directories that earlier versions have written are opened, and those of later ones refused. The store's own
//! formats have a test like this one with the store; here it is what a node keeps in it: batches, documents, the
//! checkpoint.
//!
//! A fixture is never changed once a version that writes it has been released. To make one:
//!
//! ```text
//! cargo nextest run -p anabranch --test formats --run-ignored only write_a_fixture
//! ```
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use anabranch::{Config, Edit, Node, OpenError};
use anabranch_core::persist::{Checkpoint, Commit, Fold, FoldId, LogRecord, Ticket};
use anabranch_core::{Incarnation, Lsn, compact};
use anabranch_store::Store;
use serde_json::{Value, json};

/// All that were ever written.
const FIXTURES: [&str; 1] = ["node-1"];
/// What this version writes.
const PRESENT: &str = "node-1";

const DOCUMENTS: i64 = 60;
/// These were deleted.
const EVERY_DELETED: i64 = 13;

fn fixture(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    directory.join(format!("{name}.lz4"))
}

/// So little memory that documents are folded while they are written.
fn config(path: &Path) -> Config {
    let mut config = Config::new(path);
    config.memory_bytes = 1 << 20;
    config
}

fn key(n: i64) -> String {
    format!("document-{n:03}")
}

fn document(n: i64) -> Value {
    json!({
        "n": n, "half": n as f64 + 0.5, "even": n % 2 == 0, "nothing": null,
        "list": [n, {"deep": [format!("{n}")]}], "text": format!("{n} äöü ").repeat(500),
    })
}

/// What a document holds after its edits; none: it was deleted.
fn expected(n: i64) -> Option<Value> {
    let mut value = document(n);
    value["count"] = json!(n + 7);
    (n % EVERY_DELETED != 0).then_some(value)
}

async fn write(node: &Node, n: i64) {
    node.put("carts", &key(n), document(n)).await.unwrap();
    for by in [n, 7] {
        let path = anabranch::Path::parse("/count").unwrap();
        let edits = [Edit::Increment { path, by }];
        node.apply("carts", &key(n), edits).await.unwrap();
    }
    if n % EVERY_DELETED == 0 {
        node.delete("carts", &key(n)).await.unwrap();
    }
}

async fn assert_holds(node: &Node, documents: i64) {
    for n in 0..documents {
        let found = node.get("carts", &key(n)).await.unwrap();
        assert!(
            found.map(|snapshot| snapshot.value) == expected(n),
            "document {n}"
        );
    }
}

fn pack(path: &Path) -> Vec<u8> {
    let mut packed = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "LOCK" {
            for part in [name.as_bytes(), &fs::read(path.join(&name)).unwrap()] {
                packed.extend((part.len() as u64).to_le_bytes());
                packed.extend(part);
            }
        }
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

#[tokio::test]
#[ignore = "writes the fixture of the present format"]
async fn write_a_fixture() {
    let path = fixture(PRESENT);
    assert!(
        !path.exists(),
        "{} is there; fixtures are never changed",
        path.display()
    );
    let directory = tempfile::tempdir().unwrap();
    let node = Node::open(config(directory.path())).await.unwrap();
    for n in 0..DOCUMENTS {
        write(&node, n).await;
    }
    let folds = node.status().await.unwrap().replica.counters.folds;
    assert!(folds > 0, "some of it is to be in documents already");
    node.shutdown().await.unwrap();
    fs::write(path, pack(directory.path())).unwrap();
}

#[tokio::test]
async fn directories_of_earlier_versions_are_opened_read_and_written() {
    for name in FIXTURES {
        let directory = tempfile::tempdir().unwrap();
        unpack(&fixture(name), directory.path());
        let node = Node::open(config(directory.path())).await.unwrap();
        assert_holds(&node, DOCUMENTS).await;
        for n in DOCUMENTS..DOCUMENTS + 10 {
            write(&node, n).await;
        }
        node.shutdown().await.unwrap();
        let node = Node::open(config(directory.path())).await.unwrap();
        assert_holds(&node, DOCUMENTS + 10).await;
        node.shutdown().await.unwrap();
    }
}

fn open(path: &Path) -> Store {
    let fresh = Incarnation(1);
    Store::open_directory(path, fresh, compact, 1 << 20)
        .unwrap()
        .0
}

async fn assert_refused(path: &Path) {
    let Err(refused) = Node::open(config(path)).await else {
        panic!("it opened");
    };
    assert!(matches!(refused, OpenError::Newer(_)), "{refused}");
    let message = refused.to_string();
    assert!(message.contains("run the newer program"), "{message}");
}

/// To start with an empty directory, as after damage, would be the wrong thing to do.
#[tokio::test]
async fn a_checkpoint_of_a_later_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint {
        replay_from: Lsn(1),
        state: vec![200, 1, 2, 3].into(),
    };
    let fold = Fold {
        checkpoint: Some(checkpoint.clone()),
        ..Fold::new(FoldId(1))
    };
    open(directory.path()).fold(&fold).unwrap();
    for _ in 0..2 {
        assert_refused(directory.path()).await;
    }
    let fresh = Incarnation(2);
    let (_, recovery) = Store::open_directory(directory.path(), fresh, compact, 1 << 20).unwrap();
    assert_eq!(recovery.checkpoint, Some(checkpoint));
}

#[tokio::test]
async fn a_record_of_a_later_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let record = LogRecord {
        lsn: Lsn(1),
        bytes: vec![200, 1, 2, 3].into(),
    };
    let commit = Commit {
        log: vec![record],
        ..Commit::new(Ticket(1))
    };
    open(directory.path()).commit(&[commit]).unwrap();
    for _ in 0..2 {
        assert_refused(directory.path()).await;
    }
}
