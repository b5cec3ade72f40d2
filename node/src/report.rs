//! What a node is doing, for people and metrics.

use anabranch_core::{ReplicaId, Status};
use anabranch_net::{Net, SeedState};
use serde::Serialize;

/// A node as it is now.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The replica.
    #[serde(flatten)]
    pub replica: Status,
    /// Where it listens for others, if it does.
    pub gossip: Option<std::net::SocketAddr>,
    /// Links that are up.
    pub links: Vec<LinkReport>,
    /// Configured seeds.
    pub seeds: Vec<SeedReport>,
}

/// A link that is up.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct LinkReport {
    /// Who is at its other end.
    pub peer: ReplicaId,
    /// The name in the peer's certificate.
    pub name: String,
    /// Where the peer's packets come from.
    pub remote: std::net::SocketAddr,
    /// Seconds since it came up.
    pub up_s: f64,
    /// Smoothed round-trip time, in milliseconds.
    pub rtt_ms: f64,
    /// UDP payload bytes sent, everything included.
    pub bytes_sent: u64,
    /// UDP payload bytes received, everything included.
    pub bytes_received: u64,
}

/// A configured seed.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct SeedReport {
    /// As configured.
    pub address: String,
    /// `connected`, `connecting`, `waiting`, or `itself`.
    pub state: &'static str,
    /// Why the last attempt failed or the last link ended.
    pub last_error: Option<String>,
}

pub(crate) fn report(replica: Status, net: Option<&Net>) -> Report {
    let links = net
        .map(Net::links)
        .unwrap_or_default()
        .into_iter()
        .map(|link| LinkReport {
            peer: link.peer,
            name: link.peer_name,
            remote: link.remote,
            up_s: link.since.elapsed().as_secs_f64(),
            rtt_ms: link.rtt.as_secs_f64() * 1_000.0,
            bytes_sent: link.udp_bytes_sent,
            bytes_received: link.udp_bytes_received,
        });
    let seeds = net
        .map(Net::seeds)
        .unwrap_or_default()
        .into_iter()
        .map(|seed| SeedReport {
            address: seed.address,
            state: match seed.state {
                SeedState::Connected { .. } => "connected",
                SeedState::Connecting => "connecting",
                SeedState::Waiting { .. } => "waiting",
                SeedState::Itself => "itself",
            },
            last_error: seed.last_error,
        });
    Report {
        replica,
        gossip: net.map(Net::local_addr),
        links: links.collect(),
        seeds: seeds.collect(),
    }
}
