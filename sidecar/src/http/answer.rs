//! Answers that are no problems.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use super::body::JSON;
use super::problem::{Kind, Problem};

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(JSON, bytes),
        Err(error) => Problem::new(
            Kind::Internal,
            format!("the answer does not go into JSON: {error}; please report it"),
        )
        .into_response(),
    }
}

/// A body of some type.
pub(super) fn typed(media_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The replica's answer is to another question than was asked.
pub(super) fn unexpected() -> Problem {
    let detail = "the replica answered another question; please report this";
    Problem::new(Kind::Internal, detail)
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
