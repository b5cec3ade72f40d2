//! How long after a write begins it is visible elsewhere: three nodes, real QUIC over loopback, with and
//! without delays put in between.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::relay::{Relay, Shape};
use anabranch::{Changes, Config, Gossip, Node};

use crate::spread::Spread;
use crate::{Outcome, carts};

/// One-way delays from the first to the second and the third.
const DELAYS_MS: [[u64; 2]; 2] = [[0, 0], [20, 40]];

pub(crate) async fn measure(rate: u32, seconds: u64) -> Outcome<()> {
    for delays in DELAYS_MS {
        let delays = delays.map(Duration::from_millis);
        println!(
            "lag from the call to visible elsewhere, one-way {} ms to B and {} ms to C, {seconds} s each",
            delays[0].as_millis(),
            delays[1].as_millis()
        );
        let root = tempfile::tempdir()?;
        let cluster = Cluster::start(root.path(), delays).await?;
        for (name, per_second) in [("idle, 20/s", 20), ("load", rate)] {
            let before = cluster.bytes();
            let (lags, writes) = cluster.run(per_second, seconds).await?;
            let per_write = (cluster.bytes() - before) as f64 / (writes * 2) as f64;
            for (place, (lag, delay)) in ["B", "C"].iter().zip(lags.iter().zip(delays)) {
                let over = lag.percentile_ms(50) - delay.as_secs_f64() * 1_000.0;
                println!(
                    "  {name:<11} {per_second:>5}/s to {place}: {lag}   p50 is one-way + {over:.2} ms"
                );
            }
            println!(
                "  {name:<11} {per_write:>5.0} bytes on the wire per write and replica, everything included"
            );
        }
        for node in cluster.nodes {
            node.shutdown().await?;
        }
    }
    Ok(())
}

struct Cluster {
    nodes: Vec<Node>,
    relays: Vec<Relay>,
}

impl Cluster {
    async fn start(root: &std::path::Path, delays: [Duration; 2]) -> Outcome<Self> {
        let ca = CertificateAuthority::generate("lag")?;
        let mut cluster = Self {
            nodes: Vec::new(),
            relays: Vec::new(),
        };
        for (at, name) in ["a", "b", "c"].iter().enumerate() {
            let mut seeds = Vec::new();
            for before in 0..at {
                let target = cluster.nodes[before].gossip_addr().ok_or("no gossip")?;
                let delay = if before == 0 {
                    delays[at - 1]
                } else {
                    delays[0] + delays[1]
                };
                let relay = Relay::start(target, Shape::one_way(delay))?;
                seeds.push(relay.addr().to_string());
                cluster.relays.push(relay);
            }
            let certificate = ca.issue(name, Validity::days(1))?;
            let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
            let mut gossip = Gossip::new(
                listen,
                ca.to_pem().cert_pem,
                certificate.cert_pem,
                certificate.key_pem,
            )
            .seeds(seeds);
            // Only the relays have the delays.
            gossip.discover = false;
            cluster.nodes.push(
                Node::open(
                    Config::new(root.join(name))
                        .named(*name, *name)
                        .gossiping(gossip),
                )
                .await?,
            );
        }
        carts::fill(&cluster.nodes[0], 100).await?;
        let mut feeds = cluster.feeds();
        // Once a write has come through everywhere, links are up and caches warm.
        cluster.nodes[0]
            .apply(carts::NAMESPACE, "warm", [carts::one_more(0, 0)?])
            .await?;
        for feed in &mut feeds {
            while feed.next().await?.documents[0].key.as_str() != "warm" {}
        }
        Ok(cluster)
    }

    fn feeds(&self) -> Vec<Changes> {
        self.nodes[1..]
            .iter()
            .map(|node| node.subscribe(None, "", None))
            .collect()
    }

    fn bytes(&self) -> u64 {
        self.relays[..2]
            .iter()
            .map(|relay| relay.to_target().bytes + relay.to_client().bytes)
            .sum()
    }

    /// Writes at A at a rate; sees when each is visible at B and C.
    async fn run(&self, per_second: u32, seconds: u64) -> Outcome<(Vec<Spread>, u64)> {
        let total = u64::from(per_second) * seconds;
        let watchers: Vec<_> = self
            .feeds()
            .into_iter()
            .map(|mut feed| {
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    for _ in 0..total {
                        feed.next().await?;
                        seen.push(Instant::now());
                    }
                    Outcome::Ok(seen)
                })
            })
            .collect();
        let mut clock = tokio::time::interval(Duration::from_secs(1) / per_second);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut begun = Vec::new();
        let mut writes = tokio::task::JoinSet::new();
        for n in 0..total {
            clock.tick().await;
            let cart = usize::try_from(n % 100)?;
            let (node, key) = (self.nodes[0].clone(), carts::key(cart));
            let edit = carts::one_more(cart, usize::try_from(n)? % carts::ITEMS)?;
            begun.push(Instant::now());
            writes.spawn(async move { node.apply(carts::NAMESPACE, &key, [edit]).await });
        }
        while let Some(done) = writes.join_next().await {
            done??;
        }
        let mut lags = Vec::new();
        for watcher in watchers {
            let mut spread = Spread::default();
            for (begun, seen) in begun.iter().zip(watcher.await??) {
                spread.add(seen.saturating_duration_since(*begun));
            }
            lags.push(spread);
        }
        Ok((lags, total))
    }
}
