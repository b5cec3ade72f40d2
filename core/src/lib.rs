//! Anabranch's replica as a state machine without I/O: it knows no clock, disk, socket, thread or random source.
//!
//! * [`Replica`]: hand it an [`Input`], take [`Output`]s until there are none. Answers, visibility and gossip
//!   come free only once the driver has reported that a [`persist::Commit`] is durable.
//! * [`persist`]: the storage seam, as values.
//! * [`Intent`], [`Edit`], [`PatchOperation`]: what a caller wants done to a document; [`EditError`]: why not.
//! * [`Batch`], [`Frontier`], [`Origin`]: what replicas exchange, and how they say what they hold.
//! * [`limits`]: every bound, in one place.
//!
//! Inside: `document` lays the meaning that carts and feeds need over automerge, whose types stay there;
//! `replica` holds documents, history and peer sessions together; `message` is what replicas say.

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
