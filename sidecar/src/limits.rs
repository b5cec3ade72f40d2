//! Every bound of this crate, in one place. Past a bound comes a clear error, never a silent cut.

use std::time::Duration;

/// Largest request body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a body over that limit which are still taken in, so that its sender comes to read the answer.
pub(crate) const BODY_DRAINED_BYTES_MAX: usize = 16 << 20;
/// How long a request's body may take to arrive.
pub(crate) const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's head may take to arrive, and how long an idle connection is kept.
pub(crate) const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request head, in bytes, and so what a connection buffers.
pub(crate) const HEAD_BYTES_MAX: usize = 32 << 10;
/// How long a request waits for what its session has seen, and for acknowledgements, unless it says so itself.
pub(crate) const SESSION_WAIT: Duration = Duration::from_secs(1);
/// How long it may ask to wait, unless the configuration says otherwise.
pub(crate) const SESSION_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a request may take once it has arrived, besides what it asks to wait.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a probe waits for the replica before it calls it not ready.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Most HTTP connections at a time; later ones wait to be accepted.
pub(crate) const CONNECTIONS_MAX: usize = 1_024;
/// The pause after a connection could not be accepted (out of file descriptors, mostly).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most event feeds at a time.
pub(crate) const EVENT_FEEDS_MAX: usize = 256;
/// How often a silent event feed shows that it is alive.
pub(crate) const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What an event feed tells its reader to wait before it connects again.
pub(crate) const EVENT_RETRY: Duration = Duration::from_secs(1);
/// Most backups that are given out at a time.
pub(crate) const BACKUPS_MAX: usize = 2;
/// What a busy node asks its callers to wait.
pub(crate) const RETRY_AFTER_S: u32 = 1;
/// How long requests may still run once the node was told to stop.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the store and the links may take to close after that.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Largest configuration, certificate or key file, in bytes.
pub(crate) const SETTINGS_FILE_BYTES_MAX: u64 = 1 << 20;

/// How long a client command waits for a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client command waits for an answer, besides what it asks the node to wait.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client command pauses before each time that it sends a write again whose connection broke.
pub(crate) const RETRY_PAUSES: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A feed on which not even a sign of life arrives for this long is taken for dead.
pub(crate) const FEED_SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long a node that is to leave waits until another holds what was written to it last: before it answers, and again once
/// it takes no more requests.
pub(crate) const LEAVE_WAIT: Duration = Duration::from_secs(10);
/// Largest answer that a client command reads, in bytes.
pub(crate) const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// Longest line of a feed, in bytes.
pub(crate) const FEED_LINE_BYTES_MAX: u64 = 64 << 10;
/// The longest pause between two attempts to follow a feed again.
pub(crate) const FEED_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The first pause before an export or import tries again, which doubles from there, and the longest one.
pub(crate) const PATIENCE_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// See [`PATIENCE_PAUSE_FIRST`].
pub(crate) const PATIENCE_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Documents in the first page of an export. Later ones are as long as makes them [`EXPORT_PAGE_BYTES`].
pub(crate) const EXPORT_PAGE_DOCUMENTS_FIRST: usize = 100;
/// What a page of an export is to have, in bytes.
pub(crate) const EXPORT_PAGE_BYTES: usize = 2 << 20;
/// A page of several documents that has more is asked for again with fewer.
pub(crate) const EXPORT_PAGE_BYTES_MAX: u64 = 16 << 20;
/// Most lines in one batch of an import.
pub(crate) const IMPORT_BATCH_LINES_MAX: usize = 500;
/// Most batches of an import under way at a time.
pub(crate) const IMPORT_BATCHES_MAX: usize = 4;
/// Longest line of an import, in bytes: the largest body, and room for a key and a version.
pub(crate) const IMPORT_LINE_BYTES_MAX: usize = BODY_BYTES_MAX + (16 << 10);
/// Bytes at the beginning of a file by which it is known again.
pub(crate) const IMPORT_HEAD_BYTES: usize = 64 << 10;
/// Lines that were left out which are shown on standard error; the others are only counted there.
pub(crate) const BAD_LINES_SHOWN_MAX: u64 = 1_000;
/// How often an import writes down how far it is, at most.
pub(crate) const POSITION_KEPT_EVERY: Duration = Duration::from_millis(500);
/// Largest file in which an import keeps how far it is, in bytes.
pub(crate) const POSITION_FILE_BYTES_MAX: u64 = 64 << 10;
