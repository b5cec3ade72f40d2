//! Answering callers: reads, writes, listings.
//!
//! An answer may contain what is not durable yet (the document in memory runs ahead of the store), so it
//! waits for the commit that carries the newest change in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Awaited, Replica};
use crate::batch;
use crate::document::{Document, Failed, Version};
use crate::effect::{
    Change, FetchId, Listed, Notice, Now, Output, Page, Reply, Request, RequestError, RequestId,
    Snapshot, Written,
};
use crate::persist::{Fetch, LogRecord, StoredDocument, Ticket};
use crate::{
    Batch, DocumentId, DocumentWrite, EditError, Guard, Intent, Key, Lsn, Namespace, limits,
};

/// Something to do with a document once it is loaded.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Job {
    Read(RequestId),
    Write {
        id: RequestId,
        intent: Intent,
        guard: Option<Guard>,
    },
    Fold,
}

/// A listing under way.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Scan {
    id: RequestId,
    namespace: Namespace,
    prefix: String,
    after: Option<Key>,
    limit: usize,
    values: bool,
    found: Vec<Listed>,
}

/// What the store has been asked for a listing; states that were folded in the meantime take precedence.
#[derive(Default)]
pub(super) struct Scans {
    under_way: usize,
    /// With the last fetch that was asked for before.
    folded_meanwhile: BTreeMap<DocumentId, (FetchId, StoredDocument)>,
}

impl Scans {
    pub(super) fn folded(&mut self, id: &DocumentId, stored: StoredDocument, last: FetchId) {
        if self.under_way > 0 {
            self.folded_meanwhile.insert(id.clone(), (last, stored));
        }
    }

    /// One page less. What every page still under way was asked for after, the store answers by itself.
    fn end(&mut self, oldest: Option<FetchId>) {
        self.under_way -= 1;
        self.folded_meanwhile
            .retain(|_, (last, _)| oldest.is_some_and(|oldest| *last >= oldest));
    }
}

impl Replica {
    pub(super) fn request(&mut self, now: Now, id: RequestId, request: Request) {
        if let Some(error) = &self.failed {
            let reply = Err(RequestError::Store(error.clone()));
            return self.outputs.push_back(Output::Reply { id, reply });
        }
        if self.requests_open >= limits::REQUESTS_MAX {
            return self.outputs.push_back(Output::Reply {
                id,
                reply: Err(RequestError::Busy),
            });
        }
        self.requests_open += 1;
        match request {
            Request::Read { document } => self.with_document(now, &document, Job::Read(id)),
            Request::Write {
                document,
                intent,
                guard,
            } => {
                self.with_document(now, &document, Job::Write { id, intent, guard });
            }
            Request::Scan {
                namespace,
                prefix,
                after,
                limit,
                values,
            } => {
                let max = limits::PAGE_DOCUMENTS_MAX;
                if limit == 0 || limit > max {
                    return self.answer(
                        id,
                        Ticket(0),
                        Err(RequestError::Limit { asked: limit, max }),
                    );
                }
                self.scan(Scan {
                    id,
                    namespace,
                    prefix,
                    after,
                    limit,
                    values,
                    found: Vec::new(),
                });
            }
            Request::Changes { after } => {
                let fetch = Fetch::Log {
                    from: after.next(),
                    bytes_max: self.config.room.log_read_bytes_max,
                };
                self.fetch(fetch, Awaited::Changes { id, after });
            }
        }
    }

    /// Gives an answer once everything up to `after` is durable.
    pub(super) fn answer(
        &mut self,
        id: RequestId,
        after: Ticket,
        reply: Result<Reply, RequestError>,
    ) {
        if after > self.durable && !self.planted_acknowledge_early() {
            self.held_replies
                .entry(after)
                .or_default()
                .push((id, reply));
        } else {
            self.requests_open -= 1;
            self.outputs.push_back(Output::Reply { id, reply });
        }
    }

    /// Does a job now if the document is loaded, or else as soon as it is.
    pub(super) fn with_document(&mut self, now: Now, id: &DocumentId, job: Job) {
        let origin = self.origin;
        let entry = self.shelf.entry(id);
        if entry.loaded.is_none()
            && !entry.fetching
            && let Some(stored) = entry.on_its_way()
        {
            match Document::load(&origin, &stored.state) {
                Ok(document) => entry.put_in(document),
                Err(error) => {
                    entry.waiting.push(job);
                    self.stop(&error.to_string());
                    return self.document_lost(id, &error.to_string());
                }
            }
        }
        if entry.loaded.is_some() {
            self.shelf.touch(id, self.config.room.loaded_documents_max);
            return self.work(now, id, job);
        }
        entry.waiting.push(job);
        if !entry.fetching {
            entry.fetching = true;
            self.fetch(Fetch::Document(id.clone()), Awaited::Document(id.clone()));
        }
    }

    pub(super) fn document_fetched(
        &mut self,
        now: Now,
        id: &DocumentId,
        stored: Option<StoredDocument>,
    ) {
        let origin = self.origin;
        let document = match stored {
            None => Document::empty(&origin),
            Some(stored) => match Document::load(&origin, &stored.state) {
                Ok(document) => document,
                Err(error) => return self.document_lost(id, &error.to_string()),
            },
        };
        let entry = self.shelf.entry(id);
        entry.fetching = false;
        entry.put_in(document);
        let jobs = std::mem::take(&mut entry.waiting);
        self.shelf.touch(id, self.config.room.loaded_documents_max);
        for job in jobs {
            // A write that failed may have dropped the document again.
            self.with_document(now, id, job);
        }
    }

    /// A document that can't be read: whoever waits for it is told; the others go on.
    pub(super) fn document_lost(&mut self, id: &DocumentId, reason: &str) {
        let entry = self.shelf.entry(id);
        entry.fetching = false;
        for job in std::mem::take(&mut entry.waiting) {
            match job {
                Job::Read(request) | Job::Write { id: request, .. } => {
                    let error = RequestError::Store(format!("{id}: {reason}"));
                    self.answer(request, Ticket(0), Err(error));
                }
                Job::Fold => {}
            }
        }
    }

    fn work(&mut self, now: Now, id: &DocumentId, job: Job) {
        let entry = self.shelf.entry(id);
        let newest = entry.newest;
        let Some((document, refused)) = entry.current() else {
            return;
        };
        let counted = refused.len() as u64;
        match job {
            Job::Read(request) => {
                let snapshot = document.read().map(|value| Snapshot {
                    version: document.version(),
                    value,
                });
                self.answer(request, newest, Ok(Reply::Document(snapshot)));
            }
            Job::Write {
                id: request,
                intent,
                guard,
            } => {
                let after = newest;
                match self.write(now, id, &intent, guard.as_ref()) {
                    Ok((ticket, written)) => {
                        self.answer(request, ticket.max(after), Ok(Reply::Written(written)));
                    }
                    Err(error) => self.answer(request, after, Err(error)),
                }
            }
            Job::Fold => self.fold(id),
        }
        self.counters.changes_refused += counted;
        for refusal in refused {
            let notice = Notice::ChangeRefused {
                document: id.clone(),
                hash: refusal.hash,
                reason: refusal.reason,
            };
            self.outputs.push_back(Output::Notice(notice));
        }
    }

    fn write(
        &mut self,
        now: Now,
        id: &DocumentId,
        intent: &Intent,
        guard: Option<&Guard>,
    ) -> Result<(Ticket, Written), RequestError> {
        let entry = self.shelf.entry(id);
        let Some((document, _)) = entry.current() else {
            return Err(RequestError::Busy);
        };
        let was_present = document.present();
        check_guard(guard, was_present.then(|| document.version()))?;
        if !self.history.has_room_for(&id.namespace) {
            let max = limits::NAMESPACES_MAX;
            return Err(RequestError::Edit(EditError::TooLarge {
                what: "namespaces in one replica",
                value: max + 1,
                max,
            }));
        }
        let time_s = i64::try_from(now.wall_ms / 1_000).unwrap_or(0);
        let changes = match document.write(intent, time_s) {
            Ok(changes) => changes,
            Err(Failed { error, spoilt }) => {
                if spoilt {
                    self.shelf.unload(id);
                }
                return Err(error.into());
            }
        };
        let present = document.present();
        let version = document.version();
        let written = Written {
            version,
            changed: !changes.is_empty(),
            created: present && !was_present,
            present,
        };
        if changes.is_empty() {
            return Ok((Ticket(0), written));
        }
        self.counters.writes += 1;
        Ok((self.commit_own(now, id, changes), written))
    }

    fn commit_own(&mut self, now: Now, id: &DocumentId, changes: Vec<Bytes>) -> Ticket {
        let (seq, causes) = self.history.next_own(&id.namespace, &self.origin);
        let batch = Batch {
            namespace: id.namespace.clone(),
            origin: self.origin,
            seq,
            time_ms: now.wall_ms,
            causes,
            writes: vec![DocumentWrite {
                key: id.key.clone(),
                changes,
            }],
        };
        self.admit(now, &Arc::new(batch), true)
    }

    fn scan(&mut self, scan: Scan) {
        self.scans.under_way += 1;
        let fetch = Fetch::Page {
            namespace: scan.namespace.clone(),
            prefix: scan.prefix.clone(),
            after: scan.after.clone(),
            // One more than wanted tells whether there are more.
            limit: scan.limit + 1 - scan.found.len(),
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
    pub(super) fn page_fetched(&mut self, mut scan: Scan, stored: Vec<(Key, StoredDocument)>) {
        let asked = scan.limit + 1 - scan.found.len();
        let last = if stored.len() < asked {
            None
        } else {
            stored.last().map(|(key, _)| key.clone())
        };
        let in_page = |key: &Key| {
            scan.after.as_ref().is_none_or(|after| key > after)
                && last.as_ref().is_none_or(|last| key <= last)
        };
        let mut page: BTreeMap<Key, Option<StoredDocument>> = stored
            .into_iter()
            .map(|(key, stored)| (key, Some(stored)))
            .collect();
        for (id, (_, stored)) in &self.scans.folded_meanwhile {
            if id.namespace == scan.namespace
                && id.key.as_str().starts_with(&scan.prefix)
                && in_page(&id.key)
            {
                page.insert(id.key.clone(), Some(stored.clone()));
            }
        }
        for id in self.shelf.dirty_in(&scan.namespace, &scan.prefix) {
            if in_page(&id.key) {
                page.entry(id.key).or_default();
            }
        }
        self.scans.end(self.oldest_page());
        for (key, stored) in page {
            let id = DocumentId {
                namespace: scan.namespace.clone(),
                key,
            };
            match self.listed(&id, stored, scan.values) {
                Ok(Some(listed)) => scan.found.push(listed),
                Ok(None) => {}
                Err(error) => return self.answer(scan.id, Ticket(0), Err(error)),
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
        let newest = self.issued;
        self.answer(
            scan.id,
            newest,
            Ok(Reply::Page(Page {
                documents: scan.found,
                next,
            })),
        );
    }

    fn listed(
        &mut self,
        id: &DocumentId,
        stored: Option<StoredDocument>,
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
        let changes: Vec<Bytes> = self
            .shelf
            .get(id)
            .map(|entry| entry.unfolded().cloned().collect())
            .unwrap_or_default();
        if changes.is_empty() && !values {
            return Ok(stored.filter(|stored| stored.present).map(|_| listed(None)));
        }
        let unreadable =
            |error: crate::document::Unreadable| RequestError::Store(format!("{id}: {error}"));
        let mut document = match stored {
            Some(stored) => Document::load(&self.origin, &stored.state).map_err(unreadable)?,
            None => Document::empty(&self.origin),
        };
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

    pub(super) fn changes_fetched(&mut self, id: RequestId, after: Lsn, records: Vec<LogRecord>) {
        let mut changes = Vec::new();
        let mut next = after;
        for record in records {
            if !self.is_settled(record.lsn) {
                break;
            }
            match batch::decode(record.bytes) {
                Ok(batches) => {
                    for batch in &batches {
                        changes.extend(self.changes_of(record.lsn, batch));
                    }
                }
                Err(error) => {
                    let notice = Notice::BadRecord {
                        lsn: record.lsn,
                        reason: error.to_string(),
                    };
                    self.outputs.push_back(Output::Notice(notice));
                }
            }
            next = record.lsn;
        }
        self.answer(id, Ticket(0), Ok(Reply::Changes { changes, next }));
    }

    pub(super) fn changes_of<'a>(
        &self,
        lsn: Lsn,
        batch: &'a Batch,
    ) -> impl Iterator<Item = Change> + use<'a> {
        let local = batch.origin.replica == self.config.replica;
        batch.writes.iter().map(move |write| Change {
            lsn,
            document: DocumentId {
                namespace: batch.namespace.clone(),
                key: write.key.clone(),
            },
            origin: batch.origin,
            seq: batch.seq,
            time_ms: batch.time_ms,
            local,
        })
    }

    /// A fetch that the store could not answer.
    pub(super) fn fetch_failed(&mut self, awaited: Awaited, error: &str) {
        match awaited {
            Awaited::Document(id) => self.document_lost(&id, error),
            Awaited::Page(scan) => {
                self.scans.end(self.oldest_page());
                self.answer(
                    scan.id,
                    Ticket(0),
                    Err(RequestError::Store(error.to_owned())),
                );
            }
            Awaited::Changes { id, .. } => {
                self.answer(id, Ticket(0), Err(RequestError::Store(error.to_owned())));
            }
            Awaited::Backlog { peer, link, .. } => self.backlog_failed(peer, link, error),
        }
    }
}

fn check_guard(guard: Option<&Guard>, version: Option<Version>) -> Result<(), RequestError> {
    let is = |versions: &[String]| {
        version
            .as_ref()
            .is_some_and(|version| versions.contains(&version.to_string()))
    };
    let holds = match guard {
        None => true,
        Some(Guard::Exists) => version.is_some(),
        Some(Guard::Absent) => version.is_none(),
        Some(Guard::AnyOf(versions)) => is(versions),
        Some(Guard::NoneOf(versions)) => !is(versions),
    };
    if holds {
        Ok(())
    } else {
        Err(RequestError::Guard { version })
    }
}
