//! Durable writes over HTTP: a node process, and clients that each keep one connection.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anabranch::Node;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::client::Connection;
use crate::procfs::thread_cpu;
use crate::served::{Served, document, program};
use crate::spread::{Spread, row};
use crate::{Outcome, callers, carts, floor};

const GOAL: f64 = 15_000.0;

pub(crate) async fn measure(
    given: Option<PathBuf>,
    carts: usize,
    seconds: u64,
    memory_mib: Option<usize>,
) -> Outcome<()> {
    let time = Duration::from_secs(seconds);
    let program = program(given)?;
    let dir = tempfile::tempdir()?;
    let node = Node::open(carts::alone(dir.path(), memory_mib)).await?;
    carts::fill(&node, carts).await?;
    callers::rest(&node).await?;
    node.shutdown().await?;
    let served = Served::start(&program, dir.path(), memory_mib).await?;
    println!(
        "HTTP, durable increments over {carts} carts of {} items, {seconds} s each, clients on the same machine",
        carts::ITEMS
    );
    let bare = floor::lone_commits(time / 2)?;
    let rate = bare.len() as f64 / (time / 2).as_secs_f64();
    row(
        "floor: bare redb commits of one record",
        rate,
        Some(&bare),
        "",
    );
    // Until all carts have been met, about, some must be read first.
    drive(served.addr, carts, 64, time).await?;
    for clients in [1, 64, 256] {
        let before = served.process.cpu()?;
        let load = drive(served.addr, carts, clients, time).await?;
        let cpu = (served.process.cpu()? - before).as_secs_f64();
        let goal = match clients {
            64 => format!("{:.2}x of {GOAL:.0}; ", load.rate / GOAL),
            _ => String::new(),
        };
        let note = format!(
            "{goal}CPU: node {:.0}, clients {:.0} us a write, clients' one thread {:.0} % busy",
            cpu * 1e6 / load.spread.len() as f64,
            load.cpu.as_secs_f64() * 1e6 / load.spread.len() as f64,
            load.cpu.as_secs_f64() * 100.0 / load.took.as_secs_f64(),
        );
        row(
            &format!("{clients} clients"),
            load.rate,
            Some(&load.spread),
            &note,
        );
    }
    served.stop().await
}

/// What clients have seen, and what they cost.
struct Load {
    rate: f64,
    spread: Spread,
    cpu: Duration,
    took: Duration,
}

/// Clients on a thread of their own: one thread that takes what is ready costs less than several that wake
/// each other.
async fn drive(addr: SocketAddr, carts: usize, clients: usize, time: Duration) -> Outcome<Load> {
    let thread = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (started, before) = (Instant::now(), thread_cpu()?);
        let spread = runtime.block_on(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for client in 0..clients {
                tasks.spawn(run(addr, carts, client as u64, started + time));
            }
            let mut all = Spread::default();
            while let Some(done) = tasks.join_next().await {
                all.extend(done??);
            }
            Outcome::Ok(all)
        })?;
        let took = started.elapsed();
        Outcome::Ok(Load {
            rate: spread.len() as f64 / took.as_secs_f64(),
            spread,
            cpu: thread_cpu()? - before,
            took,
        })
    };
    tokio::task::spawn_blocking(thread).await?
}

async fn run(addr: SocketAddr, carts: usize, seed: u64, until: Instant) -> Outcome<Spread> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut connection = Connection::open(addr).await?;
    let mut spread = Spread::default();
    loop {
        let cart = random.random_range(0..carts);
        let item = carts::item(cart, random.random_range(0..carts::ITEMS));
        let path = format!("{}/ops", document(cart));
        let body = format!(r#"{{"ops":[{{"op":"increment","path":"/items/{item}/qty","by":1}}]}}"#);
        let begun = Instant::now();
        if begun >= until {
            return Ok(spread);
        }
        connection.post(&path, &body).await?;
        spread.add(begun.elapsed());
    }
}
