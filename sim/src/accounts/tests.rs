#![allow(clippy::unwrap_used)]

use anabranch_core::{Incarnation, Origin, ReplicaId, Seq};
use serde_json::json;

use super::*;
use crate::ledger::Part;

fn origin(replica: u8) -> Origin {
    Origin {
        replica: ReplicaId([replica; 16]),
        incarnation: Incarnation(1),
    }
}

fn frontier(of: &[(u8, u64)]) -> Frontier {
    of.iter()
        .map(|(by, seq)| (origin(*by), Seq(*seq)))
        .collect()
}

fn document(key: &str) -> DocumentId {
    DocumentId::new("n", key).unwrap()
}

/// A write by an origin that had seen this much.
fn write(ledger: &mut Ledger, at: (u8, u64), past: &[(u8, u64)], parts: &[(&str, &[Deed])]) {
    let namespace = document("d").namespace;
    let parts: Vec<_> = parts
        .iter()
        .map(|(key, deeds)| Part {
            document: document(key),
            deeds: deeds.to_vec(),
        })
        .collect();
    let documents = parts.iter().map(|part| part.document.clone()).collect();
    let number = ledger.open(0, namespace.clone(), parts);
    let position = (origin(at.0), Seq(at.1));
    let past = frontier(past);
    ledger
        .issue(&namespace, position, Some(number), past, documents)
        .unwrap();
}

/// A listing of a replica that held this much when it was asked and when it answered.
fn list(
    ledger: &mut Ledger,
    documents: &[(&str, Value)],
    low: &[(u8, u64)],
    high: &[(u8, u64)],
) -> Result<(), String> {
    let page = documents
        .iter()
        .map(|(key, value)| (document(key).key, Some(value.clone())));
    let mut span = Span {
        low: frontier(low),
        high: frontier(high),
    };
    let namespace = document("d").namespace;
    ledger.check_page(&namespace, &page.collect(), |_| true, true, &mut span)
}

const ENTRY: Deed = Deed::Leaves(Place::Entry);
const POST: Deed = Deed::Leaves(Place::Post);

fn adds(by: i64) -> [Deed; 2] {
    let (sum, name) = (Sum::Quantity, "x");
    [Deed::Adds { sum, name, by }, Deed::Leaves(Place::Who)]
}

#[test]
fn what_is_held_is_shown_once_and_what_is_not_is_not() {
    let mut ledger = Ledger::default();
    write(&mut ledger, (1, 1), &[], &[("set/1", &[ENTRY])]);
    write(&mut ledger, (1, 2), &[(1, 1)], &[("feed/1", &[POST])]);
    let set = ("set/1", json!({"m": {"w0.": "w0."}}));
    let feed = |posts| ("feed/1", json!({"posts": posts}));
    let (one, both) = (&[(1, 1)], &[(1, 2)]);
    list(&mut ledger, std::slice::from_ref(&set), one, one).unwrap();
    let whole = [set.clone(), feed(json!(["w1."]))];
    list(&mut ledger, &whole, one, both).unwrap();
    assert!(list(&mut ledger, &whole, one, one).is_err());
    assert!(list(&mut ledger, std::slice::from_ref(&set), one, both).is_ok());
    assert!(list(&mut ledger, std::slice::from_ref(&set), both, both).is_err());
    let twice = [set.clone(), feed(json!(["w1.", "w1."]))];
    assert!(list(&mut ledger, &twice, both, both).is_err());
    let foreign = [set.clone(), feed(json!(["w0."]))];
    assert!(list(&mut ledger, &foreign, one, both).is_err());
    let unknown = [set, ("set/2", json!({"m": {"w0.": "w0."}}))];
    assert!(list(&mut ledger, &unknown, one, one).is_err());
    assert!(ledger.writes[1].seen);
}

#[test]
fn half_a_batch_and_an_effect_without_its_cause_are_found() {
    let mut ledger = Ledger::default();
    write(&mut ledger, (1, 1), &[], &[("set/1", &[ENTRY])]);
    let parts: &[(&str, &[Deed])] = &[("set/2", &[ENTRY]), ("set/3", &[ENTRY])];
    write(&mut ledger, (2, 1), &[(1, 1)], parts);
    let shown = |key, mark: &str| (key, json!({"m": {mark: mark}}));
    let all = [
        shown("set/1", "w0."),
        shown("set/2", "w1."),
        shown("set/3", "w1."),
    ];
    let high = &[(1, 1), (2, 1)];
    list(&mut ledger, &[], &[], high).unwrap();
    list(&mut ledger, &all[..1], &[], high).unwrap();
    list(&mut ledger, &all, &[], high).unwrap();
    assert!(list(&mut ledger, &all[..2], &[], high).is_err());
    assert!(list(&mut ledger, &all[1..], &[], high).is_err());
    let found = list(&mut ledger, &all, &[], &[(2, 1)]).unwrap_err();
    assert!(found.contains("what its writer had seen"), "{found}");
}

#[test]
fn a_removal_takes_exactly_what_its_writer_had_seen() {
    let mut ledger = Ledger::default();
    write(&mut ledger, (1, 1), &[], &[("stock/1", &adds(5))]);
    write(&mut ledger, (2, 1), &[], &[("stock/1", &adds(2))]);
    let removes = [
        Deed::Removes(Scope::Sum(Sum::Quantity, "x")),
        Deed::Leaves(Place::Who),
    ];
    write(&mut ledger, (3, 1), &[(1, 1)], &[("stock/1", &removes)]);
    let all = &[(1, 1), (2, 1), (3, 1)];
    let stock = |x: i64| {
        (
            "stock/1",
            json!({"who": ["w0.", "w1.", "w2."], "q": {"x": x}}),
        )
    };
    list(&mut ledger, &[stock(2)], all, all).unwrap();
    for wrong in [0, 5, 7] {
        assert!(list(&mut ledger, &[stock(wrong)], all, all).is_err());
    }
    let none = ("stock/1", json!({"who": ["w0.", "w1.", "w2."]}));
    assert!(list(&mut ledger, &[none], all, all).is_err());
    // Who has not got the removal yet.
    let before = ("stock/1", json!({"who": ["w0.", "w1."], "q": {"x": 7}}));
    list(&mut ledger, &[before], &all[..2], all).unwrap();
}

#[test]
fn what_cancels_out_beside_a_removal_can_not_be_removed() {
    let mut ledger = Ledger::default();
    for (by, replica) in [(-4, 1), (-5, 2), (5, 3)] {
        let past: &[(u8, u64)] = if replica == 1 { &[] } else { &[(1, 1)] };
        write(&mut ledger, (replica, 1), past, &[("stock/1", &adds(by))]);
    }
    let removes = [
        Deed::Removes(Scope::Sum(Sum::Quantity, "x")),
        Deed::Leaves(Place::Who),
    ];
    let mut remove = |at, past: &[(u8, u64)]| {
        write(&mut ledger, at, past, &[("stock/1", &removes)]);
    };
    remove((4, 1), &[(1, 1)]);
    // It saw -5 and 5 beside the removal: nothing.
    remove((5, 1), &[(1, 1), (2, 1), (3, 1), (4, 1)]);
    remove((6, 1), &[(1, 1), (3, 1)]);
    let all: Vec<(u8, u64)> = (1..=6).map(|replica| (replica, 1)).collect();
    let who: Vec<String> = (0..6).map(|write| format!("w{write}.")).collect();
    let left = ("stock/1", json!({"who": who, "q": {"x": -5}}));
    let nothing = ("stock/1", json!({"who": who}));
    let wrong = ("stock/1", json!({"who": who, "q": {"x": 1}}));
    list(&mut ledger, &[left], &all, &all).unwrap();
    list(&mut ledger, &[nothing], &all, &all).unwrap();
    assert!(list(&mut ledger, &[wrong], &all, &all).is_err());
}

#[test]
fn what_was_deleted_by_one_who_had_seen_it_stays_away() {
    let mut ledger = Ledger::default();
    write(&mut ledger, (1, 1), &[], &[("gone/1", &[ENTRY])]);
    write(&mut ledger, (2, 1), &[], &[("gone/1", &[ENTRY])]);
    let delete = [Deed::Removes(Scope::Document)];
    let parts: &[(&str, &[Deed])] = &[("gone/1", &delete), ("set/1", &[ENTRY])];
    write(&mut ledger, (3, 1), &[(1, 1)], parts);
    let set = ("set/1", json!({"m": {"w2.": "w2."}}));
    let gone = |marks: &[&str]| {
        let entries: serde_json::Map<_, _> = marks
            .iter()
            .map(|mark| ((*mark).to_owned(), json!(mark)))
            .collect();
        ("gone/1", json!({"m": entries}))
    };
    let all = &[(1, 1), (2, 1), (3, 1)];
    list(&mut ledger, &[set.clone(), gone(&["w1."])], all, all).unwrap();
    assert!(list(&mut ledger, &[set.clone(), gone(&["w0.", "w1."])], all, all).is_err());
    assert!(list(&mut ledger, std::slice::from_ref(&set), all, all).is_err());
    let two = &[(1, 1), (3, 1)];
    list(&mut ledger, std::slice::from_ref(&set), two, two).unwrap();
    assert!(list(&mut ledger, &[set.clone(), gone(&[])], two, two).is_err());
    assert!(list(&mut ledger, &[set, gone(&["w0."])], two, two).is_err());
}
