//! Receipts: what is remembered of writes, by key, and the order in which they are forgotten.
//!
//! ```text
//! receipts       tiles of  key:16 -> lsn:8  time_ms:8  bytes
//! receipt order  lsn:8 key:16     -> time_ms:8             the position big-endian, so that it sorts
//! ```
//! They lie in tiles like documents, since that there is none has to be shown in the same way: a write would be done
//! twice. A receipt whose tile can't be read waits in quarantine, where it is found.

use std::collections::BTreeMap;

use anabranch_core::Lsn;
use anabranch_core::limits::RECEIPTS_FORGOTTEN_PER_FOLD_MAX;
use anabranch_core::persist::{ReceiptKey, Retention, StoredReceipt};
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};

use crate::documents::listed::{Listed, RECEIPT_TILES, found_table};
use crate::documents::packing::{Packer, Spread};
use crate::documents::quarantine::{self, Waiting};
use crate::documents::revision::{Change, Reviser};
use crate::documents::tile::{Row, Tile};
use crate::engine::Fault;
use crate::seal::{Sealed, seal, unseal};
use crate::tables::{QUARANTINE, RECEIPT_ORDER, RowsMut};

const ORDER_BYTES: usize = 8 + 16;

fn order_key(lsn: Lsn, key: ReceiptKey) -> [u8; ORDER_BYTES] {
    let mut row_key = [0; ORDER_BYTES];
    row_key[..8].copy_from_slice(&lsn.0.to_be_bytes());
    row_key[8..].copy_from_slice(&key.0);
    row_key
}

fn encode(receipt: &StoredReceipt) -> Vec<u8> {
    let (lsn, time) = (receipt.lsn.0.to_le_bytes(), receipt.time_ms.to_le_bytes());
    [&lsn[..], &time[..], &receipt.bytes[..]].concat()
}

fn decode(key: ReceiptKey, value: &Bytes) -> Option<StoredReceipt> {
    let (lsn, rest) = value.split_first_chunk::<8>()?;
    let (time_ms, _) = rest.split_first_chunk::<8>()?;
    Some(StoredReceipt {
        key,
        lsn: Lsn(u64::from_le_bytes(*lsn)),
        time_ms: u64::from_le_bytes(*time_ms),
        bytes: value.slice(16..),
    })
}

/// Makes both tables.
pub(crate) fn found(transaction: &WriteTransaction, packer: &mut Packer) -> Result<(), Fault> {
    found_table(RECEIPT_TILES, transaction, packer)?;
    transaction.open_table(RECEIPT_ORDER)?;
    Ok(())
}

/// Looks a receipt up. That there is none is shown, not assumed.
pub(crate) fn find(
    view: &ReadTransaction,
    key: ReceiptKey,
) -> Result<Option<StoredReceipt>, Fault> {
    let damaged = || Fault::damaged("some receipts are not what was written");
    let waiting = quarantine::find(&view.open_table(QUARANTINE)?, Waiting::Receipt, &key.0)?;
    let found = match waiting {
        Some(waiting) => Some(waiting),
        None => {
            let tiles = Listed::view(RECEIPT_TILES, view)?;
            tiles.find(&key.0)?.ok_or_else(damaged)?
        }
    };
    found
        .map(|value| decode(key, &value).ok_or_else(damaged))
        .transpose()
}

/// All receipts from a key on, tile by tile, until they add up to so many bytes; and where to go on if there may be more.
pub(crate) fn page(
    view: &ReadTransaction,
    from: &[u8],
    bytes_max: usize,
) -> Result<(Vec<StoredReceipt>, Option<Vec<u8>>), Fault> {
    let damaged = || Fault::damaged("some receipts are not what was written");
    let tiles = Listed::view(RECEIPT_TILES, view)?;
    let quarantine = view.open_table(QUARANTINE)?;
    let mut receipts = Vec::new();
    let mut bytes = 0;
    let mut next = Some(from.to_vec());
    while let Some(at) = next.take_if(|_| bytes < bytes_max) {
        let tile = tiles.spanning(&at)?.ok_or_else(damaged)?;
        let mut rows: BTreeMap<Vec<u8>, Bytes> = tile
            .rows
            .into_iter()
            .map(|row| (row.key, row.value))
            .collect();
        // What waits there is newer.
        rows.extend(quarantine::receipts(
            &quarantine,
            &at,
            tile.high.as_deref(),
        )?);
        for (key, value) in rows.range(at..) {
            bytes += key.len() + value.len();
            let key = ReceiptKey(key.as_slice().try_into().map_err(|_| damaged())?);
            receipts.push(decode(key, value).ok_or_else(damaged)?);
        }
        next = tile.high;
    }
    Ok((receipts, next))
}

/// Writes receipts, and forgets what is to be forgotten. True when a part of the directory could not be read.
pub(crate) fn write(
    transaction: &WriteTransaction,
    packer: &mut Packer,
    receipts: &[StoredReceipt],
    retention: Option<Retention>,
) -> Result<bool, Fault> {
    if receipts.is_empty() && retention.is_none() {
        return Ok(false);
    }
    let mut order = transaction.open_table(RECEIPT_ORDER)?;
    let mut lost = false;
    if !receipts.is_empty() {
        lost = put(transaction, packer, &mut order, receipts)?;
    }
    let Some(retention) = retention else {
        return Ok(lost);
    };
    let old = take_oldest(&mut order, retention)?;
    Ok(forget(transaction, packer, &old)? || lost)
}

fn put(
    transaction: &WriteTransaction,
    packer: &mut Packer,
    order: &mut RowsMut<'_>,
    receipts: &[StoredReceipt],
) -> Result<bool, Fault> {
    // Each key once; the last one is the newest.
    let by_key: BTreeMap<ReceiptKey, &StoredReceipt> = receipts
        .iter()
        .map(|receipt| (receipt.key, receipt))
        .collect();
    let mut waiting = transaction.open_table(QUARANTINE)?;
    let mut replaced = Vec::new();
    for key in by_key.keys() {
        if let Some(value) = quarantine::take(&mut waiting, Waiting::Receipt, &key.0)? {
            replaced.extend(decode(*key, &value).map(|before| order_key(before.lsn, *key)));
        }
    }
    let mut reviser = Reviser::new(RECEIPT_TILES, transaction, packer, usize::MAX)?;
    let edits = by_key
        .values()
        .map(|receipt| (receipt.key.0.to_vec(), *receipt));
    reviser.revise(
        &mut edits.peekable(),
        |_, before, receipt| {
            let before = before.and_then(|value| decode(receipt.key, value));
            replaced.extend(before.map(|before| order_key(before.lsn, receipt.key)));
            Change::Put(encode(receipt))
        },
        |key, receipt| quarantine::put(&mut waiting, Waiting::Receipt, &key, &encode(receipt)),
    )?;
    let lost = reviser.done()?.directory_lost;
    for row_key in &replaced {
        order.remove(&row_key[..])?;
    }
    let mut row = Vec::new();
    for receipt in by_key.values() {
        let row_key = order_key(receipt.lsn, receipt.key);
        seal(
            Sealed::ReceiptOrder,
            &row_key,
            &[&receipt.time_ms.to_le_bytes()],
            &mut row,
        );
        order.insert(&row_key[..], row.as_slice())?;
    }
    Ok(lost)
}

/// Takes those out of the order that are to be forgotten. A row of it that can't be read goes too: what it stood for
/// stays, which harms nobody, and nothing stands still for it.
fn take_oldest(
    order: &mut RowsMut<'_>,
    retention: Retention,
) -> Result<BTreeMap<ReceiptKey, Lsn>, Fault> {
    let mut surplus = order.len()?.saturating_sub(retention.count_max);
    let (mut row_keys, mut old) = (Vec::new(), BTreeMap::new());
    for row in order
        .range::<&[u8]>(..)?
        .take(RECEIPTS_FORGOTTEN_PER_FOLD_MAX)
    {
        let (row_key, row) = row?;
        let row_key = row_key.value();
        let time = unseal(Sealed::ReceiptOrder, row_key, row.value());
        let parts = row_key.split_first_chunk::<8>();
        let parts = parts.and_then(|(lsn, key)| Some((lsn, key.try_into().ok()?)));
        if let (Some(time), Some((lsn, key))) = (time.and_then(|time| time.try_into().ok()), parts)
        {
            let lsn = Lsn(u64::from_be_bytes(*lsn));
            let young = u64::from_le_bytes(time) >= retention.not_before_ms;
            if surplus == 0 && (young || lsn >= retention.stable_before) {
                break;
            }
            old.insert(ReceiptKey(key), lsn);
        }
        surplus = surplus.saturating_sub(1);
        row_keys.push(row_key.to_vec());
    }
    for row_key in row_keys {
        order.remove(row_key.as_slice())?;
    }
    Ok(old)
}

fn forget(
    transaction: &WriteTransaction,
    packer: &mut Packer,
    old: &BTreeMap<ReceiptKey, Lsn>,
) -> Result<bool, Fault> {
    let mut waiting = transaction.open_table(QUARANTINE)?;
    let is_old = |key, lsn, value: &Bytes| decode(key, value).is_none_or(|held| held.lsn == lsn);
    for (key, lsn) in old {
        let held = quarantine::find(&waiting, Waiting::Receipt, &key.0)?;
        if held.is_some_and(|value| is_old(*key, *lsn, &value)) {
            quarantine::take(&mut waiting, Waiting::Receipt, &key.0)?;
        }
    }
    let mut reviser = Reviser::new(RECEIPT_TILES, transaction, packer, usize::MAX)?;
    let edits = old.iter().map(|(key, lsn)| (key.0.to_vec(), (*key, *lsn)));
    reviser.revise(
        &mut edits.peekable(),
        |_, before, (key, lsn)| match before {
            Some(value) if is_old(key, lsn, value) => Change::Remove,
            Some(_) | None => Change::Keep,
        },
        |_, _| Ok(()),
    )?;
    Ok(reviser.done()?.directory_lost)
}

/// Sees to receipts that can't be read, from `at` on: once all of them are to be forgotten anyway, which the order
/// tells, what waits for them takes their place. Gives where what can be read begins again, and whether it did.
pub(crate) fn heal(
    transaction: &WriteTransaction,
    packer: &mut Packer,
    at: &[u8],
) -> Result<(Option<Vec<u8>>, bool), Fault> {
    let tiles = Listed::open(RECEIPT_TILES, transaction)?;
    if let Some(tile) = tiles.spanning(at)? {
        return Ok((tile.high, true));
    }
    let mut lows = Vec::new();
    let mut high = None;
    for found in tiles.tiles.range::<&[u8]>(at..)? {
        let (low, stored) = found?;
        let is_listed = tiles.lists(low.value(), stored.value())?;
        if is_listed && Tile::read(Sealed::Receipts, low.value(), stored.value()).is_some() {
            high = Some(low.value().to_vec());
            break;
        }
        lows.push(low.value().to_vec());
    }
    drop(tiles);
    let inside = |key: &[u8]| key >= at && high.as_deref().is_none_or(|high| key < high);
    let mut waiting = transaction.open_table(QUARANTINE)?;
    let mut rows = BTreeMap::new();
    for row in transaction.open_table(RECEIPT_ORDER)?.range::<&[u8]>(..)? {
        let (row_key, _) = row?;
        let key = row_key.value().get(8..).unwrap_or_default().to_vec();
        if inside(&key) {
            match quarantine::find(&waiting, Waiting::Receipt, &key)? {
                Some(value) => rows.insert(key, value),
                None => return Ok((high, false)),
            };
        }
    }
    for key in rows.keys() {
        quarantine::take(&mut waiting, Waiting::Receipt, key)?;
    }
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|(key, value)| Row { key, value })
        .collect();
    let mut reviser = Reviser::new(RECEIPT_TILES, transaction, packer, usize::MAX)?;
    reviser.write(at, high.as_deref(), &rows, &lows, Spread::Even)?;
    reviser.done()?;
    Ok((high, true))
}
