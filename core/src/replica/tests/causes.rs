//! Batches that come before what they follow.

use bytes::Bytes;

use super::bed::{Bed, LINK, batch, namespace, origin};
use crate::message::Message;
use crate::replica::Room;
use crate::{Batch, Origin, Seq};

/// A batch of `replica` that its writer made after it had seen `cause`.
fn after(replica: u8, seq: u64, cause: (Origin, u64)) -> Batch {
    Batch {
        causes: vec![(cause.0, Seq(cause.1))],
        ..batch(
            origin(replica, 1),
            seq,
            vec![Bytes::from_static(b"no change")],
        )
    }
}

fn plain(replica: u8, seq: u64) -> Batch {
    batch(origin(replica, 1), seq, Vec::new())
}

fn order(bed: &Bed) -> Vec<(u8, u64)> {
    let visible = bed.visible().into_iter();
    visible.map(|(replica, seq, _)| (replica, seq)).collect()
}

#[test]
fn an_effect_waits_for_its_cause() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(after(2, 1, (origin(3, 1), 2)));
    bed.hear(plain(2, 2));
    bed.hear(plain(3, 1));
    assert_eq!(order(&bed), [(3, 1)]);
    assert!(bed.replica.history.held_back_bytes() > 0);
    bed.hear(plain(3, 2));
    assert_eq!(order(&bed), [(3, 1), (3, 2), (2, 1), (2, 2)]);
    assert_eq!(bed.replica.history.held_back_bytes(), 0);
}

#[test]
fn what_waits_is_bounded_and_what_is_dropped_comes_again() {
    let room = Room {
        held_back_bytes_max: 200,
        ..Room::default()
    };
    let mut bed = Bed::with_room(room);
    bed.meet([]);
    let cause = (origin(3, 1), 1);
    for seq in 1..20 {
        bed.hear(after(2, seq, cause));
    }
    assert!(bed.replica.history.held_back_bytes() <= 200);
    let asked = bed
        .messages()
        .into_iter()
        .any(|message| matches!(message, Message::Want(wants) if wants[0].origin == origin(2, 1)));
    assert!(asked, "the sender is asked for what was dropped");
    bed.hear(plain(3, 1));
    for seq in 1..20 {
        bed.hear(after(2, seq, cause));
    }
    let last = bed.replica.history.durable(&namespace(0), &origin(2, 1));
    assert_eq!(last, Seq(19));
}

/// The cause is held by a third replica only, whose batch it is not: it is asked for, and then comes.
#[test]
fn a_cause_may_come_by_another_way() {
    let mut bed = Bed::new();
    bed.meet([(namespace(0), origin(3, 1), Seq(1))]);
    bed.hear(after(2, 1, (origin(3, 1), 1)));
    bed.run_until(1_000);
    let wanted = bed.messages().into_iter().any(|message| {
        matches!(message, Message::Want(wants) if wants.iter().any(|want| want.origin == origin(3, 1)))
    });
    assert!(wanted, "whoever holds the cause is asked for it");
    bed.tell(&Message::Delta(vec![plain(3, 1).into()]));
    assert_eq!(order(&bed), [(3, 1), (2, 1)]);
    let _ = LINK;
}

#[test]
fn what_waited_at_a_restart_waits_again() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(plain(3, 1));
    bed.hear(after(2, 1, (origin(3, 1), 2)));
    bed.restart();
    bed.meet([]);
    bed.hear(after(2, 1, (origin(3, 1), 2)));
    assert_eq!(order(&bed), []);
    bed.hear(plain(3, 2));
    assert_eq!(order(&bed), [(3, 2), (2, 1)]);
}
