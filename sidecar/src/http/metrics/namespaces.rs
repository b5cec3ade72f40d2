//! Namespaces: what is in them, when they were last known to be equal with somebody's, how the last repair went.

use std::sync::atomic::AtomicU64;

use anabranch::Report;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// There may be many thousands, and each costs whoever collects metrics a series per line.
const NAMESPACES_SHOWN_MAX: usize = 200;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Label {
    namespace: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Part {
    namespace: String,
    part: &'static str,
}

type Each<L> = Family<L, Gauge<f64, AtomicU64>>;

/// Of the first ones by name.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
pub(super) fn registry(report: &Report) -> Registry {
    let mut registry = Registry::with_prefix("anabranch");
    let [documents, batches, stable, age, repaired, trips, took] =
        std::array::from_fn(|_| Each::<Label>::default());
    let bytes = Each::<Part>::default();
    for status in report.replica.namespaces.iter().take(NAMESPACES_SHOWN_MAX) {
        let namespace = status.namespace.to_string();
        let label = Label {
            namespace: namespace.clone(),
        };
        let set = |family: &Each<Label>, value: f64| {
            family.get_or_create_owned(&label).set(value);
        };
        set(&batches, status.batches as f64);
        set(&stable, status.stable as f64);
        if let Some(count) = status.documents {
            set(&documents, count as f64);
        }
        if let Some(ms) = status.root_age_ms {
            set(&age, ms as f64 / 1_000.0);
        }
        let Some(repair) = &status.last_repair else {
            continue;
        };
        set(&repaired, repair.documents as f64);
        set(&trips, repair.round_trips as f64);
        set(&took, repair.took_ms as f64 / 1_000.0);
        for (part, count) in [
            ("comparing", repair.bytes_comparing),
            ("documents", repair.bytes_documents),
        ] {
            let namespace = namespace.clone();
            let part = Part { namespace, part };
            bytes.get_or_create_owned(&part).set(count as f64);
        }
    }
    registry.register(
        "namespace_documents",
        "Documents with changes, deleted ones included; absent until they are counted after a start",
        documents,
    );
    registry.register(
        "namespace_batches",
        "Writes that are durable here, of all origins",
        batches,
    );
    registry.register(
        "namespace_stable_batches",
        "Of those, writes that every member holds that is not set aside",
        stable,
    );
    registry.register_with_unit(
        "namespace_root_age",
        "Since the root of the summary was last found equal with another member's; compared about once a minute where something was written",
        Unit::Seconds,
        age,
    );
    registry.register(
        "namespace_repair_documents",
        "Documents that came in the last repair",
        repaired,
    );
    registry.register(
        "namespace_repair_round_trips",
        "Round trips of the last repair, until the last document was here",
        trips,
    );
    registry.register_with_unit(
        "namespace_repair_duration",
        "How long the last repair took",
        Unit::Seconds,
        took,
    );
    registry.register_with_unit(
        "namespace_repair",
        "Size of the last repair: to find what differs (comparing), and the documents themselves (documents)",
        Unit::Bytes,
        bytes,
    );
    registry
}
