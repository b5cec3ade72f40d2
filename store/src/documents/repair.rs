//! Putting documents in place of a range that can't be read.

use std::ops::Bound;

use anabranch_core::persist::{DocumentRange, Repair, StoredDocument};
use bytes::Bytes;
use redb::{ReadableTable as _, WriteTransaction};

use super::folding::Folded;
use super::listed::{DOCUMENT_TILES, Listed};
use super::packing::{Packer, Spread};
use super::quarantine::{self, Waiting};
use super::revision::{Reviser, Written};
use super::tile::{Row, Tile};
use super::{Documents, Writer, record};
use crate::engine::Fault;
use crate::tables::{QUARANTINE, RowsMut, TILES, document_key, range_before, range_from};

impl Documents {
    /// Replaces exactly what is in the range, in one transaction. If the range cuts through something that can't be
    /// read, nothing is done, and the report says which range would do.
    pub(super) fn repair(
        &self,
        repair: &Repair,
        writer: &mut Writer,
        folded: &mut Folded,
    ) -> Result<(), Fault> {
        let packer = &mut writer.packer;
        let done = self.transact(|transaction| replace(transaction, packer, repair));
        match done {
            Ok(written) => {
                folded.note(&written);
                Ok(())
            }
            Err(Fault::Damaged { what, .. }) => {
                self.restart_if_possible(writer)?;
                let range = self.damaged_range(&range_from(&repair.range));
                tracing::error!(?range, what, "a repair of documents did not succeed");
                folded.damaged.push((range, what));
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }
}

fn replace(
    transaction: &WriteTransaction,
    packer: &mut Packer,
    repair: &Repair,
) -> Result<Written, Fault> {
    let (from, before) = (range_from(&repair.range), range_before(&repair.range));
    if before.as_ref().is_some_and(|before| *before <= from) {
        return Err(Fault::damaged("a repair of a range that holds nothing"));
    }
    let mut reviser = Reviser::new(DOCUMENT_TILES, transaction, packer, usize::MAX)?;
    let mut span = Span::around(&reviser.listed, &from, before.as_deref())?;
    span.clear(&mut reviser)?;
    let mut waiting = transaction.open_table(QUARANTINE)?;
    let mut rows = new_rows(repair, &mut waiting, &from, before.as_deref())?;
    drop(waiting);
    rows.splice(..0, span.rows_before.drain(..));
    rows.append(&mut span.rows_after);
    reviser.write(&span.low, span.high.as_deref(), &rows, &[], Spread::Even)?;
    let written = reviser.done()?;
    span.verify(&transaction.open_table(TILES)?)?;
    Ok(written)
}

/// The repaired documents, with the changes that have waited for them.
fn new_rows(
    repair: &Repair,
    waiting: &mut RowsMut<'_>,
    from: &[u8],
    before: Option<&[u8]>,
) -> Result<Vec<Row>, Fault> {
    let mut documents: Vec<(Vec<u8>, StoredDocument)> = Vec::new();
    for (id, document) in &repair.documents {
        if !contains(&repair.range, id) {
            continue;
        }
        let mut key = Vec::new();
        document_key(id, &mut key);
        documents.push((key, document.clone()));
    }
    documents.sort_by(|(one, _), (other, _)| one.cmp(other));
    documents.dedup_by(|(one, _), (other, _)| one == other);
    for (key, found) in quarantine::documents(waiting, from, before, usize::MAX)? {
        let StoredDocument {
            changes, present, ..
        } = found;
        match documents.binary_search_by(|(held, _)| held.cmp(&key)) {
            Ok(at) => record::extend(&mut documents[at].1, &changes, None),
            Err(at) if !changes.is_empty() => {
                let mut document = StoredDocument::default();
                record::extend(&mut document, &changes, present);
                documents.insert(at, (key.clone(), document));
            }
            Err(_) => {}
        }
        quarantine::take(waiting, Waiting::Document, &key)?;
    }
    let row = |(key, document): (Vec<u8>, StoredDocument)| Row {
        key,
        value: Bytes::from(record::encode(&document)),
    };
    Ok(documents.into_iter().map(row).collect())
}

fn contains(range: &DocumentRange, id: &anabranch_core::DocumentId) -> bool {
    let fits = range.contains(id);
    if !fits {
        tracing::warn!(%id, "left out of a repair: it is not in the range");
    }
    fits
}

/// The tiles that a range touches. What they hold outside of it stays.
struct Span {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    /// Where the tile before it begins.
    after: Vec<u8>,
    rows_before: Vec<Row>,
    rows_after: Vec<Row>,
}

impl Span {
    fn around(
        tiles: &Listed<RowsMut<'_>>,
        from: &[u8],
        before: Option<&[u8]>,
    ) -> Result<Self, Fault> {
        let mut span = Self {
            low: from.to_vec(),
            high: before.map(<[u8]>::to_vec),
            after: Vec::new(),
            rows_before: Vec::new(),
            rows_after: Vec::new(),
        };
        if let Some(tile) = tiles.spanning(from)? {
            span.rows_before = tile.rows;
            span.rows_before.retain(|row| row.key.as_slice() < from);
            span.low = tile.low;
        }
        if !span.low.is_empty() {
            let tile = tiles.before(&span.low)?;
            let tile = tile.filter(|tile| tile.high.as_ref() == Some(&span.low));
            let what = "what can't be read begins before the range of the repair";
            span.after = tile.ok_or_else(|| Fault::damaged(what))?.low;
        }
        if let Some(end) = before {
            let Some(tile) = tiles.spanning(end)? else {
                let what = "what can't be read goes on after the range of the repair";
                return Err(Fault::damaged(what));
            };
            if tile.low.as_slice() < end {
                span.rows_after = tile.rows;
                span.rows_after.retain(|row| row.key.as_slice() >= end);
                span.high = tile.high;
            }
        }
        Ok(span)
    }

    /// Takes everything out that lies between the tiles on both sides, by its place and not by its key: the key may
    /// be what is damaged.
    fn clear(&self, reviser: &mut Reviser<'_, '_>) -> Result<(), Fault> {
        let mut taken = Vec::new();
        let mut next = None;
        let readable =
            |low: &[u8], stored: &[u8]| Tile::read(DOCUMENT_TILES.sealed, low, stored).is_some();
        let from = (Bound::Included(self.after.as_slice()), Bound::Unbounded);
        let found = reviser
            .listed
            .tiles
            .extract_from_if::<&[u8], _>(from, |low, stored| {
                low >= self.low.as_slice() || !readable(low, stored)
            })?;
        for row in found {
            let (low, stored) = row?;
            let (low, stored) = (low.value(), stored.value());
            if self.high.as_deref() == Some(low) && readable(low, stored) {
                // The tile after the range. It was only taken to know where to stop.
                next = Some((low.to_vec(), stored.to_vec()));
                break;
            }
            taken.push(low.to_vec());
        }
        if let Some((low, stored)) = next {
            reviser
                .listed
                .tiles
                .insert(low.as_slice(), stored.as_slice())?;
        }
        for low in taken {
            reviser.list(&low, None);
        }
        Ok(())
    }

    /// Shows that the engine finds what was written, and nothing else, from the tile before to the one after.
    fn verify(&self, table: &RowsMut<'_>) -> Result<(), Fault> {
        let mut next = Some(self.after.clone());
        for found in table.range::<&[u8]>(self.after.as_slice()..)? {
            let (low, stored) = found?;
            let tile = Tile::read(DOCUMENT_TILES.sealed, low.value(), stored.value());
            let Some(tile) = tile.filter(|tile| Some(&tile.low) == next.as_ref()) else {
                break;
            };
            if self.high.is_some() && Some(&tile.low) == self.high.as_ref() {
                return Ok(());
            }
            let there = table.get(tile.low.as_slice())?;
            if there.is_none_or(|there| there.value() != stored.value()) {
                break;
            }
            next = tile.high;
        }
        if next.is_none() && self.high.is_none() {
            return Ok(());
        }
        Err(Fault::damaged(
            "the engine does not find what a repair wrote",
        ))
    }
}
