//! Reading, writing and listing documents.

use anabranch::Namespace;
use serde_json::{Value, json};
use ureq::http::Method;

use super::connection::{Call, Connection};
use super::error::ClientError;
use super::output::Output;
use super::{Common, input};
use crate::http::address;

/// What `ls` asks for at once.
const PAGE_DOCUMENTS: u64 = 1_000;

/// What must hold of the document at the node that is asked.
#[derive(clap::Args)]
struct Condition {
    /// Only if the document is at this version (`*`: only if it is there)
    #[arg(long, value_name = "VERSION", conflicts_with = "if_none_match")]
    if_match: Option<String>,
    /// Only if the document is not at this version (`*`: only if it is not there)
    #[arg(long, value_name = "VERSION")]
    if_none_match: Option<String>,
}

impl Condition {
    fn headers(&self) -> Vec<(&'static str, String)> {
        let quoted = |version: &String| match &**version {
            "*" => version.clone(),
            version => format!("\"{}\"", version.trim_matches('"')),
        };
        let if_match = self.if_match.as_ref().map(|v| ("if-match", quoted(v)));
        let if_none = self.if_none_match.as_ref();
        let if_none_match = if_none.map(|v| ("if-none-match", quoted(v)));
        if_match.into_iter().chain(if_none_match).collect()
    }
}

/// `anabranch get`
#[derive(clap::Args)]
pub(crate) struct Get {
    /// The document, as NAMESPACE/KEY
    document: String,
    #[command(flatten)]
    common: Common,
}

impl Get {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let id = input::document(&self.document)?;
        let (connection, mut output) = self.common.open()?;
        let answer = connection.call(&Call::get(address::of_document(&id)))?;
        let value = answer.json()?;
        if output.is_json() {
            output.value(&json!({"version": answer.etag, "value": value}))
        } else {
            output.value(&value)
        }
    }
}

/// `anabranch put`
#[derive(clap::Args)]
pub(crate) struct Put {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// The JSON object; `@FILE` reads a file, `-` standard input
    json: String,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    common: Common,
}

impl Put {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let body = input::json(&self.json)?;
        write(
            Method::PUT,
            (&self.document, ""),
            ("application/json", &body),
            &self.condition,
            &self.common,
        )
    }
}

/// `anabranch patch`
#[derive(clap::Args)]
pub(crate) struct Patch {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// The patch; `@FILE` reads a file, `-` standard input. An array is a JSON Patch, an object a merge patch
    json: String,
    /// It is a JSON Patch (RFC 6902)
    #[arg(long, conflicts_with = "merge")]
    json_patch: bool,
    /// It is a merge patch (RFC 7396)
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    common: Common,
}

impl Patch {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let body = input::json(&self.json)?;
        let is_json_patch = match &body {
            _ if self.json_patch => true,
            _ if self.merge => false,
            Value::Array(_) => true,
            Value::Object(_) => false,
            _ => return Err(ClientError::Patch),
        };
        let media_type = match is_json_patch {
            true => "application/json-patch+json",
            false => "application/merge-patch+json",
        };
        write(
            Method::PATCH,
            (&self.document, ""),
            (media_type, &body),
            &self.condition,
            &self.common,
        )
    }
}

/// `anabranch ops`
#[derive(clap::Args)]
pub(crate) struct Ops {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// The edits, as an array or as {"ops":[..]}; `@FILE` reads a file, `-` standard input
    json: String,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    common: Common,
}

impl Ops {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let body = match input::json(&self.json)? {
            ops @ Value::Array(_) => json!({ "ops": ops }),
            body @ Value::Object(_) => body,
            _ => return Err(ClientError::Ops),
        };
        write(
            Method::POST,
            (&self.document, "/ops"),
            ("application/json", &body),
            &self.condition,
            &self.common,
        )
    }
}

fn write(
    method: Method,
    (document, suffix): (&str, &str),
    (media_type, body): (&'static str, &Value),
    condition: &Condition,
    common: &Common,
) -> Result<(), ClientError> {
    let id = input::document(document)?;
    let (connection, mut output) = common.open()?;
    let answer = connection.call(&Call {
        method,
        target: format!("{}{suffix}", address::of_document(&id)),
        headers: condition.headers(),
        body: Some((media_type, body.to_string().as_bytes())),
    })?;
    let written = answer.json()?;
    if output.is_json() {
        return output.value(&written);
    }
    let what = match (&written["created"], &written["changed"]) {
        (Value::Bool(true), _) => "created",
        (_, Value::Bool(true)) => "changed",
        _ => "unchanged",
    };
    let version = written["version"].as_str().unwrap_or_default();
    output.line(&format!("{id} {what}, version {version}"))
}

/// `anabranch rm`
#[derive(clap::Args)]
pub(crate) struct Rm {
    /// The document, as NAMESPACE/KEY
    document: String,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    common: Common,
}

impl Rm {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let id = input::document(&self.document)?;
        let (connection, mut output) = self.common.open()?;
        connection.call(&Call {
            method: Method::DELETE,
            target: address::of_document(&id),
            headers: self.condition.headers(),
            body: None,
        })?;
        if output.is_json() {
            output.value(&json!({"deleted": true}))
        } else {
            output.line(&format!("{id} deleted"))
        }
    }
}

/// `anabranch ls`
#[derive(clap::Args)]
pub(crate) struct Ls {
    /// The namespace
    namespace: String,
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Print the documents, too
    #[arg(long)]
    values: bool,
    /// Documents at most; all if not given
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    common: Common,
}

impl Ls {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let namespace = Namespace::new(&self.namespace)?;
        let (connection, mut output) = self.common.open()?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut after = None;
        while left > 0 {
            let page = self.page(&connection, &namespace, after.as_deref(), left)?;
            let documents = page["documents"]
                .as_array()
                .ok_or(ClientError::NotAnabranch)?;
            for document in documents {
                print(&mut output, document)?;
            }
            left = left.saturating_sub(documents.len() as u64);
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        Ok(())
    }

    fn page(
        &self,
        connection: &Connection,
        namespace: &Namespace,
        after: Option<&str>,
        left: u64,
    ) -> Result<Value, ClientError> {
        let mut target = format!(
            "{}{}?prefix={}&limit={}&values={}",
            address::DOCUMENTS,
            address::escape(namespace.as_str()),
            address::escape(&self.prefix),
            left.min(PAGE_DOCUMENTS),
            self.values,
        );
        if let Some(after) = after {
            target += &format!("&after={}", address::escape(after));
        }
        connection.call(&Call::get(target))?.json()
    }
}

fn print(output: &mut Output, document: &Value) -> Result<(), ClientError> {
    if output.is_json() {
        return output.value(document);
    }
    let key = document["key"].as_str().unwrap_or_default();
    match document.get("value") {
        Some(value) => output.line(&format!("{key}\t{value}")),
        None => output.line(key),
    }
}
