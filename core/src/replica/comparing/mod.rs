//! Comparing a namespace with a peer, and getting from it what is missing here.
//!
//! The **seeker** asks the **source**. The source fixes a frontier, the *cut*: what it holds by then. What becomes durable there
//! meanwhile is taken off again, from digests and from documents, so all that it says is of that one moment. The seeker leaves out
//! of account what it holds beyond the cut. They go down their summaries (see [`crate::summary`]); the source gives what the
//! seeker lacks of each document that differs; once all of it is durable here, it counts, and this replica holds what the
//! source held at the cut (see [`super::imports`]).
//!
//! What the seeker has and the source lacks is not sent: the source finds it in its turn, when it seeks.

mod confirming;
mod giving;
mod seeker;
mod sketching;
mod source;
mod taking;
mod verifying;

use std::collections::BTreeMap;

pub(super) use giving::Picking;
use seeker::Seeker;
use source::Source;
use taking::Part;
pub(super) use verifying::Verifying;

use super::Replica;
use super::summaries::Term;
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::Message;
use crate::repair_message::{Reason, RepairMessage};
use crate::{Batch, DocumentId, Frontier, Key, Namespace, Origin, ReplicaId, Seq, limits};

/// A comparison that failed is begun again after this long, doubled each time.
const RETRY_MS: u64 = 500;
const RETRY_MS_MAX: u64 = 30_000;
/// A source that has not been asked anything for this long forgets the comparison.
const SOURCE_PATIENCE_MS: u64 = 60_000;
/// A seeker that has not been told anything for this long begins anew.
const SEEKER_PATIENCE_MS: u64 = 15_000;
/// A peer whose answers do not fit together is not asked for this long.
const DISTRUST_MS: u64 = 600_000;
/// Comparisons of different namespaces that this replica seeks in at once.
const SEEKERS_MAX: usize = 4;
/// Of those, with one peer: whoever never answers must not be in the way of the others.
const SEEKERS_OF_ONE_MAX: usize = 3;
/// After so many tries what is missing is looked for only while somebody says that it has it.
const TRIES_MAX: u32 = 8;

/// Something is missing, and a peer may have it.
struct Lack {
    peer: ReplicaId,
    due_ms: u64,
    tries: u32,
    /// Counted from the one that seems to have most: who is asked next.
    turn: u32,
}

/// The last repair of a namespace, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct RepairStatus {
    /// Documents that came.
    pub documents: u64,
    /// Bytes of digests and the like that were exchanged to find them.
    pub bytes_comparing: u64,
    /// Bytes of documents.
    pub bytes_documents: u64,
    /// Times that something was asked and answered, until the last document was here.
    pub round_trips: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

#[derive(Default)]
pub(super) struct Comparisons {
    numbers: u64,
    serving: BTreeMap<(ReplicaId, u64), Source>,
    seeking: BTreeMap<Namespace, Seeker>,
    lacks: BTreeMap<Namespace, Lack>,
    distrusted: BTreeMap<ReplicaId, u64>,
    pub(super) verifying: Verifying,
    pub(super) last: BTreeMap<Namespace, RepairStatus>,
}

impl Comparisons {
    pub(super) fn wake_at(&self) -> u64 {
        let lacks = self.lacks.iter();
        // One that is under way is looked at again when it ends.
        let lacks = lacks.filter(|(namespace, _)| !self.seeking.contains_key(*namespace));
        let lacks = lacks.map(|(_, lack)| lack.due_ms);
        let seeking = self.seeking.values().map(|seeker| seeker.until_ms);
        let serving = self.serving.values().map(|source| source.until_ms);
        let own = lacks.chain(seeking).chain(serving).min();
        own.unwrap_or(u64::MAX).min(self.verifying.wake_at())
    }

    /// Whether something is being sought in a namespace.
    pub(super) fn seeks(&self, namespace: &Namespace) -> bool {
        self.seeking.contains_key(namespace)
    }

    /// The record with which a repair was to end is not there.
    pub(super) fn arrival_taken_back(&mut self, namespace: &Namespace) {
        if let Some(seeker) = self.seeking.get_mut(namespace) {
            seeker.arriving = false;
        }
    }

    fn trusts(&self, now: Now, peer: &ReplicaId) -> bool {
        let until = self.distrusted.get(peer);
        until.is_none_or(|until| now.mono_ms >= *until)
    }

    /// A number for a question, even; the one after it is nobody else's.
    fn next_number(&mut self) -> u64 {
        self.numbers += 2;
        self.numbers
    }
}

/// Both ends of a link number the comparisons that they seek, and either may seek from the other: the one with the higher name takes odd
/// numbers, so that each message is of one comparison.
fn is_odd(seeker: &ReplicaId, source: &ReplicaId) -> bool {
    seeker > source
}

impl Replica {
    pub(super) fn repair_message(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        message: RepairMessage,
    ) {
        match message {
            RepairMessage::Compare {
                number,
                namespace,
                positions,
                documents,
                expected,
                whole,
                since_ms,
                follows,
                counters,
            } => {
                let theirs = source::Asked {
                    frontier: positions.into_iter().collect(),
                    documents,
                    expected,
                    whole,
                    receipts_since_ms: since_ms,
                    follows,
                    counters,
                };
                self.be_compared(now, peer, number, namespace, &theirs);
            }
            RepairMessage::Differ {
                number,
                positions,
                children,
            } => {
                if self.is_sought_by(peer, number) {
                    self.source_told(now, peer, number, &positions, &children);
                } else {
                    self.seeker_told(now, peer, number, &positions, &children);
                }
            }
            RepairMessage::Leaves {
                number,
                positions,
                nodes,
            } => self.source_shown_leaves(now, peer, number, &positions, &nodes),
            RepairMessage::Sums {
                number,
                prefixes,
                sums,
            } => self.source_shown_sums(now, peer, number, &prefixes, &sums),
            RepairMessage::Taken { number, part } => self.part_taken(now, peer, number, part),
            RepairMessage::Heads { number, documents } => {
                self.source_shown_heads(now, peer, number, documents);
            }
            RepairMessage::Cut { .. } => self.cut_given(now, peer, message),
            RepairMessage::Documents {
                number,
                part,
                documents,
                receipts,
                unclear,
                last,
            } => {
                let part = Part {
                    part,
                    documents,
                    receipts,
                    unclear,
                    last,
                };
                self.part_given(now, peer, number, part);
            }
            RepairMessage::End { number, reason } => {
                self.comparison_ended(now, peer, number, reason);
            }
            RepairMessage::AskRoot {
                number,
                namespace,
                positions,
                root,
            } => self.asked_for_root(now, peer, link, number, namespace, positions, root),
            RepairMessage::Root { number, root } => self.root_given(now, peer, number, root),
            RepairMessage::Behind(entries) => self.left_behind(now, peer, entries),
        }
    }

    /// A number for a comparison that is sought here.
    fn next_comparison(&mut self, source: &ReplicaId) -> u64 {
        let odd = is_odd(&self.origin().replica, source);
        self.comparisons.next_number() + u64::from(odd)
    }

    /// Whether a comparison is one that the peer seeks.
    fn is_sought_by(&self, peer: ReplicaId, number: u64) -> bool {
        (number % 2 == 1) == is_odd(&peer, &self.origin().replica)
    }

    fn say_of_repair(&mut self, peer: ReplicaId, message: RepairMessage) -> usize {
        let Some(link) = self.peers.session(peer).map(|session| session.link) else {
            return 0;
        };
        let message = Message::Repair(message);
        self.say(peer, link, &message)
    }

    fn end_comparison(&mut self, peer: ReplicaId, number: u64, reason: Reason) {
        self.say_of_repair(peer, RepairMessage::End { number, reason });
    }

    /// A peer's log does not reach back to what is missing here.
    fn left_behind(&mut self, now: Now, peer: ReplicaId, entries: Vec<(Namespace, Origin, Seq)>) {
        for (namespace, origin, seq) in entries {
            if seq > self.history.accepted(&namespace, &origin)
                && self.takes_in(&namespace)
                && self.history.has_room_for(&namespace)
            {
                self.note_lack(now, namespace, peer);
            }
        }
        self.tick_comparisons(now);
    }

    /// Something is missing here that a peer seems to have.
    fn note_lack(&mut self, now: Now, namespace: Namespace, peer: ReplicaId) {
        if !self.comparisons.trusts(now, &peer) {
            return;
        }
        let lacks = &mut self.comparisons.lacks;
        if lacks.len() < limits::NAMESPACES_MAX {
            lacks.entry(namespace).or_insert(Lack {
                peer,
                due_ms: now.mono_ms,
                tries: 0,
                turn: 0,
            });
        }
    }

    pub(super) fn tick_comparisons(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        let late = |until: u64| until <= now.mono_ms;
        self.comparisons
            .serving
            .retain(|_, source| !late(source.until_ms));
        let seeking = self.comparisons.seeking.iter();
        let gone: Vec<_> = seeking
            .filter(|(_, seeker)| late(seeker.until_ms))
            .map(|(namespace, _)| namespace.clone())
            .collect();
        for namespace in gone {
            self.give_up(now, &namespace);
        }
        let due = self.comparisons.lacks.iter();
        let due: Vec<_> = due
            .filter(|(namespace, lack)| late(lack.due_ms) && !self.comparisons.seeks(namespace))
            .map(|(namespace, _)| namespace.clone())
            .collect();
        for namespace in due {
            if self.comparisons.seeking.len() >= SEEKERS_MAX || !self.may_seek(&namespace) {
                self.put_off(now, &namespace, RETRY_MS);
            } else {
                self.seek(now, &namespace);
            }
        }
        self.tick_verifying(now);
    }

    /// Whether somebody who can be asked says that it holds more of a namespace than we do.
    fn is_anybody_ahead(&self, now: Now, namespace: &Namespace) -> bool {
        let linked = self.peers.linked().into_iter();
        let mut trusted = linked.filter(|peer| self.comparisons.trusts(now, peer));
        trusted.any(|peer| {
            let holds = self.peers.by_id[&peer].holds.get(namespace);
            holds.is_some_and(|theirs| self.batches_ahead(namespace, theirs) > 0)
        })
    }

    fn may_seek(&self, namespace: &Namespace) -> bool {
        self.departures.is_at_rest(namespace)
            && self.summaries.is_ready()
            && !self.imports.is_pending(namespace)
    }

    fn put_off(&mut self, now: Now, namespace: &Namespace, pause_ms: u64) {
        if let Some(lack) = self.comparisons.lacks.get_mut(namespace) {
            lack.due_ms = now.mono_ms + pause_ms;
        }
    }

    /// Asks no more, which the other side is told, so that it does not wait.
    fn give_up(&mut self, now: Now, namespace: &Namespace) {
        self.part_with_source(namespace);
        self.seek_again_later(now, namespace);
    }

    fn part_with_source(&mut self, namespace: &Namespace) {
        let seeker = self.comparisons.seeking.get(namespace);
        if let Some((peer, number)) = seeker
            .filter(|seeker| !seeker.arriving)
            .map(|seeker| (seeker.peer, seeker.number))
        {
            self.end_comparison(peer, number, Reason::Outdated);
        }
    }

    /// Something has come of it that did not do; another one may do better.
    fn seek_again_later(&mut self, now: Now, namespace: &Namespace) {
        let arriving = |seeker: &Seeker| seeker.arriving;
        if self
            .comparisons
            .seeking
            .get(namespace)
            .is_some_and(arriving)
        {
            // It has all that it sought, whoever goes now.
            return;
        }
        let ended = self.comparisons.seeking.remove(namespace);
        let disturbed = ended.is_some_and(|seeker| seeker.disturbed);
        if disturbed || !self.imports.has_staged(namespace) {
            self.imports.drop_staged(namespace);
        }
        let Some(lack) = self.comparisons.lacks.get_mut(namespace) else {
            return;
        };
        lack.tries += 1;
        lack.turn += 1;
        let tries = lack.tries;
        if tries > TRIES_MAX && !self.is_anybody_ahead(now, namespace) {
            // Whoever said so was wrong, or is gone; if not, it is said again.
            self.comparisons.lacks.remove(namespace);
            return;
        }
        let Some(lack) = self.comparisons.lacks.get_mut(namespace) else {
            return;
        };
        let pause = RETRY_MS << lack.tries.min(10);
        lack.due_ms = now.mono_ms + pause.min(RETRY_MS_MAX);
    }

    /// A peer says what can't be true.
    fn distrust(&mut self, now: Now, peer: ReplicaId, namespace: &Namespace, why: &str) {
        self.counters.comparisons_refused += 1;
        let until = now.mono_ms + DISTRUST_MS;
        self.comparisons.distrusted.insert(peer, until);
        let from = |seeker: &Seeker| seeker.peer == peer;
        if self.comparisons.seeking.get(namespace).is_some_and(from) {
            // What it gave is worth no more than what it said.
            self.imports.drop_staged(namespace);
            self.give_up(now, namespace);
        }
        let notice = Notice::RepairRefused {
            peer,
            namespace: namespace.clone(),
            why: why.to_owned(),
        };
        self.outputs.push_back(Output::Notice(notice));
    }

    /// A peer is there no more.
    pub(super) fn comparisons_lose(&mut self, now: Now, peer: ReplicaId) {
        self.comparisons
            .serving
            .retain(|(seeker, _), _| *seeker != peer);
        let seeking = self.comparisons.seeking.iter();
        let gone: Vec<_> = seeking
            .filter(|(_, seeker)| seeker.peer == peer)
            .map(|(namespace, _)| namespace.clone())
            .collect();
        for namespace in gone {
            self.seek_again_later(now, &namespace);
        }
        self.comparisons.verifying.lose(peer);
    }

    /// What a namespace's placement does not allow any more between this replica and a peer comes to an end.
    pub(super) fn comparisons_leave(&mut self, now: Now, peer: ReplicaId) {
        let serving = self.comparisons.serving.iter();
        let gone: Vec<_> = serving
            .filter(|((to, _), source)| *to == peer && !self.goes_to(&source.namespace, to))
            .map(|(name, _)| *name)
            .collect();
        for (peer, number) in gone {
            self.comparisons.serving.remove(&(peer, number));
            self.end_comparison(peer, number, Reason::Busy);
        }
        let seeking = self.comparisons.seeking.iter();
        let gone: Vec<_> = seeking
            .filter(|(namespace, seeker)| {
                seeker.peer == peer && !seeker.is_blind && !self.goes_to(namespace, &peer)
            })
            .map(|(namespace, _)| namespace.clone())
            .collect();
        for namespace in gone {
            self.give_up(now, &namespace);
        }
    }

    /// Nothing is to come into a namespace any more. What is on its way into the log as a whole stays whole.
    pub(super) fn stop_seeking(&mut self, namespace: &Namespace) {
        self.comparisons.lacks.remove(namespace);
        let seeking = self.comparisons.seeking.get(namespace);
        if seeking.is_none_or(|seeker| !seeker.arriving) {
            self.part_with_source(namespace);
            self.comparisons.seeking.remove(namespace);
            self.imports.drop_staged(namespace);
        }
    }

    /// Whether a question to the store is about what a namespace has.
    pub(super) fn gives_of(&self, picking: &Picking, namespace: &Namespace) -> bool {
        let source = self.comparisons.serving.get(&picking.name());
        source.is_some_and(|source| source.namespace == *namespace)
    }

    /// What is held here of a namespace has made a leap: nobody who compares with it can be served on.
    pub(super) fn end_serving(&mut self, namespace: &Namespace) {
        let serving = self.comparisons.serving.iter();
        let gone: Vec<_> = serving
            .filter(|(_, source)| source.namespace == *namespace)
            .map(|(name, _)| *name)
            .collect();
        for (peer, number) in gone {
            self.comparisons.serving.remove(&(peer, number));
            self.end_comparison(peer, number, Reason::Outdated);
        }
    }

    /// Nothing that is under way can be relied upon any more.
    pub(super) fn end_all_comparisons(&mut self, now: Now) {
        let serving: Vec<_> = self.comparisons.serving.keys().copied().collect();
        for (peer, number) in serving {
            self.comparisons.serving.remove(&(peer, number));
            self.end_comparison(peer, number, Reason::Outdated);
        }
        let seeking: Vec<_> = self.comparisons.seeking.keys().cloned().collect();
        for namespace in seeking {
            self.give_up(now, &namespace);
        }
    }

    /// A batch has become durable: what is compared at an earlier moment is without it.
    pub(super) fn comparisons_see(&mut self, batch: &Batch, terms: &[Term]) {
        let mut outdated = Vec::new();
        for (name, source) in &mut self.comparisons.serving {
            if source.namespace == batch.namespace
                && batch.seq > source.cut.of(&batch.origin)
                && !source.came(terms)
            {
                outdated.push(*name);
            }
        }
        for (peer, number) in outdated {
            self.comparisons.serving.remove(&(peer, number));
            self.end_comparison(peer, number, Reason::Outdated);
        }
        let namespace = &batch.namespace;
        let is_staged = self.imports.stages_beyond(namespace, &batch.origin) >= batch.seq;
        match self.comparisons.seeking.get_mut(namespace) {
            // What came belongs to a record that is on its way.
            Some(seeker) if seeker.arriving => {}
            Some(seeker)
                if seeker.said_all && batch.seq <= seeker.cut.of(&batch.origin)
                    || seeker.attempt.round > 0 && is_staged =>
            {
                seeker.disturbed = true;
                for (place, term) in terms {
                    self.imports.came_otherwise(namespace, *place, *term);
                }
            }
            // An earlier comparison brought it, and it is not known any more what of this was given already.
            Some(_) | None if is_staged => self.imports.drop_staged(namespace),
            Some(_) | None => {}
        }
    }

    /// What a peer holds more than we do, in batches.
    fn batches_ahead(&self, namespace: &Namespace, theirs: &Frontier) -> u64 {
        let ahead = theirs.iter().map(|(origin, seq)| {
            let ours = self.history.accepted(namespace, origin);
            seq.0.saturating_sub(ours.0)
        });
        ahead.fold(0, u64::saturating_add)
    }

    fn ids(namespace: &Namespace, keys: &[Key]) -> Vec<DocumentId> {
        keys.iter()
            .map(|key| Self::address(namespace, key))
            .collect()
    }
}
