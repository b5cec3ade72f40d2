//! How much folding behind the log slows writes down that come at a steady rate.

use std::path::Path;
use std::time::{Duration, Instant};

use anabranch::Node;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::spread::{Spread, row};
use crate::{Outcome, callers, carts};

/// Short runs in turn, so that a noisy machine is noisy for all.
const ROUNDS: u32 = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How folding is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folding {
    Never,
    Default,
    Always,
}

const KINDS: [(&str, Folding); 3] = [
    ("nothing is folded", Folding::Never),
    ("folded as by default", Folding::Default),
    ("folded all the time", Folding::Always),
];

struct Bed {
    name: &'static str,
    folding: Folding,
    node: Node,
    /// Documents that were folded while it was its turn.
    folds: u64,
    spread: Spread,
    took: Duration,
    // Last: removed once the node has gone.
    _dir: tempfile::TempDir,
}

pub(crate) async fn measure(
    carts: usize,
    rate: u32,
    seconds: u64,
    memory_mib: Option<usize>,
) -> Outcome<()> {
    println!(
        "embedded, durable increments at a steady {rate}/s over {carts} carts of {} items, {seconds} s in {ROUNDS} turns each",
        carts::ITEMS
    );
    let filled = tempfile::tempdir()?;
    let node = Node::open(carts::alone(filled.path(), memory_mib)).await?;
    carts::fill(&node, carts).await?;
    callers::rest(&node).await?;
    node.shutdown().await?;

    let mut beds = Vec::new();
    for (name, folding) in KINDS {
        beds.push(bed(filled.path(), name, folding, carts, memory_mib).await?);
    }
    for bed in &beds {
        bed.rest().await?;
    }
    let turn = Duration::from_secs(seconds) / ROUNDS;
    for round in 0..ROUNDS {
        for bed in &mut beds {
            let before = bed.folds().await?;
            let (spread, took) = steady(&bed.node, carts, rate, turn, u64::from(round)).await?;
            bed.spread.extend(spread);
            bed.took += took;
            bed.folds += bed.folds().await? - before;
            bed.rest().await?;
        }
    }
    say(&beds);
    for bed in beds {
        bed.node.shutdown().await?;
    }
    Ok(())
}

fn say(beds: &[Bed]) {
    let floor = beds[0].spread.percentile_ms(99);
    for bed in beds {
        let folds = bed.folds;
        let ratio = bed.spread.percentile_ms(99) / floor;
        let rate = bed.spread.len() as f64 / bed.took.as_secs_f64();
        let note = format!("p99 {ratio:.2}x (goal: 2 or less), {folds} documents folded");
        row(bed.name, rate, Some(&bed.spread), &note);
    }
}

impl Bed {
    async fn folds(&self) -> Outcome<u64> {
        Ok(self.node.status().await?.replica.counters.folds)
    }

    /// What it has yet to do is done before it is another's turn.
    async fn rest(&self) -> Outcome<()> {
        match self.folding {
            Folding::Never => Ok(()),
            Folding::Default | Folding::Always => callers::rest(&self.node).await,
        }
    }
}

/// A node of its own on a copy of the filled directory, that has met every cart once.
async fn bed(
    filled: &Path,
    name: &'static str,
    folding: Folding,
    carts: usize,
    memory_mib: Option<usize>,
) -> Outcome<Bed> {
    let dir = tempfile::tempdir()?;
    for entry in std::fs::read_dir(filled)? {
        let entry = entry?;
        std::fs::copy(entry.path(), dir.path().join(entry.file_name()))?;
    }
    let mut config = carts::alone(dir.path(), memory_mib);
    match folding {
        Folding::Never => (config.fold_after, config.fold_idle) = (DAY, DAY),
        Folding::Default => {}
        Folding::Always => {
            (config.fold_after, config.fold_idle) = (Duration::ZERO, Duration::from_millis(1));
        }
    }
    let node = Node::open(config).await?;
    callers::every_cart_once(&node, carts, 512).await?;
    Ok(Bed {
        name,
        folding,
        node,
        folds: 0,
        spread: Spread::default(),
        took: Duration::ZERO,
        _dir: dir,
    })
}

/// Writes that begin when it is time, whatever became of those before; how long each took from then on.
async fn steady(
    node: &Node,
    carts: usize,
    rate: u32,
    time: Duration,
    seed: u64,
) -> Outcome<(Spread, Duration)> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut tasks = tokio::task::JoinSet::new();
    let mut spread = Spread::default();
    let started = Instant::now();
    let mut clock = tokio::time::interval(Duration::from_millis(1));
    let mut begun = 0;
    while started.elapsed() < time {
        clock.tick().await;
        let due = started.elapsed().as_secs_f64() * f64::from(rate);
        while f64::from(begun) < due {
            begun += 1;
            let (cart, at) = (
                random.random_range(0..carts),
                random.random_range(0..carts::ITEMS),
            );
            let (node, key, edit) = (node.clone(), carts::key(cart), carts::one_more(cart, at)?);
            let begun = Instant::now();
            tasks.spawn(async move {
                node.apply(carts::NAMESPACE, &key, [edit]).await?;
                Outcome::Ok(begun.elapsed())
            });
        }
        while let Some(done) = tasks.try_join_next() {
            spread.add(done??);
        }
    }
    let took = started.elapsed();
    while let Some(done) = tasks.join_next().await {
        spread.add(done??);
    }
    Ok((spread, took))
}
