//! Small words for what is given to an engine and asked of it.

use anabranch_core::persist::{
    Commit, DocumentFold, Fetch, Fetched, Fold, FoldId, LogRecord, ReceiptKey, StoreError,
    StoredDocument, StoredReceipt, Ticket,
};
use anabranch_core::{DocumentId, Incarnation, Key, Lsn, Namespace};
use bytes::Bytes;

use super::{Bed, compact, unpack};
use crate::medium::faulty::Random;
use crate::seam::Engine;

/// Under which incarnation the tests begin.
pub(super) const FIRST: Incarnation = Incarnation(1);

/// A record of the log.
pub fn record(lsn: u64, bytes: impl Into<Vec<u8>>) -> LogRecord {
    LogRecord {
        lsn: Lsn(lsn),
        bytes: bytes.into().into(),
    }
}

/// A commit of one record, under a ticket of the same number.
pub(super) fn logging(lsn: u64, bytes: impl Into<Vec<u8>>) -> Commit {
    Commit {
        log: vec![record(lsn, bytes)],
        ..Commit::new(Ticket(lsn))
    }
}

pub(super) fn id(namespace: &str, key: &str) -> DocumentId {
    DocumentId::new(namespace, key).unwrap()
}

pub(super) fn change(bytes: impl Into<Vec<u8>>) -> Bytes {
    Bytes::from(bytes.into())
}

/// A fold of one change each, of which it is not known what it does to the document's presence.
pub(super) fn folding<'a>(changes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Fold {
    let mut documents: Vec<DocumentFold> = changes
        .into_iter()
        .map(|(key, bytes)| DocumentFold {
            id: id("n", key),
            changes: vec![change(bytes)],
            present: None,
        })
        .collect();
    documents.sort_by(|one, other| one.id.cmp(&other.id));
    Fold {
        documents,
        ..Fold::new(FoldId(1))
    }
}

/// What a document holds: its changes, each once, wherever they are kept.
///
/// # Panics
/// When it is none that [`compact`] can have made.
#[must_use]
pub fn content(stored: &StoredDocument) -> Vec<Bytes> {
    let compacted = compact(stored).unwrap();
    unpack(&compacted.state).unwrap()
}

/// Asks for a document.
///
/// # Errors
/// The engine's.
pub fn document(
    engine: &impl Engine,
    id: &DocumentId,
) -> Result<Option<StoredDocument>, StoreError> {
    match engine.fetch(&Fetch::Document(id.clone()))? {
        Fetched::Document(stored) => Ok(stored),
        other => panic!("asked for a document, got {other:?}"),
    }
}

/// What a document in the namespace `n` holds, if there is one.
pub(super) fn held(engine: &impl Engine, key: &str) -> Option<Vec<Bytes>> {
    document(engine, &id("n", key))
        .unwrap()
        .as_ref()
        .map(content)
}

pub(super) fn holding(changes: &[&str]) -> Option<Vec<Bytes>> {
    Some(changes.iter().map(|bytes| change(*bytes)).collect())
}

/// Asks for a page with content; whether there is more.
///
/// # Errors
/// The engine's.
pub fn page(
    engine: &impl Engine,
    namespace: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    bytes_max: usize,
) -> Result<(Vec<(String, StoredDocument)>, bool), StoreError> {
    let fetch = Fetch::Page {
        namespace: Namespace::new(namespace).unwrap(),
        prefix: prefix.to_owned(),
        after: after.map(|key| Key::new(key).unwrap()),
        limit,
        bytes_max,
        values: true,
    };
    match engine.fetch(&fetch)? {
        Fetched::Page { documents, more } => {
            let name = |(key, stored): (Key, StoredDocument)| (key.to_string(), stored);
            Ok((documents.into_iter().map(name).collect(), more))
        }
        other => panic!("asked for a page, got {other:?}"),
    }
}

/// Asks for records of the log.
///
/// # Errors
/// The engine's.
pub fn log(
    engine: &impl Engine,
    from: u64,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, StoreError> {
    match engine.fetch(&Fetch::Log {
        from: Lsn(from),
        bytes_max,
    })? {
        Fetched::Log(records) => Ok(records),
        other => panic!("asked for the log, got {other:?}"),
    }
}

/// The whole log.
pub(super) fn whole_log(engine: &impl Engine) -> Vec<LogRecord> {
    log(engine, 1, usize::MAX).unwrap()
}

/// A receipt under a small number.
pub fn stored_receipt(
    key: u64,
    lsn: u64,
    time_ms: u64,
    bytes: impl Into<Vec<u8>>,
) -> StoredReceipt {
    StoredReceipt {
        key: receipt_key(key),
        lsn: Lsn(lsn),
        time_ms,
        bytes: bytes.into().into(),
    }
}

/// Spread out, as hashes are.
fn receipt_key(key: u64) -> ReceiptKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&Random(key).draw().to_be_bytes());
    bytes[8..].copy_from_slice(&key.to_be_bytes());
    ReceiptKey(bytes)
}

/// Asks for the receipt under a small number.
///
/// # Errors
/// The engine's.
pub fn receipt(engine: &impl Engine, key: u64) -> Result<Option<StoredReceipt>, StoreError> {
    match engine.fetch(&Fetch::Receipt(receipt_key(key)))? {
        Fetched::Receipt(receipt) => Ok(receipt),
        other => panic!("asked for a receipt, got {other:?}"),
    }
}

pub(super) fn open<B: Bed>(bed: &mut B) -> B::Engine {
    bed.open(FIRST).unwrap().0
}

/// Lets it die and opens it again.
pub(super) fn crash<B: Bed>(bed: &mut B, engine: B::Engine) -> B::Engine {
    bed.crash(engine);
    bed.open(Incarnation(99)).unwrap().0
}
