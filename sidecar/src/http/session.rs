//! Sessions: what a caller has seen, from the request's headers into the answer's.

use std::time::Duration;

use anabranch::{Session, Token};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, VARY};
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse;

use super::header::{bad_header, single};
use super::problem::Problem;
use crate::limits;

/// On requests: what the session has seen. On answers: that, and what the answer shows.
pub(crate) const TOKEN: &str = "anabranch-token";
/// How long a request is willing to wait for what its session has seen.
pub(crate) const WAIT: &str = "anabranch-wait";

/// The session that a request goes on with.
pub(super) fn of(headers: &HeaderMap, wait_max: Duration) -> Result<Session, Problem> {
    let mut token = Token::default();
    // A list, as RFC 9110 (5.3) has it: whoever brings sessions together hands all of them in.
    for value in headers.get_all(TOKEN) {
        for part in value.to_str().unwrap_or("?").split(',') {
            let part: Token = part
                .trim()
                .parse()
                .map_err(|error| bad_header(TOKEN, format!("{TOKEN}: {error}")))?;
            token.merge(&part);
        }
    }
    let wait = asked(headers)?.unwrap_or(limits::SESSION_WAIT.min(wait_max));
    if wait > wait_max {
        return Err(bad_header(
            WAIT,
            format!(
                "{WAIT} may be {} ms at most at this node; ask for less, and repeat the request if need be",
                wait_max.as_millis()
            ),
        )
        .with("wait_max_ms", milliseconds(wait_max)));
    }
    Ok(Session {
        token,
        wait_ms: milliseconds(wait),
    })
}

/// How long a request asks to wait, if it does.
pub(super) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(text) = single(headers, WAIT)? else {
        return Ok(None);
    };
    parse_wait(text)
        .map(Some)
        .map_err(|why| bad_header(WAIT, format!("{WAIT} {why}")))
}

/// Reads `2s` or `500ms`.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    let (number, unit): (&str, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis),
        None => (
            text.strip_suffix('s').unwrap_or_default(),
            Duration::from_secs,
        ),
    };
    let sound = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = sound.then(|| number.parse().ok()).flatten();
    number.map(unit).ok_or_else(|| {
        format!("must be a whole number of `s` or `ms`, such as 2s or 500ms, not {text:?}")
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An answer that says what has been seen with it.
///
/// Caches keep such answers apart by the request's token: then what they give out never takes a session back.
pub(super) fn seen(answer: impl IntoResponse, token: &Token) -> Response<Body> {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    let text = HeaderValue::from_str(&token.to_string()).expect("a token is base64url");
    headers.insert(HeaderName::from_static(TOKEN), text);
    headers.insert(VARY, HeaderValue::from_static(TOKEN));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::problem::Kind;

    fn session(pairs: &[(&'static str, &'static str)]) -> Result<Session, Problem> {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        of(&pairs.collect(), Duration::from_secs(20))
    }

    #[test]
    fn times_have_units() {
        for (text, wait_ms) in [("2s", 2_000), ("500ms", 500), ("0s", 0), ("20s", 20_000)] {
            assert_eq!(session(&[(WAIT, text)]).unwrap().wait_ms, wait_ms);
        }
        assert_eq!(session(&[]).unwrap().wait_ms, 1_000);
        for bad in [
            "",
            "2",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "2 s",
            "1m",
            "99999999999999999999s",
            "21s",
        ] {
            let problem = session(&[(WAIT, bad)]).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadHeader, "{bad}");
            assert_eq!(problem.json()["header"], WAIT);
        }
        assert!(
            session(&[(WAIT, "21s")])
                .unwrap_err()
                .detail()
                .contains("20000 ms at most")
        );
    }

    #[test]
    fn tokens_are_read_and_several_are_one_session() {
        for sound in ["AQA", "AQA, AQA"] {
            assert!(session(&[(TOKEN, sound)]).unwrap().token.is_empty());
        }
        for bad in ["", "x", "AQA,", "AQA AQA", "!"] {
            let problem = session(&[(TOKEN, bad)]).unwrap_err();
            assert_eq!(problem.json()["header"], TOKEN, "{bad}");
        }
    }
}
