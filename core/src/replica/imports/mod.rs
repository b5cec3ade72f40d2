//! What repairs have brought: kept in the log until all of it is there, and then put in place.
//!
//! While it comes, nobody sees any of it: a part would show effects without their causes, and batches cut in two. With its
//! **arrival** all of it counts at once. From then on a document that is asked for takes in first what came for it, and the rest is
//! taken in little by little. Until that is done the checkpoint stays where it is, so that a crash begins this again.

mod placing;

use std::collections::{BTreeMap, BTreeSet};

use super::listing::Scan;
use super::{Carried, Replica};
use crate::effect::{Now, Output, Visible};
use crate::persist::Place;
use crate::record::{Arrival, Import, Imported};
use crate::repair_message::GivenReceipt;
use crate::summary::Offsets;
use crate::{DocumentId, Frontier, Key, Lsn, Namespace, Seq, limits};

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
    /// What counts as soon as a record is durable that is on its way. Nothing takes it back but that record's failure.
    arriving: Option<Arriving>,
    /// What counts, and is not in its documents yet.
    pending: Option<Pending>,
    /// Listings that wait until it is.
    parked: Vec<Scan>,
}

struct Arriving {
    arrival: Lsn,
    staged: BTreeMap<Place, Vec<Lsn>>,
    receipts: Vec<GivenReceipt>,
    first: Option<Lsn>,
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
    /// The newest record from which on something counts.
    newest: Lsn,
    /// The replay is over.
    begun: bool,
}

impl Importing {
    /// Whether something is in the log that does not count yet.
    fn is_staged(&self) -> bool {
        !self.staged.is_empty() || !self.receipts.is_empty()
    }
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
            let before = std::mem::take(importing);
            importing.arriving = before.arriving;
            importing.pending = before.pending;
            importing.parked = before.parked;
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

    /// The record from which on everything counts that was put aside is on its way.
    fn leave_with(&mut self, namespace: &Namespace, arrival: Lsn) {
        let Some(importing) = self.by_namespace.get_mut(namespace) else {
            return;
        };
        importing.arriving = Some(Arriving {
            arrival,
            staged: std::mem::take(&mut importing.staged),
            receipts: std::mem::take(&mut importing.receipts),
            first: importing.first.take(),
        });
        self.drop_staged(namespace);
    }

    /// That record did not find room, and never will be there: what it was to count has to be sought again.
    pub(super) fn arrival_taken_back(&mut self, namespace: &Namespace, lsn: Lsn) {
        if let Some(importing) = self.by_namespace.get_mut(namespace) {
            importing
                .arriving
                .take_if(|arriving| arriving.arrival == lsn);
        }
        self.tidy(namespace);
    }

    /// Everything that was put aside counts from now on.
    fn arrive(&mut self, arrival: &Arrival, lsn: Lsn) -> (BTreeSet<Place>, Vec<GivenReceipt>) {
        let Some(importing) = self.by_namespace.get_mut(&arrival.namespace) else {
            return (BTreeSet::new(), Vec::new());
        };
        let left = importing
            .arriving
            .take_if(|arriving| arriving.arrival == lsn);
        let Some(Arriving {
            staged,
            receipts,
            first,
            ..
        }) = left
        else {
            return (BTreeSet::new(), Vec::new());
        };
        self.newest = self.newest.max(lsn);
        let places = staged.keys().copied().collect();
        // A repair may bring nothing but receipts: no document lacks anything then.
        if let Some(first) = first.filter(|_| !staged.is_empty()) {
            let pending = importing.pending.get_or_insert(Pending {
                arrival: lsn,
                next: first,
                asked: false,
                places: BTreeMap::new(),
            });
            pending.arrival = lsn;
            for (place, lsns) in staged {
                pending.places.entry(place).or_default().extend(lsns);
            }
        }
        self.due_ms = Some(0);
        self.tidy(&arrival.namespace);
        (places, receipts)
    }

    /// The replay is over. It is not known any more as of which frontier what does not count was given.
    pub(super) fn begin(&mut self) {
        self.begun = true;
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
                && importing.arriving.is_none()
                && importing.parked.is_empty()
                && importing.also.is_empty()
                && importing.cut.is_empty()
                && importing.began.is_none()
        };
        if self.by_namespace.get(namespace).is_some_and(is_idle) {
            self.by_namespace.remove(namespace);
        }
    }

    /// Whether the record is on its way from which on something counts.
    pub(super) fn is_arriving(&self, namespace: &Namespace) -> bool {
        let importing = self.by_namespace.get(namespace);
        importing.is_some_and(|importing| importing.arriving.is_some())
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

    /// Whether the log is needed from where it is, whatever was folded through there: something of it is not in place yet, or
    /// counts from a later record on. A start that found that record alone would hold nothing of what came.
    pub(super) fn hold_log(&self, through: Lsn) -> bool {
        let mut importing = self.by_namespace.values();
        self.newest > through
            || importing.any(|importing| {
                importing.pending.is_some() || importing.arriving.is_some() || importing.is_staged()
            })
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
        let lsn = self.admit_record(bytes, |lsn| Carried::Arrival(lsn, arrival));
        self.imports.leave_with(namespace, lsn);
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
        self.imports.leave_with(&arrival.namespace, lsn);
        let (_, receipts) = self.imports.arrive(arrival, lsn);
        for receipt in receipts {
            self.receipts
                .came_by_repair(&arrival.namespace, receipt, lsn);
        }
    }

    /// What this replica would hold once everything that has come counts.
    pub(super) fn holds_all_of(&self, namespace: &Namespace, frontier: &Frontier) -> bool {
        self.history
            .space(namespace)
            .is_some_and(|space| space.durable.covers(frontier))
            || frontier.is_empty()
    }
}
