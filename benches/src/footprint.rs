//! What many carts take: disk, memory, time to start, time to be read when they are not in memory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::client::Connection;
use crate::served::{Served, document, program};
use crate::spread::Spread;
use crate::{Outcome, carts, pipeline, procfs};

/// The node's own default.
const BUDGET_MIB: usize = 128;
/// Connections that load carts.
const LOADERS: usize = 8;
/// Carts that are read after a start, one after the other.
const READS: usize = 10_000;

pub(crate) async fn measure(
    given: Option<PathBuf>,
    sizes: &[usize],
    memory_mib: Option<usize>,
) -> Outcome<()> {
    let program = program(given)?;
    for carts in sizes {
        one(&program, *carts, memory_mib).await?;
    }
    Ok(())
}

async fn one(program: &Path, carts: usize, memory_mib: Option<usize>) -> Outcome<()> {
    let budget = memory_mib.unwrap_or(BUDGET_MIB) as f64;
    let compact = pipeline::saved_bytes(carts)?;
    println!(
        "{carts} carts of {} items, one node process, budget {budget} MiB",
        carts::ITEMS
    );
    let dir = tempfile::tempdir()?;
    let served = Served::start(program, dir.path(), memory_mib).await?;
    let begun = Instant::now();
    load(served.addr, carts).await?;
    let loaded = begun.elapsed();
    let busy_mib = served.process.memory_mib()?.0;
    served.rest().await?;
    println!(
        "  loaded over HTTP, {} in a write                 {:>7.1} s ({:.0} carts/s); at rest {:.1} s later",
        carts::BATCH,
        loaded.as_secs_f64(),
        carts as f64 / loaded.as_secs_f64(),
        (begun.elapsed() - loaded).as_secs_f64()
    );
    disk("once folded", dir.path(), carts, compact)?;
    let (rss, peak) = served.process.memory_mib()?;
    println!(
        "  memory: when loaded {busy_mib:.0}, at rest {rss:.0}, peak {peak:.0} MiB; budget {:+.0}, peak {:+.0} MiB (goal: +100 or less)",
        rss - budget,
        peak - budget
    );

    served.kill().await?;
    let served = start("after kill -9", program, dir.path(), carts, memory_mib, 1).await?;
    // The scrub begins with the process, and compacts what hurried folds have left.
    let begun = Instant::now();
    served.rest().await?;
    println!(
        "  at rest again, what was left compacted           {:>7.1} s later",
        begun.elapsed().as_secs_f64()
    );
    disk("compacted", dir.path(), carts, compact)?;
    served.stop().await?;
    let served = start(
        "after a clean stop",
        program,
        dir.path(),
        carts,
        memory_mib,
        2,
    )
    .await?;
    served.stop().await?;
    procfs::forget_pages(dir.path())?;
    let name = "the same, the system's cache empty";
    start(name, program, dir.path(), carts, memory_mib, 3)
        .await?
        .stop()
        .await
}

/// Starts a node and reads carts that it does not have in memory.
async fn start(
    name: &str,
    program: &Path,
    dir: &Path,
    carts: usize,
    memory_mib: Option<usize>,
    seed: u64,
) -> Outcome<Served> {
    let mut random = SmallRng::seed_from_u64(seed);
    let served = Served::start(program, dir, memory_mib).await?;
    let first = served.first_answer(random.random_range(0..carts)).await?;
    let mut connection = Connection::open(served.addr).await?;
    let (mut seen, mut reads) = (BTreeSet::new(), Spread::default());
    while seen.len() < READS.min(carts / 2) {
        let cart = random.random_range(0..carts);
        if seen.insert(cart) {
            let begun = Instant::now();
            connection.get(&document(cart)).await?;
            reads.add(begun.elapsed());
        }
    }
    let (rss, peak) = served.process.memory_mib()?;
    println!(
        "  {name:<34} first answer {:>6.0} ms (goal: 1,000); {} cold reads {reads} (goal: p99 1); RSS {rss:.0}, peak {peak:.0} MiB",
        first.as_secs_f64() * 1_000.0,
        reads.len(),
    );
    Ok(served)
}

fn disk(when: &str, dir: &Path, carts: usize, compact: f64) -> Outcome<()> {
    let documents = procfs::allocated(dir, "documents.redb")?;
    let log = procfs::allocated(dir, "log-")?;
    let other = procfs::allocated(dir, "")? - documents - log;
    let per_cart = documents as f64 / carts as f64;
    println!(
        "  disk {when}: {per_cart:.0} B per cart, compact automerge {compact:.0} B: {:.2}x (goal: 1.5); documents {:.1}, log {:.1}, else {:.2} MiB",
        per_cart / compact,
        mib(documents),
        mib(log),
        mib(other)
    );
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Makes all carts, in no order, several in a write.
pub(crate) async fn load(addr: SocketAddr, carts: usize) -> Outcome<()> {
    let order = Arc::new(carts::shuffled(carts));
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..LOADERS {
        let (order, next) = (order.clone(), next.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(addr).await?;
            loop {
                let from = next.fetch_add(carts::BATCH, Ordering::Relaxed);
                let Some(some) = order.get(from..) else {
                    return Outcome::Ok(());
                };
                let some = &some[..carts::BATCH.min(some.len())];
                if some.is_empty() {
                    return Ok(());
                }
                let writes: Vec<Value> = some.iter().map(|cart| made(*cart)).collect();
                let body = json!({ "writes": writes }).to_string();
                connection.post("/v1/batch", &body).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The write that makes a cart, as clients send it.
pub(crate) fn made(cart: usize) -> Value {
    let mut ops = vec![json!({"op": "put", "path": "/items", "value": carts::items(cart)})];
    ops.extend((0..carts::ITEMS).map(|at| {
        let path = format!("/items/{}/qty", carts::item(cart, at));
        json!({"op": "increment", "path": path, "by": 1})
    }));
    json!({"ns": carts::NAMESPACE, "key": carts::key(cart), "ops": ops})
}
