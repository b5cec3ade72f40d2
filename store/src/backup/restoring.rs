//! Makes a data directory from backups.
//!
//! It is made in place, since a data directory may well be a mount point, which nothing can be renamed to. So the first
//! thing in it is a marker, durable before all else, and the last step takes the marker away, once all else is durable. No
//! store is opened where the marker is. What a restore left that was killed, the next one clears away.
//!
//! The store that is made proves nothing to whoever opens it: it has no witness, and the identity of no medium. So it
//! goes on under a new incarnation, and nothing is ever written twice under one name.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_core::persist::{
    Checkpoint, DocumentRange, Fold, FoldId, LogRecord, Repair, StoredDocument, StoredReceipt,
};
use anabranch_core::{DocumentId, Lsn};

use super::chain;
use super::error::{ChainError, RestoreError};
use super::header::{Header, Summary};
use super::items::Item;
use super::reading::{Progress, Reading};
use crate::directory::{LOCK_FILE, lock, refused, sync_directory};
use crate::documents::Documents;
use crate::engine::Fault;
use crate::error::OpenError;
use crate::limits;
use crate::log::{Log, LogOptions, SEGMENT_BYTES};
use crate::medium::{FileMedium, Medium as _};
use crate::store::{DOCUMENTS_FILE, LOG_PREFIX};

/// In a data directory that is being made.
pub(crate) const MARKER_FILE: &str = "RESTORING";
/// Names a replica that has no certificate. It is the node's file, not the store's; but it goes with the data.
const REPLICA_FILE: &str = "replica-id";
/// What a file system may have put into its root.
const FOREIGN_DIRECTORY: &str = "lost+found";
const CACHE_BYTES: usize = 32 << 20;

/// A data directory that is being made. Dropped before it is finished, it clears away what it has made.
#[derive(Debug)]
pub struct Restoring {
    directory: PathBuf,
    /// Whether the directory was not there before.
    is_new: bool,
    /// None until the full backup comes.
    files: Option<Files>,
    chain: Vec<Summary>,
    finished: bool,
    _lock: File,
}

#[derive(Debug)]
struct Files {
    documents: Documents,
    log: Log,
    checkpoint: Option<Checkpoint>,
    log_first: Lsn,
    folds: u64,
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The backups, in order.
    pub chain: Vec<Summary>,
    /// Documents as the full backup had them. What the log brings comes when the node is started.
    pub documents: u64,
    /// Records of the log.
    pub records: u64,
    /// Of these, those that the node puts into documents when it is started.
    pub records_to_replay: u64,
}

impl Restoring {
    /// Begins in a directory that is empty, is not there yet, or is what an earlier restore left.
    ///
    /// # Errors
    /// When there is something in it, or it can't be used.
    pub fn begin(directory: &Path) -> Result<Self, RestoreError> {
        let is_new = !directory.exists();
        if !is_new {
            check_empty(directory)?;
        }
        fs::create_dir_all(directory).map_err(refused("create", directory))?;
        let lock = lock(directory)?;
        // Somebody may have been faster.
        check_empty(directory)?;
        let restoring = Self {
            directory: directory.to_owned(),
            is_new,
            files: None,
            chain: Vec::new(),
            finished: false,
            _lock: lock,
        };
        restoring.write_file(MARKER_FILE, b"a backup is being restored here\n")?;
        sync_directory(directory)?;
        restoring.clear()?;
        Ok(restoring)
    }

    /// Takes the next backup in: a full one first, then the incremental ones of its chain, in order.
    ///
    /// # Errors
    /// When it does not follow, is not whole, or the directory can't be written. Nothing is restored then.
    pub fn take(
        &mut self,
        input: impl Read,
        mut seen: impl FnMut(Progress),
    ) -> Result<Summary, RestoreError> {
        let mut reading = Reading::begin(input)?;
        let header = reading.header();
        let files = match (&mut self.files, header.base, self.chain.last()) {
            (None, None, _) => self.files.insert(Files::make(&self.directory, header)?),
            (None, Some(base), _) => {
                let (id, base) = (header.id.to_string(), base.id.to_string());
                return Err(ChainError::NoBase { id, base }.into());
            }
            (Some(files), Some(_), Some(before)) => {
                chain::follows(before, &reading.summary())?;
                files
            }
            (Some(_), _, _) => {
                let id = header.id.to_string();
                return Err(ChainError::Apart { id }.into());
            }
        };
        let mut slice = Slice::default();
        while let Some(item) = reading.next()? {
            slice.bytes += weight(&item);
            match item {
                Item::Log(record) => slice.records.push(record),
                Item::Document(id, document) => slice.documents.push((id, document)),
                Item::Receipt(receipt) => slice.receipts.push(receipt),
                Item::Checkpoint(checkpoint) => files.checkpoint = checkpoint,
            }
            if slice.bytes >= limits::RESTORE_SLICE_BYTES {
                files.write(std::mem::take(&mut slice))?;
            }
            seen(reading.progress());
        }
        files.write(slice)?;
        let summary = reading.summary();
        self.chain.push(summary.clone());
        Ok(summary)
    }

    /// Makes the directory one that can be opened.
    ///
    /// # Errors
    /// When no backup was taken in, or the directory can't be written.
    pub fn finish(mut self) -> Result<Restored, RestoreError> {
        let files = self.files.take().ok_or(ChainError::Nothing)?;
        let (Some(full), Some(last)) = (self.chain.first(), self.chain.last()) else {
            return Err(ChainError::Nothing.into());
        };
        let replay_from = full.header.replay_from.0;
        let restored = Restored {
            documents: full.totals.documents,
            records: self.chain.iter().map(|one| one.totals.records).sum(),
            records_to_replay: last
                .totals
                .log_end
                .0
                .saturating_add(1)
                .saturating_sub(replay_from),
            chain: self.chain.clone(),
        };
        if full.header.standalone {
            self.write_file(REPLICA_FILE, &full.header.replica)?;
        }
        files.close()?;
        sync_directory(&self.directory)?;
        fs::remove_file(self.directory.join(MARKER_FILE))?;
        self.finished = true;
        sync_directory(&self.directory)?;
        Ok(restored)
    }

    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), RestoreError> {
        let path = self.directory.join(name);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        Ok(written.map_err(refused("write", &path))?)
    }

    /// Takes away whatever a restore makes, but for the marker.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == DOCUMENTS_FILE || name == REPLICA_FILE || name.starts_with(LOG_PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.files = None;
        let cleared = self.clear().and_then(|()| {
            // While anything may be left of what was made, the marker says so.
            File::open(&self.directory)?.sync_all()?;
            fs::remove_file(self.directory.join(MARKER_FILE))?;
            fs::remove_file(self.directory.join(LOCK_FILE))?;
            match self.is_new {
                true => fs::remove_dir(&self.directory),
                false => Ok(()),
            }
        });
        if let Err(error) = cleared {
            tracing::debug!(%error, "what was restored in part is left; the next restore clears it away");
        }
    }
}

/// What an earlier restore left is as good as nothing.
fn check_empty(directory: &Path) -> Result<(), RestoreError> {
    let names = fs::read_dir(directory)
        .and_then(|entries| {
            let name = |entry: io::Result<fs::DirEntry>| {
                Ok(entry?.file_name().to_string_lossy().into_owned())
            };
            entries.map(name).collect::<io::Result<Vec<String>>>()
        })
        .map_err(refused("list", directory))?;
    if names.iter().any(|name| name == MARKER_FILE) {
        return Ok(());
    }
    let mut others = names.into_iter();
    match others.find(|name| name != LOCK_FILE && name != FOREIGN_DIRECTORY) {
        None => Ok(()),
        Some(name) => Err(RestoreError::NotEmpty {
            directory: directory.to_owned(),
            name,
        }),
    }
}

/// What is written at a time.
#[derive(Default)]
struct Slice {
    records: Vec<LogRecord>,
    documents: Vec<(DocumentId, StoredDocument)>,
    receipts: Vec<StoredReceipt>,
    bytes: usize,
}

fn weight(item: &Item) -> usize {
    const EACH: usize = 64;
    EACH + match item {
        Item::Log(record) => record.bytes.len(),
        Item::Document(id, document) => id.key.as_str().len() + document.bytes(),
        Item::Receipt(receipt) => receipt.bytes.len(),
        Item::Checkpoint(_) => 0,
    }
}

impl Files {
    fn make(directory: &Path, header: &Header) -> Result<Self, RestoreError> {
        let medium = Arc::new(FileMedium::new(directory));
        let disk = medium.open(DOCUMENTS_FILE)?;
        let (documents, _) = Documents::open(disk, CACHE_BYTES)?;
        // No medium has this one.
        let identity = format!("restored:{}", header.id);
        documents.begin(identity.as_bytes(), header.incarnation, true)?;
        medium.sync()?;
        let options = LogOptions {
            segment_bytes: SEGMENT_BYTES,
            released_before: header.log_first,
            reported_end: None,
        };
        let (log, _) = Log::open(medium, &options).map_err(OpenError::from)?;
        Ok(Self {
            documents,
            log,
            checkpoint: None,
            log_first: header.log_first,
            folds: 0,
        })
    }

    fn write(&mut self, slice: Slice) -> Result<(), RestoreError> {
        let Slice {
            records,
            documents,
            receipts,
            ..
        } = slice;
        if !records.is_empty() {
            self.log.append(records.iter())?;
            self.log.prepare()?;
        }
        if documents.is_empty() && receipts.is_empty() {
            return Ok(());
        }
        let mut fold = self.fold();
        // They come by rising id, so nothing is behind the first of them yet.
        fold.repair = documents
            .first()
            .map(|(first, _)| DocumentRange {
                from: (self.folds > 1).then(|| first.clone()),
                before: None,
            })
            .map(|range| Repair { range, documents });
        fold.receipts = receipts;
        self.carry_out(&fold)
    }

    fn fold(&mut self) -> Fold {
        self.folds += 1;
        Fold::new(FoldId(self.folds))
    }

    fn carry_out(&self, fold: &Fold) -> Result<(), RestoreError> {
        let folded = self
            .documents
            .fold(fold, |_| Err("nothing is compacted here".to_owned()))?;
        match folded.damaged.into_iter().next() {
            None => Ok(()),
            Some((range, what)) => Err(Fault::Damaged {
                range: Some(range),
                what,
            }
            .into()),
        }
    }

    /// What was written counts from now on.
    fn close(mut self) -> Result<(), RestoreError> {
        let mut fold = self.fold();
        fold.checkpoint = self.checkpoint.take();
        fold.release_before = Some(self.log_first);
        self.carry_out(&fold)
    }
}
