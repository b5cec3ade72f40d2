//! Writers who wait until other datacenters hold what they wrote.

use super::bed::{
    Bed, WAIT_MS, batch, increment, namespace, origin, write, writing, writing_once, written,
};
use super::company::{asking, id};
use super::sessions::token;
use crate::effect::{Ack, RequestError};
use crate::message::Message;
use crate::{Intent, Seq, Token, limits};

const ALL: Ack = Ack::All;

fn two() -> Ack {
    Ack::Datacenters(2)
}

fn add(ack: Ack) -> crate::Request {
    asking(ack, writing(vec![increment("k", "/n")]))
}

/// Two peers in `us`, one in `ap`, one in our own datacenter.
fn bed() -> Bed {
    let mut bed = Bed::new();
    for (peer, datacenter) in [(2, "us"), (3, "us"), (4, "ap"), (5, "here")] {
        bed.meet_as(peer, datacenter, &[]);
    }
    bed.outputs.clear();
    bed
}

fn own(seq: u64) -> [(crate::Origin, u64); 1] {
    [(origin(1, 1), seq)]
}

fn names(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn an_answer_waits_for_as_many_datacenters_as_were_asked_for() {
    let mut bed = bed();
    bed.hold_commits = true;
    let [local, two, three] =
        [Ack::Local, two(), Ack::Datacenters(3)].map(|ack| bed.ask(add(ack), &Token::default()));
    assert!(bed.answer(local).is_none(), "it is durable first");
    bed.sync();
    assert_eq!(bed.acknowledged(local), None);
    assert!(bed.answer(local).is_some());
    assert!(bed.answer(two).is_none() && bed.answer(three).is_none());
    // Another replica of our own datacenter makes no second one, nor do two of the same a third.
    bed.acknowledge(5, &own(3));
    assert!(bed.answer(two).is_none());
    bed.acknowledge(2, &own(1));
    assert!(bed.answer(two).is_none(), "not all of it");
    bed.acknowledge(2, &own(2));
    let acknowledged = bed.acknowledged(two).unwrap();
    assert!(acknowledged.reached);
    assert_eq!(names(&acknowledged.held_by), ["here", "us"]);
    assert_eq!(names(&acknowledged.missing), ["ap"]);
    bed.acknowledge(2, &own(3));
    bed.acknowledge(3, &own(3));
    assert!(bed.answer(three).is_none());
    bed.acknowledge(4, &own(3));
    assert_eq!(
        names(&bed.acknowledged(three).unwrap().held_by),
        ["here", "ap", "us"]
    );
    assert!(bed.replica.acknowledgements.is_empty());
    assert_eq!(bed.replica.requests_open, 0);
}

#[test]
fn who_waited_long_enough_is_told_who_lacks_it() {
    let mut bed = bed();
    let all = bed.ask(add(ALL), &Token::default());
    let many = bed.ask(add(Ack::Datacenters(7)), &Token::default());
    bed.acknowledge(3, &own(2));
    assert!(bed.replica.wake_at() <= bed.now_ms + WAIT_MS);
    bed.run_until(WAIT_MS);
    assert!(bed.answer(all).is_none());
    bed.run_until(WAIT_MS + 1);
    let told = bed.acknowledged(all).unwrap();
    assert!(!told.reached);
    assert_eq!(names(&told.held_by), ["here", "us"]);
    assert_eq!(names(&told.missing), ["ap"]);
    let told = bed.acknowledged(many).unwrap();
    assert_eq!((told.reached, told.known()), (false, 3));
    assert!(told.to_string().ends_with("3 datacenters are known here"));
    // The write stands.
    assert_eq!(bed.read("k"), Some(serde_json::json!({"n": 2})));
    assert_eq!(bed.replica.requests_open, 0);
}

#[test]
fn one_alone_is_all_there_are() {
    let mut bed = Bed::new();
    let all = bed.ask(add(ALL), &Token::default());
    assert_eq!(names(&bed.acknowledged(all).unwrap().held_by), ["here"]);
    let told = bed.ask_within(70, 0, add(two()));
    bed.run_until(2);
    let told = bed.acknowledged(told).unwrap();
    assert_eq!((told.reached, told.known()), (false, 1));
}

#[test]
fn one_whose_datacenter_is_not_known_is_no_datacenter_and_not_left_out() {
    let mut bed = Bed::new();
    bed.link_to(9);
    bed.state(9, &[]);
    let [two, all] = [two(), ALL].map(|ack| bed.ask(add(ack), &Token::default()));
    let seen = bed.ask_within(70, 5, add(ALL));
    bed.acknowledge(9, &own(2));
    assert!(bed.acknowledged(all).unwrap().reached);
    assert!(bed.answer(two).is_none(), "it may be our own");
    bed.run_until(10);
    assert_eq!(bed.acknowledged(seen).unwrap().missing, [id(9).to_string()]);
    bed.hello_of(9, "us");
    assert!(bed.acknowledged(two).unwrap().reached);
}

/// The same key asks for the same write, and waits for that, whatever was written since.
#[test]
fn a_repeat_waits_for_the_first_write_again() {
    let mut bed = bed();
    let once = |ack| asking(ack, writing_once(vec![increment("k", "/n")], "a"));
    let first = bed.ask(once(ALL), &Token::default());
    bed.run_until(WAIT_MS + 1);
    assert!(!bed.acknowledged(first).unwrap().reached);
    for restart in [false, true] {
        bed.request(add(Ack::Local), &Token::default()).unwrap();
        // Once it is in the store, too.
        bed.run_until(bed.now_ms + 20_000);
        assert!(!bed.store.receipts.is_empty());
        if restart {
            bed.restart();
            bed.meet_as(2, "us", &own(1));
            bed.meet_as(4, "ap", &[]);
        }
        let again = bed.ask(once(ALL), &Token::default());
        assert!(bed.answer(again).is_none());
        bed.acknowledge(2, &own(1));
        bed.acknowledge(4, &own(1));
        assert!(bed.acknowledged(again).unwrap().reached);
        assert!(written(&bed.answer(again).unwrap()).1);
        if !restart {
            bed.state(4, &[]);
        }
    }
    assert_eq!(bed.read("k"), Some(serde_json::json!({"n": 3})));
}

/// Otherwise it would be said to be held by those who lack what it found.
#[test]
fn a_write_that_changes_nothing_waits_for_what_it_found() {
    let mut bed = bed();
    bed.request(add(Ack::Local), &Token::default()).unwrap();
    bed.hear_as(2, batch(origin(2, 1), 1, Vec::new()));
    let nothing = || asking(two(), writing(vec![write("gone", Intent::Delete)]));
    let id = bed.ask(nothing(), &Token::default());
    assert!(bed.answer(id).is_none());
    bed.acknowledge(2, &[(origin(1, 1), 1)]);
    assert!(bed.answer(id).is_none());
    bed.acknowledge(2, &[(origin(2, 1), 1)]);
    assert!(bed.acknowledged(id).unwrap().reached);
    assert_eq!(bed.store.log.len(), 2);
}

#[test]
fn one_deadline_is_for_the_session_and_the_acknowledgements() {
    let mut bed = bed();
    let id = bed.ask(add(ALL), &token(&[(2, 1)]));
    bed.run_until(WAIT_MS / 2);
    bed.hear_as(2, batch(origin(2, 1), 1, Vec::new()));
    assert_eq!(bed.replica.acknowledgements.len(), 1);
    bed.run_until(WAIT_MS + 1);
    assert!(!bed.acknowledged(id).unwrap().reached);
}

#[test]
fn one_too_many_does_not_wait_and_is_written() {
    let mut bed = bed();
    let waiting = limits::ACKNOWLEDGEMENTS_WAITING_MAX as u64;
    for number in 0..waiting {
        bed.ask_within(1_000 + number, 60_000, add(ALL));
    }
    bed.outputs.clear();
    assert_eq!(bed.replica.acknowledgements.len() as u64, waiting);
    let id = bed.ask_within(99, 60_000, add(ALL));
    assert!(!bed.acknowledged(id).unwrap().reached);
    assert_eq!(bed.store.log.len() as u64, waiting + 1);
    for peer in [2, 4] {
        bed.acknowledge(peer, &own(waiting));
    }
    assert!(bed.replica.acknowledgements.is_empty());
}

#[test]
fn a_store_that_fails_takes_nothing_back() {
    let mut bed = bed();
    let id = bed.ask(add(ALL), &Token::default());
    bed.break_store();
    let told = bed.acknowledged(id).unwrap();
    assert!(!told.reached);
    let refused = bed.ask(add(ALL), &Token::default());
    assert!(matches!(
        bed.answer(refused).unwrap(),
        Err(RequestError::Store(_))
    ));
    assert_eq!(bed.replica.requests_open, 0);
}

#[test]
fn members_are_told_that_somebody_waits_once_and_again_on_a_new_link() {
    let mut bed = bed();
    let awaited = |bed: &mut Bed, peer| {
        let said = bed.said_to(peer).into_iter();
        let awaited = said.filter_map(|message| match message {
            Message::Await(sections) => {
                let of = sections.iter().flat_map(|(_, positions)| positions);
                let seqs: Vec<_> = of.map(|(from, seq)| (from.replica.0[0], seq.0)).collect();
                Some(seqs)
            }
            _ => None,
        });
        awaited.flatten().collect::<Vec<_>>()
    };
    bed.hold_commits = true;
    for _ in 0..3 {
        bed.ask(add(two()), &Token::default());
    }
    bed.ask(add(Ack::Local), &Token::default());
    assert_eq!(awaited(&mut bed, 2), []);
    bed.sync();
    assert_eq!(awaited(&mut bed, 2), [(1, 1), (1, 2), (1, 3)]);
    assert_eq!(awaited(&mut bed, 4), [(1, 1), (1, 2), (1, 3)]);
    bed.part_from(4);
    bed.meet_as(4, "ap", &own(2));
    assert_eq!(awaited(&mut bed, 4), [(1, 3)]);
    bed.part_from(4);
    bed.meet_as(4, "ap", &own(3));
    assert_eq!(awaited(&mut bed, 4), []);
}

/// What is not awaited is acknowledged in its time, so that a busy link does not carry one for each batch.
#[test]
fn what_somebody_waits_for_is_acknowledged_with_its_commit() {
    let mut bed = bed();
    let acks = |bed: &mut Bed, peer| {
        let said = bed.said_to(peer).into_iter();
        let acks = said.filter_map(|message| match message {
            Message::Frontier {
                whole: false,
                sections,
            } => Some(sections),
            _ => None,
        });
        acks.collect::<Vec<_>>()
    };
    let of = |seq| vec![vec![(namespace(0), vec![(origin(2, 1), Seq(seq))])]];
    bed.run_until(100);
    bed.hear_as(2, batch(origin(2, 1), 1, Vec::new()));
    assert_eq!(acks(&mut bed, 2), of(1), "the link was idle");
    bed.hear_as(2, batch(origin(2, 1), 2, Vec::new()));
    assert_eq!(acks(&mut bed, 2), [] as [Vec<_>; 0], "not for each");
    let awaits = |seq| Message::Await(vec![(namespace(0), vec![(origin(2, 1), Seq(seq))])]);
    bed.tell_as(2, &awaits(2));
    assert_eq!(acks(&mut bed, 2), of(2), "it is here already");
    bed.hold_commits = true;
    bed.tell_as(2, &awaits(3));
    bed.hear_as(2, batch(origin(2, 1), 3, Vec::new()));
    assert_eq!(
        acks(&mut bed, 2),
        [] as [Vec<_>; 0],
        "not before it is durable"
    );
    bed.sync();
    assert_eq!(acks(&mut bed, 2), of(3));
    bed.hold_commits = false;
    bed.hear_as(2, batch(origin(2, 1), 4, Vec::new()));
    assert_eq!(
        acks(&mut bed, 2),
        [] as [Vec<_>; 0],
        "nobody waits any more"
    );
    // What another wrote is urgent to nobody, unless somebody waits.
    bed.tell_as(4, &awaits(5));
    bed.hear_as(2, batch(origin(2, 1), 5, Vec::new()));
    assert_eq!(acks(&mut bed, 4), of(5));
    // There are bounds to what a peer can ask for.
    for incarnation in 0..3_000 {
        let section = (namespace(0), vec![(origin(9, incarnation), Seq(1))]);
        bed.tell_as(2, &Message::Await(vec![section]));
    }
    let session = bed.replica.peers.session(id(2)).unwrap();
    assert_eq!(session.awaited.len(), limits::AWAITED_MAX);
}
