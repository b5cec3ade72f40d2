//! Streaming batches to peers: a batch goes as soon as it is durable, alone if the link is free and with what has gathered
//! otherwise. What is bulk (from the log, or in parts) goes beside that, paced, so that it holds nobody up.

use std::sync::Arc;

use super::history::History;
use super::lanes::Name;
use super::session::{STALL_MS_MAX, Session};
use super::{Replica, Room};
use crate::effect::{LinkId, Now, Output};
use crate::message::{Message, Part, Traffic};
use crate::{Batch, ReplicaId, Seq, compression};

/// One frame's worth.
enum Load {
    Fresh(Vec<Arc<Batch>>),
    Late(Vec<Arc<Batch>>),
    Part(Part),
}

/// What becomes of a stream after its turn.
enum After {
    /// It has more to send.
    More,
    /// It has sent everything.
    Done,
    /// Its next batch is not in memory.
    Starved,
    /// Its next batch goes in parts.
    Large(Arc<Batch>),
}

impl Replica {
    pub(super) fn sent(&mut self, now: Now, link: LinkId, bytes: usize) {
        let Some(peer) = self.peers.of_link(link) else {
            return;
        };
        if let Some(session) = self.peers.session(peer) {
            session.in_flight.left(bytes);
        }
        self.pump(now, peer);
    }

    /// The peer has taken what is bulk up to a number.
    pub(super) fn taken(&mut self, now: Now, peer: ReplicaId, number: u64) {
        if let Some(session) = self.peers.session(peer) {
            session.pace.taken(now.mono_ms, number);
        }
        self.pump(now, peer);
    }

    pub(super) fn pump_all(&mut self, now: Now) {
        for peer in self.peers.linked() {
            self.pump(now, peer);
        }
    }

    /// Sends a peer what it lacks, as far as its link takes it.
    pub(super) fn pump(&mut self, now: Now, peer: ReplicaId) {
        if self.failed.is_some() {
            return;
        }
        while let Some(load) = self.gather(peer) {
            self.send_load(now, peer, load);
        }
        self.read_backlog(peer);
    }

    fn gather(&mut self, peer: ReplicaId) -> Option<Load> {
        let room = self.config.room;
        let session = self.peers.by_id.get_mut(&peer)?.session.as_mut()?;
        if session.in_flight.bytes() >= room.link_window_bytes {
            return None;
        }
        session.admit_large(&room);
        // While one is leaving, what comes gathers for the next.
        if !session.in_flight.is_pushing() {
            let batches = session.gather_fresh(&self.history, &room);
            if !batches.is_empty() {
                return Some(Load::Fresh(batches));
            }
        }
        // Who speaks protocol 1 does not say what it has taken.
        if session.speaks >= 2 && !session.pace.is_open() {
            return None;
        }
        session.gather_bulk(&room)
    }

    fn send_load(&mut self, now: Now, peer: ReplicaId, load: Load) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let wait = |session: &mut Session, name: &Name| {
            if let Some(stream) = session.streams.get_mut(name) {
                let patient_until = now.mono_ms + stream.patience_ms;
                stream.stalled_at = match stream.stalled_at {
                    u64::MAX => patient_until,
                    at => at.max(patient_until),
                };
            }
        };
        match &load {
            Load::Fresh(batches) | Load::Late(batches) => {
                for batch in batches {
                    wait(session, &(batch.namespace.clone(), batch.origin));
                }
                self.counters.batches_sent += batches.len() as u64;
            }
            Load::Part(part) => {
                wait(session, &(part.namespace.clone(), part.origin));
                self.counters.parts_sent += 1;
                self.counters.batches_sent += u64::from(part.index + 1 == part.count());
            }
        }
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let (bulk, paced) = (session.pace.next(), session.speaks >= 2);
        let (message, traffic, paced) = match load {
            Load::Fresh(batches) => (Message::Delta(batches), Traffic::Push, false),
            Load::Late(batches) if paced => {
                let message = Message::Backlog { bulk, batches };
                (message, Traffic::CatchUp, true)
            }
            Load::Late(batches) => (Message::Delta(batches), Traffic::CatchUp, false),
            Load::Part(part) => {
                let message = Message::Part(part);
                let traffic = message.traffic();
                (message, traffic, true)
            }
        };
        let fresh = traffic == Traffic::Push && !paced;
        let bytes = self.post(peer, &message, traffic, fresh);
        if paced && let Some(session) = self.peers.session(peer) {
            session.pace.sent(now.mono_ms, bytes);
        }
    }

    /// Sends what is not a batch; how many bytes it has.
    pub(super) fn say(&mut self, peer: ReplicaId, link: LinkId, message: &Message) -> usize {
        let on_it = |session: &mut Session| session.link == link;
        match self.peers.session(peer).is_some_and(on_it) {
            true => self.post(peer, message, message.traffic(), false),
            false => 0,
        }
    }

    /// Gives a frame out to a peer's link, and its bytes. What the peer could not read is not said.
    fn post(&mut self, peer: ReplicaId, message: &Message, traffic: Traffic, fresh: bool) -> usize {
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return 0;
        };
        let Some(session) = &mut entry.session else {
            return 0;
        };
        let mut frame = message.encode();
        if Message::protocol_of(&frame) > session.speaks {
            return 0;
        }
        if session.speaks >= 2 {
            frame = compression::wrap(frame);
        }
        let bytes = frame.len();
        entry.sent.add(traffic, bytes);
        session.in_flight.add(bytes, fresh);
        let link = session.link;
        self.outputs.push_back(Output::Send { link, frame });
        bytes
    }

    /// What got no sign of arrival for long is sent again from where the peer says it is.
    pub(super) fn send_stalled_again(&mut self, now: Now, peer: ReplicaId) {
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let Some(session) = &mut entry.session else {
            return;
        };
        let lost = session.pace.give_up(now.mono_ms);
        let is_stalled = |stream: &super::session::Stream| stream.stalled_at <= now.mono_ms;
        let streams = session.streams.iter();
        let stalled = streams.filter(|(_, stream)| is_stalled(stream));
        let stalled: Vec<Name> = stalled.map(|(name, _)| name.clone()).collect();
        let mut again = false;
        for name in stalled {
            let holds = entry
                .holds
                .get(&name.0)
                .map_or(Seq(0), |frontier| frontier.of(&name.1));
            let unsent = session.unsent(&name);
            let under_way = session.in_flight.bytes() > 0 || session.pace.bytes() > 0;
            let Some(stream) = session.streams.get_mut(&name) else {
                continue;
            };
            if stream.parting.is_some() && under_way {
                // A large batch on a slow link: it takes its time.
                stream.stalled_at = now.mono_ms + stream.patience_ms;
                continue;
            }
            if unsent.is_some_and(|unsent| holds.next() >= unsent) {
                // All that was sent has arrived; nothing to wait for.
                stream.stalled_at = u64::MAX;
                continue;
            }
            stream.patience_ms = (stream.patience_ms * 2).min(STALL_MS_MAX);
            stream.stalled_at = now.mono_ms + stream.patience_ms;
            if session.in_flight.bytes() == 0 {
                session.rewind(&name, holds.next());
                again = true;
            }
        }
        self.counters.stalls += u64::from(again);
        if again || lost {
            self.pump(now, peer);
        }
    }

    #[cfg(feature = "planted")]
    pub(super) fn push(&mut self, now: Now, batch: &Arc<Batch>) {
        self.arrived(now, batch);
        self.pump_all(now);
    }
}

impl Session {
    /// Takes one frame's worth of batches off the streams whose batches are in memory.
    fn gather_fresh(&mut self, history: &History, room: &Room) -> Vec<Arc<Batch>> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while bytes < room.frame_bytes_target
            && let Some((name, credit)) = self.fresh.turn(room.frame_bytes_target / 4)
        {
            let mut used = 0;
            let tip = history.durable(&name.0, &name.1);
            let after = loop {
                let Some(next) = self.streams.get(&name).map(|stream| stream.next) else {
                    break After::Done;
                };
                if next > tip {
                    break After::Done;
                }
                if used >= credit || bytes + used >= room.frame_bytes_target {
                    break After::More;
                }
                let Some(batch) = history.recent(&name.0, &name.1, next) else {
                    break After::Starved;
                };
                if self.goes_in_parts(batch, room) {
                    break After::Large(batch.clone());
                }
                used += batch.bytes();
                batches.push(batch.clone());
                if let Some(stream) = self.streams.get_mut(&name) {
                    stream.next = next.next();
                }
            };
            bytes += used;
            self.fresh.spend(&name, used);
            match after {
                After::More => {}
                After::Done => self.fresh.remove(&name),
                After::Starved => {
                    self.fresh.remove(&name);
                    self.starved.insert(name);
                }
                After::Large(batch) => {
                    self.fresh.remove(&name);
                    if self.begin_parts(&name, &batch, false, room)
                        && let Some(stream) = self.streams.get_mut(&name)
                    {
                        stream.next = batch.seq.next();
                    }
                }
            }
        }
        batches
    }

    /// Takes one frame's worth of what is paced.
    fn gather_bulk(&mut self, room: &Room) -> Option<Load> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while bytes < room.frame_bytes_target
            && let Some((name, credit)) = self.bulk.turn(room.frame_bytes_target / 4)
        {
            let stream = self.streams.get(&name);
            if stream.is_some_and(|stream| stream.parting.is_some()) {
                if batches.is_empty() {
                    return self.next_part(&name).map(Load::Part);
                }
                // It has a frame of its own, which is the next.
                break;
            }
            let mut used = 0;
            let after = loop {
                let Some(batch) = self.fetched.front(&name) else {
                    break After::Done;
                };
                if used >= credit || bytes + used >= room.frame_bytes_target {
                    break After::More;
                }
                if self.goes_in_parts(batch, room) {
                    break After::Large(batch.clone());
                }
                used += batch.bytes();
                batches.extend(self.fetched.pop(&name));
            };
            bytes += used;
            self.bulk.spend(&name, used);
            match after {
                After::More => {}
                After::Done | After::Starved => {
                    self.bulk.remove(&name);
                    self.stir(&name);
                }
                After::Large(batch) => {
                    self.bulk.remove(&name);
                    if self.begin_parts(&name, &batch, true, room) {
                        self.fetched.pop(&name);
                    }
                }
            }
        }
        (!batches.is_empty()).then_some(Load::Late(batches))
    }
}
