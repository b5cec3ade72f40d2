//! Peers: their links, how far they are behind, who is there at all.

use std::sync::atomic::AtomicU64;

use anabranch::{PeerStatus, Report, Standing};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::http::cluster;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct PeerLabels {
    pub(super) peer: String,
    pub(super) datacenter: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// By which a peer is known in all metrics.
pub(super) fn peer_labels(report: &Report, peer: &PeerStatus) -> PeerLabels {
    PeerLabels {
        peer: match cluster::peer_name(peer, cluster::link_of(report, peer.replica)) {
            "" => peer.replica.to_string(),
            name => name.to_owned(),
        },
        datacenter: peer.datacenter.clone(),
    }
}

/// Sets one peer's value.
type PeerGauge = Family<PeerLabels, Gauge<f64, AtomicU64>>;

fn members_by_state(report: &Report) -> Family<StateLabels, Gauge> {
    let members = Family::<StateLabels, Gauge>::default();
    for state in ["alive", "suspect", "down", "left"] {
        let of_state = report.members.iter().filter(|member| member.state == state);
        let count = i64::try_from(of_state.count()).unwrap_or(i64::MAX);
        members
            .get_or_create_owned(&StateLabels { state })
            .set(count);
    }
    members
}

/// Of all peers.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
pub(super) fn registry(report: &Report) -> Registry {
    let mut registry = Registry::with_prefix("anabranch");
    let [up, silent, rtt, lag, lag_batches, ahead, delay] =
        std::array::from_fn(|_| PeerGauge::default());
    let [away, held, aside] = std::array::from_fn(|_| PeerGauge::default());
    let [sent, received, member_sent, member_received] =
        std::array::from_fn(|_| Family::<PeerLabels, Counter>::default());
    for peer in &report.replica.peers {
        let link = cluster::link_of(report, peer.replica);
        let labels = peer_labels(report, peer);
        let set = |family: &PeerGauge, value: f64| {
            family.get_or_create_owned(&labels).set(value);
        };
        set(&up, if link.is_some() { 1.0 } else { 0.0 });
        set(&lag, peer.behind_ms as f64 / 1_000.0);
        set(&lag_batches, peer.behind_batches as f64);
        set(&ahead, peer.ahead_batches as f64);
        set(&away, peer.away_ms.unwrap_or(0) as f64 / 1_000.0);
        set(&held, peer.log_held_bytes as f64);
        set(
            &aside,
            f64::from(u8::from(peer.standing == Standing::SetAside)),
        );
        if let Some(delay_ms) = peer.delay_ms {
            set(&delay, delay_ms as f64 / 1_000.0);
        }
        if let Some(link) = link {
            set(&rtt, link.rtt_ms / 1_000.0);
            set(&silent, if link.silent { 1.0 } else { 0.0 });
            let count = |family: &Family<PeerLabels, Counter>, bytes| {
                family.get_or_create_owned(&labels).inc_by(bytes);
            };
            count(&sent, link.bytes_sent);
            count(&received, link.bytes_received);
            count(&member_sent, link.member_bytes_sent);
            count(&member_received, link.member_bytes_received);
        }
    }
    registry.register_with_unit(
        "peer_away",
        "How long the peer has been away, 0 while it is linked; as long as it is not set aside, log is kept for it",
        Unit::Seconds,
        away,
    );
    registry.register_with_unit(
        "peer_log_held",
        "Log from the first write on that the peer lacks, kept for it; a rise means that it is away or does not keep up",
        Unit::Bytes,
        held,
    );
    registry.register(
        "peer_set_aside",
        "1 while the peer is set aside, so that nothing is kept for it",
        aside,
    );
    registry.register(
        "peer_link_silent",
        "1 while nothing is heard on a link that is still up: the peer, or the way to it, seems to be gone",
        silent,
    );
    registry.register_with_unit(
        "peer_member_sent",
        "Of what was sent over the present link, what was told about members",
        Unit::Bytes,
        member_sent,
    );
    registry.register_with_unit(
        "peer_member_received",
        "Of what was received over the present link, what the peer told about members",
        Unit::Bytes,
        member_received,
    );
    registry.register(
        "members",
        "Other nodes of the cluster by their state; suspect or down ones are not reached",
        members_by_state(report),
    );
    registry.register("peer_link_up", "1 while the link to the peer is up", up);
    registry.register_with_unit(
        "peer_rtt",
        "Round-trip time of the link",
        Unit::Seconds,
        rtt,
    );
    registry.register_with_unit(
        "peer_lag",
        "Age of the oldest write of this node that the peer has not acknowledged",
        Unit::Seconds,
        lag,
    );
    registry.register(
        "peer_lag_batches",
        "Writes of this node that the peer has not acknowledged",
        lag_batches,
    );
    registry.register(
        "peer_ahead_batches",
        "Writes that the peer holds and this node does not",
        ahead,
    );
    registry.register_with_unit(
        "peer_delay",
        "From the peer's writing to durable here, by both wall clocks, for its latest write",
        Unit::Seconds,
        delay,
    );
    registry.register_with_unit(
        "peer_sent",
        "UDP payload sent over the present link",
        Unit::Bytes,
        sent,
    );
    registry.register_with_unit(
        "peer_received",
        "UDP payload received over the present link",
        Unit::Bytes,
        received,
    );
    registry
}
