//! A document's past: its versions, and what changed between them.

use anabranch::{DocumentId, limits};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::connection::Call;
use super::error::ClientError;
use super::output::table;
use super::session::{Session, Visit};
use super::{Common, input};
use crate::http::address;

/// Digits of a version for people; enough to name it again.
const SHORT: usize = 12;
/// Fewest digits that a version may be named by.
const SHORTEST: usize = 4;
const WHOLE: usize = 64;

/// `anabranch history`
#[derive(clap::Args)]
pub(crate) struct History {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// Versions at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Leave out this many of the newest
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Print versions whole (`get --at`, `diff` and `--base` take the short ones, too)
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    visit: Visit,
    #[command(flatten)]
    common: Common,
}

impl History {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let id = input::document(&self.document)?;
        let (mut session, mut output) = self.visit.open(&self.common)?;
        let mut pages = Pages::new(&id, self.skip);
        let mut versions = Vec::new();
        while let Some(page) = pages.next(&mut session, self.limit - versions.len())? {
            versions.extend(page);
            if versions.len() >= self.limit {
                break;
            }
        }
        if output.is_json() {
            return versions
                .iter()
                .try_for_each(|version| output.value(version));
        }
        let rows: Vec<_> = versions.iter().map(|version| self.row(version)).collect();
        let lines = table(["VERSION", "WHEN", "WHO"], &rows);
        lines.iter().try_for_each(|line| output.line(line))?;
        if pages.more {
            output.line("… and older ones: give a larger --limit, or --skip these")?;
        }
        Ok(())
    }

    fn row(&self, version: &Value) -> [String; 3] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut hash = text(&version["version"]);
        if !self.full {
            hash.truncate(SHORT);
        }
        let by = &version["by"];
        let who = match (by["name"].as_str(), by["datacenter"].as_str()) {
            (Some(name), Some(datacenter)) => format!("{name} in {datacenter}"),
            (Some(name), None) => name.to_owned(),
            _ => format!("actor {}", text(&by["actor"])),
        };
        [hash, when(version["time_s"].as_i64().unwrap_or(0)), who]
    }
}

/// A time as RFC 3339 has it.
fn when(time_s: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(time_s) else {
        return format!("{time_s} s");
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// A document's versions, newest first, a page at a time.
struct Pages {
    target: String,
    skip: usize,
    more: bool,
}

impl Pages {
    fn new(id: &DocumentId, skip: usize) -> Self {
        Self {
            target: address::of_document(id),
            skip,
            more: true,
        }
    }

    fn next(
        &mut self,
        session: &mut Session,
        limit: usize,
    ) -> Result<Option<Vec<Value>>, ClientError> {
        if !self.more || limit == 0 {
            return Ok(None);
        }
        let (target, skip) = (&self.target, self.skip);
        let limit = limit.min(limits::VERSIONS_MAX);
        let asked = format!("{target}?versions=true&skip={skip}&limit={limit}");
        let mut page = session.call(Call::get(asked))?.json()?;
        let Value::Array(versions) = page["versions"].take() else {
            return Err(ClientError::NotAnabranch);
        };
        self.skip += versions.len();
        self.more = page["more"] == json!(true) && !versions.is_empty();
        Ok(Some(versions))
    }
}

/// The version that somebody means: given whole, or by its first digits as `anabranch history` prints them.
pub(super) fn version(
    session: &mut Session,
    id: &DocumentId,
    given: &str,
) -> Result<String, ClientError> {
    let given = given.trim_matches('"').to_ascii_lowercase();
    if given.len() >= WHOLE {
        // Whole, or the node says what is wrong with it.
        return Ok(given);
    }
    let digits = given.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || given.len() < SHORTEST {
        return Err(ClientError::Digits { given });
    }
    let mut found: Vec<String> = Vec::new();
    let mut pages = Pages::new(id, 0);
    while let Some(page) = pages.next(session, limits::VERSIONS_MAX)? {
        let versions = page.iter().filter_map(|info| info["version"].as_str());
        let meant = versions.filter(|version| version.starts_with(&given));
        found.extend(meant.map(str::to_owned));
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(ClientError::NoVersion { given }),
        count => Err(ClientError::SeveralVersions { given, count }),
    }
}

/// `anabranch diff`
#[derive(clap::Args)]
pub(crate) struct Diff {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// The version from which, or its first digits
    from: String,
    /// The version to which [default: the document as it is]
    to: Option<String>,
    #[command(flatten)]
    visit: Visit,
    #[command(flatten)]
    common: Common,
}

impl Diff {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let id = input::document(&self.document)?;
        let (mut session, mut output) = self.visit.open(&self.common)?;
        let from = version(&mut session, &id, &self.from)?;
        let mut target = format!(
            "{}?diff={}",
            address::of_document(&id),
            address::escape(&from)
        );
        if let Some(to) = &self.to {
            let to = version(&mut session, &id, to)?;
            target += &format!("&to={}", address::escape(&to));
        }
        let patch = session.call(Call::get(target))?.json()?;
        if output.is_json() {
            return output.value(&patch);
        }
        let operations = patch.as_array().ok_or(ClientError::NotAnabranch)?;
        operations
            .iter()
            .map(operation)
            .try_for_each(|line| output.line(&line))
    }
}

/// One operation of a JSON Patch, in words.
fn operation(operation: &Value) -> String {
    let text = |name: &str| operation[name].as_str().unwrap_or_default();
    let (op, mut path) = (text("op"), text("path"));
    if path.is_empty() {
        path = "(the document)";
    }
    match (operation.get("from"), operation.get("value")) {
        (Some(_), _) => format!("{op} {} to {path}", text("from")),
        (None, Some(value)) => format!("{op} {path} {value}"),
        (None, None) => format!("{op} {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_the_rfc_has_them() {
        assert_eq!(when(0), "1970-01-01T00:00:00Z");
        assert_eq!(when(1_795_267_659), "2026-11-21T13:27:39Z");
        assert_eq!(when(i64::MAX), format!("{} s", i64::MAX));
    }

    #[test]
    fn operations_are_said_in_a_line() {
        for (given, said) in [
            (
                json!({"op": "replace", "path": "/a", "value": "x"}),
                "replace /a \"x\"",
            ),
            (json!({"op": "remove", "path": "/a/0"}), "remove /a/0"),
            (
                json!({"op": "move", "from": "/a", "path": "/b"}),
                "move /a to /b",
            ),
            (
                json!({"op": "add", "path": "", "value": {}}),
                "add (the document) {}",
            ),
        ] {
            assert_eq!(operation(&given), said);
        }
    }
}
