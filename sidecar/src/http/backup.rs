//! Backups, as a stream of bytes.
//!
//! A backup says itself when it is whole. If something fails on the way, the connection is broken off, and what has come
//! has no end.

use std::io;
use std::sync::Arc;

use anabranch::backup::{Backup, BackupError, LogShare, Mark};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Response, Uri};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::problem::{Kind, Problem};
use super::query::{Query, refusal};
use super::{Service, answer};
use crate::limits;

/// `GET /v1/backup`
pub(super) async fn take(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let mut query = Query::parse(uri.query())?;
    let since = query.text("since").map(|mark| {
        let parsed = mark.parse::<Mark>();
        parsed.map_err(|why| refusal("since", format!("`since`: {why}")))
    });
    let since = since.transpose()?;
    let log = match query.text("log").as_deref() {
        None | Some("all") => LogShare::All,
        Some("tail") => LogShare::Tail,
        Some(other) => {
            let detail = format!("`log` must be `all` or `tail`, not {other:?}");
            return Err(refusal("log", detail));
        }
    };
    query.end(&["since", "log"])?;
    let permit = service.backups.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            Kind::Busy,
            format!(
                "this node gives out {} backups already; wait for the end of one, or take that of another node",
                limits::BACKUPS_MAX
            ),
        )
        .retry_after(limits::RETRY_AFTER_S)
    })?;
    let backup = service
        .node
        .backup(since, log)
        .await
        .map_err(|error| problem(&error))?;
    let going = Going {
        backup,
        closing: service.closing.clone(),
        _permit: permit,
    };
    let body = Body::from_stream(going.chunks());
    Ok(answer::typed("application/octet-stream", body))
}

fn problem(error: &BackupError) -> Problem {
    let detail = error.to_string();
    match error {
        BackupError::NotSince { .. } => Problem::new(Kind::BackupBaseGone, detail),
        BackupError::Store(_) | BackupError::LogLost { .. } => {
            Problem::new(Kind::StoreFailed, detail)
        }
        BackupError::Output(_) => {
            Problem::new(Kind::ShuttingDown, detail).retry_after(limits::RETRY_AFTER_S)
        }
        _ => Problem::new(Kind::Internal, detail),
    }
}

struct Going {
    backup: Backup,
    closing: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Going {
    /// Pulled by the connection as fast as its reader takes it.
    fn chunks(self) -> impl Stream<Item = Result<Bytes, BackupError>> {
        futures_util::stream::unfold(Some(self), |going| async {
            let mut going = going?;
            let next = tokio::select! {
                biased;
                _ = going.closing.wait_for(|closing| *closing) => {
                    Some(Err(io::Error::other("the node is shutting down").into()))
                }
                next = going.backup.next() => next,
            };
            match next? {
                Ok(chunk) => Some((Ok(chunk), Some(going))),
                Err(error) => {
                    tracing::error!(%error, "a backup was not finished");
                    Some((Err(error), None))
                }
            }
        })
    }
}
