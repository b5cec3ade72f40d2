//! The two threads.
#![allow(clippy::unwrap_used)]

mod bed;

use std::sync::{Arc, mpsc};

use anabranch_core::Lsn;
use anabranch_core::persist::{Commit, Fetch, Fetched, Ticket};
use anabranch_store::{
    CommitError, Committer, Completion, FetchThread, Store, SubmitError, limits,
};
use bed::{GatedDisk, MemoryDisk, empty, log, logging, opening, record};

fn spawn(disk: &GatedDisk) -> (Arc<Store>, Committer, mpsc::Receiver<Completion>) {
    let store = Arc::new(Store::open(disk.clone(), opening("medium", 1)).unwrap().0);
    let (done, completions) = mpsc::channel();
    let committer = Committer::spawn(store.clone(), move |completion| {
        done.send(completion).unwrap();
    })
    .unwrap();
    (store, committer, completions)
}

fn durable(completion: Completion) -> (u64, usize) {
    match completion {
        Completion::Durable {
            through: Ticket(through),
            commits,
            ..
        } => (through, commits),
        other => panic!("expected a durable group, got {other:?}"),
    }
}

#[test]
fn a_burst_shares_one_sync() {
    let disk = GatedDisk::default();
    let (store, committer, completions) = spawn(&disk);
    disk.close_gate();
    committer.submit(logging(1, 1, "alone")).unwrap();
    disk.wait_for_sync();
    let before = disk.syncs();
    for n in 2..=65 {
        committer
            .submit(logging(n, n, format!("burst {n}")))
            .unwrap();
    }
    disk.open_gate();
    assert_eq!(
        durable(completions.recv().unwrap()),
        (1, 1),
        "a lone commit does not wait for others"
    );
    assert_eq!(durable(completions.recv().unwrap()), (65, 64));
    assert_eq!(
        disk.syncs() - before,
        2,
        "one for the first, one for the burst"
    );
    committer.finish();
    assert!(completions.recv().is_err(), "nothing was reported twice");
    assert_eq!(log(&store, 1, usize::MAX).unwrap().len(), 65);
}

#[test]
fn groups_are_bounded_in_commits_and_bytes() {
    let disk = GatedDisk::default();
    let (_store, committer, completions) = spawn(&disk);
    disk.close_gate();
    committer.submit(logging(1, 1, "x")).unwrap();
    disk.wait_for_sync();
    let many = limits::GROUP_COMMITS_MAX as u64 + 1;
    for ticket in 2..2 + many {
        committer
            .submit(Commit {
                documents: vec![(bed::id("n", "k"), bed::stored("x", true))],
                ..empty(ticket)
            })
            .unwrap();
    }
    disk.open_gate();
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
    assert_eq!(
        durable(completions.recv().unwrap()).1,
        limits::GROUP_COMMITS_MAX
    );
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
    disk.close_gate();
    committer.submit(logging(5_000, 2, "x")).unwrap();
    disk.wait_for_sync();
    for n in 0..3 {
        committer
            .submit(logging(
                5_001 + n,
                3 + n,
                vec![0; limits::GROUP_BYTES_MAX / 2],
            ))
            .unwrap();
    }
    disk.open_gate();
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
    assert_eq!(durable(completions.recv().unwrap()).1, 2, "full by bytes");
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
}

#[test]
fn a_full_queue_says_so_and_gives_the_commit_back() {
    let disk = GatedDisk::default();
    let (_store, committer, completions) = spawn(&disk);
    disk.close_gate();
    committer.submit(logging(1, 1, "x")).unwrap();
    disk.wait_for_sync();
    let queued = limits::COMMITS_QUEUED_MAX as u64;
    for n in 2..2 + queued {
        committer.try_submit(logging(n, n, "x")).unwrap();
    }
    match committer.try_submit(logging(queued + 2, queued + 2, "x")) {
        Err(SubmitError::Full(commit)) => assert_eq!(commit.ticket, Ticket(queued + 2)),
        other => panic!("expected a full queue, got {other:?}"),
    }
    disk.open_gate();
    drop(committer);
    let reported: usize = completions
        .iter()
        .map(|completion| durable(completion).1)
        .sum();
    assert_eq!(
        reported as u64,
        queued + 1,
        "what was queued is committed before the thread ends"
    );
}

#[test]
fn after_a_failure_nothing_is_reported_durable() {
    let disk = GatedDisk::default();
    let (_store, committer, completions) = spawn(&disk);
    disk.fail_syncs(true);
    committer.submit(logging(1, 1, "x")).unwrap();
    match completions.recv().unwrap() {
        Completion::Failed {
            ticket_from: Ticket(1),
            error: CommitError::OutcomeUnknown(_),
        } => {}
        other => panic!("{other:?}"),
    }
    disk.fail_syncs(false);
    committer.submit(logging(2, 2, "x")).unwrap();
    match completions.recv().unwrap() {
        Completion::Failed {
            ticket_from: Ticket(2),
            error: CommitError::Closed,
        } => {}
        other => panic!("{other:?}"),
    }
}

/// A gap is the caller's mistake and leaves the store as it was; but the commits behind it may not
/// be reported either, since their order is part of the promise.
#[test]
fn nothing_overtakes_a_refused_commit() {
    let disk = GatedDisk::default();
    let (store, committer, completions) = spawn(&disk);
    committer.submit(logging(1, 1, "x")).unwrap();
    assert_eq!(durable(completions.recv().unwrap()), (1, 1));
    committer.submit(logging(2, 3, "x")).unwrap();
    match completions.recv().unwrap() {
        Completion::Failed {
            ticket_from: Ticket(2),
            error:
                CommitError::OutOfOrder {
                    expected: Lsn(2),
                    found: Lsn(3),
                },
        } => {}
        other => panic!("{other:?}"),
    }
    committer.submit(logging(3, 2, "x")).unwrap();
    assert!(matches!(
        completions.recv().unwrap(),
        Completion::Failed {
            ticket_from: Ticket(3),
            ..
        }
    ));
    assert_eq!(log(&store, 1, usize::MAX).unwrap().len(), 1);
}

#[test]
fn fetches_are_answered_in_order_and_drained_at_the_end() {
    let store = Arc::new(bed::open(&MemoryDisk::default()));
    store.commit(&[logging(1, 1, "one")]).unwrap();
    let (done, answers) = mpsc::channel();
    let thread = FetchThread::spawn(store, move |id, fetched| {
        done.send((id, fetched.unwrap())).unwrap();
    })
    .unwrap();
    thread
        .submit(
            7,
            Fetch::Log {
                from: Lsn(1),
                bytes_max: 10,
            },
        )
        .unwrap();
    thread
        .try_submit(8, Fetch::Document(bed::id("n", "k")))
        .unwrap();
    thread.finish();
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(
        answers,
        [
            (7, Fetched::Log(vec![record(1, "one")])),
            (8, Fetched::Document(None))
        ]
    );
}
