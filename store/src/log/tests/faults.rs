//! Full disks and disks that fail at one call.

use super::*;
use crate::engine::Fault;
use crate::medium::faulty::Faults;

const ROOM_STEP: u64 = 4096;

fn room(medium: &FaultyMedium, bytes: u64) {
    medium.set_faults(Faults {
        room_bytes: Some(bytes),
        ..Faults::default()
    });
}

/// Appends groups until one is refused; how many records are in then.
fn fill(log: &Log, end: &mut u64, records: &mut Vec<LogRecord>, random: &mut Random) -> bool {
    for _ in 0..40 {
        let group: Vec<_> = (*end + 1..=*end + 1 + random.below(5))
            .map(|lsn| random_record(lsn, 4_000, random))
            .collect();
        match log.append(group.iter()) {
            Ok(()) => {
                *end = group.last().unwrap().lsn.0;
                records.extend(group);
            }
            Err(Fault::Full(_)) => return true,
            Err(fault) => panic!("{fault:?}"),
        }
        if let Err(fault) = log.prepare() {
            assert!(matches!(fault, Fault::Full(_)), "{fault:?}");
        }
    }
    false
}

#[test]
fn a_full_disk_refuses_cleanly_and_the_log_goes_on_when_there_is_room() {
    let mut refused = 0;
    for budget in (0..140).map(|steps| steps * ROOM_STEP) {
        let medium = FaultyMedium::new(budget);
        let mut random = Random(budget);
        let (log, _) = open(&medium);
        let (mut end, mut records) = (0, Vec::new());
        room(&medium, budget);
        if !fill(&log, &mut end, &mut records, &mut random) {
            continue;
        }
        refused += 1;
        assert!(everything(&log) == records, "reads go on");
        assert_eq!(log.bounds().map_or(0, |(_, end)| end.0), end);
        // Whether the process goes on, is killed or loses its power now: what was refused is nowhere.
        for left in [medium.copy(1), medium.after_power_cut(2)] {
            let (log, found) = open(&left);
            assert_eq!(found.end.map_or(0, |end| end.0), end, "budget {budget}");
            assert!(everything(&log) == records);
        }
        room(&medium, budget + 100 * ROOM_STEP);
        let group = numbered(end + 1..=end + 3);
        append(&log, &group);
        records.extend(group);
        assert!(everything(&log) == records);
        for left in [medium.copy(3), medium.after_power_cut(4)] {
            let (log, found) = open(&left);
            assert!(found.lost.is_empty() && found.unreadable.is_empty());
            assert!(everything(&log) == records, "budget {budget}");
        }
    }
    assert!(refused > 20, "{refused}");
}

/// On a disk that copies on writing, a write in place can be refused.
#[test]
fn a_write_in_place_that_is_refused_leaves_no_trace() {
    for refused_from in [1, 2, 5] {
        let medium = FaultyMedium::new(refused_from);
        let (log, _) = open(&medium);
        append(&log, &numbered(1..=4));
        let large: Vec<_> = (5..8).map(|lsn| record(lsn, vec![7; 2_000])).collect();
        medium.refuse_writes_after(refused_from * 512);
        assert!(matches!(log.append(large.iter()), Err(Fault::Full(_))));
        for left in [medium.copy(1), medium.after_power_cut(refused_from)] {
            let (log, found) = open(&left);
            assert_eq!(found.end, Some(Lsn(4)));
            append(&log, &numbered(5..=5));
            assert_eq!(lsns(&everything(&open(&left).0)), [1, 2, 3, 4, 5]);
        }
        append(&log, &numbered(5..=6));
        assert!(everything(&log) == numbered(1..=6));
        for left in [medium.copy(1), medium.after_power_cut(refused_from)] {
            let (log, found) = open(&left);
            assert!(found.lost.is_empty());
            assert!(everything(&log) == numbered(1..=6));
        }
    }
}

/// The header of the segment that it was to begin is on the disk then, and says what is not so.
#[test]
fn a_first_group_that_is_refused_is_not_mistaken_for_a_lost_one() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &[record(1, vec![7; 5_000])]);
    log.prepare().unwrap();
    let large: Vec<_> = (2..5).map(|lsn| record(lsn, vec![8; 2_000])).collect();
    medium.refuse_writes_after(8192 + 3_000);
    assert!(matches!(log.append(large.iter()), Err(Fault::Full(_))));
    // The first segment has room for these.
    append(&log, &numbered(2..=3));
    for remembered in [Some(Lsn(3)), None] {
        let options = LogOptions {
            reported_end: remembered,
            ..NOTHING_REMEMBERED
        };
        for left in [medium.copy(1), medium.after_power_cut(2)] {
            let (log, found) = open_with(&left, &options);
            assert!(found.lost.is_empty(), "{found:?}");
            assert_eq!(lsns(&everything(&log)), [1, 2, 3]);
        }
    }
}

/// What was made ready before is of an earlier life than the segment that failed, so it would not have counted beside it:
/// all records would have been lost.
#[test]
fn the_log_does_not_go_on_in_a_segment_older_than_the_one_that_was_refused() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    log.prepare().unwrap();
    // Too large for what is ready. There is room for a segment, and for the beginning of the group.
    medium.refuse_writes_after(40_960 + 9_000);
    let large = record(1, vec![8; 30_000]);
    assert!(matches!(
        log.append([&large].into_iter()),
        Err(Fault::Full(_))
    ));
    append(&log, &numbered(1..=3));
    for remembered in [Some(Lsn(3)), None] {
        let options = LogOptions {
            reported_end: remembered,
            ..NOTHING_REMEMBERED
        };
        for left in [medium.copy(1), medium.after_power_cut(2)] {
            let (log, found) = open_with(&left, &options);
            assert!(found.lost.is_empty(), "{found:?}");
            assert_eq!(lsns(&everything(&log)), [1, 2, 3]);
        }
    }
}

/// The end of a group that was refused may happen to be what the file held there before. It came back after a crash.
#[test]
fn a_refused_group_that_is_there_all_the_same_is_taken() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &numbered(1..=1));
    medium.refuse_writes_after(512);
    // A new segment is full of zeros.
    append(&log, &[record(2, vec![0; 3_000])]);
    for left in [medium.copy(1), medium.after_power_cut(2)] {
        assert_eq!(lsns(&everything(&open(&left).0)), [1, 2]);
    }
}

#[test]
fn after_a_failure_the_outcome_shows_when_the_log_is_opened_again() {
    let mut closed = 0;
    for call in 0..90 {
        let medium = FaultyMedium::new(call);
        let (log, _) = open(&medium);
        let mut random = Random(call);
        let start = medium.calls();
        medium.set_faults(Faults {
            fails_at: Some(start + call),
            ..Faults::default()
        });
        let (mut records, mut end, mut tried) = (Vec::new(), 0, Vec::new());
        for _ in 0..12 {
            let group: Vec<_> = (end + 1..=end + 3)
                .map(|lsn| random_record(lsn, 3_000, &mut random))
                .collect();
            tried.clone_from(&group);
            match log.append(group.iter()) {
                Ok(()) => {
                    records.extend(group);
                    end += 3;
                    // Not being able to prepare closes nothing.
                    drop(log.prepare());
                }
                Err(fault) => {
                    assert!(matches!(fault, Fault::Io(_)), "{fault:?}");
                    closed += 1;
                    let more = numbered(end + 1..=end + 1);
                    assert!(matches!(log.append(more.iter()), Err(Fault::Io(_))));
                    break;
                }
            }
        }
        assert!(everything(&log) == records, "reads go on");
        let killed = medium.copy(call);
        for left in [killed.copy(1), medium.after_power_cut(call)] {
            let (log, found) = open(&left);
            let there = found.end.map_or(0, |end| end.0);
            assert!(there == end || there == end + 3, "call {call}: {there}");
            let all = [&records[..], &tried[..]].concat();
            assert!(everything(&log) == all[..usize::try_from(there).unwrap()]);
            // The system may have dropped what it could not write, and shows it all the same: see `settle`.
            let later = left.after_power_cut(call);
            assert_eq!(open(&later).1.end.map_or(0, |end| end.0), there);
        }
    }
    assert!(closed > 20, "{closed}");
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &[]);
    for wrong in [numbered(2..=3), vec![record(1, "a"), record(3, "b")]] {
        assert!(matches!(log.append(wrong.iter()), Err(Fault::Engine(_))));
    }
    append(&log, &numbered(1..=2));
    assert!(matches!(
        log.append(numbered(2..=3).iter()),
        Err(Fault::Engine(_))
    ));
    append(&log, &numbered(3..=3));
    assert!(everything(&log) == numbered(1..=3));
}
