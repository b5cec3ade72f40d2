//! Three replicas in three datacenters, on links that are cut and come back.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::json;

use super::bed::{Bed, Outcome, namespace, origin, write};
use crate::effect::{Ack, Input, LinkId, Notice, Output, Reply, Request, RequestError};
use crate::message::Message;
use crate::record::Record;
use crate::repair_message::RepairMessage;
use crate::replica::Room;
use crate::{Batch, Datacenters, Intent, Lsn, Namespace, Origin, ReplicaId, Seq, Token};

pub(super) const DATACENTERS: [&str; 3] = ["a", "b", "c"];

pub(super) fn id(at: usize) -> ReplicaId {
    ReplicaId([u8::try_from(at + 1).unwrap(); 16])
}

/// So small that letting go takes many steps; `forgetful`: what is folded is not in the log any more.
pub(super) fn room(forgetful: bool) -> Room {
    let room = Room {
        fold_documents: 4,
        fold_after_ms: 200,
        fold_idle_ms: 50,
        checkpoint_records: 8,
        looked_at_documents: 5,
        ..Room::default()
    };
    if !forgetful {
        return room;
    }
    Room {
        recent_log_bytes_max: 0,
        log_bytes_kept: 0,
        log_bytes_max: 0,
        ..room
    }
}

pub(super) struct Trio {
    pub(super) beds: [Bed; 3],
    seed: u64,
    links: u64,
    /// The link of each to each.
    up: BTreeMap<(usize, usize), LinkId>,
    wires: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    /// Where each knows a namespace to be.
    known: [BTreeMap<Namespace, Option<Datacenters>>; 3],
    /// Comparisons and questions for roots by who asked whom, and their numbers.
    asked: BTreeMap<(usize, usize, u64), Namespace>,
    /// All batches that were ever in a log.
    batches: BTreeMap<(Namespace, Origin, Seq), Batch>,
    scanned: [Lsn; 3],
    /// The last number of each that was acknowledged.
    pub(super) written: BTreeMap<(Namespace, Origin), Seq>,
}

impl Trio {
    pub(super) fn new(room: Room, seed: u64) -> Self {
        let bed = |at: usize| {
            let number = u8::try_from(at + 1).unwrap();
            Bed::in_datacenter(number, DATACENTERS[at], room)
        };
        let mut trio = Self {
            beds: [bed(0), bed(1), bed(2)],
            seed,
            links: 0,
            up: BTreeMap::new(),
            wires: BTreeMap::new(),
            known: Default::default(),
            asked: BTreeMap::new(),
            batches: BTreeMap::new(),
            scanned: [Lsn(0); 3],
            written: BTreeMap::new(),
        };
        trio.link_all();
        trio
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below
    }

    pub(super) fn pick(&mut self, below: usize) -> usize {
        usize::try_from(self.draw(below as u64)).unwrap()
    }

    pub(super) fn link_all(&mut self) {
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            self.link(one, other);
        }
    }

    pub(super) fn link(&mut self, one: usize, other: usize) {
        if self.up.contains_key(&(one, other)) {
            return;
        }
        for (from, to) in [(one, other), (other, one)] {
            self.links += 1;
            let link = LinkId(self.links);
            self.up.insert((from, to), link);
            let peer = id(to);
            self.beds[from].give(Input::LinkUp { link, peer });
        }
        self.settle();
    }

    pub(super) fn cut(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(link) = self.up.remove(&(from, to)) {
                self.beds[from].give(Input::LinkDown { link });
            }
            self.wires.remove(&(from, to));
        }
        self.collect();
    }

    /// One is killed and comes back, and finds nobody linked.
    pub(super) fn crash(&mut self, at: usize) {
        self.collect();
        self.beds[at].restart();
        for other in 0..3 {
            self.up.remove(&(at, other));
            self.wires.remove(&(at, other));
            self.wires.remove(&(other, at));
            if let Some(link) = self.up.remove(&(other, at)) {
                self.beds[other].give(Input::LinkDown { link });
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        for from in 0..3 {
            let outputs = std::mem::take(&mut self.beds[from].outputs);
            let mut kept = Vec::new();
            for output in outputs {
                match output {
                    Output::Send { link, frame } => self.carry(from, link, frame),
                    Output::Notice(Notice::Placed {
                        namespace,
                        datacenters,
                        ..
                    }) => {
                        self.known[from].insert(namespace, datacenters);
                    }
                    Output::Notice(Notice::HistoryAhead { .. } | Notice::RepairRefused { .. })
                    | Output::Disconnect { .. } => panic!("{from}: {output:?}"),
                    Output::Reply { .. } => kept.push(output),
                    Output::Notice(_) | Output::Visible(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            self.beds[from].outputs = kept;
            self.look_at_log(from);
        }
    }

    fn carry(&mut self, from: usize, link: LinkId, frame: Bytes) {
        let to = (0..3).find(|to| self.up.get(&(from, *to)) == Some(&link));
        let Some(to) = to else { return };
        let message = Message::decode(&frame).unwrap();
        for namespace in self.shown_by(from, to, &message) {
            let known = self.known[from].get(&namespace);
            let known = known.and_then(Option::as_ref);
            let may = known.is_none_or(|known| known.contains(DATACENTERS[to]));
            assert!(may, "{from} says to {to} of {namespace}: {message:?}");
        }
        self.wires.entry((from, to)).or_default().push_back(frame);
    }

    /// The namespaces of which a message shows documents, batches or sums.
    fn shown_by(&mut self, from: usize, to: usize, message: &Message) -> Vec<Namespace> {
        let of = |batches: &[std::sync::Arc<Batch>]| {
            let namespaces = batches.iter().map(|batch| batch.namespace.clone());
            namespaces.collect()
        };
        match message {
            Message::Delta(batches) | Message::Backlog { batches, .. } => of(batches),
            Message::Part(part) => vec![part.namespace.clone()],
            Message::Given(given) => {
                let documents = given.documents.iter().flatten();
                documents.map(|(id, _)| id.namespace.clone()).collect()
            }
            Message::Repair(message) => self.shown_by_repair(from, to, message),
            _ => Vec::new(),
        }
    }

    fn shown_by_repair(
        &mut self,
        from: usize,
        to: usize,
        message: &RepairMessage,
    ) -> Vec<Namespace> {
        let asked = |one, other, number: &u64| self.asked.get(&(one, other, *number)).cloned();
        let either = |number| asked(from, to, number).or(asked(to, from, number));
        match message {
            RepairMessage::Compare {
                number,
                namespace,
                whole,
                ..
            } => {
                self.asked.insert((from, to, *number), namespace.clone());
                // That one has nothing, or says so, shows nothing.
                Vec::from_iter((!*whole).then(|| namespace.clone()))
            }
            RepairMessage::AskRoot {
                number,
                namespace,
                root,
                ..
            } => {
                self.asked.insert((from, to, *number), namespace.clone());
                Vec::from_iter(root.map(|_| namespace.clone()))
            }
            RepairMessage::Root { number, root } => {
                let shows = root.is_some_and(|root| root != (0, 0));
                Vec::from_iter(asked(to, from, number).filter(|_| shows))
            }
            RepairMessage::Cut { number, .. } | RepairMessage::Documents { number, .. } => {
                Vec::from_iter(asked(to, from, number))
            }
            RepairMessage::Differ { number, .. } => Vec::from_iter(either(number)),
            RepairMessage::Leaves { number, .. }
            | RepairMessage::Sums { number, .. }
            | RepairMessage::Heads { number, .. } => Vec::from_iter(asked(from, to, number)),
            RepairMessage::Taken { .. } | RepairMessage::End { .. } | RepairMessage::Behind(_) => {
                Vec::new()
            }
        }
    }

    /// No number ever stands for two batches.
    fn look_at_log(&mut self, at: usize) {
        let log = self.beds[at].store.log.iter();
        let new = log.filter(|record| record.lsn > self.scanned[at]);
        let mut last = self.scanned[at];
        for record in new {
            last = record.lsn;
            for batch in Record::batches(&record.bytes).unwrap() {
                let name = (batch.namespace.clone(), batch.origin, batch.seq);
                let before = self.batches.entry(name).or_insert_with(|| (*batch).clone());
                assert_eq!(*before, *batch, "one number, two batches");
            }
        }
        self.scanned[at] = last;
    }

    /// Delivers until nothing is under way.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            self.collect();
            self.wires.retain(|_, wire| !wire.is_empty());
            if self.wires.is_empty() {
                return;
            }
            let nth = self.pick(self.wires.len());
            let (from, to) = *self.wires.keys().nth(nth).unwrap();
            let frame = self.wires.get_mut(&(from, to)).unwrap().pop_front();
            if let (Some(bytes), Some(link)) = (frame, self.up.get(&(to, from)).copied()) {
                self.beds[to].give(Input::Frame { link, bytes });
            }
        }
        panic!("they never come to rest");
    }

    /// Time passes for all.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.beds[0].now_ms + ms;
        loop {
            let wake = self.beds.iter().map(|bed| bed.replica.wake_at()).min();
            let next = wake.unwrap_or(end).max(self.beds[0].now_ms + 1);
            for bed in &mut self.beds {
                bed.now_ms = next.min(end);
                bed.give(Input::Tick);
            }
            self.settle();
            if next >= end {
                return;
            }
        }
    }

    /// Writes, and notes what was acknowledged.
    pub(super) fn write(&mut self, at: usize, space: usize, key: &str) -> Option<Outcome> {
        let n = self.draw(1_000_000);
        let intent = Intent::Replace(json!({"n": n}));
        let request = Request::Write {
            namespace: namespace(space),
            writes: vec![write(key, intent)],
            idempotency: None,
            ack: Ack::Local,
        };
        let asked = self.beds[at].ask(request, &Token::default());
        let outcome = self.beds[at].answer(asked);
        if let Some(Ok(answer)) = &outcome {
            let own = origin(u8::try_from(at + 1).unwrap(), 1);
            let written = answer.token.positions(&namespace(space));
            let written = written.filter(|(tag, _)| *tag == own.tag());
            for (_, seq) in written.collect::<Vec<_>>() {
                self.written.insert((namespace(space), own), seq);
            }
        }
        self.settle();
        outcome
    }

    /// Places a namespace in the datacenters of some.
    pub(super) fn place(&mut self, at: usize, space: usize, in_all_of: &[usize]) {
        let names = in_all_of.iter().map(|at| DATACENTERS[*at]);
        let request = Request::Place {
            namespace: namespace(space),
            datacenters: Datacenters::new(names).ok(),
            force: true,
        };
        let asked = self.beds[at].ask(request, &Token::default());
        if let Some(outcome) = self.beds[at].answer(asked) {
            assert!(matches!(outcome.unwrap().reply, Reply::Placed { .. }));
        }
        self.settle();
    }

    pub(super) fn holds(&self, at: usize, space: usize) -> Vec<(Origin, Seq)> {
        let frontier = self.beds[at].replica.durable_frontier(&namespace(space));
        let positions = frontier.iter();
        positions.map(|(origin, seq)| (*origin, *seq)).collect()
    }

    /// Whether anything of a namespace is at one, in memory or in the store.
    pub(super) fn has_some(&self, at: usize, space: usize) -> bool {
        let of = namespace(space);
        let bed = &self.beds[at];
        let stored = bed.store.documents.keys().any(|id| id.namespace == of);
        stored || !self.holds(at, space).is_empty() || bed.replica.is_leaving(&of)
    }

    pub(super) fn listing(&mut self, at: usize, space: usize) -> Result<String, RequestError> {
        let request = Request::Scan {
            namespace: namespace(space),
            prefix: String::new(),
            after: None,
            limit: 1_000,
            values: true,
        };
        let answer = self.beds[at].request(request, &Token::default())?;
        let Reply::Page(page) = answer.reply else {
            panic!("a page was asked for");
        };
        self.settle();
        Ok(serde_json::to_string(&page).unwrap())
    }

    /// Those who are to hold a namespace hold the same, with all that was acknowledged, and the others nothing.
    pub(super) fn check(&mut self, space: usize, placed: &[usize]) {
        let first = placed[0];
        let expected = (
            self.holds(first, space),
            self.listing(first, space).unwrap(),
        );
        for ((of, origin), seq) in &self.written {
            let held = expected.0.iter().find(|(held, _)| held == origin);
            let held = held.map_or(Seq(0), |(_, seq)| *seq);
            assert!(*of != namespace(space) || held >= *seq, "{origin} lost");
        }
        for at in 0..3 {
            if placed.contains(&at) {
                assert!(!self.beds[at].replica.is_leaving(&namespace(space)));
                assert_eq!(self.holds(at, space), expected.0, "at {at}");
                assert_eq!(self.listing(at, space).unwrap(), expected.1, "at {at}");
            } else {
                assert!(!self.has_some(at, space), "{at} has some of n{space}");
                let refused = self.listing(at, space);
                assert!(matches!(refused, Err(RequestError::NotPlacedHere { .. })));
            }
        }
    }
}
