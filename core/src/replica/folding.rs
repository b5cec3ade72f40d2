//! Moving changes from the log to the store's documents, behind the writes.
//!
//! The log makes a write durable. Later its changes go to their documents, in **sweeps**: through all documents with
//! changes, in the order of their keys, a slice at a time, so that what lies together in the store is written once.
//! At the end of a sweep the checkpoint moves up: replay begins later, and older records can be let go.
//!
//! A sweep begins when changes are old enough, when nothing has been written for a moment, or when memory
//! runs short. Only then is it in a hurry; otherwise it rests most of the time, so that writes hardly notice.

use bytes::Bytes;

use super::Replica;
use super::shelf::Slice;
use crate::codec::Writer;
use crate::effect::{Notice, Now, Output};
use crate::persist::{Checkpoint, Fold, FoldId, StoreError};
use crate::{DocumentId, Lsn};

/// Of a slice that took t, the pause after it takes this many t, unless there is a hurry.
const REST: u64 = 3;
/// After a fold that failed it is tried again after this long.
const RETRY_MS: u64 = 1_000;
/// Receipts that go with one fold.
const RECEIPTS_PER_FOLD: usize = 2_048;

#[derive(Default)]
pub(super) struct Folding {
    /// The last fold that was handed out.
    issued: FoldId,
    /// How many have ended.
    pub(super) ended: u64,
    under_way: Option<UnderWay>,
    sweep: Option<Sweep>,
    /// When to look next; none: there is nothing to fold.
    due: Option<u64>,
    /// When the oldest unfolded change was written, or later.
    oldest_ms: u64,
    written_ms: u64,
    /// Where replay would begin now.
    checkpoint: Lsn,
    /// The last sweep left the checkpoint where it was, since batches have to be written anew first.
    owed: bool,
    /// Nothing that is left can be folded, since it waits for something else.
    stuck: bool,
    /// Why the last one failed, until one has worked again.
    pub(super) failing: Option<StoreError>,
}

struct UnderWay {
    id: FoldId,
    since_ms: u64,
    /// Of the checkpoint that goes with it, and how many decisions about members are in that.
    checkpoint: Option<(Lsn, u64)>,
    hurried: bool,
}

/// One way through all documents with changes.
struct Sweep {
    /// Of records up to this one.
    through: Lsn,
    /// What the replica knew there, and how many decisions about members were in that.
    state: Bytes,
    decisions: u64,
    /// The last document that was folded.
    cursor: Option<DocumentId>,
    hurried: bool,
}

impl Folding {
    /// Whether nothing has been written for so long.
    fn is_quiet(&self, now: Now, idle_ms: u64) -> bool {
        now.mono_ms >= self.written_ms + idle_ms
    }

    /// Where the last checkpoint lets replay begin.
    pub(super) fn from(checkpoint: Lsn) -> Self {
        Self {
            checkpoint,
            ..Self::default()
        }
    }

    /// `decided`: when decisions about members are to be written down.
    pub(super) fn wake_at(&self, decided: u64) -> u64 {
        let due = self.due.unwrap_or(u64::MAX);
        match (&self.under_way, &self.sweep) {
            (Some(_), _) => u64::MAX,
            (None, Some(_)) => due,
            (None, None) => due.min(decided),
        }
    }

    /// Where replay would begin now.
    pub(super) fn checkpoint(&self) -> Lsn {
        self.checkpoint
    }

    /// Whether a fold is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether all that could be folded waits for something that is not in memory.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Something was written that is to be folded.
    pub(super) fn written(&mut self, now: Now, idle_ms: u64) {
        self.written_ms = now.mono_ms;
        if self.due.is_none() {
            self.oldest_ms = now.mono_ms;
            self.due = Some(now.mono_ms + idle_ms);
        }
    }
}

impl Replica {
    /// Bytes of changes and receipts that the store's documents lack.
    pub(super) fn unfolded_bytes(&self) -> usize {
        self.shelf.unfolded_bytes() + self.receipts.unfolded_bytes()
    }

    pub(super) fn tick_folding(&mut self, now: Now) {
        let busy = self.folding.under_way.is_some() || self.summaries.is_asking();
        if self.failed.is_some() || busy || self.fold_repair(now) {
            return;
        }
        // Memory may run short at any time.
        // What a repair has brought is put in place as fast as it goes.
        let short = self.is_short_of_memory() || self.imports.has_pending();
        let short = short && self.folding.failing.is_none();
        let decided = self.decisions.is_due(now);
        let begins = decided && self.folding.sweep.is_none();
        if self.folding.due.is_none_or(|due| due > now.mono_ms) && !short && !begins {
            return;
        }
        if let Some(sweep) = &mut self.folding.sweep {
            sweep.hurried |= short || decided;
        } else if self.begin_sweep(now, short) {
            self.repairs_need_all_so_far();
        } else {
            return;
        }
        self.fold_slice(now);
    }

    /// Hands documents that have come from a peer to the store, if there are any, or has some deleted.
    fn fold_repair(&mut self, now: Now) -> bool {
        let mut fold = Fold::new(FoldId(self.folding.issued.0 + 1));
        if !self.repair_in(now, &mut fold) && !self.clearing_in(&mut fold) {
            return false;
        }
        self.hand_out(now, fold, true, 0);
        true
    }

    fn hand_out(&mut self, now: Now, fold: Fold, hurried: bool, decisions: u64) {
        self.folding.issued = fold.id;
        self.folding.under_way = Some(UnderWay {
            id: fold.id,
            since_ms: now.mono_ms,
            checkpoint: fold
                .checkpoint
                .as_ref()
                .map(|to| (to.replay_from, decisions)),
            hurried,
        });
        self.counters.folds += fold.documents.len() as u64;
        self.outputs.push_back(Output::Fold(fold));
    }

    /// Whether there is a sweep now.
    fn begin_sweep(&mut self, now: Now, short: bool) -> bool {
        let room = &self.config.room;
        let (age, idle) = (room.fold_after_ms, room.fold_idle_ms);
        let through = self.foldable_end();
        let waits = self.must_keep_log(through);
        if waits && self.decisions.is_due(now) {
            // They are written down with a checkpoint, and there is none.
            self.decisions.put_off(now.mono_ms + RETRY_MS);
        }
        let decided = self.decisions.is_due(now);
        let oldest = self.shelf.oldest_unfolded();
        let oldest = oldest
            .into_iter()
            .chain(self.receipts.oldest_unfolded())
            .min();
        let Some(oldest) = oldest else {
            // What left no change behind still moves the log on.
            let far = through.0 >= self.folding.checkpoint.0 + room.checkpoint_records;
            let far = (far || self.folding.owed || decided) && !waits;
            self.folding.due = waits.then_some(now.mono_ms + RETRY_MS);
            if far {
                self.folding.sweep = Some(self.sweep(now, through, decided));
            }
            return far;
        };
        let old = now.mono_ms >= self.folding.oldest_ms + age;
        let quiet = self.folding.is_quiet(now, idle);
        if !decided && (oldest > through || !(old || quiet || short)) {
            let soonest = (self.folding.written_ms + idle).min(self.folding.oldest_ms + age);
            self.folding.due = Some(soonest.max(now.mono_ms + idle.div_ceil(4).max(1)));
            return false;
        }
        // What is written from now on counts for the next sweep.
        self.folding.oldest_ms = now.mono_ms;
        self.folding.sweep = Some(self.sweep(now, through, short || decided));
        true
    }

    /// Nothing may be in the documents that a crash can take out of the log.
    fn foldable_end(&self) -> Lsn {
        if self.planted_fold_early() {
            self.history.log_end
        } else {
            self.history.durable_end
        }
    }

    fn sweep(&self, now: Now, through: Lsn, hurried: bool) -> Sweep {
        Sweep {
            through,
            state: self.encode_checkpoint(now),
            decisions: self.decisions.made(),
            cursor: None,
            hurried,
        }
    }

    fn fold_slice(&mut self, now: Now) {
        let Some(sweep) = &mut self.folding.sweep else {
            return;
        };
        let id = FoldId(self.folding.issued.0 + 1);
        let room = &self.config.room;
        let slice = Slice {
            through: sweep.through,
            documents_max: room.fold_documents,
            bytes_max: room.fold_bytes,
        };
        let imports = &self.imports;
        let lacks = |id: &DocumentId| imports.lacks(id);
        let documents = self
            .shelf
            .begin_fold(id, sweep.cursor.as_ref(), slice, lacks);
        // Those that were passed over get another chance.
        sweep.cursor = documents.last().map(|document| document.id.clone());
        let receipts = self
            .receipts
            .begin_fold(id, sweep.through, RECEIPTS_PER_FOLD, now.wall_ms);
        let (through, hurried, decisions) = (sweep.through, sweep.hurried, sweep.decisions);
        let quiet = self.folding.is_quiet(now, room.fold_idle_ms);
        let mut fold = Fold {
            compact: quiet && !hurried,
            receipts,
            documents,
            ..Fold::new(id)
        };
        let last =
            self.shelf.is_folded_through(through) && self.receipts.is_folded_through(through);
        if last && let Some(sweep) = self.folding.sweep.take() {
            self.advance_stability();
            fold.retain_receipts = self.forget_old(now);
            self.folding.owed = self.must_keep_log(through);
            if !self.folding.owed {
                fold.release_before = self.release_log(through.next());
                fold.checkpoint = Some(Checkpoint {
                    replay_from: through.next(),
                    state: sweep.state,
                });
            }
        } else if fold.documents.is_empty() && fold.receipts.is_empty() {
            // What is left is being asked for.
            self.folding.stuck = true;
            self.folding.due = Some(now.mono_ms + room.fold_idle_ms.div_ceil(4).max(1));
            return;
        }
        self.folding.stuck = false;
        self.hand_out(now, fold, hurried, decisions);
    }

    /// Whether replay must begin where it does, whatever has been folded through there.
    fn must_keep_log(&self, through: Lsn) -> bool {
        self.salvage.is_under_way(self.durable) || self.imports.hold_log(through)
    }

    pub(super) fn folded(&mut self, now: Now, id: FoldId, result: Result<(), StoreError>) {
        let Some(under_way) = self.folding.under_way.take_if(|fold| fold.id == id) else {
            return;
        };
        let last = crate::effect::FetchId(self.fetch_count);
        let done = result.is_ok();
        for (document, changes, is_out) in self.shelf.end_fold(id, done) {
            self.summaries.folded(&document, &changes);
            if is_out {
                self.scans.folded(&document, changes, last);
            }
        }
        self.receipts.end_fold(id, done);
        self.folding.ended += 1;
        self.repaired(now, done);
        self.cleared_some(now, done);
        let took = now.mono_ms - under_way.since_ms;
        match result {
            Ok(()) => {
                if let Some((checkpoint, decisions)) = under_way.checkpoint {
                    self.folding.checkpoint = checkpoint;
                    self.decisions_durable(decisions);
                }
                self.folding.failing = None;
                let rest = if under_way.hurried {
                    0
                } else {
                    (took * REST).clamp(1, RETRY_MS)
                };
                self.folding.due = Some(now.mono_ms + rest);
            }
            Err(error) => {
                self.folding.sweep = None;
                self.folding.due = Some(now.mono_ms + RETRY_MS);
                let why = error.to_string();
                self.decisions.put_off(now.mono_ms + RETRY_MS);
                self.decisions_failed(&why);
                if self.folding.failing.replace(error).is_none() {
                    let notice = Notice::FoldFailed { why };
                    self.outputs.push_back(Output::Notice(notice));
                }
            }
        }
        self.summaries.hasten(now);
        self.tick_summaries(now);
        self.tick_imports(now);
        self.tick_folding(now);
    }

    fn encode_checkpoint(&self, now: Now) -> Bytes {
        let mut writer = Writer::default();
        self.history.encode(&mut writer);
        self.peers.encode_members(now, &mut writer);
        self.placements.encode(&mut writer);
        self.departures.encode(&mut writer);
        writer.finish()
    }

    /// Documents that were written before a restart are folded like those written since.
    pub(super) fn resume_folding(&mut self) {
        if self.shelf.oldest_unfolded().is_some() || self.receipts.oldest_unfolded().is_some() {
            self.folding.due = Some(0);
        }
    }
}
