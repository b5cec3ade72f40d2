//! One file: what is seen of it, and what of that is on the medium.

use super::pages::Pages;
use super::{Random, SECTOR_BYTES};

#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) seen: Pages,
    pub(super) synced: Pages,
    pub(super) unsynced: Vec<Change>,
    /// Which blocks take up room.
    pub(super) blocks: Vec<bool>,
    /// Pages that can't be read until they are written again.
    pub(super) bad_pages: Vec<u64>,
}

#[derive(Clone)]
pub(super) enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl File {
    /// Of what is not synced, some reaches the medium.
    pub(super) fn lose(&mut self, random: &mut Random) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Length(len) => {
                    if random.coin() {
                        self.synced.resize(len);
                    }
                }
                Change::Write(offset, bytes) => {
                    lose_sectors(&mut self.synced, offset, &bytes, random);
                }
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Length(len) => self.synced.resize(len),
                Change::Write(offset, bytes) => self.synced.write(offset, &bytes),
            }
        }
    }
}

/// Sectors lie at multiples of their size in the file, wherever a write begins.
fn lose_sectors(synced: &mut Pages, offset: usize, bytes: &[u8], random: &mut Random) {
    // All, nothing, or anything: with large writes the first two would else never come up.
    let mode = random.below(4);
    let mut start = 0;
    while start < bytes.len() {
        let sector_left = SECTOR_BYTES - (offset + start) % SECTOR_BYTES;
        let end = bytes.len().min(start + sector_left);
        if mode == 0 || mode > 1 && random.coin() {
            synced.write(offset + start, &bytes[start..end]);
        }
        start = end;
    }
}
