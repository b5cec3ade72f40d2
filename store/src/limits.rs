//! Every bound of this crate, in one place.

/// Most commits that wait for the commit thread; past it, submitting waits or is refused.
pub const COMMITS_QUEUED_MAX: usize = 4_096;
/// Most commits in one transaction. The first to wait is also the first to be answered, so a group
/// must not grow without end under a flood.
pub const GROUP_COMMITS_MAX: usize = 1_024;
/// A group stops growing once it carries this many bytes.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Most fetches that wait for the fetch thread.
pub const FETCHES_QUEUED_MAX: usize = 1_024;
/// Largest log record, document state or checkpoint, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// A store file up to this size is verified page by page when it is opened (about a second for the
/// largest). A larger one is verified only as it is read.
pub const VERIFIED_ON_OPEN_BYTES_MAX: u64 = 1 << 30;
/// A file longer than this is never mistaken for one whose creation was cut short.
pub const UNBORN_BYTES_MAX: u64 = 16 << 20;
