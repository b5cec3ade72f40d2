//! No room: nothing is done, nothing is lost, and it goes on when there is room again.

use anabranch_core::persist::{Checkpoint, Commit, Fold, StoreError};
use anabranch_core::{Incarnation, Lsn};

use super::Bed;
use super::asking::{change, folding, held, holding, log, logging, open};
use crate::error::CommitError;
use crate::medium::faulty::Random;
use crate::seam::Engine as _;

/// By then any log has asked its medium for room.
const GROUPS_MAX: u64 = 2_000;

/// Incompressible.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    std::iter::repeat_with(|| random.draw().to_le_bytes())
        .flatten()
        .take(len)
        .collect()
}

/// The group that found no room can be tried again, as often as one likes; and another may come in its place.
pub fn a_full_log_takes_nothing_and_goes_on_when_there_is_room<B: Bed>(bed: &mut B) {
    let engine = open(bed);
    engine.commit(&[logging(1, "first")]).unwrap();
    if !bed.set_full(true) {
        return;
    }
    let group = |lsn| {
        [
            logging(lsn, vec![7; 60_000]),
            logging(lsn + 1, vec![8; 100]),
        ]
    };
    let mut next = 2;
    let refused = loop {
        match engine.commit(&group(next)) {
            Ok(()) => next += 2,
            Err(error) => break error,
        }
        assert!(next < GROUPS_MAX, "it is never full");
    };
    assert!(matches!(refused, CommitError::Full(_)), "{refused}");
    for _ in 0..3 {
        let refused = engine.commit(&group(next)).unwrap_err();
        assert!(matches!(refused, CommitError::Full(_)), "{refused}");
        engine.prepare();
        let there = log(&engine, 1, usize::MAX).unwrap();
        assert_eq!(there.len() as u64, next - 1);
    }
    bed.set_full(false);
    let instead: Vec<Commit> = (next..next + 5)
        .map(|lsn| logging(lsn, vec![9; 60_000]))
        .collect();
    engine.commit(&instead).unwrap();
    bed.crash(engine);
    let (engine, recovery) = bed.open(Incarnation(2)).unwrap();
    assert_eq!(recovery.log_end, Some(Lsn(next + 4)));
    let there = log(&engine, next, usize::MAX).unwrap();
    let expected: Vec<_> = instead.into_iter().flat_map(|commit| commit.log).collect();
    assert_eq!(there, expected);
}

/// Documents that were there can be read all the while; the checkpoint has not moved.
pub fn a_fold_without_room_can_be_given_again<B: Bed>(bed: &mut B) {
    let engine = open(bed);
    engine.commit(&[logging(1, "x"), logging(2, "y")]).unwrap();
    engine.fold(&folding([("a", "1")])).unwrap();
    if !bed.set_full(true) {
        return;
    }
    let mut n = 0;
    let fold = |n: u64| {
        let mut fold = Fold {
            checkpoint: Some(Checkpoint {
                replay_from: Lsn(1),
                state: change(n.to_string()),
            }),
            ..folding([("b", "")])
        };
        fold.documents[0].changes = vec![change(noise(n, 100_000))];
        fold
    };
    let refused = loop {
        match engine.fold(&fold(n)) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        assert!(n < GROUPS_MAX, "it is never full");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert_eq!(held(&engine, "a"), holding(&["1"]));
    assert!(engine.fold(&fold(n)).is_err());
    bed.set_full(false);
    for n in n..n + 3 {
        engine.fold(&fold(n)).unwrap();
    }
    bed.crash(engine);
    let (engine, recovery) = bed.open(Incarnation(2)).unwrap();
    assert_eq!(held(&engine, "a"), holding(&["1"]));
    assert_eq!(held(&engine, "b").unwrap().len() as u64, n + 3);
    let state = recovery.checkpoint.map(|to| to.state);
    assert_eq!(state, Some(change((n + 2).to_string())));
    assert_eq!(log(&engine, 1, usize::MAX).unwrap().len(), 2);
}
