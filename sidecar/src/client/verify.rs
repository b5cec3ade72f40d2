//! `anabranch verify`: whether all datacenters hold the same.

use serde_json::Value;

use super::Common;
use super::connection::Call;
use super::error::ClientError;
use super::output::table;

/// `anabranch verify`
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// Which namespace; all of them if none is named
    #[arg(value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let mut namespaces = self.namespaces.clone();
        if namespaces.is_empty() {
            let cluster = connection
                .call(&Call::get("/v1/cluster".to_owned()))?
                .json()?;
            let known = cluster["namespaces"].as_array();
            let names = known.into_iter().flatten();
            namespaces.extend(names.filter_map(|of| Some(of["namespace"].as_str()?.to_owned())));
        }
        let mut unequal = Vec::new();
        for namespace in namespaces {
            let query = percent_encoding::utf8_percent_encode(
                &namespace,
                percent_encoding::NON_ALPHANUMERIC,
            );
            let call = Call::post(format!("/v1/cluster/verify?ns={query}"), Vec::new(), &[]);
            let verified = connection.call(&call)?.json()?;
            if verified["equal"] != Value::Bool(true) {
                unequal.push(namespace);
            }
            if output.is_json() {
                output.value(&verified)?;
            } else {
                text(&verified)
                    .iter()
                    .try_for_each(|line| output.line(line))?;
            }
        }
        match unequal.is_empty() {
            true => Ok(()),
            false => Err(ClientError::Unequal {
                namespaces: unequal,
            }),
        }
    }
}

const HEAD: [&str; 4] = ["MEMBER", "DATACENTER", "STATE", "DOCUMENTS"];

/// One answer as lines.
fn text(verified: &Value) -> Vec<String> {
    let string = |value: &Value| match value.as_str() {
        None | Some("") => "-".to_owned(),
        Some(text) => text.to_owned(),
    };
    let peers = verified["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = vec![format!(
        "{}: {} documents here, root {}",
        string(&verified["namespace"]),
        verified["documents"],
        string(&verified["root"]),
    )];
    let row = |peer: &Value| {
        [
            string(&peer["name"]),
            string(&peer["datacenter"]),
            string(&peer["state"]),
            match peer["documents"].as_u64() {
                Some(documents) => documents.to_string(),
                None => "-".to_owned(),
            },
        ]
    };
    let rows: Vec<_> = peers.iter().map(row).collect();
    if rows.is_empty() {
        lines.push("no other members met".to_owned());
    } else {
        lines.extend(table(HEAD, &rows));
    }
    for peer in peers {
        let repaired = peer["repaired"].as_array();
        for key in repaired.into_iter().flatten() {
            lines.push(format!(
                "repaired here from {}: {}",
                string(&peer["name"]),
                string(key)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named() {
        let lines = text(&json!({
            "namespace": "carts", "root": "00ff", "documents": 12, "equal": false,
            "peers": [
                {"name": "us-1", "datacenter": "us", "state": "equal", "documents": 12},
                {"name": "ap-1", "datacenter": "ap", "state": "different", "documents": 13, "repaired": ["alice"]},
                {"name": null, "datacenter": null, "state": "away"},
            ],
        }));
        assert_eq!(
            lines,
            [
                "carts: 12 documents here, root 00ff",
                "MEMBER  DATACENTER  STATE      DOCUMENTS",
                "us-1    us          equal      12",
                "ap-1    ap          different  13",
                "-       -           away       -",
                "repaired here from ap-1: alice",
            ]
        );
    }
}
