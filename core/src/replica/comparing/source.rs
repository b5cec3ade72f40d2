//! The side that is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::giving::Giving;
use super::sketching::sketch_for;
use super::{Replica, SEEKERS_MAX, SOURCE_PATIENCE_MS};
use crate::effect::Now;
use crate::persist::Place;
use crate::repair_message::{Leaf, Reason, RepairMessage};
use crate::replica::summaries::Term;
use crate::summary::{Descent, Digest, Found, Offsets, leaf_bits, start_bits};
use crate::{Frontier, Key, Lsn, Namespace, ReplicaId, limits};

/// What a seeker says of itself.
pub(in crate::replica) struct Asked {
    pub(super) frontier: Frontier,
    pub(super) documents: u64,
    pub(super) expected: u64,
    pub(super) whole: bool,
    pub(super) receipts_since_ms: u64,
    pub(super) follows: u64,
    pub(super) counters: Vec<i16>,
}

/// One comparison that a peer has asked for.
pub(super) struct Source {
    pub(super) namespace: Namespace,
    /// What is held here, as far as this comparison goes.
    pub(super) cut: Frontier,
    /// The end of the log by then.
    pub(super) cut_lsn: Lsn,
    /// What has come since, to be left out.
    pub(super) beyond: BTreeMap<Place, BTreeSet<u64>>,
    beyond_count: usize,
    pub(super) offsets: Offsets,
    descent: Option<Descent>,
    /// A sketch was sent, and not answered yet.
    pub(super) is_sketched: bool,
    leaf_bits: u32,
    pub(super) giving: Option<Giving>,
    /// Receipts of writes that are younger are given as well, if they came to the log here after this place.
    pub(super) receipts_since_ms: u64,
    pub(super) receipts_after: Lsn,
    /// The comparison that has brought those before.
    pub(super) followed: u64,
    pub(super) until_ms: u64,
}

impl Source {
    /// Whether there may be any receipts to give.
    pub(super) fn gives_receipts(&self) -> bool {
        self.receipts_since_ms < u64::MAX && self.cut_lsn > self.receipts_after
    }

    /// Notes what is beyond the cut. False: there is too much of it.
    pub(super) fn came(&mut self, terms: &[Term]) -> bool {
        for (place, term) in terms {
            self.beyond_count += 1;
            self.beyond.entry(*place).or_default().insert(*term);
            let offset = self.offsets.entry(*place).or_insert(0);
            *offset = offset.wrapping_sub(*term);
        }
        self.beyond_count <= limits::CHANGES_MEANWHILE_MAX
    }
}

impl Replica {
    /// Whether one more comparison may be answered. Of a peer that begins more than it can go on with, the one that it has left alone for longest
    /// ends; and if there are too many in all, that of the peer with the most.
    fn make_room_for(&mut self, peer: ReplicaId) -> bool {
        let mut counts: BTreeMap<ReplicaId, usize> = BTreeMap::new();
        for (seeker, _) in self.comparisons.serving.keys() {
            *counts.entry(*seeker).or_default() += 1;
        }
        let own = counts.get(&peer).copied().unwrap_or(0);
        let most = counts.iter().max_by_key(|(_, count)| **count);
        let of = match most {
            _ if own >= SEEKERS_MAX => peer,
            _ if self.comparisons.serving.len() < limits::COMPARISONS_MAX => return true,
            Some((busiest, most)) if *most > own + 1 => *busiest,
            _ => return false,
        };
        let serving = self.comparisons.serving.iter();
        let of_peer = serving.filter(|((seeker, _), _)| *seeker == of);
        let stalest = of_peer.min_by_key(|(_, source)| source.until_ms);
        if let Some((seeker, number)) = stalest.map(|(name, _)| *name) {
            self.comparisons.serving.remove(&(seeker, number));
            self.end_comparison(seeker, number, Reason::Busy);
        }
        true
    }

    /// A peer asks to be compared.
    pub(super) fn be_compared(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        namespace: Namespace,
        asked: &Asked,
    ) {
        if !self.is_sought_by(peer, number) {
            return self.refuse_seeker(peer, number);
        }
        let serving = &mut self.comparisons.serving;
        // It is not known any more where what is held has made a leap since, and receipts count that came before.
        let mut before = serving
            .iter()
            .filter(|((seeker, _), source)| *seeker == peer && source.namespace == namespace);
        let receipts_after = match before.next() {
            Some(((_, number), source)) if *number == asked.follows => source.cut_lsn,
            // That one led to nothing, such as by a sketch that told nothing.
            Some((_, source)) if source.followed == asked.follows => source.receipts_after,
            _ => Lsn(0),
        };
        serving.retain(|(seeker, _), source| *seeker != peer || source.namespace != namespace);
        if !self.make_room_for(peer) || !self.goes_to(&namespace, &peer) {
            return self.end_comparison(peer, number, Reason::Busy);
        }
        if !self.may_seek(&namespace)
            || !self.summaries.is_whole()
            || self.history.space(&namespace).is_none()
        {
            return self.end_comparison(peer, number, Reason::NotReady);
        }
        let cut = self.durable_frontier(&namespace);
        let positions: Vec<_> = cut.iter().map(|(origin, seq)| (*origin, *seq)).collect();
        let space = self.history.space(&namespace);
        let is_head = |origin| space.is_some_and(|space| space.durable_heads.contains(origin));
        let heads = positions.iter().enumerate();
        let heads: Vec<_> = heads
            .filter(|(_, (origin, _))| is_head(origin))
            .map(|(index, _)| index)
            .collect();
        let view = self.summaries.view(&namespace);
        let (root, documents) = (view.root(), view.summary.documents());
        let salt = self.salt(now, peer, number, root);
        let leaf_bits = leaf_bits(documents.max(asked.documents.min(1 << 40)));
        // What it does not know of may be the half of what differs; it may have written as well.
        let more = asked
            .expected
            .max(self.batches_beyond(&namespace, &asked.frontier));
        let bits = start_bits(leaf_bits, more);
        let view = self.summaries.view(&namespace);
        let cells = sketch_for(view, asked).unwrap_or_default();
        let (descent, digests) = match asked.whole || !cells.is_empty() {
            true => (None, Vec::new()),
            false => {
                let (descent, digests) = Descent::begin(view, salt, bits);
                (Some(descent), digests)
            }
        };
        let source = Source {
            namespace,
            cut,
            cut_lsn: self.history.durable_end,
            beyond: BTreeMap::new(),
            beyond_count: 0,
            offsets: Offsets::new(),
            descent,
            is_sketched: !cells.is_empty(),
            leaf_bits,
            giving: None,
            receipts_since_ms: asked.receipts_since_ms,
            receipts_after,
            followed: asked.follows,
            until_ms: now.mono_ms + SOURCE_PATIENCE_MS,
        };
        self.comparisons.serving.insert((peer, number), source);
        self.counters.comparisons_served += 1;
        let small = |bits: u32| u8::try_from(bits).unwrap_or(u8::MAX);
        let cut = RepairMessage::Cut {
            number,
            positions,
            heads,
            documents,
            root,
            salt,
            leaf_bits: small(leaf_bits),
            bits: small(bits),
            digests,
            cells,
        };
        self.say_of_repair(peer, cut);
        if asked.whole {
            self.begin_giving(now, peer, number, Giving::everything());
        }
    }

    /// Another one for each comparison, so that digests that collide once do not collide again.
    fn salt(&self, now: Now, peer: ReplicaId, number: u64, root: u64) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.config.replica.0);
        hasher.update(&peer.0);
        for part in [number, root, now.mono_ms, now.wall_ms] {
            hasher.update(&part.to_le_bytes());
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(salt)
    }

    fn batches_beyond(&self, namespace: &Namespace, theirs: &Frontier) -> u64 {
        let space = self.history.space(namespace);
        let ours = space.into_iter().flat_map(|space| space.durable.iter());
        let beyond = ours.map(|(origin, seq)| seq.0.saturating_sub(theirs.of(origin).0));
        beyond.fold(0, u64::saturating_add)
    }

    /// The seeker has gone a step down; now it is this one's turn.
    pub(super) fn source_told(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        positions: &[usize],
        children: &[Digest],
    ) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return;
        };
        source.until_ms = now.mono_ms + SOURCE_PATIENCE_MS;
        let view = self.summaries.view_with(&source.namespace, &source.offsets);
        let descent = source.descent.as_mut();
        let next = descent.and_then(|descent| {
            descent.told(positions, true)?;
            let deep = descent.bits() >= source.leaf_bits;
            match descent.compare(view, children, true) {
                Found::Differ {
                    positions,
                    children,
                } if !deep => Some((positions, children)),
                Found::Differ { .. } | Found::Nonsense(_) => None,
            }
        });
        match next {
            Some((positions, children)) => {
                let message = RepairMessage::Differ {
                    number,
                    positions,
                    children,
                };
                self.say_of_repair(peer, message);
            }
            None => self.refuse_seeker(peer, number),
        }
    }

    /// It does not keep to the rules, or is out of step.
    pub(super) fn refuse_seeker(&mut self, peer: ReplicaId, number: u64) {
        self.counters.comparisons_refused += 1;
        self.comparisons.serving.remove(&(peer, number));
        self.end_comparison(peer, number, Reason::Unknown);
    }

    /// The seeker says what it has below the nodes that differ.
    pub(super) fn source_shown_leaves(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        positions: &[usize],
        nodes: &[Vec<Leaf>],
    ) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return self.end_comparison(peer, number, Reason::Unknown);
        };
        source.until_ms = now.mono_ms + SOURCE_PATIENCE_MS;
        let view = self.summaries.view_with(&source.namespace, &source.offsets);
        let known = source
            .descent
            .take()
            .filter(|_| source.giving.is_none())
            .and_then(|mut descent| {
                descent.told(positions, false)?;
                (descent.nodes().len() == nodes.len()).then_some(descent)
            });
        let Some(descent) = known else {
            return self.refuse_seeker(peer, number);
        };
        let bits = descent.bits();
        let mut theirs = BTreeMap::new();
        for (node, leaves) in descent.nodes().iter().zip(nodes) {
            let said: BTreeMap<u64, u64> =
                leaves.iter().map(|leaf| (leaf.rest, leaf.sum)).collect();
            for (place, sum) in view.leaves(bits, *node) {
                let their_sum = said.get(&Leaf::rest_of(place.0, bits)).copied();
                if their_sum != Some(sum) {
                    theirs.insert(place, their_sum.unwrap_or(0));
                }
            }
        }
        if self.planted_overlook_difference() {
            theirs.pop_last();
        }
        self.begin_giving(now, peer, number, Giving::by_sums(theirs));
    }

    /// The seeker says where documents stand whose sums did not tell.
    pub(super) fn source_shown_heads(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        documents: Vec<(Key, Vec<u64>)>,
    ) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return self.end_comparison(peer, number, Reason::Unknown);
        };
        source.until_ms = now.mono_ms + SOURCE_PATIENCE_MS;
        let is_done = source.giving.as_ref().is_some_and(Giving::is_done);
        if !is_done {
            return self.refuse_seeker(peer, number);
        }
        let namespace = source.namespace.clone();
        let part = source.giving.as_ref().map_or(0, Giving::next_part);
        let theirs = documents.into_iter().map(|(key, heads)| {
            let place = Place::of(&Self::address(&namespace, &key));
            (place, heads)
        });
        let giving = Giving::by_heads(theirs.collect(), part);
        self.begin_giving(now, peer, number, giving);
    }
}
