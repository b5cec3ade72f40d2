//! The demonstration's datacenters: one node each, and a delay between every two.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::relay::{Relay, Shape};
use anabranch::{Config, Gossip, Node, ReplicaId, Timing};

use super::cities::City;
use super::{Failure, NAMESPACE};

/// One datacenter.
pub(super) struct Datacenter {
    pub(super) city: City,
    pub(super) node: Node,
    pub(super) replica: ReplicaId,
}

/// All of them, with the network between.
pub(super) struct Cluster {
    pub(super) datacenters: Vec<Datacenter>,
    /// By the two datacenters that each joins.
    relays: Vec<((usize, usize), Relay)>,
}

impl Cluster {
    /// Starts one node per city below a directory.
    pub(super) async fn start(cities: &[City], root: &Path) -> Result<Self, Failure> {
        let ca = CertificateAuthority::generate("anabranch-demo").map_err(Failure::new)?;
        let mut cluster = Self {
            datacenters: Vec::new(),
            relays: Vec::new(),
        };
        for (at, city) in cities.iter().enumerate() {
            // Each dials those before it, through a relay that plays the distance.
            let mut seeds = Vec::new();
            for before in 0..at {
                let other = &cluster.datacenters[before];
                let target = other.node.gossip_addr().ok_or("a node does not listen")?;
                let shape = Shape::one_way(city.one_way(&other.city));
                let relay = Relay::start(target, shape).map_err(Failure::new)?;
                seeds.push(relay.addr().to_string());
                cluster.relays.push(((before, at), relay));
            }
            let certificate = ca
                .issue(&city.slug(), Validity::days(1))
                .map_err(Failure::new)?;
            let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
            let mut gossip = Gossip::new(
                listen,
                ca.to_pem().cert_pem,
                certificate.cert_pem,
                certificate.key_pem,
            )
            .seeds(seeds);
            gossip.timing = timing();
            // Nodes would find each other past the relays.
            gossip.discover = false;
            let config = Config::new(root.join(city.slug()))
                .named(city.slug(), city.name)
                .gossiping(gossip);
            let node = Node::open(config).await.map_err(Failure::new)?;
            let replica = node.status().await.map_err(Failure::new)?.replica.replica;
            cluster.datacenters.push(Datacenter {
                city: *city,
                node,
                replica,
            });
        }
        Ok(cluster)
    }

    /// Waits until every two datacenters are linked.
    pub(super) async fn linked(&self) -> Result<(), Failure> {
        for datacenter in &self.datacenters {
            loop {
                let report = datacenter.node.status().await.map_err(Failure::new)?;
                let ready = report
                    .replica
                    .peers
                    .iter()
                    .filter(|peer| !peer.name.is_empty());
                if ready.count() + 1 == self.datacenters.len() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Cuts a datacenter off from all others.
    pub(super) fn cut(&self, datacenter: usize) {
        self.relays_of(datacenter).for_each(Relay::cut);
    }

    /// Joins it again.
    pub(super) fn heal(&self, datacenter: usize) {
        self.relays_of(datacenter).for_each(Relay::heal);
    }

    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        let joins = |ends: &(usize, usize)| *ends == (a.min(b), a.max(b));
        self.relays
            .iter()
            .any(|(ends, relay)| joins(ends) && relay.is_cut())
    }

    pub(super) fn one_way(&self, a: usize, b: usize) -> Duration {
        self.datacenters[a].city.one_way(&self.datacenters[b].city)
    }

    /// The longest way to or from a datacenter.
    pub(super) fn farthest(&self, datacenter: usize) -> Duration {
        let others = (0..self.datacenters.len()).filter(|other| *other != datacenter);
        others
            .map(|other| self.one_way(datacenter, other))
            .max()
            .unwrap_or_default()
    }

    /// Bytes of UDP payload that passed between datacenters, everything included.
    pub(super) fn bytes(&self) -> u64 {
        let both = |relay: &Relay| relay.to_target().bytes + relay.to_client().bytes;
        self.relays.iter().map(|(_, relay)| both(relay)).sum()
    }

    /// What each holds, as one hash; with the number of documents.
    pub(super) async fn fingerprints(&self) -> Result<Vec<([u8; 32], usize)>, Failure> {
        let mut fingerprints = Vec::new();
        for datacenter in &self.datacenters {
            let fingerprint = datacenter.node.fingerprint(NAMESPACE).await;
            fingerprints.push(fingerprint.map_err(Failure::new)?);
        }
        Ok(fingerprints)
    }

    pub(super) async fn shutdown(self) {
        for datacenter in self.datacenters {
            // It is going away in any case.
            let _ = datacenter.node.shutdown().await;
        }
    }

    fn relays_of(&self, datacenter: usize) -> impl Iterator<Item = &Relay> {
        let touches = move |(a, b): &(usize, usize)| *a == datacenter || *b == datacenter;
        self.relays
            .iter()
            .filter(move |(ends, _)| touches(ends))
            .map(|(_, relay)| relay)
    }
}

/// Quick enough that an outage of seconds is a matter of seconds.
fn timing() -> Timing {
    let mut timing = Timing::default();
    timing.keep_alive = Duration::from_millis(500);
    timing.idle_timeout = Duration::from_secs(2);
    timing.handshake_timeout = Duration::from_millis(700);
    timing.backoff_max = Duration::from_millis(200);
    timing
}
