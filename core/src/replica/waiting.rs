//! Requests that wait until this replica has seen what their sessions have.
//!
//! Each waits at one position at a time, so that a batch that becomes durable wakes only those for whom it
//! may be the last.

use std::collections::{BTreeMap, BTreeSet};

use super::Replica;
use super::asking::Caller;
use crate::effect::{Missing, Now, Request, RequestError};
use crate::persist::Ticket;
use crate::{Namespace, Origin, OriginTag, ReplicaId, Seq};

/// Origins looked through for the name of one that has no batch here; names are for people only.
const HEARD_OF_MAX: usize = 1_024;

/// The order in which they came.
type Number = u64;

struct Waiter {
    caller: Caller,
    request: Request,
    position: (OriginTag, Seq),
    deadline_ms: u64,
}

#[derive(Default)]
pub(super) struct Waits {
    count: Number,
    by_number: BTreeMap<Number, Waiter>,
    by_position: BTreeSet<(Namespace, OriginTag, Seq, Number)>,
    deadlines: BTreeSet<(u64, Number)>,
}

impl Waits {
    pub(super) fn wake_at(&self) -> u64 {
        self.deadlines.first().map_or(u64::MAX, |(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    fn put(&mut self, number: Number, namespace: Namespace, waiter: Waiter) {
        let (tag, seq) = waiter.position;
        self.by_position.insert((namespace, tag, seq, number));
        self.deadlines.insert((waiter.deadline_ms, number));
        self.by_number.insert(number, waiter);
    }

    fn take(&mut self, number: Number) -> Option<Waiter> {
        let waiter = self.by_number.remove(&number)?;
        self.deadlines.remove(&(waiter.deadline_ms, number));
        if let Some(namespace) = waiter.caller.namespace.clone() {
            let (tag, seq) = waiter.position;
            self.by_position.remove(&(namespace, tag, seq, number));
        }
        Some(waiter)
    }

    /// All that wait for something in a namespace.
    pub(super) fn take_all_of(&mut self, namespace: &Namespace) -> Vec<(Caller, Request)> {
        let first = (namespace.clone(), OriginTag([0; 8]), Seq(0), 0);
        let positions = self.by_position.range(first..);
        let of = positions.take_while(|(of, ..)| of == namespace);
        let numbers: Vec<_> = of.map(|(.., number)| *number).collect();
        let waiters = numbers.into_iter().filter_map(|number| self.take(number));
        waiters
            .map(|waiter| (waiter.caller, waiter.request))
            .collect()
    }

    fn at(&self, namespace: &Namespace, tag: OriginTag, through: Seq) -> Vec<Number> {
        let first = (namespace.clone(), tag, Seq(0), 0);
        let last = (namespace.clone(), tag, through, Number::MAX);
        let reached = self.by_position.range(first..=last);
        reached.map(|(_, _, _, number)| *number).collect()
    }

    fn due(&self, now_ms: u64) -> Option<Number> {
        let (at, number) = self.deadlines.first()?;
        (*at <= now_ms).then_some(*number)
    }
}

impl Replica {
    /// The first position that a caller has seen and that is not durable here.
    pub(super) fn first_unseen(&self, caller: &Caller) -> Option<(OriginTag, Seq)> {
        if self.planted_ignore_token() {
            return None;
        }
        let namespace = caller.namespace.as_ref()?;
        let mut positions = caller.token.positions(namespace);
        positions.find(|(tag, seq)| self.history.durable_tagged(namespace, tag) < *seq)
    }

    pub(super) fn wait_for_session(
        &mut self,
        now: Now,
        caller: Caller,
        request: Request,
        wait_ms: u64,
        position: (OriginTag, Seq),
    ) {
        let namespace = caller.namespace.clone();
        let (Some(namespace), 1..) = (namespace, wait_ms) else {
            return self.is_behind(caller);
        };
        self.waits.count += 1;
        let number = self.waits.count;
        let waiter = Waiter {
            caller,
            request,
            position,
            deadline_ms: now.mono_ms.saturating_add(wait_ms),
        };
        self.waits.put(number, namespace, waiter);
    }

    /// Carries out what waited for this position, which has become durable, and for nothing else any more.
    pub(super) fn wake_waiting(
        &mut self,
        now: Now,
        namespace: &Namespace,
        origin: &Origin,
        seq: Seq,
    ) {
        if self.waits.is_empty() {
            return;
        }
        let tag = self.history.tag_of(origin);
        for number in self.waits.at(namespace, tag, seq) {
            let Some(waiter) = self.waits.take(number) else {
                continue;
            };
            match self.first_unseen(&waiter.caller) {
                Some(position) => {
                    let waiter = Waiter { position, ..waiter };
                    self.waits.put(number, namespace.clone(), waiter);
                }
                None => self.carry_out(now, waiter.caller, waiter.request),
            }
        }
    }

    /// Those that have waited long enough are told what is missing.
    pub(super) fn tick_waiting(&mut self, now: Now) {
        while let Some(number) = self.waits.due(now.mono_ms) {
            if let Some(waiter) = self.waits.take(number) {
                self.is_behind(waiter.caller);
            }
        }
    }

    /// The store failed: nothing will become durable any more.
    pub(super) fn stop_waiting(&mut self, error: &str) {
        for waiter in std::mem::take(&mut self.waits.by_number).into_values() {
            let error = RequestError::Store(error.to_owned());
            self.answer(waiter.caller, Ticket(0), Err(error));
        }
        self.waits = Waits::default();
    }

    fn is_behind(&mut self, caller: Caller) {
        let missing = self.missing(&caller);
        let error = RequestError::Behind { missing };
        self.answer(caller, Ticket(0), Err(error));
    }

    fn missing(&self, caller: &Caller) -> Vec<Missing> {
        let Some(namespace) = &caller.namespace else {
            return Vec::new();
        };
        let unknown = |(tag, _): (OriginTag, Seq)| self.history.tagged(&tag).is_none();
        let heard_of = if caller.token.positions(namespace).any(unknown) {
            self.heard_of(namespace)
        } else {
            BTreeMap::new()
        };
        let positions = caller.token.positions(namespace);
        let missing = positions.filter_map(|(tag, seq)| {
            let durable = self.history.durable_tagged(namespace, &tag);
            if durable >= seq {
                return None;
            }
            let origin = self.history.tagged(&tag);
            let replica = origin.map(|origin| origin.replica);
            let replica = replica.or_else(|| heard_of.get(&tag).copied());
            let (name, datacenter) = replica.map_or((None, None), |id| self.introduce(&id));
            Some(Missing {
                namespace: namespace.clone(),
                replica,
                name,
                datacenter,
                batches: seq.0 - durable.0,
            })
        });
        missing.collect()
    }

    /// Who has written what only others hold as yet.
    fn heard_of(&self, namespace: &Namespace) -> BTreeMap<OriginTag, ReplicaId> {
        let peers = self.peers.by_id.iter();
        let origins = peers.flat_map(|(id, peer)| {
            let own = peer.incarnation.map(|incarnation| Origin {
                replica: *id,
                incarnation,
            });
            let held = peer.holds.get(namespace);
            let held = held.into_iter().flat_map(|frontier| frontier.iter());
            own.into_iter().chain(held.map(|(origin, _)| *origin))
        });
        origins
            .take(HEARD_OF_MAX)
            .map(|origin| (origin.tag(), origin.replica))
            .collect()
    }

    /// A replica's name and datacenter, as far as they are known here.
    pub(super) fn introduce(&self, replica: &ReplicaId) -> (Option<String>, Option<String>) {
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        if *replica == self.config.replica {
            return (known(&self.config.name), known(&self.config.datacenter));
        }
        let peer = self.peers.by_id.get(replica);
        peer.map_or((None, None), |peer| {
            (known(&peer.name), known(&peer.datacenter))
        })
    }
}
