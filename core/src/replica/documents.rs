//! Documents on their way into memory, and what is to be done with each once it is there.

use super::asking::Caller;
use super::gathering::GatheringId;
use super::writing::Writing;
use super::{Awaited, Replica};
use crate::DocumentId;
use crate::document::{Document, Refusal, Version};
use crate::effect::{Notice, Now, Output, RequestError};
use crate::persist::{Fetch, StoredDocument, Ticket};

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
    Fold,
}

impl Replica {
    /// Does a job now if the document is loaded, or else as soon as it is.
    pub(super) fn with_document(&mut self, now: Now, id: &DocumentId, job: Job) {
        let origin = self.origin;
        let entry = self.shelf.entry(id);
        if entry.loaded.is_none()
            && !entry.fetching
            && let Some(stored) = entry.on_its_way()
        {
            match Document::load(&origin, &stored.state) {
                #[cfg_attr(
                    not(feature = "planted"),
                    expect(unused_mut, reason = "for a planted bug")
                )]
                Ok(mut document) => {
                    #[cfg(feature = "planted")]
                    document.plant(self.config.planted);
                    entry.put_in(document);
                }
                Err(error) => {
                    entry.waiting.push(job);
                    self.stop(&error.to_string());
                    return self.document_lost(id, &error.to_string());
                }
            }
        }
        if entry.loaded.is_some() {
            self.shelf.touch(id, self.config.room.loaded_documents_max);
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
        stored: Option<StoredDocument>,
    ) {
        let origin = self.origin;
        #[cfg_attr(
            not(feature = "planted"),
            expect(unused_mut, reason = "for a planted bug")
        )]
        let mut document = match stored {
            None => Document::empty(&origin),
            Some(stored) => match Document::load(&origin, &stored.state) {
                Ok(document) => document,
                Err(error) => return self.document_lost(id, &error.to_string()),
            },
        };
        #[cfg(feature = "planted")]
        document.plant(self.config.planted);
        let entry = self.shelf.entry(id);
        entry.fetching = false;
        entry.put_in(document);
        let jobs = std::mem::take(&mut entry.waiting);
        self.shelf.touch(id, self.config.room.loaded_documents_max);
        for job in jobs {
            // A write that failed may have dropped the document again.
            self.with_document(now, id, job);
        }
    }

    /// A document that can't be read: whoever waits for it is told; the others go on.
    pub(super) fn document_lost(&mut self, id: &DocumentId, reason: &str) {
        let entry = self.shelf.entry(id);
        entry.fetching = false;
        let error = || RequestError::Store(format!("{id}: {reason}"));
        for job in std::mem::take(&mut entry.waiting) {
            match job {
                Job::Read { caller, .. }
                | Job::Versions { caller, .. }
                | Job::Diff { caller, .. } => self.answer(caller, Ticket(0), Err(error())),
                Job::Write(writing) => self.written(*writing, Ticket(0), Err(error())),
                Job::Part(gathering) => self.gathering_failed(gathering, error()),
                Job::Fold => {}
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
            Job::Fold => self.fold(id),
        }
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
