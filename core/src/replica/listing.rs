//! Listings: the store's pages, and over them what is in memory.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::asking::Caller;
use super::{Awaited, Replica};
use crate::document::Document;
use crate::effect::{FetchId, Listed, Now, Page, Reply, RequestError, Snapshot};
use crate::persist::{Fetch, StoreError, StoredDocument, Ticket};
use crate::{DocumentId, Key, Namespace, limits};

/// A listing under way.
pub(super) struct Scan {
    pub(super) caller: Caller,
    pub(super) namespace: Namespace,
    pub(super) prefix: String,
    pub(super) after: Option<Key>,
    pub(super) limit: usize,
    pub(super) values: bool,
    /// Whether the store has to give documents whole although only their names are asked for.
    pub(super) whole: bool,
    pub(super) found: Vec<Listed>,
}

/// What the store has been asked for a listing; changes that were folded in the meantime may be missing in its answer.
#[derive(Default)]
pub(super) struct Scans {
    under_way: usize,
    /// With the last fetch that was asked for before.
    folded_meanwhile: BTreeMap<DocumentId, (FetchId, Vec<Bytes>)>,
}

impl Scans {
    pub(super) fn folded(&mut self, id: &DocumentId, changes: Vec<Bytes>, last: FetchId) {
        if self.under_way > 0 {
            let none = || (last, Vec::new());
            let (at, held) = self.folded_meanwhile.entry(id.clone()).or_insert_with(none);
            *at = last;
            held.extend(changes);
        }
    }

    /// Nothing of a namespace is here any more.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        self.folded_meanwhile
            .retain(|id, _| id.namespace != *namespace);
    }

    /// One page less. What every page still under way was asked for after, the store answers by itself.
    fn end(&mut self, oldest: Option<FetchId>) {
        self.under_way -= 1;
        self.folded_meanwhile
            .retain(|_, (last, _)| oldest.is_some_and(|oldest| *last >= oldest));
    }
}

impl Replica {
    pub(super) fn scan(&mut self, scan: Scan) {
        if self.imports.is_pending(&scan.namespace) {
            return self.imports.park(scan);
        }
        self.scans.under_way += 1;
        let fetch = Fetch::Page {
            namespace: scan.namespace.clone(),
            prefix: scan.prefix.clone(),
            after: scan.after.clone(),
            // One more than wanted tells whether there are more.
            limit: scan.limit + 1 - scan.found.len(),
            bytes_max: limits::PAGE_BYTES_MAX,
            values: scan.values || scan.whole,
        };
        self.fetch(fetch, Awaited::Page(scan));
    }

    fn oldest_page(&self) -> Option<FetchId> {
        let mut pages = self
            .fetches
            .iter()
            .filter(|(_, awaited)| matches!(awaited, Awaited::Page(_)));
        pages.next().map(|(id, _)| *id)
    }

    /// Lays what is in memory over the store's page.
    pub(super) fn page_fetched(
        &mut self,
        mut scan: Scan,
        stored: Vec<(Key, StoredDocument)>,
        more: bool,
    ) {
        if self.imports.is_pending(&scan.namespace) {
            // A repair has brought something meanwhile that neither the store nor memory shows yet; what came since may build on it.
            self.scans.end(self.oldest_page());
            return self.imports.park(scan);
        }
        let last = stored.last().filter(|_| more);
        let last = last.map(|(key, _)| key.clone());
        let in_page = |key: &Key| {
            scan.after.as_ref().is_none_or(|after| key > after)
                && last.as_ref().is_none_or(|last| key <= last)
        };
        let stored = stored.into_iter();
        let stored = stored.map(|(key, stored)| (key, (Some(stored), Vec::new())));
        let mut page: BTreeMap<Key, (Option<StoredDocument>, Vec<Bytes>)> = stored.collect();
        for (id, (_, changes)) in &self.scans.folded_meanwhile {
            if id.namespace == scan.namespace
                && id.key.as_str().starts_with(&scan.prefix)
                && in_page(&id.key)
            {
                let (_, missed) = page.entry(id.key.clone()).or_default();
                missed.extend(changes.iter().cloned());
            }
        }
        for id in self.shelf.dirty_in(&scan.namespace, &scan.prefix) {
            if in_page(&id.key) {
                page.entry(id.key).or_default();
            }
        }
        self.scans.end(self.oldest_page());
        if !scan.values && !scan.whole && self.needs_whole(&scan.namespace, &page) {
            scan.whole = true;
            return self.scan(scan);
        }
        for (key, (stored, missed)) in page {
            let id = DocumentId {
                namespace: scan.namespace.clone(),
                key,
            };
            match self.listed(&id, stored.as_ref(), missed, scan.values) {
                Ok(Some(listed)) => scan.found.push(listed),
                Ok(None) => {}
                Err(error) => return self.answer(scan.caller, Ticket(0), Err(error)),
            }
        }
        if last.is_some() && scan.found.len() <= scan.limit {
            scan.after = last;
            return self.scan(scan);
        }
        let more = scan.found.len() > scan.limit;
        scan.found.truncate(scan.limit);
        let next = scan
            .found
            .last()
            .filter(|_| more)
            .map(|listed| listed.key.clone());
        let newest = self.newest();
        self.answer(
            scan.caller,
            newest,
            Ok(Reply::Page(Page {
                documents: scan.found,
                next,
            })),
        );
    }

    /// Whether there are changes to a document of which only its presence was asked for, and nothing here can tell
    /// what they make of it.
    fn needs_whole(
        &mut self,
        namespace: &Namespace,
        page: &BTreeMap<Key, (Option<StoredDocument>, Vec<Bytes>)>,
    ) -> bool {
        page.iter().any(|(key, (stored, missed))| {
            let presence_only = |stored: &StoredDocument| {
                stored.present.is_some() && stored.state.is_empty() && stored.changes.is_empty()
            };
            let id = DocumentId {
                namespace: namespace.clone(),
                key: key.clone(),
            };
            stored.as_ref().is_some_and(presence_only)
                && match self.shelf.get(&id) {
                    Some(entry) if entry.knows_presence() => false,
                    Some(entry) => !missed.is_empty() || entry.first().is_some(),
                    None => !missed.is_empty(),
                }
        })
    }

    fn listed(
        &mut self,
        id: &DocumentId,
        stored: Option<&StoredDocument>,
        missed: Vec<Bytes>,
        values: bool,
    ) -> Result<Option<Listed>, RequestError> {
        let listed = |snapshot| Listed {
            key: id.key.clone(),
            snapshot,
        };
        if let Some(entry) = self.shelf.get(id)
            && let Some((document, _)) = entry.current()
        {
            let snapshot = |document: &mut Document| {
                document.read().map(|value| Snapshot {
                    version: document.version(),
                    value,
                })
            };
            return Ok(match values {
                true => snapshot(document).map(|snapshot| listed(Some(snapshot))),
                false => document.present().then(|| listed(None)),
            });
        }
        if !values
            && let Some(entry) = self.shelf.get(id)
            && let Some(present) = entry.presence()
        {
            return Ok(present.then(|| listed(None)));
        }
        let mut changes = missed;
        if let Some(entry) = self.shelf.get(id) {
            changes.extend(entry.unfolded().cloned());
        }
        let known = stored.and_then(|stored| stored.present);
        if let (true, false, Some(present)) = (changes.is_empty(), values, known) {
            return Ok(present.then(|| listed(None)));
        }
        let unreadable =
            |error: crate::document::Unreadable| RequestError::Store(format!("{id}: {error}"));
        let document = Document::of_stored(&self.origin, stored).map_err(unreadable)?;
        #[cfg(feature = "planted")]
        let document = document.planted(self.config.planted);
        let mut document = document;
        document.absorb(&changes);
        let Some(value) = document.read() else {
            return Ok(None);
        };
        let snapshot = values.then(|| Snapshot {
            version: document.version(),
            value,
        });
        Ok(Some(listed(snapshot)))
    }

    pub(super) fn page_failed(&mut self, now: Now, scan: Scan, error: StoreError) {
        self.scans.end(self.oldest_page());
        let error = self.store_error(now, error);
        self.answer(scan.caller, Ticket(0), Err(error));
    }
}
