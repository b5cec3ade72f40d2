//! The replica: one state machine that holds documents, history and peer sessions together.
//!
//! Hand it an [`Input`] by [`Replica::handle`], then take [`Output`]s from [`Replica::poll`] until there are
//! none, before the next input. Call it with [`Input::Tick`] at the time that [`Replica::wake_at`] names.
//! While [`Replica::is_saturated`], give it only the answers to what it asked for.

mod acknowledgement;
mod asking;
mod assembly;
mod backlog;
mod comparing;
mod documents;
mod entry;
mod extent;
mod fetching;
mod folding;
mod gathering;
mod history;
mod imports;
mod lanes;
mod leaving;
mod listing;
mod members;
mod pace;
mod parting;
mod peers;
mod placement;
mod planting;
mod pursuit;
mod reading;
mod receipts;
mod recent;
mod repairs;
mod room;
mod salvage;
mod sending;
mod session;
mod shelf;
mod stability;
mod starting;
mod stating;
mod status;
mod summaries;
mod taking_back;
#[cfg(test)]
mod tests;
mod traffic;
mod waiting;
mod writing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch;
use crate::codec::{DecodeError, Reader};
use crate::effect::{FetchId, Input, LinkId, Notice, Now, Output, RequestError};
use crate::message::PROTOCOL_NEWEST;
use crate::persist::{Commit, LogRecord, Recovery, StoreError, Ticket};
use crate::record::{Arrival, Import, LetGo, Placed};
use crate::{Batch, DocumentId, Incarnation, Lsn, Origin, ReplicaId};
use acknowledgement::Acknowledgements;
use asking::Owed;
use comparing::Comparisons;
pub use comparing::RepairStatus;
use fetching::Awaited;
use gathering::Gatherings;
use history::{History, Offered};
use imports::Imports;
use listing::Scans;
use peers::Peers;
#[cfg(feature = "planted")]
pub use planting::Planted;
use receipts::Receipts;
pub use room::Room;
use session::Session;
use shelf::{Made, Shelf};
pub use stability::Standing;
pub use status::{Counters, NamespaceStatus, PeerStatus, Status};
use summaries::Summaries;
pub use traffic::TrafficBytes;
use waiting::Waits;

/// Who a replica is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The id that its certificate's key gives it.
    pub replica: ReplicaId,
    /// Its name, unique in the cluster; for people.
    pub name: String,
    /// Its datacenter; for people.
    pub datacenter: String,
    /// Drawn at random at every start; becomes the next incarnation if the store turns out to have gone
    /// back in time.
    pub spare_incarnation: Incarnation,
    /// How much it may keep in memory.
    pub room: Room,
    /// The key of its summaries; replicas that are to be compared need the same. Whoever writes documents should not know it.
    pub summary_key: [u8; 32],
    /// The newest protocol that it speaks with peers. Only tests of different versions side by side set it.
    pub protocol: u64,
    /// A deliberate bug, for the test of the simulator.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl Config {
    /// A replica with room as by default.
    #[must_use]
    pub fn new(
        replica: ReplicaId,
        name: impl Into<String>,
        datacenter: impl Into<String>,
        spare_incarnation: Incarnation,
    ) -> Self {
        Self {
            replica,
            name: name.into(),
            datacenter: datacenter.into(),
            spare_incarnation,
            room: Room::default(),
            summary_key: [0; 32],
            protocol: PROTOCOL_NEWEST,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// A commit that has been handed out and is not known to be durable.
struct Unsettled {
    ticket: Ticket,
    bytes: usize,
    carried: Carried,
    /// Bytes of its record.
    record_bytes: u64,
}

/// What a commit puts into the log.
enum Carried {
    Nothing,
    Batch(Lsn, Arc<Batch>),
    /// See [`imports`].
    Import(Lsn, Import),
    Arrival(Lsn, Arrival),
    /// See [`placement`].
    Placed(Lsn, Placed),
    /// See [`leaving`].
    LetGo(Lsn, LetGo),
}

impl Carried {
    fn lsn(&self) -> Option<Lsn> {
        match self {
            Self::Nothing => None,
            Self::Batch(lsn, _)
            | Self::Import(lsn, _)
            | Self::Arrival(lsn, _)
            | Self::Placed(lsn, _)
            | Self::LetGo(lsn, _) => Some(*lsn),
        }
    }
}

/// One replica of everything.
pub struct Replica {
    config: Config,
    origin: Origin,
    history: History,
    shelf: Shelf,
    peers: Peers,
    scans: Scans,
    waits: Waits,
    acknowledgements: Acknowledgements,
    decisions: members::Decisions,
    stability: stability::Stability,
    gatherings: Gatherings,
    receipts: Receipts,
    repairs: repairs::Repairs,
    salvage: salvage::Salvage,
    summaries: Summaries,
    comparisons: Comparisons,
    imports: Imports,
    placements: placement::Placements,
    departures: leaving::Departures,
    starting: starting::Starting,
    folding: folding::Folding,
    /// The last ticket handed out, and the last that is durable.
    issued: Ticket,
    durable: Ticket,
    unsettled: VecDeque<Unsettled>,
    unsettled_bytes: usize,
    held_replies: BTreeMap<Ticket, Vec<Owed>>,
    requests_open: usize,
    fetches: BTreeMap<FetchId, Awaited>,
    fetch_count: u64,
    outputs: VecDeque<Output>,
    counters: Counters,
    failed: Option<String>,
    full: Option<taking_back::Full>,
    #[cfg(feature = "planted")]
    restarted: bool,
}

impl Replica {
    /// Begins with what the store holds. The driver then feeds the log from the given position on to
    /// [`Self::replay`], then calls [`Self::begin`], before any input.
    ///
    /// # Errors
    /// When the checkpoint can't be read.
    pub fn recover(config: Config, recovery: Recovery) -> Result<(Self, Lsn), DecodeError> {
        #[cfg(feature = "planted")]
        let restarted = recovery.log_end.is_some();
        let (mut history, mut peers, mut from) = (History::default(), Peers::default(), Lsn(1));
        let mut placements = placement::Placements::default();
        let mut departures = leaving::Departures::default();
        if let Some(checkpoint) = recovery.checkpoint {
            let mut reader = Reader::new(checkpoint.state);
            let has_placements;
            (history, has_placements) = History::decode(&mut reader)?;
            peers = Peers::decode_members(&mut reader, config.replica)?;
            if has_placements {
                placements = placement::Placements::decode(&mut reader)?;
                departures = leaving::Departures::decode(&mut reader)?;
            }
            reader.finish()?;
            from = checkpoint.replay_from;
        }
        history.release_before(recovery.log_first.unwrap_or_default());
        let origin = Origin {
            replica: config.replica,
            incarnation: recovery.incarnation,
        };
        let mut replica = Self {
            summaries: Summaries::new(config.summary_key),
            comparisons: Comparisons::default(),
            imports: Imports::default(),
            placements,
            departures,
            config,
            origin,
            history,
            shelf: Shelf::default(),
            peers,
            scans: Scans::default(),
            waits: Waits::default(),
            acknowledgements: Acknowledgements::default(),
            decisions: members::Decisions::default(),
            stability: stability::Stability::default(),
            gatherings: Gatherings::default(),
            receipts: Receipts::default(),
            repairs: repairs::Repairs::default(),
            salvage: salvage::Salvage::default(),
            starting: starting::Starting::from(from, recovery.log_first, recovery.continuity),
            folding: folding::Folding::from(from),
            issued: Ticket(0),
            durable: Ticket(0),
            unsettled: VecDeque::new(),
            unsettled_bytes: 0,
            held_replies: BTreeMap::new(),
            requests_open: 0,
            fetches: BTreeMap::new(),
            fetch_count: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            failed: None,
            full: None,
            #[cfg(feature = "planted")]
            restarted,
        };
        replica.history.renew();
        Ok((replica, from))
    }

    /// Under which origin it writes.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Request {
                id,
                request,
                session,
            } => self.request(now, id, request, session),
            Input::Persisted { through } => self.persisted(now, through),
            Input::PersistFailed {
                from,
                through,
                error,
            } => self.persist_failed(now, from, through, error),
            Input::Folded { id, result } => self.folded(now, id, result),
            Input::Damaged { range, what } => self.documents_damaged(now, range, what),
            Input::Fetched { id, result } => self.fetched(now, id, result),
            Input::LinkUp { link, peer } => self.link_up(now, link, peer),
            Input::LinkDown { link } => self.link_down(now, link),
            Input::Sent { link, bytes } => self.sent(now, link, bytes),
            Input::Frame { link, bytes } => self.frame(now, link, &bytes),
            Input::Tick => {
                self.tick_peers(now);
                self.tick_repairs(now);
                self.tick_salvage(now);
                self.tick_imports(now);
                self.tick_members(now);
                self.tick_departures(now);
                self.tick_folding(now);
                self.tick_summaries(now);
                self.tick_comparisons(now);
                self.tick_waiting(now);
                self.tick_acknowledgements(now);
            }
        }
        self.begin_gathering(now);
        self.serve_released(now);
        self.say_what_is_awaited();
    }

    /// What is counted for one document.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn counted(&mut self, id: &DocumentId) -> u64 {
        let place = crate::persist::Place::of(id);
        self.summaries.of(&id.namespace).sum(place)
    }

    /// The next thing to do, in order; none when everything has been given out.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call with [`Input::Tick`] next, on the monotonic clock.
    #[must_use]
    pub fn wake_at(&self) -> u64 {
        if self.failed.is_some() {
            return u64::MAX;
        }
        // No fold begins while the store is asked for sums.
        let folding = match self.summaries.is_asking() {
            true => u64::MAX,
            false => self.folding.wake_at(self.decisions.wake_at()),
        };
        let waiting = self.waits.wake_at().min(self.acknowledgements.wake_at());
        let mending = self.repairs.wake_at().min(self.salvage.wake_at());
        let set_aside = self.peers.set_aside_at(self.config.room.set_aside_after_ms);
        let own = folding.min(waiting).min(mending).min(set_aside);
        let own = own
            .min(self.imports.wake_at())
            .min(self.summaries.wake_at());
        let own = own.min(self.comparisons.wake_at());
        let own = own.min(self.departures.wake_at());
        self.peers.wake_at().min(own)
    }

    /// True while so much is waiting for the store that more input must wait: only [`Input::Persisted`],
    /// [`Input::PersistFailed`], [`Input::Fetched`] and [`Input::Tick`] then.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.failed.is_none()
            // While folds fail, nothing would end the wait: then writes are refused instead.
            && self.folding.failing.is_none()
            && (self.unsettled_bytes >= self.config.room.unpersisted_bytes_max
                || self.unfolded_bytes() >= self.config.room.unfolded_bytes_max)
    }

    /// Puts a batch whose turn it is into the log.
    fn admit(&mut self, now: Now, batch: &Arc<Batch>, made: &[Made]) -> Ticket {
        let lsn = self.history.accept(batch, &self.origin);
        let ticket = Ticket(self.issued.0 + 1);
        for (index, write) in batch.writes.iter().enumerate() {
            let id = DocumentId {
                namespace: batch.namespace.clone(),
                key: write.key.clone(),
            };
            let made = made.get(index).map_or(Made::Elsewhere, |made| *made);
            if matches!(made, Made::Elsewhere) && !write.changes.is_empty() {
                self.follow_if_new(&id);
            }
            self.shelf.add(&id, lsn, &write.changes, ticket, made);
        }
        let record = LogRecord {
            lsn,
            bytes: batch::encode([&**batch]),
        };
        self.history.extent.grow(lsn, record.bytes.len());
        self.receipts.came(batch, lsn, ticket);
        self.persist(
            Commit {
                log: vec![record],
                ..Commit::new(ticket)
            },
            Carried::Batch(lsn, batch.clone()),
        );
        self.folding.written(now, self.config.room.fold_idle_ms);
        #[cfg(feature = "planted")]
        if self.config.planted == Some(Planted::GossipBeforeSync) {
            self.history
                .settle(batch, lsn, self.config.room.recent_log_bytes_max);
            self.push(now, batch);
        }
        ticket
    }

    /// Puts a record that is no batch into the log.
    fn admit_record(&mut self, bytes: Bytes, carried: impl FnOnce(Lsn) -> Carried) -> Lsn {
        let lsn = self.history.accept_record();
        let ticket = Ticket(self.issued.0 + 1);
        self.history.extent.grow(lsn, bytes.len());
        let commit = Commit {
            log: vec![LogRecord { lsn, bytes }],
            ..Commit::new(ticket)
        };
        self.persist(commit, carried(lsn));
        lsn
    }

    fn persist(&mut self, commit: Commit, carried: Carried) {
        self.issued = commit.ticket;
        let bytes = commit.bytes();
        let record_bytes = commit
            .log
            .iter()
            .map(|record| record.bytes.len() as u64)
            .sum();
        self.unsettled_bytes += bytes;
        self.unsettled.push_back(Unsettled {
            ticket: commit.ticket,
            bytes,
            carried,
            record_bytes,
        });
        self.outputs.push_back(Output::Persist(commit));
    }

    /// The last ticket that there is something behind: what was taken back is not waited for.
    fn newest(&self) -> Ticket {
        self.unsettled
            .back()
            .map_or(self.durable, |last| last.ticket)
    }

    /// Only here do answers, visibility and gossip come free.
    fn persisted(&mut self, now: Now, through: Ticket) {
        self.durable = self.durable.max(through.min(self.issued));
        let mut arrived = Vec::new();
        // Without anybody to send them to they would only take the memory of something else.
        let recent_bytes_max = match self.peers.by_id.is_empty() {
            true => 0,
            false => self.config.room.recent_log_bytes_max,
        };
        while let Some(settled) = self
            .unsettled
            .pop_front_if(|unsettled| unsettled.ticket <= through)
        {
            self.unsettled_bytes -= settled.bytes;
            match settled.carried {
                Carried::Nothing => {}
                Carried::Batch(lsn, batch) => {
                    if !self.history.settle(&batch, lsn, recent_bytes_max) {
                        // All that it brings has come by a repair.
                        continue;
                    }
                    self.summarise(now, &batch);
                    self.arrived(now, &batch);
                    let visible = self.visible(lsn, &batch);
                    self.outputs.push_back(Output::Visible(visible));
                    arrived.push(batch);
                }
                Carried::Import(lsn, import) => {
                    self.history.settle_record(lsn);
                    self.import_settled(now, lsn, &import);
                }
                Carried::Arrival(lsn, arrival) => {
                    self.history.settle_record(lsn);
                    self.arrived_by_repair(now, lsn, &arrival);
                    self.end_seeking(now, &arrival.namespace);
                }
                Carried::Placed(lsn, placed) => {
                    self.history.settle_record(lsn);
                    self.placed(now, &placed);
                }
                Carried::LetGo(lsn, let_go) => {
                    self.history.settle_record(lsn);
                    self.let_go_of(now, lsn, &let_go);
                }
            }
        }
        while let Some(entry) = self
            .held_replies
            .first_entry()
            .filter(|entry| *entry.key() <= through)
        {
            for owed in entry.remove() {
                self.give_out(owed);
            }
        }
        for batch in arrived {
            self.wake_waiting(now, &batch.namespace, &batch.origin, batch.seq);
        }
        self.answer_questions(now);
        self.has_room(now);
        if self.has_repairs() {
            // Those may have waited for this.
            self.tick_folding(now);
        }
        self.pump_all(now);
        self.send_urgent_acks(now);
    }

    /// True once the record at this position is known to be durable.
    fn is_settled(&self, lsn: Lsn) -> bool {
        self.unsettled
            .iter()
            .find_map(|unsettled| unsettled.carried.lsn())
            .is_none_or(|first| lsn < first)
    }

    /// The store is of no more use: every caller is told, and nothing more is written or sent.
    fn stop(&mut self, now: Now, error: &str) {
        self.failed = Some(error.to_owned());
        let held = std::mem::take(&mut self.held_replies);
        for owed in held.into_values().flatten() {
            self.refuse_owed(owed, RequestError::Store(error.to_owned()));
        }
        self.stop_waiting(error);
        self.stop_acknowledgements();
        self.decisions_failed(error);
        self.stop_gathering(error);
        self.stop_verifying(error);
        for scan in self.imports.take_parked() {
            self.answer(
                scan.caller,
                Ticket(0),
                Err(RequestError::Store(error.to_owned())),
            );
        }
        for awaited in std::mem::take(&mut self.fetches).into_values() {
            self.fetch_failed(now, awaited, StoreError::Failed(error.to_owned()));
        }
    }

    /// A batch from a peer.
    fn receive(&mut self, now: Now, link: LinkId, batch: &Arc<Batch>) {
        self.counters.batches_received += 1;
        if !self.takes_in(&batch.namespace) {
            self.counters.batches_not_placed += 1;
            return;
        }
        let offered = self
            .history
            .offer(batch, self.config.room.held_back_bytes_max);
        #[cfg(feature = "planted")]
        let offered = match (offered, self.config.planted) {
            (Offered::Known, Some(Planted::ApplyTwice)) => Offered::Due,
            (Offered::Gap { .. }, Some(Planted::DropDeltaAtFrontier)) => Offered::Due,
            (Offered::HeldBack, Some(Planted::ForgetHoldBack))
                if self.restarted && self.history.is_next(batch) =>
            {
                Offered::Due
            }
            (offered, _) => offered,
        };
        match offered {
            // It comes again once there is room.
            Offered::Due if self.pauses(now) => {}
            Offered::Due => {
                self.salvage.stir(now);
                self.admit(now, batch, &[]);
                while let Some(next) = self.history.next_due(&batch.namespace) {
                    self.admit(now, &next, &[]);
                }
            }
            Offered::Known => self.counters.batches_duplicate += 1,
            Offered::HeldBack => self.peers.waits_for_causes(now),
            Offered::Gap { after } => self.ask_for_gap(now, link, batch, after),
        }
    }

    /// A peer holds more of our history than we do, so our store went back in time. What we wrote since may
    /// carry numbers that were used before; what we write from now on will not.
    fn renew_incarnation(&mut self, peer: ReplicaId) {
        let incarnation = self.config.spare_incarnation;
        if self.origin.incarnation == incarnation {
            return;
        }
        self.begin_incarnation();
        self.outputs
            .push_back(Output::Notice(Notice::HistoryAhead { peer, incarnation }));
    }
}
