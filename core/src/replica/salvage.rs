//! Batches of our own behind a record of the log that can't be read.
//!
//! A batch counts only after all before it, so what an origin has said ends where a record is lost. Others send again
//! what they have of the rest; but what was written here may not have reached anyone. Such batches are written anew,
//! under the incarnation that the loss has begun. Their changes stay the same, so nobody who has them from before takes
//! harm. A change that builds on a lost one waits until that comes back from somebody, for a while.
//!
//! Until all is written anew the checkpoint stays where it is, so that a crash begins this again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Awaited, Replica};
use crate::effect::{Notice, Now, Output};
use crate::persist::{Fetch, LogRecord, Ticket};
use crate::{Batch, DocumentId, Lsn, batch};

/// Bytes of the log that are looked through at once.
const SLICE_BYTES: usize = 1 << 20;
/// Bytes of batches that may wait for what they build on.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// They wait for this long after the start, while others may send what is missing.
const PATIENCE_MS: u64 = 600_000;
/// When something has come meanwhile, they are looked at again after this long.
const RETRY_MS: u64 = 1_000;

#[derive(Default)]
pub(super) struct Salvage {
    /// Records among which there are such batches: the first and the last.
    among: Option<(Lsn, Lsn)>,
    /// Of those, the next to be looked at, and the last.
    left: Option<(Lsn, Lsn)>,
    /// Of the records that were read, those whose turn has not come.
    queue: VecDeque<Arc<Batch>>,
    /// What builds on something that is missing.
    waiting: VecDeque<Arc<Batch>>,
    waiting_bytes: usize,
    /// Something has come since those were looked at.
    stirred: bool,
    due_ms: u64,
    until_ms: Option<u64>,
    /// The log or the documents of a batch are being fetched.
    under_way: bool,
    /// The commit of the last batch that was written anew.
    newest: Ticket,
    rewritten: u64,
    lost: u64,
    /// How many were last said to wait.
    told: usize,
}

impl Salvage {
    /// A batch of our own was passed over in the replay.
    pub(super) fn passed_over(&mut self, lsn: Lsn) {
        let (first, _) = self.among.unwrap_or((lsn, lsn));
        self.among = Some((first, lsn));
        self.left = self.among;
    }

    /// What was not durable has been taken back. Of what was, a second time does no harm.
    pub(super) fn taken_back(&mut self, now: Now, durable: Ticket) {
        if self.newest > durable {
            self.newest = durable;
            self.left = self.among;
            self.due_ms = now.mono_ms + RETRY_MS;
        }
    }

    fn has_work(&self) -> bool {
        self.under_way || self.left.is_some() || !self.queue.is_empty()
    }

    /// Whether replay must begin where it began, since not all is written anew.
    pub(super) fn is_under_way(&self, durable: Ticket) -> bool {
        self.has_work() || !self.waiting.is_empty() || self.newest > durable
    }

    /// Something came from elsewhere, perhaps what is waited for.
    pub(super) fn stir(&mut self, now: Now) {
        if !self.waiting.is_empty() && !self.stirred {
            self.stirred = true;
            self.due_ms = now.mono_ms + RETRY_MS;
        }
    }

    pub(super) fn wake_at(&self) -> u64 {
        if self.under_way {
            return u64::MAX;
        }
        if self.has_work() || self.stirred {
            return self.due_ms;
        }
        match self.until_ms {
            Some(until_ms) if !self.waiting.is_empty() => until_ms,
            _ => u64::MAX,
        }
    }
}

impl Replica {
    pub(super) fn tick_salvage(&mut self, now: Now) {
        if self.salvage.wake_at() > now.mono_ms || self.failed.is_some() {
            return;
        }
        let until_ms = *self
            .salvage
            .until_ms
            .get_or_insert(now.mono_ms + PATIENCE_MS);
        if std::mem::take(&mut self.salvage.stirred) {
            let waiting = std::mem::take(&mut self.salvage.waiting);
            self.salvage.waiting_bytes = 0;
            self.salvage.queue.extend(waiting);
        } else if now.mono_ms >= until_ms {
            self.salvage.lost += self.salvage.waiting.len() as u64;
            self.salvage.waiting.clear();
            self.salvage.waiting_bytes = 0;
            self.report_salvage();
        }
        if self.pauses(now) {
            self.salvage.due_ms = now.mono_ms + RETRY_MS;
            return;
        }
        self.salvage_next();
    }

    /// Begins with the next batch, or with the next records.
    fn salvage_next(&mut self) {
        if let Some(batch) = self.salvage.queue.pop_front() {
            self.salvage.under_way = true;
            self.gather_again(batch);
        } else if let Some((from, _)) = self.salvage.left {
            self.salvage.under_way = true;
            let bytes_max = SLICE_BYTES;
            self.fetch(Fetch::Log { from, bytes_max }, Awaited::PassedOver);
        } else {
            self.report_salvage();
        }
    }

    pub(super) fn passed_over_fetched(&mut self, records: Vec<LogRecord>) {
        self.salvage.under_way = false;
        let Some((from, through)) = self.salvage.left.take() else {
            return;
        };
        let last = records.last().map(|record| record.lsn);
        for record in records {
            if record.lsn < from || record.lsn > through {
                continue;
            }
            // What can't be decoded was refused at the start.
            for batch in batch::decode(record.bytes).unwrap_or_default() {
                if self.is_cut_off(&batch) {
                    self.salvage.queue.push_back(batch);
                }
            }
        }
        if let Some(last) = last.filter(|last| *last < through) {
            self.salvage.left = Some((last.next(), through));
        }
        self.salvage_next();
    }

    /// The records can't be read: what was in them is gone.
    pub(super) fn passed_over_failed(&mut self) {
        self.salvage.under_way = false;
        self.salvage.left = None;
        self.salvage_next();
    }

    /// Whether a batch was written here before something was lost, and does not count for that.
    pub(super) fn is_cut_off(&self, batch: &Batch) -> bool {
        batch.origin.replica == self.origin.replica
            && batch.origin != self.origin
            && batch.seq > self.history.accepted(&batch.namespace, &batch.origin)
    }

    /// The documents of a batch are there, or can't be.
    pub(super) fn write_anew(&mut self, now: Now, batch: Arc<Batch>, loaded: bool) {
        self.salvage.under_way = false;
        if !self.is_cut_off(&batch) {
            // It has come back meanwhile.
        } else if self.pauses(now) {
            self.salvage.queue.push_front(batch);
            self.salvage.due_ms = now.mono_ms + RETRY_MS;
            return;
        } else if loaded && self.builds_on_what_is_there(&batch) {
            let (seq, causes) = self.history.next_own(&batch.namespace, &self.origin);
            let anew = Batch {
                origin: self.origin,
                seq,
                causes,
                ..Batch::clone(&batch)
            };
            self.salvage.newest = self.admit(now, &Arc::new(anew), &[]);
            self.salvage.rewritten += 1;
            // What waits may build on it.
            self.salvage.stir(now);
        } else if self.salvage.waiting_bytes + batch.bytes() > WAITING_BYTES_MAX {
            self.salvage.lost += 1;
        } else {
            self.salvage.waiting_bytes += batch.bytes();
            self.salvage.waiting.push_back(batch);
        }
        self.salvage_next();
    }

    fn builds_on_what_is_there(&mut self, batch: &Batch) -> bool {
        batch.writes.iter().all(|write| {
            let id = DocumentId {
                namespace: batch.namespace.clone(),
                key: write.key.clone(),
            };
            self.bring_up_to_date(&id);
            let entry = self.shelf.get(&id);
            let document = entry.and_then(|entry| entry.loaded.as_mut());
            document.is_some_and(|document| document.has_what_precedes(&write.changes))
        })
    }

    fn report_salvage(&mut self) {
        let rewritten = std::mem::take(&mut self.salvage.rewritten);
        let lost = std::mem::take(&mut self.salvage.lost);
        let waiting = self.salvage.waiting.len();
        let told = std::mem::replace(&mut self.salvage.told, waiting);
        if rewritten + lost > 0 || told != waiting {
            let notice = Notice::RecordsLost {
                rewritten,
                waiting: waiting as u64,
                lost,
            };
            self.outputs.push_back(Output::Notice(notice));
        }
    }
}
