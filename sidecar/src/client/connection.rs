//! Requests to the first node that can be reached, and again to the same one when the connection breaks.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body, BodyReader};

use super::error::ClientError;
use crate::http::{session, writing};
use crate::limits;

/// Where nodes are, in the order in which they are tried.
#[derive(Clone)]
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
    /// Bytes at most in the answer.
    pub(super) answer_bytes_max: u64,
}

/// What a node answered, whatever it was.
pub(super) struct Reply {
    status: StatusCode,
    pub(super) answer: Answer,
}

/// An answer of the 2xx kind.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) etag: Option<String>,
    /// What the session has seen now.
    pub(super) token: Option<String>,
    /// Whether it is the answer to an earlier request.
    pub(super) repeated: bool,
    /// Whether a write stands of which fewer datacenters know than were asked for.
    pub(super) unacknowledged: bool,
    body: Vec<u8>,
}

impl Reply {
    /// Takes anything but success for an error.
    pub(super) fn success(self) -> Result<Answer, ClientError> {
        match self.status.is_success() {
            true => Ok(self.answer),
            false => Err(refusal(self.status, &self.answer.body)),
        }
    }
}

impl Answer {
    pub(super) fn json(&self) -> Result<Value, ClientError> {
        self.parse()
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|_| ClientError::NotAnabranch)
    }

    /// Bytes of its body.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }
}

impl<'a> Call<'a> {
    pub(super) fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: Vec::new(),
            body: None,
            answer_bytes_max: limits::ANSWER_BYTES_MAX,
        }
    }

    /// A PUT of JSON.
    pub(super) fn put(target: String, body: &'a [u8]) -> Self {
        Self {
            method: Method::PUT,
            ..Self::post(target, Vec::new(), body)
        }
    }

    /// A POST of JSON.
    pub(super) fn post(
        target: String,
        headers: Vec<(&'static str, String)>,
        body: &'a [u8],
    ) -> Self {
        Self {
            method: Method::POST,
            target,
            headers,
            body: Some(("application/json", body)),
            answer_bytes_max: limits::ANSWER_BYTES_MAX,
        }
    }

    /// Under which name it can be sent again without being done again.
    fn idempotency_key(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let header = headers.find(|(name, _)| *name == writing::IDEMPOTENCY_KEY);
        header.map(|(_, key)| &**key)
    }
}

impl Connection {
    /// Parses addresses with commas between them. `wait` is what nodes will be asked to wait.
    pub(super) fn new(urls: &str, wait: Duration) -> Result<Self, ClientError> {
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
            .timeout_recv_response(Some(limits::ANSWER_TIMEOUT.saturating_add(wait)))
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, bases })
    }

    /// The nodes, each on its own.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Self> {
        self.bases.iter().map(|base| self.only(base))
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
        self.ask(call)?.success()
    }

    /// Asks. A write that has an idempotency key is sent again if the connection breaks, to the same node: another
    /// one may not have heard of it yet.
    pub(super) fn ask(&self, call: &Call<'_>) -> Result<Reply, ClientError> {
        let (mut error, base) = match self.send(call, None) {
            Ok((response, base)) => match read(response, call.answer_bytes_max) {
                Ok(reply) => return Ok(reply),
                Err(source) => (source, base),
            },
            Err(Unsent::Broken { base, source }) => (source, base),
            Err(Unsent::Unreachable { failures }) => {
                return Err(ClientError::Unreachable { failures });
            }
        };
        let pauses: &[Duration] = match call.idempotency_key() {
            Some(_) => &limits::RETRY_PAUSES,
            None => &[],
        };
        for pause in pauses {
            // A node that is silent for this long is not asked for as long again.
            if matches!(error, ureq::Error::Timeout(_)) {
                break;
            }
            std::thread::sleep(*pause);
            let sent = self.send_to(&base, call, None);
            match sent.and_then(|response| read(response, call.answer_bytes_max)) {
                Ok(reply) => return Ok(reply),
                Err(again) => error = again,
            }
        }
        Err(broken(base, error, call))
    }

    /// Follows an endless answer, by its bytes, and says whom it comes from.
    pub(super) fn follow(
        &self,
        call: &Call<'_>,
        silence_max: Duration,
    ) -> Result<(BodyReader<'static>, String), ClientError> {
        let sent = self.send(call, Some(silence_max));
        let (response, base) = sent.map_err(|unsent| match unsent {
            Unsent::Unreachable { failures } => ClientError::Unreachable { failures },
            Unsent::Broken { base, source } => broken(base, source, call),
        })?;
        if !response.status().is_success() {
            return match read(response, call.answer_bytes_max) {
                Ok(reply) => Err(refusal(reply.status, &reply.answer.body)),
                Err(source) => Err(broken(base, source, call)),
            };
        }
        Ok((response.into_body().into_reader(), base))
    }

    /// The next node is tried only when this one can't have seen the request.
    fn send(
        &self,
        call: &Call<'_>,
        silence_max: Option<Duration>,
    ) -> Result<(Response<Body>, String), Unsent> {
        let mut failures = Vec::new();
        for base in &self.bases {
            match self.send_to(base, call, silence_max) {
                Ok(response) => return Ok((response, base.clone())),
                Err(error) if is_unreached(&error) => failures.push(format!("{base}: {error}")),
                Err(source) => {
                    let base = base.clone();
                    return Err(Unsent::Broken { base, source });
                }
            }
        }
        Err(Unsent::Unreachable { failures })
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

/// Why there is no answer.
enum Unsent {
    /// No node has seen the request.
    Unreachable { failures: Vec<String> },
    /// This one may have.
    Broken { base: String, source: ureq::Error },
}

fn broken(url: String, source: ureq::Error, call: &Call<'_>) -> ClientError {
    ClientError::Broken {
        url,
        source: Box::new(source),
        wrote: !call.method.is_safe(),
        key: call.idempotency_key().map(str::to_owned),
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

fn read(response: Response<Body>, bytes_max: u64) -> Result<Reply, ureq::Error> {
    let status = response.status();
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.trim_matches('"').to_owned())
    };
    let (etag, token) = (header("etag"), header(session::TOKEN));
    let repeated = header(writing::REPEATED).is_some();
    let body = response
        .into_body()
        .into_with_config()
        .limit(bytes_max)
        .read_to_vec()?;
    let answer = Answer {
        etag,
        token,
        repeated,
        unacknowledged: status == StatusCode::ACCEPTED,
        body,
    };
    Ok(Reply { status, answer })
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
            index: problem
                .get("index")
                .and_then(Value::as_u64)
                .and_then(|index| usize::try_from(index).ok()),
        },
        // What stands before a node that is away.
        _ if matches!(status.as_u16(), 502..=504) => ClientError::Gateway {
            status: status.as_u16(),
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
        let bases = |urls| Connection::new(urls, Duration::ZERO).map(|connection| connection.bases);
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
        let error = refusal(StatusCode::SERVICE_UNAVAILABLE, problem);
        assert!(matches!(&error, ClientError::Problem { kind, .. } if kind == "busy"));
        assert_eq!(error.to_string(), "D");
        let error = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(matches!(error, ClientError::Gateway { status: 502 }) && error.may_pass());
        let error = refusal(StatusCode::OK, b"<html>");
        assert!(matches!(error, ClientError::NotAnabranch) && !error.may_pass());
    }
}
