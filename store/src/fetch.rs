//! Reading: which part of the store answers what.

use anabranch_core::persist::{Fetch, Fetched, StoreError};

use crate::engine::Fault;
use crate::store::Store;

impl Store {
    /// Answers from everything that was reported durable before the call; documents may be later than
    /// that, log records never are.
    ///
    /// # Errors
    /// When what is stored is damaged, which is always noticed before it is given out, or when the
    /// disk fails. Other fetches may well succeed.
    pub fn fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        Ok(self.answer(fetch)?)
    }

    fn answer(&self, fetch: &Fetch) -> Result<Fetched, Fault> {
        Ok(match fetch {
            Fetch::Document(id) => Fetched::Document(self.documents.document(id)?),
            Fetch::Page {
                namespace,
                prefix,
                after,
                limit,
                bytes_max,
                values,
            } => {
                let after = after.as_ref();
                let (documents, more) = self
                    .documents
                    .page(namespace, prefix, after, *limit, *bytes_max, *values)?;
                Fetched::Page { documents, more }
            }
            Fetch::Range { range, bytes_max } => {
                let (documents, more) = self.documents.range(range, *bytes_max)?;
                Fetched::Range { documents, more }
            }
            Fetch::Sums { from, limit } => {
                let (documents, more) = self.documents.sums(from.as_ref(), *limit)?;
                Fetched::Sums { documents, more }
            }
            Fetch::Picked {
                namespace,
                places,
                after,
                limit,
                bytes_max,
            } => {
                let (places, after) = (places.as_ref(), after.as_ref());
                let (documents, more_after) = self
                    .documents
                    .picked(namespace, places, after, *limit, *bytes_max)?;
                Fetched::Picked {
                    documents,
                    more_after,
                }
            }
            Fetch::Receipts { from, bytes_max } => {
                let (receipts, next) = self.documents.receipts_from(from, *bytes_max)?;
                Fetched::Receipts { receipts, next }
            }
            Fetch::Receipt(key) => Fetched::Receipt(self.documents.receipt(*key)?),
            Fetch::Log { from, bytes_max } => {
                // Asked before the log is, which then holds at least as much.
                let end = self.reported_end();
                let mut records = self.log.read(*from, *bytes_max)?;
                let reported = records.partition_point(|record| record.lsn <= end);
                records.truncate(reported);
                Fetched::Log(records)
            }
        })
    }
}
