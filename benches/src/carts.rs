//! The carts that are written to: ten items each, no two carts alike.

use anabranch::{Config, Edit, Intent, Key, Node, Path, Write};
use serde_json::{Map, Value, json};

use crate::Outcome;

pub(crate) const NAMESPACE: &str = "carts";
pub(crate) const ITEMS: usize = 10;
/// Carts that go into one atomic write while a store is filled.
pub(crate) const BATCH: usize = 50;
/// Such writes under way at once.
const BATCHES: usize = 16;

pub(crate) fn key(cart: usize) -> String {
    format!("cart-{cart:07}")
}

/// The item at a place of a cart, five digits. Carts share items as customers do, from 90,000 of them.
pub(crate) fn item(cart: usize, at: usize) -> String {
    format!("{}", 10_000 + drawn(cart, at) % 9_000 * 10 + at as u64)
}

/// What it costs, in that cart.
pub(crate) fn price(cart: usize, at: usize) -> f64 {
    ((drawn(cart, at) >> 32) % 5_000) as f64 / 100.0
}

fn drawn(cart: usize, at: usize) -> u64 {
    scrambled((cart * ITEMS + at) as u64)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): all carts differ, and are the same in every run.
fn scrambled(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// All carts, once each, in an order that jumps about: nobody's carts arrive sorted.
pub(crate) fn shuffled(carts: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..carts).collect();
    all.sort_unstable_by_key(|cart| scrambled(*cart as u64 ^ 0x5eed));
    all
}

/// The edit that is measured: one more of an item.
pub(crate) fn one_more(cart: usize, at: usize) -> Outcome<Edit> {
    Ok(Edit::Increment {
        path: Path::parse(&format!("/items/{}/qty", item(cart, at)))?,
        by: 1,
    })
}

/// What stands under `/items` before quantities come.
pub(crate) fn items(cart: usize) -> Value {
    let items = (0..ITEMS).map(|at| (item(cart, at), json!({"price": price(cart, at)})));
    Value::Object(items.collect::<Map<_, _>>())
}

/// The one write that makes a cart.
fn made(cart: usize) -> Outcome<Write> {
    let mut edits = vec![Edit::Put {
        path: Path::parse("/items")?,
        value: items(cart),
    }];
    for at in 0..ITEMS {
        edits.push(one_more(cart, at)?);
    }
    Ok(Write {
        key: Key::new(&key(cart))?,
        intent: Intent::Edits(edits),
        guard: None,
        base: None,
    })
}

/// Fills carts, many at a time.
pub(crate) async fn fill(node: &Node, carts: usize) -> Outcome<()> {
    let mut writes = tokio::task::JoinSet::new();
    for some in shuffled(carts).chunks(BATCH) {
        let some: Outcome<Vec<Write>> = some.iter().map(|cart| made(*cart)).collect();
        let (node, some) = (node.clone(), some?);
        writes.spawn(async move { node.batch(NAMESPACE, some).await });
        if writes.len() >= BATCHES
            && let Some(done) = writes.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = writes.join_next().await {
        done??;
    }
    Ok(())
}

/// A node on its own in a directory.
pub(crate) fn alone(dir: &std::path::Path, memory_mib: Option<usize>) -> Config {
    let mut config = Config::new(dir);
    if let Some(mib) = memory_mib {
        config.memory_bytes = mib << 20;
    }
    config
}
