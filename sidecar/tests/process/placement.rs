//! Namespaces that are in some datacenters only: over real processes, one of which lets go.

use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get as get_at, wait_for_document, wait_for_view};
use crate::node::{NodeProcess, Plan, run};

fn status_of(node: &NodeProcess, path: &str) -> (u16, Value) {
    let mut response = agent().get(format!("{}{path}", node.url)).call().unwrap();
    let body = response.body_mut().read_to_string().unwrap();
    let body = serde_json::from_str(&body).unwrap_or_default();
    (response.status().as_u16(), body)
}

fn command(node: &NodeProcess, arguments: &[&str]) -> String {
    let output = run(&[arguments, &["--url", &node.url]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a view of the cluster says of the namespace.
fn carts(view: &Value) -> &Value {
    let all = view["namespaces"].as_array();
    let mut all = all.into_iter().flatten();
    all.find(|of| of["namespace"] == "carts")
        .unwrap_or(&Value::Null)
}

#[test]
fn a_namespace_moves_from_one_datacenter_to_another() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let eu = Plan::in_cluster(root.path(), "eu", &ca, &[]).start();
    let seeds = std::slice::from_ref(&eu.gossip);
    let us = Plan::in_cluster(root.path(), "us", &ca, seeds).start();
    let ap = Plan::in_cluster(root.path(), "ap", &ca, seeds).start();
    for node in [&eu, &us, &ap] {
        wait_for_view(node, "they meet", |view| {
            let members = view["members"].as_array().unwrap();
            let met = |member: &&Value| member["link"] == "up" && member["away_ms"].is_null();
            members.iter().filter(met).count() == 2
        });
    }
    assert_eq!(
        command(&eu, &["place", "carts", "eu", "us"]),
        "carts is in eu, us\n"
    );
    for node in [&us, &ap] {
        wait_for_view(node, "they hear of it", |view| {
            carts(view)["datacenters"] == json!(["eu", "us"])
        });
    }
    command(&eu, &["put", "carts/alice", r#"{"qty":1}"#]);
    wait_for_document(&us, "carts", "alice");
    let (status, refused) = status_of(&ap, "/v1/docs/carts/alice");
    assert_eq!(status, 421, "{refused}");
    assert_eq!(refused["datacenters"], json!(["eu", "us"]));
    let refused = run(&["put", "carts/bob", "{}", "--url", &ap.url]);
    assert_eq!(refused.status.code(), Some(1));

    // From one to another, asked at one that is in neither list.
    assert_eq!(
        command(&ap, &["place", "carts", "us", "ap"]),
        "carts is in ap, us\n"
    );
    wait_for_document(&ap, "carts", "alice");
    assert_eq!(status_of(&ap, "/v1/docs/carts/alice").1, json!({"qty": 1}));
    wait_for_view(&eu, "it is let go", |view| {
        carts(view)["placed_here"] == false
            && carts(view)["leaving"] == false
            && carts(view)["batches"] == 0
    });
    assert_eq!(status_of(&eu, "/v1/docs/carts/alice").0, 421);
    let strange = run(&["place", "carts", "moon", "--url", &eu.url]);
    assert!(!strange.status.success());
    let told = String::from_utf8(strange.stderr).unwrap();
    assert!(
        told.contains("moon") && told.contains("ap, eu, us"),
        "{told}"
    );

    // And back to all.
    assert_eq!(
        command(&us, &["place", "carts", "--all"]),
        "carts is in all\n"
    );
    wait_for_view(&eu, "it is back", |view| {
        carts(view)["placed_here"] == true && carts(view)["batches"] == 1
    });
    assert_eq!(status_of(&eu, "/v1/docs/carts/alice").1, json!({"qty": 1}));
    command(&eu, &["put", "carts/alice", r#"{"qty":2}"#]);
    let listed = get_at(&agent(), &format!("{}/v1/namespaces/carts", eu.url));
    assert_eq!(listed["datacenters"], Value::Null);
    assert!(command(&eu, &["namespaces"]).contains("carts      all"));
}
