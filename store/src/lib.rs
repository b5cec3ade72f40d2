//! Anabranch's store: a commit log and document states in one redb file.
//!
//! It stands behind the seam of [`anabranch_core::persist`] and knows positions, addresses and
//! bytes; nothing of documents, batches, peers or networks. Everything is synchronous.
//!
//! * [`Store`]: opening, which proves or breaks continuity; [`Store::commit`], one transaction and
//!   one sync for a whole slice of commits; [`Store::fetch`], every answer checked.
//! * [`Committer`]: the thread that turns a stream of commits into groups, one sync each.
//! * [`FetchThread`]: the thread that answers fetches, so that no caller waits for a disk.
//! * [`Disk`]: what lies underneath. A directory in production, a disk that lies in the simulator.
//!
//! Five tables: `log` (position to record), `documents` (namespace and key to state), `receipts` (what is
//! remembered of writes with an idempotency key) with the order in which they are forgotten, and `meta`
//! (format, incarnation, identity of the medium, checkpoint). The engine does not verify what it
//! reads, so every value carries a check over its table, its key and itself (`seal.rs`), and pages
//! are compared with what was verified on opening or written since (`pages.rs`).

mod absence;
mod committer;
mod directory;
mod disk;
mod engine;
mod error;
mod fetch;
pub mod limits;
mod meta;
mod opening;
mod overlay;
mod pages;
mod reader;
mod receipts;
mod seal;
mod shield;
mod store;
mod tables;
mod witness;
mod worker;

pub use committer::{Committer, Completion};
pub use disk::Disk;
pub use error::{CommitError, FetchError, OpenError, SubmitError};
pub use opening::Opening;
pub use reader::FetchThread;
pub use store::Store;
