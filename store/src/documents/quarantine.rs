//! What belongs into tiles that can't be read, and waits for them to be repaired.
//!
//! ```text
//! quarantine  kind:1 key -> check:8 value
//! ```
//! A document's value is a record without a state: the changes that came for it since. It is not readable by itself.
//! A receipt's is the receipt.

use std::ops::Bound;

use anabranch_core::persist::StoredDocument;
use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata as _};

use super::record;
use crate::engine::Fault;
use crate::seal::{Sealed, seal, unseal};
use crate::tables::{Rows, RowsMut};

/// What kind of row waits.
#[derive(Clone, Copy)]
pub(crate) enum Waiting {
    Document,
    Receipt,
}

impl Waiting {
    fn row_key(self, key: &[u8]) -> Vec<u8> {
        let kind = match self {
            Self::Document => b'd',
            Self::Receipt => b'r',
        };
        [&[kind], key].concat()
    }
}

/// What waits under a key. A row that can't be read is as good as none: what it held was lost with it, and the tile
/// that it waits for says so.
pub(crate) fn find(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    kind: Waiting,
    key: &[u8],
) -> Result<Option<Bytes>, Fault> {
    let row_key = kind.row_key(key);
    let Some(row) = table.get(row_key.as_slice())? else {
        return Ok(None);
    };
    let value = unseal(Sealed::Quarantine, &row_key, row.value());
    Ok(value.map(Bytes::copy_from_slice))
}

pub(crate) fn put(
    table: &mut RowsMut<'_>,
    kind: Waiting,
    key: &[u8],
    value: &[u8],
) -> Result<(), Fault> {
    let row_key = kind.row_key(key);
    let mut row = Vec::new();
    seal(Sealed::Quarantine, &row_key, &[value], &mut row);
    table.insert(row_key.as_slice(), row.as_slice())?;
    Ok(())
}

/// Takes out what waits under a key.
pub(crate) fn take(
    table: &mut RowsMut<'_>,
    kind: Waiting,
    key: &[u8],
) -> Result<Option<Bytes>, Fault> {
    let found = find(table, kind, key)?;
    table.remove(kind.row_key(key).as_slice())?;
    Ok(found)
}

/// Puts changes to those that wait for a document already.
pub(super) fn add_changes(
    table: &mut RowsMut<'_>,
    key: &[u8],
    changes: &[Bytes],
    present: Option<bool>,
) -> Result<(), Fault> {
    let waiting = find(table, Waiting::Document, key)?;
    let waiting = waiting.and_then(|value| record::decode(&value));
    let mut document = waiting.unwrap_or_default();
    record::extend(&mut document, changes, present);
    put(table, Waiting::Document, key, &record::encode(&document))
}

/// The first key from `from` up to `before` under which something waits for a document, readable or not.
pub(super) fn first(
    table: &Rows,
    from: &[u8],
    before: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Fault> {
    if table.is_empty()? {
        return Ok(None);
    }
    let bounds = bounds(from, before);
    let row = table.range::<&[u8]>(as_slices(&bounds))?.next();
    let row_key = row
        .transpose()?
        .map(|(row_key, _)| row_key.value()[1..].to_vec());
    Ok(row_key)
}

/// What waits for documents from `from` up to `before`, at most so many of them. Rows that can't be read come without
/// any changes.
pub(super) fn documents(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    before: Option<&[u8]>,
    most: usize,
) -> Result<Vec<(Vec<u8>, StoredDocument)>, Fault> {
    let mut found = Vec::new();
    let bounds = bounds(from, before);
    for row in table.range::<&[u8]>(as_slices(&bounds))?.take(most) {
        let (row_key, row) = row?;
        let value = unseal(Sealed::Quarantine, row_key.value(), row.value());
        let waiting = value.and_then(|value| record::decode(&Bytes::copy_from_slice(value)));
        found.push((row_key.value()[1..].to_vec(), waiting.unwrap_or_default()));
    }
    Ok(found)
}

/// Receipts that wait from `from` up to `before`. Those that can't be read are left out, as [`find`] does.
pub(crate) fn receipts(
    table: &Rows,
    from: &[u8],
    before: Option<&[u8]>,
) -> Result<Vec<(Vec<u8>, Bytes)>, Fault> {
    if table.is_empty()? {
        return Ok(Vec::new());
    }
    let end = match before {
        Some(before) => Waiting::Receipt.row_key(before),
        None => vec![b'r' + 1],
    };
    let bounds = (Waiting::Receipt.row_key(from), end);
    let mut found = Vec::new();
    for row in table.range::<&[u8]>(as_slices(&bounds))? {
        let (row_key, row) = row?;
        if let Some(value) = unseal(Sealed::Quarantine, row_key.value(), row.value()) {
            let key = row_key.value()[1..].to_vec();
            found.push((key, Bytes::copy_from_slice(value)));
        }
    }
    Ok(found)
}

fn bounds(from: &[u8], before: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let end = match before {
        Some(before) => Waiting::Document.row_key(before),
        None => vec![b'd' + 1],
    };
    (Waiting::Document.row_key(from), end)
}

fn as_slices((from, before): &(Vec<u8>, Vec<u8>)) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(from), Bound::Excluded(before))
}

/// How many rows can't be read.
pub(super) fn unreadable(table: &Rows) -> Result<usize, Fault> {
    let mut count = 0;
    for row in table.range::<&[u8]>(..)? {
        let (row_key, row) = row?;
        count += usize::from(unseal(Sealed::Quarantine, row_key.value(), row.value()).is_none());
    }
    Ok(count)
}
