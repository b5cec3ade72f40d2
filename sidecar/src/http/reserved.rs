//! What the interface has promised and this version does not have yet. It is refused, never ignored: a
//! caller that asks for it relies on it.

use axum::http::HeaderMap;

use super::problem::{Kind, Problem};
use super::query::Query;

const HEADERS: [&str; 4] = [
    "anabranch-token",
    "anabranch-wait",
    "base-version",
    "idempotency-key",
];

/// A problem that names a feature to come.
pub(super) fn feature(what: &str) -> Problem {
    Problem::new(
        Kind::NotSupportedYet,
        format!("{what} is not supported by this version; leave it out, or use a later version"),
    )
    .with("feature", what)
}

/// Refuses headers to come.
pub(super) fn headers(headers: &HeaderMap) -> Result<(), Problem> {
    match HEADERS.iter().find(|name| headers.contains_key(**name)) {
        Some(name) => Err(feature(&format!("the header `{name}`"))),
        None => Ok(()),
    }
}

/// Refuses what a write may ask for beyond being durable here.
pub(super) fn of_write(query: &mut Query) -> Result<(), Problem> {
    match query.text("ack").as_deref() {
        None | Some("local") => Ok(()),
        Some(_) => Err(feature("`ack` other than `local`")),
    }
}

/// Refuses readings to come.
pub(super) fn of_read(query: &mut Query) -> Result<(), Problem> {
    if query.text("at").is_some() {
        return Err(feature("`at`"));
    }
    match query.flag("conflicts")? {
        true => Err(feature("`conflicts`")),
        false => Ok(()),
    }
}
