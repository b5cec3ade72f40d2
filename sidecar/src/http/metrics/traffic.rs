//! What goes between this node and each peer, and what waits to.

use std::sync::atomic::AtomicU64;

use anabranch::{PeerStatus, Report, TrafficBytes};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::peers::{PeerLabels, peer_labels};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Kind {
    peer: String,
    datacenter: String,
    kind: &'static str,
}

type Bytes = Family<Kind, Counter>;
type Waiting = Family<Kind, Gauge<f64, AtomicU64>>;
type Protocol = Family<PeerLabels, Gauge<f64, AtomicU64>>;

fn count(family: &Bytes, peer: &PeerLabels, bytes: &TrafficBytes) {
    for (kind, bytes) in [
        ("push", bytes.push),
        ("catch_up", bytes.catch_up),
        ("repair", bytes.repair),
        ("control", bytes.control),
    ] {
        family.get_or_create_owned(&of(peer, kind)).inc_by(bytes);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
fn weigh(family: &Waiting, peer: &PeerLabels, status: &PeerStatus) {
    for (kind, bytes) in [
        ("waiting", status.waiting_bytes),
        ("in_flight", status.in_flight_bytes),
        ("bulk", status.bulk_bytes),
        ("partial", status.partial_bytes),
    ] {
        family
            .get_or_create_owned(&of(peer, kind))
            .set(bytes as f64);
    }
}

fn of(peer: &PeerLabels, kind: &'static str) -> Kind {
    Kind {
        peer: peer.peer.clone(),
        datacenter: peer.datacenter.clone(),
        kind,
    }
}

/// Of all peers.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
pub(super) fn registry(report: &Report) -> Registry {
    let mut registry = Registry::with_prefix("anabranch");
    let (sent, received) = (Bytes::default(), Bytes::default());
    let (waiting, protocols) = (Waiting::default(), Protocol::default());
    for peer in &report.replica.peers {
        let labels = peer_labels(report, peer);
        count(&sent, &labels, &peer.sent);
        count(&received, &labels, &peer.received);
        weigh(&waiting, &labels, peer);
        if let Some(protocol) = peer.protocol {
            protocols.get_or_create_owned(&labels).set(protocol as f64);
        }
    }
    registry.register_with_unit(
        "peer_frames_sent",
        "Frames sent to the peer, compressed, by what they were for: batches as they became durable (push), batches from the log (catch_up), \
         documents that are missing or can't be read somewhere, and what it takes to find them (repair), all the rest (control)",
        Unit::Bytes,
        sent,
    );
    registry.register_with_unit(
        "peer_frames_received",
        "Frames that came from the peer, by what they were for",
        Unit::Bytes,
        received,
    );
    registry.register_with_unit(
        "peer_queue",
        "What is not through: batches taken up for the peer (waiting), frames that the link has not taken (in_flight), batches from the log \
         and parts of large ones that the peer has not taken (bulk), parts from the peer that wait for the rest (partial). A rise means a \
         link slower than what is written",
        Unit::Bytes,
        waiting,
    );
    registry.register(
        "peer_protocol",
        "The protocol that is spoken with the peer; the lower of the two versions' newest",
        protocols,
    );
    registry
}
