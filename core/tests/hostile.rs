//! What a peer sends is not believed: whatever it is, nothing panics and little memory is taken for it.
//!
//! Frames that two replicas really sent, changed at random, go to a replica like any others: through every decoder (hello, frontiers,
//! batches, parts, compression, documents given) and into what is done with them. Every byte that is allocated is counted.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};

use anabranch_core::measure::decompress;
use anabranch_core::persist::{
    Continuity, Fetch, Fetched, Fold, LogRecord, Place, Recovery, StoredDocument,
};
use anabranch_core::{
    Ack, Config, DocumentId, IdempotencyKey, Incarnation, Input, Intent, Key, LinkId, Namespace,
    Now, Output, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Replica, ReplicaId, Request, RequestId, Room,
    Session, Token, Write, limits,
};
use bytes::Bytes;
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const CYCLES: usize = 100_000;
/// A replica starts anew after so many, so that what it has taken in does not grow without end.
const CYCLES_PER_REPLICA: usize = 400;
/// What one frame may take, for as long as it is looked at. The frames are some 10 KB; a compressed one may become 255 times that.
const MEMORY_BYTES_MAX: usize = 16 << 20;
/// What a frame of the largest size may take, made of as many items as there may be.
const LARGEST_MEMORY_BYTES_MAX: usize = 64 << 20;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }
}

/// A replica on a disk in memory, which its peer can talk to.
struct Host {
    replica: Replica,
    now_ms: u64,
    links: u64,
    peer: ReplicaId,
    up: bool,
    sent: VecDeque<Bytes>,
    log: Vec<LogRecord>,
    documents: BTreeMap<DocumentId, StoredDocument>,
    written: u64,
    token: Token,
}

impl Host {
    fn new(id: u8, peer: u8) -> Self {
        Self::speaking(PROTOCOL_NEWEST, false, id, peer)
    }

    /// `forgetful`: its log keeps nothing that is folded.
    fn speaking(protocol: u64, forgetful: bool, id: u8, peer: u8) -> Self {
        let mut config = Config::new(ReplicaId([id; 16]), "a", "here", Incarnation(9));
        config.protocol = protocol;
        config.room = Room {
            part_bytes: 700,
            partial_bytes_max: 100_000,
            recent_log_bytes_max: 20_000,
            ..Room::default()
        };
        if forgetful {
            config.room = Room {
                recent_log_bytes_max: 0,
                log_bytes_kept: 0,
                log_bytes_max: 0,
                fold_idle_ms: 10,
                fold_after_ms: 20,
                checkpoint_records: 1,
                ..config.room
            };
        }
        let recovery = Recovery {
            incarnation: Incarnation(1),
            continuity: Continuity::Proven,
            checkpoint: None,
            log_end: None,
            log_first: None,
        };
        let (mut replica, _) = Replica::recover(config, recovery).unwrap();
        replica.begin(None);
        Self {
            replica,
            now_ms: 1,
            links: 0,
            peer: ReplicaId([peer; 16]),
            up: false,
            sent: VecDeque::new(),
            log: Vec::new(),
            documents: BTreeMap::new(),
            written: 0,
            token: Token::default(),
        }
    }

    fn give(&mut self, input: Input) {
        let now = Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        };
        self.replica.handle(now, input);
        while let Some(output) = self.replica.poll() {
            let answer = match output {
                Output::Persist(commit) => {
                    self.log.extend(commit.log);
                    let through = commit.ticket;
                    Input::Persisted { through }
                }
                Output::Fold(fold) => Input::Folded {
                    id: fold.id,
                    result: Ok(self.fold(fold)),
                },
                Output::Fetch { id, fetch } => Input::Fetched {
                    id,
                    result: Ok(self.fetched(&fetch)),
                },
                Output::Send { link, frame } => {
                    let bytes = frame.len();
                    self.sent.push_back(frame);
                    Input::Sent { link, bytes }
                }
                Output::Reply { reply, .. } => {
                    self.token = reply.unwrap().token;
                    continue;
                }
                Output::Disconnect { .. } => {
                    self.up = false;
                    continue;
                }
                _ => continue,
            };
            self.replica.handle(now, answer);
        }
    }

    fn fold(&mut self, fold: Fold) {
        for folded in fold.documents {
            let stored = self.documents.entry(folded.id).or_default();
            stored.changes.extend(folded.changes);
            stored.present = folded.present;
        }
        if let Some(first) = fold.release_before {
            self.log.retain(|record| record.lsn >= first);
        }
    }

    fn fetched(&self, fetch: &Fetch) -> Fetched {
        let pairs = |wanted: &dyn Fn(&DocumentId) -> bool| -> Vec<_> {
            let wanted = self.documents.iter().filter(|(id, _)| wanted(id));
            wanted.map(|(id, d)| (id.clone(), d.clone())).collect()
        };
        match fetch {
            Fetch::Log { from, .. } => {
                let records = self.log.iter();
                let records = records.filter(|record| record.lsn >= *from);
                Fetched::Log(records.cloned().collect())
            }
            Fetch::Receipt(_) => Fetched::Receipt(None),
            Fetch::Receipts { .. } => Fetched::Receipts {
                receipts: Vec::new(),
                next: None,
            },
            Fetch::Document(id) => Fetched::Document(self.documents.get(id).cloned()),
            Fetch::Range { range, .. } => Fetched::Range {
                documents: pairs(&|id| range.contains(id)),
                more: false,
            },
            Fetch::Sums { .. } => Fetched::Sums {
                documents: pairs(&|_| true),
                more: false,
            },
            Fetch::Picked {
                namespace, places, ..
            } => {
                let placed = |id: &DocumentId| match places {
                    Some(places) => places.contains(&Place::of(id)),
                    None => true,
                };
                let picked = pairs(&|id| id.namespace == *namespace && placed(id));
                Fetched::Picked {
                    documents: picked.into_iter().map(|(id, d)| (id.key, d)).collect(),
                    more_after: None,
                }
            }
            Fetch::Page { namespace, .. } => Fetched::Page {
                documents: pairs(&|id| id.namespace == *namespace)
                    .into_iter()
                    .map(|(id, d)| (id.key, d))
                    .collect(),
                more: false,
            },
        }
    }

    fn hear(&mut self, bytes: Bytes) {
        self.meet();
        let link = LinkId(self.links);
        self.give(Input::Frame { link, bytes });
    }

    fn meet(&mut self) {
        if !self.up {
            self.up = true;
            self.links += 1;
            let (link, peer) = (LinkId(self.links), self.peer);
            self.give(Input::LinkUp { link, peer });
        }
    }

    fn part(&mut self) {
        if self.up {
            self.up = false;
            let link = LinkId(self.links);
            self.give(Input::LinkDown { link });
        }
        self.sent.clear();
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.give(Input::Tick);
    }

    fn write(&mut self, key: &str, value: Value) {
        let request = Request::Write {
            namespace: Namespace::new("carts").unwrap(),
            writes: vec![Write {
                key: Key::new(key).unwrap(),
                intent: Intent::Replace(value),
                guard: None,
                base: None,
            }],
            idempotency: Some(IdempotencyKey::new(&self.written.to_string()).unwrap()),
            ack: Ack::Local,
        };
        self.written += 1;
        self.give(Input::Request {
            id: RequestId(1),
            request,
            session: Session::default(),
        });
    }
}

/// What two replicas say to each other. Those that are forgetful lose each other for a while, and repair.
fn conversation(random: &mut Random, protocol: u64, forgetful: bool) -> Vec<Bytes> {
    let mut hosts =
        [(1, 2), (2, 1)].map(|(id, peer)| Host::speaking(protocol, forgetful, id, peer));
    let mut said = Vec::new();
    for round in 0..12_u64 {
        let apart = forgetful && round % 4 == 2;
        for (index, host) in hosts.iter_mut().enumerate() {
            let noise: Vec<u64> = (0..200 * (round % 2))
                .map(|_| random.bits() >> 20)
                .collect();
            let value = json!({"n": round, "noise": noise});
            host.write(&format!("k{}", round % 3), value);
            if apart {
                host.part();
                for key in 0..20 {
                    host.write(&format!("{index} {round} {key}"), json!({"n": key}));
                }
            } else {
                host.meet();
            }
        }
        for _ in 0..40 {
            for from in 0..2 {
                while let Some(frame) = hosts[from].sent.pop_front() {
                    said.push(frame.clone());
                    hosts[1 - from].hear(frame);
                }
            }
            for host in &mut hosts {
                host.pass(if forgetful { 100 } else { 0 });
            }
        }
        for host in &mut hosts {
            host.pass(4_000);
        }
    }
    said
}

fn corpus(random: &mut Random) -> Vec<Bytes> {
    let mut said: Vec<Bytes> = (PROTOCOL_OLDEST..=PROTOCOL_NEWEST)
        .flat_map(|protocol| conversation(random, protocol, false))
        .collect();
    said.extend(conversation(random, PROTOCOL_NEWEST, true));
    // Of what is compressed a change at random breaks the compression alone.
    said.extend(said.iter().map(decompress).collect::<Vec<_>>());
    // What is compressed otherwise, as a speaker may send it, too.
    let plain: Vec<Bytes> = said.iter().filter(|frame| frame[0] == 3).cloned().collect();
    for frame in plain {
        let packet = &frame[1..];
        said.push(Bytes::from([&[21, 1], packet].concat()));
        // Half of it, and the whole.
        for part_bytes in [packet.len().div_ceil(2), packet.len()] {
            let mut part = [&[22, 1, 0, 5][..], b"carts", &packet[2..26], &[1]].concat();
            part.extend(number(packet.len()));
            part.extend(number(part_bytes));
            part.push(0);
            part.extend_from_slice(&packet[..part_bytes]);
            said.push(part.into());
        }
    }
    // What takes damage, or a loss, to be said.
    said.push(Bytes::from_static(&[5, 1, 1, 1, b'n', 1, b'k', 0]));
    said.push(Bytes::from_static(&[
        6, 1, 0, 1, 2, 1, b'n', 1, b'k', 1, 9, 1, 2, 7, 7, 1, 1, b'n', 1, b'l', 0, 0, 2,
    ]));
    said.push(Bytes::from([&[4, 1, 1, b'n'][..], &[7; 24], &[1]].concat()));
    said.push(Bytes::from_static(&[25]));
    // What only some comparisons take.
    said.push(Bytes::from_static(&[
        13, 1, 1, 1, b'k', 1, 1, 2, 3, 4, 5, 6, 7, 8,
    ]));
    said.push(Bytes::from_static(&[14, 1, 0]));
    for number in 1..4 {
        let two = [9, number, 2, 0, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8];
        said.push(Bytes::copy_from_slice(&two));
    }
    said.push(Bytes::from(
        [&[26, 1, 1, b'n', 1][..], &[7; 24], &[1]].concat(),
    ));
    for datacenter in [b"here", b"afar"] {
        let setting = [&[1, 5][..], b"carts", &[3], &[7; 16], &[1, 4], datacenter].concat();
        said.push(Bytes::from([&[27][..], &setting, &[0]].concat()));
        said.push(Bytes::from([&[27][..], &setting, &[1], &[7; 16]].concat()));
        let asked = [&[28][..], &setting, &[1], &[7; 24], &[1]];
        said.push(Bytes::from(asked.concat()));
    }
    said.push(Bytes::from_static(&[29, 1]));
    said.sort_unstable();
    said.dedup();
    for kind in (1..=17).chain(20..=29) {
        assert!(
            said.iter().any(|frame| frame[0] == kind),
            "no frame of kind {kind}"
        );
    }
    said
}

const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 20, 22, 3];

fn changed(random: &mut Random, corpus: &[Bytes]) -> Bytes {
    let mut frame = match random.below(10) {
        0 => (0..random.below(300)).map(|_| random.byte()).collect(),
        1 => {
            let mut bomb = vec![20, random.byte(), random.byte(), random.byte() & 3, 0x1f, 0];
            bomb.extend([1, 0]);
            bomb.resize(random.below(10_000) + 8, 0xff);
            bomb
        }
        _ => random.of(corpus).to_vec(),
    };
    for _ in 0..random.below(6) {
        if frame.is_empty() {
            break;
        }
        // Near the front stand the numbers that say how much follows.
        let end = if random.below(2) == 0 {
            frame.len()
        } else {
            frame.len().min(60)
        };
        let at = random.below(end);
        match random.below(7) {
            0 => frame[at] = random.byte(),
            1 => frame[at] = *random.of(&TELLING),
            2 => frame[at] ^= 1 << random.below(8),
            3 => frame.truncate(at),
            4 => frame.insert(at, *random.of(&TELLING)),
            5 => {
                let other = random.of(corpus).clone();
                let from = random.below(other.len());
                frame.truncate(at);
                frame.extend_from_slice(&other[from..]);
            }
            _ => {
                let to = at + random.below(frame.len() - at);
                frame.drain(at..to);
            }
        }
    }
    frame.into()
}

/// As integers are written: LEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn memory_of(mut work: impl FnMut()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}

fn frames_of_all_kinds() {
    let mut random = Random(7);
    let corpus = corpus(&mut random);
    let mut host = Host::new(1, 2);
    let (mut most, mut refused) = (0, 0);
    for cycle in 0..CYCLES {
        if cycle % CYCLES_PER_REPLICA == 0 {
            host = Host::new(1, 2);
        }
        let frame = changed(&mut random, &corpus);
        let shown = frame.clone();
        let memory = memory_of(|| host.hear(frame.clone()));
        assert!(memory <= MEMORY_BYTES_MAX, "{memory} bytes for {shown:?}");
        most = most.max(memory);
        refused += usize::from(!host.up);
        host.sent.clear();
        host.pass(50);
    }
    // Most were changed so that they can't be read, and a good part were not: both ways have been gone.
    assert!(
        refused > CYCLES / 5 && refused < CYCLES * 9 / 10,
        "{refused} refused"
    );
    assert!(most > 1 << 20, "the bombs do not go off: {most}");
}

fn tokens() {
    let mut random = Random(11);
    let corpus: Vec<String> = {
        let mut host = Host::new(1, 2);
        host.write("k", json!({"n": 1}));
        vec![Token::default().to_string(), host.token.to_string()]
    };
    for _ in 0..CYCLES {
        let mut text = random.of(&corpus).clone().into_bytes();
        for _ in 0..random.below(30) {
            text.push(b"ABCDwxyz0189-_.="[random.below(16)]);
        }
        if !text.is_empty() && random.below(3) == 0 {
            let at = random.below(text.len());
            text[at] = random.byte() & 0x7f;
        }
        let text = String::from_utf8(text).unwrap();
        let memory = memory_of(|| drop(text.parse::<Token>()));
        assert!(
            memory <= 64 * text.len() + 4_096,
            "{memory} bytes for {text}"
        );
    }
}

/// Frames of the largest size, made of the smallest items: more memory than bytes, within what the limit on items says.
fn largest_frames() {
    let size = limits::FRAME_BYTES_MAX - 100;
    let filled = |head: Vec<Vec<u8>>, with: &[u8]| {
        let mut frame = head.concat();
        while frame.len() + with.len() <= size {
            frame.extend_from_slice(with);
        }
        Bytes::from(frame)
    };
    let origin = [7; 24].to_vec();
    for many in [
        1_000,
        limits::PACKET_ITEMS_MAX - 2,
        limits::PACKET_ITEMS_MAX,
        size / 2,
    ] {
        let packet = vec![vec![1, 1], origin.clone(), vec![1, 1, b'n'], number(many)];
        // Batches of nothing; documents of one batch; changes of one document.
        let batches = filled([vec![vec![3]], packet].concat(), &[0, 0, 1, 0, 0, 0, 0]);
        let one = vec![
            vec![3, 1, 1],
            origin.clone(),
            vec![1, 1, b'n', 1, 0, 0, 1, 0, 0],
        ];
        let documents = filled([one.clone(), vec![number(many)]].concat(), &[1, b'k', 0]);
        let changes = filled([one, vec![vec![1, 1, b'k'], number(many)]].concat(), &[0]);
        let positions = vec![vec![2, 1, 1, 1, b'n'], number(many)];
        let positions = filled(positions, &[[7; 24].to_vec(), vec![1]].concat());
        let given = filled(
            vec![vec![6, 1, 0, 1], number(many)],
            &[1, b'n', 1, b'k', 0, 0, 2],
        );
        // About comparisons: digests, leaves, documents, pieces of one, heads of one, positions that are not there any more.
        let digests = filled(vec![vec![9, 1, 1, 0], number(many)], &[7, 7, 7, 7]);
        let leaves = filled(vec![vec![10, 1, 1, 0, 1], number(many)], &[7; 13]);
        let compared = filled(vec![vec![11, 1, 0], number(many)], &[1, b'k', 0, 0]);
        let pieces = filled(vec![vec![11, 1, 0, 1, 1, b'k', 0], number(many)], &[0]);
        let unclear = filled(vec![vec![11, 1, 0, 0, 0], number(many)], &[1, b'k']);
        let heads = filled(vec![vec![13, 1, 1, 1, b'k'], number(many)], &[7; 8]);
        let gone = [&[1, b'n'][..], &[7; 24], &[1]].concat();
        let behind = filled(vec![vec![17], number(many)], &gone);
        let awaited = [&[1, b'n', 1][..], &[7; 24], &[1]].concat();
        let awaited = filled(vec![vec![26], number(many)], &awaited);
        let setting = [&[1, b'n', 1][..], &[7; 16], &[0]].concat();
        let placed = filled(vec![vec![27], number(many)], &setting);
        let datacenters = [vec![27, 1, 1, b'n', 1], vec![7; 16], number(many)];
        let datacenters = filled(datacenters.to_vec(), &[1, b'a']);
        let kept = [&[28, 1, 1, b'n', 1][..], &[7; 16], &[0]].concat();
        let kept = filled(
            vec![kept, number(many)],
            &[[7; 24].to_vec(), vec![1]].concat(),
        );
        for (what, frame) in [
            ("placements", placed),
            ("datacenters", datacenters),
            ("positions to be kept", kept),
            ("digests", digests),
            ("leaves", leaves),
            ("documents compared", compared),
            ("pieces", pieces),
            ("unclear documents", unclear),
            ("heads", heads),
            ("positions gone", behind),
            ("positions awaited", awaited),
            ("batches", batches),
            ("documents", documents),
            ("changes", changes),
            ("positions", positions),
            ("given", given),
        ] {
            let mut host = Host::new(1, 2);
            host.hear(Bytes::from_static(&[2, 1, 0]));
            let memory = memory_of(|| host.hear(frame.clone()));
            assert!(
                memory <= LARGEST_MEMORY_BYTES_MAX,
                "{memory} bytes for {many} {what}"
            );
        }
    }
}

/// One test, since what others allocate meanwhile would count.
#[test]
fn whatever_comes_nothing_panics_and_memory_is_bounded() {
    frames_of_all_kinds();
    tokens();
    largest_frames();
}
