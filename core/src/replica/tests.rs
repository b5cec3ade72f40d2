//! A replica driven by hand, between peers that do what no honest one does.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::document::Document;
use crate::message::{Hello, Message, PROTOCOL, Want};
use crate::persist::Continuity;
use crate::{DocumentWrite, Intent, Key, Namespace, Request, Seq, limits};

const LINK: LinkId = LinkId(1);
const PEER: ReplicaId = ReplicaId([2; 16]);

/// A replica whose commits are durable at once, and all that it gave out besides.
struct Bed {
    replica: Replica,
    now_ms: u64,
    outputs: Vec<Output>,
}

impl Bed {
    fn new() -> Self {
        let config = Config::new(ReplicaId([1; 16]), "a", "here", Incarnation(9));
        let recovery = Recovery {
            incarnation: Incarnation(1),
            continuity: Continuity::New,
            checkpoint: None,
            log_end: None,
        };
        let (mut replica, from) = Replica::recover(config, recovery).unwrap();
        replica.begin(from);
        Self {
            replica,
            now_ms: 1,
            outputs: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) {
        let now = Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        };
        self.replica.handle(now, input);
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(commit) => self.replica.handle(
                    now,
                    Input::Persisted {
                        through: commit.ticket,
                    },
                ),
                Output::Fetch { id, .. } => self.replica.handle(
                    now,
                    Input::Fetched {
                        id,
                        result: Ok(Fetched::Document(None)),
                    },
                ),
                Output::Send { link, ref frame } => {
                    let bytes = frame.len();
                    self.replica.handle(now, Input::Sent { link, bytes });
                    self.outputs.push(output);
                }
                output => self.outputs.push(output),
            }
        }
    }

    fn hear(&mut self, message: &Message) {
        let bytes = message.encode();
        self.give(Input::Frame { link: LINK, bytes });
    }

    /// Links the peer, which states these positions in one namespace each.
    fn meet(&mut self, positions: impl IntoIterator<Item = (Namespace, Origin, Seq)>) {
        self.give(Input::LinkUp {
            link: LINK,
            peer: PEER,
        });
        self.hear(&Message::Hello(Hello {
            protocol: PROTOCOL,
            name: "b".to_owned(),
            datacenter: "there".to_owned(),
            incarnation: Incarnation(1),
            heard: true,
        }));
        let sections = positions
            .into_iter()
            .map(|(namespace, origin, seq)| (namespace, vec![(origin, seq)]));
        self.hear(&Message::Frontier {
            whole: true,
            sections: sections.collect(),
        });
    }

    fn write(&mut self, namespace: &str) -> Result<Reply, RequestError> {
        let intent = Intent::Replace(json!({"n": self.now_ms}));
        let document = DocumentId::new(namespace, "k").unwrap();
        let request = Request::Write {
            document,
            intent,
            guard: None,
        };
        self.give(Input::Request {
            id: RequestId(self.now_ms),
            request,
        });
        let replies = self.outputs.drain(..).filter_map(|output| match output {
            Output::Reply { reply, .. } => Some(reply),
            _ => None,
        });
        replies.last().unwrap()
    }

    fn run_until(&mut self, end_ms: u64) {
        while self.replica.wake_at() <= end_ms {
            self.now_ms = self.now_ms.max(self.replica.wake_at());
            self.give(Input::Tick);
            assert!(self.replica.wake_at() > self.now_ms, "it never rests");
        }
        self.now_ms = end_ms;
    }

    fn messages(&mut self) -> Vec<Message> {
        let frames = self.outputs.drain(..).filter_map(|output| match output {
            Output::Send { frame, .. } => Some(Message::decode(&frame).unwrap()),
            _ => None,
        });
        frames.collect()
    }
}

fn origin(replica: u8, incarnation: u64) -> Origin {
    Origin {
        replica: ReplicaId([replica; 16]),
        incarnation: Incarnation(incarnation),
    }
}

fn namespace(index: usize) -> Namespace {
    Namespace::new(&format!("n{index}")).unwrap()
}

fn batch(origin: Origin, changes: Vec<Bytes>) -> Message {
    Message::Delta(vec![Arc::new(Batch {
        namespace: namespace(0),
        origin,
        seq: Seq(1),
        time_ms: 0,
        causes: Vec::new(),
        writes: vec![DocumentWrite {
            key: Key::new("k").unwrap(),
            changes,
        }],
    })])
}

#[test]
fn a_batch_that_changes_nothing_is_not_folded_for_ever() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(&batch(origin(2, 1), Vec::new()));
    bed.run_until(10_000);
    assert_eq!(bed.replica.shelf.oldest_unfolded(), None);
}

#[test]
fn one_origin_too_many_does_not_keep_a_replica_from_starting() {
    let mut bed = Bed::new();
    bed.meet([]);
    let intent = Intent::Replace(json!({}));
    let mut document = Document::empty(&origin(2, 1));
    let changes = document.write(&intent, 0).map_err(|f| f.error).unwrap();
    for incarnation in 0..=limits::ORIGINS_MAX as u64 {
        bed.hear(&batch(origin(2, incarnation), changes.clone()));
    }
    assert!(History::decode(bed.replica.history.encode()).is_ok());
    let space = bed.replica.history.space(&namespace(0)).unwrap();
    assert_eq!(space.accepted.len(), limits::ORIGINS_MAX);
}

#[test]
fn one_namespace_too_many_is_refused() {
    let mut bed = Bed::new();
    for index in 0..limits::NAMESPACES_MAX {
        bed.now_ms += 1;
        assert!(bed.write(namespace(index).as_str()).is_ok());
    }
    assert!(bed.write("another").is_err());
    assert!(bed.write(namespace(0).as_str()).is_ok());
    assert!(History::decode(bed.replica.history.encode()).is_ok());
}

#[test]
fn what_is_missing_everywhere_is_asked_for_in_few_frames() {
    let mut bed = Bed::new();
    bed.meet((0..10_000).map(|index| (namespace(index), origin(3, 1), Seq(1))));
    bed.messages();
    bed.run_until(1_000);
    let asked: Vec<_> = bed
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::Want(wants) => Some(wants.len()),
            _ => None,
        })
        .collect();
    assert_eq!(asked.iter().sum::<usize>(), 10_000);
    assert!(asked.len() < 20, "{} frames", asked.len());
}

#[test]
fn a_batch_lost_after_a_rest_is_sent_again() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.write("n0").unwrap();
    let held = |seq| Message::Frontier {
        whole: false,
        sections: vec![(namespace(0), vec![(origin(1, 1), Seq(seq))])],
    };
    bed.hear(&held(1));
    bed.run_until(20_000);
    bed.write("n0").unwrap();
    bed.messages();
    bed.run_until(24_500);
    let again = bed.messages();
    assert!(
        again
            .iter()
            .any(|message| matches!(message, Message::Delta(_)))
    );
}

#[test]
fn wants_of_what_nobody_wrote_cost_nothing() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.write("n0").unwrap();
    let wants = (0..100).map(|incarnation| Want {
        namespace: namespace(0),
        origin: origin(7, incarnation),
        after: Some(Seq(u64::MAX - 2)),
    });
    bed.hear(&Message::Want(wants.collect()));
    let streams = bed.replica.peers.session(PEER).unwrap().streams.len();
    assert_eq!(streams, 1);
}

#[test]
fn positions_at_the_end_of_their_range_are_added_up() {
    let mut bed = Bed::new();
    bed.meet((0..3).map(|index| (namespace(index), origin(3, 1), Seq(u64::MAX - 1))));
    let now = Now {
        mono_ms: 2,
        wall_ms: 2,
    };
    assert_eq!(bed.replica.status(now).peers[0].ahead_batches, u64::MAX);
    assert_eq!(Lsn(u64::MAX).next(), Lsn(u64::MAX));
}
