//! Anabranch's replica as a state machine without I/O.

mod frontier;
mod id;
pub mod limits;
pub mod persist;

pub use frontier::Frontier;
pub use id::{DocumentId, Incarnation, Key, Lsn, NameError, Namespace, Origin, ReplicaId, Seq};
