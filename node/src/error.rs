//! What can go wrong.

use std::path::PathBuf;

use anabranch_core::{DecodeError, NameError, RequestError};

/// Why a node did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] anabranch_store::OpenError),
    /// The store opened, and then could not be read.
    #[error("the store can't be read: {0}")]
    Read(anabranch_core::persist::StoreError),
    /// What the store holds is not what a replica wrote.
    #[error(
        "the store is damaged: {0}; start with an empty data directory, which fills from the other replicas"
    )]
    Damaged(DecodeError),
    /// A later version of this software wrote it.
    #[error("{0}; run the newer program, no data was changed")]
    Newer(DecodeError),
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] anabranch_net::IdentityError),
    /// The gossip address.
    #[error(transparent)]
    Bind(#[from] anabranch_net::BindError),
    /// The file that names a node without certificates.
    #[error("cannot read or write {}: {source}", path.display())]
    ReplicaId {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl From<DecodeError> for OpenError {
    fn from(error: DecodeError) -> Self {
        match error {
            newer @ DecodeError::Newer { .. } => Self::Newer(newer),
            other => Self::Damaged(other),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The namespace or key is not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The replica refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The document and the type that it was read or written as don't go together.
    #[error(transparent)]
    Typed(#[from] crate::typed::TypedError),
    /// The node is shutting down. Whether a write that was under way was taken is not known.
    #[error("the node is shutting down")]
    Closed,
}

/// Why a node did not leave its cluster. It goes on as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// It has no cluster.
    #[error("this node runs alone: there is nothing to leave")]
    Alone,
    /// Nobody else holds all of its writes.
    #[error(
        "no other node that is connected holds all writes of this one: {}; connect one and wait for it,          or leave by force, and lose what is only here", missing(*.batches))]
    NotHeld {
        /// Writes that the most advanced connected node lacks; none if there is no node connected.
        batches: Option<u64>,
    },
    /// It is shutting down already.
    #[error("the node is shutting down")]
    Closed,
}

fn missing(batches: Option<u64>) -> String {
    match batches {
        None => "none is connected".to_owned(),
        Some(batches) => format!("the nearest lacks {batches}"),
    }
}
