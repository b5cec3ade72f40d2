//! Takes a backup out of a running store.

use std::io::Write;
use std::sync::Arc;

use anabranch_core::persist::{Checkpoint, StoreError};
use anabranch_core::{DocumentId, Lsn};

use super::error::BackupError;
use super::header::{BackupId, Base, Header, Mark, RecordCheck, Summary, Totals};
use super::items::{Item, ItemWriter};
use crate::engine::Fault;
use crate::limits;
use crate::seam::Damage;
use crate::store::Store;

/// Of the log, what goes into a full backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogShare {
    /// Everything that is kept: whoever has fallen behind can catch up from the restored node as from this one.
    #[default]
    All,
    /// What completes the documents.
    Tail,
}

/// What backup is wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// Drawn at random.
    pub id: BackupId,
    /// Now, by the wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// The node's name; for people.
    pub name: String,
    /// The replica's id.
    pub replica: [u8; 16],
    /// Whether the id is kept in a file beside the data, and not in a certificate.
    pub standalone: bool,
    /// What to go on from; none for a full one.
    pub since: Option<Mark>,
    /// For a full one.
    pub log: LogShare,
    /// The log may grow to so many bytes while it is held on to; beyond that the backup gives way.
    pub log_bytes_max: u64,
}

/// A backup that is possible, and not written yet. The log is held on to for as long as it is there.
#[derive(Debug)]
pub struct Backing {
    hold: Hold,
    header: Header,
    /// Absent for an incremental one.
    full: Option<Full>,
}

#[derive(Debug)]
struct Full {
    checkpoint: Option<Checkpoint>,
}

#[derive(Debug)]
struct Hold {
    store: Arc<Store>,
    id: u64,
}

impl Hold {
    fn advance(&self, from: Lsn) -> Result<(), BackupError> {
        match self.store.holds.advance(self.id, from) {
            true => Ok(()),
            false => Err(BackupError::LetGo),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.store.holds.let_go(self.id);
        self.store.release_log();
    }
}

impl Store {
    /// Begins a backup: from here on the log is held on to.
    ///
    /// # Errors
    /// When it can't go on from the earlier one, or the store can't be read.
    pub fn back_up(self: &Arc<Self>, order: Order) -> Result<Backing, BackupError> {
        let hold = Hold {
            store: self.clone(),
            id: self.holds.take(order.log_bytes_max),
        };
        // Read when nothing is released any more, so all from there on is there.
        let meta = self.documents.meta().map_err(damaged)?;
        let replay_from = meta.checkpoint.as_ref().map_or(Lsn(1), |to| to.replay_from);
        let mut header = Header {
            id: order.id,
            time_ms: order.time_ms,
            name: order.name,
            replica: order.replica,
            standalone: order.standalone,
            incarnation: meta.incarnation,
            log_first: replay_from,
            replay_from,
            expected_bytes: Summary::FRAMED_BYTES,
            base: None,
        };
        if let Some(since) = &order.since {
            self.check_since(since, &header)?;
            header.log_first = since.log_end.next();
            header.replay_from = Lsn(0);
            header.base = Some(Base {
                id: since.id,
                log_end: since.log_end,
                log_check: since.log_check,
            });
        } else {
            if order.log == LogShare::All {
                let first = self.log.bounds().map_or(replay_from, |(first, _)| first);
                header.log_first = first.max(meta.released_before).max(Lsn(1)).min(replay_from);
            }
            header.expected_bytes += self.documents.stored_bytes().map_err(damaged)?;
        }
        header.expected_bytes += self.log.bytes_from(header.log_first);
        hold.advance(header.log_first)?;
        let checkpoint = meta.checkpoint;
        let full = order.since.is_none().then_some(Full { checkpoint });
        Ok(Backing { hold, header, full })
    }

    /// Whether an earlier backup ends on this very log, and the log goes on from there.
    fn check_since(&self, since: &Mark, now: &Header) -> Result<(), BackupError> {
        let refused = |why: String| Err(BackupError::NotSince { why });
        if since.replica != now.replica {
            return refused("the earlier backup is of another node".to_owned());
        }
        if since.incarnation != now.incarnation {
            return refused(
                "the node writes under a new incarnation since the earlier backup (its machine has restarted, or its data was \
                 copied or restored), so nothing proves that its log goes on from there"
                    .to_owned(),
            );
        }
        let (at, end) = (since.log_end, self.reported_end());
        if at > end {
            return refused(format!(
                "the earlier backup ends at record {}, and the log at {}: its data went back in time",
                at.0, end.0
            ));
        }
        if at == Lsn(0) {
            return match self.log.bounds() {
                Some((first, _)) if first > Lsn(1) => refused(released(at, first)),
                Some(_) | None => Ok(()),
            };
        }
        match self.record_check(at).map_err(damaged)? {
            Some(check) if check == since.log_check => Ok(()),
            Some(_) => refused(format!(
                "record {} of the log is not the one that the earlier backup ends with: its data went back in time",
                at.0
            )),
            None => {
                let first = self.log.bounds().map_or(end.next(), |(first, _)| first);
                refused(released(at, first))
            }
        }
    }

    /// Of one record; none if it is not there any more.
    fn record_check(&self, lsn: Lsn) -> Result<Option<RecordCheck>, Fault> {
        if lsn == Lsn(0) {
            return Ok(None);
        }
        let records = self.log.read(lsn, 1)?;
        let record = records.first().filter(|record| record.lsn == lsn);
        Ok(record.map(|record| RecordCheck::of(lsn, &record.bytes)))
    }
}

fn released(at: Lsn, first: Lsn) -> String {
    format!(
        "the earlier backup ends at record {}, and the log reaches back to {} only",
        at.0, first.0
    )
}

fn damaged(fault: impl Into<Fault>) -> BackupError {
    BackupError::Store(StoreError::from(fault.into()))
}

impl Backing {
    /// What it will say of itself at its beginning.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Writes it. Takes as long as `out` does; what it costs besides is reading.
    ///
    /// # Errors
    /// When something can't be read, the log had to be let go, or `out` fails. What was written is no backup then.
    pub fn write(self, out: impl Write) -> Result<Summary, BackupError> {
        let mut taking = Taking {
            out: ItemWriter::begin(out, &self.header.encode())?,
            totals: Totals {
                log_end: Lsn(self.header.log_first.0 - 1),
                ..Totals::default()
            },
            hold: self.hold,
            header: self.header,
        };
        if let Some(base) = &taking.header.base {
            taking.totals.log_check = base.log_check;
        }
        if let Some(full) = self.full {
            let replay_from = taking.header.replay_from;
            taking.log(Lsn(replay_from.0 - 1), true)?;
            taking.documents()?;
            taking.receipts()?;
            taking.out.item(&Item::Checkpoint(full.checkpoint))?;
        }
        // After the documents: nothing in them is later than this.
        let end = taking.hold.store.reported_end();
        taking.log(end, false)?;
        taking.finish()
    }
}

struct Taking<W> {
    hold: Hold,
    header: Header,
    out: ItemWriter<W>,
    totals: Totals,
}

impl<W: Write> Taking<W> {
    /// The log up to a record.
    fn log(&mut self, through: Lsn, tail_helps: bool) -> Result<(), BackupError> {
        while self.totals.log_end < through {
            let next = self.totals.log_end.next();
            self.hold.advance(next)?;
            let read = self.hold.store.log.read(next, limits::BACKUP_PAGE_BYTES);
            let records = read.map_err(damaged)?;
            // What was read is there now; but if it had been let go before, something else could be.
            self.hold.advance(next)?;
            let mut expected = next;
            for record in records {
                if record.lsn > through {
                    break;
                }
                if record.lsn != expected {
                    let lost = expected..=Lsn(record.lsn.0 - 1);
                    return Err(BackupError::LogLost { lost, tail_helps });
                }
                expected = expected.next();
                self.totals.records += 1;
                self.totals.log_end = record.lsn;
                self.totals.log_check = RecordCheck::of(record.lsn, &record.bytes);
                self.out.item(&Item::Log(record))?;
            }
            if expected == next {
                let lost = next..=through;
                return Err(BackupError::LogLost { lost, tail_helps });
            }
            self.out.hand_over()?;
        }
        Ok(())
    }

    /// In pages, each with a view of its own: a long one would pin every page that is replaced meanwhile.
    fn documents(&mut self) -> Result<(), BackupError> {
        let mut after: Option<DocumentId> = None;
        loop {
            let page = self
                .hold
                .store
                .documents
                .after(after.as_ref(), limits::BACKUP_PAGE_BYTES);
            let (documents, more) = page.map_err(|fault| self.unreadable(fault))?;
            after = documents.last().map(|(id, _)| id.clone());
            for (id, document) in documents {
                self.totals.documents += 1;
                self.out.item(&Item::Document(id, document))?;
            }
            self.out.hand_over()?;
            self.hold.advance(self.totals.log_end.next())?;
            if !more || after.is_none() {
                return Ok(());
            }
        }
    }

    fn receipts(&mut self) -> Result<(), BackupError> {
        let mut from = Some(Vec::new());
        while let Some(at) = from {
            let page = self
                .hold
                .store
                .documents
                .receipts_from(&at, limits::BACKUP_PAGE_BYTES);
            let (receipts, next) = page.map_err(|fault| self.unreadable(fault))?;
            for receipt in receipts {
                self.totals.receipts += 1;
                self.out.item(&Item::Receipt(receipt))?;
            }
            self.out.hand_over()?;
            self.hold.advance(self.totals.log_end.next())?;
            from = next;
        }
        Ok(())
    }

    /// Damage is told to whoever mends it, so that a later backup may succeed.
    fn unreadable(&self, fault: Fault) -> BackupError {
        if let Fault::Damaged { range, what } = &fault {
            let (range, what) = (range.clone(), what.clone());
            self.hold.store.note_damage(Damage { range, what });
        }
        damaged(fault)
    }

    fn finish(mut self) -> Result<Summary, BackupError> {
        if self.totals.records == 0 && self.header.base.is_none() {
            let check = self.hold.store.record_check(self.totals.log_end);
            self.totals.log_check = check.map_err(damaged)?.unwrap_or_default();
        }
        self.totals.raw_bytes = self.out.raw_bytes;
        self.out.end(&self.totals.encode(self.header.id))?;
        Ok(Summary {
            header: self.header,
            totals: self.totals,
        })
    }
}
