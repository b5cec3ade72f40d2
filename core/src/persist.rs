//! The storage seam: what the replica asks of a store, as values.
//!
//! Persistence is an effect. The replica hands out a [`Commit`] and goes on; only when the driver
//! answers that the commit's ticket is durable does it acknowledge, show or send what is in it. The
//! store sees positions, addresses and bytes; it knows no batch or peer.
//!
//! There are two streams to a store, which never wait for each other. **Commits** append to the log: they are on the
//! way of every write. **Folds** follow behind: they move changes from the log to the documents, sorted, many at a
//! time, and then let the log go.
//!
//! A store's obligations:
//! * commits become durable in ticket order; a commit is applied as a whole or not at all;
//! * what was reported durable survives any crash; what was not may or may not be there;
//! * a fold is applied as a whole or not at all, and is durable when it is reported done;
//! * a fetch sees every commit and every fold that was reported before the fetch was issued;
//! * nothing is ever given out that is not what was written: damage is an error that names what is lost;
//! * on opening it reports what it holds as a [`Recovery`].

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

pub use crate::summary::Place;
use crate::{DocumentId, Incarnation, Key, Lsn, Namespace};

/// Names one commit; the replica numbers them 1, 2, 3 in the order in which it hands them out. 0 comes before all.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Names one fold, in the same manner. There is never more than one under way.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FoldId(pub u64);

/// One record of the commit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Where it goes. Records arrive in rising order, without gaps.
    pub lsn: Lsn,
    /// One batch in its encoded form.
    pub bytes: Bytes,
}

/// Things to make durable together, on the way of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// What the driver reports when it is durable.
    pub ticket: Ticket,
    /// Records to append to the log.
    pub log: Vec<LogRecord>,
    /// A new incarnation, in place of the one before.
    pub incarnation: Option<Incarnation>,
}

/// A document as the store keeps it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct StoredDocument {
    /// Its compacted state; empty if it was never compacted.
    pub state: Bytes,
    /// Changes that the state lacks, in log order. Some of them may be in the state all the same.
    pub changes: Vec<Bytes>,
    /// False for a deleted document: kept for its history, left out of listings. None: whoever wants to know has
    /// to load it.
    pub present: Option<bool>,
    /// The sum over the changes in the state, as whoever compacted it has said; the changes beside it are not counted. None: whoever
    /// wants to know has to load it.
    pub sum: Option<u64>,
}

impl StoredDocument {
    /// About how many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let changes: usize = self.changes.iter().map(|change| change.len() + 8).sum();
        self.state.len() + changes + 32
    }
}

/// Makes a document's state of its state and the changes since: [`crate::compact`]. The store calls it on its own
/// thread, where it has the bytes in hand; it knows nothing of what they mean.
pub type Compact = fn(&StoredDocument) -> Result<StoredDocument, String>;

/// Changes of one document on their way from the log to the document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentFold {
    /// Which.
    pub id: DocumentId,
    /// What is added to it, in log order.
    pub changes: Vec<Bytes>,
    /// See [`StoredDocument::present`].
    pub present: Option<bool>,
}

/// From where replay starts, and what the replica knew there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Every record before this one is contained in the stored documents and receipts.
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
    /// Of those at the old end of the log, none written before this (milliseconds since 1970),
    pub not_before_ms: u64,
    /// unless they are at this position of the log or after it: somebody who may ask for the same write has not heard
    /// of it yet.
    pub stable_before: Lsn,
}

/// What is written behind the log, as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fold {
    /// What the driver reports when it is done.
    pub id: FoldId,
    /// By rising id, each document once.
    pub documents: Vec<DocumentFold>,
    /// Whether there is time to compact every document that is touched. If not, the store compacts those alone
    /// whose changes have become many.
    pub compact: bool,
    /// Receipts to remember, each in place of one with the same key.
    pub receipts: Vec<StoredReceipt>,
    /// Forget the oldest receipts until this holds, those of this fold counted. At most
    /// [`RECEIPTS_FORGOTTEN_PER_FOLD_MAX`](crate::limits::RECEIPTS_FORGOTTEN_PER_FOLD_MAX); the replica asks again.
    pub retain_receipts: Option<Retention>,
    /// A new checkpoint, in place of the one before.
    pub checkpoint: Option<Checkpoint>,
    /// Records before this one are of no more use once the rest of the fold is durable. Never after `replay_from`
    /// of the newest checkpoint.
    pub release_before: Option<Lsn>,
    /// Documents that take the place of everything in a range that can't be read.
    pub repair: Option<Repair>,
}

/// A run of documents, by namespace and then key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DocumentRange {
    /// The first that may be in it; none: from the beginning.
    pub from: Option<DocumentId>,
    /// The first after it; none: to the end.
    pub before: Option<DocumentId>,
}

impl DocumentRange {
    /// Whether a document lies in it.
    #[must_use]
    pub fn contains(&self, id: &DocumentId) -> bool {
        self.from.as_ref().is_none_or(|from| id >= from)
            && self.before.as_ref().is_none_or(|before| id < before)
    }
}

/// New content for a range of documents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repair {
    /// As the store has named it in a [`StoreError::Damaged`].
    pub range: DocumentRange,
    /// All that is in it, by rising id.
    pub documents: Vec<(DocumentId, StoredDocument)>,
}

impl Commit {
    /// One that carries nothing yet.
    #[must_use]
    pub fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            log: Vec::new(),
            incarnation: None,
        }
    }

    /// About how many bytes it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let log: usize = self.log.iter().map(|record| record.bytes.len() + 24).sum();
        log + 32
    }
}

impl Fold {
    /// One that carries nothing yet.
    #[must_use]
    pub fn new(id: FoldId) -> Self {
        Self {
            id,
            documents: Vec::new(),
            compact: false,
            receipts: Vec::new(),
            retain_receipts: None,
            checkpoint: None,
            release_before: None,
            repair: None,
        }
    }
}

/// A question to the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetch {
    /// One document.
    Document(DocumentId),
    /// Documents of a namespace in key order (bytewise), deleted ones included.
    Page {
        /// The namespace.
        namespace: Namespace,
        /// Only keys that begin with this; may be empty.
        prefix: String,
        /// Only keys after this one.
        after: Option<Key>,
        /// Documents at most.
        limit: usize,
        /// Stop once the documents add up to this many bytes; at least one is given when there is one.
        bytes_max: usize,
        /// Whether content is wanted. If not, documents of known presence come without any.
        values: bool,
    },
    /// Documents of any namespaces, by rising id, with all their content.
    Range {
        /// Which.
        range: DocumentRange,
        /// Stop once the documents add up to this many bytes; at least one is given when there is one.
        bytes_max: usize,
    },
    /// Sums of documents by rising id, without their states where those are all there is and their sums are known.
    Sums {
        /// Where to begin.
        from: Bound<DocumentId>,
        /// Stop once so many documents have been looked at.
        limit: usize,
    },
    /// Documents of a namespace whose places are among some, in key order, with all their content.
    Picked {
        /// The namespace.
        namespace: Namespace,
        /// Which; none: every one.
        places: Option<Arc<BTreeSet<Place>>>,
        /// Only keys after this one.
        after: Option<Key>,
        /// Stop once so many documents have been looked at,
        limit: usize,
        /// or once those that were found add up to this many bytes.
        bytes_max: usize,
    },
    /// The receipt under a key.
    Receipt(ReceiptKey),
    /// Receipts in an order of the store's own.
    Receipts {
        /// As an answer gave it; empty: from the beginning.
        from: Vec<u8>,
        /// Stop once they add up to this many bytes.
        bytes_max: usize,
    },
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
    /// Some of what was asked for.
    Page {
        /// In key order.
        documents: Vec<(Key, StoredDocument)>,
        /// Whether there may be more after the last of them.
        more: bool,
    },
    /// Some of what was asked for.
    Range {
        /// By rising id.
        documents: Vec<(DocumentId, StoredDocument)>,
        /// Whether there may be more after the last of them.
        more: bool,
    },
    /// Some of what was asked for.
    Sums {
        /// By rising id.
        documents: Vec<(DocumentId, StoredDocument)>,
        /// Whether there may be more after the last of them.
        more: bool,
    },
    /// Some of what was asked for.
    Picked {
        /// In key order.
        documents: Vec<(Key, StoredDocument)>,
        /// The last key that was looked at, if there may be more after it.
        more_after: Option<Key>,
    },
    /// Absent when there is none.
    Receipt(Option<StoredReceipt>),
    /// Some of what was asked for.
    Receipts {
        /// Each once.
        receipts: Vec<StoredReceipt>,
        /// Where to go on, if there may be more.
        next: Option<Vec<u8>>,
    },
    /// In rising order. None means that the log ends before the position. A gap means that the records there have
    /// been released (at the front) or can't be read.
    Log(Vec<LogRecord>),
}

/// Why a store did not answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// What is stored is not what was written. Everything else can still be read.
    Damaged {
        /// Which documents can't be read, if it concerns documents.
        range: Option<DocumentRange>,
        /// For people.
        what: String,
    },
    /// The disk has no room. Nothing of what was asked was done, and it may be asked again.
    Full(String),
    /// The disk or the engine failed; whether what was asked was done shows when the store is opened again.
    Failed(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { what, .. } => write!(f, "damaged: {what}"),
            Self::Full(why) => write!(f, "the disk is full: {why}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
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
    /// The position of the first record that the log still has, if it has any.
    pub log_first: Option<Lsn>,
}

/// Whether a store can prove that it continues the history it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// The store was empty.
    New,
    /// Same medium as before: the incarnation goes on.
    Proven,
    /// Another medium (restored from a backup, copied, or the machine has restarted since), so what
    /// was written after the copy was taken may exist elsewhere; or records of the log are lost: a new incarnation.
    Broken,
}
