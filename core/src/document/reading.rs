//! The JSON reading of a document, and what counts as being there.
//!
//! A removed container is emptied rather than taken out, so that what somebody else does inside it at the
//! same time still has its place. A tombstone beside it, under its name with U+0000 in front, says that it
//! is gone for as long as it is empty.

use automerge::iter::{ListRange, MapRange};
use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjId, ObjType, ROOT, ReadDoc, ScalarValueRef, ValueRef};
use serde_json::{Map, Number, Value};

use crate::limits;

/// The root's tombstone; no entry's tombstone has this name, since no entry's name begins with U+0000.
pub(super) const ROOT_TOMBSTONE: &str = "\0\0";

pub(super) fn tombstone(name: &str) -> String {
    format!("\0{name}")
}

fn map_of<'a>(doc: &'a AutoCommit, object: &ObjId) -> MapRange<'a> {
    doc.map_range(object, ..)
}

fn list_of<'a>(doc: &'a AutoCommit, object: &ObjId) -> ListRange<'a> {
    doc.list_range(object, ..)
}

/// True unless the document was never written, or was deleted and nothing survived that.
pub(super) fn present(doc: &AutoCommit) -> bool {
    let written = !doc.is_empty() || doc.pending_ops() > 0;
    let buried = matches!(doc.get(ROOT, ROOT_TOMBSTONE), Ok(Some(_)));
    written && !buried || holds_anything(doc, &ROOT, ObjType::Map)
}

/// True when a container has anything in it, however deep, that is not itself gone.
pub(super) fn holds_anything(doc: &AutoCommit, object: &ObjId, kind: ObjType) -> bool {
    holds_anything_at(doc, object, kind, 0)
}

fn holds_anything_at(doc: &AutoCommit, object: &ObjId, kind: ObjType, depth: usize) -> bool {
    // No write of ours goes so deep; whoever's does must not take our stack with it.
    if depth > limits::DEPTH_MAX {
        return false;
    }
    match kind {
        ObjType::Map | ObjType::Table => map_of(doc, object).any(|item| {
            !item.key.starts_with('\0')
                && match item.value {
                    ValueRef::Scalar(_) => true,
                    ValueRef::Object(kind) => {
                        entry_present_at(doc, object, &item.key, (&item.id(), kind), depth)
                    }
                }
        }),
        ObjType::List | ObjType::Text => doc.length(object) > 0,
    }
}

/// True when the container that stands at an entry is not gone.
pub(super) fn entry_present(
    doc: &AutoCommit,
    parent: &ObjId,
    name: &str,
    object: &ObjId,
    kind: ObjType,
) -> bool {
    entry_present_at(doc, parent, name, (object, kind), 0)
}

fn entry_present_at(
    doc: &AutoCommit,
    parent: &ObjId,
    name: &str,
    (object, kind): (&ObjId, ObjType),
    depth: usize,
) -> bool {
    let buried = matches!(doc.get(parent, tombstone(name)), Ok(Some(_)));
    !buried || holds_anything_at(doc, object, kind, depth + 1)
}

/// The whole document; none if it is not there.
pub(super) fn document(doc: &AutoCommit) -> Option<Value> {
    present(doc).then(|| map(doc, &ROOT, 0))
}

fn map(doc: &AutoCommit, object: &ObjId, depth: usize) -> Value {
    let mut entries = Map::new();
    for item in map_of(doc, object) {
        if item.key.starts_with('\0') {
            continue;
        }
        let value = match &item.value {
            ValueRef::Scalar(scalar) => self::scalar(scalar),
            ValueRef::Object(kind) => {
                let id = item.id();
                if !entry_present_at(doc, object, &item.key, (&id, *kind), depth) {
                    continue;
                }
                container_at(doc, &id, *kind, depth + 1)
            }
        };
        entries.insert(item.key.into_owned(), value);
    }
    Value::Object(entries)
}

/// A container's JSON reading; null below the deepest nesting that a write may make.
pub(super) fn container(doc: &AutoCommit, object: &ObjId, kind: ObjType) -> Value {
    container_at(doc, object, kind, 0)
}

fn container_at(doc: &AutoCommit, object: &ObjId, kind: ObjType, depth: usize) -> Value {
    if depth > limits::DEPTH_MAX {
        return Value::Null;
    }
    match kind {
        ObjType::Map | ObjType::Table => map(doc, object, depth),
        ObjType::Text => Value::String(doc.text(object).unwrap_or_default()),
        ObjType::List => Value::Array(
            list_of(doc, object)
                .map(|item| match &item.value {
                    ValueRef::Scalar(scalar) => self::scalar(scalar),
                    ValueRef::Object(kind) => container_at(doc, &item.id(), *kind, depth + 1),
                })
                .collect(),
        ),
    }
}

/// A scalar's JSON reading. Bytes, which JSON lacks, read as an array of numbers; a number that JSON lacks
/// (not finite) as null.
pub(super) fn scalar(scalar: &ScalarValueRef<'_>) -> Value {
    match scalar {
        ScalarValueRef::Str(text) => Value::String(text.to_string()),
        ScalarValueRef::Int(n) | ScalarValueRef::Counter(n) | ScalarValueRef::Timestamp(n) => {
            Value::from(*n)
        }
        ScalarValueRef::Uint(n) => Value::from(*n),
        ScalarValueRef::F64(n) => Number::from_f64(*n).map_or(Value::Null, Value::Number),
        ScalarValueRef::Boolean(flag) => Value::Bool(*flag),
        ScalarValueRef::Bytes(bytes) | ScalarValueRef::Unknown { bytes, .. } => {
            Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect())
        }
        ScalarValueRef::Null => Value::Null,
    }
}
