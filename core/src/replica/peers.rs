//! Conversations with peers: who they are, what they hold, and asking them for what is missing here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Replica;
use super::pursuit::Wanted;
use super::session::{HELLO_MS, STATEMENT_MS, Session, Stream};
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::{Hello, Message, PROTOCOL, Section, Want};
use crate::{Batch, Frontier, Incarnation, Namespace, Origin, ReplicaId, Seq, limits};

const POSITIONS_PER_FRAME: usize = 8_192;

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
        let entry = self.peers.by_id.entry(peer).or_default();
        if let Some(old) = entry.session.replace(Session::new(link, now.mono_ms)) {
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

    fn say_hello(&mut self, peer: ReplicaId) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let (link, heard) = (session.link, session.stated);
        let hello = Hello {
            protocol: PROTOCOL,
            name: self.config.name.clone(),
            datacenter: self.config.datacenter.clone(),
            incarnation: self.origin.incarnation,
            heard,
        };
        self.say(peer, link, &Message::Hello(hello));
    }

    /// Says everything that is durable here.
    fn state_everything(&mut self, now: Now, peer: ReplicaId) {
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
        session.statement_due = now.mono_ms + STATEMENT_MS;
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

    /// Sends one message; how many bytes it has.
    pub(super) fn say(&mut self, peer: ReplicaId, link: LinkId, message: &Message) -> usize {
        let frame = message.encode();
        let bytes = frame.len();
        if let Some(session) = self.peers.session(peer) {
            session.in_flight += bytes;
        }
        self.send(link, frame);
        bytes
    }

    pub(super) fn frame(&mut self, now: Now, link: LinkId, bytes: &Bytes) {
        let Some(peer) = self.peers.of_link(link) else {
            return;
        };
        if self.failed.is_some() {
            return;
        }
        match Message::decode(bytes) {
            Ok(Message::Hello(hello)) => self.hello(now, peer, hello),
            Ok(Message::Frontier { whole, sections }) => {
                self.frontier(now, peer, link, whole, sections);
            }
            Ok(Message::Delta(batches)) => {
                for batch in &batches {
                    self.receive(now, link, batch);
                }
            }
            Ok(Message::Want(wants)) => self.want(now, peer, wants),
            Ok(Message::Ask { number, range }) => {
                self.asked_for_documents(peer, link, number, range);
            }
            Ok(Message::Given(given)) => self.documents_given(now, peer, given),
            Ok(Message::Repair(message)) => self.repair_message(now, peer, link, message),
            Err(error) => self.refuse(now, peer, link, &error.to_string()),
        }
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

    fn hello(&mut self, now: Now, peer: ReplicaId, hello: Hello) {
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        // Said for the first time, it needs no answer: both ends begin by saying everything.
        let mut repeated = false;
        entry.name = hello.name;
        entry.datacenter = hello.datacenter;
        entry.incarnation = Some(hello.incarnation);
        if let Some(session) = &mut entry.session {
            repeated = now.mono_ms >= session.since + HELLO_MS;
        }
        if !hello.heard && repeated {
            self.say_hello(peer);
            self.state_everything(now, peer);
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
                if holds.raise(origin, seq)
                    && let Some(stream) = session.streams.get_mut(&name)
                {
                    stream.progressed(now.mono_ms);
                    if stream.next <= seq {
                        // It has come there by another way.
                        stream.rewind(seq.next());
                        session.starved.remove(&name);
                        session.ready.insert(name);
                    }
                }
                let accepted = self.history.accepted(&namespace, &origin);
                if seq > accepted {
                    ahead |= origin == self.origin;
                    self.peers.behind = true;
                }
            }
        }
        let positions: usize = session.statement.values().map(Frontier::len).sum();
        if positions > limits::ORIGINS_MAX * 16 || entry.holds.len() > limits::NAMESPACES_MAX {
            return self.refuse(now, peer, link, &format!("it names {positions} positions"));
        }
        if whole {
            // What the peer said on an earlier connection no longer counts: it may have lost its disk.
            entry.holds = std::mem::take(&mut session.statement);
            let first = !std::mem::replace(&mut session.stated, true);
            if first {
                self.open_streams(now, peer);
            }
        }
        if ahead {
            self.renew_incarnation(peer);
        }
        self.pump(now, peer);
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
            self.open_stream(now, peer, name);
        }
    }

    pub(super) fn open_stream(&mut self, now: Now, peer: ReplicaId, name: (Namespace, Origin)) {
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
            session.ready.insert(name);
        }
    }

    fn want(&mut self, now: Now, peer: ReplicaId, wants: Vec<Want>) {
        for want in wants {
            let name = (want.namespace, want.origin);
            let known = self.history.durable(&name.0, &name.1) > Seq(0);
            let own = name.1.replica == self.config.replica;
            let Some(session) = self.peers.session(peer) else {
                return;
            };
            match want.after {
                Some(after) if known => {
                    let stream = session
                        .streams
                        .entry(name.clone())
                        .or_insert_with(|| Stream::new(after.next(), now.mono_ms));
                    stream.rewind(after.next());
                    session.starved.remove(&name);
                    session.ready.insert(name);
                }
                None if !own => {
                    session.streams.remove(&name);
                    session.ready.remove(&name);
                    session.starved.remove(&name);
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
                self.open_stream(now, peer, name.clone());
            }
            let Some(session) = self.peers.session(peer) else {
                continue;
            };
            if session.streams.contains_key(&name) {
                session.ready.insert(name.clone());
            }
            if !own {
                session.acknowledge(name.clone(), peer == batch.origin.replica, now.mono_ms);
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
            let say_hello = !session.stated && session.hello_due <= now.mono_ms;
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
            if say_hello || statement_due {
                self.state_everything(now, peer);
            }
            self.send_stalled_again(now, peer);
        }
        if self.peers.behind && self.peers.wants_due <= now.mono_ms {
            self.ask_for_missing(now);
        }
    }

    fn send_acks(&mut self, now: Now, peer: ReplicaId) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let link = session.link;
        let acks = std::mem::take(&mut session.acks);
        session.acks_due = u64::MAX;
        session.acks_sent = now.mono_ms;
        let mut sections: BTreeMap<Namespace, Vec<(Origin, Seq)>> = BTreeMap::new();
        for (namespace, origin) in acks {
            let seq = self.history.durable(&namespace, &origin);
            sections.entry(namespace).or_default().push((origin, seq));
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
