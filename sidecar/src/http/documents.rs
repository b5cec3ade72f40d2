//! Documents and their listing.

use std::sync::Arc;

use anabranch::{DocumentId, Intent, Scan, Written};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use serde_json::json;

use super::guard::{self, Reading};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::{Service, address, answer, body, edits, reserved};

/// `GET /v1/docs/{ns}/{key}`
pub(super) async fn get(
    State(service): State<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let id = address::document(uri.path())?;
    let mut query = Query::parse(uri.query())?;
    reserved::of_read(&mut query)?;
    query.end(&["at", "conflicts"])?;
    let snapshot = service
        .node
        .get(id.namespace.as_str(), id.key.as_str())
        .await?
        .ok_or_else(|| not_found(&id))?;
    let reading = guard::of_read(&headers, &snapshot.version)?;
    let mut response = match reading {
        Reading::Wanted => answer::json(&snapshot.value),
        Reading::NotModified => answer::empty(StatusCode::NOT_MODIFIED),
        Reading::Failed => {
            return Err(Problem::new(
                Kind::PreconditionFailed,
                format!("the document is at version {}", snapshot.version),
            )
            .with("version", snapshot.version.to_string()));
        }
    };
    response
        .headers_mut()
        .insert(ETAG, guard::etag(&snapshot.version));
    Ok(response)
}

/// `PUT /v1/docs/{ns}/{key}`
pub(super) async fn put(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = address::document(request.uri().path())?;
    body::media_type(request.headers(), &[body::JSON])?;
    let replace = |bytes: &[u8]| Ok(Intent::Replace(body::json(bytes)?));
    let written = write(&service, &id, request, replace).await?;
    let mut response = outcome(&written);
    if written.created {
        *response.status_mut() = StatusCode::CREATED;
        let location = HeaderValue::from_str(&address::of_document(&id))
            .expect("an escaped path is plain ASCII");
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
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
    Ok(outcome(&write(&service, &id, request, patch).await?))
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
    Ok(outcome(&write(&service, &id, request, edits).await?))
}

/// `DELETE /v1/docs/{ns}/{key}`
pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let id = address::document(request.uri().path())?;
    let written = write(&service, &id, request, |_| Ok(Intent::Delete)).await?;
    match written.changed {
        true => Ok(answer::empty(StatusCode::NO_CONTENT)),
        false => Err(not_found(&id)),
    }
}

/// `GET /v1/docs/{ns}`
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let namespace = address::namespace(uri.path())?;
    let mut query = Query::parse(uri.query())?;
    let defaults = Scan::default();
    let scan = Scan {
        prefix: query.text("prefix").unwrap_or_default(),
        after: query.text("after"),
        limit: query.number("limit")?.unwrap_or(defaults.limit),
        values: query.flag("values")?,
    };
    query.end(&["prefix", "after", "limit", "values"])?;
    let page = service.node.scan(namespace.as_str(), scan).await?;
    Ok(answer::json(&page))
}

async fn write(
    service: &Service,
    id: &DocumentId,
    request: Request,
    intent: impl FnOnce(&[u8]) -> Result<Intent, Problem>,
) -> Result<Written, Problem> {
    let (parts, body) = request.into_parts();
    let mut query = Query::parse(parts.uri.query())?;
    reserved::of_write(&mut query)?;
    query.end(&["ack"])?;
    let guard = guard::of_write(&parts.headers)?;
    let bytes = body::read(&parts.headers, body).await?;
    let intent = intent(&bytes)?;
    Ok(service.node.write(id.clone(), intent, guard).await?)
}

fn outcome(written: &Written) -> Response<Body> {
    let body = json!({
        "version": written.version,
        "changed": written.changed,
        "created": written.created,
    });
    let mut response = answer::json(&body);
    response
        .headers_mut()
        .insert(ETAG, guard::etag(&written.version));
    response
}

fn not_found(id: &DocumentId) -> Problem {
    Problem::new(
        Kind::DocumentNotFound,
        format!(
            "there is no document {:?} in {:?} here",
            id.key, id.namespace
        ),
    )
}
