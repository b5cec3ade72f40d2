//! The directory's upkeep: the entry of the `meta` table in it, and what is to be done when a part of it can't be read.

use bytes::Bytes;
use redb::{ReadableTable, WriteTransaction};

use super::listed::{DIRECTORY_TILES, DOCUMENT_TILES, Listed, RECEIPT_TILES};
use super::packing::{Packer, Spread};
use super::revision::{Change, Reviser};
use super::tile::{Row, Tile, check_of};
use crate::engine::Fault;
use crate::seal::CHECK_BYTES;
use crate::tables::{META, Rows, RowsMut};

/// The entry of the `meta` table.
const META_KEY: &[u8] = b"m";

/// Stands for all rows of the `meta` table as they are now.
fn digest(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<[u8; CHECK_BYTES], Fault> {
    let mut hasher = blake3::Hasher::new();
    for row in meta.range::<&[u8]>(..)? {
        hasher.update(&check_of(row?.1.value()));
    }
    Ok(check_of(hasher.finalize().as_bytes()))
}

/// After the `meta` table was written.
pub(crate) fn list_meta(transaction: &WriteTransaction, packer: &mut Packer) -> Result<(), Fault> {
    let digest = digest(&transaction.open_table(META)?)?;
    let mut reviser = Reviser::new(DIRECTORY_TILES, transaction, packer, usize::MAX)?;
    let edits = std::iter::once((META_KEY.to_vec(), ()));
    let lost = "the directory of the documents' file can't be read";
    reviser.revise(
        &mut edits.peekable(),
        |_, _, ()| Change::Put(digest.to_vec()),
        |_, ()| Err(Fault::damaged(lost)),
    )
}

/// Whether the `meta` table is the newest that was written.
pub(crate) fn lists_meta(view: &redb::ReadTransaction, meta: &Rows) -> Result<bool, Fault> {
    let directory = Listed::view(DIRECTORY_TILES, view)?;
    let listed = directory.find(META_KEY)?.flatten();
    Ok(listed.is_some_and(|listed| digest(meta).is_ok_and(|digest| listed[..] == digest)))
}

/// Makes those parts of the directory anew that can't be read, from the tiles that are there. Whether there were any.
pub(super) fn rebuild(transaction: &WriteTransaction, packer: &mut Packer) -> Result<bool, Fault> {
    let mut directory = transaction.open_table(DIRECTORY_TILES.table)?;
    let gaps = gaps(&directory)?;
    if gaps.is_empty() {
        return Ok(false);
    }
    tracing::warn!(
        parts = gaps.len(),
        "a part of the documents' directory could not be read; it is made anew"
    );
    clear(&mut directory)?;
    drop(directory);
    for (from, before) in gaps {
        let inside = |key: &[u8]| {
            key >= from.as_slice() && before.as_deref().is_none_or(|before| key < before)
        };
        let mut rows = Vec::new();
        for tiled in [DOCUMENT_TILES, RECEIPT_TILES] {
            for found in transaction.open_table(tiled.table)?.range::<&[u8]>(..)? {
                let (low, stored) = found?;
                let key = tiled.listing_key(low.value());
                if inside(&key) && Tile::read(tiled.sealed, low.value(), stored.value()).is_some() {
                    let value = Bytes::copy_from_slice(&check_of(stored.value()));
                    rows.push(Row { key, value });
                }
            }
        }
        if inside(META_KEY) {
            let value = Bytes::copy_from_slice(&digest(&transaction.open_table(META)?)?);
            let key = META_KEY.to_vec();
            rows.push(Row { key, value });
        }
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        rows.dedup_by(|one, other| one.key == other.key);
        let mut reviser = Reviser::new(DIRECTORY_TILES, transaction, packer, usize::MAX)?;
        reviser.write(&from, before.as_deref(), &rows, &[], Spread::Even)?;
        reviser.done()?;
    }
    Ok(true)
}

/// From where to where no tile can be read.
type Gap = (Vec<u8>, Option<Vec<u8>>);

/// Follows the directory's tiles from each to the next.
struct Chain {
    /// Where the next one must begin.
    next: Option<Vec<u8>>,
    gaps: Vec<Gap>,
}

impl Chain {
    fn new() -> Self {
        Self {
            next: Some(Vec::new()),
            gaps: Vec::new(),
        }
    }

    /// Whether a row is one of the chain.
    fn admit(&mut self, low: &[u8], stored: &[u8]) -> bool {
        let Some(next) = &self.next else { return false };
        let tile = Tile::read(DIRECTORY_TILES.sealed, low, stored);
        let Some(tile) = tile.filter(|tile| tile.low >= *next) else {
            return false;
        };
        if tile.low > *next {
            self.gaps.push((next.clone(), Some(tile.low)));
        }
        self.next = tile.high;
        true
    }
}

fn gaps(directory: &RowsMut<'_>) -> Result<Vec<Gap>, Fault> {
    let mut chain = Chain::new();
    for found in directory.range::<&[u8]>(..)? {
        let (low, stored) = found?;
        chain.admit(low.value(), stored.value());
    }
    let Chain { next, mut gaps } = chain;
    gaps.extend(next.map(|next| (next, None)));
    Ok(gaps)
}

fn clear(directory: &mut RowsMut<'_>) -> Result<(), Fault> {
    let mut chain = Chain::new();
    directory.retain(|low, stored| chain.admit(low, stored))?;
    Ok(())
}
