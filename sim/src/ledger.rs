//! What was asked to be written, which batches came of it, and what their writers had seen.

use std::collections::BTreeMap;

use anabranch_core::{Ack, Batch, DocumentId, Frontier, Key, Namespace, Origin, Seq, Written};

use crate::machine::{Holdings, held};
use crate::marks::{Place, Sum};

/// What became of a write, as far as its callers know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Pending,
    Acknowledged,
    Refused,
    /// The process ended before it answered, or the store failed.
    Unknown,
}

/// What a removal takes of what its writer had seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Document,
    /// All of the map `m`.
    Entries,
    /// What one write left at a place.
    Mark(Place, usize),
    Sum(Sum, &'static str),
}

/// What a write does to a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// Something that is not accounted for.
    Anything,
    Leaves(Place),
    Adds {
        sum: Sum,
        name: &'static str,
        by: i64,
    },
    Removes(Scope),
}

/// A write's part in one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) document: DocumentId,
    pub(crate) deeds: Vec<Deed>,
}

impl Part {
    /// Whether it can't but change the document: nothing can be refused or be there already.
    pub(crate) fn is_sure(&self) -> bool {
        self.deeds.iter().any(|deed| match deed {
            Deed::Leaves(_) | Deed::Adds { .. } => true,
            Deed::Anything | Deed::Removes(_) => false,
        })
    }
}

/// A batch that came of a write.
pub(crate) type Position = (Origin, Seq);

pub(crate) struct Write {
    pub(crate) site: usize,
    pub(crate) namespace: Namespace,
    pub(crate) parts: Vec<Part>,
    /// How many datacenters its callers wait for.
    pub(crate) ack: Ack,
    pub(crate) fate: Fate,
    /// More than one if replicas that did not know of each other were asked for it.
    pub(crate) positions: Vec<Position>,
    /// What was answered by those who carried it out.
    pub(crate) answers: Vec<Vec<Written>>,
    /// Somebody has read it.
    pub(crate) seen: bool,
    /// A disk was lost before anybody else was known to hold it.
    pub(crate) excused: bool,
}

/// A batch when its origin handed it to the disk.
pub(crate) struct Issued {
    pub(crate) number: Option<usize>,
    /// All that its writer held then.
    pub(crate) past: Frontier,
    documents: Vec<DocumentId>,
}

/// Every write that was tried.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) writes: Vec<Write>,
    /// The writes to a document, refused ones included.
    pub(crate) by_document: BTreeMap<DocumentId, Vec<usize>>,
    pub(super) issued: BTreeMap<(Namespace, Origin, Seq), Issued>,
    /// The last batch that each origin ever handed to its disk.
    last_written: BTreeMap<(Namespace, Origin), Seq>,
}

pub(crate) fn is_in(position: &Position, frontier: &Frontier) -> bool {
    frontier.of(&position.0) >= position.1
}

pub(crate) fn join(into: &mut Frontier, other: &Frontier) {
    for (origin, seq) in other.iter() {
        into.raise(*origin, *seq);
    }
}

impl Ledger {
    pub(crate) fn open(&mut self, site: usize, namespace: Namespace, parts: Vec<Part>) -> usize {
        let number = self.writes.len();
        for part in &parts {
            let writes = self.by_document.entry(part.document.clone()).or_default();
            if writes.last() != Some(&number) {
                writes.push(number);
            }
        }
        self.writes.push(Write {
            site,
            namespace,
            parts,
            ack: Ack::Local,
            fate: Fate::Pending,
            positions: Vec::new(),
            answers: Vec::new(),
            seen: false,
            excused: false,
        });
        number
    }

    /// Whether a write is to what a batch writes.
    pub(crate) fn is_to(&self, number: usize, batch: &Batch) -> bool {
        self.writes.get(number).is_some_and(|write| {
            let mut keys = batch.writes.iter().map(|write| &write.key);
            let has = |key: &Key| write.parts.iter().any(|part| part.document.key == *key);
            write.namespace == batch.namespace && keys.all(has)
        })
    }

    /// An origin hands a batch of its own to the disk. `number`: the write that it carries out, by its marks.
    pub(crate) fn issue(
        &mut self,
        namespace: &Namespace,
        position: Position,
        number: Option<usize>,
        past: Frontier,
        documents: Vec<DocumentId>,
    ) -> Result<(), String> {
        let (origin, seq) = position;
        let last = self.last_written.entry((namespace.clone(), origin));
        let last = last.or_insert(seq);
        *last = seq.max(*last);
        let mut doubt = Ok(());
        if let Some(number) = number {
            let Some(write) = self
                .writes
                .get_mut(number)
                .filter(|w| w.namespace == *namespace)
            else {
                return Err(format!("w{number} is written to {namespace} by nobody"));
            };
            if write.fate == Fate::Refused {
                doubt = Err(format!("w{number} was refused, and is written"));
            }
            let earlier = write.positions.iter().find(|earlier| is_in(earlier, &past));
            if let Some((origin, seq)) = earlier {
                let known = self.issued.get(&(namespace.clone(), *origin, *seq));
                // A part of one and the same is for those to find who look at what is shown.
                let again = known.is_none_or(|known| {
                    documents.is_empty() || documents.iter().any(|id| known.documents.contains(id))
                });
                if again {
                    doubt = Err(format!(
                        "w{number} is carried out by {} as batch {} of {namespace}, where batch {} of {origin}, which is here, has done it already",
                        position.0, position.1.0, seq.0
                    ));
                }
            } else {
                write.positions.push(position);
            }
        }
        let issued = Issued {
            number,
            past,
            documents,
        };
        self.issued.insert((namespace.clone(), origin, seq), issued);
        doubt
    }

    pub(crate) fn issued(&self, namespace: &Namespace, position: &Position) -> Option<&Issued> {
        self.issued
            .get(&(namespace.clone(), position.0, position.1))
    }

    /// The last batch that an origin ever handed to its disk.
    pub(crate) fn last_written(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        let last = self.last_written.get(&(namespace.clone(), *origin));
        last.copied().unwrap_or(Seq(0))
    }

    /// An origin goes on after a restart. What its disk does not hold was never anywhere else.
    pub(crate) fn took_back(&mut self, origin: &Origin, holdings: &Holdings) {
        let writes = &mut self.writes;
        self.issued.retain(|(namespace, by, seq), issued| {
            let stands = by != origin || *seq <= held(holdings, namespace, origin);
            if let Some(write) = issued.number.and_then(|number| writes.get_mut(number))
                && !stands
            {
                write.positions.retain(|position| *position != (*by, *seq));
            }
            stands
        });
    }

    /// A batch was not written for want of room, and its number goes to another.
    pub(crate) fn retract(&mut self, namespace: &Namespace, position: Position) {
        let name = (namespace.clone(), position.0, position.1);
        let issued = self.issued.remove(&name);
        let number = issued.and_then(|issued| issued.number);
        if let Some(write) = number.and_then(|number| self.writes.get_mut(number)) {
            write.positions.retain(|at| *at != position);
        }
    }

    /// A write's caller is told that it is done.
    pub(crate) fn acknowledge(&mut self, number: usize, position: Option<Position>) {
        let write = &mut self.writes[number];
        write.fate = Fate::Acknowledged;
        if let Some(position) = position
            && !write.positions.contains(&position)
        {
            write.positions.push(position);
        }
    }

    /// The disk of a replica was replaced. What no other one holds may be gone.
    pub(crate) fn disk_lost(&mut self, survivors: &[Holdings]) -> usize {
        let mut excused = 0;
        for write in self.writes.iter_mut().filter(|write| !write.excused) {
            let namespace = &write.namespace;
            let is_held = |(origin, seq): &Position| {
                let mut holdings = survivors.iter();
                holdings.any(|holdings| held(holdings, namespace, origin) >= *seq)
            };
            if !write.positions.is_empty() && !write.positions.iter().any(is_held) {
                write.excused = true;
                excused += 1;
            }
        }
        excused
    }

    /// In the end, when all hold the same: what was acknowledged or seen is among it.
    pub(crate) fn settle(&self, namespace: &Namespace, end: &Frontier) -> Result<(), String> {
        for (number, write) in self.writes.iter().enumerate() {
            let owed = (write.fate == Fate::Acknowledged || write.seen) && !write.excused;
            let known = !write.positions.is_empty();
            let there = write.positions.iter().any(|position| is_in(position, end));
            if write.namespace == *namespace && owed && known && !there {
                return Err(format!(
                    "w{number} at replica {} is lost ({:?}, seen: {}, {:?})",
                    crate::site_name(write.site),
                    write.fate,
                    write.seen,
                    write.positions,
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use anabranch_core::{Incarnation, ReplicaId};

    use super::*;

    fn at(replica: u8, seq: u64) -> Position {
        let origin = Origin {
            replica: ReplicaId([replica; 16]),
            incarnation: Incarnation(1),
        };
        (origin, Seq(seq))
    }

    fn space() -> Namespace {
        Namespace::new("n").unwrap()
    }

    fn part(key: &str) -> Part {
        Part {
            document: DocumentId::new("n", key).unwrap(),
            deeds: vec![Deed::Leaves(Place::Entry)],
        }
    }

    /// One write, carried out at these positions by those who had seen this much.
    fn ledger(positions: &[(Position, &[Position])]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        let number = ledger.open(0, space(), vec![part("d")]);
        for (position, past) in positions {
            let past = past.iter().copied().collect();
            let documents = vec![part("d").document];
            ledger.issue(&space(), *position, Some(number), past, documents)?;
        }
        Ok(ledger)
    }

    #[test]
    fn a_write_done_again_by_one_who_held_it_is_found() {
        assert!(ledger(&[(at(1, 1), &[]), (at(2, 1), &[])]).is_ok());
        assert!(ledger(&[(at(1, 1), &[]), (at(2, 1), &[at(1, 1)])]).is_err());
        assert!(ledger(&[(at(1, 1), &[]), (at(1, 2), &[at(1, 1)])]).is_err());
    }

    #[test]
    fn what_a_crash_took_back_may_be_done_again() {
        let mut ledger = ledger(&[(at(1, 1), &[])]).unwrap();
        ledger.took_back(&at(1, 1).0, &Holdings::new());
        assert!(ledger.writes[0].positions.is_empty());
        let documents = vec![part("d").document];
        let again = ledger.issue(&space(), at(1, 1), Some(0), Frontier::default(), documents);
        assert_eq!(again, Ok(()));
    }

    #[test]
    fn what_was_acknowledged_or_seen_is_owed_in_the_end() {
        let mut ledger = ledger(&[(at(1, 1), &[])]).unwrap();
        let end = Frontier::default();
        assert_eq!(ledger.settle(&space(), &end), Ok(()));
        ledger.writes[0].seen = true;
        assert!(ledger.settle(&space(), &end).is_err());
        ledger.writes[0].seen = false;
        ledger.acknowledge(0, Some(at(1, 1)));
        assert!(ledger.settle(&space(), &end).is_err());
        assert_eq!(
            ledger.settle(&space(), &[at(1, 1)].into_iter().collect()),
            Ok(())
        );
    }

    #[test]
    fn only_what_no_other_disk_holds_is_excused() {
        let holding = |position: Position| {
            let frontier = [position].into_iter().collect();
            [Holdings::from([(space(), frontier)])]
        };
        let mut kept = ledger(&[(at(1, 2), &[])]).unwrap();
        assert_eq!(kept.disk_lost(&holding(at(1, 2))), 0);
        let mut lost = ledger(&[(at(1, 2), &[])]).unwrap();
        assert_eq!(lost.disk_lost(&holding(at(1, 1))), 1);
        lost.acknowledge(0, None);
        assert_eq!(lost.settle(&space(), &Frontier::default()), Ok(()));
    }
}
