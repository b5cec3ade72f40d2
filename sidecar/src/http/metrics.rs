//! `/metrics` in the OpenMetrics text format.

mod namespaces;
mod peers;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anabranch::{Counters, Report, StoreReport};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Response, StatusCode};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::problem::{Kind, Problem};
use super::{Service, answer};
use crate::limits;

/// From 100 µs, about a fast disk's sync, to 26 s.
const LATENCY_BUCKETS: [f64; 10] = [
    0.000_1, 0.000_4, 0.001_6, 0.006_4, 0.025_6, 0.102_4, 0.409_6, 1.638_4, 6.553_6, 26.214_4,
];

/// `GET /metrics`
pub(super) async fn show(State(service): State<Arc<Service>>) -> Result<Response<Body>, Problem> {
    let report = service.node.status().await?;
    let feeds = limits::EVENT_FEEDS_MAX - service.feeds.available_permits();
    let text = service
        .metrics
        .encode(&report, feeds)
        .map_err(|error| Problem::new(Kind::Internal, format!("the metrics: {error}")))?;
    Ok(answer::typed(
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        text,
    ))
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    method: MethodLabel,
    route: String,
    status: &'static str,
}

/// Methods come from the wire: those that nobody serves share a label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
#[expect(clippy::upper_case_acronyms, reason = "as HTTP spells them")]
enum MethodLabel {
    GET,
    HEAD,
    PUT,
    PATCH,
    POST,
    DELETE,
    Other,
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::GET,
            Method::HEAD => Self::HEAD,
            Method::PUT => Self::PUT,
            Method::PATCH => Self::PATCH,
            Method::POST => Self::POST,
            Method::DELETE => Self::DELETE,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct NodeLabels {
    name: String,
    datacenter: String,
    version: &'static str,
}

/// What is counted here; the rest is asked of the node when somebody looks.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    repeated: Counter,
    behind: Counter,
    unacknowledged: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let requests = Family::default();
        let latency: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        let mut registry = Registry::with_prefix("anabranch");
        registry.register(
            "http_requests",
            "HTTP requests answered; a rise of 5xx means that this node fails its callers",
            requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer's; follows the disk for writes",
            Unit::Seconds,
            latency.clone(),
        );
        let [repeated, behind, unacknowledged] = std::array::from_fn(|_| Counter::default());
        registry.register(
            "writes_repeated",
            "Writes that were asked for again with their idempotency key, and not done again",
            repeated.clone(),
        );
        registry.register(
            "sessions_behind",
            "Requests refused because this node did not come to see in time what their session has; a rise means that \
             links are slow or down, or that clients wait too briefly",
            behind.clone(),
        );
        registry.register(
            "writes_unacknowledged",
            "Writes answered before as many datacenters held them as their callers asked for; a rise means that links are \
             slow or down, or that clients wait too briefly",
            unacknowledged.clone(),
        );
        Self {
            registry,
            requests,
            latency,
            repeated,
            behind,
            unacknowledged,
        }
    }

    /// Counts a write that was asked for again.
    pub(super) fn repeated(&self) {
        self.repeated.inc();
    }

    /// Counts a request whose session had seen more than this node.
    pub(super) fn was_behind(&self) {
        self.behind.inc();
    }

    /// Counts a write of which too few datacenters knew in time.
    pub(super) fn was_not_acknowledged(&self) {
        self.unacknowledged.inc();
    }

    /// Counts a request that was answered.
    pub(super) fn answered(
        &self,
        method: &Method,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) {
        let status = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests
            .get_or_create_owned(&RequestLabels {
                method: method.into(),
                route: route.to_owned(),
                status,
            })
            .inc();
        self.latency
            .get_or_create_owned(&RouteLabels {
                route: route.to_owned(),
            })
            .observe(took.as_secs_f64());
    }

    fn encode(&self, report: &Report, feeds: usize) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &of_node(report, feeds))?;
        encode_registry(&mut text, &peers::registry(report))?;
        encode_registry(&mut text, &namespaces::registry(report))?;
        encode_registry(&mut text, &traffic::registry(report))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

fn of_node(report: &Report, feeds: usize) -> Registry {
    let replica = &report.replica;
    let mut registry = Registry::with_prefix("anabranch");
    let node = Family::<NodeLabels, Gauge>::default();
    node.get_or_create_owned(&NodeLabels {
        name: replica.name.clone(),
        datacenter: replica.datacenter.clone(),
        version: env!("CARGO_PKG_VERSION"),
    })
    .set(1);
    registry.register("node_info", "This node; always 1", node);
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
        gauge.set(value as f64);
        registry.register(name, help, gauge);
    };
    gauge(
        "store_failed",
        "1 once the store has failed: the node must be restarted",
        usize::from(replica.failed.is_some()),
    );
    gauge(
        "log_end",
        "Position of the log's end",
        usize::try_from(replica.log_end.0).unwrap_or(usize::MAX),
    );
    gauge(
        "requests_open",
        "Requests inside the replica; a rise means that the disk does not keep up",
        replica.requests_open,
    );
    gauge(
        "sessions_waiting",
        "Of those, requests that wait for what their session has seen elsewhere; a rise means that links are slow or down",
        replica.sessions_waiting,
    );
    gauge(
        "acknowledgements_waiting",
        "Of those, writes that wait for other datacenters' acknowledgements; a rise means that links are slow or down",
        replica.acknowledgements_waiting,
    );
    let unstable = replica.namespaces.iter();
    let unstable = unstable.map(|of| of.batches.saturating_sub(of.stable));
    gauge(
        "unstable_batches",
        "Batches here that some member lacks which is not set aside; grows while one is away",
        usize::try_from(unstable.sum::<u64>()).unwrap_or(usize::MAX),
    );
    gauge(
        "documents_loaded",
        "Documents in memory",
        replica.documents_loaded,
    );
    gauge(
        "loaded_bytes",
        "Bytes that documents take in memory, about; bounded by store.memory_bytes",
        replica.loaded_bytes,
    );
    gauge(
        "log_bytes",
        "Bytes of log, about; grows while a replica is away that lacks some of it",
        usize::try_from(replica.log_bytes).unwrap_or(usize::MAX),
    );
    gauge(
        "disk_full",
        "1 while writes are refused because the disk has no room",
        usize::from(replica.full.is_some()),
    );
    gauge(
        "documents_damaged",
        "Runs of documents that can't be read from the disk and have not come from a peer yet; check the disk",
        replica.damaged.len(),
    );
    gauge(
        "fold_failing",
        "1 while changes can't be moved from the log to their documents; status says why",
        usize::from(replica.fold_failing.is_some()),
    );
    gauge(
        "unfolded_bytes",
        "Bytes of changes that no document state includes yet; a rise means that folding does not keep up",
        replica.unfolded_bytes,
    );
    gauge(
        "unpersisted_bytes",
        "Bytes on their way to the disk",
        replica.unpersisted_bytes,
    );
    gauge(
        "held_back_bytes",
        "Bytes of batches that wait for their causes; stays above 0 while a peer's history has a gap",
        replica.held_back_bytes,
    );
    gauge("event_feeds", "Readers of /v1/events", feeds);
    count(&mut registry, &replica.counters);
    count_upkeep(&mut registry, &report.store);
    registry
}

fn count_upkeep(registry: &mut Registry, store: &StoreReport) {
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter(
        "scrubbed_bytes",
        "Bytes read in the background to see whether they are still what was written",
        store.scrubbed_bytes,
    );
    counter(
        "scrub_passes",
        "How often everything on the disk was read",
        store.scrub_passes,
    );
    counter(
        "documents_compacted",
        "Documents compacted in the background",
        store.compacted,
    );
    counter(
        "damage_met",
        "How often something was met on the disk that can't be read; a rise means that the disk fails",
        store.damage_met,
    );
}

fn count(registry: &mut Registry, counters: &Counters) {
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter(
        "writes",
        "Writes taken here that changed something",
        counters.writes,
    );
    counter(
        "batches_received",
        "Batches that came from peers",
        counters.batches_received,
    );
    counter(
        "batches_duplicate",
        "Batches that came and were here already; a rise means that links were lost",
        counters.batches_duplicate,
    );
    counter(
        "batches_out_of_order",
        "Batches that came before one that they follow",
        counters.batches_out_of_order,
    );
    counter(
        "batches_sent",
        "Batches sent to peers, repeats included",
        counters.batches_sent,
    );
    counter(
        "stalls",
        "Times that a peer made no progress and was sent the same again",
        counters.stalls,
    );
    counter(
        "parts_sent",
        "Parts sent of batches too large to go at once",
        counters.parts_sent,
    );
    counter(
        "parts_dropped",
        "Batches of which parts had come and were let go for want of room; a rise means peers that send more at once than they should",
        counters.parts_dropped,
    );
    counter(
        "statements_missed",
        "Times that a peer held something else than it had been heard to say; a rise means frames that are lost",
        counters.statements_missed,
    );
    counter(
        "bad_frames",
        "Frames that could not be read; any at all means a broken peer",
        counters.bad_frames,
    );
    counter(
        "changes_refused",
        "Changes that were not let into their document; any at all means a broken writer",
        counters.changes_refused,
    );
    counter(
        "folds",
        "Documents whose changes were moved from the log to the document, counted each time",
        counters.folds,
    );
    counter(
        "documents_repaired",
        "Documents that could not be read from the disk, and came from a peer",
        counters.documents_repaired,
    );
}
