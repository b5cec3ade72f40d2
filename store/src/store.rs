//! The store on files: opening, committing and folding. Fetching is in `fetch.rs`.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_core::persist::{
    Commit, Compact, Continuity, Fetch, Fetched, Fold, Recovery, StoreError,
};
use anabranch_core::{Incarnation, Lsn};

use crate::backup::MARKER_FILE;
use crate::directory::Directory;
use crate::documents::Documents;
use crate::engine::Fault;
use crate::error::{CommitError, OpenError};
use crate::hold::Holds;
use crate::log::{Log, LogFound, LogOptions};
use crate::medium::Medium;
use crate::meta::Meta;
use crate::opening::{Held, Opening, recover};
use crate::order;
use crate::seam::{Damage, Engine, Tended};
use crate::tending::Tending;
use crate::witness::{Testimony, Witness};

/// Documents, receipts, and what the store knows of itself.
pub(crate) const DOCUMENTS_FILE: &str = "documents.redb";
/// All of it, in format version 1.
const OLD_FILE: &str = "anabranch.redb";
/// How the names of the log's segments begin.
pub(crate) const LOG_PREFIX: &str = "log-";

/// An open store on files: a log for commits, and documents behind it. All methods take `&self` and may be called
/// from any thread; commits queue up, and so do folds, but neither waits for the other.
pub struct Store {
    pub(crate) log: Log,
    // Before the lock, so that it is closed before another process may open it.
    pub(crate) documents: Documents,
    pub(crate) compact: Compact,
    /// Who needs the log for longer than the folds do.
    pub(crate) holds: Holds,
    writer: Mutex<Writer>,
    tending: Mutex<Tending>,
    /// The last position of the log that was reported durable, 0 for an empty log: after a commit that failed there
    /// may be more.
    reported_end: AtomicU64,
    /// See [`Checkpoint`](anabranch_core::persist::Checkpoint).
    replay_from: AtomicU64,
    _lock: Option<File>,
}

struct Writer {
    closed: bool,
    /// What was reported last.
    reported: Testimony,
    witness: Option<Witness>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("log_end", &self.reported_end)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store on a medium, making it when the medium is empty. What the recovery says is
    /// durable by the time this returns, a new incarnation included.
    ///
    /// # Errors
    /// When the medium fails, holds something else, or holds a store that is damaged, older or newer.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an opening is for one store: its fresh incarnation must not serve twice"
    )]
    pub fn open(medium: impl Medium, opening: Opening) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(medium), &opening, None, None)
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
        compact: Compact,
        cache_bytes: usize,
    ) -> Result<(Self, Recovery), OpenError> {
        let Directory {
            medium,
            witness,
            identity,
            lock,
        } = Directory::open(path)?;
        // Where nothing can be proven, an identity that no opening will meet again.
        let identity = identity.unwrap_or_else(|| format!("unprovable:{fresh}").into_bytes());
        let opening = Opening {
            cache_bytes,
            ..Opening::new(identity, fresh, compact)
        };
        Self::open_on(Arc::new(medium), &opening, Some(witness), Some(lock))
    }

    fn open_on(
        medium: Arc<dyn Medium>,
        opening: &Opening,
        witness: Option<Witness>,
        lock: Option<File>,
    ) -> Result<(Self, Recovery), OpenError> {
        let has_log = look(&*medium)?;
        let disk = medium.open(DOCUMENTS_FILE).map_err(OpenError::io)?;
        let (documents, meta) = Documents::open(disk, opening.cache_bytes)?;
        let documents = documents.in_slices_of(opening.fold_slice_bytes);
        if meta.is_none() {
            if has_log {
                return Err(lost_documents());
            }
            // Before the log takes anything: a log without documents is never one that was just begun.
            documents.begin(&opening.identity, opening.fresh, true)?;
        }
        // The name of the documents is durable before that of any segment, too.
        medium.sync().map_err(OpenError::io)?;
        let testimony = match &witness {
            Some(witness) => Some(witness.read().map_err(OpenError::io)?),
            None => None,
        };
        let options = log_options(opening, meta.as_ref(), testimony.flatten());
        let (log, found) = Log::open(medium, &options)?;
        let held = meta.map(|meta| held(meta, &found, testimony));
        let recovery = recover(opening, held.as_ref())?;
        if recovery.continuity == Continuity::Broken {
            documents.begin(&opening.identity, recovery.incarnation, false)?;
        }
        let reported = Testimony {
            incarnation: recovery.incarnation,
            log_end: recovery.log_end,
        };
        if let Some(witness) = &witness {
            witness.write(&reported).map_err(OpenError::io)?;
        }
        let checkpoint = recovery.checkpoint.as_ref();
        let store = Self {
            log,
            documents,
            compact: opening.compact,
            holds: Holds::default(),
            tending: Mutex::new(Tending::new(damage(&found))),
            reported_end: AtomicU64::new(position(reported.log_end)),
            replay_from: AtomicU64::new(checkpoint.map_or(1, |to| to.replay_from.0)),
            writer: Mutex::new(Writer {
                closed: false,
                reported,
                witness,
            }),
            _lock: lock,
        };
        Ok((store, recovery))
    }

    /// Makes all of it durable, with one write and one sync: all of it or nothing.
    ///
    /// # Errors
    /// When a commit is not one that can follow, or there is no room: nothing is written then, and another may
    /// be. When the disk fails: the outcome is unknown until the store is opened again, so from then on it
    /// takes no more commits.
    pub fn commit(&self, commits: &[Commit]) -> Result<(), CommitError> {
        // No panic passes while it is held, and `closed` covers what a failure leaves behind.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.closed {
            return Err(CommitError::Closed);
        }
        let log_end = order::check(commits, writer.reported.log_end)?;
        let written = self.write(commits, log_end, &mut writer);
        match written {
            Ok(()) => {
                let end = position(log_end);
                self.reported_end.store(end, Ordering::Release);
                Ok(())
            }
            Err(Fault::Full(error)) => {
                self.make_room();
                Err(CommitError::Full(Arc::new(error)))
            }
            Err(fault) => {
                tracing::error!(%fault, "a commit failed; the store takes no more");
                writer.closed = true;
                Err(fault.into())
            }
        }
    }

    fn write(
        &self,
        commits: &[Commit],
        log_end: Option<Lsn>,
        writer: &mut Writer,
    ) -> Result<(), Fault> {
        // First: a record that was written under an incarnation is never there without it. Of several only the
        // last one counts.
        if let Some(incarnation) = commits.iter().rev().find_map(|commit| commit.incarnation) {
            self.documents.incarnation(incarnation)?;
            writer.report(Testimony {
                incarnation,
                ..writer.reported
            })?;
        }
        if log_end == writer.reported.log_end {
            return Ok(());
        }
        self.log
            .append(commits.iter().flat_map(|commit| &commit.log))?;
        writer.report(Testimony {
            log_end,
            ..writer.reported
        })
    }

    /// Moves changes to their documents, compacts them, and lets go of what the log need not keep.
    ///
    /// # Errors
    /// When there is no room: it may be tried again. When the disk fails: no more documents are written until the
    /// store is opened again. Commits go on.
    pub fn fold(&self, fold: &Fold) -> Result<(), StoreError> {
        order::check_fold(fold, Lsn(self.replay_from.load(Ordering::Acquire)))?;
        let folded = self
            .documents
            .fold(fold, self.compact)
            .inspect_err(|fault| {
                if matches!(fault, Fault::Full(_)) {
                    self.make_room();
                }
            })?;
        for (id, why) in &folded.uncompacted {
            tracing::warn!(%id, why, "a document can't be compacted; it is kept as it is");
        }
        if let Some(checkpoint) = &fold.checkpoint {
            let replay_from = checkpoint.replay_from.0;
            self.replay_from.store(replay_from, Ordering::Release);
        }
        if let Some(before) = fold.release_before {
            self.holds.release(before, self.log.bytes());
            self.release_log();
        }
        let damaged = folded.damaged.into_iter().map(|(range, what)| Damage {
            range: Some(range),
            what,
        });
        self.tending().folded(fold.compact, damaged);
        Ok(())
    }

    /// Lets go of what nobody needs of the log.
    pub(crate) fn release_log(&self) {
        if let Err(fault) = self.log.release_before(self.holds.allowed()) {
            // That they may go is durable, so the next opening lets them go.
            tracing::warn!(%fault, "segments of the log that are of no more use could not be let go");
        }
    }

    /// The disk is full: writing comes before whatever else needs room.
    fn make_room(&self) {
        if self.holds.let_all_go() {
            tracing::warn!("the disk is full: a backup under way is given up, to make room");
            self.release_log();
        }
    }

    /// Somebody has come across something that can't be read.
    pub(crate) fn note_damage(&self, damage: Damage) {
        self.tending().note(damage);
    }

    /// The last position that was reported durable. To be asked before the log is read.
    pub(crate) fn reported_end(&self) -> Lsn {
        Lsn(self.reported_end.load(Ordering::Acquire))
    }

    fn tending(&self) -> std::sync::MutexGuard<'_, Tending> {
        // Each change of it is whole.
        self.tending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the records of the log take on the disk.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Positions of records that can't be read, as far as anybody came across them.
    #[must_use]
    pub fn damaged_records(&self) -> Vec<RangeInclusive<Lsn>> {
        self.log.damaged()
    }
}

impl Engine for Store {
    fn commit(&self, commits: &[Commit]) -> Result<(), CommitError> {
        Self::commit(self, commits)
    }

    fn prepare(&self) {
        if let Err(fault) = self.log.prepare() {
            tracing::warn!(%fault, "the next segment of the log could not be made ready");
        }
    }

    fn fold(&self, fold: &Fold) -> Result<(), StoreError> {
        Self::fold(self, fold)
    }

    fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        Self::fetch(self, fetch)
    }

    fn tend(&self, mono_ms: u64) -> Tended {
        self.tending().tend(self, mono_ms)
    }
}

impl Writer {
    fn report(&mut self, reported: Testimony) -> Result<(), Fault> {
        if let Some(witness) = &self.witness
            && reported != self.reported
        {
            // Not a full disk, whatever it says: the record is there, so it can't be tried again.
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

/// Looks at the names on a medium before anything is made there. Whether there is a log.
pub(crate) fn look(medium: &dyn Medium) -> Result<bool, OpenError> {
    let names = medium.names().map_err(OpenError::io)?;
    if names.iter().any(|name| name == MARKER_FILE) {
        return Err(OpenError::HalfRestored);
    }
    if names.iter().any(|name| name == OLD_FILE) {
        return Err(OpenError::OldFormat { file: OLD_FILE });
    }
    let has_log = names.iter().any(|name| name.starts_with(LOG_PREFIX));
    if has_log && !names.iter().any(|name| name == DOCUMENTS_FILE) {
        return Err(lost_documents());
    }
    Ok(has_log)
}

fn lost_documents() -> OpenError {
    let what = format!("there is a log, but nothing in {DOCUMENTS_FILE}");
    OpenError::Damaged { what }
}

fn log_options(opening: &Opening, meta: Option<&Meta>, said: Option<Testimony>) -> LogOptions {
    let said = said.filter(|said| meta.is_some_and(|meta| meta.incarnation == said.incarnation));
    // What is in the documents was in the log before.
    let folded = meta
        .and_then(|meta| meta.checkpoint.as_ref())
        .map(|to| Lsn(to.replay_from.0.saturating_sub(1)));
    LogOptions {
        segment_bytes: opening.log_segment_bytes,
        released_before: meta.map_or(Lsn(0), |meta| meta.released_before),
        reported_end: said
            .and_then(|said| said.log_end)
            .max(folded)
            .filter(|lsn| lsn.0 > 0),
    }
}

fn held(meta: Meta, found: &LogFound, testimony: Option<Option<Testimony>>) -> Held {
    let replay_from = meta.checkpoint.as_ref().map_or(Lsn(1), |to| to.replay_from);
    Held {
        identity: meta.identity,
        incarnation: meta.incarnation,
        // What was folded is in the documents; what is missing before that is missing for others only.
        log_lost: found.lost.iter().any(|lost| *lost.end() >= replay_from),
        checkpoint: meta.checkpoint,
        log_first: found.first,
        log_end: found.end,
        testimony,
    }
}

/// What opening the log has found amiss, for people.
fn damage(found: &LogFound) -> Vec<Damage> {
    let records = found.lost.iter().map(|lost| {
        format!(
            "records {} to {} of the log can't be read",
            lost.start().0,
            lost.end().0
        )
    });
    let files = found.unreadable.iter();
    let files = files.map(|name| format!("nobody can say what was in the log's file {name}"));
    records
        .chain(files)
        .map(|what| Damage { range: None, what })
        .collect()
}

fn position(lsn: Option<Lsn>) -> u64 {
    lsn.map_or(0, |lsn| lsn.0)
}
