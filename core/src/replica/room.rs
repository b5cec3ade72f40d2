//! How much a replica may keep in memory.

use crate::limits;

/// Bounds of the replica's own memory, as far as they are a matter of choice. The defaults are those of
/// [`limits`](crate::limits); the simulator sets them so low that a short run meets every one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes of documents that stay loaded between requests, about.
    pub loaded_bytes_max: usize,
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
    /// Bytes of changes that the store's documents lack before the replica is saturated. At half of it they
    /// are folded in a hurry.
    pub unfolded_bytes_max: usize,
    /// Changes are folded when they are this old, in milliseconds,
    pub fold_after_ms: u64,
    /// or when nothing was written for this long, in milliseconds.
    pub fold_idle_ms: u64,
    /// Documents that are folded at once.
    pub fold_documents: usize,
    /// Bytes of changes that are folded at once.
    pub fold_bytes: usize,
    /// Bytes of log that are kept even if no peer needs them, for change feeds and for replicas that are new.
    pub log_bytes_kept: u64,
    /// Bytes of log that are kept at most, whoever still needs them.
    pub log_bytes_max: u64,
    /// Records without changes after which the checkpoint is moved all the same.
    pub checkpoint_records: u64,
    /// Writes with an idempotency key that are remembered, on disk.
    pub receipts_max: u64,
    /// For how long, in milliseconds.
    pub receipts_kept_ms: u64,
    /// Whether writes are made from a document's tip where that is enough. Off only to measure what it is worth.
    pub tips: bool,
    /// Documents that the store goes through in one go to sum them up or to look for some.
    pub looked_at_documents: usize,
    /// How long a request may wait for what its session has seen, in milliseconds, whatever it asks.
    pub session_wait_ms_max: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            loaded_bytes_max: limits::LOADED_BYTES_MAX,
            recent_log_bytes_max: limits::RECENT_LOG_BYTES_MAX,
            log_read_bytes_max: limits::LOG_READ_BYTES_MAX,
            frame_bytes_target: limits::FRAME_BYTES_TARGET,
            link_window_bytes: limits::LINK_WINDOW_BYTES,
            held_back_bytes_max: limits::HELD_BACK_BYTES_MAX,
            unpersisted_bytes_max: limits::UNPERSISTED_BYTES_MAX,
            unfolded_bytes_max: limits::UNFOLDED_BYTES_MAX,
            fold_after_ms: limits::FOLD_AFTER_MS,
            fold_idle_ms: limits::FOLD_IDLE_MS,
            fold_documents: limits::FOLD_DOCUMENTS_MAX,
            fold_bytes: limits::FOLD_BYTES_MAX,
            log_bytes_kept: limits::LOG_BYTES_KEPT,
            log_bytes_max: limits::LOG_BYTES_MAX,
            checkpoint_records: limits::CHECKPOINT_RECORDS,
            tips: true,
            receipts_max: limits::RECEIPTS_MAX,
            receipts_kept_ms: limits::RECEIPTS_KEPT_MS,
            looked_at_documents: limits::DOCUMENTS_LOOKED_AT,
            session_wait_ms_max: limits::SESSION_WAIT_MS_MAX,
        }
    }
}
