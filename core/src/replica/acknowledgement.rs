//! Writes whose callers wait until other datacenters hold them.
//!
//! A write that is durable here and asks for more waits at its position until enough members have said that they hold
//! that durably, which is what they say in any case ([`Peer::holds`](super::peers::Peer)): so what an answer says of a
//! datacenter stays true if its replicas crash right after. So that nobody waits for a statement that is not urgent, the
//! linked members are told that somebody waits, and then say so with the commit that carries it.

use std::collections::{BTreeMap, BTreeSet};

use super::Replica;
use super::asking::{Owed, Shows};
use super::peers::Peer;
use crate::effect::{Ack, Acknowledged, Now, Reply};
use crate::message::Message;
use crate::{Namespace, Origin, ReplicaId, Seq, limits};

/// The order in which they came.
type Number = u64;

/// Until when a caller waits, and for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) ack: Ack,
    pub(super) deadline_ms: u64,
}

struct Waiter {
    owed: Owed,
    wish: Wish,
    namespace: Namespace,
    /// Who holds these holds all that the answer shows.
    positions: Vec<(Origin, Seq)>,
}

/// What has come to be held by a member, which held the origin up to the first position before.
pub(super) type Raised = (Namespace, Origin, Seq, Seq);

#[derive(Default)]
pub(super) struct Acknowledgements {
    count: Number,
    by_number: BTreeMap<Number, Waiter>,
    by_position: BTreeSet<(Namespace, Origin, Seq, Number)>,
    deadlines: BTreeSet<(u64, Number)>,
    /// What members are to be told of: up to where somebody waits.
    untold: BTreeMap<(Namespace, Origin), Seq>,
}

impl Acknowledgements {
    pub(super) fn wake_at(&self) -> u64 {
        self.deadlines.first().map_or(u64::MAX, |(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    fn put(&mut self, waiter: Waiter) {
        self.count += 1;
        let number = self.count;
        for (origin, seq) in &waiter.positions {
            let namespace = &waiter.namespace;
            self.by_position
                .insert((namespace.clone(), *origin, *seq, number));
            let untold = self
                .untold
                .entry((namespace.clone(), *origin))
                .or_insert(*seq);
            *untold = (*untold).max(*seq);
        }
        self.deadlines.insert((waiter.wish.deadline_ms, number));
        self.by_number.insert(number, waiter);
    }

    fn take(&mut self, number: Number) -> Option<Waiter> {
        let waiter = self.by_number.remove(&number)?;
        self.deadlines.remove(&(waiter.wish.deadline_ms, number));
        for (origin, seq) in &waiter.positions {
            let namespace = waiter.namespace.clone();
            self.by_position.remove(&(namespace, *origin, *seq, number));
        }
        Some(waiter)
    }

    /// Those who wait at a position that a member has passed.
    fn passed(&self, (namespace, origin, before, now): &Raised) -> Vec<Number> {
        let first = (namespace.clone(), *origin, before.next(), 0);
        let last = (namespace.clone(), *origin, *now, Number::MAX);
        if first > last {
            return Vec::new();
        }
        let passed = self.by_position.range(first..=last);
        passed.map(|(_, _, _, number)| *number).collect()
    }

    /// All of it is to be said again, to somebody who has not heard it.
    fn tell_again(&mut self) {
        for (namespace, origin, seq, _) in &self.by_position {
            // In order, so that the last is the furthest.
            self.untold.insert((namespace.clone(), *origin), *seq);
        }
    }
}

impl Replica {
    /// Keeps an answer that is to wait for other datacenters; gives it back with what is known of them if it need not.
    pub(super) fn unless_acknowledgements_lack(&mut self, mut owed: Owed) -> Option<Owed> {
        let wish = owed.wish().filter(|_| owed.is_of_a_write());
        let (Some(wish), Some(namespace)) = (wish, owed.namespace().cloned()) else {
            return Some(owed);
        };
        let positions = self.positions_shown(&namespace, owed.shows);
        let acknowledged = self.acknowledged(wish.ack, &namespace, &positions);
        let may_wait = self.failed.is_none()
            && self.acknowledgements.len() < limits::ACKNOWLEDGEMENTS_WAITING_MAX;
        if acknowledged.reached || !may_wait {
            owed.acknowledge(acknowledged);
            return Some(owed);
        }
        self.acknowledgements.put(Waiter {
            owed,
            wish,
            namespace,
            positions,
        });
        None
    }

    /// The positions that cover what a write's answer shows.
    fn positions_shown(&self, namespace: &Namespace, shows: Shows) -> Vec<(Origin, Seq)> {
        match shows {
            Shows::Own(origin, seq) | Shows::Repeated(origin, seq) => vec![(origin, seq)],
            // A write that found all as it wished, which may have been written just now by somebody else.
            Shows::Durable => {
                let space = self.history.space(namespace);
                let heads = space
                    .into_iter()
                    .flat_map(|space| space.durable_heads.iter());
                heads.map(|(origin, seq)| (*origin, *seq)).collect()
            }
        }
    }

    /// Who is known to hold some positions.
    fn acknowledged(
        &self,
        ack: Ack,
        namespace: &Namespace,
        positions: &[(Origin, Seq)],
    ) -> Acknowledged {
        let holds = |peer: &Peer| {
            let mut positions = positions.iter();
            positions.all(|(origin, seq)| peer.holds(namespace, origin) >= *seq)
        };
        let own = self.config.datacenter.as_str();
        // Of each other datacenter whether somebody in it holds it; one without a name could be any.
        let mut named: BTreeMap<&str, bool> = BTreeMap::new();
        let mut nameless: Vec<ReplicaId> = Vec::new();
        let members = self.peers.counted();
        let members = members.filter(|(_, peer)| self.is_to_hold(peer, namespace));
        for (id, peer) in members {
            match peer.datacenter.as_str() {
                "" if !holds(peer) => nameless.push(*id),
                "" => {}
                other if other == own => {}
                other => *named.entry(other).or_default() |= holds(peer),
            }
        }
        let aside = self.peers.by_id.values();
        let aside = aside.filter(|peer| peer.set_aside && self.is_to_hold(peer, namespace));
        let aside = aside.map(|peer| peer.datacenter.as_str());
        let aside: BTreeSet<&str> = aside
            .filter(|name| !name.is_empty() && *name != own && !named.contains_key(name))
            .collect();
        let of = |held: bool| {
            let named = named.iter().filter(move |(_, holds)| **holds == held);
            named.map(|(name, _)| (*name).to_owned())
        };
        let held_by: Vec<_> = std::iter::once(own.to_owned()).chain(of(true)).collect();
        let nameless = nameless.iter().map(ToString::to_string);
        let missing: Vec<_> = of(false).chain(nameless).collect();
        let reached = match ack {
            Ack::Local => true,
            Ack::Datacenters(count) => held_by.len() >= usize::from(count),
            Ack::All => missing.is_empty(),
        };
        Acknowledged {
            wanted: ack,
            reached,
            held_by,
            missing,
            set_aside: aside.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Members have said that they hold more.
    pub(super) fn acknowledged_by_peer(&mut self, raised: &[Raised]) {
        for raised in raised {
            for number in self.acknowledgements.passed(raised) {
                self.answer_if_acknowledged(number, false);
            }
        }
    }

    /// Members count otherwise than before.
    pub(super) fn count_acknowledgements(&mut self) {
        let numbers: Vec<_> = self.acknowledgements.by_number.keys().copied().collect();
        for number in numbers {
            self.answer_if_acknowledged(number, false);
        }
    }

    /// Those that have waited long enough are told who holds it.
    pub(super) fn tick_acknowledgements(&mut self, now: Now) {
        while let Some((at, number)) = self.acknowledgements.deadlines.first().copied()
            && at <= now.mono_ms
        {
            self.answer_if_acknowledged(number, true);
        }
    }

    /// The store failed. What they wrote is durable all the same.
    pub(super) fn stop_acknowledgements(&mut self) {
        let numbers: Vec<_> = self.acknowledgements.by_number.keys().copied().collect();
        for number in numbers {
            self.answer_if_acknowledged(number, true);
        }
    }

    fn answer_if_acknowledged(&mut self, number: Number, anyhow: bool) {
        let Some(waiter) = self.acknowledgements.by_number.get(&number) else {
            return;
        };
        let ack = waiter.wish.ack;
        let acknowledged = self.acknowledged(ack, &waiter.namespace, &waiter.positions);
        if !acknowledged.reached && !anyhow {
            return;
        }
        if let Some(mut waiter) = self.acknowledgements.take(number) {
            waiter.owed.acknowledge(acknowledged);
            self.give_away(waiter.owed);
        }
    }

    /// Tells linked members what somebody waits for.
    pub(super) fn say_what_is_awaited(&mut self) {
        if self.acknowledgements.untold.is_empty() {
            return;
        }
        let untold = std::mem::take(&mut self.acknowledgements.untold);
        for peer in self.peers.linked() {
            let Some(entry) = self.peers.by_id.get(&peer) else {
                continue;
            };
            let Some(link) = entry.session.as_ref().map(|session| session.link) else {
                continue;
            };
            let lacks = untold.iter().filter(|((namespace, origin), seq)| {
                self.is_to_hold(entry, namespace) && entry.holds(namespace, origin) < **seq
            });
            let mut sections: BTreeMap<Namespace, Vec<(Origin, Seq)>> = BTreeMap::new();
            for ((namespace, origin), seq) in lacks.take(limits::AWAITED_MAX) {
                let section = sections.entry(namespace.clone()).or_default();
                section.push((*origin, *seq));
            }
            if !sections.is_empty() && !entry.set_aside {
                let awaited = Message::Await(sections.into_iter().collect());
                self.say(peer, link, &awaited);
            }
        }
    }

    /// Somebody at a peer waits until we hold this.
    pub(super) fn awaited(
        &mut self,
        now: Now,
        peer: ReplicaId,
        sections: Vec<(Namespace, Vec<(Origin, Seq)>)>,
    ) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        for (namespace, positions) in sections {
            for (origin, seq) in positions {
                let durable = self.history.durable(&namespace, &origin);
                session.is_awaited((namespace.clone(), origin), seq, durable, now.mono_ms);
            }
        }
        self.send_urgent_acks(now);
    }

    /// A link has come up on which nothing was said yet.
    pub(super) fn say_again_what_is_awaited(&mut self) {
        self.acknowledgements.tell_again();
    }
}

impl Owed {
    fn is_of_a_write(&self) -> bool {
        matches!(self.reply, Ok(Reply::Written { .. }))
    }

    fn acknowledge(&mut self, with: Acknowledged) {
        if let Ok(Reply::Written { acknowledged, .. }) = &mut self.reply {
            *acknowledged = Some(with);
        }
    }
}
