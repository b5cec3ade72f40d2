//! How far an import is: what it takes to go on from there, in a file or on the command line.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::destination;
use crate::client::error::ClientError;
use crate::limits;

/// Of the file. A higher one is a later version's.
const FORMAT: u32 = 1;

/// A place between two lines of an input.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Lines before it.
    pub(super) lines: u64,
    /// Bytes before it.
    pub(super) bytes: u64,
}

/// A place in an import up to which everything is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Position {
    #[serde(flatten)]
    pub(super) at: Mark,
    /// Which import it is. What is sent again is known by it, so that what was under way is not done twice.
    pub(super) run: String,
    /// The replica that takes the documents.
    pub(super) node: String,
    /// The hash of the beginning of the input, as far as it has been read.
    pub(super) head: String,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            run,
            node,
            head,
        } = self;
        write!(f, "{}.{}.{run}.{node}.{head}", at.lines, at.bytes)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let parts: Vec<&str> = text.split('.').collect();
            let [lines, bytes, run, node, head] = <[&str; 5]>::try_from(parts).ok()?;
            let at = Mark {
                lines: lines.parse().ok()?,
                bytes: bytes.parse().ok()?,
            };
            let hex = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
            [run, node, head]
                .into_iter()
                .all(hex)
                .then(|| [run, node, head].map(str::to_owned))
                .map(|[run, node, head]| Self {
                    at,
                    run,
                    node,
                    head,
                })
        };
        parse().ok_or("it is no position: give it as an import that stopped has printed it")
    }
}

/// What became of what was read.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Totals {
    /// Documents that are now as the input says.
    pub(super) documents: u64,
    /// Of them, those that were not there before.
    pub(super) created: u64,
    /// Of them, those that were there and differed.
    pub(super) changed: u64,
    /// Documents that were left as they are, since they are there.
    pub(super) skipped: u64,
    /// Lines that were left out, since something is wrong with them.
    pub(super) left_out: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.created += other.created;
        self.changed += other.changed;
        self.skipped += other.skipped;
        self.left_out += other.left_out;
    }
}

/// An import as its file has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    /// The namespace; none if the lines say it.
    pub(super) into: Option<String>,
    #[serde(flatten)]
    pub(super) position: Position,
    /// Whether the end of the input was reached.
    pub(super) finished: bool,
    pub(super) totals: Totals,
}

impl State {
    pub(super) fn new(into: Option<String>, position: Position) -> Self {
        Self {
            format: FORMAT,
            into,
            position,
            finished: false,
            totals: Totals::default(),
        }
    }

    /// What a file has; none if there is no file.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, ClientError> {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| {
            file.take(limits::POSITION_FILE_BYTES_MAX)
                .read_to_string(&mut text)
        });
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(ClientError::Input {
                    from: path.display().to_string(),
                    source,
                });
            }
        }
        let refused = |why: String| ClientError::Position {
            place: path.display().to_string(),
            why,
        };
        let state: Self = serde_json::from_str(&text).map_err(|error| {
            refused(format!(
                "it was not written by `anabranch import` ({error}); give another file to begin anew"
            ))
        })?;
        match state.format {
            FORMAT => Ok(Some(state)),
            other => Err(refused(format!(
                "its format is {other}, and this version knows {FORMAT}: go on with the version that began"
            ))),
        }
    }
}

/// An import's state, kept in a file if there is one.
pub(super) struct Ledger {
    pub(super) state: State,
    path: Option<PathBuf>,
    kept: Option<Instant>,
    /// Something is not written down yet.
    is_ahead: bool,
}

impl Ledger {
    pub(super) fn new(state: State, path: Option<PathBuf>) -> Self {
        Self {
            state,
            path,
            kept: None,
            is_ahead: true,
        }
    }

    /// All before a mark is acknowledged. The file may say so a moment later: what is sent again until then is not
    /// done again.
    pub(super) fn advance(
        &mut self,
        to: Mark,
        head: String,
        totals: &Totals,
    ) -> Result<(), ClientError> {
        self.state.position.at = to;
        self.state.position.head = head;
        self.state.totals.add(totals);
        self.is_ahead = true;
        let is_due = self
            .kept
            .is_none_or(|kept| kept.elapsed() >= limits::POSITION_KEPT_EVERY);
        match is_due {
            true => self.keep(),
            false => Ok(()),
        }
    }

    /// Writes the state down unless it is.
    pub(super) fn keep_what_is_new(&mut self) -> Result<(), ClientError> {
        match self.is_ahead {
            true => self.keep(),
            false => Ok(()),
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), ClientError> {
        self.state.finished = true;
        self.keep()
    }

    /// Writes the state down.
    pub(super) fn keep(&mut self) -> Result<(), ClientError> {
        if let Some(path) = &self.path {
            let text =
                serde_json::to_string(&self.state).map_err(|error| ClientError::OutputFile {
                    path: path.clone(),
                    source: error.into(),
                })?;
            destination::replace(path, format!("{text}\n").as_bytes())?;
        }
        self.kept = Some(Instant::now());
        self.is_ahead = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn position() -> Position {
        Position {
            at: Mark {
                lines: 12,
                bytes: 3_456,
            },
            run: "0a".repeat(16),
            node: "0b".repeat(16),
            head: "0c".repeat(16),
        }
    }

    #[test]
    fn a_position_is_a_word_on_the_command_line() {
        let text = position().to_string();
        assert!(!text.contains(' '), "{text}");
        assert_eq!(text.parse(), Ok(position()));
        for bad in [
            "",
            "12",
            &text[1..text.len() - 1],
            &format!("{text}.0"),
            &text.replace("0b", ".."),
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_state_is_kept_as_it_goes_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        assert_eq!(State::load(&path).unwrap(), None);
        let state = State::new(Some("carts".to_owned()), position());
        let mut ledger = Ledger::new(state, Some(path.clone()));
        let totals = Totals {
            documents: 3,
            left_out: 1,
            ..Totals::default()
        };
        let to = Mark {
            lines: 16,
            bytes: 4_000,
        };
        ledger.advance(to, "0d".repeat(16), &totals).unwrap();
        let kept = State::load(&path).unwrap().unwrap();
        assert_eq!((kept.position.at, kept.totals), (to, totals));
        ledger.advance(to, "0d".repeat(16), &totals).unwrap();
        ledger.finish().unwrap();
        let kept = State::load(&path).unwrap().unwrap();
        assert_eq!((kept.totals.documents, kept.finished), (6, true));
        assert_eq!(kept, ledger.state);
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        let mut later = serde_json::to_value(State::new(None, position())).unwrap();
        later["format"] = 2.into();
        for (text, says) in [
            ("", "another file"),
            ("{\"key\": \"a\"}", "another file"),
            (&*later.to_string(), "format is 2"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = State::load(&path).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), 2);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
