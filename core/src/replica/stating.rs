//! What is said of what is held: all of it when a link comes up, what changes as it changes, and now and then a digest, by which the peer
//! sees whether it has heard all of that.

use std::collections::BTreeMap;

use super::Replica;
use super::lanes::Name;
use crate::effect::Now;
use crate::message::{DIGEST_BYTES, Message, Section};
use crate::{Frontier, Namespace, Origin, ReplicaId, Seq};

const POSITIONS_PER_FRAME: usize = 8_192;

impl Replica {
    /// Says everything that is durable here.
    pub(super) fn state_everything(&mut self, now: Now, peer: ReplicaId) {
        let mut frames: Vec<Vec<Section>> = vec![Vec::new()];
        let mut positions = 0;
        for (namespace, space) in self.history.spaces() {
            let entries: Vec<_> = space
                .durable
                .iter()
                .map(|(origin, seq)| (*origin, *seq))
                .collect();
            for part in entries.chunks(POSITIONS_PER_FRAME) {
                if positions + part.len() > POSITIONS_PER_FRAME {
                    frames.push(Vec::new());
                    positions = 0;
                }
                positions += part.len();
                frames
                    .last_mut()
                    .expect("never empty")
                    .push((namespace.clone(), part.to_vec()));
            }
        }
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        session.restate_soon(now.mono_ms);
        session.restated(now.mono_ms);
        session.unsaid.clear();
        let link = session.link;
        let last = frames.len() - 1;
        for (index, sections) in frames.into_iter().enumerate() {
            self.say(
                peer,
                link,
                &Message::Frontier {
                    whole: index == last,
                    sections,
                },
            );
        }
    }

    /// Says what is durable here once more: to who speaks protocol 1 all of it, to others a digest.
    pub(super) fn state_again(&mut self, now: Now, peer: ReplicaId) {
        let newest = self.config.protocol;
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        if session.speaks < newest {
            // It may have missed what this replica speaks.
            self.say_hello(peer);
        }
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        if session.speaks < 2 {
            return self.state_everything(now, peer);
        }
        let link = session.link;
        let unsaid = std::mem::take(&mut session.unsaid);
        session.acks.extend(unsaid);
        if !session.acks.is_empty() {
            self.send_acks(now, peer);
        }
        if let Some(session) = self.peers.session(peer) {
            session.restated(now.mono_ms);
        }
        self.say_placements_again(peer, link);
        let spaces = self.history.spaces();
        let digest = digest(spaces.map(|(namespace, space)| (namespace, &space.durable)));
        self.say(peer, link, &Message::Standing { digest });
    }

    /// A peer says that it holds what it has said so far.
    pub(super) fn standing(&mut self, peer: ReplicaId, said: [u8; DIGEST_BYTES]) {
        let Some(entry) = self.peers.by_id.get(&peer) else {
            return;
        };
        let Some(session) = &entry.session else {
            return;
        };
        if !session.stated || digest(entry.holds.iter()) != said {
            let link = session.link;
            self.counters.statements_missed += 1;
            self.say(peer, link, &Message::Restate);
        }
    }

    /// Tells a peer what has become durable here.
    pub(super) fn send_acks(&mut self, now: Now, peer: ReplicaId) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let link = session.link;
        let acks = std::mem::take(&mut session.acks);
        session.restate_soon(now.mono_ms);
        session.acks_due = u64::MAX;
        session.acks_sent = now.mono_ms;
        let acks: Vec<Name> = acks.into_iter().collect();
        for some in acks.chunks(POSITIONS_PER_FRAME) {
            let mut sections: BTreeMap<Namespace, Vec<(Origin, Seq)>> = BTreeMap::new();
            for (namespace, origin) in some {
                let seq = self.planted_stated(namespace, origin);
                let section = sections.entry(namespace.clone()).or_default();
                section.push((*origin, seq));
            }
            self.say(
                peer,
                link,
                &Message::Frontier {
                    whole: false,
                    sections: sections.into_iter().collect(),
                },
            );
        }
    }
}

/// Of everything that is held somewhere.
fn digest<'a>(held: impl Iterator<Item = (&'a Namespace, &'a Frontier)>) -> [u8; DIGEST_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for (namespace, frontier) in held.filter(|(_, frontier)| !frontier.is_empty()) {
        hasher.update(&(namespace.as_str().len() as u64).to_le_bytes());
        hasher.update(namespace.as_str().as_bytes());
        hasher.update(&(frontier.len() as u64).to_le_bytes());
        for (origin, seq) in frontier.iter() {
            hasher.update(&origin.replica.0);
            hasher.update(&origin.incarnation.0.to_le_bytes());
            hasher.update(&seq.0.to_le_bytes());
        }
    }
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..DIGEST_BYTES]);
    digest
}
