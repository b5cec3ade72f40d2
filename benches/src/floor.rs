//! The floor: the same disk, without a document, a replica or a queue in the way.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anabranch_core::persist::{Commit, LogRecord, Ticket};
use anabranch_core::{Incarnation, Lsn};
use anabranch_store::Store;
use bytes::Bytes;

use crate::Outcome;
use crate::spread::Spread;

const RECORD_BYTES: usize = 200;

/// Commits of so many records at once, for a time: records per second, and how long a commit takes.
pub(crate) fn commits(records: u64, time: Duration) -> Outcome<(f64, Spread)> {
    let dir = tempfile::tempdir()?;
    let (store, _) = Store::open_directory(
        dir.path(),
        Incarnation(rand::random()),
        anabranch_core::compact,
        64 << 20,
    )?;
    let mut spread = Spread::default();
    let mut next = 0;
    // A file that grows syncs slower than one that has its size.
    for lsn in 1..=512 {
        next = lsn;
        store.commit(&[commit(lsn..=lsn)])?;
    }
    let warm = next;
    let started = Instant::now();
    while started.elapsed() < time {
        let commit = commit(next + 1..=next + records);
        next += records;
        let begun = Instant::now();
        store.commit(&[commit])?;
        spread.add(begun.elapsed());
    }
    Ok((
        (next - warm) as f64 / started.elapsed().as_secs_f64(),
        spread,
    ))
}

fn commit(lsns: RangeInclusive<u64>) -> Commit {
    let ticket = Ticket(*lsns.end());
    let record = |lsn| LogRecord {
        lsn: Lsn(lsn),
        bytes: Bytes::from(vec![7; RECORD_BYTES]),
    };
    Commit {
        log: lsns.map(record).collect(),
        ..Commit::new(ticket)
    }
}
