//! Opening again: what is there, and under which incarnation it goes on.

use anabranch_core::persist::{Checkpoint, Commit, Continuity, Fold, Ticket};
use anabranch_core::{Incarnation, Lsn};

use super::Bed;
use super::asking::{
    change, crash, folding, held, holding, log, logging, open, receipt, record, stored_receipt,
    whole_log,
};
use crate::error::OpenError;
use crate::seam::Engine as _;

/// Elsewhere there may be records of it that are not known here.
pub fn an_incarnation_goes_on_only_on_the_same_medium<B: Bed>(bed: &mut B) {
    let reopen = |bed: &mut B, fresh| {
        bed.open(Incarnation(fresh))
            .map(|(_, recovery)| (recovery.continuity, recovery.incarnation.0))
    };
    assert_eq!(reopen(bed, 1).unwrap(), (Continuity::New, 1));
    if bed.proves_continuity() {
        assert_eq!(reopen(bed, 2).unwrap(), (Continuity::Proven, 1));
    }
    bed.copy();
    assert_eq!(reopen(bed, 3).unwrap(), (Continuity::Broken, 3));
    if bed.proves_continuity() {
        let durable = (Continuity::Proven, 3);
        assert_eq!(reopen(bed, 4).unwrap(), durable, "the new one is durable");
    }
    bed.copy();
    let refused = reopen(bed, 3).unwrap_err();
    assert!(matches!(refused, OpenError::NotFresh), "{refused}");
    assert_eq!(reopen(bed, 5).unwrap(), (Continuity::Broken, 5));
}

/// With records or without; of a group the last one counts.
pub fn a_commit_can_replace_the_incarnation<B: Bed>(bed: &mut B) {
    let renewing = |fresh, log| Commit {
        log,
        incarnation: Some(Incarnation(fresh)),
        ..Commit::new(Ticket(fresh))
    };
    let engine = open(bed);
    let group = [renewing(8, Vec::new()), renewing(9, vec![record(1, "one")])];
    engine.commit(&group).unwrap();
    bed.crash(engine);
    let (engine, recovery) = bed.open(Incarnation(2)).unwrap();
    if bed.proves_continuity() {
        let found = (recovery.continuity, recovery.incarnation);
        assert_eq!(found, (Continuity::Proven, Incarnation(9)));
    }
    assert_eq!(recovery.log_end, Some(Lsn(1)));
    assert_eq!(whole_log(&engine), [record(1, "one")]);
}

/// The newest one, as a whole.
pub fn a_checkpoint_is_found_again<B: Bed>(bed: &mut B) {
    let mut engine = open(bed);
    let commits: Vec<Commit> = (1..=9).map(|lsn| logging(lsn, "x")).collect();
    engine.commit(&commits).unwrap();
    for replay_from in [4, 10] {
        let checkpoint = Checkpoint {
            replay_from: Lsn(replay_from),
            state: change(vec![7; 30_000]),
        };
        let number = replay_from.to_string();
        let fold = Fold {
            checkpoint: Some(checkpoint.clone()),
            ..folding([("a", number.as_str())])
        };
        engine.fold(&fold).unwrap();
        bed.crash(engine);
        let (reopened, recovery) = bed.open(Incarnation(2 + replay_from)).unwrap();
        assert_eq!(recovery.checkpoint, Some(checkpoint));
        assert_eq!(
            (recovery.log_first, recovery.log_end),
            (Some(Lsn(1)), Some(Lsn(9)))
        );
        engine = reopened;
    }
    assert_eq!(held(&engine, "a"), holding(&["4", "10"]));
}

/// The log keeps all that was not released, and goes on where it was even if all of it was.
pub fn what_is_released_may_go_and_nothing_else<B: Bed>(bed: &mut B) {
    let mut engine = open(bed);
    let mut end = 0;
    for round in 1..=4 {
        let commits: Vec<Commit> = (end + 1..=end + 40)
            .map(|lsn| logging(lsn, vec![7; 30_000]))
            .collect();
        for commits in commits.chunks(4) {
            engine.commit(commits).unwrap();
            engine.prepare();
        }
        end += 40;
        let released = if round == 4 { end + 1 } else { end - 5 };
        let fold = Fold {
            checkpoint: Some(Checkpoint {
                replay_from: Lsn(end + 1),
                state: change("state"),
            }),
            release_before: Some(Lsn(released)),
            ..folding([])
        };
        engine.fold(&fold).unwrap();
        let kept = log(&engine, released, usize::MAX).unwrap();
        assert_eq!(kept.len() as u64, end + 1 - released);
        bed.crash(engine);
        let (reopened, recovery) = bed.open(Incarnation(1 + round)).unwrap();
        assert_eq!(recovery.log_end, Some(Lsn(end)));
        assert!(recovery.log_first.is_none_or(|first| first.0 <= released));
        if bed.proves_continuity() {
            assert_eq!(recovery.continuity, Continuity::Proven);
        }
        let again = log(&reopened, released, usize::MAX).unwrap();
        assert_eq!(again, kept);
        engine = reopened;
    }
    engine.commit(&[logging(end + 1, "next")]).unwrap();
    let next = [record(end + 1, "next")];
    assert_eq!(log(&engine, end + 1, usize::MAX).unwrap(), next);
}

/// Commits, folds, receipts and checkpoints: each is there once it has returned.
pub fn nothing_is_lost_by_a_crash_between_two_calls<B: Bed>(bed: &mut B) {
    let mut engine = open(bed);
    for n in 1..=12_u64 {
        let (first, last) = (2 * n - 1, 2 * n);
        let group = [logging(first, format!("record {first}")), logging(last, "")];
        engine.commit(&group).unwrap();
        engine = crash(bed, engine);
        assert_eq!(whole_log(&engine).len() as u64, last);
        let number = n.to_string();
        let mut fold = Fold {
            receipts: vec![stored_receipt(n, first, n, "answer")],
            compact: n.is_multiple_of(2),
            ..folding([("shared", number.as_str()), (&format!("own {n:02}"), "x")])
        };
        if n.is_multiple_of(3) {
            fold.checkpoint = Some(Checkpoint {
                replay_from: Lsn(last + 1),
                state: change(number.clone()),
            });
        }
        engine.fold(&fold).unwrap();
        bed.crash(engine);
        let (reopened, recovery) = bed.open(Incarnation(n + 1)).unwrap();
        engine = reopened;
        let through = recovery.checkpoint.map_or(0, |to| to.replay_from.0 - 1);
        assert_eq!(through, n / 3 * 6);
        assert_eq!(held(&engine, "shared").unwrap().len() as u64, n);
        assert_eq!(held(&engine, &format!("own {n:02}")), holding(&["x"]));
        for n in 1..=n {
            let expected = stored_receipt(n, 2 * n - 1, n, "answer");
            assert_eq!(receipt(&engine, n).unwrap(), Some(expected));
        }
    }
}
