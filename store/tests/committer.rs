//! The threads.
#![allow(clippy::unwrap_used)]

mod bed;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use anabranch_core::Lsn;
use anabranch_core::persist::{Commit, Fetch, Fetched, Fold, FoldId, StoreError, Ticket};
use anabranch_store::conformance::{log, record};
use anabranch_store::{
    CommitError, Committer, Completion, Damage, Engine, FetchThread, FoldReport, Folder,
    MemoryMedium, MemoryStore, SubmitError, Tended, limits,
};
use bed::{change, folding, logging, opening};

/// An engine that can hold a call back until it is let go, and can refuse one.
#[derive(Debug)]
struct Gated {
    engine: MemoryStore,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct Gate {
    closed: bool,
    /// Commits and folds that have come to the gate.
    arrived: u64,
    refusals: Vec<CommitError>,
    prepared: u64,
    tended: u64,
}

impl Gated {
    fn new() -> Arc<Self> {
        let medium = MemoryMedium::new();
        let (engine, _) = MemoryStore::open(&medium, opening("medium", 1)).unwrap();
        Arc::new(Self {
            engine,
            gate: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap()
    }

    fn close(&self) {
        self.gate().closed = true;
    }

    fn open(&self) {
        self.gate().closed = false;
        self.changed.notify_all();
    }

    /// Returns once so many calls have come to the gate.
    fn wait_for(&self, arrived: u64) {
        self.wait_until(|gate| gate.arrived >= arrived);
    }

    fn wait_until(&self, happened: impl Fn(&Gate) -> bool) {
        let gate = self.gate();
        drop(
            self.changed
                .wait_while(gate, |gate| !happened(gate))
                .unwrap(),
        );
    }

    /// Refuses the next commit.
    fn refuse(&self, error: CommitError) {
        self.gate().refusals.push(error);
    }

    fn pass(&self) -> Option<CommitError> {
        let mut gate = self.gate();
        gate.arrived += 1;
        self.changed.notify_all();
        let mut gate = self.changed.wait_while(gate, |gate| gate.closed).unwrap();
        gate.refusals.pop()
    }
}

impl Engine for Gated {
    fn commit(&self, commits: &[Commit]) -> Result<(), CommitError> {
        self.pass().map_or_else(|| self.engine.commit(commits), Err)
    }

    fn fold(&self, fold: &Fold) -> Result<(), StoreError> {
        self.pass();
        self.engine.fold(fold)
    }

    fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        self.engine.fetch(fetch)
    }

    fn prepare(&self) {
        self.gate().prepared += 1;
        self.changed.notify_all();
    }

    fn tend(&self, _: u64) -> Tended {
        self.gate().tended += 1;
        let damage = Damage {
            range: None,
            what: "a scratch".to_owned(),
        };
        Tended {
            bytes: 10,
            compacted: 2,
            pass_finished: true,
            damage: vec![damage],
            ..Tended::nothing(Tended::REST_MAX)
        }
    }
}

fn full() -> CommitError {
    CommitError::Full(Arc::new(io::ErrorKind::StorageFull.into()))
}

fn spawn(engine: &Arc<Gated>) -> (Committer, mpsc::Receiver<Completion>) {
    let (done, completions) = mpsc::channel();
    let committer = Committer::spawn(engine.clone(), move |completion| {
        done.send(completion).unwrap();
    })
    .unwrap();
    (committer, completions)
}

/// The last ticket of a durable group, and how many there are in it.
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

/// The first and the last ticket of a group that failed, how many there are, and why.
fn failed(completion: Completion) -> ((u64, u64, usize), CommitError) {
    match completion {
        Completion::Failed {
            from,
            through,
            commits,
            error,
        } => ((from.0, through.0, commits), error),
        other => panic!("expected a group that failed, got {other:?}"),
    }
}

fn assert_full(completion: Completion, tickets: (u64, u64, usize)) {
    let (found, error) = failed(completion);
    assert_eq!(found, tickets);
    assert!(matches!(error, CommitError::Full(_)), "{error}");
}

#[test]
fn a_burst_is_one_group() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    engine.close();
    committer.submit(logging(1, 1, "alone")).unwrap();
    engine.wait_for(1);
    for n in 2..=65 {
        committer
            .submit(logging(n, n, format!("burst {n}")))
            .unwrap();
    }
    engine.open();
    assert_eq!(
        durable(completions.recv().unwrap()),
        (1, 1),
        "a lone commit does not wait for others"
    );
    assert_eq!(durable(completions.recv().unwrap()), (65, 64));
    committer.finish();
    assert!(completions.recv().is_err(), "nothing was reported twice");
    assert_eq!(log(&*engine, 1, usize::MAX).unwrap().len(), 65);
}

#[test]
fn groups_are_bounded_in_commits_and_bytes() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    engine.close();
    committer.submit(logging(1, 1, "x")).unwrap();
    engine.wait_for(1);
    let last = 2 + limits::GROUP_COMMITS_MAX as u64;
    for n in 2..=last {
        committer.submit(logging(n, n, "x")).unwrap();
    }
    engine.open();
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
    assert_eq!(
        durable(completions.recv().unwrap()).1,
        limits::GROUP_COMMITS_MAX
    );
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
    engine.close();
    committer.submit(logging(last + 1, last + 1, "x")).unwrap();
    engine.wait_for(4);
    for n in last + 2..last + 5 {
        let half = vec![0; limits::GROUP_BYTES_MAX / 2];
        committer.submit(logging(n, n, half)).unwrap();
    }
    engine.open();
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
    assert_eq!(durable(completions.recv().unwrap()).1, 2, "full by bytes");
    assert_eq!(durable(completions.recv().unwrap()).1, 1);
}

#[test]
fn a_full_queue_says_so_and_gives_the_commit_back() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    engine.close();
    committer.submit(logging(1, 1, "x")).unwrap();
    engine.wait_for(1);
    let queued = limits::COMMITS_QUEUED_MAX as u64;
    for n in 2..2 + queued {
        committer.try_submit(logging(n, n, "x")).unwrap();
    }
    match committer.try_submit(logging(queued + 2, queued + 2, "x")) {
        Err(SubmitError::Full(commit)) => assert_eq!(commit.ticket, Ticket(queued + 2)),
        other => panic!("expected a full queue, got {other:?}"),
    }
    engine.open();
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
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    engine.refuse(CommitError::OutcomeUnknown(Arc::new(io::Error::other(
        "the disk does not sync",
    ))));
    committer.submit(logging(1, 1, "x")).unwrap();
    let (tickets, error) = failed(completions.recv().unwrap());
    assert_eq!(tickets, (1, 1, 1));
    assert!(matches!(error, CommitError::OutcomeUnknown(_)), "{error}");
    assert!(matches!(error.into(), StoreError::Failed(_)));
    committer.submit(logging(2, 1, "x")).unwrap();
    let (tickets, error) = failed(completions.recv().unwrap());
    assert_eq!(tickets, (2, 2, 1));
    assert!(matches!(error, CommitError::Closed), "{error}");
    assert!(log(&*engine, 1, usize::MAX).unwrap().is_empty());
}

/// A gap is the caller's mistake and leaves the store as it was; but the commits behind it may not
/// be reported either, since their order is part of the promise.
#[test]
fn nothing_overtakes_a_refused_commit() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    committer.submit(logging(1, 1, "x")).unwrap();
    assert_eq!(durable(completions.recv().unwrap()), (1, 1));
    committer.submit(logging(2, 3, "x")).unwrap();
    let (tickets, error) = failed(completions.recv().unwrap());
    assert_eq!(tickets, (2, 2, 1));
    let expected = Lsn(2);
    assert!(
        matches!(error, CommitError::OutOfOrder { expected: at, .. } if at == expected),
        "{error}"
    );
    committer.submit(logging(3, 2, "x")).unwrap();
    assert_eq!(failed(completions.recv().unwrap()).0, (3, 3, 1));
    assert_eq!(log(&*engine, 1, usize::MAX).unwrap().len(), 1);
}

/// The replica goes on handing out commits while one fails for want of room. When it hears of that, it takes all of
/// them back and uses their positions again, while the old ones are still queued. Of those none may be written, and
/// a group never holds both kinds.
#[test]
fn commits_built_on_one_without_room_fail_and_their_successors_do_not() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    committer.submit(logging(1, 1, "first")).unwrap();
    assert_eq!(durable(completions.recv().unwrap()), (1, 1));
    engine.close();
    engine.refuse(full());
    committer.submit(logging(2, 2, "old")).unwrap();
    engine.wait_for(2);
    for n in 3..=6 {
        committer.submit(logging(n, n, "old")).unwrap();
    }
    // Those that take their places.
    for n in 2..=4 {
        committer.submit(logging(n + 5, n, "new")).unwrap();
    }
    engine.open();
    assert_full(completions.recv().unwrap(), (2, 2, 1));
    assert_full(completions.recv().unwrap(), (3, 6, 4));
    assert_eq!(durable(completions.recv().unwrap()), (9, 3));
    let expected = [
        record(1, "first"),
        record(2, "new"),
        record(3, "new"),
        record(4, "new"),
    ];
    assert_eq!(log(&*engine, 1, usize::MAX).unwrap(), expected);
}

/// As long as the disk is full, each attempt fails like the one before.
#[test]
fn no_room_can_be_met_again_and_again() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    for attempt in 0..3 {
        engine.close();
        engine.refuse(full());
        let ticket = 1 + attempt * 3;
        committer.submit(logging(ticket, 1, "x")).unwrap();
        engine.wait_for(attempt + 1);
        committer.submit(logging(ticket + 1, 2, "x")).unwrap();
        committer.submit(logging(ticket + 2, 3, "x")).unwrap();
        engine.open();
        assert_full(completions.recv().unwrap(), (ticket, ticket, 1));
        let mut seen = 0;
        while seen < 2 {
            let ((from, through, commits), _) = failed(completions.recv().unwrap());
            assert_eq!(from, ticket + 1 + seen);
            assert_eq!(through - from + 1, commits as u64);
            seen += commits as u64;
        }
    }
    committer.submit(logging(20, 1, "there is room")).unwrap();
    assert_eq!(durable(completions.recv().unwrap()), (20, 1));
}

#[test]
fn the_engine_prepares_at_the_start_and_with_the_bytes() {
    let engine = Gated::new();
    let (committer, completions) = spawn(&engine);
    engine.wait_until(|gate| gate.prepared == 1);
    committer.submit(logging(1, 1, "little")).unwrap();
    durable(completions.recv().unwrap());
    let much = vec![0; limits::PREPARE_EVERY_BYTES];
    committer.submit(logging(2, 2, much)).unwrap();
    durable(completions.recv().unwrap());
    engine.wait_until(|gate| gate.prepared == 2);
}

#[test]
fn fetches_are_answered_in_order_and_drained_at_the_end() {
    let engine = Gated::new();
    engine.commit(&[logging(1, 1, "one")]).unwrap();
    let (done, answers) = mpsc::channel();
    let thread = FetchThread::spawn(engine, move |id, fetched| {
        done.send((id, fetched.unwrap())).unwrap();
    })
    .unwrap();
    let from_one = Fetch::Log {
        from: Lsn(1),
        bytes_max: 10,
    };
    thread.submit(7, from_one).unwrap();
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

#[test]
fn folds_are_done_in_order_beside_commits() {
    let engine = Gated::new();
    let (done, reports) = mpsc::channel();
    let folder = Folder::spawn(engine.clone(), move |report| {
        if let FoldReport::Folded { id, result, .. } = report {
            done.send((id, result)).unwrap();
        }
    })
    .unwrap();
    engine.close();
    folder.submit(folding(1, vec![change("a", "1")])).unwrap();
    engine.wait_for(1);
    // A fold that waits holds nothing up.
    engine.engine.commit(&[logging(1, 1, "x")]).unwrap();
    let out_of_order = vec![change("b", "1"), change("a", "1")];
    folder.submit(folding(2, out_of_order)).unwrap();
    folder.submit(folding(3, vec![change("b", "1")])).unwrap();
    engine.open();
    folder.finish();
    let reports: Vec<_> = reports.iter().collect();
    let ids: Vec<FoldId> = reports.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [FoldId(1), FoldId(2), FoldId(3)]);
    let done: Vec<bool> = reports.iter().map(|(_, result)| result.is_ok()).collect();
    assert_eq!(done, [true, false, true]);
}

#[test]
fn an_idle_folder_tends_to_the_data_and_tells_what_it_finds() {
    let engine = Gated::new();
    let (done, reports) = mpsc::channel();
    let folder = Folder::spawn(engine.clone(), move |report| {
        // Nobody may be listening any more.
        let _ = done.send(report);
    })
    .unwrap();
    match reports.recv_timeout(Duration::from_secs(60)).unwrap() {
        FoldReport::Damaged(damage) => assert_eq!(damage.what, "a scratch"),
        other => panic!("expected damage, got {other:?}"),
    }
    let upkeep = folder.upkeep();
    assert_eq!((upkeep.passes, upkeep.scrubbed_bytes), (1, 10));
    assert_eq!((upkeep.compacted, upkeep.damage), (2, 1));
    assert!(upkeep.last_pass.is_some());
    // A fold may have left something to do, so the long rest ends early.
    folder.submit(folding(1, vec![change("a", "1")])).unwrap();
    let mut found = 0;
    while found < 1 {
        match reports.recv_timeout(Duration::from_secs(60)).unwrap() {
            FoldReport::Damaged(_) => found += 1,
            FoldReport::Folded { result, .. } => result.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(folder.upkeep().passes, 2);
}
