//! Clients of one datacenter, all on one thread: they begin writes when it is time, whatever became of those before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde::Deserialize;

use super::clock::now_ns;
use super::place::{Place, Task};
use super::position;
use super::workload::Workload;
use crate::Outcome;
use crate::client::Connection;
use crate::procfs::thread_cpu;

const TOKEN: &str = "anabranch-token";
/// Refusals in a row after which a client gives up.
const REFUSALS_MAX: u32 = 20;
/// The pause after a refusal.
const PAUSE: Duration = Duration::from_millis(100);

/// What a datacenter's clients are to do.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) workload: Workload,
    /// Writes per second; as fast as the clients can if there is none.
    pub(crate) rate: Option<f64>,
    /// Writes in all.
    pub(crate) writes: u64,
    /// Connections, each with one write at a time.
    pub(crate) clients: u64,
    pub(crate) seed: u64,
}

/// One acknowledged write.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) seq: u64,
    pub(crate) sent_ns: u64,
    pub(crate) answered_ns: u64,
    /// How long after it was due it was sent.
    pub(crate) late_ns: u64,
}

/// What became of a load.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) writes: Vec<Written>,
    pub(crate) refused: u64,
    pub(crate) refusal: Option<String>,
    pub(crate) took: Duration,
    /// What the clients' thread had of the processors.
    pub(crate) cpu: Duration,
}

struct Clients {
    http: SocketAddr,
    load: Load,
    began_ns: u64,
    next: AtomicU64,
    stop: Arc<AtomicBool>,
}

/// Begins a load. It ends when all is written, or when it is told to stop.
pub(crate) fn start(
    place: &Place,
    http: SocketAddr,
    load: Load,
    stop: Arc<AtomicBool>,
) -> Outcome<Task<Sent>> {
    place.run_async("clients", move || async move {
        let (begun, before) = (Instant::now(), thread_cpu()?);
        let clients = Arc::new(Clients {
            http,
            load,
            began_ns: now_ns(),
            next: AtomicU64::new(0),
            stop,
        });
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients.load.clients {
            tasks.spawn(clients.clone().run(client));
        }
        let mut all = Sent::default();
        while let Some(done) = tasks.join_next().await {
            let sent: Sent = done??;
            all.writes.extend(sent.writes);
            all.refused += sent.refused;
            all.refusal = all.refusal.or(sent.refusal);
        }
        all.took = begun.elapsed();
        all.cpu = thread_cpu()? - before;
        Ok(all)
    })
}

impl Clients {
    async fn run(self: Arc<Self>, client: u64) -> Outcome<Sent> {
        let mut random = SmallRng::seed_from_u64(self.load.seed << 16 | client);
        let mut connection = Connection::open(self.http).await?;
        let (mut sent, mut in_a_row) = (Sent::default(), 0);
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let due_ns = self.due(n).await;
            if n >= self.load.writes || self.stop.load(Ordering::Relaxed) {
                return Ok(sent);
            }
            let (path, body) = self.load.workload.request(n, &mut random);
            let sent_ns = now_ns();
            match write(&mut connection, &path, &body).await {
                Ok(seq) => {
                    in_a_row = 0;
                    sent.writes.push(Written {
                        seq,
                        sent_ns,
                        answered_ns: now_ns(),
                        late_ns: due_ns.map_or(0, |due| sent_ns.saturating_sub(due)),
                    });
                }
                Err(error) => {
                    (sent.refused, in_a_row) = (sent.refused + 1, in_a_row + 1);
                    if in_a_row > REFUSALS_MAX {
                        return Err(error);
                    }
                    sent.refusal.get_or_insert_with(|| error.to_string());
                    tokio::time::sleep(PAUSE).await;
                    connection = Connection::open(self.http).await?;
                }
            }
        }
    }

    /// Waits until the n-th write is due.
    async fn due(&self, n: u64) -> Option<u64> {
        let after = Duration::from_secs_f64(n.min(self.load.writes) as f64 / self.load.rate?);
        let due_ns = self.began_ns + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let wait = due_ns.saturating_sub(now_ns());
        if wait > 0 {
            tokio::time::sleep(Duration::from_nanos(wait)).await;
        }
        Some(due_ns)
    }
}

/// What an answer says, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    changed: bool,
}

async fn write(connection: &mut Connection, path: &str, body: &str) -> Outcome<u64> {
    let answer: Answer = serde_json::from_slice(connection.post(path, body).await?)?;
    if !answer.changed {
        // Its token is about what it saw.
        return Err(format!("{path} was not changed by {body}").into());
    }
    position::seq(connection.header(TOKEN)?)
}
