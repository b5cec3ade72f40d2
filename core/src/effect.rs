//! What goes into a replica and what comes out of it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::persist::{Commit, Fetch, Fetched, Ticket};
use crate::{
    DocumentId, EditError, Guard, Incarnation, Intent, Key, Lsn, Namespace, Origin, ReplicaId, Seq,
    Version,
};

/// The time at which an input arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Never goes back; for timeouts. Milliseconds from any start.
    pub mono_ms: u64,
    /// Milliseconds since 1970; may jump. For people and lag figures only.
    pub wall_ms: u64,
}

/// Names a request; the driver's to choose, and it comes back with the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Names a connection to a peer; the driver's to choose, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct LinkId(pub u64);

/// Names a fetch; comes back with its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub u64);

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A caller asks.
    Request {
        /// Comes back with the answer.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// A connection to an authenticated peer is up.
    LinkUp {
        /// Its name.
        link: LinkId,
        /// Who is at the other end.
        peer: ReplicaId,
    },
    /// It is down; nothing comes of it any more.
    LinkDown {
        /// Its name.
        link: LinkId,
    },
    /// A whole frame came in.
    Frame {
        /// From where.
        link: LinkId,
        /// Its bytes; not believed.
        bytes: Bytes,
    },
    /// Frames that were given out have left the driver's queue.
    Sent {
        /// To where.
        link: LinkId,
        /// Their bytes.
        bytes: usize,
    },
    /// All commits up to this one are durable.
    Persisted {
        /// The last of them.
        through: Ticket,
    },
    /// The store takes no more commits. The replica stops.
    PersistFailed {
        /// Why.
        error: String,
    },
    /// The answer to a fetch.
    Fetched {
        /// Which.
        id: FetchId,
        /// What the store says.
        result: Result<Fetched, String>,
    },
    /// Time has passed.
    Tick,
}

/// Something for the driver to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Make this durable, in order, and say so.
    Persist(Commit),
    /// Ask the store.
    Fetch {
        /// Comes back with the answer.
        id: FetchId,
        /// What.
        fetch: Fetch,
    },
    /// Send a frame.
    Send {
        /// To where.
        link: LinkId,
        /// Its bytes.
        frame: Bytes,
    },
    /// Close a connection.
    Disconnect {
        /// Which.
        link: LinkId,
        /// Why, for both ends' logs.
        reason: String,
    },
    /// Answer a caller.
    Reply {
        /// Who asked.
        id: RequestId,
        /// The answer.
        reply: Result<Reply, RequestError>,
    },
    /// A change became visible here.
    Changed(Change),
    /// Something that an operator should know.
    Notice(Notice),
}

/// What a caller can ask.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Read one document.
    Read {
        /// Which.
        document: DocumentId,
    },
    /// Write one document.
    Write {
        /// Which.
        document: DocumentId,
        /// What to do to it.
        intent: Intent,
        /// What must hold of it here first.
        guard: Option<Guard>,
    },
    /// List documents in key order (bytewise).
    Scan {
        /// Where.
        namespace: Namespace,
        /// Only keys that begin with this.
        prefix: String,
        /// Only keys after this one.
        after: Option<Key>,
        /// Documents at most.
        limit: usize,
        /// Whether to read them, too.
        values: bool,
    },
    /// Changes that became visible after a position of this replica's log.
    Changes {
        /// The position; 0 for all.
        after: Lsn,
    },
}

/// The answer to a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// To a read: the document, if it is there.
    Document(Option<Snapshot>),
    /// To a write.
    Written(Written),
    /// To a scan.
    Page(Page),
    /// To a question for changes: some of them, and the position to go on from. The same position as asked
    /// means that there are no more now.
    Changes {
        /// The changes in order.
        changes: Vec<Change>,
        /// From where to go on.
        next: Lsn,
    },
}

/// A document at one version.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Snapshot {
    /// The version.
    pub version: Version,
    /// Its JSON reading, an object with its keys in order.
    pub value: Value,
}

/// What a write did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Written {
    /// The version that it led to.
    pub version: Version,
    /// False if there was nothing to change.
    pub changed: bool,
    /// True if the document was not there before.
    pub created: bool,
    /// True if the document is there now.
    pub present: bool,
}

/// A part of a listing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Page {
    /// The documents, in key order.
    pub documents: Vec<Listed>,
    /// Give this as `after` to go on; none at the end.
    pub next: Option<Key>,
}

/// One document in a listing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its content, if it was asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

/// One document's change, when it became visible.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// Where it stands in this replica's log.
    pub lsn: Lsn,
    /// Which document.
    pub document: DocumentId,
    /// Who wrote it.
    #[serde(skip)]
    pub origin: Origin,
    /// Which of the writer's batches it is part of.
    #[serde(skip)]
    pub seq: Seq,
    /// The writer's wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Whether it was written here.
    pub local: bool,
}

/// Something that an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A change was not let into its document. It stays in the log; every replica decides alike.
    ChangeRefused {
        /// The document.
        document: DocumentId,
        /// BLAKE3 of the change's bytes.
        hash: [u8; 32],
        /// Why.
        reason: String,
    },
    /// A peer holds more of our history than we do: the store went back in time. We write as another
    /// origin from now on.
    HistoryAhead {
        /// Who told us.
        peer: ReplicaId,
        /// The new incarnation.
        incarnation: Incarnation,
    },
    /// A peer sent what can't be read, and was disconnected.
    BadFrame {
        /// Who.
        peer: ReplicaId,
        /// Why.
        reason: String,
    },
    /// A record of our own log can't be read.
    BadRecord {
        /// Where.
        lsn: Lsn,
        /// Why.
        reason: String,
    },
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The edit does not fit the document. Nothing was written.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The guard does not hold. Nothing was written.
    #[error("the document is not as the request requires: it is {}", .version.as_ref().map_or("absent".to_owned(), |v| format!("at version {v}")))]
    Guard {
        /// What it is at here; none: it is not there.
        version: Option<Version>,
    },
    /// Too many requests are waiting. Nothing was written.
    #[error("too many requests are waiting; try again shortly")]
    Busy,
    /// The store failed. Whether this write survives a restart is not known.
    #[error("the store failed: {0}; restart the node once the cause is mended")]
    Store(String),
    /// A listing asks for more than a page holds.
    #[error("limit: {asked} is not between 1 and {max}")]
    Limit {
        /// Asked for.
        asked: usize,
        /// Allowed.
        max: usize,
    },
}
