//! Coming up from what the store holds.

use super::shelf::Made;
use super::{Carried, Commit, Replica};
use crate::codec::DecodeError;
use crate::persist::{Continuity, LogRecord, Ticket};
use crate::record::Record;
use crate::{DocumentId, Lsn};

/// How far the replay has come.
pub(super) struct Starting {
    /// The record that comes next, unless some are lost.
    expected: Lsn,
    /// Records are missing.
    gap: bool,
    continuity: Continuity,
}

impl Starting {
    /// `first`: of the records that the log still has, if it has any.
    pub(super) fn from(replay_from: Lsn, first: Option<Lsn>, continuity: Continuity) -> Self {
        Self {
            expected: replay_from,
            gap: first.is_some_and(|first| first > replay_from),
            continuity,
        }
    }
}

impl Replica {
    /// Takes in records of the log at start, in order.
    ///
    /// # Errors
    /// When a record can't be read: the store is damaged.
    pub fn replay(&mut self, records: Vec<LogRecord>) -> Result<(), DecodeError> {
        for record in records {
            self.starting.gap |= record.lsn != self.starting.expected;
            self.starting.expected = record.lsn.next();
            self.history.end_replay(record.lsn);
            self.history.extent.grow(record.lsn, record.bytes.len());
            let batches = match Record::decode(&record.bytes)? {
                Record::Batches(batches) => batches,
                Record::Placed(placed) => {
                    self.placements.settle(&placed);
                    continue;
                }
                Record::LetGo(let_go) => {
                    self.replay_let_go(record.lsn, &let_go);
                    continue;
                }
                Record::Import(import) => {
                    self.departures.replayed(&import.namespace);
                    self.replay_import(record.lsn, &import);
                    continue;
                }
                Record::Arrival(arrival) => {
                    self.departures.replayed(&arrival.namespace);
                    self.replay_arrival(record.lsn, &arrival);
                    continue;
                }
            };
            for batch in batches {
                self.departures.replayed(&batch.namespace);
                if !self.history.replay(&batch, record.lsn, &self.origin) {
                    // Something before it is lost; what the others still have of it they send again, and this too.
                    self.counters.batches_out_of_order += 1;
                    if batch.origin.replica == self.origin.replica {
                        self.salvage.passed_over(record.lsn, &batch);
                    }
                    continue;
                }
                self.receipts.came(&batch, record.lsn, Ticket(0));
                for write in &batch.writes {
                    let id = DocumentId {
                        namespace: batch.namespace.clone(),
                        key: write.key.clone(),
                    };
                    self.shelf
                        .add(&id, record.lsn, &write.changes, Ticket(0), Made::Elsewhere);
                }
            }
        }
        self.history.renew();
        Ok(())
    }

    /// Whether so much has been replayed that it should go on to the documents before there is more: then hand in
    /// [`Input::Tick`](crate::Input::Tick), and answer the folds that come of it, until it is false.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        // What waits for something else first can't go on.
        self.unfolded_bytes() > self.config.room.unfolded_bytes_max / 2 && !self.folding.is_stuck()
    }

    /// Ends the replay, which has come to the log's end, if it has any records. Other input may come from now on.
    pub fn begin(&mut self, log_end: Option<Lsn>) {
        self.history.end_replay(log_end.unwrap_or_default());
        let starting = &self.starting;
        let gap = starting.gap || log_end.is_some_and(|end| end >= starting.expected);
        // Whoever does not see all of what it wrote must not go on counting where it seems to have ended. The store
        // looks at the log's end only; somewhere else a gap shows when it is read.
        if gap && starting.continuity == Continuity::Proven {
            self.begin_incarnation();
        }
        self.salvage.begin();
        self.imports.begin();
        self.placements.begin();
        self.departures.begin();
        self.summaries.begin(self.history.durable_end);
        self.resume_folding();
    }

    /// Writes as another origin from now on.
    pub(super) fn begin_incarnation(&mut self) {
        let incarnation = self.config.spare_incarnation;
        self.origin.incarnation = incarnation;
        self.shelf.set_origin(&self.origin);
        self.history.renew();
        let ticket = Ticket(self.issued.0 + 1);
        self.persist(
            Commit {
                incarnation: Some(incarnation),
                ..Commit::new(ticket)
            },
            Carried::Nothing,
        );
    }
}
