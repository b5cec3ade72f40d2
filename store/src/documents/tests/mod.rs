//! What the tests of documents stand on: a disk that lies, documents whose content is a list of numbers, and a model
//! of what must be there.
#![allow(clippy::unwrap_used)]

mod crashes;
mod damage;
mod disks;
mod full;
mod lost;
mod model;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_core::persist::{
    Checkpoint, DocumentFold, Fold, FoldId, ReceiptKey, StoredDocument, StoredReceipt,
};
use anabranch_core::{DocumentId, Incarnation, Lsn, Namespace};
use bytes::Bytes;

use self::disks::FaultyDisk;
use super::Documents;
use crate::engine::Fault;
use crate::meta::Meta;

const CACHE_BYTES: usize = 1 << 20;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for one seed.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

fn id(number: u64) -> DocumentId {
    let namespace = ["carts", "carts-2", "users"][usize::try_from(number % 3).unwrap()];
    DocumentId::new(namespace, &format!("key/{number:05}")).unwrap()
}

/// A change that nobody else makes, of about so many bytes.
fn change(number: u64, bytes: usize) -> Bytes {
    format!("<{number}:{}>", "x".repeat(bytes))
        .into_bytes()
        .into()
}

/// A change that does not compress.
fn noise(number: u64, seed: u64) -> Bytes {
    let mut random = Random(seed);
    let digits: String = (0..25).map(|_| format!("{:016x}", random.next())).collect();
    format!("<{number}:{digits}>").into_bytes().into()
}

/// The numbers of the changes in a document.
fn content(document: &StoredDocument) -> BTreeSet<u64> {
    let parts = std::iter::once(&document.state).chain(&document.changes);
    let text: Vec<u8> = parts.flat_map(|part| part.iter().copied()).collect();
    let text = String::from_utf8(text).unwrap();
    let changes = text.split('<').skip(1);
    changes
        .map(|change| change.split_once(':').unwrap().0.parse().unwrap())
        .collect()
}

/// Appends what the state lacks.
#[expect(clippy::unnecessary_wraps, reason = "that is its type")]
fn compact(document: &StoredDocument) -> Result<StoredDocument, String> {
    let mut state = String::from_utf8(document.state.to_vec()).unwrap();
    for change in &document.changes {
        let change = std::str::from_utf8(change).unwrap();
        if !state.contains(change) {
            state.push_str(change);
        }
    }
    Ok(StoredDocument {
        state: state.into_bytes().into(),
        changes: Vec::new(),
        present: Some(true),
        sum: None,
    })
}

fn empty_fold() -> Fold {
    Fold::new(FoldId(1))
}

fn folding(documents: impl IntoIterator<Item = (u64, Vec<Bytes>)>) -> Fold {
    let by_id: BTreeMap<DocumentId, Vec<Bytes>> = documents
        .into_iter()
        .map(|(number, changes)| (id(number), changes))
        .collect();
    Fold {
        documents: by_id
            .into_iter()
            .map(|(id, changes)| DocumentFold {
                id,
                changes,
                present: None,
            })
            .collect(),
        ..empty_fold()
    }
}

fn receipt(number: u64, lsn: u64) -> StoredReceipt {
    StoredReceipt {
        key: receipt_key(number),
        lsn: Lsn(lsn),
        time_ms: lsn * 10,
        bytes: format!("answer {number} at {lsn}").into_bytes().into(),
    }
}

/// Spread out, as hashes are.
fn receipt_key(number: u64) -> ReceiptKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&Random(number).next().to_be_bytes());
    ReceiptKey(bytes)
}

fn checkpoint(lsn: u64) -> Option<Checkpoint> {
    Some(Checkpoint {
        replay_from: Lsn(lsn),
        state: Bytes::from_static(b"frontiers"),
    })
}

fn try_open(disk: &FaultyDisk) -> Result<(Documents, Option<Meta>), crate::error::OpenError> {
    Documents::open(Arc::new(disk.clone()), CACHE_BYTES)
}

/// Opens what is there, or makes it.
fn open(disk: &FaultyDisk) -> Documents {
    let (documents, meta) = try_open(disk).unwrap();
    if meta.is_none() {
        documents.begin(b"medium", Incarnation(7), true).unwrap();
    }
    documents
}

fn namespaces() -> [Namespace; 3] {
    ["carts", "carts-2", "users"].map(|name| Namespace::new(name).unwrap())
}

/// All documents, by pages.
fn list(documents: &Documents, limit: usize) -> Result<BTreeMap<DocumentId, BTreeSet<u64>>, Fault> {
    let mut all = BTreeMap::new();
    for namespace in namespaces() {
        let mut after = None;
        loop {
            let (page, more) =
                documents.page(&namespace, "", after.as_ref(), limit, 10_000, true)?;
            for (key, document) in page {
                let namespace = namespace.clone();
                after = Some(key.clone());
                assert!(
                    all.insert(DocumentId { namespace, key }, content(&document))
                        .is_none()
                );
            }
            if !more {
                break;
            }
        }
    }
    Ok(all)
}
