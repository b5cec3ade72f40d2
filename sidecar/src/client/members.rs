//! `anabranch members`: who belongs to the cluster, and who is set aside.

use serde_json::{Value, json};

use super::Common;
use super::connection::{Call, Connection};
use super::error::ClientError;
use super::output::{self, Output, table};
use crate::http::address::escape;
use crate::http::members::{MEMBERS, SET_ASIDE, WELCOME};

/// `anabranch members`
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
A member that is away holds back the log that it lacks, and writes that wait for all datacenters. One that is gone for
good, or for long, is set aside: then nothing is kept for it and nobody waits for it. It counts again by itself once it
is back and holds what it lacked.

Each node decides for itself, so give the addresses of all of them with --url: a decision is made at each."
)]
pub(crate) struct Members {
    #[command(subcommand)]
    decision: Option<Decision>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Subcommand)]
enum Decision {
    /// Keep nothing for a member any more, and wait for it no longer, at every node that --url names
    SetAside(Named),
    /// Count a member again that was set aside, at every node that --url names
    Welcome(Named),
}

#[derive(clap::Args)]
struct Named {
    /// The member's name, or its replica's id
    member: String,
    #[command(flatten)]
    common: Common,
}

impl Members {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        match &self.decision {
            None => list(&self.common),
            Some(Decision::SetAside(named)) => named.decide(SET_ASIDE),
            Some(Decision::Welcome(named)) => named.decide(WELCOME),
        }
    }
}

impl Named {
    /// Every node is asked, and the first that refuses or does not answer is told of in the end.
    fn decide(&self, decision: &str) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let mut failed = None;
        for node in connection.nodes() {
            if let Err(error) = self.decide_at(&node, decision, &mut output) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn decide_at(
        &self,
        node: &Connection,
        decision: &str,
        output: &mut Output,
    ) -> Result<(), ClientError> {
        let target = format!("{MEMBERS}/{}/{decision}", escape(&self.member));
        let done = node.call(&Call::post(target, Vec::new(), b""))?.json()?;
        let at = node.call(&Call::get("/v1/cluster".to_owned()))?.json()?;
        let at = at["node"]["name"].as_str().unwrap_or("-").to_owned();
        if output.is_json() {
            let mut done = done;
            done["at"] = json!(at);
            return output.value(&done);
        }
        let is = match done["member"]["standing"].as_str() {
            Some("set_aside") => "set aside",
            Some("catching_up") => "counted, and catching up",
            _ => "counted",
        };
        let already = match &done["changed"] {
            Value::Bool(false) => " already",
            _ => "",
        };
        output.line(&format!("{at}: {} is {is}{already}", self.member))
    }
}

fn list(common: &Common) -> Result<(), ClientError> {
    let (connection, mut output) = common.open()?;
    let answer = connection.call(&Call::get(MEMBERS.to_owned()))?.json()?;
    if output.is_json() {
        return output.value(&answer);
    }
    text(&answer).iter().try_for_each(|line| output.line(line))
}

const HEAD: [&str; 7] = [
    "MEMBER",
    "DATACENTER",
    "LINK",
    "STANDING",
    "AWAY",
    "LOG HELD",
    "REPLICA",
];

fn text(answer: &Value) -> Vec<String> {
    let members = answer["members"].as_array().map_or(&[][..], Vec::as_slice);
    if members.is_empty() {
        return vec!["no other members met".to_owned()];
    }
    let rows: Vec<_> = members.iter().map(row).collect();
    table(HEAD, &rows)
}

fn row(member: &Value) -> [String; 7] {
    let text = |name: &str| match member[name].as_str() {
        None | Some("") => "-".to_owned(),
        Some(text) => text.replace('_', " "),
    };
    [
        text("name"),
        text("datacenter"),
        text("link"),
        text("standing"),
        away(member),
        member["log_held_bytes"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), output::bytes),
        text("replica"),
    ]
}

/// How long it has been away, about.
pub(super) fn away(member: &Value) -> String {
    let Some(ms) = member["away_ms"].as_u64() else {
        return "-".to_owned();
    };
    output::span(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_in_columns() {
        let lines = text(&json!({"members": [
            {"name": "us-1", "datacenter": "us", "link": "down", "standing": "set_aside", "away_ms": 5_000,
             "log_held_bytes": 0, "replica": "07"},
            {"name": "", "datacenter": "", "link": "up", "standing": "catching_up", "away_ms": null,
             "log_held_bytes": 1_234, "replica": "08"},
        ]}));
        assert_eq!(
            lines,
            [
                "MEMBER  DATACENTER  LINK  STANDING     AWAY  LOG HELD  REPLICA",
                "us-1    us          down  set aside    5 s   0 B       07",
                "-       -           up    catching up  -     1.2 kB    08",
            ]
        );
    }
}
