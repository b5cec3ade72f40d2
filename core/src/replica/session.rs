//! One connection to a peer: what has been said on it, and what is to be sent over it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Room;
use super::assembly::Assembly;
use super::backlog::Backlog;
use super::lanes::{Lanes, Name};
use super::pace::Pace;
use super::parting::Parting;
use super::traffic::InFlight;
use crate::effect::LinkId;
use crate::message::PROTOCOL_OLDEST;
use crate::{Frontier, Lsn, Namespace, Origin, Seq, limits};

/// Until the peer has said what it holds, a hello is said again this often.
pub(super) const HELLO_MS: u64 = 1_000;
/// What is held is stated again after this long, in case anything was lost or is broken: to who speaks protocol 1 all of it, to others a
/// digest of what has been said so far. Doubled each time while there is nothing new to say.
const STATEMENT_MS: u64 = 15_000;
const STATEMENT_MS_MAX: u64 = 120_000;
/// To the origin's own replica, receipt is acknowledged at most this often.
pub(super) const ACK_MS: u64 = 20;
/// To others, for whom it only matters when links fail.
pub(super) const ACK_LAZY_MS: u64 = 1_000;
/// Without a sign of progress for this long, what was sent is sent again; doubled each time.
pub(super) const STALL_MS: u64 = 4_000;
pub(super) const STALL_MS_MAX: u64 = 60_000;

/// One origin's batches on their way to a peer.
pub(super) struct Stream {
    pub(super) next: Seq,
    /// No record of the log before this position holds `next`.
    pub(super) scanned: Lsn,
    pub(super) stalled_at: u64,
    pub(super) patience_ms: u64,
    /// The batch before `next`, if it is being sent in parts.
    pub(super) parting: Option<Parting>,
}

impl Stream {
    pub(super) fn new(next: Seq, now_ms: u64) -> Self {
        Self {
            next,
            scanned: Lsn(1),
            stalled_at: now_ms + STALL_MS,
            patience_ms: STALL_MS,
            parting: None,
        }
    }

    /// Goes on from `next`. Being asked again for what is already being looked for loses no ground.
    pub(super) fn rewind(&mut self, next: Seq) {
        if next != self.next {
            self.next = next;
            self.scanned = Lsn(1);
        }
    }

    pub(super) fn progressed(&mut self, now_ms: u64) {
        self.patience_ms = STALL_MS;
        self.stalled_at = now_ms + STALL_MS;
    }
}

pub(super) struct Session {
    pub(super) link: LinkId,
    pub(super) since: u64,
    /// Whether the peer has said what it holds; nothing is streamed before.
    pub(super) stated: bool,
    /// What it is saying that it holds, until it has said all.
    pub(super) statement: BTreeMap<Namespace, Frontier>,
    pub(super) streams: BTreeMap<Name, Stream>,
    /// The protocol that both ends speak, as far as is known yet.
    pub(super) speaks: u64,
    /// Streams whose next batch is in memory and goes as soon as the link takes it. A stream with something to send is here or
    /// in exactly one of the following.
    pub(super) fresh: Lanes,
    /// Streams with batches that are paced: those in `fetched`, and those that go in parts.
    pub(super) bulk: Lanes,
    /// Streams whose next batch is too large to go in parts beside those that do, and how large.
    pub(super) large: VecDeque<(Name, usize)>,
    /// Streams whose next batch must be read from the log.
    pub(super) starved: BTreeSet<Name>,
    /// Whether a read of the log is under way for them.
    pub(super) reading: bool,
    /// Batches that were read for them.
    pub(super) fetched: Backlog,
    /// Bytes of the batches that are on their way in parts.
    pub(super) parts_bytes: usize,
    pub(super) pace: Pace,
    /// Given out and not yet gone from the driver's queue.
    pub(super) in_flight: InFlight,
    /// Batches that come in parts.
    pub(super) assembly: Assembly,
    /// What the peer has not been told that is durable here.
    pub(super) acks: BTreeSet<Name>,
    /// The same of our own batches, which need no acknowledgement: it is said before the next digest.
    pub(super) unsaid: BTreeSet<Name>,
    pub(super) acks_due: u64,
    pub(super) acks_sent: u64,
    /// What somebody waits for at the peer's, up to where: it is told of each step at once.
    pub(super) awaited: BTreeMap<(Namespace, Origin), Seq>,
    /// Whether the peer has said on this link who it is.
    pub(super) introduced: bool,
    /// When it was last told where all namespaces are.
    pub(super) placements_said_ms: Option<u64>,
    pub(super) hello_due: u64,
    pub(super) statement_due: u64,
    statement_pause_ms: u64,
    /// When a gap was last asked about.
    pub(super) gaps: BTreeMap<Name, u64>,
}

impl Session {
    pub(super) fn new(link: LinkId, room: &Room, now_ms: u64) -> Self {
        Self {
            link,
            since: now_ms,
            stated: false,
            statement: BTreeMap::new(),
            streams: BTreeMap::new(),
            speaks: PROTOCOL_OLDEST,
            fresh: Lanes::default(),
            bulk: Lanes::default(),
            large: VecDeque::new(),
            starved: BTreeSet::new(),
            reading: false,
            fetched: Backlog::default(),
            parts_bytes: 0,
            pace: Pace::new(room.bulk_window_bytes, now_ms),
            in_flight: InFlight::default(),
            assembly: Assembly::default(),
            acks: BTreeSet::new(),
            unsaid: BTreeSet::new(),
            acks_due: u64::MAX,
            acks_sent: 0,
            awaited: BTreeMap::new(),
            introduced: false,
            placements_said_ms: None,
            hello_due: now_ms + HELLO_MS,
            statement_due: now_ms + STATEMENT_MS,
            statement_pause_ms: STATEMENT_MS,
            gaps: BTreeMap::new(),
        }
    }

    pub(super) fn wake_at(&self) -> u64 {
        let hello = if self.has_heard() {
            u64::MAX
        } else {
            self.hello_due
        };
        let waiting = self
            .streams
            .values()
            .map(|stream| stream.stalled_at)
            .min()
            .unwrap_or(u64::MAX);
        hello
            .min(self.statement_due)
            .min(self.acks_due)
            .min(self.pace.wake_at())
            .min(waiting)
    }

    /// There is something new to say: whether it was heard is looked at soon.
    pub(super) fn restate_soon(&mut self, now_ms: u64) {
        self.statement_pause_ms = STATEMENT_MS;
        self.statement_due = self.statement_due.min(now_ms + STATEMENT_MS);
    }

    /// Everything has been stated, or a digest of it.
    pub(super) fn restated(&mut self, now_ms: u64) {
        self.statement_due = now_ms + self.statement_pause_ms;
        self.statement_pause_ms = (2 * self.statement_pause_ms).min(STATEMENT_MS_MAX);
    }

    /// Whether the peer has said who it is and what it holds.
    pub(super) fn has_heard(&self) -> bool {
        self.stated && self.introduced
    }

    /// Nothing of a namespace is here any more.
    pub(super) fn forget(&mut self, namespace: &Namespace) {
        let streams = self.streams.keys();
        let gone: Vec<_> = streams.filter(|(of, _)| of == namespace).cloned().collect();
        for name in gone {
            self.put_away(&name);
            self.streams.remove(&name);
        }
        self.acks.retain(|(of, _)| of != namespace);
        self.unsaid.retain(|(of, _)| of != namespace);
        self.awaited.retain(|(of, _), _| of != namespace);
    }

    /// A stream may have something to send.
    pub(super) fn stir(&mut self, name: &Name) {
        if self.starved.contains(name) || self.large.iter().any(|(large, _)| large == name) {
            return;
        }
        if self.fetched.contains(name) {
            self.bulk.insert(name);
        } else if !self.bulk.contains(name) {
            self.fresh.insert(name);
        }
    }

    /// Up to where a stream's batches have been given out is the one before this.
    pub(super) fn unsent(&self, name: &Name) -> Option<Seq> {
        let stream = self.streams.get(name)?;
        let parting = stream.parting.as_ref().map(|parting| parting.seq);
        let fetched = || self.fetched.first(name);
        Some(parting.or_else(fetched).unwrap_or(stream.next))
    }

    /// A stream goes on from a batch, whatever had been taken for it.
    pub(super) fn rewind(&mut self, name: &Name, next: Seq) {
        self.put_away(name);
        if let Some(stream) = self.streams.get_mut(name) {
            stream.rewind(next);
            self.fresh.insert(name);
        }
    }

    /// A stream has nothing to send any more.
    pub(super) fn put_away(&mut self, name: &Name) {
        self.fresh.remove(name);
        self.bulk.remove(name);
        self.starved.remove(name);
        self.large.retain(|(large, _)| large != name);
        self.fetched.remove(name);
        self.end_parts(name);
    }

    /// Bytes that have been taken for the peer and not given out to the link.
    pub(super) fn waiting_bytes(&self) -> usize {
        let partings = self.streams.values().filter_map(|s| s.parting.as_ref());
        self.fetched.bytes() + partings.map(Parting::left).sum::<usize>()
    }

    /// Something became durable that the peer should know of: soon if it is the peer's own, at once if somebody waits
    /// for it there.
    pub(super) fn acknowledge(
        &mut self,
        name: (Namespace, Origin),
        seq: Seq,
        own: bool,
        now_ms: u64,
    ) {
        if let Some(until) = self.awaited.get(&name) {
            if *until <= seq {
                self.awaited.remove(&name);
            }
            self.acks_due = now_ms;
        }
        self.acks.insert(name);
        let pause = if own { ACK_MS } else { ACK_LAZY_MS };
        let due = if own {
            now_ms.max(self.acks_sent + pause)
        } else {
            now_ms + pause
        };
        self.acks_due = self.acks_due.min(due);
    }
    /// Somebody waits at the peer's until this is durable here.
    pub(super) fn is_awaited(
        &mut self,
        name: (Namespace, Origin),
        until: Seq,
        durable: Seq,
        now_ms: u64,
    ) {
        if durable >= until {
            self.acks.insert(name);
            self.acks_due = now_ms;
        } else if self.awaited.len() < limits::AWAITED_MAX || self.awaited.contains_key(&name) {
            let awaited = self.awaited.entry(name).or_insert(until);
            *awaited = (*awaited).max(until);
        }
    }
}
