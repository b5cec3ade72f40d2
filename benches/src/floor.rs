//! The floor: the same disk, without a document, a replica or a queue in the way.

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
    let (store, _) = Store::open_directory(dir.path(), Incarnation(rand::random()), 64 << 20)?;
    let mut spread = Spread::default();
    let mut next = 0;
    let started = Instant::now();
    while started.elapsed() < time {
        let first = next;
        next += records;
        let log = (first + 1..=next).map(|lsn| LogRecord {
            lsn: Lsn(lsn),
            bytes: Bytes::from(vec![7; RECORD_BYTES]),
        });
        let commit = Commit {
            ticket: Ticket(next),
            log: log.collect(),
            documents: Vec::new(),
            checkpoint: None,
            incarnation: None,
        };
        let begun = Instant::now();
        store.commit(&[commit])?;
        spread.add(begun.elapsed());
    }
    Ok((next as f64 / started.elapsed().as_secs_f64(), spread))
}
