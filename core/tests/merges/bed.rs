//! Three replicas in one process: stores in memory, links that are there when a test says so, time that
//! passes when it must.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anabranch_core::persist::{
    Checkpoint, Commit, Continuity, Fetch, Fetched, LogRecord, Recovery, StoredDocument,
    StoredReceipt,
};
use anabranch_core::{
    Answer, Config, DocumentId, Incarnation, Input, Intent, Key, LinkId, Namespace, Notice, Now,
    Output, Replica, ReplicaId, Reply, Request, RequestError, RequestId, Room, Session, Version,
    Write, Written,
};
use bytes::Bytes;

use crate::reading::Shown;

pub(crate) const SITES: usize = 3;
const NAMESPACE: &str = "n";

/// What a store holds; it answers as a real one does, at once.
#[derive(Default)]
struct Store {
    log: Vec<LogRecord>,
    documents: BTreeMap<DocumentId, StoredDocument>,
    checkpoint: Option<Checkpoint>,
    receipts: Vec<StoredReceipt>,
}

impl Store {
    fn commit(&mut self, commit: Commit) {
        self.log.extend(commit.log);
        self.documents.extend(commit.documents);
        self.receipts.extend(commit.receipts);
        self.checkpoint = commit.checkpoint.or(self.checkpoint.take());
    }

    fn fetch(&self, fetch: Fetch) -> Fetched {
        match fetch {
            Fetch::Document(id) => Fetched::Document(self.documents.get(&id).cloned()),
            Fetch::Page {
                namespace,
                prefix,
                after,
                limit,
            } => {
                let page = self.documents.iter().filter(|(id, _)| {
                    id.namespace == namespace
                        && id.key.as_str().starts_with(&prefix)
                        && after.as_ref().is_none_or(|after| id.key > *after)
                });
                let page = page.map(|(id, stored)| (id.key.clone(), stored.clone()));
                Fetched::Page(page.take(limit).collect())
            }
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
                let records = self.log.iter().skip_while(|record| record.lsn < from);
                let records = records.take_while(|record| {
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
    /// The link that is up, and the frames on their way out.
    link: Option<LinkId>,
    frames: VecDeque<Bytes>,
    replies: Vec<Result<Answer, RequestError>>,
    /// The writes that it holds: whose, and which of that replica's.
    writes: BTreeSet<(usize, u64)>,
}

pub(crate) struct Bed {
    sites: Vec<Site>,
    now_ms: u64,
    counter: u64,
    room: Room,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let room = Room {
            checkpoint_records: 1,
            ..Room::default()
        };
        let mut bed = Self {
            sites: Vec::new(),
            now_ms: 1_000,
            counter: 0,
            room,
        };
        for site in 0..SITES {
            let store = Store::default();
            let replica = bed.open(site, &store, Continuity::New);
            let (frames, replies, writes) = (VecDeque::new(), Vec::new(), BTreeSet::new());
            bed.sites.push(Site {
                replica,
                store,
                link: None,
                frames,
                replies,
                writes,
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
        };
        let (mut replica, from) = Replica::recover(config, recovery).expect("its own checkpoint");
        let records = store.log.iter().filter(|record| record.lsn >= from);
        replica
            .replay(records.cloned().collect())
            .expect("its own log");
        replica.begin(from);
        replica
    }

    /// The process ends and begins again, from what its store holds.
    pub(crate) fn restart(&mut self, site: usize) {
        self.sites[site].replica = self.open(site, &self.sites[site].store, Continuity::Proven);
    }

    fn give(&mut self, site: usize, input: Input) {
        let now = Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        };
        let Site {
            replica,
            store,
            link: up,
            frames,
            replies,
            ..
        } = &mut self.sites[site];
        replica.handle(now, input);
        while let Some(output) = replica.poll() {
            match output {
                Output::Persist(commit) => {
                    let through = commit.ticket;
                    store.commit(commit);
                    replica.handle(now, Input::Persisted { through });
                }
                Output::Fetch { id, fetch } => {
                    let result = Ok(store.fetch(fetch));
                    replica.handle(now, Input::Fetched { id, result });
                }
                Output::Send { link, frame } => {
                    let bytes = frame.len();
                    if *up == Some(link) {
                        frames.push_back(frame);
                    }
                    replica.handle(now, Input::Sent { link, bytes });
                }
                Output::Reply { reply, .. } => replies.push(reply),
                Output::Disconnect { reason, .. } => panic!("disconnected: {reason}"),
                Output::Notice(notice) => unwelcome(&notice),
                Output::Visible(_) => {}
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
        let written = documents.pop().expect("one write, one answer");
        if written.changed {
            self.sites[site].writes.insert((site, self.counter));
        }
        Ok(written)
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

    /// Links two replicas until both hold what either held.
    pub(crate) fn sync(&mut self, a: usize, b: usize) {
        self.counter += 1;
        let link = LinkId(self.counter);
        for (site, other) in [(a, b), (b, a)] {
            let peer = self.sites[other].replica.origin().replica;
            self.sites[site].link = Some(link);
            self.give(site, Input::LinkUp { link, peer });
        }
        let both = &self.sites[a].writes | &self.sites[b].writes;
        let holds_both = |site: &Site| site.store.log.len() == both.len();
        // What is not the speaker's own is asked for at the next tick.
        let end = self.now_ms + 10_000;
        loop {
            while self.carry(a, b, link) | self.carry(b, a, link) {}
            if [a, b].into_iter().all(|site| holds_both(&self.sites[site])) {
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
        for site in [a, b] {
            self.sites[site].link = None;
            self.sites[site].frames.clear();
            self.give(site, Input::LinkDown { link });
            self.sites[site].writes.clone_from(&both);
        }
    }

    fn carry(&mut self, from: usize, to: usize, link: LinkId) -> bool {
        let frames = std::mem::take(&mut self.sites[from].frames);
        let any = !frames.is_empty();
        for bytes in frames {
            self.give(to, Input::Frame { link, bytes });
        }
        any
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

fn unwelcome(notice: &Notice) {
    panic!("{notice:?}");
}
