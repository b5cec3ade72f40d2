//! Group commit: one thread, and one sync for everything that has gathered meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anabranch_core::persist::{Commit, Ticket};

use crate::error::{CommitError, SubmitError};
use crate::limits;
use crate::store::Store;
use crate::worker::Worker;

/// What became of the commits that were submitted, in their order. Together the completions cover
/// every one of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Completion {
    /// A group is durable, and with it everything before it.
    Durable {
        /// The last ticket of the group.
        through: Ticket,
        /// Commits in the group.
        commits: usize,
        /// About how many bytes they carried.
        bytes: usize,
        /// How long the transaction took, its sync included.
        took: Duration,
    },
    /// Nothing from here on will be reported durable; whether it is shows when the store is opened
    /// again.
    Failed {
        /// The first ticket of the group that failed.
        ticket_from: Ticket,
        /// Why.
        error: CommitError,
    },
}

/// The commit thread. It commits whatever is there when it is free: a lone commit at once, a burst
/// as one group. Dropping it commits what is queued and waits for that.
#[derive(Debug)]
pub struct Committer(Worker<Commit>);

impl Committer {
    /// Starts the thread. `done` runs on it, so it holds up the next group: hand on and return.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn(
        store: Arc<Store>,
        done: impl FnMut(Completion) + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |queue| run(&store, &queue, done);
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

fn run(store: &Store, queue: &Receiver<Commit>, mut done: impl FnMut(Completion)) {
    let mut group = Vec::new();
    let mut failed = false;
    while let Ok(first) = queue.recv() {
        let ticket_from = first.ticket;
        let mut through = first.ticket;
        let mut bytes = first.bytes();
        group.push(first);
        while group.len() < limits::GROUP_COMMITS_MAX && bytes < limits::GROUP_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            through = next.ticket;
            bytes += next.bytes();
            group.push(next);
        }
        let started = Instant::now();
        // Order is part of the promise: once a group is missing, nothing after it may be durable.
        let outcome = if failed {
            Err(CommitError::Closed)
        } else {
            store.commit(&group)
        };
        let (commits, took) = (group.len(), started.elapsed());
        group.clear();
        done(match outcome {
            Ok(()) => Completion::Durable {
                through,
                commits,
                bytes,
                took,
            },
            Err(error) => {
                failed = true;
                Completion::Failed { ticket_from, error }
            }
        });
    }
}
