//! Documents in memory: which are loaded, and what has been written to each since its stored state.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::documents::Job;
use crate::document::{Document, Refusal};
use crate::persist::{StoredDocument, Ticket};
use crate::{DocumentId, Key, Lsn, Namespace, Origin};

/// What is known of one document beyond its stored state.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) loaded: Option<Document>,
    /// Changes that the stored state lacks, in log order.
    unfolded: Vec<(Lsn, Bytes)>,
    /// How many of those the loaded document has taken in.
    absorbed: usize,
    /// The commit that carries the newest change.
    pub(super) newest: Ticket,
    /// The commit that carries a newer stored state, and how many changes that state includes.
    folding: Option<(Ticket, usize, StoredDocument)>,
    /// Whether its stored state has been asked for.
    pub(super) fetching: bool,
    /// What to do once it is loaded.
    pub(super) waiting: Vec<Job>,
    used: u64,
    /// Writes to several documents that need this one to stay until the others are there.
    pins: usize,
}

impl Entry {
    /// The loaded document, with everything taken in that was written since.
    pub(super) fn current(&mut self) -> Option<(&mut Document, Vec<Refusal>)> {
        let document = self.loaded.as_mut()?;
        let refused = if self.absorbed < self.unfolded.len() {
            document.absorb(
                self.unfolded[self.absorbed..]
                    .iter()
                    .map(|(_, change)| change),
            )
        } else {
            Vec::new()
        };
        self.absorbed = self.unfolded.len();
        Some((document, refused))
    }

    pub(super) fn unfolded(&self) -> impl Iterator<Item = &Bytes> {
        self.unfolded.iter().map(|(_, change)| change)
    }

    /// A state that is newer than what the store may answer.
    pub(super) fn on_its_way(&self) -> Option<&StoredDocument> {
        self.folding.as_ref().map(|(_, _, stored)| stored)
    }

    pub(super) fn put_in(&mut self, document: Document) {
        self.loaded = Some(document);
        self.absorbed = 0;
    }

    fn first(&self) -> Option<Lsn> {
        self.unfolded.first().map(|(lsn, _)| *lsn)
    }

    fn is_idle(&self) -> bool {
        self.loaded.is_none()
            && self.unfolded.is_empty()
            && self.waiting.is_empty()
            && !self.fetching
            && self.folding.is_none()
            && self.pins == 0
    }
}

#[derive(Default)]
pub(super) struct Shelf {
    entries: BTreeMap<DocumentId, Entry>,
    /// Documents with unfolded changes, by the oldest of those.
    dirty: BTreeSet<(Lsn, DocumentId)>,
    /// Loaded documents by last use.
    uses: BTreeMap<u64, DocumentId>,
    clock: u64,
    unfolded_bytes: usize,
}

impl Shelf {
    pub(super) fn entry(&mut self, id: &DocumentId) -> &mut Entry {
        if !self.entries.contains_key(id) {
            self.entries.insert(id.clone(), Entry::default());
        }
        self.entries.get_mut(id).expect("inserted above")
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
        let range = self
            .entries
            .range(first..)
            .take_while(|(id, _)| in_range(id));
        range
            .filter(|(_, entry)| !entry.unfolded.is_empty())
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub(super) fn unfolded_bytes(&self) -> usize {
        self.unfolded_bytes
    }

    pub(super) fn loaded(&self) -> usize {
        self.uses.len()
    }

    /// The oldest change that no stored state includes.
    pub(super) fn oldest_unfolded(&self) -> Option<Lsn> {
        self.dirty.first().map(|(lsn, _)| *lsn)
    }

    /// Adds changes that are on their way into the log. `absorbed`: the loaded document has them already.
    pub(super) fn add(
        &mut self,
        id: &DocumentId,
        lsn: Lsn,
        changes: &[Bytes],
        ticket: Ticket,
        absorbed: bool,
    ) {
        // Nothing to fold would stay to be folded for ever.
        if changes.is_empty() {
            return;
        }
        let entry = self.entry(id);
        if entry.unfolded.is_empty() {
            self.dirty.insert((lsn, id.clone()));
        }
        let entry = self.entry(id);
        entry.newest = ticket;
        entry
            .unfolded
            .extend(changes.iter().map(|change| (lsn, change.clone())));
        if absorbed {
            entry.absorbed += changes.len();
        }
        self.unfolded_bytes += changes.iter().map(Bytes::len).sum::<usize>();
    }

    /// Marks a document as just used, and lets go of those unused longest if too many are loaded.
    pub(super) fn touch(&mut self, id: &DocumentId, loaded_max: usize) {
        self.clock += 1;
        let clock = self.clock;
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.loaded.is_none() {
            return;
        }
        let before = std::mem::replace(&mut entry.used, clock);
        self.uses.remove(&before);
        self.uses.insert(clock, id.clone());
        self.evict(loaded_max);
    }

    /// Lets go of documents unused longest if too many are loaded. The one used last stays: it is the one in
    /// hand, or whoever asked for it would get no answer.
    pub(super) fn evict(&mut self, loaded_max: usize) {
        let mut passed_over = Vec::new();
        while self.uses.len() + passed_over.len() > loaded_max
            && let Some((used, id)) = self.uses.pop_first()
        {
            // A state on its way to the store must not be fetched before it is there.
            let kept = |entry: &Entry| {
                entry.folding.is_some() || !entry.waiting.is_empty() || entry.pins > 0
            };
            if used == self.clock || self.entries.get(&id).is_some_and(kept) {
                passed_over.push((used, id));
            } else {
                self.forget(&id);
            }
        }
        self.uses.extend(passed_over);
    }

    /// The document, once it is loaded, stays until it is let go as often.
    pub(super) fn pin(&mut self, id: &DocumentId) {
        self.entry(id).pins += 1;
    }

    pub(super) fn unpin(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.pins = entry.pins.saturating_sub(1);
            if entry.is_idle() {
                self.entries.remove(id);
            }
        }
    }

    pub(super) fn is_loaded(&self, id: &DocumentId) -> bool {
        self.entries
            .get(id)
            .is_some_and(|entry| entry.loaded.is_some())
    }

    /// Lets go of a loaded document; it is loaded again when it is asked for.
    pub(super) fn unload(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            self.uses.remove(&entry.used);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.loaded = None;
            entry.absorbed = 0;
            if entry.is_idle() {
                self.entries.remove(id);
            }
        }
    }

    /// Documents whose oldest unfolded change is not after `before`, oldest first, that are not being
    /// folded already.
    pub(super) fn foldable(&self, before: Lsn, most: usize) -> Vec<DocumentId> {
        let old = self.dirty.iter().take_while(|(lsn, _)| *lsn <= before);
        let free = old.filter(|(_, id)| {
            self.entries
                .get(id)
                .is_some_and(|e| e.folding.is_none() && !e.fetching)
        });
        free.take(most).map(|(_, id)| id.clone()).collect()
    }

    /// A loaded document's state is on its way to the store.
    pub(super) fn begin_fold(&mut self, id: &DocumentId, ticket: Ticket, stored: StoredDocument) {
        let entry = self.entry(id);
        entry.folding = Some((ticket, entry.unfolded.len(), stored));
    }

    /// It is there; gives it back.
    pub(super) fn end_fold(&mut self, id: &DocumentId, ticket: Ticket) -> Option<StoredDocument> {
        let entry = self.entries.get_mut(id)?;
        let (_, included, stored) = entry
            .folding
            .take_if(|(folding, _, _)| *folding == ticket)?;
        if let Some(first) = entry.first() {
            self.dirty.remove(&(first, id.clone()));
        }
        let folded: usize = entry
            .unfolded
            .drain(..included)
            .map(|(_, change)| change.len())
            .sum();
        self.unfolded_bytes -= folded;
        entry.absorbed = entry.absorbed.saturating_sub(included);
        if let Some(first) = entry.first() {
            self.dirty.insert((first, id.clone()));
        }
        if entry.is_idle() {
            self.entries.remove(id);
        }
        Some(stored)
    }

    /// Every loaded document writes as another origin from now on.
    pub(super) fn set_origin(&mut self, origin: &Origin) {
        for entry in self.entries.values_mut() {
            if let Some(document) = &mut entry.loaded {
                document.set_origin(origin);
            }
        }
    }
}
