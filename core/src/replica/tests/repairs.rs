//! Documents that can't be read, fetched again from a peer.

use serde_json::json;

use super::bed::{Bed, PEER, batch, increment, namespace, origin, read, writing};
use crate::document::Document;
use crate::effect::{Input, Notice, Output, RequestError};
use crate::message::{Given, Message};
use crate::persist::{DocumentRange, Fetch, Place, StoreError, StoredDocument};
use crate::replica::Room;
use crate::{Batch, DocumentId, Intent, Seq, Token};

fn bed() -> Bed {
    Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        ..Room::default()
    })
}

fn everything() -> DocumentRange {
    DocumentRange {
        from: None,
        before: None,
    }
}

fn asked(bed: &mut Bed) -> Option<u64> {
    bed.messages().iter().rev().find_map(|said| match said {
        Message::Ask { number, .. } => Some(*number),
        _ => None,
    })
}

/// Batches of replica 2 to the document `k`, and what it is after all of them.
fn elsewhere(count: u64) -> (Vec<Batch>, StoredDocument) {
    let mut document = Document::empty(&origin(2, 1));
    let mut batches = Vec::new();
    for seq in 1..=count {
        let intent = Intent::Replace(json!({"n": seq}));
        let changes = document.write(&intent, 0).map_err(|f| f.error).unwrap();
        batches.push(batch(origin(2, 1), seq, changes));
    }
    let stored = StoredDocument {
        state: document.save().into(),
        changes: Vec::new(),
        present: Some(true),
        sum: None,
    };
    (batches, stored)
}

fn given(number: u64, seq: u64, stored: &StoredDocument) -> Message {
    Message::Given(Given {
        number,
        frontiers: vec![(namespace(0), vec![(origin(2, 1), Seq(seq))])],
        documents: Some(vec![(DocumentId::new("n0", "k").unwrap(), stored.clone())]),
    })
}

#[test]
fn what_a_peer_gives_takes_the_place_of_what_is_damaged() {
    let mut bed = bed();
    let (batches, stored) = elsewhere(3);
    bed.meet([(namespace(0), origin(2, 1), Seq(3))]);
    for batch in &batches[..2] {
        bed.hear(batch.clone());
    }
    bed.run_until(1_000);
    bed.hold_fetches = true;
    let reading = bed.ask(read("k"), &Token::default());
    let (id, ..) = bed.fetches.pop_front().unwrap();
    let what = "the tile is damaged".to_owned();
    let range = Some(everything());
    let result = Err(StoreError::Damaged { range, what });
    bed.give(Input::Fetched { id, result });
    assert!(matches!(
        bed.answer(reading).unwrap(),
        Err(RequestError::Damaged { .. })
    ));
    let number = asked(&mut bed).expect("the peer is asked");
    bed.hold_folds = true;
    bed.tell(&given(number, 3, &stored));
    assert!(
        bed.folds.is_empty(),
        "it contains a batch that is not here yet"
    );
    bed.hear(batches[2].clone());
    let repair = bed.folds[0].repair.clone().expect("now it is here");
    assert_eq!(repair.range, everything());
    assert_eq!(repair.documents[0].1, stored);
    bed.fold();
    let noticed = |output: &Output| matches!(output, Output::Notice(Notice::DocumentsRepaired { peer, .. }) if *peer == PEER);
    assert!(bed.outputs.iter().any(noticed));
    assert!(bed.replica.repairs.open().is_empty());
    assert_eq!(bed.replica.counters.documents_repaired, 1);
}

/// What a peer gives has what came here since the start, too, and that is still in memory.
#[test]
fn what_is_given_and_waits_in_memory_as_well_is_counted_once() {
    let mut bed = Bed::with_room(Room {
        fold_documents: 1,
        fold_after_ms: 60_000,
        fold_idle_ms: 60_000,
        ..Room::default()
    });
    let (batches, stored) = elsewhere(2);
    bed.request(writing(vec![increment("a", "/n")]), &Token::default())
        .unwrap();
    let held = vec![(origin(1, 1), Seq(1)), (origin(2, 1), Seq(2))];
    let positions = held
        .iter()
        .map(|(origin, seq)| (namespace(0), *origin, *seq));
    let positions: Vec<_> = positions.collect();
    bed.meet(positions.clone());
    bed.hear(batches[0].clone());
    bed.restart();
    bed.hold_folds = true;
    bed.hold_fetches = true;
    bed.meet(positions);
    bed.run_until(61_000);
    assert_eq!(bed.folds.len(), 1, "what was replayed is being folded");
    bed.hear(batches[1].clone());
    bed.ask(read("k"), &Token::default());
    let (id, ..) = bed.fetches.pop_back().unwrap();
    let what = "the tile is damaged".to_owned();
    let damaged = DocumentRange {
        from: Some(DocumentId::new("n0", "k").unwrap()),
        before: None,
    };
    let range = Some(damaged);
    let result = Err(StoreError::Damaged { range, what });
    bed.give(Input::Fetched { id, result });
    let number = asked(&mut bed).expect("the peer is asked");
    bed.tell(&Message::Given(Given {
        number,
        frontiers: vec![(namespace(0), held)],
        documents: Some(vec![(DocumentId::new("n0", "k").unwrap(), stored)]),
    }));
    bed.hold_folds = false;
    bed.fold();
    bed.hold_fetches = false;
    bed.fetch();
    bed.run_until(200_000);
    assert_eq!(bed.replica.counters.documents_repaired, 1);
    let changes = batches.iter().flat_map(|batch| &batch.writes[0].changes);
    let terms = changes.map(|change| crate::summary::term_of_change(change));
    let sum = terms.fold(0, u64::wrapping_add);
    let place = Place::of(&DocumentId::new("n0", "k").unwrap());
    let counted = bed.replica.summaries.of(&namespace(0)).sum(place);
    assert_eq!(counted, sum);
    assert!(bed.replica.summaries.is_whole());
}

/// The store answers what was asked before everything was to be counted anew.
#[test]
fn what_was_asked_for_an_earlier_count_does_not_count() {
    let mut bed = bed();
    bed.request(writing(vec![increment("a", "/n")]), &Token::default())
        .unwrap();
    bed.run_until(1_000);
    bed.restart();
    bed.hold_fetches = true;
    bed.run_until(10_000);
    let now = bed.now();
    bed.replica.count_anew(now);
    bed.run_until(20_000);
    let asks = |(_, fetch, _): &&(_, Fetch, _)| matches!(fetch, Fetch::Sums { .. });
    assert_eq!(bed.fetches.iter().filter(asks).count(), 2);
    bed.hold_fetches = false;
    bed.fetch();
    bed.run_until(30_000);
    let id = DocumentId::new("n0", "a").unwrap();
    let stored = bed.replica.sum_of_stored(&bed.store.documents[&id]);
    let counted = bed.replica.summaries.of(&namespace(0)).sum(Place::of(&id));
    assert_eq!(counted, stored);
}

#[test]
fn who_lacks_what_was_lost_is_not_asked_nor_believed() {
    let mut bed = bed();
    let (batches, stored) = elsewhere(2);
    bed.meet([(namespace(0), origin(2, 1), Seq(1))]);
    for batch in batches {
        bed.hear(batch);
    }
    bed.messages();
    let damaged = |bed: &mut Bed| {
        bed.give(Input::Damaged {
            range: everything(),
            what: "found by itself".to_owned(),
        });
    };
    damaged(&mut bed);
    bed.run_until(10_000);
    assert_eq!(asked(&mut bed), None, "the peer has one batch of two");
    let sections = vec![(namespace(0), vec![(origin(2, 1), Seq(2))])];
    bed.tell(&Message::Frontier {
        whole: false,
        sections,
    });
    bed.run_until(12_000);
    let number = asked(&mut bed).expect("now it has both");
    damaged(&mut bed);
    assert_eq!(asked(&mut bed), None, "once is enough");
    bed.hold_folds = true;
    bed.tell(&given(number, 1, &stored));
    assert!(bed.folds.is_empty(), "it said itself that it lacks one");
    bed.run_until(14_000);
    let number = asked(&mut bed).expect("it is asked again");
    let garbage = StoredDocument {
        state: vec![1, 2, 3].into(),
        ..stored.clone()
    };
    bed.tell(&given(number, 2, &garbage));
    assert!(bed.folds.is_empty(), "what does not load is no document");
    bed.run_until(16_000);
    let number = asked(&mut bed).expect("and again");
    bed.tell(&given(number + 1, 2, &stored));
    assert!(bed.folds.is_empty(), "nobody asked for that");
    bed.tell(&given(number, 2, &stored));
    assert!(bed.folds[0].repair.is_some());
    // A disk that has no room for it does not end it.
    let id = bed.folds.pop_front().unwrap().id;
    let result = Err(StoreError::Full("no room".to_owned()));
    bed.give(Input::Folded { id, result });
    bed.run_until(18_000);
    assert!(asked(&mut bed).is_some());
}

#[test]
fn a_peer_is_given_all_that_is_durable_and_what_it_contains() {
    let mut bed = bed();
    bed.meet([]);
    let add = |bed: &mut Bed| bed.ask(writing(vec![increment("k", "/n")]), &Token::default());
    add(&mut bed);
    bed.run_until(1_000);
    add(&mut bed);
    bed.hold_commits = true;
    add(&mut bed);
    bed.messages();
    bed.tell(&Message::Ask {
        number: 7,
        range: everything(),
    });
    let given = bed.messages().into_iter().find_map(|said| match said {
        Message::Given(given) => Some(given),
        _ => None,
    });
    let given = given.unwrap();
    assert_eq!(given.number, 7);
    assert_eq!(
        given.frontiers,
        [(namespace(0), vec![(origin(1, 1), Seq(2))])]
    );
    let documents = given.documents.unwrap();
    let mut document = Document::of_stored(&origin(3, 1), Some(&documents[0].1)).unwrap();
    assert_eq!(
        document.read(),
        Some(json!({"n": 2})),
        "the third is not durable"
    );
}

/// What was folded while the store was asked is neither in its answer nor in memory.
#[test]
fn a_peer_is_given_what_was_folded_meanwhile() {
    let mut bed = bed();
    bed.meet([]);
    bed.request(writing(vec![increment("k", "/n")]), &Token::default())
        .unwrap();
    bed.hold_folds = true;
    bed.run_until(1_000);
    bed.hold_fetches = true;
    bed.tell(&Message::Ask {
        number: 1,
        range: everything(),
    });
    bed.fold();
    bed.messages();
    bed.fetch();
    let given = bed.messages().into_iter().find_map(|said| match said {
        Message::Given(given) => given.documents,
        _ => None,
    });
    let documents = given.unwrap();
    let mut document = Document::of_stored(&origin(3, 1), Some(&documents[0].1)).unwrap();
    assert_eq!(document.read(), Some(json!({"n": 1})));
}

/// What was damaged can be read again by the time that somebody answers, and something was folded into it.
#[test]
fn what_a_peer_gives_never_takes_the_place_of_something_newer() {
    let mut bed = bed();
    let (batches, stored) = elsewhere(2);
    bed.meet([(namespace(0), origin(2, 1), Seq(2))]);
    for batch in batches {
        bed.hear(batch);
    }
    bed.run_until(1_000);
    bed.messages();
    bed.give(Input::Damaged {
        range: everything(),
        what: "found by itself".to_owned(),
    });
    let number = asked(&mut bed).expect("the peer is asked");
    bed.request(writing(vec![increment("k", "/m")]), &Token::default())
        .unwrap();
    bed.run_until(1_500);
    assert_eq!(bed.replica.shelf.unfolded_bytes(), 0, "it is folded");
    bed.tell(&given(number, 2, &stored));
    bed.run_until(1_600);
    assert_eq!(bed.read("k"), Some(json!({"n": 2, "m": 1})));
    let sections = vec![(namespace(0), vec![(origin(1, 1), Seq(1))])];
    bed.tell(&Message::Frontier {
        whole: false,
        sections,
    });
    bed.run_until(10_000);
    asked(&mut bed).expect("it is asked again, once it has that too");
    assert!(!bed.replica.repairs.open().is_empty());
}
