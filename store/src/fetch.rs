//! Reading: every answer is checked, and no view of the data outlives a call.

use std::ops::Bound;

use anabranch_core::persist::{Fetch, Fetched, LogRecord, StoredDocument};
use anabranch_core::{DocumentId, Key, Lsn};
use bytes::Bytes;

use crate::absence;
use crate::engine::Fault;
use crate::error::FetchError;
use crate::receipts;
use crate::seal::{Sealed, unseal};
use crate::shield::shielded;
use crate::store::Store;
use crate::tables::{DOCUMENTS, LOG, PageRange, document_id, document_key};

impl Store {
    /// Answers from everything that was reported durable before the call; documents may be later than
    /// that, log records never are.
    ///
    /// # Errors
    /// When what is stored is damaged, which is always noticed before it is given out, or when the
    /// disk fails. Other fetches may well succeed.
    pub fn fetch(&self, fetch: &Fetch) -> Result<Fetched, FetchError> {
        let answered = shielded(|| self.answer(fetch));
        if let Err(fault @ Fault::Io(_)) = &answered {
            self.close_after(fault);
        }
        Ok(answered?)
    }

    fn answer(&self, fetch: &Fetch) -> Result<Fetched, Fault> {
        match fetch {
            Fetch::Document(id) => self.document(id).map(Fetched::Document),
            Fetch::Page { limit: 0, .. } => Ok(Fetched::Page(Vec::new())),
            Fetch::Page {
                namespace,
                prefix,
                after,
                limit,
            } => match PageRange::new(namespace, prefix, after.as_ref()) {
                Some(range) => self.page(&range, *limit).map(Fetched::Page),
                None => Ok(Fetched::Page(Vec::new())),
            },
            Fetch::Receipt(key) => receipts::find(&self.view()?, *key).map(Fetched::Receipt),
            Fetch::Log { from, bytes_max } => self.log(*from, *bytes_max).map(Fetched::Log),
        }
    }

    fn document(&self, id: &DocumentId) -> Result<Option<StoredDocument>, Fault> {
        let mut row_key = Vec::new();
        document_key(id, &mut row_key);
        let documents = self.view()?.open_table(DOCUMENTS)?;
        if let Some(row) = documents.get(row_key.as_slice())? {
            return stored(&row_key, row.value())
                .map(Some)
                .ok_or_else(|| damaged_document(id));
        }
        let start = Bound::Included(row_key.as_slice());
        absence::prove(Sealed::Documents, &documents, start, Some(&row_key), 0)?;
        Ok(None)
    }

    fn page(&self, range: &PageRange, limit: usize) -> Result<Vec<(Key, StoredDocument)>, Fault> {
        let documents = self.view()?.open_table(DOCUMENTS)?;
        let start = range.start.as_ref().map(Vec::as_slice);
        let mut page = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        for row in documents.range::<&[u8]>((start, Bound::Excluded(range.end.as_slice())))? {
            let (row_key, row) = row?;
            let row_key = row_key.value();
            let in_order = last.as_deref().map_or_else(
                || match start {
                    Bound::Included(start) => row_key >= start,
                    Bound::Excluded(start) => row_key > start,
                    Bound::Unbounded => true,
                },
                |last| row_key > last,
            );
            let id = document_id(row_key).filter(|_| in_order && *row_key < *range.end);
            let Some(id) = id else {
                return Err(Fault::Damaged(
                    "a row of the documents table is out of place".to_owned(),
                ));
            };
            let stored = stored(row_key, row.value()).ok_or_else(|| damaged_document(&id))?;
            page.push((id.key, stored));
            if page.len() == limit {
                break;
            }
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(row_key);
        }
        let end = (page.len() < limit).then_some(range.end.as_slice());
        absence::prove(Sealed::Documents, &documents, start, end, page.len() as u64)?;
        Ok(page)
    }

    fn log(&self, from: Lsn, bytes_max: usize) -> Result<Vec<LogRecord>, Fault> {
        // Not a record more than was reported: after a failed commit there may be one on the disk.
        let Some((first, end)) = self.reported_log() else {
            return Ok(Vec::new());
        };
        let mut expected = from.max(first);
        let log = self.view()?.open_table(LOG)?;
        let mut records = Vec::new();
        let mut bytes = 0;
        if expected > end {
            return Ok(records);
        }
        for row in log.range(expected.0..=end.0)? {
            let (lsn, row) = row?;
            // The log has no gaps.
            if lsn.value() != expected.0 {
                return Err(damaged_record(expected));
            }
            let record = unseal(Sealed::Log, &expected.0.to_le_bytes(), row.value());
            let record = record.ok_or_else(|| damaged_record(expected))?;
            records.push(LogRecord {
                lsn: expected,
                bytes: Bytes::copy_from_slice(record),
            });
            bytes += record.len();
            if bytes >= bytes_max {
                return Ok(records);
            }
            expected = expected.next();
        }
        if expected <= end {
            Err(damaged_record(expected))
        } else {
            Ok(records)
        }
    }
}

fn stored(row_key: &[u8], row: &[u8]) -> Option<StoredDocument> {
    let (present, state) = unseal(Sealed::Documents, row_key, row)?.split_first()?;
    Some(StoredDocument {
        state: Bytes::copy_from_slice(state),
        present: *present != 0,
    })
}

fn damaged_document(id: &DocumentId) -> Fault {
    Fault::Damaged(format!("document {id} is not what was written"))
}

fn damaged_record(lsn: Lsn) -> Fault {
    Fault::Damaged(format!(
        "log record {} is missing or not what was written",
        lsn.0
    ))
}
