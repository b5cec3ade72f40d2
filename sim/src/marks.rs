//! The marks that writes leave in documents, and reading them back.
//!
//! Every write carries its number in what it writes, as `w7.`. Documents come in classes. In `set/`, `feed/`
//! and `count/` things are only ever added; in `stock/` quantities are taken away again, in `gone/` everything
//! may be. Of these every entry, element and sum is accounted for. In `cart/` and `cold/` anything goes.

use std::collections::BTreeMap;

use anabranch_core::Key;
use serde_json::Value;

/// Where in a document a mark stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// An entry of the map `m`.
    Entry,
    /// An element of the set `s`.
    Element,
    /// An element of the list `posts`.
    Post,
    /// A stretch of the text `text`.
    Text,
    /// An element of the set `who`, which goes with every change of a number.
    Who,
}

impl Place {
    /// Something that is there or not, however often it was written.
    pub(crate) fn is_one(self) -> bool {
        match self {
            Self::Entry | Self::Element | Self::Who => true,
            Self::Post | Self::Text => false,
        }
    }
}

/// What kind of number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Sum {
    /// In the map `n`.
    Counter,
    /// In the map `q`.
    Quantity,
}

impl Sum {
    pub(crate) fn map(self) -> &'static str {
        match self {
            Self::Counter => "n",
            Self::Quantity => "q",
        }
    }
}

/// A write's mark.
pub(crate) fn mark(number: usize) -> String {
    format!("w{number}.")
}

fn number(mark: &str) -> Option<usize> {
    mark.strip_prefix('w')?.strip_suffix('.')?.parse().ok()
}

/// Whether everything in such a document is accounted for.
pub(crate) fn is_accounted(key: &Key) -> bool {
    !key.as_str().starts_with("cart/") && !key.as_str().starts_with("cold/")
}

/// Whether what is written to such a document shows no mark but the writer's own: a removal names what it
/// takes, and so a document from which nothing is removed by name tells whose a batch is.
pub(crate) fn is_signed(key: &Key) -> bool {
    is_accounted(key) && !key.as_str().starts_with("gone/")
}

/// The marks among bytes, where marks stand among other things: a hash may spell one by chance.
pub(crate) fn among(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let parts = bytes.split(|byte| *byte == b'w').skip(1);
    parts.filter_map(|part| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let ends = part.get(digits) == Some(&b'.');
        let text = std::str::from_utf8(&part[..digits]).ok()?;
        ends.then(|| text.parse().ok()).flatten()
    })
}

/// What a document shows.
#[derive(Default, Debug)]
pub(crate) struct Reading {
    pub(crate) present: bool,
    /// What stands in it at the top.
    pub(crate) names: Vec<String>,
    pub(crate) marks: BTreeMap<(Place, usize), usize>,
    pub(crate) sums: BTreeMap<(Sum, String), i64>,
}

impl Reading {
    /// Reads a document of a class in which everything is accounted for.
    pub(crate) fn of(value: Option<&Value>) -> Result<Self, String> {
        let mut reading = Self::default();
        let Some(value) = value else {
            return Ok(reading);
        };
        reading.present = true;
        let foreign = |found: &dyn std::fmt::Display| format!("{found}, which nobody wrote there");
        for (name, value) in value.as_object().ok_or_else(|| foreign(value))? {
            reading.names.push(name.clone());
            let understood = match name.as_str() {
                "m" => reading.entries(value),
                "s" => reading.elements(Place::Element, value),
                "who" => reading.elements(Place::Who, value),
                "posts" => reading.elements(Place::Post, value),
                "text" => reading.text(value),
                "n" => reading.numbers(Sum::Counter, value),
                "q" => reading.numbers(Sum::Quantity, value),
                _ => None,
            };
            understood.ok_or_else(|| foreign(&format_args!("{name}: {value}")))?;
        }
        Ok(reading)
    }

    fn add(&mut self, place: Place, mark: &str) -> Option<()> {
        *self.marks.entry((place, number(mark)?)).or_default() += 1;
        Some(())
    }

    fn entries(&mut self, value: &Value) -> Option<()> {
        for (name, value) in value.as_object()? {
            let own = |value: &Value| value == name;
            let whole = match value {
                Value::Object(inside) => {
                    let list = inside.get("in").filter(|_| inside.len() == 1)?;
                    let list = list.as_array()?;
                    // Two replicas that did not know of each other may each have carried the write out.
                    !list.is_empty() && list.iter().all(own)
                }
                value => own(value),
            };
            self.add(Place::Entry, name).filter(|()| whole)?;
        }
        Some(())
    }

    fn elements(&mut self, place: Place, value: &Value) -> Option<()> {
        for element in value.as_array()? {
            let mark = match element {
                Value::Object(post) => post.get("id").filter(|_| post["likes"] == 0)?,
                other => other,
            };
            self.add(place, mark.as_str()?)?;
        }
        Some(())
    }

    fn text(&mut self, value: &Value) -> Option<()> {
        for part in value.as_str()?.split_inclusive('>') {
            let mark = part.strip_prefix('<')?.strip_suffix('>')?;
            self.add(Place::Text, mark)?;
        }
        Some(())
    }

    fn numbers(&mut self, sum: Sum, value: &Value) -> Option<()> {
        for (name, value) in value.as_object()? {
            self.sums.insert((sum, name.clone()), value.as_i64()?);
        }
        Some(())
    }
}

/// The marks anywhere in a document in which anything goes. Text that is edited there has tildes put before it.
pub(crate) fn anywhere(value: &Value) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    collect(value, &mut found)?;
    Ok(found)
}

fn collect(value: &Value, into: &mut Vec<usize>) -> Result<(), String> {
    match value {
        Value::String(text) => {
            // What was put there may have been edited by the same write.
            let put = text.trim_start_matches('~');
            if let Some(number) = number(put) {
                into.push(number);
            } else if !put.is_empty() {
                return Err(format!("{text:?}, which nobody wrote there"));
            }
            Ok(())
        }
        Value::Array(elements) => elements
            .iter()
            .try_for_each(|element| collect(element, into)),
        Value::Object(entries) => entries.values().try_for_each(|entry| collect(entry, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn every_mark_is_read_where_it_stands() {
        let value = json!({
            "m": {"w0.": "w0.", "w1.": {"in": ["w1."]}}, "s": ["w2."], "who": ["w3."],
            "posts": ["w4.", {"id": "w4.", "likes": 0}], "text": "<w5.><w6.>", "n": {"x": 3}, "q": {"x": -1},
        });
        let reading = Reading::of(Some(&value)).unwrap();
        assert_eq!(reading.marks.len(), 7);
        assert_eq!(reading.marks[&(Place::Post, 4)], 2);
        assert_eq!(reading.sums[&(Sum::Quantity, "x".to_owned())], -1);
        assert!(reading.present && !Reading::of(None).unwrap().present);
    }

    #[test]
    fn what_nobody_writes_is_not_read() {
        for value in [
            json!({"z": 1}),
            json!({"m": {"w0.": "w1."}}),
            json!({"m": {"w0.": {"in": []}}}),
            json!({"s": ["x"]}),
            json!({"text": "<w<w5.>0.>"}),
            json!({"n": {"x": "w0."}}),
        ] {
            assert!(Reading::of(Some(&value)).is_err(), "{value}");
        }
        assert!(anywhere(&json!({"a": ["x"]})).is_err());
        assert_eq!(anywhere(&json!({"a": ["w8.", 1, "~~"]})).unwrap(), [8]);
    }

    #[test]
    fn marks_are_found_among_other_bytes() {
        let found = |bytes| among(bytes).collect::<Vec<_>>();
        assert_eq!(found(b"\x07w12.\x00www9.w13w.w1x."), [12, 9]);
        assert!(found(b"w.").is_empty());
    }
}
