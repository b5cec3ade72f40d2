//! Going after what is missing: what a peer holds and does not send by itself is asked for, of one peer
//! at a time, and the next one if nothing comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Replica;
use super::history::History;
use super::peers::Peers;
use super::session::ACK_LAZY_MS;
use crate::effect::{LinkId, Now};
use crate::message::{Message, Want};
use crate::{Batch, Namespace, Origin, ReplicaId, Seq, limits};

/// An origin's own replica gets this long to send by itself what another peer says it holds.
const OWNER_GRACE_MS: u64 = 2_000;
/// Less if batches are held back for it: they are visible nowhere here until it comes.
const CAUSE_GRACE_MS: u64 = 250;
/// Who is asked because they did not come stands in for so long: what made the owner's link slow will go on.
const STAND_IN_MS: u64 = 30_000;
/// Then somebody is asked, and after this long without progress somebody else.
const WANT_PATIENCE_MS: u64 = 3_000;
const WANTS_EVERY_MS: u64 = 500;
const GAP_EVERY_MS: u64 = 500;
const WANTS_PER_FRAME: usize = 1_024;

/// What to ask of whom.
type Wants = BTreeMap<ReplicaId, Vec<Want>>;

/// An origin of which somebody holds more than we do.
pub(super) struct Wanted {
    at: Seq,
    pub(super) deadline: u64,
    /// Since when batches are held back for it, without progress.
    urgent_since: Option<u64>,
    /// A batch that is held back for it.
    held_back: Option<HeldBack>,
    pub(super) via: Option<ReplicaId>,
    /// Until then it is sent by somebody else although its owner is linked.
    stands_in_until: u64,
}

/// A batch that waits for another origin's: the last that had come of its own.
struct HeldBack {
    origin: Origin,
    seq: Seq,
    since: u64,
    /// How many of those that it waits for, or that come after them, were known and not here by then.
    missing: u64,
}

impl Wanted {
    /// Takes down how far it has come.
    fn note(&mut self, now: Now, accepted: Seq) {
        if accepted > self.at {
            self.at = accepted;
            self.deadline = now.mono_ms + WANT_PATIENCE_MS;
            self.urgent_since = None;
        }
    }

    /// Takes down that batches of another origin wait for it, of which so many are known and not here. Tells whether one of those has waited
    /// long: on a slow link each may wait a little longer than the one before, so that it makes progress says nothing, but ever more of
    /// them are missing. While all catch up there are fewer and fewer.
    fn is_late(
        &mut self,
        now: Now,
        name: &(Namespace, Origin),
        of: Origin,
        missing: u64,
        history: &History,
    ) -> bool {
        let urgent_since = *self.urgent_since.get_or_insert(now.mono_ms);
        if self.via.is_none() {
            self.deadline = self.deadline.min(urgent_since + CAUSE_GRACE_MS);
        }
        let waits = |held: &HeldBack| held.seq > history.accepted(&name.0, &held.origin);
        if let Some(held) = self.held_back.take_if(|held| waits(held)) {
            let late = now.mono_ms >= held.since + CAUSE_GRACE_MS;
            let grows = missing >= held.missing;
            if !late || grows {
                self.held_back = Some(held);
                return late;
            }
        }
        self.held_back = Some(HeldBack {
            origin: of,
            seq: history.at_hand(&name.0, &of),
            since: now.mono_ms,
            missing,
        });
        false
    }
}

impl Peers {
    /// Batches are held back: see to it soon that what they wait for comes.
    pub(super) fn waits_for_causes(&mut self, now: Now) {
        let due = now.mono_ms + CAUSE_GRACE_MS;
        self.wants_due = if self.behind {
            self.wants_due.min(due)
        } else {
            due
        };
        self.behind = true;
    }
}

impl Replica {
    /// A batch came before one that it follows: ask the sender for the ones between.
    pub(super) fn ask_for_gap(&mut self, now: Now, link: LinkId, batch: &Arc<Batch>, after: Seq) {
        self.counters.batches_out_of_order += 1;
        self.ask_from(now, link, (batch.namespace.clone(), batch.origin), after);
    }

    /// Asks the peer at a link for an origin's batches after a position, not too often.
    pub(super) fn ask_from(
        &mut self,
        now: Now,
        link: LinkId,
        name: (Namespace, Origin),
        after: Seq,
    ) {
        let Some(peer) = self.peers.of_link(link) else {
            return;
        };
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let last = session.gaps.get(&name).copied();
        if last.is_some_and(|last| now.mono_ms < last + GAP_EVERY_MS)
            || session.gaps.len() > limits::ORIGINS_MAX
        {
            return;
        }
        session.gaps.insert(name.clone(), now.mono_ms);
        let want = Want {
            namespace: name.0,
            origin: name.1,
            after: Some(after),
        };
        self.say(peer, link, &Message::Want(vec![want]));
    }

    /// Compares what peers hold with what is here, and asks for what does not come by itself.
    pub(super) fn ask_for_missing(&mut self, now: Now) {
        self.peers.wants_due = now.mono_ms + WANTS_EVERY_MS;
        let mut missing: BTreeMap<(Namespace, Origin), Vec<ReplicaId>> = BTreeMap::new();
        for (id, peer) in &self.peers.by_id {
            if !self.peers.is_stated(id) {
                continue;
            }
            for (namespace, frontier) in &peer.holds {
                if !self.takes_in(namespace) {
                    continue;
                }
                for (origin, seq) in frontier.iter() {
                    if *seq > self.history.accepted(namespace, origin) {
                        missing
                            .entry((namespace.clone(), *origin))
                            .or_default()
                            .push(*id);
                    }
                }
            }
        }
        let mut waited_for = BTreeMap::new();
        for (namespace, origin, seq, waiting) in self.history.unmet_causes() {
            let name = (namespace, origin);
            let holders = missing.entry(name.clone()).or_default();
            let holder = waiting.replica;
            if self.peers.is_stated(&holder) && !holders.contains(&holder) {
                holders.push(holder);
            }
            waited_for.insert(name, (waiting, seq));
        }
        self.peers.behind = !missing.is_empty();
        let mut wants = Wants::new();
        for (name, holders) in &missing {
            let waiting = waited_for.get(name).copied();
            self.pursue(now, name, holders, waiting, &mut wants);
        }
        if !waited_for.is_empty() {
            self.peers.wants_due = now.mono_ms + CAUSE_GRACE_MS;
        }
        let settled: Vec<_> = self
            .peers
            .wanted
            .keys()
            .filter(|name| !missing.contains_key(name))
            .cloned()
            .collect();
        for name in settled {
            // Somebody who stands in for an origin's own replica goes on until that one is back.
            let owner_back = self.peers.is_stated(&name.1.replica);
            let wanted = self.peers.wanted.get(&name);
            let over = wanted.is_none_or(|wanted| now.mono_ms >= wanted.stands_in_until);
            let stand_in = wanted
                .and_then(|wanted| wanted.via)
                .filter(|via| *via != name.1.replica);
            match stand_in {
                Some(via) if owner_back && over => {
                    wants.entry(via).or_default().push(want(&name, None));
                    self.peers.wanted.remove(&name);
                }
                Some(_) => {}
                None => {
                    self.peers.wanted.remove(&name);
                }
            }
        }
        self.say_wants(wants);
        if self
            .peers
            .wanted
            .values()
            .any(|wanted| wanted.via.is_some())
        {
            self.peers.behind = true;
            self.peers.wants_due = now.mono_ms
                + if missing.is_empty() {
                    ACK_LAZY_MS
                } else {
                    WANTS_EVERY_MS
                };
        }
    }

    fn pursue(
        &mut self,
        now: Now,
        name: &(Namespace, Origin),
        holders: &[ReplicaId],
        waiting: Option<(Origin, Seq)>,
        wants: &mut Wants,
    ) {
        let accepted = self.history.accepted(&name.0, &name.1);
        let owner_linked = self.peers.is_stated(&name.1.replica);
        // The origin's own replica sends unasked.
        let is_other = |holder: &&ReplicaId| !owner_linked || **holder != name.1.replica;
        let others: Vec<_> = holders.iter().copied().filter(|h| is_other(&h)).collect();
        let keeping_up = others.iter().find(|other| self.keeps_up(&name.0, other));
        let keeping_up = keeping_up.copied().filter(|_| owner_linked);
        let grace = if owner_linked { OWNER_GRACE_MS } else { 0 };
        let held = holders.iter().filter_map(|id| self.peers.by_id.get(id));
        let held = held.map(|peer| peer.holds(&name.0, &name.1));
        let known_end = held.max().unwrap_or(Seq(0));
        let wanted = self.peers.wanted.entry(name.clone()).or_insert(Wanted {
            at: accepted,
            deadline: now.mono_ms + grace,
            urgent_since: None,
            held_back: None,
            via: None,
            stands_in_until: 0,
        });
        wanted.note(now, accepted);
        let is_late = waiting.is_some_and(|(of, cause)| {
            let missing = known_end.max(cause).0.saturating_sub(accepted.0);
            wanted.is_late(now, name, of, missing, &self.history)
        });
        let unasked = wanted.via.is_none_or(|via| via == name.1.replica);
        // Who stands in may have become slow itself by the end of its turn.
        let free = unasked || now.mono_ms >= wanted.stands_in_until;
        let stand_in = keeping_up.filter(|_| is_late && free);
        if now.mono_ms < wanted.deadline && stand_in.is_none() {
            return;
        }
        let before = wanted.via;
        // The next holder after the one asked before, in a circle.
        let mut after = others.iter().filter(|holder| Some(**holder) > before);
        let next = stand_in.as_ref().or_else(|| after.next());
        let next = next.or_else(|| others.first()).or_else(|| holders.first());
        let next = next.copied();
        wanted.via = next;
        wanted.deadline = now.mono_ms + WANT_PATIENCE_MS;
        wanted.stands_in_until = stand_in.map_or(0, |_| now.mono_ms + STAND_IN_MS);
        if let Some(before) =
            before.filter(|before| Some(*before) != next && *before != name.1.replica)
        {
            wants.entry(before).or_default().push(want(name, None));
        }
        if let Some(next) = next {
            let entry = wants.entry(next).or_default();
            entry.push(want(name, Some(accepted)));
        }
    }

    /// Whether all that a peer says it has written has come. While everybody catches up, nobody's does, and what one of them
    /// sends for another would come later still.
    fn keeps_up(&self, namespace: &Namespace, id: &ReplicaId) -> bool {
        let peer = self.peers.by_id.get(id);
        let held = peer.and_then(|peer| peer.holds.get(namespace));
        let mut own = held.into_iter().flat_map(|held| held.iter());
        own.all(|(origin, seq)| {
            origin.replica != *id || self.history.at_hand(namespace, origin) >= *seq
        })
    }

    /// Many in a frame: after an outage there may be more of them than a link's queue takes frames.
    fn say_wants(&mut self, wants: Wants) {
        for (peer, wants) in wants {
            let Some(link) = self.peers.session(peer).map(|session| session.link) else {
                continue;
            };
            for part in wants.chunks(WANTS_PER_FRAME) {
                self.say(peer, link, &Message::Want(part.to_vec()));
            }
        }
    }
}

fn want(name: &(Namespace, Origin), after: Option<Seq>) -> Want {
    Want {
        namespace: name.0.clone(),
        origin: name.1,
        after,
    }
}
