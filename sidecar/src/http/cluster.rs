//! The cluster as this node sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch::{Compared, LinkReport, PeerStatus, Report, VerifiedPeer};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, Uri};
use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use super::query::Query;
use super::{Service, answer};

/// `GET /v1/cluster`
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    Query::parse(uri.query())?.end(&[])?;
    Ok(answer::json(&view(&service.node.status().await?)))
}

/// `POST /v1/cluster/verify?ns=`
pub(super) async fn verify(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let mut query = Query::parse(uri.query())?;
    let namespace = query.text("ns");
    query.end(&["ns"])?;
    let Some(namespace) = namespace else {
        let detail = "which namespace? Say it by `?ns=NAMESPACE`";
        return Err(Problem::new(Kind::BadQuery, detail).with("parameter", "ns"));
    };
    let verified = service.node.verify(&namespace).await?;
    let equal = |peer: &VerifiedPeer| matches!(peer.compared, Compared::Equal { .. });
    let mut body = json!(verified);
    body["equal"] = verified.peers.iter().all(equal).into();
    Ok(answer::json(&body))
}

/// What `/v1/cluster` says about a report.
fn view(report: &Report) -> Value {
    let replica = &report.replica;
    let mut datacenters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let own = [(&*replica.datacenter, &*replica.name)];
    let others = replica
        .peers
        .iter()
        .map(|peer| (&*peer.datacenter, peer_name(peer, link_of(report, peer))));
    for (datacenter, name) in own.into_iter().chain(others) {
        datacenters.entry(datacenter).or_default().push(name);
    }
    json!({
        "node": {
            "replica": replica.replica,
            "name": replica.name,
            "datacenter": replica.datacenter,
            "incarnation": replica.incarnation,
            "gossip": report.gossip,
            "log_end": replica.log_end,
            "failed": replica.failed,
            "requests_open": replica.requests_open,
            "sessions_waiting": replica.sessions_waiting,
            "acknowledgements_waiting": replica.acknowledgements_waiting,
            "documents_loaded": replica.documents_loaded,
            "loaded_bytes": replica.loaded_bytes,
            "unfolded_bytes": replica.unfolded_bytes,
            "log_first": replica.log_first,
            "log_bytes": replica.log_bytes,
            "disk_full": replica.full,
            "damaged": replica.damaged,
            "fold_failing": replica.fold_failing,
            "store": report.store,
        },
        "datacenters": datacenters
            .iter()
            .map(|(name, members)| json!({"name": name, "members": members}))
            .collect::<Vec<_>>(),
        "members": replica
            .peers
            .iter()
            .map(|peer| member(peer, link_of(report, peer)))
            .collect::<Vec<_>>(),
        "seeds": report.seeds,
        "namespaces": replica.namespaces,
        "counters": replica.counters,
    })
}

/// The link to a peer, if it is up.
pub(super) fn link_of<'a>(report: &'a Report, peer: &PeerStatus) -> Option<&'a LinkReport> {
    report.links.iter().find(|link| link.peer == peer.replica)
}

/// What a peer is called: as it says itself, or else as its certificate does.
pub(super) fn peer_name<'a>(peer: &'a PeerStatus, link: Option<&'a LinkReport>) -> &'a str {
    match (&*peer.name, link) {
        ("", Some(link)) => &link.name,
        (name, _) => name,
    }
}

pub(super) fn member(peer: &PeerStatus, link: Option<&LinkReport>) -> Value {
    json!({
        "replica": peer.replica,
        "name": peer_name(peer, link),
        "datacenter": peer.datacenter,
        "link": if link.is_some() { "up" } else { "down" },
        "remote": link.map(|link| link.remote),
        "up_s": link.map(|link| link.up_s),
        "rtt_ms": link.map(|link| link.rtt_ms),
        "bytes_sent": link.map(|link| link.bytes_sent),
        "bytes_received": link.map(|link| link.bytes_received),
        "behind_batches": peer.behind_batches,
        "behind_ms": peer.behind_ms,
        "ahead_batches": peer.ahead_batches,
        "delay_ms": peer.delay_ms,
        "standing": peer.standing,
        "away_ms": peer.away_ms,
        "log_held_bytes": peer.log_held_bytes,
        "protocol": peer.protocol,
        "sent": peer.sent,
        "received": peer.received,
        "waiting_bytes": peer.waiting_bytes,
        "in_flight_bytes": peer.in_flight_bytes,
        "bulk_bytes": peer.bulk_bytes,
        "partial_bytes": peer.partial_bytes,
    })
}
