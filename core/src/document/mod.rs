//! One document: a CRDT with the meaning that carts and feeds need laid over it.
//!
//! automerge stays inside this module. What others see are JSON values, versions, and changes as bytes.

mod equalise;
mod genesis;
mod intake;
mod lists;
mod pen;
mod reading;
mod verbs;

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod tests;

use std::fmt;

use automerge::{ActorId, AutoCommit, ChangeHash, LoadOptions, TextEncoding};
use bytes::Bytes;
use serde_json::Value;

use crate::{EditError, Intent, Origin};
pub(crate) use intake::Refusal;

/// What a document has become: the hashes of its latest changes. Equal versions mean equal documents, on
/// any replica.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version(Vec<[u8; 32]>);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, head) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            head.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
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

/// A stored state that does not load.
#[derive(Debug, thiserror::Error)]
#[error("a stored document does not load: {0}")]
pub(crate) struct Unreadable(String);

/// A loaded document.
pub(crate) struct Document {
    doc: AutoCommit,
}

/// The actor under which an origin writes: 8 bytes, since every actor costs room in every document.
fn actor(origin: &Origin) -> ActorId {
    let mut hasher = blake3::Hasher::new_derive_key("anabranch 2026-11 actor of an origin");
    hasher
        .update(&origin.replica.0)
        .update(&origin.incarnation.0.to_be_bytes());
    ActorId::from(&hasher.finalize().as_bytes()[..8])
}

impl Document {
    /// A document that nobody has written yet.
    pub(crate) fn empty(origin: &Origin) -> Self {
        let doc =
            AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor(origin));
        Self { doc }
    }

    /// Loads a saved state.
    pub(crate) fn load(origin: &Origin, state: &[u8]) -> Result<Self, Unreadable> {
        let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
        let doc = AutoCommit::load_with_options(state, options)
            .map_err(|error| Unreadable(error.to_string()))?;
        Ok(Self {
            doc: doc.with_actor(actor(origin)),
        })
    }

    /// The compacted form.
    pub(crate) fn save(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    /// Writes under another origin from now on.
    pub(crate) fn set_origin(&mut self, origin: &Origin) {
        self.doc.set_actor(actor(origin));
    }

    /// Takes in changes that others made, or that were made here before a restart. Those that it knows
    /// already change nothing; those that it can't take are handed back with the reason.
    pub(crate) fn absorb<'a>(
        &mut self,
        changes: impl IntoIterator<Item = &'a Bytes>,
    ) -> Vec<Refusal> {
        intake::absorb(&mut self.doc, changes)
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

    pub(crate) fn present(&self) -> bool {
        reading::present(&self.doc)
    }

    /// The JSON reading; none if the document is not there.
    pub(crate) fn read(&self) -> Option<Value> {
        reading::document(&self.doc)
    }

    /// Carries out one write and gives the changes that it made; none if it changed nothing.
    pub(crate) fn write(&mut self, intent: &Intent, time_s: i64) -> Result<Vec<Bytes>, Failed> {
        let mut pen = pen::Pen::new(&mut self.doc, time_s);
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
