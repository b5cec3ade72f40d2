//! Writing into every datacenter at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch::Node;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::goods::{Ledger, Line};
use super::invoices::Row;
use super::{Failure, NAMESPACE};

/// Writes under way in one datacenter.
const IN_FLIGHT_MAX: usize = 64;
const CUSTOMERS: u32 = 300;
const ARTICLES: u32 = 80;
const ROUND: Duration = Duration::from_millis(10);

/// What all writers share.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) ledger: Mutex<Ledger>,
    pub(super) done: AtomicUsize,
    failure: Mutex<Option<Failure>>,
}

impl Progress {
    fn note(&self, line: &Line, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => self
                .ledger
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .enter(line),
            Err(failure) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Why a write failed, if one did.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Writes lines into a node, several at a time; the receiver of a permit waits when too many are under way.
struct Till {
    node: Node,
    progress: Arc<Progress>,
    permits: Arc<Semaphore>,
    writes: JoinSet<()>,
}

impl Till {
    fn new(node: Node, progress: Arc<Progress>) -> Self {
        let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Self {
            node,
            progress,
            permits,
            writes: JoinSet::new(),
        }
    }

    async fn write(&mut self, line: Line) {
        while self.writes.try_join_next().is_some() {}
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return;
        };
        let (node, progress) = (self.node.clone(), self.progress.clone());
        self.writes.spawn(async move {
            let outcome = match line.edits() {
                Ok(edits) => node
                    .apply(NAMESPACE, &line.cart, edits)
                    .await
                    .map(|_| ())
                    .map_err(Failure::new),
                Err(failure) => Err(failure),
            };
            progress.note(&line, outcome);
            drop(permit);
        });
    }

    async fn close(mut self) {
        while self.writes.join_next().await.is_some() {}
    }
}

/// Makes up shopping at a rate until it is stopped.
pub(super) async fn shop(
    node: Node,
    rate: f64,
    seed: u64,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut till = Till::new(node, progress);
    let mut clock = tokio::time::interval(ROUND);
    // After a pause the missed writes are not made up for all at once.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut owed = 0.0;
    while !*stop.borrow_and_update() {
        clock.tick().await;
        owed += rate * ROUND.as_secs_f64();
        while owed >= 1.0 {
            owed -= 1.0;
            till.write(made_up(&mut random)).await;
        }
    }
    till.close().await;
}

fn made_up(random: &mut SmallRng) -> Line {
    let article = random.random_range(0..ARTICLES);
    let pieces = if random.random_range(0..30) == 0 {
        -1
    } else {
        random.random_range(1..=4)
    };
    Line {
        cart: format!("customer-{:03}", random.random_range(0..CUSTOMERS)),
        item: format!("{}", 20_000 + article * 37),
        pieces,
        price: f64::from(95 + article * 10) / 100.0,
    }
}

/// Writes rows in the order of the file, each in its datacenter, as fast as those take them or at a rate.
pub(super) async fn replay(
    nodes: Vec<Node>,
    rows: Vec<Row>,
    rate: Option<f64>,
    progress: Arc<Progress>,
) {
    let mut tills: Vec<Till> = nodes
        .into_iter()
        .map(|node| Till::new(node, progress.clone()))
        .collect();
    let rate = rate.map(|rate| rate * tills.len() as f64);
    let mut clock = rate.map(|rate| tokio::time::interval(Duration::from_secs_f64(1.0 / rate)));
    for row in rows {
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        tills[row.datacenter].write(row.line).await;
    }
    for till in tills {
        till.close().await;
    }
}
