//! The membership at work: its clock, its links, and those who follow it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anabranch_core::ReplicaId;
use tokio::sync::{Notify, watch};

use crate::failure::Complaints;
use crate::member::{KnownMember, MemberStatus};
use crate::membership::{Input, Membership, Now, Output};
use crate::peers::Peers;

/// Ticks come no closer than this, whatever is asked for.
const TICK_MIN: Duration = Duration::from_millis(10);
/// How often it is looked whether what was said is on its way.
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// The members of the cluster as this node knows them; clones share it. It outlives its [`Net`](crate::Net), and then
/// says what was known at the end.
#[derive(Clone)]
pub struct Roster(Arc<Inner>);

struct Inner {
    membership: Mutex<Membership>,
    started: Instant,
    peers: Arc<Peers>,
    complaints: Arc<Complaints>,
    changes: watch::Sender<Progress>,
    /// The membership wants to be ticked earlier than it did.
    sooner: Notify,
    /// Members that a task dials.
    dialled: Mutex<HashSet<ReplicaId>>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    changes: u64,
    /// The network is gone; nothing will change any more.
    ended: bool,
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wall_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since_1970.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Now {
    pub(crate) fn since(started: Instant) -> Self {
        Self {
            mono: started.elapsed(),
            wall_ms: wall_ms(),
        }
    }
}

impl Roster {
    pub(crate) fn new(
        membership: Membership,
        started: Instant,
        peers: Arc<Peers>,
        complaints: Arc<Complaints>,
    ) -> Self {
        Self(Arc::new(Inner {
            membership: Mutex::new(membership),
            started,
            peers,
            complaints,
            changes: watch::Sender::default(),
            sooner: Notify::new(),
            dialled: Mutex::default(),
        }))
    }

    /// All other members.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        lock(&self.0.membership).members(Now::since(self.0.started))
    }

    /// What is to be remembered for the next run, this node's own announcement included.
    #[must_use]
    pub fn known(&self) -> Vec<KnownMember> {
        lock(&self.0.membership).known(wall_ms())
    }

    /// Ends when there is something new to remember since this was called (not since it was awaited): true, or false
    /// once the network has ended; what is known then is the last word.
    pub fn changes(&self) -> impl Future<Output = bool> + Send + use<> + 'static {
        let mut changes = self.0.changes.subscribe();
        let ended = changes.borrow_and_update().ended;
        async move { !ended && changes.changed().await.is_ok() && !changes.borrow().ended }
    }

    /// Waits until the network has ended.
    pub async fn ended(&self) {
        let mut changes = self.0.changes.subscribe();
        // The sender is in self, so there is no error.
        let _ = changes.wait_for(|progress| progress.ended).await;
    }

    /// Tells all peers that this node leaves for good, and waits until those that can be heard have noted it, or for
    /// this long. True if they have. The network is to be shut down next.
    pub async fn leave(&self, limit: Duration) -> bool {
        self.handle(Input::Leave);
        let noted = self.until(Membership::is_noted);
        let noted = tokio::time::timeout(limit, noted).await.is_ok();
        self.flush(limit).await;
        noted
    }

    /// The same for a node that may come back: others need not find out by themselves.
    pub(crate) async fn stop(&self, limit: Duration) {
        self.handle(Input::Stop);
        self.flush(limit).await;
    }

    /// Waits until what was said is on its way.
    async fn flush(&self, limit: Duration) {
        let links = self.0.peers.links();
        let flushed = async {
            while !links.iter().all(|link| link.is_flushed()) {
                tokio::time::sleep(FLUSH_LOOK).await;
            }
        };
        if tokio::time::timeout(limit, flushed).await.is_err() {
            tracing::debug!("not everything about members could be said");
        }
    }

    pub(crate) fn end(&self) {
        self.0.changes.send_modify(|progress| progress.ended = true);
    }

    pub(crate) fn handle(&self, input: Input) {
        let mut outputs = Vec::new();
        {
            let mut membership = lock(&self.0.membership);
            let before = membership.wake_at();
            membership.handle(Now::since(self.0.started), input);
            outputs.extend(std::iter::from_fn(|| membership.poll()));
            if membership.wake_at() < before {
                self.0.sooner.notify_one();
            }
        }
        // A tick may have made it true that somebody waits for.
        let mut changed = false;
        for output in outputs {
            match output {
                Output::Send { peer, bytes } => {
                    if let Some(link) = self.0.peers.current(peer) {
                        link.send_datagram(bytes);
                    }
                }
                Output::Complain { peer, why } => self.complain(peer, why),
                Output::Changed => changed = true,
            }
        }
        if changed {
            self.0.changes.send_modify(|progress| progress.changes += 1);
        }
    }

    fn complain(&self, peer: ReplicaId, why: &'static str) {
        let name = self.0.peers.current(peer);
        let name = name.map(|link| link.peer.name.clone()).unwrap_or_default();
        let due = self
            .0
            .complaints
            .due(&peer.to_string(), why, Instant::now());
        if let Some(suppressed) = due {
            tracing::warn!(%peer, name, suppressed, "a peer misbehaves: {why}");
        }
    }

    /// Ticks the membership for ever.
    pub(crate) async fn run(self) {
        loop {
            let wake_at = lock(&self.0.membership).wake_at();
            let wait = wake_at
                .saturating_sub(self.0.started.elapsed())
                .max(TICK_MIN);
            tokio::select! {
                () = tokio::time::sleep(wait) => self.handle(Input::Tick),
                () = self.0.sooner.notified() => {}
            }
        }
    }

    /// Waits until something holds of the membership, which is looked at when it changes.
    pub(crate) async fn until(&self, holds: impl Fn(&Membership) -> bool) {
        let mut changes = self.0.changes.subscribe();
        while !holds(&lock(&self.0.membership)) {
            // The sender is in self, so it can't be gone.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn has_left(&self, member: ReplicaId) -> bool {
        lock(&self.0.membership).has_left(member)
    }

    pub(crate) fn left_at(&self, address: &str) -> Option<ReplicaId> {
        lock(&self.0.membership).left_at(address)
    }

    pub(crate) fn was_seen(&self, member: ReplicaId) -> bool {
        lock(&self.0.membership).was_seen(member)
    }

    /// Where to dial a member; none if it is not to be dialled.
    pub(crate) fn addresses(&self, member: ReplicaId) -> Option<Vec<String>> {
        lock(&self.0.membership).addresses(member)
    }

    /// Members that nobody dials yet, and that the caller dials from now on.
    pub(crate) fn take_undialled(&self) -> Vec<ReplicaId> {
        let membership = lock(&self.0.membership);
        let mut dialled = lock(&self.0.dialled);
        membership
            .to_dial()
            .filter(|member| dialled.insert(*member))
            .collect()
    }

    /// The caller does not dial a member any more, which is not to be dialled. False if it is by now, and the caller
    /// has to go on.
    pub(crate) fn give_up(&self, member: ReplicaId) -> bool {
        let membership = lock(&self.0.membership);
        membership.addresses(member).is_none() && lock(&self.0.dialled).remove(&member)
    }
}
