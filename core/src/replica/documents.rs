//! Documents on their way into memory, and what is to be done with each once it is there.

use bytes::Bytes;

use super::asking::Caller;
use super::gathering::GatheringId;
use super::writing::Writing;
use super::{Awaited, Replica};
use crate::DocumentId;
use crate::document::{Document, Refusal, Version};
use crate::effect::{FetchId, Notice, Now, Output, RequestError};
use crate::persist::{Fetch, StoreError, StoredDocument, Ticket};
use crate::summary::term_of_change;

/// Something to do with a document once it is loaded.
pub(super) enum Job {
    Read {
        caller: Caller,
        at: Option<Version>,
        conflicts: bool,
    },
    Versions {
        caller: Caller,
        skip: usize,
        limit: usize,
    },
    Diff {
        caller: Caller,
        from: Version,
        to: Option<Version>,
    },
    /// A write to this document alone.
    Write(Box<Writing>),
    /// One more document of a write to several is there.
    Part(GatheringId),
    /// Which changes of it are the latest, for a comparison.
    Heads(u64),
}

impl Replica {
    /// Does a job now if the document is loaded, or else as soon as it is.
    pub(super) fn with_document(&mut self, now: Now, id: &DocumentId, job: Job) {
        let lacks = self.imports.lacks(id);
        let entry = self.shelf.entry(id);
        if lacks {
            entry.waiting.push(job);
            if !entry.fetching {
                entry.fetching = true;
                self.fetch_imports_of(id);
            }
            return;
        }
        if entry.loaded.is_some() {
            self.shelf.touch(id);
            return self.work(now, id, job);
        }
        entry.waiting.push(job);
        if !entry.fetching {
            entry.fetching = true;
            self.fetch(Fetch::Document(id.clone()), Awaited::Document(id.clone()));
        }
    }

    pub(super) fn document_fetched(
        &mut self,
        now: Now,
        id: &DocumentId,
        stored: Option<&StoredDocument>,
    ) {
        let document = match Document::of_stored(&self.origin, stored) {
            Ok(document) => document,
            Err(error) => {
                return self.document_lost(now, id, StoreError::Failed(error.to_string()));
            }
        };
        #[cfg(feature = "planted")]
        let document = document.planted(self.config.planted);
        self.shelf.put_in(id, document);
        if stored.is_none() && !self.is_planted() {
            self.shelf.entry(id).is_nothing(&self.origin);
        }
        let folded = self.shelf.settle_fetched(id);
        self.folded_while_fetched(id, folded);
        let jobs = std::mem::take(&mut self.shelf.entry(id).waiting);
        self.shelf.touch(id);
        self.shelf
            .evict(self.config.room.loaded_bytes_max, Some(id));
        let written_only = jobs.iter().all(|job| matches!(job, Job::Write(_)));
        for job in jobs {
            // A write that failed may have dropped the document again.
            self.with_document(now, id, job);
        }
        if written_only {
            // Whoever only writes needs no more than the tip from now on.
            self.shelf.keep_tip_alone(id);
        }
    }

    /// Somebody else writes to a document. If nothing of it is here, its history is followed from the beginning: the first write here needs
    /// nothing from the store then. That there is nothing is known from the summaries, without the store being asked; what a repair has
    /// brought they don't know before all of it is in place. Nobody may ever write to it here, so no other tip is pushed out of memory for that.
    pub(super) fn follow_if_new(&mut self, id: &DocumentId) {
        let room = &self.config.room;
        let is_wanted = room.tips && self.shelf.has_room_for_tips(room.loaded_bytes_max);
        if is_wanted
            && self.shelf.get(id).is_none()
            && self.summaries.has_nothing(id)
            && !self.imports.is_pending(&id.namespace)
            && !self.is_planted()
        {
            self.shelf.entry(id).is_nothing(&self.origin);
        }
    }

    /// What a repair has brought for a document is there, or it turned out that there is nothing.
    pub(super) fn resume_jobs(&mut self, now: Now, id: &DocumentId) {
        let folded = self.shelf.settle_fetched(id);
        self.folded_while_fetched(id, folded);
        for job in std::mem::take(&mut self.shelf.entry(id).waiting) {
            self.with_document(now, id, job);
        }
    }

    /// From now on only the store has these changes. A listing may have asked it before it had.
    fn folded_while_fetched(&mut self, id: &DocumentId, changes: Vec<Bytes>) {
        if !changes.is_empty() {
            self.scans.folded(id, changes, FetchId(self.fetch_count));
        }
    }

    /// A document that can't be read: whoever waits for it is told; the others go on.
    pub(super) fn document_lost(&mut self, now: Now, id: &DocumentId, error: StoreError) {
        let (jobs, folded) = self.shelf.fetch_failed(id);
        self.folded_while_fetched(id, folded);
        let error = match self.store_error(now, error) {
            RequestError::Store(why) => RequestError::Store(format!("{id}: {why}")),
            other => other,
        };
        for job in jobs {
            let error = error.clone();
            match job {
                Job::Read { caller, .. }
                | Job::Versions { caller, .. }
                | Job::Diff { caller, .. } => self.answer(caller, Ticket(0), Err(error)),
                Job::Write(writing) => self.written(*writing, Ticket(0), Err(error)),
                Job::Part(gathering) => self.gathering_failed(now, gathering, error),
                Job::Heads(number) => self.heads_known(now, id, number, None),
            }
        }
    }

    fn work(&mut self, now: Now, id: &DocumentId, job: Job) {
        self.bring_up_to_date(id);
        match job {
            Job::Read {
                caller,
                at,
                conflicts,
            } => self.read(id, caller, at.as_ref(), conflicts),
            Job::Versions {
                caller,
                skip,
                limit,
            } => self.list_versions(id, caller, skip, limit),
            Job::Diff { caller, from, to } => self.compare(id, caller, &from, to.as_ref()),
            Job::Write(writing) => self.write_now(now, *writing),
            Job::Part(gathering) => self.part_is_there(now, gathering, id),
            Job::Heads(number) => {
                let known = self.tell_heads(id);
                self.heads_known(now, id, number, known);
            }
        }
    }

    /// The starts of the hashes of a loaded document's latest changes, and of all.
    fn tell_heads(&mut self, id: &DocumentId) -> Option<(Vec<u64>, Vec<u64>)> {
        let document = self.shelf.get(id)?.loaded.as_mut()?;
        let (heads, terms) = (document.head_starts(), document.terms());
        let sum = terms
            .iter()
            .fold(0_u64, |sum, term| sum.wrapping_add(*term));
        let durable = self.history.durable_end;
        let late = self.shelf.unfolded_after(id, durable);
        let late = late.iter().map(|change| term_of_change(change));
        let sum = late.fold(sum, u64::wrapping_sub);
        self.correct_sum(id, sum);
        Some((heads, terms))
    }

    /// Lets the loaded document take in what was written since, and says what it could not.
    pub(super) fn bring_up_to_date(&mut self, id: &DocumentId) {
        let Some((_, refused)) = self.shelf.entry(id).current() else {
            return;
        };
        self.counters.changes_refused += refused.len() as u64;
        for Refusal { hash, reason } in refused {
            let document = id.clone();
            self.outputs
                .push_back(Output::Notice(Notice::ChangeRefused {
                    document,
                    hash,
                    reason,
                }));
        }
    }
}
