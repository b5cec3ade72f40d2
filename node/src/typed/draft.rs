//! A document that is being changed.

use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TypedError;
use super::reading::Before;
use crate::{Intent, Key, Snapshot, Version, Write};

/// A document that is being changed: read at one version, and to be written on top of it. For writes of
/// several documents at once; for one, there is [`Node::edit`](crate::Node::edit).
///
/// Change it as what it holds, then make a write of it with [`Draft::into_write`].
#[derive(Clone, Debug)]
pub struct Draft<T> {
    key: Key,
    /// A document that is not there is written as if it had never been: on top of nothing. So if somebody
    /// else creates it at this moment, the two merge, here as between datacenters.
    base: Version,
    before: Before,
    content: T,
}

impl<T: Serialize + DeserializeOwned + Default> Draft<T> {
    /// A document as it was read, or a new one.
    pub(crate) fn new(key: Key, snapshot: Option<Snapshot>) -> Result<Self, TypedError> {
        let (base, there) = snapshot.map_or_else(
            || (Version::default(), None),
            |snapshot| (snapshot.version, Some(snapshot.value)),
        );
        let (before, content) = Before::read(there)?;
        Ok(Self {
            key,
            base,
            before,
            content,
        })
    }
}

impl<T: Serialize> Draft<T> {
    /// Whether the document was there when it was read.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.before.exists()
    }

    /// What was changed, as a write; none if nothing was. What others write in the meantime merges with it.
    ///
    /// # Errors
    /// When a document can't hold what the draft does.
    pub fn into_write(self) -> Result<Option<Write>, TypedError> {
        let edits = self.before.edits(&self.content)?;
        Ok((!edits.is_empty()).then_some(Write {
            key: self.key,
            intent: Intent::Edits(edits),
            guard: None,
            base: Some(self.base),
        }))
    }
}

impl<T> Deref for Draft<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T> DerefMut for Draft<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.content
    }
}
