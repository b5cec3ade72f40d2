//! A few batches under way at a time, taken for done in the order of the input.

use std::collections::{HashSet, VecDeque};
use std::thread::ScopedJoinHandle;

use super::batches::Batches;
use super::complaints::Complaints;
use super::delivery::{Delivery, Outcome};
use super::position::Ledger;
use super::record::BadLine;
use crate::client::error::ClientError;
use crate::limits;

/// Brings in an input to its end.
pub(super) struct Pipeline<'a> {
    pub(super) batches: Batches,
    pub(super) delivery: &'a Delivery<'a>,
    pub(super) ledger: &'a mut Ledger,
    pub(super) complaints: Complaints,
}

/// A batch under way.
struct Flight<'scope> {
    names: HashSet<(String, String)>,
    thread: ScopedJoinHandle<'scope, Result<Outcome, ClientError>>,
}

impl Flight<'_> {
    /// Of two lines with the same key the later one is to be written later.
    fn must_come_before(&self, names: &HashSet<(String, String)>) -> bool {
        !self.names.is_disjoint(names)
    }
}

impl Pipeline<'_> {
    pub(super) fn run(mut self) -> Result<(), ClientError> {
        // What is after a bad line must not be on its way before that line is known to be good.
        let under_way_max = match self.delivery.is_strict {
            true => 1,
            false => limits::IMPORT_BATCHES_MAX,
        };
        let delivery = self.delivery;
        std::thread::scope(|scope| {
            let mut flights: VecDeque<Flight<'_>> = VecDeque::new();
            let ended = loop {
                let batch = match self.batches.next() {
                    Ok(Some(batch)) => batch,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                };
                let names = batch.names();
                // What has come in by itself is written down before more is read, which may take its time to come.
                loop {
                    let is_in_the_way = flights.len() >= under_way_max
                        || flights.iter().any(|flight| flight.must_come_before(&names));
                    let is_due =
                        |flight: &mut Flight<'_>| is_in_the_way || flight.thread.is_finished();
                    match flights.pop_front_if(is_due) {
                        Some(flight) => self.land(flight)?,
                        None => break,
                    }
                }
                flights.push_back(Flight {
                    names,
                    thread: scope.spawn(move || delivery.deliver(batch)),
                });
            };
            for flight in flights {
                self.land(flight)?;
            }
            ended
        })?;
        match self.batches.stopped_by() {
            Some(bad) => Err(stopped(&bad)),
            None => Ok(()),
        }
    }

    /// Waits for a batch, before which everything is done.
    fn land(&mut self, flight: Flight<'_>) -> Result<(), ClientError> {
        let outcome = match flight.thread.join() {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Told before it is written down that they were, so that no line is left out in silence.
        self.complaints.tell(&outcome.bad, self.delivery.progress)?;
        let head = self.batches.source.head_hash(outcome.end);
        self.ledger.advance(outcome.end, head, &outcome.totals)?;
        let documents = self.ledger.state.totals.documents;
        self.delivery.progress.is_at(documents, outcome.end.bytes);
        match &outcome.stopped_by {
            Some(bad) => Err(stopped(bad)),
            None => Ok(()),
        }
    }
}

fn stopped(bad: &BadLine) -> ClientError {
    ClientError::BadLine {
        line: bad.line,
        reason: bad.reason.clone(),
    }
}
