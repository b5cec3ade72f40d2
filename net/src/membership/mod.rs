//! Who belongs to the cluster: a state machine that knows neither sockets nor clocks.
//!
//! * [`announcement`]: what a node says of itself, signed;
//! * [`own`]: what this node says of itself;
//! * [`table`]: all announcements, with what links have shown;
//! * [`swim`]: the failure detector, for members that this node does not hear itself;
//! * [`wire`]: the datagrams that all this takes; [`link_side`]: what is said on a link, and how often.
//!
//! Announcements spread like this. On a new link each side says hello, with its own announcement, until the other has
//! noted it; whatever changes is said to all links in the same way. Whoever learns something new tells a digest of all
//! it holds to a few peers at random, for a few rounds, and all links compare digests now and then (every minute, when
//! nothing happens); where digests differ, the two tell each other what they hold, and send what the other lacks.
//! So whatever is lost heals, and a quiet cluster says next to nothing.

pub(crate) mod announcement;
mod link_side;
pub(crate) mod own;
pub(crate) mod swim;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod upkeep;
pub(crate) mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anabranch_core::ReplicaId;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::announcement::{Pen, Signed};
use self::link_side::LinkSide;
use self::own::{Own, Settled};
use self::swim::{Held, Surroundings, Swim};
use self::table::{Merged, Table};
use self::wire::{Message, pack};
use crate::limits::{ANNOUNCEMENTS_ANSWER_DATAGRAMS_MAX, MEMBER_DATAGRAM_BYTES_MAX};
use crate::member::{KnownMember, MemberState, MemberStatus};

/// When something happens: since the start, and by the wall clock in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) mono: Duration,
    pub(crate) wall_ms: u64,
}

pub(crate) enum Input {
    /// A link is up.
    LinkUp {
        peer: ReplicaId,
        /// In its certificate.
        name: String,
        remote: SocketAddr,
        /// Whether this node dialled.
        outgoing: bool,
    },
    LinkDown {
        peer: ReplicaId,
    },
    /// Whether anything was heard on a link lately.
    Silence {
        peer: ReplicaId,
        silent: bool,
    },
    /// A datagram came by the link with a peer.
    Datagram {
        peer: ReplicaId,
        bytes: Bytes,
    },
    /// This node is stopping; it may come back.
    Stop,
    /// This node is leaving for good.
    Leave,
    Tick,
}

#[derive(Debug)]
pub(crate) enum Output {
    /// To a peer that is linked; it may get lost.
    Send { peer: ReplicaId, bytes: Bytes },
    /// A peer sent what can't be read, or more than it may.
    Complain { peer: ReplicaId, why: &'static str },
    /// What is to be remembered has changed, and so may have who is to be dialled.
    Changed,
}

pub(crate) struct Membership {
    own: Own,
    table: Table,
    swim: Swim,
    links: BTreeMap<ReplicaId, LinkSide>,
    /// States as last looked at, and since when they hold.
    states: BTreeMap<ReplicaId, (MemberState, Duration)>,
    states_due: Duration,
    /// Rounds in which digests are told to a few, since something has changed.
    rounds: u32,
    round_due: Duration,
    maintenance_due: Duration,
    ask_around_due: Duration,
    published_ms: u64,
    /// This node is to announce itself anew, in a version above this one.
    renewal: Option<u64>,
    /// Not before then: peers can bring it about.
    renewal_due: Duration,
    /// Nothing is told any more but that this node leaves.
    stopping: bool,
    rng: StdRng,
    outputs: VecDeque<Output>,
}

/// What is heard, and what is held.
impl Surroundings for (&BTreeMap<ReplicaId, LinkSide>, &Table) {
    fn hears(&self, member: ReplicaId) -> bool {
        self.0.get(&member).is_some_and(|link| !link.silent)
    }

    fn announced(&self, member: ReplicaId) -> Option<u64> {
        self.1.version(member)
    }
}

impl Membership {
    /// The error says why this node can't announce itself.
    pub(crate) fn new(
        pen: Pen,
        fixed: Settled,
        known: Vec<KnownMember>,
        now: Now,
        seed: u64,
    ) -> Result<Self, String> {
        let replica = pen.replica;
        let earlier = known.iter().find(|member| member.replica == replica);
        let earlier = earlier
            .and_then(|member| member.announcement.clone())
            .and_then(|bytes| Signed::read(bytes.into()).ok());
        let earlier = earlier.filter(|signed| signed.replica == replica);
        let (own, signed) = Own::new(pen, fixed, earlier.as_ref(), now.wall_ms)?;
        let swim = Swim::new(replica, signed.said.version, seed);
        let mut table = Table::new(signed);
        table.remember(known, now.wall_ms);
        Ok(Self {
            own,
            table,
            swim,
            links: BTreeMap::new(),
            states: BTreeMap::new(),
            states_due: now.mono,
            rounds: 0,
            round_due: now.mono,
            maintenance_due: now.mono,
            ask_around_due: now.mono,
            published_ms: now.wall_ms,
            renewal: None,
            renewal_due: now.mono,
            stopping: false,
            rng: StdRng::seed_from_u64(seed),
            outputs: VecDeque::new(),
        })
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::LinkUp {
                peer,
                name,
                remote,
                outgoing,
            } => self.link_up(now, peer, &name, remote, outgoing),
            Input::LinkDown { peer } => {
                self.links.remove(&peer);
                if let Some(entry) = self.table.get(peer) {
                    let name = entry.name().to_owned();
                    self.table.seen(peer, &name, None, now.wall_ms);
                }
                self.outputs.push_back(Output::Changed);
            }
            Input::Silence { peer, silent } => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.silent = silent;
                    self.outputs.push_back(Output::Changed);
                }
            }
            Input::Datagram { peer, bytes } => self.datagram(now, peer, bytes),
            Input::Stop => self.stop(now),
            Input::Leave => {
                self.publish(now, true, 0);
                self.stop(now);
            }
            Input::Tick => {}
        }
        self.upkeep(now);
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn send(&mut self, peer: ReplicaId, message: &Message) {
        let bytes = message.encode();
        debug_assert!(bytes.len() <= MEMBER_DATAGRAM_BYTES_MAX, "{}", bytes.len());
        self.outputs.push_back(Output::Send { peer, bytes });
    }

    fn link_up(
        &mut self,
        now: Now,
        peer: ReplicaId,
        name: &str,
        remote: SocketAddr,
        outgoing: bool,
    ) {
        let asks = self.table.own().replica < peer;
        let link = LinkSide::new(now.mono, remote, outgoing, asks);
        self.table.seen(peer, name, link.dialled, now.wall_ms);
        self.links.insert(peer, link);
        self.outputs.push_back(Output::Changed);
    }

    fn datagram(&mut self, now: Now, peer: ReplicaId, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if !link.may_receive(now.mono) {
            let why = "it sends more about members than it may; the rest is dropped";
            self.outputs.push_back(Output::Complain { peer, why });
            return;
        }
        let understood = match Message::decode(bytes) {
            Ok(Some(message)) => self.message(now, peer, message),
            Ok(None) => true,
            Err(_) => false,
        };
        if !understood {
            let why = "it sends about members what can't be read";
            self.outputs.push_back(Output::Complain { peer, why });
        }
    }

    /// False if the peer can't have meant this.
    fn message(&mut self, now: Now, peer: ReplicaId, message: Message) -> bool {
        match message {
            Message::Swim(packet) => {
                self.stopping
                    || self
                        .swim
                        .receive(now.mono, peer, &packet, &(&self.links, &self.table))
            }
            Message::Hello {
                observed,
                digest,
                announcement,
            } => {
                let fits = self.announcements(now, [announcement.clone()]);
                let version = self.table.version(peer).unwrap_or_default();
                self.send(peer, &Message::Noted { version });
                let held = self.table.get(peer).and_then(|entry| entry.signed.as_ref());
                let held = held.map(|held| held.bytes.clone());
                if let Some(held) = held.filter(|held| fits && *held != announcement) {
                    // It has forgotten what it once said, and has to outdo it to be heard.
                    self.answer(now, peer, &pack([held]));
                }
                if self.own.witness(peer, observed, self.table.own()) {
                    self.want_renewal(0);
                }
                // One of the two asks, or both would say everything twice.
                if self.table.own().replica < peer {
                    self.compare(now, peer, digest);
                }
                fits
            }
            Message::Noted { version } => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.noted = version;
                }
                if self.stopping {
                    // Somebody may wait for it.
                    self.outputs.push_back(Output::Changed);
                }
                true
            }
            Message::Digest(digest) => {
                self.compare(now, peer, digest);
                true
            }
            Message::Have {
                answer,
                from,
                through,
                holdings,
            } => {
                let lacking = self.table.lacking(from, through, &holdings);
                let mut replies = pack(lacking);
                replies.truncate(ANNOUNCEMENTS_ANSWER_DATAGRAMS_MAX);
                if !answer {
                    replies.extend(self.table.have(from, through, true));
                }
                self.answer(now, peer, &replies);
                true
            }
            Message::Announcements(announcements) => self.announcements(now, announcements),
        }
    }

    /// Sends what a peer has asked for, as much as it may ask for.
    fn answer(&mut self, now: Now, peer: ReplicaId, replies: &[Message]) {
        for reply in replies {
            let link = self.links.get_mut(&peer);
            if !link.is_some_and(|link| link.may_answer(now.mono)) {
                return;
            }
            self.send(peer, reply);
        }
    }

    fn compare(&mut self, now: Now, peer: ReplicaId, digest: u64) {
        if self.table.digest() != digest {
            let all = (ReplicaId([0; 16]), ReplicaId([u8::MAX; 16]));
            let have = self.table.have(all.0, all.1, false);
            self.answer(now, peer, &have);
        }
    }

    /// False if one of them can't be read.
    fn announcements(&mut self, now: Now, bytes: impl IntoIterator<Item = Bytes>) -> bool {
        for bytes in bytes {
            let signed = match Signed::read(bytes) {
                Ok(signed) => signed,
                Err(announcement::Unfit::Format) => continue,
                Err(_) => return false,
            };
            let (replica, version) = (signed.replica, signed.said.version);
            if replica == self.table.own().replica {
                // Its signature is this node's, so it has said so itself: before it lost its data, or somewhere else.
                if version > self.table.own().said.version {
                    self.want_renewal(version);
                }
            } else if self.table.merge(signed, now.wall_ms) == Merged::Taken {
                self.spread(now);
            }
        }
        true
    }

    /// Whom to dial, with where; who has left is not among them.
    pub(crate) fn addresses(&self, member: ReplicaId) -> Option<Vec<String>> {
        let entry = self.table.get(member)?;
        (!entry.has_left()).then(|| entry.addresses())
    }

    /// Everyone who is to be dialled while there is no link.
    pub(crate) fn to_dial(&self) -> impl Iterator<Item = ReplicaId> {
        let members = self.table.entries().iter();
        members
            .filter(|(_, entry)| !entry.has_left())
            .map(|(replica, _)| *replica)
    }

    pub(crate) fn has_left(&self, member: ReplicaId) -> bool {
        self.table.get(member).is_some_and(table::Entry::has_left)
    }

    /// Who has left, and was at an address where nobody else is known to be.
    pub(crate) fn left_at(&self, address: &str) -> Option<ReplicaId> {
        let announce = |entry: &table::Entry| {
            let signed = entry.signed.iter();
            signed
                .flat_map(|signed| &signed.said.addresses)
                .any(|at| at == address)
        };
        let entries = self.table.entries().iter();
        let mut there = entries.filter(|(_, entry)| announce(entry));
        match (there.next(), there.next()) {
            (Some((replica, entry)), None) if entry.has_left() => Some(*replica),
            _ => None,
        }
    }

    /// Whether there ever was a link with a member.
    pub(crate) fn was_seen(&self, member: ReplicaId) -> bool {
        let entry = self.table.get(member);
        entry.is_some_and(|entry| entry.last_seen_ms.is_some())
    }

    /// Whether every peer that is heard has noted this node's latest announcement.
    pub(crate) fn is_noted(&self) -> bool {
        let version = self.table.own().said.version;
        self.links
            .values()
            .all(|link| link.silent || link.noted >= version)
    }

    pub(crate) fn known(&self, now_ms: u64) -> Vec<KnownMember> {
        let mut known = self.table.known();
        for member in &mut known {
            if self.links.contains_key(&member.replica) {
                member.last_seen_ms = Some(now_ms);
            }
        }
        known
    }

    /// All other members.
    pub(crate) fn members(&mut self, now: Now) -> Vec<MemberStatus> {
        self.look_at_states(now.mono);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(now.wall_ms);
        let status = |(replica, entry): (&ReplicaId, &table::Entry)| {
            let linked = self.links.contains_key(replica);
            let seen = entry.last_seen_ms.map(Duration::from_millis);
            let state = self.states.get(replica);
            let (state, since) = state.copied().unwrap_or((MemberState::Down, now.mono));
            let life = self.swim.opinion(*replica).map(|opinion| opinion.life);
            MemberStatus {
                replica: *replica,
                name: entry.name().to_owned(),
                datacenter: entry.datacenter().to_owned(),
                addresses: entry.addresses(),
                state,
                since: now.mono.saturating_sub(since),
                incarnation: life.or(self.table.version(*replica)).unwrap_or_default(),
                last_seen: if linked {
                    Some(wall)
                } else {
                    seen.and_then(|seen| SystemTime::UNIX_EPOCH.checked_add(seen))
                },
                linked,
            }
        };
        self.table.entries().iter().map(status).collect()
    }

    #[cfg(test)]
    fn forget_where_it_listens(&mut self) {
        self.own.forget_where_it_listens();
    }

    fn look_at_states(&mut self, now: Duration) {
        let opinions = self.swim.opinions();
        let state = |replica: ReplicaId, entry: &table::Entry| {
            let link = self.links.get(&replica);
            match (link, opinions.get(&replica)) {
                _ if entry.has_left() => MemberState::Left,
                (Some(link), _) if !link.silent => MemberState::Alive,
                (Some(_), Some(Held::Alive | Held::Suspect)) => MemberState::Suspect,
                (None, Some(Held::Alive)) => MemberState::Alive,
                (None, Some(Held::Suspect)) => MemberState::Suspect,
                (_, Some(Held::Down) | None) => MemberState::Down,
            }
        };
        let entries = self.table.entries().iter();
        let states = entries.map(|(replica, entry)| {
            let state = state(*replica, entry);
            let before = self.states.get(replica);
            let since = before.filter(|(before, _)| *before == state);
            (*replica, (state, since.map_or(now, |(_, since)| *since)))
        });
        self.states = states.collect();
    }
}
