//! What becomes of writes made at the same time, type by type, in examples that a person can follow. The
//! whole table is checked against a model of it in `core/tests`.
#![allow(clippy::unwrap_used)]

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ObjType, ROOT, ReadDoc, ScalarValue};
use serde_json::json;

use super::tests::{Copy, meet, two};
use super::*;

/// Two copies of a document that these edits made, and what both read after each made its own.
fn race(start: Value, one: Value, other: Value) -> (Copy, Copy) {
    let (mut a, mut b) = two(json!(null));
    a.ops(start).unwrap();
    meet(&mut [&mut a, &mut b]);
    a.ops(one).unwrap();
    b.ops(other).unwrap();
    meet(&mut [&mut a, &mut b]);
    (a, b)
}

#[test]
fn a_removed_quantity_keeps_exactly_what_the_remover_had_not_seen() {
    let start = json!([{"op":"adjust","path":"/items/x/qty","by":3}]);
    let (mut a, _) = race(
        start.clone(),
        json!([{"op":"adjust","path":"/items/x/qty","by":2}]),
        json!([{"op":"remove","path":"/items/x/qty"}]),
    );
    assert_eq!(a.json(), json!({"items":{"x":{"qty":2}}}));
    // The same when the line or the whole document goes.
    for all in ["/items/x", "/items"] {
        let (mut a, _) = race(
            start.clone(),
            json!([{"op":"adjust","path":"/items/x/qty","by":2}]),
            json!([{"op":"remove","path":all}]),
        );
        assert_eq!(a.json(), json!({"items":{"x":{"qty":2}}}), "{all}");
    }
}

#[test]
fn two_removals_of_a_quantity_are_one() {
    let (mut a, mut b) = race(
        json!([{"op":"adjust","path":"/qty","by":3}]),
        json!([{"op":"remove","path":"/qty"}]),
        json!([{"op":"remove","path":"/qty"}]),
    );
    assert_eq!(a.json(), json!({}));
    b.ops(json!([{"op":"adjust","path":"/qty","by":5}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"qty":5}));
}

#[test]
fn removers_who_saw_different_parts_take_all_that_either_saw() {
    let (mut a, mut b) = two(json!(null));
    let mut c = Copy::new(3);
    a.ops(json!([{"op":"adjust","path":"/qty","by":3}]))
        .unwrap();
    b.ops(json!([{"op":"adjust","path":"/qty","by":4}]))
        .unwrap();
    meet(&mut [&mut a, &mut c]);
    c.ops(json!([{"op":"remove","path":"/qty"}])).unwrap();
    b.ops(json!([{"op":"remove","path":"/qty"},{"op":"adjust","path":"/qty","by":1}]))
        .unwrap();
    a.ops(json!([{"op":"adjust","path":"/qty","by":7}]))
        .unwrap();
    meet(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(a.json(), json!({"qty":8}));
}

/// Beside a removal, what others add counts if it comes to anything. There is no number to be seen while it doesn't, so nobody removes it.
#[test]
fn what_cancels_out_beside_a_removal_is_not_there_to_be_removed() {
    let adjust = |by: i64| json!([{"op":"adjust","path":"/qty","by":by}]);
    let remove = || json!([{"op":"remove","path":"/qty"}]);
    let (mut a, mut b) = two(json!(null));
    let (mut c, mut d) = (Copy::new(3), Copy::new(4));
    a.ops(adjust(-4)).unwrap();
    meet(&mut [&mut a, &mut b, &mut c, &mut d]);
    a.ops(remove()).unwrap();
    b.ops(adjust(-5)).unwrap();
    c.ops(adjust(5)).unwrap();
    meet(&mut [&mut c, &mut d]);
    d.ops(remove()).unwrap();
    meet(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(a.json(), json!({}));
    let before = a.log.len();
    a.ops(remove()).unwrap();
    assert_eq!(a.log.len(), before, "there is nothing to remove");
    meet(&mut [&mut a, &mut b, &mut c, &mut d]);
    assert_eq!(a.json(), json!({"qty": -5}));
}

#[test]
fn a_quantity_removed_and_counted_again_in_one_write_counts_from_nothing() {
    let (mut a, mut b) = race(
        json!([{"op":"adjust","path":"/qty","by":3}]),
        json!([{"op":"adjust","path":"/qty","by":1},{"op":"remove","path":"/qty"},{"op":"adjust","path":"/qty","by":2}]),
        json!([{"op":"remove","path":"/qty"}]),
    );
    assert_eq!(a.json(), json!({"qty":2}));
    b.ops(json!([{"op":"adjust","path":"/qty","by":-2}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(
        a.json(),
        json!({"qty":0}),
        "it was made again, so it stays at 0"
    );
}

#[test]
fn an_integer_is_where_counting_begins() {
    let (mut a, mut b) = two(json!({"qty":5, "likes":5}));
    a.put(json!({"qty":9, "likes":9}));
    b.ops(json!([{"op":"adjust","path":"/qty","by":2},{"op":"increment","path":"/likes","by":2}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"qty":11, "likes":11}));
    a.put(json!({"qty":0, "likes":0}));
    b.ops(json!([{"op":"adjust","path":"/qty","by":1},{"op":"increment","path":"/likes","by":1}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"qty":1, "likes":1}));
    assert_eq!(a.doc.conflicts(), []);
}

#[test]
fn what_can_not_be_counted_says_what_it_is() {
    let (mut a, _) = two(json!({"s":"x","f":1.5,"list":[1]}));
    a.ops(json!([{"op":"increment","path":"/likes","by":1},{"op":"adjust","path":"/qty","by":1},{"op":"set_add","path":"/tags","value":"x"}])).unwrap();
    for (edit, message) in [
        (
            json!({"op":"increment","path":"/s","by":1}),
            "\"/s\" is a string, and this edit needs a counter",
        ),
        (
            json!({"op":"adjust","path":"/likes","by":1}),
            "\"/likes\" is a counter, and this edit needs a quantity",
        ),
        (
            json!({"op":"increment","path":"/qty","by":1}),
            "\"/qty\" is a quantity, and this edit needs a counter",
        ),
        (
            json!({"op":"adjust","path":"/f","by":1}),
            "\"/f\" is a number with a fraction",
        ),
        (
            json!({"op":"adjust","path":"/tags","by":1}),
            "\"/tags\" is a set",
        ),
        (
            json!({"op":"set_add","path":"/list","value":1}),
            "\"/list\" is a list, and this edit needs a set",
        ),
        (
            json!({"op":"set_remove","path":"/s","value":1}),
            "\"/s\" is a string, and this edit needs a set",
        ),
        (
            json!({"op":"append","path":"/tags","value":1}),
            "\"/tags\" is a set, and this edit needs a list",
        ),
        (
            json!({"op":"increment","path":"/list/0","by":1}),
            "put the number into a map",
        ),
        (
            json!({"op":"put","path":"/tags/0","value":1}),
            "\"/tags\" is a set, and this edit needs a map or a list",
        ),
        (
            json!({"op":"put","path":"/qty/x","value":1}),
            "\"/qty\" is a quantity, and this edit needs a map or a list",
        ),
    ] {
        let error = a.ops(json!([edit])).unwrap_err().to_string();
        assert!(error.contains(message), "{edit}: {error}");
    }
}

#[test]
fn an_addition_to_a_set_outlives_a_removal_that_has_not_seen_it() {
    let (mut a, mut b) = race(
        json!([{"op":"set_add","path":"/tags","value":"x"},{"op":"set_add","path":"/tags","value":"y"}]),
        json!([{"op":"set_add","path":"/tags","value":"x"}]),
        json!([{"op":"set_remove","path":"/tags","value":"x"},{"op":"set_remove","path":"/tags","value":"y"}]),
    );
    assert_eq!(a.json(), json!({"tags":["x"]}));
    b.ops(json!([{"op":"remove","path":"/tags"}])).unwrap();
    a.ops(json!([{"op":"set_add","path":"/tags","value":"z"}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"tags":["z"]}));
}

#[test]
fn sets_made_twice_are_one_and_read_in_canonical_order() {
    let add = |value: Value| json!({"op":"set_add","path":"/deep/tags","value":value});
    let (mut a, mut b) = two(json!(null));
    a.ops(json!([
        add(json!("b")),
        add(json!(10)),
        add(json!(2.0)),
        add(json!({"k":[1.0]}))
    ]))
    .unwrap();
    b.ops(json!([
        add(json!(null)),
        add(json!(true)),
        add(json!(2)),
        add(json!([1])),
        add(json!("a")),
        add(json!(1.5))
    ]))
    .unwrap();
    meet(&mut [&mut a, &mut b]);
    let order = json!({"deep":{"tags":[null, true, 1.5, 2, 10, "a", "b", [1], {"k":[1]}]}});
    assert_eq!(a.json(), order);
    let before = a.log.len();
    a.put(order);
    assert_eq!(a.log.len(), before, "an equal set is no change");
    a.put(json!({"deep":{"tags":["c", "b"]}}));
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json(), json!({"deep":{"tags":["b", "c"]}}));
    a.patch(json!([{"op":"test","path":"/deep/tags/1","value":"c"},{"op":"remove","path":"/deep/tags/0"},{"op":"add","path":"/deep/tags/-","value":7}])).unwrap();
    assert_eq!(a.json(), json!({"deep":{"tags":[7, "c"]}}));
}

#[test]
fn lists_and_texts_made_twice_are_read_one_after_the_other() {
    let (mut a, mut b) = two(json!(null));
    a.ops(json!([{"op":"append","path":"/l","value":1},{"op":"append","path":"/l","value":2},{"op":"splice","path":"/t","at":0,"insert":"one "}])).unwrap();
    b.ops(json!([{"op":"append","path":"/l","value":3},{"op":"append","path":"/l","value":4},{"op":"splice","path":"/t","at":0,"insert":"two "}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    let list = a.json()["l"].clone();
    assert!(
        list == json!([1, 2, 3, 4]) || list == json!([3, 4, 1, 2]),
        "{list}"
    );
    // Edits reach over the seam.
    a.ops(json!([{"op":"put","path":"/l/0","value":"first"},{"op":"insert","path":"/l/2","value":"middle"},{"op":"put","path":"/l/4","value":"last"},
        {"op":"splice","path":"/t","at":2,"delete":4,"insert":"-"}])).unwrap();
    let list = a.json()["l"].clone();
    assert_eq!(
        (&list[0], &list[2], &list[4]),
        (&json!("first"), &json!("middle"), &json!("last"))
    );
    assert_eq!(a.json()["t"].as_str().unwrap().len(), 5);
    a.put(json!({"l":[7, 8], "t":"now this"}));
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json(), json!({"l":[7, 8], "t":"now this"}));
}

#[test]
fn a_replaced_container_keeps_what_others_did_inside_as_a_conflict() {
    let (mut a, mut b) = race(
        json!([{"op":"put","path":"/x","value":{"old":1}}]),
        json!([{"op":"put","path":"/x","value":"text"}]),
        json!([{"op":"put","path":"/x/new","value":2}]),
    );
    assert_eq!(a.json(), json!({"x":"text"}));
    let conflicts = a.doc.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].path.to_string(), "/x");
    assert_eq!(
        (&conflicts[0].winner.value, conflicts[0].winner.kind),
        (&json!("text"), "a string")
    );
    assert_eq!(
        (&conflicts[0].losers[0].value, conflicts[0].losers[0].kind),
        (&json!({"new":2}), "a map")
    );
    // A write that sees both settles it.
    b.ops(json!([{"op":"put","path":"/x","value":{"both":3}}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(
        (a.json(), a.doc.conflicts()),
        (json!({"x":{"both":3}}), vec![])
    );
}

#[test]
fn types_that_clash_stay_readable_and_can_be_settled() {
    let edits = [
        json!({"op":"put","path":"/p","value":"text"}),
        json!({"op":"put","path":"/p","value":7}),
        json!({"op":"put","path":"/p","value":{"k":1}}),
        json!({"op":"put","path":"/p","value":[1]}),
        json!({"op":"increment","path":"/p","by":2}),
        json!({"op":"adjust","path":"/p","by":3}),
        json!({"op":"set_add","path":"/p","value":"e"}),
        json!({"op":"splice","path":"/p","at":0,"insert":"abc"}),
        json!({"op":"put","path":"/p/q","value":1}),
    ];
    for one in &edits {
        for other in &edits {
            let (mut a, mut b) = race(json!([]), json!([one]), json!([other]));
            let seen = a.json()["p"].clone();
            let mut values = vec![seen.clone()];
            for conflict in a.doc.conflicts() {
                values.extend(conflict.losers.into_iter().map(|loser| loser.value));
            }
            assert!(values.len() <= 2, "{one} against {other}: {values:?}");
            for settled in [json!({"p":{"done":true}}), json!({"p":0}), json!({})] {
                a.put(settled.clone());
                meet(&mut [&mut a, &mut b]);
                assert_eq!(b.json(), settled, "{one} against {other}");
                assert_eq!(b.doc.conflicts(), [], "{one} against {other}");
            }
        }
    }
}

#[test]
fn conflicts_say_who_wrote_what_and_when() {
    let (mut a, mut b) = two(json!({"list":[0]}));
    a.doc.write(&Intent::Edits(serde_json::from_value(json!([{"op":"put","path":"/a","value":1},{"op":"put","path":"/list/0","value":"x"}])).unwrap()), 11)
        .map(|changes| a.log.extend(changes)).map_err(|failed| failed.error).unwrap();
    b.doc.write(&Intent::Edits(serde_json::from_value(json!([{"op":"put","path":"/a","value":2},{"op":"put","path":"/list/0","value":"y"}])).unwrap()), 12)
        .map(|changes| b.log.extend(changes)).map_err(|failed| failed.error).unwrap();
    meet(&mut [&mut a, &mut b]);
    let conflicts = a.doc.conflicts();
    let paths: Vec<_> = conflicts
        .iter()
        .map(|conflict| conflict.path.to_string())
        .collect();
    assert_eq!(paths, ["/a", "/list/0"]);
    for conflict in conflicts {
        let writers = [&conflict.winner, &conflict.losers[0]];
        for (replica, time_s) in [(1, 11), (2, 12)] {
            let actor = actor(&tests::origin(replica)).to_hex_string();
            assert!(
                writers
                    .iter()
                    .any(|claim| claim.by.actor == actor && claim.time_s == time_s)
            );
        }
    }
}

/// Another automerge program, which knows nothing of our rules.
fn foreign(actor: u8, write: impl Fn(&mut AutoCommit)) -> Vec<Bytes> {
    let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint)
        .with_actor(ActorId::from([actor; 16]));
    write(&mut doc);
    doc.get_changes(&[])
        .iter()
        .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
        .collect()
}

#[test]
fn documents_of_other_automerge_programs_merge_by_the_same_rules() {
    let cart = |sku: &'static str, likes: i64| {
        move |doc: &mut AutoCommit| {
            let items = doc.put_object(ROOT, "items", ObjType::Map).unwrap();
            let line = doc.put_object(&items, sku, ObjType::Map).unwrap();
            doc.put(&line, "qty", 2).unwrap();
            let note = doc.put_object(ROOT, "note", ObjType::Text).unwrap();
            doc.splice_text(&note, 0, 0, sku).unwrap();
            doc.put(ROOT, "likes", ScalarValue::counter(likes)).unwrap();
        }
    };
    let (mut a, mut b) = two(json!(null));
    a.log.extend(foreign(7, cart("x", 2)));
    b.log.extend(foreign(8, cart("y", 3)));
    let log = a.log.clone();
    assert_eq!(a.doc.absorb(&log), []);
    a.ops(json!([{"op":"adjust","path":"/items/x/qty","by":1},{"op":"increment","path":"/likes","by":10}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    let mut read = a.json();
    assert_eq!(read["note"].as_str().unwrap().len(), 2);
    read.as_object_mut().unwrap().remove("note");
    assert_eq!(
        read,
        json!({"items":{"x":{"qty":3},"y":{"qty":2}},"likes":15})
    );
    assert_eq!(a.doc.conflicts(), []);
    b.ops(json!([{"op":"increment","path":"/likes","by":1},{"op":"remove","path":"/items"}]))
        .unwrap();
    a.ops(json!([{"op":"increment","path":"/likes","by":1},{"op":"adjust","path":"/items/y/qty","by":5}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json()["likes"], json!(17));
    assert_eq!(b.json()["items"], json!({"y":{"qty":5}}));
}

#[test]
fn whoever_reads_without_our_rules_sees_plain_documents() {
    let mut a = Copy::new(1);
    a.ops(json!([{"op":"put","path":"/items/x/name","value":"lamp"},{"op":"increment","path":"/likes","by":2},{"op":"append","path":"/posts","value":"p"}])).unwrap();
    let doc = AutoCommit::load(&a.doc.save()).unwrap();
    let (_, items) = doc.get(ROOT, "items").unwrap().unwrap();
    let (_, line) = doc.get(&items, "x").unwrap().unwrap();
    assert_eq!(
        doc.get(&line, "name").unwrap().unwrap().0.as_str(),
        Some("lamp")
    );
    assert_eq!(doc.get(ROOT, "likes").unwrap().unwrap().0.as_i64(), Some(2));
    let mut keys: Vec<_> = doc.keys(ROOT).collect();
    keys.sort();
    assert_eq!(keys, ["items", "likes", "posts"]);
}

#[test]
fn numbers_of_the_same_worth_are_the_same() {
    let mut a = Copy::new(1);
    a.put(json!({"z": -0.0}));
    a.ops(json!([{"op":"increment","path":"/z","by":1}]))
        .unwrap();
    assert_eq!(a.json(), json!({"z": 1}));
    a.put(json!({"big": u64::MAX}));
    let error = a.ops(json!([{"op":"increment","path":"/big","by":1}]));
    assert!(matches!(error, Err(EditError::Overflow { .. })));
    a.put(json!({"n": 5, "l": [1, 2.0], "f": -0.5}));
    let before = a.log.len();
    a.put(json!({"n": 5.0, "l": [1.0, 2], "f": -0.5}));
    assert_eq!(a.log.len(), before);
    a.patch(json!([{"op":"test","path":"/n","value":5.0},{"op":"test","path":"/l","value":[1,2]}]))
        .unwrap();
    a.ops(json!([{"op":"put","path":"/c","value":3.0},{"op":"increment","path":"/c","by":1}]))
        .unwrap();
    assert_eq!(a.json()["c"], json!(4));
}
