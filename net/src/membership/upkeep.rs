//! What the membership does as time passes.

use std::time::Duration;

use rand::RngExt;

use super::swim::Held;
use super::wire::Message;
use super::{Membership, Now, Output};
use crate::limits::ANNOUNCEMENT_RENEWED;

/// Between the rounds in which digests are told after a change.
const ROUND: Duration = Duration::from_secs(1);
/// Peers that are told in one round.
const ROUND_PEERS: usize = 3;
/// How often old members are looked for, and this node's own announcement.
const MAINTENANCE: Duration = Duration::from_secs(600);
/// How often states are looked at, so that it is known since when they hold.
const STATES: Duration = Duration::from_secs(1);
/// How often somebody is asked about members that this node does not reach.
const ASK_AROUND: Duration = Duration::from_secs(60);
/// Between two announcements that others have brought about: by what they see or hold of this node, which may be a lie,
/// or because there are two of it.
const RENEWAL: Duration = Duration::from_secs(5);

impl Membership {
    /// When it wants to be ticked.
    pub(crate) fn wake_at(&self) -> Duration {
        let version = self.table.own().said.version;
        let links = self.links.values().filter(|link| !link.silent);
        let mut due = self.states_due.min(self.maintenance_due);
        for link in links {
            due = due.min(link.due(version));
        }
        if self.renewal.is_some() {
            due = due.min(self.renewal_due);
        }
        if self.stopping {
            return due;
        }
        if self.rounds > 0 {
            due = due.min(self.round_due);
        }
        due.min(self.swim.due().unwrap_or(Duration::MAX))
    }

    pub(super) fn upkeep(&mut self, now: Now) {
        self.renew(now);
        self.tell_links(now);
        if !self.stopping {
            self.swim.tick(now.mono, &(&self.links, &self.table));
            self.tell_round(now);
            self.ask_around(now);
        }
        if self.maintenance_due <= now.mono {
            self.maintenance_due = now.mono + MAINTENANCE;
            let links = &self.links;
            if self
                .table
                .expire(now.wall_ms, |member| links.contains_key(&member))
            {
                self.outputs.push_back(Output::Changed);
            }
            let age = Duration::from_millis(now.wall_ms.saturating_sub(self.published_ms));
            if age >= ANNOUNCEMENT_RENEWED {
                self.want_renewal(0);
            }
        }
        if self.states_due <= now.mono {
            self.states_due = now.mono + STATES;
            self.look_at_states(now.mono);
        }
        self.take_from_swim(now);
    }

    fn take_from_swim(&mut self, now: Now) {
        if self.swim.take_rejoined() && !self.stopping {
            // Others take this node's new life for its own only once it is announced.
            self.want_renewal(self.swim.life().saturating_sub(1));
            self.renew(now);
            let peers: Vec<_> = self.links.keys().copied().collect();
            for peer in peers {
                self.swim.join(now.mono, peer, &(&self.links, &self.table));
            }
        }
        for (peer, packet) in self.swim.take_packets() {
            // SWIM speaks to members, whether there is a link or not.
            if self.links.contains_key(&peer) {
                self.send(peer, &Message::Swim(packet.into()));
            }
        }
    }

    /// Announces this node anew, in a version above `before`.
    pub(super) fn publish(&mut self, now: Now, left: bool, before: u64) {
        let signed = self.own.renew(self.table.own(), left, before, now.wall_ms);
        let signed = match signed {
            Ok(signed) => signed,
            // The addresses that peers see are short: what fitted once fits.
            Err(why) => {
                tracing::warn!("this node can't announce itself anew: {why}");
                return;
            }
        };
        self.table.set_own(signed);
        self.published_ms = now.wall_ms;
        for link in self.links.values_mut() {
            link.say_hello(now.mono);
        }
        self.spread(now);
    }

    /// Something new is to reach all.
    pub(super) fn spread(&mut self, now: Now) {
        if self.rounds == 0 {
            self.round_due = now.mono + ROUND;
        }
        self.rounds = 3 + (self.table.entries().len() + 1).ilog2();
        self.outputs.push_back(Output::Changed);
    }

    /// This node tells its peers that it goes.
    pub(super) fn stop(&mut self, now: Now) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.swim.leave(now.mono, &(&self.links, &self.table));
        }
    }

    /// This node is to announce itself anew soon, in a version above `before`.
    pub(super) fn want_renewal(&mut self, before: u64) {
        self.renewal = self.renewal.max(Some(before));
    }

    fn renew(&mut self, now: Now) {
        if self.renewal.is_some() && self.renewal_due <= now.mono {
            let before = self.renewal.take().unwrap_or_default();
            self.renewal_due = now.mono + RENEWAL;
            let left = self.table.own().said.left;
            self.publish(now, left, before);
        }
    }

    fn tell_links(&mut self, now: Now) {
        let version = self.table.own().said.version;
        let (mut hellos, mut digests, mut joins) = (Vec::new(), Vec::new(), Vec::new());
        for (peer, link) in &mut self.links {
            if link.silent {
                continue;
            }
            if link.hello_is_due(now.mono, version) {
                hellos.push((*peer, link.remote));
            }
            if link.digest_is_due(now.mono) {
                digests.push(*peer);
            }
            if link.join_is_due(now.mono) {
                joins.push(*peer);
            }
        }
        let digest = self.table.digest();
        for (peer, observed) in hellos {
            let announcement = self.table.own().bytes.clone();
            let hello = Message::Hello {
                observed,
                digest,
                announcement,
            };
            self.send(peer, &hello);
        }
        if self.stopping {
            return;
        }
        for peer in digests {
            self.send(peer, &Message::Digest(digest));
        }
        for peer in joins {
            let held = self.swim.opinion(peer).map(|opinion| opinion.state);
            if !matches!(held, Some(Held::Alive | Held::Suspect)) {
                self.swim.join(now.mono, peer, &(&self.links, &self.table));
            }
        }
    }

    fn tell_round(&mut self, now: Now) {
        if self.rounds == 0 || self.round_due > now.mono {
            return;
        }
        self.rounds -= 1;
        self.round_due = now.mono + ROUND;
        let digest = self.table.digest();
        for peer in self.some_peers(ROUND_PEERS) {
            self.send(peer, &Message::Digest(digest));
        }
    }

    /// Members that this node does not reach may be known to others to be alive.
    fn ask_around(&mut self, now: Now) {
        if self.ask_around_due > now.mono {
            return;
        }
        self.ask_around_due = now.mono + ASK_AROUND;
        let opinions = self.swim.opinions();
        let is_open = |replica| {
            let held = opinions.get(replica);
            !self.links.contains_key(replica) && !matches!(held, Some(Held::Alive))
        };
        let mut members = self.table.entries().iter();
        if members.any(|(replica, entry)| !entry.has_left() && is_open(replica)) {
            for peer in self.some_peers(1) {
                self.swim.join(now.mono, peer, &(&self.links, &self.table));
            }
        }
    }

    fn some_peers(&mut self, count: usize) -> Vec<anabranch_core::ReplicaId> {
        let heard = self.links.iter().filter(|(_, link)| !link.silent);
        let mut peers: Vec<_> = heard.map(|(peer, _)| *peer).collect();
        let mut some = Vec::new();
        while some.len() < count && !peers.is_empty() {
            let at = self.rng.random_range(0..peers.len());
            some.push(peers.swap_remove(at));
        }
        some
    }
}
