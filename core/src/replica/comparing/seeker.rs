//! The side that asks, and gets what it lacks.

use std::collections::{BTreeMap, BTreeSet};

use super::{RepairStatus, Replica, SEEKER_PATIENCE_MS, SEEKERS_OF_ONE_MAX};
use crate::effect::{Notice, Now, Output};
use crate::persist::Place;
use crate::record::Import;
use crate::repair_message::{Leaf, Reason, RepairMessage};
use crate::replica::summaries::without;
use crate::summary::{Descent, Digest, Found, Offsets};
use crate::{Frontier, Key, Lsn, Namespace, Origin, ReplicaId, Seq, limits};

/// Clocks are trusted so far: receipts of writes that are older by this much are asked for as well.
const RECEIPTS_MARGIN_MS: u64 = 7_200_000;
/// Comparisons in a row that each brought something, before what has come is taken for all.
const ROUNDS_MAX: u32 = 16;
/// Deeper than this no summary is compared.
const LEAF_BITS_MAX: u8 = 40;

/// One comparison that this replica has asked for.
pub(super) struct Seeker {
    pub(super) peer: ReplicaId,
    pub(super) number: u64,
    pub(super) until_ms: u64,
    pub(super) attempt: Attempt,
    /// What the source holds as far as this comparison goes, and which of that no other batch comes after.
    pub(super) cut: Frontier,
    heads: BTreeSet<Origin>,
    source_root: u64,
    leaf_bits: u32,
    descent: Option<Descent>,
    /// The source was told what it needs to answer with a sketch.
    pub(super) offers_sketch: bool,
    /// It was said that there is nothing here.
    whole: bool,
    /// Of what is here nothing may be said to the source, which is to let go of the namespace: it gives all that it has.
    pub(super) is_blind: bool,
    /// What was said to be here of the documents that differ.
    pub(super) said: BTreeMap<Place, u64>,
    pub(super) next_part: u64,
    /// Parts that are in the log and not durable.
    pub(super) unsettled: BTreeMap<Lsn, u64>,
    /// Documents whose heads are asked for, and those that are known.
    pub(super) heads_wanted: BTreeSet<Key>,
    pub(super) heads_known: Vec<(Key, Vec<u64>)>,
    /// The last part has come.
    pub(super) all_given: bool,
    /// Replicas that have not said yet that they have written what the source says they have.
    pub(super) unconfirmed: BTreeMap<u64, ReplicaId>,
    /// Everything has been said of what is here: what comes by itself from now on may be given as well.
    pub(super) said_all: bool,
    /// Something has.
    pub(super) disturbed: bool,
    /// The changes that are here, or have come, of documents whose heads were told in this comparison or one before it.
    pub(super) terms: BTreeMap<Place, BTreeSet<u64>>,
    /// Its arrival is on its way into the log.
    pub(super) arriving: bool,
    pub(super) learnt: u64,
    pub(super) keys: BTreeSet<Key>,
}

/// One of the comparisons of a repair.
#[derive(Clone, Default)]
pub(super) struct Attempt {
    pub(super) round: u32,
    /// A sketch has failed, or there was too little to begin with.
    pub(super) by_digests: bool,
    pub(super) receipts: ReceiptsGiven,
    pub(super) status: RepairStatus,
    /// When the first of them began.
    pub(super) since_ms: u64,
}

/// The receipts that comparisons of this repair have brought: of all that the source held at the cut of one of them.
#[derive(Clone, Default)]
pub(super) struct ReceiptsGiven {
    cut: Frontier,
    by: u64,
}

impl Seeker {
    pub(super) fn said_of(&self, place: Place) -> u64 {
        self.said.get(&place).copied().unwrap_or(0)
    }
}

impl Replica {
    /// Begins to compare a namespace.
    pub(super) fn seek(&mut self, now: Now, namespace: &Namespace) {
        let Some(peer) = self.choose_source(now, namespace) else {
            return self.put_off(now, namespace, super::RETRY_MS);
        };
        let seeking = self.comparisons.seeking.values();
        if seeking.filter(|seeker| seeker.peer == peer).count() >= SEEKERS_OF_ONE_MAX {
            return self.put_off(now, namespace, super::RETRY_MS);
        }
        let first = Attempt {
            since_ms: now.mono_ms,
            ..Attempt::default()
        };
        self.seek_from(now, namespace, peer, first);
    }

    /// The one that seems to have it; another one, if that came to nothing.
    fn choose_source(&self, now: Now, namespace: &Namespace) -> Option<ReplicaId> {
        let lack = self.comparisons.lacks.get(namespace)?;
        let trusted = |peer: &ReplicaId| self.comparisons.trusts(now, peer);
        let fit = self.peers.linked().into_iter();
        let ahead = |peer: &ReplicaId| {
            let holds = self.peers.by_id[peer].holds.get(namespace);
            holds.map_or(0, |theirs| self.batches_ahead(namespace, theirs))
        };
        // Who is to let go of it is of use for what nobody else has.
        let is_to_have = |peer: &ReplicaId| self.goes_to(namespace, peer) || ahead(peer) > 0;
        let fit: Vec<_> = fit
            .filter(|peer| trusted(peer) && self.peers.is_stated(peer) && is_to_have(peer))
            .collect();
        if lack.turn == 0 && fit.contains(&lack.peer) {
            return Some(lack.peer);
        }
        let mut ahead: Vec<_> = fit.iter().map(|peer| (ahead(peer), *peer)).collect();
        ahead.sort_by(|one, other| other.cmp(one));
        let at = lack.turn as usize;
        ahead.get(at % ahead.len().max(1)).map(|(_, peer)| *peer)
    }

    pub(super) fn seek_from(
        &mut self,
        now: Now,
        namespace: &Namespace,
        peer: ReplicaId,
        attempt: Attempt,
    ) {
        let (round, follows) = (attempt.round, attempt.receipts.by);
        let number = self.next_comparison(&peer);
        let held = self.durable_frontier(namespace);
        let is_blind = !self.goes_to(namespace, &peer);
        let documents = match is_blind {
            true => 0,
            false => self.summaries.view(namespace).summary.documents(),
        };
        if is_blind {
            self.imports.drop_staged(namespace);
        }
        let whole = documents == 0 && !self.imports.has_staged(namespace);
        let theirs = self.peers.by_id.get(&peer);
        let theirs = theirs.and_then(|peer| peer.holds.get(namespace));
        let expected = theirs.map_or(0, |theirs| self.batches_ahead(namespace, theirs));
        let lacks_since_ms = theirs.map_or(0, |theirs| self.history.lacks_since(namespace, theirs));
        let receipts_since_ms = lacks_since_ms.saturating_sub(RECEIPTS_MARGIN_MS);
        let counters = match whole || is_blind || attempt.by_digests {
            true => Vec::new(),
            false => self.counters_of(namespace, documents),
        };
        let seeker = Seeker {
            peer,
            number,
            until_ms: now.mono_ms + SEEKER_PATIENCE_MS,
            cut: Frontier::default(),
            heads: BTreeSet::new(),
            source_root: 0,
            leaf_bits: 0,
            descent: None,
            offers_sketch: !counters.is_empty(),
            whole,
            is_blind,
            said: BTreeMap::new(),
            next_part: 0,
            unsettled: BTreeMap::new(),
            heads_wanted: BTreeSet::new(),
            heads_known: Vec::new(),
            all_given: false,
            unconfirmed: BTreeMap::new(),
            said_all: false,
            disturbed: false,
            terms: BTreeMap::new(),
            arriving: false,
            learnt: 0,
            keys: BTreeSet::new(),
            attempt,
        };
        self.comparisons.seeking.insert(namespace.clone(), seeker);
        let message = RepairMessage::Compare {
            number,
            namespace: namespace.clone(),
            positions: held.iter().map(|(origin, seq)| (*origin, *seq)).collect(),
            documents,
            // Of those that wait to be counted one document each is enough for a guess.
            expected: match round {
                0 => expected,
                _ => 0,
            },
            whole,
            since_ms: match round {
                0 => receipts_since_ms,
                // However old what the source has got since is.
                _ => 0,
            },
            follows,
            counters,
        };
        self.say_as_seeker(namespace, peer, message);
    }

    pub(super) fn say_as_seeker(
        &mut self,
        namespace: &Namespace,
        peer: ReplicaId,
        message: RepairMessage,
    ) {
        let bytes = self.say_of_repair(peer, message);
        if let Some(seeker) = self.comparisons.seeking.get_mut(namespace) {
            seeker.attempt.status.bytes_comparing += bytes as u64;
            seeker.attempt.status.round_trips += 1;
        }
    }

    pub(super) fn sought(&mut self, now: Now, peer: ReplicaId, number: u64) -> Option<Namespace> {
        let asked = |seeker: &Seeker| seeker.peer == peer && seeker.number == number;
        let mut seeking = self.comparisons.seeking.iter_mut();
        // Of one that has it all nothing more is to be said.
        let (namespace, seeker) = seeking.find(|(_, seeker)| asked(seeker) && !seeker.arriving)?;
        seeker.until_ms = now.mono_ms + SEEKER_PATIENCE_MS;
        Some(namespace.clone())
    }

    /// What the summary here is to be compared as: at the cut, with what has come and does not count yet.
    fn offsets_at(&self, namespace: &Namespace, cut: &Frontier) -> Offsets {
        let durable = self.durable_frontier(namespace);
        // If it is not known any more what came after the cut, some documents will seem to differ that don't.
        let (beyond, _) = self.summaries.beyond(namespace, cut, &durable);
        let mut offsets = without(&beyond);
        for (place, amount) in self.imports.offsets(namespace) {
            let offset = offsets.entry(place).or_insert(0);
            *offset = offset.wrapping_add(amount);
        }
        offsets
    }

    /// The source has fixed a frontier and begins.
    pub(super) fn cut_given(&mut self, now: Now, peer: ReplicaId, message: RepairMessage) {
        let RepairMessage::Cut {
            number,
            positions,
            heads,
            root,
            salt,
            leaf_bits,
            bits,
            digests,
            cells,
            ..
        } = message
        else {
            return;
        };
        let Some(namespace) = self.sought(now, peer, number) else {
            return self.end_comparison(peer, number, Reason::Unknown);
        };
        let heads = heads.iter().filter_map(|at| positions.get(*at));
        let heads = heads.map(|(origin, _)| *origin).collect();
        let cut: Frontier = positions.into_iter().collect();
        let is_new = |origin| self.history.accepted(&namespace, origin) == Seq(0);
        let new = cut.iter().filter(|(origin, _)| is_new(*origin)).count();
        let too_many = self.durable_frontier(&namespace).len() + new > limits::ORIGINS_MAX;
        if leaf_bits > LEAF_BITS_MAX || too_many || !self.confirm(&namespace, peer, &cut) {
            return self.distrust(
                now,
                peer,
                &namespace,
                "its summary has no end, or its frontier is not one",
            );
        }
        let has_some = self.summaries.view(&namespace).summary.documents() > 0;
        let is_blind = self.comparisons.seeking[&namespace].is_blind;
        if self.comparisons.seeking[&namespace].whole && has_some && !is_blind {
            // Something has come by itself meanwhile: what was said is not true any more.
            let seeker = &self.comparisons.seeking[&namespace];
            let again = Attempt {
                status: seeker.attempt.status,
                since_ms: seeker.attempt.since_ms,
                ..Attempt::default()
            };
            self.end_comparison(peer, number, Reason::Outdated);
            return self.seek_from(now, &namespace, peer, again);
        }
        self.imports.stage_at(&namespace, &cut);
        let offsets = self.offsets_at(&namespace, &cut);
        let own_root = self.summaries.view_with(&namespace, &offsets).root();
        let Some(seeker) = self.comparisons.seeking.get_mut(&namespace) else {
            return;
        };
        seeker.attempt.status.bytes_comparing += (digests.len() * 4 + cells.len() * 16 + 64) as u64;
        seeker.cut = cut;
        seeker.heads = heads;
        seeker.source_root = root;
        seeker.leaf_bits = leaf_bits.into();
        if seeker.whole {
            seeker.said_all = true;
            return;
        }
        if own_root == root {
            return self.nothing_differs(now, &namespace, !cells.is_empty());
        }
        if !cells.is_empty() {
            return self.sketch_given(now, &namespace, &offsets, &cells);
        }
        seeker.descent = Descent::join(salt, bits.into(), digests.len());
        if seeker.descent.is_none() {
            return self.distrust(now, peer, &namespace, "its digests are not of any depth");
        }
        self.step_down(now, peer, &namespace, &offsets, &digests);
    }

    /// All documents are here, perhaps since an earlier comparison brought them that came to no end. What is remembered of
    /// the writes is not seen by that.
    fn nothing_differs(&mut self, now: Now, namespace: &Namespace, is_sketched: bool) {
        let seeker = &self.comparisons.seeking[namespace];
        let (peer, number) = (seeker.peer, seeker.number);
        let given = seeker.attempt.receipts.cut.covers(&seeker.cut);
        let all_given = given || self.holds_all_of(namespace, &seeker.cut);
        if let Some(seeker) = self.comparisons.seeking.get_mut(namespace) {
            (seeker.said_all, seeker.all_given) = (true, all_given);
        }
        if all_given {
            return self.conclude(now, namespace);
        }
        let message = match is_sketched {
            true => RepairMessage::Sums {
                number,
                prefixes: Vec::new(),
                sums: Vec::new(),
            },
            false => RepairMessage::Leaves {
                number,
                positions: Vec::new(),
                nodes: Vec::new(),
            },
        };
        self.say_as_seeker(namespace, peer, message);
    }

    pub(super) fn seeker_told(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        positions: &[usize],
        children: &[Digest],
    ) {
        let Some(namespace) = self.sought(now, peer, number) else {
            return self.end_comparison(peer, number, Reason::Unknown);
        };
        let Some(seeker) = self.comparisons.seeking.get_mut(&namespace) else {
            return;
        };
        seeker.attempt.status.bytes_comparing += (children.len() * 4 + positions.len()) as u64;
        let leaf_bits = seeker.leaf_bits;
        let in_step = seeker.descent.as_mut().is_some_and(|descent| {
            descent.told(positions, true).is_some() && descent.bits() <= leaf_bits
        });
        if !in_step {
            return self.distrust(
                now,
                peer,
                &namespace,
                "its answers are not to what was asked",
            );
        }
        let cut = seeker.cut.clone();
        let offsets = self.offsets_at(&namespace, &cut);
        self.step_down(now, peer, &namespace, &offsets, children);
    }

    /// Compares what the source has sent, and goes on with what differs.
    fn step_down(
        &mut self,
        now: Now,
        peer: ReplicaId,
        namespace: &Namespace,
        offsets: &Offsets,
        digests: &[Digest],
    ) {
        let view = self.summaries.view_with(namespace, offsets);
        let Some(seeker) = self.comparisons.seeking.get_mut(namespace) else {
            return;
        };
        let Some(descent) = &mut seeker.descent else {
            return;
        };
        let number = seeker.number;
        let deeper = descent.bits() < seeker.leaf_bits;
        let found = descent.compare(view, digests, deeper);
        let (positions, children) = match found {
            Found::Differ {
                positions,
                children,
            } => (positions, children),
            Found::Nonsense(why) => return self.distrust(now, peer, namespace, why),
        };
        let message = if deeper {
            RepairMessage::Differ {
                number,
                positions,
                children,
            }
        } else {
            seeker.said_all = true;
            let bits = descent.bits();
            let mut nodes = Vec::new();
            for node in descent.nodes() {
                let leaves = view.leaves(bits, *node);
                seeker.said.extend(leaves.iter().copied());
                let leaf = |(place, sum): (Place, u64)| Leaf {
                    rest: Leaf::rest_of(place.0, bits),
                    sum,
                };
                nodes.push(leaves.into_iter().map(leaf).collect());
            }
            RepairMessage::Leaves {
                number,
                positions,
                nodes,
            }
        };
        self.say_as_seeker(namespace, peer, message);
    }

    /// What came is durable.
    pub(in crate::replica) fn import_settled(&mut self, now: Now, lsn: Lsn, import: &Import) {
        self.imports.stage(now.mono_ms, lsn, import);
        if self.planted_show_early() {
            for imported in &import.documents {
                let id = Self::address(&import.namespace, &imported.key);
                self.shelf.insert(&id, lsn, &imported.pieces);
            }
        }
        let Some(seeker) = self.comparisons.seeking.get_mut(&import.namespace) else {
            return;
        };
        let (peer, number) = (seeker.peer, seeker.number);
        if let Some(part) = seeker.unsettled.remove(&lsn) {
            self.say_of_repair(peer, RepairMessage::Taken { number, part });
        }
        self.conclude(now, &import.namespace);
    }

    /// Once everything has come: it counts, or it is looked whether it is everything.
    pub(super) fn conclude(&mut self, now: Now, namespace: &Namespace) {
        let Some(seeker) = self.comparisons.seeking.get(namespace) else {
            return;
        };
        let early = self.planted_arrive_early() && seeker.next_part > 0;
        let all_given = seeker.all_given || early;
        let waits = !all_given || !seeker.unsettled.is_empty() || !seeker.unconfirmed.is_empty();
        if waits || seeker.arriving {
            return;
        }
        let cut = seeker.cut.clone();
        let offsets = self.offsets_at(namespace, &cut);
        let root = self.summaries.view_with(namespace, &offsets).root();
        let Some(seeker) = self.comparisons.seeking.get_mut(namespace) else {
            return;
        };
        // Where this one has what the source has not, roots stay different; then what was found out counts.
        let over = seeker.learnt == 0 || seeker.is_blind || early;
        let complete = root == seeker.source_root || over;
        if !complete && seeker.attempt.round < ROUNDS_MAX {
            let peer = seeker.peer;
            let next = Attempt {
                round: seeker.attempt.round + 1,
                by_digests: !seeker.offers_sketch,
                receipts: ReceiptsGiven {
                    cut,
                    by: seeker.number,
                },
                ..seeker.attempt.clone()
            };
            let keys = std::mem::take(&mut seeker.keys);
            let terms = std::mem::take(&mut seeker.terms);
            self.seek_from(now, namespace, peer, next);
            if let Some(seeker) = self.comparisons.seeking.get_mut(namespace) {
                seeker.keys = keys;
                seeker.terms = terms;
            }
            return;
        }
        seeker.arriving = true;
        // The disk answers, or the store is of no more use.
        seeker.until_ms = u64::MAX;
        let heads = std::mem::take(&mut seeker.heads);
        let new = !self.holds_all_of(namespace, &cut) || self.imports.has_staged(namespace);
        if !new {
            return self.end_seeking(now, namespace);
        }
        let positions = cut.iter();
        let positions = positions.map(|(origin, seq)| (*origin, *seq, heads.contains(origin)));
        let positions = positions.collect();
        self.put_arrival(namespace, positions);
    }

    /// The repair has come to its end.
    pub(in crate::replica) fn end_seeking(&mut self, now: Now, namespace: &Namespace) {
        let Some(seeker) = self.comparisons.seeking.remove(namespace) else {
            return;
        };
        self.comparisons.lacks.remove(namespace);
        let status = RepairStatus {
            took_ms: now.mono_ms - seeker.attempt.since_ms,
            ..seeker.attempt.status
        };
        self.counters.repairs += 1;
        self.counters.documents_repaired += status.documents;
        self.comparisons.last.insert(namespace.clone(), status);
        if status.documents > 0 {
            let notice = Notice::NamespaceRepaired {
                peer: seeker.peer,
                namespace: namespace.clone(),
                documents: status.documents,
                took_ms: status.took_ms,
            };
            self.outputs.push_back(Output::Notice(notice));
        }
        self.verified_by_repair(
            now,
            namespace,
            seeker.peer,
            &seeker.keys.into_iter().collect::<Vec<_>>(),
        );
    }

    /// The other side ends it.
    pub(super) fn comparison_ended(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        reason: Reason,
    ) {
        if self.is_sought_by(peer, number) {
            self.comparisons.serving.remove(&(peer, number));
            return;
        }
        let Some(namespace) = self.sought(now, peer, number) else {
            return;
        };
        self.seek_again_later(now, &namespace);
        let holds = self.peers.by_id.get(&peer).map(|peer| &peer.holds);
        // Of what it knows nothing of it will never be ready to say anything.
        let will_be_ready = holds.is_some_and(|holds| holds.contains_key(&namespace));
        let Some(lack) = self.comparisons.lacks.get_mut(&namespace) else {
            return;
        };
        match reason {
            Reason::NotReady if will_be_ready => (lack.tries, lack.turn) = (0, 0),
            // Somebody else may have room.
            Reason::Busy => lack.tries = lack.tries.saturating_sub(1),
            _ => return,
        }
        lack.due_ms = now.mono_ms + super::RETRY_MS;
    }
}
