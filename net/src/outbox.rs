//! Frames that wait for a link's stream: bounded in number and bytes, never blocking who puts them in.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits::{LINK_QUEUE_BYTES_MAX, LINK_QUEUE_FRAMES_MAX, WRITE_BATCH_BYTES};

/// Past a bound: see [`LINK_QUEUE_FRAMES_MAX`] and [`LINK_QUEUE_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

/// `frames` and `bytes` count what was taken and not yet written, too.
#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    frames: usize,
    bytes: usize,
}

/// Frames on their way into the stream.
pub(crate) struct Batch {
    pub(crate) frames: Vec<Bytes>,
    pub(crate) bytes: usize,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        if state.frames >= LINK_QUEUE_FRAMES_MAX || state.bytes + frame.len() > LINK_QUEUE_BYTES_MAX
        {
            return Err(Full);
        }
        state.frames += 1;
        state.bytes += frame.len();
        state.waiting.push_back(frame);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for frames and takes up to [`WRITE_BATCH_BYTES`] of them, one at least.
    pub(crate) async fn take(&self) -> Batch {
        loop {
            if let Some(batch) = self.try_take() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn try_take(&self) -> Option<Batch> {
        let mut state = self.lock();
        let mut batch = Batch {
            frames: Vec::new(),
            bytes: 0,
        };
        while let Some(frame) = state.waiting.front() {
            if !batch.frames.is_empty() && batch.bytes + frame.len() > WRITE_BATCH_BYTES {
                break;
            }
            batch.bytes += frame.len();
            batch.frames.extend(state.waiting.pop_front());
        }
        (!batch.frames.is_empty()).then_some(batch)
    }

    /// Makes the room of a batch free again, now that the stream has it.
    pub(crate) fn written(&self, frames: usize, bytes: usize) {
        let mut state = self.lock();
        state.frames -= frames;
        state.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_in_flight_count_until_written() {
        let outbox = Outbox::default();
        let frame = Bytes::from(vec![0; LINK_QUEUE_BYTES_MAX / 2]);
        outbox.push(frame.clone()).unwrap();
        outbox.push(frame.clone()).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Full));
        let batch = outbox.try_take().unwrap();
        assert_eq!(batch.frames.len(), 1);
        assert_eq!(outbox.push(frame.clone()), Err(Full));
        outbox.written(batch.frames.len(), batch.bytes);
        outbox.push(frame).unwrap();
    }

    #[test]
    fn the_number_of_frames_is_bounded() {
        let outbox = Outbox::default();
        for _ in 0..LINK_QUEUE_FRAMES_MAX {
            outbox.push(Bytes::from_static(b"x")).unwrap();
        }
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Full));
        let batch = outbox.try_take().unwrap();
        assert_eq!(
            (batch.frames.len(), batch.bytes),
            (LINK_QUEUE_FRAMES_MAX, LINK_QUEUE_FRAMES_MAX)
        );
        assert!(outbox.try_take().is_none());
    }
}
