//! What the store on files promises beyond what every engine does.
#![allow(clippy::unwrap_used)]

mod bed;

use anabranch_core::persist::{Commit, Continuity};
use anabranch_core::{Incarnation, Lsn};
use anabranch_store::conformance::{document, log, record};
use anabranch_store::faulty::{Faults, FaultyMedium};
use anabranch_store::{CommitError, Engine as _, OpenError, Opening, Store};
use bed::{change, empty, folding, id, logging, opening};

#[test]
fn a_group_of_commits_takes_one_sync_and_no_fold_adds_to_it() {
    let medium = FaultyMedium::new(1);
    let store = bed::open(&medium);
    store.commit(&[logging(1, 1, "warm")]).unwrap();
    for group in 0..20 {
        let syncs = medium.syncs();
        let commits: Vec<Commit> = (0..10)
            .map(|n| logging(n, 2 + group * 10 + n, "x"))
            .collect();
        store.commit(&commits).unwrap();
        assert_eq!(medium.syncs() - syncs, 1);
        store.fold(&folding(group, vec![change("a", "1")])).unwrap();
    }
    let syncs = medium.syncs();
    store.commit(&[]).unwrap();
    store.commit(&[empty(1)]).unwrap();
    assert_eq!(medium.syncs(), syncs, "nothing to write");
}

/// Whether a commit whose sync failed is there is only known after reopening, so nothing may be
/// committed on top of it.
#[test]
fn after_an_error_reads_go_on_and_commits_do_not() {
    let medium = FaultyMedium::new(1);
    // Nothing is cached, so reads need the disk.
    let uncached = Opening {
        cache_bytes: 0,
        ..opening("medium", 1)
    };
    let (store, _) = Store::open(medium.clone(), uncached).unwrap();
    store.commit(&[logging(1, 1, "one")]).unwrap();
    store.fold(&folding(1, vec![change("a", "1")])).unwrap();
    medium.set_faults(Faults {
        fails_at: Some(medium.calls() + 1),
        ..Faults::default()
    });
    let failed = store.commit(&[logging(2, 2, "two")]).unwrap_err();
    assert!(matches!(failed, CommitError::OutcomeUnknown(_)), "{failed}");
    medium.set_faults(Faults::default());
    let refused = store.commit(&[logging(3, 2, "three")]).unwrap_err();
    assert!(matches!(refused, CommitError::Closed), "{refused}");
    assert_eq!(
        log(&store, 1, usize::MAX).unwrap(),
        [record(1, "one")],
        "only what was reported"
    );
    assert!(document(&store, &id("n", "a")).unwrap().is_some());
    assert_eq!(document(&store, &id("n", "none")).unwrap(), None);
    // What was durable before may still be folded.
    store.fold(&folding(2, vec![change("b", "1")])).unwrap();
    drop(store);
    let (store, recovery) = Store::open(medium, opening("medium", 2)).unwrap();
    let end = recovery.log_end.unwrap().0;
    assert!(end == 1 || end == 2);
    store.commit(&[logging(4, end + 1, "next")]).unwrap();
}

/// Documents and log are apart: what one of them suffers is not the other's affair.
#[test]
fn after_an_error_in_the_documents_commits_go_on() {
    let medium = FaultyMedium::new(1);
    let store = bed::open(&medium);
    store.fold(&folding(1, vec![change("a", "1")])).unwrap();
    medium.set_faults(Faults {
        fails_at: Some(medium.calls() + 2),
        ..Faults::default()
    });
    store.fold(&folding(2, vec![change("a", "2")])).unwrap_err();
    medium.set_faults(Faults::default());
    store.commit(&[logging(1, 1, "one")]).unwrap();
    assert!(document(&store, &id("n", "a")).unwrap().is_some());
    drop(store);
    let (store, recovery) = Store::open(medium, opening("medium", 2)).unwrap();
    assert_eq!(recovery.log_end, Some(Lsn(1)));
    store.fold(&folding(3, vec![change("a", "2")])).unwrap();
}

/// Records that were durable and are gone may be elsewhere, under numbers that would be used again.
#[test]
fn lost_records_begin_a_new_incarnation_and_are_told() {
    let medium = FaultyMedium::new(1);
    let store = bed::open(&medium);
    for lsn in 1..=40 {
        store.commit(&[logging(lsn, lsn, vec![7; 60_000])]).unwrap();
    }
    drop(store);
    let mut names = anabranch_store::Medium::names(&medium).unwrap();
    names.sort();
    let first = names.iter().find(|name| name.starts_with("log-")).unwrap();
    anabranch_store::Medium::remove(&medium, first).unwrap();
    let (store, recovery) = Store::open(medium.clone(), opening("medium", 2)).unwrap();
    assert_eq!(
        (recovery.continuity, recovery.incarnation),
        (Continuity::Broken, Incarnation(2))
    );
    assert_eq!(recovery.log_end, Some(Lsn(40)));
    assert!(recovery.log_first > Some(Lsn(1)));
    let first_there = recovery.log_first.unwrap();
    let lost = Lsn(1)..=Lsn(first_there.0 - 1);
    assert_eq!(store.damaged_records(), [lost]);
    let damage = store.tend(0).damage;
    assert!(
        damage
            .iter()
            .any(|damage| damage.what.contains("records 1 to")),
        "{damage:?}"
    );
    store.commit(&[logging(41, 41, "next")]).unwrap();
}

#[test]
fn a_log_without_documents_is_refused_and_left_alone() {
    let medium = FaultyMedium::new(1);
    bed::open(&medium).commit(&[logging(1, 1, "x")]).unwrap();
    anabranch_store::Medium::remove(&medium, "documents.redb").unwrap();
    let before = anabranch_store::Medium::names(&medium).unwrap();
    let refused = Store::open(medium.clone(), opening("medium", 2)).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(anabranch_store::Medium::names(&medium).unwrap(), before);
}

#[test]
fn the_scrub_reads_everything_at_a_walking_pace_and_compacts_what_it_meets() {
    let medium = FaultyMedium::new(1);
    let store = bed::open(&medium);
    store.commit(&[logging(1, 1, vec![7; 800_000])]).unwrap();
    let keys: Vec<String> = (0..50).map(|n| format!("k{n:02}")).collect();
    for round in 0..3_u8 {
        let documents = keys.iter().map(|key| change(key, vec![round; 100]));
        store.fold(&folding(1, documents.collect())).unwrap();
    }
    let (mut now_ms, mut bytes, mut compacted) = (0, 0, 0);
    loop {
        let tended = store.tend(now_ms);
        assert_eq!(tended.damage, []);
        (bytes, compacted) = (bytes + tended.bytes, compacted + tended.compacted);
        now_ms += u64::try_from(tended.rest.as_millis()).unwrap();
        if tended.pass_finished {
            break;
        }
    }
    assert_eq!(compacted, keys.len() as u64);
    assert!(bytes > 800_000, "the log is read, too");
    assert!(now_ms >= bytes * 1_000 / anabranch_store::limits::SCRUB_BYTES_PER_S / 2);
    let stored = document(&store, &id("n", "k00")).unwrap().unwrap();
    assert!(stored.changes.is_empty());
    assert_eq!(store.tend(now_ms).bytes, 0, "now it rests");
    let soon_ms = now_ms + anabranch_store::limits::TIDY_REST_MS;
    assert_eq!(store.tend(soon_ms).bytes, 0, "there is nothing to tidy");
    store.fold(&folding(2, vec![change("k00", "4")])).unwrap();
    assert_eq!(store.tend(soon_ms).bytes, 0, "others are being written");
    let quiet_ms = soon_ms + anabranch_store::limits::TIDY_REST_MS;
    store.fold(&folding(3, vec![change("k01", "4")])).unwrap();
    assert_eq!(store.tend(quiet_ms).bytes, 0, "still");
    let quiet_ms = quiet_ms + anabranch_store::limits::TIDY_REST_MS;
    assert!(store.tend(quiet_ms).bytes > 0);
}
