//! One document: a CRDT with the meaning that carts and feeds need laid over it.
//!
//! automerge stays inside this module. What others see are JSON values, versions, and changes as bytes.

mod cells;
mod conflicts;
mod difference;
mod equalise;
mod exchange;
mod history;
mod intake;
mod lists;
mod numbers;
mod pen;
mod places;
mod reading;
mod removal;
mod scalars;
mod sets;
mod slots;
mod standing;
mod tip;
mod verbs;

#[cfg(test)]
mod assembled;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod merges;
#[cfg(test)]
mod past;
#[cfg(test)]
mod strange;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use automerge::{ActorId, AutoCommit, ChangeHash, LoadOptions, ReadDoc as _, TextEncoding};
use bytes::Bytes;
use serde_json::Value;

use crate::persist::StoredDocument;
use crate::{Conflict, EditError, Incarnation, Intent, Origin, ReplicaId};
pub(crate) use exchange::{is_acceptable, is_whole, sum_of_piece};
pub(crate) use intake::{Refusal, is_plain_change};
pub(crate) use scalars::normalised;
use standing::View;
pub(crate) use tip::Tip;

/// What a document has become: the hashes of its latest changes. Equal versions mean equal documents, on
/// any replica.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version(Vec<[u8; 32]>);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let head = |text: &str| {
            let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let mut head = [0; 32];
            for (index, byte) in head.iter_mut().enumerate() {
                let pair = digits.then(|| text.get(index * 2..index * 2 + 2)).flatten();
                *byte =
                    u8::from_str_radix(pair.ok_or(VersionError)?, 16).map_err(|_| VersionError)?;
            }
            Ok(head)
        };
        let mut heads = text.split('-').map(head).collect::<Result<Vec<_>, _>>()?;
        heads.sort_unstable();
        heads.dedup();
        Ok(Self(heads))
    }
}

/// A text that is no version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this is no version of a document: a version is one or more hashes of 64 hexadecimal digits, joined by \"-\", as an answer gave it"
)]
pub struct VersionError;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, head) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            let mut digits = [0; 64];
            hex::encode_to_slice(head, &mut digits).map_err(|_| fmt::Error)?;
            f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A write that failed, and whether it left traces in the loaded document.
pub(crate) struct Failed {
    pub(crate) error: EditError,
    /// Then the loaded document must be dropped and loaded again.
    pub(crate) spoilt: bool,
}

/// The document has never been at that version, as far as is known here.
#[derive(Debug)]
pub(crate) struct UnknownVersion;

/// A write on top of an earlier version that failed.
pub(crate) enum FailedOn {
    Write(Failed),
    UnknownVersion,
}

/// A stored state that does not load.
#[derive(Debug, thiserror::Error)]
#[error("a stored document does not load: {0}")]
pub(crate) struct Unreadable(String);

/// Takes a document's changes into its state: what a [`Store`](crate::persist) does with documents now and then,
/// on a thread of its own. Changes that no replica lets in are left out.
///
/// # Errors
/// When the state does not load.
pub fn compact(stored: &StoredDocument) -> Result<StoredDocument, String> {
    // Nothing is written under it.
    let nobody = Origin {
        replica: ReplicaId([0; 16]),
        incarnation: Incarnation(0),
    };
    let mut document =
        Document::of_stored(&nobody, Some(stored)).map_err(|error| error.to_string())?;
    Ok(StoredDocument {
        // Without automerge's compression, which nobody would take from us: the store compresses neighbours together.
        state: document.whole(),
        changes: Vec::new(),
        present: Some(document.present()),
        sum: Some(document.sum()),
    })
}

/// A loaded document.
pub(crate) struct Document {
    doc: AutoCommit,
    origin: Origin,
    /// It has been looked at, and nobody has deleted it since: looking is a good part of a small write.
    unburied: bool,
    #[cfg(feature = "planted")]
    planted: Option<crate::Planted>,
}

/// The actor under which an origin writes: 8 bytes, since every actor costs room in every document.
fn actor(origin: &Origin) -> ActorId {
    ActorId::from(&origin.tag().0[..])
}

impl Document {
    /// A document that nobody has written yet.
    pub(crate) fn empty(origin: &Origin) -> Self {
        let doc =
            AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor(origin));
        Self {
            doc,
            origin: *origin,
            unburied: false,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Lays a deliberate bug.
    #[cfg(feature = "planted")]
    pub(crate) fn planted(mut self, planted: Option<crate::Planted>) -> Self {
        self.planted = planted;
        self
    }

    /// As the store keeps it; none: one that nobody has written yet.
    pub(crate) fn of_stored(
        origin: &Origin,
        stored: Option<&StoredDocument>,
    ) -> Result<Self, Unreadable> {
        let Some(stored) = stored else {
            return Ok(Self::empty(origin));
        };
        let mut document = if stored.state.is_empty() {
            Self::empty(origin)
        } else {
            Self::load(origin, &stored.state)?
        };
        document.absorb(&stored.changes);
        Ok(document)
    }

    /// About how many bytes it takes in memory. Measured on carts and feeds: 10 KB empty, and what its operations and
    /// the changes that made them take.
    pub(crate) fn weight(&self) -> usize {
        let stats = self.doc.stats();
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        10_000
            + count(stats.num_ops).saturating_mul(200)
            + count(stats.num_changes).saturating_mul(300)
    }

    fn view(&self) -> View<'_> {
        View {
            doc: &self.doc,
            #[cfg(feature = "planted")]
            planted: self.planted,
        }
    }

    /// Loads a saved state.
    pub(crate) fn load(origin: &Origin, state: &[u8]) -> Result<Self, Unreadable> {
        let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
        let doc = AutoCommit::load_with_options(state, options)
            .map_err(|error| Unreadable(error.to_string()))?;
        Ok(Self {
            doc: doc.with_actor(actor(origin)),
            origin: *origin,
            unburied: false,
            #[cfg(feature = "planted")]
            planted: None,
        })
    }

    /// The compacted form.
    #[cfg(any(test, feature = "measure"))]
    pub(crate) fn save(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    /// Writes under another origin from now on.
    pub(crate) fn set_origin(&mut self, origin: &Origin) {
        self.doc.set_actor(actor(origin));
        self.origin = *origin;
    }

    /// Takes in changes that others made, or that were made here before a restart. Those that it knows
    /// already change nothing; those that it can't take are handed back with the reason.
    pub(crate) fn absorb<'a>(
        &mut self,
        changes: impl IntoIterator<Item = &'a Bytes>,
    ) -> Vec<Refusal> {
        self.unburied = false;
        intake::absorb(&mut self.doc, changes)
    }

    /// Whether it has everything that some changes build on, each other aside.
    pub(crate) fn has_what_precedes(&mut self, changes: &[Bytes]) -> bool {
        intake::has_what_precedes(&mut self.doc, changes)
    }

    pub(crate) fn version(&mut self) -> Version {
        let mut heads: Vec<_> = self
            .doc
            .get_heads()
            .into_iter()
            .map(|ChangeHash(hash)| hash)
            .collect();
        heads.sort_unstable();
        Version(heads)
    }

    pub(crate) fn present(&mut self) -> bool {
        if self.is_unburied() {
            return true;
        }
        standing::is_there(
            &mut self.doc,
            #[cfg(feature = "planted")]
            self.planted,
        )
    }

    /// Whether there is something and nobody has deleted it, or it was made again since; then it is there, even with
    /// nothing in it.
    fn is_unburied(&mut self) -> bool {
        self.unburied = self.unburied || !self.doc.is_empty() && !self.view().is_buried();
        self.unburied
    }

    /// The JSON reading; none if the document is not there.
    pub(crate) fn read(&mut self) -> Option<Value> {
        self.present().then(|| self.view().document())
    }

    /// Where values lost against others. The authors' names are left out.
    pub(crate) fn conflicts(&mut self) -> Vec<Conflict> {
        conflicts::conflicts(
            &mut self.doc,
            #[cfg(feature = "planted")]
            self.planted,
        )
    }

    /// Carries out one write and gives the changes that it made; none if it changed nothing.
    pub(crate) fn write(&mut self, intent: &Intent, time_s: i64) -> Result<Vec<Bytes>, Failed> {
        // Nothing else deletes it.
        self.unburied = self.unburied && !matches!(intent, Intent::Delete | Intent::Patch(_));
        let mut pen = pen::Pen::new(&mut self.doc, time_s, self.unburied);
        #[cfg(feature = "planted")]
        pen.plant(self.planted);
        match pen.carry_out(intent) {
            Ok(()) => pen.finish().map_err(|error| Failed {
                error,
                spoilt: true,
            }),
            Err(error) => Err(Failed {
                error,
                spoilt: pen.abandon(),
            }),
        }
    }
}
