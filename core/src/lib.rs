//! Anabranch's replica as a state machine without I/O: it knows no clock, disk, socket, thread or random source.
//!
//! * [`Replica`]: hand it an [`Input`], take [`Output`]s until there are none. Answers, visibility and gossip
//!   come free only once the driver has reported that a [`persist::Commit`] is durable.
//! * [`persist`]: the storage seam, as values.
//! * [`Intent`], [`Edit`], [`PatchOperation`]: what a caller wants done to a document; [`EditError`]: why not.
//! * [`Token`], [`Session`]: what a caller has seen, wherever it goes.
//! * [`Ack`], [`Acknowledged`]: how many datacenters a writer waits for, and who they are.
//! * [`Batch`], [`Frontier`], [`Origin`]: what replicas exchange, and how they say what they hold.
//! * [`limits`]: every bound, in one place.
//!
//! Inside: `document` lays the meaning that carts and feeds need over automerge, whose types stay there;
//! `replica` holds documents, history and peer sessions together; `message` is what replicas say.

mod ack;
mod batch;
mod codec;
mod compression;
mod document;
mod effect;
mod frontier;
mod id;
mod intent;
pub mod limits;
#[cfg(feature = "measure")]
pub mod measure;
mod message;
mod notice;
mod path;
pub mod persist;
mod placement;
mod record;
mod repair_message;
mod replica;
mod summary;
mod token;

pub use ack::{Ack, AckError, Acknowledged};
pub use batch::{Batch, DocumentWrite, Receipt};
pub use codec::DecodeError;
pub use document::{Version, VersionError, compact};
pub use effect::{
    Answer, Author, Claim, Compared, Conflict, FetchId, IdempotencyKey, Input, LinkId, Listed,
    Missing, Notice, Now, Output, Page, Repaired, Reply, Request, RequestError, RequestId, Session,
    Snapshot, Verified, VerifiedPeer, VersionInfo, Versions, Visible, Write, Written,
};
pub use frontier::Frontier;
pub use id::{
    DocumentId, Incarnation, Key, Lsn, NameError, Namespace, Origin, OriginTag, ReplicaId, Seq,
};
pub use intent::{Edit, EditError, Guard, Intent, PatchOperation};
pub use message::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
pub use path::{Path, PathError};
pub use placement::{Datacenters, DatacentersError};
#[cfg(feature = "planted")]
pub use replica::Planted;
pub use replica::{
    Config, Counters, NamespaceStatus, PeerStatus, RepairStatus, Replica, Room, Standing, Status,
    TrafficBytes,
};
pub use token::{Token, TokenError};
