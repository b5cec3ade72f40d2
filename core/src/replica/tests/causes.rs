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

fn wants_of(bed: &mut Bed, peer: u8, of: Origin) -> Vec<Option<Seq>> {
    let said = bed.said_to(peer).into_iter();
    let wants = said.filter_map(|message| match message {
        Message::Want(wants) => Some(wants),
        _ => None,
    });
    let wants = wants.flatten().filter(|want| want.origin == of);
    wants.map(|want| want.after).collect()
}

/// The third writes a batch every 20 ms, after the one that the second wrote then. Half of the second's come. The third says that it
/// has so much of the second's, and has written so much.
fn while_one_lags(known: impl Fn(u64) -> u64, third_has: u64) -> (Bed, Vec<Option<Seq>>) {
    let mut bed = Bed::new();
    bed.meet_as(2, "us", &[(origin(2, 1), known(1))]);
    bed.meet_as(3, "ap", &[(origin(3, 1), third_has)]);
    bed.said_to(3);
    let mut asked = Vec::new();
    for seq in 1..=100 {
        bed.run_until(20 * seq);
        bed.state(3, &[(origin(2, 1), known(seq)), (origin(3, 1), third_has)]);
        bed.hear_as(3, after(3, seq, (origin(2, 1), seq)));
        if seq % 2 == 0 {
            bed.hear_as(2, plain(2, seq / 2));
        }
        asked.extend(wants_of(&mut bed, 3, origin(2, 1)));
    }
    (bed, asked)
}

/// The first that is missing changes all the time: it is always just about to come. But more and more of them are missing. Whoever has them is
/// asked, and goes on for a while.
#[test]
fn a_cause_on_a_slow_link_is_asked_for_elsewhere() {
    let (mut bed, asked) = while_one_lags(|seq| seq, 0);
    assert_eq!(asked.len(), 1);
    assert!(asked[0] < Some(Seq(40)), "{asked:?}");
    for seq in 51..=100 {
        bed.hear_as(3, plain(2, seq));
    }
    assert_eq!(order(&bed).last(), Some(&(3, 100)));
    bed.run_until(10_000);
    assert_eq!(wants_of(&mut bed, 3, origin(2, 1)), [], "it stands in");
    bed.run_until(60_000);
    assert_eq!(wants_of(&mut bed, 3, origin(2, 1)), [None]);
}

/// What an outage has left is on its way: fewer and fewer are missing, and what another one sends only comes on top.
#[test]
fn nobody_is_asked_for_what_is_caught_up_with() {
    assert_eq!(while_one_lags(|_| 200, 0).1, []);
}

/// While all catch up, what one sends for another only comes later.
#[test]
fn who_does_not_keep_up_stands_in_for_nobody() {
    assert_eq!(while_one_lags(|seq| seq, 1_000).1, []);
}

/// Its turn over, another one stands in, if what comes by way of it is late as well.
#[test]
fn who_stands_in_and_becomes_slow_is_followed_by_another() {
    let mut bed = Bed::new();
    for peer in [2, 3, 4] {
        bed.meet_as(peer, "us", &[]);
    }
    let mut asked = Vec::new();
    // Each writes a batch in 100 ms, half of the second's come, and by way of the third no more of them.
    for seq in 1..=700 {
        bed.run_until(100 * seq);
        for peer in [3, 4] {
            let own = if peer == 3 && seq >= 200 { 100_000 } else { 0 };
            bed.state(peer, &[(origin(2, 1), seq), (origin(peer, 1), own)]);
            bed.hear_as(peer, after(peer, seq, (origin(2, 1), seq)));
            let wants = wants_of(&mut bed, peer, origin(2, 1)).into_iter();
            asked.extend(wants.flatten().map(|_| (peer, seq)));
        }
        if seq % 2 == 0 {
            bed.hear_as(2, plain(2, seq / 2));
        }
    }
    let who: Vec<_> = asked.iter().map(|(peer, _)| *peer).collect();
    assert_eq!(who, [3, 4, 4], "{asked:?}");
    assert!(asked[1].1 >= asked[0].1 + 300, "its turn is 30 s");
}

/// Two links of the same kind: what comes a moment earlier over one of them makes nobody stand in.
#[test]
fn a_cause_that_comes_a_moment_later_is_not_asked_for() {
    let mut bed = Bed::new();
    bed.meet_as(2, "us", &[]);
    bed.meet_as(3, "ap", &[]);
    bed.said_to(3);
    for seq in 1..200 {
        bed.hear_as(3, after(3, seq, (origin(2, 1), seq)));
        bed.run_until(20 * seq);
        bed.hear_as(2, plain(2, seq));
    }
    assert_eq!(wants_of(&mut bed, 3, origin(2, 1)), []);
}
