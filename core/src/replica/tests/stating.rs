//! What replicas say of what they hold and speak, and what it costs.

use super::bed::{Bed, namespace, origin};
use super::duo::{Duo, Unkind};
use crate::effect::{Notice, Output, Request};
use crate::message::{DIGEST_BYTES, Hello, Message, PROTOCOL_NEWEST};
use crate::replica::Room;
use crate::{Datacenters, Seq, Token};

fn bytes(duo: &Duo) -> usize {
    duo.said.iter().flatten().map(bytes::Bytes::len).sum()
}

fn statements(duo: &Duo) -> usize {
    let decoded = duo.said.iter().flatten().map(Message::decode);
    decoded
        .filter(|message| matches!(message, Ok(Message::Frontier { whole: true, .. })))
        .count()
}

#[test]
fn who_has_nothing_to_say_says_little() {
    let mut duo = Duo::new([2, 2], Room::default(), 1);
    for space in 0..200 {
        duo.write(0, space, 10);
        duo.write(1, space, 10);
    }
    duo.link_up();
    // Where something was written roots are compared once, too.
    duo.run(150_000);
    duo.said = Default::default();
    duo.run(60_000);
    // Both ways over one link; three of them are to stay below 2 KB.
    assert!(bytes(&duo) < 2_000 / 3, "{} bytes", bytes(&duo));
    assert_eq!(statements(&duo), 0);
}

#[test]
fn what_was_not_heard_is_said_again() {
    let mut duo = Duo::new([2, 2], Room::default(), 1);
    duo.link_up();
    duo.run(20_000);
    duo.write(0, 0, 10);
    duo.unkind = Unkind {
        lost: 100,
        ..Unkind::default()
    };
    // The batch, and later its acknowledgement, are lost.
    duo.settle();
    duo.unkind.lost = 0;
    duo.said = Default::default();
    duo.run(30_000);
    assert_eq!(duo.held(1, 0), [Seq(1)]);
    let holds = |duo: &Duo, at: usize, peer: u8| {
        let peer = &duo.beds[at].replica.peers.by_id[&crate::ReplicaId([peer; 16])];
        peer.holds(&namespace(0), &origin(1, 1))
    };
    assert_eq!((holds(&duo, 0, 2), holds(&duo, 1, 1)), (Seq(1), Seq(1)));
    assert_eq!(statements(&duo), 0, "the digest was right all the time");
    // What the peer has on record is wrong, which nothing that is new shows: it shows with the next digest, however seldom those come.
    let peer = crate::ReplicaId([1; 16]);
    let entry = duo.beds[1].replica.peers.by_id.get_mut(&peer).unwrap();
    entry.holds.clear();
    duo.run(120_000);
    assert_eq!(holds(&duo, 1, 1), Seq(1));
    assert_eq!(statements(&duo), 1);
    assert_eq!(duo.beds[1].replica.counters.statements_missed, 1);
}

/// Digests that each of the two has said.
fn digests(duo: &Duo) -> [usize; 2] {
    let of = |said: &Vec<bytes::Bytes>| {
        let said = said.iter().map(Message::decode);
        said.filter(|message| matches!(message, Ok(Message::Standing { .. })))
            .count()
    };
    [0, 1].map(|at| of(&duo.said[at]))
}

#[test]
fn digests_are_rare_at_rest_and_come_soon_after_something_new() {
    let mut duo = Duo::new([2, 2], Room::default(), 1);
    duo.link_up();
    duo.write(0, 0, 10);
    duo.run(300_000);
    duo.said = Default::default();
    duo.run(360_000);
    assert_eq!(digests(&duo), [3, 3]);
    duo.write(0, 0, 10);
    duo.said = Default::default();
    duo.run(16_000);
    assert_eq!(digests(&duo), [1, 1], "after a write");
    duo.run(30_000);
    assert_eq!(digests(&duo), [2, 2], "and once more before it gets rarer");
    duo.run(200_000);
    duo.said = Default::default();
    duo.run(60_000);
    assert_eq!(digests(&duo), [0, 0], "the next ones are not due soon");
    let place = Request::Place {
        namespace: namespace(0),
        datacenters: Datacenters::new(["here"]).ok(),
        force: false,
    };
    let answer = duo.beds[0].request(place, &Token::default());
    assert!(answer.is_ok());
    duo.said = Default::default();
    duo.run(16_000);
    assert_eq!(digests(&duo), [1, 1], "after a setting");
}

#[test]
fn a_digest_before_any_statement_asks_for_one() {
    let mut bed = Bed::new();
    bed.meet_newest();
    bed.outputs.clear();
    bed.tell(&Message::Standing {
        digest: [1; DIGEST_BYTES],
    });
    assert_eq!(bed.messages(), [Message::Restate]);
}

#[test]
fn acknowledgements_of_many_batches_are_one() {
    let mut duo = Duo::new([2, 2], Room::default(), 1);
    duo.link_up();
    duo.run(1_000);
    duo.said = Default::default();
    for _ in 0..200 {
        duo.write(0, 0, 50);
        duo.settle();
    }
    duo.run(100);
    let said: usize = duo.said[1].iter().map(bytes::Bytes::len).sum();
    assert!(said < 200, "{said} bytes for 200 batches");
}

fn refusal(message: &Message) -> String {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.outputs.clear();
    bed.tell(message);
    let told = bed.outputs.iter().find_map(|output| match output {
        Output::Disconnect { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    let noticed = |output: &Output| matches!(output, Output::Notice(Notice::OtherProtocol { .. }));
    assert!(bed.outputs.iter().any(noticed));
    assert_eq!(bed.replica.counters.bad_frames, 0);
    told.expect("the link is closed")
}

#[test]
fn who_is_too_far_away_is_told_which_end_to_update() {
    let hello = Hello {
        oldest: PROTOCOL_NEWEST + 1,
        name: "b".to_owned(),
        datacenter: "there".to_owned(),
        incarnation: crate::Incarnation(1),
        heard: false,
    };
    assert_eq!(
        refusal(&Message::Hello(hello)),
        "it speaks protocols from 3 on, this replica 1 to 2: update this one"
    );
    assert_eq!(
        refusal(&Message::Speaks { newest: 0 }),
        "it speaks protocols up to 0, this replica 1 to 2: update that one"
    );
}

#[test]
fn who_speaks_a_later_protocol_too_is_spoken_to_in_ours() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.tell(&Message::Speaks { newest: 99 });
    assert!(bed.replica.peers.by_id.values().all(|peer| {
        peer.session
            .as_ref()
            .is_some_and(|session| session.speaks == PROTOCOL_NEWEST)
    }));
}

#[test]
fn a_frame_of_a_protocol_that_is_not_spoken_is_refused() {
    let mut bed = Bed::of(1, 1, Room::default());
    bed.meet([]);
    bed.tell(&Message::Restate);
    assert_eq!(bed.replica.counters.bad_frames, 1);
}
