//! Lines gathered into what is written at once.
//!
//! Where a batch ends follows from where it began and from the lines alone, so an import that goes on sends the same
//! batches as the one before would have.

use std::collections::HashSet;

use super::position::Mark;
use super::record::{BadLine, ENVELOPE, Record, Rules};
use super::source::Source;
use crate::client::error::ClientError;
use crate::limits;

/// Documents of one namespace, and what else was among their lines.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Lines that are left out.
    pub(super) bad: Vec<BadLine>,
    /// All before this is in this batch or one before it.
    pub(super) end: Mark,
}

impl Batch {
    /// What it writes to.
    pub(super) fn names(&self) -> HashSet<(String, String)> {
        let records = self.records.iter();
        let name = |record: &Record| {
            let (namespace, key) = (record.namespace.as_str(), record.key.as_str());
            (namespace.to_owned(), key.to_owned())
        };
        records.map(name).collect()
    }
}

/// An input as batches.
pub(super) struct Batches {
    source: Source,
    rules: Rules,
    /// End at the first line that is bad.
    is_strict: bool,
    /// Read already, and for the next batch.
    pending: Option<Record>,
    /// What it ended at.
    stopped_by: Option<BadLine>,
}

impl Batches {
    pub(super) fn new(source: Source, rules: Rules, is_strict: bool) -> Self {
        Self {
            source,
            rules,
            is_strict,
            pending: None,
            stopped_by: None,
        }
    }

    /// The line because of which there are no more batches, if it is not the end of the input.
    pub(super) fn stopped_by(&mut self) -> Option<BadLine> {
        self.stopped_by.take()
    }

    pub(super) fn next(&mut self) -> Result<Option<Batch>, ClientError> {
        let mut batch = Batch {
            records: Vec::new(),
            bad: Vec::new(),
            end: self.source.at(),
        };
        let mut size = ENVELOPE.0.len() + ENVELOPE.1.len();
        let mut lines = 0;
        if let Some(record) = self.pending.take() {
            size += record.write.len();
            lines += 1;
            batch.records.push(record);
        }
        while lines < limits::IMPORT_BATCH_LINES_MAX && self.stopped_by.is_none() {
            let Some(place) = self.source.advance()? else {
                break;
            };
            lines += 1;
            let text = self.source.text();
            if text.is_empty() && place.too_long.is_none() {
                batch.end = self.source.at();
                continue;
            }
            match self.rules.read(text, &place) {
                Ok(record) => {
                    let comma = usize::from(!batch.records.is_empty());
                    let grown = size + comma + record.write.len();
                    let is_one_more = batch.records.last().is_none_or(|last| {
                        last.namespace == record.namespace && grown <= limits::BODY_BYTES_MAX
                    });
                    if !is_one_more {
                        batch.end = record.before;
                        self.pending = Some(record);
                        break;
                    }
                    size = grown;
                    batch.records.push(record);
                }
                Err(bad) if self.is_strict => {
                    self.stopped_by = Some(bad);
                    break;
                }
                Err(bad) => batch.bad.push(bad),
            }
            batch.end = self.source.at();
        }
        Ok((lines > 0).then_some(batch))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use anabranch::Namespace;

    use super::*;
    use crate::client::porting::position::Position;

    fn batches(text: &[u8], from: Option<Mark>, is_strict: bool) -> Result<Batches, ClientError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let whole = Source::open(file.path(), None).unwrap();
        let from = from.map(|at| Position {
            at,
            run: String::new(),
            node: String::new(),
            head: whole.head().hash(at),
        });
        let source = Source::open(file.path(), from.as_ref())?;
        let rules = Rules {
            into: None,
            if_absent: false,
        };
        Ok(Batches::new(source, rules, is_strict))
    }

    fn all(mut batches: Batches) -> Vec<Batch> {
        std::iter::from_fn(|| batches.next().unwrap()).collect()
    }

    fn line(namespace: &str, key: &str, size: usize) -> String {
        let text = "x".repeat(size);
        format!("{{\"ns\":\"{namespace}\",\"key\":\"{key}\",\"value\":{{\"x\":\"{text}\"}}}}\n")
    }

    fn keys(batch: &Batch) -> Vec<&str> {
        batch
            .records
            .iter()
            .map(|record| record.key.as_str())
            .collect()
    }

    #[test]
    fn lines_are_numbered_whatever_they_are_and_end_with() {
        let long = "x".repeat(limits::IMPORT_LINE_BYTES_MAX + 1);
        let text = format!(
            "\u{feff}{}\r\n\n  \n{long}\n{}nonsense\n{}",
            line("n", "a", 1).trim_end(),
            line("n", "b", 1),
            line("n", "c", 1).trim_end()
        );
        let found = all(batches(text.as_bytes(), None, false).unwrap());
        let [batch] = &*found else {
            panic!("{found:?}");
        };
        assert_eq!(keys(batch), ["a", "b", "c"]);
        let lines: Vec<u64> = batch.records.iter().map(|record| record.line).collect();
        assert_eq!(lines, [1, 5, 7]);
        let bad: Vec<u64> = batch.bad.iter().map(|bad| bad.line).collect();
        assert_eq!(bad, [4, 6]);
        let end = Mark {
            lines: 7,
            bytes: text.len() as u64,
        };
        assert_eq!(batch.end, end);
        // What was imported to its end, though the last line has none.
        assert!(all(batches(text.as_bytes(), Some(end), false).unwrap()).is_empty());
    }

    #[test]
    fn a_batch_is_of_one_namespace_and_fits_into_a_request() {
        let mut text = line("n", "a", 400_000) + &line("n", "b", 400_000);
        text += &(line("n", "c", 400_000) + &line("m", "d", 1) + &line("n", "e", 1));
        for n in 0..limits::IMPORT_BATCH_LINES_MAX {
            text += &line("n", &format!("k{n}"), 1);
        }
        let found = all(batches(text.as_bytes(), None, false).unwrap());
        let lens: Vec<usize> = found.iter().map(|batch| batch.records.len()).collect();
        assert_eq!(lens, [2, 1, 1, limits::IMPORT_BATCH_LINES_MAX, 1]);
        // From any of their ends it goes on with the same batches.
        for at in 0..found.len() {
            let rest = all(batches(text.as_bytes(), Some(found[at].end), false).unwrap());
            let of = |batches: &[Batch]| -> Vec<String> {
                let records = batches.iter().flat_map(|batch| &batch.records);
                records
                    .map(|record| format!("{} {}", record.line, record.write))
                    .collect()
            };
            assert_eq!(rest.len(), found.len() - at - 1);
            assert_eq!(of(&rest), of(&found[at + 1..]));
        }
    }

    #[test]
    fn garbage_makes_batches_as_well() {
        let text = "x\n".repeat(limits::IMPORT_BATCH_LINES_MAX * 2 + 1);
        let found = all(batches(text.as_bytes(), None, false).unwrap());
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].end.lines, found[2].bad[0].line);
    }

    #[test]
    fn strictly_it_ends_before_the_first_bad_line() {
        let text = line("n", "a", 1) + "x\n" + &line("n", "b", 1);
        let mut strict = batches(text.as_bytes(), None, true).unwrap();
        let batch = strict.next().unwrap().unwrap();
        assert_eq!(keys(&batch), ["a"]);
        assert!(strict.next().unwrap().is_none());
        let bad = strict.stopped_by().unwrap();
        assert_eq!((bad.line, bad.before), (2, batch.end));
        let rest = text.replace("x\n", &line("n", "m", 1));
        let rest = all(batches(rest.as_bytes(), Some(batch.end), true).unwrap());
        assert_eq!(keys(&rest[0]), ["m", "b"]);
    }

    #[test]
    fn another_input_is_not_gone_on_with() {
        let text = line("n", "a", 1) + &line("n", "b", 1);
        let first = line("n", "a", 1).len() as u64;
        let at = |lines, bytes| Some(Mark { lines, bytes });
        for (from, says) in [
            (at(1, first - 2), "no line begins there"),
            (at(9, 9_999), "shorter"),
        ] {
            let error = batches(text.as_bytes(), from, false).err().unwrap();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let position = Position {
            at: at(1, first).unwrap(),
            run: String::new(),
            node: String::new(),
            head: "0".repeat(32),
        };
        let error = Source::open(file.path(), Some(&position)).err().unwrap();
        assert!(error.to_string().contains("begins otherwise"), "{error}");
    }

    #[test]
    fn a_namespace_is_taken_from_the_command_line() {
        let rules = Rules {
            into: Some(Namespace::new("n").unwrap()),
            if_absent: false,
        };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{\"key\":\"a\",\"value\":{}}").unwrap();
        let source = Source::open(file.path(), None).unwrap();
        let mut batches = Batches::new(source, rules, false);
        let names = batches.next().unwrap().unwrap().names();
        assert!(names.contains(&("n".to_owned(), "a".to_owned())));
    }
}
