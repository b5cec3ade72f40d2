//! A disk without room: what could not be written is taken back, and everything else goes on.
//!
//! Nothing that was not durable has left the replica, so forgetting it is enough: positions, changes, receipts.
//! Callers are told that nothing was written; peers send their batches again.

use super::asking::Shows;
use super::{Carried, Replica};
use crate::effect::{Notice, Now, Output, RequestError};
use crate::persist::{Commit, StoreError, Ticket};

/// After a write that found no room, none is tried for this long.
const PAUSE_MS: u64 = 500;

/// The disk was full when it was last asked.
pub(super) struct Full {
    pub(super) why: String,
    until_ms: u64,
}

impl Replica {
    pub(super) fn persist_failed(
        &mut self,
        now: Now,
        from: Ticket,
        through: Ticket,
        error: StoreError,
    ) {
        let why = match error {
            StoreError::Full(why) => why,
            other => return self.stop(now, &other.to_string()),
        };
        let concerned = |ticket: Ticket| ticket >= from && ticket <= through;
        if self
            .unsettled
            .iter()
            .any(|unsettled| concerned(unsettled.ticket))
        {
            self.take_back(now, from, &why);
            self.salvage.taken_back(now, self.durable);
        }
        if self.full.is_none() {
            let notice = Notice::DiskFull { why: why.clone() };
            self.outputs.push_back(Output::Notice(notice));
        }
        let until_ms = now.mono_ms + PAUSE_MS;
        self.full = Some(Full { why, until_ms });
    }

    /// Everything from a ticket on: what came after it builds on it.
    fn take_back(&mut self, now: Now, from: Ticket, why: &str) {
        let (mut first, mut bytes) = (None, 0);
        let mut incarnation = None;
        let mut repairs = false;
        while let Some(gone) = self.unsettled.pop_back_if(|last| last.ticket >= from) {
            self.unsettled_bytes -= gone.bytes;
            let Some(lsn) = gone.carried.lsn() else {
                incarnation = Some(self.origin.incarnation);
                continue;
            };
            first = Some(lsn);
            bytes += gone.record_bytes;
            let batch = match gone.carried {
                Carried::Batch(_, batch) => batch,
                Carried::Placed(..) | Carried::LetGo(..) => {
                    self.placements.take_back();
                    self.departures.take_back();
                    continue;
                }
                Carried::Import(..) | Carried::Arrival(..) | Carried::Nothing => {
                    repairs = true;
                    continue;
                }
            };
            self.receipts.take_back(&batch, lsn);
            for write in &batch.writes {
                let id = Self::address(&batch.namespace, &write.key);
                self.shelf.take_back(&id, lsn, self.durable);
            }
        }
        if first.is_some() {
            self.history.take_back(bytes);
            self.peers.behind = true;
        }
        if repairs {
            self.end_all_comparisons(now);
        }
        if incarnation.is_some() {
            let ticket = Ticket(self.issued.0 + 1);
            let commit = Commit {
                incarnation,
                ..Commit::new(ticket)
            };
            self.persist(commit, Carried::Nothing);
        }
        let held = self.held_replies.split_off(&from);
        for owed in held.into_values().flatten() {
            // A reading that showed what is gone can be asked for again.
            let error = match owed.shows {
                Shows::Own(..) => RequestError::Full {
                    why: why.to_owned(),
                },
                Shows::Durable | Shows::Repeated(..) => RequestError::Busy,
            };
            self.refuse_owed(owed, error);
        }
    }

    /// Whether nothing is to be tried yet, since the last that was tried found no room.
    pub(super) fn pauses(&self, now: Now) -> bool {
        let full = self.full.as_ref();
        full.is_some_and(|full| now.mono_ms < full.until_ms)
    }

    /// Why no write is taken now, if none is.
    pub(super) fn refuses_writes(&self, now: Now) -> Option<RequestError> {
        if let Some(full) = self.full.as_ref().filter(|_| self.pauses(now)) {
            let why = full.why.clone();
            return Some(RequestError::Full { why });
        }
        let failing = self.folding.failing.as_ref()?;
        if self.unfolded_bytes() < self.config.room.unfolded_bytes_max {
            return None;
        }
        Some(match failing {
            StoreError::Full(why) => RequestError::Full { why: why.clone() },
            // The log would take them, but nothing would ever take them out of memory.
            other => RequestError::Store(format!(
                "what was written before can't be moved from the log to its documents: {other}"
            )),
        })
    }

    /// Something has become durable.
    pub(super) fn has_room(&mut self, now: Now) {
        if self
            .full
            .take_if(|full| now.mono_ms >= full.until_ms)
            .is_some()
        {
            self.outputs.push_back(Output::Notice(Notice::DiskHasRoom));
        }
    }
}
