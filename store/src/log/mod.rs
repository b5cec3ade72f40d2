//! The commit log, on segment files of its own: one positional write and one sync for a whole group of records.
//!
//! **Segments.** A segment is a file that was written with zeros and synced before its first use, because a sync that
//! finds the file as long as before is several times cheaper than one that grows it. Released segments are used
//! again. `header.rs` says what is at their beginning, `frame.rs` how a record lies in them. Each use of a file is a
//! *life* with its own number, durable before the first frame is written with it, and a frame only verifies in its own
//! life and place: whatever a recycled file still holds can't be taken for a record.
//!
//! **A group lies in one segment.** If the rest of the current one is too small it is left empty. That is a few
//! kilobytes on average, and it buys much: one write and one sync per group always, room is known before anything is
//! written, and a segment that holds anything is the proof that all before it was synced, so that opening has to look
//! at the headers and at the last segment only.
//!
//! **What the end is.** Each frame says up to where the log was durable when it was written, and the last of a group
//! is marked. On opening (`tail.rs`), all that a frame or the witness proves to have been durable is kept, and what is
//! missing there is *lost*, which is damage. Behind that comes at most one group: it is kept when it is whole, and
//! otherwise wiped, as a group that was never reported. So a group is there as a whole or not at all, no matter which
//! of its sectors a power cut left.
//!
//! **What is assumed.** A sector of 512 bytes is written as a whole or not at all. Appending rewrites the page
//! that the last group ended in; a torn page is harmless then, since both versions agree on what was there before.
//!
//! **Threads.** One appends, one prepares and releases, any number read. Nothing is locked while a disk is written,
//! synced or read, except against a second appender.

mod append;
mod damage;
mod frame;
mod header;
mod opening;
mod reading;
mod room;
mod segment;
mod state;
mod tail;
#[cfg(test)]
mod tests;
mod walk;

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_core::Lsn;

use crate::engine::Fault;
use append::Appender;
use damage::Damage;
use room::Room;

/// The largest segments, unless a group needs more.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 20;
/// The first segment; each is twice as large as the one before, up to [`LogOptions::segment_bytes`].
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
/// Released segments that are kept to be used again.
const SPARES_MAX: usize = 2;

/// How to open a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogOptions {
    /// See [`SEGMENT_BYTES`].
    pub(crate) segment_bytes: u64,
    /// Records before this one are of no use any more.
    pub(crate) released_before: Lsn,
    /// The end of the log as it was last reported, if that is remembered elsewhere.
    pub(crate) reported_end: Option<Lsn>,
}

/// What opening has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogFound {
    /// The first record that is there. None if there is none.
    pub(crate) first: Option<Lsn>,
    /// The position after which the log goes on. It may be that of a lost record: no position is used twice.
    pub(crate) end: Option<Lsn>,
    /// What was durable and can't be read, as far as opening looks, by rising position.
    pub(crate) lost: Vec<RangeInclusive<Lsn>>,
    /// Files in which there may have been more, and nobody can say what. The log does not go on in them, so this is
    /// said once.
    pub(crate) unreadable: Vec<String>,
}

/// Why a log was not opened. Nothing that was durable has been changed.
#[derive(Debug)]
pub(crate) enum LogRefusal {
    /// Made by a later version of this software.
    NewerFormat {
        /// In a segment.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The disk failed.
    Fault(Fault),
}

impl From<Fault> for LogRefusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<std::io::Error> for LogRefusal {
    fn from(error: std::io::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    appender: Mutex<Appender>,
    room: Room,
    damage: Damage,
}

impl Log {
    /// The first record that is there and the last. None when there is none.
    pub(crate) fn bounds(&self) -> Option<(Lsn, Lsn)> {
        self.room.state().bounds()
    }

    /// Bytes that the records take on the disk: whole segments, and the current one as far as it is filled.
    pub(crate) fn bytes(&self) -> u64 {
        self.room.state().bytes()
    }

    /// About how many bytes the records from a position on take.
    pub(crate) fn bytes_from(&self, lsn: Lsn) -> u64 {
        self.room.state().bytes_from(lsn)
    }

    /// Makes the next segment ready if the current one is more than half full, so that appending does not have to.
    /// For a background thread.
    ///
    /// [`Fault::Full`]: there is no room for it. Nothing is amiss until the current one is full, too.
    pub(crate) fn prepare(&self) -> Result<(), Fault> {
        self.room.prepare()
    }

    /// Gives up the segments in which there is no record at `lsn` or after it, but never the current one. That they
    /// may be given up is durable elsewhere: the next opening is told of it.
    pub(crate) fn release_before(&self, lsn: Lsn) -> Result<(), Fault> {
        let released = self.room.release_before(lsn);
        if let Some((first, _)) = self.bounds() {
            self.damage.forget_before(first);
        }
        released
    }

    /// Positions of records that can't be read, as far as anybody came across them.
    pub(crate) fn damaged(&self) -> Vec<RangeInclusive<Lsn>> {
        self.damage.ranges()
    }
}

/// What a panicking thread leaves behind here is whole: nothing is changed in more than one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
