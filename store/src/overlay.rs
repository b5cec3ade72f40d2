//! A disk that is only read: what is written to it stays in memory.
//!
//! After an I/O error the engine answers from its cache alone. So that reads can go on, the store
//! starts the engine a second time on the same bytes; what it writes to recover goes here, since
//! after a failed sync nothing that is written to the disk can be relied on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;

const BLOCK_BYTES: usize = 4096;

/// Holds what recovery writes: the header and the engine's own bookkeeping, never documents.
#[derive(Debug)]
pub(crate) struct Overlay {
    disk: Arc<dyn Disk>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let len = disk.len()?;
        Ok(Self {
            disk,
            written: Mutex::new(Written {
                len,
                blocks: HashMap::new(),
            }),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // Each change under it is whole.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the disk, zeros past its end.
    fn below(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        let held = self.disk.len()?.saturating_sub(offset);
        let held = usize::try_from(held).map_or(into.len(), |held| held.min(into.len()));
        if held == 0 {
            Ok(())
        } else {
            self.disk.read(offset, &mut into[..held])
        }
    }
}

/// The parts of a range that lie in one block each: block, place in the block, place in the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let block_bytes = BLOCK_BYTES as u64;
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % block_bytes).ok()?;
        let end = len.min(done + BLOCK_BYTES - within);
        let part = (done < len).then_some((at / block_bytes, within, done..end));
        done = end;
        part
    })
}

impl Disk for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(into.len() as u64) > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.below(offset, into)?;
        for (block, within, part) in parts(offset, into.len()) {
            if let Some(bytes) = written.blocks.get(&block) {
                let len = part.len();
                into[part].copy_from_slice(&bytes[within..within + len]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written().len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (block, within, part) in parts(offset, bytes.len()) {
            let content = match written.blocks.entry(block) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(free) => {
                    let mut content = vec![0; BLOCK_BYTES].into_boxed_slice();
                    self.below(block * BLOCK_BYTES as u64, &mut content)?;
                    free.insert(content)
                }
            };
            content[within..within + part.len()].copy_from_slice(&bytes[part]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::FileDisk;

    #[test]
    fn writes_are_seen_and_never_reach_the_disk() {
        let disk = Arc::new(FileDisk::new(tempfile::tempfile().unwrap()));
        disk.set_len(10_000).unwrap();
        disk.write(0, &[1; 10_000]).unwrap();
        let overlay = Overlay::new(disk.clone()).unwrap();
        overlay.set_len(12_000).unwrap();
        overlay.write(4_000, &[2; 5_000]).unwrap();
        overlay.write(11_000, &[3; 10]).unwrap();
        let mut read = vec![0; 12_000];
        overlay.read(0, &mut read).unwrap();
        let mut expected = vec![1; 10_000];
        expected.resize(12_000, 0);
        expected[4_000..9_000].fill(2);
        expected[11_000..11_010].fill(3);
        assert!(read == expected);
        assert!(overlay.read(11_999, &mut [0; 2]).is_err());
        let mut below = vec![0; 10_000];
        disk.read(0, &mut below).unwrap();
        assert!(below == vec![1; 10_000]);
        assert_eq!(disk.len().unwrap(), 10_000);
    }
}
