//! Writers who wait for other datacenters, and members that are away: over real processes, some of which are killed.

use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get as get_at, wait_for_document, wait_for_view};
use crate::node::{NodeProcess, Plan, run};

const ALICE: &str = "/v1/docs/carts/alice";

fn get(node: &NodeProcess, path: &str) -> Value {
    get_at(&agent(), &format!("{}{path}", node.url))
}

fn post(node: &NodeProcess, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut request = agent()
        .post(format!("{}{path}", node.url))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send(body.to_string()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let body = serde_json::from_str(&text).unwrap_or_default();
    (response.status().as_u16(), body)
}

/// Adds one under an idempotency key, for everybody.
fn add(node: &NodeProcess, key: &str, wait: &str) -> (u16, Value) {
    let edit = json!({"ops": [{"op": "adjust", "path": "/qty", "by": 1}]});
    let headers = [("idempotency-key", key), ("anabranch-wait", wait)];
    post(node, &format!("{ALICE}/ops?ack=all"), &headers, &edit)
}

/// Two datacenters; either may be killed and found again where it was.
fn cluster(root: &std::path::Path) -> ([Plan; 2], [NodeProcess; 2]) {
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut eu = Plan::in_cluster(root, "eu", &ca, &[]);
    let eu_node = eu.start();
    eu.gossip = Some((eu_node.gossip.clone(), Vec::new()));
    let us = Plan::in_cluster(root, "us", &ca, std::slice::from_ref(&eu_node.gossip));
    let us_node = us.start();
    for node in [&eu_node, &us_node] {
        wait_for_view(node, "they meet", |view| {
            view["members"][0]["link"] == "up" && view["members"][0]["away_ms"].is_null()
        });
    }
    ([eu, us], [eu_node, us_node])
}

#[test]
fn who_lacks_a_write_is_named_and_a_repeat_waits_for_them_again() {
    let root = tempfile::tempdir().unwrap();
    let ([eu, us], [eu_node, us_node]) = cluster(root.path());
    let (status, first) = add(&eu_node, "first", "20s");
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["ack"]["held_by"], json!(["eu", "us"]));
    // Answered once all that is known of members is on the disk.
    let known = run(&["members", "welcome", "us", "--url", &eu_node.url]);
    assert_eq!(known.stdout, b"eu: us is counted already\n");
    // It is there, whatever happens here.
    eu_node.kill();
    assert_eq!(get(&us_node, ALICE), json!({"qty": 1}));
    us_node.kill();

    // Who was met is not forgotten by a crash.
    let eu_node = eu.start();
    let (status, cut) = add(&eu_node, "second", "50ms");
    assert_eq!(status, 202, "{cut}");
    assert_eq!(cut["changed"], true);
    let ack = &cut["ack"];
    assert_eq!(ack["held_by"], json!(["eu"]));
    assert_eq!(ack["missing"], json!(["us"]));
    assert!(
        ack["detail"]
            .as_str()
            .unwrap()
            .contains("not acknowledged yet by us")
    );

    let us_node = us.start();
    let (status, again) = add(&eu_node, "second", "20s");
    assert_eq!(status, 200, "{again}");
    assert_eq!(again["ack"]["held_by"], json!(["eu", "us"]));
    assert_eq!(get(&us_node, ALICE), json!({"qty": 2}));
    // The same at the other end, where it was never asked for before.
    let (status, there) = add(&us_node, "second", "20s");
    assert_eq!(status, 200, "{there}");
    assert_eq!(there["ack"]["held_by"], json!(["us", "eu"]));
    assert_eq!(get(&eu_node, ALICE), json!({"qty": 2}));
}

#[test]
fn a_member_that_is_set_aside_is_not_waited_for_until_it_is_back() {
    let root = tempfile::tempdir().unwrap();
    let ([eu, us], [eu_node, us_node]) = cluster(root.path());
    us_node.kill();
    let url = eu_node.url.clone();
    let put = |url: &str, body: &str, more: &[&str]| {
        let mut arguments = vec!["put", "carts/alice", body, "--url", url, "--ack", "all"];
        arguments.extend(more);
        run(&arguments)
    };
    let cut = put(&url, r#"{"n":1}"#, &["--wait", "50ms"]);
    assert_eq!(cut.status.code(), Some(7));
    let told = String::from_utf8(cut.stderr).unwrap();
    assert!(
        told.contains("the write stands") && told.contains("us"),
        "{told}"
    );

    let aside = run(&["members", "set-aside", "us", "--url", &url]);
    assert!(aside.status.success(), "{aside:?}");
    assert_eq!(
        String::from_utf8(aside.stdout).unwrap(),
        "eu: us is set aside\n"
    );
    // That was written down before it was answered.
    eu_node.kill();
    let eu_node = eu.start();
    let list = run(&["members", "--url", &eu_node.url]);
    let listed = String::from_utf8(list.stdout).unwrap();
    assert!(listed.contains("set aside"), "{listed}");
    let done = put(&eu_node.url, r#"{"n":2}"#, &["--output", "json"]);
    assert!(done.status.success(), "{done:?}");
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["ack"]["held_by"], json!(["eu"]));
    assert_eq!(done["ack"]["set_aside"], json!(["us"]));

    let us_node = us.start();
    wait_for_document(&us_node, "carts", "alice");
    wait_for_view(&eu_node, "it is welcome", |view| {
        view["members"][0]["standing"] == "counted"
    });
    let done = put(&eu_node.url, r#"{"n":3}"#, &["--wait", "20s"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(get(&us_node, ALICE), json!({"n": 3}));
    let nobody = run(&["members", "welcome", "ap", "--url", &eu_node.url]);
    assert_eq!(nobody.status.code(), Some(3));
}
