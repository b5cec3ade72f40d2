//! Every bound of this crate, in one place. The largest frame is the core's to say: [`FRAME_BYTES_MAX`].

use std::time::Duration;

pub use anabranch_core::limits::FRAME_BYTES_MAX;

/// Most frames that one link holds for its stream, those being written counted.
pub const LINK_QUEUE_FRAMES_MAX: usize = 4_096;
/// Most frame bytes that one link holds for its stream, those being written counted.
pub const LINK_QUEUE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Frame bytes given to the stream at once, and so reported by one `Sent` (one larger frame goes alone).
pub const WRITE_BATCH_BYTES: usize = 256 << 10;
/// Frames up to this size are copied next to each other; larger ones go to the stream as they are.
pub const FRAME_COPY_BYTES_MAX: usize = 4 << 10;
/// A frame's buffer grows with what has arrived, by at least this much, never by what a length promises.
pub const FRAME_GROWTH_BYTES: usize = 64 << 10;

/// What a peer may send on its stream before this side has read it.
pub const STREAM_RECEIVE_WINDOW_BYTES: u32 = 4 << 20;
/// The same for the whole connection, which has that one stream.
pub const CONNECTION_RECEIVE_WINDOW_BYTES: u32 = STREAM_RECEIVE_WINDOW_BYTES + (64 << 10);
/// What a stream accepts ahead of the peer's acknowledgements.
pub const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// What may be under way on a new link before anything is acknowledged. Ten times RFC 9002's: links join
/// datacenters, and a replica that comes back has much to catch up with; growing a window from 14 KB takes six
/// round trips to the megabyte, a second and a half between continents.
pub const INITIAL_WINDOW_BYTES: u64 = 128 << 10;
/// Streams that a peer may open: the one for its frames.
pub const PEER_STREAMS_MAX: u32 = 1;

/// Most connections at a time, in both directions, those in their handshake counted.
pub const CONNECTIONS_MAX: usize = 512;
/// Most inbound handshakes at a time; past it, attempts are refused.
pub const HANDSHAKES_MAX: usize = 64;
/// From this many inbound handshakes on, a remote must first prove that it owns its address.
pub const HANDSHAKES_BEFORE_RETRY: usize = 16;
/// Bytes of one inbound attempt held before it is looked at.
pub const INCOMING_BYTES_MAX: u64 = 16 << 10;
/// Most seeds.
pub const SEEDS_MAX: usize = 256;
/// Most addresses of one seed that are tried in one attempt.
pub const SEED_ADDRESSES_MAX: usize = 8;
/// Most peers whose last link is remembered.
pub const PEERS_REMEMBERED_MAX: usize = 4_096;
/// Most (remote, kind of failure) pairs that are kept apart in the log.
pub const COMPLAINTS_MAX: usize = 1_024;
/// Longest reason that is taken from or sent to a peer, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// Longest node name, in bytes (X.520's bound for a common name).
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Most certificates in one PEM text.
pub const PEM_CERTIFICATES_MAX: usize = 16;
/// How long a cluster's CA is valid, in days.
pub const CA_VALIDITY_DAYS: u32 = 3_650;
/// How long a node's certificate is valid unless asked otherwise, in days.
pub const NODE_VALIDITY_DAYS: u32 = 365;

/// Datagrams that a relay holds per direction; past it they are dropped.
pub const RELAY_QUEUE_DATAGRAMS_MAX: usize = 32_768;
/// Bytes that a relay holds per direction; past it datagrams are dropped.
pub const RELAY_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes that may wait for a relay's limited rate; past it datagrams are dropped.
pub const RELAY_BACKLOG_BYTES_MAX: usize = 256 << 10;
/// Source addresses that a relay serves at a time.
pub const RELAY_CLIENTS_MAX: usize = 64;

/// Most members that are remembered, this node not counted. Members with which there was a link take the place of those
/// that are known by hearsay alone; past that, newcomers are not remembered (they still may link).
pub const MEMBERS_MAX: usize = 512;
/// Most addresses that a member may tell others, and most at which it is remembered to have been.
pub const MEMBER_ADDRESSES_MAX: usize = 4;
/// Longest address, as `host:port`, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest name of a datacenter that is told to others, in bytes; a longer one is cut.
pub const DATACENTER_BYTES_MAX: usize = 64;
/// Longest signed announcement of a member, in bytes; a longer one is refused.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 1_100;
/// Longest datagram of the membership, in bytes: what fits into a packet on every path that QUIC works on. A longer one
/// is dropped.
pub const MEMBER_DATAGRAM_BYTES_MAX: usize = 1_150;
/// Bytes of datagrams that a link holds in each direction; past it the oldest are dropped.
pub const MEMBER_DATAGRAMS_BYTES_MAX: usize = 256 << 10;
/// Datagrams that a peer may send at once; past it they are dropped, at the rate below.
pub const MEMBER_DATAGRAMS_BURST: u32 = 512;
/// Datagrams that a peer may send per second in the long run.
pub const MEMBER_DATAGRAMS_PER_S: u32 = 64;
/// Datagrams with which one question for announcements is answered at most; the rest comes with the next round.
pub const ANNOUNCEMENTS_ANSWER_DATAGRAMS_MAX: usize = 32;
/// Members of which the failure detector keeps a state at most; others count as down.
pub const SWIM_MEMBERS_MAX: usize = 2 * MEMBERS_MAX;
/// Timers of the failure detector at most; past it, it begins anew.
pub const SWIM_TIMERS_MAX: usize = 16 * MEMBERS_MAX;
/// Members, known by hearsay alone, that are dialled at the same time.
pub const HEARSAY_DIALS_MAX: usize = 8;
/// Members with which there was a link, that are dialled at the same time.
pub const MEMBER_DIALS_MAX: usize = 64;

/// A member with which there never was a link is forgotten when it has not renewed its announcement for this long.
pub const UNSEEN_KEPT: Duration = Duration::from_secs(48 * 3_600);
/// How often a node renews its announcement, so that those who know it by hearsay alone don't forget it.
pub const ANNOUNCEMENT_RENEWED: Duration = Duration::from_secs(12 * 3_600);
/// A member with which there was a link is forgotten when there was none for this long.
pub const SEEN_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// That a member has left is remembered for this long.
pub const LEFT_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Most forgotten members whose old announcements are known as such.
pub const FORGOTTEN_MAX: usize = MEMBERS_MAX;
