//! Receipts: what is remembered of writes, by key, and the order in which they are forgotten.
//!
//! ```text
//! receipts       key:16          -> lsn:8  time_ms:8  bytes
//! receipt order  lsn:8 key:16    -> time_ms:8             the position big-endian, so that it sorts
//! ```

use std::ops::Bound;

use anabranch_core::Lsn;
use anabranch_core::limits::RECEIPTS_FORGOTTEN_PER_COMMIT_MAX;
use anabranch_core::persist::{Commit, ReceiptKey, Retention, StoredReceipt};
use bytes::Bytes;
use redb::{
    ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, Table, WriteTransaction,
};

use crate::absence;
use crate::engine::Fault;
use crate::seal::{Sealed, seal, unseal};
use crate::tables::{RECEIPT_ORDER, RECEIPTS};

const ORDER_BYTES: usize = 8 + 16;

fn damaged() -> Fault {
    Fault::Damaged("a receipt is not what was written".to_owned())
}

fn order_key(lsn: Lsn, key: ReceiptKey) -> [u8; ORDER_BYTES] {
    let mut row_key = [0; ORDER_BYTES];
    row_key[..8].copy_from_slice(&lsn.0.to_be_bytes());
    row_key[8..].copy_from_slice(&key.0);
    row_key
}

fn decode(key: ReceiptKey, row: &[u8]) -> Option<StoredReceipt> {
    let value = unseal(Sealed::Receipts, &key.0, row)?;
    let (lsn, value) = value.split_first_chunk::<8>()?;
    let (time_ms, bytes) = value.split_first_chunk::<8>()?;
    Some(StoredReceipt {
        key,
        lsn: Lsn(u64::from_le_bytes(*lsn)),
        time_ms: u64::from_le_bytes(*time_ms),
        bytes: Bytes::copy_from_slice(bytes),
    })
}

/// Looks a receipt up. That there is none is shown, not assumed: a write would be done twice.
pub(crate) fn find(
    view: &ReadTransaction,
    key: ReceiptKey,
) -> Result<Option<StoredReceipt>, Fault> {
    let receipts = view.open_table(RECEIPTS)?;
    if let Some(row) = receipts.get(&key.0[..])? {
        return decode(key, row.value()).map(Some).ok_or_else(damaged);
    }
    let start = Bound::Included(&key.0[..]);
    absence::prove(Sealed::Receipts, &receipts, start, Some(&key.0[..]), 0)?;
    Ok(None)
}

type Rows<'transaction> = Table<'transaction, &'static [u8], &'static [u8]>;

/// Both tables inside a write transaction.
struct Receipts<'transaction, 'row> {
    by_key: Rows<'transaction>,
    order: Rows<'transaction>,
    /// Where rows are put together.
    row: &'row mut Vec<u8>,
}

/// Writes the receipts of a group of commits, and forgets what they say is to be forgotten.
pub(crate) fn write(
    transaction: &WriteTransaction,
    commits: &[Commit],
    row: &mut Vec<u8>,
) -> Result<(), Fault> {
    let asked = || commits.iter().filter_map(|commit| commit.retain_receipts);
    if asked().next().is_none() && commits.iter().all(|commit| commit.receipts.is_empty()) {
        return Ok(());
    }
    let mut receipts = Receipts {
        by_key: transaction.open_table(RECEIPTS)?,
        order: transaction.open_table(RECEIPT_ORDER)?,
        row,
    };
    for receipt in commits.iter().flat_map(|commit| &commit.receipts) {
        receipts.put(receipt)?;
    }
    // The last one is the newest; the work is that of all of them.
    match asked().last() {
        Some(retention) => receipts.forget(retention, asked().count()),
        None => Ok(()),
    }
}

impl Receipts<'_, '_> {
    fn put(&mut self, receipt: &StoredReceipt) -> Result<(), Fault> {
        let key = receipt.key;
        let before = match self.by_key.get(&key.0[..])? {
            Some(row) => Some(decode(key, row.value()).ok_or_else(damaged)?.lsn),
            None => None,
        };
        if let Some(before) = before {
            self.order.remove(&order_key(before, key)[..])?;
        }
        let (lsn, time) = (receipt.lsn.0.to_le_bytes(), receipt.time_ms.to_le_bytes());
        let parts = [&lsn[..], &time[..], &receipt.bytes[..]];
        seal(Sealed::Receipts, &key.0, &parts, self.row);
        self.by_key.insert(&key.0[..], self.row.as_slice())?;
        let order_key = order_key(receipt.lsn, key);
        seal(Sealed::ReceiptOrder, &order_key, &[&time[..]], self.row);
        self.order.insert(&order_key[..], self.row.as_slice())?;
        Ok(())
    }

    fn forget(&mut self, retention: Retention, commits: usize) -> Result<(), Fault> {
        let most = RECEIPTS_FORGOTTEN_PER_COMMIT_MAX.saturating_mul(commits);
        let mut surplus = self.by_key.len()?.saturating_sub(retention.count_max);
        let mut old = Vec::new();
        for row in self.order.range::<&[u8]>(..)?.take(most) {
            let (row_key, row) = row?;
            let row_key: [u8; ORDER_BYTES] = row_key.value().try_into().map_err(|_| damaged())?;
            let time = unseal(Sealed::ReceiptOrder, &row_key, row.value());
            let time = time
                .and_then(|time| time.try_into().ok())
                .ok_or_else(damaged)?;
            if surplus == 0 && u64::from_le_bytes(time) >= retention.not_before_ms {
                break;
            }
            surplus = surplus.saturating_sub(1);
            old.push(row_key);
        }
        for row_key in old {
            self.order.remove(&row_key[..])?;
            self.by_key.remove(&row_key[8..])?;
        }
        Ok(())
    }
}
