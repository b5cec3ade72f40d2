//! Every bound of this crate, in one place. Past a bound comes a clear error, never a silent cut.

/// Longest namespace, in bytes of UTF-8.
pub const NAMESPACE_BYTES_MAX: usize = 128;
/// Longest document key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Deepest nesting of a JSON value or of a path, in containers.
pub const DEPTH_MAX: usize = 64;
/// Largest value of a counter, and largest step, either way: 2^53, up to where numbers in JSON are exact
/// everywhere. Far enough from 64 bits that what datacenters add at the same time never overflows.
pub const COUNTER_MAX: i64 = 1 << 53;
/// Most edits in one write.
pub const EDITS_PER_WRITE_MAX: usize = 10_000;
/// Most bytes of changes in one batch; a write that makes more is refused.
pub const BATCH_BYTES_MAX: usize = 2 << 20;
/// Most operations that one change may hold, counted before anything is expanded.
pub const CHANGE_OPS_MAX: u64 = 100_000;
/// Largest frame between two replicas, in bytes.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Deltas are packed into frames of about this many bytes.
pub const FRAME_BYTES_TARGET: usize = 64 << 10;
/// A batch that is larger goes in parts of so many bytes, between which other streams have their turn.
pub const PART_BYTES: usize = 64 << 10;
/// Most parts of one batch.
pub const PARTS_MAX: usize = 4_096;
/// Bytes of parts of one peer's batches that wait for the rest of them; past it the oldest are dropped and asked for again. Whoever
/// sends parts begins no further batch while half of it is under way.
pub const PARTIAL_BYTES_MAX: usize = 8 << 20;
/// Bytes of bulk (parts, and what is read from the log) that a link may have under way while it shows no delay.
pub const BULK_WINDOW_BYTES_MAX: usize = 4 << 20;
/// Batches, causes, documents and changes together in one packet: so many more of them are in it than a writer makes, and their
/// memory is a multiple of their bytes.
pub const PACKET_ITEMS_MAX: usize = 128 << 10;
/// Delta bytes handed to one link and not yet taken by its stream; past it the link's cursors wait.
pub const LINK_WINDOW_BYTES: usize = 1 << 20;
/// Bytes of remote batches held back until their causes are here; past it they are dropped and asked for again.
pub const HELD_BACK_BYTES_MAX: usize = 16 << 20;
/// Most origins that one frontier may name.
pub const ORIGINS_MAX: usize = 16_384;
/// Most namespaces in one replica.
pub const NAMESPACES_MAX: usize = 16_384;
/// Most datacenters that a namespace may name,
pub const DATACENTERS_MAX: usize = 32;
/// and the longest name of one, in bytes of UTF-8.
pub const DATACENTER_BYTES_MAX: usize = 64;
/// Namespaces of which one frame says where they are.
pub const PLACEMENTS_PER_FRAME: usize = 512;
/// Bytes of persist effects under way before the replica asks its driver to hold back input.
pub const UNPERSISTED_BYTES_MAX: usize = 16 << 20;
/// Most requests inside the replica (waiting for a document, or for their batch to be durable).
pub const REQUESTS_MAX: usize = 16_384;
/// Bytes of documents that stay loaded between requests, about.
pub const LOADED_BYTES_MAX: usize = 64 << 20;
/// Bytes of recent log records kept in memory, from which links that keep up are served.
pub const RECENT_LOG_BYTES_MAX: usize = 8 << 20;
/// After so many records without changes, replay begins later all the same.
pub const CHECKPOINT_RECORDS: u64 = 2_000;
/// Bytes of log read from the store at once, for a link that has fallen behind.
pub const LOG_READ_BYTES_MAX: usize = 512 << 10;
/// Most documents in one page of a listing.
pub const PAGE_DOCUMENTS_MAX: usize = 1_000;
/// Bytes of changes that wait to be folded into document states before writes are held back.
pub const UNFOLDED_BYTES_MAX: usize = 64 << 20;
/// Changes are folded into the store's documents when they are this old, in milliseconds,
pub const FOLD_AFTER_MS: u64 = 10_000;
/// or when nothing was written for this long, in milliseconds.
pub const FOLD_IDLE_MS: u64 = 1_000;
/// Most documents that are folded at once.
pub const FOLD_DOCUMENTS_MAX: usize = 1_024;
/// Bytes of changes that are folded at once.
pub const FOLD_BYTES_MAX: usize = 1 << 20;
/// Bytes of log that are kept even if no peer needs them any more.
pub const LOG_BYTES_KEPT: u64 = 4 << 30;
/// Bytes of log that are kept at most, whoever still needs them.
pub const LOG_BYTES_MAX: u64 = 16 << 30;
/// Bytes of documents that are given to a peer that can't read its own; of larger ones it is told nothing.
pub const REPAIR_BYTES_MAX: usize = 3 << 20;
/// Bytes of documents in one page of a listing.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// Most documents in one atomic write.
pub const WRITES_MAX: usize = 1_000;
/// Longest idempotency key, in bytes of UTF-8.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest element of a set, in bytes of canonical JSON.
pub const SET_ELEMENT_BYTES_MAX: usize = 4_096;
/// Longest session token, in bytes of its text.
pub const TOKEN_BYTES_MAX: usize = 8_192;
/// Most versions in one answer.
pub const VERSIONS_MAX: usize = 1_000;
/// Largest record of an answer that goes with an idempotency key, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 256 << 10;
/// Writes with an idempotency key that are remembered, and for how long, in milliseconds.
pub const RECEIPTS_MAX: u64 = 100_000;
/// See [`RECEIPTS_MAX`].
pub const RECEIPTS_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most receipts that one fold forgets.
pub const RECEIPTS_FORGOTTEN_PER_FOLD_MAX: usize = 8_192;
/// Longest time that a request waits for what its session has seen and for acknowledgements, in milliseconds.
pub const SESSION_WAIT_MS_MAX: u64 = 60_000;
/// Most writes that wait for other datacenters' acknowledgements. One too many is answered with what is known by then,
/// so that a datacenter that is cut off does not take the room of all other requests.
pub const ACKNOWLEDGEMENTS_WAITING_MAX: usize = 8_192;
/// Most origins of which one peer is told each step at once, since somebody there waits; of others it hears a little
/// later.
pub const AWAITED_MAX: usize = 1_024;
/// Most branches of a document's history that a write on top of an old version leaves open.
pub const HEADS_MAX: usize = 16;
/// Most nodes of a summary that are looked into at once; what else differs is found by the next comparison.
pub const NODES_MAX: usize = 32_768;
/// Most operations in a document that is given whole by a peer.
pub const DOCUMENT_OPS_MAX: u64 = 4_000_000;
/// Most digests in one message of a comparison.
pub const DIGESTS_MAX: usize = 4 * NODES_MAX;
/// Most documents of one comparison for which what is missing can't be told from sums.
pub const UNCLEAR_MAX: usize = 4_096;
/// Most documents that are named when what a repair has brought becomes visible; of more it is only said that there are.
pub const ARRIVED_KEYS_MAX: usize = 4_096;
/// Most comparisons that are answered at once.
pub const COMPARISONS_MAX: usize = 8;
/// Most changes of a namespace during one comparison; past it the comparison is begun anew.
pub const CHANGES_MEANWHILE_MAX: usize = 1 << 20;
/// Documents that are looked at in one go while some are looked for.
pub const DOCUMENTS_LOOKED_AT: usize = 2_048;
/// Bytes of documents in one message of a repair, about: both ends look at each document, and whoever writes there meanwhile waits for as long
/// as that takes.
pub const GIVEN_BYTES: usize = 32 << 10;
/// Of documents with more bytes than this the changes go by themselves.
pub const GIVEN_AT_ONCE_BYTES_MAX: usize = 128 << 10;
/// Bytes of documents on their way to a peer and not durable there.
pub const GIVEN_WINDOW_BYTES: usize = 1 << 20;
/// Larger documents are not given whole but change by change.
pub const WHOLE_BYTES_MAX: usize = 2 << 20;
/// Recent changes by which a summary can be brought back to an earlier frontier.
pub const RECENT_TERMS_MAX: usize = 1 << 16;
