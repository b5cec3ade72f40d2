//! Tokens, waiting, and writes that are done once.

use std::time::Duration;

use serde_json::json;

use super::{Bed, Reply};

const DOC: &str = "/v1/docs/carts/alice";
const NAMED: &str = "8e03978e";

async fn keyed(bed: &Bed, method: &str, uri: &str, key: &str, body: &'static str) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    bed.call(method, uri, &headers, body).await
}

#[tokio::test]
async fn every_answer_about_documents_says_what_has_been_seen() {
    let bed = Bed::new().await;
    let mut token = "AQA".to_owned();
    for (method, uri, status) in [
        ("PUT", DOC, 201),
        ("GET", DOC, 200),
        ("GET", "/v1/docs/carts", 200),
        ("GET", "/v1/docs/carts/alice?versions=true", 200),
        ("GET", "/v1/docs/carts/alice?conflicts=true", 200),
        ("DELETE", DOC, 204),
        ("GET", DOC, 404),
        ("DELETE", DOC, 404),
    ] {
        let headers = [
            ("content-type", "application/json"),
            ("anabranch-token", &*token),
            ("anabranch-wait", "0s"),
        ];
        let reply = bed.call(method, uri, &headers, "{}").await;
        assert_eq!(reply.status, status, "{method} {uri}: {}", reply.text());
        assert_eq!(reply.header("vary"), "anabranch-token");
        assert!(!reply.header("cache-control").is_empty());
        token = reply.header("anabranch-token").to_owned();
        assert!(token.len() > 3, "{method} {uri}: {token:?}");
    }
}

#[tokio::test]
async fn a_node_that_has_not_seen_what_the_session_has_says_how_far_behind_it_is() {
    let (eu, us) = (Bed::new().await, Bed::new().await);
    eu.put(DOC, "{}").await;
    let token = eu
        .put(DOC, r#"{"a": 1}"#)
        .await
        .header("anabranch-token")
        .to_owned();
    let ask = async |method: &str, wait: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("anabranch-token", &*token),
            ("anabranch-wait", wait),
        ];
        us.call(method, DOC, &headers, "{}").await
    };
    for method in ["GET", "PUT"] {
        let behind = ask(method, "1ms").await;
        let problem = behind.problem(503, "replica-behind");
        assert_eq!(behind.header("retry-after"), "1");
        let missing = json!([{"ns": "carts", "replica": null, "name": null, "datacenter": null, "batches": 2}]);
        assert_eq!(problem["missing"], missing);
    }
    for wait in ["21s", "1", "soon"] {
        assert_eq!(
            ask("GET", wait).await.problem(400, "bad-header")["header"],
            "anabranch-wait"
        );
    }
    let headers = [("anabranch-token", "made up")];
    let refused = us
        .call("GET", DOC, &headers, "")
        .await
        .problem(400, "bad-header");
    assert_eq!(refused["header"], "anabranch-token");
    // Of other namespaces the session has seen nothing.
    let headers = [("anabranch-token", &*token), ("anabranch-wait", "0s")];
    assert_eq!(
        us.call("GET", "/v1/docs/users", &headers, "").await.status,
        200
    );
    let metrics = us.get("/metrics").await.text();
    assert!(
        metrics.contains("anabranch_sessions_behind_total 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("anabranch_sessions_waiting 0"),
        "{metrics}"
    );
}

/// However long a request may take otherwise, what it asks to wait comes on top.
#[tokio::test(start_paused = true)]
async fn waiting_is_no_timeout() {
    let answer = axum::Router::new().route(
        "/slow",
        axum::routing::get(async || {
            tokio::time::sleep(Duration::from_secs(35)).await;
            "late"
        }),
    );
    let bed = Bed::new().await;
    let service = std::sync::Arc::new(crate::http::Service::new(
        bed.node.clone(),
        Duration::from_secs(20),
        bed.closing.clone(),
        tokio::sync::watch::Sender::new(None),
    ));
    let router = answer.layer(axum::middleware::from_fn_with_state(
        service,
        crate::http::attend,
    ));
    for (wait, status) in [("10s", 200), ("1s", 503), ("nonsense", 503)] {
        let request = axum::http::Request::builder()
            .uri("/slow")
            .header("anabranch-wait", wait);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request)
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{wait}");
    }
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_was() {
    let bed = Bed::new().await;
    let ops = format!("{DOC}/ops");
    let add = r#"{"ops": [{"op": "adjust", "path": "/qty", "by": 1}]}"#;
    let batch = r#"{"writes": [{"ns": "carts", "key": "b", "ops": [{"op": "increment", "path": "/n", "by": 1}]}]}"#;
    for (method, uri, key, body) in [
        ("PUT", DOC, "put", "{}"),
        ("POST", &*ops, "ops", add),
        ("POST", "/v1/batch", "batch", batch),
        ("DELETE", "/v1/docs/carts/nobody", "nobody", ""),
    ] {
        let first = keyed(&bed, method, uri, key, body).await;
        assert_eq!(first.header("anabranch-repeated"), "");
        bed.put("/v1/docs/carts/other", &format!("{{\"since\": \"{key}\"}}"))
            .await
            .version();
        let again = keyed(&bed, method, uri, key, body).await;
        assert_eq!(again.header("anabranch-repeated"), "true", "{key}");
        assert_eq!(
            (again.status, again.text()),
            (first.status, first.text()),
            "{key}"
        );
        for name in ["etag", "location", "content-type"] {
            assert_eq!(again.header(name), first.header(name), "{key}: {name}");
        }
    }
    assert_eq!(bed.get(DOC).await.json(), json!({"qty": 1}));
    assert_eq!(bed.get("/v1/docs/carts/b").await.json(), json!({"n": 1}));
    keyed(&bed, "DELETE", DOC, "delete", "").await;
    bed.put(DOC, r#"{"back": true}"#).await.version();
    assert_eq!(keyed(&bed, "DELETE", DOC, "delete", "").await.status, 204);
    assert_eq!(bed.get(DOC).await.json(), json!({"back": true}));
    let metrics = bed.get("/metrics").await.text();
    assert!(
        metrics.contains("anabranch_writes_repeated_total 5"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_key_is_for_one_write() {
    let bed = Bed::new().await;
    keyed(&bed, "PUT", DOC, NAMED, r#"{"a": 1, "b": 2}"#)
        .await
        .version();
    for (method, uri, body) in [
        ("PUT", DOC, r#"{"a": 2}"#),
        ("PUT", "/v1/docs/carts/bob", r#"{"a": 1, "b": 2}"#),
        ("DELETE", DOC, ""),
    ] {
        let reused = keyed(&bed, method, uri, NAMED, body).await;
        let problem = reused.problem(422, "idempotency-key-reused");
        assert_eq!(problem["header"], "idempotency-key");
    }
    let conditional = [
        ("content-type", "application/json"),
        ("idempotency-key", NAMED),
        ("if-match", "*"),
    ];
    let other = bed
        .call("PUT", DOC, &conditional, r#"{"a": 1, "b": 2}"#)
        .await;
    other.problem(422, "idempotency-key-reused");
    // How it is written does not count, nor who asks; and each namespace has its own keys.
    let again = keyed(&bed, "PUT", DOC, NAMED, "{\"b\":2,\n\"a\":1}").await;
    assert_eq!(
        (again.status.as_u16(), again.header("anabranch-repeated")),
        (201, "true")
    );
    assert_eq!(
        keyed(&bed, "PUT", "/v1/docs/users/u", NAMED, "{}")
            .await
            .status,
        201
    );
    // What was refused was not done, so its key is free.
    let refused = keyed(&bed, "PUT", DOC, "free", "[]").await;
    refused.problem(422, "edit-does-not-fit");
    assert_eq!(
        keyed(&bed, "PUT", DOC, "free", "{}")
            .await
            .header("anabranch-repeated"),
        ""
    );
    keyed(&bed, "PUT", DOC, "", "{}")
        .await
        .problem(400, "bad-header");
    keyed(&bed, "PUT", DOC, &"k".repeat(256), "{}")
        .await
        .problem(400, "bad-header");
}
