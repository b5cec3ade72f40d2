//! `anabranch status`: the cluster as a node sees it.

use serde_json::Value;

use super::Common;
use super::connection::Call;
use super::error::ClientError;
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

const HEAD: [&str; 10] = [
    "MEMBER",
    "DATACENTER",
    "STATE",
    "LINK",
    "RTT",
    "UNSEEN",
    "LAG",
    "MISSING",
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
    }
    let seeds = cluster["seeds"].as_array().map_or(&[][..], Vec::as_slice);
    for seed in seeds {
        if let Some(error) = seed["last_error"].as_str() {
            let (address, state) = (string(&seed["address"]), string(&seed["state"]));
            lines.push(format!("seed {address} ({state}): {error}"));
        }
    }
    lines
}

fn row(member: &Value) -> [String; 10] {
    let milliseconds = |value: &Value, digits: usize| match value.as_f64() {
        Some(ms) => format!("{ms:.digits$} ms"),
        None => "-".to_owned(),
    };
    [
        string(&member["name"]),
        string(&member["datacenter"]),
        string(&member["state"]),
        link(member),
        milliseconds(&member["rtt_ms"], 2),
        count(&member["behind_batches"]),
        milliseconds(&member["behind_ms"], 0),
        count(&member["ahead_batches"]),
        bytes(&member["bytes_sent"]),
        bytes(&member["bytes_received"]),
    ]
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
                 "rtt_ms": 0.512, "behind_batches": 0,
                 "behind_ms": 0, "ahead_batches": 3, "bytes_sent": 1_234, "bytes_received": 12},
                {"name": "ap-1", "datacenter": "ap", "state": "suspect", "link": "up", "silent": true, "unheard_ms": 4_100,
                 "rtt_ms": 80.0, "behind_batches": null, "behind_ms": null, "ahead_batches": null, "bytes_sent": 1,
                 "bytes_received": 2},
                {"name": "", "datacenter": "", "state": null, "link": "down", "rtt_ms": null, "behind_batches": 12,
                 "behind_ms": 340, "ahead_batches": 0, "bytes_sent": null, "bytes_received": null},
            ],
            "seeds": [{"address": "b:1", "state": "waiting", "last_error": "no"}],
            "counters": {"writes": 5},
        }));
        assert_eq!(
            lines,
            [
                "eu-1 in eu, gossip 127.0.0.1:7172, log at 7, 5 writes",
                "DISK FULL, writes are refused: no room",
                "DAMAGED, asked for at other members: documents near carts/a",
                "FOLDING FAILS, writes stay in the log: damaged: a page",
                "MEMBER  DATACENTER  STATE    LINK        RTT       UNSEEN  LAG     MISSING  SENT    RECEIVED",
                "us-1    us          alive    up          0.51 ms   0       0 ms    3        1.2 kB  12 B",
                "ap-1    ap          suspect  silent 4 s  80.00 ms  -       -       -        1 B     2 B",
                "-       -           -        down        -         12      340 ms  0        -       -",
                "seed b:1 (waiting): no",
            ]
        );
    }
}
