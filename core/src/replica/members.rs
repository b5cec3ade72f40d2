//! Who belongs to the cluster, as far as is known here, for how long the log is kept for them, and who is set aside.
//!
//! A member that is set aside holds nothing back any more. That is each replica's own decision, since what it frees is
//! its own: its log, its receipts, the answers that it gives. There is nothing to agree on, and a replica that is cut
//! off could not be told. The member itself is not concerned: when it comes back, it is served like any other, what it
//! wrote meanwhile is taken in, and once it holds what was here when it came, it counts again.

use std::collections::BTreeSet;

use super::asking::Caller;
use super::peers::{Peer, Peers};
use super::{Replica, stability::Standing};
use crate::codec::{DecodeError, Reader, Writer};
use crate::effect::{Notice, Now, Output, Reply, RequestError};
use crate::persist::Ticket;
use crate::{Lsn, Namespace, Origin, ReplicaId, Seq, limits};

/// Written since members can be set aside. The one before has nothing of how long they are away either.
const FORMAT: u8 = 2;

/// How long a member has been away: the time that this replica has run without hearing from it what it holds. Times at
/// which it did not run itself don't count, and no wall clock does: a wrong one must not set anybody aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Away {
    /// In earlier lives of this process.
    before_ms: u64,
    /// On the monotonic clock; none: since the process started.
    since_ms: Option<u64>,
}

impl Away {
    pub(super) fn since(now: Now) -> Self {
        Self {
            before_ms: 0,
            since_ms: Some(now.mono_ms),
        }
    }

    pub(super) fn ms(self, now: Now) -> u64 {
        let lately = self
            .since_ms
            .map_or(0, |since| now.mono_ms.saturating_sub(since));
        self.before_ms.saturating_add(lately)
    }
}

/// What a member that has come back lacks of what was here then.
#[derive(Default)]
pub(super) struct Homecoming(BTreeSet<(Namespace, Origin, Seq)>);

impl Homecoming {
    /// It holds an origin up to a position.
    pub(super) fn holds(&mut self, namespace: &Namespace, origin: &Origin, seq: Seq) {
        let first = (namespace.clone(), *origin, Seq(0));
        let last = (namespace.clone(), *origin, seq);
        if let Some(reached) = self.0.range(first..=last).next().cloned() {
            self.0.remove(&reached);
        }
    }

    /// Of the other namespaces nothing is asked of it any more.
    pub(super) fn retain(&mut self, namespace: impl Fn(&Namespace) -> bool) {
        self.0.retain(|(of, _, _)| namespace(of));
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// Decisions about members, and whether they would outlive a crash.
#[derive(Default)]
pub(super) struct Decisions {
    /// How often the list has changed.
    made: u64,
    /// How many of those are in a checkpoint.
    durable: u64,
    /// When to make one of them.
    due_ms: u64,
    /// Callers to be told, and whether what they asked for was not so already.
    waiting: Vec<Asker>,
}

struct Asker {
    caller: Caller,
    number: u64,
    changed: bool,
}

impl Decisions {
    /// How many there are now, for a checkpoint that has them.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    pub(super) fn wake_at(&self) -> u64 {
        match self.made > self.durable {
            true => self.due_ms,
            false => u64::MAX,
        }
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        self.wake_at() <= now.mono_ms
    }

    /// It can't be done yet.
    pub(super) fn put_off(&mut self, until_ms: u64) {
        self.due_ms = self.due_ms.max(until_ms);
    }

    /// One more, to be written down by then.
    fn make(&mut self, due_ms: u64) -> u64 {
        self.due_ms = match self.made > self.durable {
            true => self.due_ms.min(due_ms),
            false => due_ms,
        };
        self.made += 1;
        self.made
    }
}

impl Peers {
    /// Every replica that was ever met, and what it has said that it holds.
    pub(super) fn encode_members(&self, now: Now, writer: &mut Writer) {
        writer.u8(FORMAT);
        writer.count(self.by_id.len());
        for (id, peer) in &self.by_id {
            writer.array(&id.0);
            writer.bytes(peer.name.as_bytes());
            writer.bytes(peer.datacenter.as_bytes());
            writer.u8(peer.set_aside.into());
            writer.number(peer.away.map_or(0, |away| away.ms(now)));
            writer.count(peer.holds.len());
            for (namespace, frontier) in &peer.holds {
                writer.bytes(namespace.as_str().as_bytes());
                writer.count(frontier.len());
                for (origin, seq) in frontier.iter() {
                    writer.origin(origin);
                    writer.number(seq.0);
                }
            }
        }
    }

    /// What is restored from a peer's backup finds itself among the others, and leaves itself out.
    pub(super) fn decode_members(reader: &mut Reader, own: ReplicaId) -> Result<Self, DecodeError> {
        let format = reader.format_up_to("members format", FORMAT)?;
        let mut peers = Self::default();
        for _ in 0..reader.count("members", usize::MAX)? {
            let id = ReplicaId(reader.array("member")?);
            let mut peer = Peer {
                name: reader.text("name", limits::FRAME_BYTES_MAX)?,
                datacenter: reader.text("datacenter", limits::FRAME_BYTES_MAX)?,
                ..Peer::default()
            };
            let mut away = Away::default();
            if format > 1 {
                peer.set_aside = reader.u8("set aside")? != 0;
                away.before_ms = reader.number("time away")?;
            }
            peer.away = Some(away);
            for _ in 0..reader.count("namespaces", usize::MAX)? {
                let frontier = peer.holds.entry(reader.namespace()?).or_default();
                for _ in 0..reader.count("origins", usize::MAX)? {
                    let origin = reader.origin()?;
                    frontier.raise(origin, reader.seq()?);
                }
            }
            if id != own {
                peers.by_id.insert(id, peer);
            }
        }
        Ok(peers)
    }

    /// When the policy would set somebody aside.
    pub(super) fn set_aside_at(&self, after_ms: Option<u64>) -> u64 {
        let Some(after_ms) = after_ms else {
            return u64::MAX;
        };
        let away = self.counted().filter_map(|(_, peer)| peer.away);
        // Whoever is away since the start is looked at with the first tick.
        let due = away.map(|away| match away.since_ms {
            Some(since) => since.saturating_add(after_ms.saturating_sub(away.before_ms)),
            None => 0,
        });
        due.min().unwrap_or(u64::MAX)
    }
}

impl Replica {
    /// Lets go of the log's old end, now that the documents before a position are stored: what no member
    /// needs any more beyond what is kept in any case, and whatever is too much. Gives where it begins then, if that
    /// has changed.
    pub(super) fn release_log(&mut self, stored_before: Lsn) -> Option<Lsn> {
        let room = &self.config.room;
        let extent = &self.history.extent;
        let kept = extent.last_bytes(room.log_bytes_kept);
        let too_much = extent.last_bytes(room.log_bytes_max);
        let needed = if self.planted_release_needed() {
            stored_before
        } else {
            self.needed_by_members()
        };
        let first = needed.min(kept).max(too_much).min(stored_before);
        if first <= extent.first {
            return None;
        }
        self.history.release_before(first);
        Some(first)
    }

    /// The list of members has changed, and is to be written down by then.
    pub(super) fn members_changed(&mut self, now: Now, due_ms: u64) {
        self.decisions.make(due_ms.max(now.mono_ms));
    }

    /// Sets a member aside because somebody asks for it, or counts it again.
    pub(super) fn decide(&mut self, now: Now, caller: Caller, member: ReplicaId, aside: bool) {
        let Some(peer) = self.peers.by_id.get(&member) else {
            let met = self.peers.by_id.len();
            let error = RequestError::NoMember { member, met };
            return self.answer(caller, Ticket(0), Err(error));
        };
        let changed = peer.set_aside != aside;
        match aside {
            true => self.set_aside(now, member, false),
            false => self.welcome(now, member, false),
        }
        if !changed && self.decisions.made == self.decisions.durable {
            let reply = Reply::SetAside { changed };
            return self.answer(caller, Ticket(0), Ok(reply));
        }
        // What is not written down yet may be what this one asks for.
        let number = self.decisions.make(now.mono_ms);
        self.decisions.waiting.push(Asker {
            caller,
            number,
            changed,
        });
        self.tick_folding(now);
    }

    fn set_aside(&mut self, now: Now, member: ReplicaId, by_policy: bool) {
        let Some(peer) = self.peers.by_id.get_mut(&member) else {
            return;
        };
        if std::mem::replace(&mut peer.set_aside, true) {
            return;
        }
        peer.homecoming = None;
        let notice = Notice::MemberSetAside {
            peer: member,
            name: peer.name.clone(),
            away_ms: peer.away.map_or(0, |away| away.ms(now)),
            by_policy,
        };
        self.outputs.push_back(Output::Notice(notice));
        self.decisions.make(now.mono_ms);
        self.count_acknowledgements();
    }

    fn welcome(&mut self, now: Now, member: ReplicaId, caught_up: bool) {
        let Some(peer) = self.peers.by_id.get_mut(&member) else {
            return;
        };
        peer.homecoming = None;
        if !peer.set_aside {
            return;
        }
        // What was stable without it stays so.
        self.advance_stability();
        let Some(peer) = self.peers.by_id.get_mut(&member) else {
            return;
        };
        peer.set_aside = false;
        // Whoever is called back while it is away has its time again.
        if peer.away.is_some() {
            peer.away = Some(Away::since(now));
        }
        let notice = Notice::MemberWelcomed {
            peer: member,
            name: peer.name.clone(),
            caught_up,
        };
        self.outputs.push_back(Output::Notice(notice));
        self.decisions.make(now.mono_ms);
        self.count_acknowledgements();
    }

    /// A member has said, for the first time on a link, what it holds.
    pub(super) fn came_back(&mut self, now: Now, member: ReplicaId) {
        let Some(peer) = self.peers.by_id.get_mut(&member) else {
            return;
        };
        peer.away = None;
        if peer.set_aside {
            let spaces = self.history.spaces();
            let here = spaces.flat_map(|(namespace, space)| {
                let positions = space.durable.iter();
                positions.map(move |(origin, seq)| (namespace, origin, *seq))
            });
            let datacenter = &peer.datacenter;
            let lacks = here.filter(|(namespace, origin, seq)| {
                self.placements.is_in(namespace, datacenter) && peer.holds(namespace, origin) < *seq
            });
            let lacks = lacks.map(|(namespace, origin, seq)| (namespace.clone(), *origin, seq));
            peer.homecoming = Some(Homecoming(lacks.collect()));
        }
        self.welcome_home(now, member);
    }

    /// Counts a member again that has all that was here when it came back.
    pub(super) fn welcome_home(&mut self, now: Now, member: ReplicaId) {
        let peer = self.peers.by_id.get(&member);
        let homecoming = peer.and_then(|peer| peer.homecoming.as_ref());
        if homecoming.is_some_and(Homecoming::is_over) {
            self.welcome(now, member, true);
        }
    }

    pub(super) fn tick_members(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        for peer in self.peers.by_id.values_mut() {
            if let Some(away) = &mut peer.away {
                away.since_ms.get_or_insert(now.mono_ms);
            }
        }
        let Some(after_ms) = self.config.room.set_aside_after_ms else {
            return;
        };
        let long = |peer: &Peer| peer.away.is_some_and(|away| away.ms(now) >= after_ms);
        let counted = self.peers.counted().filter(|(_, peer)| long(peer));
        let gone: Vec<_> = counted.map(|(id, _)| *id).collect();
        for member in gone {
            self.set_aside(now, member, true);
        }
    }

    /// A checkpoint with so many decisions in it is durable.
    pub(super) fn decisions_durable(&mut self, made: u64) {
        self.decisions.durable = self.decisions.durable.max(made);
        for asker in self.decided(made) {
            let changed = asker.changed;
            let reply = Reply::SetAside { changed };
            self.answer(asker.caller, Ticket(0), Ok(reply));
        }
    }

    /// It could not be written.
    pub(super) fn decisions_failed(&mut self, why: &str) {
        for asker in self.decided(u64::MAX) {
            let why = why.to_owned();
            let error = RequestError::NotWrittenDown { why };
            self.answer(asker.caller, Ticket(0), Err(error));
        }
    }

    fn decided(&mut self, through: u64) -> Vec<Asker> {
        let waiting = std::mem::take(&mut self.decisions.waiting);
        let done = |asker: &Asker| asker.number <= through;
        let (done, rest) = waiting.into_iter().partition(done);
        self.decisions.waiting = rest;
        done
    }

    /// A member's standing, how long it has been away, and how much log lies from the first that it lacks on.
    pub(super) fn member(&self, now: Now, peer: &Peer) -> (Standing, Option<u64>, u64) {
        let held = match peer.set_aside {
            true => 0,
            false => {
                let holds = |namespace: &Namespace, origin: &Origin| match self
                    .is_to_hold(peer, namespace)
                {
                    true => peer.holds(namespace, origin),
                    false => Seq(u64::MAX),
                };
                let needed = self.history.needed_by(holds);
                let lacks = needed <= self.history.durable_end;
                self.history.extent.bytes_from(needed) * u64::from(lacks)
            }
        };
        let away = peer.away.map(|away| away.ms(now));
        (self.standing_of(peer), away, held)
    }
}
