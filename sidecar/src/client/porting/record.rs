//! A line as a document to be written, or what is wrong with it.

use anabranch::{Key, Namespace};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::position::Mark;
use super::source::Place;
use crate::limits;

/// What a request to write has around its writes.
pub(super) const ENVELOPE: (&str, &str) = ("{\"writes\":[", "]}");

/// What lines are to be.
pub(super) struct Rules {
    /// Where the documents go; none if each line says it.
    pub(super) into: Option<Namespace>,
    /// Leave documents as they are that are there.
    pub(super) if_absent: bool,
}

/// A document to be written.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: u64,
    /// What is before its line.
    pub(super) before: Mark,
    pub(super) namespace: Namespace,
    pub(super) key: Key,
    /// As a batch has it.
    pub(super) write: String,
}

/// A line that is not imported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct BadLine {
    pub(super) line: u64,
    #[serde(skip)]
    pub(super) before: Mark,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    pub(super) reason: String,
}

/// `version` is an export's to say, and no import's to write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    ns: Option<String>,
    key: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
}

#[derive(Serialize)]
struct Write<'a> {
    ns: &'a str,
    key: &'a str,
    put: &'a RawValue,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    if_absent: bool,
}

impl Rules {
    /// Reads a line that is not empty.
    pub(super) fn read(&self, text: &[u8], place: &Place) -> Result<Record, BadLine> {
        let mut bad = BadLine {
            line: place.line,
            before: place.before,
            ns: None,
            key: None,
            reason: String::new(),
        };
        self.record(text, place, &mut bad).map_err(|reason| {
            bad.reason = reason;
            bad
        })
    }

    fn record(&self, text: &[u8], place: &Place, bad: &mut BadLine) -> Result<Record, String> {
        if let Some(bytes) = place.too_long {
            return Err(format!(
                "it is {bytes} bytes long, and a line may have {}",
                limits::IMPORT_LINE_BYTES_MAX
            ));
        }
        // To the parser an array of the members' values would do as well.
        if !text.starts_with(b"{") {
            return Err("it is no JSON object: a line is {\"key\":..,\"value\":{..}}".to_owned());
        }
        let line: Line<'_> = serde_json::from_slice(text).map_err(|error| unread(&error))?;
        bad.ns.clone_from(&line.ns);
        bad.key.clone_from(&line.key);
        let key = line.key.ok_or("it has no \"key\"")?;
        let key = Key::new(&key).map_err(|error| error.to_string())?;
        let namespace = self.namespace(line.ns.as_deref())?;
        let value = line.value.ok_or("it has no \"value\"")?;
        if !value.get().starts_with('{') {
            return Err("its \"value\" is no JSON object".to_owned());
        }
        let write = Write {
            ns: namespace.as_str(),
            key: key.as_str(),
            put: value,
            if_absent: self.if_absent,
        };
        let write = serde_json::to_string(&write).map_err(|error| unread(&error))?;
        let size = ENVELOPE.0.len() + write.len() + ENVELOPE.1.len();
        if size > limits::BODY_BYTES_MAX {
            return Err(format!(
                "the document takes a request of {size} bytes, and a node takes {} at once: split it, or write it in parts with \
                 `anabranch patch` or `ops`",
                limits::BODY_BYTES_MAX
            ));
        }
        Ok(Record {
            line: place.line,
            before: place.before,
            namespace,
            key,
            write,
        })
    }

    fn namespace(&self, given: Option<&str>) -> Result<Namespace, String> {
        match (&self.into, given) {
            (Some(into), None) => Ok(into.clone()),
            (Some(into), Some(given)) if into.as_str() == given => Ok(into.clone()),
            (Some(into), Some(given)) => Err(format!(
                "it is of the namespace {given:?}, and the import into {into:?}: leave \"ns\" away, or import with --all"
            )),
            (None, Some(given)) => Namespace::new(given).map_err(|error| error.to_string()),
            (None, None) => {
                Err("it has no \"ns\", the namespace that --all takes from each line".to_owned())
            }
        }
    }
}

impl Record {
    /// As one that the node did not take.
    pub(super) fn refused(&self, reason: String) -> BadLine {
        BadLine {
            line: self.line,
            before: self.before,
            ns: Some(self.namespace.as_str().to_owned()),
            key: Some(self.key.as_str().to_owned()),
            reason,
        }
    }
}

/// The parser calls every line the first: only its column says anything.
fn unread(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = said.split(" at line ").next().unwrap_or(&said);
    match error.classify() {
        serde_json::error::Category::Data => format!("{what}, at column {}", error.column()),
        _ => format!("it is not valid JSON: {what}, at column {}", error.column()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLACE: Place = Place {
        line: 7,
        before: Mark {
            lines: 6,
            bytes: 60,
        },
        too_long: None,
    };

    fn rules(into: Option<&str>) -> Rules {
        Rules {
            into: into.map(|into| Namespace::new(into).unwrap()),
            if_absent: false,
        }
    }

    #[test]
    fn a_document_is_passed_on_as_it_is_written() {
        let carts = rules(Some("carts"));
        let text = r#"{"value": {"n": 1.50, "é": [1e2]}, "version": "5f-6a", "key": "a/\"ü"}"#;
        let record = carts.read(text.as_bytes(), &PLACE).unwrap();
        assert_eq!((record.line, record.before), (7, PLACE.before));
        assert_eq!(
            record.write,
            r#"{"ns":"carts","key":"a/\"ü","put":{"n": 1.50, "é": [1e2]}}"#
        );
        let same = r#"{"ns":"carts","key":"a","value":{}}"#;
        carts.read(same.as_bytes(), &PLACE).unwrap();
        let any = Rules {
            into: None,
            if_absent: true,
        };
        assert_eq!(
            any.read(same.as_bytes(), &PLACE).unwrap().write,
            r#"{"ns":"carts","key":"a","put":{},"if_absent":true}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = format!(r#"{{"key":"{}","value":{{}}}}"#, "k".repeat(1_025));
        let large = format!(r#"{{"key":"k","value":{{"x":"{}"}}}}"#, "x".repeat(1 << 20));
        for (text, says) in [
            ("nonsense", "no JSON object"),
            (r#"["carts","a",{},1]"#, "no JSON object"),
            (r#"{"key":"a","value":{}"#, "not valid JSON: EOF"),
            (
                r#"{"key":"a","value":{}}}"#,
                "trailing characters, at column 23",
            ),
            (r#"{"value":{}}"#, "no \"key\""),
            (r#"{"key":null,"value":{}}"#, "no \"key\""),
            (r#"{"key":1,"value":{}}"#, "expected a string, at column 8"),
            (r#"{"key":"","value":{}}"#, "empty"),
            (&long, "1024"),
            (r#"{"key":"a"}"#, "no \"value\""),
            (r#"{"key":"a","value":[1]}"#, "\"value\" is no JSON object"),
            (r#"{"key":"a","value":{},"key":"b"}"#, "duplicate field"),
            (r#"{"key":"a","value":{},"ttl":1}"#, "unknown field `ttl`"),
            (r#"{"key":"a","value":{},"ns":"b"}"#, "--all"),
            (&large, "takes a request of 1048"),
        ] {
            let bad = rules(Some("carts"))
                .read(text.as_bytes(), &PLACE)
                .unwrap_err();
            assert!(bad.reason.contains(says), "{}", bad.reason);
            assert_eq!(bad.line, 7);
        }
        let utf8 = rules(Some("carts")).read(b"{\"key\":\"\xff\",\"value\":{}}", &PLACE);
        assert!(utf8.unwrap_err().reason.contains("invalid unicode"));
        let bad = rules(None).read(br#"{"key":"a","value":{}}"#, &PLACE);
        let bad = bad.unwrap_err();
        assert!(bad.reason.contains("no \"ns\""), "{}", bad.reason);
        assert_eq!(bad.key.as_deref(), Some("a"));
        let too_long = Place {
            too_long: Some(2_000_000),
            ..PLACE
        };
        let bad = rules(None).read(b"", &too_long).unwrap_err();
        assert!(bad.reason.contains("2000000 bytes long"), "{}", bad.reason);
    }
}
