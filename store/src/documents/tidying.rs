//! Going through all that is stored, a little at a time: every tile is verified, and documents that have changes are
//! compacted.

use std::ops::Bound;

use anabranch_core::DocumentId;
use anabranch_core::persist::{Compact, DocumentRange};
use redb::ReadTransaction;

use super::directory;
use super::folding::{Compaction, Edit, Folded};
use super::listed::{DIRECTORY_TILES, DOCUMENT_TILES, Listed, RECEIPT_TILES, Tiled};
use super::quarantine;
use super::{Documents, record};
use crate::engine::Fault;
use crate::receipts;
use crate::seal::Sealed;
use crate::tables::{QUARANTINE, range_before};

/// How far it came, and what it found.
#[derive(Default, Debug)]
pub(crate) struct Tidied {
    /// From where to go on; none: all was seen.
    pub(crate) next: Option<Vec<u8>>,
    /// Bytes verified.
    pub(crate) bytes: u64,
    /// Documents compacted, and those that could not be.
    pub(crate) compacted: u64,
    pub(crate) uncompacted: Vec<(DocumentId, String)>,
    /// What can't be read.
    pub(crate) damaged: Vec<(Option<DocumentRange>, String)>,
}

/// What it goes through, in this order. A cursor begins with the letter.
/// The directory comes first: where it can't be read, it is made anew, and what it stands for is not damaged.
const DIRECTORY: u8 = b'c';
const DOCUMENTS: u8 = b'd';
const RECEIPTS: u8 = b'r';
const WAITING: u8 = b'w';

/// What one look at a table found.
#[derive(Default)]
struct Seen {
    bytes: u64,
    /// Row keys of documents that have changes.
    changed: Vec<Vec<u8>>,
    /// Where the next tile must begin; none: the last one was seen.
    next: Option<Vec<u8>>,
    /// What lies there can't be read.
    damaged: bool,
}

impl Documents {
    /// Verifies about so many bytes, from where the call before came to, and compacts what has changes there.
    pub(crate) fn tidy(
        &self,
        after: Option<Vec<u8>>,
        bytes_max: usize,
        compact: Compact,
    ) -> Result<Tidied, Fault> {
        let cursor = after.unwrap_or_else(|| vec![DIRECTORY]);
        let (phase, at) = cursor
            .split_first()
            .map_or((DIRECTORY, &[][..]), |(p, at)| (*p, at));
        match phase {
            DOCUMENTS => self.tidy_documents(at, bytes_max, compact),
            RECEIPTS => self.tidy_receipts(at, bytes_max),
            DIRECTORY => self.tidy_directory(at, bytes_max),
            _ => self.tidy_waiting(),
        }
    }

    fn tidy_documents(
        &self,
        at: &[u8],
        bytes_max: usize,
        compact: Compact,
    ) -> Result<Tidied, Fault> {
        let mut tidied = Tidied::default();
        let seen = self.see(DOCUMENT_TILES, at, bytes_max)?;
        tidied.bytes = seen.bytes;
        let mut next = seen.next;
        if let Some(at) = next.clone().filter(|_| seen.damaged) {
            let range = self.damaged_range(&at);
            // It goes on behind what can't be read.
            next = range_before(&range).filter(|before| *before > at);
            let what = "documents are not what was written".to_owned();
            tidied.damaged.push((Some(range), what));
        }
        tidied.next = Some(cursor(DOCUMENTS, next).unwrap_or_else(|| vec![RECEIPTS]));
        if !seen.changed.is_empty() {
            let edit = |key| Edit {
                key,
                changes: Vec::new(),
                present: None,
                waited: false,
            };
            let edits: Vec<Edit> = seen.changed.into_iter().map(edit).collect();
            let mut folded = Folded::default();
            let mut writer = self.writer_ready()?;
            let compaction = Compaction { compact, all: true };
            let done = self.write_edits(&edits, compaction, None, &mut writer, &mut folded);
            if let Err(fault) = done {
                self.recover_from(&fault, &mut writer);
                return Err(fault);
            }
            tidied.compacted = folded.compacted;
            tidied.uncompacted = folded.uncompacted;
        }
        Ok(tidied)
    }

    fn tidy_receipts(&self, at: &[u8], bytes_max: usize) -> Result<Tidied, Fault> {
        let mut tidied = Tidied::default();
        let seen = self.see(RECEIPT_TILES, at, bytes_max)?;
        tidied.bytes = seen.bytes;
        let mut next = seen.next;
        if let Some(at) = next.clone().filter(|_| seen.damaged) {
            let (behind, healed) =
                self.write(|packer, transaction| receipts::heal(transaction, packer, &at))?;
            next = behind.filter(|behind| *behind > at);
            if !healed {
                let what = "receipts are not what was written; those writes can't be repeated until they are forgotten";
                tidied.damaged.push((None, what.to_owned()));
            }
        }
        tidied.next = Some(cursor(RECEIPTS, next).unwrap_or_else(|| vec![WAITING]));
        Ok(tidied)
    }

    fn tidy_directory(&self, at: &[u8], bytes_max: usize) -> Result<Tidied, Fault> {
        let mut tidied = Tidied::default();
        let seen = self.see(DIRECTORY_TILES, at, bytes_max)?;
        tidied.bytes = seen.bytes;
        let mut next = seen.next;
        if seen.damaged {
            self.write(|packer, transaction| directory::rebuild(transaction, packer))?;
            // All of it has been seen by that.
            next = None;
        }
        tidied.next = Some(cursor(DIRECTORY, next).unwrap_or_else(|| vec![DOCUMENTS]));
        Ok(tidied)
    }

    fn tidy_waiting(&self) -> Result<Tidied, Fault> {
        let mut tidied = Tidied::default();
        let unreadable = self.read(|view| quarantine::unreadable(&view.open_table(QUARANTINE)?));
        match unreadable {
            Ok(0) => {}
            Ok(count) => {
                let what = format!("{count} rows in quarantine are not what was written");
                tidied.damaged.push((None, what));
            }
            Err(Fault::Damaged { what, .. }) => tidied.damaged.push((None, what)),
            Err(fault) => return Err(fault),
        }
        Ok(tidied)
    }

    /// Looks at tiles from a key on. Where the engine loses its way is as damaged as a tile that can't be read.
    fn see(&self, tiled: Tiled, at: &[u8], bytes_max: usize) -> Result<Seen, Fault> {
        let mut seen = Seen {
            next: Some(at.to_vec()),
            ..Seen::default()
        };
        match self.read(|view| seen.look(view, tiled, bytes_max)) {
            Ok(()) => Ok(seen),
            Err(Fault::Damaged { .. }) => {
                seen.damaged = true;
                Ok(seen)
            }
            Err(fault) => Err(fault),
        }
    }
}

impl Seen {
    fn look(
        &mut self,
        view: &ReadTransaction,
        tiled: Tiled,
        bytes_max: usize,
    ) -> Result<(), Fault> {
        let tiles = Listed::view(tiled, view)?;
        let mut at = self.next.clone().unwrap_or_default();
        // Between two calls tiles may have been cut anew, so the first one need not begin there.
        if let Some(tile) = tiles.spanning(&at)? {
            at = tile.low;
        }
        let from = (Bound::Included(at.as_slice()), Bound::Unbounded);
        let mut rows = tiles.tiles.range::<&[u8]>(from)?;
        let mut low = at.clone();
        while self.bytes < bytes_max as u64 {
            let Some(found) = rows.next() else {
                return Err(Fault::damaged("the last tiles are missing"));
            };
            let tile = tiles.read(found)?.filter(|tile| tile.low == low);
            let tile = tile.ok_or_else(|| Fault::damaged("a tile is not what was written"))?;
            if !tiles.leads_to(&tile)? {
                return Err(Fault::damaged("a tile is not found by its keys"));
            }
            self.bytes += tile.stored_bytes as u64;
            if tiled.sealed == Sealed::Tiles {
                let changed = |row: &&super::tile::Row| {
                    record::glance(&row.value).is_some_and(|(_, has_changes)| has_changes)
                };
                let changed = tile.rows.iter().filter(changed);
                self.changed.extend(changed.map(|row| row.key.clone()));
            }
            self.next.clone_from(&tile.high);
            match tile.high {
                Some(high) => low = high,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

fn cursor(phase: u8, at: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut at = at?;
    at.insert(0, phase);
    Some(at)
}
