//! Dialling one configured seed for ever, except while its peer is linked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch_core::ReplicaId;

use crate::certificate::CLUSTER_DNS_NAME;
use crate::event::{SeedState, SeedStatus};
use crate::failure::Failure;
use crate::limits::SEED_ADDRESSES_MAX;
use crate::link::{agree, run};
use crate::net::Shared;

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

/// The pauses between attempts: doubled up to a bound, each shortened by up to half so that nodes that fell
/// together don't dial together.
struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            next: initial.min(max),
        }
    }

    fn reset(&mut self) {
        self.next = self.initial.min(self.max);
    }

    /// The next pause; `random` is between 0 and 1.
    fn pause(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(1.0 - random / 2.0);
        self.next = (self.next * 2).min(self.max);
        pause
    }
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
                shared.complaints.log(&self.address, &failure);
                self.progress().last_error = Some(failure.to_string());
            }
            if let Some(peer) = peer {
                self.progress().peer = Some(peer);
            }
            self.wait_while_linked(shared, &mut backoff, started).await;

            let pause = backoff.pause(rand::random());
            self.progress().state = SeedState::Waiting {
                until: Instant::now() + pause,
            };
            tokio::time::sleep(pause).await;
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
        let local_is_ipv4 = shared.local_addr.is_ipv4();
        let addresses = tokio::net::lookup_host(&self.address)
            .await
            .map_err(Failure::Resolve)?;
        let usable = addresses
            .filter(|address| address.is_ipv4() || !local_is_ipv4)
            .take(SEED_ADDRESSES_MAX);
        let mut failure = Failure::NoAddress;
        for address in usable {
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
}

async fn dial(shared: &Arc<Shared>, address: SocketAddr) -> Result<ReplicaId, Failure> {
    let limit = shared.config.handshake_timeout;
    let connecting = shared.endpoint.connect(address, CLUSTER_DNS_NAME)?;
    let connection = tokio::time::timeout(limit, connecting).await.map_err(|_| Failure::Lost {
        kind: "no answer",
        why: format!(
            "no answer from {address} within {} ms: is a node listening there, and does UDP get through?",
            limit.as_millis()
        ),
        quiet: false,
    })??;
    let agreed = agree(shared, &connection, true).await?;
    let peer = agreed.peer().replica;
    shared.tasks.spawn(run(shared.clone(), agreed));
    Ok(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(5_000));
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause(0.0)).collect();
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000].map(ms)
        );
        assert_eq!(backoff.pause(1.0), ms(2_500));
        backoff.reset();
        assert_eq!(backoff.pause(0.5), ms(75));
    }
}
