//! An engine that keeps everything in memory: for tests, and as the model of what an engine does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_core::limits::RECEIPTS_FORGOTTEN_PER_FOLD_MAX;
use anabranch_core::persist::{
    Checkpoint, Commit, Compact, Continuity, DocumentFold, Fetch, Fetched, Fold, LogRecord, Place,
    ReceiptKey, Recovery, Repair, Retention, StoreError, StoredDocument, StoredReceipt,
};
use anabranch_core::{DocumentId, Incarnation, Key, Lsn, Namespace};
use bytes::Bytes;

use crate::error::{CommitError, OpenError};
use crate::opening::{Held, Opening, recover};
use crate::order;
use crate::seam::Engine;

/// A document is compacted even by a hurried fold when it has so many changes.
const CHANGES_MAX: usize = 32;

/// What a [`MemoryStore`] lies on: everything that was durable, for as long as a handle of it lives. Clones are
/// handles of the same; [`copy`](Self::copy) makes another.
#[derive(Clone, Default)]
pub struct MemoryMedium(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    /// None: no store was ever made on it.
    meta: Option<Meta>,
    log: BTreeMap<Lsn, Bytes>,
    /// The last position that was used.
    log_end: Option<Lsn>,
    documents: BTreeMap<DocumentId, StoredDocument>,
    receipts: BTreeMap<ReceiptKey, StoredReceipt>,
    /// The same by age.
    receipt_order: BTreeSet<(Lsn, ReceiptKey)>,
    full: bool,
    /// How often it was opened: a store that was opened before is one whose process has died.
    openings: u64,
}

#[derive(Clone)]
struct Meta {
    identity: Vec<u8>,
    incarnation: Incarnation,
    checkpoint: Option<Checkpoint>,
}

impl std::fmt::Debug for MemoryMedium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryMedium")
            .field("log_end", &self.state().log_end)
            .finish_non_exhaustive()
    }
}

impl MemoryMedium {
    /// One on which there is nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another one with the same content, as a backup has it.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// From now on there is no room on it, or there is again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs between two changes under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open store on a [`MemoryMedium`]. What it says is durable stays there when this is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    medium: MemoryMedium,
    compact: Compact,
    opening: u64,
}

impl MemoryStore {
    /// Opens the store on a medium, and makes it when there is none. One that was opened before on the same medium
    /// is cut off from it.
    ///
    /// # Errors
    /// When the incarnation offered as new is the one in the store.
    pub fn open(medium: &MemoryMedium, opening: Opening) -> Result<(Self, Recovery), OpenError> {
        let mut state = medium.state();
        let held = state.meta.as_ref().map(|meta| Held {
            identity: meta.identity.clone(),
            incarnation: meta.incarnation,
            checkpoint: meta.checkpoint.clone(),
            log_first: state.log.keys().next().copied(),
            log_end: state.log_end,
            log_lost: false,
            testimony: None,
        });
        let recovery = recover(&opening, held.as_ref())?;
        if recovery.continuity != Continuity::Proven {
            state.meta = Some(Meta {
                identity: opening.identity,
                incarnation: recovery.incarnation,
                checkpoint: recovery.checkpoint.clone(),
            });
        }
        state.openings += 1;
        let store = Self {
            medium: medium.clone(),
            compact: opening.compact,
            opening: state.openings,
        };
        drop(state);
        Ok((store, recovery))
    }

    /// The state, if this is still the store that lies on the medium.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.medium.state();
        (state.openings == self.opening).then_some(state)
    }

    /// What a document becomes with more changes.
    fn folded(
        &self,
        held: Option<&StoredDocument>,
        fold: &DocumentFold,
        compact: bool,
    ) -> StoredDocument {
        let mut stored = held.cloned().unwrap_or_default();
        stored.changes.extend(fold.changes.iter().cloned());
        stored.present = fold.present;
        if compact || stored.changes.len() > CHANGES_MAX {
            match (self.compact)(&stored) {
                Ok(compacted) => return compacted,
                // Whoever reads it will find out what is wrong with it.
                Err(error) => tracing::warn!(id = %fold.id, error, "a document can't be compacted"),
            }
        }
        stored
    }
}

fn cut_off() -> StoreError {
    StoreError::Failed("the medium was opened by another store since".to_owned())
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the medium is full")
}

impl Engine for MemoryStore {
    fn commit(&self, commits: &[Commit]) -> Result<(), CommitError> {
        let mut state = self.state().ok_or(CommitError::Closed)?;
        let log_end = order::check(commits, state.log_end)?;
        if state.full {
            return Err(CommitError::Full(Arc::new(full())));
        }
        state.log_end = log_end;
        for commit in commits {
            let records = commit.log.iter();
            state
                .log
                .extend(records.map(|record| (record.lsn, record.bytes.clone())));
            if let (Some(meta), Some(incarnation)) = (&mut state.meta, commit.incarnation) {
                meta.incarnation = incarnation;
            }
        }
        Ok(())
    }

    fn fold(&self, fold: &Fold) -> Result<(), StoreError> {
        // Compacting takes time, and commits are not to wait for it. Folds do not meet each other.
        let held: Vec<Option<StoredDocument>> = {
            let state = self.state().ok_or_else(cut_off)?;
            order::check_fold(fold, state.replay_from())?;
            let ids = fold.documents.iter().map(|document| &document.id);
            ids.map(|id| state.document_after(fold.repair.as_ref(), id).cloned())
                .collect()
        };
        let documents: Vec<StoredDocument> = fold
            .documents
            .iter()
            .zip(held)
            .map(|(document, held)| self.folded(held.as_ref(), document, fold.compact))
            .collect();
        let mut state = self.state().ok_or_else(cut_off)?;
        if state.full {
            return Err(StoreError::Full(full().to_string()));
        }
        if let Some(repair) = &fold.repair {
            state.repair(repair);
        }
        let ids = fold.documents.iter().map(|document| document.id.clone());
        state.documents.extend(ids.zip(documents));
        for receipt in &fold.receipts {
            state.remember(receipt);
        }
        if let Some(retention) = &fold.retain_receipts {
            state.forget(retention);
        }
        if let (Some(meta), Some(checkpoint)) = (&mut state.meta, &fold.checkpoint) {
            meta.checkpoint = Some(checkpoint.clone());
        }
        if let Some(before) = fold.release_before {
            let kept = state.log.split_off(&before);
            state.log = kept;
        }
        Ok(())
    }

    fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        let state = self.state().ok_or_else(cut_off)?;
        Ok(match fetch {
            Fetch::Document(id) => Fetched::Document(state.documents.get(id).cloned()),
            Fetch::Page {
                namespace,
                prefix,
                after,
                limit,
                bytes_max,
                values,
            } => {
                let keys = state.keys(namespace, prefix, after.as_ref());
                page(keys, *limit, *bytes_max, *values)
            }
            Fetch::Range { range, bytes_max } => {
                let documents = state.documents.iter();
                let documents = documents.filter(|(id, _)| range.contains(id));
                let mut bytes = 0;
                let mut found = Vec::new();
                let mut more = false;
                for (id, stored) in documents {
                    more = bytes >= *bytes_max && !found.is_empty();
                    if more {
                        break;
                    }
                    bytes += id.key.as_str().len() + stored.bytes();
                    found.push((id.clone(), stored.clone()));
                }
                Fetched::Range {
                    documents: found,
                    more,
                }
            }
            Fetch::Sums { from, limit } => {
                let mut rest = state.documents.range((from.clone(), Bound::Unbounded));
                let documents = rest.by_ref().take(*limit).map(|(id, stored)| {
                    let mut stored = stored.clone();
                    if stored.sum.is_some() && stored.changes.is_empty() {
                        stored.state = Bytes::new();
                    }
                    (id.clone(), stored)
                });
                Fetched::Sums {
                    documents: documents.collect(),
                    more: rest.next().is_some(),
                }
            }
            Fetch::Picked {
                namespace,
                places,
                after,
                limit,
                bytes_max,
            } => {
                let mut keys = state.keys(namespace, "", after.as_ref()).peekable();
                let (mut documents, mut bytes, mut looked_at, mut passed) =
                    (Vec::new(), 0, 0, None);
                while looked_at < *limit
                    && bytes < *bytes_max
                    && let Some((key, stored)) = keys.next()
                {
                    looked_at += 1;
                    passed = Some(key.clone());
                    let id = DocumentId {
                        namespace: namespace.clone(),
                        key: key.clone(),
                    };
                    let is_wanted =
                        |places: &Arc<BTreeSet<Place>>| places.contains(&Place::of(&id));
                    if places.as_ref().is_none_or(is_wanted) {
                        bytes += stored.bytes();
                        documents.push((key.clone(), stored.clone()));
                    }
                }
                Fetched::Picked {
                    documents,
                    more_after: passed.filter(|_| keys.peek().is_some()),
                }
            }
            Fetch::Receipts { from, bytes_max } => {
                let from = |key: &ReceiptKey| key.0[..] >= from[..];
                let mut rest = state.receipts.iter().skip_while(|(key, _)| !from(key));
                let (mut receipts, mut bytes, mut next) = (Vec::new(), 0, None);
                for (key, receipt) in &mut rest {
                    if bytes >= *bytes_max && !receipts.is_empty() {
                        next = Some(key.0.to_vec());
                        break;
                    }
                    bytes += receipt.bytes.len() + 40;
                    receipts.push(receipt.clone());
                }
                Fetched::Receipts { receipts, next }
            }
            Fetch::Receipt(key) => Fetched::Receipt(state.receipts.get(key).cloned()),
            Fetch::Log { from, bytes_max } => Fetched::Log(state.records(*from, *bytes_max)),
        })
    }
}

impl State {
    fn replay_from(&self) -> Lsn {
        let checkpoint = self.meta.as_ref().and_then(|meta| meta.checkpoint.as_ref());
        checkpoint.map_or(Lsn(1), |to| to.replay_from)
    }

    /// A document as it is once a repair is done.
    fn document_after<'a>(
        &'a self,
        repair: Option<&'a Repair>,
        id: &DocumentId,
    ) -> Option<&'a StoredDocument> {
        match repair {
            Some(repair) if repair.range.contains(id) => repair
                .documents
                .iter()
                .find(|(repaired, _)| repaired == id)
                .map(|(_, stored)| stored),
            _ => self.documents.get(id),
        }
    }

    fn repair(&mut self, repair: &Repair) {
        self.documents.retain(|id, _| !repair.range.contains(id));
        self.documents.extend(repair.documents.iter().cloned());
    }

    fn remember(&mut self, receipt: &StoredReceipt) {
        if let Some(before) = self.receipts.insert(receipt.key, receipt.clone()) {
            self.receipt_order.remove(&(before.lsn, before.key));
        }
        self.receipt_order.insert((receipt.lsn, receipt.key));
    }

    fn forget(&mut self, retention: &Retention) {
        let count = |receipts: &BTreeMap<_, _>| receipts.len() as u64;
        for _ in 0..RECEIPTS_FORGOTTEN_PER_FOLD_MAX {
            let Some((lsn, key)) = self.receipt_order.first().copied() else {
                return;
            };
            let receipt = self.receipts.get(&key);
            let young = receipt.is_some_and(|receipt| receipt.time_ms >= retention.not_before_ms);
            let old = !young && lsn < retention.stable_before;
            if count(&self.receipts) <= retention.count_max && !old {
                return;
            }
            self.receipt_order.remove(&(lsn, key));
            self.receipts.remove(&key);
        }
    }

    fn keys<'a>(
        &'a self,
        namespace: &'a Namespace,
        prefix: &'a str,
        after: Option<&Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a StoredDocument)> {
        // No key of the namespace comes before all that begin with the prefix and after all that don't, so the
        // scan begins after `after` or at the first document of the namespace, and skips.
        let start = after.map(|key| DocumentId {
            namespace: namespace.clone(),
            key: key.clone(),
        });
        let start = start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.documents
            .range((start.cloned(), Bound::Unbounded))
            .skip_while(move |(id, _)| id.namespace < *namespace)
            .take_while(move |(id, _)| id.namespace == *namespace)
            .map(|(id, stored)| (&id.key, stored))
            .filter(move |(key, _)| key.as_str().starts_with(prefix))
    }

    fn records(&self, from: Lsn, bytes_max: usize) -> Vec<LogRecord> {
        let mut bytes = 0;
        let mut records = Vec::new();
        for (lsn, record) in self.log.range(from..) {
            bytes += record.len();
            records.push(LogRecord {
                lsn: *lsn,
                bytes: record.clone(),
            });
            if bytes >= bytes_max {
                break;
            }
        }
        records
    }
}

fn page<'a>(
    keys: impl Iterator<Item = (&'a Key, &'a StoredDocument)>,
    limit: usize,
    bytes_max: usize,
    values: bool,
) -> Fetched {
    let mut keys = keys.peekable();
    let mut documents = Vec::new();
    let mut bytes = 0;
    while documents.len() < limit
        && (documents.is_empty() || bytes < bytes_max)
        && let Some((key, stored)) = keys.next()
    {
        let stored = if values || stored.present.is_none() {
            stored.clone()
        } else {
            StoredDocument {
                present: stored.present,
                ..StoredDocument::default()
            }
        };
        let changes: usize = stored.changes.iter().map(Bytes::len).sum();
        bytes += stored.state.len() + changes;
        documents.push((key.clone(), stored));
    }
    let more = keys.peek().is_some();
    Fetched::Page { documents, more }
}
