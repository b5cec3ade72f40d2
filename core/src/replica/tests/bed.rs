//! A replica on a store in memory, whose commits and fetches the test may hold up.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::effect::{
    Ack, Answer, FetchId, IdempotencyKey, Input, LinkId, Now, Output, Reply, Request, RequestError,
    RequestId, Session, Visible, Write, Written,
};
use crate::message::{Hello, Message, PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use crate::persist::{
    Checkpoint, Commit, Continuity, Fetch, Fetched, Fold, LogRecord, Place, ReceiptKey, Recovery,
    Retention, StoreError, StoredDocument, StoredReceipt, Ticket,
};
use crate::replica::{Config, Replica, Room};
use crate::{
    Batch, DocumentId, DocumentWrite, Edit, Incarnation, Intent, Key, Lsn, Namespace, Origin, Path,
    ReplicaId, Seq, Token,
};

pub(super) const LINK: LinkId = LinkId(1);
pub(super) const PEER: ReplicaId = ReplicaId([2; 16]);
pub(super) const WAIT_MS: u64 = 1_000;

pub(super) type Outcome = Result<Answer, RequestError>;

#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) log: Vec<LogRecord>,
    pub(super) documents: BTreeMap<DocumentId, StoredDocument>,
    pub(super) receipts: BTreeMap<ReceiptKey, StoredReceipt>,
    pub(super) retention: Option<Retention>,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl MemoryStore {
    fn take(&mut self, commit: Commit) {
        self.log.extend(commit.log);
    }

    fn fold(&mut self, fold: Fold) {
        if let Some(repair) = fold.repair {
            self.documents.retain(|id, _| !repair.range.contains(id));
            self.documents.extend(repair.documents);
        }
        for folded in fold.documents {
            let stored = self.documents.entry(folded.id).or_default();
            stored.changes.extend(folded.changes);
            stored.present = folded.present;
            if fold.compact {
                *stored = crate::compact(stored).unwrap();
            }
        }
        for receipt in fold.receipts {
            self.receipts.insert(receipt.key, receipt);
        }
        self.retention = fold.retain_receipts.or(self.retention);
        self.checkpoint = fold.checkpoint.or(self.checkpoint.take());
        if let Some(first) = fold.release_before {
            self.log.retain(|record| record.lsn >= first);
        }
    }

    fn answer(&self, fetch: &Fetch) -> Fetched {
        match fetch {
            Fetch::Document(id) => Fetched::Document(self.documents.get(id).cloned()),
            Fetch::Receipts { .. } => Fetched::Receipts {
                receipts: self.receipts.values().cloned().collect(),
                next: None,
            },
            Fetch::Receipt(key) => Fetched::Receipt(self.receipts.get(key).cloned()),
            Fetch::Log { from, bytes_max } => {
                let mut bytes = 0;
                let records = self.log.iter().filter(|record| record.lsn >= *from);
                let records = records.take_while(|record| {
                    let fits = bytes == 0 || bytes + record.bytes.len() <= *bytes_max;
                    bytes += record.bytes.len();
                    fits
                });
                Fetched::Log(records.cloned().collect())
            }
            Fetch::Range { range, .. } => {
                let documents = self.documents.iter();
                let documents = documents.filter(|(id, _)| range.contains(id));
                Fetched::Range {
                    documents: documents.map(|(id, d)| (id.clone(), d.clone())).collect(),
                    more: false,
                }
            }
            Fetch::Sums { from, limit } => {
                let mut documents = self.documents.range((from.clone(), Bound::Unbounded));
                let page = documents.by_ref().take(*limit);
                let page = page.map(|(id, stored)| (id.clone(), stored.clone()));
                Fetched::Sums {
                    documents: page.collect(),
                    more: documents.next().is_some(),
                }
            }
            Fetch::Picked {
                namespace, places, ..
            } => {
                let wanted = |id: &&DocumentId| {
                    let mut places = places.iter();
                    id.namespace == *namespace
                        && places.all(|places| places.contains(&Place::of(id)))
                };
                let ids = self.documents.keys().filter(wanted);
                let picked = ids.map(|id| (id.key.clone(), self.documents[id].clone()));
                Fetched::Picked {
                    documents: picked.collect(),
                    more_after: None,
                }
            }
            Fetch::Page {
                namespace, values, ..
            } => {
                let of = |id: &&DocumentId| id.namespace == *namespace;
                let ids = self.documents.keys().filter(of);
                // As the real store does where only names are asked for.
                let shown = |stored: &StoredDocument| match stored.present {
                    Some(_) if !values => StoredDocument {
                        present: stored.present,
                        ..StoredDocument::default()
                    },
                    _ => stored.clone(),
                };
                let page = ids.map(|id| (id.key.clone(), shown(&self.documents[id])));
                Fetched::Page {
                    documents: page.collect(),
                    more: false,
                }
            }
        }
    }
}

pub(super) struct Bed {
    pub(super) replica: Replica,
    pub(super) now_ms: u64,
    pub(super) outputs: Vec<Output>,
    pub(super) store: MemoryStore,
    /// Whether commits wait for [`Self::sync`].
    pub(super) hold_commits: bool,
    pub(super) commits: VecDeque<Commit>,
    /// Whether folds wait for [`Self::fold`].
    pub(super) hold_folds: bool,
    pub(super) folds: VecDeque<Fold>,
    /// Whether fetches wait for [`Self::fetch`].
    pub(super) hold_fetches: bool,
    pub(super) fetches: VecDeque<(FetchId, Fetch, Fetched)>,
    /// Whether the link takes nothing until [`Self::link_takes`].
    pub(super) hold_link: bool,
    pub(super) on_link: VecDeque<(LinkId, usize)>,
    requests: u64,
    who: Who,
}

/// Which replica it is.
#[derive(Clone, Copy)]
struct Who {
    replica: u8,
    datacenter: &'static str,
    protocol: u64,
    room: Room,
}

fn begin(who: Who, store: &MemoryStore, incarnation: Incarnation, log_end: Option<Lsn>) -> Replica {
    let replica = ReplicaId([who.replica; 16]);
    let mut config = Config::new(replica, "a", who.datacenter, Incarnation(9));
    config.room = who.room;
    config.protocol = who.protocol;
    let recovery = Recovery {
        incarnation,
        continuity: match incarnation {
            Incarnation(1) => Continuity::Proven,
            _ => Continuity::Broken,
        },
        checkpoint: store.checkpoint.clone(),
        log_end,
        log_first: store.log.first().map(|record| record.lsn),
    };
    let (mut replica, from) = Replica::recover(config, recovery).unwrap();
    let tail = store.log.iter().filter(|record| record.lsn >= from);
    replica.replay(tail.cloned().collect()).unwrap();
    replica.begin(log_end);
    replica
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with_room(Room::default())
    }

    pub(super) fn with_room(room: Room) -> Self {
        Self::of(1, PROTOCOL_NEWEST, room)
    }

    pub(super) fn of(replica: u8, protocol: u64, room: Room) -> Self {
        Self::being(Who {
            replica,
            datacenter: "here",
            protocol,
            room,
        })
    }

    pub(super) fn in_datacenter(replica: u8, datacenter: &'static str, room: Room) -> Self {
        Self::being(Who {
            replica,
            datacenter,
            protocol: PROTOCOL_NEWEST,
            room,
        })
    }

    fn being(who: Who) -> Self {
        let store = MemoryStore::default();
        Self {
            replica: begin(who, &store, Incarnation(1), None),
            now_ms: 1,
            outputs: Vec::new(),
            store,
            hold_commits: false,
            commits: VecDeque::new(),
            hold_folds: false,
            folds: VecDeque::new(),
            hold_fetches: false,
            fetches: VecDeque::new(),
            hold_link: false,
            on_link: VecDeque::new(),
            requests: 0,
            who,
        }
    }

    /// The process is killed and comes back; what was not synced is gone.
    pub(super) fn restart(&mut self) {
        self.restart_as(Incarnation(1));
    }

    /// The same, and the store has found that something is lost.
    pub(super) fn restart_as(&mut self, incarnation: Incarnation) {
        self.restart_anyhow(incarnation, self.store.log.last().map(|record| record.lsn));
    }

    /// The same, and the store says that its log ends there.
    pub(super) fn restart_with_end(&mut self, log_end: Lsn) {
        self.restart_anyhow(Incarnation(1), Some(log_end));
    }

    fn restart_anyhow(&mut self, incarnation: Incarnation, log_end: Option<Lsn>) {
        self.commits.clear();
        self.folds.clear();
        self.fetches.clear();
        self.on_link.clear();
        self.outputs.clear();
        self.replica = begin(self.who, &self.store, incarnation, log_end);
    }

    /// The same, and the peer is there again.
    pub(super) fn restart_and_meet(&mut self) {
        self.restart();
        self.meet([]);
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        }
    }

    pub(super) fn give(&mut self, input: Input) {
        self.replica.handle(self.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(commit) => {
                    self.commits.push_back(commit);
                    if !self.hold_commits {
                        self.sync();
                    }
                }
                Output::Fold(fold) => {
                    self.folds.push_back(fold);
                    if !self.hold_folds {
                        self.fold();
                    }
                }
                Output::Fetch { id, fetch } => {
                    // What the store holds when it is asked, however late the answer.
                    let fetched = self.store.answer(&fetch);
                    self.fetches.push_back((id, fetch, fetched));
                    if !self.hold_fetches {
                        self.fetch();
                    }
                }
                Output::Send { link, ref frame } => {
                    let bytes = frame.len();
                    self.outputs.push(output);
                    self.on_link.push_back((link, bytes));
                    if !self.hold_link {
                        self.link_takes();
                    }
                }
                output => self.outputs.push(output),
            }
        }
    }

    /// The link takes what it was given.
    pub(super) fn link_takes(&mut self) {
        while let Some((link, bytes)) = self.on_link.pop_front() {
            let now = self.now();
            self.replica.handle(now, Input::Sent { link, bytes });
        }
    }

    /// The same, and what comes of it is done.
    pub(super) fn free_link(&mut self) {
        self.link_takes();
        self.drain();
    }

    /// What was handed out becomes durable.
    pub(super) fn sync(&mut self) {
        while self.sync_one() {}
    }

    /// The oldest commit that was handed out becomes durable, if there is one.
    pub(super) fn sync_one(&mut self) -> bool {
        let Some(commit) = self.commits.pop_front() else {
            return false;
        };
        let through = commit.ticket;
        self.store.take(commit);
        self.give(Input::Persisted { through });
        true
    }

    /// The oldest commit that was handed out is durable, and the news of that is still on its way.
    pub(super) fn sync_untold(&mut self) -> Input {
        let commit = self.commits.pop_front().expect("a commit");
        let through = commit.ticket;
        self.store.take(commit);
        Input::Persisted { through }
    }

    /// What was handed out behind the log is done.
    pub(super) fn fold(&mut self) {
        while self.fold_one() {}
    }

    /// The fold that was handed out is done, if there is one.
    pub(super) fn fold_one(&mut self) -> bool {
        let Some(fold) = self.folds.pop_front() else {
            return false;
        };
        let id = fold.id;
        self.store.fold(fold);
        let result = Ok(());
        self.give(Input::Folded { id, result });
        true
    }

    /// The store's disk has no room for anything that waits.
    pub(super) fn is_full(&mut self) {
        let commits = std::mem::take(&mut self.commits);
        let (Some(first), Some(last)) = (commits.front(), commits.back()) else {
            return;
        };
        let (from, through) = (first.ticket, last.ticket);
        let error = StoreError::Full("no room".to_owned());
        self.give(Input::PersistFailed {
            from,
            through,
            error,
        });
    }

    /// The store fails.
    pub(super) fn break_store(&mut self) {
        self.commits.clear();
        self.give(Input::PersistFailed {
            from: Ticket(1),
            through: Ticket(u64::MAX),
            error: StoreError::Failed("gone".to_owned()),
        });
    }

    /// The fetch that waits longest is answered.
    pub(super) fn fetch_one(&mut self) {
        if let Some((id, _, fetched)) = self.fetches.pop_front() {
            let result = Ok(fetched);
            self.give(Input::Fetched { id, result });
        }
    }

    /// Fetches that wait are answered.
    pub(super) fn fetch(&mut self) {
        while let Some((id, _, fetched)) = self.fetches.pop_front() {
            let result = Ok(fetched);
            self.give(Input::Fetched { id, result });
        }
    }

    pub(super) fn tell(&mut self, message: &Message) {
        let bytes = message.encode();
        self.give(Input::Frame { link: LINK, bytes });
    }

    /// A batch comes from the peer.
    pub(super) fn hear(&mut self, batch: Batch) {
        self.tell(&Message::Delta(vec![Arc::new(batch)]));
    }

    /// Links the peer, which states these positions in one namespace each, and speaks protocol 1.
    pub(super) fn meet(&mut self, positions: impl IntoIterator<Item = (Namespace, Origin, Seq)>) {
        self.meet_speaking(PROTOCOL_OLDEST, positions);
    }

    /// The same, and the peer speaks the newest protocol and holds nothing.
    pub(super) fn meet_newest(&mut self) {
        self.meet_speaking(PROTOCOL_NEWEST, []);
    }

    fn meet_speaking(
        &mut self,
        newest: u64,
        positions: impl IntoIterator<Item = (Namespace, Origin, Seq)>,
    ) {
        self.give(Input::LinkUp {
            link: LINK,
            peer: PEER,
        });
        self.tell(&Message::Hello(Hello {
            oldest: PROTOCOL_OLDEST,
            name: "b".to_owned(),
            datacenter: "there".to_owned(),
            incarnation: Incarnation(1),
            heard: true,
        }));
        if newest > PROTOCOL_OLDEST {
            self.tell(&Message::Speaks { newest });
        }
        let sections = positions
            .into_iter()
            .map(|(namespace, origin, seq)| (namespace, vec![(origin, seq)]));
        self.tell(&Message::Frontier {
            whole: true,
            sections: sections.collect(),
        });
    }

    /// Asks, and gives the name by which the answer is known.
    pub(super) fn ask(&mut self, request: Request, token: &Token) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let session = Session {
            token: token.clone(),
            wait_ms: WAIT_MS,
        };
        self.give(Input::Request {
            id,
            request,
            session,
        });
        id
    }

    /// The answer, if it has been given.
    pub(super) fn answer(&mut self, wanted: RequestId) -> Option<Outcome> {
        let mut answers = self.outputs.iter().filter_map(|output| match output {
            Output::Reply { id, reply } if *id == wanted => Some(reply.clone()),
            _ => None,
        });
        let answer = answers.next();
        assert_eq!(answers.next(), None, "one answer to each request");
        answer
    }

    /// Asks and is answered at once.
    pub(super) fn request(&mut self, request: Request, token: &Token) -> Outcome {
        let id = self.ask(request, token);
        self.answer(id).expect("an answer at once")
    }

    pub(super) fn read(&mut self, key: &str) -> Option<Value> {
        let answer = self.request(read(key), &Token::default()).unwrap();
        match answer.reply {
            Reply::Document { snapshot, .. } => snapshot.map(|snapshot| snapshot.value),
            other => panic!("asked for a document, got {other:?}"),
        }
    }

    pub(super) fn write(&mut self, namespace: &str) -> Outcome {
        let intent = Intent::Replace(json!({"n": self.now_ms}));
        let request = Request::Write {
            namespace: Namespace::new(namespace).unwrap(),
            writes: vec![write("k", intent)],
            idempotency: None,
            ack: Ack::Local,
        };
        let outcome = self.request(request, &Token::default());
        self.outputs.clear();
        outcome
    }

    pub(super) fn run_until(&mut self, end_ms: u64) {
        while self.replica.wake_at() <= end_ms {
            self.now_ms = self.now_ms.max(self.replica.wake_at());
            self.give(Input::Tick);
            assert!(self.replica.wake_at() > self.now_ms, "it never rests");
        }
        self.now_ms = end_ms;
    }

    pub(super) fn messages(&mut self) -> Vec<Message> {
        let frames = self.outputs.drain(..).filter_map(|output| match output {
            Output::Send { frame, .. } => Some(Message::decode(&frame).unwrap()),
            _ => None,
        });
        frames.collect()
    }

    /// What has become visible so far: which of whose batches, and the keys of each.
    pub(super) fn visible(&self) -> Vec<(u8, u64, Vec<String>)> {
        let visible = self.outputs.iter().filter_map(|output| match output {
            Output::Visible(visible) => Some(seen(visible)),
            _ => None,
        });
        visible.collect()
    }

    /// The same, as a feed from the beginning tells it.
    pub(super) fn feed(&mut self) -> Vec<(u8, u64, Vec<String>)> {
        let request = Request::Changes {
            after: Lsn(0),
            namespace: None,
        };
        let answer = self.request(request, &Token::default());
        match answer.unwrap().reply {
            Reply::Changes { visible, .. } => visible.iter().map(seen).collect(),
            other => panic!("asked for changes, got {other:?}"),
        }
    }
}

fn seen(visible: &Visible) -> (u8, u64, Vec<String>) {
    let keys = visible.documents.iter().map(|id| id.key.to_string());
    (visible.origin.replica.0[0], visible.seq.0, keys.collect())
}

pub(in crate::replica) fn origin(replica: u8, incarnation: u64) -> Origin {
    Origin {
        replica: ReplicaId([replica; 16]),
        incarnation: Incarnation(incarnation),
    }
}

pub(in crate::replica) fn namespace(index: usize) -> Namespace {
    Namespace::new(&format!("n{index}")).unwrap()
}

/// Changes to the document `k`, without causes.
pub(super) fn batch(origin: Origin, seq: u64, changes: Vec<Bytes>) -> Batch {
    Batch {
        namespace: namespace(0),
        origin,
        seq: Seq(seq),
        time_ms: 0,
        causes: Vec::new(),
        writes: vec![DocumentWrite {
            key: Key::new("k").unwrap(),
            changes,
        }],
        receipt: None,
    }
}

pub(super) fn write(key: &str, intent: Intent) -> Write {
    Write {
        key: Key::new(key).unwrap(),
        intent,
        guard: None,
        base: None,
    }
}

pub(super) fn increment(key: &str, path: &str) -> Write {
    let path = Path::parse(path).unwrap();
    write(key, Intent::Edits(vec![Edit::Increment { path, by: 1 }]))
}

pub(super) fn writing(writes: Vec<Write>) -> Request {
    Request::Write {
        namespace: namespace(0),
        writes,
        idempotency: None,
        ack: Ack::Local,
    }
}

pub(super) fn writing_once(writes: Vec<Write>, key: &str) -> Request {
    Request::Write {
        namespace: namespace(0),
        writes,
        idempotency: Some(IdempotencyKey::new(key).unwrap()),
        ack: Ack::Local,
    }
}

pub(super) fn read(key: &str) -> Request {
    Request::Read {
        document: DocumentId::new("n0", key).unwrap(),
        at: None,
        conflicts: false,
    }
}

pub(super) fn written(outcome: &Outcome) -> (&[Written], bool) {
    match outcome {
        Ok(Answer {
            reply:
                Reply::Written {
                    documents,
                    repeated,
                    ..
                },
            ..
        }) => (documents, *repeated),
        other => panic!("asked for a write, got {other:?}"),
    }
}
