//! Every bound of this crate, in one place.

use std::time::Duration;

/// Most commits that wait for the commit thread; past it, submitting waits or is refused.
pub const COMMITS_QUEUED_MAX: usize = 4_096;
/// Most commits in one group. The first to wait is also the first to be answered, so a group
/// must not grow without end under a flood.
pub const GROUP_COMMITS_MAX: usize = 1_024;
/// A group stops growing once it carries this many bytes.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// The engine may prepare for later commits each time that commits have brought so many bytes.
pub const PREPARE_EVERY_BYTES: usize = 256 << 10;
/// Most folds that wait for the fold thread. A replica has one under way.
pub const FOLDS_QUEUED_MAX: usize = 4;
/// By how much the fold thread stands back behind the others: as `nice` does without being told.
pub const FOLD_NICENESS: i32 = 10;
/// Most fetches that wait for the fetch thread.
pub const FETCHES_QUEUED_MAX: usize = 1_024;
/// Largest log record, change, document state, receipt or checkpoint, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// A file longer than this is never mistaken for one whose creation was cut short.
pub const UNBORN_BYTES_MAX: u64 = 16 << 20;
/// A fold writes about so many bytes of tiles in one transaction.
pub const FOLD_SLICE_BYTES: usize = 2 << 20;
/// Most documents that come out of quarantine with one fold.
pub const WAITING_FOLDED_MAX: usize = 4_096;

/// A backup reads documents and records in pages of about so many bytes.
pub const BACKUP_PAGE_BYTES: usize = 1 << 20;
/// A restore writes documents in transactions of about so many bytes, and records in groups of as many.
pub const RESTORE_SLICE_BYTES: usize = 4 << 20;

/// So long after the start, and after each fold, the engine may look after its data.
pub const TEND_AFTER: Duration = Duration::from_secs(1);
/// After a piece of that which took t, the pause takes this many t: compacting what a piece holds takes far longer than reading it.
pub const TEND_REST: u32 = 1;
/// The same while there are writes, which may leave no processor idle.
pub const TEND_REST_BUSY: u32 = 19;
/// There are, if something was folded so lately.
pub const TEND_BUSY: Duration = Duration::from_secs(30);
/// Bytes that are read back at a time to see whether they are still what was written.
pub const SCRUB_PIECE_BYTES: usize = 256 << 10;
/// Bytes per second of that.
pub const SCRUB_BYTES_PER_S: u64 = 2 << 20;
/// From the end of one pass over everything to the start of the next, in milliseconds.
pub const PASS_REST_MS: u64 = 6 * 60 * 60 * 1_000;
/// The same when folds have left changes that are not compacted.
pub const TIDY_REST_MS: u64 = 60 * 1_000;
