//! Walking the tiles of a table once, in order, and writing anew those that change.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use bytes::Bytes;
use redb::WriteTransaction;

use super::listed::{DIRECTORY_TILES, Listed, Tiled};
use super::packing::{PAGE_ROW_BYTES, Packer, Spread};
use super::tile::{Row, Tile, check_of};
use crate::engine::Fault;
use crate::seal::CHECK_BYTES;
use crate::tables::RowsMut;

/// Tiles are held and cut anew together until they have so many bytes before compression.
const RUN_BYTES_MAX: usize = 256 << 10;

/// What becomes of a row.
pub(crate) enum Change {
    Keep,
    Put(Vec<u8>),
    Remove,
}

/// Neighbouring tiles on their way to being cut anew.
struct Run {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    rows: Vec<Row>,
    /// Where the tiles of the run began, and what they took.
    lows: Vec<Vec<u8>>,
    stored_bytes: usize,
    read_bytes: usize,
    raw_bytes: usize,
    changed: bool,
    /// Rows that were not there before, and whether any of them lies before one that was.
    added: usize,
    between: bool,
}

impl Run {
    fn new(low: &[u8]) -> Self {
        Self {
            low: low.to_vec(),
            high: None,
            rows: Vec::new(),
            lows: Vec::new(),
            stored_bytes: 0,
            read_bytes: 0,
            raw_bytes: 0,
            changed: false,
            added: 0,
            between: false,
        }
    }

    fn is_large(&self) -> bool {
        self.raw_bytes >= RUN_BYTES_MAX
    }

    fn push(&mut self, row: Row) {
        self.raw_bytes += row.bytes();
        self.rows.push(row);
    }

    fn take_note(&mut self, tile: &Tile) {
        self.stored_bytes += tile.stored_bytes;
        self.read_bytes += tile.rows.iter().map(Row::bytes).sum::<usize>();
        self.lows.push(tile.low.clone());
    }

    /// Takes a tile in, with what the edits make of its rows. Once the run is large, edits are left over.
    fn take<E>(
        &mut self,
        tile: Tile,
        edits: &mut Peekable<impl Iterator<Item = (Vec<u8>, E)>>,
        apply: &mut impl FnMut(&[u8], Option<&Bytes>, E) -> Change,
    ) {
        self.take_note(&tile);
        self.high.clone_from(&tile.high);
        let Tile {
            low, high, rows, ..
        } = tile;
        let inside =
            |key: &[u8]| key >= low.as_slice() && high.as_deref().is_none_or(|high| key < high);
        let mut rows = rows.into_iter().peekable();
        while !self.is_large() {
            let Some((key, edit)) = edits.next_if(|(key, _)| inside(key)) else {
                break;
            };
            while let Some(row) = rows.next_if(|row| row.key < key) {
                self.push(row);
            }
            let before = rows.next_if(|row| row.key == key);
            match (
                apply(&key, before.as_ref().map(|row| &row.value), edit),
                before,
            ) {
                (Change::Keep, Some(before)) => self.push(before),
                (Change::Keep, None) => {}
                (Change::Put(value), before) => {
                    let value = Bytes::from(value);
                    self.changed |= before.as_ref().is_none_or(|row| row.value != value);
                    if before.is_none() {
                        self.added += 1;
                        self.between |= rows.peek().is_some();
                    }
                    self.push(Row { key, value });
                }
                (Change::Remove, before) => self.changed |= before.is_some(),
            }
        }
        rows.for_each(|row| self.push(row));
    }

    /// Whether more rows will come after these, as far as one can tell from what came.
    fn spread(&self) -> Spread {
        let at_the_end = self.added > 0 && !self.between;
        if at_the_end && (self.high.is_none() || self.added > 2) {
            Spread::Full
        } else {
            Spread::Even
        }
    }
}

/// What was written.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) tiles: u64,
    pub(crate) bytes: usize,
    /// A part of the directory could not be read, and is to be made anew.
    pub(crate) directory_lost: bool,
}

/// Rewrites tiles of one table inside a transaction.
pub(crate) struct Reviser<'t, 'p> {
    pub(super) listed: Listed<RowsMut<'t>>,
    packer: &'p mut Packer,
    /// It stops taking more once it has written so much.
    bytes_max: usize,
    written: Written,
}

impl<'t, 'p> Reviser<'t, 'p> {
    pub(crate) fn new(
        tiled: Tiled,
        transaction: &'t WriteTransaction,
        packer: &'p mut Packer,
        bytes_max: usize,
    ) -> Result<Self, Fault> {
        Ok(Self::on(
            Listed::open(tiled, transaction)?,
            packer,
            bytes_max,
        ))
    }

    fn on(listed: Listed<RowsMut<'t>>, packer: &'p mut Packer, bytes_max: usize) -> Self {
        Self {
            listed,
            packer,
            bytes_max,
            written: Written::default(),
        }
    }

    /// Brings the directory up to date.
    pub(crate) fn done(mut self) -> Result<Written, Fault> {
        self.written.directory_lost |= self.listed.directory_lost.get();
        let Some(tiles) = self.listed.directory.take() else {
            return Ok(self.written);
        };
        let listed = Listed {
            tiled: DIRECTORY_TILES,
            tiles,
            directory: None,
            listings: BTreeMap::new(),
            directory_lost: false.into(),
        };
        let mut lost = false;
        let mut directory = Reviser::on(listed, self.packer, usize::MAX);
        directory.revise(
            &mut self.listed.listings.into_iter().peekable(),
            |_, _, check| check.map_or(Change::Remove, |check| Change::Put(check.to_vec())),
            |_, _| {
                lost = true;
                Ok(())
            },
        )?;
        self.written.directory_lost |= lost;
        self.written.bytes += directory.written.bytes;
        Ok(self.written)
    }

    /// Carries out edits, which rise by key, until there are none or enough is written. Those whose tile can't be
    /// read go to `lost`.
    pub(crate) fn revise<E>(
        &mut self,
        edits: &mut Peekable<impl Iterator<Item = (Vec<u8>, E)>>,
        mut apply: impl FnMut(&[u8], Option<&Bytes>, E) -> Change,
        mut lost: impl FnMut(Vec<u8>, E) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut open: Option<Run> = None;
        while let Some((key, _)) = edits.peek() {
            let found = self.listed.spanning(key)?;
            let follows = |run: &Run| {
                let next = |tile: &Tile| run.high.as_ref() == Some(&tile.low);
                !run.is_large() && found.as_ref().is_some_and(next)
            };
            if let Some(run) = open.take_if(|run| !follows(run)) {
                let written = self.finish(run)?;
                if self.written.bytes >= self.bytes_max {
                    return Ok(());
                }
                let is_behind =
                    |tile: &Tile| written.as_ref().is_some_and(|high| tile.low >= *high);
                if found.as_ref().is_some_and(|tile| !is_behind(tile)) {
                    // What was found is part of what was just written.
                    continue;
                }
            }
            match found {
                Some(tile) => {
                    let run = open.get_or_insert_with(|| Run::new(&tile.low));
                    run.take(tile, edits, &mut apply);
                }
                None => {
                    if let Some((key, edit)) = edits.next() {
                        lost(key, edit)?;
                    }
                }
            }
        }
        match open {
            Some(run) => self.finish(run).map(drop),
            None => Ok(()),
        }
    }

    /// Writes a run, if it changed; how far it went, a neighbour that was drawn in included.
    fn finish(&mut self, mut run: Run) -> Result<Option<Vec<u8>>, Fault> {
        if !run.changed {
            return Ok(run.high);
        }
        self.packer.learn(run.read_bytes, run.stored_bytes);
        let spread = run.spread();
        if run.lows.len() == 1 && spread == Spread::Even {
            self.draw_in_neighbour(&mut run)?;
        }
        self.write(&run.low, run.high.as_deref(), &run.rows, &run.lows, spread)?;
        Ok(run.high)
    }

    /// Puts tiles for all from `low` up to `high` in place of those that began at `lows`.
    pub(crate) fn write(
        &mut self,
        low: &[u8],
        high: Option<&[u8]>,
        rows: &[Row],
        lows: &[Vec<u8>],
        spread: Spread,
    ) -> Result<(), Fault> {
        let tiled = self.listed.tiled;
        let packed = self.packer.pack(tiled.sealed, (low, high), rows, spread);
        let kept: BTreeSet<&[u8]> = packed.iter().map(|packed| packed.low.as_slice()).collect();
        for low in lows.iter().filter(|low| !kept.contains(low.as_slice())) {
            self.remove(low)?;
        }
        for packed in &packed {
            let row = (packed.low.as_slice(), packed.stored.as_slice());
            self.listed.tiles.insert(row.0, row.1)?;
            self.written.tiles += 1;
            self.written.bytes += row.0.len() + row.1.len();
            self.list(row.0, Some(check_of(row.1)));
        }
        Ok(())
    }

    fn remove(&mut self, low: &[u8]) -> Result<(), Fault> {
        self.listed.tiles.remove(low)?;
        self.list(low, None);
        Ok(())
    }

    /// Notes what the directory is to say of a tile.
    pub(super) fn list(&mut self, low: &[u8], check: Option<[u8; CHECK_BYTES]>) {
        if self.listed.directory.is_some() {
            let key = self.listed.tiled.listing_key(low);
            self.listed.listings.insert(key, check);
        }
    }

    /// A tile that overflows shares with its neighbour, so that two become three that are two thirds full, not two
    /// halves; and one that has become small joins its neighbour where both fit.
    fn draw_in_neighbour(&mut self, run: &mut Run) -> Result<(), Fault> {
        let estimate = self.packer.estimate(run.raw_bytes);
        let overflows = estimate > PAGE_ROW_BYTES;
        if !overflows && estimate >= PAGE_ROW_BYTES / 3 {
            return Ok(());
        }
        let Some((neighbour, after)) = self.neighbour(run)? else {
            return Ok(());
        };
        let both = estimate + neighbour.stored_bytes;
        let suits = if overflows {
            neighbour.stored_bytes <= PAGE_ROW_BYTES && estimate < 2 * PAGE_ROW_BYTES
        } else {
            both <= PAGE_ROW_BYTES * 7 / 8
        };
        if !suits {
            return Ok(());
        }
        run.take_note(&neighbour);
        if after {
            run.high = neighbour.high;
            run.rows.extend(neighbour.rows);
        } else {
            run.low = neighbour.low;
            let rows = std::mem::replace(&mut run.rows, neighbour.rows);
            run.rows.extend(rows);
        }
        Ok(())
    }

    /// The tile after the run, or else the one before it; and whether it is the one after.
    fn neighbour(&self, run: &Run) -> Result<Option<(Tile, bool)>, Fault> {
        let Some(high) = &run.high else {
            let before = self.listed.before(&run.low)?;
            let before = before.filter(|tile| tile.high.as_ref() == Some(&run.low));
            return Ok(before.map(|tile| (tile, false)));
        };
        let after = self.listed.spanning(high)?.filter(|tile| tile.low == *high);
        Ok(after.map(|tile| (tile, true)))
    }
}
