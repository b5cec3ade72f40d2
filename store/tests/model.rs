//! Random commits, reopenings and fetches against a model.
#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;

use anabranch_core::Lsn;
use anabranch_core::persist::{Checkpoint, Commit, StoredDocument};
use anabranch_store::Store;
use bed::{MemoryDisk, document, empty, id, log, opening, page, record, stored};
use proptest::prelude::*;

/// Lengths of log records; documents as (namespace, key, length); whether with a checkpoint.
type Planned = (Vec<usize>, Vec<(u8, u8, usize)>, bool);

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Planned>),
    Reopen,
    Page {
        namespace: u8,
        prefix: u8,
        after: Option<u8>,
        limit: usize,
    },
    Log {
        from: u64,
        bytes_max: usize,
    },
}

const NAMESPACES: [&str; 3] = ["a", "a!", "b"];
const PREFIXES: [&str; 4] = ["", "k1", "k2/", "z"];

fn key(number: u8) -> String {
    format!("k{}/{}", number % 3, number / 3)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lengths = prop_oneof![Just(0_usize), 1..300_usize, 4_000..9_000_usize];
    let documents = prop::collection::vec((0..3_u8, 0..30_u8, lengths.clone()), 0..6);
    let commit = (
        prop::collection::vec(lengths, 0..4),
        documents,
        prop::bool::weighted(0.2),
    );
    let step = prop_oneof![
        6 => prop::collection::vec(commit, 0..4).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        2 => (0..3_u8, 0..4_u8, prop::option::of(0..30_u8), 0..12_usize)
            .prop_map(|(namespace, prefix, after, limit)| Step::Page { namespace, prefix, after, limit }),
        2 => (0..40_u64, 0..10_000_usize).prop_map(|(from, bytes_max)| Step::Log { from, bytes_max }),
    ];
    prop::collection::vec(step, 1..24)
}

#[derive(Default)]
struct Model {
    log: Vec<Vec<u8>>,
    documents: BTreeMap<(String, String), StoredDocument>,
    checkpoint: Option<Checkpoint>,
    written: u64,
}

impl Model {
    /// Bytes that no other write has.
    fn fill(&mut self, len: usize) -> Vec<u8> {
        self.written += 1;
        self.written
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(len)
            .collect()
    }

    fn commit(
        &mut self,
        logged: &[usize],
        documents: &[(u8, u8, usize)],
        checkpoint: bool,
    ) -> Commit {
        let mut commit = empty(self.written);
        for len in logged {
            let bytes = self.fill(*len);
            self.log.push(bytes.clone());
            commit.log.push(record(self.log.len() as u64, bytes));
        }
        for (namespace, number, len) in documents {
            let (namespace, key) = (NAMESPACES[usize::from(*namespace)], key(*number));
            let state = stored(self.fill(*len), self.written.is_multiple_of(3));
            commit.documents.push((id(namespace, &key), state.clone()));
            self.documents.insert((namespace.to_owned(), key), state);
        }
        if checkpoint {
            let state = self.fill(50).into();
            self.checkpoint = Some(Checkpoint {
                replay_from: Lsn(self.log.len() as u64 + 1),
                state,
            });
            commit.checkpoint.clone_from(&self.checkpoint);
        }
        commit
    }

    fn page(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, StoredDocument)> {
        let wanted = self.documents.iter().filter(|((held_in, key), _)| {
            held_in == namespace
                && key.starts_with(prefix)
                && after.is_none_or(|after| key.as_str() > after)
        });
        wanted
            .map(|((_, key), state)| (key.clone(), state.clone()))
            .take(limit)
            .collect()
    }

    fn assert_held_by(&self, store: &Store) {
        let held: Vec<Vec<u8>> = log(store, 1, usize::MAX)
            .unwrap()
            .into_iter()
            .map(|record| record.bytes.to_vec())
            .collect();
        assert_eq!(held, self.log);
        for namespace in NAMESPACES {
            assert_eq!(
                page(store, namespace, "", None, usize::MAX).unwrap(),
                self.page(namespace, "", None, usize::MAX)
            );
            for number in 0..30 {
                let expected = self.documents.get(&(namespace.to_owned(), key(number)));
                assert_eq!(
                    document(store, &id(namespace, &key(number)))
                        .unwrap()
                        .as_ref(),
                    expected
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        let disk = MemoryDisk::default();
        let mut model = Model::default();
        let mut store = bed::open(&disk);
        for step in steps {
            match step {
                Step::Commit(commits) => {
                    let commits: Vec<Commit> = commits
                        .iter()
                        .map(|(logged, documents, checkpoint)| model.commit(logged, documents, *checkpoint))
                        .collect();
                    store.commit(&commits).unwrap();
                }
                Step::Reopen => {
                    drop(store);
                    let (reopened, recovery) = Store::open(disk.clone(), opening("medium", 2)).unwrap();
                    prop_assert_eq!(recovery.log_end.map_or(0, |lsn| lsn.0), model.log.len() as u64);
                    prop_assert_eq!(&recovery.checkpoint, &model.checkpoint);
                    store = reopened;
                }
                Step::Page { namespace, prefix, after, limit } => {
                    let (namespace, prefix) = (NAMESPACES[usize::from(namespace)], PREFIXES[usize::from(prefix)]);
                    let after = after.map(key);
                    let found = page(&store, namespace, prefix, after.as_deref(), limit).unwrap();
                    prop_assert_eq!(found, model.page(namespace, prefix, after.as_deref(), limit));
                }
                Step::Log { from, bytes_max } => {
                    let found = log(&store, from, bytes_max).unwrap();
                    let begin = usize::try_from(from.max(1)).unwrap() - 1;
                    let mut bytes = 0;
                    let mut expected = Vec::new();
                    for (at, held) in model.log.iter().enumerate().skip(begin) {
                        expected.push(record(at as u64 + 1, held.clone()));
                        bytes += held.len();
                        if bytes >= bytes_max {
                            break;
                        }
                    }
                    prop_assert_eq!(found, expected);
                }
            }
        }
        model.assert_held_by(&store);
    }
}
