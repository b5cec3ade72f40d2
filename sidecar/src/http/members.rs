//! Members that are set aside, and welcomed again. Each node decides for itself.

use std::sync::Arc;

use anabranch::{PeerStatus, Report};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, Uri};
use serde_json::{Value, json};

use super::address::unescape;
use super::cluster::{Other, link_of, peer_name};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::{Service, answer};

/// Where they are.
pub(crate) const MEMBERS: &str = "/v1/cluster/members";
/// What can be done with one, behind its name.
pub(crate) const SET_ASIDE: &str = "set-aside";
/// See [`SET_ASIDE`].
pub(crate) const WELCOME: &str = "welcome";

/// `GET /v1/cluster/members`
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    Query::parse(uri.query())?.end(&[])?;
    let report = service.node.status().await?;
    let members = report.replica.peers.iter();
    let members: Vec<_> = members
        .map(|peer| Other::met(&report, peer).json())
        .collect();
    Ok(answer::json(&json!({ "members": members })))
}

/// `POST /v1/cluster/members/{member}/set-aside`
pub(super) async fn set_aside(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    decide(&service, &uri, true).await
}

/// `POST /v1/cluster/members/{member}/welcome`
pub(super) async fn welcome(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    decide(&service, &uri, false).await
}

async fn decide(service: &Service, uri: &Uri, aside: bool) -> Result<Response<Body>, Problem> {
    Query::parse(uri.query())?.end(&[])?;
    let given = named(uri.path());
    let found = find(&service.node.status().await?, &given)?.replica;
    let changed = match aside {
        true => service.node.set_aside(found).await?,
        false => service.node.welcome(found).await?,
    };
    let report = service.node.status().await?;
    let peers = report.replica.peers.iter();
    let shown = peers
        .filter(|peer| peer.replica == found)
        .map(|peer| Other::met(&report, peer).json());
    let shown: Vec<Value> = shown.collect();
    Ok(answer::json(
        &json!({ "changed": changed, "member": shown.first() }),
    ))
}

/// The member in `/v1/cluster/members/{member}/..`. What can't be unescaped is nobody's name.
fn named(path: &str) -> String {
    let rest = path.strip_prefix(MEMBERS).unwrap_or_default();
    let given = rest.trim_start_matches('/').split('/').next();
    let given = given.unwrap_or_default();
    unescape(given).unwrap_or_else(|_| given.to_owned())
}

/// A member by its name, or by its replica's id if several have the same name, as one may that took another's place.
fn find<'a>(report: &'a Report, given: &str) -> Result<&'a PeerStatus, Problem> {
    let peers = || report.replica.peers.iter();
    if let Some(peer) = peers().find(|peer| peer.replica.to_string() == given) {
        return Ok(peer);
    }
    let named: Vec<_> = peers()
        .filter(|peer| peer_name(peer, link_of(report, peer.replica)) == given)
        .collect();
    match &named[..] {
        [peer] => Ok(peer),
        [] => {
            let own = report.replica.name == given;
            let why = match own {
                true => "that is this node itself, which is never set aside".to_owned(),
                false => format!(
                    "this node has met no member {given:?}; {MEMBERS} lists those that it has"
                ),
            };
            Err(Problem::new(Kind::MemberNotFound, why))
        }
        several => {
            let ids = several.iter().map(|peer| peer.replica.to_string());
            let ids: Vec<_> = ids.collect();
            let detail = format!(
                "{} members are named {given:?}; give the id of the one that you mean: {}",
                ids.len(),
                ids.join(", ")
            );
            Err(Problem::new(Kind::MemberAmbiguous, detail).with("replicas", ids))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_in_the_path() {
        for (path, name) in [
            ("/v1/cluster/members/us-1/welcome", "us-1"),
            ("/v1/cluster/members/us%2D1/set-aside", "us-1"),
            ("/v1/cluster/members/%ff/set-aside", "%ff"),
        ] {
            assert_eq!(named(path), name);
        }
    }
}
