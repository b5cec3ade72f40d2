//! The failure detector: foca's SWIM (Das, Gupta, Motivala 2002, with suspicion and infection-style dissemination), fed
//! by what the links know.
//!
//! foca wants to ping a member now and then. On a link that was heard a moment ago that would tell nothing new, so such
//! a ping is answered here, in the member's place, unless it carries news. What is left to SWIM is what links don't
//! know: whether a member that this node does not reach is reached by others.
//!
//! A peer may put anything into a packet. Each packet has to come from the member whose link it came by; news of members
//! of which no announcement is held, or of lives that they have not announced, is left out; so are members past a bound.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use anabranch_core::ReplicaId;
use bytes::{Buf, BufMut};
use foca::{
    Codec, Foca, Header, Member, Message, NoCustomBroadcast, Notification, PeriodicParams,
    PostcardCodec, Runtime, State, Timer,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::wire::SWIM_PACKET_BYTES_MAX;
use crate::limits::{SWIM_MEMBERS_MAX, SWIM_TIMERS_MAX};

/// A member in one of its lives. A later life wins over an earlier one; none comes back from being down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    replica: [u8; 16],
    life: u64,
}

impl foca::Identity for Life {
    type Addr = [u8; 16];

    fn renew(&self) -> Option<Self> {
        let life = self.life.checked_add(1)?;
        Some(Self { life, ..*self })
    }

    fn addr(&self) -> [u8; 16] {
        self.replica
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

/// What foca asks for in one call.
#[derive(Default)]
struct Effects {
    packets: Vec<(Life, Vec<u8>)>,
    timers: Vec<(Timer<Life>, Duration)>,
    rejoined: bool,
}

impl Runtime<Life> for Effects {
    fn notify(&mut self, notification: Notification<'_, Life>) {
        if let Notification::Rejoin(_) = notification {
            self.rejoined = true;
        }
    }

    fn send_to(&mut self, to: Life, data: &[u8]) {
        self.packets.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Life>, after: Duration) {
        self.timers.push((event, after));
    }
}

/// What the failure detector holds a member to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opinion {
    pub(crate) state: Held,
    pub(crate) life: u64,
}

/// As foca has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Alive,
    Suspect,
    Down,
}

impl From<State> for Held {
    fn from(state: State) -> Self {
        match state {
            State::Alive => Self::Alive,
            State::Suspect => Self::Suspect,
            State::Down => Self::Down,
        }
    }
}

/// What the failure detector asks of its surroundings while it works.
pub(crate) trait Surroundings {
    /// Whether this member was heard on its link a moment ago.
    fn hears(&self, member: ReplicaId) -> bool;
    /// The newest version of its announcement that is held.
    fn announced(&self, member: ReplicaId) -> Option<u64>;
}

pub(crate) struct Swim {
    foca: Foca<Life, PostcardCodec, StdRng, NoCustomBroadcast>,
    timers: BinaryHeap<Reverse<(Duration, Timer<Life>)>>,
    packets: Vec<(ReplicaId, Vec<u8>)>,
    rejoined: bool,
    seed: u64,
}

fn settings() -> foca::Config {
    let some = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    foca::Config {
        probe_period: Duration::from_secs(2),
        probe_rtt: Duration::from_millis(700),
        num_indirect_probes: some(3),
        max_transmissions: NonZeroU8::new(6).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: Duration::from_secs(6),
        remove_down_after: Some(Duration::from_secs(3_600)),
        max_packet_size: some(SWIM_PACKET_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: Duration::from_secs(10),
            num_members: some(1),
        }),
        // Only while there is news.
        periodic_gossip: Some(PeriodicParams {
            frequency: Duration::from_millis(500),
            num_members: some(3),
        }),
    }
}

fn begin(own: Life, seed: u64) -> Foca<Life, PostcardCodec, StdRng, NoCustomBroadcast> {
    Foca::new(own, settings(), StdRng::seed_from_u64(seed), PostcardCodec)
}

impl Swim {
    pub(crate) fn new(own: ReplicaId, life: u64, seed: u64) -> Self {
        let own = Life {
            replica: own.0,
            life,
        };
        Self {
            foca: begin(own, seed),
            timers: BinaryHeap::new(),
            packets: Vec::new(),
            rejoined: false,
            seed,
        }
    }

    /// This node's own life.
    pub(crate) fn life(&self) -> u64 {
        self.foca.identity().life
    }

    /// Packets to send since the last call.
    pub(crate) fn take_packets(&mut self) -> Vec<(ReplicaId, Vec<u8>)> {
        std::mem::take(&mut self.packets)
    }

    /// Whether this node has begun another life since the last call, because others held it to be down.
    pub(crate) fn take_rejoined(&mut self) -> bool {
        std::mem::take(&mut self.rejoined)
    }

    /// When it wants to be ticked.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    pub(crate) fn opinion(&self, member: ReplicaId) -> Option<Opinion> {
        let mut members = self.foca.iter_membership_state();
        let found = members.find(|known| known.id().replica == member.0)?;
        Some(Opinion {
            state: found.state().into(),
            life: found.id().life,
        })
    }

    /// Of all members that it has one of.
    pub(crate) fn opinions(&self) -> BTreeMap<ReplicaId, Held> {
        let members = self.foca.iter_membership_state();
        members
            .map(|member| (ReplicaId(member.id().replica), Held::from(member.state())))
            .collect()
    }

    /// Asks a peer to take this node in, and whom it knows to be alive.
    pub(crate) fn join(&mut self, now: Duration, peer: ReplicaId, around: &impl Surroundings) {
        // Whoever has this id answers, in whatever life.
        let peer = Life {
            replica: peer.0,
            life: 0,
        };
        self.call(now, around, |foca, effects| foca.announce(peer, effects));
    }

    /// Tells others that this node will not answer any more.
    pub(crate) fn leave(&mut self, now: Duration, around: &impl Surroundings) {
        self.call(now, around, |foca, effects| foca.leave_cluster(effects));
    }

    pub(crate) fn tick(&mut self, now: Duration, around: &impl Surroundings) {
        while self.due().is_some_and(|due| due <= now) {
            let Some(Reverse((_, timer))) = self.timers.pop() else {
                return;
            };
            self.call(now, around, |foca, effects| {
                foca.handle_timer(timer, effects)
            });
        }
    }

    /// Takes a packet that came by the link with `peer`. False if it can't be read, or speaks for somebody else.
    pub(crate) fn receive(
        &mut self,
        now: Duration,
        peer: ReplicaId,
        packet: &[u8],
        around: &impl Surroundings,
    ) -> bool {
        let Some(packet) = self.sift(peer, packet, around) else {
            return false;
        };
        self.call(now, around, |foca, effects| {
            foca.handle_data(&packet, effects)
        })
    }

    /// The packet without what the peer can't know or ought not to say. None if it is none of this peer's.
    fn sift(&self, peer: ReplicaId, packet: &[u8], around: &impl Surroundings) -> Option<Vec<u8>> {
        if packet.len() > SWIM_PACKET_BYTES_MAX {
            return None;
        }
        let mut rest = packet;
        let header: Header<Life> = PostcardCodec.decode_header(&mut rest).ok()?;
        if header.src.replica != peer.0 || !self.has_room_for(&header.src) {
            return None;
        }
        let mut sifted = packet[..packet.len() - rest.len()].to_vec();
        if rest.is_empty() {
            return Some(sifted);
        }
        let count = rest.try_get_u16().ok()?;
        let mut kept: Vec<Member<Life>> = Vec::new();
        for _ in 0..count {
            let member: Member<Life> = PostcardCodec.decode_member(&mut rest).ok()?;
            if self.is_credible(member.id(), around) {
                kept.push(member);
            }
        }
        if !rest.is_empty() {
            return None;
        }
        sifted.put_u16(u16::try_from(kept.len()).ok()?);
        for member in &kept {
            PostcardCodec.encode_member(member, &mut sifted).ok()?;
        }
        Some(sifted)
    }

    fn is_credible(&self, id: &Life, around: &impl Surroundings) -> bool {
        let own = self.foca.identity();
        if id.replica == own.replica {
            return id.life <= own.life;
        }
        let announced = around.announced(ReplicaId(id.replica));
        announced.is_some_and(|version| id.life <= version) && self.has_room_for(id)
    }

    fn has_room_for(&self, id: &Life) -> bool {
        let mut members = self.foca.iter_membership_state();
        members.len() < SWIM_MEMBERS_MAX || members.any(|known| known.id().replica == id.replica)
    }

    /// One call into foca, and those that follow from it at once. False if foca refused it.
    fn call(
        &mut self,
        now: Duration,
        around: &impl Surroundings,
        ask: impl FnOnce(
            &mut Foca<Life, PostcardCodec, StdRng, NoCustomBroadcast>,
            &mut Effects,
        ) -> Result<(), foca::Error>,
    ) -> bool {
        let mut effects = Effects::default();
        let result = ask(&mut self.foca, &mut effects);
        if let Err(error) = &result {
            tracing::debug!("membership: {error}");
        }
        let mut answers = self.carry_out(now, effects, around);
        // An answer asks for nothing that would be answered here again; should it, it is dropped.
        for answer in std::mem::take(&mut answers) {
            let mut effects = Effects::default();
            if let Err(error) = self.foca.handle_data(&answer, &mut effects) {
                tracing::debug!("membership, for a member that is heard: {error}");
            }
            self.carry_out(now, effects, around);
        }
        self.begin_anew_if_overrun(now);
        result.is_ok()
    }

    /// Gives the answers that are made here.
    fn carry_out(
        &mut self,
        now: Duration,
        effects: Effects,
        around: &impl Surroundings,
    ) -> Vec<Vec<u8>> {
        self.rejoined |= effects.rejoined;
        for (timer, after) in effects.timers {
            self.timers.push(Reverse((now + after, timer)));
        }
        let mut answers = Vec::new();
        for (to, packet) in effects.packets {
            let replica = ReplicaId(to.replica);
            match self.needless_ping(&packet) {
                Some(answer) if around.hears(replica) => answers.push(answer),
                _ => self.packets.push((replica, packet)),
            }
        }
        answers
    }

    /// The answer to a ping that carries no news.
    fn needless_ping(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut rest = packet;
        let header: Header<Life> = PostcardCodec.decode_header(&mut rest).ok()?;
        let Message::Ping(number) = header.message else {
            return None;
        };
        let no_news: [u8; 2] = 0_u16.to_be_bytes();
        if !rest.is_empty() && rest != no_news {
            return None;
        }
        let mut members = self.foca.iter_membership_state();
        let known = members.find(|known| *known.id() == header.dst)?;
        let answer = Header {
            src: header.dst,
            src_incarnation: known.incarnation(),
            dst: header.src,
            message: Message::Ack(number),
        };
        let mut bytes = Vec::new();
        PostcardCodec.encode_header(&answer, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Timers come of news, and a peer may invent it at the rate that it may send. What is lost with them is an opinion.
    fn begin_anew_if_overrun(&mut self, now: Duration) {
        if self.timers.len() <= SWIM_TIMERS_MAX {
            return;
        }
        tracing::warn!(
            "a peer sends too much news of members; what is held of their lives is learnt anew"
        );
        self.timers.clear();
        self.seed = self.seed.wrapping_add(1);
        let own = *self.foca.identity();
        let known: Vec<_> = self.foca.iter_members().cloned().collect();
        self.foca = begin(own, self.seed);
        let mut effects = Effects::default();
        if let Err(error) = self.foca.apply_many(known.into_iter(), false, &mut effects) {
            tracing::debug!("membership: {error}");
        }
        for (timer, after) in effects.timers {
            self.timers.push(Reverse((now + after, timer)));
        }
    }
}

/// What tests need to write packets of their own.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod test_support {
    use super::{BufMut, Codec, Header, Member, Message, PostcardCodec, ReplicaId, Swim};

    pub(crate) use super::Life;

    impl Life {
        pub(crate) fn of(replica: ReplicaId, life: u64) -> Self {
            Self {
                replica: replica.0,
                life,
            }
        }
    }

    impl Swim {
        /// Members and timers held.
        pub(crate) fn sizes(&self) -> (usize, usize) {
            (self.foca.iter_membership_state().len(), self.timers.len())
        }
    }

    pub(crate) fn header(src: Life, dst: Life) -> Header<Life> {
        Header {
            src,
            src_incarnation: 0,
            dst,
            message: Message::Gossip,
        }
    }

    pub(crate) fn packet(header: &Header<Life>, updates: &[Member<Life>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PostcardCodec.encode_header(header, &mut bytes).unwrap();
        bytes.put_u16(u16::try_from(updates.len()).unwrap());
        for update in updates {
            PostcardCodec.encode_member(update, &mut bytes).unwrap();
        }
        bytes
    }
}
