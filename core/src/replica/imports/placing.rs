//! Putting in place what a repair has brought.

use super::{Importing, Imports};
use crate::effect::{Notice, Now, Output};
use crate::persist::{Fetch, LogRecord, Place};
use crate::record::Record;
use crate::replica::{Awaited, Replica};
use crate::{DocumentId, Lsn, Namespace};

/// What has come and does not count yet is given up when nothing was added to it for this long.
const ABANDON_MS: u64 = 600_000;
/// If it is still being sought, it is looked again after this long.
const ABANDON_AGAIN_MS: u64 = 10_000;
/// While memory is short it is looked again after this long whether there is room.
const RETRY_MS: u64 = 50;

impl Imports {
    /// Namespaces of which nothing has come for long, and what has come does not count. While the log is replayed, nobody knows yet what counts.
    fn left_alone(&self, now: Now) -> Vec<Namespace> {
        let old = |importing: &Importing| {
            importing.is_staged() && now.mono_ms >= importing.touched_ms + ABANDON_MS
        };
        let namespaces = self.by_namespace.iter().filter(|_| self.begun);
        let namespaces = namespaces.filter(|(_, importing)| old(importing));
        namespaces.map(|(namespace, _)| namespace.clone()).collect()
    }
}

impl Replica {
    pub(in crate::replica) fn tick_imports(&mut self, now: Now) {
        if self.failed.is_some() || self.imports.due_ms.is_none_or(|due| due > now.mono_ms) {
            return;
        }
        self.abandon_imports(now);
        let mut next = None;
        let room = !self.is_short_of_memory() || self.folding.is_stuck();
        let free = room && !self.folding.is_under_way() && self.salvage.has_begun();
        let namespaces: Vec<_> = self.imports.by_namespace.keys().cloned().collect();
        for namespace in namespaces {
            let Some(importing) = self.imports.by_namespace.get_mut(&namespace) else {
                continue;
            };
            if importing.is_staged() {
                let due = (importing.touched_ms + ABANDON_MS).max(now.mono_ms + ABANDON_AGAIN_MS);
                next = Some(next.map_or(due, |next: u64| next.min(due)));
            }
            let Some(pending) = &mut importing.pending else {
                continue;
            };
            if pending.asked {
                continue;
            }
            if !free {
                next = Some(now.mono_ms + RETRY_MS);
                continue;
            }
            pending.asked = true;
            let fetch = Fetch::Log {
                from: pending.next,
                bytes_max: self.config.room.log_read_bytes_max,
            };
            self.fetch(fetch, Awaited::Imports(namespace));
        }
        self.imports.due_ms = next;
    }

    fn abandon_imports(&mut self, now: Now) {
        for namespace in self.imports.left_alone(now) {
            if !self.comparisons.seeks(&namespace) {
                self.imports.drop_staged(&namespace);
            }
        }
    }

    /// Records among which are those that came for documents.
    pub(in crate::replica) fn imports_fetched(
        &mut self,
        now: Now,
        namespace: &Namespace,
        records: Vec<LogRecord>,
    ) {
        let Some(importing) = self.imports.by_namespace.get_mut(namespace) else {
            return;
        };
        let Some(pending) = &mut importing.pending else {
            return;
        };
        pending.asked = false;
        let last = records.last().map(|record| record.lsn);
        pending.next = last.map_or(pending.arrival.next(), Lsn::next);
        for record in records {
            self.put_in_place(namespace, &record, None);
        }
        self.folding.written(now, 0);
        self.end_pending(now, namespace);
        self.imports.due_ms = Some(now.mono_ms);
        self.tick_folding(now);
        self.tick_imports(now);
    }

    /// Adds what one record has for documents that lack it; for one alone, if one is named.
    fn put_in_place(
        &mut self,
        namespace: &Namespace,
        record: &LogRecord,
        only: Option<&DocumentId>,
    ) {
        let Ok(Record::Import(import)) = Record::decode(&record.bytes) else {
            return;
        };
        if import.namespace != *namespace {
            return;
        }
        for imported in import.documents {
            let id = Self::address(namespace, &imported.key);
            if only.is_some_and(|only| *only != id) {
                continue;
            }
            let importing = self.imports.by_namespace.get_mut(namespace);
            let Some(pending) = importing.and_then(|importing| importing.pending.as_mut()) else {
                return;
            };
            let place = Place::of(&id);
            let Some(lsns) = pending.places.get_mut(&place) else {
                continue;
            };
            let before = lsns.len();
            lsns.retain(|lsn| *lsn != record.lsn);
            if lsns.len() == before {
                continue;
            }
            if lsns.is_empty() {
                pending.places.remove(&place);
            }
            let arrival = pending.arrival;
            self.shelf.insert(&id, arrival, &imported.pieces);
        }
    }

    /// Everything may be in place, or not be in the log any more.
    fn end_pending(&mut self, now: Now, namespace: &Namespace) {
        let Some(importing) = self.imports.by_namespace.get_mut(namespace) else {
            return;
        };
        let Some(pending) = &importing.pending else {
            return;
        };
        if !pending.places.is_empty() && pending.next <= pending.arrival {
            return;
        }
        let lost = pending.places.len();
        importing.pending = None;
        let parked = std::mem::take(&mut importing.parked);
        self.imports.tidy(namespace);
        // What came may have come by itself as well: what the documents are now is counted anew.
        self.count_anew(now);
        if lost > 0 {
            // The next comparison finds what they lack.
            let notice = Notice::BadRecord {
                lsn: self.history.extent.first,
                reason: format!("what was repaired of {lost} documents can't be read any more"),
            };
            self.outputs.push_back(Output::Notice(notice));
        }
        for scan in parked {
            self.scan(scan);
        }
        self.tick_summaries(now);
    }

    /// A document is wanted that lacks something: that comes first.
    pub(in crate::replica) fn fetch_imports_of(&mut self, id: &DocumentId) {
        if let Some(from) = self.imports.first_of(id) {
            // One record at least is given, whatever its size.
            let fetch = Fetch::Log { from, bytes_max: 1 };
            self.fetch(fetch, Awaited::ImportsOf(id.clone(), from));
        }
    }

    pub(in crate::replica) fn imports_of_fetched(
        &mut self,
        now: Now,
        (id, from): (&DocumentId, Lsn),
        records: Vec<LogRecord>,
    ) {
        let Some(first) = self.imports.first_of(id) else {
            return self.resume_jobs(now, id);
        };
        if first != from {
            // It was put in place with all others meanwhile, and the next one is due.
            return self.fetch_imports_of(id);
        }
        match records.into_iter().find(|record| record.lsn == from) {
            Some(record) => self.put_in_place(&id.namespace, &record, Some(id)),
            None => self.give_up_import(now, id, from),
        }
        if self.imports.lacks(id) {
            self.fetch_imports_of(id);
        } else {
            self.resume_jobs(now, id);
            self.end_pending(now, &id.namespace);
        }
    }

    fn give_up_import(&mut self, now: Now, id: &DocumentId, from: Lsn) {
        let importing = self.imports.by_namespace.get_mut(&id.namespace);
        let Some(pending) = importing.and_then(|importing| importing.pending.as_mut()) else {
            return;
        };
        let place = Place::of(id);
        if let Some(lsns) = pending.places.get_mut(&place) {
            lsns.retain(|lsn| *lsn != from);
            if lsns.is_empty() {
                pending.places.remove(&place);
            }
        }
        self.count_anew(now);
    }

    /// The log can't be read: it is tried again, as far as anybody still asks.
    pub(in crate::replica) fn imports_failed(&mut self, now: Now, namespace: &Namespace) {
        let importing = self.imports.by_namespace.get_mut(namespace);
        if let Some(pending) = importing.and_then(|importing| importing.pending.as_mut()) {
            pending.asked = false;
        }
        self.imports.due_ms = Some(now.mono_ms + RETRY_MS);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Key;
    use crate::record::{Import, Imported};
    use crate::replica::tests::bed::namespace;

    /// A long replay is interrupted for folds. What stood in the log before the record from which on it counts was lost then.
    #[test]
    fn nothing_is_given_up_while_the_log_is_replayed() {
        let mut imports = Imports::default();
        let import = Import {
            namespace: namespace(0),
            began: Lsn(7),
            documents: vec![Imported {
                key: Key::new("k").unwrap(),
                pieces: Vec::new(),
                amount: 1,
            }],
            receipts: Vec::new(),
        };
        imports.begin_at(&namespace(0), Some(Lsn(7)));
        imports.stage(0, Lsn(7), &import);
        let now = Now {
            mono_ms: ABANDON_MS * 2,
            wall_ms: 0,
        };
        assert_eq!(imports.left_alone(now), []);
        imports.begin();
        imports.begin_at(&namespace(0), Some(Lsn(8)));
        imports.stage(
            0,
            Lsn(8),
            &Import {
                began: Lsn(8),
                ..import
            },
        );
        assert_eq!(imports.left_alone(now), [namespace(0)]);
    }
}
