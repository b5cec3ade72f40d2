//! What the tests of the store stand on: small commits and folds.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part"
)]

pub mod workload;

use anabranch_core::persist::{Commit, DocumentFold, Fold, FoldId, Ticket};
use anabranch_core::{DocumentId, Incarnation};
use anabranch_store::conformance::{compact, record};
use anabranch_store::faulty::FaultyMedium;
use anabranch_store::{Opening, Store};

pub const CACHE_BYTES: usize = 1 << 20;

/// On a medium of that name.
pub fn opening(identity: &str, fresh: u64) -> Opening {
    Opening {
        cache_bytes: CACHE_BYTES,
        log_segment_bytes: 256 << 10,
        ..Opening::new(identity, Incarnation(fresh), compact)
    }
}

pub fn open(medium: &FaultyMedium) -> Store {
    Store::open(medium.clone(), opening("medium", 1)).unwrap().0
}

pub fn empty(ticket: u64) -> Commit {
    Commit::new(Ticket(ticket))
}

pub fn logging(ticket: u64, lsn: u64, bytes: impl Into<Vec<u8>>) -> Commit {
    Commit {
        log: vec![record(lsn, bytes)],
        ..empty(ticket)
    }
}

pub fn id(namespace: &str, key: &str) -> DocumentId {
    DocumentId::new(namespace, key).unwrap()
}

/// One change to one document.
pub fn change(key: &str, bytes: impl Into<Vec<u8>>) -> DocumentFold {
    DocumentFold {
        id: id("n", key),
        changes: vec![bytes.into().into()],
        present: Some(true),
    }
}

pub fn folding(fold: u64, documents: Vec<DocumentFold>) -> Fold {
    Fold {
        documents,
        ..Fold::new(FoldId(fold))
    }
}
