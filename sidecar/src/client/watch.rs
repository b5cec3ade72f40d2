//! `anabranch watch`: changes as they come, without loss across reconnects.

use std::io::{self, Write as _};
use std::time::Duration;

use anabranch::Namespace;
use serde_json::Value;
use ureq::BodyReader;

use super::Common;
use super::connection::{Call, Connection};
use super::error::ClientError;
use super::feed::{Feed, FeedEvent};
use super::output::Output;
use crate::http::address;
use crate::limits;

const BACKOFF_INITIAL: Duration = Duration::from_millis(100);

/// `anabranch watch`
#[derive(clap::Args)]
pub(crate) struct Watch {
    /// The namespace; all if not given
    namespace: Option<String>,
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Begin after this position of the node's log (0: from its first change); else with what comes now
    #[arg(long, value_name = "LSN")]
    after: Option<u64>,
    #[command(flatten)]
    common: Common,
}

impl Watch {
    pub(super) fn run(&self) -> Result<(), ClientError> {
        let (connection, mut output) = self.common.open()?;
        let call = self.call()?;
        let (mut bytes, base) = connection.follow(&call, limits::FEED_SILENCE_MAX)?;
        // Positions mean nothing at another node: from here on it is this one.
        let connection = connection.only(&base);
        let mut last_id = None;
        let mut backoff = BACKOFF_INITIAL;
        loop {
            let mut feed = Feed::new(bytes);
            let ended = drain(&mut feed, &mut output, &mut backoff)?;
            last_id = feed.last_id().map(str::to_owned).or(last_id);
            bytes = loop {
                let _ = writeln!(
                    io::stderr(),
                    "anabranch: the feed ended ({ended}); following again in {} ms",
                    backoff.as_millis()
                );
                std::thread::sleep(backoff);
                backoff = (backoff * 2).min(limits::FEED_BACKOFF_MAX);
                match self.again(&connection, last_id.as_deref()) {
                    Ok(bytes) => break bytes,
                    Err(
                        ClientError::Unreachable { .. }
                        | ClientError::Gateway { .. }
                        | ClientError::Broken { .. }
                        | ClientError::Problem {
                            status: 500..=599, ..
                        },
                    ) => {}
                    Err(error) => return Err(error),
                }
            };
        }
    }

    fn again(
        &self,
        connection: &Connection,
        last_id: Option<&str>,
    ) -> Result<BodyReader<'static>, ClientError> {
        let mut call = self.call()?;
        if let Some(id) = last_id {
            call.headers.push(("last-event-id", id.to_owned()));
        }
        Ok(connection.follow(&call, limits::FEED_SILENCE_MAX)?.0)
    }

    fn call(&self) -> Result<Call<'static>, ClientError> {
        let mut target = format!("/v1/events?prefix={}", address::escape(&self.prefix));
        if let Some(namespace) = &self.namespace {
            let namespace = Namespace::new(namespace)?;
            target += &format!("&ns={}", address::escape(namespace.as_str()));
        }
        if let Some(after) = self.after {
            target += &format!("&after={after}");
        }
        Ok(Call::get(target))
    }
}

/// Prints until the feed ends, and says how it did.
fn drain(
    feed: &mut Feed<impl io::Read>,
    output: &mut Output,
    backoff: &mut Duration,
) -> Result<String, ClientError> {
    loop {
        match feed.next() {
            Ok(Some(event)) => {
                *backoff = BACKOFF_INITIAL;
                print(output, &event)?;
            }
            Ok(None) => return Ok("the node closed it".to_owned()),
            Err(error) => return Ok(error.to_string()),
        }
    }
}

fn print(output: &mut Output, event: &FeedEvent) -> Result<(), ClientError> {
    let data: Value = serde_json::from_str(&event.data).map_err(|_| ClientError::NotAnabranch)?;
    if event.kind != "change" {
        let detail = data["detail"].as_str().unwrap_or(&event.data);
        let _ = writeln!(io::stderr(), "anabranch: {detail}");
        return Ok(());
    }
    if output.is_json() {
        return output.value(&data);
    }
    let text = |name: &str| data[name].as_str().unwrap_or_default();
    let place = match data["local"] {
        Value::Bool(true) => "here",
        _ => "elsewhere",
    };
    let together = match (data["part"].as_u64(), data["parts"].as_u64()) {
        (Some(part), Some(parts @ 2..)) => format!("\t{part} of {parts}"),
        _ => String::new(),
    };
    let (lsn, namespace, key) = (&data["lsn"], text("ns"), text("key"));
    output.line(&format!("{lsn}\t{namespace}/{key}\t{place}{together}"))
}
