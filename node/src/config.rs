//! What a node is told at start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_core::{Datacenters, Namespace, limits};

/// Settings of a node; [`Config::new`] has the defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where its data is kept; made if it is not there. One process at a time.
    pub data_dir: PathBuf,
    /// The node's name, unique in its cluster. Default `node`.
    pub name: String,
    /// The datacenter that it stands in. Default `local`.
    pub datacenter: String,
    /// Memory for documents and what belongs to them, in bytes: the store's pages, loaded documents, changes on
    /// their way to the disk. Default 128 MiB.
    pub memory_bytes: usize,
    /// The newest bytes of the log, kept even when every replica has them. Default 4 GiB.
    pub log_kept_bytes: u64,
    /// Bytes of log that are kept at most, whoever still lacks them. Default 16 GiB.
    pub log_max_bytes: u64,
    /// Whether writes are made without the document where what is known of it is enough. Default true; off only to
    /// measure what it is worth.
    pub tips: bool,
    /// Changes go from the log to their documents once they are this old, or once nothing was written for
    /// [`fold_idle`](Self::fold_idle). Default 10 s; another only to measure what it costs.
    pub fold_after: Duration,
    /// See [`fold_after`](Self::fold_after). Default 1 s.
    pub fold_idle: Duration,
    /// Writes with an idempotency key that are remembered. Default 100,000.
    pub receipts_max: u64,
    /// How long they are remembered. Default 24 hours.
    pub receipts_kept: Duration,
    /// How long a request may wait for what its session has seen and for acknowledgements, whatever it asks. Default
    /// 60 s.
    pub session_wait_max: Duration,
    /// A member that has been away for so long is set aside. Default: never, only by [`Node::set_aside`](crate::Node::set_aside).
    pub set_aside_after: Option<Duration>,
    /// In which datacenters namespaces are, as far as this node's configuration says. It is said to the cluster when it differs from what
    /// it was at the last start, so that an old configuration takes back nothing that [`Node::place`](crate::Node::place) has changed since.
    /// Default: nothing is said.
    pub placements: BTreeMap<Namespace, Datacenters>,
    /// How it meets other nodes. Default: not at all.
    pub gossip: Option<Gossip>,
}

impl Config {
    /// A node on its own that keeps its data in a directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: "node".to_owned(),
            datacenter: "local".to_owned(),
            memory_bytes: 128 << 20,
            log_kept_bytes: limits::LOG_BYTES_KEPT,
            log_max_bytes: limits::LOG_BYTES_MAX,
            tips: true,
            fold_after: Duration::from_millis(limits::FOLD_AFTER_MS),
            fold_idle: Duration::from_millis(limits::FOLD_IDLE_MS),
            receipts_max: limits::RECEIPTS_MAX,
            receipts_kept: Duration::from_millis(limits::RECEIPTS_KEPT_MS),
            session_wait_max: Duration::from_millis(limits::SESSION_WAIT_MS_MAX),
            set_aside_after: None,
            placements: BTreeMap::new(),
            gossip: None,
        }
    }

    /// With a name and a datacenter.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>, datacenter: impl Into<String>) -> Self {
        self.name = name.into();
        self.datacenter = datacenter.into();
        self
    }

    /// With other nodes.
    #[must_use]
    pub fn gossiping(mut self, gossip: Gossip) -> Self {
        self.gossip = Some(gossip);
        self
    }
}

/// How a node meets others: all under one certificate authority, each with a certificate of its own.
#[derive(Clone)]
#[non_exhaustive]
pub struct Gossip {
    /// The UDP address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where others reach this node, as `host:port`. Default: the address that it listens on, or if that is all
    /// addresses, where its peers see its packets come from.
    pub advertise: Option<String>,
    /// Nodes to connect to, as `host:port`. One of them is enough to learn of all others; who is connected to needs no
    /// entry of its own.
    pub seeds: Vec<String>,
    /// Whether to connect to the nodes that others tell of, too, and to those that were met before. Default true. Off
    /// where the seeds alone say who connects to whom, such as with a [`relay`](crate::relay) before each.
    pub discover: bool,
    /// The cluster's CA certificate, in PEM.
    pub ca_pem: String,
    /// This node's certificate, in PEM.
    pub cert_pem: String,
    /// The certificate's private key, in PEM.
    pub key_pem: String,
    /// How quickly links notice that they are down, and come back.
    pub timing: Timing,
}

/// How quickly links notice that they are down, and come back.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timing {
    /// A link on which nothing is heard is pinged this often, and is silent 0.45 s later. Default 2.45 s.
    pub keep_alive: Duration,
    /// A link on which nothing arrives for this long is down. Default 15 s.
    pub idle_timeout: Duration,
    /// How long a connection may take to come up. Default 3 s.
    pub handshake_timeout: Duration,
    /// The longest pause between two attempts. Default 1 s.
    pub backoff_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_millis(2_450),
            idle_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(3),
            backoff_max: Duration::from_secs(1),
        }
    }
}

impl Gossip {
    /// Listens on an address under a certificate.
    pub fn new(
        listen: SocketAddr,
        ca_pem: impl Into<String>,
        cert_pem: impl Into<String>,
        key_pem: impl Into<String>,
    ) -> Self {
        Self {
            listen,
            advertise: None,
            seeds: Vec::new(),
            discover: true,
            ca_pem: ca_pem.into(),
            cert_pem: cert_pem.into(),
            key_pem: key_pem.into(),
            timing: Timing::default(),
        }
    }

    /// With nodes to connect to.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.seeds = seeds.into_iter().map(Into::into).collect();
        self
    }
}

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Gossip")
            .field("listen", &self.listen)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

/// Which documents to list.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// Documents at most, 1 to 1,000.
    pub limit: usize,
    /// Whether to read them, too.
    pub values: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            after: None,
            limit: 100,
            values: false,
        }
    }
}
