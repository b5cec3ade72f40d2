//! One appends, one works in the background, several read.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use super::*;
use crate::disk::Disk;
use crate::medium::FileMedium;

#[test]
fn readers_see_what_was_reported_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 64 << 10,
        ..NOTHING_REMEMBERED
    };
    let medium = Arc::new(FileMedium::new(directory.path()));
    let (log, _) = Log::open(medium.clone(), &options).unwrap();
    let reported = AtomicU64::new(0);
    let released = AtomicU64::new(1);
    const END: u64 = 3_000;
    thread::scope(|scope| {
        for reader in 0..2 {
            let (log, reported, released) = (&log, &reported, &released);
            scope.spawn(move || {
                let mut random = Random(reader);
                while reported.load(Ordering::SeqCst) < END {
                    let end = reported.load(Ordering::SeqCst);
                    if end == 0 {
                        continue;
                    }
                    let from = 1 + random.below(end);
                    let records = log.read(Lsn(from), 5_000).unwrap();
                    let mut expected = None;
                    for record in records {
                        if expected.is_none() {
                            // A release may have come between.
                            assert!(record.lsn.0 == from || from < released.load(Ordering::SeqCst));
                        } else {
                            let lost = expected < Some(released.load(Ordering::SeqCst));
                            assert!(expected == Some(record.lsn.0) || lost);
                        }
                        assert_eq!(record, numbered(record.lsn.0..=record.lsn.0)[0]);
                        expected = Some(record.lsn.0 + 1);
                    }
                }
            });
        }
        scope.spawn(|| {
            while reported.load(Ordering::SeqCst) < END {
                log.prepare().unwrap();
                let end = reported.load(Ordering::SeqCst);
                let before = end.saturating_sub(1_000).max(1);
                released.store(before, Ordering::SeqCst);
                log.release_before(Lsn(before)).unwrap();
                thread::yield_now();
            }
        });
        for first in (1..=END).step_by(5) {
            append(&log, &numbered(first..=first + 4));
            reported.store(first + 4, Ordering::SeqCst);
        }
    });
    assert!(log.damaged().is_empty());
    let (_, found) = Log::open(medium, &options).unwrap();
    assert_eq!(found.end, Some(Lsn(END)));
}

#[derive(Default)]
struct Gate {
    closed: bool,
    waiting: bool,
}

/// Syncs of files wait while its gate is closed.
#[derive(Clone)]
struct GatedMedium {
    medium: FaultyMedium,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug)]
struct GatedDisk(Arc<dyn Disk>, GatedMedium);

impl std::fmt::Debug for GatedMedium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GatedMedium")
    }
}

impl Medium for GatedMedium {
    fn names(&self) -> io::Result<Vec<String>> {
        self.medium.names()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(GatedDisk(self.medium.open(name)?, self.clone())))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.medium.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.medium.rename(from, to)
    }
    fn sync(&self) -> io::Result<()> {
        self.medium.sync()
    }
}

impl Disk for GatedDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, into)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        let (gate, changed) = &*self.1.gate;
        let mut gate = gate.lock().unwrap();
        gate.waiting = true;
        changed.notify_all();
        gate = changed.wait_while(gate, |gate| gate.closed).unwrap();
        gate.waiting = false;
        drop(gate);
        self.0.sync()
    }
}

#[test]
fn nobody_waits_for_a_sync_but_who_asked_for_it() {
    let gated = GatedMedium {
        medium: FaultyMedium::new(0),
        gate: Arc::default(),
    };
    let (log, _) = Log::open(Arc::new(gated.clone()), &NOTHING_REMEMBERED).unwrap();
    append(&log, &numbered(1..=3));
    let (gate, changed) = &*gated.gate;
    gate.lock().unwrap().closed = true;
    thread::scope(|scope| {
        let appending = scope.spawn(|| append(&log, &numbered(4..=4)));
        drop(
            changed
                .wait_while(gate.lock().unwrap(), |gate| !gate.waiting)
                .unwrap(),
        );
        // What is on its way is not shown.
        assert!(everything(&log) == numbered(1..=3));
        assert_eq!(log.bounds(), Some((Lsn(1), Lsn(3))));
        log.release_before(Lsn(3)).unwrap();
        assert!(log.bytes() > 0);
        gate.lock().unwrap().closed = false;
        changed.notify_all();
        appending.join().unwrap();
    });
    assert!(everything(&log) == numbered(1..=4));
}
