//! The seam where another engine plugs in.
//!
//! Above it: the threads of this crate, and with them everything else. Below it: [`Store`](crate::Store), which
//! keeps files, and [`MemoryStore`](crate::MemoryStore). An engine over something else (a shared, distributed
//! one) implements [`Engine`] and proves itself with the suite in `conformance`.

use std::fmt::Debug;
use std::time::Duration;

use anabranch_core::persist::{Commit, DocumentRange, Fetch, Fetched, Fold, StoreError};

use crate::error::CommitError;

/// An open store. What it found when it was opened, it has told as a
/// [`Recovery`](anabranch_core::persist::Recovery).
///
/// # What an engine promises
/// * **Order.** Commits become durable in the order in which they are given. Records of the log have positions
///   without gaps; one that does not follow is refused, and nothing of its group is written.
/// * **Atomicity.** A group of commits is applied as a whole or not at all, whatever happens on the way. The one
///   exception: a new incarnation may become durable before the rest of its group, never after it. Of a fold,
///   documents may become durable before the rest; checkpoint, receipts and release come last and together, so a
///   fold that was cut short is simply given again.
/// * **Durability.** What a call has returned from with success survives any crash. What it has not may or may
///   not be there after one.
/// * **Full is nothing.** After [`CommitError::Full`] and [`StoreError::Full`] nothing of what was asked was done
///   (but for what may come first, as above), and it may be asked again. After any other failure of a commit, its
///   outcome is unknown until the store is opened again, and no more commits are taken; fetches go on.
/// * **Fetches see** every commit and every fold that had returned before the fetch was asked, and never a record
///   whose commit has not returned.
/// * **Damage is named.** Nothing is ever given out that is not what was written, and "there is none" is said
///   only when it is known. What can't be read is an error that names what is lost, and leaves the rest alone.
/// * **Folds may repeat.** After a crash the same changes may come again: a document then holds them twice, until
///   it is compacted.
///
/// # Who calls
/// Commits come from one thread; folds and [`tend`](Self::tend) from another, [`prepare`](Self::prepare) from a
/// third, fetches from any number. None of them may wait for another of these for longer than a disk takes.
pub trait Engine: Debug + Send + Sync + 'static {
    /// Makes a group of commits durable, all of it or nothing.
    ///
    /// # Errors
    /// See [`CommitError`]; each says what became of the group.
    fn commit(&self, commits: &[Commit]) -> Result<(), CommitError>;

    /// Moves changes to their documents, and does the rest of what the fold says; durable on return. One at a time.
    ///
    /// # Errors
    /// When nothing was done, or it is unknown whether it was. Commits go on in either case.
    fn fold(&self, fold: &Fold) -> Result<(), StoreError>;

    /// Answers from everything that had returned before.
    ///
    /// # Errors
    /// When what is stored is damaged or can't be read. Other fetches may well succeed.
    fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError>;

    /// Makes ready what later commits will need, so that they do not have to: called beside commits, every so
    /// many bytes of them. A failure is the engine's to note: the commit that needs it will meet it again.
    fn prepare(&self) {}

    /// A piece of work that nobody waits for: reading what lies there to see whether it is still what was
    /// written, compacting what a hurried fold has left. A piece is small, since a fold may be waiting.
    ///
    /// `mono_ms` is a clock that never goes back, in milliseconds from any start.
    fn tend(&self, mono_ms: u64) -> Tended {
        let _ = mono_ms;
        Tended::nothing(Tended::REST_MAX)
    }
}

/// What one call of [`Engine::tend`] has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tended {
    /// How long to leave it alone now. A fold may bring new work before that.
    pub rest: Duration,
    /// How much of what lies there was read and found to be what was written, or not.
    pub bytes: u64,
    /// Documents that were compacted.
    pub compacted: u64,
    /// Everything there is has been read once more.
    pub pass_finished: bool,
    /// What can't be read. It is named again each time it is met.
    pub damage: Vec<Damage>,
}

/// Something that can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which documents, if it concerns documents.
    pub range: Option<DocumentRange>,
    /// For people.
    pub what: String,
}

impl Tended {
    /// The longest rest that is worth asking for.
    pub const REST_MAX: Duration = Duration::from_secs(3_600);

    /// There was nothing to do.
    #[must_use]
    pub fn nothing(rest: Duration) -> Self {
        Self {
            rest,
            bytes: 0,
            compacted: 0,
            pass_finished: false,
            damage: Vec::new(),
        }
    }
}
