//! Three disks.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use anabranch_store::Disk;

use super::Random;

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the disk")
}

fn read_from(bytes: &[u8], offset: u64, into: &mut [u8]) -> io::Result<()> {
    let start = usize::try_from(offset).map_err(|_| past_the_end())?;
    let end = start.checked_add(into.len()).ok_or_else(past_the_end)?;
    into.copy_from_slice(bytes.get(start..end).ok_or_else(past_the_end)?);
    Ok(())
}

fn write_to(bytes: &mut [u8], offset: u64, from: &[u8]) -> io::Result<()> {
    let start = usize::try_from(offset).map_err(|_| past_the_end())?;
    let end = start.checked_add(from.len()).ok_or_else(past_the_end)?;
    bytes
        .get_mut(start..end)
        .ok_or_else(past_the_end)?
        .copy_from_slice(from);
    Ok(())
}

/// Bytes that outlive the store: clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Vec<u8>>>);

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDisk")
    }
}

impl MemoryDisk {
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }

    /// Another disk with the same content.
    pub fn copy(&self) -> Self {
        Self::holding(self.bytes().clone())
    }

    pub fn flip(&self, bit: u64) {
        self.bytes()[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    }
}

impl Disk for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        read_from(&self.bytes(), offset, into)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_to(&mut self.bytes(), offset, bytes)
    }
}

enum Unsynced {
    Length(usize),
    Write(usize, Vec<u8>),
}

struct Crashing {
    random: Random,
    /// Calls left until the power is cut; reads count too.
    calls_left: u64,
    calls: u64,
    synced: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// What a read sees: all of it.
    seen: Vec<u8>,
}

/// Loses its power at the n-th call. Of what was not synced then, each sector of 512 bytes is on
/// the medium or not, by chance.
#[derive(Clone)]
pub struct CrashingDisk(Arc<Mutex<Crashing>>);

impl std::fmt::Debug for CrashingDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrashingDisk")
    }
}

const SECTOR_BYTES: usize = 512;

impl CrashingDisk {
    pub fn new(seed: u64, calls_left: u64, content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Crashing {
            random: Random(seed),
            calls_left,
            calls: 0,
            synced: content.clone(),
            unsynced: Vec::new(),
            seen: content,
        })))
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// What is on the medium when the power comes back.
    pub fn after_crash(&self) -> Vec<u8> {
        let mut disk = self.0.lock().unwrap();
        let Crashing {
            random,
            synced,
            unsynced,
            ..
        } = &mut *disk;
        let mut medium = synced.clone();
        for lost in unsynced.iter() {
            match lost {
                Unsynced::Length(len) => {
                    if random.coin() {
                        medium.resize(*len, 0);
                    }
                }
                Unsynced::Write(offset, bytes) => {
                    for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        let start = offset + sector * SECTOR_BYTES;
                        if random.coin() {
                            medium.resize(medium.len().max(start + bytes.len()), 0);
                            medium[start..start + bytes.len()].copy_from_slice(bytes);
                        }
                    }
                }
            }
        }
        medium
    }

    fn call(&self) -> io::Result<MutexGuard<'_, Crashing>> {
        let mut disk = self.0.lock().unwrap();
        if disk.calls_left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        disk.calls_left -= 1;
        disk.calls += 1;
        Ok(disk)
    }
}

impl Disk for CrashingDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        read_from(&self.call()?.seen, offset, into)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        let mut disk = self.call()?;
        disk.seen.resize(len, 0);
        disk.unsynced.push(Unsynced::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.call()?;
        let Crashing {
            synced, unsynced, ..
        } = &mut *disk;
        for done in unsynced.drain(..) {
            match done {
                Unsynced::Length(len) => synced.resize(len, 0),
                Unsynced::Write(offset, bytes) => write_to(synced, offset as u64, &bytes)?,
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.call()?;
        write_to(&mut disk.seen, offset, bytes)?;
        disk.unsynced.push(Unsynced::Write(
            usize::try_from(offset).unwrap(),
            bytes.to_vec(),
        ));
        Ok(())
    }
}

#[derive(Default)]
struct Gate {
    closed: bool,
    failing: bool,
    read_fails: bool,
    waiting: bool,
    syncs: u64,
}

/// Counts syncs, can hold one back until it is let go, and can fail them.
#[derive(Clone, Default)]
pub struct GatedDisk {
    disk: MemoryDisk,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

impl std::fmt::Debug for GatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GatedDisk")
    }
}

impl GatedDisk {
    pub fn syncs(&self) -> u64 {
        self.gate.0.lock().unwrap().syncs
    }

    pub fn close_gate(&self) {
        self.gate.0.lock().unwrap().closed = true;
    }

    pub fn open_gate(&self) {
        self.gate.0.lock().unwrap().closed = false;
        self.gate.1.notify_all();
    }

    /// Returns once a sync stands before the closed gate.
    pub fn wait_for_sync(&self) {
        let gate = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(gate, |gate| !gate.waiting).unwrap());
    }

    pub fn fail_next_read(&self) {
        self.gate.0.lock().unwrap().read_fails = true;
    }

    pub fn fail_syncs(&self, failing: bool) {
        self.gate.0.lock().unwrap().failing = failing;
    }
}

impl Disk for GatedDisk {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if std::mem::take(&mut self.gate.0.lock().unwrap().read_fails) {
            return Err(io::Error::other("the disk does not read"));
        }
        self.disk.read(offset, into)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut gate = self.gate.0.lock().unwrap();
        gate.waiting = true;
        self.gate.1.notify_all();
        gate = self.gate.1.wait_while(gate, |gate| gate.closed).unwrap();
        gate.waiting = false;
        if gate.failing {
            return Err(io::Error::other("the disk does not sync"));
        }
        gate.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write(offset, bytes)
    }
}
