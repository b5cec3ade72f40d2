//! The fold thread: moves changes to their documents, and looks after what lies there when it has time.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::persist::{Fold, FoldId, StoreError};

use crate::error::SubmitError;
use crate::limits;
use crate::seam::{Damage, Engine, Tended};
use crate::worker::Worker;

/// What the fold thread has to say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FoldReport {
    /// A fold is done, or was not done at all.
    Folded {
        /// Which.
        id: FoldId,
        /// What became of it.
        result: Result<(), StoreError>,
        /// How long it took.
        took: Duration,
    },
    /// Something was found that can't be read, without being asked for. Comes again as often as it is met.
    Damaged(Damage),
}

/// What the fold thread has done of its own accord since it was started.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Upkeep {
    /// Bytes that were read to see whether they are still what was written.
    pub scrubbed_bytes: u64,
    /// How often everything has been read.
    pub passes: u64,
    /// When that was last done.
    pub last_pass: Option<SystemTime>,
    /// Documents that were compacted, without a fold.
    pub compacted: u64,
    /// How often something was met that can't be read.
    pub damage: u64,
}

/// The fold thread. One fold at a time; between them, when it is idle, it lets the engine
/// [tend](Engine::tend) to its data. Dropping it does what is queued and waits for that.
#[derive(Debug)]
pub struct Folder {
    worker: Worker<Fold>,
    upkeep: Arc<Mutex<Upkeep>>,
}

impl Folder {
    /// Starts the thread. `report` runs on it.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn(
        engine: Arc<dyn Engine>,
        report: impl FnMut(FoldReport) + Send + 'static,
    ) -> io::Result<Self> {
        let upkeep = Arc::new(Mutex::new(Upkeep::default()));
        let folds = Folds {
            engine,
            report,
            upkeep: upkeep.clone(),
            started: Instant::now(),
        };
        let work = move |queue| folds.run(&queue);
        let worker = Worker::spawn("anabranch-fold", limits::FOLDS_QUEUED_MAX, work)?;
        Ok(Self { worker, upkeep })
    }

    /// Queues a fold; never waits. A replica has one under way at most, so there is always room for it.
    ///
    /// # Errors
    /// When the queue is full or the thread has ended.
    pub fn submit(&self, fold: Fold) -> Result<(), SubmitError<Fold>> {
        self.worker.try_submit(fold)
    }

    /// What it has done of its own accord.
    #[must_use]
    pub fn upkeep(&self) -> Upkeep {
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is queued, reports it and ends the thread.
    pub fn finish(self) {
        drop(self);
    }
}

struct Folds<Report> {
    engine: Arc<dyn Engine>,
    report: Report,
    upkeep: Arc<Mutex<Upkeep>>,
    started: Instant,
}

impl<Report: FnMut(FoldReport)> Folds<Report> {
    fn run(mut self, queue: &Receiver<Fold>) {
        step_back();
        // Starting is busy enough.
        let mut due = self.started + limits::TEND_AFTER;
        let (mut rests_until, mut folded) = (due, None);
        loop {
            match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(fold) => {
                    self.fold(&fold);
                    folded = Some(Instant::now());
                    // It may have left something to do.
                    due = due
                        .min(Instant::now() + limits::TEND_AFTER)
                        .max(rests_until);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let began = Instant::now();
                    let rest = self.tend().min(Tended::REST_MAX);
                    let now = Instant::now();
                    let busy = folded.is_some_and(|at: Instant| now - at < limits::TEND_BUSY);
                    let rests = match busy {
                        true => limits::TEND_REST_BUSY,
                        false => limits::TEND_REST,
                    };
                    rests_until = now + (now - began) * rests;
                    due = rests_until.max(now + rest);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn fold(&mut self, fold: &Fold) {
        let started = Instant::now();
        let result = self.engine.fold(fold);
        (self.report)(FoldReport::Folded {
            id: fold.id,
            result,
            took: started.elapsed(),
        });
    }

    fn tend(&mut self) -> Duration {
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Tended {
            rest,
            bytes,
            compacted,
            pass_finished,
            damage,
        } = self.engine.tend(mono_ms);
        {
            let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
            upkeep.scrubbed_bytes += bytes;
            upkeep.compacted += compacted;
            upkeep.damage += damage.len() as u64;
            if pass_finished {
                upkeep.passes += 1;
                upkeep.last_pass = Some(SystemTime::now());
            }
        }
        for damage in damage {
            (self.report)(FoldReport::Damaged(damage));
        }
        rest
    }
}

/// Lets every other thread go first where there are too few processors for all: whoever writes waits for the others,
/// and nobody for this one until memory is full, when the others wait and it has the processors for itself.
#[cfg(target_os = "linux")]
fn step_back() {
    // Linux takes the priority of a process for that of the one thread. A system that does not allow it is none the
    // worse for it.
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), limits::FOLD_NICENESS) {
        tracing::debug!(%error, "the fold thread runs at the priority of the others");
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back() {}
