//! JSON values and the scalars that they are stored as.

use std::collections::BTreeMap;

use automerge::{ScalarValue, hydrate};
use serde_json::{Map, Number, Value};

/// Up to where every whole number has a floating-point form of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

pub(super) fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A whole number, also where it was written with a fraction of nothing: 5.0 is 5.
fn whole(n: f64) -> Option<i64> {
    let fits = n.fract() == 0.0 && n.abs() <= WHOLE_MAX;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and below 2^53"
    )]
    fits.then_some(n as i64)
}

/// What a JSON value is stored as; none for arrays and objects.
pub(super) fn scalar_of(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(*flag),
        Value::String(text) => ScalarValue::Str(text.as_str().into()),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), _, _) => ScalarValue::Int(n),
            (_, Some(n), _) => ScalarValue::Uint(n),
            (_, _, Some(n)) => whole(n).map_or(ScalarValue::F64(n), ScalarValue::Int),
            (None, None, None) => ScalarValue::Null,
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// The value with every number in one form and its members in order, whatever the features that the JSON
/// library was built with.
pub(crate) fn normalised(value: &Value) -> Value {
    match value {
        Value::Number(n) => match n.as_f64().filter(|_| n.is_f64()).and_then(whole) {
            Some(n) => Value::from(n),
            None => value.clone(),
        },
        Value::Array(elements) => Value::Array(elements.iter().map(normalised).collect()),
        Value::Object(entries) => {
            let normal = entries
                .iter()
                .map(|(name, value)| (name.clone(), normalised(value)));
            let sorted: BTreeMap<_, _> = normal.collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Whether two values are worth the same.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || number(a) == number(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

fn number(n: &Number) -> Number {
    let whole = n.as_f64().filter(|_| n.is_f64()).and_then(whole);
    whole.map_or_else(|| n.clone(), Number::from)
}

/// A value that nobody else can know yet, to be put in whole.
pub(super) fn fresh(value: &Value) -> hydrate::Value {
    match value {
        Value::Object(entries) => hydrate::Value::Map(fresh_map(entries)),
        Value::Array(elements) => {
            hydrate::Value::from(elements.iter().map(fresh).collect::<Vec<_>>())
        }
        value => hydrate::Value::Scalar(scalar_of(value).unwrap_or(ScalarValue::Null)),
    }
}

/// The library sorts the keys of what it is given, so the order in here does not show.
fn fresh_map(entries: &Map<String, Value>) -> hydrate::Map {
    let mut map = hydrate::Map::default();
    for (name, value) in entries {
        let value = hydrate::MapValue {
            value: fresh(value),
            conflict: false,
        };
        map.insert(name.clone(), value);
    }
    map
}
