//! Requests to the first node that can be reached.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body, BodyReader};

use super::error::ClientError;
use crate::limits;

/// Where nodes are, in the order in which they are tried.
pub(super) struct Connection {
    agent: Agent,
    bases: Vec<String>,
}

/// A request before it is known which node gets it.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<(&'static str, &'a [u8])>,
}

/// An answer of the 2xx kind.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) etag: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Result<Value, ClientError> {
        serde_json::from_slice(&self.body).map_err(|_| ClientError::NotAnabranch)
    }
}

impl Call<'_> {
    pub(super) fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: Vec::new(),
            body: None,
        }
    }
}

impl Connection {
    /// Parses addresses with commas between them.
    pub(super) fn new(urls: &str) -> Result<Self, ClientError> {
        let bases = urls
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(base)
            .collect::<Result<Vec<_>, _>>()?;
        if bases.is_empty() {
            return Err(ClientError::Url {
                url: urls.to_owned(),
            });
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(limits::CONNECT_TIMEOUT))
            .timeout_recv_response(Some(limits::ANSWER_TIMEOUT))
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, bases })
    }

    /// The same, to one of them only.
    pub(super) fn only(&self, base: &str) -> Self {
        Self {
            agent: self.agent.clone(),
            bases: vec![base.to_owned()],
        }
    }

    /// Asks, and takes anything but success for an error.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let (response, url) = self.send(call, None)?;
        let etag = response.headers().get("etag").and_then(|value| {
            let version = value.to_str().ok()?.trim_matches('"');
            Some(version.to_owned())
        });
        let status = response.status();
        let body = read(response, &url)?;
        success(status, &body)?;
        Ok(Answer { etag, body })
    }

    /// Follows an endless answer, by its bytes, and says whom it comes from.
    pub(super) fn follow(
        &self,
        call: &Call<'_>,
        silence_max: Duration,
    ) -> Result<(BodyReader<'static>, String), ClientError> {
        let (response, base) = self.send(call, Some(silence_max))?;
        let status = response.status();
        if !status.is_success() {
            let body = read(response, &base)?;
            return Err(refusal(status, &body));
        }
        Ok((response.into_body().into_reader(), base))
    }

    /// The next node is tried only when this one can't have seen the request: a write is never sent twice.
    fn send(
        &self,
        call: &Call<'_>,
        silence_max: Option<Duration>,
    ) -> Result<(Response<Body>, String), ClientError> {
        let mut failures = Vec::new();
        for base in &self.bases {
            match self.send_to(base, call, silence_max) {
                Ok(response) => return Ok((response, base.clone())),
                Err(error) if is_unreached(&error) => failures.push(format!("{base}: {error}")),
                Err(source) => {
                    return Err(ClientError::Broken {
                        url: base.clone(),
                        source: Box::new(source),
                        wrote: !call.method.is_safe(),
                    });
                }
            }
        }
        Err(ClientError::Unreachable { failures })
    }

    fn send_to(
        &self,
        base: &str,
        call: &Call<'_>,
        silence_max: Option<Duration>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{base}{}", call.target));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        match call.body {
            Some((media_type, bytes)) => {
                let request = request.header("content-type", media_type).body(bytes)?;
                self.agent.run(request)
            }
            None => {
                let request = self.agent.configure_request(request.body(())?);
                self.agent
                    .run(request.timeout_per_read(silence_max).build())
            }
        }
    }
}

fn base(url: &str) -> Result<String, ClientError> {
    let refused = || ClientError::Url {
        url: url.to_owned(),
    };
    let rest = url.strip_prefix("http://").ok_or_else(refused)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let sound = !rest.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']);
    sound.then(|| format!("http://{rest}")).ok_or_else(refused)
}

fn is_unreached(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(at) => {
            matches!(at, ureq::Timeout::Connect | ureq::Timeout::Resolve)
        }
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable
        ),
        _ => false,
    }
}

fn read(response: Response<Body>, url: &str) -> Result<Vec<u8>, ClientError> {
    response
        .into_body()
        .into_with_config()
        .limit(limits::ANSWER_BYTES_MAX)
        .read_to_vec()
        .map_err(|source| ClientError::Broken {
            url: url.to_owned(),
            source: Box::new(source),
            // The status is the answer to a write, and it has arrived.
            wrote: false,
        })
}

fn success(status: StatusCode, body: &[u8]) -> Result<(), ClientError> {
    match status.is_success() {
        true => Ok(()),
        false => Err(refusal(status, body)),
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    match (text("type"), text("title")) {
        (Some(kind), Some(title)) => ClientError::Problem {
            status: status.as_u16(),
            kind: kind.rsplit('/').next().unwrap_or(kind).to_owned(),
            message: match text("detail") {
                // The detail says all of what the title says.
                Some(detail) => detail.to_owned(),
                None => title.to_owned(),
            },
        },
        _ => ClientError::NotAnabranch,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let bases = |urls| Connection::new(urls).map(|connection| connection.bases);
        assert_eq!(
            bases("http://a:1, http://b:2/").unwrap(),
            ["http://a:1", "http://b:2"]
        );
        for bad in [
            "",
            ",",
            "a:1",
            "https://a:1",
            "http://",
            "http://a/b",
            "http://u@h",
        ] {
            let error = bases(bad).unwrap_err();
            assert!(matches!(error, ClientError::Url { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn problems_are_told_from_foreign_answers() {
        let problem = br#"{"type":"https://anabranch.dev/problems/busy","title":"T","detail":"D"}"#;
        let error = success(StatusCode::SERVICE_UNAVAILABLE, problem).unwrap_err();
        assert!(matches!(&error, ClientError::Problem { kind, .. } if kind == "busy"));
        assert_eq!(error.to_string(), "D");
        let error = success(StatusCode::BAD_GATEWAY, b"<html>").unwrap_err();
        assert!(matches!(error, ClientError::NotAnabranch));
    }
}
