//! What goes into a replica and what comes out of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

pub(crate) use crate::ack::{Ack, Acknowledged};
pub use crate::notice::{Missing, Notice, RequestError};
use crate::persist::{Commit, DocumentRange, Fetch, Fetched, Fold, FoldId, StoreError, Ticket};
use crate::{
    Datacenters, DocumentId, Guard, Intent, Key, Lsn, Namespace, Origin, PatchOperation, Path,
    ReplicaId, Seq, Token, Version,
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
        /// What the caller has seen already, here or elsewhere.
        session: Session,
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
    /// Commits that are not durable. After [`StoreError::Full`] nothing of them was done, and the replica takes
    /// back what they carried and goes on; after anything else it stops.
    PersistFailed {
        /// The first of them.
        from: Ticket,
        /// The last of them. Any later ones that build on them will fail, too.
        through: Ticket,
        /// Why.
        error: StoreError,
    },
    /// A fold is done, or was not done at all.
    Folded {
        /// Which.
        id: FoldId,
        /// What became of it.
        result: Result<(), StoreError>,
    },
    /// The answer to a fetch.
    Fetched {
        /// Which.
        id: FetchId,
        /// What the store says.
        result: Result<Fetched, StoreError>,
    },
    /// The store has found documents that can't be read, without being asked for them.
    Damaged {
        /// Which.
        range: DocumentRange,
        /// What it found; for people.
        what: String,
    },
    /// Time has passed.
    Tick,
}

/// Something for the driver to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Make this durable, in order, and say so.
    Persist(Commit),
    /// Write this behind the log, beside the commits, and say so.
    Fold(Fold),
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
        reply: Result<Answer, RequestError>,
    },
    /// A batch became visible here, whole.
    Visible(Visible),
    /// Something that an operator should know.
    Notice(Notice),
}

/// What a caller has seen, and how long it is willing to wait for a replica that has not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Session {
    /// What must be visible here before the request is carried out; of it, the namespace that the request
    /// is about.
    pub token: Token,
    /// How long to wait for other datacenters, in milliseconds from the request's arrival: for that, and then the
    /// answer is [`RequestError::Behind`]; and for the acknowledgements that a write asks for.
    pub wait_ms: u64,
}

/// What a caller can ask.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Read one document.
    Read {
        /// Which.
        document: DocumentId,
        /// As it was at this version; none: as it is.
        at: Option<Version>,
        /// Whether to look for values that lost against another, too. Only of the document as it is.
        conflicts: bool,
    },
    /// Write documents of one namespace: all that is asked, or nothing. It becomes one [`crate::Batch`].
    Write {
        /// Where.
        namespace: Namespace,
        /// What, in order. The same document may come more than once.
        writes: Vec<Write>,
        /// Lets the write be repeated without being done again.
        idempotency: Option<IdempotencyKey>,
        /// How many datacenters are to hold it before it is answered, if they come to in time.
        ack: Ack,
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
    /// A document's versions, newest first.
    Versions {
        /// Which document.
        document: DocumentId,
        /// Only those after this many of the newest.
        skip: usize,
        /// Versions at most.
        limit: usize,
    },
    /// What changed in a document from one version to another, as a JSON Patch.
    Diff {
        /// Which document.
        document: DocumentId,
        /// From.
        from: Version,
        /// To; none: as it is.
        to: Option<Version>,
    },
    /// Changes that became visible after a position of this replica's log.
    Changes {
        /// The position; 0 for all.
        after: Lsn,
        /// The namespace that is followed; none: all that are here. Others come, too; it is refused once this one is not placed here.
        namespace: Option<Namespace>,
    },
    /// Compare what all members hold of a namespace, and repair what differs.
    Verify {
        /// Which.
        namespace: Namespace,
    },
    /// Sets a member aside, so that nothing is kept and nobody waits for it any more, or counts it again. Answered
    /// once that outlives a crash.
    SetAside {
        /// Which.
        member: ReplicaId,
        /// Whether it is to be set aside.
        aside: bool,
    },
    /// Says in which datacenters a namespace is, to everybody. Answered once that outlives a crash here.
    Place {
        /// Which.
        namespace: Namespace,
        /// Where; none: in all there are.
        datacenters: Option<Datacenters>,
        /// Also in datacenters of which no member is known.
        force: bool,
    },
    /// What this replica's configuration says of where namespaces are, all of it. Where that is what it said the last time it changes
    /// nothing.
    Configure {
        /// By namespace.
        placements: BTreeMap<Namespace, Datacenters>,
    },
}

/// What to do to one document of a [`Request::Write`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Write {
    /// Which document.
    pub key: Key,
    /// What to do to it.
    pub intent: Intent,
    /// What must hold of it here first.
    pub guard: Option<Guard>,
    /// The version on which the edits are made; what was written since merges with them. None: the
    /// document as it is.
    pub base: Option<Version>,
}

/// A caller's name for one write, so that it can be repeated safely.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// When it is empty, over 255 bytes, or contains a control character.
    pub fn new(key: &str) -> Result<Self, crate::NameError> {
        crate::id::check(
            "idempotency key",
            key,
            crate::limits::IDEMPOTENCY_KEY_BYTES_MAX,
        )?;
        Ok(Self(key.to_owned()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An answer, and what the caller has seen with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The answer.
    pub reply: Reply,
    /// What came with the request, and what this answer shows. Hand it in with the next request, anywhere.
    pub token: Token,
}

/// The answer to a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// To a read: the document, if it is (or was, then) there.
    Document {
        /// What it reads.
        snapshot: Option<Snapshot>,
        /// Where values lost against others, if that was asked.
        conflicts: Vec<Conflict>,
    },
    /// To a write.
    Written {
        /// What became of each write, in the order in which they were asked for.
        documents: Vec<Written>,
        /// True if this is the answer to an earlier request with the same idempotency key.
        repeated: bool,
        /// Who holds it, if the caller waited for others than this replica.
        acknowledged: Option<Acknowledged>,
    },
    /// To a scan.
    Page(Page),
    /// To a question whether all hold the same.
    Verified(Verified),
    /// To a question for versions.
    Versions(Versions),
    /// To a question for differences: what makes the older of the two the newer.
    Diff(Vec<PatchOperation>),
    /// To a question for changes: some of them, whole batches, and the position to go on from. The same
    /// position as asked means that there are no more now.
    Changes {
        /// What became visible, in order.
        visible: Vec<Visible>,
        /// From where to go on.
        next: Lsn,
    },
    /// To a namespace's being placed.
    Placed {
        /// False if it was so already.
        changed: bool,
    },
    /// To a member's being set aside, or counted again.
    SetAside {
        /// False if it was so already.
        changed: bool,
    },
}

/// A place where values lost against another.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Conflict {
    /// The place.
    pub path: Path,
    /// What is read there.
    pub winner: Claim,
    /// What else was written there at the same time, and is still there.
    pub losers: Vec<Claim>,
}

/// A value that somebody wrote at a place.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Claim {
    /// Its JSON reading.
    pub value: Value,
    /// What it is: "a string", "a map", "a quantity" and so on, as errors name it.
    pub kind: &'static str,
    /// Who wrote it; for what several wrote together, the last of them.
    pub by: Author,
    /// When, by the writer's clock, in seconds since 1970.
    pub time_s: i64,
}

/// Who wrote something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Author {
    /// The actor as the document names it, in hexadecimal.
    pub actor: String,
    /// The replica, if the actor is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaId>,
    /// The replica's name, as far as it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its datacenter, as far as it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
}

/// A part of a document's history.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Versions {
    /// The versions, newest first; each comes before all that it followed.
    pub versions: Vec<VersionInfo>,
    /// Whether there are more.
    pub more: bool,
}

/// One step of a document's history.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct VersionInfo {
    /// The document as its writer saw it once this step was done.
    pub version: Version,
    /// The version on which it was made; several hashes where it brought branches together.
    pub base: Version,
    /// Who wrote it.
    pub by: Author,
    /// When, by the writer's clock, in seconds since 1970.
    pub time_s: i64,
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

/// One batch, when it became visible: all its documents at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Visible {
    /// Where it stands in this replica's log.
    pub lsn: Lsn,
    /// The namespace that it is a step in, also if it changed no document.
    pub namespace: Namespace,
    /// Who wrote it.
    pub origin: Origin,
    /// Which of the writer's batches it is.
    pub seq: Seq,
    /// The writer's wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Whether it was written here.
    pub local: bool,
    /// The documents that it changed; none for a write that changed nothing and is remembered only.
    pub documents: Vec<DocumentId>,
    /// If this is no batch but what a repair has brought, from many batches at once. Origin, number and time then mean
    /// nothing.
    pub repaired: Option<Repaired>,
}

/// See [`Visible::repaired`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repaired {
    /// Up to where each origin's batches are visible now, at least.
    pub positions: Vec<(Origin, Seq)>,
    /// Whether the documents that are named are all that changed. If not, any document of the namespace may have.
    pub whole: bool,
}

/// What members hold of a namespace, compared at what the one that was asked held when it was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verified {
    /// Which.
    pub namespace: Namespace,
    /// The root of the summary of the one that was asked, in hexadecimal.
    pub root: String,
    /// Documents there, deleted ones included.
    pub documents: u64,
    /// The others.
    pub peers: Vec<VerifiedPeer>,
}

/// One other member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VerifiedPeer {
    /// Who.
    pub replica: ReplicaId,
    /// Its name, if it is known.
    pub name: Option<String>,
    /// Its datacenter, if it is known.
    pub datacenter: Option<String>,
    /// How it compares.
    #[serde(flatten)]
    pub compared: Compared,
}

/// How a member compares with the one that was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Compared {
    /// It holds the same.
    Equal {
        /// Documents there.
        documents: u64,
    },
    /// It does not.
    Different {
        /// Documents there.
        documents: u64,
        /// What was missing here and has come from there, by key; none: that was still under way.
        repaired: Option<Vec<Key>>,
    },
    /// It did not come to hold as much in time, or can't tell.
    Unknown,
    /// It did not answer in time.
    Silent,
    /// There is no link to it.
    Away,
}
