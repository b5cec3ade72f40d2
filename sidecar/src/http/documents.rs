//! Documents and their listing.

use std::sync::Arc;

use anabranch::{
    Answer, Conflict, DocumentId, Intent, Key, PatchOperation, Reply, Request as Asked, Scan,
    Snapshot, Version, Versions, Written,
};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use serde_json::json;

use super::guard::{self, Reading};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::reading::Question;
use super::writing::{self, Done, outcome};
use super::{Service, address, answer, body, edits, header, session};

/// A document at a version never changes: for a day nobody needs to ask again.
const OF_A_VERSION: &str = "private, max-age=86400, immutable";

/// `GET /v1/docs/{ns}/{key}`
pub(super) async fn get(
    State(service): State<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let id = address::document(uri.path())?;
    let question = Question::parse(uri.query())?;
    if headers.contains_key(writing::BASE_VERSION) {
        let detail =
            "Base-Version is for writes; to read the document at a version, use ?at=VERSION";
        return Err(header::bad_header(writing::BASE_VERSION, detail));
    }
    let session = service.session(&headers)?;
    let Answer { reply, token } = service.ask(question.of(id.clone()), session).await?;
    let answer = match (question, reply) {
        (Question::Versions { skip, .. }, Reply::Versions(found)) => {
            history(&id, &headers, skip, &found)
        }
        (Question::Diff { .. }, Reply::Diff(found)) => difference(&headers, &found),
        (
            question,
            Reply::Document {
                snapshot,
                conflicts,
            },
        ) => match snapshot {
            None => Err(not_found(&id, &question)),
            Some(snapshot) => document(&headers, &question, &snapshot, &conflicts),
        },
        _ => Err(answer::unexpected()),
    };
    Ok(session::seen(answer, &token))
}

fn document(
    headers: &HeaderMap,
    question: &Question,
    snapshot: &Snapshot,
    conflicts: &[Conflict],
) -> Result<Response<Body>, Problem> {
    let Snapshot { version, value } = snapshot;
    let mut response = match guard::of_read(headers, version)? {
        Reading::Wanted if *question == Question::Conflicts => {
            answer::json(&json!({"version": version, "value": value, "conflicts": conflicts}))
        }
        Reading::Wanted => answer::json(value),
        Reading::NotModified => answer::empty(StatusCode::NOT_MODIFIED),
        Reading::Failed => return Err(failed(version)),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, guard::etag(version));
    if matches!(question, Question::At(_)) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(OF_A_VERSION));
    }
    Ok(response)
}

fn failed(version: &Version) -> Problem {
    Problem::new(
        Kind::PreconditionFailed,
        format!("the document is at version {version}"),
    )
    .with("version", version.to_string())
}

fn history(
    id: &DocumentId,
    headers: &HeaderMap,
    skip: usize,
    found: &Versions,
) -> Result<Response<Body>, Problem> {
    unconditional(headers)?;
    // A document that was deleted has a history; one that nobody ever wrote has none.
    if skip == 0 && found.versions.is_empty() {
        return Err(not_found(id, &Question::Now));
    }
    Ok(answer::json(found))
}

fn difference(headers: &HeaderMap, found: &[PatchOperation]) -> Result<Response<Body>, Problem> {
    unconditional(headers)?;
    let mut response = answer::json(&found);
    let media_type = HeaderValue::from_static(body::JSON_PATCH);
    response
        .headers_mut()
        .insert(axum::http::header::CONTENT_TYPE, media_type);
    Ok(response)
}

fn unconditional(headers: &HeaderMap) -> Result<(), Problem> {
    writing::no_ground(
        headers,
        "conditions are on the document, not on its history",
    )
}

/// `PUT /v1/docs/{ns}/{key}`
pub(super) async fn put(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = address::document(request.uri().path())?;
    body::media_type(request.headers(), &[body::JSON])?;
    let replace = |bytes: &[u8]| Ok(Intent::Replace(body::json(bytes)?));
    let (written, done) = writing::one(&service, &id, request, replace).await?;
    let mut response = changed(&written, &done);
    if written.created {
        *response.status_mut() = StatusCode::CREATED;
        let location = HeaderValue::from_str(&address::of_document(&id))
            .expect("an escaped path is plain ASCII");
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(done.answer(response))
}

/// `PATCH /v1/docs/{ns}/{key}`
pub(super) async fn patch(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = address::document(request.uri().path())?;
    let media_type = body::media_type(request.headers(), &[body::JSON_PATCH, body::MERGE_PATCH])?;
    let patch = |bytes: &[u8]| {
        let patch = body::json(bytes)?;
        Ok(match media_type {
            body::JSON_PATCH => Intent::Patch(edits::json_patch(patch)?),
            _ => Intent::MergePatch(patch),
        })
    };
    let (written, done) = writing::one(&service, &id, request, patch).await?;
    Ok(done.answer(changed(&written, &done)))
}

/// `POST /v1/docs/{ns}/{key}/ops`
pub(super) async fn ops(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let Some(id) = address::document_of_ops(request.uri().path()) else {
        return Err(Problem::new(
            Kind::MethodNotAllowed,
            "POST goes to the document's path with /ops after it; to write the document itself, use PUT or PATCH",
        )
        .header(
            axum::http::header::ALLOW,
            HeaderValue::from_static("GET, HEAD, PUT, PATCH, DELETE"),
        ));
    };
    let id = id?;
    body::media_type(request.headers(), &[body::JSON])?;
    let edits = |bytes: &[u8]| Ok(Intent::Edits(edits::ops(body::json(bytes)?)?));
    let (written, done) = writing::one(&service, &id, request, edits).await?;
    Ok(done.answer(changed(&written, &done)))
}

/// `DELETE /v1/docs/{ns}/{key}`
pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = address::document(request.uri().path())?;
    let (written, done) = writing::one(&service, &id, request, |_| Ok(Intent::Delete)).await?;
    Ok(
        done.answer(match (written.changed, done.is_acknowledged()) {
            (true, true) => Ok(answer::empty(StatusCode::NO_CONTENT)),
            (true, false) => Ok(changed(&written, &done)),
            (false, _) => Err(done.tell_problem(not_found(&id, &Question::Now))),
        }),
    )
}

/// `GET /v1/docs/{ns}`
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let namespace = address::namespace(uri.path())?;
    let mut query = Query::parse(uri.query())?;
    let defaults = Scan::default();
    let asked = Asked::Scan {
        namespace,
        prefix: query.text("prefix").unwrap_or_default(),
        after: query.text("after").as_deref().map(Key::new).transpose()?,
        limit: query.number("limit")?.unwrap_or(defaults.limit),
        values: query.flag("values")?,
    };
    query.end(&["prefix", "after", "limit", "values"])?;
    let session = service.session(&headers)?;
    let Answer { reply, token } = service.ask(asked, session).await?;
    match reply {
        Reply::Page(page) => Ok(session::seen(answer::json(&page), &token)),
        _ => Err(answer::unexpected()),
    }
}

fn changed(written: &Written, done: &Done) -> Response<Body> {
    let mut response = answer::json(&done.tell(outcome(written)));
    response
        .headers_mut()
        .insert(ETAG, guard::etag(&written.version));
    response
}

fn not_found(id: &DocumentId, question: &Question) -> Problem {
    let DocumentId { namespace, key } = id;
    let problem = |detail| Problem::new(Kind::DocumentNotFound, detail);
    match question {
        Question::At(version) => problem(format!(
            "there was no document {key:?} in {namespace:?} at version {version}"
        ))
        .with("version", version.to_string())
        .header(ETAG, guard::etag(version)),
        _ => problem(format!(
            "there is no document {key:?} in {namespace:?} here"
        )),
    }
}
