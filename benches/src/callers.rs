//! Callers of an embedded node, and waiting until it has nothing left to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anabranch::Node;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::procfs::Process;
use crate::spread::Spread;
use crate::{Outcome, carts};

/// Callers that increment at random, one after the other, for a time: writes per second, and how long each takes.
pub(crate) async fn run(
    node: &Node,
    carts: usize,
    callers: usize,
    time: Duration,
) -> Outcome<(f64, Spread)> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let node = node.clone();
        tasks.spawn(async move {
            let mut random = SmallRng::seed_from_u64(caller as u64);
            let mut spread = Spread::default();
            while started.elapsed() < time {
                let cart = random.random_range(0..carts);
                write(
                    &node,
                    cart,
                    random.random_range(0..carts::ITEMS),
                    &mut spread,
                )
                .await?;
            }
            Outcome::Ok(spread)
        });
    }
    finish(tasks, started).await
}

/// Callers that write every cart once, in no order.
pub(crate) async fn every_cart_once(
    node: &Node,
    carts: usize,
    callers: usize,
) -> Outcome<(f64, Spread)> {
    let started = Instant::now();
    let order = Arc::new(carts::shuffled(carts));
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (node, order, next) = (node.clone(), order.clone(), next.clone());
        tasks.spawn(async move {
            let mut spread = Spread::default();
            while let Some(cart) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                write(&node, *cart, cart % carts::ITEMS, &mut spread).await?;
            }
            Outcome::Ok(spread)
        });
    }
    finish(tasks, started).await
}

async fn write(node: &Node, cart: usize, at: usize, spread: &mut Spread) -> Outcome<()> {
    let (key, edit) = (carts::key(cart), carts::one_more(cart, at)?);
    let begun = Instant::now();
    node.apply(carts::NAMESPACE, &key, [edit]).await?;
    spread.add(begun.elapsed());
    Ok(())
}

async fn finish(
    mut tasks: tokio::task::JoinSet<Outcome<Spread>>,
    started: Instant,
) -> Outcome<(f64, Spread)> {
    let mut all = Spread::default();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok((all.len() as f64 / started.elapsed().as_secs_f64(), all))
}

/// Waits until all that was written is in the documents, and nothing is moved on the disk any more.
pub(crate) async fn rest(node: &Node) -> Outcome<()> {
    let mut quiet = Quiet::new(Process::Own)?;
    loop {
        tokio::time::sleep(Quiet::EVERY).await;
        let replica = node.status().await?.replica;
        if let Some(why) = replica.failed.or(replica.full) {
            return Err(format!("the node has stopped: {why}").into());
        }
        let left = replica.unfolded_bytes + replica.unpersisted_bytes;
        if quiet.look(left as u64)? {
            return Ok(());
        }
    }
}

/// Whether a process has come to rest. Nobody can ask it how far its scrub is, but that moves bytes.
pub(crate) struct Quiet {
    process: Process,
    moved: u64,
    since: Option<Instant>,
    started: Instant,
}

impl Quiet {
    /// How often to look.
    pub(crate) const EVERY: Duration = Duration::from_millis(250);
    /// What asking may move by itself.
    const NOISE_BYTES: u64 = 32 << 10;
    const ENOUGH: Duration = Duration::from_secs(4);
    const TOO_LONG: Duration = Duration::from_secs(1_800);

    pub(crate) fn new(process: Process) -> Outcome<Self> {
        Ok(Self {
            process,
            moved: process.moved_bytes()?,
            since: None,
            started: Instant::now(),
        })
    }

    /// Looks, knowing how many bytes the process itself says are left to do.
    pub(crate) fn look(&mut self, left: u64) -> Outcome<bool> {
        let moved = self.process.moved_bytes()?;
        if left > 0 || moved > self.moved + Self::NOISE_BYTES {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        self.moved = moved;
        if self.started.elapsed() > Self::TOO_LONG {
            return Err(format!("it does not come to rest; {left} bytes are left to fold").into());
        }
        Ok(self
            .since
            .is_some_and(|since| since.elapsed() >= Self::ENOUGH))
    }
}
