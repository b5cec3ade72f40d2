//! What a caller wants done to a document.

use std::fmt;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
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
        #[serde(deserialize_with = "whole")]
        by: i64,
    },
    /// Adds to a quantity, which is created at 0 where there is nothing.
    Adjust {
        /// The quantity.
        path: Path,
        /// How much; negative to take away.
        #[serde(deserialize_with = "whole")]
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
        #[serde(deserialize_with = "position")]
        at: usize,
        /// Characters to take away.
        #[serde(default, deserialize_with = "position")]
        delete: usize,
        /// What to put there.
        #[serde(default)]
        insert: String,
    },
}

/// A whole number in either of the forms that JSON has for it: 2 and 2.0 are worth the same.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    // A number with a fraction of nothing is known by being a float, so the form is left open.
    deserializer.deserialize_any(Whole)
}

fn position<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = whole(deserializer)?;
    usize::try_from(number).map_err(|_| {
        de::Error::invalid_value(Unexpected::Signed(number), &"a whole number from 0 on")
    })
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of up to 64 bits")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
        number
            .try_into()
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<i64, E> {
        // Beyond, a float no longer says which whole number was meant.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() != 0.0 || number.abs() > EXACT {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and within 2^53"
        )]
        Ok(number as i64)
    }
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
        "{} is {found}, and this edit needs {expected}: remove what is there first, or use another path",
        place(path)
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
    /// A number of more digits than 64 bits hold.
    #[error("{path:?}: a number in there is too large to be stored; put it as a string")]
    Number {
        /// Where the value goes.
        path: String,
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
    #[error("{} would be nested deeper than {max} levels", place(path), max = limits::DEPTH_MAX)]
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

/// A path in a message, where the whole document has no name.
fn place(path: &str) -> String {
    match path {
        "" => "the document".to_owned(),
        path => format!("{path:?}"),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{from_str, json};

    use super::*;

    /// JSON writers that know floats alone write 2.0 where 2 is meant.
    #[test]
    fn a_step_is_a_whole_number_in_either_form() {
        for (by, number) in [("2", 2), ("2.0", 2), ("-2e1", -20), ("-0.0", 0)] {
            for op in ["adjust", "increment"] {
                let edit = format!(r#"{{"op":"{op}","path":"/a","by":{by}}}"#);
                let edit: Edit = from_str(&edit).unwrap();
                assert_eq!(serde_json::to_value(edit).unwrap()["by"], json!(number));
            }
        }
        let splice = r#"{"op":"splice","path":"/a","at":1.0,"delete":2.0}"#;
        let Edit::Splice { at, delete, .. } = from_str(splice).unwrap() else {
            panic!("it is a splice");
        };
        assert_eq!((at, delete), (1, 2));
    }

    #[test]
    fn what_is_no_whole_number_is_refused_in_words() {
        for by in ["2.5", "\"2\"", "null", "9223372036854775808", "1e300"] {
            let edit = format!(r#"{{"op":"adjust","path":"/a","by":{by}}}"#);
            let error = from_str::<Edit>(&edit).unwrap_err().to_string();
            assert!(error.contains("a whole number"), "{by}: {error}");
        }
        let splice = r#"{"op":"splice","path":"/a","at":-1}"#;
        let error = from_str::<Edit>(splice).unwrap_err().to_string();
        assert!(error.contains("from 0 on"), "{error}");
    }

    #[test]
    fn the_whole_document_is_named_as_such() {
        let path = String::new();
        let error = EditError::TooDeep { path };
        assert!(error.to_string().starts_with("the document would be"));
    }
}
