//! What the examples stand on: datacenters in one process, with a network between them that can be cut.
//!
//! In production each node is a process of its own, and the certificates come from `anabranch init pki`.

use std::error::Error;
use std::time::Duration;

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::relay::{Relay, Shape};
use anabranch::{Config, Gossip, Node};
use tempfile::TempDir;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One node for each datacenter, and the links between every two.
pub(crate) struct Datacenters {
    pub(crate) nodes: Vec<Node>,
    links: Vec<Relay>,
    data: TempDir,
}

impl Datacenters {
    /// Starts them, a distance apart, and waits until they know each other.
    pub(crate) async fn start(names: &[&str], one_way: Duration) -> Result<Self> {
        let ca = CertificateAuthority::generate("example")?;
        let (mut nodes, mut links) = (Vec::<Node>::new(), Vec::new());
        let data = tempfile::tempdir()?;
        for name in names {
            // Each dials those before it, through a relay that plays the distance.
            let mut seeds = Vec::new();
            for other in &nodes {
                let target = other.gossip_addr().ok_or("a node without gossip")?;
                let link = Relay::start(target, Shape::one_way(one_way))?;
                seeds.push(link.addr().to_string());
                links.push(link);
            }
            let certificate = ca.issue(name, Validity::days(1))?;
            let mut gossip = Gossip::new(
                "127.0.0.1:0".parse()?,
                ca.to_pem().cert_pem,
                certificate.cert_pem,
                certificate.key_pem,
            );
            gossip.seeds = seeds;
            // Nodes would find each other past the relays.
            gossip.discover = false;
            // Quicker than the defaults, so that nobody has to wait for the end of an outage.
            gossip.timing.keep_alive = Duration::from_millis(200);
            gossip.timing.idle_timeout = Duration::from_secs(2);
            gossip.timing.backoff_max = Duration::from_millis(200);
            let config = Config::new(data.path().join(name)).named(*name, *name);
            nodes.push(Node::open(config.gossiping(gossip)).await?);
        }
        for node in &nodes {
            let known = async || -> Result<bool> {
                let peers = node.status().await?.replica.peers;
                Ok(peers.iter().filter(|peer| !peer.name.is_empty()).count() + 1 == names.len())
            };
            while !known().await? {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(Self { nodes, links, data })
    }

    /// From now on nothing passes between them.
    pub(crate) fn cut(&self) {
        self.links.iter().for_each(Relay::cut);
    }

    /// Now it does again.
    pub(crate) fn heal(&self) {
        self.links.iter().for_each(Relay::heal);
    }

    /// Waits until all hold the same. (A service has no need to: it goes on with what it has.)
    pub(crate) async fn equal(&self, namespace: &str) -> Result<()> {
        loop {
            let mut states = Vec::new();
            for node in &self.nodes {
                states.push(node.fingerprint(namespace).await?);
            }
            if states.iter().all(|state| *state == states[0]) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn shutdown(self) -> Result<()> {
        for node in self.nodes {
            node.shutdown().await?;
        }
        Ok(self.data.close()?)
    }
}
