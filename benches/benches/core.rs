//! What the replica costs without disk and network: the state machine alone, its commits durable at once.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use anabranch_core::measure::{Bare, Summaries, compress, decompress, frame};
use anabranch_core::persist::{Continuity, Fetched, Recovery, Ticket};
use anabranch_core::{
    Ack, Config, DocumentId, Edit, Incarnation, Input, Intent, Key, LinkId, Namespace, Now, Output,
    Path, Replica, ReplicaId, Request, RequestId, Session, Write,
};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

struct Bed {
    replica: Replica,
    requests: u64,
}

impl Bed {
    fn new(lines: usize) -> Self {
        let mut bed = Self::with_id(1);
        for line in 0..lines {
            bed.write(increment(line));
        }
        bed
    }

    fn with_id(id: u8) -> Self {
        let recovery = Recovery {
            incarnation: Incarnation(1),
            continuity: Continuity::New,
            checkpoint: None,
            log_end: None,
            log_first: None,
        };
        let config = Config::new(ReplicaId([id; 16]), "bench", "bench", Incarnation(2));
        let Ok((replica, _)) = Replica::recover(config, recovery) else {
            unreachable!("an empty store")
        };
        Self {
            replica,
            requests: 0,
        }
    }

    fn request(&mut self, request: Request) {
        let now = Now {
            mono_ms: self.requests,
            wall_ms: 1_700_000_000_000,
        };
        self.requests += 1;
        self.replica.handle(
            now,
            Input::Request {
                id: RequestId(self.requests),
                request,
                session: Session::default(),
            },
        );
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(commit) => self.replica.handle(
                    now,
                    Input::Persisted {
                        through: commit.ticket,
                    },
                ),
                Output::Fetch { id, .. } => {
                    self.replica.handle(
                        now,
                        Input::Fetched {
                            id,
                            result: Ok(Fetched::Document(None)),
                        },
                    );
                }
                output => {
                    black_box(output);
                }
            }
        }
    }

    fn write(&mut self, edit: Edit) {
        self.request(write(edit));
    }
}

fn write(edit: Edit) -> Request {
    let DocumentId { namespace, key } = cart();
    let write = Write {
        key,
        intent: Intent::Edits(vec![edit]),
        guard: None,
        base: None,
    };
    Request::Write {
        namespace,
        writes: vec![write],
        idempotency: None,
        ack: Ack::Local,
    }
}

fn read() -> Request {
    Request::Read {
        document: cart(),
        at: None,
        conflicts: false,
    }
}

fn cart() -> DocumentId {
    DocumentId::new("carts", "alice").expect("a valid name")
}

fn increment(line: usize) -> Edit {
    let path = Path::parse(&format!("/items/{line}/qty")).expect("a valid path");
    Edit::Increment { path, by: 1 }
}

fn replica(c: &mut Criterion) {
    let mut group = c.benchmark_group("replica");
    for lines in [1, 10, 100] {
        group.bench_function(format!("increment, cart of {lines}"), |b| {
            b.iter_batched_ref(
                || Bed::new(lines),
                |bed| bed.write(increment(0)),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("new line, cart of {lines}"), |b| {
            b.iter_batched_ref(
                || Bed::new(lines),
                |bed| bed.write(increment(lines)),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("read, cart of {lines}"), |b| {
            let mut bed = Bed::new(lines);
            b.iter(|| bed.request(read()));
        });
    }
    group.finish();
}

fn bare(lines: usize) -> Bare {
    let mut bare = Bare::new(1);
    for line in 0..lines {
        let write = bare.write(&Intent::Edits(vec![increment(line)]));
        write.expect("it fits");
    }
    bare
}

fn document(c: &mut Criterion) {
    let mut group = c.benchmark_group("document");
    let one = Intent::Edits(vec![increment(0)]);
    let post = Edit::Append {
        path: Path::parse("/posts").expect("a valid path"),
        value: serde_json::json!({"by": "alice", "text": "hello"}),
    };
    let post = Intent::Edits(vec![post]);
    for lines in [1, 10, 30] {
        group.bench_function(
            format!("increment through the document, cart of {lines}"),
            |b| {
                b.iter_batched_ref(
                    || bare(lines),
                    |bare| bare.write(&one),
                    BatchSize::LargeInput,
                );
            },
        );
        group.bench_function(format!("increment by tip, cart of {lines}"), |b| {
            let mut bare = bare(lines);
            bare.survey();
            b.iter(|| bare.write_by_tip(&one));
        });
        group.bench_function(format!("new line by tip, cart of {lines}"), |b| {
            let new = Intent::Edits(vec![increment(lines)]);
            b.iter_batched_ref(
                || {
                    let mut bare = bare(lines);
                    bare.survey();
                    bare
                },
                |bare| bare.write_by_tip(&new),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("survey, cart of {lines}"), |b| {
            let mut bare = bare(lines);
            b.iter(|| bare.survey());
        });
        group.bench_function(format!("learn where a list of {lines} ends"), |b| {
            let mut bare = bare(lines);
            for _ in 0..lines {
                bare.write(&post).expect("it fits");
            }
            b.iter(|| bare.learn(&post));
        });
    }
    group.bench_function("append by tip", |b| {
        let mut bare = bare(1);
        bare.write(&post).expect("it fits");
        bare.survey();
        bare.learn(&post);
        b.iter(|| bare.write_by_tip(&post));
    });
    group.finish();
}

/// Two replicas whose frames are handed over by hand.
struct Pair {
    replicas: [Replica; 2],
    /// On the way to each.
    frames: [Vec<Bytes>; 2],
    requests: u64,
}

impl Pair {
    const LINK: LinkId = LinkId(1);

    /// Linked, and each knows what the other holds.
    fn new() -> Self {
        let mut pair = Self {
            replicas: [1, 2].map(|id| Bed::with_id(id).replica),
            frames: [Vec::new(), Vec::new()],
            requests: 0,
        };
        for at in 0..2 {
            let peer = ReplicaId([2 - u8::from(at == 1); 16]);
            pair.handle(
                at,
                Input::LinkUp {
                    link: Self::LINK,
                    peer,
                },
            );
        }
        while pair.deliver(0) + pair.deliver(1) > 0 {}
        pair
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.requests,
            wall_ms: 1_700_000_000_000,
        }
    }

    /// All that comes of an input, but what waits for the disk.
    fn handle(&mut self, at: usize, input: Input) -> Option<Ticket> {
        let now = self.now();
        self.replicas[at].handle(now, input);
        let mut last = None;
        while let Some(output) = self.replicas[at].poll() {
            match output {
                Output::Persist(commit) => last = Some(commit.ticket),
                Output::Fetch { id, .. } => {
                    let result = Ok(Fetched::Document(None));
                    self.replicas[at].handle(now, Input::Fetched { id, result });
                }
                Output::Send { frame, .. } => self.frames[1 - at].push(frame),
                output => {
                    black_box(output);
                }
            }
        }
        last
    }

    /// Makes all of it durable at once.
    fn persist(&mut self, at: usize, through: Option<Ticket>) {
        let mut next = through;
        while let Some(through) = next {
            next = self.handle(at, Input::Persisted { through });
        }
    }

    /// Hands over what is on the way to one of them.
    fn deliver(&mut self, at: usize) -> usize {
        let frames = std::mem::take(&mut self.frames[at]);
        let count = frames.len();
        let mut last = None;
        for bytes in frames {
            last = self
                .handle(
                    at,
                    Input::Frame {
                        link: Self::LINK,
                        bytes,
                    },
                )
                .or(last);
        }
        self.persist(at, last);
        count
    }

    /// So many writes at the first, that share a commit: what they need of the other is on the way to it then.
    fn write(&mut self, writes: usize) {
        let mut last = None;
        for _ in 0..writes {
            self.requests += 1;
            let input = Input::Request {
                id: RequestId(self.requests),
                request: write(increment(0)),
                session: Session::default(),
            };
            last = self.handle(0, input).or(last);
        }
        self.persist(0, last);
    }
}

/// What a delta costs either side, with its frames: encoded where it was written, decoded and logged at the peer.
fn replication(c: &mut Criterion) {
    let mut group = c.benchmark_group("replication");
    for writes in [1, 64] {
        group.bench_function(format!("{writes} increments, sent"), |b| {
            b.iter_batched_ref(Pair::new, |pair| pair.write(writes), BatchSize::LargeInput);
        });
        group.bench_function(format!("{writes} increments, received"), |b| {
            let sent = || {
                let mut pair = Pair::new();
                pair.write(writes);
                assert!(!pair.frames[1].is_empty(), "nothing was sent");
                pair
            };
            b.iter_batched_ref(sent, |pair| pair.deliver(1), BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// Frames of increments to as many carts, compressed and back. The bytes of a write are printed, since they are what it is for.
fn frames(c: &mut Criterion) {
    let namespace = Namespace::new("carts").expect("a valid name");
    for count in [1, 4, 16, 64, 256] {
        let writes = (0..count).map(|cart| {
            let mut document = bare(10);
            // Of no two carts are the hashes the same.
            let mut add = |line| document.write(&Intent::Edits(vec![increment(line)]));
            add(1_000 + cart).expect("it fits");
            let changes = add(cart % 10).expect("it fits");
            let key = Key::new(&format!("cart-{:07}", cart * 7_919 % 100_000));
            (key.expect("a valid key"), changes)
        });
        let plain = frame(&namespace, writes.collect());
        let small = compress(&plain);
        let each = |bytes: usize| bytes as f64 / count as f64;
        println!(
            "frame of {count}: {:.1} bytes a write, compressed {:.1}",
            each(plain.len()),
            each(small.len())
        );
        c.bench_function(&format!("frame of {count}, compressed"), |b| {
            b.iter(|| compress(black_box(&plain)));
        });
        c.bench_function(&format!("frame of {count}, decompressed"), |b| {
            b.iter(|| decompress(black_box(&small)));
        });
    }
}

/// A million documents of which a thousand differ.
fn summaries(c: &mut Criterion) {
    const DOCUMENTS: u64 = 1_000_000;
    let mut summaries = Summaries::new(DOCUMENTS);
    for document in 0..1_000 {
        summaries.change(document * 1_000, document);
    }
    let mut group = c.benchmark_group("summary of a million");
    let mut n = DOCUMENTS;
    group.bench_function("a change", |b| {
        b.iter(|| {
            n += 1;
            // The same documents, so that no more come to differ.
            summaries.change(n % 1_000 * 1_000, n);
        });
    });
    group.bench_function("find a thousand that differ", |b| {
        b.iter(|| black_box(&summaries).descend(1_000, n));
    });
    group.bench_function("find a thousand that differ, by sketches", |b| {
        b.iter(|| black_box(&summaries).sketched());
    });
    group.finish();
}

criterion_group!(benches, replica, document, replication, frames, summaries);
criterion_main!(benches);
