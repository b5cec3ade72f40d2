//! Reading, writing and listing documents.

use anabranch::Namespace;
use serde_json::{Value, json};
use ureq::http::Method;

use super::connection::Call;
use super::error::ClientError;
use super::output::Output;
use super::session::{Session, Visit};
use super::writing::Options;
use super::{Common, history, input};
use crate::http::acknowledgement::ACK;
use crate::http::address;

/// What `ls` asks for at once.
const PAGE_DOCUMENTS: u64 = 1_000;

/// `anabranch get`
#[derive(clap::Args)]
pub(crate) struct Get {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// Print where values lost against others that were written at the same time, too
    #[arg(long, conflicts_with = "at")]
    conflicts: bool,
    /// Print it as it was at this version, given whole or by its first digits
    #[arg(long, value_name = "VERSION")]
    at: Option<String>,
    #[command(flatten)]
    visit: Visit,
    #[command(flatten)]
    common: Common,
}

impl Get {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let id = input::document(&self.document)?;
        let (mut session, mut output) = self.visit.open(&self.common)?;
        let mut target = address::of_document(&id);
        if let Some(at) = &self.at {
            let version = history::version(&mut session, &id, at)?;
            target += &format!("?at={}", address::escape(&version));
        }
        if self.conflicts {
            target += "?conflicts=true";
        }
        let answer = session.call(Call::get(target))?;
        let body = answer.json()?;
        if !output.is_json() {
            return output.value(&body);
        }
        let body = match self.conflicts {
            true => body,
            false => json!({"version": answer.etag, "value": body}),
        };
        output.value(&answer.tagged(body))
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
    options: Options,
}

impl Put {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let body = input::json(&self.json)?;
        let target = (&*self.document, "");
        self.options
            .write(Method::PUT, target, ("application/json", &body))
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
    options: Options,
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
        let target = (&*self.document, "");
        self.options
            .write(Method::PATCH, target, (media_type, &body))
    }
}

/// `anabranch ops`
#[derive(clap::Args)]
#[command(after_long_help = "\
Edits:
  {\"op\":\"put\",\"path\":\"/price\",\"value\":2.55}
  {\"op\":\"remove\",\"path\":\"/items/22752\"}
  {\"op\":\"increment\",\"path\":\"/likes\",\"by\":1}               a counter: what only counts
  {\"op\":\"adjust\",\"path\":\"/items/22752/qty\",\"by\":2}      a quantity: what is put in and taken out
  {\"op\":\"set_add\",\"path\":\"/tags\",\"value\":\"x\"}
  {\"op\":\"set_remove\",\"path\":\"/tags\",\"value\":\"x\"}
  {\"op\":\"insert\",\"path\":\"/posts/0\",\"value\":{}}
  {\"op\":\"append\",\"path\":\"/posts\",\"value\":{}}
  {\"op\":\"splice\",\"path\":\"/note\",\"at\":5,\"delete\":2,\"insert\":\"abc\"}")]
pub(crate) struct Ops {
    /// The document, as NAMESPACE/KEY
    document: String,
    /// The edits, as an array or as {"ops":[..]}; `@FILE` reads a file, `-` standard input
    json: String,
    #[command(flatten)]
    options: Options,
}

impl Ops {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let body = match input::json(&self.json)? {
            ops @ Value::Array(_) => json!({ "ops": ops }),
            body @ Value::Object(_) => body,
            _ => return Err(ClientError::Ops),
        };
        let target = (&*self.document, "/ops");
        self.options
            .write(Method::POST, target, ("application/json", &body))
    }
}

/// `anabranch rm`
#[derive(clap::Args)]
pub(crate) struct Rm {
    /// The document, as NAMESPACE/KEY
    document: String,
    #[command(flatten)]
    options: Options,
}

impl Rm {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let target = (&*self.document, "");
        let (id, answer, mut output) = self.options.send(Method::DELETE, target, None)?;
        if output.is_json() {
            let mut deleted = json!({"deleted": true});
            if answer.unacknowledged {
                deleted[ACK] = answer.json()?[ACK].take();
            }
            output.value(&answer.tagged(deleted))?;
        } else {
            output.line(&format!("{id} deleted{}", answer.repetition()))?;
        }
        answer.acknowledged()
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
    visit: Visit,
    #[command(flatten)]
    common: Common,
}

impl Ls {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let namespace = Namespace::new(&self.namespace)?;
        let (mut session, mut output) = self.visit.open(&self.common)?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut after = None;
        while left > 0 {
            let page = self.page(&mut session, &namespace, after.as_deref(), left)?;
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
        session: &mut Session,
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
        session.call(Call::get(target))?.json()
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
