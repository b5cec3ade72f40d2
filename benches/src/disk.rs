//! Bytes that go to the disk for a durable write, all in all, against a layout whose keys are random.
//!
//! The disk itself is asked, so nobody else may write to it meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use anabranch::Node;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use crate::procfs::Device;
use crate::{Outcome, callers, carts, pipeline};

/// Callers of ours, and writes in a commit of the other: what a group of them makes durable at once.
const AT_ONCE: [usize; 2] = [64, 512];
/// One increment in its encoded form.
const CHANGE_BYTES: usize = 105;
/// Documents, and changes by document and number.
const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");

/// Bytes on the disk for each of so many writes.
struct Cost {
    writes: usize,
    rate: f64,
    per_write: f64,
}

pub(crate) async fn measure(carts: usize, seconds: u64, memory_mib: Option<usize>) -> Outcome<()> {
    let time = Duration::from_secs(seconds);
    println!(
        "disk bytes per durable increment over {carts} carts of {} items, {seconds} s each",
        carts::ITEMS
    );
    let snapshot = pipeline::saved_bytes(carts)?.round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a length"
    )]
    let snapshot = snapshot as usize;
    let mut floors = Vec::new();
    for writes in AT_ONCE {
        let change = random_keys(carts, snapshot, writes, time, Layout::Changes)?;
        say(
            &format!("random keys: a change, {writes} per commit"),
            &change,
            "",
        );
        let whole = random_keys(carts, snapshot, writes, time, Layout::Snapshots)?;
        say(
            &format!("random keys: a snapshot, {writes} per commit"),
            &whole,
            "",
        );
        floors.push((change.per_write, whole.per_write));
    }
    let dir = tempfile::tempdir()?;
    let node = Node::open(carts::alone(dir.path(), memory_mib)).await?;
    carts::fill(&node, carts).await?;
    callers::rest(&node).await?;
    node.shutdown().await?;
    for (callers, (change, whole)) in AT_ONCE.into_iter().zip(floors) {
        let (written, folded) = ours(dir.path(), carts, callers, time, memory_mib).await?;
        say(
            &format!("ours, {callers} callers, while they write"),
            &written,
            "",
        );
        let note = format!(
            "{:.2} of a change's, {:.2} of a snapshot's (goal: 0.20)",
            folded.per_write / change,
            folded.per_write / whole
        );
        say(
            &format!("ours, {callers} callers, until all is folded"),
            &folded,
            &note,
        );
    }
    Ok(())
}

fn say(name: &str, cost: &Cost, note: &str) {
    println!(
        "  {name:<42} {:>8.0} B a write   ({:>8.0} writes, {:>7.0}/s)   {note}",
        cost.per_write, cost.writes, cost.rate
    );
}

async fn ours(
    dir: &Path,
    carts: usize,
    callers: usize,
    time: Duration,
    memory_mib: Option<usize>,
) -> Outcome<(Cost, Cost)> {
    let node = Node::open(carts::alone(dir, memory_mib)).await?;
    // The scrub begins with the node; what it finds to do was left by what came before.
    callers::rest(&node).await?;
    let disk = Device::of(dir)?;
    let before = disk.written_bytes()?;
    let (rate, spread) = callers::run(&node, carts, callers, time).await?;
    let writes = spread.len();
    let cost = |bytes: u64| Cost {
        writes,
        rate,
        per_write: bytes as f64 / writes as f64,
    };
    let written = cost(disk.written_bytes()? - before);
    callers::rest(&node).await?;
    node.shutdown().await?;
    // Hurried folds leave changes for the scrub to compact, which the next start makes come at once.
    let node = Node::open(carts::alone(dir, memory_mib)).await?;
    callers::rest(&node).await?;
    let folded = cost(disk.written_bytes()? - before);
    node.shutdown().await?;
    Ok((written, folded))
}

#[derive(Clone, Copy)]
enum Layout {
    /// A row more for each write, under its document and number.
    Changes,
    /// The document's row anew.
    Snapshots,
}

/// What a store does that keeps each document where its key says.
fn random_keys(
    carts: usize,
    snapshot: usize,
    per_commit: usize,
    time: Duration,
    layout: Layout,
) -> Outcome<Cost> {
    let dir = tempfile::tempdir()?;
    let mut random = SmallRng::seed_from_u64(7);
    // Nothing that could be compressed, or shared.
    let mut bytes = vec![0; snapshot.max(CHANGE_BYTES) + 4_096];
    random.fill_bytes(&mut bytes);
    let database = Database::create(dir.path().join("rows.redb"))?;
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(ROWS)?;
        for cart in 0..carts {
            table.insert(&*row(cart, 0), &bytes[cart % 4_096..][..snapshot])?;
        }
    }
    transaction.commit()?;

    let disk = Device::of(dir.path())?;
    let before = disk.written_bytes()?;
    let started = Instant::now();
    let mut writes = 0;
    while started.elapsed() < time {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(ROWS)?;
            for _ in 0..per_commit {
                let cart = random.random_range(0..carts);
                writes += 1;
                match layout {
                    Layout::Changes => {
                        let value = &bytes[writes % 4_096..][..CHANGE_BYTES];
                        table.insert(&*row(cart, writes), value)?;
                    }
                    Layout::Snapshots => {
                        let value = &bytes[writes % 4_096..][..snapshot];
                        table.insert(&*row(cart, 0), value)?;
                    }
                }
            }
        }
        transaction.commit()?;
    }
    let took = started.elapsed();
    let written = disk.written_bytes()? - before;
    // What was made is there.
    database.begin_read()?.open_table(ROWS)?;
    Ok(Cost {
        writes,
        rate: writes as f64 / took.as_secs_f64(),
        per_write: written as f64 / writes as f64,
    })
}

fn row(cart: usize, number: usize) -> Vec<u8> {
    let mut row = carts::key(cart).into_bytes();
    row.extend((number as u64).to_be_bytes());
    row
}
