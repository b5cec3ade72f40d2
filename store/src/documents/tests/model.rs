//! Random folds, compactions, repairs and receipts, against plain maps.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_core::persist::{DocumentRange, Fold, Repair, Retention, StoredReceipt};
use anabranch_core::{DocumentId, Incarnation, Lsn};
use bytes::Bytes;

use super::disks::FaultyDisk;
use super::{
    Random, change, checkpoint, compact, content, empty_fold, folding, id, list, open, receipt,
    receipt_key, try_open,
};
use crate::documents::Documents;

const NUMBERS: u64 = 900;

#[derive(Default)]
struct Model {
    documents: BTreeMap<DocumentId, BTreeSet<u64>>,
    receipts: BTreeMap<u64, StoredReceipt>,
    changes: u64,
    lsn: u64,
    replay_from: u64,
}

impl Model {
    fn fold(&mut self, random: &mut Random) -> Fold {
        let most = [1, 3, 40, 400][usize::try_from(random.below(4)).unwrap()];
        let mut documents = BTreeMap::new();
        for _ in 0..=random.below(most) {
            let number = random.below(NUMBERS);
            let bytes = match random.below(60) {
                0 => 9_000,
                1..10 => 900,
                _ => random.below(80),
            };
            let mut changes = Vec::new();
            for _ in 0..=random.below(4) {
                self.changes += 1;
                changes.push(change(self.changes, usize::try_from(bytes).unwrap()));
                self.documents
                    .entry(id(number))
                    .or_default()
                    .insert(self.changes);
                if random.below(5) == 0 {
                    // A change that comes twice is there once.
                    changes.push(changes[0].clone());
                }
            }
            documents
                .entry(number)
                .or_insert_with(Vec::new)
                .extend(changes);
        }
        let mut fold = folding(documents);
        fold.compact = random.coin();
        for _ in 0..random.below(30) {
            self.lsn += 1;
            let receipt = receipt(random.below(200), self.lsn);
            fold.receipts.push(receipt.clone());
            self.receipts.retain(|_, held| held.key != receipt.key);
            self.receipts.insert(self.lsn, receipt);
        }
        if random.below(3) == 0 {
            let retention = Retention {
                count_max: random.below(120),
                not_before_ms: self.lsn.saturating_sub(random.below(300)) * 10,
                stable_before: Lsn(self.lsn.saturating_sub(random.below(200))),
            };
            fold.retain_receipts = Some(retention);
            while let Some((lsn, held)) = self.receipts.first_key_value() {
                let surplus = self.receipts.len() as u64 > retention.count_max;
                let old =
                    held.time_ms < retention.not_before_ms && held.lsn < retention.stable_before;
                if !surplus && !old {
                    break;
                }
                let lsn = *lsn;
                self.receipts.remove(&lsn);
            }
        }
        if random.coin() {
            self.replay_from = self.lsn;
            fold.checkpoint = checkpoint(self.lsn);
            fold.release_before = Some(Lsn(self.lsn));
        }
        fold
    }

    fn repair(&mut self, random: &mut Random) -> Repair {
        let mut bound = || (random.below(4) > 0).then(|| id(random.below(NUMBERS)));
        let (one, other) = (bound(), bound());
        let range = match (&one, &other) {
            (Some(from), Some(before)) if from >= before => DocumentRange {
                from: one,
                before: None,
            },
            _ => DocumentRange {
                from: one,
                before: other,
            },
        };
        self.documents.retain(|id, _| !range.contains(id));
        let mut documents = BTreeMap::new();
        for number in 0..NUMBERS {
            if range.contains(&id(number)) && random.below(3) == 0 {
                self.changes += 1;
                let state = change(self.changes, 70);
                self.documents
                    .insert(id(number), BTreeSet::from([self.changes]));
                let mut stored = anabranch_core::persist::StoredDocument {
                    state,
                    ..Default::default()
                };
                stored.present = Some(true);
                documents.insert(id(number), stored);
            }
        }
        Repair {
            range,
            documents: documents.into_iter().collect(),
        }
    }

    fn check(&self, documents: &Documents, random: &mut Random) {
        for number in 0..NUMBERS {
            let held = documents
                .document(&id(number))
                .unwrap()
                .map(|held| content(&held));
            assert_eq!(held.as_ref(), self.documents.get(&id(number)), "{number}");
        }
        let limit = usize::try_from(random.below(200)).unwrap() + 1;
        assert!(list(documents, limit).unwrap() == self.documents);
        for number in 0..200 {
            let key = receipt_key(number);
            let expected = self.receipts.values().find(|receipt| receipt.key == key);
            assert_eq!(documents.receipt(key).unwrap().as_ref(), expected);
        }
        self.check_a_prefix(documents, random);
    }

    fn check_a_prefix(&self, documents: &Documents, random: &mut Random) {
        let prefix = format!("key/00{}", random.below(9));
        let after = id(random.below(NUMBERS)).key;
        let namespace = id(1).namespace;
        let (page, more) = documents
            .page(&namespace, &prefix, Some(&after), 1_000, usize::MAX, false)
            .unwrap();
        assert!(!more);
        let inside = |id: &&DocumentId| {
            id.namespace == namespace && id.key.as_str().starts_with(&prefix) && id.key > after
        };
        let expected: Vec<_> = self
            .documents
            .keys()
            .filter(inside)
            .map(|id| id.key.clone())
            .collect();
        assert_eq!(
            page.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
            expected
        );
        let bare = |(_, held): &(_, anabranch_core::persist::StoredDocument)| {
            held.present.is_none() || (held.state.is_empty() && held.changes.is_empty())
        };
        assert!(page.iter().all(bare), "content that nobody asked for");
    }
}

fn check_meta(disk: &FaultyDisk, model: &Model) {
    let (_, meta) = try_open(&FaultyDisk::new(disk.bytes())).unwrap();
    let meta = meta.unwrap();
    assert_eq!(
        (&meta.identity[..], meta.incarnation),
        (&b"medium"[..], Incarnation(7))
    );
    let replay_from = meta
        .checkpoint
        .map_or(0, |checkpoint| checkpoint.replay_from.0);
    assert_eq!(replay_from, model.replay_from);
    assert_eq!(meta.released_before, Lsn(model.replay_from));
}

/// Everything, page by page, into another file: as a backup takes it, and a restore puts it down.
fn copied(documents: &Documents) -> FaultyDisk {
    let disk = FaultyDisk::new(Vec::new());
    let copy = open(&disk);
    let mut after: Option<DocumentId> = None;
    loop {
        let (page, more) = documents.after(after.as_ref(), 5_000).unwrap();
        let from = after.and_then(|_| page.first().map(|(id, _)| id.clone()));
        after = page.last().map(|(id, _)| id.clone());
        let range = DocumentRange { from, before: None };
        let repair = Some(Repair {
            range,
            documents: page,
        });
        let fold = Fold {
            repair,
            ..empty_fold()
        };
        assert!(copy.fold(&fold, compact).unwrap().damaged.is_empty());
        if !more {
            break;
        }
    }
    let mut from = Some(Vec::new());
    while let Some(at) = from {
        let (receipts, next) = documents.receipts_from(&at, 300).unwrap();
        let fold = Fold {
            receipts,
            ..empty_fold()
        };
        copy.fold(&fold, compact).unwrap();
        from = next;
    }
    let meta = documents.meta().unwrap();
    let fold = Fold {
        checkpoint: meta.checkpoint,
        release_before: Some(meta.released_before),
        ..empty_fold()
    };
    copy.fold(&fold, compact).unwrap();
    disk
}

#[test]
fn folds_repairs_and_receipts_are_what_a_map_says() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut model = Model::default();
        let mut disk = FaultyDisk::new(Vec::new());
        let mut documents = open(&disk);
        for round in 0..40 {
            let fold = match random.below(10) {
                0 => Fold {
                    repair: Some(model.repair(&mut random)),
                    ..empty_fold()
                },
                _ => model.fold(&mut random),
            };
            let folded = documents.fold(&fold, compact).unwrap();
            assert!(
                folded.damaged.is_empty() && folded.uncompacted.is_empty(),
                "{folded:?}"
            );
            match random.below(8) {
                0 => {
                    drop(documents);
                    documents = open(&disk);
                }
                1 => {
                    drop(documents);
                    disk = FaultyDisk::new(disk.after_crash());
                    documents = open(&disk);
                }
                2 => tidy(&documents, &model),
                3 => {
                    disk = copied(&documents);
                    documents = open(&disk);
                }
                _ => {}
            }
            if round % 8 == 7 {
                model.check(&documents, &mut random);
                check_meta(&disk, &model);
            }
        }
    }
}

/// Afterwards nothing has changes any more.
fn tidy(documents: &Documents, model: &Model) {
    let mut after = None;
    loop {
        let tidied = documents.tidy(after, 20_000, compact).unwrap();
        assert!(tidied.damaged.is_empty(), "{tidied:?}");
        after = tidied.next;
        if after.is_none() {
            break;
        }
    }
    for id in model.documents.keys() {
        let held = documents.document(id).unwrap().unwrap();
        assert_eq!((held.changes.len(), held.present), (0, Some(true)));
    }
}

#[test]
fn what_does_not_compact_is_kept_and_reported() {
    let documents = open(&FaultyDisk::new(Vec::new()));
    let changes: Vec<Bytes> = (0..150).map(|number| change(number, 10)).collect();
    let fold = folding([(1, changes.clone()), (2, vec![change(200, 1)])]);
    let folded = documents.fold(&fold, |_| Err("no".to_owned())).unwrap();
    assert_eq!(
        folded.uncompacted,
        [(id(1), "no".to_owned())],
        "the other one has few changes"
    );
    assert_eq!(
        documents.document(&id(1)).unwrap().unwrap().changes,
        changes
    );
    let folded = documents.fold(&fold, |_| panic!("ouch")).unwrap();
    assert_eq!(folded.uncompacted, [(id(1), "ouch".to_owned())]);
    assert_eq!(
        documents.document(&id(1)).unwrap().unwrap().changes,
        changes,
        "not twice"
    );
    assert_eq!(documents.fold(&fold, compact).unwrap().compacted, 1);
}
