//! What operators look at.

use anabranch::Node;
use anabranch::backup::{LogShare, verify};
use serde_json::json;

use super::Bed;

#[tokio::test]
async fn a_node_is_live_and_ready_until_it_shuts_down() {
    let bed = Bed::new().await;
    assert_eq!(bed.get("/livez").await.status, 200);
    assert_eq!(bed.get("/readyz").await.status, 200);
    bed.close.send_replace(true);
    bed.get("/readyz").await.problem(503, "shutting-down");
    Node::shutdown(bed.node.clone()).await.unwrap();
    assert_eq!(bed.get("/livez").await.status, 200);
    let refused = bed.get("/v1/docs/carts/alice").await;
    refused.problem(503, "shutting-down");
    assert_eq!(refused.header("retry-after"), "1");
    bed.get("/v1/cluster").await.problem(503, "shutting-down");
}

#[tokio::test]
async fn a_node_on_its_own_says_so() {
    let bed = Bed::new().await;
    bed.put("/v1/docs/carts/alice", "{}").await;
    let cluster = bed.get("/v1/cluster").await.json();
    assert_eq!(cluster["node"]["name"], "node");
    assert_eq!(cluster["node"]["gossip"], json!(null));
    assert_eq!(
        cluster["datacenters"],
        json!([{"name": "local", "members": ["node"]}])
    );
    assert_eq!(cluster["members"], json!([]));
    assert_eq!(cluster["counters"]["writes"], 1);
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let bed = Bed::new().await;
    bed.put("/v1/docs/carts/alice", "{}").await;
    bed.get("/v1/docs/carts/nobody").await;
    bed.call("BREW", "/v1/docs/carts/alice", &[], "").await;
    bed.get("/nothing").await;
    let reply = bed.get("/metrics").await;
    assert!(
        reply
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = reply.text();
    for line in [
        r#"anabranch_http_requests_total{method="PUT",route="/v1/docs/{ns}/{*key}",status="2xx"} 1"#,
        r#"anabranch_http_requests_total{method="GET",route="/v1/docs/{ns}/{*key}",status="4xx"} 1"#,
        r#"anabranch_http_requests_total{method="Other",route="/v1/docs/{ns}/{*key}",status="4xx"} 1"#,
        r#"anabranch_http_requests_total{method="GET",route="unknown",status="4xx"} 1"#,
        r#"anabranch_http_request_duration_seconds_count{route="/v1/docs/{ns}/{*key}"} 3"#,
        "anabranch_writes_total 1",
        "anabranch_store_failed 0",
        "anabranch_event_feeds 0",
        "# EOF",
    ] {
        assert!(
            text.lines().any(|found| found.starts_with(line)),
            "{line}\n{text}"
        );
    }
    // Every metric says what it is.
    let named = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    assert_eq!(named("# HELP anabranch_"), named("# TYPE anabranch_"));
}

#[tokio::test]
async fn the_index_names_the_endpoints() {
    let bed = Bed::new().await;
    let index = bed.get("/").await;
    assert!(index.header("content-type").starts_with("text/html"));
    assert!(index.text().contains("/v1/events"));
}

#[tokio::test]
async fn a_backup_is_given_out_whole_and_another_goes_on_from_it() {
    let bed = Bed::new().await;
    bed.put("/v1/docs/carts/alice", "{}").await;
    let reply = bed.get("/v1/backup").await;
    assert_eq!(reply.header("content-type"), "application/octet-stream");
    let full = verify(&reply.body[..], |_| ()).unwrap();
    assert_eq!((full.header.base, full.totals.records), (None, 1));
    bed.put("/v1/docs/carts/bob", "{}").await;
    let since = format!("/v1/backup?since={}", full.mark());
    let next = verify(&bed.get(&since).await.body[..], |_| ()).unwrap();
    assert_eq!(next.header.base.unwrap().id, full.header.id);
    assert_eq!(next.totals.records, 1);
    let tail = bed.get("/v1/backup?log=tail").await;
    assert_eq!(
        verify(&tail.body[..], |_| ()).unwrap().totals.log_end,
        next.totals.log_end
    );

    let mut other = full.mark();
    other.replica = [1; 16];
    let gone = bed.get(&format!("/v1/backup?since={other}")).await;
    gone.problem(410, "backup-base-gone");
    bed.get("/v1/backup?since=yesterday")
        .await
        .problem(400, "bad-query");
    bed.get("/v1/backup?log=none")
        .await
        .problem(400, "bad-query");

    let begin = || bed.node.backup(None, LogShare::All);
    let under_way = begin().await.unwrap();
    Node::shutdown(bed.node.clone()).await.unwrap();
    drop(under_way);
    bed.get("/v1/backup").await.problem(503, "shutting-down");
}
