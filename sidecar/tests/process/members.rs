//! Nodes that are told to leave, and what the others say of it.

use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get, put, wait_for_document, wait_for_view};
use crate::node::{NodeProcess, Plan, run};

fn linked(node: &NodeProcess, count: usize) {
    wait_for_view(node, "links", |view| {
        let members = view["members"].as_array().unwrap();
        members
            .iter()
            .filter(|member| member["link"] == "up")
            .count()
            == count
    });
}

fn state(view: &Value, name: &str) -> Value {
    let members = view["members"].as_array().unwrap();
    let found = members.iter().find(|member| member["name"] == name);
    found.map_or(Value::Null, |member| member["state"].clone())
}

/// Two with one seed find each other; one leaves for good, with all that was written to it; the seed is not missed.
#[test]
fn a_node_leaves_with_nothing_lost_and_is_not_looked_for() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let plan = |name: &str, seeds: &[String]| Plan::in_cluster(root.path(), name, &ca, seeds);
    let seed = plan("seed", &[]).start();
    let seeds = [seed.gossip.clone()];
    let stays = plan("stays", &seeds).start();
    let plan_leaving = plan("leaves", &seeds);
    let mut leaves = plan_leaving.start();
    for node in [&seed, &stays, &leaves] {
        linked(node, 2);
    }
    let agent = agent();
    for n in 0..50 {
        assert!(put(
            &agent,
            &format!("{}/v1/docs/carts/{n}", leaves.url),
            &json!({"n": n})
        ));
    }
    let said = run(&["leave", "--url", &leaves.url]);
    assert!(said.status.success(), "{said:?}");
    assert_eq!(said.stdout, b"leaves leaves the cluster, and stops\n");
    let (status, _) = leaves.wait();
    assert_eq!(status.code(), Some(0), "{}", leaves.log());
    for node in [&seed, &stays] {
        let view = wait_for_view(node, "its leaving", |view| state(view, "leaves") == "left");
        let datacenters = view["datacenters"].as_array().unwrap();
        assert!(
            datacenters
                .iter()
                .all(|datacenter| datacenter["name"] != "leaves")
        );
    }
    // Whoever held it has passed it on, or will; the two that stay are linked.
    wait_for_document(&stays, "carts", "49");
    let mut metrics = agent.get(format!("{}/metrics", stays.url)).call().unwrap();
    let metrics = metrics.body_mut().read_to_string().unwrap();
    for line in [
        r#"anabranch_members{state="left"} 1"#,
        r#"anabranch_members{state="alive"} 1"#,
        r#"anabranch_peer_link_silent{peer="seed",datacenter="seed"} 0"#,
        r#"anabranch_peer_member_sent_bytes_total{peer="seed",datacenter="seed"} "#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let text = String::from_utf8(run(&["status", "--url", &stays.url]).stdout).unwrap();
    assert!(text.contains(" left "), "{text}");
}

/// It holds what nobody else does: it refuses, goes on, and goes by force.
#[test]
fn a_node_that_nobody_follows_leaves_by_force_alone() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut node = Plan::in_cluster(root.path(), "only", &ca, &[]).start();
    let agent = agent();
    let url = format!("{}/v1/docs/carts/alice", node.url);
    assert!(put(&agent, &url, &json!({"n": 1})));
    let refused = run(&["leave", "--url", &node.url]);
    assert!(!refused.status.success());
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(
        why.contains("none is connected") && why.contains("force"),
        "{why}"
    );
    assert_eq!(get(&agent, &url), json!({"n": 1}));
    let several = run(&["leave", "--url", &format!("{0},{0}", node.url)]);
    assert!(!several.status.success());
    let left = run(&["leave", "--force", "--output", "json", "--url", &node.url]);
    assert!(left.status.success(), "{left:?}");
    let answer: Value = serde_json::from_slice(&left.stdout).unwrap();
    assert_eq!(
        (&answer["leaving"], &answer["name"]),
        (&json!(true), &json!("only"))
    );
    assert_eq!(node.wait().0.code(), Some(0), "{}", node.log());
}
