//! Dialling one configured seed for ever, except while its peer is linked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::ReplicaId;

use crate::dial::{Backoff, dial, resolve};
use crate::event::{SeedState, SeedStatus};
use crate::failure::Failure;
use crate::net::Shared;

/// Between two attempts at the address of somebody who has left.
const LEFT_PAUSE: Duration = Duration::from_secs(60);

pub(crate) struct Seed {
    address: String,
    progress: Mutex<Progress>,
}

struct Progress {
    state: SeedState,
    /// Who answered there last.
    peer: Option<ReplicaId>,
    attempts: u64,
    last_error: Option<String>,
}

impl Seed {
    pub(crate) fn new(address: String) -> Self {
        let state = SeedState::Connecting;
        Self {
            address,
            progress: Mutex::new(Progress {
                state,
                peer: None,
                attempts: 0,
                last_error: None,
            }),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing panics while it is held half-changed.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self, shared: &Shared) -> SeedStatus {
        let progress = self.progress();
        // Its peer may have dialled us in the meantime.
        let linked = progress.peer.filter(|&peer| shared.peers.is_linked(peer));
        SeedStatus {
            address: self.address.clone(),
            state: linked.map_or(progress.state, |peer| SeedState::Connected { peer }),
            attempts: progress.attempts,
            last_error: if linked.is_some() {
                None
            } else {
                progress.last_error.clone()
            },
        }
    }

    /// Dials until it turns out that the address is this node's own.
    pub(crate) async fn keep_linked(&self, shared: &Arc<Shared>) {
        let mut backoff = Backoff::new(shared.config.backoff_initial, shared.config.backoff_max);
        loop {
            self.progress().state = SeedState::Connecting;
            let started = Instant::now();
            let outcome = self.attempt(shared).await;
            let (peer, failure) = match outcome {
                Ok(peer) => (Some(peer), None),
                Err(Failure::Itself) => {
                    tracing::debug!(
                        seed = self.address,
                        "this seed is this node itself; it is not dialled any more"
                    );
                    self.progress().state = SeedState::Itself;
                    return;
                }
                Err(Failure::AlreadyLinked { peer }) => (Some(peer), None),
                Err(failure) => (None, Some(failure)),
            };
            if let Some(failure) = failure {
                if self.left(shared).is_none() {
                    shared.complaints.log(&self.address, &failure);
                }
                self.progress().last_error = Some(failure.to_string());
            }
            if let Some(peer) = peer {
                self.progress().peer = Some(peer);
            }
            self.wait_while_linked(shared, &mut backoff, started).await;

            if !self.wait_while_left(shared).await {
                let pause = backoff.pause(rand::random());
                self.progress().state = SeedState::Waiting {
                    until: Instant::now() + pause,
                };
                tokio::time::sleep(pause).await;
            }
            // It may have come up from the other side during the pause.
            self.wait_while_linked(shared, &mut backoff, Instant::now())
                .await;
        }
    }

    async fn wait_while_linked(&self, shared: &Shared, backoff: &mut Backoff, since: Instant) {
        let Some(peer) = self.progress().peer else {
            return;
        };
        if !shared.peers.is_linked(peer) {
            return;
        }
        {
            let mut progress = self.progress();
            progress.state = SeedState::Connected { peer };
            progress.last_error = None;
        }
        shared.peers.unlinked(peer).await;
        self.progress().last_error = Some("the link went down".to_owned());
        if since.elapsed() >= shared.config.stable_after {
            backoff.reset();
        }
    }

    async fn attempt(&self, shared: &Arc<Shared>) -> Result<ReplicaId, Failure> {
        self.progress().attempts += 1;
        let mut failure = Failure::NoAddress;
        for address in resolve(shared, &self.address).await? {
            match dial(shared, address).await {
                Ok(peer) => return Ok(peer),
                // The node has answered: its other addresses lead to the same.
                Err(answered @ (Failure::Itself | Failure::AlreadyLinked { .. })) => {
                    return Err(answered);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Who was behind it, and has left for good.
    fn left(&self, shared: &Shared) -> Option<ReplicaId> {
        let peer = self.progress().peer;
        peer.filter(|peer| shared.roster.has_left(*peer))
            .or_else(|| shared.roster.left_at(&self.address))
    }

    /// Whoever has left for good is looked for no more until it is back. Somebody else may come to its address, whose
    /// seed this is then, so that is tried now and then. False if nobody has left.
    async fn wait_while_left(&self, shared: &Shared) -> bool {
        let Some(peer) = self.left(shared) else {
            return false;
        };
        {
            let mut progress = self.progress();
            progress.state = SeedState::Left { peer };
            progress.last_error = None;
        }
        let back = shared.roster.until(|members| !members.has_left(peer));
        // An error means that the pause is over.
        let _ = tokio::time::timeout(LEFT_PAUSE, back).await;
        true
    }
}
