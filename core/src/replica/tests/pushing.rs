//! When batches leave, in what frames, and who has to wait for whom.

use super::bed::{Bed, LINK, PEER, batch, increment, namespace, origin, write, writing};
use super::duo::Duo;
use crate::effect::{Input, Output, Request};
use crate::message::{Message, Want};
use crate::replica::Room;
use crate::{Batch, Intent, Seq, Token};

fn add(bed: &mut Bed, key: &str) {
    bed.ask(writing(vec![increment(key, "/n")]), &Token::default());
}

/// What was sent: of each frame, which batches of which namespaces, or which part.
fn frames(bed: &mut Bed) -> Vec<Vec<(String, u64)>> {
    let named = |batch: &Batch| (batch.namespace.to_string(), batch.seq.0);
    let messages = bed.messages().into_iter();
    let frames = messages.filter_map(|message| match message {
        Message::Delta(batches) | Message::Backlog { batches, .. } => {
            Some(batches.iter().map(|batch| named(batch)).collect())
        }
        Message::Part(part) => Some(vec![(format!("{} part", part.namespace), part.seq.0)]),
        _ => None,
    });
    frames.collect()
}

fn name(space: usize, seqs: impl IntoIterator<Item = u64>) -> Vec<(String, u64)> {
    let name = namespace(space).to_string();
    seqs.into_iter().map(|seq| (name.clone(), seq)).collect()
}

#[test]
fn a_batch_leaves_alone_and_at_once_while_the_link_is_free() {
    let mut bed = Bed::new();
    bed.meet_newest();
    for seq in 1..4 {
        add(&mut bed, "k");
        assert_eq!(frames(&mut bed), [name(0, [seq])]);
    }
}

#[test]
fn batches_share_a_frame_while_the_link_is_busy() {
    let mut bed = Bed::new();
    bed.meet_newest();
    bed.hold_link = true;
    for _ in 0..5 {
        add(&mut bed, "k");
    }
    assert_eq!(frames(&mut bed), [name(0, [1])]);
    bed.free_link();
    assert_eq!(frames(&mut bed), [name(0, 2..=5)]);
}

/// What is said of what is held, or answered, keeps no batch waiting.
#[test]
fn only_another_push_makes_a_push_wait() {
    let mut bed = Bed::new();
    bed.meet_newest();
    bed.hold_link = true;
    bed.tell(&Message::Restate);
    bed.outputs.clear();
    add(&mut bed, "k");
    assert_eq!(frames(&mut bed), [name(0, [1])]);
}

#[test]
fn one_write_of_another_namespace_does_not_wait_for_many() {
    let mut bed = Bed::with_room(Room {
        frame_bytes_target: 2_000,
        ..Room::default()
    });
    bed.meet_newest();
    bed.hold_link = true;
    for _ in 0..200 {
        add(&mut bed, "k");
    }
    bed.write("n7").unwrap();
    bed.outputs.clear();
    bed.free_link();
    let first = frames(&mut bed).remove(0);
    assert!(first.contains(&("n7".to_owned(), 1)), "{first:?}");
    assert!(first.len() < 50);
}

/// The log may hold more than is known to be durable: who hears of that would know more of this replica than it does itself.
#[test]
fn what_is_read_for_others_leaves_when_it_is_known_to_be_durable() {
    let mut bed = Bed::with_room(Room {
        recent_log_bytes_max: 0,
        ..Room::default()
    });
    for _ in 0..3 {
        add(&mut bed, "k");
    }
    bed.hold_commits = true;
    add(&mut bed, "k");
    let news = bed.sync_untold();
    bed.meet_newest();
    assert_eq!(frames(&mut bed).concat(), name(0, 1..=3));
    bed.give(news);
    assert_eq!(frames(&mut bed).concat(), name(0, [4]));
}

fn large_room() -> Room {
    Room {
        part_bytes: 1_000,
        frame_bytes_target: 1_000,
        ..Room::default()
    }
}

#[test]
fn a_large_batch_lets_others_pass() {
    let mut duo = Duo::new([2, 2], large_room(), 1);
    duo.link_up();
    // 300 KB fill what may be under way before the peer has said how fast it takes it.
    let large = Intent::Replace(serde_json::json!({"text": duo.noise(300_000)}));
    let request = writing(vec![write("k", large)]);
    let bed = &mut duo.beds[0];
    bed.outputs.clear();
    bed.ask(request, &Token::default());
    bed.ask(
        Request::Write {
            namespace: namespace(1),
            writes: vec![increment("k", "/n")],
            idempotency: None,
            ack: crate::Ack::Local,
        },
        &Token::default(),
    );
    let sent = bed.outputs.len();
    let small = bed.outputs.iter().position(|output| {
        let Output::Send { frame, .. } = output else {
            return false;
        };
        matches!(Message::decode(frame), Ok(Message::Delta(_)))
    });
    assert!(small.is_some() && sent > 200, "{small:?} of {sent}");
    assert_eq!(
        bed.replica.counters.batches_sent, 1,
        "the large one is not through"
    );
    duo.settle();
    assert_eq!(
        (duo.held(1, 0), duo.held(1, 1)),
        (vec![Seq(1)], vec![Seq(1)])
    );
    assert_eq!(duo.beds[0].replica.counters.stalls, 0);
    let frames = duo.said[0].iter();
    let largest = frames.map(bytes::Bytes::len).max().unwrap();
    assert!(largest < 1_200, "{largest}");
}

/// Parts of more batches than there is room for: nobody's are dropped, since what is under way is limited at its source.
#[test]
fn many_large_batches_at_once_drop_nothing() {
    let room = Room {
        partial_bytes_max: 40_000,
        bulk_window_bytes: 5_000,
        ..large_room()
    };
    let mut duo = Duo::new([2, 2], room, 1);
    duo.link_up();
    for space in 0..8 {
        duo.write(0, space, 12_000);
    }
    duo.settle();
    for space in 0..8 {
        assert_eq!(duo.held(1, space), [Seq(1)]);
    }
    assert_eq!(duo.beds[1].replica.counters.parts_dropped, 0);
    assert_eq!(duo.beds[0].replica.counters.stalls, 0);
}

/// A peer that asks for what it is being sent does not have it begun anew each time.
#[test]
fn being_asked_for_what_is_on_its_way_changes_nothing() {
    let room = Room {
        bulk_window_bytes: 2_000,
        ..large_room()
    };
    let mut bed = Bed::with_room(room);
    bed.meet_newest();
    bed.hear(batch(origin(3, 1), 1, vec![vec![7; 10_000].into()]));
    let want = Message::Want(vec![Want {
        namespace: namespace(0),
        origin: origin(3, 1),
        after: Some(Seq(0)),
    }]);
    let mut indices = Vec::new();
    for _ in 0..20 {
        bed.tell(&want);
        for message in bed.messages() {
            if let Message::Part(part) = message {
                indices.push(part.index);
                bed.tell(&Message::Taken { bulk: part.bulk });
            }
        }
        if indices.len() == 11 {
            break;
        }
    }
    assert_eq!(indices, (0..11).collect::<Vec<_>>());
}

fn behind() -> Bed {
    let mut bed = Bed::with_room(Room {
        recent_log_bytes_max: 0,
        frame_bytes_target: 1_000,
        bulk_window_bytes: 3_000,
        ..Room::default()
    });
    for _ in 0..300 {
        add(&mut bed, "k");
    }
    bed.meet_newest();
    bed
}

#[test]
fn what_is_behind_is_paced_by_what_the_peer_takes() {
    let mut bed = behind();
    let (mut got, mut rounds) = (0, 0);
    // The first was sent before it was known what the peer speaks.
    let counted = |bed: &Bed| bed.replica.counters.batches_sent;
    let mut last = counted(&bed);
    while counted(&bed) < 300 {
        let pushed = bed.replica.peers.by_id[&PEER].sent.push;
        assert_eq!(pushed, 0);
        let bulk = bed.replica.peers.by_id[&PEER].session.as_ref().unwrap();
        assert!(bulk.pace.bytes() < 4_200, "{}", bulk.pace.bytes());
        let bulk = bulk.pace.next() - 1;
        bed.tell(&Message::Taken { bulk });
        assert!(counted(&bed) > last, "it goes on");
        last = counted(&bed);
        got += 1;
        rounds += 1;
        assert!(rounds < 1_000);
    }
    assert!(got > 3, "in {got} rounds");
    let sent = bed.replica.peers.by_id[&PEER].sent;
    assert!(sent.catch_up > 300 * 50 && sent.push == 0, "{sent:?}");
}

#[test]
fn a_write_does_not_wait_for_those_who_are_behind() {
    let mut bed = Bed::with_room(Room {
        recent_log_bytes_max: 400,
        frame_bytes_target: 1_000,
        bulk_window_bytes: 3_000,
        ..Room::default()
    });
    for _ in 0..300 {
        add(&mut bed, "k");
    }
    bed.meet_newest();
    assert!(
        bed.replica.counters.batches_sent < 100,
        "the window is full"
    );
    bed.outputs.clear();
    bed.ask(
        Request::Write {
            namespace: namespace(1),
            writes: vec![increment("k", "/n")],
            idempotency: None,
            ack: crate::Ack::Local,
        },
        &Token::default(),
    );
    assert_eq!(frames(&mut bed), [name(1, [1])]);
}

#[test]
fn what_is_bulk_goes_on_when_its_receipt_is_lost() {
    let mut bed = behind();
    let before = bed.replica.counters.batches_sent;
    assert!(before < 300);
    bed.run_until(bed.now_ms + 10_000);
    assert!(bed.replica.counters.batches_sent > before);
}

#[test]
fn bytes_are_counted_by_what_they_were_for() {
    let mut duo = Duo::new([2, 2], Room::default(), 3);
    duo.link_up();
    for _ in 0..50 {
        duo.write(0, 0, 100);
        duo.settle();
    }
    duo.run(100);
    let of = |bed: &Bed| bed.replica.status(bed.now()).peers[0].clone();
    let [sender, receiver] = [0, 1].map(|at| of(&duo.beds[at]));
    assert_eq!(sender.sent, receiver.received);
    assert_eq!(sender.received, receiver.sent);
    assert!(sender.sent.push > 50 * 100 && sender.sent.catch_up == 0);
    assert!(receiver.sent.control > 0 && receiver.sent.push == 0);
    let all: usize = duo.said[0].iter().map(bytes::Bytes::len).sum();
    assert_eq!(sender.sent.push + sender.sent.control, all as u64);
}

/// Garbage in a part closes the link, and nothing stays of it.
#[test]
fn parts_of_something_else_are_refused() {
    let mut bed = Bed::new();
    bed.meet_newest();
    let mut part = crate::message::Part {
        bulk: 1,
        late: false,
        namespace: namespace(0),
        origin: origin(2, 1),
        seq: Seq(1),
        total: 5,
        part_bytes: 3,
        index: 0,
        bytes: vec![9; 3].into(),
    };
    bed.tell(&Message::Part(part.clone()));
    part.index = 1;
    part.bytes = vec![9; 2].into();
    bed.tell(&Message::Part(part));
    let closed = |output: &Output| matches!(output, Output::Disconnect { link: LINK, .. });
    assert!(bed.outputs.iter().any(closed));
    bed.give(Input::Tick);
    assert_eq!(bed.replica.counters.bad_frames, 1);
}
