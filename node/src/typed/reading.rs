//! A document as a type reads it, and what the type makes of it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::TypedError;
use super::difference::difference;
use super::tree::Tree;
use crate::Edit;

/// A document as the type reads it.
///
/// # Errors
/// [`TypedError::Unfit`] when it is not what the type says.
pub(super) fn read<T: DeserializeOwned>(document: &Value) -> Result<T, TypedError> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let names = error.path().iter().map(|segment| match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => super::escaped(key),
            Segment::Enum { variant } => super::escaped(variant),
            Segment::Unknown => "?".to_owned(),
        });
        TypedError::Unfit {
            path: names.fold(String::new(), |path, name| path + "/" + &name),
            type_name: std::any::type_name::<T>(),
            reason: error.inner().to_string(),
        }
    })
}

/// What there was before a change.
#[derive(Clone, Debug)]
pub(super) struct Before {
    there: Option<Value>,
    tree: Tree,
}

impl Before {
    /// A document, or that there is none, and what the type reads.
    ///
    /// # Errors
    /// When it does not fit the type, or the type is no document.
    pub(super) fn read<T>(there: Option<Value>) -> Result<(Self, T), TypedError>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let content = there.as_ref().map_or_else(|| Ok(T::default()), read)?;
        let tree = Tree::of_document(&content)?;
        Ok((Self { there, tree }, content))
    }

    /// The edits that make of it what the type holds now; none if that is the same.
    ///
    /// # Errors
    /// When a document can't hold what the type does.
    pub(super) fn edits<T: Serialize>(&self, now: &T) -> Result<Vec<Edit>, TypedError> {
        let after = Tree::of_document(now)?;
        Ok(difference(self.there.as_ref(), &self.tree, &after)?)
    }

    pub(super) fn exists(&self) -> bool {
        self.there.is_some()
    }
}

#[cfg(test)]
mod tests;
