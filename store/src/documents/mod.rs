//! Documents, receipts and what the store knows of itself: all that lies in the engine's file.
//!
//! * `tile`, `packing`, `revision`: rows in sealed tiles that cover all keys, and how they are written anew.
//! * `record`: one document in a tile.
//! * `folding`, `reading`, `repair`, `tidying`: what is done with them.
//! * `quarantine`: what waits for a tile that can't be read.
//!
//! The engine is started again on the same disk after it has failed for want of room, and over an [`Overlay`], for
//! reading alone, after the disk has failed.

pub(crate) mod directory;
mod folding;
pub(crate) mod listed;
pub(crate) mod packing;
pub(crate) mod quarantine;
mod reading;
pub(crate) mod record;
mod repair;
pub(crate) mod revision;
#[cfg(test)]
mod tests;
mod tidying;
pub(crate) mod tile;
pub(crate) mod varint;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use anabranch_core::Incarnation;
use anabranch_core::persist::{ReceiptKey, StoredReceipt};
use redb::{
    Durability, ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _,
    WriteTransaction,
};

use self::listed::{DIRECTORY_TILES, DOCUMENT_TILES, RECEIPT_TILES, found_table};
use self::packing::{PAGE_ROW_BYTES, Packer};
use crate::disk::Disk;
use crate::engine::{Engine, Fault, Found, look};
use crate::error::OpenError;
use crate::limits;
use crate::meta::{Meta, MetaWriter};
use crate::overlay::Overlay;
use crate::receipts;
use crate::shield::shielded;
use crate::tables::{META, QUARANTINE};

/// The file of documents, open. All methods may be called from any thread; writers queue up.
pub(crate) struct Documents {
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    /// See [`in_slices_of`](Self::in_slices_of).
    slice_bytes: usize,
    running: RwLock<Running>,
    writer: Mutex<Writer>,
}

struct Running {
    engine: Engine,
    /// How often it was started.
    generation: u64,
}

struct Writer {
    mode: Mode,
    packer: Packer,
}

/// What the engine runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// The disk.
    Writing,
    /// An overlay, since there was no room to start on the disk; the next write tries again.
    Stalled,
    /// An overlay, since the disk failed. Nothing is written until the store is opened again.
    Closed,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Documents {
    /// Opens the file on a disk. No meta means that nothing was ever made in it: see [`begin`](Self::begin).
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        cache_bytes: usize,
    ) -> Result<(Self, Option<Meta>), OpenError> {
        if look(&*disk).map_err(Fault::from)? == Found::Foreign {
            return Err(OpenError::Foreign);
        }
        let documents = Self::start(disk, cache_bytes)?;
        let meta = documents.view(|view| Ok(Meta::load(view)))??;
        Ok((documents, meta))
    }

    fn start(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<Self, Fault> {
        let engine = shielded(|| Engine::start(disk.clone(), cache_bytes))?;
        Ok(Self {
            disk,
            cache_bytes,
            slice_bytes: limits::FOLD_SLICE_BYTES,
            running: RwLock::new(Running {
                engine,
                generation: 0,
            }),
            writer: Mutex::new(Writer {
                mode: Mode::Writing,
                packer: Packer::default(),
            }),
        })
    }

    /// With another bound for what a fold writes in one transaction than [`limits::FOLD_SLICE_BYTES`].
    pub(crate) fn in_slices_of(self, slice_bytes: usize) -> Self {
        Self {
            slice_bytes,
            ..self
        }
    }

    /// Makes identity and incarnation durable, and all tables with them when the file is new.
    pub(crate) fn begin(
        &self,
        identity: &[u8],
        incarnation: Incarnation,
        new: bool,
    ) -> Result<(), Fault> {
        self.write(|packer, transaction| {
            if new {
                found_table(DIRECTORY_TILES, transaction, packer)?;
                found_table(DOCUMENT_TILES, transaction, packer)?;
                transaction.open_table(QUARANTINE)?;
                receipts::found(transaction, packer)?;
            }
            let mut row = Vec::new();
            let mut meta = MetaWriter {
                table: transaction.open_table(META)?,
                row: &mut row,
            };
            meta.identity(identity)?;
            meta.incarnation(incarnation)?;
            if new {
                meta.format()?;
                meta.checkpoint(None)?;
                meta.released_before(anabranch_core::Lsn(0))?;
            }
            drop(meta);
            directory::list_meta(transaction, packer)
        })
    }

    /// Makes an incarnation durable in place of the one before.
    pub(crate) fn incarnation(&self, incarnation: Incarnation) -> Result<(), Fault> {
        self.write(|packer, transaction| {
            let mut row = Vec::new();
            let mut meta = MetaWriter {
                table: transaction.open_table(META)?,
                row: &mut row,
            };
            meta.incarnation(incarnation)?;
            drop(meta);
            directory::list_meta(transaction, packer)
        })
    }

    /// What the store knows of itself.
    pub(crate) fn meta(&self) -> Result<Meta, Fault> {
        let meta = self.read(|view| Ok(Meta::load(view)))?;
        let meta = meta.map_err(|error| Fault::damaged(error.to_string()))?;
        // It was there when this was opened.
        meta.ok_or_else(|| Fault::damaged("the meta table is gone"))
    }

    /// About how many bytes documents and receipts take.
    pub(crate) fn stored_bytes(&self) -> Result<u64, Fault> {
        self.read(|view| {
            let documents = view.open_table(DOCUMENT_TILES.table)?.len()?;
            let receipts = view.open_table(RECEIPT_TILES.table)?.len()?;
            Ok((documents + receipts) * PAGE_ROW_BYTES as u64)
        })
    }

    /// Receipts from a key on, by rising key, and where to go on if there may be more.
    pub(crate) fn receipts_from(
        &self,
        from: &[u8],
        bytes_max: usize,
    ) -> Result<(Vec<StoredReceipt>, Option<Vec<u8>>), Fault> {
        self.read(|view| receipts::page(view, from, bytes_max))
    }

    /// Looks a receipt up.
    pub(crate) fn receipt(&self, key: ReceiptKey) -> Result<Option<StoredReceipt>, Fault> {
        self.read(|view| receipts::find(view, key))
    }

    /// Answers from a view of all that was committed. When the disk fails, nothing is written any more.
    fn read<T>(&self, act: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let answered = self.view(act);
        if let Err(fault @ (Fault::Io(_) | Fault::Full(_))) = &answered {
            let mut writer = self.writer();
            match writer.mode {
                Mode::Writing => self.recover_from(fault, &mut writer),
                // The engine reads nothing more after an error, and the next read may be of something else.
                Mode::Stalled | Mode::Closed => self.exchange(|| self.start_overlaid()),
            }
        }
        answered
    }

    /// Lets `act` look at all that was committed. The engine is not started again meanwhile.
    fn view<T>(&self, act: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let running = self.running();
        shielded(|| act(&running.engine.database()?.begin_read()?))
    }

    /// One transaction, durable on return.
    fn transact<T>(
        &self,
        act: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let running = self.running();
        shielded(|| {
            let mut transaction = running.engine.database()?.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            // The next start needs no walk through the file, whatever happens to this process.
            transaction.set_quick_repair(true);
            let done = act(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// One transaction by itself.
    fn write<T>(
        &self,
        act: impl FnOnce(&mut Packer, &WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut writer = self.writer_ready()?;
        let done = self.transact(|transaction| act(&mut writer.packer, transaction));
        if let Err(fault) = &done {
            self.recover_from(fault, &mut writer);
        }
        done
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // No panic passes while it is held.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> RwLockReadGuard<'_, Running> {
        // It is only ever replaced as a whole.
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to write, if writing is possible at all.
    fn writer_ready(&self) -> Result<MutexGuard<'_, Writer>, Fault> {
        let mut writer = self.writer();
        if writer.mode == Mode::Stalled {
            self.restart(&mut writer)?;
        }
        if writer.mode == Mode::Closed {
            let why = "the disk failed before, so nothing is written; restart to recover";
            return Err(Fault::Engine(why.to_owned()));
        }
        Ok(writer)
    }

    /// After a failure: the engine takes nothing more, so it is started again.
    fn recover_from(&self, fault: &Fault, writer: &mut Writer) {
        match fault {
            Fault::Damaged { .. } => {
                // Nothing better can be done if it does not start.
                let _ = self.restart_if_possible(writer);
            }
            Fault::Full(_) | Fault::Engine(_) => {
                tracing::warn!(%fault, "writing documents failed; the storage engine is started again");
                // It says what became of it in the mode, and the next write tries again.
                let _ = self.restart(writer);
            }
            Fault::Io(_) => {
                tracing::error!(%fault, "the disk failed; no more documents are written");
                writer.mode = Mode::Closed;
                self.exchange(|| self.start_overlaid());
            }
        }
    }

    /// After damage: starts the engine again, so that it forgets what was left half done. It might not find its way
    /// into a damaged file; then the one that runs goes on.
    fn restart_if_possible(&self, writer: &mut Writer) -> Result<(), Fault> {
        match self.start_overlaid() {
            Ok(probe) => {
                drop(probe);
                self.restart(writer)
            }
            Err(fault) => {
                tracing::error!(%fault, "the documents' file would not open again; refill this replica from the others");
                Ok(())
            }
        }
    }

    /// Starts the engine on the disk again, or else over it, for reading alone.
    fn restart(&self, writer: &mut Writer) -> Result<(), Fault> {
        let mut failed = None;
        self.exchange(|| {
            let started = shielded(|| Engine::start(self.disk.clone(), self.cache_bytes));
            started.or_else(|fault| {
                failed = Some(fault);
                self.start_overlaid()
            })
        });
        let Some(fault) = failed else {
            writer.mode = Mode::Writing;
            return Ok(());
        };
        writer.mode = match fault {
            Fault::Io(_) => Mode::Closed,
            Fault::Full(_) | Fault::Damaged { .. } | Fault::Engine(_) => Mode::Stalled,
        };
        Err(fault)
    }

    fn start_overlaid(&self) -> Result<Engine, Fault> {
        shielded(|| Engine::start(Arc::new(Overlay::new(self.disk.clone())?), self.cache_bytes))
    }

    /// Waits for readers, stops the engine, and then starts another one.
    fn exchange(&self, start: impl FnOnce() -> Result<Engine, Fault>) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.generation += 1;
        running.engine = Engine::stopped();
        match start() {
            Ok(engine) => running.engine = engine,
            Err(fault) => {
                tracing::error!(%fault, "the storage engine does not start; no documents can be read");
            }
        }
    }
}
