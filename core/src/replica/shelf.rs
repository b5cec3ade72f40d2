//! Documents in memory: which are loaded, and what has been written to each since the store's own.

pub(super) mod eviction;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use indexmap::{IndexMap, IndexSet};

use self::eviction::Weight;
use super::documents::Job;
use super::entry::Entry;
use crate::document::Document;
use crate::persist::{DocumentFold, DocumentRange, FoldId, Ticket};
use crate::{DocumentId, Key, Lsn, Namespace, Origin};

/// Where changes come from, and so who knows of them already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Made {
    /// From the loaded document.
    ByDocument,
    /// From the tip, or from both the tip and the document of several writes.
    ByTip,
    /// By another replica, or before a restart.
    Elsewhere,
}

/// How much of what lies in memory goes to the store at once.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    /// Changes of records up to this one.
    pub(super) through: Lsn,
    pub(super) documents_max: usize,
    pub(super) bytes_max: usize,
}

#[derive(Default)]
pub(super) struct Shelf {
    /// Looked up several times for every write, and gone round by place.
    entries: IndexMap<DocumentId, Entry>,
    /// Documents with unfolded changes, and the oldest of those.
    dirty: BTreeMap<DocumentId, Lsn>,
    by_age: BTreeSet<(Lsn, DocumentId)>,
    /// The documents of the fold under way.
    in_fold: Vec<DocumentId>,
    /// Those whose document is in memory.
    loaded: IndexSet<DocumentId>,
    weight: Weight,
    unfolded_bytes: usize,
    /// How far the search for documents unused has come,
    loaded_hand: usize,
    /// and that for tips.
    hand: usize,
}

impl Shelf {
    pub(super) fn entry(&mut self, id: &DocumentId) -> &mut Entry {
        // Names are shared, so a copy for the case that it is new costs little, and one search less.
        self.entries.entry(id.clone()).or_default()
    }

    pub(super) fn get(&mut self, id: &DocumentId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// The documents of a namespace with changes that the store's pages lack.
    pub(super) fn dirty_in(&self, namespace: &Namespace, prefix: &str) -> Vec<DocumentId> {
        let first = DocumentId {
            namespace: namespace.clone(),
            key: Key::floor(prefix),
        };
        let in_range =
            |id: &DocumentId| id.namespace == *namespace && id.key.as_str().starts_with(prefix);
        let range = self.dirty.range(first..);
        range
            .map(|(id, _)| id)
            .take_while(|id| in_range(id))
            .cloned()
            .collect()
    }

    pub(super) fn unfolded_bytes(&self) -> usize {
        self.unfolded_bytes
    }

    pub(super) fn loaded(&self) -> usize {
        self.loaded.len()
    }

    /// The oldest change that the store's documents lack.
    pub(super) fn oldest_unfolded(&self) -> Option<Lsn> {
        self.by_age.first().map(|(lsn, _)| *lsn)
    }

    /// Whether all changes up to a position are in the store once the fold under way is.
    pub(super) fn is_folded_through(&self, through: Lsn) -> bool {
        let old = self.by_age.iter().take_while(|(lsn, _)| *lsn <= through);
        let entries = old.filter_map(|(_, id)| self.entries.get(id));
        entries.into_iter().all(|entry| {
            let taken = entry.folding.map_or(0, |(_, count)| count);
            entry
                .unfolded
                .get(taken)
                .is_none_or(|(lsn, _)| *lsn > through)
        })
    }

    /// Adds changes that are on their way into the log.
    pub(super) fn add(
        &mut self,
        id: &DocumentId,
        lsn: Lsn,
        changes: &[Bytes],
        ticket: Ticket,
        made: Made,
    ) {
        // Nothing to fold would stay to be folded for ever.
        if changes.is_empty() {
            return;
        }
        let entry = self.entries.entry(id.clone()).or_default();
        let clean = entry.unfolded.is_empty();
        entry.newest = ticket;
        entry
            .unfolded
            .extend(changes.iter().map(|change| (lsn, change.clone())));
        match made {
            Made::Elsewhere => {
                entry.follow(changes);
                let weight = entry.weigh();
                self.weight.replace(entry.weight, weight);
                entry.weight = weight;
            }
            Made::ByTip => {}
            Made::ByDocument => entry.absorbed += changes.len(),
        }
        if clean {
            self.dirty.insert(id.clone(), lsn);
            self.by_age.insert((lsn, id.clone()));
        }
        self.unfolded_bytes += changes.iter().map(weight_of).sum::<usize>();
    }

    /// A document has come into memory.
    pub(super) fn put_in(&mut self, id: &DocumentId, document: Document) {
        let entry = self.entry(id);
        entry.loaded = Some(Box::new(document));
        entry.absorbed = 0;
        self.loaded.insert(id.clone());
        self.touch(id);
    }

    /// Marks a document as just used, and weighs it again: it may have grown since.
    pub(super) fn touch(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.used = true;
            self.weigh(id);
        }
    }

    /// The document, once it is loaded, stays until it is let go as often.
    pub(super) fn pin(&mut self, id: &DocumentId) {
        self.entry(id).pins += 1;
    }

    pub(super) fn unpin(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.pins = entry.pins.saturating_sub(1);
        }
        self.tidy(id);
    }

    pub(super) fn is_loaded(&self, id: &DocumentId) -> bool {
        self.entries
            .get(id)
            .is_some_and(|entry| entry.loaded.is_some())
    }

    /// Lets go of a loaded document; it is loaded again when it is asked for.
    pub(super) fn unload(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.absorbed = 0;
            entry.loaded = None;
            self.loaded.swap_remove(id);
            self.weigh(id);
        }
        self.tidy(id);
    }

    /// Lets go of a loaded document whose tip was enough for the last write.
    pub(super) fn keep_tip_alone(&mut self, id: &DocumentId) {
        let enough = |entry: &Entry| entry.tip.is_some() && entry.unclear == 0 && entry.pins == 0;
        if self.entries.get(id).is_some_and(enough) {
            self.unload(id);
        }
    }

    /// Lets go of a document that something went wrong with, and of all that is known of it.
    pub(super) fn forget(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.tip = None;
        }
        self.unload(id);
    }

    fn tidy(&mut self, id: &DocumentId) {
        if self.entries.get(id).is_some_and(Entry::is_idle)
            && let Some(entry) = self.entries.swap_remove(id)
        {
            // A tip may have gone since it was weighed.
            self.weight.replace(entry.weight, Weight::default());
        }
    }

    /// The next documents to be folded after one of them, by rising id, with their changes.
    pub(super) fn begin_fold(
        &mut self,
        fold: FoldId,
        after: Option<&DocumentId>,
        slice: Slice,
        lacks: impl Fn(&DocumentId) -> bool,
    ) -> Vec<DocumentFold> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut documents = Vec::new();
        let mut bytes = 0;
        for (id, oldest) in self.dirty.range((from, Bound::Unbounded)) {
            if documents.len() >= slice.documents_max || bytes >= slice.bytes_max {
                break;
            }
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            // What the store is being asked for must not change under the question.
            // Nor may a change go there before what it builds on.
            if *oldest > slice.through || entry.fetching || lacks(id) {
                continue;
            }
            let count = entry
                .unfolded
                .partition_point(|(lsn, _)| *lsn <= slice.through);
            let changes: Vec<_> = entry.unfolded[..count]
                .iter()
                .map(|(_, change)| change.clone())
                .collect();
            bytes += changes.iter().map(Bytes::len).sum::<usize>();
            entry.folding = Some((fold, count));
            // Of later changes the store learns nothing, so what it is told must not include them.
            let present = if count == entry.unfolded.len() {
                entry.presence()
            } else {
                None
            };
            self.in_fold.push(id.clone());
            documents.push(DocumentFold {
                id: id.clone(),
                changes,
                present,
            });
        }
        documents
    }

    /// The fold is done, or was given up. Gives what reached the store, and whether that is out of memory now: not yet, if
    /// the store is being asked for the document.
    pub(super) fn end_fold(
        &mut self,
        fold: FoldId,
        done: bool,
    ) -> Vec<(DocumentId, Vec<Bytes>, bool)> {
        let mut folded = Vec::new();
        for id in std::mem::take(&mut self.in_fold) {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let taken = entry.folding.take_if(|(of, _)| *of == fold);
            let Some((_, count)) = taken.filter(|_| done) else {
                continue;
            };
            if entry.fetching {
                entry.folded_meanwhile = count;
                let changes = entry.unfolded[..count].iter();
                let changes = changes.map(|(_, change)| change.clone()).collect();
                folded.push((id, changes, false));
                continue;
            }
            let changes = self.drop_folded(&id, count);
            folded.push((id, changes, true));
        }
        folded
    }

    /// The store could not answer for a document. Gives what waited for it, and what reached the store meanwhile.
    pub(super) fn fetch_failed(&mut self, id: &DocumentId) -> (Vec<Job>, Vec<Bytes>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return (Vec::new(), Vec::new());
        };
        entry.fetching = false;
        let jobs = std::mem::take(&mut entry.waiting);
        let folded = std::mem::take(&mut entry.folded_meanwhile);
        (jobs, self.drop_folded(id, folded))
    }

    /// The store's answer for a document has been put in. What it was sent meanwhile may be missing there; gives
    /// that, for listings under way.
    pub(super) fn settle_fetched(&mut self, id: &DocumentId) -> Vec<Bytes> {
        let folded = self.entries.get_mut(id).map_or(0, |entry| {
            entry.fetching = false;
            std::mem::take(&mut entry.folded_meanwhile)
        });
        if folded > 0 {
            self.drop_folded(id, folded)
        } else {
            Vec::new()
        }
    }

    fn drop_folded(&mut self, id: &DocumentId, count: usize) -> Vec<Bytes> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Vec::new();
        };
        let count = count.min(entry.unfolded.len());
        if entry.absorbed < count && entry.loaded.is_some() {
            // It has not been read since, and would never see them.
            self.unload(id);
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return Vec::new();
        };
        let changes: Vec<_> = entry
            .unfolded
            .drain(..count)
            .map(|(_, change)| change)
            .collect();
        entry.absorbed = entry.absorbed.saturating_sub(count);
        self.unfolded_bytes -= changes.iter().map(weight_of).sum::<usize>();
        self.note_age(id);
        self.tidy(id);
        changes
    }

    /// The oldest unfolded change of a document is another one now.
    fn note_age(&mut self, id: &DocumentId) {
        let first = self.entries.get(id).and_then(Entry::first);
        let before = match first {
            Some(lsn) => self.dirty.insert(id.clone(), lsn),
            None => self.dirty.remove(id),
        };
        if let Some(before) = before {
            self.by_age.remove(&(before, id.clone()));
        }
        if let Some(lsn) = first {
            self.by_age.insert((lsn, id.clone()));
        }
    }

    /// The changes of documents in a range that are durable and that the store's documents lack.
    pub(super) fn unfolded_in(
        &self,
        range: &DocumentRange,
        durable: Lsn,
    ) -> Vec<(DocumentId, Vec<Bytes>)> {
        let from = range
            .from
            .as_ref()
            .map_or(Bound::Unbounded, Bound::Included);
        let dirty = self.dirty.range((from, Bound::Unbounded));
        let ids = dirty.map(|(id, _)| id).take_while(|id| range.contains(id));
        let entries = ids.filter_map(|id| Some((id, self.entries.get(id)?)));
        let changes = entries.map(|(id, entry)| {
            // What has gone to the store stays a little longer where the store is being asked for it.
            let changes = entry.unfolded[entry.folded_meanwhile..].iter();
            let changes = changes.take_while(|(lsn, _)| *lsn <= durable);
            (
                id.clone(),
                changes.map(|(_, change)| change.clone()).collect(),
            )
        });
        changes.collect()
    }

    /// The changes of all documents that are durable and that the store's documents lack.
    pub(super) fn unfolded_through(&self, durable: Lsn) -> Vec<(DocumentId, Vec<Bytes>)> {
        let all = DocumentRange {
            from: None,
            before: None,
        };
        self.unfolded_in(&all, durable)
    }

    /// The same of one document.
    pub(super) fn unfolded_of(&self, id: &DocumentId, durable: Lsn) -> Vec<Bytes> {
        let unfolded = self.entries.get(id).map(|entry| entry.unfolded.iter());
        let durable = unfolded
            .into_iter()
            .flatten()
            .take_while(|(lsn, _)| *lsn <= durable);
        durable.map(|(_, change)| change.clone()).collect()
    }

    /// The changes of one document that are not durable.
    pub(super) fn unfolded_after(&self, id: &DocumentId, durable: Lsn) -> Vec<Bytes> {
        let unfolded = self.entries.get(id).map(|entry| entry.unfolded.iter());
        let late = unfolded.into_iter().flatten();
        let late = late.filter(|(lsn, _)| *lsn > durable);
        late.map(|(_, change)| change.clone()).collect()
    }

    /// The documents of a namespace with changes that the store's pages lack, after a key and up to another.
    pub(super) fn dirty_between(
        &self,
        namespace: &Namespace,
        (after, through): (Option<&Key>, Option<&Key>),
    ) -> Vec<DocumentId> {
        let address = |key: &Key| DocumentId {
            namespace: namespace.clone(),
            key: key.clone(),
        };
        let from = match after {
            Some(after) => Bound::Excluded(address(after)),
            None => Bound::Included(address(&Key::floor(""))),
        };
        let ids = self.dirty.range((from, Bound::Unbounded)).map(|(id, _)| id);
        ids.take_while(|id| {
            id.namespace == *namespace && through.is_none_or(|through| id.key <= *through)
        })
        .cloned()
        .collect()
    }

    /// Adds what a repair has brought, which counts from a position on, before what came after that.
    pub(super) fn insert(&mut self, id: &DocumentId, lsn: Lsn, pieces: &[Bytes]) {
        if pieces.is_empty() {
            return;
        }
        self.forget(id);
        let entry = self.entry(id);
        let at = entry.unfolded.partition_point(|(of, _)| *of <= lsn);
        // What came by itself before is there once. What did so after that can't stand in for it: others build on it.
        let known: BTreeSet<_> = entry.unfolded[..at]
            .iter()
            .map(|(_, piece)| piece)
            .collect();
        let new = pieces.iter().filter(|piece| !known.contains(piece));
        let new: Vec<_> = new.map(|piece| (lsn, piece.clone())).collect();
        let bytes: usize = new.iter().map(|(_, piece)| weight_of(piece)).sum();
        entry.unfolded.splice(at..at, new);
        self.unfolded_bytes += bytes;
        self.note_age(id);
    }

    /// Lets go of documents of which more has come than they show.
    pub(super) fn forget_all(&mut self, changed: impl Fn(&DocumentId) -> bool) {
        let ids: Vec<_> = self
            .entries
            .keys()
            .filter(|id| changed(id))
            .cloned()
            .collect();
        ids.iter().for_each(|id| self.forget(id));
    }

    /// Whether somebody waits for a document of a namespace, or the store is being asked for one.
    pub(super) fn is_in_use(&self, namespace: &Namespace) -> bool {
        let entries = self.entries.iter();
        let mut entries = entries.filter(|(id, _)| id.namespace == *namespace);
        entries.any(|(_, entry)| entry.fetching || entry.pins > 0 || !entry.waiting.is_empty())
    }

    /// Lets go of all that is known of a namespace's documents, changes included.
    pub(super) fn forget_namespace(&mut self, namespace: &Namespace) {
        let ids = self.entries.keys();
        let ids: Vec<_> = ids
            .filter(|id| id.namespace == *namespace)
            .cloned()
            .collect();
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.folding = None;
                entry.absorbed = 0;
                let gone = entry.unfolded.drain(..).map(|(_, change)| change);
                self.unfolded_bytes -= gone.map(|change| weight_of(&change)).sum::<usize>();
            }
            self.note_age(&id);
            self.forget(&id);
        }
    }

    /// Takes back what was added at or after a position: it never became durable, and never will.
    pub(super) fn take_back(&mut self, id: &DocumentId, from: Lsn, durable: Ticket) {
        self.forget(id);
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let kept = entry.unfolded.partition_point(|(lsn, _)| *lsn < from);
        let gone = entry.unfolded.drain(kept..).map(|(_, change)| change);
        let bytes: usize = gone.map(|change| weight_of(&change)).sum();
        entry.newest = entry.newest.min(durable);
        self.unfolded_bytes -= bytes;
        self.note_age(id);
        self.tidy(id);
    }

    /// Every loaded document writes as another origin from now on.
    pub(super) fn set_origin(&mut self, origin: &Origin) {
        for entry in self.entries.values_mut() {
            // It is weighed with the next use.
            entry.tip = None;
            if let Some(document) = &mut entry.loaded {
                document.set_origin(origin);
            }
        }
    }
}

/// What a change takes in memory while it waits.
fn weight_of(change: &Bytes) -> usize {
    change.len() + 64
}
