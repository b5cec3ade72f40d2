//! Records: in order, as wholes, and as long as they are needed.

use anabranch_core::Lsn;
use anabranch_core::persist::{Commit, Ticket};

use super::Bed;
use super::asking::{crash, log, logging, open, record, whole_log};
use crate::error::CommitError;
use crate::seam::Engine as _;

/// What was appended is there, in this run and the next, byte for byte.
pub fn records_come_back_in_order(bed: &mut impl Bed) {
    let engine = open(bed);
    assert_eq!(whole_log(&engine), []);
    let first = Commit {
        log: vec![record(1, "one"), record(2, "")],
        ..Commit::new(Ticket(1))
    };
    engine
        .commit(&[first, logging(3, vec![3; 100_000])])
        .unwrap();
    engine.commit(&[]).unwrap();
    engine.commit(&[Commit::new(Ticket(4))]).unwrap();
    engine.commit(&[logging(4, "four")]).unwrap();
    engine.prepare();
    let all = [
        record(1, "one"),
        record(2, ""),
        record(3, vec![3; 100_000]),
        record(4, "four"),
    ];
    assert_eq!(whole_log(&engine), all);
    let engine = crash(bed, engine);
    assert_eq!(log(&engine, 0, usize::MAX).unwrap(), all);
    engine.commit(&[logging(5, "five")]).unwrap();
    assert_eq!(log(&engine, 5, usize::MAX).unwrap(), [record(5, "five")]);
}

/// As many as are wanted, at least one.
pub fn the_log_is_given_out_in_portions(bed: &mut impl Bed) {
    let engine = open(bed);
    let commits: Vec<Commit> = (1..=10).map(|lsn| logging(lsn, vec![0; 100])).collect();
    engine.commit(&commits).unwrap();
    let lsns = |from, bytes_max| -> Vec<u64> {
        let records = log(&engine, from, bytes_max).unwrap();
        records.iter().map(|record| record.lsn.0).collect()
    };
    assert_eq!(lsns(4, 0), [4], "at least one");
    assert_eq!(lsns(4, 200), [4, 5]);
    assert_eq!(lsns(4, 201), [4, 5, 6]);
    assert_eq!(lsns(9, usize::MAX), [9, 10]);
    assert_eq!(lsns(11, usize::MAX), [] as [u64; 0]);
    assert_eq!(lsns(u64::MAX, usize::MAX), [] as [u64; 0]);
}

/// Positions have no gaps, and none is used twice. A group with a record that does not follow leaves no trace.
pub fn a_record_that_does_not_follow_is_refused(bed: &mut impl Bed) {
    let engine = open(bed);
    for lsn in [0, 2] {
        let refused = engine.commit(&[logging(lsn, "x")]).unwrap_err();
        assert!(
            matches!(
                refused,
                CommitError::OutOfOrder {
                    expected: Lsn(1),
                    ..
                }
            ),
            "{refused}"
        );
    }
    engine.commit(&[logging(1, "one")]).unwrap();
    for lsn in [1, 2, 4] {
        let group = [logging(2, "two"), logging(lsn, "x")];
        let refused = engine.commit(&group).unwrap_err();
        assert!(
            matches!(
                refused,
                CommitError::OutOfOrder {
                    expected: Lsn(3),
                    ..
                }
            ),
            "{refused}"
        );
        assert_eq!(whole_log(&engine), [record(1, "one")]);
    }
    engine.commit(&[logging(2, "two")]).unwrap();
    let engine = crash(bed, engine);
    assert_eq!(whole_log(&engine), [record(1, "one"), record(2, "two")]);
}

/// All commits of a group, or none; and each commit with all its records.
pub fn a_group_is_there_as_a_whole(bed: &mut impl Bed) {
    let mut engine = open(bed);
    for group in 0..6 {
        let commit = |n: u64| {
            let first = group * 30 + n * 3 + 1;
            Commit {
                log: (first..first + 3)
                    .map(|lsn| record(lsn, vec![7; 5_000]))
                    .collect(),
                ..Commit::new(Ticket(first))
            }
        };
        let commits: Vec<Commit> = (0..10).map(commit).collect();
        engine.commit(&commits).unwrap();
        engine = crash(bed, engine);
        assert_eq!(whole_log(&engine).len() as u64, (group + 1) * 30);
    }
}
