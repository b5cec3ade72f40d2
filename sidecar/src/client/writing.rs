//! What all writes have in common: their conditions, that they are done once, and what is said of them.

use anabranch::{Ack, DocumentId};
use serde_json::{Value, json};
use ureq::http::Method;

use super::Common;
use super::connection::{Answer, Call};
use super::error::ClientError;
use super::history;
use super::input;
use super::output::Output;
use super::session::{Session, Visit};
use crate::http::acknowledgement::ACK;
use crate::http::{address, writing};
use crate::limits;

/// Where batches go.
pub(super) const BATCH: &str = "/v1/batch";

/// What must hold of the document at the node that is asked, or what the write is made on.
#[derive(clap::Args)]
pub(super) struct Ground {
    /// Only if the document is at this version (`*`: only if it is there)
    #[arg(long, value_name = "VERSION", conflicts_with = "if_none_match")]
    if_match: Option<String>,
    /// Only if the document is not at this version (`*`: only if it is not there)
    #[arg(long, value_name = "VERSION")]
    if_none_match: Option<String>,
    /// Write on top of this version, and merge with what was written since
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["if_match", "if_none_match"])]
    base: Option<String>,
}

impl Ground {
    fn headers(
        &self,
        id: &DocumentId,
        session: &mut Session,
    ) -> Result<Vec<(&'static str, String)>, ClientError> {
        let quoted = |version: &String| match &**version {
            "*" => version.clone(),
            version => format!("\"{}\"", version.trim_matches('"')),
        };
        let if_match = self.if_match.as_ref().map(|v| ("if-match", quoted(v)));
        let if_none = self.if_none_match.as_ref();
        let if_none_match = if_none.map(|v| ("if-none-match", quoted(v)));
        let base = match &self.base {
            None => None,
            Some(given) => {
                let version = history::version(session, id, given)?;
                Some((writing::BASE_VERSION, version))
            }
        };
        Ok([if_match, if_none_match, base]
            .into_iter()
            .flatten()
            .collect())
    }
}

/// That the write is done once, however often it is sent.
#[derive(clap::Args)]
pub(super) struct Once {
    /// Do the write unless it was done under this key before [default: a key of its own, for when the connection breaks]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Don't send the write again when the connection breaks; then it needs no key, and the node keeps none
    #[arg(long, conflicts_with = "idempotency_key")]
    no_retry: bool,
}

impl Once {
    pub(super) fn header(&self) -> Option<(&'static str, String)> {
        let own = || format!("{:032x}", rand::random::<u128>());
        let key = match &self.idempotency_key {
            None if self.no_retry => return None,
            None => own(),
            Some(key) => key.clone(),
        };
        Some((writing::IDEMPOTENCY_KEY, key))
    }
}

/// How many datacenters are to hold the write.
#[derive(clap::Args)]
pub(super) struct Spread {
    /// Wait until so many datacenters hold the write durably (a number, this one counted, or `all`), as long as --wait says
    #[arg(long, value_name = "N|all|local")]
    ack: Option<Ack>,
}

impl Spread {
    /// What goes behind the path.
    fn query(&self) -> String {
        let ack = self.ack.map(|ack| format!("?{ACK}={ack}"));
        ack.unwrap_or_default()
    }
}

/// Options of every write to one document.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    ground: Ground,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    spread: Spread,
    #[command(flatten)]
    visit: Visit,
    #[command(flatten)]
    common: Common,
}

impl Options {
    /// Sends a write, and leaves it to the caller to say what became of it.
    pub(super) fn send(
        &self,
        method: Method,
        (document, suffix): (&str, &str),
        body: Option<(&'static str, &Value)>,
    ) -> Result<(DocumentId, Answer, Output), ClientError> {
        let id = input::document(document)?;
        let (mut session, output) = self.visit.open(&self.common)?;
        let mut headers = self.ground.headers(&id, &mut session)?;
        headers.extend(self.once.header());
        let body = body.map(|(media_type, body)| (media_type, body.to_string()));
        let answer = session.call(Call {
            method,
            target: format!(
                "{}{suffix}{}",
                address::of_document(&id),
                self.spread.query()
            ),
            headers,
            body: body
                .as_ref()
                .map(|(media_type, body)| (*media_type, body.as_bytes())),
            answer_bytes_max: limits::ANSWER_BYTES_MAX,
        })?;
        Ok((id, answer, output))
    }

    /// Sends a write, and prints what became of it.
    pub(super) fn write(
        &self,
        method: Method,
        target: (&str, &str),
        body: (&'static str, &Value),
    ) -> Result<(), ClientError> {
        let (id, answer, mut output) = self.send(method, target, Some(body))?;
        let written = answer.json()?;
        if output.is_json() {
            output.value(&answer.tagged(written))?;
        } else {
            output.line(&format!(
                "{id} {}{}",
                outcome(&written),
                answer.repetition()
            ))?;
        }
        answer.acknowledged()
    }
}

/// What became of one document, in words.
pub(super) fn outcome(written: &Value) -> String {
    let what = match (&written["created"], &written["changed"]) {
        (Value::Bool(true), _) => "created",
        (_, Value::Bool(true)) => "changed",
        _ => "unchanged",
    };
    match written["version"].as_str() {
        // To delete what is not there, in a batch.
        None | Some("") => format!("{what}, it is not there"),
        Some(version) => format!("{what}, version {version}"),
    }
}

impl Answer {
    /// Said of a write that was not done again.
    pub(super) fn repetition(&self) -> &'static str {
        match self.repeated {
            true => " (written before, under the same idempotency key)",
            false => "",
        }
    }

    /// A write that stands is an error all the same if fewer datacenters hold it than were asked for.
    pub(super) fn acknowledged(&self) -> Result<(), ClientError> {
        if !self.unacknowledged {
            return Ok(());
        }
        let detail = self.json()?[ACK]["detail"].as_str().map(str::to_owned);
        let detail = detail.ok_or(ClientError::NotAnabranch)?;
        Err(ClientError::Unacknowledged { detail })
    }

    /// With what only the head of the answer says.
    pub(super) fn tagged(&self, mut body: Value) -> Value {
        if let Some(token) = &self.token {
            body["token"] = json!(token);
        }
        if self.repeated {
            body["repeated"] = json!(true);
        }
        body
    }
}

/// `anabranch batch`
#[derive(clap::Args)]
#[command(after_long_help = "\
The writes are {\"writes\":[..]}, or the array alone. A write is one of
  {\"ns\":\"carts\",\"key\":\"alice\",\"ops\":[..]}         edits, as `anabranch ops` takes them
  {\"ns\":\"carts\",\"key\":\"alice\",\"put\":{..}}         make the document equal to this
  {\"ns\":\"carts\",\"key\":\"alice\",\"delete\":true}
and may have a \"base\", the version on top of which it is made, or \"if_absent\":true, which refuses
the batch if the document is there. All are of one namespace.")]
pub(crate) struct Batch {
    /// The writes: a file (also as `@FILE`), `-` for standard input, or the JSON itself
    #[arg(value_name = "FILE|JSON")]
    writes: String,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    spread: Spread,
    #[command(flatten)]
    visit: Visit,
    #[command(flatten)]
    common: Common,
}

impl Batch {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let body = match input::json_or_file(&self.writes)? {
            writes @ Value::Array(_) => json!({ "writes": writes }),
            body @ Value::Object(_) => body,
            _ => return Err(ClientError::Batch),
        };
        let (mut session, mut output) = self.visit.open(&self.common)?;
        let headers = self.once.header().into_iter().collect();
        let body = body.to_string();
        let target = format!("{BATCH}{}", self.spread.query());
        let answer = session.call(Call::post(target, headers, body.as_bytes()))?;
        let written = answer.json()?;
        if output.is_json() {
            output.value(&answer.tagged(written))?;
            return answer.acknowledged();
        }
        let writes = written["writes"]
            .as_array()
            .ok_or(ClientError::NotAnabranch)?;
        for write in writes {
            let text = |name: &str| write[name].as_str().unwrap_or_default();
            let (namespace, key) = (text("ns"), text("key"));
            output.line(&format!(
                "{namespace}/{key} {}{}",
                outcome(write),
                answer.repetition()
            ))?;
        }
        answer.acknowledged()
    }
}
