//! A disk in memory that loses its power, fills up, fails, and rots.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Random;
use crate::disk::Disk;

const SECTOR_BYTES: usize = 512;

enum Unsynced {
    Length(usize),
    Write(usize, Vec<u8>),
}

struct State {
    random: Random,
    /// Calls that change something: how many there were, and after how many the trouble begins.
    calls: u64,
    calls_left: u64,
    trouble: Trouble,
    synced: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// What a read sees: all of it.
    seen: Vec<u8>,
    /// Sectors that can't be read.
    bad: Vec<usize>,
}

/// What happens when no calls are left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// Everything fails, reads too.
    PowerCut,
    /// Nothing can be written for want of room.
    Full,
    /// Writes and syncs fail.
    Broken,
}

/// Clones are the same disk.
#[derive(Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyDisk")
    }
}

impl FaultyDisk {
    pub(super) fn new(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random(0),
            calls: 0,
            calls_left: u64::MAX,
            trouble: Trouble::PowerCut,
            synced: content.clone(),
            unsynced: Vec::new(),
            seen: content,
            bad: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets the trouble begin after so many calls.
    pub(super) fn plan(&self, trouble: Trouble, calls_left: u64, seed: u64) {
        let mut state = self.state();
        state.trouble = trouble;
        state.calls_left = calls_left;
        state.random = Random(seed);
    }

    /// The sector in which this byte lies can't be read any more.
    pub(super) fn break_sector(&self, offset: usize) {
        self.state().bad.push(offset / SECTOR_BYTES);
    }

    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// What is on the medium when the power comes back: of what was not synced, each sector of 512 bytes is there or
    /// not, by chance.
    pub(super) fn after_crash(&self) -> Vec<u8> {
        let mut state = self.state();
        let mut medium = state.synced.clone();
        let unsynced = std::mem::take(&mut state.unsynced);
        for lost in &unsynced {
            match lost {
                Unsynced::Length(len) => {
                    if state.random.coin() {
                        medium.resize(*len, 0);
                    }
                }
                Unsynced::Write(offset, bytes) => {
                    for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        let start = offset + sector * SECTOR_BYTES;
                        if state.random.coin() {
                            medium.resize(medium.len().max(start + bytes.len()), 0);
                            medium[start..start + bytes.len()].copy_from_slice(bytes);
                        }
                    }
                }
            }
        }
        medium
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.calls_left == 0 {
            return Err(match state.trouble {
                Trouble::PowerCut | Trouble::Broken => io::Error::other("the disk is gone"),
                Trouble::Full => io::ErrorKind::StorageFull.into(),
            });
        }
        state.calls_left -= 1;
        state.calls += 1;
        Ok(state)
    }
}

impl Disk for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if state.calls_left == 0 && state.trouble == Trouble::PowerCut {
            return Err(io::Error::other("the power is off"));
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let sectors = start / SECTOR_BYTES..(start + into.len()).div_ceil(SECTOR_BYTES);
        if state.bad.iter().any(|bad| sectors.contains(bad)) {
            // EIO, as Linux says it.
            return Err(io::Error::from_raw_os_error(5));
        }
        let end = start.checked_add(into.len());
        let held = end.and_then(|end| state.seen.get(start..end));
        into.copy_from_slice(held.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.change()?;
        state.seen.resize(len, 0);
        state.unsynced.push(Unsynced::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = match self.change() {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.state(),
            Err(error) => return Err(error),
        };
        state.unsynced.clear();
        state.synced = state.seen.clone();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.change()?;
        let held = state.seen.get_mut(start..start + bytes.len());
        held.ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(bytes);
        state.unsynced.push(Unsynced::Write(start, bytes.to_vec()));
        Ok(())
    }
}
