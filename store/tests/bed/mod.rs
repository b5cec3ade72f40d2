//! What the tests of the store stand on: disks that remember, lie and wait, and small commits.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part"
)]

mod disks;

pub use disks::{CrashingDisk, GatedDisk, MemoryDisk};

use anabranch_core::persist::{
    Commit, Fetch, Fetched, LogRecord, ReceiptKey, StoredDocument, StoredReceipt, Ticket,
};
use anabranch_core::{DocumentId, Incarnation, Lsn};
use anabranch_store::{FetchError, Opening, Store};

pub const CACHE_BYTES: usize = 1 << 20;

pub fn opening(identity: &str, fresh: u64) -> Opening {
    Opening {
        identity: identity.into(),
        fresh: Incarnation(fresh),
        cache_bytes: CACHE_BYTES,
        #[cfg(feature = "planted")]
        planted_trust: false,
    }
}

pub fn open(disk: &MemoryDisk) -> Store {
    Store::open(disk.clone(), opening("medium", 1)).unwrap().0
}

pub fn empty(ticket: u64) -> Commit {
    Commit::new(Ticket(ticket))
}

pub fn record(lsn: u64, bytes: impl Into<Vec<u8>>) -> LogRecord {
    LogRecord {
        lsn: Lsn(lsn),
        bytes: bytes.into().into(),
    }
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

pub fn stored(state: impl Into<Vec<u8>>, present: bool) -> StoredDocument {
    StoredDocument {
        state: state.into().into(),
        present,
    }
}

/// A receipt under a small number, written with a record.
pub fn receipt(key: u64, lsn: u64, time_ms: u64, bytes: impl Into<Vec<u8>>) -> StoredReceipt {
    StoredReceipt {
        key: receipt_key(key),
        lsn: Lsn(lsn),
        time_ms,
        bytes: bytes.into().into(),
    }
}

/// Spread out, as hashes are.
pub fn receipt_key(key: u64) -> ReceiptKey {
    let spread = Random(key).next().to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&spread);
    bytes[8..].copy_from_slice(&key.to_be_bytes());
    ReceiptKey(bytes)
}

pub fn remembered(store: &Store, key: u64) -> Result<Option<StoredReceipt>, FetchError> {
    match store.fetch(&Fetch::Receipt(receipt_key(key)))? {
        Fetched::Receipt(receipt) => Ok(receipt),
        other => panic!("asked for a receipt, got {other:?}"),
    }
}

pub fn document(store: &Store, id: &DocumentId) -> Result<Option<StoredDocument>, FetchError> {
    match store.fetch(&Fetch::Document(id.clone()))? {
        Fetched::Document(stored) => Ok(stored),
        other => panic!("asked for a document, got {other:?}"),
    }
}

pub fn page(
    store: &Store,
    namespace: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, StoredDocument)>, FetchError> {
    let fetch = Fetch::Page {
        namespace: anabranch_core::Namespace::new(namespace).unwrap(),
        prefix: prefix.to_owned(),
        after: after.map(|key| anabranch_core::Key::new(key).unwrap()),
        limit,
    };
    match store.fetch(&fetch)? {
        Fetched::Page(page) => Ok(page
            .into_iter()
            .map(|(key, stored)| (key.to_string(), stored))
            .collect()),
        other => panic!("asked for a page, got {other:?}"),
    }
}

pub fn log(store: &Store, from: u64, bytes_max: usize) -> Result<Vec<LogRecord>, FetchError> {
    match store.fetch(&Fetch::Log {
        from: Lsn(from),
        bytes_max,
    })? {
        Fetched::Log(records) => Ok(records),
        other => panic!("asked for the log, got {other:?}"),
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for one seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}
