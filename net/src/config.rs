//! What a [`Net`](crate::Net) is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::identity::Identity;

/// Settings; [`Config::new`] has the defaults, every field may be changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The UDP address to listen on and to dial from; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who this node is.
    pub identity: Identity,
    /// Peers to dial, as `host:port`; the host is resolved again at every attempt.
    pub seeds: Vec<String>,
    /// A silent link is pinged (by the end that dialled) this often. Default 5 s.
    pub keep_alive: Duration,
    /// A link on which nothing arrives for this long is down. Default 15 s.
    pub idle_timeout: Duration,
    /// How long a connection may take until both sides have agreed on it. Default 5 s.
    pub handshake_timeout: Duration,
    /// The pause after a first failed attempt, doubled from failure to failure. Default 100 ms.
    pub backoff_initial: Duration,
    /// The longest pause between attempts. Default 5 s.
    pub backoff_max: Duration,
    /// A link that was up this long begins again with the initial pause. Default 10 s.
    pub stable_after: Duration,
    /// The same failure of the same remote is warned of once in this time. Default 60 s.
    pub complaint_interval: Duration,
    /// How long a shutdown may take at most. Default 3 s.
    pub shutdown_timeout: Duration,
}

impl Config {
    /// Settings with defaults and no seeds.
    #[must_use]
    pub fn new(listen: SocketAddr, identity: Identity) -> Self {
        Self {
            listen,
            identity,
            seeds: Vec::new(),
            keep_alive: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(5),
            backoff_initial: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            stable_after: Duration::from_secs(10),
            complaint_interval: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(3),
        }
    }
}
