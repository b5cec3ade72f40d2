//! What an operator should know, and callers of requests that were not carried out.

use serde::Serialize;

use crate::persist::DocumentRange;
use crate::{
    Datacenters, DocumentId, EditError, Incarnation, Key, Lsn, Namespace, Origin, ReplicaId, Seq,
    Version,
};

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
    /// A peer speaks no protocol that is spoken here, and was disconnected.
    OtherProtocol {
        /// Whose.
        peer: ReplicaId,
        /// What both speak, and which end to update.
        reason: String,
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
    /// Records of the log can't be read, and batches of our own came after them. What may be in no other replica was
    /// written anew, under the new incarnation.
    RecordsLost {
        /// Batches that were written anew.
        rewritten: u64,
        /// Batches that wait for what they build on, should others have it.
        waiting: u64,
        /// Batches that were given up, since nobody has what they build on. Others may have them.
        lost: u64,
    },
    /// The disk has no room: writes are refused until it has.
    DiskFull {
        /// What the system said.
        why: String,
    },
    /// The disk has room again.
    DiskHasRoom,
    /// Documents behind the log could not be written. It is tried again.
    FoldFailed {
        /// Why.
        why: String,
    },
    /// Documents can't be read. They are asked for elsewhere.
    DocumentsDamaged {
        /// Which.
        range: DocumentRange,
        /// What the store found.
        what: String,
    },
    /// Documents that could not be read have come from elsewhere.
    DocumentsRepaired {
        /// Which.
        range: DocumentRange,
        /// From whom.
        peer: ReplicaId,
        /// How many.
        documents: usize,
    },
    /// At one and the same frontier a peer does not hold the same: something was lost or is broken. It is being looked for.
    RootsDiffer {
        /// Who.
        peer: ReplicaId,
        /// Where.
        namespace: Namespace,
    },
    /// What was missing here has come from a peer.
    NamespaceRepaired {
        /// From whom.
        peer: ReplicaId,
        /// Where.
        namespace: Namespace,
        /// Documents that something was missing of.
        documents: u64,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// What a peer says of its documents can't be true; nothing of it was let in.
    RepairRefused {
        /// Who.
        peer: ReplicaId,
        /// Where.
        namespace: Namespace,
        /// Why.
        why: String,
    },
    /// A peer lacks batches that the log does not hold any more. It is told, and gets what it lacks by a repair.
    LogTooShort {
        /// Who.
        peer: ReplicaId,
        /// Where.
        namespace: Namespace,
        /// Whose batches.
        origin: Origin,
        /// The first that it lacks.
        seq: Seq,
    },
    /// A namespace is in other datacenters than before.
    Placed {
        /// Which.
        namespace: Namespace,
        /// Where; none: in all there are.
        datacenters: Option<Datacenters>,
        /// Whether this replica's is one of them.
        here: bool,
    },
    /// Those who are to hold a namespace keep all of it, so nothing of it is here any more.
    LetGo {
        /// Which.
        namespace: Namespace,
    },
    /// A member was set aside: nothing is kept and nobody waits for it any more.
    MemberSetAside {
        /// Who.
        peer: ReplicaId,
        /// Its name; empty if it never said so.
        name: String,
        /// How long it has been away, in milliseconds.
        away_ms: u64,
        /// By the policy; otherwise somebody asked for it.
        by_policy: bool,
    },
    /// A member that was set aside counts again.
    MemberWelcomed {
        /// Who.
        peer: ReplicaId,
        /// Its name; empty if it never said so.
        name: String,
        /// Because it has come back and holds what it lacked; otherwise somebody asked for it.
        caught_up: bool,
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
    /// The disk has no room. Nothing was written.
    #[error("the disk is full ({why}): nothing was written; make room, and try again")]
    Full {
        /// What the system said.
        why: String,
    },
    /// What is stored of the document can't be read.
    #[error("{what}; it is being fetched from another datacenter: try again shortly")]
    Damaged {
        /// What the store found.
        what: String,
    },
    /// The change feed's position is older than the log.
    #[error("the changes after position {} are not in the log any more, which begins at {}: read the documents, then follow from there", .after.0, .first.0)]
    Released {
        /// What was asked for.
        after: Lsn,
        /// Where the log begins now.
        first: Lsn,
    },
    /// This replica has not seen what the caller has, and did not come to see it in time.
    #[error("this replica is behind what the session has seen: {}; try again shortly, or at the datacenter that the session came from", missing_text(.missing))]
    Behind {
        /// What is missing here.
        missing: Vec<Missing>,
    },
    /// The summaries are not built yet after a start.
    #[error("what is stored is still being summed up after a start; try again shortly")]
    NotReady,
    /// The idempotency key came with another write before. Nothing was written.
    #[error("this idempotency key was used for another write; use a new key for each write")]
    KeyReused,
    /// A version that this replica does not know of.
    #[error("version {version} is not known here; ask for the document's versions")]
    UnknownVersion {
        /// The version.
        version: Version,
    },
    /// One write of several is refused, and with it all. Nothing was written.
    #[error("write {index} ({key}): {error}")]
    OneOf {
        /// Which, from 0.
        index: usize,
        /// Its document.
        key: Key,
        /// Why.
        error: Box<RequestError>,
    },
    /// More documents in one write than may be, or none.
    #[error("{count} documents in one write: it may have 1 to {max}")]
    Count {
        /// How many.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// Conflicts were asked for at a version.
    #[error(
        "conflicts are those of a document as it is: leave out the version, or don't ask for conflicts"
    )]
    ConflictsThen,
    /// A session that has seen more than its token can say. Nothing was written.
    #[error(
        "this session has seen so many namespaces and writers that its token would have {bytes} bytes, and it may have {max}: begin a new session"
    )]
    SessionTooLong {
        /// Bytes that the token would have.
        bytes: usize,
        /// Allowed.
        max: usize,
    },
    /// Somebody is to be set aside who was never met, or this replica itself.
    #[error(
        "{member} is no other member of this cluster, as far as this replica knows: it has met {met} others"
    )]
    NoMember {
        /// Who.
        member: ReplicaId,
        /// Whom it knows.
        met: usize,
    },
    /// It was done, and a crash may undo it.
    #[error(
        "it is done, but could not be written down ({why}): after a restart of this node, look whether it still is"
    )]
    NotWrittenDown {
        /// What the store said.
        why: String,
    },
    /// The namespace is not in this replica's datacenter. Nothing was read or written.
    #[error("{namespace} is not placed here: it is in {}; ask there", .datacenters.join(", "))]
    NotPlacedHere {
        /// Which.
        namespace: Namespace,
        /// Where it is.
        datacenters: Vec<String>,
    },
    /// The namespace was elsewhere, and is not all here yet. Nothing was read or written.
    #[error("{namespace} has been placed here again and is still coming; try again shortly")]
    MovingIn {
        /// Which.
        namespace: Namespace,
    },
    /// A namespace is to be in datacenters that nobody is known to be in. Nothing was changed.
    #[error(
        "no member is known to be in {}; there are members in {}. to place it there all the same, force it",
        .strange.join(", "), .known.join(", ")
    )]
    NoDatacenter {
        /// Those.
        strange: Vec<String>,
        /// Where members are.
        known: Vec<String>,
    },
    /// A listing asks for more than a page holds.
    #[error("limit: {asked} is not between 1 and {max}")]
    Limit {
        /// Asked for.
        asked: usize,
        /// Allowed.
        max: usize,
    },
}

/// How far this replica is behind one origin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Missing {
    /// Where.
    pub namespace: Namespace,
    /// The writer, if it is known here.
    pub replica: Option<ReplicaId>,
    /// The writer's name, if it is known here.
    pub name: Option<String>,
    /// The writer's datacenter, if it is known here.
    pub datacenter: Option<String>,
    /// Batches of it that the caller has seen and this replica has not.
    pub batches: u64,
}

fn missing_text(missing: &[Missing]) -> String {
    let each = missing.iter().map(|missing| {
        let of = match (&missing.name, &missing.replica) {
            (Some(name), _) => name.clone(),
            (None, Some(replica)) => format!("replica {replica}"),
            (None, None) => "a replica unknown here".to_owned(),
        };
        let (count, namespace) = (missing.batches, &missing.namespace);
        let batches = if count == 1 { "batch" } else { "batches" };
        format!("{count} {batches} of {of} in {namespace}")
    });
    each.collect::<Vec<_>>().join(", ")
}
