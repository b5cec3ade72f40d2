//! Nodes that know each other, for the tests.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "each test file uses a part"
)]

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::{Config, Gossip, Node};

/// Three nodes that know each other.
pub async fn cluster(root: &std::path::Path) -> Vec<Node> {
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut nodes: Vec<Node> = Vec::new();
    for name in ["eu", "us", "ap"] {
        let certificate = ca.issue(name, Validity::days(1)).unwrap();
        let seeds: Vec<String> = nodes
            .iter()
            .map(|node| node.gossip_addr().unwrap().to_string())
            .collect();
        let gossip = Gossip::new(
            "127.0.0.1:0".parse().unwrap(),
            ca.to_pem().cert_pem,
            certificate.cert_pem,
            certificate.key_pem,
        )
        .seeds(seeds);
        let config = Config::new(root.join(name))
            .named(name, name)
            .gossiping(gossip);
        nodes.push(Node::open(config).await.unwrap());
    }
    nodes
}
