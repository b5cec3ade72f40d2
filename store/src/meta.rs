//! What the store knows of itself: the rows of the `meta` table.
//!
//! All rows are always there, so a missing one is damage and never a default.

use anabranch_core::persist::Checkpoint;
use anabranch_core::{Incarnation, Lsn};
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _};

use crate::documents::directory;
use crate::engine::Fault;
use crate::error::OpenError;
use crate::seal::{Sealed, seal, unseal};
use crate::tables::{META, RowsMut};

/// The format that this version writes and reads.
pub(crate) const FORMAT: u32 = 2;

const FORMAT_ROW: &str = "format";
const IDENTITY_ROW: &str = "identity";
const INCARNATION_ROW: &str = "incarnation";
const CHECKPOINT_ROW: &str = "checkpoint";
const RELEASED_ROW: &str = "released before";
const ROWS: u64 = 5;

/// All of it.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) identity: Vec<u8>,
    pub(crate) incarnation: Incarnation,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Records of the log before this one are of no more use.
    pub(crate) released_before: Lsn,
}

impl Meta {
    /// Nothing for a database in which nothing was ever made.
    pub(crate) fn load(transaction: &ReadTransaction) -> Result<Option<Self>, OpenError> {
        let tables = transaction.list_tables().map_err(Fault::from)?.count();
        let multimaps = transaction
            .list_multimap_tables()
            .map_err(Fault::from)?
            .count();
        if tables + multimaps == 0 {
            return Ok(None);
        }
        let table = match transaction.open_table(META) {
            Ok(table) => table,
            Err(redb::TableError::Storage(error)) => return Err(Fault::from(error).into()),
            Err(_) => return Err(OpenError::Foreign),
        };
        if table
            .get(FORMAT_ROW.as_bytes())
            .map_err(Fault::from)?
            .is_none()
        {
            return Err(OpenError::Foreign);
        }
        // First of all: a later version may lay out everything else in another way.
        let format = u32::from_le_bytes(fixed(FORMAT_ROW, &value(&table, FORMAT_ROW)?)?);
        if format > FORMAT {
            return Err(OpenError::NewerFormat {
                found: format,
                known: FORMAT,
            });
        }
        if format != FORMAT || table.len().map_err(Fault::from)? != ROWS {
            return Err(damaged("the rows of meta").into());
        }
        if !directory::lists_meta(transaction, &table)? {
            return Err(damaged("the newest version").into());
        }
        Ok(Some(Self {
            identity: value(&table, IDENTITY_ROW)?,
            incarnation: Incarnation(u64::from_le_bytes(fixed(
                INCARNATION_ROW,
                &value(&table, INCARNATION_ROW)?,
            )?)),
            checkpoint: decode_checkpoint(&value(&table, CHECKPOINT_ROW)?)?,
            released_before: Lsn(u64::from_le_bytes(fixed(
                RELEASED_ROW,
                &value(&table, RELEASED_ROW)?,
            )?)),
        }))
    }
}

fn damaged(what: &str) -> Fault {
    Fault::damaged(format!("{what} in the meta table is not what was written"))
}

fn fixed<const N: usize>(row: &str, value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| damaged(row))
}

fn value(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    row: &str,
) -> Result<Vec<u8>, Fault> {
    let guard = table.get(row.as_bytes())?.ok_or_else(|| damaged(row))?;
    let value = unseal(Sealed::Meta, row.as_bytes(), guard.value()).ok_or_else(|| damaged(row))?;
    Ok(value.to_vec())
}

fn decode_checkpoint(value: &[u8]) -> Result<Option<Checkpoint>, Fault> {
    if value.is_empty() {
        return Ok(None);
    }
    let (replay_from, state) = value
        .split_first_chunk::<8>()
        .ok_or_else(|| damaged(CHECKPOINT_ROW))?;
    let replay_from = Lsn(u64::from_le_bytes(*replay_from));
    Ok(Some(Checkpoint {
        replay_from,
        state: Bytes::copy_from_slice(state),
    }))
}

/// The `meta` table inside a write transaction.
pub(crate) struct MetaWriter<'transaction, 'row> {
    pub(crate) table: RowsMut<'transaction>,
    /// Where rows are put together.
    pub(crate) row: &'row mut Vec<u8>,
}

impl MetaWriter<'_, '_> {
    fn write(&mut self, row: &str, parts: &[&[u8]]) -> Result<(), Fault> {
        seal(Sealed::Meta, row.as_bytes(), parts, self.row);
        self.table.insert(row.as_bytes(), self.row.as_slice())?;
        Ok(())
    }

    pub(crate) fn format(&mut self) -> Result<(), Fault> {
        self.write(FORMAT_ROW, &[&FORMAT.to_le_bytes()])
    }

    pub(crate) fn identity(&mut self, identity: &[u8]) -> Result<(), Fault> {
        self.write(IDENTITY_ROW, &[identity])
    }

    pub(crate) fn incarnation(&mut self, incarnation: Incarnation) -> Result<(), Fault> {
        self.write(INCARNATION_ROW, &[&incarnation.0.to_le_bytes()])
    }

    pub(crate) fn checkpoint(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Fault> {
        match checkpoint {
            Some(checkpoint) => {
                let replay_from = checkpoint.replay_from.0.to_le_bytes();
                self.write(CHECKPOINT_ROW, &[&replay_from, &checkpoint.state])
            }
            None => self.write(CHECKPOINT_ROW, &[]),
        }
    }

    pub(crate) fn released_before(&mut self, lsn: Lsn) -> Result<(), Fault> {
        self.write(RELEASED_ROW, &[&lsn.0.to_le_bytes()])
    }
}
