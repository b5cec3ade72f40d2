//! What a [`Net`](crate::Net) is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::identity::Identity;
use crate::member::KnownMember;

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
    /// The datacenter that this node stands in, to tell others. Default: none.
    pub datacenter: String,
    /// Where others reach this node, as `host:port`. Default: the address that it listens on, or if that is all
    /// addresses, where its peers see its packets come from.
    pub advertise: Option<String>,
    /// Whether members that others tell of are dialled, too. Default true. Off where the seeds alone say who links with
    /// whom, such as in front of [relays](crate::relay).
    pub discover: bool,
    /// Members that an earlier run knew.
    pub known: Vec<KnownMember>,
    /// A link on which nothing was heard is pinged (by the end that dialled) this often. Default 2.45 s.
    pub keep_alive: Duration,
    /// A link is silent when nothing was heard for this long after a ping was due: a round trip, and where that is below some
    /// 150 ms also a loss and a repetition.
    /// Default 450 ms.
    pub silence_grace: Duration,
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
            datacenter: String::new(),
            advertise: None,
            discover: true,
            known: Vec::new(),
            keep_alive: Duration::from_millis(2_450),
            silence_grace: Duration::from_millis(450),
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
