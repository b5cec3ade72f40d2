//! Checkers over content: no acknowledged or seen write is lost, nothing comes from nowhere, counters add up.
//!
//! Every write carries its number in what it writes. Documents come in classes: in `count/`, `set/` and
//! `feed/` things are only ever added, so what was acknowledged must be found at the end; in the others
//! anything goes, and what is found must have been written. Text that is edited there is all tildes.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_core::{DocumentId, Origin, Seq};
use serde_json::Value;

use crate::machine::{Holdings, held};

/// What became of a write, as far as its caller knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Pending,
    Acknowledged,
    Refused,
    /// The process ended before it answered, or the store failed.
    Unknown,
}

/// What a write leaves behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// Its number in some value; may be overwritten.
    Value,
    /// An entry that is never removed.
    Member,
    /// An element or a stretch of text that is never removed.
    Post,
    /// An increment of a counter that is never removed.
    Count { name: String, by: i64 },
}

pub(crate) struct Write {
    pub(crate) site: usize,
    pub(crate) document: DocumentId,
    pub(crate) mark: Mark,
    pub(crate) fate: Fate,
    /// Known once it is acknowledged.
    pub(crate) position: Option<(Origin, Seq)>,
    /// Somebody has read it.
    pub(crate) seen: bool,
    /// A disk was lost before anybody else was known to hold it.
    pub(crate) excused: bool,
}

impl Write {
    fn is_owed(&self) -> bool {
        (self.fate == Fate::Acknowledged || self.seen) && !self.excused
    }
}

/// Every write that was tried.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) writes: Vec<Write>,
    /// Acknowledged at a replica on the disk that it has now, by document.
    here: BTreeMap<(usize, DocumentId), Vec<usize>>,
}

impl Ledger {
    pub(crate) fn open(&mut self, site: usize, document: DocumentId, mark: Mark) -> usize {
        self.writes.push(Write {
            site,
            document,
            mark,
            fate: Fate::Pending,
            position: None,
            seen: false,
            excused: false,
        });
        self.writes.len() - 1
    }

    pub(crate) fn acknowledge(&mut self, number: usize, position: Option<(Origin, Seq)>) {
        let write = &mut self.writes[number];
        write.fate = Fate::Acknowledged;
        write.position = position;
        let place = (write.site, write.document.clone());
        self.here.entry(place).or_default().push(number);
    }

    /// How many acknowledged writes a reader here must find; to be asked before the read.
    pub(crate) fn acknowledged_here(&self, site: usize, document: &DocumentId) -> usize {
        self.here.get(&(site, document.clone())).map_or(0, Vec::len)
    }

    /// The disk of a replica was replaced. What no other one holds may be gone.
    pub(crate) fn disk_lost(&mut self, site: usize, survivors: &[Holdings]) -> usize {
        self.here.retain(|(at, _), _| *at != site);
        let mut excused = 0;
        for write in self.writes.iter_mut().filter(|write| !write.excused) {
            let safe = match &write.position {
                Some((origin, seq)) => survivors
                    .iter()
                    .any(|holdings| held(holdings, &write.document.namespace, origin) >= *seq),
                // Where it stands is not known, so it can't be said who holds it.
                None => write.site != site || !matches!(write.fate, Fate::Unknown | Fate::Pending),
            };
            if !safe {
                write.excused = true;
                excused += 1;
            }
        }
        excused
    }

    /// A document as somebody read it. `owed`: of the writes acknowledged here, how many must be in it.
    pub(crate) fn read(
        &mut self,
        site: usize,
        document: &DocumentId,
        value: Option<&Value>,
        owed: usize,
    ) -> Result<(), String> {
        let found = self.marks(document, value)?;
        for number in &found {
            self.writes[*number].seen = true;
        }
        let here = self.here.get(&(site, document.clone()));
        for number in here.iter().flat_map(|here| here.iter().take(owed)) {
            let write = &self.writes[*number];
            let additive = matches!(write.mark, Mark::Member | Mark::Post);
            if additive && !found.contains(number) {
                return Err(format!(
                    "write w{number} to {document} was acknowledged here and is not in what is read here"
                ));
            }
        }
        Ok(())
    }

    /// The numbers of all writes that a document shows.
    fn marks(
        &self,
        document: &DocumentId,
        value: Option<&Value>,
    ) -> Result<BTreeSet<usize>, String> {
        let mut found = Vec::new();
        if let Some(value) = value {
            collect(value, &mut found);
        }
        let mut numbers = BTreeSet::new();
        for mark in found {
            let number: Option<usize> = mark.strip_prefix('w').and_then(|n| n.parse().ok());
            let write = number.and_then(|number| Some((number, self.writes.get(number)?)));
            let Some((number, write)) = write
                .filter(|(_, write)| write.document == *document && write.fate != Fate::Refused)
            else {
                return Err(format!(
                    "{document} shows {mark:?}, which nobody wrote there"
                ));
            };
            let additive = matches!(write.mark, Mark::Member | Mark::Post);
            if !numbers.insert(number) && additive {
                return Err(format!("{document} shows {mark:?} twice"));
            }
        }
        Ok(numbers)
    }

    /// The final state, equal everywhere: what is owed is there, and counters add up.
    pub(crate) fn settle(&self, documents: &BTreeMap<DocumentId, Value>) -> Result<(), String> {
        let mut found = BTreeMap::new();
        for (document, value) in documents {
            found.insert(document, self.marks(document, Some(value))?);
        }
        let mut sums: BTreeMap<(&DocumentId, &str), (i64, i64)> = BTreeMap::new();
        for (number, write) in self.writes.iter().enumerate() {
            match &write.mark {
                Mark::Value => {}
                Mark::Member | Mark::Post => {
                    let there = found.get(&write.document);
                    if write.is_owed() && !there.is_some_and(|marks| marks.contains(&number)) {
                        return Err(format!(
                            "write w{number} to {} at replica {} is lost ({:?}, seen: {}, {:?})",
                            write.document,
                            crate::site_name(write.site),
                            write.fate,
                            write.seen,
                            write
                                .position
                                .map(|(origin, seq)| format!("{origin} {}", seq.0)),
                        ));
                    }
                }
                Mark::Count { name, by } => {
                    let (low, high) = sums.entry((&write.document, name)).or_default();
                    if write.is_owed() {
                        *low += by;
                    }
                    if write.fate != Fate::Refused {
                        *high += by;
                    }
                }
            }
        }
        for ((document, name), (low, high)) in sums {
            let value = documents
                .get(document)
                .and_then(|value| value["n"][name].as_i64());
            let value = value.unwrap_or(0);
            if !(low..=high).contains(&value) {
                return Err(format!(
                    "counter {name} of {document} is {value}, acknowledged increments make it {low} to {high}"
                ));
            }
        }
        Ok(())
    }
}

/// Texts in a document stand for writes: whole strings, entries of `m`, and stretches of `text`.
fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with('<') => {
            let marks = text.split_inclusive('>').map(|part| {
                part.strip_prefix('<')
                    .and_then(|part| part.strip_suffix('>'))
                    .unwrap_or(part)
            });
            into.extend(marks.map(str::to_owned));
        }
        Value::String(text) => {
            if !text.bytes().all(|byte| byte == b'~') {
                into.push(text.clone());
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, into)),
        Value::Object(entries) => entries.values().for_each(|entry| collect(entry, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
