//! Questions to the store, and what is done with the answers.

use super::Replica;
use super::asking::Caller;
use super::comparing::Picking;
use super::listing::Scan;
use super::repairs::Asking;
use super::writing::Writing;
use crate::effect::{FetchId, LinkId, Now, Output, RequestError};
use crate::persist::{Fetch, Fetched, StoreError, Ticket};
use crate::{DocumentId, Lsn, Namespace, ReplicaId};

/// What a fetch is for.
pub(super) enum Awaited {
    Document(DocumentId),
    Page(Scan),
    /// What is remembered of a write that may have been done before.
    Receipt(Box<Writing>),
    Changes {
        caller: Caller,
        after: Lsn,
    },
    Backlog {
        peer: ReplicaId,
        link: LinkId,
        from: Lsn,
    },
    /// Documents that a peer can't read.
    Range(Asking),
    /// Records with batches of our own that do not count, since one before them is lost.
    PassedOver(Lsn),
    /// Sums for the summaries.
    Sums,
    /// What is left of a namespace that was let go.
    Clearing(Namespace),
    /// Documents that a peer lacks something of.
    Picked(Picking),
    /// Receipts that a peer lacks.
    Receipts {
        peer: ReplicaId,
        number: u64,
    },
    /// What repairs have brought into a namespace.
    Imports(Namespace),
    /// The same, for one document.
    ImportsOf(DocumentId),
}

impl Replica {
    pub(super) fn fetch(&mut self, fetch: Fetch, awaited: Awaited) {
        self.fetch_count += 1;
        let id = FetchId(self.fetch_count);
        self.fetches.insert(id, awaited);
        self.outputs.push_back(Output::Fetch { id, fetch });
    }

    pub(super) fn fetched(&mut self, now: Now, id: FetchId, result: Result<Fetched, StoreError>) {
        let Some(awaited) = self.fetches.remove(&id) else {
            return;
        };
        match (awaited, result) {
            (awaited, Err(error)) => self.fetch_failed(now, awaited, error),
            (Awaited::Document(id), Ok(Fetched::Document(stored))) => {
                self.document_fetched(now, &id, stored.as_ref());
            }
            (Awaited::Page(scan), Ok(Fetched::Page { documents, more })) => {
                self.page_fetched(scan, documents, more);
            }
            (Awaited::Receipt(writing), Ok(Fetched::Receipt(stored))) => {
                self.receipt_fetched(now, *writing, stored);
            }
            (Awaited::Changes { caller, after }, Ok(Fetched::Log(records))) => {
                self.changes_fetched(caller, after, records);
            }
            (Awaited::Backlog { peer, link, from }, Ok(Fetched::Log(records))) => {
                self.backlog_fetched(now, peer, link, from, records);
            }
            (Awaited::PassedOver(from), Ok(Fetched::Log(records))) => {
                self.passed_over_fetched(now, from, records);
            }
            (Awaited::Range(asking), Ok(Fetched::Range { documents, more })) => {
                self.range_fetched(asking, Some((documents, more)));
            }
            (Awaited::Sums, Ok(Fetched::Sums { documents, more })) => {
                self.sums_fetched(now, documents, more);
            }
            (Awaited::Clearing(namespace), Ok(Fetched::Sums { documents, .. })) => {
                self.left_overs_fetched(now, &namespace, Some(documents));
            }
            (
                Awaited::Picked(picking),
                Ok(Fetched::Picked {
                    documents,
                    more_after,
                }),
            ) => self.picked(now, picking, documents, more_after),
            (Awaited::Receipts { peer, number }, Ok(Fetched::Receipts { receipts, next })) => {
                self.receipts_picked(now, (peer, number), receipts, next);
            }
            (Awaited::Imports(namespace), Ok(Fetched::Log(records))) => {
                self.imports_fetched(now, &namespace, records);
            }
            (Awaited::ImportsOf(id), Ok(Fetched::Log(records))) => {
                self.imports_of_fetched(now, &id, records);
            }
            (awaited, Ok(_)) => {
                let error = StoreError::Failed("the store answered another question".to_owned());
                self.fetch_failed(now, awaited, error);
            }
        }
    }

    /// A fetch that the store could not answer.
    pub(super) fn fetch_failed(&mut self, now: Now, awaited: Awaited, error: StoreError) {
        match awaited {
            Awaited::Document(id) => self.document_lost(now, &id, error),
            Awaited::Page(scan) => self.page_failed(now, scan, error),
            Awaited::Receipt(writing) => {
                let error = self.store_error(now, error);
                self.written(*writing, Ticket(0), Err(error));
            }
            Awaited::Changes { caller, .. } => {
                let error = self.store_error(now, error);
                self.answer(caller, Ticket(0), Err(error));
            }
            Awaited::Backlog { peer, link, .. } => {
                self.backlog_failed(peer, link, &error.to_string());
            }
            Awaited::PassedOver(_) => self.passed_over_failed(now),
            Awaited::Sums => self.sums_failed(now, error),
            Awaited::Clearing(namespace) => {
                self.store_error(now, error);
                self.left_overs_fetched(now, &namespace, None);
            }
            Awaited::Picked(picking) => {
                self.store_error(now, error);
                self.picking_failed(&picking);
            }
            Awaited::Receipts { peer, number } => {
                self.store_error(now, error);
                self.receipts_failed(peer, number);
            }
            Awaited::Imports(namespace) => self.imports_failed(now, &namespace),
            Awaited::ImportsOf(id) => self.document_lost(now, &id, error),
            Awaited::Range(asking) => {
                self.store_error(now, error);
                self.range_fetched(asking, None);
            }
        }
    }

    /// What a caller is told; what is damaged is asked for elsewhere.
    pub(super) fn store_error(&mut self, now: Now, error: StoreError) -> RequestError {
        match error {
            StoreError::Damaged { range, what } => {
                if let Some(range) = range {
                    self.documents_damaged(now, range, what.clone());
                }
                RequestError::Damaged { what }
            }
            StoreError::Full(why) => RequestError::Full { why },
            StoreError::Failed(why) => RequestError::Store(why),
        }
    }
}
