//! Request bodies: their type, their size, their JSON.

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::problem::{Kind, Problem};
use crate::limits;

/// What PUT and POST take.
pub(super) const JSON: &str = "application/json";
/// RFC 6902.
pub(super) const JSON_PATCH: &str = "application/json-patch+json";
/// RFC 7396.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// Which of the types that fit here the body is of.
///
/// A body without a type is refused, too: that keeps pages in a browser, which may send such bodies anywhere
/// without asking, from writing to a node on the same machine.
pub(super) fn media_type(
    headers: &HeaderMap,
    accepted: &[&'static str],
) -> Result<&'static str, Problem> {
    let given = headers.get(CONTENT_TYPE);
    let essence = given
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if let Some(found) = accepted
        .iter()
        .find(|known| essence.is_some_and(|essence| essence.eq_ignore_ascii_case(known)))
    {
        return Ok(found);
    }
    let list = accepted.join("` or `");
    let found = given.map_or("it is missing".to_owned(), |value| {
        format!("it is {value:?}")
    });
    let problem = Problem::new(
        Kind::UnsupportedMediaType,
        format!("Content-Type must be `{list}`; {found}"),
    );
    // RFC 5789, 2.2, and RFC 9110, 15.5.16.
    let (name, list) = if accepted.contains(&JSON) {
        ("accept", JSON.to_owned())
    } else {
        ("accept-patch", accepted.join(", "))
    };
    Err(match HeaderValue::from_str(&list) {
        Ok(value) => problem.header(HeaderName::from_static(name), value),
        Err(_) => problem,
    })
}

/// Reads a body to its end, or as far as it may go.
pub(super) async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits::BODY_BYTES_MAX as u64) {
        // Who asks before sending waits for this answer.
        if !headers.contains_key(EXPECT) {
            drain(body).await;
        }
        return Err(too_large());
    }
    let whole = Limited::new(&mut body, limits::BODY_BYTES_MAX).collect();
    match tokio::time::timeout(limits::BODY_READ_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_length(&*error) => {
            drain(body).await;
            Err(too_large())
        }
        Ok(Err(error)) => Err(Problem::new(
            Kind::BadJson,
            format!("the body ended early: {error}; send it again"),
        )),
        Err(_) => Err(Problem::new(
            Kind::RequestTimeout,
            format!(
                "the body did not arrive within {} s; nothing was done, send it again",
                limits::BODY_READ_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Lets the rest of a refused body come in and be dropped, within reason. Most callers send everything before
/// they read the answer: to hang up on them would show them a broken connection in its place.
async fn drain(mut body: Body) {
    let rest = async {
        let mut left = limits::BODY_DRAINED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // Late or not, the answer is the same.
    let _ = tokio::time::timeout(limits::BODY_READ_TIMEOUT, rest).await;
}

fn is_length(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(inner) = error {
        if inner.is::<LengthLimitError>() {
            return true;
        }
        error = inner.source();
    }
    false
}

fn too_large() -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!(
            "a body may have {} bytes at most; split the write, or patch the document instead of sending it whole",
            limits::BODY_BYTES_MAX
        ),
    )
    .with("size_max", limits::BODY_BYTES_MAX)
}

/// Parses a body. Nesting is bounded by the parser, long before the stack is.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let detail = match error.classify() {
            serde_json::error::Category::Eof if bytes.is_empty() => {
                "the body is empty; send JSON".to_owned()
            }
            _ if error.to_string().starts_with("recursion limit") => format!(
                "the JSON is nested too deep at line {} column {}; a document may have {} levels",
                error.line(),
                error.column(),
                anabranch::limits::DEPTH_MAX
            ),
            _ => error.to_string(),
        };
        Problem::new(Kind::BadJson, detail)
            .with("line", error.line())
            .with("column", error.column())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn typed(value: &'static str) -> HeaderMap {
        [(CONTENT_TYPE, HeaderValue::from_static(value))]
            .into_iter()
            .collect()
    }

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        let accepted = [JSON_PATCH, MERGE_PATCH];
        let found = media_type(
            &typed("Application/Merge-Patch+JSON; charset=utf-8"),
            &accepted,
        );
        assert_eq!(found.unwrap(), MERGE_PATCH);
        for bad in ["application/json", "text/plain", ""] {
            let problem = media_type(&typed(bad), &accepted).unwrap_err();
            assert_eq!(problem.kind(), Kind::UnsupportedMediaType, "{bad}");
        }
        assert!(media_type(&HeaderMap::new(), &[JSON]).is_err());
    }

    #[test]
    fn bad_json_is_located() {
        let problem = json(b"{\n  \"a\": x\n}").unwrap_err();
        assert_eq!(problem.kind(), Kind::BadJson);
        assert_eq!(problem.json()["line"], 2);
        assert_eq!(problem.json()["column"], 8);
        assert!(json(b"").unwrap_err().detail().contains("empty"));
        assert_eq!(
            json(b"{\"a\": \"\xff\"}").unwrap_err().kind(),
            Kind::BadJson
        );
        assert_eq!(json(b"{} {}").unwrap_err().kind(), Kind::BadJson);
    }

    #[test]
    fn nesting_ends_before_the_stack_does() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = open.repeat(10_000) + "1" + &close.repeat(10_000);
            let problem = json(deep.as_bytes()).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadJson);
            assert!(problem.detail().contains("nested too deep"));
        }
    }
}
