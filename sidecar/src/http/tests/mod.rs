//! The endpoints over a real node in a temporary directory, without sockets unless they are what is tested.
#![allow(clippy::unwrap_used)]

mod acknowledgements;
mod batches;
mod documents;
mod draining;
mod events;
mod history;
mod operations;
mod refusals;
mod sessions;

use anabranch::{Config, Node};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::router;
use crate::limits;

/// A node and its endpoints.
struct Bed {
    node: Node,
    router: Router,
    close: watch::Sender<bool>,
    closing: watch::Receiver<bool>,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::open(Config::new(dir.path())).await.unwrap();
        let (close, closing) = watch::channel(false);
        Self {
            router: router(
                node.clone(),
                limits::SESSION_WAIT_MAX,
                closing.clone(),
                watch::Sender::new(None),
            ),
            node,
            close,
            closing,
            _dir: dir,
        }
    }

    async fn send(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn call(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body.into()).unwrap()).await;
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn get(&self, uri: &str) -> Reply {
        self.call("GET", uri, &[], Body::empty()).await
    }

    async fn write(&self, method: &str, uri: &str, media_type: &str, body: &str) -> Reply {
        let headers = [("content-type", media_type)];
        self.call(method, uri, &headers, body.to_owned()).await
    }

    async fn put(&self, uri: &str, body: &str) -> Reply {
        self.write("PUT", uri, "application/json", body).await
    }

    async fn ops(&self, uri: &str, body: &str) -> Reply {
        self.write("POST", uri, "application/json", body).await
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The version in a successful answer to a write.
    #[track_caller]
    fn version(&self) -> String {
        assert!(self.status.is_success(), "{}", self.text());
        let version = self.json()["version"].as_str().unwrap().to_owned();
        assert_eq!(self.header("etag"), format!("\"{version}\""));
        version
    }

    /// Checks that it is a whole problem of this status and type, and gives its body.
    #[track_caller]
    fn problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(
            body["type"],
            format!("https://anabranch.dev/problems/{name}"),
            "{body}"
        );
        assert_eq!(body["status"], status);
        assert!(!body["title"].as_str().unwrap().is_empty());
        assert!(!body["detail"].as_str().unwrap().is_empty());
        body
    }
}
