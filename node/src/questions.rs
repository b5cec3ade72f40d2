//! Questions to the replica, and what to make of the answers.

use anabranch_core::{
    Ack, Acknowledged, Conflict, DocumentId, Guard, Intent, Key, Namespace, Page, PatchOperation,
    Reply, Request, RequestError, Snapshot, Verified, Versions, Write, Written,
};

use crate::{Error, Scan};

pub(crate) fn read(document: DocumentId) -> Request {
    Request::Read {
        document,
        at: None,
        conflicts: false,
    }
}

pub(crate) fn write(document: DocumentId, intent: Intent, guard: Option<Guard>) -> Request {
    let DocumentId { namespace, key } = document;
    let write = Write {
        key,
        intent,
        guard,
        base: None,
    };
    batch(namespace, vec![write])
}

pub(crate) fn batch(namespace: Namespace, writes: Vec<Write>) -> Request {
    batch_for(Ack::Local, namespace, writes)
}

pub(crate) fn scan(namespace: &str, scan: Scan) -> Result<Request, Error> {
    let Scan {
        prefix,
        after,
        limit,
        values,
    } = scan;
    Ok(Request::Scan {
        namespace: Namespace::new(namespace)?,
        prefix,
        after: after.as_deref().map(Key::new).transpose()?,
        limit,
        values,
    })
}

pub(crate) fn document(reply: Reply) -> Result<(Option<Snapshot>, Vec<Conflict>), Error> {
    match reply {
        Reply::Document {
            snapshot,
            conflicts,
        } => Ok((snapshot, conflicts)),
        _ => Err(unexpected()),
    }
}

/// A write of several that waits for other datacenters.
pub(crate) fn batch_for(ack: Ack, namespace: Namespace, writes: Vec<Write>) -> Request {
    Request::Write {
        namespace,
        writes,
        idempotency: None,
        ack,
    }
}

/// What became of it, and who holds it; none: nobody was waited for.
pub(crate) fn all_acknowledged(
    reply: Reply,
) -> Result<(Vec<Written>, Option<Acknowledged>), Error> {
    match reply {
        Reply::Written {
            documents,
            acknowledged,
            ..
        } => Ok((documents, acknowledged)),
        _ => Err(unexpected()),
    }
}

pub(crate) fn is_set_aside(reply: &Reply) -> Result<bool, Error> {
    match reply {
        Reply::SetAside { changed } => Ok(*changed),
        _ => Err(unexpected()),
    }
}

pub(crate) fn is_placed(reply: &Reply) -> Result<bool, Error> {
    match reply {
        Reply::Placed { changed } => Ok(*changed),
        _ => Err(unexpected()),
    }
}

pub(crate) fn all_written(reply: Reply) -> Result<Vec<Written>, Error> {
    match reply {
        Reply::Written { documents, .. } => Ok(documents),
        _ => Err(unexpected()),
    }
}

pub(crate) fn written(reply: Reply) -> Result<Written, Error> {
    all_written(reply)?.pop().ok_or_else(unexpected)
}

pub(crate) fn page(reply: Reply) -> Result<Page, Error> {
    match reply {
        Reply::Page(page) => Ok(page),
        _ => Err(unexpected()),
    }
}

pub(crate) fn verified(reply: Reply) -> Result<Verified, Error> {
    match reply {
        Reply::Verified(verified) => Ok(verified),
        _ => Err(unexpected()),
    }
}

pub(crate) fn versions(reply: Reply) -> Result<Versions, Error> {
    match reply {
        Reply::Versions(versions) => Ok(versions),
        _ => Err(unexpected()),
    }
}

pub(crate) fn diff(reply: Reply) -> Result<Vec<PatchOperation>, Error> {
    match reply {
        Reply::Diff(operations) => Ok(operations),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::Request(RequestError::Store(
        "the replica answered another question; please report this".to_owned(),
    ))
}
