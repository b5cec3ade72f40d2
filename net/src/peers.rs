//! Who is linked with whom through what: the one place where it is decided which connection is a peer's link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_core::ReplicaId;
use tokio::sync::{Semaphore, watch};

use crate::event::LinkId;
use crate::failure::CloseCode;
use crate::hello::{Generation, Hello, Standing, Verdict, follow, judge};
use crate::limits::PEERS_REMEMBERED_MAX;
use crate::link::Link;

const REPLACED: &str = "a newer connection between the two nodes takes its place; \
    if that happens again and again, two processes use one certificate";

pub(crate) struct Peers {
    /// This process, to peers.
    instance: u64,
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Of the generations that this process has given.
    last_number: u64,
    peers: HashMap<ReplicaId, Peer>,
    /// Links between their `LinkUp` and their `LinkDown`.
    up: HashMap<LinkId, Arc<Link>>,
}

struct Peer {
    current: Option<(Standing, Arc<Link>)>,
    lost: Generation,
    /// One permit: whoever has it may tell the user that this peer's link is up.
    turn: Arc<Semaphore>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            current: None,
            lost: Generation::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

/// A connection's right to be its peer's link, given up when dropped.
pub(crate) struct Seat {
    peers: Arc<Peers>,
    link: Arc<Link>,
    generation: Generation,
    pub(crate) turn: Arc<Semaphore>,
}

impl Peers {
    pub(crate) fn new() -> Arc<Self> {
        // Zero means "none" on the wire.
        let instance = rand::random_range(1..=u64::MAX);
        Arc::new(Self {
            instance,
            state: Mutex::default(),
            changes: watch::Sender::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this side says first to this peer.
    pub(crate) fn hello(&self, peer: ReplicaId) -> Hello {
        let lost = self
            .lock()
            .peers
            .get(&peer)
            .map(|peer| peer.lost)
            .unwrap_or_default();
        Hello {
            instance: self.instance,
            lost,
        }
    }

    /// The deciding end's step. The number returned is for the peer. None: the standing link stays.
    pub(crate) fn decide(self: &Arc<Self>, link: &Arc<Link>, hello: Hello) -> Option<(Seat, u64)> {
        let mut state = self.lock();
        let standing = state.standing(link);
        if judge(standing, hello) == Verdict::Refuse {
            return None;
        }
        state.last_number += 1;
        let number = state.last_number;
        let generation = Generation {
            instance: self.instance,
            number,
        };
        let seat = self.seat(
            &mut state,
            link,
            Standing {
                peer_instance: hello.instance,
                generation,
            },
        );
        Some((seat, number))
    }

    /// The other end's step, once the deciding end has taken this connection under that number.
    pub(crate) fn follow(
        self: &Arc<Self>,
        link: &Arc<Link>,
        hello: Hello,
        number: u64,
    ) -> Option<Seat> {
        let mut state = self.lock();
        let generation = Generation {
            instance: hello.instance,
            number,
        };
        if follow(state.standing(link), generation) == Verdict::Refuse {
            return None;
        }
        Some(self.seat(
            &mut state,
            link,
            Standing {
                peer_instance: hello.instance,
                generation,
            },
        ))
    }

    fn seat(self: &Arc<Self>, state: &mut State, link: &Arc<Link>, standing: Standing) -> Seat {
        state.forget_some();
        let peer = state.peers.entry(link.peer.replica).or_default();
        if let Some((_, old)) = peer.current.replace((standing, link.clone())) {
            old.close(CloseCode::Replaced, REPLACED);
        }
        let seat = Seat {
            peers: self.clone(),
            link: link.clone(),
            generation: standing.generation,
            turn: peer.turn.clone(),
        };
        self.changes.send_replace(());
        seat
    }

    /// Enters a link whose `LinkUp` is about to be told.
    pub(crate) fn up(&self, link: Arc<Link>) {
        self.lock().up.insert(link.id, link);
        self.changes.send_replace(());
    }

    /// Removes a link whose `LinkDown` is about to be told.
    pub(crate) fn down(&self, link: LinkId) {
        self.lock().up.remove(&link);
    }

    pub(crate) fn link(&self, link: LinkId) -> Option<Arc<Link>> {
        self.lock().up.get(&link).cloned()
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let mut links: Vec<_> = self.lock().up.values().cloned().collect();
        links.sort_by_key(|link| link.id);
        links
    }

    /// The link that a peer has now.
    pub(crate) fn current(&self, peer: ReplicaId) -> Option<Arc<Link>> {
        let state = self.lock();
        let (_, link) = state.peers.get(&peer)?.current.as_ref()?;
        Some(link.clone())
    }

    /// Waits until there is a link between its `LinkUp` and its `LinkDown`.
    pub(crate) async fn any_up(&self) {
        let mut changes = self.changes.subscribe();
        while self.lock().up.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn is_linked(&self, peer: ReplicaId) -> bool {
        self.lock()
            .peers
            .get(&peer)
            .is_some_and(|peer| peer.current.is_some())
    }

    /// Waits until nothing holds the peer's seat.
    pub(crate) async fn unlinked(&self, peer: ReplicaId) {
        let mut changes = self.changes.subscribe();
        while self.is_linked(peer) {
            // The sender is in self, so it can't be gone.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn standing(&self, link: &Link) -> Option<Standing> {
        let (standing, _) = self.peers.get(&link.peer.replica)?.current.as_ref()?;
        Some(*standing)
    }

    /// Forgets peers that have no link, when there are too many. All that costs them is a slower reconnect
    /// after an outage that only one end has noticed.
    fn forget_some(&mut self) {
        if self.peers.len() >= PEERS_REMEMBERED_MAX {
            self.peers
                .retain(|_, peer| peer.current.is_some() || Arc::strong_count(&peer.turn) > 1);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.peers.lock();
        if let Some(peer) = state.peers.get_mut(&self.link.peer.replica) {
            if peer
                .current
                .as_ref()
                .is_some_and(|(_, current)| current.id == self.link.id)
            {
                peer.current = None;
            }
            if peer.lost.instance != self.generation.instance
                || peer.lost.number < self.generation.number
            {
                peer.lost = self.generation;
            }
        }
        drop(state);
        self.peers.changes.send_replace(());
    }
}
