//! Three replicas in one process: stores in memory, links that are there when a test says so, time that
//! passes when it must.

use std::collections::{BTreeMap, VecDeque};

use anabranch_core::persist::{
    Checkpoint, Continuity, Fetch, Fetched, Fold, LogRecord, Recovery, StoredDocument,
    StoredReceipt,
};
use anabranch_core::{
    Answer, Config, DocumentId, Incarnation, Input, Intent, Key, LinkId, Lsn, Namespace, Notice,
    Now, Output, Replica, ReplicaId, Reply, Request, RequestError, RequestId, Room, Session,
    Version, Visible, Write, Written,
};
use bytes::Bytes;

use crate::reading::Shown;

pub(crate) const SITES: usize = 3;
const NAMESPACE: &str = "n";
/// Changes that a document gathers before it is compacted, even if there is a hurry.
const COMPACT_AFTER: usize = 32;

/// How many of each replica's batches somebody holds.
pub(crate) type Held = [u64; SITES];

/// What a store holds; it answers as a real one does, at once.
#[derive(Default)]
struct Store {
    log: Vec<LogRecord>,
    documents: BTreeMap<DocumentId, StoredDocument>,
    checkpoint: Option<Checkpoint>,
    receipts: Vec<StoredReceipt>,
    /// Document states that it was ever given.
    folds: usize,
}

impl Store {
    fn fold(&mut self, fold: Fold) {
        self.folds += fold.documents.len();
        for folded in fold.documents {
            let stored = self.documents.entry(folded.id).or_default();
            stored.changes.extend(folded.changes);
            stored.present = folded.present;
            if fold.compact || stored.changes.len() >= COMPACT_AFTER {
                *stored = anabranch_core::compact(stored).expect("its own documents");
            }
        }
        self.receipts.extend(fold.receipts);
        self.checkpoint = fold.checkpoint.or(self.checkpoint.take());
    }

    /// The log from a position on.
    fn since(&self, from: Lsn) -> &[LogRecord] {
        &self.log[self.log.partition_point(|record| record.lsn < from)..]
    }

    fn fetch(&self, fetch: Fetch) -> Fetched {
        match fetch {
            Fetch::Document(id) => Fetched::Document(self.documents.get(&id).cloned()),
            Fetch::Page {
                namespace,
                prefix,
                after,
                limit,
                ..
            } => {
                let page = self.documents.iter().filter(|(id, _)| {
                    id.namespace == namespace
                        && id.key.as_str().starts_with(&prefix)
                        && after.as_ref().is_none_or(|after| id.key > *after)
                });
                let page = page.map(|(id, stored)| (id.key.clone(), stored.clone()));
                let mut documents: Vec<_> = page.take(limit + 1).collect();
                let more = documents.len() > limit;
                documents.truncate(limit);
                Fetched::Page { documents, more }
            }
            Fetch::Range { .. } | Fetch::Picked { .. } | Fetch::Receipts { .. } => {
                unreachable!("nothing is damaged here")
            }
            Fetch::Sums { .. } => Fetched::Sums {
                documents: self.documents.clone().into_iter().collect(),
                more: false,
            },
            Fetch::Receipt(key) => {
                let found = self
                    .receipts
                    .iter()
                    .rev()
                    .find(|receipt| receipt.key == key);
                Fetched::Receipt(found.cloned())
            }
            Fetch::Log { from, bytes_max } => {
                let mut bytes = 0;
                let records = self.since(from).iter().take_while(|record| {
                    let room = bytes < bytes_max;
                    bytes += record.bytes.len();
                    room
                });
                Fetched::Log(records.cloned().collect())
            }
        }
    }
}

struct Site {
    replica: Replica,
    store: Store,
    /// The links that are up.
    wires: BTreeMap<LinkId, Wire>,
    replies: Vec<Result<Answer, RequestError>>,
    held: Held,
}

/// One direction of a link.
struct Wire {
    to: usize,
    /// On their way, in order.
    frames: VecDeque<Bytes>,
}

impl Site {
    fn link_to(&self, other: usize) -> Option<LinkId> {
        let mut wires = self.wires.iter();
        wires
            .find(|(_, wire)| wire.to == other)
            .map(|(link, _)| *link)
    }
}

pub(crate) struct Bed {
    sites: Vec<Site>,
    now_ms: u64,
    counter: u64,
    room: Room,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with_room(Room {
            checkpoint_records: 1,
            ..Room::default()
        })
    }

    pub(crate) fn with_room(room: Room) -> Self {
        let mut bed = Self {
            sites: Vec::new(),
            now_ms: 1_000,
            counter: 0,
            room,
        };
        for site in 0..SITES {
            let store = Store::default();
            let replica = bed.open(site, &store, Continuity::New);
            bed.sites.push(Site {
                replica,
                store,
                wires: BTreeMap::new(),
                replies: Vec::new(),
                held: Held::default(),
            });
        }
        bed
    }

    fn open(&self, site: usize, store: &Store, continuity: Continuity) -> Replica {
        let tag = u8::try_from(site).expect("three sites") + 1;
        let name = ["A", "B", "C"][site];
        let mut config = Config::new(ReplicaId([tag; 16]), name, name, Incarnation(99));
        config.room = self.room;
        let recovery = Recovery {
            incarnation: Incarnation(1),
            continuity,
            checkpoint: store.checkpoint.clone(),
            log_end: store.log.last().map(|record| record.lsn),
            log_first: store.log.first().map(|record| record.lsn),
        };
        let (mut replica, from) = Replica::recover(config, recovery).expect("its own checkpoint");
        replica
            .replay(store.since(from).to_vec())
            .expect("its own log");
        replica.begin(store.log.last().map(|record| record.lsn));
        replica
    }

    /// The process ends, and its links with it, and begins again from what its store holds.
    pub(crate) fn restart(&mut self, site: usize) {
        for other in 0..SITES {
            self.cut(site, other);
        }
        self.sites[site].replica = self.open(site, &self.sites[site].store, Continuity::Proven);
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        }
    }

    fn give(&mut self, site: usize, input: Input) {
        let now = self.now();
        let Site {
            replica,
            store,
            wires,
            replies,
            held,
        } = &mut self.sites[site];
        replica.handle(now, input);
        while let Some(output) = replica.poll() {
            match output {
                Output::Persist(commit) => {
                    let through = commit.ticket;
                    store.log.extend(commit.log);
                    replica.handle(now, Input::Persisted { through });
                }
                Output::Fold(fold) => {
                    let (id, result) = (fold.id, Ok(()));
                    store.fold(fold);
                    replica.handle(now, Input::Folded { id, result });
                }
                Output::Fetch { id, fetch } => {
                    let result = Ok(store.fetch(fetch));
                    replica.handle(now, Input::Fetched { id, result });
                }
                Output::Send { link, frame } => {
                    let bytes = frame.len();
                    if let Some(wire) = wires.get_mut(&link) {
                        wire.frames.push_back(frame);
                    }
                    replica.handle(now, Input::Sent { link, bytes });
                }
                Output::Reply { reply, .. } => replies.push(reply),
                Output::Disconnect { reason, .. } => panic!("disconnected: {reason}"),
                Output::Notice(notice) => unwelcome(&notice),
                Output::Visible(visible) => count(held, &visible),
            }
        }
    }

    fn ask(&mut self, site: usize, request: Request) -> Result<Reply, RequestError> {
        self.counter += 1;
        let (id, session) = (RequestId(self.counter), Session::default());
        self.give(
            site,
            Input::Request {
                id,
                request,
                session,
            },
        );
        let reply = self.sites[site]
            .replies
            .pop()
            .expect("the store answers at once");
        reply.map(|answer| answer.reply)
    }

    /// Writes on one replica.
    pub(crate) fn write(
        &mut self,
        site: usize,
        key: &Key,
        intent: &Intent,
    ) -> Result<Written, RequestError> {
        let namespace = Namespace::new(NAMESPACE).expect("a name");
        let write = Write {
            key: key.clone(),
            intent: intent.clone(),
            guard: None,
            base: None,
        };
        let request = Request::Write {
            namespace,
            writes: vec![write],
            idempotency: None,
        };
        let Reply::Written { mut documents, .. } = self.ask(site, request)? else {
            panic!("a write was answered by something else");
        };
        Ok(documents.pop().expect("one write, one answer"))
    }

    /// What one replica shows of a document, and its version.
    pub(crate) fn read(&mut self, site: usize, key: &Key) -> (Shown, Option<Version>) {
        let document = DocumentId::new(NAMESPACE, key.as_str()).expect("a name");
        let request = Request::Read {
            document,
            at: None,
            conflicts: true,
        };
        match self.ask(site, request) {
            Ok(Reply::Document {
                snapshot,
                conflicts,
            }) => {
                let (version, value) = snapshot.map(|s| (s.version, s.value)).unzip();
                (Shown { value, conflicts }, version)
            }
            other => panic!("a read was answered by {other:?}"),
        }
    }

    /// The keys of all documents that one replica has.
    pub(crate) fn keys(&mut self, site: usize) -> Vec<Key> {
        let namespace = Namespace::new(NAMESPACE).expect("a name");
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let request = Request::Scan {
                namespace: namespace.clone(),
                prefix: String::new(),
                after,
                limit: 1_000,
                values: false,
            };
            let Ok(Reply::Page(page)) = self.ask(site, request) else {
                panic!("a listing was answered by something else");
            };
            keys.extend(page.documents.into_iter().map(|listed| listed.key));
            after = page.next;
            if after.is_none() {
                return keys;
            }
        }
    }

    /// What one replica holds.
    pub(crate) fn held(&self, site: usize) -> Held {
        self.sites[site].held
    }

    /// How many document states one replica has ever written behind its log.
    pub(crate) fn folds(&self, site: usize) -> usize {
        self.sites[site].store.folds
    }

    /// Links two replicas, unless they are linked.
    pub(crate) fn link(&mut self, a: usize, b: usize) {
        if self.sites[a].link_to(b).is_some() {
            return;
        }
        self.counter += 1;
        let link = LinkId(self.counter);
        for (site, to) in [(a, b), (b, a)] {
            let peer = self.sites[to].replica.origin().replica;
            let frames = VecDeque::new();
            self.sites[site].wires.insert(link, Wire { to, frames });
            self.give(site, Input::LinkUp { link, peer });
        }
    }

    /// Cuts two replicas off from each other, if they are linked; what is on its way is lost.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        let Some(link) = self.sites[a].link_to(b) else {
            return;
        };
        for site in [a, b] {
            self.sites[site].wires.remove(&link);
            self.give(site, Input::LinkDown { link });
        }
    }

    /// Delivers the next frame that is on its way from one replica to another, if there is any.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(link) = self.sites[from].link_to(to) else {
            return false;
        };
        let wire = self.sites[from].wires.get_mut(&link);
        let Some(bytes) = wire.and_then(|wire| wire.frames.pop_front()) else {
            return false;
        };
        self.give(to, Input::Frame { link, bytes });
        true
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for site in 0..SITES {
            if self.sites[site].replica.wake_at() <= self.now_ms {
                self.give(site, Input::Tick);
            }
        }
    }

    /// Links two replicas until both hold what either held, and then cuts them off again.
    pub(crate) fn sync(&mut self, a: usize, b: usize) {
        self.link(a, b);
        let both: Held = std::array::from_fn(|of| self.held(a)[of].max(self.held(b)[of]));
        // What is not the speaker's own is asked for at the next tick.
        let end = self.now_ms + 10_000;
        loop {
            while self.deliver(a, b) | self.deliver(b, a) {}
            if [a, b].into_iter().all(|site| self.held(site) == both) {
                break;
            }
            self.now_ms = self.sites[a]
                .replica
                .wake_at()
                .min(self.sites[b].replica.wake_at())
                .max(self.now_ms);
            assert!(
                self.now_ms < end,
                "{a} and {b} do not come to hold the same"
            );
            self.give(a, Input::Tick);
            self.give(b, Input::Tick);
        }
        self.cut(a, b);
    }

    /// Lets time pass until every document's state is compacted and stored.
    pub(crate) fn compact(&mut self, site: usize) {
        for _ in 0..100_000 {
            let wake = self.sites[site].replica.wake_at();
            if wake == u64::MAX {
                return;
            }
            self.now_ms = self.now_ms.max(wake);
            self.give(site, Input::Tick);
        }
        panic!("compaction does not end");
    }
}

/// Counts a batch, which must be its writer's next.
fn count(held: &mut Held, visible: &Visible) {
    let writer = usize::from(visible.origin.replica.0[0]) - 1;
    held[writer] += 1;
    assert_eq!(
        held[writer], visible.seq.0,
        "a batch of {writer} is missing"
    );
}

fn unwelcome(notice: &Notice) {
    panic!("{notice:?}");
}
