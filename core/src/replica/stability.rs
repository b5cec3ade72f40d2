//! The stable frontier: what every member that counts has acknowledged.
//!
//! Members are all replicas that were ever met; in a namespace that is not everywhere, those in its datacenters. Of one that is set aside nothing is asked. What is stable is needed by
//! nobody any more for what it is there for: the log for those who lack it, a receipt for those who may be asked for
//! the same write. It never goes back. A member that comes with less (it is new, or its disk is) is *catching up*: the
//! frontier stays where it is until it has come up to it, and the log is kept for it from where it stands.
//!
//! Looking costs a pass over all positions and members. It is done at the end of a sweep and when somebody asks for the
//! status, never on the way of a write.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Replica;
use super::peers::{Peer, Peers};
use crate::{Frontier, Lsn, Namespace, Origin, ReplicaId, Seq};

/// How a member counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It holds all that is stable.
    Counted,
    /// It lacks some of what is stable. The log is kept for it, and what is not stable yet waits for it.
    CatchingUp,
    /// Nothing waits for it.
    SetAside,
}

/// How far it had come when somebody last looked.
#[derive(Default)]
pub(super) struct Stability {
    stable: BTreeMap<Namespace, Frontier>,
}

impl Stability {
    /// Nothing of a namespace counts any more.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        self.stable.remove(namespace);
    }

    fn of(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        self.stable
            .get(namespace)
            .map_or(Seq(0), |frontier| frontier.of(origin))
    }
}

impl Peers {
    /// The members that are not set aside.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&ReplicaId, &Peer)> {
        self.by_id.iter().filter(|(_, peer)| !peer.set_aside)
    }
}

impl Replica {
    /// Up to where all of those who are to hold a namespace hold what an origin wrote, as far as they have said.
    fn least(&self, namespace: &Namespace, origin: &Origin) -> Option<Seq> {
        let members = self.peers.counted();
        let members = members.filter(|(_, peer)| self.is_to_hold(peer, namespace));
        members.map(|(_, peer)| peer.holds(namespace, origin)).min()
    }

    /// Up to where an origin is stable now.
    fn stable_at(&self, namespace: &Namespace, origin: &Origin, durable: Seq) -> Seq {
        let least = self.least(namespace, origin);
        let now = least.map_or(durable, |least| least.min(durable));
        now.max(self.stability.of(namespace, origin))
    }

    /// What is stable in a namespace.
    #[must_use]
    pub fn stable_frontier(&self, namespace: &Namespace) -> Frontier {
        let space = self.history.space(namespace);
        let durable = space.into_iter().flat_map(|space| space.durable.iter());
        durable
            .map(|(origin, seq)| (*origin, self.stable_at(namespace, origin, *seq)))
            .filter(|(_, seq)| *seq > Seq(0))
            .collect()
    }

    /// Moves it up.
    pub(super) fn advance_stability(&mut self) {
        let namespaces = self.history.spaces().map(|(namespace, _)| namespace);
        let stable = namespaces.map(|namespace| {
            let frontier = self.stable_frontier(namespace);
            (namespace.clone(), frontier)
        });
        self.stability.stable = stable.collect();
    }

    /// Whether a batch is stable.
    pub(super) fn is_stable(&self, namespace: &Namespace, origin: &Origin, seq: Seq) -> bool {
        let durable = self.history.durable(namespace, origin);
        self.stable_at(namespace, origin, durable) >= seq
    }

    /// Before which position of the log there is nothing that a member may still ask for.
    pub(super) fn needed_by_members(&self) -> Lsn {
        self.history.needed_by(|namespace, origin| {
            // Whoever catches up needs more than what is not stable.
            self.least(namespace, origin).unwrap_or(Seq(u64::MAX))
        })
    }

    /// How a member counts.
    pub(super) fn standing_of(&self, peer: &Peer) -> Standing {
        if peer.set_aside {
            return Standing::SetAside;
        }
        let stable = self.stability.stable.iter();
        let stable = stable.filter(|(namespace, _)| self.is_to_hold(peer, namespace));
        let mut positions = stable.flat_map(|(namespace, frontier)| {
            let positions = frontier.iter();
            positions.map(move |(origin, seq)| (namespace, origin, *seq))
        });
        match positions.all(|(namespace, origin, seq)| peer.holds(namespace, origin) >= seq) {
            true => Standing::Counted,
            false => Standing::CatchingUp,
        }
    }
}
