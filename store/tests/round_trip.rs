//! What goes in comes out, in this run and the next.
#![allow(clippy::unwrap_used)]

mod bed;

use anabranch_core::persist::{Checkpoint, Commit, Continuity};
use anabranch_core::{Incarnation, Lsn};
use anabranch_store::{CommitError, FetchError, OpenError, Opening, Store};
use bed::{
    GatedDisk, MemoryDisk, document, empty, id, log, logging, opening, page, record, stored,
};

#[test]
fn everything_is_there_after_reopening() {
    let disk = MemoryDisk::default();
    let checkpoint = Checkpoint {
        replay_from: Lsn(2),
        state: vec![7; 300].into(),
    };
    {
        let (store, recovery) = Store::open(disk.clone(), opening("medium", 5)).unwrap();
        assert_eq!(recovery.continuity, Continuity::New);
        assert_eq!(
            (recovery.incarnation, recovery.log_end),
            (Incarnation(5), None)
        );
        assert_eq!(log(&store, 1, usize::MAX).unwrap(), []);
        let first = Commit {
            log: vec![record(1, "one"), record(2, "")],
            documents: vec![(id("carts", "a"), stored("A", true))],
            ..empty(1)
        };
        let second = Commit {
            log: vec![record(3, vec![3; 100_000])],
            documents: vec![
                (id("carts", "a"), stored("A2", false)),
                (id("cart", "sa"), stored("", true)),
            ],
            checkpoint: Some(checkpoint.clone()),
            ..empty(2)
        };
        store.commit(&[first, second]).unwrap();
    }
    let (store, recovery) = Store::open(disk, opening("medium", 6)).unwrap();
    assert_eq!(recovery.continuity, Continuity::Proven);
    assert_eq!(
        (recovery.incarnation, recovery.log_end),
        (Incarnation(5), Some(Lsn(3)))
    );
    assert_eq!(recovery.checkpoint, Some(checkpoint));
    let all = [record(1, "one"), record(2, ""), record(3, vec![3; 100_000])];
    assert_eq!(log(&store, 0, usize::MAX).unwrap(), all);
    assert_eq!(
        document(&store, &id("carts", "a")).unwrap(),
        Some(stored("A2", false))
    );
    assert_eq!(
        document(&store, &id("cart", "sa")).unwrap(),
        Some(stored("", true))
    );
    assert_eq!(document(&store, &id("carts", "b")).unwrap(), None);
}

#[test]
fn the_log_is_given_out_in_portions() {
    let store = bed::open(&MemoryDisk::default());
    let commits: Vec<Commit> = (1..=10).map(|n| logging(n, n, vec![0; 100])).collect();
    store.commit(&commits).unwrap();
    let lsns = |from, bytes_max| -> Vec<u64> {
        log(&store, from, bytes_max)
            .unwrap()
            .iter()
            .map(|record| record.lsn.0)
            .collect()
    };
    assert_eq!(lsns(4, 0), [4], "at least one");
    assert_eq!(lsns(4, 200), [4, 5]);
    assert_eq!(lsns(4, 201), [4, 5, 6]);
    assert_eq!(lsns(9, usize::MAX), [9, 10]);
    assert_eq!(lsns(11, usize::MAX), [] as [u64; 0]);
    assert_eq!(lsns(u64::MAX, usize::MAX), [] as [u64; 0]);
}

#[test]
fn pages_are_in_key_order_within_one_namespace() {
    let store = bed::open(&MemoryDisk::default());
    let keys = ["b", "a/2", "a", "a/1", "é", "a/10"];
    let mut commit = empty(1);
    for key in keys {
        commit
            .documents
            .push((id("n", key), stored(key, key != "a/1")));
        commit.documents.push((id("m", key), stored("other", true)));
        commit
            .documents
            .push((id("n!", key), stored("other", true)));
    }
    store.commit(&[commit]).unwrap();
    let listed = |prefix, after, limit| -> Vec<String> {
        let page = page(&store, "n", prefix, after, limit).unwrap();
        for (key, held) in &page {
            assert_eq!(*held, stored(key.as_str(), key != "a/1"));
        }
        page.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(listed("", None, 100), ["a", "a/1", "a/10", "a/2", "b", "é"]);
    assert_eq!(listed("a/", None, 100), ["a/1", "a/10", "a/2"]);
    assert_eq!(listed("a/", None, 2), ["a/1", "a/10"]);
    assert_eq!(listed("a/", Some("a/10"), 2), ["a/2"]);
    assert_eq!(
        listed("a/", Some("a/11"), 2),
        ["a/2"],
        "after a key that is not there"
    );
    assert_eq!(
        listed("a/", Some("a"), 1),
        ["a/1"],
        "after a key before the prefix"
    );
    assert_eq!(listed("a/", Some("b"), 5), [] as [&str; 0]);
    assert_eq!(listed("", Some("é"), 5), [] as [&str; 0]);
    assert_eq!(listed("", None, 0), [] as [&str; 0]);
    assert_eq!(page(&store, "o", "", None, 5).unwrap(), []);
    assert_eq!(page(&store, "l", "", None, 5).unwrap(), []);
}

#[test]
fn a_commit_that_can_not_follow_changes_nothing() {
    let disk = MemoryDisk::default();
    let store = bed::open(&disk);
    assert!(
        matches!(
            store.commit(&[logging(1, 0, "x")]),
            Err(CommitError::OutOfOrder { .. })
        ),
        "no position 0"
    );
    store.commit(&[logging(1, 1, "one")]).unwrap();
    for lsn in [2, 4] {
        let refused = store
            .commit(&[logging(2, 2, "two"), logging(3, lsn, "x")])
            .unwrap_err();
        let expected = Lsn(3);
        assert!(matches!(refused, CommitError::OutOfOrder { expected: at, .. } if at == expected));
        assert_eq!(log(&store, 1, usize::MAX).unwrap(), [record(1, "one")]);
    }
    store.commit(&[logging(2, 2, "two")]).unwrap();
}

#[test]
fn incarnations_go_on_only_on_the_same_medium() {
    let disk = MemoryDisk::default();
    let reopen = |disk: &MemoryDisk, identity: &str, fresh| {
        Store::open(disk.clone(), opening(identity, fresh))
            .map(|(_, recovery)| (recovery.continuity, recovery.incarnation.0))
    };
    assert_eq!(
        reopen(&disk, "sda:17:boot-1", 1).unwrap(),
        (Continuity::New, 1)
    );
    assert_eq!(
        reopen(&disk, "sda:17:boot-1", 2).unwrap(),
        (Continuity::Proven, 1)
    );
    let copied = disk.copy();
    assert_eq!(
        reopen(&copied, "sda:18:boot-1", 3).unwrap(),
        (Continuity::Broken, 3)
    );
    assert_eq!(
        reopen(&copied, "sda:18:boot-1", 4).unwrap(),
        (Continuity::Proven, 3),
        "the new one is durable"
    );
    assert_eq!(
        reopen(&disk, "sda:17:boot-2", 5).unwrap(),
        (Continuity::Broken, 5)
    );
    assert!(matches!(
        reopen(&disk, "sda:17:boot-3", 5),
        Err(OpenError::NotFresh)
    ));
}

#[test]
fn a_commit_can_replace_the_incarnation() {
    let disk = MemoryDisk::default();
    let commits = [8, 9].map(|fresh| Commit {
        incarnation: Some(Incarnation(fresh)),
        ..empty(fresh)
    });
    bed::open(&disk).commit(&commits).unwrap();
    let (_, recovery) = Store::open(disk, opening("medium", 2)).unwrap();
    assert_eq!(
        (recovery.continuity, recovery.incarnation),
        (Continuity::Proven, Incarnation(9))
    );
}

/// Whether a commit whose sync failed is there is only known after reopening, so nothing may be
/// committed on top of it.
#[test]
fn after_a_failed_sync_reads_go_on_and_commits_do_not() {
    let disk = GatedDisk::default();
    // Nothing is cached, so reads need the disk.
    let uncached = Opening {
        cache_bytes: 0,
        ..opening("medium", 1)
    };
    let (store, _) = Store::open(disk.clone(), uncached).unwrap();
    let syncs = disk.syncs();
    store.commit(&[logging(1, 1, "one")]).unwrap();
    assert_eq!(disk.syncs() - syncs, 1, "one sync for one transaction");
    disk.fail_syncs(true);
    let failed = store.commit(&[logging(2, 2, "two")]).unwrap_err();
    assert!(matches!(failed, CommitError::OutcomeUnknown(_)), "{failed}");
    disk.fail_syncs(false);
    let refused = store.commit(&[logging(3, 3, "three")]).unwrap_err();
    assert!(matches!(refused, CommitError::Closed), "{refused}");
    assert_eq!(
        log(&store, 1, usize::MAX).unwrap(),
        [record(1, "one")],
        "only what was reported"
    );
    assert_eq!(document(&store, &id("n", "none")).unwrap(), None);
    drop(store);
    let (store, recovery) = Store::open(disk, opening("medium", 2)).unwrap();
    let end = recovery.log_end.unwrap().0;
    assert!(end == 1 || end == 2);
    store.commit(&[logging(4, end + 1, "next")]).unwrap();
}

#[test]
fn after_a_failed_read_reads_go_on_and_commits_do_not() {
    let disk = GatedDisk::default();
    let uncached = Opening {
        cache_bytes: 0,
        ..opening("medium", 1)
    };
    let (store, _) = Store::open(disk.clone(), uncached).unwrap();
    store.commit(&[logging(1, 1, "one")]).unwrap();
    disk.fail_next_read();
    let failed = log(&store, 1, usize::MAX).unwrap_err();
    assert!(matches!(failed, FetchError::Io(_)), "{failed}");
    assert_eq!(log(&store, 1, usize::MAX).unwrap(), [record(1, "one")]);
    assert!(matches!(
        store.commit(&[logging(2, 2, "two")]),
        Err(CommitError::Closed)
    ));
}
