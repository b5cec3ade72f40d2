//! A document's past: its versions, how it read at one of them, and writing on top of one.

use automerge::transaction::CommitOptions;
use automerge::{ActorId, ChangeHash};
use bytes::Bytes;
use serde_json::Value;

use super::difference;
use super::{Document, Failed, FailedOn, UnknownVersion, Version};
use crate::{
    Author, EditError, Intent, Origin, PatchOperation, RequestError, VersionInfo, Versions, limits,
};

/// An author of whom only the actor is known.
pub(super) fn unnamed(actor: String) -> Author {
    Author {
        actor,
        replica: None,
        name: None,
        datacenter: None,
    }
}

/// The actor of a write on top of an earlier version. automerge numbers each actor's changes along one line,
/// so a branch off it needs an actor of its own; it begins with the origin's.
fn branch(origin: &Origin, nonce: u64) -> ActorId {
    let mut actor = origin.tag().0.to_vec();
    actor.extend_from_slice(&nonce.to_be_bytes());
    ActorId::from(actor)
}

impl Document {
    fn heads(version: &Version) -> Vec<ChangeHash> {
        version.0.iter().map(|head| ChangeHash(*head)).collect()
    }

    /// The document as it was, to be written by another actor.
    fn at(&mut self, version: &Version, actor: ActorId) -> Result<Self, UnknownVersion> {
        let then = self.doc.fork_at(&Self::heads(version));
        Ok(Self {
            doc: then.map_err(|_| UnknownVersion)?.with_actor(actor),
            origin: self.origin,
            unburied: false,
            #[cfg(feature = "planted")]
            planted: self.planted,
        })
    }

    /// The JSON reading at an earlier version; none if the document was not there then.
    ///
    /// # Errors
    /// [`UnknownVersion`] when the document has never been at that version, as far as is known here.
    pub(crate) fn read_at(&mut self, version: &Version) -> Result<Option<Value>, UnknownVersion> {
        if self.version() == *version {
            return Ok(self.read());
        }
        Ok(self.at(version, branch(&self.origin, 0))?.read())
    }

    /// Its history, newest first. The authors' names are left out.
    pub(crate) fn versions(&mut self, skip: usize, limit: usize) -> Versions {
        let mut changes = self.doc.get_changes_meta(&[]);
        let more = changes.len() > skip.saturating_add(limit);
        changes.reverse();
        let sorted = |hashes: &[ChangeHash]| {
            let mut hashes: Vec<_> = hashes.iter().map(|ChangeHash(hash)| *hash).collect();
            hashes.sort_unstable();
            Version(hashes)
        };
        let step = |change: automerge::ChangeMetadata<'_>| VersionInfo {
            version: sorted(&[change.hash]),
            base: sorted(&change.deps),
            by: unnamed(change.actor.to_hex_string()),
            time_s: change.timestamp,
        };
        Versions {
            versions: changes
                .into_iter()
                .skip(skip)
                .take(limit)
                .map(step)
                .collect(),
            more,
        }
    }

    /// What makes the document as it was at one version what it was at another; none of the latter: what it
    /// is now.
    ///
    /// # Errors
    /// [`RequestError::UnknownVersion`] when it has never been at either.
    pub(crate) fn diff(
        &mut self,
        from: &Version,
        to: Option<&Version>,
    ) -> Result<Vec<PatchOperation>, RequestError> {
        let unknown = |version: &Version| RequestError::UnknownVersion {
            version: version.clone(),
        };
        let old = self.read_at(from).map_err(|UnknownVersion| unknown(from))?;
        let new = match to {
            None => self.read(),
            Some(to) => self.read_at(to).map_err(|UnknownVersion| unknown(to))?,
        };
        Ok(difference::patch(old.as_ref(), new.as_ref()))
    }

    /// Carries out one write on top of an earlier version; what was written since merges with it. `nonce`
    /// must differ from one such write to the next of an origin.
    ///
    /// # Errors
    /// As for [`Self::write`], and when the document has never been at that version.
    pub(crate) fn write_on(
        &mut self,
        base: &Version,
        intent: &Intent,
        time_s: i64,
        nonce: u64,
    ) -> Result<Vec<Bytes>, FailedOn> {
        let mut then = self
            .at(base, branch(&self.origin, nonce))
            .map_err(|UnknownVersion| FailedOn::UnknownVersion)?;
        let mut changes = then.write(intent, time_s).map_err(|failed| {
            // Only the branch is spoilt.
            FailedOn::Write(Failed {
                spoilt: false,
                ..failed
            })
        })?;
        if let Some(refusal) = self.absorb(&changes).into_iter().next() {
            return Err(FailedOn::Write(Failed {
                error: EditError::Internal(refusal.reason),
                spoilt: true,
            }));
        }
        changes.extend(self.join(time_s));
        Ok(changes)
    }

    /// A change that says nothing but that it follows all branches, once there are many: each is a part of the
    /// version, and of every later change's dependencies.
    fn join(&mut self, time_s: i64) -> Option<Bytes> {
        if self.doc.get_heads().len() <= limits::HEADS_MAX {
            return None;
        }
        let options = CommitOptions::default().with_time(time_s);
        let hash = self.doc.empty_change(options);
        let change = self.doc.get_change_by_hash(&hash)?;
        Some(Bytes::copy_from_slice(change.raw_bytes()))
    }
}
