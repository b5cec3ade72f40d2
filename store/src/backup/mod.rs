//! Backups of a running store, and stores made from them.
//!
//! A **full** backup is a fuzzy copy and the log that makes it sharp. The log is held on to; the checkpoint is read; then
//! documents and receipts are read in pages, each in a short look of its own, while commits and folds go on; last comes the
//! log from the checkpoint to its end. The documents may hold changes that came after the checkpoint, but none that came
//! after that end, and a change counts once however often it comes: so documents and log together are exactly what the
//! store held at that end. Nothing waits for a backup, and it pins nothing but segments of the log.
//!
//! An **incremental** one is the log from where an earlier backup ends.
//!
//! * `frame`, `items`, `header`: how a backup lies in a file;
//! * `taking`: out of a store; `reading`: verified on the way in; `restoring`: into a data directory;
//! * `chain`: which backups go together.

mod chain;
mod error;
mod frame;
mod header;
mod items;
mod reading;
mod restoring;
mod taking;

pub use chain::{in_order, leading_to};
pub use error::{BackupError, ChainError, ReadError, RestoreError};
pub use header::{BackupId, Base, Header, Mark, RecordCheck, Summary, Totals};
pub use reading::{Progress, verify};
pub(crate) use restoring::MARKER_FILE;
pub use restoring::{Restored, Restoring};
pub use taking::{Backing, LogShare, Order};
