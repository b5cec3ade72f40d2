//! Group commit: one thread, and one sync for everything that has gathered meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anabranch_core::persist::{Commit, Ticket};

use crate::error::{CommitError, SubmitError};
use crate::limits;
use crate::seam::Engine;
use crate::succession::Succession;
use crate::worker::Worker;

/// What became of the commits that were submitted, in their order. Together the completions cover
/// every one of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Completion {
    /// A group is durable, and with it everything before it that has not failed.
    Durable {
        /// The last ticket of the group.
        through: Ticket,
        /// Commits in the group.
        commits: usize,
        /// About how many bytes they carried.
        bytes: usize,
        /// How long it took, the sync included.
        took: Duration,
    },
    /// These are not durable. After [`CommitError::Full`] nothing of them was written, and whoever handed them out
    /// takes them back and goes on from there; those that were built on them fail too, in completions of their own.
    /// After anything else nothing is reported durable any more; whether it is shows when the store is opened
    /// again.
    Failed {
        /// The first of them.
        from: Ticket,
        /// The last of them.
        through: Ticket,
        /// How many they are.
        commits: usize,
        /// Why.
        error: CommitError,
    },
}

/// The commit thread. It commits whatever is there when it is free: a lone commit at once, a burst
/// as one group. Dropping it commits what is queued and waits for that.
#[derive(Debug)]
pub struct Committer(Worker<Commit>);

impl Committer {
    /// Starts the thread, and one beside it that lets the engine prepare for later commits. `done` runs on the
    /// commit thread, so it holds up the next group: hand on and return.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn(
        engine: Arc<dyn Engine>,
        done: impl FnMut(Completion) + Send + 'static,
    ) -> io::Result<Self> {
        let preparer = Preparer::spawn(engine.clone())?;
        let commits = Commits {
            engine,
            preparer,
            succession: Succession::Unbroken,
            done,
        };
        let work = move |queue| commits.run(&queue);
        Worker::spawn("anabranch-commit", limits::COMMITS_QUEUED_MAX, work).map(Self)
    }

    /// Queues a commit, waiting for room when [`limits::COMMITS_QUEUED_MAX`] are queued already.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn submit(&self, commit: Commit) -> Result<(), SubmitError<Commit>> {
        self.0.submit(commit)
    }

    /// Queues a commit if there is room; never waits.
    ///
    /// # Errors
    /// When the queue is full or the thread has ended.
    pub fn try_submit(&self, commit: Commit) -> Result<(), SubmitError<Commit>> {
        self.0.try_submit(commit)
    }

    /// Commits what is queued, reports it and ends the thread.
    pub fn finish(self) {
        drop(self);
    }
}

/// The thread that prepares for commits. It has one of its own because it writes megabytes at a time: neither a
/// commit nor a fold should wait for that, nor it for a fold.
struct Preparer {
    worker: Worker<()>,
    bytes: usize,
}

impl Preparer {
    fn spawn(engine: Arc<dyn Engine>) -> io::Result<Self> {
        let work = move |queue: Receiver<()>| {
            for () in queue {
                engine.prepare();
            }
        };
        let mut preparer = Self {
            worker: Worker::spawn("anabranch-prepare", 1, work)?,
            bytes: 0,
        };
        preparer.committed(limits::PREPARE_EVERY_BYTES);
        Ok(preparer)
    }

    fn committed(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= limits::PREPARE_EVERY_BYTES {
            self.bytes = 0;
            // If it has not begun with the last one, this one is in it.
            let _ = self.worker.try_submit(());
        }
    }
}

struct Commits<Done> {
    engine: Arc<dyn Engine>,
    preparer: Preparer,
    succession: Succession,
    done: Done,
}

impl<Done: FnMut(Completion)> Commits<Done> {
    fn run(mut self, queue: &Receiver<Commit>) {
        let mut group = Vec::new();
        let mut held = None;
        while let Some(first) = held.take().or_else(|| queue.recv().ok()) {
            if let Some(error) = self.succession.refuses(&first) {
                held = self.refuse(first, error, queue);
                continue;
            }
            let mut bytes = first.bytes();
            group.push(first);
            while group.len() < limits::GROUP_COMMITS_MAX && bytes < limits::GROUP_BYTES_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.bytes();
                group.push(next);
            }
            self.commit(&group, bytes);
            group.clear();
        }
    }

    fn commit(&mut self, group: &[Commit], bytes: usize) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return;
        };
        let (from, through, commits) = (first.ticket, last.ticket, group.len());
        let started = Instant::now();
        let outcome = self.engine.commit(group);
        let took = started.elapsed();
        (self.done)(match outcome {
            Ok(()) => {
                self.preparer.committed(bytes);
                Completion::Durable {
                    through,
                    commits,
                    bytes,
                    took,
                }
            }
            Err(error) => {
                self.succession.failed(group, &error);
                Completion::Failed {
                    from,
                    through,
                    commits,
                    error,
                }
            }
        });
    }

    /// Fails a commit and those queued behind it that must fail too; the one after them comes back.
    fn refuse(
        &mut self,
        first: Commit,
        error: CommitError,
        queue: &Receiver<Commit>,
    ) -> Option<Commit> {
        let (from, mut through, mut commits) = (first.ticket, first.ticket, 1);
        drop(first);
        let mut held = None;
        while let Ok(next) = queue.try_recv() {
            if self.succession.refuses(&next).is_none() {
                held = Some(next);
                break;
            }
            through = next.ticket;
            commits += 1;
        }
        (self.done)(Completion::Failed {
            from,
            through,
            commits,
            error,
        });
        held
    }
}
