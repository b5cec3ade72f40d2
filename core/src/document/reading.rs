//! The JSON reading of a document.

use std::cmp::Ordering;

use automerge::{ObjId, ROOT, ReadDoc, ScalarValue, ScalarValueRef, ValueRef};
use serde_json::{Map, Number, Value};

use super::slots::Kind;
use super::standing::{Standing, View, plain};
use crate::limits;

impl View<'_> {
    /// The whole document, which must be there.
    pub(super) fn document(self) -> Value {
        self.map(&[ROOT], 0)
    }

    /// A value's JSON reading; null below the deepest nesting that a write may make.
    pub(super) fn json(self, standing: &Standing) -> Value {
        self.json_at(standing, 0)
    }

    fn json_at(self, standing: &Standing, depth: usize) -> Value {
        match standing {
            Standing::Register(scalar) => self::scalar(&scalar_ref(scalar)),
            Standing::Number(_, n) => Value::from(*n),
            Standing::Container(kind, members) => self.container(*kind, members, depth),
        }
    }

    pub(super) fn container(self, kind: Kind, members: &[ObjId], depth: usize) -> Value {
        if depth > limits::DEPTH_MAX {
            return Value::Null;
        }
        match kind {
            Kind::Map => self.map(members, depth),
            Kind::List => self.list(members, depth),
            Kind::Text => Value::String(self.text(members)),
            Kind::Set => Value::Array(self.set(members)),
            Kind::Counter | Kind::Quantity => Value::Null,
        }
    }

    fn map(self, maps: &[ObjId], depth: usize) -> Value {
        let (plain_items, cells) = self.entries(maps);
        let mut entries = Map::new();
        for item in plain_items {
            let value = match plain(&item) {
                Some((kind, id)) => self.container(kind, &[id], depth + 1),
                None => self.scalar_of(&item.value),
            };
            entries.insert(item.key.into_owned(), value);
        }
        for (name, cell) in cells {
            if let Some(claimed) = self.claims(maps, &cell, depth).first() {
                entries.insert(name, self.json_at(&claimed.standing, depth + 1));
            }
        }
        Value::Object(entries)
    }

    fn scalar_of(self, value: &ValueRef<'_>) -> Value {
        match value {
            ValueRef::Scalar(scalar) => self::scalar(scalar),
            ValueRef::Object(_) => Value::Null,
        }
    }

    fn list(self, members: &[ObjId], depth: usize) -> Value {
        let mut elements = Vec::new();
        for list in members {
            elements.extend(self.doc.list_range(list, ..).map(|item| match &item.value {
                ValueRef::Scalar(scalar) => self::scalar(scalar),
                ValueRef::Object(object) => {
                    self.container(Kind::of(*object), &[item.id()], depth + 1)
                }
            }));
        }
        Value::Array(elements)
    }

    pub(super) fn text(self, members: &[ObjId]) -> String {
        let texts = members
            .iter()
            .map(|text| self.doc.text(text).unwrap_or_default());
        texts.collect()
    }

    /// A set's elements in canonical order.
    pub(super) fn set(self, members: &[ObjId]) -> Vec<Value> {
        let mut keys: Vec<String> = members.iter().flat_map(|map| self.doc.keys(map)).collect();
        keys.sort_unstable();
        keys.dedup();
        // What is no JSON was not written by us; it is shown as the text that it is.
        let element = |key: String| serde_json::from_str(&key).unwrap_or(Value::String(key));
        let mut elements: Vec<Value> = keys.into_iter().map(element).collect();
        elements.sort_by(canonical_order);
        elements
    }
}

/// Null, false, true, numbers by value, strings, arrays, objects; the latter two by their text.
pub(super) fn canonical_order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a
                .as_f64()
                .unwrap_or(0.0)
                .total_cmp(&b.as_f64().unwrap_or(0.0)),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    })
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

fn scalar_ref(scalar: &ScalarValue) -> ScalarValueRef<'_> {
    use automerge::ScalarValueRef as Ref;
    match scalar {
        ScalarValue::Bytes(bytes) => Ref::Bytes(bytes.into()),
        ScalarValue::Str(text) => Ref::Str(text.as_str().into()),
        ScalarValue::Int(n) => Ref::Int(*n),
        ScalarValue::Uint(n) => Ref::Uint(*n),
        ScalarValue::F64(n) => Ref::F64(*n),
        ScalarValue::Counter(n) => Ref::Counter(i64::from(n)),
        ScalarValue::Timestamp(n) => Ref::Timestamp(*n),
        ScalarValue::Boolean(flag) => Ref::Boolean(*flag),
        ScalarValue::Unknown { type_code, bytes } => Ref::Unknown {
            type_code: *type_code,
            bytes: bytes.into(),
        },
        ScalarValue::Null => Ref::Null,
    }
}
