//! The fetch thread: reads wait for disks, the replica does not.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use anabranch_core::persist::{Fetch, Fetched, StoreError};

use crate::error::SubmitError;
use crate::limits;
use crate::seam::Engine;
use crate::worker::Worker;

/// Answers fetches one after the other, in their order. Dropping it answers what is queued first.
#[derive(Debug)]
pub struct FetchThread(Worker<(u64, Fetch)>);

impl FetchThread {
    /// Starts the thread. `done` runs on it, with the id under which the fetch was submitted.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn(
        engine: Arc<dyn Engine>,
        mut done: impl FnMut(u64, Result<Fetched, StoreError>) + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |queue: Receiver<(u64, Fetch)>| {
            for (id, fetch) in queue {
                done(id, engine.fetch(&fetch));
            }
        };
        Worker::spawn("anabranch-fetch", limits::FETCHES_QUEUED_MAX, work).map(Self)
    }

    /// Queues a fetch, waiting for room when [`limits::FETCHES_QUEUED_MAX`] are queued already.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn submit(&self, id: u64, fetch: Fetch) -> Result<(), SubmitError<(u64, Fetch)>> {
        self.0.submit((id, fetch))
    }

    /// Queues a fetch if there is room; never waits.
    ///
    /// # Errors
    /// When the queue is full or the thread has ended.
    pub fn try_submit(&self, id: u64, fetch: Fetch) -> Result<(), SubmitError<(u64, Fetch)>> {
        self.0.try_submit((id, fetch))
    }

    /// Answers what is queued and ends the thread.
    pub fn finish(self) {
        drop(self);
    }
}
