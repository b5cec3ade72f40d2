//! Two replicas, and between them a link that may lose, double and delay what it carries.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::bed::{Bed, LINK, namespace, write};
use crate::effect::{Input, Output, Request};
use crate::message::{Message, PROTOCOL_NEWEST};
use crate::replica::Room;
use crate::{Intent, ReplicaId, Seq, Token};

/// What happens to each hundred frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unkind {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
}

pub(super) struct Duo {
    pub(super) beds: [Bed; 2],
    pub(super) unkind: Unkind,
    seed: u64,
    /// To each, with the frames that came when they were to.
    wires: [VecDeque<Bytes>; 2],
    /// All that was sent by each.
    pub(super) said: [Vec<Bytes>; 2],
}

impl Duo {
    pub(super) fn new(protocols: [u64; 2], room: Room, seed: u64) -> Self {
        let bed = |index: usize, id| Bed::of(id, protocols[index], room);
        Self {
            beds: [bed(0, 1), bed(1, 2)],
            unkind: Unkind::default(),
            seed,
            wires: Default::default(),
            said: Default::default(),
        }
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below
    }

    pub(super) fn link_up(&mut self) {
        self.wires = Default::default();
        for (bed, peer) in self.beds.iter_mut().zip([2, 1]) {
            bed.on_link.clear();
            let peer = ReplicaId([peer; 16]);
            bed.give(Input::LinkUp { link: LINK, peer });
        }
        self.settle();
    }

    fn collect(&mut self) {
        for from in 0..2 {
            for output in std::mem::take(&mut self.beds[from].outputs) {
                let Output::Send { frame, .. } = output else {
                    let refused = matches!(&output, Output::Disconnect { .. });
                    assert!(!refused, "{output:?}");
                    continue;
                };
                self.said[from].push(frame.clone());
                let (fate, again) = (self.draw(100), self.draw(100));
                if fate < self.unkind.lost {
                    continue;
                }
                if again < self.unkind.doubled {
                    self.wires[1 - from].push_back(frame.clone());
                }
                let wire = &mut self.wires[1 - from];
                let late = fate >= 100 - self.unkind.late;
                if late && let Some(last) = wire.pop_back() {
                    wire.push_back(frame);
                    wire.push_back(last);
                } else {
                    wire.push_back(frame);
                }
            }
        }
    }

    /// Delivers until nothing is under way.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            self.collect();
            let busy = [0, 1].map(|to| !self.wires[to].is_empty());
            let to = match busy {
                [false, false] => return,
                [true, true] => usize::from(self.draw(2) == 0),
                [first, _] => usize::from(!first),
            };
            if let Some(bytes) = self.wires[to].pop_front() {
                self.beds[to].give(Input::Frame { link: LINK, bytes });
            }
        }
        panic!("they never come to rest");
    }

    /// Time passes for both.
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

    /// One writes a document that takes about so many bytes.
    pub(super) fn write(&mut self, at: usize, space: usize, bytes: usize) {
        let noise = self.noise(bytes);
        let intent = Intent::Replace(json!({"text": noise}));
        let request = Request::Write {
            namespace: namespace(space),
            writes: vec![write("k", intent)],
            idempotency: None,
            ack: crate::Ack::Local,
        };
        self.beds[at].ask(request, &Token::default());
    }

    /// Text that can't be made smaller by much.
    pub(super) fn noise(&mut self, bytes: usize) -> String {
        let draws = (0..bytes.div_ceil(16)).map(|_| format!("{:016x}", self.draw(u64::MAX)));
        draws.collect()
    }

    pub(super) fn held(&self, at: usize, space: usize) -> Vec<Seq> {
        let frontier = self.beds[at].replica.durable_frontier(&namespace(space));
        frontier.iter().map(|(_, seq)| *seq).collect()
    }

    fn assert_equal(&self) {
        for space in 0..4 {
            assert_eq!(self.held(0, space), self.held(1, space), "n{space}");
        }
    }
}

/// So small that everything happens: parts, dropped parts, reads of the log, full windows.
pub(super) fn cramped(seed: u64) -> Room {
    let of = |shift: u32, some: [usize; 3]| some[usize::try_from((seed >> shift) % 3).unwrap()];
    Room {
        recent_log_bytes_max: of(0, [0, 2_000, 100_000]),
        log_read_bytes_max: of(3, [300, 2_000, 100_000]),
        frame_bytes_target: of(6, [100, 700, 5_000]),
        part_bytes: of(9, [100, 300, 2_000]),
        partial_bytes_max: of(12, [500, 3_000, 50_000]),
        bulk_window_bytes: of(15, [150, 1_500, 20_000]),
        link_window_bytes: of(18, [300, 3_000, 100_000]),
        ..Room::default()
    }
}

fn arrives(seed: u64, protocols: [u64; 2], unkind: Unkind, steps: usize) {
    let mut duo = Duo::new(protocols, cramped(seed), seed);
    duo.unkind = unkind;
    duo.link_up();
    for _ in 0..steps {
        let at = usize::from(duo.draw(2) == 0);
        let space = usize::try_from(duo.draw(4)).unwrap();
        match duo.draw(12) {
            0 => duo.link_up(),
            1 => {
                let ms = duo.draw(2_000);
                duo.run(ms);
            }
            2..4 => duo.write(at, space, 5_000),
            4 => {
                duo.beds[at].hold_link = !duo.beds[at].hold_link;
                duo.beds[at].free_link();
            }
            _ => duo.write(at, space, 50),
        }
        duo.settle();
    }
    duo.unkind = Unkind::default();
    for bed in &mut duo.beds {
        bed.hold_link = false;
        bed.free_link();
    }
    duo.settle();
    // Patience with a link that lost much doubles up to a minute.
    duo.run(200_000);
    duo.assert_equal();
    for bed in &duo.beds {
        let status = bed.replica.status(bed.now());
        let peer = &status.peers[0];
        assert_eq!(peer.behind_batches, 0);
        let waiting = (peer.waiting_bytes, peer.in_flight_bytes, peer.bulk_bytes);
        assert_eq!(waiting, (0, 0, 0));
        assert_eq!(peer.partial_bytes, 0);
        assert_eq!(peer.protocol, Some(protocols[0].min(protocols[1])));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the link did to the frames, once it is kind both hold the same, whichever protocols they speak.
    #[test]
    fn all_arrives_in_the_end(
        seed in any::<u64>(), protocols in [1..=PROTOCOL_NEWEST, 1..=PROTOCOL_NEWEST],
        lost in 0_u64..30, doubled in 0_u64..30, late in 0_u64..50, steps in 1_usize..40,
    ) {
        arrives(seed, protocols, Unkind { lost, doubled, late }, steps);
    }
}

/// A late part of a small batch took, over and over, the place of the large one before it.
#[test]
fn nothing_is_sent_over_and_over() {
    let unkind = Unkind {
        lost: 10,
        doubled: 7,
        late: 21,
    };
    arrives(4_816_045_143_656_354_375, [PROTOCOL_NEWEST; 2], unkind, 16);
}

/// The other end may be the version before this one: whatever is sent, however large and however late, it can read.
#[test]
fn who_speaks_the_first_protocol_is_sent_nothing_else() {
    for seed in 0..20 {
        let mut duo = Duo::new([PROTOCOL_NEWEST, 1], cramped(seed * 7_919), seed);
        duo.link_up();
        for space in 0..4 {
            duo.write(0, space, 20_000);
            duo.write(1, space, 20_000);
        }
        duo.settle();
        duo.run(60_000);
        duo.assert_equal();
        assert!(duo.said[0].len() > 8);
        for frame in duo.said.iter().flatten() {
            assert_eq!(Message::protocol_of(frame), 1);
        }
    }
}
