//! Batches of our own behind a record of the log that can't be read.
//!
//! A batch counts only after all before it, so what an origin has said ends where a record is lost. Others send again
//! what they have of the rest; but what was written here may not have reached anyone. Such batches are written anew,
//! under the incarnation that the loss has begun. Their changes stay the same, so nobody who has them from before takes
//! harm. A change that builds on a lost one waits until that comes back from somebody, for a while.
//!
//! Until all is written anew the checkpoint stays where it is, so that a crash begins this again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Awaited, Replica};
use crate::effect::{Notice, Now, Output};
use crate::persist::{Fetch, LogRecord, ReceiptKey, Ticket};
use crate::record::Record;
use crate::{Batch, DocumentId, Lsn};

/// Bytes of the log that are looked through at once.
const SLICE_BYTES: usize = 1 << 20;
/// Bytes of batches that wait for what they build on; what is more is read again when something has come.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// They wait for this long after the start, while others may send what is missing.
const PATIENCE_MS: u64 = 600_000;
/// When something has come, or was in the way, they are looked at again after this long.
const RETRY_MS: u64 = 1_000;

/// A batch that does not count, and its record.
pub(super) type CutOff = (Lsn, Arc<Batch>);

#[derive(Default)]
pub(super) struct Salvage {
    /// The replay is over; nothing can be written before.
    begun: bool,
    /// Records among which there are such batches: the first and the last.
    among: Option<(Lsn, Lsn)>,
    /// Of those, the next to be looked at, and the last.
    left: Option<(Lsn, Lsn)>,
    /// Of the records that were read, those whose turn has not come.
    queue: VecDeque<CutOff>,
    /// What builds on something that is missing, or is in documents that can't be read.
    waiting: VecDeque<CutOff>,
    waiting_bytes: usize,
    /// The first that there was no room for among them.
    unread: Option<Lsn>,
    /// Under which their writers may ask again.
    keys: BTreeSet<ReceiptKey>,
    /// Something has come since those were looked at.
    stirred: bool,
    due_ms: u64,
    until_ms: Option<u64>,
    /// They have been looked at for the last time.
    tried_last: bool,
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
    pub(super) fn passed_over(&mut self, lsn: Lsn, batch: &Batch) {
        let (first, _) = self.among.unwrap_or((lsn, lsn));
        self.among = Some((first, lsn));
        self.left = self.among;
        self.keys
            .extend(batch.receipt.as_ref().map(|receipt| receipt.key));
    }

    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// Whether the replay is over.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether what was written under this key may be on its way to be written anew.
    pub(super) fn holds_key(&self, key: &ReceiptKey) -> bool {
        self.keys.contains(key)
    }

    /// What was not durable has been taken back. Of what was, a second time does no harm.
    pub(super) fn taken_back(&mut self, now: Now, durable: Ticket) {
        if self.newest > durable {
            self.newest = durable;
            self.left = self.among;
            self.queue.clear();
            self.let_go_of_waiting();
            self.due_ms = now.mono_ms + RETRY_MS;
        }
    }

    fn let_go_of_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.unread = None;
    }

    fn waits(&self) -> bool {
        !self.waiting.is_empty() || self.unread.is_some()
    }

    fn has_work(&self) -> bool {
        self.under_way || self.left.is_some() || !self.queue.is_empty()
    }

    /// Whether replay must begin where it began, since not all is written anew.
    pub(super) fn is_under_way(&self, durable: Ticket) -> bool {
        self.has_work() || self.waits() || self.newest > durable
    }

    /// Something has come, perhaps what is waited for.
    pub(super) fn stir(&mut self, now: Now) {
        if self.waits() && !self.stirred {
            self.stirred = true;
            self.due_ms = now.mono_ms + RETRY_MS;
        }
    }

    pub(super) fn wake_at(&self) -> u64 {
        if self.under_way || !self.begun {
            return u64::MAX;
        }
        if self.has_work() || self.stirred {
            return self.due_ms;
        }
        match self.until_ms {
            Some(until_ms) if self.waits() => until_ms,
            _ => u64::MAX,
        }
    }

    /// All that waits has another turn.
    fn look_again(&mut self) {
        if let (Some(unread), Some((_, last))) = (self.unread, self.among) {
            let from = self.left.map_or(unread, |(from, _)| from.min(unread));
            self.left = Some((from, last));
        }
        self.queue.append(&mut self.waiting);
        self.let_go_of_waiting();
    }

    fn wait(&mut self, (lsn, batch): CutOff) {
        let bytes = batch.bytes();
        if self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            self.unread = Some(self.unread.map_or(lsn, |unread| unread.min(lsn)));
        } else {
            self.waiting_bytes += bytes;
            self.waiting.push_back((lsn, batch));
        }
    }

    fn give_up(&mut self) {
        self.lost += self.waiting.len() as u64 + u64::from(self.unread.is_some());
        self.let_go_of_waiting();
        self.keys.clear();
    }

    fn is_over(&mut self, batch: &Batch) {
        if let Some(receipt) = &batch.receipt {
            self.keys.remove(&receipt.key);
        }
    }
}

impl Replica {
    pub(super) fn tick_salvage(&mut self, now: Now) {
        if self.salvage.wake_at() > now.mono_ms || self.failed.is_some() {
            return;
        }
        let until_ms = self.salvage.until_ms.unwrap_or(now.mono_ms + PATIENCE_MS);
        self.salvage.until_ms = Some(until_ms);
        if self.pauses(now) {
            // What comes from others meanwhile is not taken in either.
            self.salvage.due_ms = now.mono_ms + RETRY_MS;
            self.salvage.until_ms = Some(until_ms.max(now.mono_ms) + RETRY_MS);
            return;
        }
        let is_late = now.mono_ms >= until_ms;
        if std::mem::take(&mut self.salvage.stirred) {
            self.salvage.look_again();
        } else if is_late && !std::mem::replace(&mut self.salvage.tried_last, true) {
            self.salvage.until_ms = Some(now.mono_ms + RETRY_MS);
            self.salvage.look_again();
        } else if is_late && !self.salvage.has_work() {
            self.salvage.give_up();
        }
        self.salvage_next(now);
    }

    /// Begins with the next batch, or with the next records.
    fn salvage_next(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        if self.is_saturated() {
            self.salvage.due_ms = now.mono_ms + RETRY_MS;
        } else if let Some(next) = self.salvage.queue.pop_front() {
            self.salvage.under_way = true;
            self.gather_again(next);
        } else if let Some((from, _)) = self.salvage.left {
            self.salvage.under_way = true;
            let bytes_max = SLICE_BYTES;
            self.fetch(Fetch::Log { from, bytes_max }, Awaited::PassedOver(from));
        } else {
            self.report_salvage();
        }
    }

    pub(super) fn passed_over_fetched(&mut self, now: Now, asked: Lsn, records: Vec<LogRecord>) {
        self.salvage.under_way = false;
        // Everything may have had to begin anew meanwhile.
        let left = self.salvage.left.take_if(|(from, _)| *from == asked);
        if let Some((from, through)) = left {
            let last = records.last().map(|record| record.lsn);
            for record in records {
                if record.lsn < from || record.lsn > through {
                    continue;
                }
                // What can't be decoded was refused at the start.
                for batch in Record::batches(&record.bytes).unwrap_or_default() {
                    if self.is_cut_off(record.lsn, &batch) {
                        self.salvage.queue.push_back((record.lsn, batch));
                    }
                }
            }
            if let Some(last) = last.filter(|last| *last < through) {
                self.salvage.left = Some((last.next(), through));
            }
        }
        self.salvage_next(now);
    }

    /// The records can't be read now, as they could be at the start.
    pub(super) fn passed_over_failed(&mut self, now: Now) {
        self.salvage.under_way = false;
        self.salvage.due_ms = now.mono_ms + RETRY_MS;
        let until_ms = self.salvage.until_ms;
        if until_ms.is_some_and(|until_ms| now.mono_ms >= until_ms) {
            self.salvage.left = None;
            self.salvage.lost += 1;
        }
    }

    /// Whether a batch was written here before something was lost, and does not count for that.
    fn is_cut_off(&self, lsn: Lsn, batch: &Batch) -> bool {
        batch.origin.replica == self.origin.replica
            && batch.origin != self.origin
            && batch.seq > self.history.accepted(&batch.namespace, &batch.origin)
            && !self.departures.is_gone(&batch.namespace, lsn)
    }

    /// The documents of a batch are there, or can't be.
    pub(super) fn write_anew(&mut self, now: Now, (lsn, batch): CutOff, loaded: bool) {
        self.salvage.under_way = false;
        if self.failed.is_some() {
            return;
        }
        if !self.is_cut_off(lsn, &batch) {
            // It has come back meanwhile.
            self.salvage.is_over(&batch);
        } else if self.pauses(now) {
            self.salvage.queue.push_front((lsn, batch));
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
            self.salvage.is_over(&batch);
            // What waits may build on it.
            self.salvage.stir(now);
        } else {
            self.salvage.wait((lsn, batch));
        }
        self.salvage_next(now);
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
