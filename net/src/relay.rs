//! A UDP relay that puts a wide-area network between nodes on one machine, for demos and benchmarks.
//!
//! The dialling node's seed is the relay's address, the relay's target is the other node. Datagrams pass in both
//! directions after a one-way delay, in order; the relay can be cut and healed. It runs on threads of its own
//! because an async timer's millisecond is too coarse for delays of a few: receivers block in the kernel, and the
//! one sender sleeps on a condition variable until the next datagram is due. Idle, nothing runs.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::limits::RELAY_CLIENTS_MAX;

mod delay;

use delay::{DelayLine, Dice};

/// Largest UDP payload.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// A client from which and for which nothing came for this long is forgotten.
const CLIENT_IDLE: Duration = Duration::from_secs(60);

/// The network that a relay plays, the same in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shape {
    /// The delay of each datagram.
    pub one_way: Duration,
    /// Datagrams in a million that are lost.
    pub loss_ppm: u32,
    /// What passes in a second, if that is limited; what comes faster waits, and past
    /// [`RELAY_BACKLOG_BYTES_MAX`](crate::limits::RELAY_BACKLOG_BYTES_MAX) is dropped.
    pub bytes_per_s: Option<u64>,
}

impl Shape {
    /// A network with this delay, and no other fault.
    #[must_use]
    pub fn one_way(one_way: Duration) -> Self {
        Self {
            one_way,
            loss_ppm: 0,
            bytes_per_s: None,
        }
    }
}

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Datagrams delivered.
    pub datagrams: u64,
    /// Their bytes of UDP payload.
    pub bytes: u64,
    /// Datagrams dropped: while cut, lost, or past the queue's bounds.
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToTarget,
    ToClient,
}

#[derive(Default)]
struct Counter {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Counter {
    fn traffic(&self) -> Traffic {
        Traffic {
            datagrams: self.datagrams.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Where a datagram goes when it is due.
struct Delivery {
    through: Arc<UdpSocket>,
    to: SocketAddr,
}

struct Lines {
    to_target: DelayLine<Delivery>,
    to_client: DelayLine<Delivery>,
    shape: Shape,
    dice: Dice,
    cut: bool,
}

impl Lines {
    fn line(&mut self, direction: Direction) -> &mut DelayLine<Delivery> {
        match direction {
            Direction::ToTarget => &mut self.to_target,
            Direction::ToClient => &mut self.to_client,
        }
    }

    fn next(&self) -> Option<(Instant, Direction)> {
        let to_target = self.to_target.due().map(|due| (due, Direction::ToTarget));
        let to_client = self.to_client.due().map(|due| (due, Direction::ToClient));
        [to_target, to_client]
            .into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
    }
}

struct Inner {
    target: SocketAddr,
    lines: Mutex<Lines>,
    changed: Condvar,
    stopping: AtomicBool,
    to_target: Counter,
    to_client: Counter,
}

/// A running relay; it stops when dropped.
pub struct Relay {
    inner: Arc<Inner>,
    front: Arc<UdpSocket>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("address", &self.address)
            .field("target", &self.inner.target)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts a relay to `target` (an actual address, not 0.0.0.0) on a free loopback port of its address family.
    ///
    /// # Errors
    /// When there is no socket or thread to be had.
    pub fn start(target: SocketAddr, shape: Shape) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind(free_port(target))?);
        front.set_read_timeout(Some(CLIENT_IDLE))?;
        let address = front.local_addr()?;
        let lines = Lines {
            to_target: DelayLine::new(),
            to_client: DelayLine::new(),
            shape,
            dice: Dice::new(),
            cut: false,
        };
        let inner = Arc::new(Inner {
            target,
            lines: Mutex::new(lines),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            to_target: Counter::default(),
            to_client: Counter::default(),
        });
        // Built first, so that its drop ends the first thread if the second can't be started.
        let mut relay = Self {
            inner,
            front,
            address,
            threads: Vec::new(),
        };
        let inner = relay.inner.clone();
        relay
            .threads
            .push(spawn("relay-send", move || deliver(&inner))?);
        let (inner, front) = (relay.inner.clone(), relay.front.clone());
        relay.threads.push(spawn("relay-front", move || {
            receive_from_clients(&inner, &front);
        })?);
        Ok(relay)
    }

    /// The address to dial instead of the target's.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Drops everything, what is under way included, until [`Relay::heal`].
    pub fn cut(&self) {
        let mut lines = self.inner.lock();
        lines.cut = true;
        let dropped = lines.to_target.clear();
        self.inner
            .to_target
            .dropped
            .fetch_add(dropped, Ordering::Relaxed);
        let dropped = lines.to_client.clear();
        self.inner
            .to_client
            .dropped
            .fetch_add(dropped, Ordering::Relaxed);
    }

    /// Lets datagrams pass again.
    pub fn heal(&self) {
        self.inner.lock().cut = false;
    }

    /// Whether it is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.inner.lock().cut
    }

    /// Changes the delay of datagrams that come from now on.
    pub fn set_one_way(&self, one_way: Duration) {
        self.inner.lock().shape.one_way = one_way;
    }

    /// Plays another network for datagrams that come from now on.
    pub fn set_shape(&self, shape: Shape) {
        self.inner.lock().shape = shape;
    }

    /// What passed from the clients to the target.
    #[must_use]
    pub fn to_target(&self) -> Traffic {
        self.inner.to_target.traffic()
    }

    /// What passed from the target to the clients.
    #[must_use]
    pub fn to_client(&self) -> Traffic {
        self.inner.to_client.traffic()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::Release);
        drop(self.inner.lock());
        self.inner.changed.notify_all();
        wake(&self.front);
        for thread in self.threads.drain(..) {
            // A panic in there has been reported already; there is nothing left to do about it.
            drop(thread.join());
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing panics while it is held half-changed.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn counter(&self, direction: Direction) -> &Counter {
        match direction {
            Direction::ToTarget => &self.to_target,
            Direction::ToClient => &self.to_client,
        }
    }

    fn take(&self, direction: Direction, delivery: Delivery, payload: &[u8]) {
        let now = Instant::now();
        let mut lines = self.lock();
        let (cut, shape) = (lines.cut, lines.shape);
        let lost = cut || lines.dice.lose(shape.loss_ppm);
        let first = lines.next().map(|(due, _)| due);
        if lost || !lines.line(direction).push(now, shape, delivery, payload) {
            self.counter(direction)
                .dropped
                .fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The sender sleeps until what is due first; only a new first changes that.
        let is_first = lines.next().map(|(due, _)| due) != first;
        drop(lines);
        if is_first {
            self.changed.notify_one();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

fn free_port(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    }
}

/// Ends a blocking receive: the receiver looks whether it has to stop after every datagram.
fn wake(socket: &UdpSocket) {
    let woken = socket
        .local_addr()
        .and_then(|own| UdpSocket::bind(free_port(own))?.send_to(&[], own));
    if let Err(error) = woken {
        tracing::debug!("a relay stops only at its receive timeout: {error}");
    }
}

fn deliver(inner: &Inner) {
    let mut lines = inner.lock();
    while !inner.is_stopping() {
        let Some((due, direction)) = lines.next() else {
            lines = inner
                .changed
                .wait(lines)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let now = Instant::now();
        if due > now {
            lines = inner
                .changed
                .wait_timeout(lines, due - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            continue;
        }
        let Some((delivery, payload)) = lines.line(direction).pop() else {
            continue;
        };
        drop(lines);
        let counter = inner.counter(direction);
        // Counted first: whoever has received a datagram finds it counted.
        counter.datagrams.fetch_add(1, Ordering::Relaxed);
        counter
            .bytes
            .fetch_add(payload.len() as u64, Ordering::Relaxed);
        if delivery.through.send_to(&payload, delivery.to).is_err() {
            // As on a real network: nobody there, or no buffer.
            counter.datagrams.fetch_sub(1, Ordering::Relaxed);
            counter
                .bytes
                .fetch_sub(payload.len() as u64, Ordering::Relaxed);
            counter.dropped.fetch_add(1, Ordering::Relaxed);
        }
        lines = inner.lock();
    }
}

/// The way back to one client: a socket of its own, so that the target tells clients apart.
struct Client {
    back: Arc<UdpSocket>,
    last: Instant,
    gone: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Client {
    fn end(self) {
        self.gone.store(true, Ordering::Release);
        wake(&self.back);
        drop(self.thread.join());
    }
}

fn receive_from_clients(inner: &Arc<Inner>, front: &Arc<UdpSocket>) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !inner.is_stopping() {
        // Timeouts and errors that belong to earlier datagrams (ICMP) mean only: look around and go on.
        let Ok((length, source)) = front.recv_from(&mut buffer) else {
            forget_idle(&mut clients);
            continue;
        };
        if inner.is_stopping() {
            break;
        }
        if !clients.contains_key(&source) {
            if clients.len() >= RELAY_CLIENTS_MAX {
                forget_idle(&mut clients);
            }
            if clients.len() >= RELAY_CLIENTS_MAX {
                inner.to_target.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            match add_client(inner, front, source) {
                Ok(client) => drop(clients.insert(source, client)),
                Err(error) => {
                    tracing::warn!(%source, "a relay can't serve another client: {error}");
                    continue;
                }
            }
        }
        if let Some(client) = clients.get_mut(&source) {
            client.last = Instant::now();
            let delivery = Delivery {
                through: client.back.clone(),
                to: inner.target,
            };
            inner.take(Direction::ToTarget, delivery, &buffer[..length]);
        }
    }
    for (_, client) in clients {
        client.end();
    }
}

/// A client that sends nothing for so long has given its connection up.
fn forget_idle(clients: &mut HashMap<SocketAddr, Client>) {
    let idle: Vec<_> = clients
        .iter()
        .filter(|(_, client)| client.last.elapsed() >= CLIENT_IDLE)
        .map(|(a, _)| *a)
        .collect();
    for source in idle {
        if let Some(client) = clients.remove(&source) {
            client.end();
        }
    }
}

fn add_client(
    inner: &Arc<Inner>,
    front: &Arc<UdpSocket>,
    source: SocketAddr,
) -> io::Result<Client> {
    let back = Arc::new(UdpSocket::bind(free_port(inner.target))?);
    let gone = Arc::new(AtomicBool::new(false));
    let thread = {
        let (inner, front, back, gone) = (inner.clone(), front.clone(), back.clone(), gone.clone());
        spawn("relay-back", move || {
            receive_from_target(&inner, &front, &back, &gone, source);
        })?
    };
    Ok(Client {
        back,
        last: Instant::now(),
        gone,
        thread,
    })
}

fn receive_from_target(
    inner: &Inner,
    front: &Arc<UdpSocket>,
    back: &UdpSocket,
    gone: &AtomicBool,
    source: SocketAddr,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !gone.load(Ordering::Acquire) {
        let Ok((length, from)) = back.recv_from(&mut buffer) else {
            continue;
        };
        if from == inner.target {
            let delivery = Delivery {
                through: front.clone(),
                to: source,
            };
            inner.take(Direction::ToClient, delivery, &buffer[..length]);
        }
    }
}
