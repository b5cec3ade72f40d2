//! Anabranch's replica as a state machine without I/O.

mod batch;
mod codec;
mod document;
mod effect;
mod frontier;
mod id;
mod intent;
pub mod limits;
mod message;
mod path;
pub mod persist;
mod replica;

pub use batch::{Batch, DocumentWrite};
pub use codec::DecodeError;
pub use document::Version;
pub use effect::{
    Change, FetchId, Input, LinkId, Listed, Notice, Now, Output, Page, Reply, Request,
    RequestError, RequestId, Snapshot, Written,
};
pub use frontier::Frontier;
pub use id::{DocumentId, Incarnation, Key, Lsn, NameError, Namespace, Origin, ReplicaId, Seq};
pub use intent::{Edit, EditError, Guard, Intent, PatchOperation};
pub use path::{Path, PathError};
#[cfg(feature = "planted")]
pub use replica::Planted;
pub use replica::{Config, Counters, PeerStatus, Replica, Room, Status};
