//! What can go wrong, one enum per operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anabranch_core::Lsn;
use anabranch_core::persist::StoreError;

use crate::engine::Fault;
use crate::log::LogRefusal;

/// Why a store was not opened. Nothing that was durable has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one, has the directory open.
    #[error(
        "{} is already open in {}; stop that process, or choose another data directory",
        directory.display(),
        match holder { Some(pid) => format!("process {pid}"), None => "another process".to_owned() }
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// The process that holds it, as far as it said so.
        holder: Option<u32>,
    },
    /// The directory can't be used.
    #[error(
        "cannot {doing} {}: {source}; choose a data directory on a local disk that this user may write to",
        path.display()
    )]
    Directory {
        /// The directory or the file in it.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// What is there was not made by this software.
    #[error(
        "the data file is not an Anabranch store; choose an empty data directory, nothing was changed"
    )]
    Foreign,
    /// A restore did not come to its end here.
    #[error(
        "a backup was being restored here and is not whole; run `anabranch restore` again, which clears away what is there \
         and begins anew"
    )]
    HalfRestored,
    /// Made by a version of this software from before the first release.
    #[error(
        "this is a store of format version 1 (the file {file}), which was never released and is not read any more; \
         move the data directory away and start with an empty one, which fills from the other replicas, or copy the \
         data over with the program that wrote it; nothing was changed"
    )]
    OldFormat {
        /// By which it was known.
        file: &'static str,
    },
    /// Made by a later version of this software.
    #[error(
        "the store has format version {found}, this program knows {known}; run the newer program, no data was changed"
    )]
    NewerFormat {
        /// In the store.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// What is stored is not what was written.
    #[error(
        "the store is damaged: {what}; check the disk, then move the data directory away and start with an empty one, \
         which fills from the other replicas"
    )]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The incarnation that was offered as new is the one in the store. Going on would let two
    /// histories share one name.
    #[error(
        "the incarnation offered as new is already in use; draw it at random for every opening"
    )]
    NotFresh,
    /// There is no room to open it.
    #[error("there is no room to open the store: {0}; make room on the disk and try again")]
    Full(#[source] io::Error),
    /// The disk failed.
    #[error("the disk failed while the store was opened: {0}; check the disk and try again")]
    Io(#[source] io::Error),
    /// The storage engine refused for a reason of its own.
    #[error("the storage engine refused to open the store: {message}")]
    Engine {
        /// In its own words.
        message: String,
    },
}

impl OpenError {
    pub(crate) fn io(error: io::Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { what, .. } => Self::Damaged { what },
            Fault::Full(error) => Self::Full(error),
            Fault::Io(error) => Self::Io(error),
            Fault::Engine(message) => Self::Engine { message },
        }
    }
}

impl From<LogRefusal> for OpenError {
    fn from(refusal: LogRefusal) -> Self {
        match refusal {
            LogRefusal::NewerFormat { found, known } => Self::NewerFormat { found, known },
            LogRefusal::Fault(fault) => fault.into(),
        }
    }
}

/// Why commits were not made durable. Can be cloned, since one failure answers many commits.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// There is no room. Nothing of the group was written, and it may be tried again.
    #[error("nothing was written, there is no room: {0}; make room on the disk, then write again")]
    Full(#[source] Arc<io::Error>),
    /// The disk or the engine failed on the way. Whether the commits are durable is unknown until
    /// the store is opened again; until then it takes no more.
    #[error(
        "a commit failed, its outcome is unknown until the store is opened again: {0}; check the disk, then restart"
    )]
    OutcomeUnknown(#[source] Arc<io::Error>),
    /// An earlier commit failed, so nothing was tried.
    #[error(
        "the store takes no commits since an earlier one failed; reads go on, restart to recover"
    )]
    Closed,
    /// The caller's fault: a record does not follow the log's end. Nothing was written.
    #[error("the log goes on at {expected}, the commit brings {found}", expected = expected.0, found = found.0)]
    OutOfOrder {
        /// The position that would have been right.
        expected: Lsn,
        /// The position in the commit.
        found: Lsn,
    },
    /// The caller's fault: a value over the limit. Nothing was written.
    #[error("a stored value may have {max} bytes at most; this one has {len}")]
    TooLarge {
        /// Bytes allowed.
        max: usize,
        /// Bytes given.
        len: usize,
    },
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(error) => Self::Full(Arc::new(error)),
            Fault::Io(error) => Self::OutcomeUnknown(Arc::new(error)),
            Fault::Damaged { what, .. } => {
                let error = io::Error::new(io::ErrorKind::InvalidData, what);
                Self::OutcomeUnknown(Arc::new(error))
            }
            Fault::Engine(message) => Self::OutcomeUnknown(Arc::new(io::Error::other(message))),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { range, what } => Self::Damaged { range, what },
            Fault::Full(error) => Self::Full(error.to_string()),
            Fault::Io(error) => Self::Failed(format!("the disk failed: {error}; check it")),
            Fault::Engine(message) => Self::Failed(message),
        }
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full(why) => Self::Full(why.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Why something was not taken by a thread of the store; it is handed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError<T> {
    /// The queue is full: wait for an answer before trying again.
    #[error("the store's queue is full; wait for an answer, then try again")]
    Full(Box<T>),
    /// The thread has ended.
    #[error("the store's thread has ended; open the store again")]
    Stopped(Box<T>),
}
