//! What a replica is doing, for people and metrics.

use std::collections::BTreeSet;

use serde::Serialize;

use super::stability::Standing;
use super::traffic::TrafficBytes;
use super::{RepairStatus, Replica, Session};
use crate::effect::{LinkId, Now};
use crate::{Datacenters, Lsn, Namespace, Origin, ReplicaId, Seq};

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counters {
    /// Writes taken here that changed something.
    pub writes: u64,
    /// Batches that came from peers.
    pub batches_received: u64,
    /// Of those, batches that were here already.
    pub batches_duplicate: u64,
    /// Of those, batches of namespaces that are not placed here.
    pub batches_not_placed: u64,
    /// Of those, batches that came before one that they follow.
    pub batches_out_of_order: u64,
    /// Batches sent to peers, those sent again included.
    pub batches_sent: u64,
    /// Times that a peer gave no sign of progress and was sent the same again.
    pub stalls: u64,
    /// Parts sent of batches too large to go at once.
    pub parts_sent: u64,
    /// Batches of which parts had come and were let go again, since too many were incomplete.
    pub parts_dropped: u64,
    /// Times that a peer's digest of what it holds was not that of what it had been heard to say.
    pub statements_missed: u64,
    /// Frames that could not be read.
    pub bad_frames: u64,
    /// Changes that were not let into their document.
    pub changes_refused: u64,
    /// Documents whose changes were moved to the store's documents, counted each time.
    pub folds: u64,
    /// Documents that could not be read or lacked something, and came from a peer.
    pub documents_repaired: u64,
    /// Repairs of namespaces that came to their end.
    pub repairs: u64,
    /// Documents given to peers that lacked something of them.
    pub documents_given: u64,
    /// Comparisons that peers asked for.
    pub comparisons_served: u64,
    /// Comparisons that ended since the peer did not keep to the rules, or gave what is not what it said.
    pub comparisons_refused: u64,
    /// Comparisons in which a sketch did not tell what differs, and digests had to.
    pub sketches_failed: u64,
    /// Times that a root was compared with a peer's at the same frontier.
    pub roots_compared: u64,
    /// Of those, times that they were different.
    pub roots_different: u64,
    /// Documents whose sum turned out to be another one than was counted.
    pub sums_corrected: u64,
}

/// One replica as it is now.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Status {
    /// Its id.
    pub replica: ReplicaId,
    /// Its name.
    pub name: String,
    /// Its datacenter.
    pub datacenter: String,
    /// The incarnation under which it writes, in hexadecimal.
    pub incarnation: String,
    /// The end of its log.
    pub log_end: Lsn,
    /// Batches held, by namespace.
    pub namespaces: Vec<NamespaceStatus>,
    /// The other replicas that it has met.
    pub peers: Vec<PeerStatus>,
    /// The first record of its log that is still there.
    pub log_first: Lsn,
    /// Bytes of log, about.
    pub log_bytes: u64,
    /// Documents in memory.
    pub documents_loaded: usize,
    /// Bytes that they take, about.
    pub loaded_bytes: usize,
    /// Runs of documents that can't be read, and are asked for elsewhere.
    pub damaged: Vec<String>,
    /// Why nothing can be written, if the disk is full.
    pub full: Option<String>,
    /// Why changes can't be moved from the log to their documents, if they can't.
    pub fold_failing: Option<String>,
    /// Documents that have come by a repair and are being put in place.
    pub arriving: usize,
    /// Bytes of summaries, about.
    pub summary_bytes: usize,
    /// Bytes of changes that no document state includes yet.
    pub unfolded_bytes: usize,
    /// Bytes on their way to the disk.
    pub unpersisted_bytes: usize,
    /// Bytes of batches that wait for their causes.
    pub held_back_bytes: usize,
    /// Requests waiting.
    pub requests_open: usize,
    /// Of those, requests that wait for what their session has seen elsewhere.
    pub sessions_waiting: usize,
    /// Of those, writes that wait for other datacenters' acknowledgements.
    pub acknowledgements_waiting: usize,
    /// Counts since the start.
    pub counters: Counters,
    /// Why it stopped, if it did.
    pub failed: Option<String>,
}

/// One namespace.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NamespaceStatus {
    /// Its name.
    pub namespace: Namespace,
    /// Durable batches of all origins.
    pub batches: u64,
    /// Documents with changes, deleted ones included; none until the summaries are built after a start.
    pub documents: Option<u64>,
    /// The root of the namespace's summary, in hexadecimal.
    pub root: Option<String>,
    /// How long ago the root was last found to be equal with somebody's, in milliseconds.
    pub root_age_ms: Option<u64>,
    /// The last repair.
    pub last_repair: Option<RepairStatus>,
    /// Of those, batches that every member holds that is not set aside.
    pub stable: u64,
    /// Origins that have written to it.
    pub origins: usize,
    /// The datacenters that it is in; none: all there are.
    pub datacenters: Option<Datacenters>,
    /// Whether this replica's is one of them.
    pub placed_here: bool,
    /// Whether it is not, and some of the namespace is here still: it is kept until others have said that they keep it.
    pub leaving: bool,
}

/// One other replica.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PeerStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Its name; empty until it has said so.
    pub name: String,
    /// Its datacenter.
    pub datacenter: String,
    /// The link to it, if it is up.
    pub link: Option<LinkId>,
    /// Batches of ours that it has not acknowledged.
    pub behind_batches: u64,
    /// Age of the oldest of those, in milliseconds; 0 if there are none.
    pub behind_ms: u64,
    /// Batches of any origin that it holds and we don't.
    pub ahead_batches: u64,
    /// From its writing to durable here, for its latest batch, by both wall clocks.
    pub delay_ms: Option<u64>,
    /// How it counts.
    pub standing: Standing,
    /// How long it has been away, in milliseconds; none while it is linked and says what it holds. Counted while this
    /// replica runs.
    pub away_ms: Option<u64>,
    /// Bytes of log from the first batch on that it lacks, about: they are kept for it, if they are not kept in any
    /// case. None for one that is set aside.
    pub log_held_bytes: u64,
    /// The protocol that both ends speak, if the link is up.
    pub protocol: Option<u64>,
    /// Bytes sent to it since the start.
    pub sent: TrafficBytes,
    /// Bytes that came from it since the start.
    pub received: TrafficBytes,
    /// Bytes of batches that have been taken up to be sent to it and wait for their turn.
    pub waiting_bytes: usize,
    /// Bytes of frames that its link has been given and has not taken.
    pub in_flight_bytes: usize,
    /// Bytes of bulk (batches from the log, parts of large ones) that it has not confirmed to have taken.
    pub bulk_bytes: usize,
    /// Bytes of parts from it that wait for the rest of their batches.
    pub partial_bytes: usize,
}

impl Replica {
    /// What it is doing.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let known: BTreeSet<_> = self
            .namespaces()
            .chain(self.placements.namespaces())
            .collect();
        let namespaces = known
            .into_iter()
            .map(|namespace| self.namespace_status(now, namespace));
        Status {
            replica: self.config.replica,
            name: self.config.name.clone(),
            datacenter: self.config.datacenter.clone(),
            incarnation: self.origin.incarnation.to_string(),
            log_end: self.history.log_end,
            namespaces: namespaces.collect(),
            peers: self
                .peers
                .by_id
                .keys()
                .map(|id| self.peer_status(now, *id))
                .collect(),
            log_first: self.history.extent.first,
            log_bytes: self.history.extent.bytes(),
            documents_loaded: self.shelf.loaded(),
            loaded_bytes: self.shelf.loaded_bytes(),
            damaged: self.repairs.open(),
            full: self.full.as_ref().map(|full| full.why.clone()),
            fold_failing: self.folding.failing.as_ref().map(ToString::to_string),
            arriving: self.imports.pending(),
            summary_bytes: self.summaries.bytes(),
            unfolded_bytes: self.unfolded_bytes(),
            unpersisted_bytes: self.unsettled_bytes,
            held_back_bytes: self.history.held_back_bytes(),
            requests_open: self.requests_open,
            sessions_waiting: self.waits.len(),
            acknowledgements_waiting: self.acknowledgements.len(),
            counters: self.counters,
            failed: self.failed.clone(),
        }
    }

    fn namespace_status(&self, now: Now, namespace: &Namespace) -> NamespaceStatus {
        let durable = self.durable_frontier(namespace);
        let root = self.summaries.root(namespace);
        let stable = self.stable_frontier(namespace);
        let last_equal = self.comparisons.verifying.last_equal(namespace);
        NamespaceStatus {
            namespace: namespace.clone(),
            batches: durable.iter().map(|(_, seq)| seq.0).sum(),
            stable: stable.iter().map(|(_, seq)| seq.0).sum(),
            origins: durable.len(),
            documents: root.map(|(_, documents)| documents),
            root: root.map(|(root, _)| format!("{root:016x}")),
            root_age_ms: last_equal.map(|at| now.mono_ms - at),
            last_repair: self.comparisons.last.get(namespace).copied(),
            datacenters: self.datacenters_of(namespace).cloned(),
            placed_here: self.is_placed_here(namespace),
            leaving: self.is_leaving(namespace),
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn log_end(&self) -> Lsn {
        self.history.log_end
    }

    /// What this replica holds durably of each origin of a namespace.
    #[must_use]
    pub fn durable_frontier(&self, namespace: &Namespace) -> crate::Frontier {
        self.history
            .space(namespace)
            .map(|space| space.durable.clone())
            .unwrap_or_default()
    }

    /// The namespaces that it knows of.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.history.spaces().map(|(namespace, _)| namespace)
    }

    fn peer_status(&self, now: Now, id: ReplicaId) -> PeerStatus {
        let peer = &self.peers.by_id[&id];
        let (mut behind_batches, mut oldest_ms) = (0, u64::MAX);
        let spaces = self.history.spaces();
        for (namespace, space) in spaces.filter(|(of, _)| self.is_to_hold(peer, of)) {
            for (origin, seq) in space
                .durable
                .iter()
                .filter(|(origin, _)| origin.replica == self.config.replica)
            {
                let holds = peer.holds(namespace, origin);
                if holds < *seq {
                    behind_batches += seq.0 - holds.0;
                    oldest_ms =
                        oldest_ms.min(self.written_at(namespace, origin, holds.next(), *seq));
                }
            }
        }
        let ahead = peer.holds.iter();
        let ahead = ahead.filter(|(namespace, _)| self.is_placed_here(namespace));
        let ahead = ahead.flat_map(|(namespace, frontier)| {
            frontier.iter().map(move |(origin, seq)| {
                seq.0
                    .saturating_sub(self.history.accepted(namespace, origin).0)
            })
        });
        let (standing, away_ms, log_held_bytes) = self.member(now, peer);
        let session = peer.session.as_ref();
        PeerStatus {
            standing,
            away_ms,
            log_held_bytes,
            replica: id,
            name: peer.name.clone(),
            datacenter: peer.datacenter.clone(),
            link: session.map(|session| session.link),
            behind_batches,
            behind_ms: if oldest_ms == u64::MAX {
                0
            } else {
                now.wall_ms.saturating_sub(oldest_ms)
            },
            ahead_batches: ahead.fold(0, u64::saturating_add),
            delay_ms: peer.delay_ms,
            protocol: session.map(|session| session.speaks),
            sent: peer.sent,
            received: peer.received,
            waiting_bytes: session.map_or(0, Session::waiting_bytes),
            in_flight_bytes: session.map_or(0, |session| session.in_flight.bytes()),
            bulk_bytes: session.map_or(0, |session| session.pace.bytes()),
            partial_bytes: session.map_or(0, |session| session.assembly.bytes()),
        }
    }

    /// When a batch was written, or the oldest one after it that is still in memory.
    fn written_at(&self, namespace: &Namespace, origin: &Origin, first: Seq, last: Seq) -> u64 {
        let batch = self.history.recent(namespace, origin, first).or_else(|| {
            let oldest = self.history.oldest_recent(namespace, origin)?;
            (oldest <= last)
                .then(|| self.history.recent(namespace, origin, oldest))
                .flatten()
        });
        batch.map_or(u64::MAX, |batch| batch.time_ms)
    }
}
