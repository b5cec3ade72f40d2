//! The members of a cluster, as a node's user sees them.

use std::time::{Duration, SystemTime};

use anabranch_core::ReplicaId;

/// What is known of a member's life. It decides nothing: whoever has not left is dialled, and a link is used as long as
/// it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberState {
    /// It is heard on its link, or others vouch for it.
    Alive,
    /// Its link is silent, or others did not reach it and it has not answered yet.
    Suspect,
    /// Nobody reaches it.
    Down,
    /// It has left for good, and is not dialled any more unless it comes back.
    Left,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Who it is.
    pub replica: ReplicaId,
    /// Its name: its certificate's, if there ever was a link, or else as it announces itself. Empty if nothing is known.
    pub name: String,
    /// Its datacenter, as it announces; empty if it is not known.
    pub datacenter: String,
    /// Where it is dialled, as `host:port`, the best first.
    pub addresses: Vec<String>,
    /// What is known of its life.
    pub state: MemberState,
    /// For how long it has been in that state, as far as this process knows.
    pub since: Duration,
    /// Which of its lives is spoken of: greater after each restart, and whenever it was held to be down and came back.
    pub incarnation: u64,
    /// When there was a link with it last; now, if there is one.
    pub last_seen: Option<SystemTime>,
    /// Whether there is a link with it.
    pub linked: bool,
}

/// A member as it is remembered from one run to the next: what [`Roster::known`](crate::Roster::known) gives and
/// [`Config::known`](crate::Config::known) takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMember {
    /// Who it is. This node itself is among them.
    pub replica: ReplicaId,
    /// Its name; empty if it is not known.
    pub name: String,
    /// Its datacenter; empty if it is not known. For people: what counts is in the announcement.
    pub datacenter: String,
    /// Where it was reached, as `IP:PORT`, the latest first.
    pub reached: Vec<String>,
    /// Where it says that it is reached. For people: what counts is in the announcement.
    pub addresses: Vec<String>,
    /// When there was a link with it last, in milliseconds since 1970.
    pub last_seen_ms: Option<u64>,
    /// Whether it has left. For people: what counts is in the announcement.
    pub left: bool,
    /// Its signed announcement, if there is one; of no meaning outside this crate.
    pub announcement: Option<Vec<u8>>,
}
