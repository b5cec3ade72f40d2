//! `anabranch namespaces` and `anabranch place`: in which datacenters namespaces are.

use serde_json::{Value, json};

use super::Common;
use super::connection::Call;
use super::error::ClientError;
use super::output::{self, table};
use crate::http::address::escape;
use crate::http::namespaces::NAMESPACES;

/// `anabranch namespaces`
#[derive(clap::Args)]
pub(crate) struct Namespaces {
    #[command(flatten)]
    common: Common,
}

/// `anabranch place`
#[derive(clap::Args)]
#[command(after_long_help = "\
The documents of a namespace, and what is told of them, go to its datacenters and to no others. Any node may be asked; what
it is told spreads by itself. A datacenter that is new gets the data from the others; one that is taken out refuses the
namespace at once, and lets it go once the others have said that they hold all of it.")]
pub(crate) struct Place {
    /// The namespace
    namespace: String,
    /// The datacenters that it is to be in
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    datacenters: Vec<String>,
    /// In all datacenters there are, as every namespace is at first
    #[arg(long)]
    all: bool,
    /// Also in datacenters that no member is known to be in
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

impl Namespaces {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let call = Call::get(NAMESPACES.to_owned());
        let answer = connection.call(&call)?.json()?;
        if output.is_json() {
            return output.value(&answer);
        }
        text(&answer).iter().try_for_each(|line| output.line(line))
    }
}

impl Place {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let force = if self.force { "?force=true" } else { "" };
        let target = format!("{NAMESPACES}/{}{force}", escape(&self.namespace));
        let datacenters = (!self.all).then_some(&self.datacenters);
        let body = json!({ "datacenters": datacenters }).to_string();
        let call = Call::put(target, body.as_bytes());
        let done = connection.call(&call)?.json()?;
        if output.is_json() {
            return output.value(&done);
        }
        let already = match &done["changed"] {
            Value::Bool(false) => " already",
            _ => "",
        };
        let names = names(&done["namespace"]);
        output.line(&format!("{} is in {names}{already}", self.namespace))
    }
}

const HEAD: [&str; 5] = ["NAMESPACE", "DATACENTERS", "HERE", "DOCUMENTS", "WRITES"];

fn text(answer: &Value) -> Vec<String> {
    let namespaces = answer["namespaces"].as_array();
    let namespaces = namespaces.map_or(&[][..], Vec::as_slice);
    if namespaces.is_empty() {
        return vec!["no namespaces: the first write to one makes it".to_owned()];
    }
    let rows: Vec<_> = namespaces.iter().map(row).collect();
    table(HEAD, &rows)
}

fn row(namespace: &Value) -> [String; 5] {
    let count = |name: &str| match namespace[name].as_u64() {
        Some(count) => output::grouped(count),
        None => "-".to_owned(),
    };
    let here = match (
        namespace["placed_here"].as_bool(),
        namespace["leaving"].as_bool(),
    ) {
        (Some(true), Some(true)) => "clearing",
        (Some(true), _) => "yes",
        (_, Some(true)) => "leaving",
        _ => "no",
    };
    [
        namespace["namespace"].as_str().unwrap_or("-").to_owned(),
        names(namespace),
        here.to_owned(),
        count("documents"),
        count("batches"),
    ]
}

/// Where a namespace is.
fn names(namespace: &Value) -> String {
    let Some(names) = namespace["datacenters"].as_array() else {
        return "all".to_owned();
    };
    let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_stand_in_columns() {
        let lines = text(&json!({"namespaces": [
            {"namespace": "carts", "datacenters": ["eu", "us"], "placed_here": true, "leaving": false,
             "documents": 1_234, "batches": 5_678},
            {"namespace": "wishes", "datacenters": ["us"], "placed_here": false, "leaving": true,
             "documents": null, "batches": 5},
            {"namespace": "x", "datacenters": null, "placed_here": true, "leaving": false,
             "documents": 0, "batches": 0},
        ]}));
        assert_eq!(
            lines,
            [
                "NAMESPACE  DATACENTERS  HERE     DOCUMENTS  WRITES",
                "carts      eu, us       yes      1,234      5,678",
                "wishes     us           leaving  -          5",
                "x          all          yes      0          0",
            ]
        );
    }
}
