//! Anabranch as a library: a node of a replicated document store inside your process.
//!
//! A node takes writes on its own, at the speed of its disk. Nodes that know each other ([`Gossip`]) bring
//! each other up to date, and all of them come to the same state, whatever the order in which writes
//! travelled and however long a node was cut off. See `ARCHITECTURE.md` for how.
//!
//! ```
//! use anabranch::{Config, Edit, Node, Path};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let node = Node::open(Config::new(dir)).await?;
//! let add_two = Edit::Adjust { path: Path::parse("/items/22752/qty")?, by: 2 };
//! node.apply("carts", "alice", [add_two]).await?;
//! node.put("carts", "bob", json!({"items": {}})).await?;
//! let cart = node.get("carts", "alice").await?.expect("it was just written");
//! assert_eq!(cart.value, json!({"items": {"22752": {"qty": 2}}}));
//! node.delete("carts", "bob").await?;
//! node.shutdown().await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! The same with types:
//!
//! ```
//! use anabranch::typed::Quantity;
//! # use anabranch::{Config, Node};
//! use serde::{Deserialize, Serialize};
//! use std::collections::BTreeMap;
//!
//! #[derive(Serialize, Deserialize, Default)]
//! #[serde(default)]
//! struct Cart {
//!     items: BTreeMap<String, Item>,
//! }
//!
//! #[derive(Serialize, Deserialize, Default)]
//! #[serde(default)]
//! struct Item {
//!     qty: Quantity,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let dir = tempfile::tempdir()?;
//! # let node = Node::open(Config::new(dir.path())).await?;
//! node.edit("carts", "alice", |cart: &mut Cart| {
//!     cart.items.entry("22752".to_owned()).or_default().qty.adjust(2);
//! })
//! .await?;
//! let cart: Cart = node.read("carts", "alice").await?.expect("it was just written");
//! assert_eq!(cart.items["22752"].qty.value(), 2);
//! # node.shutdown().await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! * [`Node`]: open, read, write, list, follow, shut down.
//! * [`Config`], [`Gossip`]: what a node is told at start; [`pki`] makes the certificates.
//! * [`typed`]: documents as your own types, whose fields say how they merge; [`Node::edit`], [`Node::read`].
//! * [`Visitor`]: a client's session, which sees at any node what it has seen at another.
//! * [`Changes`]: the feed of what became visible here.
//! * [`backup`]: backups of a running node, and data directories made from them.
//! * [`relay`]: a wide-area network between nodes on one machine, for demos and benchmarks.

pub mod backup;
mod changes;
mod config;
mod documents;
mod driver;
mod error;
mod leaving;
mod members;
mod node;
mod questions;
mod report;
mod start;
pub mod typed;
mod visitor;

pub use anabranch_core::{
    Ack, AckError, Acknowledged, Answer, Author, Claim, Compared, Conflict, Counters, Datacenters,
    DatacentersError, DocumentId, Edit, EditError, Guard, IdempotencyKey, Intent, Key, Listed, Lsn,
    Missing, NameError, Namespace, NamespaceStatus, Origin, Page, PatchOperation, Path, PathError,
    PeerStatus, RepairStatus, Repaired, ReplicaId, Reply, Request, RequestError, Seq, Session,
    Snapshot, Standing, Status, Token, TokenError, TrafficBytes, Verified, VerifiedPeer, Version,
    VersionError, VersionInfo, Versions, Visible, Write, Written, limits,
};
pub use anabranch_net::{pki, relay};
pub use changes::Changes;
pub use config::{Config, Gossip, Scan, Timing};
pub use error::{Error, LeaveError, OpenError};
pub use node::Node;
pub use report::{LinkReport, MemberReport, Report, SeedReport, StoreReport};
pub use visitor::Visitor;
