//! Bringing several documents into memory at the same time, for what needs all of them at once.
//!
//! What has come stays until the rest is there, however little room there is; so that this has a bound, only
//! so many documents are gathered at once, and other writes to several wait for their turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Replica;
use super::documents::Job;
use super::salvage::CutOff;
use super::writing::Writing;
use crate::effect::{Now, RequestError};
use crate::persist::Ticket;
use crate::{DocumentId, limits};

/// Names a write whose documents are being gathered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct GatheringId(u64);

/// What is done once they are there.
enum Purpose {
    Write(Writing),
    /// See [`super::salvage`].
    WriteAnew(CutOff),
}

impl Purpose {
    fn documents(&self) -> Vec<DocumentId> {
        match self {
            Self::Write(writing) => writing.documents(),
            Self::WriteAnew((_, batch)) => {
                let keys: BTreeSet<_> = batch.writes.iter().map(|write| &write.key).collect();
                let address = |key| Replica::address(&batch.namespace, key);
                keys.into_iter().map(address).collect()
            }
        }
    }
}

struct Gathering {
    purpose: Purpose,
    documents: Vec<DocumentId>,
    missing: BTreeSet<DocumentId>,
}

#[derive(Default)]
pub(super) struct Gatherings {
    count: u64,
    by_id: BTreeMap<GatheringId, Gathering>,
    /// Documents of all of them.
    documents: usize,
    /// Those whose turn has not come.
    queue: VecDeque<Purpose>,
}

impl Replica {
    pub(super) fn queue_gathering(&mut self, writing: Writing) {
        self.gatherings.queue.push_back(Purpose::Write(writing));
    }

    pub(super) fn gather_again(&mut self, cut_off: CutOff) {
        self.gatherings.queue.push_back(Purpose::WriteAnew(cut_off));
    }

    /// Begins with those that there is room for. A single one always has its turn.
    pub(super) fn begin_gathering(&mut self, now: Now) {
        while let Some(next) = self.gatherings.queue.front() {
            let documents = next.documents();
            let under_way = self.gatherings.documents;
            if under_way > 0 && under_way + documents.len() > limits::WRITES_MAX {
                return;
            }
            let Some(purpose) = self.gatherings.queue.pop_front() else {
                return;
            };
            self.gatherings.count += 1;
            self.gatherings.documents += documents.len();
            let id = GatheringId(self.gatherings.count);
            let gathering = Gathering {
                purpose,
                missing: documents.iter().cloned().collect(),
                documents: documents.clone(),
            };
            self.gatherings.by_id.insert(id, gathering);
            documents
                .iter()
                .for_each(|document| self.shelf.pin(document));
            for document in &documents {
                self.with_document(now, document, Job::Part(id));
            }
            if documents.is_empty() {
                self.all_parts_are_there(now, id);
            }
        }
    }

    pub(super) fn part_is_there(&mut self, now: Now, id: GatheringId, document: &DocumentId) {
        let Some(gathering) = self.gatherings.by_id.get_mut(&id) else {
            return;
        };
        gathering.missing.remove(document);
        if !gathering.missing.is_empty() {
            return;
        }
        // Another write that failed may have dropped one of them meanwhile.
        let shelf = &mut self.shelf;
        let dropped = |document: &&DocumentId| !shelf.is_loaded(document);
        let again: Vec<_> = gathering
            .documents
            .iter()
            .filter(dropped)
            .cloned()
            .collect();
        if again.is_empty() {
            return self.all_parts_are_there(now, id);
        }
        gathering.missing.extend(again.iter().cloned());
        for document in &again {
            self.with_document(now, document, Job::Part(id));
        }
    }

    fn all_parts_are_there(&mut self, now: Now, id: GatheringId) {
        if let Some(gathering) = self.end_gathering(id) {
            match gathering.purpose {
                Purpose::Write(writing) => self.write_now(now, writing),
                Purpose::WriteAnew(cut_off) => self.write_anew(now, cut_off, true),
            }
            self.let_go(&gathering.documents);
        }
    }

    pub(super) fn gathering_failed(&mut self, now: Now, id: GatheringId, error: RequestError) {
        if let Some(gathering) = self.end_gathering(id) {
            match gathering.purpose {
                Purpose::Write(writing) => self.written(writing, Ticket(0), Err(error)),
                Purpose::WriteAnew(cut_off) => self.write_anew(now, cut_off, false),
            }
            self.let_go(&gathering.documents);
        }
    }

    /// The store failed: what waits for its turn will not have it.
    pub(super) fn stop_gathering(&mut self, error: &str) {
        for purpose in std::mem::take(&mut self.gatherings.queue) {
            if let Purpose::Write(writing) = purpose {
                let error = RequestError::Store(error.to_owned());
                self.written(writing, Ticket(0), Err(error));
            }
        }
    }

    fn end_gathering(&mut self, id: GatheringId) -> Option<Gathering> {
        let gathering = self.gatherings.by_id.remove(&id)?;
        self.gatherings.documents -= gathering.documents.len();
        Some(gathering)
    }

    fn let_go(&mut self, documents: &[DocumentId]) {
        documents
            .iter()
            .for_each(|document| self.shelf.unpin(document));
        self.shelf.evict(self.config.room.loaded_bytes_max, None);
    }
}
