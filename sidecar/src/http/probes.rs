//! For whatever watches over the process.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;

use super::problem::{Kind, Problem};
use super::{Service, answer};
use crate::limits;

/// `GET /livez`: the process runs and serves.
pub(super) async fn live() -> Response<Body> {
    answer::typed("text/plain; charset=utf-8", "ok\n")
}

/// `GET /readyz`: this node takes reads and writes. That others can't be reached does not change it.
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<Response<Body>, Problem> {
    if *service.closing.borrow() {
        return Err(Problem::new(
            Kind::ShuttingDown,
            "this node is shutting down; use another",
        ));
    }
    let status = tokio::time::timeout(limits::PROBE_TIMEOUT, service.node.status());
    let Ok(report) = status.await else {
        return Err(Problem::new(
            Kind::Busy,
            format!(
                "the replica did not answer within {} s: look at the disk",
                limits::PROBE_TIMEOUT.as_secs()
            ),
        ));
    };
    match report?.replica.failed {
        None => Ok(answer::typed("text/plain; charset=utf-8", "ok\n")),
        Some(failure) => Err(Problem::new(
            Kind::StoreFailed,
            format!("{failure}; restart the node once the cause is mended"),
        )),
    }
}
