//! Nodes that find each other, remember each other, and leave.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anabranch::pki::{CertificateAuthority, NodeCertificate, Validity};
use anabranch::{Config, Gossip, LeaveError, MemberReport, Node, OpenError};
use serde_json::json;

const GUARD: Duration = Duration::from_secs(60);

struct Cluster {
    ca: CertificateAuthority,
    root: tempfile::TempDir,
}

/// What is fixed about a node from one run to the next.
struct Plan {
    name: &'static str,
    listen: SocketAddr,
    certificate: NodeCertificate,
}

impl Cluster {
    fn new() -> Self {
        Self {
            ca: CertificateAuthority::generate("test").unwrap(),
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn plan(&self, name: &'static str) -> Plan {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        Plan {
            name,
            listen: free.local_addr().unwrap(),
            certificate: self.ca.issue(name, Validity::days(1)).unwrap(),
        }
    }

    fn dir(&self, plan: &Plan) -> std::path::PathBuf {
        self.root.path().join(plan.name)
    }

    async fn open(&self, plan: &Plan, seeds: &[&Plan]) -> Node {
        let open = async {
            loop {
                match Node::open(self.config(plan, seeds)).await {
                    Ok(node) => return node,
                    // Its port is free while it is not running, and other tests take free ports.
                    Err(OpenError::Bind(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let opened = tokio::time::timeout(GUARD, open).await;
        opened.expect("its port becomes free again")
    }

    fn config(&self, plan: &Plan, seeds: &[&Plan]) -> Config {
        let gossip = Gossip::new(
            plan.listen,
            self.ca.to_pem().cert_pem,
            plan.certificate.cert_pem.clone(),
            plan.certificate.key_pem.clone(),
        )
        .seeds(seeds.iter().map(|seed| seed.listen.to_string()));
        let config = Config::new(self.dir(plan)).named(plan.name, format!("dc-{}", plan.name));
        config.gossiping(gossip)
    }
}

/// Waits until a node reports something. There is no event for what a report says, so it is asked again and again.
async fn until(node: &Node, what: &str, holds: impl Fn(&anabranch::Report) -> bool) {
    let wait = async {
        while !holds(&node.status().await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(GUARD, wait).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}

async fn linked(node: &Node, count: usize) {
    until(node, "links", |report| report.links.len() == count).await;
}

fn member<'a>(report: &'a anabranch::Report, name: &str) -> Option<&'a MemberReport> {
    report.members.iter().find(|member| member.name == name)
}

fn remembers(dir: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(dir.join("members")).unwrap_or_default();
    text.contains(&format!("\"name\": \"{name}\""))
}

/// The only seed is gone for good, and all others were restarted: they know each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_seeds_find_those_they_knew() {
    let cluster = Cluster::new();
    let [seed, a, b] = ["seed", "a", "b"].map(|name| cluster.plan(name));
    let nodes = [
        cluster.open(&seed, &[]).await,
        cluster.open(&a, &[&seed]).await,
        cluster.open(&b, &[&seed]).await,
    ];
    for node in &nodes {
        linked(node, 2).await;
    }
    until(&nodes[1], "what b says of itself", |report| {
        member(report, "b").is_some_and(|b| b.datacenter == "dc-b" && b.state == "alive")
    })
    .await;
    for node in nodes {
        node.shutdown().await.unwrap();
    }
    for plan in [&a, &b] {
        assert!(remembers(&cluster.dir(plan), "seed"), "{}", plan.name);
    }
    let nodes = [cluster.open(&a, &[]).await, cluster.open(&b, &[]).await];
    nodes[0]
        .put("carts", "alice", json!({"n": 1}))
        .await
        .unwrap();
    for node in &nodes {
        linked(node, 1).await;
        let report = node.status().await.unwrap();
        let seed = member(&report, "seed").unwrap();
        assert_ne!(seed.state, "alive");
        assert!(seed.last_seen_ms.is_some());
    }
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

/// A list that can't be read costs nothing but the seeds being needed, and is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_list_of_members_is_put_aside() {
    let cluster = Cluster::new();
    let [a, b] = ["a", "b"].map(|name| cluster.plan(name));
    for garbage in ["anabranch-members 7 later\n[]", "\u{0}", ""] {
        let dir = cluster.dir(&b);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("members"), garbage).unwrap();
        let nodes = [cluster.open(&a, &[]).await, cluster.open(&b, &[&a]).await];
        linked(&nodes[1], 1).await;
        for node in nodes {
            node.shutdown().await.unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(dir.join("members.unread")).unwrap(),
            garbage
        );
        assert!(remembers(&dir, "a"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_once_others_hold_its_writes_and_may_come_back() {
    let cluster = Cluster::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| cluster.plan(name));
    let leaver = cluster.open(&c, &[&a, &b]).await;
    leaver.put("carts", "alice", json!({"n": 1})).await.unwrap();
    let nobody = leaver.leave(Duration::ZERO, false).await;
    assert_eq!(nobody, Err(LeaveError::NotHeld { batches: None }));

    let nodes = [cluster.open(&a, &[]).await, cluster.open(&b, &[&a]).await];
    for node in nodes.iter().chain([&leaver]) {
        linked(node, 2).await;
    }
    leaver.leave(GUARD, false).await.unwrap();
    leaver.shutdown().await.unwrap();
    for node in &nodes {
        until(node, "its leaving", |report| {
            member(report, "c").is_some_and(|c| c.state == "left") && report.links.len() == 1
        })
        .await;
    }
    // One of them has it.
    let mut found = 0;
    for node in &nodes {
        found += usize::from(node.get("carts", "alice").await.unwrap().is_some());
    }
    assert!(found > 0);

    // Whoever restarts remembers that it has left, although it was a member's address.
    let [one, other] = nodes;
    other.shutdown().await.unwrap();
    let other = cluster.open(&b, &[]).await;
    let report = other.status().await.unwrap();
    assert_eq!(member(&report, "c").unwrap().state, "left");
    let back = cluster.open(&c, &[]).await;
    for node in [&one, &other, &back] {
        linked(node, 2).await;
    }
    until(&one, "its coming back", |report| {
        member(report, "c").is_some_and(|c| c.state == "alive")
    })
    .await;
    for node in [one, other, back] {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_node_that_runs_alone_has_nothing_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    assert_eq!(node.leave(GUARD, true).await, Err(LeaveError::Alone));
    node.shutdown().await.unwrap();
    assert!(!dir.path().join("members").exists());
}
