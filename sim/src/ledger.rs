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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use anabranch_core::{Frontier, Incarnation, Namespace, ReplicaId};
    use serde_json::json;

    use super::*;

    fn document(key: &str) -> DocumentId {
        DocumentId::new("n", key).unwrap()
    }

    fn position(seq: u64) -> Option<(Origin, Seq)> {
        let origin = Origin {
            replica: ReplicaId([1; 16]),
            incarnation: Incarnation(1),
        };
        Some((origin, Seq(seq)))
    }

    fn ledger(mark: &Mark, writes: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for seq in 1..=writes {
            let number = ledger.open(0, document("d"), mark.clone());
            ledger.acknowledge(number, position(seq));
        }
        ledger
    }

    fn settle(ledger: &Ledger, value: Value) -> Result<(), String> {
        ledger.settle(&BTreeMap::from([(document("d"), value)]))
    }

    #[test]
    fn a_lost_write_is_found() {
        let ledger = ledger(&Mark::Member, 2);
        settle(&ledger, json!({"m": {"w0": "w0", "w1": {"in": ["w1"]}}})).unwrap();
        let found = settle(&ledger, json!({"m": {"w0": "w0"}})).unwrap_err();
        assert!(found.contains("w1"), "{found}");
        assert!(ledger.settle(&BTreeMap::new()).is_err());
    }

    #[test]
    fn text_is_read_mark_by_mark() {
        let ledger = ledger(&Mark::Post, 3);
        settle(
            &ledger,
            json!({"text": "<w2><w0>", "posts": [{"id": "w1"}]}),
        )
        .unwrap();
        assert!(settle(&ledger, json!({"text": "<w<w2>0>", "posts": ["w1"]})).is_err());
    }

    #[test]
    fn what_nobody_wrote_and_what_is_there_twice_is_found() {
        let mut ledger = ledger(&Mark::Post, 1);
        assert!(settle(&ledger, json!({"posts": ["w0", "w0"]})).is_err());
        assert!(settle(&ledger, json!({"posts": ["w0", "w7"]})).is_err());
        assert!(settle(&ledger, json!({"posts": ["w0", "x"]})).is_err());
        ledger.open(0, document("other"), Mark::Post);
        assert!(settle(&ledger, json!({"posts": ["w0", "w1"]})).is_err());
        ledger.writes[0].fate = Fate::Refused;
        assert!(settle(&ledger, json!({"posts": ["w0"]})).is_err());
    }

    #[test]
    fn counters_have_bounds() {
        let mark = Mark::Count {
            name: "x".to_owned(),
            by: 5,
        };
        let mut ledger = ledger(&mark, 2);
        settle(&ledger, json!({"n": {"x": 10}})).unwrap();
        assert!(settle(&ledger, json!({"n": {"x": 5}})).is_err());
        assert!(settle(&ledger, json!({"n": {"x": 15}})).is_err());
        ledger.writes[1].fate = Fate::Unknown;
        settle(&ledger, json!({"n": {"x": 5}})).unwrap();
        settle(&ledger, json!({"n": {"x": 10}})).unwrap();
        assert!(settle(&ledger, json!({"n": {"x": 11}})).is_err());
    }

    #[test]
    fn a_reader_finds_what_was_acknowledged_before_it_asked() {
        let mut ledger = ledger(&Mark::Member, 1);
        let owed = ledger.acknowledged_here(0, &document("d"));
        assert!(ledger.read(0, &document("d"), None, owed).is_err());
        assert!(ledger.read(1, &document("d"), None, 0).is_ok());
        ledger
            .read(0, &document("d"), Some(&json!({"m": {"w0": "w0"}})), owed)
            .unwrap();
    }

    #[test]
    fn only_what_no_other_disk_holds_is_excused() {
        let mut ledger = ledger(&Mark::Member, 3);
        let (origin, _) = position(1).unwrap();
        let held: Frontier = [(origin, Seq(2))].into_iter().collect();
        let survivors = [Holdings::from([(Namespace::new("n").unwrap(), held)])];
        assert_eq!(ledger.disk_lost(0, &survivors), 1);
        settle(&ledger, json!({"m": {"a": "w0", "b": "w1"}})).unwrap();
        assert!(settle(&ledger, json!({"m": {"a": "w0"}})).is_err());
    }

    #[test]
    fn what_was_seen_is_owed_although_nobody_was_answered() {
        let mut ledger = Ledger::default();
        let number = ledger.open(0, document("d"), Mark::Member);
        ledger.writes[number].fate = Fate::Unknown;
        settle(&ledger, json!({})).unwrap();
        ledger
            .read(1, &document("d"), Some(&json!({"m": {"w0": "w0"}})), 0)
            .unwrap();
        assert!(settle(&ledger, json!({})).is_err());
    }
}
