//! What a caller wants done to a document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Path, limits};

/// An edit with its intent, as in the `ops` of the HTTP interface.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Sets a map entry or a list element. An object or array keeps what is equal already.
    Put {
        /// Where.
        path: Path,
        /// What.
        value: Value,
    },
    /// Takes away a map entry or a list element; nothing happens if it is not there.
    Remove {
        /// What.
        path: Path,
    },
    /// Adds to a counter, which is created at 0 where there is nothing.
    Increment {
        /// The counter.
        path: Path,
        /// How much; negative to take away.
        by: i64,
    },
    /// Adds to a quantity, which is created at 0 where there is nothing.
    Adjust {
        /// The quantity.
        path: Path,
        /// How much; negative to take away.
        by: i64,
    },
    /// Adds to a set, which is created where there is nothing.
    SetAdd {
        /// The set.
        path: Path,
        /// What; any JSON value. Equal values (numbers by what they are worth) are one element.
        value: Value,
    },
    /// Takes out of a set; nothing happens if it is not there.
    SetRemove {
        /// The set.
        path: Path,
        /// What.
        value: Value,
    },
    /// Inserts into a list before the index that ends the path (`-`: at the end).
    Insert {
        /// List and index.
        path: Path,
        /// What.
        value: Value,
    },
    /// Adds to the end of a list.
    Append {
        /// The list.
        path: Path,
        /// What.
        value: Value,
    },
    /// Replaces characters of a text. Positions count Unicode code points.
    Splice {
        /// The text.
        path: Path,
        /// Where it begins.
        at: usize,
        /// Characters to take away.
        #[serde(default)]
        delete: usize,
        /// What to put there.
        #[serde(default)]
        insert: String,
    },
}

/// One operation of JSON Patch (RFC 6902).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum PatchOperation {
    /// Sets a map entry, or inserts into a list.
    Add {
        /// Where.
        path: Path,
        /// What.
        value: Value,
    },
    /// Takes away; it must be there.
    Remove {
        /// What.
        path: Path,
    },
    /// Sets; it must be there.
    Replace {
        /// Where.
        path: Path,
        /// What.
        value: Value,
    },
    /// Removes at one place and adds at another.
    Move {
        /// From where; it must be there.
        from: Path,
        /// To where.
        path: Path,
    },
    /// Adds what stands elsewhere.
    Copy {
        /// From where; it must be there.
        from: Path,
        /// To where.
        path: Path,
    },
    /// Lets the patch fail unless the value is equal.
    Test {
        /// Where.
        path: Path,
        /// What must be there.
        value: Value,
    },
}

/// One write to one document: takes place as a whole or not at all.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum Intent {
    /// Edits in order.
    Edits(Vec<Edit>),
    /// Make the document equal to this object; only what differs is written.
    Replace(Value),
    /// JSON Merge Patch (RFC 7396).
    MergePatch(Value),
    /// JSON Patch (RFC 6902).
    Patch(Vec<PatchOperation>),
    /// Delete the document. What others do to it at the same time survives.
    Delete,
}

/// What must hold of this replica's state for a write to be taken (`If-Match`, `If-None-Match`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Guard {
    /// The document is there.
    Exists,
    /// The document is not there.
    Absent,
    /// The document is at one of these versions.
    AnyOf(Vec<String>),
    /// The document is at none of these versions.
    NoneOf(Vec<String>),
}

/// Why a write was refused. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Something else stands at the path.
    #[error(
        "{path:?} is {found}, and this edit needs {expected}: remove what is there first, or use another path"
    )]
    TypeMismatch {
        /// Where.
        path: String,
        /// What is there.
        found: &'static str,
        /// What the edit needs.
        expected: &'static str,
    },
    /// Nothing stands at the path.
    #[error("there is nothing at {path:?}")]
    NotFound {
        /// Where.
        path: String,
    },
    /// An index past the end, or that is no number.
    #[error("{path:?}: {}", index_text(*.last, *.dash))]
    Index {
        /// Where.
        path: String,
        /// The largest index allowed here; none where the list is empty.
        last: Option<usize>,
        /// Whether "-" is allowed here.
        dash: bool,
        /// Whether it is a number, but past the end.
        past: bool,
    },
    /// Numbers in lists can't be counted.
    #[error("{path:?} is an element of a list, which can't be {kind}: put the number into a map")]
    NotInList {
        /// Where.
        path: String,
        /// What it should be.
        kind: &'static str,
    },
    /// An element too long for a set.
    #[error("{path:?}: an element of a set may have {max} bytes of JSON at most; this one has {len}", max = limits::SET_ELEMENT_BYTES_MAX)]
    Element {
        /// The set.
        path: String,
        /// Its bytes.
        len: usize,
    },
    /// A position past the end of a text.
    #[error(
        "{path:?} has {len} characters: the splice at {at} that deletes {delete} goes past its end"
    )]
    Splice {
        /// The text.
        path: String,
        /// Its length in code points.
        len: usize,
        /// Where the splice begins.
        at: usize,
        /// What it deletes.
        delete: usize,
    },
    /// The path is the document itself, where this edit makes no sense.
    #[error("this edit can't be applied to the whole document: give a path such as \"/items\"")]
    Root,
    /// A document is an object.
    #[error("a document must be a JSON object; this is {found}")]
    NotAnObject {
        /// What was given.
        found: &'static str,
    },
    /// Nested too deep.
    #[error("{path:?} would be nested deeper than {max} levels", max = limits::DEPTH_MAX)]
    TooDeep {
        /// Where.
        path: String,
    },
    /// Too large.
    #[error("{what}: {value} is over the limit of {max}; split the write")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        value: usize,
        /// How large it may be.
        max: usize,
    },
    /// A key that begins with U+0000.
    #[error("{path:?}: keys that begin with U+0000 are reserved")]
    Reserved {
        /// Where.
        path: String,
    },
    /// A counter, or the step it takes, would leave the range in which every JSON reader is exact.
    #[error("{path:?}: a counter, and what is added to it, must stay within ±{max} (2^53)", max = limits::COUNTER_MAX)]
    Overflow {
        /// The counter.
        path: String,
    },
    /// A `test` of a JSON Patch did not hold.
    #[error("the test at {path:?} failed: the value there is {found}")]
    TestFailed {
        /// Where.
        path: String,
        /// What is there, as JSON.
        found: Value,
    },
    /// A `move` into its own inside.
    #[error("{from:?} can't be moved into itself, to {path:?}")]
    MoveIntoItself {
        /// From.
        from: String,
        /// To.
        path: String,
    },
    /// The CRDT library refused: a bug of ours.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

fn index_text(last: Option<usize>, dash: bool) -> String {
    match (last, dash) {
        (Some(last), true) => {
            format!("the index must be a number from 0 to {last}, or \"-\" for the end")
        }
        (Some(last), false) => format!("the index must be a number from 0 to {last}"),
        (None, _) => {
            "the list is empty, so no index fits; append to it, or insert at \"-\"".to_owned()
        }
    }
}
