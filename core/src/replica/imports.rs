//! What repairs have brought: kept in the log until all of it is there, and then put in place.
//!
//! While it comes, nobody sees any of it: a part would show effects without their causes, and batches cut in two. With its
//! **arrival** all of it counts at once. From then on a document that is asked for takes in first what came for it, and the rest is
//! taken in little by little. Until that is done the checkpoint stays where it is, so that a crash begins this again.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::Scan;
use super::{Awaited, Carried, Replica};
use crate::effect::{Notice, Now, Output, Visible};
use crate::persist::{Fetch, LogRecord, Place};
use crate::record::{Arrival, Import, Imported, Record};
use crate::repair_message::GivenReceipt;
use crate::summary::Offsets;
use crate::{DocumentId, Frontier, Key, Lsn, Namespace, Seq, limits};

/// What has come and does not count yet is given up when nothing was added to it for this long.
const ABANDON_MS: u64 = 600_000;
/// If it is still being sought, it is looked again after this long.
const ABANDON_AGAIN_MS: u64 = 10_000;
/// While memory is short it is looked again after this long whether there is room.
const RETRY_MS: u64 = 50;

/// What has come into one namespace.
#[derive(Default)]
pub(super) struct Importing {
    /// Where in the log what came for a document is.
    staged: BTreeMap<Place, Vec<Lsn>>,
    /// What it adds to sums.
    amounts: Offsets,
    /// What of that has come as batches as well since.
    also: Offsets,
    /// What of them was given was given as of there.
    cut: Frontier,
    receipts: Vec<GivenReceipt>,
    keys: BTreeSet<Key>,
    /// Keys are not all known.
    many: bool,
    /// Where it began in the log, if anything is on its way there; it goes by that name.
    began: Option<Lsn>,
    first: Option<Lsn>,
    touched_ms: u64,
    /// What counts, and is not in its documents yet.
    pending: Option<Pending>,
    /// Listings that wait until it is.
    parked: Vec<Scan>,
}

struct Pending {
    arrival: Lsn,
    /// How far the log was gone through.
    next: Lsn,
    asked: bool,
    places: BTreeMap<Place, Vec<Lsn>>,
}

#[derive(Default)]
pub(super) struct Imports {
    by_namespace: BTreeMap<Namespace, Importing>,
    due_ms: Option<u64>,
}

impl Imports {
    /// Puts what came aside, now that it is durable.
    pub(super) fn stage(&mut self, now_ms: u64, lsn: Lsn, import: &Import) {
        let importing = self
            .by_namespace
            .entry(import.namespace.clone())
            .or_default();
        if importing.began != Some(import.began) {
            // What it belongs with was given up.
            return;
        }
        importing.first.get_or_insert(lsn);
        importing.touched_ms = now_ms;
        let room = usize::try_from(limits::RECEIPTS_MAX).unwrap_or(usize::MAX);
        let room = room.saturating_sub(importing.receipts.len());
        let receipts = import.receipts.iter().take(room);
        importing.receipts.extend(receipts.cloned());
        for imported in &import.documents {
            let place = Place::of(&Replica::address(&import.namespace, &imported.key));
            let lsns = importing.staged.entry(place).or_default();
            if lsns.last() != Some(&lsn) {
                lsns.push(lsn);
            }
            let amount = importing.amounts.entry(place).or_insert(0);
            *amount = amount.wrapping_add(imported.amount);
            if importing.keys.len() < limits::ARRIVED_KEYS_MAX {
                importing.keys.insert(imported.key.clone());
            } else {
                importing.many |= !importing.keys.contains(&imported.key);
            }
        }
    }

    /// What has come adds this to sums.
    pub(super) fn offsets(&self, namespace: &Namespace) -> Offsets {
        let Some(importing) = self.by_namespace.get(namespace) else {
            return Offsets::new();
        };
        let mut offsets = importing.amounts.clone();
        for (place, amount) in &importing.also {
            if let Some(offset) = offsets.get_mut(place) {
                *offset = offset.wrapping_sub(*amount);
            }
        }
        offsets
    }

    /// What is given from now on is as of this frontier. What was given of more does not go with it.
    pub(super) fn stage_at(&mut self, namespace: &Namespace, cut: &Frontier) {
        let before = self.by_namespace.get(namespace);
        if before.is_some_and(|importing| !cut.covers(&importing.cut)) {
            self.drop_staged(namespace);
        }
        let importing = self.by_namespace.entry(namespace.clone()).or_default();
        importing.cut.clone_from(cut);
    }

    /// Up to where an origin's batches may be among what has come and does not count.
    pub(super) fn stages_beyond(&self, namespace: &Namespace, origin: &crate::Origin) -> Seq {
        let importing = self.by_namespace.get(namespace);
        let staged = importing.filter(|importing| !importing.staged.is_empty());
        staged.map_or(Seq(0), |importing| importing.cut.of(origin))
    }

    /// A batch came that the source has as well: what is given of its documents includes it.
    pub(super) fn came_otherwise(&mut self, namespace: &Namespace, place: Place, term: u64) {
        let importing = self.by_namespace.entry(namespace.clone()).or_default();
        let also = importing.also.entry(place).or_insert(0);
        *also = also.wrapping_add(term);
    }

    pub(super) fn has_staged(&self, namespace: &Namespace) -> bool {
        let importing = self.by_namespace.get(namespace);
        importing.is_some_and(|importing| !importing.staged.is_empty())
    }

    /// Forgets what came and does not count: it is not what it seemed to be.
    pub(super) fn drop_staged(&mut self, namespace: &Namespace) {
        if let Some(importing) = self.by_namespace.get_mut(namespace) {
            let pending = importing.pending.take();
            let parked = std::mem::take(&mut importing.parked);
            *importing = Importing {
                pending,
                parked,
                ..Importing::default()
            };
        }
        self.tidy(namespace);
    }

    /// What began elsewhere in the log was given up.
    fn begin_at(&mut self, namespace: &Namespace, began: Option<Lsn>) {
        let before = self.by_namespace.get(namespace);
        if before.is_some_and(|importing| importing.began != began) {
            self.drop_staged(namespace);
        }
        if began.is_some() {
            let importing = self.by_namespace.entry(namespace.clone()).or_default();
            importing.began = began;
        }
    }

    /// Everything that was put aside counts from now on.
    fn arrive(&mut self, arrival: &Arrival, lsn: Lsn) -> (BTreeSet<Place>, Vec<GivenReceipt>) {
        let Some(importing) = self.by_namespace.get_mut(&arrival.namespace) else {
            return (BTreeSet::new(), Vec::new());
        };
        let receipts = std::mem::take(&mut importing.receipts);
        importing.cut = Frontier::default();
        let staged = std::mem::take(&mut importing.staged);
        let first = importing.first.take();
        importing.began = None;
        importing.amounts.clear();
        importing.also.clear();
        importing.keys.clear();
        importing.many = false;
        let places = staged.keys().copied().collect();
        if let Some(first) = first {
            let mut pending = importing.pending.take().unwrap_or(Pending {
                arrival: lsn,
                next: first,
                asked: false,
                places: BTreeMap::new(),
            });
            pending.arrival = lsn;
            for (place, lsns) in staged {
                pending.places.entry(place).or_default().extend(lsns);
            }
            importing.pending = Some(pending);
        }
        self.due_ms = Some(0);
        self.tidy(&arrival.namespace);
        (places, receipts)
    }

    /// The replay is over. It is not known any more as of which frontier what does not count was given.
    pub(super) fn begin(&mut self) {
        let namespaces: Vec<_> = self.by_namespace.keys().cloned().collect();
        namespaces
            .iter()
            .for_each(|namespace| self.drop_staged(namespace));
    }

    /// Nothing that came counts any more.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        self.by_namespace.remove(namespace);
    }

    fn tidy(&mut self, namespace: &Namespace) {
        let is_idle = |importing: &Importing| {
            importing.staged.is_empty()
                && importing.pending.is_none()
                && importing.parked.is_empty()
                && importing.also.is_empty()
                && importing.cut.is_empty()
                && importing.began.is_none()
        };
        if self.by_namespace.get(namespace).is_some_and(is_idle) {
            self.by_namespace.remove(namespace);
        }
    }

    /// Whether something that counts is not in its documents yet.
    pub(super) fn is_pending(&self, namespace: &Namespace) -> bool {
        let importing = self.by_namespace.get(namespace);
        importing.is_some_and(|importing| importing.pending.is_some())
    }

    pub(super) fn has_pending(&self) -> bool {
        self.by_namespace
            .values()
            .any(|importing| importing.pending.is_some())
    }

    /// Whether a document lacks something that counts.
    pub(super) fn lacks(&self, id: &DocumentId) -> bool {
        self.first_of(id).is_some()
    }

    fn first_of(&self, id: &DocumentId) -> Option<Lsn> {
        let pending = self.by_namespace.get(&id.namespace)?.pending.as_ref()?;
        pending.places.get(&Place::of(id))?.first().copied()
    }

    /// Whether the log is needed from where it is, since documents lack something of it.
    pub(super) fn hold_log(&self) -> bool {
        self.by_namespace
            .values()
            .any(|importing| importing.pending.is_some() || !importing.staged.is_empty())
    }

    pub(super) fn park(&mut self, scan: Scan) {
        let importing = self.by_namespace.entry(scan.namespace.clone()).or_default();
        importing.parked.push(scan);
    }

    /// The store failed: those that wait will not be answered.
    pub(super) fn take_parked(&mut self) -> Vec<Scan> {
        let importing = self.by_namespace.values_mut();
        let parked = importing.map(|importing| std::mem::take(&mut importing.parked));
        parked.flatten().collect()
    }

    pub(super) fn wake_at(&self) -> u64 {
        self.due_ms.unwrap_or(u64::MAX)
    }

    /// Documents that wait for what came for them, for people.
    pub(super) fn pending(&self) -> usize {
        let pending = self.by_namespace.values();
        let pending = pending.filter_map(|importing| importing.pending.as_ref());
        pending.map(|pending| pending.places.len()).sum()
    }
}

impl Replica {
    /// Puts what a peer gave into the log.
    pub(super) fn import(
        &mut self,
        namespace: Namespace,
        documents: Vec<Imported>,
        receipts: Vec<GivenReceipt>,
    ) -> Lsn {
        let importing = self.imports.by_namespace.entry(namespace.clone());
        let next = self.history.log_end.next();
        let began = *importing.or_default().began.get_or_insert(next);
        let import = Import {
            namespace,
            began,
            documents,
            receipts,
        };
        let bytes = import.encode();
        self.admit_record(bytes, |lsn| Carried::Import(lsn, import))
    }

    /// Puts into the log that everything is there that the peer held by then.
    pub(super) fn put_arrival(
        &mut self,
        namespace: &Namespace,
        positions: Vec<(crate::Origin, Seq, bool)>,
    ) {
        let importing = self.imports.by_namespace.get(namespace);
        let whole = importing.is_none_or(|importing| !importing.many);
        let keys = importing.map(|importing| importing.keys.iter().cloned().collect());
        let arrival = Arrival {
            namespace: namespace.clone(),
            began: importing.and_then(|importing| importing.began),
            positions,
            whole,
            keys: keys.unwrap_or_default(),
        };
        let bytes = arrival.encode();
        self.admit_record(bytes, |lsn| Carried::Arrival(lsn, arrival));
    }

    /// It is durable: now it counts.
    pub(super) fn arrived_by_repair(&mut self, now: Now, lsn: Lsn, arrival: &Arrival) {
        let namespace = &arrival.namespace;
        let before = self.durable_frontier(namespace);
        self.history.arrive(arrival, lsn, &self.origin);
        self.end_serving(namespace);
        let (places, receipts) = self.imports.arrive(arrival, lsn);
        for receipt in receipts {
            self.receipts.came_by_repair(namespace, receipt, lsn);
        }
        self.shelf
            .forget_all(|id| id.namespace == *namespace && places.contains(&Place::of(id)));
        let visible = self.arrival_visible(lsn, arrival);
        self.outputs.push_back(Output::Visible(visible));
        for (origin, seq, _) in &arrival.positions {
            if *seq <= before.of(origin) {
                continue;
            }
            let name = (namespace.clone(), *origin);
            for peer in self.peers.linked() {
                if let Some(session) = self.peers.session(peer) {
                    session.acknowledge(name.clone(), *seq, true, now.mono_ms);
                }
            }
            self.wake_waiting(now, namespace, origin, *seq);
        }
        while let Some(next) = self.history.next_due(namespace) {
            self.admit(now, &next, &[]);
        }
        self.salvage.stir(now);
        self.tick_imports(now);
    }

    pub(super) fn arrival_visible(&self, lsn: Lsn, arrival: &Arrival) -> Visible {
        let documents = arrival.keys.iter();
        let positions = arrival.positions.iter();
        let positions = positions.map(|(origin, seq, _)| (*origin, *seq));
        Visible {
            lsn,
            namespace: arrival.namespace.clone(),
            origin: self.origin,
            seq: Seq(0),
            time_ms: 0,
            local: false,
            documents: documents
                .map(|key| Self::address(&arrival.namespace, key))
                .collect(),
            repaired: Some(crate::effect::Repaired {
                positions: positions.collect(),
                whole: arrival.whole,
            }),
        }
    }

    /// Takes in, at start, what stands in the log.
    pub(super) fn replay_import(&mut self, lsn: Lsn, import: &Import) {
        self.imports.begin_at(&import.namespace, Some(import.began));
        self.imports.stage(0, lsn, import);
    }

    pub(super) fn replay_arrival(&mut self, lsn: Lsn, arrival: &Arrival) {
        self.history.arrive(arrival, lsn, &self.origin);
        self.imports.begin_at(&arrival.namespace, arrival.began);
        let (_, receipts) = self.imports.arrive(arrival, lsn);
        for receipt in receipts {
            self.receipts
                .came_by_repair(&arrival.namespace, receipt, lsn);
        }
    }

    pub(super) fn tick_imports(&mut self, now: Now) {
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
            if !importing.staged.is_empty() {
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
        let old = |importing: &Importing| {
            !importing.staged.is_empty() && now.mono_ms >= importing.touched_ms + ABANDON_MS
        };
        let namespaces = self.imports.by_namespace.iter();
        let gone: Vec<_> = namespaces
            .filter(|(namespace, importing)| old(importing) && !self.comparisons.seeks(namespace))
            .map(|(namespace, _)| namespace.clone())
            .collect();
        gone.iter()
            .for_each(|namespace| self.imports.drop_staged(namespace));
    }

    /// Records among which are those that came for documents.
    pub(super) fn imports_fetched(
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
    pub(super) fn fetch_imports_of(&mut self, id: &DocumentId) {
        if let Some(from) = self.imports.first_of(id) {
            // One record at least is given, whatever its size.
            let fetch = Fetch::Log { from, bytes_max: 1 };
            self.fetch(fetch, Awaited::ImportsOf(id.clone()));
        }
    }

    pub(super) fn imports_of_fetched(
        &mut self,
        now: Now,
        id: &DocumentId,
        records: Vec<LogRecord>,
    ) {
        let Some(from) = self.imports.first_of(id) else {
            return self.resume_jobs(now, id);
        };
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
    pub(super) fn imports_failed(&mut self, now: Now, namespace: &Namespace) {
        let importing = self.imports.by_namespace.get_mut(namespace);
        if let Some(pending) = importing.and_then(|importing| importing.pending.as_mut()) {
            pending.asked = false;
        }
        self.imports.due_ms = Some(now.mono_ms + RETRY_MS);
    }

    /// What this replica would hold once everything that has come counts.
    pub(super) fn holds_all_of(&self, namespace: &Namespace, frontier: &Frontier) -> bool {
        self.history
            .space(namespace)
            .is_some_and(|space| space.durable.covers(frontier))
            || frontier.is_empty()
    }
}
