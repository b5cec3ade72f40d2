//! Writes that ask for other datacenters, at a node that knows none; and members.

use serde_json::{Value, json};

use super::{Bed, Reply};

const DOC: &str = "/v1/docs/carts/alice";

/// Without waiting.
async fn at_once(bed: &Bed, method: &str, uri: &str, body: &'static str) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("anabranch-wait", "0s"),
    ];
    bed.call(method, uri, &headers, body).await
}

#[track_caller]
fn lacks(ack: &Value, wanted: &Value) {
    assert_eq!(ack["wanted"], *wanted, "{ack}");
    assert_eq!(ack["reached"], false);
    assert_eq!(ack["held_by"], json!(["local"]));
    assert_eq!((&ack["known"], &ack["missing"]), (&json!(1), &json!([])));
    let detail = ack["detail"].as_str().unwrap();
    assert!(detail.contains("the write stands"), "{detail}");
    assert!(detail.contains("1 datacenter is known here"), "{detail}");
}

#[tokio::test]
async fn a_write_that_too_few_hold_stands_and_is_answered_with_202() {
    let bed = Bed::new().await;
    let ops = format!("{DOC}/ops?ack=3");
    let add = r#"{"ops": [{"op": "adjust", "path": "/qty", "by": 1}]}"#;
    let batch = r#"{"writes": [{"ns": "carts", "key": "b", "put": {}}]}"#;
    for (method, uri, body) in [
        ("PUT", &*format!("{DOC}?ack=3"), "{}"),
        ("POST", &*ops, add),
        ("POST", "/v1/batch?ack=3", batch),
        // It changes nothing, and shows what nobody else is known to hold.
        ("PUT", "/v1/docs/carts/b?ack=3", "{}"),
        ("DELETE", "/v1/docs/carts/b?ack=3", ""),
    ] {
        let reply = at_once(&bed, method, uri, body).await;
        assert_eq!(reply.status, 202, "{method} {uri}: {}", reply.text());
        assert!(reply.header("anabranch-token").len() > 3);
        lacks(&reply.json()["ack"], &json!(3));
    }
    assert_eq!(bed.get(DOC).await.json(), json!({"qty": 1}));
    bed.get("/v1/docs/carts/b")
        .await
        .problem(404, "document-not-found");
    let gone = at_once(&bed, "DELETE", "/v1/docs/carts/b?ack=3", "").await;
    lacks(&gone.problem(404, "document-not-found")["ack"], &json!(3));
    let metrics = bed.get("/metrics").await.text();
    for line in [
        "anabranch_writes_unacknowledged_total 6",
        "anabranch_acknowledgements_waiting 0",
        "anabranch_unstable_batches 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn who_is_alone_is_all_there_are() {
    let bed = Bed::new().await;
    let put = at_once(&bed, "PUT", &format!("{DOC}?ack=all"), "{}").await;
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(put.header("location"), DOC);
    let ack = json!({"wanted": "all", "reached": true, "held_by": ["local"], "missing": [], "set_aside": [], "known": 1});
    assert_eq!(put.json()["ack"], ack);
    for uri in ["?ack=local", "?ack=1", ""] {
        let plain = at_once(&bed, "PUT", &format!("{DOC}{uri}"), "{}").await;
        assert_eq!(
            (plain.status.as_u16(), &plain.json()["ack"]),
            (200, &json!(null))
        );
    }
    let gone = at_once(&bed, "DELETE", &format!("{DOC}?ack=all"), "").await;
    assert_eq!((gone.status.as_u16(), gone.text()), (204, String::new()));
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_written() {
    let bed = Bed::new().await;
    for bad in ["0", "", "-1", "most", "1.5", "65536"] {
        let refused = at_once(&bed, "PUT", &format!("{DOC}?ack={bad}"), "{}").await;
        let problem = refused.problem(400, "bad-query");
        assert_eq!(problem["parameter"], "ack", "{bad}");
    }
    // A read waits for nobody.
    bed.get(&format!("{DOC}?ack=2"))
        .await
        .problem(400, "bad-query");
    bed.get(DOC).await.problem(404, "document-not-found");
}

#[tokio::test]
async fn only_members_are_set_aside() {
    let bed = Bed::new().await;
    let members = bed.get("/v1/cluster/members").await;
    assert_eq!(members.json(), json!({"members": []}));
    for decision in ["set-aside", "welcome"] {
        let uri = |member: &str| format!("/v1/cluster/members/{member}/{decision}");
        let nobody = bed.call("POST", &uri("us-1"), &[], "").await;
        let problem = nobody.problem(404, "member-not-found");
        assert!(problem["detail"].as_str().unwrap().contains("\"us-1\""));
        let itself = bed.call("POST", &uri("node"), &[], "").await;
        let problem = itself.problem(404, "member-not-found");
        assert!(problem["detail"].as_str().unwrap().contains("itself"));
        bed.get(&uri("us-1"))
            .await
            .problem(405, "method-not-allowed");
    }
}
