//! A document's past, and its conflicts.

use serde_json::{Value, json};

use super::{Bed, Reply};

const DOC: &str = "/v1/docs/carts/alice";

/// Three versions: of 1, of 2, and deleted.
async fn written(bed: &Bed) -> [String; 3] {
    let first = bed.put(DOC, r#"{"a": 1, "b": [1]}"#).await.version();
    let second = bed.put(DOC, r#"{"a": 2, "b": [1]}"#).await.version();
    let deleted = bed.call("DELETE", DOC, &[], "").await;
    assert_eq!(deleted.status, 204);
    let versions = bed.get(&format!("{DOC}?versions=true&limit=1")).await;
    let third = versions.json()["versions"][0]["version"]
        .as_str()
        .unwrap()
        .to_owned();
    [first, second, third]
}

#[tokio::test]
async fn a_version_is_read_as_it_was_and_may_be_kept() {
    let bed = Bed::new().await;
    let [first, second, third] = written(&bed).await;
    for (version, a) in [(&first, 1), (&second, 2)] {
        let uri = format!("{DOC}?at={version}");
        let read = bed.get(&uri).await;
        assert_eq!(read.json(), json!({"a": a, "b": [1]}));
        let etag = format!("\"{version}\"");
        assert_eq!(read.header("etag"), etag);
        assert!(read.header("cache-control").contains("immutable"));
        assert_eq!(read.header("vary"), "anabranch-token");
        let fresh = bed.call("GET", &uri, &[("if-none-match", &etag)], "").await;
        assert_eq!(fresh.status, 304);
    }
    let absent = bed.get(&format!("{DOC}?at={third}")).await;
    assert_eq!(absent.problem(404, "document-not-found")["version"], third);
    assert_eq!(absent.header("etag"), format!("\"{third}\""));
    assert_eq!(absent.header("cache-control"), "no-cache");
    let never = "0a".repeat(32);
    let unknown = bed.get(&format!("{DOC}?at={never}")).await;
    assert_eq!(unknown.problem(404, "unknown-version")["version"], never);
    bed.get(&format!("{DOC}?at=yesterday"))
        .await
        .problem(400, "bad-query");
    assert_eq!(bed.put(DOC, "{}").await.status, 201);
    assert_eq!(bed.get(DOC).await.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn the_history_names_who_and_when_by_page() {
    let bed = Bed::new().await;
    let [first, second, third] = written(&bed).await;
    let hashes = |page: &Value| -> Vec<String> {
        let versions = page["versions"].as_array().unwrap().iter();
        versions
            .map(|info| info["version"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = bed.get(&format!("{DOC}?versions=true")).await.json();
    let known = hashes(&all);
    let place = |version: &String| known.iter().position(|known| known == version).unwrap();
    assert!(place(&third) < place(&second) && place(&second) < place(&first));
    assert_eq!(all["more"], false);
    let newest = &all["versions"][0];
    assert_eq!(newest["by"]["name"], "node");
    assert_eq!(newest["by"]["datacenter"], "local");
    assert!(newest["time_s"].as_i64().unwrap() > 1_700_000_000);
    let page = bed
        .get(&format!("{DOC}?versions=true&skip=1&limit=1"))
        .await
        .json();
    assert_eq!(
        (hashes(&page), &page["more"]),
        (vec![known[1].clone()], &json!(true))
    );
    let past = bed
        .get(&format!("{DOC}?versions=true&skip=1000"))
        .await
        .json();
    assert_eq!((hashes(&past), &past["more"]), (vec![], &json!(false)));

    bed.get("/v1/docs/carts/nobody?versions=true")
        .await
        .problem(404, "document-not-found");
    for limit in ["0", "1001"] {
        let refused = bed.get(&format!("{DOC}?versions=true&limit={limit}")).await;
        assert_eq!(refused.problem(400, "bad-query")["parameter"], "limit");
    }
    let conditional = [("if-none-match", "*")];
    let refused = bed
        .call("GET", &format!("{DOC}?versions=true"), &conditional, "")
        .await;
    refused.problem(400, "bad-header");
}

#[tokio::test]
async fn a_difference_is_a_json_patch() {
    let bed = Bed::new().await;
    let [first, second, third] = written(&bed).await;
    let diff = async |query: String| bed.get(&format!("{DOC}?{query}")).await;
    let forth = diff(format!("diff={first}&to={second}")).await;
    assert_eq!(forth.header("content-type"), "application/json-patch+json");
    assert_eq!(
        forth.json(),
        json!([{"op": "replace", "path": "/a", "value": 2}])
    );
    let same = diff(format!("diff={first}&to={first}")).await;
    assert_eq!(same.json(), json!([]));
    // To what it is now, which is not there.
    assert_eq!(
        diff(format!("diff={second}")).await.json(),
        diff(format!("diff={second}&to={third}")).await.json()
    );
    let never = "0a".repeat(32);
    for query in [format!("diff={never}"), format!("diff={first}&to={never}")] {
        assert_eq!(
            diff(query).await.problem(404, "unknown-version")["version"],
            never
        );
    }
}

#[tokio::test]
async fn what_is_written_on_an_earlier_version_merges() {
    let bed = Bed::new().await;
    let first = bed.put(DOC, r#"{"kept": 1, "gone": 1}"#).await.version();
    bed.put(DOC, r#"{"kept": 1, "gone": 1, "since": 1}"#)
        .await
        .version();
    let write = async |method: &'static str,
                       uri: &str,
                       media: &str,
                       base: &str,
                       body: &'static str|
           -> Reply {
        bed.call(
            method,
            uri,
            &[("content-type", media), ("base-version", base)],
            body,
        )
        .await
    };
    // The writer has not seen `since`, and does not take it away.
    let put = write("PUT", DOC, "application/json", &first, r#"{"kept": 1}"#).await;
    assert!(put.version() != first);
    assert_eq!(bed.get(DOC).await.json(), json!({"kept": 1, "since": 1}));
    let quoted = format!("\"{first}\"");
    let ops = r#"{"ops": [{"op": "put", "path": "/kept", "value": 5}]}"#;
    write(
        "POST",
        &format!("{DOC}/ops"),
        "application/json",
        &quoted,
        ops,
    )
    .await
    .version();
    let test = r#"[{"op": "test", "path": "/gone", "value": 1}]"#;
    write("PATCH", DOC, "application/json-patch+json", &first, test)
        .await
        .version();
    let deleted = write("DELETE", DOC, "application/json", &first, "").await;
    assert_eq!(deleted.status, 204);
    let left = bed.get(DOC).await.json();
    assert_eq!(left["since"], 1, "{left}");

    let never = "0a".repeat(32);
    let unknown = write("PUT", DOC, "application/json", &never, "{}").await;
    unknown.problem(404, "unknown-version");
    write("PUT", DOC, "application/json", "x", "{}")
        .await
        .problem(400, "bad-header");
    let both = [
        ("content-type", "application/json"),
        ("base-version", &*first),
        ("if-match", "*"),
    ];
    bed.call("PUT", DOC, &both, "{}")
        .await
        .problem(400, "bad-header");
    let read = bed.call("GET", DOC, &[("base-version", &first)], "").await;
    assert!(
        read.problem(400, "bad-header")["detail"]
            .as_str()
            .unwrap()
            .contains("?at=")
    );
}

#[tokio::test]
async fn conflicts_are_told_with_both_sides() {
    let bed = Bed::new().await;
    let base = bed.put(DOC, r#"{"price": 1, "note": "x"}"#).await.version();
    bed.put(DOC, r#"{"price": 2, "note": "x"}"#).await.version();
    let headers = [
        ("content-type", "application/json"),
        ("base-version", &*base),
    ];
    bed.call("PUT", DOC, &headers, r#"{"price": "three", "note": "x"}"#)
        .await
        .version();

    let plain = bed.get(DOC).await;
    let reply = bed.get(&format!("{DOC}?conflicts=true")).await;
    let found = reply.json();
    assert_eq!(reply.header("etag"), plain.header("etag"));
    assert_eq!(found["value"], plain.json());
    assert_eq!(
        format!("\"{}\"", found["version"].as_str().unwrap()),
        plain.header("etag")
    );
    let conflicts = found["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{found}");
    assert_eq!(conflicts[0]["path"], "/price");
    assert_eq!(conflicts[0]["winner"]["value"], plain.json()["price"]);
    let claims = [&conflicts[0]["winner"], &conflicts[0]["losers"][0]];
    let mut kinds: Vec<_> = claims
        .iter()
        .map(|claim| claim["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    assert!(
        kinds[0] == "a number" && kinds[1] == "a string",
        "{kinds:?}"
    );
    for claim in claims {
        assert_eq!(claim["by"]["name"], "node", "{claim}");
        assert!(claim["time_s"].as_i64().unwrap() > 1_700_000_000);
    }
    // A later write that sees the conflict settles it.
    bed.put(DOC, r#"{"price": 4, "note": "x"}"#).await.version();
    let settled = bed.get(&format!("{DOC}?conflicts=true")).await.json();
    assert_eq!(settled["conflicts"], json!([]));
    let absent = bed.get("/v1/docs/carts/nobody?conflicts=true").await;
    absent.problem(404, "document-not-found");
}
