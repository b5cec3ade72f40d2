//! What any write may say besides what it writes, and what becomes of it.

use anabranch::{
    Acknowledged, Answer, DocumentId, Guard, IdempotencyKey, Intent, Namespace, Reply,
    Request as Asked, Token, Version, Write, Written,
};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::acknowledgement::{self, ACK};
use super::header::{bad_header, single};
use super::problem::Problem;
use super::query::Query;
use super::{Service, answer, body, guard, session};

/// Lets a write be repeated without being done again.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The version on top of which a write is made.
pub(crate) const BASE_VERSION: &str = "base-version";
/// On answers: this is what the first such request was answered.
pub(crate) const REPEATED: &str = "anabranch-repeated";

/// What a write to one document is made on.
struct Ground {
    guard: Option<Guard>,
    base: Option<Version>,
}

impl Ground {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let guard = guard::of_write(headers)?;
        let base = single(headers, BASE_VERSION)?.map(base).transpose()?;
        if guard.is_some() && base.is_some() {
            return Err(bad_header(
                BASE_VERSION,
                "Base-Version merges with what was written since, If-Match and If-None-Match refuse to: give the one \
                 that says what you need",
            ));
        }
        Ok(Self { guard, base })
    }
}

/// A version as an answer gave it; as an ETag has it, too.
fn base(text: &str) -> Result<Version, Problem> {
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    bare.unwrap_or(text)
        .parse()
        .map_err(|error| bad_header(BASE_VERSION, format!("{BASE_VERSION}: {error}")))
}

/// Refuses what only makes sense for a write to one document.
pub(super) fn no_ground(headers: &HeaderMap, instead: &str) -> Result<(), Problem> {
    for name in ["if-match", "if-none-match", BASE_VERSION] {
        if headers.contains_key(name) {
            return Err(bad_header(
                name,
                format!("`{name}` has no meaning here: {instead}"),
            ));
        }
    }
    Ok(())
}

fn idempotency(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let key = single(headers, IDEMPOTENCY_KEY)?.map(IdempotencyKey::new);
    key.transpose()
        .map_err(|error| bad_header(IDEMPOTENCY_KEY, error.to_string()))
}

/// What became of a write.
pub(super) struct Done {
    pub(super) documents: Vec<Written>,
    repeated: bool,
    token: Token,
    /// Who holds it, if others were waited for.
    acknowledged: Option<Acknowledged>,
}

impl Done {
    /// Whether as many hold it as were asked for.
    pub(super) fn is_acknowledged(&self) -> bool {
        let acknowledged = self.acknowledged.as_ref();
        acknowledged.is_none_or(|acknowledged| acknowledged.reached)
    }

    /// With who holds it, if that was asked.
    pub(super) fn tell(&self, mut body: Value) -> Value {
        if let Some(acknowledged) = &self.acknowledged {
            body[ACK] = acknowledgement::shown(acknowledged);
        }
        body
    }

    /// The same for a problem.
    pub(super) fn tell_problem(&self, problem: Problem) -> Problem {
        match &self.acknowledged {
            Some(acknowledged) => problem.with(ACK, acknowledgement::shown(acknowledged)),
            None => problem,
        }
    }

    /// An answer to the writer.
    pub(super) fn answer(&self, answer: impl IntoResponse) -> Response<Body> {
        let mut response = session::seen(answer, &self.token);
        // It stands, and what was asked for besides has not come about yet.
        if response.status().is_success() && !self.is_acknowledged() {
            *response.status_mut() = StatusCode::ACCEPTED;
        }
        if self.repeated {
            let name = HeaderName::from_static(REPEATED);
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Writes to one document.
pub(super) async fn one(
    service: &Service,
    id: &DocumentId,
    request: Request,
    intent: impl FnOnce(&[u8]) -> Result<Intent, Problem>,
) -> Result<(Written, Done), Problem> {
    let ground = Ground::of(request.headers())?;
    let writes = |bytes: &Bytes| {
        let write = Write {
            key: id.key.clone(),
            intent: intent(bytes)?,
            guard: ground.guard,
            base: ground.base,
        };
        Ok((id.namespace.clone(), vec![write]))
    };
    let done = all(service, request, writes).await?;
    let written = done
        .documents
        .first()
        .cloned()
        .ok_or_else(answer::unexpected)?;
    Ok((written, done))
}

/// Writes all that a request's body asks for.
pub(super) async fn all(
    service: &Service,
    request: Request,
    writes: impl FnOnce(&Bytes) -> Result<(Namespace, Vec<Write>), Problem>,
) -> Result<Done, Problem> {
    let (parts, body) = request.into_parts();
    let mut query = Query::parse(parts.uri.query())?;
    let ack = acknowledgement::asked(&mut query)?;
    query.end(&[ACK])?;
    let session = service.session(&parts.headers)?;
    let idempotency = idempotency(&parts.headers)?;
    let bytes = body::read(&parts.headers, body).await?;
    let (namespace, writes) = writes(&bytes)?;
    let asked = Asked::Write {
        namespace,
        writes,
        idempotency,
        ack,
    };
    let Answer { reply, token } = service.ask(asked, session).await?;
    let Reply::Written {
        documents,
        repeated,
        acknowledged,
    } = reply
    else {
        return Err(answer::unexpected());
    };
    if repeated {
        service.metrics.repeated();
    }
    let done = Done {
        documents,
        repeated,
        token,
        acknowledged,
    };
    if !done.is_acknowledged() {
        service.metrics.was_not_acknowledged();
    }
    Ok(done)
}

/// What is said of one write.
pub(super) fn outcome(written: &Written) -> Value {
    json!({
        "version": written.version,
        "changed": written.changed,
        "created": written.created,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::problem::Kind;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        pairs.collect()
    }

    #[test]
    fn a_base_is_a_version_with_or_without_quotes() {
        let version = "5f".repeat(32);
        for given in [version.clone(), format!("\"{version}\"")] {
            let ground = Ground::of(&headers(&[(BASE_VERSION, &given)])).unwrap();
            assert_eq!(ground.base.unwrap().to_string(), version);
        }
        for bad in ["", "x", "\"", &version[1..]] {
            let problem = Ground::of(&headers(&[(BASE_VERSION, bad)])).err().unwrap();
            assert_eq!(problem.kind(), Kind::BadHeader, "{bad}");
            assert_eq!(problem.json()["header"], BASE_VERSION);
        }
        for condition in ["if-match", "if-none-match"] {
            let both = headers(&[(BASE_VERSION, &version), (condition, "*")]);
            assert!(
                Ground::of(&both)
                    .err()
                    .unwrap()
                    .detail()
                    .contains("give the one")
            );
        }
    }

    #[test]
    fn an_idempotency_key_is_a_name() {
        let long = "k".repeat(256);
        for bad in ["", &long] {
            let problem = idempotency(&headers(&[(IDEMPOTENCY_KEY, bad)])).unwrap_err();
            assert_eq!(problem.json()["header"], IDEMPOTENCY_KEY, "{bad}");
        }
        let given = headers(&[(IDEMPOTENCY_KEY, "8e03978e-40d5")]);
        assert_eq!(
            idempotency(&given).unwrap().unwrap().as_str(),
            "8e03978e-40d5"
        );
        let mut twice = given;
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("b"));
        assert!(idempotency(&twice).is_err());
    }
}
