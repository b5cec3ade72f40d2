//! Asking writers whether they have written what a source says that they have.

use std::collections::BTreeMap;

use super::Replica;
use super::seeker::Seeker;
use crate::effect::Now;
use crate::repair_message::RepairMessage;
use crate::{Frontier, Namespace, Origin, ReplicaId, Seq};

impl Replica {
    /// A position that a replica is said to have written is confirmed by that replica, if it can be asked: nobody can make
    /// this one believe that it holds what nobody wrote. Whoever else says to hold it vouches for it as well, so that no writer
    /// can keep others from what it has written by its silence.
    pub(super) fn confirm(
        &mut self,
        namespace: &Namespace,
        peer: ReplicaId,
        cut: &Frontier,
    ) -> bool {
        let mut unsure: BTreeMap<ReplicaId, Vec<(Origin, Seq)>> = BTreeMap::new();
        if self.planted_believe_frontier() {
            return true;
        }
        for (origin, seq) in cut.iter() {
            let writer = origin.replica;
            if writer == self.config.replica || writer == peer || !self.peers.is_stated(&writer) {
                continue;
            }
            if self.peers.by_id[&writer].incarnation != Some(origin.incarnation) {
                // What it wrote before it lost its disk it may not know of itself.
                continue;
            }
            let others = self.peers.by_id.iter();
            let others = others.filter(|(id, _)| **id != peer && self.peers.is_stated(id));
            let vouched = others.map(|(_, other)| other.holds(namespace, origin));
            let accepted = self.history.accepted(namespace, origin);
            if *seq > vouched.fold(accepted, Seq::max) {
                unsure.entry(writer).or_default().push((*origin, *seq));
            }
        }
        for (writer, positions) in unsure {
            let number = self.next_comparison(&writer);
            let Some(seeker) = self.comparisons.seeking.get_mut(namespace) else {
                return true;
            };
            seeker.unconfirmed.insert(number, writer);
            let message = RepairMessage::AskRoot {
                number,
                namespace: namespace.clone(),
                positions,
                root: None,
            };
            self.say_of_repair(writer, message);
        }
        let own = cut.iter().filter(|(origin, _)| **origin == self.origin);
        own.into_iter().all(|(origin, seq)| {
            let left = self.departures.left(namespace, origin);
            *seq <= self.history.durable(namespace, origin).max(left)
        })
    }

    /// A writer has said whether it has written that much. True if it was a question of this kind.
    pub(super) fn confirmed(
        &mut self,
        now: Now,
        writer: ReplicaId,
        number: u64,
        yes: bool,
    ) -> bool {
        let asked = |seeker: &Seeker| seeker.unconfirmed.get(&number) == Some(&writer);
        let mut seeking = self.comparisons.seeking.iter_mut();
        let Some((namespace, seeker)) = seeking.find(|(_, seeker)| asked(seeker)) else {
            return false;
        };
        let (namespace, peer) = (namespace.clone(), seeker.peer);
        seeker.unconfirmed.remove(&number);
        match yes {
            true => self.conclude(now, &namespace),
            false => self.distrust(
                now,
                peer,
                &namespace,
                "it claims to hold batches that their writer has not written",
            ),
        }
        true
    }
}
