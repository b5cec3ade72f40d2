//! Bad input: each gets a clear problem, and the node goes on.

use axum::body::Body;
use serde_json::json;

use super::Bed;
use crate::limits;

const DOC: &str = "/v1/docs/carts/alice";

#[tokio::test]
async fn addresses_that_are_none() {
    let bed = Bed::new().await;
    for uri in [
        "/v1/docs/carts/",
        "/v1/docs/carts/%zz",
        "/v1/docs/carts/%ff",
        "/v1/docs/carts/a%00",
        "/v1/docs/a%2Fb/c",
        "/v1/docs/a%00",
    ] {
        bed.get(uri).await.problem(400, "bad-name");
    }
    for uri in ["/nothing", "/v1/docs", "/v1/docs/", "/v2/docs/carts/a"] {
        bed.get(uri).await.problem(404, "unknown-path");
    }
}

#[tokio::test]
async fn methods_that_do_not_apply_are_told_which_do() {
    let bed = Bed::new().await;
    for (method, uri, allowed) in [
        ("PUT", "/v1/docs/carts", "GET,HEAD"),
        ("POST", "/v1/events", "GET,HEAD"),
        ("DELETE", "/livez", "GET,HEAD"),
        ("OPTIONS", DOC, "GET,HEAD,PUT,PATCH,POST,DELETE"),
        ("BREW", DOC, "GET,HEAD,PUT,PATCH,POST,DELETE"),
        ("POST", DOC, "GET, HEAD, PUT, PATCH, DELETE"),
    ] {
        let reply = bed.call(method, uri, &[], "").await;
        reply.problem(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), allowed, "{method} {uri}");
    }
}

#[tokio::test]
async fn bodies_of_the_wrong_type() {
    let bed = Bed::new().await;
    let form = "application/x-www-form-urlencoded";
    for (method, uri) in [("PUT", DOC), ("POST", "/v1/docs/carts/alice/ops")] {
        let reply = bed.write(method, uri, form, "{}").await;
        reply.problem(415, "unsupported-media-type");
        assert_eq!(reply.header("accept"), "application/json");
        let untyped = bed.call(method, uri, &[], "{}").await;
        untyped.problem(415, "unsupported-media-type");
    }
    let reply = bed.write("PATCH", DOC, "application/json", "{}").await;
    reply.problem(415, "unsupported-media-type");
    assert_eq!(
        reply.header("accept-patch"),
        "application/json-patch+json, application/merge-patch+json"
    );
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let bed = Bed::new().await;
    let problem = bed
        .put(DOC, "{\n \"a\": 1,\n}")
        .await
        .problem(400, "bad-json");
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(3), &json!(1))
    );
    bed.put(DOC, "").await.problem(400, "bad-json");
    bed.put(DOC, "{\"a\": 1e999}")
        .await
        .problem(400, "bad-json");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(10_000) + "1" + &close.repeat(10_000);
        bed.put(DOC, &deep).await.problem(400, "bad-json");
        let ops =
            format!("{{\"ops\": [{{\"op\": \"put\", \"path\": \"/a\", \"value\": {deep}}}]}}");
        bed.ops(&format!("{DOC}/ops"), &ops)
            .await
            .problem(400, "bad-json");
    }
    // The parser takes a little more than a document does; the replica refuses what is between.
    let deep = "{\"a\":".repeat(100) + "1" + &"}".repeat(100);
    bed.put(DOC, &deep).await.problem(422, "edit-does-not-fit");
    bed.get(DOC).await.problem(404, "document-not-found");
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let bed = Bed::new().await;
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(limits::BODY_BYTES_MAX));
    let problem = bed.put(DOC, &large).await.problem(413, "body-too-large");
    assert_eq!(problem["size_max"], limits::BODY_BYTES_MAX);
    // Without an announced length it is cut off on the way: this one would never end.
    let endless = futures_util::stream::repeat_with(|| {
        Ok::<_, std::convert::Infallible>(axum::body::Bytes::from_static(&[b' '; 8_192]))
    });
    let headers = [("content-type", "application/json")];
    let reply = bed
        .call("PUT", DOC, &headers, Body::from_stream(endless))
        .await;
    reply.problem(413, "body-too-large");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_arrive() {
    let silent = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
    let problem =
        super::super::body::read(&axum::http::HeaderMap::new(), Body::from_stream(silent))
            .await
            .unwrap_err();
    assert_eq!(problem.kind(), super::super::problem::Kind::RequestTimeout);
    let broken = futures_util::stream::once(async { Err::<axum::body::Bytes, _>("gone") });
    let problem =
        super::super::body::read(&axum::http::HeaderMap::new(), Body::from_stream(broken))
            .await
            .unwrap_err();
    assert_eq!(problem.kind(), super::super::problem::Kind::BadJson);
}

#[tokio::test]
async fn edits_that_do_not_fit() {
    let bed = Bed::new().await;
    bed.put(DOC, r#"{"n": 1, "list": [1], "text": "abc"}"#)
        .await;
    let before = bed.get(DOC).await;
    let ops = format!("{DOC}/ops");
    for (edit, path) in [
        (r#"{"op": "increment", "path": "/text", "by": 1}"#, "/text"),
        (r#"{"op": "append", "path": "/n", "value": 1}"#, "/n"),
        (
            r#"{"op": "insert", "path": "/list/5", "value": 1}"#,
            "/list/5",
        ),
        (r#"{"op": "put", "path": "/list/x", "value": 1}"#, "/list/x"),
        (
            r#"{"op": "splice", "path": "/text", "at": 9, "insert": "x"}"#,
            "/text",
        ),
        (r#"{"op": "put", "path": "", "value": 1}"#, ""),
        (r#"{"op": "adjust", "path": "/text", "by": 1}"#, "/text"),
        (
            r#"{"op": "increment", "path": "/list/0", "by": 1}"#,
            "/list/0",
        ),
        (r#"{"op": "set_add", "path": "/list", "value": 1}"#, "/list"),
    ] {
        // All or nothing: the sound edit before it is not carried out either.
        let body = format!(r#"{{"ops": [{{"op": "put", "path": "/new", "value": 1}}, {edit}]}}"#);
        let problem = bed.ops(&ops, &body).await.problem(422, "edit-does-not-fit");
        assert_eq!(problem["path"], path, "{edit}");
    }
    let patch = async |body: &str| {
        bed.write("PATCH", DOC, "application/json-patch+json", body)
            .await
    };
    let missing = patch(r#"[{"op": "replace", "path": "/nothing", "value": 1}]"#).await;
    assert_eq!(
        missing.problem(422, "edit-does-not-fit")["path"],
        "/nothing"
    );
    let untrue = patch(r#"[{"op": "test", "path": "/n", "value": 2}]"#).await;
    let problem = untrue.problem(409, "test-failed");
    assert_eq!(
        (&problem["path"], &problem["found"]),
        (&json!("/n"), &json!(1))
    );
    bed.put(DOC, "[1]").await.problem(422, "edit-does-not-fit");
    bed.write("PATCH", DOC, "application/merge-patch+json", "1")
        .await
        .problem(422, "edit-does-not-fit");

    let after = bed.get(DOC).await;
    assert_eq!(
        (after.json(), after.header("etag")),
        (before.json(), before.header("etag"))
    );
}

#[tokio::test]
async fn edits_that_are_malformed_or_too_many() {
    let bed = Bed::new().await;
    let ops = format!("{DOC}/ops");
    bed.ops(&ops, "[]").await.problem(400, "bad-edit");
    let body = r#"{"ops": [{"op": "remove", "path": "/a"}, {"op": "nonsense"}]}"#;
    assert_eq!(
        bed.ops(&ops, body).await.problem(400, "bad-edit")["index"],
        1
    );
    bed.write("PATCH", DOC, "application/json-patch+json", "{}")
        .await
        .problem(400, "bad-edit");
    let edit = r#"{"op": "remove", "path": "/a"}"#;
    let many = vec![edit; anabranch::limits::EDITS_PER_WRITE_MAX + 1].join(",");
    let problem = bed.ops(&ops, &format!("{{\"ops\": [{many}]}}")).await;
    problem.problem(413, "write-too-large");
}

#[tokio::test]
async fn queries_that_are_not_understood() {
    let bed = Bed::new().await;
    for (uri, parameter) in [
        ("/v1/docs/carts?limit=x", "limit"),
        ("/v1/docs/carts?limit=0", "limit"),
        ("/v1/docs/carts?limit=1001", "limit"),
        ("/v1/docs/carts?lmit=1", "lmit"),
        ("/v1/docs/carts?values=maybe", "values"),
        ("/v1/docs/carts/alice?prefix=x", "prefix"),
        ("/v1/docs/carts/alice?at=x", "at"),
        ("/v1/docs/carts/alice?versions&diff=x", "diff"),
        ("/v1/cluster?ns=x", "ns"),
        ("/v1/events?after=-1", "after"),
    ] {
        let problem = bed.get(uri).await.problem(400, "bad-query");
        assert_eq!(problem["parameter"], parameter, "{uri}");
    }
    bed.get("/v1/docs/carts?after=%00")
        .await
        .problem(400, "bad-name");
    bed.put(&format!("{DOC}?force"), "{}")
        .await
        .problem(400, "bad-query");
}

#[tokio::test]
async fn what_is_to_come_is_refused_by_name() {
    let bed = Bed::new().await;
    bed.put(DOC, "{}").await;
    for uri in ["?ack=all", "?ack=2"] {
        let reply = bed.put(&format!("{DOC}{uri}"), r#"{"a": 1}"#).await;
        reply.problem(501, "not-supported-yet");
    }
    for uri in ["?ack=local", "?ack=1"] {
        assert_eq!(bed.put(&format!("{DOC}{uri}"), "{}").await.status, 200);
    }
    for uri in ["/automerge", "/openapi.json"] {
        bed.call("GET", uri, &[], "")
            .await
            .problem(501, "not-supported-yet");
    }
    assert_eq!(bed.get(DOC).await.json(), json!({}));
}
