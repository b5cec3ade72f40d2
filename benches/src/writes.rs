//! Durable writes of one embedded node, against one bare commit and against the bare pipeline.

use std::path::Path;
use std::time::{Duration, Instant};

use anabranch::Node;

use crate::pipeline::{self, BareTip, PER_COMMIT};
use crate::spread::{Spread, row};
use crate::{Outcome, callers, carts, floor};

/// Enough for the ends of 100,000 histories.
const TIPS_MIB: usize = 1_024;
/// Enough for 100,000 loaded carts.
const DOCUMENTS_MIB: usize = 8_192;
const CALLERS: [usize; 3] = [64, 512, 2_048];

/// What the bare pipeline does in a second.
struct Floor {
    documents: f64,
    tips: f64,
}

pub(crate) async fn measure(carts: usize, seconds: u64, memory_mib: Option<usize>) -> Outcome<()> {
    let time = Duration::from_secs(seconds);
    println!(
        "embedded, durable increments over {carts} carts of {} items, {seconds} s each",
        carts::ITEMS
    );
    let floor = floor(carts, time)?;
    let dir = tempfile::tempdir()?;
    fill(dir.path(), carts).await?;
    by_tips(dir.path(), carts, time, memory_mib, &floor).await?;
    // As new as those of the floor.
    let dir = tempfile::tempdir()?;
    fill(dir.path(), carts).await?;
    through_documents(dir.path(), carts, time, memory_mib, &floor).await
}

fn floor(carts: usize, time: Duration) -> Outcome<Floor> {
    pipeline::check()?;
    let rewrites = floor::rewrites(time / 2)?;
    let name = "floor: 4 KiB written anew and synced";
    row(name, per_second(&rewrites, time / 2), Some(&rewrites), "");
    let mut docs = (0..carts)
        .map(pipeline::cart)
        .collect::<Outcome<Vec<_>>>()?;
    let tips = docs.iter_mut().enumerate();
    let mut tips = tips
        .map(|(cart, doc)| BareTip::of(doc, cart))
        .collect::<Outcome<Vec<_>>>()?;
    let documents = pipeline::through_documents(&mut docs, time)?;
    drop(docs);
    let name = format!("floor: automerge, redb log, {PER_COMMIT} per commit");
    row(&name, documents, None, "one thread");
    let tips = pipeline::by_tips(&mut tips, time)?;
    let name = format!("floor: built from tips, redb log, {PER_COMMIT} per commit");
    row(&name, tips, None, "one thread");
    Ok(Floor { documents, tips })
}

fn per_second(spread: &Spread, time: Duration) -> f64 {
    spread.len() as f64 / time.as_secs_f64()
}

async fn fill(dir: &Path, carts: usize) -> Outcome<()> {
    let node = Node::open(carts::alone(dir, None)).await?;
    let begun = Instant::now();
    carts::fill(&node, carts).await?;
    let filled = begun.elapsed();
    callers::rest(&node).await?;
    println!(
        "  (filled in {:.1} s, {:.0} carts/s; at rest after {:.1} s more)",
        filled.as_secs_f64(),
        carts as f64 / filled.as_secs_f64(),
        (begun.elapsed() - filled).as_secs_f64()
    );
    Ok(node.shutdown().await?)
}

async fn by_tips(
    dir: &Path,
    carts: usize,
    time: Duration,
    memory_mib: Option<usize>,
    floor: &Floor,
) -> Outcome<()> {
    let memory_mib = memory_mib.unwrap_or(TIPS_MIB);
    let node = Node::open(carts::alone(dir, Some(memory_mib))).await?;
    let (rate, spread) = callers::every_cart_once(&node, carts, CALLERS[1]).await?;
    let note = "carts not in memory, each once; warms up what follows";
    row("by tips, cold, 512 callers", rate, Some(&spread), note);
    say_memory(&node, memory_mib).await?;

    // Around the one caller, so that a disk that changes its mind does so for both.
    let mut bare = floor::lone_commits(time / 2)?;
    let (rate, lone) = callers::run(&node, carts, 1, time).await?;
    bare.extend(floor::lone_commits(time / 2)?);
    let name = "floor: bare redb commits of one record";
    row(name, per_second(&bare, time), Some(&bare), "");
    let ratio = lone.percentile_ms(50) / bare.percentile_ms(50);
    let note = format!("p50 {ratio:.2}x of a bare commit (goal: 1.2 or less)");
    row("by tips, 1 caller", rate, Some(&lone), &note);

    for callers in CALLERS {
        callers::rest(&node).await?;
        let (rate, spread) = callers::run(&node, carts, callers, time).await?;
        let note = format!(
            "{:.2}x of automerge's pipeline (goal: 4), {:.2}x of the tips'",
            rate / floor.documents,
            rate / floor.tips
        );
        row(
            &format!("by tips, {callers} callers"),
            rate,
            Some(&spread),
            &note,
        );
    }
    say_memory(&node, memory_mib).await?;
    callers::rest(&node).await?;
    Ok(node.shutdown().await?)
}

async fn through_documents(
    dir: &Path,
    carts: usize,
    time: Duration,
    memory_mib: Option<usize>,
    floor: &Floor,
) -> Outcome<()> {
    let memory_mib = memory_mib.unwrap_or(DOCUMENTS_MIB);
    let mut config = carts::alone(dir, Some(memory_mib));
    config.tips = false;
    let node = Node::open(config).await?;
    let (rate, spread) = callers::every_cart_once(&node, carts, CALLERS[1]).await?;
    let name = "through documents, cold, 512 callers";
    row(name, rate, Some(&spread), "as above");
    say_memory(&node, memory_mib).await?;
    for callers in CALLERS {
        callers::rest(&node).await?;
        let (rate, spread) = callers::run(&node, carts, callers, time).await?;
        let ratio = rate / floor.documents;
        let note = format!("{ratio:.2}x of automerge's pipeline (goal: 0.8)");
        let name = format!("through documents, {callers} callers");
        row(&name, rate, Some(&spread), &note);
    }
    say_memory(&node, memory_mib).await?;
    Ok(node.shutdown().await?)
}

async fn say_memory(node: &Node, memory_mib: usize) -> Outcome<()> {
    let replica = node.status().await?.replica;
    println!(
        "  (budget {memory_mib} MiB: {} carts loaded, with tips {} MiB; {} KiB to fold)",
        replica.documents_loaded,
        replica.loaded_bytes >> 20,
        replica.unfolded_bytes >> 10,
    );
    Ok(())
}
