//! The store: opening and committing. Reading is in `fetch.rs`.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use anabranch_core::persist::{Checkpoint, Commit, Continuity, Recovery};
use anabranch_core::{Incarnation, Lsn};
use redb::{Durability, ReadTransaction, ReadableDatabase as _};

use crate::directory::Directory;
use crate::disk::Disk;
use crate::engine::{self, Engine, Fault, Found};
use crate::error::{CommitError, OpenError};
use crate::limits;
use crate::meta::MetaWriter;
use crate::opening::{Opening, begin, load, recover};
use crate::overlay::Overlay;
use crate::receipts;
use crate::seal::{Sealed, seal};
use crate::shield::shielded;
use crate::tables::{DOCUMENTS, LOG, META, document_key};
use crate::witness::{Testimony, Witness};

/// Buffers that rows are put together in keep at most this much between commits.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// An open store. All methods take `&self` and may be called from any thread; commits queue up.
pub struct Store {
    // Before the lock, so that it is closed before another process may open it.
    engine: RwLock<Engine>,
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    writer: Mutex<Writer>,
    /// First and last position of the log that were reported durable; 0 for an empty log.
    log_first: AtomicU64,
    log_end: AtomicU64,
    _lock: Option<File>,
}

struct Writer {
    closed: bool,
    /// The engine was started again for reading; once is enough.
    read_only: bool,
    /// What was reported last.
    reported: Testimony,
    witness: Option<Witness>,
    row: Vec<u8>,
    row_key: Vec<u8>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("log_end", &self.log_end)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store on a disk, making it when the disk is empty. What the recovery says is
    /// durable by the time this returns, a new incarnation included.
    ///
    /// # Errors
    /// When the disk fails, holds something else, or holds a store that is damaged or newer.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an opening is for one store: its fresh incarnation must not serve twice"
    )]
    pub fn open(disk: impl Disk, opening: Opening) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(disk), &opening, None, None)
    }

    /// Opens the store in a directory, making both when they are missing, and locks it against
    /// being opened again. A process that comes back continues the incarnation; a copy, a restored
    /// backup and a machine that has restarted begin a new one, `fresh`.
    ///
    /// # Errors
    /// As [`open`](Self::open); and when the directory is open elsewhere or can't be used.
    pub fn open_directory(
        path: &Path,
        fresh: Incarnation,
        cache_bytes: usize,
    ) -> Result<(Self, Recovery), OpenError> {
        let Directory {
            data,
            witness,
            identity,
            lock,
        } = Directory::open(path)?;
        // Where nothing can be proven, an identity that no opening will meet again.
        let identity = identity.unwrap_or_else(|| format!("unprovable:{fresh}").into_bytes());
        let opening = Opening {
            identity,
            fresh,
            cache_bytes,
            #[cfg(feature = "planted")]
            planted_trust: false,
        };
        Self::open_on(Arc::new(data), &opening, Some(witness), Some(lock))
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        opening: &Opening,
        witness: Option<Witness>,
        lock: Option<File>,
    ) -> Result<(Self, Recovery), OpenError> {
        if engine::look(&*disk).map_err(OpenError::Io)? == Found::Foreign {
            return Err(OpenError::Foreign);
        }
        let engine = shielded(|| engine::start(disk.clone(), opening.cache_bytes))?;
        let (meta, bounds) = shielded(|| Ok(load(&engine)))??;
        let testimony = match &witness {
            Some(witness) => witness.read().map_err(OpenError::Io)?,
            None => None,
        };
        let recovery = recover(
            opening,
            meta,
            bounds,
            witness.is_some().then_some(testimony),
        )?;
        if recovery.continuity != Continuity::Proven {
            shielded(|| begin(&engine, opening, recovery.continuity))?;
        }
        let reported = Testimony {
            incarnation: recovery.incarnation,
            log_end: recovery.log_end,
        };
        if let Some(witness) = &witness {
            witness.write(&reported).map_err(OpenError::Io)?;
        }
        let writer = Writer {
            closed: false,
            read_only: false,
            reported,
            witness,
            row: Vec::new(),
            row_key: Vec::new(),
        };
        let store = Self {
            engine: RwLock::new(engine),
            disk,
            cache_bytes: opening.cache_bytes,
            writer: Mutex::new(writer),
            log_first: AtomicU64::new(bounds.map_or(0, |bounds| bounds.first.0)),
            log_end: AtomicU64::new(bounds.map_or(0, |bounds| bounds.last.0)),
            _lock: lock,
        };
        Ok((store, recovery))
    }

    /// Makes all of it durable, as one transaction with one sync: all of it or nothing.
    ///
    /// # Errors
    /// When a commit is not one that can follow (nothing is written then), or when the disk or the
    /// engine fails: the outcome is unknown until the store is opened again, so from then on it
    /// takes no more commits.
    pub fn commit(&self, commits: &[Commit]) -> Result<(), CommitError> {
        // No panic passes while it is held, and `closed` covers what a failure leaves behind.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.closed {
            return Err(CommitError::Closed);
        }
        let log_end = check(commits, writer.reported.log_end)?;
        if commits.iter().all(is_empty) {
            return Ok(());
        }
        let written = shielded(|| self.write(commits, &mut writer));
        let reported = Testimony {
            incarnation: commits
                .iter()
                .rev()
                .find_map(|c| c.incarnation)
                .unwrap_or(writer.reported.incarnation),
            log_end,
        };
        if let Err(fault) = written.and_then(|()| writer.report(reported)) {
            tracing::error!(?fault, "a commit failed; the store takes no more");
            self.close(&mut writer, &fault);
            return Err(fault.into());
        }
        if let Some(first) = commits.iter().find_map(|commit| commit.log.first()) {
            // Set once: the log grows at its end only.
            let _ = self.log_first.compare_exchange(
                0,
                first.lsn.0,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
        self.log_end
            .store(log_end.map_or(0, |lsn| lsn.0), Ordering::Release);
        Ok(())
    }

    fn write(&self, commits: &[Commit], writer: &mut Writer) -> Result<(), Fault> {
        let Writer { row, row_key, .. } = writer;
        let mut transaction = self.engine().begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        if commits.iter().any(|commit| !commit.log.is_empty()) {
            let mut log = transaction.open_table(LOG)?;
            for record in commits.iter().flat_map(|commit| &commit.log) {
                seal(
                    Sealed::Log,
                    &record.lsn.0.to_le_bytes(),
                    &[&record.bytes],
                    row,
                );
                log.insert(record.lsn.0, row.as_slice())?;
            }
        }
        if commits.iter().any(|commit| !commit.documents.is_empty()) {
            let mut documents = transaction.open_table(DOCUMENTS)?;
            for (id, stored) in commits.iter().flat_map(|commit| &commit.documents) {
                document_key(id, row_key);
                seal(
                    Sealed::Documents,
                    row_key,
                    &[&[u8::from(stored.present)], &stored.state],
                    row,
                );
                documents.insert(row_key.as_slice(), row.as_slice())?;
            }
        }
        receipts::write(&transaction, commits, row)?;
        // Of these only the last one counts.
        let checkpoint = commits
            .iter()
            .rev()
            .find_map(|commit| commit.checkpoint.as_ref());
        let incarnation = commits.iter().rev().find_map(|commit| commit.incarnation);
        if checkpoint.is_some() || incarnation.is_some() {
            let mut meta = MetaWriter {
                table: transaction.open_table(META)?,
                row,
            };
            if checkpoint.is_some() {
                meta.checkpoint(checkpoint)?;
            }
            if let Some(incarnation) = incarnation {
                meta.incarnation(incarnation)?;
            }
        }
        transaction.commit()?;
        row.clear();
        row.shrink_to(SCRATCH_BYTES_MAX);
        Ok(())
    }

    /// A view of everything committed so far. Never kept between calls: it would pin old pages.
    pub(crate) fn view(&self) -> Result<ReadTransaction, Fault> {
        Ok(self.engine().begin_read()?)
    }

    fn engine(&self) -> RwLockReadGuard<'_, Engine> {
        // It is only ever replaced as a whole.
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// After an I/O error outside of a commit: the engine takes no more commits, so neither do we.
    pub(crate) fn close_after(&self, fault: &Fault) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !writer.read_only {
            tracing::error!(?fault, "the disk failed; the store takes no more commits");
            self.close(&mut writer, fault);
        }
    }

    /// Takes no more commits, and sees to it that reads go on: see `overlay.rs`. If the engine can't
    /// be started again, it still answers from its cache.
    fn close(&self, writer: &mut Writer, fault: &Fault) {
        writer.closed = true;
        if writer.read_only || !matches!(fault, Fault::Io(_)) {
            return;
        }
        writer.read_only = true;
        let started = shielded(|| {
            engine::start(Arc::new(Overlay::new(self.disk.clone())?), self.cache_bytes)
        });
        match started {
            Ok(engine) => {
                let old = &mut *self.engine.write().unwrap_or_else(PoisonError::into_inner);
                drop(std::mem::replace(old, engine));
            }
            Err(fault) => tracing::error!(?fault, "reads go on from memory alone"),
        }
    }

    /// First and last position that were reported durable. To be asked before a view is taken,
    /// which then holds at least as much.
    pub(crate) fn reported_log(&self) -> Option<(Lsn, Lsn)> {
        let end = self.log_end.load(Ordering::Acquire);
        let first = self.log_first.load(Ordering::Acquire);
        (end > 0).then_some((Lsn(first), Lsn(end)))
    }
}

impl Writer {
    fn report(&mut self, reported: Testimony) -> Result<(), Fault> {
        if let Some(witness) = &self.witness
            && reported != self.reported
        {
            // Not the engine's failure, so it need not be started again for reads.
            witness.write(&reported).map_err(|error| {
                Fault::Engine(format!(
                    "the witness beside the data can't be written: {error}"
                ))
            })?;
        }
        self.reported = reported;
        Ok(())
    }
}

fn is_empty(commit: &Commit) -> bool {
    let Commit {
        ticket: _,
        log,
        documents,
        checkpoint,
        incarnation,
        receipts,
        retain_receipts,
    } = commit;
    log.is_empty()
        && documents.is_empty()
        && checkpoint.is_none()
        && incarnation.is_none()
        && receipts.is_empty()
        && retain_receipts.is_none()
}

/// Whether the commits can follow a log that ends at `log_end`; where it ends then.
fn check(commits: &[Commit], mut log_end: Option<Lsn>) -> Result<Option<Lsn>, CommitError> {
    let fits = |len| {
        let max = limits::VALUE_BYTES_MAX;
        if len <= max {
            Ok(())
        } else {
            Err(CommitError::TooLarge { max, len })
        }
    };
    for commit in commits {
        for record in &commit.log {
            // An empty log may begin anywhere but at 0, which stands for no position.
            let expected = log_end.map_or(Lsn(record.lsn.0.max(1)), Lsn::next);
            if record.lsn != expected {
                return Err(CommitError::OutOfOrder {
                    expected,
                    found: record.lsn,
                });
            }
            log_end = Some(record.lsn);
            fits(record.bytes.len())?;
        }
        commit
            .documents
            .iter()
            .try_for_each(|(_, stored)| fits(stored.state.len()))?;
        commit
            .receipts
            .iter()
            .try_for_each(|receipt| fits(receipt.bytes.len()))?;
        commit
            .checkpoint
            .iter()
            .try_for_each(|checkpoint: &Checkpoint| fits(checkpoint.state.len()))?;
    }
    Ok(log_end)
}
