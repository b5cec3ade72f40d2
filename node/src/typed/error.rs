//! Why a document and a type don't go together.

use crate::PathError;

/// Why a document and a type don't go together. Nothing was written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The document is not what the type says.
    #[error(
        "{}the document does not fit the type {type_name}: {reason}; change the type or the document (what a document may lack needs #[serde(default)])",
        within(path)
    )]
    Unfit {
        /// Where in the document.
        path: String,
        /// The type that was asked for.
        type_name: &'static str,
        /// What is there, and what the type has there.
        reason: String,
    },
    /// Only objects are documents.
    #[error(
        "a document is a JSON object, and the type {type_name} is written as {found}: use a struct with named fields, or a map"
    )]
    NotAnObject {
        /// The type.
        type_name: &'static str,
        /// What it is written as.
        found: &'static str,
    },
    /// A key of a map is no name.
    #[error(
        "{path:?}: a key of this map is {found}; keys must be strings, or integers, which are written as strings"
    )]
    Key {
        /// The map.
        path: String,
        /// What its key is.
        found: &'static str,
    },
    /// A number that a document can't hold.
    #[error("{path:?}: {value} is out of range: a counter or quantity must stay within ±{max} (2^53), other numbers must be finite and have 64 bits", max = crate::limits::COUNTER_MAX)]
    OutOfRange {
        /// Where.
        path: String,
        /// The number.
        value: String,
    },
    /// The type's own code refused to write it.
    #[error("{path:?} in the type {type_name} can't be written: {reason}")]
    Serialize {
        /// Where.
        path: String,
        /// The type.
        type_name: &'static str,
        /// Why.
        reason: String,
    },
    /// A name that documents don't have, or nested too deep.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A place, as the begin of what is said of it; the document itself has no name.
fn within(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!("{path:?} in "),
    }
}
