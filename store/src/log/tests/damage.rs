//! Flipped bits and bad sectors: everything is served right or reported, and nothing else goes with it.

use super::*;
use crate::log::header::HEADER_BYTES;
use crate::log::walk::Walk;

const END: u64 = 18;

/// Groups of three, over three segments.
fn small_log() -> (FaultyMedium, Vec<LogRecord>) {
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    let mut random = Random(5);
    let records: Vec<_> = (1..=END)
        .map(|lsn| {
            let len = usize::try_from(random.below(60)).unwrap();
            record(lsn, vec![random.draw().to_le_bytes()[0]; len])
        })
        .collect();
    for (at, group) in records.chunks(3).enumerate() {
        log.room.state().sealed = at % 2 == 0;
        append(&log, group);
    }
    assert_eq!(log.room.state().live.len(), 3);
    (medium, records)
}

const REMEMBERED: LogOptions = LogOptions {
    reported_end: Some(Lsn(END)),
    ..NOTHING_REMEMBERED
};

/// All bits of both headers and of the frames.
fn bits(filled: u64) -> impl Iterator<Item = u64> {
    let headers = (0..48).chain(4096..4096 + 48);
    let bytes = headers.chain(8192..filled);
    bytes.flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit))
}

/// Reads all, and says which positions are not served.
fn missing(log: &Log, records: &[LogRecord]) -> Vec<Lsn> {
    let read = everything(log);
    for record in &read {
        assert!(*record == records[usize::try_from(record.lsn.0 - 1).unwrap()]);
    }
    let served: Vec<_> = read.iter().map(|record| record.lsn).collect();
    let all = records.iter().map(|record| record.lsn);
    all.filter(|lsn| !served.contains(lsn)).collect()
}

#[test]
fn every_flipped_bit_costs_one_record_at_most_and_is_reported() {
    let (medium, records) = small_log();
    let (log, _) = open(&medium.copy(0));
    let live = log.room.state().live.clone();
    let (mut flips, mut harmful) = (0, 0);
    for live in live {
        let segment = &live.segment;
        let mut walk = Walk::new(segment, HEADER_BYTES, live.filled);
        let mut filled = HEADER_BYTES;
        while let Some(found) = walk.next().unwrap() {
            filled = found.end();
        }
        for bit in bits(filled) {
            let context = format!("bit {bit} of {}", live.segment.file.name);
            assert!(medium.flip(&live.segment.file.name, bit));
            let left = medium.copy(0);
            let (log, found) = open_with(&left, &REMEMBERED);
            let missing = missing(&log, &records);
            assert!(missing.len() <= 1, "{context}: {missing:?}");
            assert_eq!(found.end, Some(Lsn(END)), "{context}");
            assert!(found.unreadable.is_empty(), "{context}");
            let reported: Vec<_> = missing.iter().map(|lsn| *lsn..=*lsn).collect();
            assert_eq!(log.damaged(), reported, "{context}");
            if live.last == Lsn(END) {
                assert_eq!(found.lost, reported, "{context}");
            }
            append(&log, &numbered(END + 1..=END + 2));
            flips += 1;
            harmful += u64::from(!missing.is_empty());
            if flips % 16 == 0 {
                without_witness(&medium, &records, &context);
                go_on(&left, &missing, &context);
            }
            assert!(medium.flip(&live.segment.file.name, bit));
        }
    }
    assert!(flips > 7_000 && harmful > flips / 2, "{harmful} of {flips}");
}

/// Only of the very last group nobody can say whether it was ever whole.
fn without_witness(medium: &FaultyMedium, records: &[LogRecord], context: &str) {
    let (log, found) = open(&medium.copy(0));
    let missing = missing(&log, records);
    if found.end == Some(Lsn(END)) {
        assert!(missing.len() <= 1, "{context}: {missing:?}");
    } else {
        assert_eq!(found.end, Some(Lsn(END - 3)), "{context}");
        assert_eq!(missing, [END - 2, END - 1, END].map(Lsn), "{context}");
    }
}

/// The damage stays where it is.
fn go_on(left: &FaultyMedium, missing: &[Lsn], context: &str) {
    let (log, found) = open(left);
    assert_eq!(found.end, Some(Lsn(END + 2)), "{context}");
    let expected: Vec<_> = (1..=END + 2)
        .filter(|lsn| !missing.contains(&Lsn(*lsn)))
        .collect();
    assert_eq!(lsns(&everything(&log)), expected, "{context}");
}

#[test]
fn random_flips_by_the_dozen_are_never_served_and_never_panic() {
    let (whole, records) = small_log();
    let names = segments(&whole);
    for seed in 0..1_500 {
        let mut random = Random(seed);
        let medium = whole.copy(seed);
        for _ in 0..1 + random.below(40) {
            let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
            let bits = medium.content(name).unwrap().len() as u64 * 8;
            medium.flip(name, random.below(bits));
        }
        let options = if random.coin() {
            REMEMBERED
        } else {
            NOTHING_REMEMBERED
        };
        let (log, found) = open_with(&medium, &options);
        let missing = missing(&log, &records);
        for lsn in missing {
            let reported = log.damaged().iter().any(|range| range.contains(&lsn));
            let last_group = found.end < Some(lsn);
            assert!(reported || last_group, "seed {seed}: {lsn:?}, {found:?}");
        }
        let end = found.end.map_or(0, |end| end.0);
        append(&log, &numbered(end + 1..=end + 1));
    }
}

#[test]
fn damage_under_an_open_log_is_a_gap_that_is_remembered_and_scrubbing_finds_it() {
    let (medium, records) = small_log();
    let (log, _) = open(&medium);
    let live = log.room.state().at(Lsn(10)).unwrap();
    assert!(medium.flip(&live.segment.file.name, (8192 + 100) * 8));
    let mut bad = Vec::new();
    let mut from = Some(Lsn(1));
    let mut steps = 0;
    while let Some(at) = from {
        let scrubbed = log.scrub(at, 100).unwrap();
        assert!(scrubbed.bytes > 0);
        bad.extend(scrubbed.bad);
        from = scrubbed.next;
        steps += 1;
    }
    assert!(steps > 2);
    assert_eq!(bad.len(), 1);
    assert_eq!(log.damaged(), bad);
    let missing = missing(&log, &records);
    assert_eq!(bad, [missing[0]..=missing[0]]);
    // One that begins with the damaged one gets what comes after it.
    let next = log.read(missing[0], 1).unwrap();
    assert_eq!(next[0].lsn, missing[0].next());
    log.release_before(Lsn(END)).unwrap();
    assert!(log.damaged().is_empty());
}

#[test]
fn a_bad_sector_costs_what_lies_in_it() {
    let (medium, records) = small_log();
    let (log, _) = open(&medium.copy(0));
    let live = log.room.state().live.clone();
    for live in &live {
        for page in [0, 4096, 8192, 12_288] {
            let left = medium.copy(0);
            let (open_log, _) = open_with(&left, &REMEMBERED);
            left.break_page(&live.segment.file.name, page);
            let missing_now = missing(&open_log, &records);
            let (log, found) = open_with(&left, &REMEMBERED);
            let missing = missing(&log, &records);
            assert_eq!(missing, missing_now);
            assert_eq!(found.end, Some(Lsn(END)));
            // In the newest segment there may have been anything.
            assert!(found.unreadable.is_empty() || live.last == Lsn(END));
            assert_eq!(missing.is_empty(), page != 8192, "{page}");
            for lsn in &missing {
                assert!(log.damaged().iter().any(|range| range.contains(lsn)));
            }
            append(&log, &numbered(END + 1..=END + 1));
            let (_, found) = open_with(&left, &REMEMBERED);
            assert_eq!(found.end, Some(Lsn(END + 1)));
            assert!(found.unreadable.is_empty() && found.lost.is_empty());
        }
    }
}

#[test]
fn a_disk_that_gives_nothing_is_an_error_and_not_an_end() {
    let (medium, _) = small_log();
    let (log, _) = open(&medium);
    medium.set_faults(crate::medium::faulty::Faults {
        dies_at: Some(0),
        ..Default::default()
    });
    assert!(log.read(Lsn(1), 1_000).is_err());
    assert!(log.scrub(Lsn(1), 1_000).is_err());
    assert!(log.damaged().is_empty());
}

/// A record may hold what looks like a piece of a log. When it is damaged itself, its content must not be taken for
/// records.
#[test]
fn a_log_in_a_record_is_not_taken_for_one() {
    let (inner, _) = small_log();
    let content = inner.content(&segments(&inner)[0]).unwrap();
    let medium = FaultyMedium::new(0);
    let (log, _) = open(&medium);
    append(&log, &numbered(1..=2));
    append(&log, &[record(3, content[8192..].to_vec())]);
    append(&log, &numbered(4..=5));
    let live = log.room.state().at(Lsn(3)).unwrap();
    let at = live.segment.before(Lsn(3));
    drop(log);
    for bit in 0..200 {
        assert!(medium.flip(&live.segment.file.name, at * 8 + bit));
        let (log, found) = open(&medium.copy(0));
        assert_eq!(lsns(&everything(&log)), [1, 2, 4, 5]);
        assert_eq!(found.end, Some(Lsn(5)));
        assert!(medium.flip(&live.segment.file.name, at * 8 + bit));
    }
}
