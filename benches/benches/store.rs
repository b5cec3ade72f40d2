//! What the store costs without a replica: looking for some documents among all.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;

use anabranch_core::persist::{DocumentFold, Fetch, Fetched, Fold, FoldId, Place};
use anabranch_core::{DocumentId, Incarnation, Key, Namespace};
use anabranch_store::Store;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const DOCUMENTS: u32 = 100_000;
const CACHE_BYTES: usize = 64 << 20;
/// As the replica asks.
const LIMIT: usize = 2_048;

fn id(number: u32) -> DocumentId {
    let key = format!("cart/{:08x}", number.wrapping_mul(0x9e37_79b1));
    let (Ok(namespace), Ok(key)) = (Namespace::new("carts"), Key::new(&key)) else {
        unreachable!("both are names")
    };
    DocumentId { namespace, key }
}

/// Some 600 bytes that compress to 200.
fn content(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 160];
    let mut noise = blake3::Hasher::new();
    noise.update(&number.to_le_bytes());
    noise.finalize_xof().fill(&mut bytes);
    bytes.extend_from_slice(&[b'x'; 440]);
    bytes
}

fn filled(directory: &std::path::Path) -> Store {
    let opened = Store::open_directory(
        directory,
        Incarnation(1),
        |document| Ok(document.clone()),
        CACHE_BYTES,
    );
    let Ok((store, _)) = opened else {
        panic!("a new store opens");
    };
    let mut ids: Vec<(DocumentId, u32)> = (0..DOCUMENTS).map(|n| (id(n), n)).collect();
    ids.sort();
    let mut fold = Fold::new(FoldId(1));
    let documents = ids.into_iter().map(|(id, number)| DocumentFold {
        id,
        changes: vec![content(number).into()],
        present: Some(true),
    });
    fold.documents = documents.collect();
    assert!(store.fold(&fold).is_ok());
    store
}

fn pick(store: &Store, places: &Arc<BTreeSet<Place>>) -> usize {
    let (mut found, mut after) = (0, None);
    loop {
        let fetch = Fetch::Picked {
            namespace: id(0).namespace,
            places: Some(places.clone()),
            after,
            limit: LIMIT,
            bytes_max: usize::MAX,
        };
        let Ok(Fetched::Picked {
            documents,
            more_after,
        }) = store.fetch(&fetch)
        else {
            panic!("a whole store answers");
        };
        found += documents.len();
        after = more_after;
        if after.is_none() {
            return found;
        }
    }
}

fn sums(store: &Store) -> usize {
    let (mut found, mut from) = (0, Bound::Unbounded);
    loop {
        let fetch = Fetch::Sums { from, limit: LIMIT };
        let Ok(Fetched::Sums { documents, more }) = store.fetch(&fetch) else {
            panic!("a whole store answers");
        };
        found += documents.len();
        match documents.into_iter().next_back() {
            Some((last, _)) if more => from = Bound::Excluded(last),
            _ => return found,
        }
    }
}

fn documents(c: &mut Criterion) {
    let Ok(directory) = tempfile::tempdir() else {
        panic!("there is a place for temporary files");
    };
    let store = filled(directory.path());
    let places: BTreeSet<Place> = (0..DOCUMENTS)
        .step_by(100)
        .map(|n| Place::of(&id(n)))
        .collect();
    let places = Arc::new(places);
    let mut group = c.benchmark_group("documents");
    group.sample_size(10);
    group.throughput(Throughput::Elements(DOCUMENTS.into()));
    group.bench_function("one in a hundred looked for", |b| {
        b.iter(|| assert_eq!(black_box(pick(&store, &places)), places.len()));
    });
    group.bench_function("sums listed", |b| {
        b.iter(|| assert_eq!(black_box(sums(&store)), DOCUMENTS as usize));
    });
    group.finish();
}

criterion_group!(benches, documents);
criterion_main!(benches);
