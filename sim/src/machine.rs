//! One replica's machine: its medium, its clocks, and the process that runs on it or does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anabranch_core::persist::{Commit, Fold, Ticket};
use anabranch_core::{
    DocumentId, FetchId, Frontier, Input, Namespace, Now, Origin, Replica, ReplicaId, Seq,
};
use anabranch_store::faulty::FaultyMedium;
use anabranch_store::{Store, Succession};

use crate::feed::Feed;
use crate::ledger::Position;
use crate::medium::SimMedium;
use crate::schedule::Life;

/// Wall clocks begin here, give or take.
const WALL_MS: u64 = 1_790_000_000_000;

/// What a process holds of each namespace.
pub(crate) type Holdings = BTreeMap<Namespace, Frontier>;

/// An earlier state of a disk, and what was durable in it.
pub(crate) struct Image {
    pub(crate) content: FaultyMedium,
    pub(crate) holdings: Holdings,
}

pub(crate) struct Process {
    pub(crate) replica: Replica,
    pub(crate) store: Store,
    pub(crate) queue: VecDeque<Commit>,
    pub(crate) committing: bool,
    /// What the commit thread knows of failures.
    pub(crate) succession: Succession,
    /// The first of the queue has been asked for whether it may follow.
    pub(crate) front_has_passed: bool,
    /// Batches of its own that have been handed out and are not known to be durable.
    pub(crate) issued: VecDeque<(Ticket, Namespace, Position)>,
    /// All that has been handed out and is neither known to be durable nor to have failed.
    pub(crate) unsettled: VecDeque<Ticket>,
    /// Some have found no room.
    pub(crate) was_full: bool,
    /// Waits for the fold thread.
    pub(crate) fold: Option<Fold>,
    /// The clock of those who look after the data.
    pub(crate) tended_ms: u64,
    /// They have read all of it.
    pub(crate) scrubbed: bool,
    /// Commits have failed; nothing more is tried.
    pub(crate) closed: bool,
    /// What waits while the replica is saturated.
    pub(crate) held: VecDeque<Input>,
    pub(crate) saturated_since_us: Option<u64>,
    pub(crate) last_persisted_us: u64,
    pub(crate) tick_at_us: u64,
    /// Own changes that became visible and whose writers have not been answered.
    pub(crate) announced: VecDeque<(Vec<DocumentId>, Origin, Seq)>,
    /// The same of those whose writers wait for other datacenters, in whatever order they are answered.
    pub(crate) awaiting: BTreeMap<(Namespace, Position), Vec<DocumentId>>,
    pub(crate) live: Feed,
    /// Fetches that have not been answered.
    pub(crate) fetching: BTreeSet<FetchId>,
    /// What it has handed to the disk, durable or not.
    pub(crate) accepted: Holdings,
}

impl Process {
    pub(crate) fn new(replica: Replica, store: Store) -> Self {
        let accepted = holdings(&replica);
        Self {
            live: Feed::after(&accepted),
            replica,
            store,
            queue: VecDeque::new(),
            committing: false,
            succession: Succession::Unbroken,
            front_has_passed: false,
            issued: VecDeque::new(),
            unsettled: VecDeque::new(),
            was_full: false,
            fold: None,
            tended_ms: 0,
            scrubbed: false,
            closed: false,
            held: VecDeque::new(),
            saturated_since_us: None,
            last_persisted_us: 0,
            tick_at_us: u64::MAX,
            announced: VecDeque::new(),
            awaiting: BTreeMap::new(),
            fetching: BTreeSet::new(),
            accepted,
        }
    }
}

pub(crate) struct Machine {
    pub(crate) id: ReplicaId,
    pub(crate) medium: SimMedium,
    pub(crate) identity: u64,
    pub(crate) wall_offset_ms: i64,
    pub(crate) mono_offset_ms: u64,
    pub(crate) generation: u64,
    pub(crate) process: Option<Process>,
    pub(crate) image: Option<Image>,
    /// What the last process had reported durable when it ended.
    pub(crate) known: Holdings,
    /// The origin that it wrote under.
    pub(crate) origin: Option<Origin>,
    /// Folds in a row that failed on what bits were flipped in.
    pub(crate) folds_failed: u32,
    /// Since the last fault.
    pub(crate) damage_found: u32,
    /// The disk was replaced since the last start.
    pub(crate) replaced: bool,
    /// The disk was replaced at any time.
    pub(crate) ever_replaced: bool,
    /// A subscriber that comes back after restarts.
    pub(crate) subscriber: Feed,
}

impl Machine {
    pub(crate) fn life(&self, site: usize) -> Life {
        Life {
            site,
            generation: self.generation,
        }
    }

    pub(crate) fn now(&self, now_us: u64) -> Now {
        let wall_ms = (WALL_MS + now_us / 1_000).saturating_add_signed(self.wall_offset_ms);
        Now {
            mono_ms: self.mono_offset_ms + now_us / 1_000,
            wall_ms,
        }
    }

    /// What is durable here, running or not.
    pub(crate) fn holdings(&self) -> Holdings {
        match &self.process {
            Some(process) => holdings(&process.replica),
            None => self.known.clone(),
        }
    }
}

pub(crate) fn holdings(replica: &Replica) -> Holdings {
    replica
        .namespaces()
        // What moves comes and goes.
        .filter(|namespace| !crate::moving::moves(namespace))
        .map(|namespace| (namespace.clone(), replica.durable_frontier(namespace)))
        .collect()
}

/// The highest position of an origin in any of them.
pub(crate) fn held(holdings: &Holdings, namespace: &Namespace, origin: &Origin) -> Seq {
    holdings
        .get(namespace)
        .map_or(Seq(0), |frontier| frontier.of(origin))
}
