//! What a node is doing, for people and metrics.

use std::time::SystemTime;

use anabranch_core::{ReplicaId, Status};
use anabranch_net::{MemberState, MemberStatus, Net, SeedState};
use anabranch_store::Upkeep;
use serde::Serialize;

use crate::driver::milliseconds;

/// A node as it is now.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The replica.
    #[serde(flatten)]
    pub replica: Status,
    /// What its store has done of its own accord.
    pub store: StoreReport,
    /// Where it listens for others, if it does.
    pub gossip: Option<std::net::SocketAddr>,
    /// Links that are up.
    pub links: Vec<LinkReport>,
    /// The other nodes of the cluster, linked or not.
    pub members: Vec<MemberReport>,
    /// Configured seeds.
    pub seeds: Vec<SeedReport>,
}

/// How a store looks after what lies there, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct StoreReport {
    /// Bytes read to see whether they are still what was written.
    pub scrubbed_bytes: u64,
    /// How often everything was read.
    pub scrub_passes: u64,
    /// When that was last done, in milliseconds since 1970.
    pub scrubbed_at_ms: Option<u64>,
    /// Documents compacted in the background.
    pub compacted: u64,
    /// How often something was met that can't be read.
    pub damage_met: u64,
}

impl From<Upkeep> for StoreReport {
    fn from(upkeep: Upkeep) -> Self {
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        Self {
            scrubbed_bytes: upkeep.scrubbed_bytes,
            scrub_passes: upkeep.passes,
            scrubbed_at_ms: upkeep.last_pass.and_then(since_1970).map(milliseconds),
            compacted: upkeep.compacted,
            damage_met: upkeep.damage,
        }
    }
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
    /// For how long nothing was heard of the peer, in milliseconds.
    pub unheard_ms: u64,
    /// Whether that is longer than an idle link explains: the peer, or the way to it, seems to be gone.
    pub silent: bool,
    /// Of the bytes sent, what was told about members, without framing.
    pub member_bytes_sent: u64,
    /// Of the bytes received, what the peer told about members, without framing.
    pub member_bytes_received: u64,
}

/// Another node of the cluster.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct MemberReport {
    /// Who it is.
    pub replica: ReplicaId,
    /// Its name.
    pub name: String,
    /// Its datacenter, as it announces; empty if that is not known.
    pub datacenter: String,
    /// Where it is reached, the best first.
    pub addresses: Vec<String>,
    /// `alive`, `suspect`, `down` or `left`.
    pub state: &'static str,
    /// Seconds since it is so.
    pub state_s: f64,
    /// Which of its lives is spoken of: greater after each restart.
    pub life: u64,
    /// When there was a link with it last, in milliseconds since 1970.
    pub last_seen_ms: Option<u64>,
}

impl From<MemberStatus> for MemberReport {
    fn from(member: MemberStatus) -> Self {
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        Self {
            replica: member.replica,
            name: member.name,
            datacenter: member.datacenter,
            addresses: member.addresses,
            state: match member.state {
                MemberState::Alive => "alive",
                MemberState::Suspect => "suspect",
                MemberState::Left => "left",
                // And whatever else says that it can't be reached.
                _ => "down",
            },
            state_s: member.since.as_secs_f64(),
            life: member.incarnation,
            last_seen_ms: member.last_seen.and_then(since_1970).map(milliseconds),
        }
    }
}

/// A configured seed.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct SeedReport {
    /// As configured.
    pub address: String,
    /// `connected`, `connecting`, `waiting`, `itself`, or `left`.
    pub state: &'static str,
    /// Why the last attempt failed or the last link ended.
    pub last_error: Option<String>,
}

pub(crate) fn report(replica: Status, upkeep: Upkeep, net: Option<&Net>) -> Report {
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
            unheard_ms: milliseconds(link.unheard),
            silent: link.silent,
            member_bytes_sent: link.member_bytes_sent,
            member_bytes_received: link.member_bytes_received,
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
                SeedState::Left { .. } => "left",
            },
            last_error: seed.last_error,
        });
    Report {
        replica,
        store: upkeep.into(),
        gossip: net.map(Net::local_addr),
        links: links.collect(),
        members: net
            .map(Net::members)
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        seeds: seeds.collect(),
    }
}
