//! Documents: what each request does, and its conditions.

use serde_json::json;

use super::Bed;

const DOC: &str = "/v1/docs/carts/alice";

#[tokio::test]
async fn put_creates_then_changes_then_does_nothing() {
    let bed = Bed::new().await;
    let created = bed.put(DOC, r#"{"a": 1}"#).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), DOC);
    let first = created.version();
    assert_eq!(
        created.json(),
        json!({"version": first, "changed": true, "created": true})
    );
    let changed = bed.put(DOC, r#"{"a": 2}"#).await;
    assert_eq!(
        (changed.status.as_u16(), changed.header("location")),
        (200, "")
    );
    assert_ne!(changed.version(), first);
    let same = bed.put(DOC, r#"{"a": 2}"#).await;
    assert_eq!(same.version(), changed.version());
    assert_eq!(same.json()["changed"], false);

    let read = bed.get(DOC).await;
    assert_eq!((read.status.as_u16(), read.json()), (200, json!({"a": 2})));
    assert_eq!(read.header("etag"), format!("\"{}\"", same.version()));
    let head = bed.call("HEAD", DOC, &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("etag"), read.header("etag"));
}

/// A parser that takes the shortest way to a number misses the nearest one now and then: a document that was read
/// and written back as it was would be another one, a little each time.
#[tokio::test]
async fn numbers_come_back_to_the_last_digit() {
    let bed = Bed::new().await;
    for number in ["31.245270191439438", "121.48791951161945", "5e-324", "0.1"] {
        let body = format!("{{\"n\":{number}}}");
        bed.put(DOC, &body).await;
        assert_eq!(bed.get(DOC).await.text(), body);
    }
}

#[tokio::test]
async fn both_patches_and_edits_do_what_they_say() {
    let bed = Bed::new().await;
    bed.put(DOC, r#"{"a": 1, "b": {"c": [1, 2]}}"#).await;
    let merge = "application/merge-patch+json";
    let merged = bed
        .write("PATCH", DOC, merge, r#"{"a": null, "b": {"d": true}}"#)
        .await;
    assert_eq!(
        (merged.status.as_u16(), merged.header("location")),
        (200, "")
    );
    let patch = r#"[{"op": "test", "path": "/b/d", "value": true}, {"op": "add", "path": "/b/c/-", "value": 3}]"#;
    let patched = bed
        .write(
            "PATCH",
            DOC,
            "application/json-patch+json; charset=utf-8",
            patch,
        )
        .await;
    let version = patched.version();
    let edits = r#"{"ops": [{"op": "increment", "path": "/likes", "by": 2}, {"op": "append", "path": "/b/c", "value": 4}]}"#;
    let edited = bed.ops(&format!("{DOC}/ops"), edits).await;
    assert_ne!(edited.version(), version);
    assert_eq!(edited.json()["created"], false);
    assert_eq!(
        bed.get(DOC).await.json(),
        json!({"b": {"c": [1, 2, 3, 4], "d": true}, "likes": 2})
    );
    assert_eq!(
        bed.ops("/v1/docs/carts/new/ops", edits).await.json()["created"],
        true
    );
}

#[tokio::test]
async fn quantities_and_sets_are_edited_by_intent() {
    let bed = Bed::new().await;
    let edit = async |edits: &str| {
        let reply = bed
            .ops(&format!("{DOC}/ops"), &format!("{{\"ops\": [{edits}]}}"))
            .await;
        reply.version();
        bed.get(DOC).await.json()
    };
    let made = edit(
        r#"{"op": "adjust", "path": "/items/1/qty", "by": 3},
           {"op": "set_add", "path": "/tags", "value": "b"},
           {"op": "set_add", "path": "/tags", "value": 1},
           {"op": "set_add", "path": "/tags", "value": 1.0}"#,
    );
    let made = made.await;
    assert_eq!(made, json!({"items": {"1": {"qty": 3}}, "tags": [1, "b"]}));
    let changed = edit(
        r#"{"op": "adjust", "path": "/items/1/qty", "by": -1},
           {"op": "set_remove", "path": "/tags", "value": "b"},
           {"op": "set_remove", "path": "/tags", "value": "never there"}"#,
    );
    let changed = changed.await;
    assert_eq!(changed, json!({"items": {"1": {"qty": 2}}, "tags": [1]}));
    let long = format!(
        r#"{{"ops": [{{"op": "set_add", "path": "/tags", "value": "{}"}}]}}"#,
        "x".repeat(5_000)
    );
    let refused = bed.ops(&format!("{DOC}/ops"), &long).await;
    assert_eq!(refused.problem(422, "edit-does-not-fit")["size_max"], 4_096);
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let bed = Bed::new().await;
    bed.put(DOC, "{}").await;
    let deleted = bed.call("DELETE", DOC, &[], "").await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    bed.get(DOC).await.problem(404, "document-not-found");
    let again = bed.call("DELETE", DOC, &[], "").await;
    again.problem(404, "document-not-found");
}

#[tokio::test]
async fn keys_may_hold_anything_that_is_a_name() {
    let bed = Bed::new().await;
    for (uri, key) in [
        ("/v1/docs/carts/eu/alice", "eu/alice"),
        ("/v1/docs/carts/us%2Falice", "us/alice"),
        ("/v1/docs/carts/caf%C3%A9%20%25", "café %"),
        ("/v1/docs/carts/ops", "ops"),
        ("/v1/docs/carts/x/ops", "x/ops"),
        ("/v1/docs/carts/y/", "y/"),
    ] {
        bed.put(uri, "{}").await.version();
        assert_eq!(bed.get(uri).await.status, 200, "{uri}");
        let stored = bed.node.get("carts", key).await.unwrap();
        assert!(stored.is_some(), "{uri}");
        // Also their edits, though the key itself may end in `/ops`.
        let edits = r#"{"ops": [{"op": "increment", "path": "/n", "by": 1}]}"#;
        bed.ops(&format!("{uri}/ops"), edits).await.version();
        let stored = bed.node.get("carts", key).await.unwrap().unwrap();
        assert_eq!(stored.value, json!({"n": 1}), "{uri}");
    }
    let listed = bed.get("/v1/docs/carts").await.json();
    assert_eq!(listed["documents"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn writes_keep_their_conditions() {
    let bed = Bed::new().await;
    let put = async |condition: (&str, &str), body: &'static str| {
        let headers = [("content-type", "application/json"), condition];
        bed.call("PUT", DOC, &headers, body).await
    };
    let refused = put(("if-match", "*"), "{}").await;
    assert!(refused.problem(412, "precondition-failed")["version"].is_null());
    let first = put(("if-none-match", "*"), r#"{"a": 1}"#).await.version();
    let refused = put(("if-none-match", "*"), r#"{"a": 2}"#).await;
    assert_eq!(
        refused.problem(412, "precondition-failed")["version"],
        first
    );

    let quoted = format!("\"x\", \"{first}\"");
    let second = put(("if-match", &quoted), r#"{"a": 3}"#).await.version();
    let refused = put(("if-match", &quoted), r#"{"a": 4}"#).await;
    assert_eq!(
        refused.problem(412, "precondition-failed")["version"],
        second
    );
    let refused = put(("if-none-match", &format!("W/\"{second}\"")), "{}").await;
    refused.problem(412, "precondition-failed");
    let weak = put(("if-match", &format!("W/\"{second}\"")), "{}").await;
    weak.problem(412, "precondition-failed");
    put(("if-match", &second), "{}")
        .await
        .problem(400, "bad-header");

    for (method, uri, media_type, body) in [
        ("PATCH", DOC, "application/merge-patch+json", "{}"),
        ("PATCH", DOC, "application/json-patch+json", "[]"),
        (
            "POST",
            "/v1/docs/carts/alice/ops",
            "application/json",
            r#"{"ops": []}"#,
        ),
        ("DELETE", DOC, "application/json", ""),
    ] {
        let headers = [("content-type", media_type), ("if-match", &*quoted)];
        let reply = bed.call(method, uri, &headers, body).await;
        reply.problem(412, "precondition-failed");
    }
    assert_eq!(bed.get(DOC).await.json(), json!({"a": 3}));
}

#[tokio::test]
async fn reads_keep_their_conditions() {
    let bed = Bed::new().await;
    let version = bed.put(DOC, "{}").await.version();
    let read = async |name: &str, value: &str| bed.call("GET", DOC, &[(name, value)], "").await;
    let quoted = format!("\"{version}\"");
    let fresh = read("if-none-match", &quoted).await;
    assert_eq!((fresh.status.as_u16(), fresh.body.len()), (304, 0));
    assert_eq!(fresh.header("etag"), quoted);
    assert_eq!(read("if-none-match", "*").await.status, 304);
    assert_eq!(read("if-none-match", "\"x\"").await.status, 200);
    assert_eq!(read("if-match", &quoted).await.status, 200);
    let failed = read("if-match", "\"x\"").await;
    assert_eq!(
        failed.problem(412, "precondition-failed")["version"],
        version
    );
}

#[tokio::test]
async fn listings_come_in_pages() {
    let bed = Bed::new().await;
    for key in ["a", "b/1", "b/2", "b/3", "c"] {
        bed.put(&format!("/v1/docs/carts/{key}"), r#"{"x": 1}"#)
            .await;
    }
    let first = bed.get("/v1/docs/carts?prefix=b%2F&limit=2").await.json();
    assert_eq!(
        first,
        json!({"documents": [{"key": "b/1"}, {"key": "b/2"}], "next": "b/2"})
    );
    let rest = bed
        .get("/v1/docs/carts?prefix=b/&limit=2&after=b%2F2&values=true")
        .await
        .json();
    assert_eq!(rest["next"], json!(null));
    assert_eq!(rest["documents"][0]["value"], json!({"x": 1}));
    let version = bed.node.get("carts", "b/3").await.unwrap().unwrap().version;
    assert_eq!(rest["documents"][0]["version"], version.to_string());
    let none = bed.get("/v1/docs/nothing-here").await.json();
    assert_eq!(none, json!({"documents": [], "next": null}));
}
