//! Anabranch's store: a commit log, and documents behind it.
//!
//! It stands behind the seam of [`anabranch_core::persist`] and knows positions, addresses and
//! bytes; nothing of what documents mean, of batches, peers or networks. Everything is synchronous.
//!
//! Two streams come in, and neither waits for the other:
//! * **Commits**, on the way of every write, append to the log: one write and one sync for a whole group of them,
//!   into a segment file that has its size already (`log`).
//! * **Folds**, behind the log, move changes to their documents: sorted, many at a time, into sealed and compressed
//!   tiles that lie in the storage engine's file (`documents`). Then the log lets go of them.
//!
//! What there is:
//! * [`Engine`]: the seam where another engine plugs in, and what it has to promise. The suite behind the feature
//!   `conformance` asks it for each promise.
//! * [`Store`]: the engine on files. Opening proves or breaks continuity; every answer is checked.
//! * [`MemoryStore`]: the engine in memory, for tests and as the model.
//! * [`Committer`], [`Folder`], [`FetchThread`]: the threads on which an engine works, so that no caller waits for a
//!   disk. The first turns a stream of commits into groups; the second looks after the data when it is idle.
//! * [`backup`]: backups of a running store, and data directories made from them.
//! * [`Medium`] and [`Disk`]: what lies underneath. A directory in production; in the simulator one that lies.
//!
//! A data directory holds `documents.redb` (documents, receipts, and what the store knows of itself: format,
//! incarnation, identity of the medium, checkpoint), `log-0000000001` and so on (segments of the log),
//! `LOCK` (held while it is open) and `WITNESS` (what was reported last). Every value carries a check over its place
//! and itself, so what is not what was written is noticed wherever it is read, and a scrub reads everything now and
//! then.

pub mod backup;
mod committer;
#[cfg(feature = "conformance")]
pub mod conformance;
mod directory;
mod disk;
mod documents;
mod engine;
mod error;
mod fetch;
mod folder;
mod hold;
pub mod limits;
mod log;
mod medium;
mod memory;
mod meta;
mod opening;
mod order;
mod overlay;
mod reader;
mod receipts;
mod seal;
mod seam;
mod shield;
mod store;
mod succession;
mod tables;
mod tending;
mod witness;
mod worker;

pub use committer::{Committer, Completion};
pub use disk::Disk;
pub use error::{CommitError, OpenError, SubmitError};
pub use folder::{FoldReport, Folder, Upkeep};
pub use medium::Medium;
#[cfg(feature = "faulty")]
pub use medium::faulty;
pub use memory::{MemoryMedium, MemoryStore};
pub use opening::Opening;
pub use reader::FetchThread;
pub use seam::{Damage, Engine, Tended};
pub use store::Store;
pub use succession::Succession;
