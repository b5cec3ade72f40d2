//! Giving a seeker what it lacks: documents in key order, a part at a time, as fast as they become durable there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{Replica, SOURCE_PATIENCE_MS};
use crate::document::{Document, is_acceptable};
use crate::effect::Now;
use crate::persist::{Fetch, Place, StoredDocument, StoredReceipt};
use crate::repair_message::{GivenDocument, GivenReceipt, Reason, RepairMessage};
use crate::replica::Awaited;
use crate::replica::receipts::is_of;
use crate::summary::term_of_change;
use crate::{DocumentId, Key, ReplicaId, limits};

/// How often a page is read again because documents were folded under it.
const REREADS_MAX: u8 = 16;

/// What is known of the seeker's documents.
enum Theirs {
    /// It has none.
    Nothing,
    /// The sums of those that differ.
    Sums(BTreeMap<Place, u64>),
    /// The heads of those that the sums did not tell of.
    Heads(BTreeMap<Place, Vec<u64>>),
}

/// Documents on their way to a seeker.
pub(super) struct Giving {
    theirs: Theirs,
    places: Option<Arc<BTreeSet<Place>>>,
    after: Option<Key>,
    /// Everything has been looked at.
    looked_through: bool,
    asked: bool,
    /// The last part is on its way.
    done: bool,
    part: u64,
    waiting: VecDeque<GivenDocument>,
    /// Where to go on with the store's receipts; none: they are not given (any more).
    receipts_from: Option<Vec<u8>>,
    receipts: VecDeque<GivenReceipt>,
    unclear: Vec<Key>,
    /// Parts that are not durable at the seeker.
    under_way: VecDeque<(u64, usize)>,
}

/// A question to the store on behalf of a seeker.
pub(in crate::replica) struct Picking {
    peer: ReplicaId,
    number: u64,
    after: Option<Key>,
    /// Folds that had ended when the store was asked.
    folds: u64,
    rereads: u8,
}

impl Picking {
    pub(super) fn name(&self) -> (ReplicaId, u64) {
        (self.peer, self.number)
    }
}

impl Giving {
    fn new(theirs: Theirs, places: Option<BTreeSet<Place>>) -> Self {
        Self {
            theirs,
            looked_through: places.as_ref().is_some_and(BTreeSet::is_empty),
            places: places.map(Arc::new),
            after: None,
            asked: false,
            done: false,
            part: 0,
            waiting: VecDeque::new(),
            receipts_from: Some(Vec::new()),
            receipts: VecDeque::new(),
            unclear: Vec::new(),
            under_way: VecDeque::new(),
        }
    }

    pub(super) fn everything() -> Self {
        Self::new(Theirs::Nothing, None)
    }

    pub(super) fn by_sums(theirs: BTreeMap<Place, u64>) -> Self {
        let places = theirs.keys().copied().collect();
        Self::new(Theirs::Sums(theirs), Some(places))
    }

    pub(super) fn by_heads(theirs: BTreeMap<Place, Vec<u64>>, part: u64) -> Self {
        let places = theirs.keys().copied().collect();
        Self {
            part,
            receipts_from: None,
            ..Self::new(Theirs::Heads(theirs), Some(places))
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn next_part(&self) -> u64 {
        self.part
    }

    fn bytes_under_way(&self) -> usize {
        self.under_way.iter().map(|(_, bytes)| bytes).sum()
    }

    /// As much as goes into one part.
    fn next_part_of(&mut self) -> (Vec<GivenDocument>, Vec<GivenReceipt>, usize) {
        let (mut documents, mut receipts, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < limits::GIVEN_BYTES
            && let Some(given) = self.waiting.pop_front()
        {
            bytes += given.key.as_str().len() + 16;
            bytes += given
                .pieces
                .iter()
                .map(|piece| piece.len() + 4)
                .sum::<usize>();
            documents.push(given);
        }
        while bytes < limits::GIVEN_BYTES
            && let Some(receipt) = self.receipts.pop_front()
        {
            bytes += receipt.answer.len() + 24;
            receipts.push(receipt);
        }
        (documents, receipts, bytes)
    }

    fn has_nothing_ready(&self) -> bool {
        self.waiting.is_empty() && self.receipts.is_empty()
    }
}

/// What one document comes to.
enum Outcome {
    Nothing,
    Given(Vec<GivenDocument>),
    Unclear,
}

impl Replica {
    pub(super) fn begin_giving(&mut self, now: Now, peer: ReplicaId, number: u64, giving: Giving) {
        if let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) {
            source.giving = Some(giving);
        }
        self.give(now, peer, number);
    }

    /// Sends what is ready, and asks the store for more while there is room on the way.
    fn give(&mut self, now: Now, peer: ReplicaId, number: u64) {
        loop {
            let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
                return;
            };
            let Some(giving) = source.giving.as_mut().filter(|giving| !giving.done) else {
                return;
            };
            if giving.bytes_under_way() >= limits::GIVEN_WINDOW_BYTES || giving.asked {
                return;
            }
            if giving.has_nothing_ready()
                && giving.looked_through
                && let Some(from) = giving.receipts_from.clone()
            {
                return self.give_receipts(peer, number, from);
            }
            if giving.has_nothing_ready() && !giving.looked_through {
                giving.asked = true;
                let picking = Picking {
                    peer,
                    number,
                    after: giving.after.clone(),
                    folds: 0,
                    rereads: 0,
                };
                return self.pick(picking);
            }
            source.until_ms = now.mono_ms + SOURCE_PATIENCE_MS;
            let (documents, receipts, bytes) = giving.next_part_of();
            let all = giving.looked_through && giving.receipts_from.is_none();
            let last = all && giving.has_nothing_ready();
            giving.done = last;
            let part = giving.part;
            giving.part += 1;
            giving.under_way.push_back((part, bytes));
            let unclear = match last {
                true => std::mem::take(&mut giving.unclear),
                false => Vec::new(),
            };
            self.counters.documents_given += documents.len() as u64;
            let message = RepairMessage::Documents {
                number,
                part,
                documents,
                receipts,
                unclear,
                last,
            };
            self.say_of_repair(peer, message);
        }
    }

    /// Asks the store for receipts that the seeker lacks, or has them done with.
    fn give_receipts(&mut self, peer: ReplicaId, number: u64, from: Vec<u8>) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return;
        };
        let Some(giving) = &mut source.giving else {
            return;
        };
        giving.asked = true;
        let bytes_max = match source.gives_receipts() {
            true => limits::GIVEN_BYTES,
            false => 0,
        };
        self.fetch(
            Fetch::Receipts { from, bytes_max },
            Awaited::Receipts { peer, number },
        );
    }

    pub(in crate::replica) fn receipts_picked(
        &mut self,
        now: Now,
        (peer, number): (ReplicaId, u64),
        receipts: Vec<StoredReceipt>,
        next: Option<Vec<u8>>,
    ) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return;
        };
        let gives = source.gives_receipts();
        let (since_ms, after, cut) = (
            source.receipts_since_ms,
            source.receipts_after,
            source.cut_lsn,
        );
        let namespace = &source.namespace;
        let Some(giving) = &mut source.giving else {
            return;
        };
        giving.asked = false;
        let is_first = giving.receipts_from.as_ref().is_some_and(Vec::is_empty);
        giving.receipts_from = next.filter(|_| gives);
        let young = receipts.into_iter().filter(|receipt| {
            let is_new = receipt.lsn > after && receipt.lsn <= cut;
            is_new && receipt.time_ms >= since_ms && is_of(receipt, namespace)
        });
        giving.receipts.extend(young.map(|receipt| GivenReceipt {
            key: receipt.key,
            time_ms: receipt.time_ms,
            answer: receipt.bytes,
        }));
        if is_first && gives {
            let unfolded = self
                .receipts
                .unfolded_since(namespace, since_ms, (after, cut));
            giving.receipts.extend(unfolded);
        }
        self.give(now, peer, number);
    }

    pub(in crate::replica) fn receipts_failed(&mut self, peer: ReplicaId, number: u64) {
        if self.comparisons.serving.remove(&(peer, number)).is_some() {
            self.end_comparison(peer, number, Reason::Unreadable);
        }
    }

    /// A part is durable at the seeker.
    pub(super) fn part_taken(&mut self, now: Now, peer: ReplicaId, number: u64, part: u64) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return;
        };
        source.until_ms = now.mono_ms + SOURCE_PATIENCE_MS;
        if let Some(giving) = &mut source.giving {
            while giving
                .under_way
                .pop_front_if(|(of, _)| *of <= part)
                .is_some()
            {}
        }
        self.give(now, peer, number);
    }

    fn pick(&mut self, mut picking: Picking) {
        let Some(source) = self
            .comparisons
            .serving
            .get(&(picking.peer, picking.number))
        else {
            return;
        };
        let Some(giving) = &source.giving else {
            return;
        };
        picking.folds = self.folding.ended;
        let fetch = Fetch::Picked {
            namespace: source.namespace.clone(),
            places: giving.places.clone(),
            after: picking.after.clone(),
            limit: self.config.room.looked_at_documents,
            bytes_max: limits::GIVEN_BYTES * 2,
        };
        self.fetch(fetch, Awaited::Picked(picking));
    }

    pub(in crate::replica) fn picked(
        &mut self,
        now: Now,
        mut picking: Picking,
        documents: Vec<(Key, StoredDocument)>,
        more_after: Option<Key>,
    ) {
        // What was folded since may be missing in the answer, and is not in memory any more.
        if picking.folds != self.folding.ended && picking.rereads < REREADS_MAX {
            picking.rereads += 1;
            return self.pick(picking);
        }
        let name = (picking.peer, picking.number);
        let Some(source) = self.comparisons.serving.get(&name) else {
            return;
        };
        if picking.folds != self.folding.ended {
            self.comparisons.serving.remove(&name);
            return self.end_comparison(picking.peer, picking.number, Reason::Busy);
        }
        let namespace = source.namespace.clone();
        let places = source
            .giving
            .as_ref()
            .and_then(|giving| giving.places.clone());
        let mut found: BTreeMap<Key, Option<StoredDocument>> = documents
            .into_iter()
            .map(|(key, stored)| (key, Some(stored)))
            .collect();
        let range = (picking.after.as_ref(), more_after.as_ref());
        for id in self.shelf.dirty_between(&namespace, range) {
            let wanted = |places: &Arc<BTreeSet<Place>>| places.contains(&Place::of(&id));
            if places.as_ref().is_none_or(wanted) {
                found.entry(id.key).or_default();
            }
        }
        for (key, stored) in found {
            let id = Self::address(&namespace, &key);
            let outcome = self.what_it_lacks(name, &id, stored);
            let Some(source) = self.comparisons.serving.get_mut(&name) else {
                return;
            };
            let Some(giving) = &mut source.giving else {
                return;
            };
            match outcome {
                Outcome::Nothing => {}
                Outcome::Given(given) => giving.waiting.extend(given),
                // Of those that are too many the next comparison tells.
                Outcome::Unclear if giving.unclear.len() < limits::UNCLEAR_MAX => {
                    giving.unclear.push(key);
                }
                Outcome::Unclear => {}
            }
        }
        if let Some(source) = self.comparisons.serving.get_mut(&name)
            && let Some(giving) = &mut source.giving
        {
            giving.asked = false;
            giving.looked_through = more_after.is_none();
            giving.after = more_after;
        }
        self.give(now, picking.peer, picking.number);
    }

    pub(in crate::replica) fn picking_failed(&mut self, picking: &Picking) {
        let name = (picking.peer, picking.number);
        if self.comparisons.serving.remove(&name).is_some() {
            self.end_comparison(picking.peer, picking.number, Reason::Unreadable);
        }
    }

    /// What the seeker lacks of a document, as it was at the cut.
    fn what_it_lacks(
        &mut self,
        name: (ReplicaId, u64),
        id: &DocumentId,
        stored: Option<StoredDocument>,
    ) -> Outcome {
        let place = Place::of(id);
        let durable = self.history.durable_end;
        let unfolded = self.shelf.unfolded_of(id, durable);
        let Some(source) = self.comparisons.serving.get(&name) else {
            return Outcome::Nothing;
        };
        let beyond = source.beyond.get(&place).cloned().unwrap_or_default();
        let (their_sum, heads) = match source.giving.as_ref().map(|giving| &giving.theirs) {
            Some(Theirs::Nothing) => (0, None),
            Some(Theirs::Sums(sums)) => (sums.get(&place).copied().unwrap_or(0), None),
            Some(Theirs::Heads(heads)) => (0, heads.get(&place).cloned()),
            None => return Outcome::Nothing,
        };
        let stored = stored.unwrap_or_default();
        if their_sum == 0
            && heads.is_none()
            && beyond.is_empty()
            && unfolded.is_empty()
            && stored.changes.is_empty()
            && let Some(sum) = stored.sum
            && stored.state.len() <= limits::WHOLE_BYTES_MAX
            && is_acceptable(&stored.state)
        {
            // As it lies there: most documents that a new replica gets.
            let pieces = vec![stored.state];
            return given(&id.key, sum, pieces);
        }
        let Ok(mut document) = Document::of_stored(&self.origin, Some(&stored)) else {
            // The next reader of it finds out what is wrong with it.
            return Outcome::Nothing;
        };
        document.absorb(&unfolded);
        let whole_sum = document.sum();
        self.correct_sum(id, whole_sum);
        if let Some(heads) = heads {
            let changes = document.lacking_after(&heads, &beyond);
            return in_parts(&id.key, changes);
        }
        let held = document.terms_among(&beyond);
        let sum = held
            .iter()
            .fold(whole_sum, |sum, term| sum.wrapping_sub(*term));
        if sum == their_sum {
            return Outcome::Nothing;
        }
        let Some(changes) = document.lacking(their_sum, &beyond) else {
            return Outcome::Unclear;
        };
        let bytes: usize = changes.iter().map(|change| change.len() + 4).sum();
        if held.is_empty() && changes.len() > 1 {
            let whole = document.whole();
            if whole.len() < bytes
                && whole.len() <= limits::WHOLE_BYTES_MAX
                && is_acceptable(&whole)
            {
                return given(&id.key, sum, vec![whole]);
            }
        }
        if bytes > limits::GIVEN_AT_ONCE_BYTES_MAX {
            return in_parts(&id.key, changes);
        }
        given(&id.key, sum, changes)
    }

    /// A document that was loaded shows what its sum is. It may be another one than was counted: changes that no replica lets
    /// in, or that came twice.
    pub(in crate::replica) fn correct_sum(&mut self, id: &DocumentId, durable_sum: u64) {
        if !self.summaries.is_ready() || self.imports.is_pending(&id.namespace) {
            return;
        }
        let place = Place::of(id);
        let counted = self.summaries.of(&id.namespace).sum(place);
        if counted != durable_sum {
            self.counters.sums_corrected += 1;
            let summary = self.summaries.of(&id.namespace);
            summary.add(place, durable_sum.wrapping_sub(counted));
        }
    }
}

fn given(key: &Key, sum: u64, pieces: Vec<Bytes>) -> Outcome {
    Outcome::Given(vec![GivenDocument {
        key: key.clone(),
        sum: Some(sum),
        pieces,
    }])
}

/// Many changes of one document, in several parts.
fn in_parts(key: &Key, changes: Vec<Bytes>) -> Outcome {
    let mut parts: Vec<GivenDocument> = Vec::new();
    let mut bytes = limits::GIVEN_AT_ONCE_BYTES_MAX;
    for change in changes {
        if bytes >= limits::GIVEN_AT_ONCE_BYTES_MAX {
            bytes = 0;
            parts.push(GivenDocument {
                key: key.clone(),
                sum: None,
                pieces: Vec::new(),
            });
        }
        bytes += change.len();
        if let Some(part) = parts.last_mut() {
            part.pieces.push(change);
        }
    }
    match parts.is_empty() {
        true => Outcome::Nothing,
        false => Outcome::Given(parts),
    }
}

/// What changes add to a sum.
pub(super) fn sum_of_changes<'a>(changes: impl IntoIterator<Item = &'a Bytes>) -> u64 {
    let terms = changes.into_iter().map(|change| term_of_change(change));
    terms.fold(0, u64::wrapping_add)
}
