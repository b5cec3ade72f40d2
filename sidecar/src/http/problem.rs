//! Errors as RFC 9457 has them.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Map, Value};

/// Where the types of problems are described; `docs/http.md` has the table.
const TYPE_BASE: &str = "https://anabranch.dev/problems/";

/// Every kind of problem. Its name and status are part of the interface: they never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    BadEdit,
    BadHeader,
    BadJson,
    BadName,
    BadQuery,
    BodyTooLarge,
    Busy,
    DocumentNotFound,
    EditDoesNotFit,
    Internal,
    MethodNotAllowed,
    NotSupportedYet,
    PositionGone,
    PreconditionFailed,
    RequestTimeout,
    ShuttingDown,
    StoreFailed,
    TestFailed,
    TimedOut,
    UnknownPath,
    UnsupportedMediaType,
    WriteTooLarge,
}

impl Kind {
    /// Name, status and title.
    fn face(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadEdit => ("bad-edit", S::BAD_REQUEST, "An edit is not well formed"),
            Self::BadHeader => ("bad-header", S::BAD_REQUEST, "A header is not well formed"),
            Self::BadJson => ("bad-json", S::BAD_REQUEST, "The body is not valid JSON"),
            Self::BadName => (
                "bad-name",
                S::BAD_REQUEST,
                "A namespace or key is not a valid name",
            ),
            Self::BadQuery => (
                "bad-query",
                S::BAD_REQUEST,
                "A query parameter is not valid",
            ),
            Self::BodyTooLarge => (
                "body-too-large",
                S::PAYLOAD_TOO_LARGE,
                "The body is too large",
            ),
            Self::Busy => (
                "busy",
                S::SERVICE_UNAVAILABLE,
                "Too much is under way at this node",
            ),
            Self::DocumentNotFound => ("document-not-found", S::NOT_FOUND, "No such document"),
            Self::EditDoesNotFit => (
                "edit-does-not-fit",
                S::UNPROCESSABLE_ENTITY,
                "The edit does not fit the document",
            ),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "A bug of Anabranch"),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "The method does not apply here",
            ),
            Self::NotSupportedYet => (
                "not-supported-yet",
                S::NOT_IMPLEMENTED,
                "This version does not have it yet",
            ),
            Self::PositionGone => (
                "position-gone",
                S::GONE,
                "The log of this node does not have that position",
            ),
            Self::PreconditionFailed => (
                "precondition-failed",
                S::PRECONDITION_FAILED,
                "The document is not as the request requires",
            ),
            Self::RequestTimeout => (
                "request-timeout",
                S::REQUEST_TIMEOUT,
                "The request took too long to arrive",
            ),
            Self::ShuttingDown => (
                "shutting-down",
                S::SERVICE_UNAVAILABLE,
                "This node is shutting down",
            ),
            Self::StoreFailed => (
                "store-failed",
                S::SERVICE_UNAVAILABLE,
                "The store of this node failed",
            ),
            Self::TestFailed => (
                "test-failed",
                S::CONFLICT,
                "A test of the JSON Patch did not hold",
            ),
            Self::TimedOut => (
                "timed-out",
                S::SERVICE_UNAVAILABLE,
                "The answer took too long",
            ),
            Self::UnknownPath => ("unknown-path", S::NOT_FOUND, "Nothing is at this path"),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body is of the wrong type",
            ),
            Self::WriteTooLarge => (
                "write-too-large",
                S::PAYLOAD_TOO_LARGE,
                "The write is too large",
            ),
        }
    }
}

/// An error on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// With a detail that says what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// With one more member in its body.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// With what a caller should wait before trying again.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Its body.
    pub(crate) fn json(&self) -> Value {
        let (name, status, title) = self.0.kind.face();
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("{TYPE_BASE}{name}").into());
        body.insert("title".to_owned(), title.into());
        body.insert("status".to_owned(), status.as_u16().into());
        body.insert("detail".to_owned(), self.0.detail.clone().into());
        body.extend(self.0.members.clone());
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.json().to_string()));
        *response.status_mut() = self.0.kind.face().1;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        for (name, value) in self.0.headers {
            headers.append(name, value);
        }
        response
    }
}
