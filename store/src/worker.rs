//! One named thread behind a bounded queue.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::SubmitError;

/// Ends when it is dropped: the thread takes what is queued first, and the drop waits for it.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    // Taken by drop, in this order: the thread ends when its queue has no more senders.
    queue: Option<SyncSender<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Worker<T> {
    pub(crate) fn spawn(
        name: &str,
        queued_max: usize,
        work: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, queued) = sync_channel(queued_max);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(queued))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Waits for room.
    pub(crate) fn submit(&self, item: T) -> Result<(), SubmitError<T>> {
        match &self.queue {
            Some(queue) => queue
                .send(item)
                .map_err(|refused| SubmitError::Stopped(Box::new(refused.0))),
            None => Err(SubmitError::Stopped(Box::new(item))),
        }
    }

    /// Never waits.
    pub(crate) fn try_submit(&self, item: T) -> Result<(), SubmitError<T>> {
        match &self.queue {
            Some(queue) => queue.try_send(item).map_err(|refused| match refused {
                TrySendError::Full(item) => SubmitError::Full(Box::new(item)),
                TrySendError::Disconnected(item) => SubmitError::Stopped(Box::new(item)),
            }),
            None => Err(SubmitError::Stopped(Box::new(item))),
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.queue = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // What is reported may own the last handle to this worker; a thread can't wait for itself.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("a thread of the store panicked");
        }
    }
}
