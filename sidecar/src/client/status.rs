//! `anabranch status`: the cluster as a node sees it.

use serde_json::Value;

use super::Common;
use super::connection::Call;
use super::error::ClientError;
use super::members::away;
use super::output::{self, table};

/// `anabranch status`
#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    common: Common,
}

impl Status {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let cluster = connection
            .call(&Call::get("/v1/cluster".to_owned()))?
            .json()?;
        if output.is_json() {
            return output.value(&cluster);
        }
        text(&cluster).iter().try_for_each(|line| output.line(line))
    }
}

const HEAD: [&str; 12] = [
    "MEMBER",
    "DATACENTER",
    "STATE",
    "LINK",
    "AWAY",
    "RTT",
    "UNSEEN",
    "LAG",
    "MISSING",
    "QUEUED",
    "SENT",
    "RECEIVED",
];

/// The view as lines.
fn text(cluster: &Value) -> Vec<String> {
    let node = &cluster["node"];
    let mut lines = vec![format!(
        "{} in {}, gossip {}, log at {}, {} writes",
        string(&node["name"]),
        string(&node["datacenter"]),
        node["gossip"].as_str().unwrap_or("off"),
        node["log_end"],
        cluster["counters"]["writes"],
    )];
    if let Some(failed) = node["failed"].as_str() {
        lines.push(format!("FAILED: {failed}"));
    }
    if let Some(why) = node["disk_full"].as_str() {
        lines.push(format!("DISK FULL, writes are refused: {why}"));
    }
    let damaged = node["damaged"].as_array().map_or(&[][..], Vec::as_slice);
    for what in damaged.iter().filter_map(Value::as_str) {
        lines.push(format!("DAMAGED, asked for at other members: {what}"));
    }
    if let Some(why) = node["fold_failing"].as_str() {
        lines.push(format!("FOLDING FAILS, writes stay in the log: {why}"));
    }
    let members = cluster["members"].as_array().map_or(&[][..], Vec::as_slice);
    if members.is_empty() {
        lines.push("no other members met".to_owned());
    } else {
        let rows: Vec<_> = members.iter().map(row).collect();
        lines.extend(table(HEAD, &rows));
        lines.extend(members.iter().filter_map(traffic));
    }
    lines.extend(namespaces(cluster));
    let seeds = cluster["seeds"].as_array().map_or(&[][..], Vec::as_slice);
    for seed in seeds {
        if let Some(error) = seed["last_error"].as_str() {
            let (address, state) = (string(&seed["address"]), string(&seed["state"]));
            lines.push(format!("seed {address} ({state}): {error}"));
        }
    }
    lines
}

fn row(member: &Value) -> [String; 12] {
    let milliseconds = |value: &Value, digits: usize| match value.as_f64() {
        Some(ms) => format!("{ms:.digits$} ms"),
        None => "-".to_owned(),
    };
    [
        string(&member["name"]),
        string(&member["datacenter"]),
        string(&member["state"]),
        link(member),
        match member["standing"].as_str() {
            Some("set_aside") => format!("{}, set aside", away(member)),
            _ => away(member),
        },
        milliseconds(&member["rtt_ms"], 2),
        count(&member["behind_batches"]),
        milliseconds(&member["behind_ms"], 0),
        count(&member["ahead_batches"]),
        output::bytes(queued(member)),
        bytes(&member["bytes_sent"]),
        bytes(&member["bytes_received"]),
    ]
}

const NAMESPACE_HEAD: [&str; 6] = [
    "NAMESPACE",
    "DOCUMENTS",
    "WRITES",
    "STABLE",
    "EQUAL",
    "LAST REPAIR",
];

/// More than these are for programs, or for `verify`.
const NAMESPACES_SHOWN_MAX: usize = 20;

fn namespaces(cluster: &Value) -> Vec<String> {
    let all = cluster["namespaces"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return Vec::new();
    }
    let rows: Vec<_> = all.iter().take(NAMESPACES_SHOWN_MAX).map(space).collect();
    let mut lines = table(NAMESPACE_HEAD, &rows);
    if all.len() > rows.len() {
        let more = all.len() - rows.len();
        lines.push(format!("and {more} more namespaces: --output json has all"));
    }
    lines
}

fn space(namespace: &Value) -> [String; 6] {
    let equal = match namespace["root_age_ms"].as_u64() {
        Some(ms) => format!("{} ago", output::span(ms)),
        None => "-".to_owned(),
    };
    [
        string(&namespace["namespace"]),
        count(&namespace["documents"]),
        count(&namespace["batches"]),
        count(&namespace["stable"]),
        equal,
        repair(&namespace["last_repair"]),
    ]
}

fn repair(last: &Value) -> String {
    let of = |name: &str| last[name].as_u64();
    let (Some(documents), Some(trips), Some(took)) =
        (of("documents"), of("round_trips"), of("took_ms"))
    else {
        return "-".to_owned();
    };
    let bytes = of("bytes_comparing").unwrap_or(0) + of("bytes_documents").unwrap_or(0);
    let bytes = output::bytes(bytes);
    format!("{documents} documents, {bytes}, {trips} round trips, {took} ms")
}

/// Bytes on their way to a member that it has not taken yet, as far as they have been taken up.
fn queued(member: &Value) -> u64 {
    let of = |name: &str| member[name].as_u64().unwrap_or_default();
    // What is bulk and still in flight would count twice.
    of("waiting_bytes") + of("in_flight_bytes").max(of("bulk_bytes"))
}

/// What went to each member since the start, by what it was for.
fn traffic(member: &Value) -> Option<String> {
    let kinds = ["push", "catch_up", "repair", "control"];
    let of = |way: &str| {
        let kinds = kinds.iter().filter_map(|kind| {
            let bytes = member[way][kind].as_u64().filter(|bytes| *bytes > 0)?;
            Some(format!("{kind} {}", output::bytes(bytes)))
        });
        kinds.collect::<Vec<_>>().join(", ")
    };
    let (sent, received) = (of("sent"), of("received"));
    let name = string(&member["name"]);
    match (&*sent, &*received) {
        ("", "") => None,
        _ => Some(format!("{name}: sent {sent}; received {received}")),
    }
}

/// A link that is up may be silent, and for how long.
fn link(member: &Value) -> String {
    match (&member["silent"], member["unheard_ms"].as_u64()) {
        (Value::Bool(true), Some(ms)) => format!("silent {} s", ms / 1_000),
        _ => string(&member["link"]),
    }
}

fn count(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "-".to_owned(), |n| n.to_string())
}

fn string(value: &Value) -> String {
    match value.as_str() {
        None | Some("") => "-".to_owned(),
        Some(text) => text.to_owned(),
    }
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), output::bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_stand_in_columns() {
        let lines = text(&json!({
            "node": {"name": "eu-1", "datacenter": "eu", "gossip": "127.0.0.1:7172", "log_end": 7, "failed": null,
                     "disk_full": "no room", "damaged": ["documents near carts/a"],
                     "fold_failing": "damaged: a page"},
            "members": [
                {"name": "us-1", "datacenter": "us", "state": "alive", "link": "up", "silent": false, "unheard_ms": 1_999,
                 "away_ms": null, "standing": "counted", "rtt_ms": 0.512, "behind_batches": 0,
                 "behind_ms": 0, "ahead_batches": 3, "bytes_sent": 1_234, "bytes_received": 12,
                 "waiting_bytes": 1_000, "in_flight_bytes": 500, "bulk_bytes": 2_000,
                 "sent": {"push": 900, "catch_up": 0, "repair": 0, "control": 80},
                 "received": {"push": 0, "catch_up": 0, "repair": 0, "control": 10}},
                {"name": "ap-1", "datacenter": "ap", "state": "suspect", "link": "up", "silent": true, "unheard_ms": 4_100,
                 "rtt_ms": 80.0, "behind_batches": null, "behind_ms": null, "ahead_batches": null, "bytes_sent": 1,
                 "bytes_received": 2},
                {"name": "", "datacenter": "", "state": null, "link": "down", "away_ms": 7_200_000, "standing": "set_aside",
                 "rtt_ms": null, "behind_batches": 12,
                 "behind_ms": 340, "ahead_batches": 0, "bytes_sent": null, "bytes_received": null},
            ],
            "seeds": [{"address": "b:1", "state": "waiting", "last_error": "no"}],
            "counters": {"writes": 5},
            "namespaces": [
                {"namespace": "carts", "documents": 7, "batches": 12, "stable": 11, "root_age_ms": 61_000,
                 "last_repair": {"documents": 3, "bytes_comparing": 400, "bytes_documents": 1_600, "round_trips": 4, "took_ms": 130}},
                {"namespace": "feeds", "documents": null, "batches": 1, "stable": 0, "root_age_ms": null, "last_repair": null},
            ],
        }));
        assert_eq!(
            lines,
            [
                "eu-1 in eu, gossip 127.0.0.1:7172, log at 7, 5 writes",
                "DISK FULL, writes are refused: no room",
                "DAMAGED, asked for at other members: documents near carts/a",
                "FOLDING FAILS, writes stay in the log: damaged: a page",
                "MEMBER  DATACENTER  STATE    LINK        AWAY            RTT       UNSEEN  LAG     MISSING  QUEUED  SENT    RECEIVED",
                "us-1    us          alive    up          -               0.51 ms   0       0 ms    3        3.0 kB  1.2 kB  12 B",
                "ap-1    ap          suspect  silent 4 s  -               80.00 ms  -       -       -        0 B     1 B     2 B",
                "-       -           -        down        2 h, set aside  -         12      340 ms  0        0 B     -       -",
                "us-1: sent push 900 B, control 80 B; received control 10 B",
                "NAMESPACE  DOCUMENTS  WRITES  STABLE  EQUAL     LAST REPAIR",
                "carts      7          12      11      61 s ago  3 documents, 2.0 kB, 4 round trips, 130 ms",
                "feeds      -          1       0       -         -",
                "seed b:1 (waiting): no",
            ]
        );
    }
}
