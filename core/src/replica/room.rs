//! How much a replica may keep in memory.

use crate::limits;

/// Bounds of the replica's own memory, as far as they are a matter of choice. The defaults are those of
/// [`limits`](crate::limits); the simulator sets them so low that a short run meets every one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Documents that stay loaded between requests.
    pub loaded_documents_max: usize,
    /// Bytes of recent log records, from which links that keep up are served.
    pub recent_log_bytes_max: usize,
    /// Bytes of log read from the store at once.
    pub log_read_bytes_max: usize,
    /// Deltas are packed into frames of about this many bytes.
    pub frame_bytes_target: usize,
    /// Delta bytes handed to one link and not yet taken by its stream.
    pub link_window_bytes: usize,
    /// Bytes of remote batches held back until their causes are here.
    pub held_back_bytes_max: usize,
    /// Bytes of persist effects under way before the replica is saturated.
    pub unpersisted_bytes_max: usize,
    /// Bytes of changes outside of document states before the replica is saturated.
    pub unfolded_bytes_max: usize,
    /// Records by which a replay must become shorter for a checkpoint to be written.
    pub checkpoint_records: u64,
    /// Writes with an idempotency key that are remembered, on disk.
    pub receipts_max: u64,
    /// For how long, in milliseconds.
    pub receipts_kept_ms: u64,
    /// How long a request may wait for what its session has seen, in milliseconds, whatever it asks.
    pub session_wait_ms_max: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            loaded_documents_max: limits::LOADED_DOCUMENTS_MAX,
            recent_log_bytes_max: limits::RECENT_LOG_BYTES_MAX,
            log_read_bytes_max: limits::LOG_READ_BYTES_MAX,
            frame_bytes_target: limits::FRAME_BYTES_TARGET,
            link_window_bytes: limits::LINK_WINDOW_BYTES,
            held_back_bytes_max: limits::HELD_BACK_BYTES_MAX,
            unpersisted_bytes_max: limits::UNPERSISTED_BYTES_MAX,
            unfolded_bytes_max: limits::UNFOLDED_BYTES_MAX,
            checkpoint_records: limits::CHECKPOINT_RECORDS,
            receipts_max: limits::RECEIPTS_MAX,
            receipts_kept_ms: limits::RECEIPTS_KEPT_MS,
            session_wait_ms_max: limits::SESSION_WAIT_MS_MAX,
        }
    }
}
