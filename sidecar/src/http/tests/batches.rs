//! Writes to several documents at once.

use serde_json::{Value, json};

use super::{Bed, Reply};

async fn batch(bed: &Bed, writes: Value) -> Reply {
    let body = json!({ "writes": writes }).to_string();
    bed.write("POST", "/v1/batch", "application/json", &body)
        .await
}

#[tokio::test]
async fn a_batch_answers_for_each_write_what_a_single_one_would() {
    let bed = Bed::new().await;
    bed.put("/v1/docs/shop/old", r#"{"x": 1}"#).await;
    let base = bed
        .put("/v1/docs/shop/stock", r#"{"n": 5}"#)
        .await
        .version();
    bed.put("/v1/docs/shop/stock", r#"{"n": 5, "since": true}"#)
        .await;
    let reply = batch(
        &bed,
        json!([
            {"ns": "shop", "key": "stock", "base": base, "put": {"n": 4}},
            {"ns": "shop", "key": "carts/a", "ops": [
                {"op": "adjust", "path": "/qty", "by": 1},
                {"op": "set_add", "path": "/tags", "value": "gift"},
            ]},
            {"ns": "shop", "key": "old", "delete": true},
            {"ns": "shop", "key": "never", "delete": true},
            {"ns": "shop", "key": "carts/a", "ops": [{"op": "adjust", "path": "/qty", "by": 1}]},
        ]),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(!reply.header("anabranch-token").is_empty());
    let writes = reply.json()["writes"].as_array().unwrap().clone();
    let flags: Vec<_> = writes
        .iter()
        .map(|write| (&write["key"], &write["changed"], &write["created"]))
        .map(|(key, changed, created)| json!([key, changed, created]))
        .collect();
    assert_eq!(
        json!(flags),
        json!([
            ["stock", true, false],
            ["carts/a", true, true],
            ["old", true, false],
            ["never", false, false],
            ["carts/a", true, false],
        ])
    );
    assert!(writes.iter().all(|write| write["ns"] == "shop"));
    let cart = bed.get("/v1/docs/shop/carts/a").await;
    assert_eq!(cart.json(), json!({"qty": 2, "tags": ["gift"]}));
    assert_eq!(cart.header("etag").trim_matches('"'), writes[4]["version"]);
    assert_eq!(
        bed.get("/v1/docs/shop/stock").await.json(),
        json!({"n": 4, "since": true})
    );
    bed.get("/v1/docs/shop/old")
        .await
        .problem(404, "document-not-found");
}

#[tokio::test]
async fn a_batch_of_which_one_write_is_refused_writes_nothing() {
    let bed = Bed::new().await;
    let good = json!({"ns": "shop", "key": "good", "put": {"x": 1}});
    let base = "0a".repeat(32);
    for (bad, status, kind) in [
        (
            json!({"ns": "shop", "key": "bad", "put": [1]}),
            422,
            "edit-does-not-fit",
        ),
        (
            json!({"ns": "shop", "key": "bad", "put": {}, "base": base}),
            404,
            "unknown-version",
        ),
        (json!({"ns": "shop", "key": "bad"}), 400, "bad-edit"),
        (
            json!({"ns": "shop", "key": "bad", "ops": [{"op": "set_add", "path": "/x"}]}),
            400,
            "bad-edit",
        ),
        (json!({"ns": "shop", "key": "", "put": {}}), 400, "bad-name"),
        (
            json!({"ns": "other", "key": "bad", "put": {}}),
            400,
            "several-namespaces",
        ),
    ] {
        let reply = batch(&bed, json!([good, bad])).await;
        let problem = reply.problem(status, kind);
        assert_eq!(problem["index"], 1, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().starts_with("write 1"),
            "{problem}"
        );
    }
    let problem = batch(&bed, json!([good, {"ns": "shop", "key": "good", "ops": [{"op": "append", "path": "/x", "value": 1}]}])).await;
    let problem = problem.problem(422, "edit-does-not-fit");
    assert_eq!(
        (&problem["key"], &problem["path"]),
        (&json!("good"), &json!("/x"))
    );
    for (alone, status, kind) in [
        (
            json!({"ns": "shop", "key": "one", "put": null}),
            422,
            "edit-does-not-fit",
        ),
        (
            json!({"ns": "shop", "key": "one", "put": {}, "base": base}),
            404,
            "unknown-version",
        ),
    ] {
        let problem = batch(&bed, json!([alone])).await.problem(status, kind);
        assert_eq!(
            (&problem["index"], &problem["key"]),
            (&json!(0), &json!("one"))
        );
    }
    batch(&bed, json!([])).await.problem(400, "bad-edit");
    let many = vec![good.clone(); anabranch::limits::WRITES_MAX + 1];
    let problem = batch(&bed, json!(many))
        .await
        .problem(413, "write-too-large");
    assert_eq!(problem["size_max"], anabranch::limits::WRITES_MAX);
    for (name, value) in [("if-match", "*"), ("base-version", "x")] {
        let headers = [("content-type", "application/json"), (name, value)];
        let body = json!({"writes": [good]}).to_string();
        let reply = bed.call("POST", "/v1/batch", &headers, body).await;
        assert_eq!(reply.problem(400, "bad-header")["header"], name);
    }
    bed.call("GET", "/v1/batch", &[], "")
        .await
        .problem(405, "method-not-allowed");
    bed.get("/v1/docs/shop/good")
        .await
        .problem(404, "document-not-found");
}

#[tokio::test]
async fn a_write_may_require_that_the_document_is_not_there() {
    let bed = Bed::new().await;
    bed.put("/v1/docs/shop/old", r#"{"x": 1}"#).await;
    let absent = |key: &str| json!({"ns": "shop", "key": key, "put": {"x": 2}, "if_absent": true});
    for (writes, index) in [
        (json!([absent("new"), absent("old")]), json!(1)),
        (json!([absent("new"), absent("new")]), json!(1)),
        (json!([absent("old")]), json!(null)),
    ] {
        let problem = batch(&bed, writes).await;
        let problem = problem.problem(412, "precondition-failed");
        assert_eq!(problem["index"], index, "{problem}");
    }
    bed.get("/v1/docs/shop/new")
        .await
        .problem(404, "document-not-found");
    let reply = batch(&bed, json!([absent("new"), absent("newer")])).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let old = bed.get("/v1/docs/shop/old").await;
    assert_eq!(old.json(), json!({"x": 1}));
}
