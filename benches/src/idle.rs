//! What three nodes say to each other while nothing happens, and how soon a silent link is known.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::relay::{Relay, Shape};
use anabranch::{Config, Gossip, LinkReport, Node};

use crate::spread::Spread;
use crate::{Outcome, carts};

/// Until links are up, and what was said on them has become seldom.
const SETTLING: Duration = Duration::from_secs(270);
const MINUTE: Duration = Duration::from_secs(60);
const CUTS: usize = 20;
const DOCUMENTS: usize = 1_000;

pub(crate) async fn measure(seconds: u64) -> Outcome<()> {
    let minutes = u32::try_from(seconds.div_ceil(60))?;
    traffic(minutes).await?;
    silence().await
}

fn gossip(ca: &CertificateAuthority, name: &str, seeds: &[SocketAddr]) -> Outcome<Gossip> {
    let certificate = ca.issue(name, Validity::days(1))?;
    let (cert, key) = (certificate.cert_pem, certificate.key_pem);
    let gossip = Gossip::new(([127, 0, 0, 1], 0).into(), ca.to_pem().cert_pem, cert, key);
    Ok(gossip.seeds(seeds.iter().map(ToString::to_string)))
}

async fn links(node: &Node, count: usize) -> Outcome<Vec<LinkReport>> {
    loop {
        let links = node.status().await?.links;
        if links.len() >= count {
            return Ok(links);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn traffic(minutes: u32) -> Outcome<()> {
    println!(
        "idle: three nodes with default settings, {} documents, all links together, {minutes} min after {} s",
        DOCUMENTS,
        SETTLING.as_secs()
    );
    let root = tempfile::tempdir()?;
    let ca = CertificateAuthority::generate("idle")?;
    let mut nodes: Vec<Node> = Vec::new();
    for name in ["a", "b", "c"] {
        let seeds: Vec<_> = nodes.iter().take(1).filter_map(Node::gossip_addr).collect();
        let config = Config::new(root.path().join(name)).named(name, name);
        nodes.push(Node::open(config.gossiping(gossip(&ca, name, &seeds)?)).await?);
    }
    carts::fill(&nodes[0], DOCUMENTS).await?;
    for node in &nodes {
        links(node, 2).await?;
    }
    tokio::time::sleep(SETTLING).await;
    let sent = async || -> Outcome<(u64, u64)> {
        let (mut all, mut members) = (0, 0);
        for node in &nodes {
            for link in links(node, 2).await? {
                all += link.bytes_sent;
                members += link.member_bytes_sent;
            }
        }
        Ok((all, members))
    };
    let before = sent().await?;
    tokio::time::sleep(MINUTE * minutes).await;
    let after = sent().await?;
    let minutes = u64::from(minutes);
    println!(
        "  {} bytes of UDP payload per minute, of which {} were said about members",
        (after.0 - before.0) / minutes,
        (after.1 - before.1) / minutes
    );
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}

async fn silence() -> Outcome<()> {
    println!(
        "silence: {CUTS} cuts between two nodes, 40 ms one way; until the link is known to be silent"
    );
    let root = tempfile::tempdir()?;
    let ca = CertificateAuthority::generate("silence")?;
    let open = |name: &'static str, mut gossip: Gossip| {
        gossip.discover = false;
        Node::open(
            Config::new(root.path().join(name))
                .named(name, name)
                .gossiping(gossip),
        )
    };
    let a = open("a", gossip(&ca, "a", &[])?).await?;
    let target = a.gossip_addr().ok_or("no gossip")?;
    let relay = Relay::start(target, Shape::one_way(Duration::from_millis(40)))?;
    let b = open("b", gossip(&ca, "b", &[relay.addr()])?).await?;
    let is_silent = async |node: &Node| Outcome::Ok(links(node, 1).await?[0].silent);
    let (mut dialled, mut dialling) = (Spread::default(), Spread::default());
    for cut in 0..CUTS {
        // At another moment between two pings every time.
        let pause = 2_500 + 137 * u64::try_from(cut)?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let begun = Instant::now();
        relay.cut();
        let (mut at_a, mut at_b) = (None, None);
        while at_a.is_none() || at_b.is_none() {
            for (node, at) in [(&a, &mut at_a), (&b, &mut at_b)] {
                if at.is_none() && is_silent(node).await? {
                    *at = Some(begun.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        at_a.into_iter().for_each(|at| dialled.add(at));
        at_b.into_iter().for_each(|at| dialling.add(at));
        relay.heal();
        while is_silent(&a).await? || is_silent(&b).await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for (end, times) in [("that dialled", dialling), ("that was dialled", dialled)] {
        println!(
            "  the end {end:<17} {times}, at most {:.0} ms",
            times.percentile_ms(100)
        );
    }
    a.shutdown().await?;
    b.shutdown().await?;
    Ok(())
}
