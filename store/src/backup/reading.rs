//! Reads a backup, and verifies it on the way: every frame, the order of what is in it, and that its end agrees.

use std::io::Read;

use anabranch_core::persist::ReceiptKey;
use anabranch_core::{DocumentId, Lsn};

use super::error::ReadError;
use super::header::{Header, RecordCheck, Summary, Totals};
use super::items::{Item, ItemReader, Next};

/// How far a reader or a writer is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Documents so far.
    pub documents: u64,
    /// Records of the log so far.
    pub records: u64,
    /// Bytes of the backup so far.
    pub bytes: u64,
    /// About how many there will be.
    pub expected_bytes: u64,
}

/// What has come already; nothing before it may come any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    History,
    Documents,
    Receipts,
    Tail,
}

/// A backup on its way in.
pub(crate) struct Reading<R> {
    items: ItemReader<R>,
    header: Header,
    totals: Totals,
    stage: Stage,
    document: Option<DocumentId>,
    receipt: Option<ReceiptKey>,
    /// Of the log.
    next: Lsn,
    finished: bool,
}

impl<R: Read> Reading<R> {
    pub(crate) fn begin(input: R) -> Result<Self, ReadError> {
        let (items, header) = ItemReader::begin(input)?;
        let header = Header::decode(&header);
        let header = header.ok_or_else(|| items.senseless("the header can't be read"))?;
        let stage = match header.base {
            None => Stage::History,
            Some(_) => Stage::Tail,
        };
        let (log_end, log_check) = header.base.map_or(
            (Lsn(header.log_first.0 - 1), RecordCheck::default()),
            |base| (base.log_end, base.log_check),
        );
        Ok(Self {
            items,
            stage,
            document: None,
            receipt: None,
            next: header.log_first,
            totals: Totals {
                log_end,
                log_check,
                ..Totals::default()
            },
            header,
            finished: false,
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            documents: self.totals.documents,
            records: self.totals.records,
            bytes: self.items.stored_bytes,
            expected_bytes: self.header.expected_bytes,
        }
    }

    /// The next item; none once the end has been read and agrees with all that was before it.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, ReadError> {
        if self.finished {
            return Ok(None);
        }
        match self.items.next()? {
            Next::Item(item) => {
                self.check(&item)?;
                Ok(Some(item))
            }
            Next::End(end) => {
                let end = Totals::decode(&end, self.header.id);
                self.totals.raw_bytes = self.items.raw_bytes;
                // Where no record came, nothing here says what the last one was.
                if let Some(end) = end
                    && (self.totals.records, self.header.base) == (0, None)
                {
                    self.totals.log_check = end.log_check;
                }
                if self.stage != Stage::Tail || end != Some(self.totals) {
                    return Err(self.items.senseless("the end does not fit the rest"));
                }
                self.finished = true;
                Ok(None)
            }
        }
    }

    /// What was read, from beginning to end.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            header: self.header.clone(),
            totals: self.totals,
        }
    }

    fn check(&mut self, item: &Item) -> Result<(), ReadError> {
        let is_full = self.header.base.is_none();
        let (stage, sound) = match item {
            Item::Log(record) => {
                let sound = record.lsn == self.next
                    && (self.stage == Stage::Tail || record.lsn < self.header.replay_from);
                self.next = Lsn(record.lsn.0.saturating_add(1));
                self.totals.records += 1;
                self.totals.log_end = record.lsn;
                self.totals.log_check = RecordCheck::of(record.lsn, &record.bytes);
                (
                    self.stage,
                    sound && matches!(self.stage, Stage::History | Stage::Tail),
                )
            }
            Item::Document(id, _) => {
                let sound = self.document.as_ref().is_none_or(|before| before < id);
                self.document = Some(id.clone());
                self.totals.documents += 1;
                (Stage::Documents, sound)
            }
            Item::Receipt(receipt) => {
                let sound = self.receipt.is_none_or(|before| before < receipt.key);
                self.receipt = Some(receipt.key);
                self.totals.receipts += 1;
                (Stage::Receipts, sound)
            }
            Item::Checkpoint(checkpoint) => {
                let replay_from = checkpoint.as_ref().map_or(Lsn(1), |to| to.replay_from);
                let sound = is_full
                    && self.stage != Stage::Tail
                    && replay_from == self.header.replay_from
                    && self.next == replay_from;
                (Stage::Tail, sound)
            }
        };
        if !sound || stage < self.stage {
            return Err(self.items.senseless("its parts are not in order"));
        }
        self.stage = stage;
        Ok(())
    }
}

/// Reads a backup to its end, and shows by that that it is whole.
///
/// # Errors
/// When it is not, or can't be read.
pub fn verify(input: impl Read, mut seen: impl FnMut(Progress)) -> Result<Summary, ReadError> {
    let mut reading = Reading::begin(input)?;
    while reading.next()?.is_some() {
        seen(reading.progress());
    }
    Ok(reading.summary())
}
