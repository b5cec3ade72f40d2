//! A copy of everything from one moment, in pieces, and a file made from such a copy.

use std::ops::Bound;
use std::sync::Arc;

use anabranch_core::persist::Checkpoint;
use redb::{ReadTransaction, ReadableDatabase as _};

use super::Documents;
use super::tile::Tile;
use crate::disk::Disk;
use crate::engine::{Fault, Found, look};
use crate::meta::Meta;
use crate::seal::{Sealed, unseal};
use crate::shield::shielded;
use crate::tables::{DIRECTORY, Definition, META, QUARANTINE, RECEIPT_ORDER, RECEIPTS, TILES};

/// The tables in the order in which they are copied. `meta` comes last: a copy that was cut short has none, and is
/// nothing.
const TABLES: [(Definition, Sealed); 6] = [
    (TILES, Sealed::Tiles),
    (QUARANTINE, Sealed::Quarantine),
    (RECEIPTS, Sealed::Receipts),
    (RECEIPT_ORDER, Sealed::ReceiptOrder),
    (DIRECTORY, Sealed::Directory),
    (META, Sealed::Meta),
];

/// One row of a table, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CopiedRow {
    /// Which table, counted in the order of copying.
    pub(crate) table: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A walk over one view. It holds on to pages that folds would make use of again, so it should not take long.
pub(crate) struct Copying<'a> {
    documents: &'a Documents,
    view: ReadTransaction,
    generation: u64,
    table: u8,
    after: Option<Vec<u8>>,
}

impl Documents {
    /// Begins a copy of what is stored now.
    pub(crate) fn copy(&self) -> Result<Copying<'_>, Fault> {
        let running = self.running();
        let view = shielded(|| Ok(running.engine.database()?.begin_read()?))?;
        Ok(Copying {
            documents: self,
            view,
            generation: running.generation,
            table: 0,
            after: None,
        })
    }

    /// Makes a file on an empty disk from the rows of a copy. Nothing is in it before [`Loading::finish`].
    pub(crate) fn load(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<Loading, Fault> {
        if look(&*disk)? != Found::Nothing {
            let why = "a copy is loaded into an empty file only; choose another place";
            return Err(Fault::Engine(why.to_owned()));
        }
        Ok(Loading {
            documents: Self::start(disk, cache_bytes)?,
            ends: [const { Some(Vec::new()) }; 3],
        })
    }
}

impl Copying<'_> {
    /// The next rows, about so many bytes of them and one at least; none when all have been given.
    ///
    /// It fails when the engine was started again meanwhile: the copy is to be begun anew.
    pub(crate) fn next(&mut self, bytes_max: usize) -> Result<Vec<CopiedRow>, Fault> {
        // While this is held, the engine is not started again.
        let running = self.documents.running();
        if running.generation != self.generation {
            let why = "the storage engine was started again during a copy; begin the copy again";
            return Err(Fault::Engine(why.to_owned()));
        }
        shielded(|| self.take(bytes_max))
    }

    fn take(&mut self, bytes_max: usize) -> Result<Vec<CopiedRow>, Fault> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some((table, sealed)) = TABLES.get(usize::from(self.table)) {
            let open = self.view.open_table(*table)?;
            let from = self
                .after
                .as_deref()
                .map_or(Bound::Unbounded, Bound::Excluded);
            for row in open.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = row?;
                let copied = CopiedRow {
                    table: self.table,
                    key: key.value().to_vec(),
                    value: value.value().to_vec(),
                };
                if unseal(*sealed, &copied.key, &copied.value).is_none() {
                    return Err(Fault::damaged(format!(
                        "a row of the table {sealed:?} is not what was written"
                    )));
                }
                bytes += copied.key.len() + copied.value.len();
                rows.push(copied);
                if bytes >= bytes_max {
                    break;
                }
            }
            if bytes >= bytes_max {
                self.after = rows.last().map(|row| row.key.clone());
                return Ok(rows);
            }
            self.table += 1;
            self.after = None;
        }
        Ok(rows)
    }
}

/// A file that is being made from a copy.
pub(crate) struct Loading {
    documents: Documents,
    /// Up to where the tiles of documents, of receipts and of the directory go so far.
    ends: [Option<Vec<u8>>; 3],
}

impl Loading {
    /// Takes the next rows of a copy, in their order. What is not whole is refused.
    pub(crate) fn take(&mut self, rows: &[CopiedRow]) -> Result<(), Fault> {
        for row in rows {
            self.check(row)?;
        }
        self.documents.write(|_, transaction| {
            for row in rows {
                let (table, _) = TABLES[usize::from(row.table)];
                let mut table = transaction.open_table(table)?;
                table.insert(row.key.as_slice(), row.value.as_slice())?;
            }
            Ok(())
        })
    }

    fn check(&mut self, row: &CopiedRow) -> Result<(), Fault> {
        let refused = || Fault::damaged("a row of the copy is not what was written");
        let (_, sealed) = *TABLES.get(usize::from(row.table)).ok_or_else(refused)?;
        unseal(sealed, &row.key, &row.value).ok_or_else(refused)?;
        let end = match sealed {
            Sealed::Tiles => &mut self.ends[0],
            Sealed::Receipts => &mut self.ends[1],
            Sealed::Directory => &mut self.ends[2],
            Sealed::Quarantine | Sealed::ReceiptOrder | Sealed::Meta | Sealed::Witness => {
                return Ok(());
            }
        };
        if end.as_ref() != Some(&row.key) {
            return Err(Fault::damaged("rows of the copy are missing"));
        }
        *end = Tile::read(sealed, &row.key, &row.value)
            .ok_or_else(refused)?
            .high;
        Ok(())
    }

    /// Shows that the copy was whole. The checkpoint in it says from where the log is needed.
    pub(crate) fn finish(self) -> Result<Option<Checkpoint>, Fault> {
        if self.ends.iter().any(Option::is_some) {
            return Err(Fault::damaged("the end of the copy is missing"));
        }
        self.documents.write(|_, transaction| {
            for (table, _) in TABLES {
                transaction.open_table(table)?;
            }
            Ok(())
        })?;
        let meta = self.documents.view(|view| Ok(Meta::load(view)))?;
        let meta = meta.map_err(|error| Fault::damaged(error.to_string()))?;
        let meta = meta.ok_or_else(|| Fault::damaged("the copy has no meta table"))?;
        Ok(meta.checkpoint)
    }
}
