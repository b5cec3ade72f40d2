//! `anabranch export`: documents as JSON lines.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anabranch::Namespace;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::destination::Destination;
use super::patience::Patience;
use super::progress::{Progress, summary};
use crate::client::Common;
use crate::client::connection::{Call, Connection};
use crate::client::error::ClientError;
use crate::client::session::Session;
use crate::http::{address, session};
use crate::limits;

/// `anabranch export`
#[derive(clap::Args)]
#[command(after_long_help = "\
A line is {\"key\":..,\"value\":{..},\"version\":..}, and with --all has the namespace before it, as \"ns\". Lines stand in \
the order of the keys' bytes. Each document is as it was when its page was read: what is written meanwhile may be in the \
export or not.

The values are plain JSON. That a number is a counter, or an array a set, is not in them, nor is the history: an export is \
for moving data to other systems, not for keeping a copy of this one.")]
pub(crate) struct Export {
    /// The namespace
    #[arg(required_unless_present = "all")]
    namespace: Option<String>,
    /// All namespaces of the node, one after the other
    #[arg(long, conflicts_with = "namespace")]
    all: bool,
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Write to this file, which is replaced once the export is whole [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long to bear with a node that is busy or can't be reached, such as 30s
    #[arg(long, value_name = "TIME", value_parser = session::parse_wait, default_value = "30s")]
    wait: Duration,
    #[command(flatten)]
    common: Common,
}

/// A page of a listing. Values are passed on as they are written.
#[derive(Deserialize)]
struct Page {
    documents: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    key: String,
    value: Box<RawValue>,
    version: String,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<&'a str>,
    key: &'a str,
    value: &'a RawValue,
    version: &'a str,
}

#[derive(Deserialize)]
struct Cluster {
    namespaces: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    namespace: String,
}

impl Export {
    pub(in crate::client) fn run(&self) -> Result<(), ClientError> {
        let named = self.namespace.as_deref().map(Namespace::new).transpose()?;
        let (connection, mut output) = self.common.open()?;
        let destination = Destination::open(self.out.as_deref())?;
        let is_stdout = destination.is_stdout();
        let mut running = Running {
            patience: Patience::new(self.wait),
            progress: Progress::of_pages(),
            connection,
            destination,
            prefix: address::escape(&self.prefix),
            documents: 0,
            bytes: 0,
        };
        let namespaces = match named {
            Some(namespace) => vec![namespace],
            None => running.namespaces()?,
        };
        for namespace in &namespaces {
            running.namespace(namespace, self.all)?;
        }
        running.destination.finish()?;
        let took = running.progress.end();
        let (documents, bytes) = (running.documents, running.bytes);
        if !output.is_json() {
            running.progress.say(&summary(documents, bytes, took));
            return Ok(());
        }
        let summary = json!({
            "documents": documents,
            "bytes": bytes,
            "namespaces": namespaces.len(),
            "seconds": took.as_secs_f64(),
        });
        match is_stdout {
            true => running.progress.say(&summary.to_string()),
            false => output.value(&summary)?,
        }
        Ok(())
    }
}

/// An export on its way.
struct Running {
    connection: Connection,
    patience: Patience,
    progress: Progress,
    destination: Destination,
    /// Escaped.
    prefix: String,
    documents: u64,
    bytes: u64,
}

impl Running {
    fn namespaces(&self) -> Result<Vec<Namespace>, ClientError> {
        let cluster: Cluster = self.patience.ask(&self.progress, || {
            let call = Call::get("/v1/cluster".to_owned());
            self.connection.call(&call)?.parse()
        })?;
        let mut namespaces: Vec<_> = cluster
            .namespaces
            .iter()
            .map(|held| Namespace::new(&held.namespace))
            .collect::<Result<_, _>>()?;
        namespaces.sort_unstable();
        Ok(namespaces)
    }

    fn namespace(&mut self, namespace: &Namespace, named: bool) -> Result<(), ClientError> {
        // If another node has to go on, it must have seen as much as this one: else documents would be missing.
        let mut session = Session::new(self.connection.clone());
        let mut after: Option<String> = None;
        let mut pace = Pace::new();
        loop {
            let begin = after.as_deref();
            let asked = self.patience.ask(&self.progress, || {
                let mut target = format!(
                    "{}{}?prefix={}&limit={}&values=true",
                    address::DOCUMENTS,
                    address::escape(namespace.as_str()),
                    self.prefix,
                    pace.documents,
                );
                if let Some(begin) = begin {
                    target += &format!("&after={}", address::escape(begin));
                }
                let mut call = Call::get(target);
                call.answer_bytes_max = pace.answer_bytes_max();
                let answer = session.call(call)?;
                Ok((answer.len(), answer.parse::<Page>()?))
            });
            let (size, page) = match asked {
                Err(error) if error.is_answer_too_large() && pace.slow_down() => continue,
                other => other?,
            };
            pace.saw(size, page.documents.len());
            self.page(namespace, named, &page)?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn page(&mut self, namespace: &Namespace, named: bool, page: &Page) -> Result<(), ClientError> {
        let mut line = Vec::new();
        for listed in &page.documents {
            line.clear();
            let content = Line {
                ns: named.then(|| namespace.as_str()),
                key: &listed.key,
                value: &listed.value,
                version: &listed.version,
            };
            serde_json::to_writer(&mut line, &content).map_err(|_| ClientError::NotAnabranch)?;
            line.write_all(b"\n")?;
            self.destination.write(&line)?;
            self.documents += 1;
            self.bytes += line.len() as u64;
        }
        self.destination.flush()?;
        self.progress.is_at(self.documents, self.bytes);
        Ok(())
    }
}

/// How many documents to ask for at once: as many as make a page of a good size.
struct Pace {
    documents: usize,
}

impl Pace {
    fn new() -> Self {
        Self {
            documents: limits::EXPORT_PAGE_DOCUMENTS_FIRST,
        }
    }

    /// A single document is as large as it is.
    fn answer_bytes_max(&self) -> u64 {
        match self.documents {
            1 => limits::ANSWER_BYTES_MAX,
            _ => limits::EXPORT_PAGE_BYTES_MAX,
        }
    }

    /// After a page that was too large. False if it can't be smaller.
    fn slow_down(&mut self) -> bool {
        let could = self.documents > 1;
        self.documents = (self.documents / 4).max(1);
        could
    }

    fn saw(&mut self, bytes: usize, documents: usize) {
        let each = (bytes / documents.max(1)).max(1);
        let fitting = limits::EXPORT_PAGE_BYTES / each;
        let most = (self.documents * 2).min(anabranch::limits::PAGE_DOCUMENTS_MAX);
        self.documents = fitting.clamp(1, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_long_as_their_documents_allow() {
        let mut pace = Pace::new();
        pace.saw(20_000, 100);
        assert_eq!(pace.documents, 200);
        for _ in 0..5 {
            pace.saw(20_000, 100);
        }
        assert_eq!(pace.documents, anabranch::limits::PAGE_DOCUMENTS_MAX);
        assert!(pace.slow_down());
        assert_eq!(pace.documents, 250);
        pace.saw(100 << 20, 100);
        assert_eq!(pace.documents, 2);
        assert_eq!(pace.answer_bytes_max(), limits::EXPORT_PAGE_BYTES_MAX);
        assert!(pace.slow_down());
        assert_eq!(pace.answer_bytes_max(), limits::ANSWER_BYTES_MAX);
        assert!(!pace.slow_down());
        pace.saw(100 << 20, 1);
        assert_eq!(pace.documents, 1);
    }
}
