//! Reading tiles, and holding each against the directory.
//!
//! A tile's check says that it was written so, not that nothing newer was written in its place: one wrong page number,
//! or one write that the disk lost, can bring back an older version, whole in itself. So the directory, another table, knows
//! the check of each tile's newest version, and a tile that is not the one in the directory is as good as
//! unreadable. The directory lies in tiles too, which nothing else vouches for: where one of them is old, the tiles that
//! changed since don't fit it, and that is damage, not a wrong answer.
//!
//! ```text
//! directory  tiles of  kind:1 low -> check:8
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

use anabranch_core::limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};
use bytes::Bytes;
use redb::{AccessGuard, Range, ReadTransaction, ReadableTable, StorageError, WriteTransaction};

use super::packing::{Packer, Spread};
use super::revision::Reviser;
use super::tile::{Content, Tile, check_of, look_up};
use crate::engine::Fault;
use crate::seal::{CHECK_BYTES, Sealed};
use crate::tables::{DIRECTORY, Definition, RECEIPTS, Rows, RowsMut, TILES};

/// Most tiles that are looked at on each side to say how far damage goes.
const TILES_TRIED_MAX: usize = 256;
/// Namespace, separator and key.
const ROW_KEY_BYTES_MAX: usize = NAMESPACE_BYTES_MAX + 1 + KEY_BYTES_MAX;

/// A table whose rows lie in tiles.
#[derive(Clone, Copy)]
pub(crate) struct Tiled {
    pub(crate) table: Definition,
    pub(crate) sealed: Sealed,
    /// What its tiles begin with in the directory.
    pub(super) kind: u8,
}

pub(crate) const DOCUMENT_TILES: Tiled = Tiled {
    table: TILES,
    sealed: Sealed::Tiles,
    kind: b'd',
};
pub(crate) const RECEIPT_TILES: Tiled = Tiled {
    table: RECEIPTS,
    sealed: Sealed::Receipts,
    kind: b'r',
};
pub(super) const DIRECTORY_TILES: Tiled = Tiled {
    table: DIRECTORY,
    sealed: Sealed::Directory,
    kind: b'c',
};

impl Tiled {
    pub(super) fn listing_key(self, low: &[u8]) -> Vec<u8> {
        [&[self.kind], low].concat()
    }
}

/// A row as the engine gives it.
pub(crate) type Found<'a> = Result<
    (
        AccessGuard<'a, &'static [u8]>,
        AccessGuard<'a, &'static [u8]>,
    ),
    StorageError,
>;

/// A table of tiles with the directory beside it, which the directory itself does not have.
pub(crate) struct Listed<T> {
    pub(super) tiled: Tiled,
    pub(crate) tiles: T,
    pub(super) directory: Option<T>,
    /// What is to change in the directory; counts as if it were there.
    pub(super) listings: BTreeMap<Vec<u8>, Option<[u8; CHECK_BYTES]>>,
    /// A part of the directory could not be read.
    pub(super) directory_lost: Cell<bool>,
}

/// Makes a table: one tile without rows that spans all keys.
pub(crate) fn found_table(
    tiled: Tiled,
    transaction: &WriteTransaction,
    packer: &mut Packer,
) -> Result<(), Fault> {
    let mut reviser = Reviser::new(tiled, transaction, packer, usize::MAX)?;
    reviser.write(&[], None, &[], &[], Spread::Even)?;
    reviser.done().map(drop)
}

impl Listed<Rows> {
    pub(crate) fn view(tiled: Tiled, view: &ReadTransaction) -> Result<Self, Fault> {
        let directory = match tiled.sealed {
            Sealed::Directory => None,
            _ => Some(view.open_table(DIRECTORY)?),
        };
        Ok(Self {
            tiled,
            tiles: view.open_table(tiled.table)?,
            directory,
            listings: BTreeMap::new(),
            directory_lost: Cell::new(false),
        })
    }
}

/// Tiles one after the other. Neighbours stand next to each other in the directory too, of which each stretch is read once.
pub(super) struct Walk {
    listed: Listed<Rows>,
    stretch: Option<Tile>,
}

impl Walk {
    pub(super) fn new(tiled: Tiled, view: &ReadTransaction) -> Result<Self, Fault> {
        Ok(Self {
            listed: Listed::view(tiled, view)?,
            stretch: None,
        })
    }

    /// The tile that spans a key; nothing when there is none that can be read.
    pub(super) fn spanning(&mut self, key: &[u8]) -> Result<Option<Content>, Fault> {
        let Some(found) = self.listed.tiles.range::<&[u8]>(..=key)?.next_back() else {
            return Ok(None);
        };
        Ok(self.read(found)?.filter(|tile| tile.contains(key)))
    }

    /// The rows of the table after a key.
    pub(super) fn after(
        &self,
        key: &[u8],
    ) -> Result<Range<'static, &'static [u8], &'static [u8]>, Fault> {
        let above = (Bound::Excluded(key), Bound::Unbounded);
        Ok(self.listed.tiles.range::<&[u8]>(above)?)
    }

    /// The tile in a row, if it is what was written, and written last.
    pub(super) fn read(&mut self, found: Found<'_>) -> Result<Option<Content>, Fault> {
        let (low, stored) = found?;
        if !self.lists(low.value(), stored.value())? {
            return Ok(None);
        }
        let sealed = self.listed.tiled.sealed;
        Ok(Content::open(sealed, low.value(), stored.value()))
    }

    fn lists(&mut self, low: &[u8], stored: &[u8]) -> Result<bool, Fault> {
        let Some(directory) = &self.listed.directory else {
            return Ok(true);
        };
        let wanted = self.listed.tiled.listing_key(low);
        if !self
            .stretch
            .as_ref()
            .is_some_and(|stretch| stretch.contains(&wanted))
        {
            let found = directory
                .range::<&[u8]>(..=wanted.as_slice())?
                .next_back()
                .transpose()?;
            let read = found.and_then(|(low, stored)| {
                Tile::read(Sealed::Directory, low.value(), stored.value())
            });
            self.stretch = read.filter(|stretch| stretch.contains(&wanted));
        }
        Ok(self.stretch.as_ref().is_some_and(|stretch| {
            let rows = &stretch.rows;
            let at = rows.binary_search_by(|row| row.key.cmp(&wanted));
            at.is_ok_and(|at| rows[at].value[..] == check_of(stored))
        }))
    }
}

impl<'t> Listed<RowsMut<'t>> {
    pub(crate) fn open(tiled: Tiled, transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        let directory = match tiled.sealed {
            Sealed::Directory => None,
            _ => Some(transaction.open_table(DIRECTORY)?),
        };
        Ok(Self {
            tiled,
            tiles: transaction.open_table(tiled.table)?,
            directory,
            listings: BTreeMap::new(),
            directory_lost: Cell::new(false),
        })
    }
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Listed<T> {
    /// The tile that spans a key; nothing when there is none that can be read.
    pub(crate) fn spanning(&self, key: &[u8]) -> Result<Option<Tile>, Fault> {
        let Some(found) = self.tiles.range::<&[u8]>(..=key)?.next_back() else {
            return Ok(None);
        };
        Ok(self.read(found)?.filter(|tile| tile.contains(key)))
    }

    /// What is stored under a key; the outer nothing when that can't be told.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<Option<Bytes>>, Fault> {
        let Some(found) = self.tiles.range::<&[u8]>(..=key)?.next_back() else {
            return Ok(None);
        };
        let (low, stored) = found?;
        if !self.lists(low.value(), stored.value())? {
            return Ok(None);
        }
        Ok(look_up(
            self.tiled.sealed,
            (low.value(), stored.value()),
            key,
        ))
    }

    /// Whether looking for the keys of a tile leads to it. A walk from tile to tile takes another way through the
    /// engine's pages, so what a walk has read may still be out of reach. Where one key in a page is not what was
    /// written, it parts the keys of a tile at one place, so it is enough to look for those at both ends.
    pub(super) fn leads_to(&self, tile: &Tile) -> Result<bool, Fault> {
        let second = [tile.low.as_slice(), &[0]].concat();
        for key in [tile.low.clone(), second, last_before(tile.high.as_deref())] {
            if !tile.contains(&key) {
                continue;
            }
            let found = self.tiles.range::<&[u8]>(..=key.as_slice())?.next_back();
            let is_there = match found {
                Some(found) => found?.0.value() == tile.low,
                None => false,
            };
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The last tile that can be read and ends at a key or before it, past those that can't be read.
    pub(super) fn before(&self, key: &[u8]) -> Result<Option<Tile>, Fault> {
        let below = (Bound::Unbounded, Bound::Included(key));
        for found in self
            .tiles
            .range::<&[u8]>(below)?
            .rev()
            .take(TILES_TRIED_MAX)
        {
            let ends = |tile: &Tile| tile.high.as_deref().is_some_and(|high| high <= key);
            if let Some(tile) = self.read(found)?.filter(ends) {
                return Ok(Some(tile));
            }
        }
        Ok(None)
    }

    /// The first tile that can be read and begins after a key.
    pub(super) fn after(&self, key: &[u8]) -> Result<Option<Tile>, Fault> {
        let above = (Bound::Excluded(key), Bound::Unbounded);
        for found in self.tiles.range::<&[u8]>(above)?.take(TILES_TRIED_MAX) {
            if let Some(tile) = self.read(found)?.filter(|tile| tile.low.as_slice() > key) {
                return Ok(Some(tile));
            }
        }
        Ok(None)
    }

    /// The tile in a row, if it is what was written, and written last.
    pub(super) fn read(&self, found: Found<'_>) -> Result<Option<Tile>, Fault> {
        let (low, stored) = found?;
        if !self.lists(low.value(), stored.value())? {
            return Ok(None);
        }
        Ok(Tile::read(self.tiled.sealed, low.value(), stored.value()))
    }

    /// Whether the directory has this version of the tile.
    pub(crate) fn lists(&self, low: &[u8], stored: &[u8]) -> Result<bool, Fault> {
        let Some(directory) = &self.directory else {
            return Ok(true);
        };
        let wanted = self.tiled.listing_key(low);
        if let Some(listed) = self.listings.get(&wanted) {
            return Ok(*listed == Some(check_of(stored)));
        }
        let listed = directory
            .range::<&[u8]>(..=wanted.as_slice())?
            .next_back()
            .transpose()?;
        let listed = listed.and_then(|(low, stored)| {
            look_up(Sealed::Directory, (low.value(), stored.value()), &wanted)
        });
        self.directory_lost
            .set(self.directory_lost.get() || listed.is_none());
        Ok(listed
            .flatten()
            .is_some_and(|check| check[..] == check_of(stored)))
    }
}

/// About the last key before another one, or of all: no row key is so long.
fn last_before(high: Option<&[u8]>) -> Vec<u8> {
    let mut key = high.unwrap_or_default().to_vec();
    match key.pop() {
        // Nothing comes between a key and the same with a zero.
        Some(0) => return key,
        Some(last) => key.push(last - 1),
        None => {}
    }
    key.resize(key.len() + ROW_KEY_BYTES_MAX, u8::MAX);
    key
}
