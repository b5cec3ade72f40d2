//! Files: how they follow each other, are used again, are missed and are refused.

use super::*;
use crate::log::LogRefusal;
use crate::log::header::{HEADER_BYTES, Header};

/// One group each, large enough that few fit into a segment.
fn fill(log: &Log, range: RangeInclusive<u64>) {
    for lsn in range {
        append(log, &numbered_large(lsn));
    }
}

fn numbered_large(lsn: u64) -> Vec<LogRecord> {
    vec![record(lsn, format!("{lsn:08}").repeat(250))]
}

#[test]
fn a_group_is_one_write_and_one_sync() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &numbered(1..=1));
    let (calls, syncs) = (medium.calls(), medium.syncs());
    append(&log, &numbered(2..=50));
    assert_eq!((medium.calls() - calls, medium.syncs() - syncs), (2, 1));
    log.room.state().sealed = true;
    log.prepare().unwrap();
    let calls = medium.calls();
    append(&log, &numbered(51..=60));
    assert_eq!(medium.calls() - calls, 2, "the next segment was ready");
    assert_eq!(log.room.state().live.len(), 2);
}

#[test]
fn released_segments_are_used_again() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    for lsn in 1..=200 {
        fill(&log, lsn..=lsn);
        log.prepare().unwrap();
        log.release_before(Lsn(lsn)).unwrap();
    }
    let names = segments(&medium);
    assert!(names.len() <= 4, "{names:?}");
    let calls = medium.calls();
    let made = super::super::room::number(names.last().unwrap()).unwrap();
    assert!(made <= 6, "{made} files were made for some fifty segments");
    assert_eq!(everything(&log).last().unwrap().lsn, Lsn(200));
    assert!(medium.calls() > calls);
    let options = LogOptions {
        released_before: Lsn(200),
        ..NOTHING_REMEMBERED
    };
    let (log, found) = open_with(&medium, &options);
    assert_eq!(found.end, Some(Lsn(200)));
    assert!(found.lost.is_empty());
    fill(&log, 201..=220);
    assert_eq!(log.bounds().unwrap().1, Lsn(220));
}

#[test]
fn a_reader_keeps_its_segment_from_being_used_again() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    fill(&log, 1..=12);
    let held = log.room.state().at(Lsn(5)).unwrap();
    let content = || {
        let mut content = vec![0; usize::try_from(SEGMENT_BYTES).unwrap()];
        held.segment.file.disk.read(0, &mut content).unwrap();
        content
    };
    let before = content();
    for lsn in 13..=60 {
        fill(&log, lsn..=lsn);
        log.prepare().unwrap();
        log.release_before(Lsn(lsn)).unwrap();
    }
    assert!(content() == before);
}

#[test]
fn a_missing_segment_is_lost_and_the_rest_is_there() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    fill(&log, 1..=40);
    let starts: Vec<u64> = {
        let state = log.room.state();
        state.live.iter().map(|live| live.segment.first.0).collect()
    };
    let names: Vec<_> = {
        let state = log.room.state();
        let names = state.live.iter().map(|live| live.segment.file.name.clone());
        names.collect()
    };
    assert!(starts.len() > 5);
    drop(log);
    for gone in [0..1, 2..3, 2..4] {
        let left = medium.copy(0);
        for name in &names[gone.clone()] {
            left.remove(name).unwrap();
        }
        let (first, last) = (starts[gone.start], starts[gone.end] - 1);
        let (log, found) = open(&left);
        assert_eq!(found.lost, [range(first, last)]);
        assert_eq!(found.end, Some(Lsn(40)));
        assert_eq!(log.damaged(), [range(first, last)]);
        let expected: Vec<_> = (1..=40)
            .filter(|lsn| !(first..=last).contains(lsn))
            .collect();
        assert_eq!(lsns(&everything(&log)), expected);
        fill(&log, 41..=50);
        let released = LogOptions {
            released_before: Lsn(last + 1),
            ..NOTHING_REMEMBERED
        };
        let (_, found) = open_with(&left, &released);
        assert!(found.lost.is_empty(), "{found:?}");
    }
}

#[test]
fn positions_are_not_used_twice_even_if_all_is_lost() {
    let medium = FaultyMedium::new(0);
    drop(open(&medium));
    let options = LogOptions {
        released_before: Lsn(5),
        reported_end: Some(Lsn(9)),
        ..NOTHING_REMEMBERED
    };
    let (log, found) = open_with(&medium, &options);
    assert_eq!((found.first, found.end), (None, Some(Lsn(9))));
    assert_eq!(found.lost, [range(5, 9)]);
    append(&log, &numbered(10..=11));
    let (log, found) = open_with(&medium, &options);
    assert_eq!((found.first, found.end), (Some(Lsn(10)), Some(Lsn(11))));
    assert_eq!(found.lost, [range(5, 9)]);
    assert!(everything(&log) == numbered(10..=11));
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_changed() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    fill(&log, 1..=20);
    drop(log);
    let name = segments(&medium)[1].clone();
    let disk = medium.open(&name).unwrap();
    for copy in [0, 4096] {
        disk.write(copy + 8, &[9]).unwrap();
    }
    // Something else that opening would put in order.
    medium.open("log-0000000077").unwrap();
    let written = medium.written_bytes();
    let names = medium.names().unwrap();
    let refusal = Log::open(Arc::new(medium.clone()), &NOTHING_REMEMBERED).unwrap_err();
    assert!(
        matches!(refusal, LogRefusal::NewerFormat { found: 9, known: 1 }),
        "{refusal:?}"
    );
    assert_eq!(medium.written_bytes(), written);
    assert_eq!(medium.names().unwrap(), names);
}

#[test]
fn what_is_no_segment_is_set_aside_once() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &numbered(1..=3));
    drop(log);
    let foreign = medium.open("log-0000000050").unwrap();
    foreign.set_len(20_000).unwrap();
    foreign.write(0, &[0xAB; 10_000]).unwrap();
    // Not our names.
    for name in ["log-5", "log-00000000051", "LOCK", "log-000000005x"] {
        medium.open(name).unwrap();
    }
    let (log, found) = open(&medium);
    assert_eq!(found.unreadable, ["log-0000000050"]);
    assert!(everything(&log) == numbered(1..=3));
    assert_eq!(
        medium.content("damaged-log-0000000050").unwrap().len(),
        20_000
    );
    assert!(open(&medium).1.unreadable.is_empty());
}

#[test]
fn a_large_group_gets_a_segment_of_its_size() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &numbered(1..=3));
    let large: Vec<_> = (4..8).map(|lsn| record(lsn, vec![7; 30_000])).collect();
    append(&log, &large);
    append(&log, &numbered(8..=10));
    let all = [numbered(1..=3), large, numbered(8..=10)].concat();
    assert!(everything(&log) == all);
    assert!(everything(&open(&medium).0) == all);
}

#[test]
fn segments_double_in_size() {
    let medium = FaultyMedium::new(0);
    let options = LogOptions {
        segment_bytes: 4 << 20,
        ..NOTHING_REMEMBERED
    };
    let (log, _) = open_with(&medium, &options);
    for lsn in 1..=150 {
        append(&log, &[record(lsn, vec![1; 60_000])]);
        log.prepare().unwrap();
    }
    let sizes: Vec<_> = segments(&medium)
        .iter()
        .map(|name| medium.content(name).unwrap().len() >> 20)
        .collect();
    assert_eq!(sizes, [1, 2, 4, 4]);
}

/// What a group leaves behind must not be taken for a record once others were written in its place.
#[test]
fn a_segment_whose_header_was_torn_off_begins_a_new_life() {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &numbered(1..=1));
    log.room.state().sealed = true;
    log.prepare().unwrap();
    append(&log, &numbered(2..=6));
    drop(log);
    let second = segments(&medium)[1].clone();
    let disk = medium.open(&second).unwrap();
    let mut block = Vec::new();
    let (life, first, before) = (2, Lsn(0), Lsn(0));
    Header {
        life,
        first,
        before,
    }
    .encode(&mut block);
    disk.write(0, &block).unwrap();
    let (log, found) = open(&medium);
    assert_eq!(found.end, Some(Lsn(1)));
    log.room.state().sealed = true;
    append(&log, &numbered(2..=2));
    assert!(
        medium.content(&second).unwrap()[usize::try_from(HEADER_BYTES).unwrap()..][..24] != [0; 24]
    );
    drop(log);
    let (log, found) = open(&medium);
    assert_eq!(found.end, Some(Lsn(2)));
    assert!(everything(&log) == numbered(1..=2));
}
