//! Dialling every member that is known, except while it is linked, until it leaves or is forgotten.
//!
//! What the failure detector thinks of a member makes no difference: where two nodes can't reach each other but a third
//! can reach both, each of the two is alive for the other, and where nobody reaches a member it may come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_core::ReplicaId;

use crate::dial::{Backoff, dial, resolve};
use crate::failure::Failure;
use crate::hello::decides;
use crate::net::Shared;

/// Two that learn of each other at the same time need not both dial: the end that decides about links does at once, the
/// other after this.
const COURTESY: Duration = Duration::from_millis(500);
/// A member that did not answer for this long is dialled at long intervals only.
const DEAD_AFTER: Duration = Duration::from_secs(600);
/// Those intervals.
const DEAD_PAUSE: Duration = Duration::from_secs(30);

/// Begins to dial members as they become known, for ever.
pub(crate) async fn dial_members(shared: Arc<Shared>) {
    loop {
        let changed = shared.roster.changes();
        for member in shared.roster.take_undialled() {
            let shared = shared.clone();
            shared.clone().tasks.spawn(async move {
                let mut stop = shared.stopping.subscribe();
                tokio::select! {
                    () = keep_linked(&shared, member) => {}
                    // An error means that the whole network was dropped.
                    _ = stop.wait_for(|stopping| *stopping) => {}
                    () = shared.events.closed() => {}
                }
            });
        }
        if !changed.await {
            return;
        }
    }
}

async fn keep_linked(shared: &Arc<Shared>, member: ReplicaId) {
    let config = &shared.config;
    let mut backoff = Backoff::new(config.backoff_initial, config.backoff_max);
    let mut failing = Instant::now();
    if !decides(config.identity.replica_id(), member) {
        tokio::time::sleep(COURTESY).await;
    }
    loop {
        if shared.peers.is_linked(member) {
            let up = Instant::now();
            shared.peers.unlinked(member).await;
            failing = Instant::now();
            if up.elapsed() >= config.stable_after {
                backoff.reset();
            }
        }
        let Some(addresses) = shared.roster.addresses(member) else {
            if shared.roster.give_up(member) {
                return;
            }
            continue;
        };
        // A seed is dialled as such.
        let is_seed = |address: &String| config.seeds.contains(address);
        if !addresses.iter().all(is_seed) {
            let others = addresses.iter().filter(|address| !is_seed(address));
            attempt(shared, member, others).await;
        }
        let mut pause = backoff.pause(rand::random());
        if failing.elapsed() >= DEAD_AFTER {
            pause = pause.max(DEAD_PAUSE.mul_f64(1.0 - rand::random::<f64>() / 2.0));
        }
        let moved = |membership: &crate::membership::Membership| {
            membership.addresses(member).as_ref() != Some(&addresses)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.roster.until(moved) => backoff.reset(),
        }
    }
}

/// Tries the addresses, one after the other, until there is a link.
async fn attempt(
    shared: &Arc<Shared>,
    member: ReplicaId,
    addresses: impl Iterator<Item = &String>,
) {
    let seen = shared.roster.was_seen(member);
    let places = if seen {
        &shared.member_dials
    } else {
        &shared.hearsay_dials
    };
    // The semaphores are never closed.
    let Ok(_place) = places.acquire().await else {
        return;
    };
    for address in addresses {
        let resolved = match resolve(shared, address).await {
            Ok(resolved) => resolved,
            Err(failure) => {
                complain(shared, address, seen, &failure);
                continue;
            }
        };
        for place in resolved {
            if shared.peers.is_linked(member) {
                return;
            }
            match dial(shared, place).await {
                Ok(peer) | Err(Failure::AlreadyLinked { peer }) if peer == member => return,
                // Somebody else is there, whose certificate is as good: the link stands.
                Ok(_) | Err(Failure::AlreadyLinked { .. }) => {}
                Err(failure) => complain(shared, address, seen, &failure),
            }
        }
    }
}

/// What others tell of a node that was never met is nothing to warn of.
fn complain(shared: &Shared, address: &str, seen: bool, failure: &Failure) {
    if seen {
        shared.complaints.log(address, failure);
    } else {
        tracing::debug!(
            address,
            "a member that was never met is not reached: {failure}"
        );
    }
}
