//! A few batches under way at a time, taken for done in the order of the input.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::ScopedJoinHandle;

use super::batches::{Batch, Batches};
use super::complaints::Complaints;
use super::delivery::{Delivery, Outcome};
use super::position::Ledger;
use super::record::BadLine;
use super::source::Head;
use crate::client::error::ClientError;
use crate::limits;

/// Brings in an input to its end.
pub(super) struct Pipeline<'a> {
    pub(super) head: Head,
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

/// What comes of an input.
enum Next {
    Batch(Batch),
    /// There is no more, perhaps because of a line.
    End(Option<BadLine>),
    Failed(ClientError),
}

impl Next {
    fn of(batches: &mut Batches) -> Self {
        match batches.next() {
            Ok(Some(batch)) => Self::Batch(batch),
            Ok(None) => Self::End(batches.stopped_by()),
            Err(error) => Self::Failed(error),
        }
    }
}

/// Reads an input on a thread of its own: it may be a pipe where nothing comes for hours, and neither what was
/// written meanwhile nor an error may wait for that.
fn read(mut batches: Batches) -> Result<Receiver<Next>, ClientError> {
    let (given, read) = sync_channel(1);
    let work = move || {
        loop {
            let next = Next::of(&mut batches);
            let is_last = !matches!(next, Next::Batch(_));
            // Nobody listens after an error.
            if given.send(next).is_err() || is_last {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("anabranch-input".to_owned());
    match thread.spawn(work) {
        Ok(_) => Ok(read),
        Err(source) => Err(ClientError::Input {
            from: "a thread of its own".to_owned(),
            source,
        }),
    }
}

impl Pipeline<'_> {
    pub(super) fn run(mut self, batches: Batches) -> Result<(), ClientError> {
        // What is after a bad line must not be on its way before that line is known to be good.
        let under_way_max = match self.delivery.is_strict {
            true => 1,
            false => limits::IMPORT_BATCHES_MAX,
        };
        let delivery = self.delivery;
        let input = read(batches)?;
        let ended = std::thread::scope(|scope| {
            let mut flights: VecDeque<Flight<'_>> = VecDeque::new();
            let ended = loop {
                let batch = match input.recv_timeout(limits::POSITION_KEPT_EVERY) {
                    Ok(Next::Batch(batch)) => batch,
                    Ok(Next::End(stopped_by)) => break Ok(stopped_by),
                    Ok(Next::Failed(error)) => break Err(error),
                    Err(RecvTimeoutError::Disconnected) => break Ok(None),
                    Err(RecvTimeoutError::Timeout) => {
                        self.land_while(&mut flights, |flight| flight.thread.is_finished())?;
                        self.ledger.keep_what_is_new()?;
                        continue;
                    }
                };
                let names = batch.names();
                self.land_while(&mut flights, |flight| flight.thread.is_finished())?;
                while flights.len() >= under_way_max
                    || flights.iter().any(|flight| flight.must_come_before(&names))
                {
                    let Some(flight) = flights.pop_front() else {
                        break;
                    };
                    self.land(flight)?;
                }
                flights.push_back(Flight {
                    names,
                    thread: scope.spawn(move || delivery.deliver(batch)),
                });
            };
            self.land_while(&mut flights, |_| true)?;
            ended
        })?;
        match ended {
            Some(bad) => Err(stopped(&bad)),
            None => Ok(()),
        }
    }

    fn land_while<'scope>(
        &mut self,
        flights: &mut VecDeque<Flight<'scope>>,
        is_due: impl Fn(&Flight<'scope>) -> bool,
    ) -> Result<(), ClientError> {
        while let Some(flight) = flights.pop_front_if(|flight| is_due(flight)) {
            self.land(flight)?;
        }
        Ok(())
    }

    /// Waits for a batch, before which everything is done.
    fn land(&mut self, flight: Flight<'_>) -> Result<(), ClientError> {
        let outcome = match flight.thread.join() {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Told before it is written down that they were, so that no line is left out in silence.
        self.complaints.tell(&outcome.bad, self.delivery.progress)?;
        let head = self.head.hash(outcome.end);
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
