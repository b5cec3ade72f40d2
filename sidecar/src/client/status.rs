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

const HEAD: [&str; 11] = [
    "MEMBER",
    "DATACENTER",
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
    let seeds = cluster["seeds"].as_array().map_or(&[][..], Vec::as_slice);
    for seed in seeds {
        if let Some(error) = seed["last_error"].as_str() {
            let (address, state) = (string(&seed["address"]), string(&seed["state"]));
            lines.push(format!("seed {address} ({state}): {error}"));
        }
    }
    lines
}

fn row(member: &Value) -> [String; 11] {
    let milliseconds = |value: &Value, digits: usize| match value.as_f64() {
        Some(ms) => format!("{ms:.digits$} ms"),
        None => "-".to_owned(),
    };
    [
        string(&member["name"]),
        string(&member["datacenter"]),
        string(&member["link"]),
        match member["standing"].as_str() {
            Some("set_aside") => format!("{}, set aside", away(member)),
            _ => away(member),
        },
        milliseconds(&member["rtt_ms"], 2),
        member["behind_batches"].to_string(),
        milliseconds(&member["behind_ms"], 0),
        member["ahead_batches"].to_string(),
        output::bytes(queued(member)),
        bytes(&member["bytes_sent"]),
        bytes(&member["bytes_received"]),
    ]
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
                {"name": "us-1", "datacenter": "us", "link": "up", "away_ms": null, "standing": "counted", "rtt_ms": 0.512, "behind_batches": 0,
                 "behind_ms": 0, "ahead_batches": 3, "bytes_sent": 1_234, "bytes_received": 12,
                 "waiting_bytes": 1_000, "in_flight_bytes": 500, "bulk_bytes": 2_000,
                 "sent": {"push": 900, "catch_up": 0, "repair": 0, "control": 80},
                 "received": {"push": 0, "catch_up": 0, "repair": 0, "control": 10}},
                {"name": "", "datacenter": "", "link": "down", "away_ms": 7_200_000, "standing": "set_aside", "rtt_ms": null, "behind_batches": 12,
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
                "MEMBER  DATACENTER  LINK  AWAY            RTT      UNSEEN  LAG     MISSING  QUEUED  SENT    RECEIVED",
                "us-1    us          up    -               0.51 ms  0       0 ms    3        3.0 kB  1.2 kB  12 B",
                "-       -           down  2 h, set aside  -        12      340 ms  0        0 B     -       -",
                "us-1: sent push 900 B, control 80 B; received control 10 B",
                "seed b:1 (waiting): no",
            ]
        );
    }
}
