//! Changes as server-sent events.
//!
//! An event's id is its position in this node's log. Positions mean nothing on another node: a reader goes on
//! where it was at the node that it read from. What was written together comes together and has one position,
//! which its last event carries: who is cut off in between gets all of it again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use anabranch::{Changes, Error, Key, Lsn, Namespace, RequestError, Visible};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Service;
use super::problem::{Kind, Problem};
use super::query::{Query, refusal};
use crate::limits;

const LAST_EVENT_ID: &str = "last-event-id";

/// `GET /v1/events`
pub(super) async fn follow(
    State(service): State<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let wanted = Wanted::parse(&uri, &headers)?;
    let permit = service.feeds.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            Kind::Busy,
            format!(
                "this node serves {} event feeds already; close one, or follow another node",
                limits::EVENT_FEEDS_MAX
            ),
        )
        .retry_after(limits::RETRY_AFTER_S)
    })?;
    if let Some(after) = wanted.after {
        check_position(&service, after).await?;
    }
    let changes = service
        .node
        .subscribe(wanted.namespace, &wanted.prefix, wanted.after);
    let feed = Feed {
        changes,
        rest: VecDeque::new(),
        closing: service.closing.clone(),
        greeted: false,
        _permit: permit,
    };
    let keep_alive = KeepAlive::new().interval(limits::EVENT_KEEP_ALIVE);
    Ok(Sse::new(feed.events()).keep_alive(keep_alive))
}

#[derive(PartialEq, Debug)]
struct Wanted {
    namespace: Option<Namespace>,
    prefix: String,
    after: Option<Lsn>,
}

impl Wanted {
    /// A reader that comes back repeats its URL, so its header counts for more.
    fn parse(uri: &Uri, headers: &HeaderMap) -> Result<Self, Problem> {
        let mut query = Query::parse(uri.query())?;
        let namespace = match query.text("ns") {
            Some(name) => Some(
                Namespace::new(&name).map_err(|error| refusal("ns", format!("`ns`: {error}")))?,
            ),
            None => None,
        };
        let prefix = query.text("prefix").unwrap_or_default();
        let mut after = query.number("after")?.map(Lsn);
        query.end(&["ns", "prefix", "after"])?;
        if let Some(id) = headers.get(LAST_EVENT_ID) {
            let id = id.to_str().ok().and_then(|id| id.parse().ok());
            after = Some(Lsn(id.ok_or_else(|| {
                Problem::new(
                    Kind::BadHeader,
                    "Last-Event-ID must be the id of an event of this node, which is a whole number",
                )
                .with("header", LAST_EVENT_ID)
            })?));
        }
        Ok(Self {
            namespace,
            prefix,
            after,
        })
    }
}

/// A position that this log never had comes from another node, or from before a backup was restored.
async fn check_position(service: &Service, after: Lsn) -> Result<(), Problem> {
    let replica = service.node.status().await?.replica;
    let (log_first, log_end) = (replica.log_first, replica.log_end);
    // 0 stands for all that there is.
    if after > Lsn(0) && after.next() < log_first {
        let first = log_first;
        return Err(RequestError::Released { after, first }.into());
    }
    if after <= log_end {
        return Ok(());
    }
    Err(Problem::new(
        Kind::PositionGone,
        format!(
            "position {} is past the end of this node's log, {}: it is another node's, or from before its data was \
             restored; list the documents, then follow without a position",
            after.0, log_end.0
        ),
    )
    .with("log_end", log_end.0))
}

struct Feed {
    changes: Changes,
    /// What is left of the batch that is being told.
    rest: VecDeque<Event>,
    closing: watch::Receiver<bool>,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// Pulled by the connection as fast as its reader takes it; nothing piles up here.
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(Some(self), |feed| async {
            let mut feed = feed?;
            if !feed.greeted {
                feed.greeted = true;
                let greeting = feed.greeting();
                return Some((Ok(greeting), Some(feed)));
            }
            if let Some(event) = feed.rest.pop_front() {
                return Some((Ok(event), Some(feed)));
            }
            let next = tokio::select! {
                biased;
                _ = feed.closing.wait_for(|closing| *closing) => return None,
                next = feed.changes.next() => next,
            };
            match next {
                Ok(visible) => {
                    feed.rest = events(&visible);
                    let first = feed.rest.pop_front()?;
                    Some((Ok(first), Some(feed)))
                }
                Err(Error::Closed) => None,
                Err(error) => {
                    let problem = Problem::from(error).json().to_string();
                    Some((Ok(Event::default().event("problem").data(problem)), None))
                }
            }
        })
    }

    /// Without data, so nothing is dispatched; but whoever is cut off before the first change knows where to go on.
    fn greeting(&self) -> Event {
        Event::default()
            .id(self.changes.position().0.to_string())
            .retry(limits::EVENT_RETRY)
    }
}

/// One for each document; and one that says so, where not all that changed are named.
fn events(visible: &Visible) -> VecDeque<Event> {
    let mut events: VecDeque<_> = changes(visible).collect();
    if visible
        .repaired
        .as_ref()
        .is_some_and(|repaired| !repaired.whole)
    {
        let data = json!({"lsn": visible.lsn, "ns": visible.namespace});
        let event = Event::default().event("resync").data(data.to_string());
        events.push_back(event.id(visible.lsn.0.to_string()));
    }
    events
}

/// What an event says of one document.
#[derive(Serialize)]
struct Change<'a> {
    batch: &'a str,
    key: &'a Key,
    local: bool,
    lsn: Lsn,
    ns: &'a Namespace,
    part: usize,
    parts: usize,
    time_ms: u64,
}

fn changes(visible: &Visible) -> impl Iterator<Item = Event> + '_ {
    let parts = visible.documents.len();
    // The same at every node, unlike the position.
    let batch = format!("{}.{}", visible.origin, visible.seq.0);
    let documents = visible.documents.iter().zip(1..);
    documents.map(move |(id, part)| {
        let change = Change {
            batch: &batch,
            key: &id.key,
            local: visible.local,
            lsn: visible.lsn,
            ns: &id.namespace,
            part,
            parts,
            time_ms: visible.time_ms,
        };
        // Nothing in it can't be said in JSON.
        let data = serde_json::to_string(&change).unwrap_or_default();
        let event = Event::default().event("change").data(data);
        if part == parts {
            event.id(visible.lsn.0.to_string())
        } else {
            event
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(uri: &'static str, last: Option<&'static str>) -> Result<Wanted, Problem> {
        let headers = last.map(|last| {
            let name = axum::http::HeaderName::from_static(LAST_EVENT_ID);
            (name, HeaderValue::from_static(last))
        });
        Wanted::parse(&Uri::from_static(uri), &headers.into_iter().collect())
    }

    #[test]
    fn the_header_counts_for_more_than_the_address() {
        let after = |uri, last| wanted(uri, last).unwrap().after;
        assert_eq!(after("/v1/events", None), None);
        assert_eq!(after("/v1/events?after=0", None), Some(Lsn(0)));
        assert_eq!(after("/v1/events?after=3", Some("7")), Some(Lsn(7)));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let kind = |uri, last| wanted(uri, last).unwrap_err().kind();
        assert_eq!(kind("/v1/events?after=-1", None), Kind::BadQuery);
        assert_eq!(kind("/v1/events?ns=a%2Fb", None), Kind::BadQuery);
        assert_eq!(kind("/v1/events?since=1", None), Kind::BadQuery);
        assert_eq!(kind("/v1/events", Some("x")), Kind::BadHeader);
        assert_eq!(kind("/v1/events", Some("")), Kind::BadHeader);
    }
}
