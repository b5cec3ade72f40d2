//! The network as its user holds it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anabranch_core::ReplicaId;
use bytes::Bytes;
use quinn::{AsyncUdpSocket, Endpoint, Runtime, TokioRuntime};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::event::{Event, LinkId, LinkStatus, SeedStatus};
use crate::failure::{CloseCode, Complaints};
use crate::frame::check_length;
use crate::limits::{
    FRAME_BYTES_MAX, HANDSHAKES_MAX, HEARSAY_DIALS_MAX, MEMBER_DIALS_MAX, SEEDS_MAX,
};
use crate::listen::listen;
use crate::member::MemberStatus;
use crate::member_dial::dial_members;
use crate::membership::announcement::{Pen, is_address};
use crate::membership::own::Settled;
use crate::membership::{Membership, Now};
use crate::peers::Peers;
use crate::roster::Roster;
use crate::seed::Seed;
use crate::{pulse, reset, tls};

const OVERFLOW: &str = "more was sent than the link's queue holds";
/// How long a shutdown waits for what it tells the peers to be on its way; they find out without it.
const GOODBYE: Duration = Duration::from_millis(50);
const SHUTTING_DOWN: &str = "the node is shutting down";

/// Why the network could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Someone else listens there.
    #[error("UDP address {address} is in use: stop the other process, or listen on another port")]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address is not this machine's, or may not be used.
    #[error(
        "can't listen on UDP address {address}: {source}; it has to be one of this machine's addresses, or 0.0.0.0"
    )]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The identity does not make a TLS configuration.
    #[error(
        "the certificates can't be used for TLS: {why}; `anabranch init PKI --node NAME` makes fitting ones"
    )]
    Tls {
        /// What the TLS library said.
        why: String,
    },
    /// A seed is not an address.
    #[error("seed `{seed}` is not HOST:PORT")]
    Seed {
        /// The seed.
        seed: String,
    },
    /// What others are to be told of this node is not an address.
    #[error("`{address}` is not HOST:PORT, by which others could reach this node")]
    Advertise {
        /// The address.
        address: String,
    },
    /// This node can't tell others of itself.
    #[error(
        "this node can't announce itself to others: {why}; `anabranch init PKI --node NAME` makes a fitting certificate"
    )]
    Announcement {
        /// What is wrong with its key.
        why: String,
    },
    /// Too many seeds.
    #[error("{count} seeds, where {SEEDS_MAX} are allowed")]
    TooManySeeds {
        /// How many there are.
        count: usize,
    },
    /// Timings that can't work together.
    #[error("the network's timings can't work: {why}")]
    Timing {
        /// What is wrong.
        why: &'static str,
    },
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full. Its user ought to keep a window by `Sent`, so this is a bug or a flood: the link is closed.
    #[error("the link's queue is full; the link is closed")]
    Full,
    /// No such link is up (any more). Nothing happened.
    #[error("the link is down")]
    Down,
    /// No frame has this size. Nothing happened.
    #[error("a frame has 1 to {FRAME_BYTES_MAX} bytes, not {bytes}")]
    FrameSize {
        /// The size.
        bytes: usize,
    },
}

/// What all tasks of a network share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) local_addr: SocketAddr,
    pub(crate) endpoint: Endpoint,
    pub(crate) peers: Arc<Peers>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) complaints: Arc<Complaints>,
    pub(crate) handshakes: Arc<Semaphore>,
    /// Room for dialling members that were met before, and those that were not.
    pub(crate) member_dials: Semaphore,
    pub(crate) hearsay_dials: Semaphore,
    pub(crate) roster: Roster,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) tasks: Tasks,
}

/// The tasks under way; none can be added once they have been taken out to end.
pub(crate) struct Tasks(Mutex<Option<JoinSet<()>>>);

impl Tasks {
    fn new() -> Self {
        Self(Mutex::new(Some(JoinSet::new())))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            // Finished ones would pile up in the set.
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    fn take(&self) -> Option<JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A node's links to its peers. Dropping it cuts them; [`Net::shutdown`] says goodbye first.
pub struct Net {
    shared: Arc<Shared>,
    seeds: Vec<Arc<Seed>>,
    /// To see when the endpoint has let go of it.
    socket: Weak<dyn AsyncUdpSocket>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("local_addr", &self.shared.local_addr)
            .finish_non_exhaustive()
    }
}

impl Net {
    /// Listens, and begins to dial the seeds. What happens is told through `events`; whoever stops reading them
    /// holds the peers back, and whoever drops the receiver ends all links.
    ///
    /// # Errors
    /// When the address can't be listened on, or the configuration can't work.
    pub async fn bind(mut config: Config, events: mpsc::Sender<Event>) -> Result<Self, BindError> {
        check(&config)?;
        let (server, client) = (tls::server(&config)?, tls::client(&config)?);
        let address = config.listen;
        let unusable = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Address { address, source },
        };
        let socket = UdpSocket::bind(address)
            .await
            .and_then(UdpSocket::into_std)
            .map_err(unusable)?;
        let local_addr = socket.local_addr().map_err(unusable)?;
        let socket = TokioRuntime.wrap_udp_socket(socket).map_err(unusable)?;
        let weak_socket = Arc::downgrade(&socket);
        let settings = reset::endpoint_config(&config.identity);
        let mut endpoint = Endpoint::new_with_abstract_socket(
            settings,
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(unusable)?;
        endpoint.set_default_client_config(client);

        let peers = Peers::new();
        let complaints = Arc::new(Complaints::new(config.complaint_interval));
        let roster = roster(&mut config, local_addr, &peers, &complaints)?;
        let seeds: Vec<_> = config
            .seeds
            .iter()
            .map(|seed| Arc::new(Seed::new(seed.clone())))
            .collect();
        let shared = Arc::new(Shared {
            complaints,
            config,
            local_addr,
            endpoint,
            peers,
            events,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            member_dials: Semaphore::new(MEMBER_DIALS_MAX),
            hearsay_dials: Semaphore::new(HEARSAY_DIALS_MAX),
            roster,
            stopping: watch::Sender::new(false),
            tasks: Tasks::new(),
        });
        begin(&shared, &seeds);
        Ok(Self {
            shared,
            seeds,
            socket: weak_socket,
        })
    }

    /// The address that it listens on, with the actual port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// This node's id.
    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        self.shared.config.identity.replica_id()
    }

    /// Queues a frame on a link. Never waits: the queue has room for
    /// [`LINK_QUEUE_BYTES_MAX`](crate::limits::LINK_QUEUE_BYTES_MAX) bytes in
    /// [`LINK_QUEUE_FRAMES_MAX`](crate::limits::LINK_QUEUE_FRAMES_MAX) frames, and [`Event::Sent`] tells when it
    /// is free again.
    ///
    /// # Errors
    /// When the link is down, the frame has no allowed size, or the queue is full (which closes the link).
    pub fn send(&self, link: LinkId, frame: Bytes) -> Result<(), SendError> {
        check_length(frame.len()).map_err(|_| SendError::FrameSize { bytes: frame.len() })?;
        let link = self.shared.peers.link(link).ok_or(SendError::Down)?;
        link.outbox.push(frame).map_err(|_| {
            tracing::warn!(peer = %link.peer.name, "{OVERFLOW}; closing the link");
            link.close(CloseCode::Overflow, OVERFLOW);
            SendError::Full
        })
    }

    /// Closes a link; both ends are told the reason. Its seed, if any, is dialled again after a pause.
    pub fn disconnect(&self, link: LinkId, reason: &str) {
        if let Some(link) = self.shared.peers.link(link) {
            link.close(CloseCode::Disconnected, reason);
        }
    }

    /// The links that are up, the oldest first.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        self.shared
            .peers
            .links()
            .iter()
            .map(|link| link.status())
            .collect()
    }

    /// The seeds, in the order of the configuration.
    #[must_use]
    pub fn seeds(&self) -> Vec<SeedStatus> {
        self.seeds
            .iter()
            .map(|seed| seed.status(&self.shared))
            .collect()
    }

    /// The other members of the cluster.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        self.shared.roster.members()
    }

    /// The members as something to follow and to keep.
    #[must_use]
    pub fn roster(&self) -> Roster {
        self.shared.roster.clone()
    }

    /// Ends all links, telling peers and user why, and waits (for a bounded time) until all is quiet
    /// and the port is free again.
    ///
    /// The user keeps reading events meanwhile, up to the channel's end: the last `LinkDown`s come by it.
    pub async fn shutdown(self) {
        self.shared.stopping.send_replace(true);
        self.shared.roster.stop(GOODBYE).await;
        for link in self.shared.peers.links() {
            link.close(CloseCode::ShuttingDown, SHUTTING_DOWN);
        }
        let endpoint = self.shared.endpoint.clone();
        endpoint.close(CloseCode::ShuttingDown.into(), SHUTTING_DOWN.as_bytes());
        let (limit, socket) = (self.shared.config.shutdown_timeout, self.socket.clone());
        let tasks = self.shared.tasks.take();
        drop(self);
        let quiet = async move {
            let mut tasks = tasks.unwrap_or_default();
            while tasks.join_next().await.is_some() {}
            endpoint.wait_idle().await;
            drop(endpoint);
            // The endpoint's own task closes the socket a moment later; only then is the port free again.
            while socket.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(limit, quiet).await.is_err() {
            tracing::warn!("the network did not come to rest in time; what remains is cut");
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.shared
            .endpoint
            .close(CloseCode::ShuttingDown.into(), SHUTTING_DOWN.as_bytes());
        drop(self.shared.tasks.take());
        self.shared.roster.end();
    }
}

/// What is known of the cluster at the start: what an earlier run knew.
fn roster(
    config: &mut Config,
    local_addr: SocketAddr,
    peers: &Arc<Peers>,
    complaints: &Arc<Complaints>,
) -> Result<Roster, BindError> {
    let unfit = |why| BindError::Announcement { why };
    let addresses = match &config.advertise {
        Some(address) => vec![address.clone()],
        // Where this node is reached, its peers know better.
        None if local_addr.ip().is_unspecified() => Vec::new(),
        None => vec![local_addr.to_string()],
    };
    let fixed = Settled {
        name: config.identity.name().to_owned(),
        datacenter: config.datacenter.clone(),
        addresses,
    };
    let pen = Pen::new(&config.identity).map_err(unfit)?;
    let known = std::mem::take(&mut config.known);
    let started = Instant::now();
    let membership = Membership::new(pen, fixed, known, Now::since(started), rand::random());
    let membership = membership.map_err(unfit)?;
    Ok(Roster::new(
        membership,
        started,
        peers.clone(),
        complaints.clone(),
    ))
}

/// Starts what runs until the network is shut down.
fn begin(shared: &Arc<Shared>, seeds: &[Arc<Seed>]) {
    shared.tasks.spawn(listen(shared.clone()));
    for seed in seeds {
        let (shared, seed) = (shared.clone(), seed.clone());
        shared.clone().tasks.spawn(async move {
            let mut stop = shared.stopping.subscribe();
            tokio::select! {
                () = seed.keep_linked(&shared) => {}
                // An error means that the whole network was dropped.
                _ = stop.wait_for(|stopping| *stopping) => {}
                () = shared.events.closed() => {}
            }
        });
    }
    until_stopped(shared, shared.roster.clone().run());
    until_stopped(shared, pulse::watch(shared.clone()));
    if shared.config.discover {
        until_stopped(shared, dial_members(shared.clone()));
    }
}

fn until_stopped(shared: &Arc<Shared>, work: impl Future<Output = ()> + Send + 'static) {
    let mut stop = shared.stopping.subscribe();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stopping| *stopping) => {}
        }
    });
}

fn check(config: &Config) -> Result<(), BindError> {
    if config.seeds.len() > SEEDS_MAX {
        return Err(BindError::TooManySeeds {
            count: config.seeds.len(),
        });
    }
    if let Some(seed) = config.seeds.iter().find(|seed| !is_address(seed)) {
        return Err(BindError::Seed { seed: seed.clone() });
    }
    if let Some(address) = &config.advertise
        && !is_address(address)
    {
        let address = address.clone();
        return Err(BindError::Advertise { address });
    }
    let timing = |why| Err(BindError::Timing { why });
    if config.keep_alive.is_zero() || config.keep_alive >= config.idle_timeout {
        return timing("the keep-alive has to be above zero and shorter than the idle timeout");
    }
    if config.backoff_initial.is_zero() || config.backoff_max < config.backoff_initial {
        return timing("the first pause has to be above zero and at most as long as the longest");
    }
    if config.handshake_timeout.is_zero() {
        return timing("the handshake timeout has to be above zero");
    }
    Ok(())
}
