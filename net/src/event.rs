//! What the network tells its user, and the state that it shows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::ReplicaId;
use bytes::Bytes;

/// One accepted connection; never used again within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// What happened. A peer has at most one link up: its `LinkDown` comes before another `LinkUp`, each `LinkUp` is
/// followed by exactly one `LinkDown`, and the link's `Frame`s and `Sent`s lie between the two.
///
/// A user that stops reading events stops its peers from sending: their frames wait in their own queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both sides have accepted each other.
    LinkUp {
        /// The new link.
        link: LinkId,
        /// Whose: bound to the key of its certificate.
        peer: ReplicaId,
        /// The node's name in its certificate.
        peer_name: String,
        /// Where its packets come from.
        remote: SocketAddr,
        /// Whether this node dialled.
        outgoing: bool,
    },
    /// A frame arrived, whole and in order.
    Frame {
        /// On which link.
        link: LinkId,
        /// The frame, 1 byte to `FRAME_BYTES_MAX`.
        bytes: Bytes,
    },
    /// The stream has taken frames; their room in the link's queue is free again. Not an acknowledgement.
    Sent {
        /// On which link.
        link: LinkId,
        /// Bytes of frames (without framing), of one or several `send`s.
        bytes: usize,
    },
    /// The link is gone; what was not read by the peer is lost.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// Why, for people.
        reason: String,
    },
}

/// A link that is up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkStatus {
    /// Which link.
    pub link: LinkId,
    /// The peer.
    pub peer: ReplicaId,
    /// The peer's name in its certificate.
    pub peer_name: String,
    /// Where the peer's packets come from.
    pub remote: SocketAddr,
    /// Whether this node dialled.
    pub outgoing: bool,
    /// Since when it is up.
    pub since: Instant,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// Frame bytes given to the stream.
    pub frame_bytes_sent: u64,
    /// Frame bytes received.
    pub frame_bytes_received: u64,
    /// UDP payload bytes sent: frames, acknowledgements, handshake, retransmissions.
    pub udp_bytes_sent: u64,
    /// UDP payload bytes received.
    pub udp_bytes_received: u64,
    /// For how long nothing was heard of the peer, give or take a tenth of a second. An idle link is pinged every
    /// `keep_alive`.
    pub unheard: Duration,
    /// Whether that is longer than the pings explain. The link may still recover, and is used as before.
    pub silent: bool,
    /// Bytes of what was told about members, without framing.
    pub member_bytes_sent: u64,
    /// Bytes of what the peer told about members, without framing.
    pub member_bytes_received: u64,
}

/// What a seed is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedState {
    /// The peer behind it has a link, whoever dialled.
    Connected {
        /// That peer.
        peer: ReplicaId,
    },
    /// An attempt is under way.
    Connecting,
    /// The next attempt is due then.
    Waiting {
        /// When.
        until: Instant,
    },
    /// It is this very node; it isn't dialled any more.
    Itself,
    /// The peer behind it has left for good; its address is tried once a minute, in case that somebody else comes to it.
    Left {
        /// That peer.
        peer: ReplicaId,
    },
}

/// A configured seed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedStatus {
    /// As configured.
    pub address: String,
    /// What it is doing.
    pub state: SeedState,
    /// Attempts so far.
    pub attempts: u64,
    /// Why the last attempt failed or the last link ended; none while it is connected.
    pub last_error: Option<String>,
}
