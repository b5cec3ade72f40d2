//! Anabranch's network: QUIC links between replicas under a cluster CA.
//!
//! A [`Net`] listens on one UDP address, dials the configured seeds for ever, and keeps at most one link with each
//! peer. It carries frames (opaque bytes, whole and in order) and tells what happens as [`Event`]s. It knows
//! nothing of documents, stores or disks, and its public face shows no type of the libraries underneath.
//!
//! * Who a peer is follows from its certificate alone: [`Identity`], issued by a [`pki::CertificateAuthority`].
//! * Both ends of a connection have accepted each other before [`Event::LinkUp`]; if both dialled, they agree on
//!   one connection (`hello.rs` tells how).
//! * Nothing is unbounded: a user that stops reading events stops its peers, a peer that stops reading fills the
//!   link's queue, and [`Net::send`] says so. All bounds are in [`limits`].
//!
//! * Who belongs to the cluster is learnt from whoever is met: through one seed a node finds all others, and
//!   [dials](Config::discover) them for as long as they have not left (`membership/` tells how). A [`Roster`] follows that.
//!
//! [`relay`] puts a wide-area network between nodes on one machine, for demos and benchmarks.

mod certificate;
mod config;
mod dial;
mod event;
mod failure;
mod frame;
mod hello;
mod identity;
pub mod limits;
mod link;
mod listen;
mod member;
mod member_dial;
mod membership;
mod net;
mod outbox;
mod peers;
pub mod pki;
mod pulse;
pub mod relay;
mod reset;
mod roster;
mod seed;
mod tls;

pub use config::Config;
pub use event::{Event, LinkId, LinkStatus, SeedState, SeedStatus};
pub use identity::{FileKind, Identity, IdentityError};
pub use member::{KnownMember, MemberState, MemberStatus};
pub use net::{BindError, Net, SendError};
pub use roster::Roster;
