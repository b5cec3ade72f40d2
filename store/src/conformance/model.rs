//! Random programs against a model that keeps lists.

use std::collections::BTreeMap;

use anabranch_core::persist::{
    Checkpoint, Commit, DocumentFold, DocumentRange, Fold, FoldId, LogRecord, Repair,
    StoredDocument, Ticket,
};
use anabranch_core::{DocumentId, Incarnation, Lsn};
use bytes::Bytes;

use super::asking::{FIRST, content, document, id, log, page, receipt, stored_receipt};
use super::{Bed, compact};
use crate::medium::faulty::Random;
use crate::seam::Engine;

const STEPS: u64 = 250;
const NAMESPACES: [&str; 3] = ["a", "a!", "b"];
const PREFIXES: [&str; 4] = ["", "k1", "k2/", "z"];
const KEYS: u64 = 30;

fn key(number: u64) -> String {
    format!("k{}/{}", number % 3, number / 3)
}

#[derive(Default)]
struct Model {
    log: Vec<Bytes>,
    released: u64,
    documents: BTreeMap<DocumentId, Vec<Bytes>>,
    receipts: u64,
    checkpoint: Option<Checkpoint>,
    written: u64,
    incarnation: u64,
}

/// Commits, folds, fetches, crashes and copies, by chance but always the same, and what must come of them.
pub fn a_random_program_does_what_its_model_does<B: Bed>(bed: &mut B) {
    let mut random = Random(0x0D0C5);
    let mut model = Model {
        incarnation: FIRST.0,
        ..Model::default()
    };
    let mut engine = bed.open(FIRST).unwrap().0;
    for step in 0..STEPS {
        match random.below(16) {
            0..6 => {
                let commits = model.commits(&mut random);
                engine.commit(&commits).unwrap();
            }
            6..10 => {
                let fold = model.fold(&mut random);
                engine.fold(&fold).unwrap();
            }
            10 => {
                engine.prepare();
                for piece in 0..random.below(8) {
                    let tended = engine.tend(step * 3_600_000 + piece);
                    assert_eq!(tended.damage, []);
                }
            }
            11..13 => model.assert_page(&engine, &mut random),
            13..15 => model.assert_log(&engine, &mut random),
            _ => engine = model.reopen(bed, engine, &mut random),
        }
    }
    model.assert_held_by(&engine);
    let engine = model.reopen(bed, engine, &mut random);
    model.assert_held_by(&engine);
}

impl Model {
    /// Bytes that no other write has.
    fn fill(&mut self, random: &mut Random) -> Bytes {
        self.written += 1;
        let len = match random.below(4) {
            0 => 8,
            1 | 2 => 8 + random.below(300),
            _ => 4_000 + random.below(5_000),
        };
        let bytes = self.written.to_le_bytes().into_iter().cycle();
        bytes
            .take(usize::try_from(len).unwrap())
            .collect::<Vec<u8>>()
            .into()
    }

    fn commits(&mut self, random: &mut Random) -> Vec<Commit> {
        let mut commits = Vec::new();
        for _ in 0..random.below(4) {
            let mut commit = Commit::new(Ticket(self.written));
            for _ in 0..random.below(4) {
                let bytes = self.fill(random);
                self.log.push(bytes.clone());
                let lsn = Lsn(self.log.len() as u64);
                commit.log.push(LogRecord { lsn, bytes });
            }
            commits.push(commit);
        }
        commits
    }

    fn fold(&mut self, random: &mut Random) -> Fold {
        let mut fold = Fold::new(FoldId(self.written));
        fold.compact = random.coin();
        if random.below(8) == 0 {
            fold.repair = Some(self.repair(random));
        }
        let mut changed: BTreeMap<DocumentId, Vec<Bytes>> = BTreeMap::new();
        for _ in 0..random.below(8) {
            let bytes = self.fill(random);
            changed.entry(any_id(random)).or_default().push(bytes);
        }
        for (id, changes) in changed {
            let held = self.documents.entry(id.clone()).or_default();
            held.extend(changes.iter().cloned());
            let present = random.coin().then_some(true);
            fold.documents.push(DocumentFold {
                id,
                changes,
                present,
            });
        }
        for _ in 0..random.below(3) {
            self.receipts += 1;
            let n = self.receipts;
            fold.receipts.push(stored_receipt(n, n, n, vec![1; 50]));
        }
        if random.below(4) == 0 {
            let end = self.log.len() as u64;
            self.checkpoint = Some(Checkpoint {
                replay_from: Lsn(end + 1),
                state: self.fill(random),
            });
            fold.checkpoint.clone_from(&self.checkpoint);
            if random.coin() {
                self.released = self.released.max(random.below(end + 1));
                fold.release_before = Some(Lsn(self.released + 1));
            }
        }
        fold
    }

    fn repair(&mut self, random: &mut Random) -> Repair {
        let (one, other) = (any_id(random), any_id(random));
        let range = DocumentRange {
            from: Some(one.clone().min(other.clone())),
            before: (one != other).then(|| one.max(other)),
        };
        self.documents.retain(|id, _| !range.contains(id));
        let mut documents = Vec::new();
        for _ in 0..3 {
            let (id, bytes) = (any_id(random), self.fill(random));
            if range.contains(&id) {
                self.documents.insert(id, vec![bytes]);
            }
        }
        for (id, changes) in self.documents.iter().filter(|(id, _)| range.contains(id)) {
            let stored = StoredDocument {
                changes: changes.clone(),
                ..StoredDocument::default()
            };
            documents.push((id.clone(), compact(&stored).unwrap()));
        }
        Repair { range, documents }
    }

    fn reopen<B: Bed>(&mut self, bed: &mut B, engine: B::Engine, random: &mut Random) -> B::Engine {
        bed.crash(engine);
        let copied = random.below(4) == 0;
        if copied {
            bed.copy();
        }
        let (engine, recovery) = bed.open(Incarnation(self.incarnation + 1)).unwrap();
        if copied || !bed.proves_continuity() {
            self.incarnation += 1;
        }
        assert_eq!(recovery.incarnation, Incarnation(self.incarnation));
        assert_eq!(
            recovery.log_end.map_or(0, |lsn| lsn.0),
            self.log.len() as u64
        );
        assert_eq!(recovery.checkpoint, self.checkpoint);
        assert!(
            recovery
                .log_first
                .is_none_or(|first| first.0 <= self.released + 1)
        );
        engine
    }

    fn records(&self, from: u64) -> impl Iterator<Item = LogRecord> {
        (1..)
            .zip(&self.log)
            .skip_while(move |(lsn, _)| *lsn < from)
            .map(|(lsn, bytes)| LogRecord {
                lsn: Lsn(lsn),
                bytes: bytes.clone(),
            })
    }

    fn assert_log(&self, engine: &impl Engine, random: &mut Random) {
        let from = self.released + 1 + random.below(40);
        let bytes_max = usize::try_from(random.below(10_000)).unwrap();
        let mut bytes = 0;
        let mut expected = Vec::new();
        for record in self.records(from) {
            bytes += record.bytes.len();
            expected.push(record);
            if bytes >= bytes_max {
                break;
            }
        }
        assert_eq!(log(engine, from, bytes_max).unwrap(), expected);
    }

    fn assert_page(&self, engine: &impl Engine, random: &mut Random) {
        let namespace = NAMESPACES[usize::try_from(random.below(3)).unwrap()];
        let prefix = PREFIXES[usize::try_from(random.below(4)).unwrap()];
        let after = random.coin().then(|| key(random.below(KEYS)));
        let limit = usize::try_from(1 + random.below(12)).unwrap();
        let wanted: Vec<(&DocumentId, &Vec<Bytes>)> = self
            .documents
            .iter()
            .filter(|(id, _)| {
                id.namespace.as_str() == namespace
                    && id.key.as_str().starts_with(prefix)
                    && after.as_deref().is_none_or(|after| id.key.as_str() > after)
            })
            .collect();
        let after = after.as_deref();
        let (found, more) = page(engine, namespace, prefix, after, limit, usize::MAX).unwrap();
        assert_eq!(found.len(), wanted.len().min(limit));
        assert!(more || wanted.len() <= limit);
        for ((key, stored), (id, changes)) in found.iter().zip(wanted) {
            assert_eq!(key, id.key.as_str());
            assert_eq!(content(stored), *changes);
        }
    }

    fn assert_held_by(&self, engine: &impl Engine) {
        let from = self.released + 1;
        let held = log(engine, from, usize::MAX).unwrap();
        assert_eq!(held, self.records(from).collect::<Vec<_>>());
        for namespace in NAMESPACES {
            for number in 0..KEYS {
                let id = id(namespace, &key(number));
                let held = document(engine, &id).unwrap();
                assert_eq!(held.as_ref().map(content).as_ref(), self.documents.get(&id));
            }
        }
        for n in 1..=self.receipts + 3 {
            let expected = (n <= self.receipts).then(|| stored_receipt(n, n, n, vec![1; 50]));
            assert_eq!(receipt(engine, n).unwrap(), expected);
        }
        assert_eq!(document(engine, &id("c", "k0/0")).unwrap(), None);
    }
}

fn any_id(random: &mut Random) -> DocumentId {
    let namespace = NAMESPACES[usize::try_from(random.below(3)).unwrap()];
    id(namespace, &key(random.below(KEYS)))
}
