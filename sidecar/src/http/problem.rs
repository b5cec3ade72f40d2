//! Errors as RFC 9457 has them.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Map, Value};

/// Where the types of problems are described; `docs/http.md` has the table.
const TYPE_BASE: &str = "https://anabranch.dev/problems/";

macro_rules! kinds {
    ($($kind:ident: $name:literal, $status:ident, $title:literal;)*) => {
        /// Every kind of problem. Its name and status are part of the interface: they never change.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            /// Name, status and title.
            pub(crate) fn face(self) -> (&'static str, StatusCode, &'static str) {
                match self { $(Self::$kind => ($name, StatusCode::$status, $title)),* }
            }
        }
    };
}

kinds! {
    BackupBaseGone: "backup-base-gone", GONE, "The log does not go on from the earlier backup";
    BadEdit: "bad-edit", BAD_REQUEST, "An edit is not well formed";
    BadHeader: "bad-header", BAD_REQUEST, "A header is not well formed";
    BadJson: "bad-json", BAD_REQUEST, "The body is not valid JSON";
    BadName: "bad-name", BAD_REQUEST, "A namespace or key is not a valid name";
    BadPlacement: "bad-placement", BAD_REQUEST, "A placement is not well formed";
    BadQuery: "bad-query", BAD_REQUEST, "A query parameter is not valid";
    BodyTooLarge: "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    Busy: "busy", SERVICE_UNAVAILABLE, "Too much is under way at this node";
    CanNotLeave: "can-not-leave", CONFLICT, "This node can't leave the cluster now";
    DiskFull: "disk-full", INSUFFICIENT_STORAGE, "The disk of this node is full";
    DocumentDamaged: "document-damaged", SERVICE_UNAVAILABLE, "This node can't read the document from its disk";
    DocumentNotFound: "document-not-found", NOT_FOUND, "No such document";
    EditDoesNotFit: "edit-does-not-fit", UNPROCESSABLE_ENTITY, "The edit does not fit the document";
    IdempotencyKeyReused: "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key came with another write before";
    Internal: "internal", INTERNAL_SERVER_ERROR, "A bug of Anabranch";
    MemberAmbiguous: "member-ambiguous", CONFLICT, "Several members have that name";
    MemberNotFound: "member-not-found", NOT_FOUND, "No such member";
    MovingIn: "moving-in", SERVICE_UNAVAILABLE, "The namespace is not all here yet";
    MethodNotAllowed: "method-not-allowed", METHOD_NOT_ALLOWED, "The method does not apply here";
    NotPlacedHere: "not-placed-here", MISDIRECTED_REQUEST, "The namespace is in other datacenters";
    NotReadyYet: "not-ready-yet", SERVICE_UNAVAILABLE, "This node has not summed up yet what it holds";
    NotSupportedYet: "not-supported-yet", NOT_IMPLEMENTED, "This version does not have it yet";
    PositionGone: "position-gone", GONE, "The log of this node does not have that position";
    PreconditionFailed: "precondition-failed", PRECONDITION_FAILED, "The document is not as the request requires";
    ReplicaBehind: "replica-behind", SERVICE_UNAVAILABLE, "This node has not seen yet what the session has";
    RequestTimeout: "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    SeveralNamespaces: "several-namespaces", BAD_REQUEST, "A batch is of one namespace";
    ShuttingDown: "shutting-down", SERVICE_UNAVAILABLE, "This node is shutting down";
    StoreFailed: "store-failed", SERVICE_UNAVAILABLE, "The store of this node failed";
    TestFailed: "test-failed", CONFLICT, "A test of the JSON Patch did not hold";
    TimedOut: "timed-out", SERVICE_UNAVAILABLE, "The answer took too long";
    UnknownDatacenter: "unknown-datacenter", UNPROCESSABLE_ENTITY, "No member is known to be in that datacenter";
    UnknownPath: "unknown-path", NOT_FOUND, "Nothing is at this path";
    UnknownVersion: "unknown-version", NOT_FOUND, "No such version is known here";
    UnsupportedMediaType: "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body is of the wrong type";
    WriteTooLarge: "write-too-large", PAYLOAD_TOO_LARGE, "The write is too large";
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

    /// As that of one write of several. What was an index before is that of the write's edit.
    pub(crate) fn of_write(mut self, index: usize, key: Option<&str>) -> Self {
        let members = &mut self.0.members;
        if let Some(edit) = members.remove("index") {
            members.insert("edit".to_owned(), edit);
        }
        self.0.detail = match key {
            Some(key) => format!("write {index} ({key}): {}", self.0.detail),
            None => format!("write {index}: {}", self.0.detail),
        };
        let problem = self.with("index", index);
        match key {
            Some(key) => problem.with("key", key),
            None => problem,
        }
    }

    /// Whether it is about one write, and does not say yet about which.
    pub(crate) fn is_of_a_write(&self) -> bool {
        let kind = matches!(
            self.0.kind,
            Kind::EditDoesNotFit | Kind::UnknownVersion | Kind::WriteTooLarge
        );
        kind && !self.0.members.contains_key("index")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever meets a type has to find it explained.
    #[test]
    fn every_kind_is_documented() {
        let documented = include_str!("../../../docs/http.md");
        for kind in Kind::ALL {
            let (name, status, _) = kind.face();
            let row = format!("| `{name}` | {} |", status.as_u16());
            assert!(documented.contains(&row), "docs/http.md lacks {row}");
        }
    }
}
