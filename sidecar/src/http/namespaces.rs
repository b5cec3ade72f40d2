//! Namespaces, and the datacenters that they are in.

use std::sync::{Arc, LazyLock};

use anabranch::{Datacenters, Namespace, NamespaceStatus, Node};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, Uri};
use serde_json::{Value, json};

use super::address::unescape;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::{Service, answer, body};

/// Where they are.
pub(crate) const NAMESPACES: &str = "/v1/namespaces";
/// Where one is.
pub(super) static ONE: LazyLock<String> = LazyLock::new(|| format!("{NAMESPACES}/{{ns}}"));

/// `GET /v1/namespaces`
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    Query::parse(uri.query())?.end(&[])?;
    let namespaces = service.node.namespaces().await?;
    Ok(answer::json(&json!({ "namespaces": namespaces })))
}

/// `GET /v1/namespaces/{ns}`
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    Query::parse(uri.query())?.end(&[])?;
    let namespace = named(uri.path())?;
    Ok(answer::json(&view(&service.node, &namespace).await?))
}

/// `PUT /v1/namespaces/{ns}`
pub(super) async fn place(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let mut query = Query::parse(request.uri().query())?;
    let force = query.flag("force")?;
    query.end(&["force"])?;
    let namespace = named(request.uri().path())?;
    body::media_type(request.headers(), &[body::JSON])?;
    let (parts, sent) = request.into_parts();
    let sent = body::read(&parts.headers, sent).await?;
    let datacenters = datacenters(body::json(&sent)?)?;
    let placed = service.node.place(namespace.as_str(), datacenters, force);
    let changed = placed.await?;
    let shown = view(&service.node, &namespace).await?;
    Ok(answer::json(
        &json!({ "changed": changed, "namespace": shown }),
    ))
}

/// One that nobody has written to or placed is everywhere, as the first write to it will find it.
async fn view(node: &Node, namespace: &Namespace) -> Result<Value, Problem> {
    let known = node.namespaces().await?;
    let mut known = known.iter().filter(|known| known.namespace == *namespace);
    let unknown = || {
        json!({
            "namespace": namespace,
            "datacenters": null,
            "placed_here": true,
            "leaving": false,
            "batches": 0,
        })
    };
    let shown = |known: &NamespaceStatus| json!(known);
    Ok(known.next().map_or_else(unknown, shown))
}

fn named(path: &str) -> Result<Namespace, Problem> {
    let given = path.strip_prefix(NAMESPACES).unwrap_or_default();
    let given = given.trim_start_matches('/');
    let name = unescape(given).map_err(|why| {
        Problem::new(
            Kind::BadName,
            format!("the namespace {given:?} in the path {why}"),
        )
    })?;
    Ok(Namespace::new(&name)?)
}

/// The list in `{"datacenters":[..]}`; none: all there are.
fn datacenters(body: Value) -> Result<Option<Datacenters>, Problem> {
    let malformed = |why: String| Problem::new(Kind::BadPlacement, why);
    let form = "{\"datacenters\":[..]}, or {\"datacenters\":null} for all";
    let Value::Object(mut body) = body else {
        return Err(malformed(format!("the body must be an object: {form}")));
    };
    let given = body.remove("datacenters");
    if let Some(other) = body.keys().next() {
        return Err(malformed(format!(
            "the body has a member {other:?} besides \"datacenters\"; it must be {form}"
        )));
    }
    let names = match given {
        Some(Value::Null) => return Ok(None),
        Some(Value::Array(names)) => names,
        Some(_) | None => {
            return Err(malformed(format!(
                "\"datacenters\" must be an array of names, or null: {form}"
            )));
        }
    };
    let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
    let names = names.ok_or_else(|| {
        malformed("\"datacenters\" must be an array of names, which are strings".to_owned())
    })?;
    let named = Datacenters::new(names);
    let named = named.map_err(|error| malformed(format!("\"datacenters\": {error}")))?;
    Ok(Some(named))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_namespace_is_named_in_the_path() {
        assert_eq!(named("/v1/namespaces/a%20b").unwrap().as_str(), "a b");
        assert!(named("/v1/namespaces/a%2Fb").is_err());
        assert!(named("/v1/namespaces/%ff").is_err());
    }

    #[test]
    fn a_placement_is_a_list_or_null() {
        let read = |value: Value| datacenters(value);
        assert_eq!(read(json!({"datacenters": null})).unwrap(), None);
        let named = read(json!({"datacenters": ["us", "eu", "us"]})).unwrap();
        assert_eq!(named, Datacenters::new(["eu", "us"]).ok());
        for (refused, says) in [
            (json!([]), "must be an object"),
            (json!({}), "must be an array"),
            (json!({"datacenters": []}), "one datacenter at least"),
            (json!({"datacenters": "eu"}), "must be an array"),
            (json!({"datacenters": [1]}), "strings"),
            (
                json!({"datacenters": [""]}),
                "\"datacenters\": a datacenter must not be empty",
            ),
            (json!({"datacenters": ["eu"], "also": 1}), "\"also\""),
        ] {
            let problem = read(refused.clone()).unwrap_err();
            assert_eq!(problem.kind(), Kind::BadPlacement);
            assert!(
                problem.detail().contains(says),
                "{refused}: {}",
                problem.detail()
            );
        }
    }
}
