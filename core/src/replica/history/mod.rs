//! What the replica holds of every origin: frontiers, the order in which batches may be taken in, where
//! they stand in the log, and the newest of them in memory.

mod checkpointed;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::extent::Extent;
use super::recent::Recent;
use super::session::Stream;
use crate::frontier::Heads;
use crate::record::Arrival;
use crate::{Batch, Frontier, Lsn, Namespace, Origin, OriginTag, Seq, limits};

/// Log positions are noted once per so many batches of an origin, or once per so many records of the log,
/// whichever comes first; between them a reader scans, so the scan is short for rare origins, too.
const INDEX_EVERY: u64 = 128;
const INDEX_EVERY_RECORDS: u64 = 4_096;

/// Repairs that are remembered of an origin, to tell which of its batches in the log had come by one.
const LEAPS_MAX: usize = 16;

/// What became of a batch that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offered {
    /// Its turn: it goes into the log now.
    Due,
    /// Held already.
    Known,
    /// Waits for what must come before it.
    HeldBack,
    /// Something before it is missing, and it was dropped: ask for what comes after the given position.
    Gap { after: Seq },
}

#[derive(Default)]
pub(super) struct Space {
    /// What is in the log, or on its way there.
    pub(super) accepted: Frontier,
    /// What a crash can't take back.
    pub(super) durable: Frontier,
    /// Of each of the two, what implies the rest.
    accepted_heads: Heads,
    pub(super) durable_heads: Heads,
    /// Others' origins that moved since our own last batch: the next batch's causes.
    fresh: BTreeSet<Origin>,
    held_back: BTreeMap<Origin, BTreeMap<Seq, Arc<Batch>>>,
    index: BTreeMap<Origin, Vec<(Seq, Lsn)>>,
    /// When the last batch of each was written, by its writer's clock.
    times: BTreeMap<Origin, u64>,
    /// Of origins whose batches did not all come by the log: the first after those that did not, and the record that
    /// brought those.
    logged_from: BTreeMap<Origin, VecDeque<(Seq, Lsn)>>,
}

impl Space {
    fn is_due(&self, batch: &Batch) -> bool {
        batch.seq == self.accepted.of(&batch.origin).next()
            && batch
                .causes
                .iter()
                .all(|(origin, seq)| self.accepted.of(origin) >= *seq)
    }
}

#[derive(Default)]
pub(super) struct History {
    spaces: BTreeMap<Namespace, Space>,
    /// The last record that was handed out.
    pub(super) log_end: Lsn,
    /// The last record that a crash can't take back.
    pub(super) durable_end: Lsn,
    /// What of the log is still there.
    pub(super) extent: Extent,
    held_back_bytes: usize,
    recent: Recent,
    /// Every origin that has a batch here, and what stands for it in tokens and documents.
    tags: BTreeMap<Origin, OriginTag>,
    tagged: BTreeMap<OriginTag, Origin>,
}

impl History {
    pub(super) fn spaces(&self) -> impl Iterator<Item = (&Namespace, &Space)> {
        self.spaces.iter()
    }

    pub(super) fn space(&self, namespace: &Namespace) -> Option<&Space> {
        self.spaces.get(namespace)
    }

    pub(super) fn accepted(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        self.spaces
            .get(namespace)
            .map_or(Seq(0), |space| space.accepted.of(origin))
    }

    pub(super) fn durable(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        self.spaces
            .get(namespace)
            .map_or(Seq(0), |space| space.durable.of(origin))
    }

    /// The last batch of an origin that is here, held back or not.
    pub(super) fn at_hand(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        let Some(space) = self.spaces.get(namespace) else {
            return Seq(0);
        };
        let held_back = space.held_back.get(origin);
        let last = held_back.and_then(|waiting| waiting.last_key_value());
        last.map_or(Seq(0), |(seq, _)| *seq)
            .max(space.accepted.of(origin))
    }

    fn tag(&mut self, origin: Origin) -> OriginTag {
        if let Some(tag) = self.tags.get(&origin) {
            return *tag;
        }
        let tag = origin.tag();
        self.tags.insert(origin, tag);
        self.tagged.insert(tag, origin);
        tag
    }

    /// What stands for an origin that has a batch here.
    pub(super) fn tag_of(&self, origin: &Origin) -> OriginTag {
        self.tags
            .get(origin)
            .map_or_else(|| origin.tag(), |tag| *tag)
    }

    /// The origin for which this stands, if it has a batch here.
    pub(super) fn tagged(&self, tag: &OriginTag) -> Option<Origin> {
        self.tagged.get(tag).copied()
    }

    /// Up to where the origin for which this stands is durable here.
    pub(super) fn durable_tagged(&self, namespace: &Namespace, tag: &OriginTag) -> Seq {
        self.tagged(tag)
            .map_or(Seq(0), |origin| self.durable(namespace, &origin))
    }

    pub(super) fn held_back_bytes(&self) -> usize {
        self.held_back_bytes
    }

    /// False for one namespace too many.
    pub(super) fn has_room_for(&self, namespace: &Namespace) -> bool {
        self.spaces.len() < limits::NAMESPACES_MAX || self.spaces.contains_key(namespace)
    }

    /// Whether a batch from elsewhere may be taken in now.
    pub(super) fn offer(&mut self, batch: &Arc<Batch>, held_back_bytes_max: usize) -> Offered {
        let is_new = !self.spaces.contains_key(&batch.namespace);
        let offered = self.weigh(batch, held_back_bytes_max);
        if is_new && matches!(offered, Offered::Known | Offered::Gap { .. }) {
            // Of a namespace that somebody has named nothing is kept but what is in it.
            self.spaces.remove(&batch.namespace);
        }
        offered
    }

    fn weigh(&mut self, batch: &Arc<Batch>, held_back_bytes_max: usize) -> Offered {
        if !self.has_room_for(&batch.namespace) {
            return Offered::Known;
        }
        let space = self.spaces.entry(batch.namespace.clone()).or_default();
        let accepted = space.accepted.of(&batch.origin);
        if accepted == Seq(0) && space.accepted.len() >= limits::ORIGINS_MAX {
            return Offered::Known;
        }
        if batch.seq <= accepted {
            return Offered::Known;
        }
        if space.is_due(batch) {
            return Offered::Due;
        }
        let waiting = space.held_back.entry(batch.origin).or_default();
        if waiting.contains_key(&batch.seq) {
            return Offered::HeldBack;
        }
        let last = waiting.last_key_value().map_or(accepted, |(seq, _)| *seq);
        let bytes = batch.bytes();
        let contiguous = batch.seq == last.next();
        if !contiguous || self.held_back_bytes + bytes > held_back_bytes_max {
            if waiting.is_empty() {
                space.held_back.remove(&batch.origin);
            }
            return Offered::Gap { after: last };
        }
        waiting.insert(batch.seq, batch.clone());
        self.held_back_bytes += bytes;
        Offered::HeldBack
    }

    /// Whether a batch is its origin's next, whatever else it waits for.
    #[cfg(feature = "planted")]
    pub(super) fn is_next(&self, batch: &Batch) -> bool {
        batch.seq == self.accepted(&batch.namespace, &batch.origin).next()
    }

    /// Takes one batch out of waiting whose turn has come.
    pub(super) fn next_due(&mut self, namespace: &Namespace) -> Option<Arc<Batch>> {
        let space = self.spaces.get_mut(namespace)?;
        if space.held_back.is_empty() {
            return None;
        }
        let accepted = space.accepted.clone();
        for (origin, waiting) in &mut space.held_back {
            // What came by another way in the meantime waits for nothing.
            while let Some(entry) = waiting.first_entry()
                && *entry.key() <= accepted.of(origin)
            {
                self.held_back_bytes -= entry.remove().bytes();
            }
        }
        space.held_back.retain(|_, waiting| !waiting.is_empty());
        let ready = |batch: &Arc<Batch>| space.is_due(batch);
        let (origin, seq) = space
            .held_back
            .iter()
            .filter_map(|(origin, waiting)| Some((origin, waiting.first_key_value()?)))
            .find(|(_, (_, batch))| ready(batch))
            .map(|(origin, (seq, _))| (*origin, *seq))?;
        let waiting = space.held_back.get_mut(&origin)?;
        let batch = waiting.remove(&seq)?;
        if waiting.is_empty() {
            space.held_back.remove(&origin);
        }
        self.held_back_bytes -= batch.bytes();
        Some(batch)
    }

    /// What held-back batches wait for: which origin up to where, and whose batches they are.
    pub(super) fn unmet_causes(&self) -> Vec<(Namespace, Origin, Seq, Origin)> {
        let mut unmet = Vec::new();
        for (namespace, space) in &self.spaces {
            for batch in space
                .held_back
                .values()
                .filter_map(|waiting| waiting.values().next())
            {
                for (origin, seq) in &batch.causes {
                    if space.accepted.of(origin) < *seq {
                        unmet.push((namespace.clone(), *origin, *seq, batch.origin));
                    }
                }
            }
        }
        unmet
    }

    /// The position that [`Self::next_own`] would give now.
    pub(super) fn next_seq(&self, namespace: &Namespace, own: &Origin) -> Seq {
        self.accepted(namespace, own).next()
    }

    /// The next position of our own, and what we have seen of others since the last.
    pub(super) fn next_own(
        &mut self,
        namespace: &Namespace,
        own: &Origin,
    ) -> (Seq, Vec<(Origin, Seq)>) {
        let space = self.spaces.entry(namespace.clone()).or_default();
        let fresh = std::mem::take(&mut space.fresh);
        let causes = fresh
            .into_iter()
            .map(|origin| (origin, space.accepted.of(&origin)))
            .collect();
        (space.accepted.of(own).next(), causes)
    }

    /// Gives a batch its place in the log.
    pub(super) fn accept(&mut self, batch: &Batch, own: &Origin) -> Lsn {
        self.log_end = self.log_end.next();
        self.note(batch, self.log_end, own);
        self.log_end
    }

    /// What waits for something else is not waited with.
    pub(super) fn drop_held_back(&mut self, namespace: &Namespace) {
        if let Some(space) = self.spaces.get_mut(namespace) {
            let held_back = std::mem::take(&mut space.held_back).into_values();
            let batches = held_back.flat_map(BTreeMap::into_values);
            self.held_back_bytes -= batches.map(|batch| batch.bytes()).sum::<usize>();
        }
    }

    /// Nothing of a namespace counts any more.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        self.drop_held_back(namespace);
        self.spaces.remove(namespace);
        self.recent.forget(namespace);
    }

    /// Forgets everything that is not durable, so many bytes of records: it never will be.
    pub(super) fn take_back(&mut self, bytes: u64) {
        let end = self.durable_end;
        self.log_end = end;
        self.extent.take_back(end, bytes);
        for space in self.spaces.values_mut() {
            space.accepted = space.durable.clone();
            space.accepted_heads = space.durable_heads.clone();
            for index in space.index.values_mut() {
                index.truncate(index.partition_point(|(_, lsn)| *lsn <= end));
            }
            space.index.retain(|_, index| !index.is_empty());
        }
        // What the batches that are gone had named as their causes must be named again.
        self.renew();
    }

    /// Positions before this one are not looked for any more.
    pub(super) fn release_before(&mut self, first: Lsn) {
        self.extent.release_before(first);
        for space in self.spaces.values_mut() {
            for index in space.index.values_mut() {
                // The last entry before it still tells where to begin.
                let gone = index.partition_point(|(_, lsn)| *lsn < first);
                index.drain(..gone.saturating_sub(1));
            }
        }
    }

    /// Before which position of the log there is nothing that a peer may still ask for, as far as it is known
    /// what it holds.
    pub(super) fn needed_by(&self, holds: impl Fn(&Namespace, &Origin) -> Seq) -> Lsn {
        let mut needed = self.durable_end.next();
        for (namespace, space) in &self.spaces {
            for (origin, seq) in space.durable.iter() {
                let held = holds(namespace, origin);
                let next = held.next();
                if held < *seq && !self.was_never_logged(namespace, origin, next) {
                    needed = needed.min(self.find(namespace, origin, next));
                }
            }
        }
        needed
    }

    fn note(&mut self, batch: &Batch, lsn: Lsn, own: &Origin) {
        self.tag(batch.origin);
        let space = self.spaces.entry(batch.namespace.clone()).or_default();
        if space.accepted.raise(batch.origin, batch.seq) {
            let heads = &mut space.accepted_heads;
            heads.add(batch.origin, batch.seq, &batch.causes);
        }
        if batch.origin != *own {
            space.fresh.insert(batch.origin);
        }
        space.times.insert(batch.origin, batch.time_ms);
        let index = space.index.entry(batch.origin).or_default();
        if index.last().is_none_or(|(seq, at)| {
            batch.seq.0 >= seq.0 + INDEX_EVERY || lsn.0 >= at.0 + INDEX_EVERY_RECORDS
        }) {
            index.push((batch.seq, lsn));
        }
    }

    /// Takes note of a record read from the log at start. False if something before it is missing: records were
    /// lost, and others will send it again.
    pub(super) fn replay(&mut self, batch: &Batch, lsn: Lsn, own: &Origin) -> bool {
        let held = self.accepted(&batch.namespace, &batch.origin);
        let missing =
            |(origin, seq): &(Origin, Seq)| self.accepted(&batch.namespace, origin) < *seq;
        if batch.seq > held.next() || batch.seq > held && batch.causes.iter().any(missing) {
            return false;
        }
        self.note(batch, lsn, own);
        self.become_durable(batch);
        true
    }

    /// The replay has come to the log's end.
    pub(super) fn end_replay(&mut self, end: Lsn) {
        self.log_end = self.log_end.max(end);
        self.durable_end = self.log_end;
    }

    fn become_durable(&mut self, batch: &Batch) -> bool {
        if let Some(space) = self.spaces.get_mut(&batch.namespace)
            && space.durable.raise(batch.origin, batch.seq)
        {
            let heads = &mut space.durable_heads;
            heads.add(batch.origin, batch.seq, &batch.causes);
            return true;
        }
        false
    }

    /// A batch is durable: from now on it may be shown and sent. Says whether it was not held by then.
    pub(super) fn settle(&mut self, batch: &Arc<Batch>, lsn: Lsn, recent_bytes_max: usize) -> bool {
        self.durable_end = self.durable_end.max(lsn);
        let is_new = self.become_durable(batch);
        self.recent.push(batch.clone(), recent_bytes_max);
        is_new
    }

    /// Gives a record that is no batch its place in the log.
    pub(super) fn accept_record(&mut self) -> Lsn {
        self.log_end = self.log_end.next();
        self.log_end
    }

    /// Such a record is durable.
    pub(super) fn settle_record(&mut self, lsn: Lsn) {
        self.durable_end = self.durable_end.max(lsn);
    }

    /// All that a peer held has come by a repair, as of a record of the log.
    pub(super) fn arrive(&mut self, arrival: &Arrival, lsn: Lsn, own: &Origin) {
        for (origin, ..) in &arrival.positions {
            self.tag(*origin);
        }
        let space = self.spaces.entry(arrival.namespace.clone()).or_default();
        let positions = arrival.positions.iter();
        let theirs: Frontier = positions.clone().map(|(o, seq, _)| (*o, *seq)).collect();
        let mut heads = Heads::default();
        for (origin, seq, is_head) in positions {
            if *is_head {
                heads.add(*origin, *seq, &[]);
            }
        }
        space.durable_heads.join(&space.durable, &heads, &theirs);
        space.accepted_heads.join(&space.accepted, &heads, &theirs);
        for (origin, seq) in theirs.iter() {
            let counts = space.durable.raise(*origin, *seq);
            let is_new = space.accepted.raise(*origin, *seq);
            if counts || is_new {
                // Also of what was accepted while the record was on its way: it stands behind it in the log.
                let leaps = space.logged_from.entry(*origin).or_default();
                leaps.push_back((seq.next(), lsn));
                if leaps.len() > LEAPS_MAX {
                    leaps.pop_front();
                }
            }
            if is_new {
                // Nothing of the origin before here is worth looking for.
                space.index.insert(*origin, vec![(seq.next(), lsn)]);
                if origin != own {
                    space.fresh.insert(*origin);
                }
            }
        }
    }

    /// Whether a batch stands in the log although all that it brings had come by a repair before.
    pub(super) fn came_before(&self, batch: &Batch, lsn: Lsn) -> bool {
        let space = self.spaces.get(&batch.namespace);
        let leaps = space.and_then(|space| space.logged_from.get(&batch.origin));
        let mut leaps = leaps.into_iter().flatten();
        leaps.any(|(from, arrival)| batch.seq < *from && lsn > *arrival)
    }

    /// Since when, by their writers' clocks, batches may be missing that others hold; 0: since ever.
    pub(super) fn lacks_since(&self, namespace: &Namespace, theirs: &Frontier) -> u64 {
        let Some(space) = self.spaces.get(namespace) else {
            return 0;
        };
        let ahead = theirs
            .iter()
            .filter(|(origin, seq)| **seq > space.durable.of(origin));
        // Of an origin that is not known here, its replica's last one tells.
        let last = |origin: &Origin| {
            let known = space.times.iter();
            let known = known.filter(|(of, _)| of.replica == origin.replica);
            known.map(|(_, time)| *time).min().unwrap_or(0)
        };
        ahead.map(|(origin, _)| last(origin)).min().unwrap_or(0)
    }

    /// Whether a batch that is held never was in the log, as far as it reaches back.
    pub(super) fn was_never_logged(
        &self,
        namespace: &Namespace,
        origin: &Origin,
        seq: Seq,
    ) -> bool {
        let space = self.spaces.get(namespace);
        let leaps = space.and_then(|space| space.logged_from.get(origin));
        let last = leaps.and_then(|leaps| leaps.back());
        last.is_some_and(|(from, _)| seq < *from)
    }

    /// A durable batch that is still in memory.
    pub(super) fn recent(
        &self,
        namespace: &Namespace,
        origin: &Origin,
        seq: Seq,
    ) -> Option<&Arc<Batch>> {
        self.recent.get(namespace, origin, seq)
    }

    /// The oldest batch of an origin that is still in memory.
    pub(super) fn oldest_recent(&self, namespace: &Namespace, origin: &Origin) -> Option<Seq> {
        self.recent.oldest(namespace, origin)
    }

    /// Where in the log to begin looking for a batch.
    pub(super) fn find(&self, namespace: &Namespace, origin: &Origin, seq: Seq) -> Lsn {
        let index = self
            .spaces
            .get(namespace)
            .and_then(|space| space.index.get(origin));
        let at = index.map(|index| (index, index.partition_point(|(noted, _)| *noted <= seq)));
        at.and_then(|(index, at)| index.get(at.checked_sub(1)?))
            .map_or(self.extent.first, |(_, lsn)| *lsn)
    }

    /// Before which position of the log nothing that a stream still needs can be.
    pub(super) fn begin_of(&self, name: &(Namespace, Origin), stream: &Stream) -> Lsn {
        self.find(&name.0, &name.1, stream.next).max(stream.scanned)
    }

    /// A new incarnation knows of everything here, the old one's batches included.
    pub(super) fn renew(&mut self) {
        for space in self.spaces.values_mut() {
            space.fresh = space.accepted.iter().map(|(origin, _)| *origin).collect();
        }
    }
}
