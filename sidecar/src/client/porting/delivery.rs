//! A batch into a node: whole if it can be, and else in parts, until it is known which lines the node does not take.

use std::collections::HashSet;

use serde::Deserialize;

use super::batches::Batch;
use super::patience::Patience;
use super::position::{Mark, Totals};
use super::progress::Progress;
use super::record::{BadLine, ENVELOPE, Record};
use crate::client::connection::{Call, Connection};
use crate::client::error::ClientError;
use crate::client::writing::BATCH;
use crate::http::{address, writing};

/// Fewer documents are not worth a look at which of them are there.
const WORTH_LISTING: usize = 8;
/// Pages that such a look may take.
const LISTED_PAGES_MAX: usize = 2;

/// Where batches go, and how.
pub(super) struct Delivery<'a> {
    pub(super) connection: Connection,
    pub(super) patience: Patience,
    pub(super) progress: &'a Progress,
    /// Which import it is.
    pub(super) run: String,
    /// Write nothing after a line that is bad.
    pub(super) is_strict: bool,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) totals: Totals,
    /// All lines that are left out, in order.
    pub(super) bad: Vec<BadLine>,
    /// All before this is done.
    pub(super) end: Mark,
    /// The line at which it stopped.
    pub(super) stopped_by: Option<BadLine>,
}

#[derive(Deserialize)]
struct Answer {
    writes: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    changed: bool,
    created: bool,
}

#[derive(Deserialize)]
struct Page {
    documents: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    key: String,
}

/// Why a node did not take a batch, if that is the documents' fault.
struct Refusal {
    /// Which one it is, as far as the node knows.
    index: Option<usize>,
    /// It is there, and was to be written only if it is not.
    is_there: bool,
    reason: String,
}

impl Refusal {
    fn of(error: ClientError, records: &[&Record]) -> Result<Self, ClientError> {
        let ClientError::Problem {
            kind,
            message,
            index,
            ..
        } = &error
        else {
            return Err(error);
        };
        let is_there = kind == "precondition-failed";
        let is_theirs = matches!(
            &**kind,
            "bad-edit"
                | "bad-json"
                | "bad-name"
                | "body-too-large"
                | "edit-does-not-fit"
                | "write-too-large"
        );
        if !is_there && !is_theirs {
            return Err(error);
        }
        let index = match records {
            [_] => Some(0),
            // It is the one with which all became too much, alone it may do.
            _ if kind == "write-too-large" => None,
            _ => index.filter(|index| *index < records.len()),
        };
        let reason = match index {
            None => message.clone(),
            Some(at) => {
                let name = format!("write {at} ({}): ", records[at].key);
                message.strip_prefix(&name).unwrap_or(message).to_owned()
            }
        };
        Ok(Self {
            index,
            is_there,
            reason,
        })
    }
}

impl Delivery<'_> {
    pub(super) fn deliver(&self, batch: Batch) -> Result<Outcome, ClientError> {
        let mut outcome = Outcome {
            bad: batch.bad,
            end: batch.end,
            ..Outcome::default()
        };
        let records: Vec<&Record> = batch.records.iter().collect();
        self.part(&records, &mut outcome)?;
        outcome.bad.sort_by_key(|bad| bad.line);
        outcome.totals.left_out = outcome.bad.len() as u64;
        if let Some(bad) = &outcome.stopped_by {
            outcome.end = bad.before;
        }
        Ok(outcome)
    }

    /// Writes documents, one after the other if the same one comes twice.
    fn part(&self, records: &[&Record], outcome: &mut Outcome) -> Result<(), ClientError> {
        if records.is_empty() || outcome.stopped_by.is_some() {
            return Ok(());
        }
        let refused = match self.send(records) {
            Ok(answer) => {
                outcome.count(&answer);
                return Ok(());
            }
            Err(error) => Refusal::of(error, records)?,
        };
        let Some(at) = refused.index else {
            return self.halves(records, outcome);
        };
        let (before, rest) = records.split_at(at);
        // What comes before it has been found good.
        self.part(before, outcome)?;
        let Some((first, rest)) = rest.split_first() else {
            return Ok(());
        };
        match refused.is_there {
            true => outcome.totals.skipped += 1,
            false => outcome.leave_out(first.refused(refused.reason), self.is_strict),
        }
        let new: Vec<&Record> = match refused.is_there && rest.len() >= WORTH_LISTING {
            false => rest.to_vec(),
            true => {
                let there = self.there(rest)?;
                let is_new = |record: &&&Record| !there.contains(record.key.as_str());
                rest.iter().filter(is_new).copied().collect()
            }
        };
        outcome.totals.skipped += (rest.len() - new.len()) as u64;
        // In halves, though it might be the only one: else a batch of bad documents would be sent once for each.
        self.halves(&new, outcome)
    }

    fn halves(&self, records: &[&Record], outcome: &mut Outcome) -> Result<(), ClientError> {
        let (one, other) = records.split_at(records.len() / 2);
        self.part(one, outcome)?;
        self.part(other, outcome)
    }

    fn send(&self, records: &[&Record]) -> Result<Answer, ClientError> {
        let writes: Vec<&str> = records.iter().map(|record| &*record.write).collect();
        let body = [ENVELOPE.0, &writes.join(","), ENVELOPE.1].concat();
        let line = records.first().map_or(0, |record| record.line);
        let headers = vec![(
            writing::IDEMPOTENCY_KEY,
            idempotency_key(&self.run, line, &body),
        )];
        let call = Call::post(BATCH.to_owned(), headers, body.as_bytes());
        let asked = || self.connection.call(&call)?.parse::<Answer>();
        let answer = self.patience.ask(self.progress, asked)?;
        match answer.writes.len() == records.len() {
            true => Ok(answer),
            false => Err(ClientError::NotAnabranch),
        }
    }

    /// Which of these are there, as far as a few pages of the listing tell: all of them if they stand side by side, as
    /// in an export they do.
    fn there(&self, records: &[&Record]) -> Result<HashSet<String>, ClientError> {
        let mut keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        keys.sort_unstable();
        let (Some(&first), Some(&last)) = (keys.first(), keys.last()) else {
            return Ok(HashSet::new());
        };
        let mut there = HashSet::new();
        let mut after = first.to_owned();
        for _ in 0..LISTED_PAGES_MAX {
            let namespace = records
                .first()
                .map_or("", |record| record.namespace.as_str());
            let target = format!(
                "{}{}?limit={}&after={}",
                address::DOCUMENTS,
                address::escape(namespace),
                anabranch::limits::PAGE_DOCUMENTS_MAX,
                address::escape(&after),
            );
            let call = Call::get(target);
            let asked = || self.connection.call(&call)?.parse::<Page>();
            let page = self.patience.ask(self.progress, asked)?;
            there.extend(page.documents.into_iter().map(|listed| listed.key));
            match page.next {
                Some(next) if *next < *last => after = next,
                _ => break,
            }
        }
        there.retain(|key| keys.binary_search(&&**key).is_ok());
        Ok(there)
    }
}

impl Outcome {
    fn count(&mut self, answer: &Answer) {
        for write in &answer.writes {
            self.totals.documents += 1;
            self.totals.created += u64::from(write.created);
            self.totals.changed += u64::from(write.changed && !write.created);
        }
    }

    fn leave_out(&mut self, bad: BadLine, is_strict: bool) {
        match is_strict {
            true => self.stopped_by = Some(bad),
            false => self.bad.push(bad),
        }
    }
}

/// The same for the same documents at the same place of the same import, and for nothing else. The import is in it
/// since the same file may be imported again later, and is to be written again then.
fn idempotency_key(run: &str, line: u64, body: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(run.as_bytes());
    hasher.update(&line.to_le_bytes());
    hasher.update(body.as_bytes());
    format!("import-{}", &hasher.finalize().to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_one_place_in_one_import() {
        let key = idempotency_key("run", 1, "body");
        assert_eq!(key, idempotency_key("run", 1, "body"));
        for other in [
            idempotency_key("again", 1, "body"),
            idempotency_key("run", 2, "body"),
            idempotency_key("run", 1, "other"),
        ] {
            assert_ne!(key, other);
        }
    }
}
