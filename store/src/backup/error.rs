//! What can go wrong with a backup: when it is taken, when it is read, and when it is restored.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anabranch_core::Lsn;
use anabranch_core::persist::StoreError;

use crate::error::OpenError;

/// Why a backup was not taken, or not finished. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The earlier backup can't be gone on from.
    #[error("{why}; take a full backup")]
    NotSince {
        /// For people.
        why: String,
    },
    /// Something that belongs into it can't be read.
    #[error(
        "the store can't be read: {0}; try again once that is repaired, or take the backup of another node"
    )]
    Store(StoreError),
    /// Records can't be read that only the log has.
    #[error(
        "records {} to {} of the log can't be read; take the backup of another node, or take it again once changes up \
         to there are folded{}",
        lost.start().0, lost.end().0,
        if *tail_helps { ", or take it with the tail of the log alone (`--log tail`)" } else { "" }
    )]
    LogLost {
        /// Which.
        lost: RangeInclusive<Lsn>,
        /// Whether they are needed only by nodes that have fallen behind.
        tail_helps: bool,
    },
    /// The log grew too long while the backup held on to it.
    #[error(
        "the backup was given up, since the disk ran full or the log would have passed its limit (`store.log_max_bytes`) \
         while it was held on to; take the backup when less is written, over a faster connection, or raise the limit"
    )]
    LetGo,
    /// Whoever took it in has gone, or the node is shutting down.
    #[error("the backup was not taken to its end: {0}")]
    Output(#[from] io::Error),
}

/// Why a backup can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Something else.
    #[error("this is no backup; give a file that `anabranch backup` has written")]
    Foreign,
    /// Made by a later version of this software.
    #[error(
        "the backup has format version {found}, this program knows {known}; use the newer program"
    )]
    Newer {
        /// In the file.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// It ends too early.
    #[error(
        "the backup is cut short: it ends at byte {offset}, in frame {frame}; use another copy of it, or an earlier backup"
    )]
    CutShort {
        /// Counted from 1; 0 is what stands before the first.
        frame: u64,
        /// Where the file ends.
        offset: u64,
    },
    /// It is not what was written.
    #[error(
        "the backup is damaged: frame {frame}, at byte {offset}, is not what was written there; use another copy of it, or an \
         earlier backup"
    )]
    Damaged {
        /// Counted from 1; 0 is what stands before the first.
        frame: u64,
        /// Where it begins.
        offset: u64,
    },
    /// It is what was written, and makes no sense.
    #[error(
        "the backup makes no sense in frame {frame}: {what}; use an earlier backup, and please report this"
    )]
    Senseless {
        /// Counted from 1.
        frame: u64,
        /// For people.
        what: &'static str,
    },
    /// Something stands behind its end.
    #[error(
        "something follows the backup's end at byte {offset}: it is not the file that was written; use another copy of it"
    )]
    Followed {
        /// Where.
        offset: u64,
    },
    /// The file can't be read.
    #[error("the backup can't be read: {0}")]
    Input(io::Error),
}

impl ReadError {
    pub(super) fn damaged(frame: u64, offset: u64) -> Self {
        Self::Damaged { frame, offset }
    }
}

/// Why backups do not go together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Nothing was given.
    #[error(
        "there is no backup here; give files that `anabranch backup` has written, or a directory of them"
    )]
    Nothing,
    /// An incremental one comes first.
    #[error(
        "the backup {id} is incremental and goes on from {base}, which is not here; give that one, too"
    )]
    NoBase {
        /// Which one.
        id: String,
        /// Which one is missing.
        base: String,
    },
    /// What it goes on from says otherwise.
    #[error(
        "the backup {id} does not go on where {before} ends; give the backups of one chain, in whatever order"
    )]
    Gap {
        /// Which one.
        id: String,
        /// The one before it.
        before: String,
    },
    /// Several ways lead on.
    #[error(
        "not all of these backups are of one chain: {id} is not; give the backups of one chain, or a directory and --at"
    )]
    Apart {
        /// Which one.
        id: String,
    },
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Something is there.
    #[error(
        "{} is not empty (it holds {name}): a backup is only restored into an empty directory; give another one, or move what is \
         there away", directory.display()
    )]
    NotEmpty {
        /// The data directory.
        directory: PathBuf,
        /// What is there.
        name: String,
    },
    /// A backup can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They do not go together.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The directory can't be used, or is in use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be written.
    #[error("the directory can't be written: {0}; see to the disk, then restore again")]
    Write(StoreError),
}

impl From<crate::engine::Fault> for RestoreError {
    fn from(fault: crate::engine::Fault) -> Self {
        Self::Write(fault.into())
    }
}

impl From<io::Error> for RestoreError {
    fn from(error: io::Error) -> Self {
        crate::engine::Fault::from(error).into()
    }
}
