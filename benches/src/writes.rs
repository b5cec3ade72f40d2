//! Durable writes of one embedded node.

use std::time::{Duration, Instant};

use anabranch::Node;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::spread::Spread;
use crate::{Outcome, carts, floor};

pub(crate) async fn measure(carts: usize, seconds: u64) -> Outcome<()> {
    let time = Duration::from_secs(seconds);
    let dir = tempfile::tempdir()?;
    let node = carts::alone(dir.path()).await?;
    println!(
        "embedded, increments over {carts} carts of {} items, {seconds} s each",
        carts::ITEMS
    );
    carts::fill(&node, carts).await?;
    let (lone_rate, lone) = floor::commits(1, time / 2)?;
    println!("  floor: bare commits of one 200-byte record     {lone_rate:>9.0}/s   {lone}");
    let (group_rate, group) = floor::commits(64, time / 2)?;
    println!(
        "  floor: bare commits of 64 records              {group_rate:>9.0}/s   {group} per commit"
    );
    for (callers, floor_ms) in [(1, Some(lone.percentile_ms(50))), (64, None), (256, None)] {
        let (rate, spread) = run(&node, carts, callers, time).await?;
        let ratio = floor_ms.map(|floor| {
            format!(
                ", p50 {:.2}x of a bare commit",
                spread.percentile_ms(50) / floor
            )
        });
        println!(
            "  {callers:>3} callers                                    {rate:>9.0}/s   {spread}{}",
            ratio.unwrap_or_default()
        );
    }
    node.shutdown().await?;
    Ok(())
}

async fn run(node: &Node, carts: usize, callers: usize, time: Duration) -> Outcome<(f64, Spread)> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let node = node.clone();
        tasks.spawn(async move {
            let mut random = SmallRng::seed_from_u64(caller as u64);
            let mut spread = Spread::default();
            while started.elapsed() < time {
                let key = carts::key(random.random_range(0..carts));
                let edit = carts::one_more(random.random_range(0..carts::ITEMS))?;
                let begun = Instant::now();
                node.apply(carts::NAMESPACE, &key, [edit]).await?;
                spread.add(begun.elapsed());
            }
            Outcome::Ok(spread)
        });
    }
    let mut all = Spread::default();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok((all.len() as f64 / started.elapsed().as_secs_f64(), all))
}
