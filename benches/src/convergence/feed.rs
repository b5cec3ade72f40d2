//! What becomes visible at a datacenter, and when: one reader of its event feed, on a thread that does nothing else.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::clock::now_ns;
use super::place::{Place, Task};
use super::streamed::Streamed;
use crate::Outcome;

/// What is read at once, at most.
const READ_BYTES: usize = 256 << 10;

/// One batch that became visible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Whose it is, by [`Origins`].
    pub(crate) origin: usize,
    pub(crate) seq: u64,
    pub(crate) documents: u32,
    pub(crate) at_ns: u64,
}

/// Numbers for origins in a namespace, the same for all readers.
#[derive(Clone, Default)]
pub(crate) struct Origins(Arc<Mutex<Vec<Known>>>);

#[derive(Clone)]
struct Known {
    origin: String,
    namespace: String,
    datacenter: Option<usize>,
}

impl Origins {
    fn number(&self, origin: &str, namespace: &str) -> usize {
        let mut known = lock(&self.0);
        let same = |known: &Known| known.origin == origin && known.namespace == namespace;
        if let Some(at) = known.iter().position(same) {
            return at;
        }
        known.push(Known {
            origin: origin.to_owned(),
            namespace: namespace.to_owned(),
            datacenter: None,
        });
        known.len() - 1
    }

    fn is_at(&self, number: usize, datacenter: usize) {
        if let Some(known) = lock(&self.0).get_mut(number) {
            known.datacenter = Some(datacenter);
        }
    }

    /// The origin that writes at a datacenter, once something of it has been seen there.
    pub(crate) fn of(&self, datacenter: usize, namespace: &str) -> Option<usize> {
        let known = lock(&self.0);
        known
            .iter()
            .position(|known| known.datacenter == Some(datacenter) && known.namespace == namespace)
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// By origin.
    highest: Vec<u64>,
    documents: u64,
    ended: Option<String>,
}

/// A reader of one datacenter's feed.
pub(crate) struct Reader {
    state: Arc<Mutex<State>>,
    connection: TcpStream,
}

impl Reader {
    /// Follows from now on, or from the log's beginning; returns once the node has answered.
    pub(crate) async fn start(
        place: &Place,
        http: SocketAddr,
        datacenter: usize,
        origins: &Origins,
        from_beginning: bool,
    ) -> Outcome<Self> {
        let open = place.run("follow", move || follow(http, from_beginning))?;
        let (connection, streamed) = open.done().await?;
        let state = Arc::new(Mutex::new(State::default()));
        let reading = Reading {
            connection: connection.try_clone()?,
            streamed,
            datacenter,
            origins: origins.clone(),
            known: Vec::new(),
            new: Vec::new(),
        };
        let shared = state.clone();
        let _: Task<()> = place.run(&format!("feed-{datacenter}"), move || {
            let ended = reading.run(&shared);
            lock(&shared).ended = Some(match ended {
                Ok(()) => "the feed has ended".to_owned(),
                Err(error) => error.to_string(),
            });
            Ok(())
        })?;
        Ok(Self { state, connection })
    }

    /// How far it has seen an origin.
    pub(crate) fn highest(&self, origin: usize) -> Outcome<u64> {
        let state = lock(&self.state);
        match &state.ended {
            Some(why) => Err(why.clone().into()),
            None => Ok(state.highest.get(origin).copied().unwrap_or(0)),
        }
    }

    /// Documents seen, those counted again that changed again.
    pub(crate) fn documents(&self) -> u64 {
        lock(&self.state).documents
    }

    /// All that was seen since this was last asked.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Ends its thread; the node may have gone before it.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(http: SocketAddr, from_beginning: bool) -> Outcome<(TcpStream, Streamed)> {
    let mut connection = TcpStream::connect(http)?;
    connection.set_nodelay(true)?;
    let after = if from_beginning { "?after=0" } else { "" };
    write!(
        connection,
        "GET /v1/events{after} HTTP/1.1\r\nhost: node\r\n\r\n"
    )?;
    let mut streamed = Streamed::default();
    let mut buffer = vec![0; READ_BYTES];
    while !streamed.has_begun() {
        match connection.read(&mut buffer)? {
            0 => return Err("the node closed its feed".into()),
            length => streamed.take(&buffer[..length], |_| Ok(()))?,
        }
    }
    Ok((connection, streamed))
}

struct Reading {
    connection: TcpStream,
    streamed: Streamed,
    datacenter: usize,
    origins: Origins,
    /// Those met so far, with their numbers: a handful.
    known: Vec<(String, String, usize)>,
    new: Vec<Seen>,
}

/// What an event says, as far as it matters here.
#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    batch: Cow<'a, str>,
    #[serde(borrow)]
    ns: Cow<'a, str>,
    local: bool,
    part: u32,
    parts: u32,
}

impl Reading {
    fn run(mut self, state: &Mutex<State>) -> Outcome<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = self.connection.read(&mut buffer)?;
            let at_ns = now_ns();
            if length == 0 {
                return Ok(());
            }
            let mut streamed = std::mem::take(&mut self.streamed);
            streamed.take(&buffer[..length], |line| self.line(line, at_ns))?;
            self.streamed = streamed;
            let mut state = lock(state);
            for seen in self.new.drain(..) {
                if state.highest.len() <= seen.origin {
                    state.highest.resize(seen.origin + 1, 0);
                }
                let highest = &mut state.highest[seen.origin];
                *highest = seen.seq.max(*highest);
                state.documents += u64::from(seen.documents);
                state.seen.push(seen);
            }
        }
    }

    fn line(&mut self, line: &[u8], at_ns: u64) -> Outcome<()> {
        if line.starts_with(b"event: problem") || line.starts_with(b"event:problem") {
            return Err("the node has ended its feed with a problem: see its log".into());
        }
        let Some(data) = line.strip_prefix(b"data:") else {
            return Ok(());
        };
        let change: Change<'_> = serde_json::from_slice(data).map_err(|error| {
            format!(
                "an event can't be read: {error}: {}",
                String::from_utf8_lossy(data)
            )
        })?;
        // A batch is visible with its last part.
        if change.part != change.parts {
            return Ok(());
        }
        let (origin, seq) = change
            .batch
            .rsplit_once('.')
            .ok_or("a batch without a number")?;
        let same = |(known, namespace, _): &&(String, String, usize)| {
            known == origin && *namespace == change.ns
        };
        let number = match self.known.iter().find(same) {
            Some((_, _, number)) => *number,
            None => {
                let number = self.origins.number(origin, &change.ns);
                self.known
                    .push((origin.to_owned(), change.ns.clone().into_owned(), number));
                if change.local {
                    self.origins.is_at(number, self.datacenter);
                }
                number
            }
        };
        self.new.push(Seen {
            origin: number,
            seq: seq.parse()?,
            documents: change.parts,
            at_ns,
        });
        Ok(())
    }
}
