//! The storage seam: what the replica asks of a store, as values.
//!
//! Persistence is an effect. The replica hands out a [`Commit`] and goes on; only when the driver
//! answers that the commit's ticket is durable does it acknowledge, show or send what is in it. The
//! store sees positions, addresses and bytes; it knows no document, batch or peer.
//!
//! A store's obligations:
//! * commits become durable in ticket order; a commit is applied as a whole or not at all;
//! * what was reported durable survives any crash; what was not may or may not be there;
//! * a fetch sees every commit that was reported durable before the fetch was issued;
//! * on opening it reports what it holds as a [`Recovery`].

use bytes::Bytes;

use crate::{DocumentId, Incarnation, Key, Lsn, Namespace};

/// Names one commit; the replica numbers them 1, 2, 3 in the order in which it hands them out. 0 comes before all.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// One record of the commit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Where it goes. Records arrive in rising order, without gaps.
    pub lsn: Lsn,
    /// One batch in its encoded form.
    pub bytes: Bytes,
}

/// A document's state as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredDocument {
    /// The compacted document.
    pub state: Bytes,
    /// False for a deleted document: kept for its history, left out of listings.
    pub present: bool,
}

/// From where replay starts, and what the replica knew there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Every record before this one is contained in the stored documents.
    pub replay_from: Lsn,
    /// The replica's own summary (frontiers, log index), opaque to the store.
    pub state: Bytes,
}

/// What is remembered of a write with an idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredReceipt {
    /// By what it is looked up; unique.
    pub key: ReceiptKey,
    /// The record of the write; what is forgotten first has the lowest.
    pub lsn: Lsn,
    /// When it was written, by the writer's wall clock, in milliseconds since 1970; at the latest when it came
    /// here.
    pub time_ms: u64,
    /// The replica's own record of the answer, opaque to the store.
    pub bytes: Bytes,
}

/// A hash over namespace and idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReceiptKey(pub [u8; 16]);

/// Which receipts are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// At most so many, the newest by position in the log.
    pub count_max: u64,
    /// Of those at the old end of the log, none written before this (milliseconds since 1970).
    pub not_before_ms: u64,
}

/// Things to make durable together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// What the driver reports when it is durable.
    pub ticket: Ticket,
    /// Records to append to the log.
    pub log: Vec<LogRecord>,
    /// Document states to write, each in place of the one before.
    pub documents: Vec<(DocumentId, StoredDocument)>,
    /// A new checkpoint, in place of the one before.
    pub checkpoint: Option<Checkpoint>,
    /// A new incarnation, in place of the one before.
    pub incarnation: Option<Incarnation>,
    /// Receipts to remember, each in place of one with the same key.
    pub receipts: Vec<StoredReceipt>,
    /// Forget the oldest receipts until this holds, those of this commit counted. At most
    /// [`RECEIPTS_FORGOTTEN_PER_COMMIT_MAX`](crate::limits::RECEIPTS_FORGOTTEN_PER_COMMIT_MAX); the replica asks again.
    pub retain_receipts: Option<Retention>,
}

impl Commit {
    /// One that carries nothing yet.
    #[must_use]
    pub fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            log: Vec::new(),
            documents: Vec::new(),
            checkpoint: None,
            incarnation: None,
            receipts: Vec::new(),
            retain_receipts: None,
        }
    }

    /// About how many bytes it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let log: usize = self.log.iter().map(|record| record.bytes.len() + 16).sum();
        let documents: usize = self
            .documents
            .iter()
            .map(|(_, stored)| stored.state.len() + 64)
            .sum();
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.state.len());
        let receipts: usize = self
            .receipts
            .iter()
            .map(|receipt| receipt.bytes.len() + 48)
            .sum();
        log + documents + checkpoint + receipts + 32
    }
}

/// A question to the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetch {
    /// One document's stored state.
    Document(DocumentId),
    /// Stored documents of a namespace in key order (bytewise), deleted ones included.
    Page {
        /// The namespace.
        namespace: Namespace,
        /// Only keys that begin with this; may be empty.
        prefix: String,
        /// Only keys after this one.
        after: Option<Key>,
        /// Documents at most.
        limit: usize,
    },
    /// The receipt under a key.
    Receipt(ReceiptKey),
    /// Log records from a position on, in order.
    Log {
        /// The first one wanted.
        from: Lsn,
        /// Stop once the records add up to this many bytes; at least one is given when there is one.
        bytes_max: usize,
    },
}

/// The store's answer to a [`Fetch`], variant by variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// Absent when the store has never held it.
    Document(Option<StoredDocument>),
    /// Fewer than the limit means that there are no more.
    Page(Vec<(Key, StoredDocument)>),
    /// Absent when there is none.
    Receipt(Option<StoredReceipt>),
    /// None means that the log ends before the position.
    Log(Vec<LogRecord>),
}

/// What a store holds when it is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// Under which the replica writes from now on.
    pub incarnation: Incarnation,
    /// Whether `incarnation` is new, and why.
    pub continuity: Continuity,
    /// The last checkpoint, if there was one.
    pub checkpoint: Option<Checkpoint>,
    /// The position of the last record in the log, if it has any.
    pub log_end: Option<Lsn>,
}

/// Whether a store can prove that it continues the history it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// The store was empty.
    New,
    /// Same medium as before: the incarnation goes on.
    Proven,
    /// Another medium (restored from a backup, copied, or the machine has restarted since), so what
    /// was written after the copy was taken may exist elsewhere: a new incarnation.
    Broken,
}
