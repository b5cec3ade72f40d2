//! Notices pages that changed while the store is open.
//!
//! A value's check can't tell that a row is missing: one flipped bit in a page's own count of rows
//! hides some of them. The engine verifies its pages when it opens a file and never again. So the
//! layer below it remembers a hash of every block of the file, from the read that the engine
//! verified or from the last write, and compares at every later read. Bit rot, writes that got lost
//! and writes that landed elsewhere are noticed alike, for eight bytes of memory per block.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::VERIFIED_ON_OPEN_BYTES_MAX;

const BLOCK_BYTES: usize = 4096;
/// The header is the one block that is written in place; the engine keeps its own checksums there.
const FIRST_BLOCK: usize = 1;
const UNKNOWN: u64 = 0;

/// Hashes are kept in chunks, each made when it is first needed: most files are small.
const CHUNK_BLOCKS: usize = 1024;

/// Hashes of the blocks of the part of a file that is verified on opening.
pub(crate) struct Pages(Box<[OnceLock<Box<[AtomicU64]>>]>);

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    pub(crate) fn new() -> Self {
        let blocks = index(VERIFIED_ON_OPEN_BYTES_MAX / BLOCK_BYTES as u64);
        Self(
            (0..blocks.div_ceil(CHUNK_BLOCKS))
                .map(|_| OnceLock::new())
                .collect(),
        )
    }

    /// Before anything is written: a write that fails leaves who knows what.
    pub(crate) fn forget(&self, offset: u64, len: usize) {
        let end = offset
            .saturating_add(len as u64)
            .div_ceil(BLOCK_BYTES as u64);
        for block in (offset / BLOCK_BYTES as u64..end).map_while(|block| self.block(index(block)))
        {
            block.store(UNKNOWN, Ordering::Release);
        }
    }

    /// After it was cut or extended to `len`.
    pub(crate) fn forget_from(&self, len: u64) {
        let first = index(len / BLOCK_BYTES as u64);
        for (at, chunk) in self.0.iter().enumerate().skip(first / CHUNK_BLOCKS) {
            let Some(chunk) = chunk.get() else { continue };
            for block in chunk.iter().skip(first.saturating_sub(at * CHUNK_BLOCKS)) {
                block.store(UNKNOWN, Ordering::Release);
            }
        }
    }

    fn block(&self, at: usize) -> Option<&AtomicU64> {
        let chunk = self.0.get(at / CHUNK_BLOCKS)?;
        let chunk =
            chunk.get_or_init(|| (0..CHUNK_BLOCKS).map(|_| AtomicU64::new(UNKNOWN)).collect());
        chunk.get(at % CHUNK_BLOCKS)
    }

    /// After it was written.
    pub(crate) fn remember(&self, offset: u64, bytes: &[u8]) {
        for (block, bytes) in self.whole_blocks(offset, bytes) {
            block.store(hash(bytes), Ordering::Release);
        }
    }

    /// Whether it is what was there before; what is read for the first time is remembered.
    pub(crate) fn admit(&self, offset: u64, bytes: &[u8]) -> bool {
        self.whole_blocks(offset, bytes).all(|(block, bytes)| {
            let found = hash(bytes);
            // The engine writes no page that a reader may be reading, so the two can't race.
            match block.compare_exchange(UNKNOWN, found, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => true,
                Err(known) => known == found,
            }
        })
    }

    fn whole_blocks<'a>(
        &'a self,
        offset: u64,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a AtomicU64, &'a [u8])> {
        let first = index(offset.div_ceil(BLOCK_BYTES as u64));
        let skipped = index(offset.next_multiple_of(BLOCK_BYTES as u64) - offset);
        let blocks = bytes
            .get(skipped..)
            .unwrap_or_default()
            .chunks_exact(BLOCK_BYTES);
        let numbered = blocks
            .enumerate()
            .map(move |(at, bytes)| (first + at, bytes));
        numbered
            .filter(|(block, _)| *block >= FIRST_BLOCK)
            .filter_map(|(block, bytes)| Some((self.block(block)?, bytes)))
    }
}

/// Past every table when it does not fit.
fn index(block: u64) -> usize {
    usize::try_from(block).unwrap_or(usize::MAX / 2)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(head).max(UNKNOWN + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_or_written_is_admitted() {
        let pages = Pages::new();
        let block = BLOCK_BYTES as u64;
        let (old, new) = (vec![1; 2 * BLOCK_BYTES], vec![2; 2 * BLOCK_BYTES]);
        assert!(pages.admit(block, &old), "the first read is believed");
        assert!(pages.admit(block, &old));
        assert!(!pages.admit(block, &new));
        assert!(
            !pages.admit(2 * block, &new[..BLOCK_BYTES]),
            "block by block"
        );
        pages.forget(2 * block, BLOCK_BYTES);
        pages.remember(2 * block, &new[..BLOCK_BYTES]);
        assert!(pages.admit(block, &old[..BLOCK_BYTES]));
        assert!(pages.admit(2 * block, &new[..BLOCK_BYTES]));
        pages.forget_from(2 * block);
        assert!(pages.admit(2 * block, &old[..BLOCK_BYTES]));
        assert!(!pages.admit(block, &new[..BLOCK_BYTES]));
    }

    #[test]
    fn parts_of_blocks_the_header_and_what_lies_too_far_are_not_judged() {
        let pages = Pages::new();
        let block = BLOCK_BYTES as u64;
        for (offset, len) in [
            (0, BLOCK_BYTES),
            (block + 1, BLOCK_BYTES),
            (VERIFIED_ON_OPEN_BYTES_MAX, BLOCK_BYTES),
            (u64::MAX - block, 8),
        ] {
            assert!(pages.admit(offset, &vec![1; len]));
            assert!(pages.admit(offset, &vec![2; len]), "{offset}");
            pages.forget(offset, len);
        }
    }
}
