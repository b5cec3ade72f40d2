//! The floor: what a bare datagram takes one way, over the same links in the same moments.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{ms_between, now_ns};
use super::place::Task;
use super::topology::Topology;
use super::wan::Wan;
use super::wire::{Bytes, HEADER_BYTES, Wire};
use crate::Outcome;

/// From whom, and when it was sent.
const PAYLOAD_BYTES: usize = 16;
/// How long a receiver waits before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(100);
/// Datagrams per second over all directions.
const PER_SECOND: u32 = 200;

/// Milliseconds by direction.
pub(crate) type Floors = BTreeMap<(usize, usize), Vec<f64>>;

#[derive(Default)]
struct State {
    floors: Mutex<Floors>,
    /// Datagrams that have arrived, by direction.
    arrived: Mutex<BTreeMap<(usize, usize), u64>>,
    paused: AtomicBool,
    stopping: AtomicBool,
}

/// Datagrams that go to and fro all the time. They end when this is dropped.
pub(crate) struct Probe {
    state: Arc<State>,
    /// Of its own, so that bytes of the nodes are counted alone; the WAN tool counts all.
    relays: Option<Wire>,
}

impl Probe {
    pub(crate) async fn start(wire: &Wire, topology: &Topology) -> Outcome<Self> {
        let state = Arc::new(State::default());
        // Ends what has begun if anything below fails.
        let mut probe = Self {
            state: state.clone(),
            relays: None,
        };
        let mut addresses = Vec::new();
        for host in 0..topology.len() {
            let ip = match wire {
                Wire::Wan(_) => Wan::ip(host),
                Wire::Relays(_) => "127.0.0.1".to_owned(),
            };
            let bind = wire.place(host).run("probe", move || {
                let socket = UdpSocket::bind(format!("{ip}:0"))?;
                socket.set_read_timeout(Some(LOOK))?;
                Ok(socket)
            })?;
            let socket = bind.done().await?;
            addresses.push(socket.local_addr()?);
            let state = state.clone();
            let _: Task<()> = wire.place(host).run("floor-receive", move || {
                receive(&socket, host, &state);
                Ok(())
            })?;
        }
        let mut own = Wire::new(None, topology)?;
        // All directions together make as much traffic, however many there are.
        let rounds = Duration::from_secs(1) / PER_SECOND;
        let pause = rounds * u32::try_from(topology.directions().count())?;
        for from in 0..topology.len() {
            let mut targets = Vec::new();
            for (to, address) in addresses.iter().enumerate().filter(|(to, _)| *to != from) {
                targets.push(match wire {
                    Wire::Wan(_) => *address,
                    Wire::Relays(_) => own.path(topology, (from, to), *address)?,
                });
            }
            let (state, is_wan) = (state.clone(), wire.is_wan());
            let _: Task<()> = wire.place(from).run("floor-send", move || {
                let any = if is_wan { "0.0.0.0:0" } else { "127.0.0.1:0" };
                send(&UdpSocket::bind(any)?, from, &targets, pause, &state);
                Ok(())
            })?;
        }
        probe.relays = (!wire.is_wan()).then_some(own);
        Ok(probe)
    }

    /// Is silent for a while, or not any more.
    pub(crate) fn pause(&self, paused: bool) {
        self.state.paused.store(paused, Ordering::Relaxed);
    }

    /// What was measured since this was last asked.
    pub(crate) fn take(&self) -> Floors {
        std::mem::take(&mut lock(&self.state.floors))
    }

    /// What it has put on the links whose bytes are counted.
    pub(crate) fn bytes(&self) -> Bytes {
        if self.relays.is_some() {
            return Bytes::new();
        }
        let arrived = lock(&self.state.arrived);
        let bytes = |count: &u64| count * (PAYLOAD_BYTES as u64 + HEADER_BYTES);
        arrived
            .iter()
            .map(|(pair, count)| (*pair, bytes(count)))
            .collect()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it is held half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(socket: &UdpSocket, from: usize, targets: &[SocketAddr], pause: Duration, state: &State) {
    while !state.stopping.load(Ordering::Relaxed) {
        for target in targets {
            if !state.paused.load(Ordering::Relaxed) {
                let mut payload = [0; PAYLOAD_BYTES];
                payload[..8].copy_from_slice(&(from as u64).to_le_bytes());
                payload[8..].copy_from_slice(&now_ns().to_le_bytes());
                // As on any network, some may not get through.
                let _ = socket.send_to(&payload, target);
            }
        }
        std::thread::sleep(pause);
    }
}

fn receive(socket: &UdpSocket, to: usize, state: &State) {
    let mut payload = [0; PAYLOAD_BYTES];
    while !state.stopping.load(Ordering::Relaxed) {
        // A timeout, or what an earlier datagram came to: look around and go on.
        let Ok(PAYLOAD_BYTES) = socket.recv(&mut payload) else {
            continue;
        };
        let now = now_ns();
        let number = |at: usize| payload[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let Ok(from) = usize::try_from(number(0)) else {
            continue;
        };
        let ms = ms_between(number(8), now);
        lock(&state.floors).entry((from, to)).or_default().push(ms);
        *lock(&state.arrived).entry((from, to)).or_default() += 1;
    }
}
