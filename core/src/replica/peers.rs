//! Conversations with peers: who they are, what they hold, and asking them for what is missing here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Replica;
use super::lanes::Name;
use super::members::{Away, Homecoming};
use super::pursuit::Wanted;
use super::session::{HELLO_MS, Session, Stream};
use super::traffic::TrafficBytes;
use crate::codec::DecodeError;
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::{Hello, Message, PROTOCOL_OLDEST, Section, Want};
use crate::{Batch, Frontier, Incarnation, Namespace, Origin, ReplicaId, Seq, limits};

/// One other replica, linked or not.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) datacenter: String,
    pub(super) incarnation: Option<Incarnation>,
    /// What it has said that it holds durably.
    pub(super) holds: BTreeMap<Namespace, Frontier>,
    pub(super) session: Option<Session>,
    /// From its writing to durable here, by both wall clocks, for its latest batch.
    pub(super) delay_ms: Option<u64>,
    /// None while it is linked and has said what it holds.
    pub(super) away: Option<Away>,
    pub(super) set_aside: bool,
    /// While it is set aside and has come back.
    pub(super) homecoming: Option<Homecoming>,
    /// Bytes of frames since the start, over all links.
    pub(super) sent: TrafficBytes,
    pub(super) received: TrafficBytes,
}

impl Peer {
    pub(super) fn holds(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        self.holds
            .get(namespace)
            .map_or(Seq(0), |frontier| frontier.of(origin))
    }
}

#[derive(Default)]
pub(super) struct Peers {
    pub(super) by_id: BTreeMap<ReplicaId, Peer>,
    links: BTreeMap<LinkId, ReplicaId>,
    pub(super) wanted: BTreeMap<(Namespace, Origin), Wanted>,
    /// Whether somebody may hold more than we do.
    pub(super) behind: bool,
    pub(super) wants_due: u64,
}

impl Peers {
    pub(super) fn wake_at(&self) -> u64 {
        let sessions = self
            .by_id
            .values()
            .filter_map(|peer| peer.session.as_ref())
            .map(Session::wake_at)
            .min();
        let wants = if self.behind {
            self.wants_due
        } else {
            u64::MAX
        };
        sessions.unwrap_or(u64::MAX).min(wants)
    }

    pub(super) fn session(&mut self, peer: ReplicaId) -> Option<&mut Session> {
        self.by_id.get_mut(&peer)?.session.as_mut()
    }

    pub(super) fn linked(&self) -> Vec<ReplicaId> {
        self.by_id
            .iter()
            .filter(|(_, peer)| peer.session.is_some())
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn is_anybody_linked(&self) -> bool {
        !self.links.is_empty()
    }

    pub(super) fn is_stated(&self, peer: &ReplicaId) -> bool {
        self.by_id
            .get(peer)
            .and_then(|peer| peer.session.as_ref())
            .is_some_and(|session| session.stated)
    }

    pub(super) fn of_link(&self, link: LinkId) -> Option<ReplicaId> {
        self.links.get(&link).copied()
    }
}

impl Replica {
    pub(super) fn link_up(&mut self, now: Now, link: LinkId, peer: ReplicaId) {
        if self.failed.is_some() {
            return;
        }
        let met = self.peers.by_id.contains_key(&peer);
        if !met {
            // One more that holds nothing takes nothing back.
            self.advance_stability();
            self.members_changed(now, now.mono_ms + self.config.room.fold_idle_ms);
        }
        let session = Session::new(link, &self.config.room, now.mono_ms);
        let entry = self.peers.by_id.entry(peer).or_default();
        entry.away.get_or_insert(Away::since(now));
        entry.homecoming = None;
        if let Some(old) = entry.session.replace(session) {
            self.peers.links.remove(&old.link);
        }
        self.peers.links.insert(link, peer);
        self.comparisons.verifying.stir(now);
        self.say_hello(peer);
        self.state_everything(now, peer);
    }

    pub(super) fn link_down(&mut self, now: Now, link: LinkId) {
        let Some(peer) = self.peers.links.remove(&link) else {
            return;
        };
        if let Some(entry) = self.peers.by_id.get_mut(&peer)
            && entry
                .session
                .as_ref()
                .is_some_and(|session| session.link == link)
        {
            entry.session = None;
            entry.homecoming = None;
            entry.away.get_or_insert(Away::since(now));
        }
        for wanted in self
            .peers
            .wanted
            .values_mut()
            .filter(|wanted| wanted.via == Some(peer))
        {
            wanted.via = None;
            wanted.deadline = now.mono_ms;
        }
        self.peers.behind = true;
        self.peers.wants_due = now.mono_ms;
        self.comparisons_lose(now, peer);
    }

    pub(super) fn say_hello(&mut self, peer: ReplicaId) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let (link, heard) = (session.link, session.has_heard());
        let hello = Hello {
            oldest: PROTOCOL_OLDEST,
            name: self.config.name.clone(),
            datacenter: self.config.datacenter.clone(),
            incarnation: self.origin.incarnation,
            heard,
        };
        self.say(peer, link, &Message::Hello(hello));
        let newest = self.config.protocol;
        if newest > PROTOCOL_OLDEST {
            self.say(peer, link, &Message::Speaks { newest });
        }
    }

    pub(super) fn frame(&mut self, now: Now, link: LinkId, bytes: &Bytes) {
        let Some(peer) = self.peers.of_link(link) else {
            return;
        };
        if self.failed.is_some() {
            return;
        }
        let protocol = Message::protocol_of(bytes);
        if protocol > self.config.protocol {
            let reason = format!("a frame of protocol {protocol}, which is not spoken here");
            return self.refuse(now, peer, link, &reason);
        }
        if let Some(session) = self.peers.session(peer) {
            // Its word of what it speaks may have been lost.
            session.speaks = session.speaks.max(protocol);
        }
        let read = Message::decode(bytes).and_then(|message| {
            if let Some(entry) = self.peers.by_id.get_mut(&peer) {
                entry.received.add(message.traffic(), bytes.len());
            }
            self.heard(now, peer, link, message)
        });
        if let Err(error) = read {
            self.refuse(now, peer, link, &error.to_string());
        }
    }

    fn heard(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        message: Message,
    ) -> Result<(), DecodeError> {
        match message {
            Message::Hello(hello) => self.hello(now, peer, link, hello),
            Message::Speaks { newest } => self.speaks(now, peer, link, newest),
            Message::Frontier { whole, sections } => {
                self.frontier(now, peer, link, whole, sections);
            }
            Message::Standing { digest } => self.standing(peer, digest),
            Message::Restate => self.state_everything(now, peer),
            Message::Delta(batches) => {
                for batch in &batches {
                    self.receive(now, link, batch);
                }
            }
            Message::Backlog { bulk, batches } => {
                self.say(peer, link, &Message::Taken { bulk });
                for batch in &batches {
                    self.receive(now, link, batch);
                }
            }
            Message::Part(part) => return self.part(now, peer, link, part),
            Message::Taken { bulk } => self.taken(now, peer, bulk),
            Message::Want(wants) => self.want(now, peer, wants),
            Message::Ask { number, range } => {
                self.asked_for_documents(peer, link, number, range);
            }
            Message::Given(given) => self.documents_given(now, peer, given),
            Message::Repair(message) => self.repair_message(now, peer, link, message),
            Message::Await(sections) => self.awaited(now, peer, sections),
            Message::Placements(heard) => self.placements_heard(now, peer, link, heard),
            Message::AskKept(asked) => self.asked_whether_kept(now, peer, link, asked),
            Message::Kept { number } => self.is_kept(now, peer, number),
        }
        Ok(())
    }

    fn refuse(&mut self, now: Now, peer: ReplicaId, link: LinkId, reason: &str) {
        self.counters.bad_frames += 1;
        self.outputs.push_back(Output::Notice(Notice::BadFrame {
            peer,
            reason: reason.to_owned(),
        }));
        self.outputs.push_back(Output::Disconnect {
            link,
            reason: format!("a frame that can't be read: {reason}"),
        });
        self.link_down(now, link);
    }

    /// The two ends have no protocol in common.
    fn part_ways(&mut self, now: Now, peer: ReplicaId, link: LinkId, speaks: &str, update: &str) {
        let newest = self.config.protocol;
        let reason = format!(
            "it speaks protocols {speaks}, this replica {PROTOCOL_OLDEST} to {newest}: update {update}"
        );
        self.outputs
            .push_back(Output::Notice(Notice::OtherProtocol {
                peer,
                reason: reason.clone(),
            }));
        self.outputs.push_back(Output::Disconnect { link, reason });
        self.link_down(now, link);
    }

    /// The newest protocol that a peer knows.
    fn speaks(&mut self, now: Now, peer: ReplicaId, link: LinkId, newest: u64) {
        if newest < PROTOCOL_OLDEST {
            let speaks = format!("up to {newest}");
            return self.part_ways(now, peer, link, &speaks, "that one");
        }
        let common = newest.min(self.config.protocol);
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        session.speaks = common;
        if session.placements_said_ms.is_none() && common > PROTOCOL_OLDEST {
            self.say_placements(now, peer, link);
        }
    }

    fn hello(&mut self, now: Now, peer: ReplicaId, link: LinkId, hello: Hello) {
        if hello.oldest > self.config.protocol {
            let speaks = format!("from {} on", hello.oldest);
            return self.part_ways(now, peer, link, &speaks, "this one");
        }
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        // Said for the first time, it needs no answer: both ends begin by saying everything.
        let mut repeated = false;
        let renamed = entry.name != hello.name || entry.datacenter != hello.datacenter;
        entry.name = hello.name;
        entry.datacenter = hello.datacenter;
        entry.incarnation = Some(hello.incarnation);
        if let Some(session) = &mut entry.session {
            repeated = now.mono_ms >= session.since + HELLO_MS;
        }
        let introduced = entry.session.as_mut();
        let introduced = introduced.map(|session| std::mem::replace(&mut session.introduced, true));
        if renamed || introduced == Some(false) {
            self.place_streams(now, peer, None);
            self.departures.hasten(now);
        }
        if !hello.heard && repeated {
            self.say_hello(peer);
            self.state_everything(now, peer);
        }
        if renamed {
            // Whoever was met counts for `all`, also after a crash.
            self.members_changed(now, now.mono_ms);
            self.count_acknowledgements();
        }
    }

    fn frontier(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        whole: bool,
        sections: Vec<Section>,
    ) {
        let mut ahead = false;
        let mut raised = Vec::new();
        // What has come there by another way.
        let mut leaps = Vec::new();
        let waited_for = !self.acknowledgements.is_empty();
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let Some(session) = &mut entry.session else {
            return;
        };
        for (namespace, entries) in sections {
            let holds = entry.holds.entry(namespace.clone()).or_default();
            let statement = session.statement.entry(namespace.clone()).or_default();
            for (origin, seq) in entries {
                statement.raise(origin, seq);
                let name = (namespace.clone(), origin);
                let before = holds.of(&origin);
                if holds.raise(origin, seq) {
                    if let Some(stream) = session.streams.get_mut(&name) {
                        stream.progressed(now.mono_ms);
                        if stream.next <= seq {
                            leaps.push((name.clone(), seq.next()));
                        }
                    }
                    if let Some(homecoming) = &mut entry.homecoming {
                        homecoming.holds(&namespace, &origin, seq);
                    }
                    if waited_for {
                        raised.push((namespace.clone(), origin, before, seq));
                    }
                }
                let accepted = self.history.accepted(&namespace, &origin);
                if seq > accepted {
                    // What this replica let go of itself shows nothing.
                    ahead |=
                        origin == self.origin && seq > self.departures.left(&namespace, &origin);
                    self.peers.behind = true;
                }
            }
        }
        for (name, next) in leaps {
            session.rewind(&name, next);
        }
        let positions: usize = session.statement.values().map(Frontier::len).sum();
        if positions > limits::ORIGINS_MAX * 16 || entry.holds.len() > limits::NAMESPACES_MAX {
            return self.refuse(now, peer, link, &format!("it names {positions} positions"));
        }
        if whole {
            self.said_everything(now, peer);
        }
        self.welcome_home(now, peer);
        self.acknowledged_by_peer(&raised);
        if ahead {
            self.renew_incarnation(peer);
        }
        self.pump(now, peer);
    }

    /// A peer has said everything that it holds.
    fn said_everything(&mut self, now: Now, peer: ReplicaId) {
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let Some(session) = &mut entry.session else {
            return;
        };
        // What the peer said on an earlier connection no longer counts: it may have lost its disk.
        let said = std::mem::take(&mut session.statement);
        if !covers(&said, &entry.holds) {
            // That does not take back what was stable until now, and is not forgotten at a crash.
            self.advance_stability();
            self.members_changed(now, now.mono_ms);
        }
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let before = std::mem::replace(&mut entry.holds, said);
        let Some(session) = &mut entry.session else {
            return;
        };
        // Of a namespace that it let go of it lacks again what had arrived.
        let names: Vec<_> = session.streams.keys().cloned().collect();
        for name in names {
            let held = |holds: &BTreeMap<Namespace, Frontier>| {
                holds.get(&name.0).map_or(Seq(0), |held| held.of(&name.1))
            };
            if held(&entry.holds) < held(&before) {
                session.rewind(&name, held(&entry.holds).next());
            }
        }
        let first = !std::mem::replace(&mut session.stated, true);
        if first {
            self.open_streams(now, peer);
            self.came_back(now, peer);
            self.say_again_what_is_awaited();
        }
    }

    /// Begins to send the peer all of our own history that it lacks.
    fn open_streams(&mut self, now: Now, peer: ReplicaId) {
        let mut open = Vec::new();
        for (namespace, space) in self.history.spaces() {
            let own = space
                .durable
                .iter()
                .filter(|(origin, _)| origin.replica == self.config.replica);
            open.extend(own.map(|(origin, _)| (namespace.clone(), *origin)));
        }
        for name in open {
            self.open_stream(now, peer, &name);
        }
    }

    pub(super) fn open_stream(&mut self, now: Now, peer: ReplicaId, name: &Name) {
        if !self.goes_to(&name.0, &peer) {
            return;
        }
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let next = entry.holds(&name.0, &name.1).next();
        if let Some(session) = &mut entry.session
            && session.stated
        {
            session
                .streams
                .entry(name.clone())
                .or_insert_with(|| Stream::new(next, now.mono_ms));
            session.stir(name);
        }
    }

    fn want(&mut self, now: Now, peer: ReplicaId, wants: Vec<Want>) {
        for want in wants {
            if !self.goes_to(&want.namespace, &peer) {
                continue;
            }
            let name = (want.namespace, want.origin);
            let known = self.history.durable(&name.0, &name.1) > Seq(0);
            let own = name.1.replica == self.config.replica;
            let Some(session) = self.peers.session(peer) else {
                return;
            };
            match want.after {
                Some(after) if known => {
                    let next = after.next();
                    session
                        .streams
                        .entry(name.clone())
                        .or_insert_with(|| Stream::new(next, now.mono_ms));
                    if session.unsent(&name) == Some(next) {
                        // That is what it is about to get.
                        session.stir(&name);
                    } else {
                        session.rewind(&name, next);
                    }
                }
                None if !own => {
                    session.put_away(&name);
                    session.streams.remove(&name);
                }
                Some(_) | None => {}
            }
        }
        self.pump(now, peer);
    }

    /// A batch has become durable here: peers are told, and sent it if they are served its origin.
    pub(super) fn arrived(&mut self, now: Now, batch: &Arc<Batch>) {
        let own = batch.origin.replica == self.config.replica;
        let name = (batch.namespace.clone(), batch.origin);
        for peer in self.peers.linked() {
            if own {
                self.open_stream(now, peer, &name);
            }
            let Some(session) = self.peers.session(peer) else {
                continue;
            };
            if session.streams.contains_key(&name) {
                session.stir(&name);
            }
            session.restate_soon(now.mono_ms);
            if own {
                session.unsaid.insert(name.clone());
            } else {
                let by_peer = peer == batch.origin.replica;
                session.acknowledge(name.clone(), batch.seq, by_peer, now.mono_ms);
            }
        }
        if !own && let Some(peer) = self.peers.by_id.get_mut(&batch.origin.replica) {
            peer.delay_ms = Some(now.wall_ms.saturating_sub(batch.time_ms));
        }
    }

    pub(super) fn tick_peers(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        for peer in self.peers.linked() {
            let Some(session) = self.peers.session(peer) else {
                continue;
            };
            let say_hello = !session.has_heard() && session.hello_due <= now.mono_ms;
            if say_hello {
                session.hello_due = now.mono_ms + HELLO_MS;
            }
            let (acks_due, statement_due) = (
                session.acks_due <= now.mono_ms,
                session.statement_due <= now.mono_ms,
            );
            if say_hello {
                self.say_hello(peer);
            }
            if acks_due {
                self.send_acks(now, peer);
            }
            if say_hello {
                self.state_everything(now, peer);
            } else if statement_due {
                self.state_again(now, peer);
            }
            self.send_stalled_again(now, peer);
        }
        if self.peers.behind && self.peers.wants_due <= now.mono_ms {
            self.ask_for_missing(now);
        }
    }

    /// What is to be acknowledged at once does not wait for the next tick.
    pub(super) fn send_urgent_acks(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        for peer in self.peers.linked() {
            let session = self.peers.session(peer);
            if session.is_some_and(|session| session.acks_due <= now.mono_ms) {
                self.send_acks(now, peer);
            }
        }
    }
}

/// Whether one statement says all that another did.
fn covers(said: &BTreeMap<Namespace, Frontier>, before: &BTreeMap<Namespace, Frontier>) -> bool {
    let mut spaces = before.iter();
    spaces.all(|(namespace, frontier)| {
        let said = said.get(namespace);
        frontier.is_empty() || said.is_some_and(|said| said.covers(frontier))
    })
}
