//! Every bound of this crate, in one place. The largest frame is the core's to say: [`FRAME_BYTES_MAX`].

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
