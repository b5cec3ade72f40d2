//! Pages: documents in the order of their keys, and what goes on beside.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anabranch_core::persist::{DocumentFold, Fetch, Fetched, Fold, FoldId, Place};
use anabranch_core::{DocumentId, Key, Namespace};

use super::Bed;
use super::asking::{change, content, folding, held, id, log, logging, open, page};
use crate::seam::Engine;

/// Bytewise; deleted ones included.
pub fn pages_are_in_key_order_within_one_namespace(bed: &mut impl Bed) {
    let engine = open(bed);
    let mut fold = Fold::new(FoldId(1));
    for namespace in ["m", "n", "n!"] {
        for key in ["b", "a/2", "a", "a/1", "é", "a/10"] {
            fold.documents.push(DocumentFold {
                id: id(namespace, key),
                changes: vec![change(format!("{namespace} {key}"))],
                present: Some(key != "a/1"),
            });
        }
    }
    fold.documents.sort_by(|one, other| one.id.cmp(&other.id));
    engine.fold(&fold).unwrap();
    let listed = |prefix, after, limit| -> (Vec<String>, bool) {
        let (page, more) = page(&engine, "n", prefix, after, limit, usize::MAX).unwrap();
        for (key, stored) in &page {
            assert_eq!(content(stored), [change(format!("n {key}"))]);
        }
        (page.into_iter().map(|(key, _)| key).collect(), more)
    };
    let all = |prefix, after, keys: &[&str]| {
        let (listed, more) = listed(prefix, after, 100);
        assert_eq!(listed, keys, "with {prefix:?} after {after:?}");
        assert!(!more, "with {prefix:?} after {after:?}");
    };
    all("", None, &["a", "a/1", "a/10", "a/2", "b", "é"]);
    all("a/", None, &["a/1", "a/10", "a/2"]);
    all("a/", Some("a/10"), &["a/2"]);
    all("a/", Some("a/11"), &["a/2"]);
    all("a/", Some("a"), &["a/1", "a/10", "a/2"]);
    all("a/", Some("b"), &[]);
    all("", Some("é"), &[]);
    all("none", None, &[]);
    assert_eq!(
        listed("a/", None, 2),
        (vec!["a/1".to_owned(), "a/10".to_owned()], true)
    );
    assert_eq!(listed("", None, 0).0, [] as [String; 0]);
    for namespace in ["l", "o"] {
        let (found, more) = page(&engine, namespace, "", None, 5, usize::MAX).unwrap();
        assert!(found.is_empty() && !more);
    }
}

/// Of every namespace, a portion at a time. Where there are changes beside a state, both come along: a change may be in both.
pub fn sums_are_listed_without_states(bed: &mut impl Bed) {
    let engine = open(bed);
    let names = ["a/1", "a/2", "a/3", "b/1", "b/2"];
    let ids = names.map(|name| {
        let (namespace, key) = name.split_once('/').unwrap();
        id(namespace, key)
    });
    let fold = |keys: &[usize], text: &str, compact| {
        let documents = keys.iter().map(|at| DocumentFold {
            id: ids[*at].clone(),
            changes: vec![change(text)],
            present: None,
        });
        let mut fold = Fold::new(FoldId(1));
        fold.documents = documents.collect();
        fold.compact = compact;
        engine.fold(&fold).unwrap();
    };
    fold(&[0, 1, 2, 3, 4], "one", true);
    fold(&[1, 3], "two", true);
    fold(&[1, 4], "three", false);
    for limit in [1, 2, 5, 100] {
        let mut seen = Vec::new();
        loop {
            let last = seen
                .last()
                .map(|(id, _, _): &(DocumentId, _, _)| id.clone());
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            let fetch = Fetch::Sums { from, limit };
            let Fetched::Sums { documents, more } = engine.fetch(&fetch).unwrap() else {
                panic!("asked for sums");
            };
            assert!(documents.len() <= limit);
            for (id, stored) in documents {
                let is_all = stored.changes.is_empty();
                assert_eq!(
                    stored.state.is_empty(),
                    is_all,
                    "with changes beside it, it is wanted"
                );
                seen.push((id, stored.sum, stored.changes));
            }
            if !more {
                break;
            }
        }
        let from = Bound::Included(ids[3].clone());
        let fetched = engine.fetch(&Fetch::Sums { from, limit: 1 }).unwrap();
        let Fetched::Sums { documents, more } = fetched else {
            panic!("asked for sums");
        };
        assert!(documents[0].0 == ids[3] && more);
        let seen: Vec<_> = seen
            .into_iter()
            .map(|(_, sum, changes)| (sum, changes))
            .collect();
        let none = Vec::new;
        assert_eq!(
            seen,
            [
                (Some(1), none()),
                (Some(2), vec![change("three")]),
                (Some(1), none()),
                (Some(2), none()),
                (Some(1), vec![change("three")]),
            ]
        );
    }
}

/// Those that are wanted and no others, with all that they hold, however many are passed over in between.
pub fn documents_are_picked_by_their_places(bed: &mut impl Bed) {
    let engine = open(bed);
    let keys: Vec<String> = (0..100).map(|n: u32| format!("k{n:03}")).collect();
    engine
        .fold(&folding(
            keys.iter().map(|key| (key.as_str(), key.as_str())),
        ))
        .unwrap();
    let wanted: Vec<_> = keys.iter().step_by(7).cloned().collect();
    let places = wanted.iter().map(|key| Place::of(&id("n", key)));
    let places = Some(Arc::new(places.collect::<BTreeSet<_>>()));
    for (places, expected) in [(places, &wanted), (None, &keys)] {
        for (limit, bytes_max) in [(1, usize::MAX), (10, usize::MAX), (1_000, 1), (1_000, 200)] {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let fetch = Fetch::Picked {
                    namespace: Namespace::new("n").unwrap(),
                    places: places.clone(),
                    after,
                    limit,
                    bytes_max,
                };
                let Fetched::Picked {
                    documents,
                    more_after,
                } = engine.fetch(&fetch).unwrap()
                else {
                    panic!("asked for documents");
                };
                assert!(documents.len() <= limit);
                for (key, stored) in documents {
                    assert_eq!(content(&stored), [change(key.as_str())]);
                    found.push(key.as_str().to_owned());
                }
                after = more_after;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(&found, expected);
        }
    }
}

/// At the limit, or once there are bytes enough; and whoever goes on from there comes to the end.
pub fn a_page_ends_at_its_limits(bed: &mut impl Bed) {
    let engine = open(bed);
    let keys: Vec<String> = (0..60).map(|n: u32| format!("k{n:03}")).collect();
    let large = "x".repeat(1_000);
    engine
        .fold(&folding(
            keys.iter().map(|key| (key.as_str(), large.as_str())),
        ))
        .unwrap();
    for (limit, bytes_max) in [(7, usize::MAX), (100, 5_000), (100, 0), (1, 1), (3, 2_500)] {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let after = seen.last().map(String::as_str);
            let (found, more) = page(&engine, "n", "k", after, limit, bytes_max).unwrap();
            assert!(found.len() <= limit);
            // Those before the last have not yet been enough.
            assert!(found.len() <= bytes_max / large.len() + 1);
            assert!(
                !found.is_empty() || !more,
                "there is more, and none was given"
            );
            seen.extend(found.into_iter().map(|(key, _)| key));
            if !more {
                break;
            }
        }
        assert_eq!(seen, keys, "in pages of {limit}, {bytes_max} bytes");
    }
}

/// Where it is known. Where it is not, content comes along, so that whoever asks can find out.
pub fn presence_is_listed_without_content(bed: &mut impl Bed) {
    let engine = open(bed);
    let mut fold = folding([("a", "1"), ("b", "1"), ("c", "1")]);
    for (document, present) in fold
        .documents
        .iter_mut()
        .zip([Some(true), Some(false), None])
    {
        document.present = present;
    }
    engine.fold(&fold).unwrap();
    let fetch = Fetch::Page {
        namespace: Namespace::new("n").unwrap(),
        prefix: String::new(),
        after: Some(Key::new("0").unwrap()),
        limit: 10,
        bytes_max: usize::MAX,
        values: false,
    };
    let Fetched::Page { documents, more } = engine.fetch(&fetch).unwrap() else {
        panic!("asked for a page");
    };
    assert!(!more);
    let mut known = Vec::new();
    for (key, stored) in documents {
        if stored.present.is_some() {
            assert!(stored.state.is_empty() && stored.changes.is_empty());
        } else {
            assert_eq!(content(&stored), [change("1")]);
        }
        known.push((key.to_string(), stored.present));
    }
    let expected = [("a", Some(true)), ("b", Some(false)), ("c", None)];
    assert_eq!(
        known,
        expected.map(|(key, present)| (key.to_owned(), present))
    );
}

/// All from threads of their own; each sees what had returned before it asked.
pub fn folds_and_fetches_go_on_beside_commits(bed: &mut impl Bed) {
    const ROUNDS: u64 = 60;
    let engine = &open(bed);
    let (committed, folded) = (&AtomicU64::new(0), &AtomicU64::new(0));
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let fetching = scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                let least = committed.load(Ordering::Acquire);
                let lsns = log(engine, 1, usize::MAX).unwrap();
                assert!(lsns.len() as u64 >= least);
                let least = folded.load(Ordering::Acquire);
                let changes = held(engine, "a").map_or(0, |changes| changes.len());
                assert!(changes as u64 >= least);
            }
        });
        let folding = scope.spawn(move || {
            for n in 1..=ROUNDS {
                let number = n.to_string();
                engine.fold(&folding([("a", number.as_str())])).unwrap();
                folded.store(n, Ordering::Release);
                engine.tend(n * 1_000);
            }
        });
        let preparing = scope.spawn(move || (0..10).for_each(|_| engine.prepare()));
        for lsn in 1..=ROUNDS {
            engine.commit(&[logging(lsn, vec![1; 3_000])]).unwrap();
            committed.store(lsn, Ordering::Release);
        }
        preparing.join().unwrap();
        folding.join().unwrap();
        done.store(true, Ordering::Release);
        fetching.join().unwrap();
    });
    assert_eq!(log(engine, 1, usize::MAX).unwrap().len() as u64, ROUNDS);
    assert_eq!(held(engine, "a").unwrap().len() as u64, ROUNDS);
}
