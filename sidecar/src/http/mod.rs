//! HTTP, as a translation of requests to the node's methods and back.
//!
//! * [`address`], [`query`], [`reading`], [`header`], [`guard`], [`session`], [`body`], [`edits`]: what a request says;
//! * [`writing`], [`acknowledgement`]: what all writes have in common;
//! * [`documents`], [`batch`], [`events`], [`namespaces`], [`cluster`], [`members`], [`backup`], [`probes`], [`metrics`]: the endpoints;
//! * [`problem`], [`failure`]: errors; [`reserved`]: what is promised and not there yet;
//! * [`server`]: sockets, bounds on them, and draining.

pub(crate) mod acknowledgement;
pub(crate) mod address;
mod answer;
mod backup;
mod batch;
mod body;
mod cluster;
mod documents;
mod edits;
mod events;
mod failure;
mod guard;
mod header;
pub(crate) mod members;
mod metrics;
pub(crate) mod namespaces;
mod probes;
pub(crate) mod problem;
mod query;
mod reading;
mod reserved;
pub(crate) mod server;
pub(crate) mod session;
#[cfg(test)]
mod tests;
pub(crate) mod writing;

use std::sync::Arc;
use std::time::Duration;

use anabranch::{Answer, Error, Node, Request as Asked, RequestError, Session};
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Response, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any, get, post};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub(crate) use self::cluster::LeaveOrder;
use self::metrics::Metrics;
use self::problem::{Kind, Problem};
use crate::limits;

/// What the endpoints share.
pub(crate) struct Service {
    node: Node,
    metrics: Metrics,
    feeds: Arc<Semaphore>,
    backups: Arc<Semaphore>,
    /// Takes the order to leave the cluster.
    leave: watch::Sender<Option<LeaveOrder>>,
    /// True once the node is to stop.
    closing: watch::Receiver<bool>,
    /// How long a request may wait for other datacenters.
    session_wait_max: Duration,
}

impl Service {
    fn new(
        node: Node,
        session_wait_max: Duration,
        closing: watch::Receiver<bool>,
        leave: watch::Sender<Option<LeaveOrder>>,
    ) -> Self {
        Self {
            node,
            metrics: Metrics::new(),
            feeds: Arc::new(Semaphore::new(limits::EVENT_FEEDS_MAX)),
            backups: Arc::new(Semaphore::new(limits::BACKUPS_MAX)),
            leave,
            closing,
            session_wait_max,
        }
    }

    fn session(&self, headers: &HeaderMap) -> Result<Session, Problem> {
        session::of(headers, self.session_wait_max)
    }

    async fn ask(&self, asked: Asked, session: Session) -> Result<Answer, Problem> {
        let answer = self.node.ask(asked, session).await;
        if let Err(Error::Request(RequestError::Behind { .. })) = &answer {
            self.metrics.was_behind();
        }
        Ok(answer?)
    }
}

/// All endpoints over one node.
pub(crate) fn router(
    node: Node,
    session_wait_max: Duration,
    closing: watch::Receiver<bool>,
    leave: watch::Sender<Option<LeaveOrder>>,
) -> Router {
    let service = Arc::new(Service::new(node, session_wait_max, closing, leave));
    Router::new()
        .route("/", get(index))
        .route("/v1/docs/{ns}", get(documents::list))
        // An empty key gets an error of its own.
        .route("/v1/docs/{ns}/", document_routes())
        .route("/v1/docs/{ns}/{*key}", document_routes())
        .route("/v1/batch", post(batch::write))
        .route("/v1/events", get(events::follow))
        .route(namespaces::NAMESPACES, get(namespaces::list))
        .route(
            &namespaces::ONE,
            get(namespaces::show).put(namespaces::place),
        )
        .route("/v1/cluster", get(cluster::show))
        .route(members::MEMBERS, get(members::list))
        .route(&of_member(members::SET_ASIDE), post(members::set_aside))
        .route(&of_member(members::WELCOME), post(members::welcome))
        .route("/v1/cluster/leave", post(cluster::leave))
        .route("/v1/backup", get(backup::take))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(metrics::show))
        .route("/v1/cluster/verify", post(cluster::verify))
        .route("/automerge", any(to_come))
        .route("/openapi.json", any(to_come))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(service.clone(), attend))
        .with_state(service)
}

fn of_member(decision: &str) -> String {
    format!("{}/{{member}}/{decision}", members::MEMBERS)
}

fn document_routes() -> MethodRouter<Arc<Service>> {
    get(documents::get)
        .put(documents::put)
        .patch(documents::patch)
        .post(documents::ops)
        .delete(documents::delete)
}

/// Around every request: bounds the time, counts.
async fn attend(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // What is malformed, or too long, is for the endpoint to refuse.
    let waits = session::asked(request.headers()).ok().flatten();
    let waits = waits.unwrap_or_default().min(service.session_wait_max);
    let within = limits::REQUEST_TIMEOUT.saturating_add(waits);
    let response = match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => timed_out(within).into_response(),
    };
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    service
        .metrics
        .answered(&method, route, response.status(), begun.elapsed());
    response
}

fn timed_out(within: Duration) -> Problem {
    Problem::new(
        Kind::TimedOut,
        format!(
            "no answer within {} s. Whether a write was taken is not known: read before writing again, or repeat it with its idempotency key",
            within.as_secs()
        ),
    )
    .retry_after(limits::RETRY_AFTER_S)
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(
        Kind::UnknownPath,
        format!(
            "there is nothing at {}; documents are at /v1/docs/NAMESPACE/KEY, and / lists the rest",
            uri.path()
        ),
    )
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        format!(
            "{} does not apply to {}; the header Allow lists what does",
            request.method(),
            request.uri().path()
        ),
    )
}

async fn to_come(uri: Uri) -> Problem {
    reserved::feature(uri.path())
}

async fn index() -> Response<Body> {
    answer::typed("text/html; charset=utf-8", include_str!("index.html"))
}
