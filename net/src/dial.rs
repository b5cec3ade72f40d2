//! Dialling addresses, and the pauses in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch_core::ReplicaId;

use crate::certificate::CLUSTER_DNS_NAME;
use crate::failure::Failure;
use crate::limits::SEED_ADDRESSES_MAX;
use crate::link::{agree, run};
use crate::net::Shared;

/// The pauses between attempts: doubled up to a bound, each shortened by up to half so that nodes that fell
/// together don't dial together.
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            next: initial.min(max),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.initial.min(self.max);
    }

    /// The next pause; `random` is between 0 and 1.
    pub(crate) fn pause(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(1.0 - random / 2.0);
        self.next = (self.next * 2).min(self.max);
        pause
    }
}

/// What an address as `host:port` stands for now, as far as it can be dialled from here.
pub(crate) async fn resolve(
    shared: &Shared,
    address: &str,
) -> Result<impl Iterator<Item = SocketAddr> + use<>, Failure> {
    let local_is_ipv4 = shared.local_addr.is_ipv4();
    let addresses = tokio::net::lookup_host(address)
        .await
        .map_err(Failure::Resolve)?;
    let usable: Vec<_> = addresses
        .filter(|address| address.is_ipv4() || !local_is_ipv4)
        .take(SEED_ADDRESSES_MAX)
        .collect();
    Ok(usable.into_iter())
}

/// Dials once. The link that comes of it lives on by itself.
pub(crate) async fn dial(shared: &Arc<Shared>, address: SocketAddr) -> Result<ReplicaId, Failure> {
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
