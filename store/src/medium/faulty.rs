//! A medium in memory that fails as real ones do, by chance from a seed or at a chosen call.
//!
//! It keeps what is seen apart from what is synced. A power cut leaves of the rest what the seed says: each sector of
//! 512 bytes of each unsynced write, each change of length and each change of names is there or not. Clones are the
//! same medium.

mod file;
mod pages;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::file::{Change, File};
use super::Medium;
use crate::disk::Disk;

const SECTOR_BYTES: usize = 512;
const BLOCK_BYTES: usize = 4096;

/// What the medium is to do wrong. Calls are counted from 0, over all files, reads included.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// From this call on the power is off. Of the call itself as much may be left as of any that is not synced.
    pub dies_at: Option<u64>,
    /// This call fails with an I/O error. A write may have been done in part; after a sync that failed nobody knows
    /// what of it is on the medium, and a later sync makes nothing better.
    pub fails_at: Option<u64>,
    /// So do those after it, up to this one, which does not.
    pub fails_until: Option<u64>,
    /// These errors say that there is no room: file systems that find room late say so when they sync.
    pub fails_full: bool,
    /// What there is room for, in whole blocks of 4 KiB; a file takes up what was written of it. When none is left no
    /// file is made.
    pub room_bytes: Option<u64>,
}

/// The medium.
#[derive(Clone)]
pub struct FaultyMedium(Arc<Mutex<Inner>>);

#[derive(Clone)]
struct Inner {
    random: Random,
    faults: Faults,
    refused_after: Option<u64>,
    calls: u64,
    failed: u64,
    syncs: u64,
    written_bytes: u64,
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    names_synced: BTreeMap<String, u64>,
    unsynced: Vec<Naming>,
}

#[derive(Clone)]
enum Naming {
    Make(String, u64),
    Remove(String),
    Rename(String, String),
}

/// One file of it.
struct FaultyDisk {
    medium: FaultyMedium,
    file: u64,
}

impl fmt::Debug for FaultyMedium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyMedium")
    }
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyDisk({})", self.file)
    }
}

impl FaultyMedium {
    /// An empty one without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            random: Random(seed),
            faults: Faults::default(),
            refused_after: None,
            calls: 0,
            failed: 0,
            syncs: 0,
            written_bytes: 0,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            unsynced: Vec::new(),
        })))
    }

    /// What it does wrong from now on, in place of what it did until now.
    pub fn set_faults(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// What it does wrong.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.inner().faults.clone()
    }

    /// Another medium with the same content, synced and not, that goes on by another seed and without faults.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(self.inner().anew(seed))))
    }

    /// What is left when the power is cut now and comes back, as another medium without faults. Every seed leaves
    /// something else.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let mut inner = self.inner().anew(seed);
        inner.cut_power();
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The first write that goes past so many bytes from now on is refused in the sector where it does for want of
    /// room, as on a file system that copies on writing.
    pub fn refuse_writes_after(&self, bytes: u64) {
        self.inner().refused_after = Some(bytes);
    }

    /// How often it was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// How many of the calls have failed as they were told to; those that found no room not counted.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.inner().failed
    }

    /// Whether the call has come at which the power was to be cut.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let inner = self.inner();
        inner.faults.dies_at.is_some_and(|at| inner.calls > at)
    }

    /// How often files were synced; names not counted.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// Bytes written to files.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.inner().written_bytes
    }

    /// Bytes that its files take up.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner().used_bytes()
    }

    /// The names of its files. Not counted as a call.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    /// What a file holds, unsynced bytes included.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        Some(inner.files.get(inner.names.get(name)?)?.seen.to_vec())
    }

    /// Changes one bit of a file behind everybody's back. No if there is no such bit.
    pub fn flip(&self, name: &str, bit: u64) -> bool {
        let mut inner = self.inner();
        let Some(file) = inner.file_named(name) else {
            return false;
        };
        let synced = file.synced.flip(bit);
        file.seen.flip(bit) || synced
    }

    /// Makes a page of 4 KiB unreadable until it is written again.
    pub fn break_page(&self, name: &str, offset: u64) {
        if let Some(file) = self.inner().file_named(name) {
            file.bad_pages.push(offset / BLOCK_BYTES as u64);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a call.
#[derive(PartialEq, Eq)]
enum Fate {
    Done,
    Fails,
    Dies,
}

impl Inner {
    fn anew(&self, seed: u64) -> Self {
        Self {
            random: Random(seed),
            faults: Faults::default(),
            refused_after: None,
            calls: 0,
            failed: 0,
            ..self.clone()
        }
    }

    fn call(&mut self) -> io::Result<Fate> {
        let call = self.calls;
        if self.faults.dies_at.is_some_and(|at| call > at) {
            return Err(no_power());
        }
        self.calls += 1;
        let fails = |at: u64| call == at || call > at && self.faults.fails_until > Some(call);
        Ok(if self.faults.dies_at == Some(call) {
            Fate::Dies
        } else if self.faults.fails_at.is_some_and(fails) {
            self.failed += 1;
            Fate::Fails
        } else {
            Fate::Done
        })
    }

    /// For calls that change nothing.
    fn look(&mut self) -> io::Result<()> {
        match self.call()? {
            Fate::Done => Ok(()),
            Fate::Fails => Err(io_error()),
            Fate::Dies => Err(no_power()),
        }
    }

    /// What a call that changes something fails with.
    fn failure(&self) -> io::Error {
        if self.faults.fails_full {
            no_room()
        } else {
            io_error()
        }
    }

    fn file_named(&mut self, name: &str) -> Option<&mut File> {
        let file = self.names.get(name)?;
        self.files.get_mut(file)
    }

    fn file(&mut self, file: u64) -> io::Result<&mut File> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "there is no such file");
        self.files.get_mut(&file).ok_or_else(gone)
    }

    fn used_bytes(&self) -> u64 {
        let named = self.names.values().filter_map(|file| self.files.get(file));
        let blocks = named.flat_map(|file| &file.blocks).filter(|used| **used);
        (blocks.count() * BLOCK_BYTES) as u64
    }

    /// How much of a write there is room for.
    fn room_for(&mut self, file: u64, offset: usize, len: usize) -> io::Result<usize> {
        if let Some(bytes) = self.refused_after {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.refused_after = (len <= bytes).then(|| (bytes - len) as u64);
            if len > bytes {
                return Ok(whole(SECTOR_BYTES, offset, bytes));
            }
        }
        let room = self.faults.room_bytes;
        let mut left = room.map_or(u64::MAX, |room| room.saturating_sub(self.used_bytes()));
        let blocks = &mut self.file(file)?.blocks;
        let mut end = offset;
        while end < offset + len {
            let block = end / BLOCK_BYTES;
            if blocks.len() <= block {
                blocks.resize(block + 1, false);
            }
            if !blocks[block] {
                if left < BLOCK_BYTES as u64 {
                    break;
                }
                left -= BLOCK_BYTES as u64;
                blocks[block] = true;
            }
            end = (block + 1) * BLOCK_BYTES;
        }
        Ok(end.min(offset + len) - offset)
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.written_bytes += bytes.len() as u64;
        let file = self.file(file)?;
        let end = offset.checked_add(bytes.len()).ok_or_else(past_the_end)?;
        if end > file.seen.len() {
            return Err(past_the_end());
        }
        file.seen.write(offset, bytes);
        file.bad_pages.retain(|page| {
            let page = usize::try_from(*page).unwrap_or(usize::MAX);
            !(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)).contains(&page)
        });
        file.unsynced.push(Change::Write(offset, bytes.to_vec()));
        Ok(())
    }

    /// How much of a write from `start` to `end` is done when the process is killed in the midst of it: whole pages.
    fn killed_after(&mut self, start: usize, end: usize) -> usize {
        if self.random.coin() {
            return end - start;
        }
        let done = self.random.below((end - start) as u64 + 1);
        whole(BLOCK_BYTES, start, usize::try_from(done).unwrap_or(0))
    }

    fn name(&mut self, naming: Naming) -> io::Result<()> {
        let fate = self.call()?;
        if fate == Fate::Fails {
            return Err(self.failure());
        }
        if !apply(&naming, &mut self.names) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no such file",
            ));
        }
        self.unsynced.push(naming);
        match fate {
            Fate::Dies => Err(no_power()),
            Fate::Done | Fate::Fails => Ok(()),
        }
    }

    fn cut_power(&mut self) {
        let random = &mut self.random;
        for naming in self.unsynced.drain(..) {
            if random.coin() {
                apply(&naming, &mut self.names_synced);
            }
        }
        self.names = self.names_synced.clone();
        let named: Vec<_> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        for file in self.files.values_mut() {
            file.lose(random);
            file.seen.clone_from(&file.synced);
        }
    }
}

/// How much of what was done of a write is done where only whole units of a file are.
fn whole(unit: usize, start: usize, done: usize) -> usize {
    ((start + done) / unit * unit).saturating_sub(start)
}

/// No if there is no such name.
fn apply(naming: &Naming, names: &mut BTreeMap<String, u64>) -> bool {
    match naming {
        Naming::Make(name, file) => {
            names.insert(name.clone(), *file);
            true
        }
        Naming::Remove(name) => names.remove(name).is_some(),
        Naming::Rename(from, to) => names
            .remove(from)
            .is_some_and(|file| names.insert(to.clone(), file).is_none_or(|_| true)),
    }
}

impl Medium for FaultyMedium {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut inner = self.inner();
        inner.look()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        let mut inner = self.inner();
        let file = if let Some(file) = inner.names.get(name).copied() {
            inner.look()?;
            file
        } else {
            let room = inner.faults.room_bytes;
            if room.is_some_and(|room| room < inner.used_bytes() + BLOCK_BYTES as u64) {
                inner.look()?;
                return Err(no_room());
            }
            let file = inner.next_file;
            inner.next_file += 1;
            inner.files.insert(file, File::default());
            inner.name(Naming::Make(name.to_owned(), file))?;
            file
        };
        let medium = self.clone();
        Ok(Arc::new(FaultyDisk { medium, file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner().name(Naming::Remove(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let naming = Naming::Rename(from.to_owned(), to.to_owned());
        self.inner().name(naming)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.look()?;
        inner.unsynced.clear();
        inner.names_synced = inner.names.clone();
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        let mut inner = self.medium.inner();
        inner.look()?;
        Ok(inner.file(self.file)?.seen.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut inner = self.medium.inner();
        inner.look()?;
        let file = inner.file(self.file)?;
        let pages =
            offset / BLOCK_BYTES as u64..(offset + into.len() as u64).div_ceil(BLOCK_BYTES as u64);
        // As Linux says it.
        if file.bad_pages.iter().any(|page| pages.contains(page)) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let start = usize::try_from(offset).map_err(|_| past_the_end())?;
        match file.seen.read(start, into) {
            true => Ok(()),
            false => Err(past_the_end()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| past_the_end())?;
        let mut inner = self.medium.inner();
        let fate = inner.call()?;
        // There is always room to cut a file.
        let cuts_in_want = inner.faults.fails_full && len <= inner.file(self.file)?.seen.len();
        if fate == Fate::Fails && !cuts_in_want {
            return Err(inner.failure());
        }
        let file = inner.file(self.file)?;
        file.seen.resize(len);
        file.blocks.truncate(len.div_ceil(BLOCK_BYTES));
        file.unsynced.push(Change::Length(len));
        match fate {
            Fate::Dies => Err(no_power()),
            Fate::Done | Fate::Fails => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.medium.inner();
        let fate = inner.call()?;
        inner.syncs += 1;
        let failure = inner.failure();
        let Inner { files, random, .. } = &mut *inner;
        let Some(file) = files.get_mut(&self.file) else {
            return Ok(());
        };
        match fate {
            Fate::Done => {
                file.sync();
                Ok(())
            }
            Fate::Fails => {
                file.lose(random);
                Err(failure)
            }
            Fate::Dies => Err(no_power()),
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| past_the_end())?;
        let mut inner = self.medium.inner();
        let fate = inner.call()?;
        let end = start.checked_add(bytes.len()).ok_or_else(past_the_end)?;
        if end > inner.file(self.file)?.seen.len() {
            return Err(past_the_end());
        }
        if fate == Fate::Fails {
            let all = usize::from(!inner.faults.fails_full);
            let most = (bytes.len() + all).max(1) as u64;
            let mut done = usize::try_from(inner.random.below(most)).unwrap_or(0);
            if inner.faults.fails_full {
                done = whole(SECTOR_BYTES, start, done);
            }
            inner.write(self.file, start, &bytes[..done])?;
            return Err(inner.failure());
        }
        if fate == Fate::Dies {
            let done = inner.killed_after(start, end);
            inner.write(self.file, start, &bytes[..done])?;
            return Err(no_power());
        }
        let done = inner.room_for(self.file, start, bytes.len())?;
        inner.write(self.file, start, &bytes[..done])?;
        if done < bytes.len() {
            return Err(no_room());
        }
        Ok(())
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no room is left")
}

fn io_error() -> io::Error {
    io::Error::other("the medium failed")
}

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the file")
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for one seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.draw().is_multiple_of(2)
    }
}
