//! A value with what each part of it means: what [`Serialize`] says of a type, once the names of this module's
//! field types are known.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::TypedError;
use super::serializer::{Refusal, TreeSerializer};

// The names under which the field types serialise. To every other serialiser they are newtypes, that is,
// numbers, arrays and strings.
pub(super) const COUNTER: &str = "$anabranch::Counter";
pub(super) const QUANTITY: &str = "$anabranch::Quantity";
pub(super) const SET: &str = "$anabranch::Set";
pub(super) const TEXT: &str = "$anabranch::Text";

/// A value with what each part of it means.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Tree {
    /// null, true, false, a number or a string. Numbers of the same worth are equal.
    Register(Value),
    Counter(i64),
    Quantity(i64),
    /// Elements by their JSON text.
    Set(BTreeMap<String, Value>),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    /// What a document type holds.
    pub(super) fn of_document<T: Serialize>(document: &T) -> Result<Self, TypedError> {
        let type_name = std::any::type_name::<T>();
        match document.serialize(TreeSerializer) {
            Ok(tree @ Self::Map(_)) => Ok(tree),
            Ok(other) => Err(TypedError::NotAnObject {
                type_name,
                found: other.kind(),
            }),
            Err(refusal) => Err(Refusal::into_error(refusal, type_name)),
        }
    }

    /// As errors name it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Register(value) => json_kind(value),
            Self::Counter(_) => "a counter",
            Self::Quantity(_) => "a quantity",
            Self::Set(_) => "a set",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Its JSON reading.
    pub(super) fn plain(&self) -> Value {
        match self {
            Self::Register(value) => value.clone(),
            Self::Counter(value) | Self::Quantity(value) => Value::from(*value),
            Self::Set(elements) => elements.values().cloned().collect(),
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(elements) => elements.iter().map(Self::plain).collect(),
            Self::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(name, entry)| (name.clone(), entry.plain()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Its JSON reading without the sets and texts in maps, which JSON can't say: it would make lists and
    /// strings of them. (A number becomes a counter or quantity when it is first counted.)
    pub(super) fn skeleton(&self) -> Value {
        match self {
            Self::List(elements) => elements.iter().map(Self::skeleton).collect(),
            Self::Map(entries) => {
                let sayable = entries
                    .iter()
                    .filter(|(_, entry)| !matches!(entry, Self::Set(_) | Self::Text(_)));
                let entries = sayable.map(|(name, entry)| (name.clone(), entry.skeleton()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            other => other.plain(),
        }
    }

    /// As an element of a list, where numbers are put and not counted, and sets and texts are values: what
    /// merges lives in maps.
    pub(super) fn into_element(self) -> Self {
        match self {
            Self::Counter(_) | Self::Quantity(_) | Self::Text(_) => Self::Register(self.plain()),
            Self::Set(elements) => Self::List(elements.into_values().map(Self::of_json).collect()),
            other => other,
        }
    }

    pub(super) fn of_json(value: Value) -> Self {
        match value {
            Value::Array(elements) => Self::List(elements.into_iter().map(Self::of_json).collect()),
            Value::Object(entries) => {
                let entries = entries
                    .into_iter()
                    .map(|(name, entry)| (name, Self::of_json(entry)));
                Self::Map(entries.collect())
            }
            register => Self::Register(register),
        }
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
