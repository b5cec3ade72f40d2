//! A disk that loses, tears and reorders what was not synced, and dies at any call.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_store::Disk;

use crate::random::Random;

const SECTOR_BYTES: usize = 512;

enum Unsynced {
    Length(usize),
    Write(usize, Vec<u8>),
}

/// What goes wrong at the next call that it fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The next sync fails.
    Sync,
    /// The next write fails.
    Write,
}

struct Medium {
    /// What a read sees: everything written.
    seen: Vec<u8>,
    /// What survives a power cut for certain.
    synced: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// Calls left until the machine dies at one.
    fuse: Option<u64>,
    off: bool,
    fault: Option<Fault>,
    faulted: bool,
    random: Random,
}

/// One medium; clones are handles of the same.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Medium>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    pub(crate) fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(Medium {
            seen: Vec::new(),
            synced: Vec::new(),
            unsynced: Vec::new(),
            fuse: None,
            off: false,
            fault: None,
            faulted: false,
            random,
        })))
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the machine die at the call after so many.
    pub(crate) fn light_fuse(&self, calls: u64) {
        self.medium().fuse = Some(calls);
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.medium().fault = Some(fault);
    }

    /// Whether a fault has struck since the last start.
    pub(crate) fn has_faulted(&self) -> bool {
        self.medium().faulted
    }

    /// Whether the machine died at a call.
    pub(crate) fn is_off(&self) -> bool {
        self.medium().off
    }

    /// From now on every call fails: the process is gone.
    pub(crate) fn switch_off(&self) {
        self.medium().off = true;
    }

    /// Calls work again. Nothing that was written is lost if only the process died.
    pub(crate) fn switch_on(&self) {
        let mut medium = self.medium();
        medium.off = false;
        medium.fuse = None;
        medium.fault = None;
        medium.faulted = false;
    }

    /// The power was cut: of what was not synced, any part may be there.
    pub(crate) fn lose_power(&self) {
        self.medium().settle();
    }

    /// What a backup would hold that is taken now.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.medium().synced.clone()
    }

    /// Another medium takes this one's place.
    pub(crate) fn replace(&self, content: Vec<u8>) {
        let mut medium = self.medium();
        medium.seen.clone_from(&content);
        medium.synced = content;
        medium.unsynced.clear();
    }

    fn call(&self) -> io::Result<MutexGuard<'_, Medium>> {
        let mut medium = self.medium();
        if medium.fuse == Some(0) {
            medium.off = true;
        }
        if medium.off {
            return Err(io::Error::other("the machine is off"));
        }
        medium.fuse = medium.fuse.map(|calls| calls - 1);
        Ok(medium)
    }
}

impl Medium {
    /// Decides what became of everything unsynced, sector by sector.
    fn settle(&mut self) {
        for lost in std::mem::take(&mut self.unsynced) {
            match lost {
                Unsynced::Length(len) => {
                    if self.random.coin() {
                        self.synced.resize(len, 0);
                    }
                }
                Unsynced::Write(offset, bytes) => {
                    // Whole writes survive or vanish as often as torn ones.
                    let keep = self.random.between(0, 3);
                    for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        let start = offset + sector * SECTOR_BYTES;
                        if keep == 0 || keep > 1 && self.random.coin() {
                            let end = start + bytes.len();
                            let len = self.synced.len().max(end);
                            self.synced.resize(len, 0);
                            self.synced[start..end].copy_from_slice(bytes);
                        }
                    }
                }
            }
        }
        self.seen.clone_from(&self.synced);
    }

    fn strike(&mut self, fault: Fault) -> bool {
        let struck = self.fault == Some(fault);
        if struck {
            self.fault = None;
            self.faulted = true;
        }
        struck
    }
}

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the disk")
}

fn range(len: usize, offset: u64, count: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| past_the_end())?;
    let end = start.checked_add(count).ok_or_else(past_the_end)?;
    if end > len {
        return Err(past_the_end());
    }
    Ok(start..end)
}

impl Disk for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let medium = self.call()?;
        let range = range(medium.seen.len(), offset, into.len())?;
        into.copy_from_slice(&medium.seen[range]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| past_the_end())?;
        let mut medium = self.call()?;
        medium.seen.resize(len, 0);
        medium.unsynced.push(Unsynced::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut medium = self.call()?;
        if medium.strike(Fault::Sync) {
            medium.settle();
            return Err(io::Error::other("simulated: the sync failed"));
        }
        let medium = &mut *medium;
        for done in medium.unsynced.drain(..) {
            match done {
                Unsynced::Length(len) => medium.synced.resize(len, 0),
                Unsynced::Write(offset, bytes) => {
                    let range = range(medium.synced.len(), offset as u64, bytes.len())?;
                    medium.synced[range].copy_from_slice(&bytes);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut medium = self.call()?;
        if medium.strike(Fault::Write) {
            return Err(io::Error::other("simulated: the write failed"));
        }
        let range = range(medium.seen.len(), offset, bytes.len())?;
        let start = range.start;
        medium.seen[range].copy_from_slice(bytes);
        medium.unsynced.push(Unsynced::Write(start, bytes.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_synced_survives_and_the_rest_may_be_torn() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::new(Random::new(seed));
            disk.set_len(4096).unwrap();
            disk.write(0, &[1; 1024]).unwrap();
            disk.sync().unwrap();
            disk.write(1024, &[2; 1024]).unwrap();
            disk.lose_power();
            let image = disk.image();
            assert!(image[..1024].iter().all(|byte| *byte == 1));
            match image[1024..2048].iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                1024 => kept += 1,
                512 => torn += 1,
                other => panic!("torn within a sector: {other}"),
            }
        }
        assert!(kept > 20 && lost > 20 && torn > 20, "{kept} {lost} {torn}");
    }

    #[test]
    fn a_fuse_kills_at_its_call_and_for_good() {
        let disk = SimDisk::new(Random::new(1));
        disk.light_fuse(2);
        disk.set_len(512).unwrap();
        disk.write(0, &[1; 512]).unwrap();
        assert!(disk.sync().is_err() && disk.is_off() && disk.len().is_err());
        disk.switch_on();
        assert!(!disk.is_off() && disk.sync().is_ok());
    }

    #[test]
    fn a_fault_strikes_once() {
        let disk = SimDisk::new(Random::new(1));
        disk.inject(Fault::Sync);
        assert!(!disk.has_faulted());
        assert!(disk.sync().is_err() && disk.has_faulted());
        assert!(disk.sync().is_ok());
    }
}
