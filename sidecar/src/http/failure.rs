//! What a node refuses, as a problem.

use anabranch::{EditError, Error, LeaveError, Missing, NameError, RequestError};
use serde_json::{Value, json};

use super::header::bad_header;
use super::problem::{Kind, Problem};
use super::{session, writing};
use crate::limits;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Name(error) => error.into(),
            Error::Request(error) => error.into(),
            Error::Closed => Self::new(
                Kind::ShuttingDown,
                "this node is shutting down, and whether it still took a write that was under way is not known: ask another node, \
                 or try again when it is back",
            )
            .retry_after(limits::RETRY_AFTER_S),
            other => Self::new(Kind::Internal, other.to_string()),
        }
    }
}

impl From<LeaveError> for Problem {
    fn from(error: LeaveError) -> Self {
        match error {
            LeaveError::Closed => Error::Closed.into(),
            LeaveError::NotHeld { batches } => {
                Self::new(Kind::CanNotLeave, error.to_string()).with("behind_batches", batches)
            }
            other => Self::new(Kind::CanNotLeave, other.to_string()),
        }
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(Kind::BadName, error.to_string())
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let detail = error.to_string();
        match error {
            RequestError::Edit(error) => error.into(),
            RequestError::Guard { version } => Self::new(
                Kind::PreconditionFailed,
                format!("{detail}; read it again, and repeat the request on what it is now"),
            )
            .with("version", version.map(|version| version.to_string())),
            RequestError::NotReady => {
                Self::new(Kind::NotReadyYet, detail).retry_after(limits::RETRY_AFTER_S)
            }
            RequestError::Busy => Self::new(Kind::Busy, detail).retry_after(limits::RETRY_AFTER_S),
            RequestError::Store(_) => Self::new(Kind::StoreFailed, detail),
            RequestError::Full { .. } => {
                Self::new(Kind::DiskFull, detail).retry_after(limits::RETRY_AFTER_S)
            }
            RequestError::Damaged { .. } => {
                Self::new(Kind::DocumentDamaged, detail).retry_after(limits::RETRY_AFTER_S)
            }
            RequestError::Released { first, .. } => {
                Self::new(Kind::PositionGone, detail).with("log_first", first.0)
            }
            RequestError::Behind { missing } => Self::new(Kind::ReplicaBehind, detail)
                .with("missing", missing.iter().map(of_missing).collect::<Vec<_>>())
                .retry_after(limits::RETRY_AFTER_S),
            RequestError::KeyReused => Self::new(Kind::IdempotencyKeyReused, detail)
                .with("header", writing::IDEMPOTENCY_KEY),
            RequestError::UnknownVersion { version } => Self::new(
                Kind::UnknownVersion,
                format!("{detail}, and if it was written elsewhere, send the token of the session that saw it"),
            )
            .with("version", version.to_string()),
            RequestError::OneOf { index, key, error } => {
                Self::from(*error).of_write(index, Some(key.as_str()))
            }
            RequestError::Count { count: 0, .. } => Self::new(Kind::BadEdit, detail),
            RequestError::Count { count, max } => Self::new(Kind::WriteTooLarge, detail)
                .with("size", count)
                .with("size_max", max),
            RequestError::SessionTooLong { bytes, max } => bad_header(session::TOKEN, detail)
                .with("size", bytes)
                .with("size_max", max),
            RequestError::ConflictsThen => {
                Self::new(Kind::BadQuery, detail).with("parameter", "conflicts")
            }
            RequestError::Limit { .. } => {
                Self::new(Kind::BadQuery, detail).with("parameter", "limit")
            }
            RequestError::NotPlacedHere {
                namespace,
                datacenters,
            } => Self::new(Kind::NotPlacedHere, detail)
                .with("ns", namespace.as_str())
                .with("datacenters", datacenters),
            RequestError::MovingIn { namespace } => Self::new(Kind::MovingIn, detail)
                .with("ns", namespace.as_str())
                .retry_after(limits::RETRY_AFTER_S),
            RequestError::NoDatacenter { strange, known } => Self::new(
                Kind::UnknownDatacenter,
                format!("{detail} with ?force=true"),
            )
            .with("unknown", strange)
            .with("known", known),
            RequestError::NoMember { .. } => Self::new(Kind::MemberNotFound, detail),
            RequestError::NotWrittenDown { .. } => Self::new(Kind::StoreFailed, detail),
            _ => Self::new(Kind::Internal, detail),
        }
    }
}

fn of_missing(missing: &Missing) -> Value {
    json!({
        "ns": missing.namespace,
        "replica": missing.replica,
        "name": missing.name,
        "datacenter": missing.datacenter,
        "batches": missing.batches,
    })
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        let detail = error.to_string();
        let does_not_fit =
            |path: String| Self::new(Kind::EditDoesNotFit, &*detail).with("path", path);
        match error {
            EditError::TypeMismatch {
                path,
                found,
                expected,
            } => does_not_fit(path)
                .with("found", found)
                .with("expected", expected),
            EditError::Index {
                path,
                last: Some(last),
                ..
            } => does_not_fit(path).with("index_max", last),
            EditError::Index {
                path, last: None, ..
            } => does_not_fit(path),
            EditError::Splice { path, len, .. } => does_not_fit(path).with("length", len),
            EditError::NotFound { path }
            | EditError::TooDeep { path }
            | EditError::Reserved { path }
            | EditError::Overflow { path }
            | EditError::Number { path } => does_not_fit(path),
            EditError::NotInList { path, kind } => does_not_fit(path).with("expected", kind),
            EditError::Element { path, len } => does_not_fit(path)
                .with("size", len)
                .with("size_max", anabranch::limits::SET_ELEMENT_BYTES_MAX),
            EditError::MoveIntoItself { from, path } => does_not_fit(path).with("from", from),
            EditError::Root | EditError::NotAnObject { .. } => does_not_fit(String::new()),
            EditError::TooLarge { value, max, .. } => Self::new(Kind::WriteTooLarge, detail)
                .with("size", value)
                .with("size_max", max),
            EditError::TestFailed { path, found } => Self::new(Kind::TestFailed, detail)
                .with("path", path)
                .with("found", found),
            _ => Self::new(Kind::Internal, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use anabranch::Version;
    use axum::http::header::RETRY_AFTER;
    use axum::response::IntoResponse as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn failures_of_the_node_are_told_from_the_callers() {
        let version = Version::default();
        for (error, kind) in [
            (RequestError::Busy, Kind::Busy),
            (RequestError::Store("disk".to_owned()), Kind::StoreFailed),
            (
                RequestError::Guard { version: None },
                Kind::PreconditionFailed,
            ),
            (RequestError::Limit { asked: 0, max: 1 }, Kind::BadQuery),
            (EditError::Internal("x".to_owned()).into(), Kind::Internal),
        ] {
            assert_eq!(Problem::from(Error::Request(error)).kind(), kind);
        }
        assert_eq!(Problem::from(Error::Closed).kind(), Kind::ShuttingDown);
        let response = Problem::from(RequestError::Busy).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let guard = RequestError::Guard {
            version: Some(version.clone()),
        };
        assert_eq!(Problem::from(guard).json()["version"], version.to_string());
    }

    #[test]
    fn an_edit_that_does_not_fit_says_where_and_why() {
        let path = || "/a".to_owned();
        for (error, members) in [
            (
                EditError::TypeMismatch {
                    path: path(),
                    found: "a map",
                    expected: "a list",
                },
                json!({"path": "/a", "found": "a map", "expected": "a list"}),
            ),
            (
                EditError::Splice {
                    path: path(),
                    len: 3,
                    at: 9,
                    delete: 0,
                },
                json!({"path": "/a", "length": 3}),
            ),
            (
                EditError::MoveIntoItself {
                    from: path(),
                    path: "/a/b".to_owned(),
                },
                json!({"path": "/a/b", "from": "/a"}),
            ),
            (EditError::Overflow { path: path() }, json!({"path": "/a"})),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem.kind(), Kind::EditDoesNotFit);
            let body = problem.json();
            for (name, value) in members.as_object().unwrap() {
                assert_eq!(&body[name], value, "{body}");
            }
        }
    }
}
