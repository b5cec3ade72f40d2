//! What the tests of the log stand on.
#![allow(clippy::unwrap_used)]

mod crash;
mod damage;
mod faults;
mod model;
mod order;
mod threads;

use std::ops::RangeInclusive;
use std::sync::Arc;

use anabranch_core::Lsn;
use anabranch_core::persist::LogRecord;

use super::{Log, LogFound, LogOptions};
use crate::medium::Medium;
use crate::medium::faulty::{FaultyMedium, Random};

/// So small that every test sees many segments.
const SEGMENT_BYTES: u64 = 16 << 10;

const NOTHING_REMEMBERED: LogOptions = LogOptions {
    segment_bytes: SEGMENT_BYTES,
    released_before: Lsn(0),
    reported_end: None,
};

fn open(medium: &FaultyMedium) -> (Log, LogFound) {
    open_with(medium, &NOTHING_REMEMBERED)
}

fn open_with(medium: &FaultyMedium, options: &LogOptions) -> (Log, LogFound) {
    Log::open(Arc::new(medium.clone()), options).unwrap()
}

fn record(lsn: u64, bytes: impl Into<Vec<u8>>) -> LogRecord {
    LogRecord {
        lsn: Lsn(lsn),
        bytes: bytes.into().into(),
    }
}

/// Of random content and length, up to `bytes_max`; often short.
fn random_record(lsn: u64, bytes_max: u64, random: &mut Random) -> LogRecord {
    let len = match random.below(4) {
        0 => random.below(bytes_max + 1),
        _ => random.below(bytes_max / 8 + 1),
    };
    let bytes: Vec<u8> = (0..len).map(|_| random.draw().to_le_bytes()[3]).collect();
    record(lsn, bytes)
}

/// Positions `first..=last`, each with its position as content.
fn numbered(range: RangeInclusive<u64>) -> Vec<LogRecord> {
    range
        .map(|lsn| record(lsn, format!("record {lsn}").repeat(5)))
        .collect()
}

fn append(log: &Log, records: &[LogRecord]) {
    log.append(records.iter()).unwrap();
}

/// Goes on behind what the disk refuses.
fn everything(log: &Log) -> Vec<LogRecord> {
    let mut records: Vec<LogRecord> = Vec::new();
    loop {
        let from = records.last().map_or(Lsn(1), |last| last.lsn.next());
        match log.read(from, usize::MAX) {
            Ok(more) if !more.is_empty() => records.extend(more),
            Ok(_) | Err(_) => return records,
        }
    }
}

fn lsns(records: &[LogRecord]) -> Vec<u64> {
    records.iter().map(|record| record.lsn.0).collect()
}

fn range(first: u64, last: u64) -> RangeInclusive<Lsn> {
    Lsn(first)..=Lsn(last)
}

/// Names of segment files by number.
fn segments(medium: &FaultyMedium) -> Vec<String> {
    let names = medium.names().unwrap();
    names
        .into_iter()
        .filter(|name| super::room::number(name).is_some())
        .collect()
}
