//! Backups of a running node, and data directories made from them.
//!
//! [`Node::backup`] gives a backup as a stream of bytes, which [`verify`] reads. [`Restoring`] makes a data directory out of
//! a full one and the incremental ones that follow it. A node that is opened there writes under a new incarnation, so it
//! never uses a name twice, and catches up with the other nodes by itself.
//!
//! ```
//! use anabranch::backup::{LogShare, Restoring, verify};
//! use anabranch::{Config, Node};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let root = tempfile::tempdir()?;
//! # let (data_dir, other_dir) = (root.path().join("a"), root.path().join("b"));
//! let node = Node::open(Config::new(&data_dir)).await?;
//! node.put("carts", "alice", json!({"items": {}})).await?;
//! let mut backup = node.backup(None, LogShare::All).await?;
//! let mut bytes = Vec::new();
//! while let Some(chunk) = backup.next().await {
//!     bytes.extend_from_slice(&chunk?);
//! }
//! verify(&bytes[..], |_| ())?;
//!
//! let mut restoring = Restoring::begin(&other_dir)?;
//! restoring.take(&bytes[..], |_| ())?;
//! restoring.finish()?;
//! let other = Node::open(Config::new(&other_dir)).await?;
//! assert!(other.get("carts", "alice").await?.is_some());
//! # Ok(())
//! # })
//! # }
//! ```

use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::SystemTime;

use anabranch_store::Store;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

pub use anabranch_store::backup::{
    BackupError, BackupId, Base, ChainError, Header, LogShare, Mark, Progress, ReadError,
    RecordCheck, RestoreError, Restored, Restoring, Summary, Totals, in_order, leading_to, verify,
};

use crate::Node;
use crate::driver::milliseconds;

/// Bytes that are handed over at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait for whoever takes them.
const CHUNKS_MAX: usize = 8;

/// A backup on its way out of a node. Dropped before its end, it is given up.
#[derive(Debug)]
pub struct Backup {
    header: Header,
    chunks: mpsc::Receiver<Bytes>,
    /// None once it has been told.
    outcome: Option<oneshot::Receiver<Result<Summary, BackupError>>>,
}

impl Backup {
    /// What it says of itself at its beginning.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next bytes; none at the end, when it is whole.
    ///
    /// # Errors
    /// When it could not be finished. What was given out is no backup then.
    pub async fn next(&mut self) -> Option<Result<Bytes, BackupError>> {
        if let Some(chunk) = self.chunks.recv().await {
            return Some(Ok(chunk));
        }
        // Kept until it is told, so that whoever asks may give up and ask again.
        let told = self.outcome.as_mut()?.await;
        self.outcome = None;
        match told {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(_) => Some(Err(io::Error::other("its thread has ended").into())),
        }
    }
}

/// What a node needs to take backups of itself.
pub(crate) struct Source {
    /// Weak: a handle of a node that was shut down must not keep its directory.
    pub(crate) store: Weak<Store>,
    pub(crate) name: String,
    pub(crate) replica: [u8; 16],
    pub(crate) standalone: bool,
    /// The log may grow to this while a backup holds on to it.
    pub(crate) log_bytes_max: u64,
    /// Becomes true when the node is shut down.
    closing: watch::Sender<bool>,
    under_way: Mutex<Vec<JoinHandle<()>>>,
}

impl Source {
    pub(crate) fn new(
        store: &Arc<Store>,
        name: String,
        replica: [u8; 16],
        standalone: bool,
        log_bytes_max: u64,
    ) -> Self {
        Self {
            store: Arc::downgrade(store),
            name,
            replica,
            standalone,
            // A log that is at its limit anyway leaves some room for what comes meanwhile.
            log_bytes_max: log_bytes_max.saturating_add(log_bytes_max / 4),
            closing: watch::Sender::new(false),
            under_way: Mutex::default(),
        }
    }

    /// Ends all backups; to be joined.
    pub(crate) fn close(&self) -> Vec<JoinHandle<()>> {
        let mut under_way = self.lock();
        self.closing.send_replace(true);
        std::mem::take(&mut *under_way)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        // Each change of it is whole.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, since: Option<Mark>, log: LogShare) -> anabranch_store::backup::Order {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        anabranch_store::backup::Order {
            id: BackupId(rand::random()),
            time_ms: milliseconds(now),
            name: self.name.clone(),
            replica: self.replica,
            standalone: self.standalone,
            since,
            log,
            log_bytes_max: self.log_bytes_max,
        }
    }

    /// Starts the thread that reads. What it says first is whether there will be a backup.
    fn start(
        &self,
        since: Option<Mark>,
        log: LogShare,
    ) -> Result<(oneshot::Receiver<Result<Header, BackupError>>, Stream), BackupError> {
        let order = self.order(since, log);
        let (begun, header) = oneshot::channel();
        let (ended, outcome) = oneshot::channel();
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let out = Chunks {
            sender,
            closing: self.closing.subscribe(),
            runtime: Handle::current(),
        };
        let mut under_way = self.lock();
        let store = self.store.upgrade().filter(|_| !*self.closing.borrow());
        let store = store.ok_or_else(shutting_down)?;
        let work = move || {
            let backing = match store.back_up(order) {
                Ok(backing) => backing,
                Err(error) => {
                    drop(store);
                    // Whoever asked may have gone.
                    let _ = begun.send(Err(error));
                    return;
                }
            };
            drop(store);
            let _ = begun.send(Ok(backing.header().clone()));
            let written = backing.write(BufWriter::with_capacity(CHUNK_BYTES, out));
            let _ = ended.send(written);
        };
        under_way.retain(|thread| !thread.is_finished());
        let thread = std::thread::Builder::new().name("anabranch-backup".to_owned());
        under_way.push(thread.spawn(work)?);
        Ok((header, Stream { chunks, outcome }))
    }
}

struct Stream {
    chunks: mpsc::Receiver<Bytes>,
    outcome: oneshot::Receiver<Result<Summary, BackupError>>,
}

fn shutting_down() -> BackupError {
    io::Error::new(io::ErrorKind::NotConnected, "the node is shutting down").into()
}

/// Bytes on their way to whoever takes them in, as fast as those are taken.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    closing: watch::Receiver<bool>,
    runtime: Handle,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        let Self {
            sender,
            closing,
            runtime,
        } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                // A node that is gone without a word closes, too.
                _ = closing.wait_for(|closing| *closing) => {
                    Err(io::Error::new(io::ErrorKind::NotConnected, "the node is shutting down"))
                }
                sent = sender.send(chunk) => sent.map_err(|_| {
                    io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it in any more")
                }),
            }
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Node {
    /// Takes a backup: a full one, or only what came since an earlier one ended. It is of the node as it is when the last
    /// byte is read, and reads and writes go on meanwhile.
    ///
    /// # Errors
    /// [`BackupError::NotSince`] when the log does not go on from the earlier one; a full one is possible then.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn backup(&self, since: Option<Mark>, log: LogShare) -> Result<Backup, BackupError> {
        let (header, Stream { chunks, outcome }) = self.source().start(since, log)?;
        let header = header
            .await
            .map_err(|_| io::Error::other("its thread has ended"))??;
        Ok(Backup {
            header,
            chunks,
            outcome: Some(outcome),
        })
    }
}
