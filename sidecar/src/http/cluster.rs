//! The cluster as this node sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch::{
    Compared, LeaveError, LinkReport, MemberReport, PeerStatus, ReplicaId, Report, VerifiedPeer,
};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode, Uri};
use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use super::query::Query;
use super::{Service, answer};
use crate::limits;

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

/// What a node is told that is to leave its cluster for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LeaveOrder {
    /// Even if no other node holds all that was written here.
    pub(crate) force: bool,
}

/// `POST /v1/cluster/leave`: the node answers, finishes the requests under way, tells the others, and ends.
pub(super) async fn leave(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let mut query = Query::parse(uri.query())?;
    let force = query.flag("force")?;
    query.end(&["force"])?;
    let wait = if force {
        Duration::ZERO
    } else {
        limits::LEAVE_WAIT
    };
    match service.node.may_leave(wait).await {
        Err(LeaveError::NotHeld { .. }) if force => {}
        held => held?,
    }
    let replica = service.node.status().await?.replica;
    if service.leave.send(Some(LeaveOrder { force })).is_err() {
        return Err(Problem::new(
            Kind::ShuttingDown,
            "this node is shutting down already, and stays a member",
        ));
    }
    let body = json!({"leaving": true, "replica": replica.replica, "name": replica.name});
    let mut response = answer::json(&body);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Another node, as far as it is known: it was met, is linked, or was told of.
#[derive(Clone, Copy)]
pub(super) struct Other<'a> {
    peer: Option<&'a PeerStatus>,
    link: Option<&'a LinkReport>,
    member: Option<&'a MemberReport>,
}

impl<'a> Other<'a> {
    pub(super) fn met(report: &'a Report, peer: &'a PeerStatus) -> Self {
        let mut members = report.members.iter();
        Self {
            peer: Some(peer),
            link: link_of(report, peer.replica),
            member: members.find(|member| member.replica == peer.replica),
        }
    }

    fn all(report: &'a Report) -> Vec<Self> {
        let met = report.replica.peers.iter();
        let met = met.map(|peer| Self::met(report, peer));
        let is_met = |member: &MemberReport| {
            let mut met = report.replica.peers.iter();
            met.any(|peer| peer.replica == member.replica)
        };
        let told = report.members.iter().filter(|member| !is_met(member));
        met.chain(told.map(|member| Self {
            peer: None,
            link: link_of(report, member.replica),
            member: Some(member),
        }))
        .collect()
    }

    fn has_left(&self) -> bool {
        self.member.is_some_and(|member| member.state == "left")
    }

    /// As it says itself, or else as its certificate or the others do.
    fn name(&self) -> &'a str {
        let said = self.peer.map(|peer| peer_name(peer, self.link));
        let told = self.member.map(|member| &*member.name);
        let mut names = said.into_iter().chain(told);
        names.find(|name| !name.is_empty()).unwrap_or("")
    }

    fn datacenter(&self) -> &'a str {
        let said = self.peer.map(|peer| &*peer.datacenter);
        let told = self.member.map(|member| &*member.datacenter);
        let mut names = said.into_iter().chain(told);
        names.find(|name| !name.is_empty()).unwrap_or("")
    }

    pub(super) fn json(self) -> Value {
        let Self { peer, link, member } = self;
        json!({
            "replica": peer.map(|peer| peer.replica).or(member.map(|member| member.replica)),
            "name": self.name(),
            "datacenter": self.datacenter(),
            "state": member.map(|member| member.state),
            "state_s": member.map(|member| member.state_s),
            "life": member.map(|member| member.life),
            "addresses": member.map_or(&[][..], |member| &*member.addresses),
            "last_seen_ms": member.and_then(|member| member.last_seen_ms),
            "link": if link.is_some() { "up" } else { "down" },
            "silent": link.map(|link| link.silent),
            "unheard_ms": link.map(|link| link.unheard_ms),
            "remote": link.map(|link| link.remote),
            "up_s": link.map(|link| link.up_s),
            "rtt_ms": link.map(|link| link.rtt_ms),
            "bytes_sent": link.map(|link| link.bytes_sent),
            "bytes_received": link.map(|link| link.bytes_received),
            "member_bytes_sent": link.map(|link| link.member_bytes_sent),
            "member_bytes_received": link.map(|link| link.member_bytes_received),
            "behind_batches": peer.map(|peer| peer.behind_batches),
            "behind_ms": peer.map(|peer| peer.behind_ms),
            "ahead_batches": peer.map(|peer| peer.ahead_batches),
            "delay_ms": peer.and_then(|peer| peer.delay_ms),
            "standing": peer.map(|peer| peer.standing),
            "away_ms": peer.and_then(|peer| peer.away_ms),
            "log_held_bytes": peer.map(|peer| peer.log_held_bytes),
            "protocol": peer.and_then(|peer| peer.protocol),
            "sent": peer.map(|peer| peer.sent),
            "received": peer.map(|peer| peer.received),
            "waiting_bytes": peer.map(|peer| peer.waiting_bytes),
            "in_flight_bytes": peer.map(|peer| peer.in_flight_bytes),
            "bulk_bytes": peer.map(|peer| peer.bulk_bytes),
            "partial_bytes": peer.map(|peer| peer.partial_bytes),
        })
    }
}

/// What `/v1/cluster` says about a report.
fn view(report: &Report) -> Value {
    let replica = &report.replica;
    let mut datacenters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let own = [(&*replica.datacenter, &*replica.name)];
    let others = Other::all(report);
    let members = others.iter().filter(|other| !other.has_left());
    let members = members.map(|other| (other.datacenter(), other.name()));
    for (datacenter, name) in own.into_iter().chain(members) {
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
        "members": others.iter().map(|other| other.json()).collect::<Vec<_>>(),
        "seeds": report.seeds,
        "namespaces": replica.namespaces,
        "counters": replica.counters,
    })
}

/// The link to a peer, if it is up.
pub(super) fn link_of(report: &Report, peer: ReplicaId) -> Option<&LinkReport> {
    report.links.iter().find(|link| link.peer == peer)
}

/// What a peer is called: as it says itself, or else as its certificate does.
pub(super) fn peer_name<'a>(peer: &'a PeerStatus, link: Option<&'a LinkReport>) -> &'a str {
    match (&*peer.name, link) {
        ("", Some(link)) => &link.name,
        (name, _) => name,
    }
}
