//! What a peer sends is not believed: whatever it is, nothing panics and little memory is taken for it.
//!
//! Frames that two replicas really sent, changed at random, go to a replica like any others: through every decoder (hello, frontiers,
//! batches, parts, compression, documents given) and into what is done with them. Every byte that is allocated is counted.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use anabranch_core::persist::{Continuity, Fetch, Fetched, LogRecord, Recovery};
use anabranch_core::{
    Config, Incarnation, Input, Intent, Key, LinkId, Namespace, Now, Output, PROTOCOL_NEWEST,
    PROTOCOL_OLDEST, Replica, ReplicaId, Request, RequestId, Room, Session, Token, Write, limits,
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
    token: Token,
}

impl Host {
    fn new(id: u8, peer: u8) -> Self {
        Self::speaking(PROTOCOL_NEWEST, id, peer)
    }

    fn speaking(protocol: u64, id: u8, peer: u8) -> Self {
        let mut config = Config::new(ReplicaId([id; 16]), "a", "here", Incarnation(9));
        config.protocol = protocol;
        config.room = Room {
            part_bytes: 700,
            partial_bytes_max: 100_000,
            recent_log_bytes_max: 20_000,
            ..Room::default()
        };
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
                    result: Ok(()),
                },
                Output::Fetch { id, fetch } => Input::Fetched {
                    id,
                    result: Ok(match fetch {
                        Fetch::Log { from, .. } => {
                            let records = self.log.iter();
                            let records = records.filter(|record| record.lsn >= from);
                            Fetched::Log(records.cloned().collect())
                        }
                        Fetch::Receipt(_) => Fetched::Receipt(None),
                        Fetch::Document(_) => Fetched::Document(None),
                        Fetch::Range { .. } => Fetched::Range {
                            documents: Vec::new(),
                            more: false,
                        },
                        Fetch::Page { .. } => continue,
                    }),
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

    fn hear(&mut self, bytes: Bytes) {
        if !self.up {
            self.up = true;
            self.links += 1;
            let (link, peer) = (LinkId(self.links), self.peer);
            self.give(Input::LinkUp { link, peer });
        }
        let link = LinkId(self.links);
        self.give(Input::Frame { link, bytes });
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
            idempotency: None,
        };
        self.give(Input::Request {
            id: RequestId(1),
            request,
            session: Session::default(),
        });
    }
}

/// What two replicas say to each other: every kind of frame that there is.
fn conversation(random: &mut Random, protocol: u64) -> Vec<Bytes> {
    let mut hosts = [(1, 2), (2, 1)].map(|(id, peer)| Host::speaking(protocol, id, peer));
    let mut said = Vec::new();
    for round in 0..12_u64 {
        for host in &mut hosts {
            let noise: Vec<u64> = (0..200 * (round % 2))
                .map(|_| random.bits() >> 20)
                .collect();
            host.write(
                &format!("k{}", round % 3),
                json!({"n": round, "noise": noise}),
            );
            if !host.up {
                host.up = true;
                host.links += 1;
                let (link, peer) = (LinkId(host.links), host.peer);
                host.give(Input::LinkUp { link, peer });
            }
        }
        for _ in 0..20 {
            for from in 0..2 {
                while let Some(frame) = hosts[from].sent.pop_front() {
                    said.push(frame.clone());
                    hosts[1 - from].hear(frame);
                }
            }
        }
        for host in &mut hosts {
            host.now_ms += 4_000;
            host.give(Input::Tick);
        }
    }
    said
}

/// The same in each protocol: in the first nothing is compressed, and a change at random is one of what is in it.
fn corpus(random: &mut Random) -> Vec<Bytes> {
    let mut said: Vec<Bytes> = (PROTOCOL_OLDEST..=PROTOCOL_NEWEST)
        .flat_map(|protocol| conversation(random, protocol))
        .collect();
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
    said.sort_unstable();
    said.dedup();
    for kind in (1..=6).chain(20..=25) {
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
        host.now_ms += 50;
        host.give(Input::Tick);
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
        for (what, frame) in [
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
