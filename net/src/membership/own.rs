//! What this node announces of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anabranch_core::ReplicaId;

use super::announcement::{Announcement, Pen, Signed, printable_datacenter};
use crate::limits::MEMBER_ADDRESSES_MAX;

/// Peers whose word on where this node is seen counts at the same time.
const WITNESSES_MAX: usize = 64;

/// What is fixed when a node starts.
pub(crate) struct Settled {
    pub(crate) name: String,
    pub(crate) datacenter: String,
    /// Where it is reached; empty if nobody said so and it listens on all addresses, so that peers have to tell.
    pub(crate) addresses: Vec<String>,
}

pub(crate) struct Own {
    pen: Pen,
    fixed: Settled,
    /// Where peers see this node's packets come from.
    seen_at: BTreeMap<ReplicaId, SocketAddr>,
}

impl Own {
    /// Also the first announcement, in a version above all that an earlier run has made. The error says why none can be
    /// made.
    pub(crate) fn new(
        pen: Pen,
        fixed: Settled,
        earlier: Option<&Signed>,
        wall_ms: u64,
    ) -> Result<(Self, Signed), String> {
        let own = Self {
            pen,
            fixed: Settled {
                datacenter: printable_datacenter(&fixed.datacenter),
                ..fixed
            },
            seen_at: BTreeMap::new(),
        };
        // What peers saw in the last run is the best guess until they say anew.
        let addresses = match earlier {
            Some(earlier) if own.fixed.addresses.is_empty() => earlier.said.addresses.clone(),
            _ => own.fixed.addresses.clone(),
        };
        let before = earlier.map_or(0, |earlier| earlier.said.version);
        let signed = own.sign(addresses, false, before, wall_ms)?;
        Ok((own, signed))
    }

    fn sign(
        &self,
        addresses: Vec<String>,
        left: bool,
        before: u64,
        wall_ms: u64,
    ) -> Result<Signed, String> {
        self.pen.sign(Announcement {
            version: wall_ms.max(before.saturating_add(1)),
            left,
            name: self.fixed.name.clone(),
            datacenter: self.fixed.datacenter.clone(),
            addresses,
        })
    }

    /// The same again, in a version above `before`, and with what has changed.
    pub(crate) fn renew(
        &self,
        last: &Signed,
        left: bool,
        before: u64,
        wall_ms: u64,
    ) -> Result<Signed, String> {
        let addresses = self
            .addresses(last)
            .unwrap_or_else(|| last.said.addresses.clone());
        self.sign(addresses, left, before.max(last.said.version), wall_ms)
    }

    #[cfg(test)]
    pub(crate) fn forget_where_it_listens(&mut self) {
        self.fixed.addresses.clear();
    }

    /// A peer tells where it sees this node. True if that changes what is announced.
    pub(crate) fn witness(&mut self, peer: ReplicaId, seen: SocketAddr, last: &Signed) -> bool {
        if !self.fixed.addresses.is_empty() {
            return false;
        }
        if !self.seen_at.contains_key(&peer) && self.seen_at.len() >= WITNESSES_MAX {
            return false;
        }
        let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
        self.seen_at.insert(peer, seen);
        self.addresses(last).is_some()
    }

    /// The addresses to announce, if they are others than those in the last announcement.
    fn addresses(&self, last: &Signed) -> Option<Vec<String>> {
        if !self.fixed.addresses.is_empty() {
            return (self.fixed.addresses != last.said.addresses)
                .then(|| self.fixed.addresses.clone());
        }
        let mut witnesses: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for seen in self.seen_at.values() {
            *witnesses.entry(*seen).or_default() += 1;
        }
        // Who is seen on the loopback interface is so by its own machine alone.
        if witnesses.keys().any(|seen| !seen.ip().is_loopback()) {
            witnesses.retain(|seen, _| !seen.ip().is_loopback());
        }
        let mut seen: Vec<_> = witnesses.into_iter().collect();
        seen.sort_by_key(|(_, witnesses)| std::cmp::Reverse(*witnesses));
        let seen: Vec<_> = seen
            .iter()
            .take(MEMBER_ADDRESSES_MAX)
            .map(|(seen, _)| seen.to_string())
            .collect();
        let announced = &last.said.addresses;
        let is_same = seen.len() == announced.len() && seen.iter().all(|at| announced.contains(at));
        (!seen.is_empty() && !is_same).then_some(seen)
    }
}
