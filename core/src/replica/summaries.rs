//! The summaries of all namespaces, as of what is durable.
//!
//! They are kept in memory. A document's sum stands beside its state in the store, so after a start they are built from
//! there, a page at a time beside everything else, once what was replayed has been folded: what is in the store and what
//! is still in memory then add up. What becomes durable adds its terms.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, RangeBounds as _};

use bytes::Bytes;

use super::{Awaited, Replica};
use crate::document::{Document, is_whole};
use crate::effect::Now;
use crate::persist::{Fetch, Place, StoreError, StoredDocument};
use crate::summary::{Offsets, Summary, View, term_of_change};
use crate::{Batch, DocumentId, Frontier, Lsn, Namespace, Origin, Seq, limits};

/// A page that could not be read, since it is damaged, is tried again after this long.
const RETRY_MS: u64 = 2_000;

/// What one change added to its document.
pub(super) type Term = (Place, u64);

enum Stage {
    /// Until what was replayed has been folded.
    Replayed {
        through: Lsn,
        due_ms: u64,
    },
    /// Going through what is stored.
    Building {
        from: Bound<DocumentId>,
        asked: bool,
        due_ms: u64,
    },
    Ready,
}

pub(super) struct Summaries {
    key: [u8; 32],
    by_namespace: BTreeMap<Namespace, Summary>,
    stage: Stage,
    /// How often everything was counted anew: an answer to a question of before is of no use.
    count: u64,
    recent: RecentTerms,
    /// Documents that can't be read are left out: this replica can look for what it lacks, and be no measure for others.
    incomplete: bool,
    none: Offsets,
}

/// The terms of batches in a row.
type Batches = VecDeque<(Seq, Vec<Term>)>;

/// The terms of recent batches, by which a summary can be brought back to a frontier a little earlier.
#[derive(Default)]
struct RecentTerms {
    /// Of each origin without gaps.
    by_origin: BTreeMap<(Namespace, Origin), Batches>,
    order: VecDeque<(Namespace, Origin)>,
    terms: usize,
}

impl RecentTerms {
    fn push(&mut self, batch: &Batch, terms: Vec<Term>) {
        let name = (batch.namespace.clone(), batch.origin);
        let queue = self.by_origin.entry(name.clone()).or_default();
        if queue
            .back()
            .is_some_and(|(last, _)| last.next() != batch.seq)
        {
            // What came in between did so by a repair.
            self.terms -= queue
                .iter()
                .map(|(_, terms)| terms.len() + 1)
                .sum::<usize>();
            queue.clear();
        }
        self.terms += terms.len() + 1;
        queue.push_back((batch.seq, terms));
        self.order.push_back(name);
        while self.terms > limits::RECENT_TERMS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            // Of a queue that was cleared there are more names than batches; then it loses some before their time.
            if let Some(queue) = self.by_origin.get_mut(&oldest) {
                let gone = queue.pop_front();
                self.terms -= gone.map_or(0, |(_, terms)| terms.len() + 1);
                if queue.is_empty() {
                    self.by_origin.remove(&oldest);
                }
            }
        }
    }

    fn forget(&mut self, namespace: &Namespace) {
        let gone = self.by_origin.extract_if(.., |(of, _), _| of == namespace);
        for (_, terms) in gone.flat_map(|(_, queue)| queue) {
            self.terms -= terms.len() + 1;
        }
        self.order.retain(|(of, _)| of != namespace);
    }

    /// The terms of an origin's batches after one up to another; none if not all are known.
    fn between(
        &self,
        namespace: &Namespace,
        origin: &Origin,
        after: Seq,
        through: Seq,
    ) -> Option<impl Iterator<Item = &Term>> {
        let queue = self.by_origin.get(&(namespace.clone(), *origin))?;
        let first = queue.front()?.0;
        let whole = first <= after.next() && queue.back()?.0 >= through;
        let batches = queue
            .iter()
            .filter(move |(seq, _)| *seq > after && *seq <= through);
        whole.then(|| batches.flat_map(|(_, terms)| terms))
    }
}

impl Summaries {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            by_namespace: BTreeMap::new(),
            stage: Stage::Replayed {
                through: Lsn(0),
                due_ms: 0,
            },
            count: 0,
            recent: RecentTerms::default(),
            incomplete: false,
            none: Offsets::new(),
        }
    }

    /// Nothing of a namespace counts any more.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        self.by_namespace.remove(namespace);
        self.recent.forget(namespace);
    }

    fn recount(&mut self, through: Lsn) {
        self.by_namespace.clear();
        self.count += 1;
        self.incomplete = false;
        self.recent = RecentTerms::default();
        self.begin(through);
    }

    /// Changes have gone from memory to the store. Where that is still to be gone through they will be met again.
    pub(super) fn folded(&mut self, id: &DocumentId, changes: &[Bytes]) {
        let Stage::Building { from, .. } = &self.stage else {
            return;
        };
        if !(from.clone(), Bound::Unbounded).contains(id) {
            return;
        }
        let summary = self.of(&id.namespace);
        for change in changes {
            summary.add(Place::of(id), 0_u64.wrapping_sub(term_of_change(change)));
        }
    }

    /// What was in the way is no more.
    pub(super) fn hasten(&mut self, now: Now) {
        if let Stage::Replayed { due_ms, .. } | Stage::Building { due_ms, .. } = &mut self.stage {
            *due_ms = now.mono_ms;
        }
    }

    fn put_off(&mut self, now: Now) {
        if let Stage::Replayed { due_ms, .. }
        | Stage::Building {
            asked: false,
            due_ms,
            ..
        } = &mut self.stage
            && *due_ms <= now.mono_ms
        {
            *due_ms = now.mono_ms + RETRY_MS;
        }
    }

    /// The replay has come to an end.
    pub(super) fn begin(&mut self, end: Lsn) {
        self.stage = Stage::Replayed {
            through: end,
            due_ms: 0,
        };
    }

    /// Whether everything has been counted that can be read.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Whether that is everything.
    pub(super) fn is_whole(&self) -> bool {
        self.is_ready() && !self.incomplete
    }

    /// Whether something could not be read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    fn is_counting(&self) -> bool {
        !matches!(self.stage, Stage::Replayed { .. })
    }

    /// Whether the store is being asked for sums: no change may go to it meanwhile.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Building { asked: true, .. })
    }

    pub(super) fn wake_at(&self) -> u64 {
        match &self.stage {
            Stage::Replayed { due_ms, .. }
            | Stage::Building {
                asked: false,
                due_ms,
                ..
            } => *due_ms,
            Stage::Building { .. } | Stage::Ready => u64::MAX,
        }
    }

    pub(super) fn of(&mut self, namespace: &Namespace) -> &mut Summary {
        let key = self.key;
        let new = || Summary::new(key);
        self.by_namespace
            .entry(namespace.clone())
            .or_insert_with(new)
    }

    /// As it is.
    pub(super) fn view<'a>(&'a mut self, namespace: &Namespace) -> View<'a> {
        self.of(namespace);
        View {
            summary: &self.by_namespace[namespace],
            offsets: &self.none,
        }
    }

    /// As it would be with other sums.
    pub(super) fn view_with<'a>(
        &'a mut self,
        namespace: &Namespace,
        offsets: &'a Offsets,
    ) -> View<'a> {
        self.of(namespace);
        View {
            summary: &self.by_namespace[namespace],
            offsets,
        }
    }

    /// How many documents a namespace has and its root, once that is known.
    pub(super) fn root(&self, namespace: &Namespace) -> Option<(u64, u64)> {
        if !self.is_whole() {
            return None;
        }
        let view = self.by_namespace.get(namespace).map(|summary| View {
            summary,
            offsets: &self.none,
        });
        Some(view.map_or((0, 0), |view| (view.root(), view.summary.documents())))
    }

    /// Whether neither the store nor what is durable of the log has anything of a document. No, if not all has been counted.
    pub(super) fn has_nothing(&self, id: &DocumentId) -> bool {
        let summary = self.by_namespace.get(&id.namespace);
        self.is_whole() && summary.is_none_or(|summary| summary.sum(Place::of(id)) == 0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_namespace.values().map(Summary::bytes).sum()
    }

    /// What came after a frontier, up to what is durable now; and whether that is all of it.
    pub(super) fn beyond(
        &self,
        namespace: &Namespace,
        frontier: &Frontier,
        durable: &Frontier,
    ) -> (Vec<Term>, bool) {
        let (mut beyond, mut whole) = (Vec::new(), true);
        for (origin, through) in durable.iter() {
            let after = frontier.of(origin);
            if after < *through {
                match self.recent.between(namespace, origin, after, *through) {
                    Some(terms) => beyond.extend(terms.copied()),
                    None => whole = false,
                }
            }
        }
        (beyond, whole)
    }
}

/// What takes these terms off again.
pub(super) fn without(terms: &[Term]) -> Offsets {
    let mut offsets = Offsets::new();
    for (place, term) in terms {
        let offset = offsets.entry(*place).or_insert(0);
        *offset = offset.wrapping_sub(*term);
    }
    offsets
}

fn terms_of(batch: &Batch) -> Vec<Term> {
    let mut terms = Vec::new();
    for write in &batch.writes {
        let place = Place::of(&Replica::address(&batch.namespace, &write.key));
        let changes = write.changes.iter();
        terms.extend(changes.map(|change| (place, term_of_change(change))));
    }
    terms
}

impl Replica {
    /// What was counted is not to be relied upon any more: it is built anew, once all of the log so far is folded, with what
    /// is on its way there: the documents may have it already. Nothing can be compared until then.
    pub(super) fn count_anew(&mut self, now: Now) {
        self.summaries.recount(self.history.log_end);
        self.end_all_comparisons(now);
    }

    /// A batch is durable that was not held before.
    pub(super) fn summarise(&mut self, now: Now, batch: &Batch) {
        if !self.summaries.is_counting() {
            return;
        }
        if self.peers.is_anybody_linked() {
            self.comparisons.verifying.stir(now);
        }
        let terms = terms_of(batch);
        let twice = self.planted_count_twice() && batch.writes.len() > 1;
        let summary = self.summaries.of(&batch.namespace);
        for (place, term) in terms.iter().chain(terms.first().filter(|_| twice)) {
            summary.add(*place, *term);
        }
        self.comparisons_see(batch, &terms);
        self.summaries.recent.push(batch, terms);
    }

    /// Goes on building the summaries, where nothing else is in the way.
    pub(super) fn tick_summaries(&mut self, now: Now) {
        if self.failed.is_some() || self.folding.is_under_way() {
            // It is looked again when the fold has ended.
            self.summaries.put_off(now);
            return;
        }
        if let Stage::Replayed { through, due_ms } = &mut self.summaries.stage {
            let oldest = self.shelf.oldest_unfolded();
            let waits = oldest.is_some_and(|oldest| oldest <= *through);
            if waits || !self.salvage.has_begun() || self.imports.has_pending() {
                *due_ms = now.mono_ms + RETRY_MS;
                return;
            }
            self.begin_summaries(now);
        }
        let Stage::Building {
            from,
            asked: asked @ false,
            due_ms,
        } = &mut self.summaries.stage
        else {
            return;
        };
        if *due_ms > now.mono_ms {
            return;
        }
        *asked = true;
        let fetch = Fetch::Sums {
            from: from.clone(),
            limit: self.config.room.looked_at_documents,
        };
        let count = self.summaries.count;
        self.fetch(fetch, Awaited::Sums(count));
    }

    /// Counts what is in memory; what is in the store comes next.
    fn begin_summaries(&mut self, now: Now) {
        let durable = self.history.durable_end;
        for (id, changes) in self.shelf.unfolded_through(durable) {
            let place = Place::of(&id);
            let summary = self.summaries.of(&id.namespace);
            for change in &changes {
                summary.add(place, term_of_change(change));
            }
        }
        self.summaries.stage = Stage::Building {
            from: Bound::Unbounded,
            asked: false,
            due_ms: now.mono_ms,
        };
    }

    pub(super) fn sums_fetched(
        &mut self,
        now: Now,
        count: u64,
        documents: Vec<(DocumentId, StoredDocument)>,
        more: bool,
    ) {
        if count != self.summaries.count {
            return;
        }
        let last = documents.last().map(|(id, _)| id.clone());
        for (id, stored) in documents {
            if self.departures.is_clearing(&id.namespace) {
                continue;
            }
            let sum = self.sum_of_stored(&stored);
            self.summaries.of(&id.namespace).add(Place::of(&id), sum);
        }
        self.summaries.stage = match last {
            Some(last) if more => Stage::Building {
                from: Bound::Excluded(last),
                asked: false,
                due_ms: now.mono_ms,
            },
            _ => Stage::Ready,
        };
        // What was held up by the question.
        self.tick_folding(now);
        self.tick_summaries(now);
    }

    /// What can't be read is left out until it can.
    pub(super) fn sums_failed(&mut self, now: Now, count: u64, error: StoreError) {
        let damaged = match &error {
            StoreError::Damaged { range, .. } => range.clone(),
            StoreError::Full(_) | StoreError::Failed(_) => None,
        };
        self.store_error(now, error);
        if count != self.summaries.count {
            return;
        }
        let Stage::Building {
            asked,
            due_ms,
            from,
        } = &mut self.summaries.stage
        else {
            return;
        };
        *asked = false;
        match damaged {
            None => *due_ms = now.mono_ms + RETRY_MS,
            Some(range) => {
                self.summaries.incomplete = true;
                match range.before {
                    Some(before) => *from = Bound::Included(before),
                    None => self.summaries.stage = Stage::Ready,
                }
            }
        }
        self.tick_folding(now);
        self.tick_summaries(now);
    }

    /// The sum over all that the store has of a document.
    pub(super) fn sum_of_stored(&self, stored: &StoredDocument) -> u64 {
        if stored.changes.is_empty() && (stored.sum.is_some() || stored.state.is_empty()) {
            return stored.sum.unwrap_or(0);
        }
        let has_whole = stored.changes.iter().any(|change| is_whole(change));
        if stored.state.is_empty() && !has_whole {
            // One that came with two batches, or with a batch and a repair, counts once.
            let terms: BTreeSet<u64> = stored.changes.iter().map(|c| term_of_change(c)).collect();
            return terms.into_iter().fold(0, u64::wrapping_add);
        }
        // A change beside the state may be in it already.
        Document::of_stored(&self.origin, Some(stored)).map_or(0, |mut document| document.sum())
    }
}
