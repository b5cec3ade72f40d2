//! Writing document states behind the log.
//!
//! The log makes a write durable; later, the document's compacted state takes the place of its changes.
//! This is background work: a few documents at a time, oldest first, more only when memory runs short.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Replica;
use super::documents::Job;
use crate::effect::Now;
use crate::persist::{Checkpoint, Commit, StoredDocument, Ticket};
use crate::{DocumentId, Lsn};

/// A document is left alone until its oldest unfolded change is this old: more come together, usually.
const FOLD_AFTER_MS: u64 = 2_000;
const MARK_EVERY_MS: u64 = 500;
const ROUND_EVERY_MS: u64 = 20;
const DOCUMENTS_PER_ROUND: usize = 8;
const DOCUMENTS_PER_ROUND_PRESSED: usize = 128;

#[derive(Default)]
pub(super) struct Folding {
    /// Where the log ended at what time.
    marks: VecDeque<(u64, Lsn)>,
    due: Option<u64>,
    checkpoint: Lsn,
}

impl Folding {
    pub(super) fn wake_at(&self) -> u64 {
        self.due.unwrap_or(u64::MAX)
    }

    pub(super) fn written(&mut self, now: Now) {
        self.due.get_or_insert(now.mono_ms + MARK_EVERY_MS);
    }
}

impl Replica {
    pub(super) fn tick_folding(&mut self, now: Now) {
        if self.failed.is_some() {
            self.folding.due = None;
            return;
        }
        if self.folding.due.is_none_or(|due| due > now.mono_ms) {
            return;
        }
        let end = self.history.log_end;
        let marks = &mut self.folding.marks;
        if marks
            .back()
            .is_none_or(|(at, _)| now.mono_ms >= at + MARK_EVERY_MS)
        {
            marks.push_back((now.mono_ms, end));
        }
        let mut before = Lsn(0);
        while let Some((at, lsn)) = marks.front()
            && now.mono_ms >= at + FOLD_AFTER_MS
        {
            before = *lsn;
            if marks
                .get(1)
                .is_none_or(|(at, _)| now.mono_ms < at + FOLD_AFTER_MS)
            {
                break;
            }
            marks.pop_front();
        }
        let pressed = self.shelf.unfolded_bytes() > self.config.room.unfolded_bytes_max / 4;
        let (before, most) = if pressed {
            (end, DOCUMENTS_PER_ROUND_PRESSED)
        } else {
            (before, DOCUMENTS_PER_ROUND)
        };
        let documents = self.shelf.foldable(before, most);
        let idle = documents.is_empty();
        for id in documents {
            self.with_document(now, &id, Job::Fold);
        }
        self.write_checkpoint();
        self.folding.due = match (idle, self.shelf.oldest_unfolded()) {
            (_, None) => {
                self.folding.marks.clear();
                None
            }
            (true, Some(_)) => Some(now.mono_ms + MARK_EVERY_MS),
            (false, Some(_)) => Some(now.mono_ms + ROUND_EVERY_MS),
        };
    }

    pub(super) fn fold(&mut self, id: &DocumentId) {
        let ticket = Ticket(self.issued.0 + 1);
        let entry = self.shelf.entry(id);
        if entry.on_its_way().is_some() || entry.unfolded().next().is_none() {
            return;
        }
        let Some((document, _)) = entry.current() else {
            return;
        };
        let stored = StoredDocument {
            state: Bytes::from(document.save()),
            present: document.present(),
        };
        self.shelf.begin_fold(id, ticket, stored.clone());
        let documents = vec![(id.clone(), stored)];
        self.persist(
            Commit {
                documents,
                ..Commit::new(ticket)
            },
            None,
        );
        self.counters.folds += 1;
    }

    fn write_checkpoint(&mut self) {
        let from = self
            .shelf
            .oldest_unfolded()
            .unwrap_or(self.history.log_end.next());
        if from.0 < self.folding.checkpoint.0 + self.config.room.checkpoint_records {
            return;
        }
        self.folding.checkpoint = from;
        let ticket = Ticket(self.issued.0 + 1);
        let checkpoint = Some(Checkpoint {
            replay_from: from,
            state: self.history.encode(),
        });
        self.persist(
            Commit {
                checkpoint,
                ..Commit::new(ticket)
            },
            None,
        );
    }

    /// Documents that were written before a restart are folded like those written since.
    pub(super) fn resume_folding(&mut self, from: Lsn) {
        self.folding.checkpoint = from;
        if self.shelf.oldest_unfolded().is_some() {
            self.folding.due = Some(0);
        }
    }
}
