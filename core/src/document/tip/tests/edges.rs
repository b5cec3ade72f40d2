//! Single places, one by one.

use super::Outcome::{ByDocument, ByTip, Refused};
use super::*;

fn two(start: Value) -> (Pair, Pair) {
    let (mut a, mut b) = (Pair::new(1), Pair::new(2));
    if !start.is_null() {
        a.write(&Intent::Replace(start));
        meet(&mut a, &mut b);
    }
    (a, b)
}

fn meet(a: &mut Pair, b: &mut Pair) {
    let (ours, theirs) = (a.log.clone(), b.log.clone());
    a.absorb(&theirs);
    b.absorb(&ours);
}

fn adjust(path: &str, by: i64) -> Value {
    json!([{"op": "adjust", "path": path, "by": by}])
}

fn increment(path: &str, by: i64) -> Value {
    json!([{"op": "increment", "path": path, "by": by}])
}

fn put(path: &str, value: impl Into<Value>) -> Value {
    json!([{"op": "put", "path": path, "value": value.into()}])
}

#[test]
fn a_cart_is_written_from_its_first_line_on_without_the_document() {
    let mut cart = Pair::new(1);
    for line in 0..12 {
        let price = json!({"op": "put", "path": format!("/items/{line}/price"), "value": 2.55});
        let quantity = json!({"op": "adjust", "path": format!("/items/{line}/qty"), "by": 1});
        assert_eq!(cart.ops(json!([quantity, price])), ByTip);
        assert_eq!(cart.ops(adjust("/items/0/qty", 1)), ByTip);
    }
    assert_eq!(
        cart.ops(json!([{"op": "set_add", "path": "/coupons", "value": "X"}])),
        ByTip
    );
    assert_eq!(
        cart.ops(json!([{"op": "set_add", "path": "/coupons", "value": "X"}])),
        ByTip
    );
    assert_eq!(
        cart.ops(json!([{"op": "set_remove", "path": "/coupons", "value": "X"}])),
        ByTip
    );
    assert_eq!(cart.ops(put("/note", "for Alice")), ByTip);
    assert_eq!(cart.ops(json!([{"op": "remove", "path": "/note"}])), ByTip);
    assert_eq!(cart.ops(json!([{"op": "remove", "path": "/note"}])), ByTip);
    let read = cart.doc.read().unwrap();
    assert_eq!(read["items"]["0"], json!({"qty": 13, "price": 2.55}));
}

#[test]
fn a_feed_grows_at_both_ends_without_the_document() {
    let mut feed = Pair::new(1);
    for at in 0..6 {
        let post = json!({"text": format!("post {at}"), "tags": ["a", {"b": at}]});
        assert_eq!(
            feed.ops(json!([{"op": "append", "path": "/posts", "value": post}])),
            ByTip
        );
        assert_eq!(
            feed.ops(json!([{"op": "insert", "path": "/posts/0", "value": at}])),
            ByTip
        );
        assert_eq!(
            feed.ops(json!([{"op": "insert", "path": "/posts/-", "value": [at]}])),
            ByTip
        );
    }
    assert_eq!(
        feed.doc.read().unwrap()["posts"].as_array().unwrap().len(),
        18
    );
}

#[test]
fn the_end_of_a_list_is_the_last_that_can_be_seen() {
    let append = |value: i64| json!([{"op": "append", "path": "/l", "value": value}]);
    let (mut a, mut b) = two(json!({"l": [1, 2, 3]}));
    // What is last is another operation's value, but the first one's place.
    a.ops(put("/l/2", "over"));
    meet(&mut a, &mut b);
    for pair in [&mut a, &mut b] {
        let first = json!([{"op": "insert", "path": "/l/0", "value": 0}]);
        assert_eq!(pair.ops(first), ByTip);
        assert_eq!(pair.ops(append(4)), ByTip);
        assert_eq!(pair.ops(append(5)), ByTip);
    }
    let last = json!([{"op": "put", "path": "/l/5", "value": 9}, {"op": "append", "path": "/l", "value": 6}, {"op": "remove", "path": "/l/6"}]);
    a.ops(last);
    let grown = Intent::Edits(serde_json::from_value(append(0)).unwrap());
    let mut tip = a.doc.tip();
    a.doc.learn(&mut tip, &grown);
    a.tip = Some(tip);
    assert_eq!(a.ops(append(7)), ByTip);
    let empty = json!([{"op": "put", "path": "/l", "value": []}]);
    a.ops(empty);
    assert_eq!(a.ops(append(8)), ByTip);
    assert_eq!(a.doc.read().unwrap(), json!({"l": [8]}));
}

/// Automerge names the writer's own latest change beside the heads, also where they follow it.
#[test]
fn a_write_after_somebody_elses_names_the_writers_own_too() {
    let (mut a, mut b) = two(json!({"n": 1}));
    a.ops(adjust("/q", 1));
    meet(&mut a, &mut b);
    b.ops(adjust("/q", 1));
    meet(&mut a, &mut b);
    let tip = a.surveyed();
    assert!(tip.recent.own().is_some_and(|own| tip.end.heads != [own]));
    assert_eq!(a.ops(adjust("/q", 1)), ByTip);
    assert_eq!(a.ops(adjust("/q", 1)), ByTip);
    let tip = a.tip.as_ref().unwrap();
    assert!(tip.recent.own().is_some_and(|own| tip.end.heads == [own]));
}

#[test]
fn a_write_joins_all_that_was_written_at_once() {
    let (mut a, mut b) = two(json!({"n": 1}));
    a.ops(adjust("/q", 1));
    b.ops(adjust("/q", 2));
    meet(&mut a, &mut b);
    assert_eq!(a.surveyed().end.heads.len(), 2);
    // Two counters make up the quantity, and one of them counts on, by changes of its own.
    assert_eq!(a.ops(adjust("/q", 4)), ByTip);
    assert_eq!(a.tip.as_ref().unwrap().end.heads.len(), 1);
    let mut edits = put("/r", 1).as_array().unwrap().clone();
    edits.extend(adjust("/q", 4).as_array().unwrap().clone());
    edits.extend(put("/r", 2).as_array().unwrap().clone());
    let log = a.log.len();
    assert_eq!(a.ops(edits.into()), ByTip);
    assert_eq!(a.log.len(), log + 3);
    assert_eq!(a.doc.read().unwrap(), json!({"n": 1, "q": 11, "r": 2}));
    // What is refused at last takes back what was made before.
    let mut edits = adjust("/q", 1).as_array().unwrap().clone();
    edits.extend(
        adjust("/r", limits::COUNTER_MAX)
            .as_array()
            .unwrap()
            .clone(),
    );
    assert_eq!(a.ops(edits.into()), Refused);
    meet(&mut a, &mut b);
    b.ops(adjust("/q", 1));
    meet(&mut a, &mut b);
    assert!(a.surveyed().recent.own().is_some());
    assert_eq!(a.ops(adjust("/q", 1)), ByTip);
}

#[test]
fn maps_that_were_made_twice_are_one_to_write_to() {
    let (mut a, mut b) = two(json!({"n": 1}));
    a.ops(adjust("/items/x/qty", 1));
    b.ops(adjust("/items/y/qty", 2));
    meet(&mut a, &mut b);
    for line in ["x", "y", "z"] {
        assert_eq!(b.ops(adjust(&format!("/items/{line}/qty"), 4)), ByTip);
        assert_eq!(a.ops(put(&format!("/items/{line}/price"), 4)), ByTip);
    }
}

#[test]
fn an_integer_that_was_put_is_counted_on() {
    for edit in [increment, adjust] {
        let mut a = Pair::new(1);
        a.ops(put("/items/x", json!({"qty": 3})));
        assert_eq!(a.ops(edit("/items/x/qty", 0)), ByTip);
        assert_eq!(a.ops(edit("/items/x/qty", 2)), ByTip);
        a.tip = None;
        assert_eq!(a.ops(edit("/items/x/qty", 2)), ByTip);
        assert_eq!(a.ops(put("/items/x/qty", 1)), ByTip);
        assert_eq!(a.ops(put("/items/x/qty", "none")), ByDocument);
        assert_eq!(a.ops(edit("/items/x/qty", 1)), ByDocument);
    }
}

#[test]
fn what_would_leave_the_exact_range_is_refused_in_the_same_words() {
    let max = limits::COUNTER_MAX;
    let (mut a, _) = two(json!({"base": max, "text": "x", "big": u64::MAX}));
    assert_eq!(a.ops(increment("/n", max)), ByTip);
    assert_eq!(a.ops(increment("/n", 1)), Refused);
    assert_eq!(a.ops(increment("/n", i64::MAX)), Refused);
    assert_eq!(a.ops(increment("/base", 1)), Refused);
    assert_eq!(a.ops(adjust("/new", max + 1)), Refused);
    assert_eq!(a.ops(adjust("/made/on/the/way", max + 1)), Refused);
    assert_eq!(a.ops(put("/n", max + 1)), Refused);
    assert_eq!(a.ops(put("/n", -max)), Refused);
    let second = json!([{"op": "put", "path": "/a", "value": 1}, {"op": "increment", "path": "/n", "by": 1}]);
    assert_eq!(a.ops(second), Refused);
    for path in ["/text", "/big"] {
        assert_eq!(a.ops(increment(path, 1)), ByDocument);
    }
    assert_eq!(a.ops(adjust("/n", 1)), ByDocument);
}

#[test]
fn an_equal_value_is_no_write() {
    for value in [
        json!(1),
        json!("a"),
        json!(2.5),
        json!(true),
        json!(null),
        json!(u64::MAX),
    ] {
        let mut a = Pair::new(1);
        a.ops(put("/x", value.clone()));
        let version = a.doc.version();
        assert_eq!(a.ops(put("/x", value)), ByTip);
        assert_eq!(a.doc.version(), version);
        assert_eq!(a.ops(put("/x", "other")), ByTip);
        assert_ne!(a.doc.version(), version);
    }
}

#[test]
fn conflicts_and_what_was_removed_take_the_document() {
    let (mut a, mut b) = two(json!({"r": 0, "m": {"x": 1}}));
    a.ops(increment("/n", 1));
    meet(&mut a, &mut b);
    a.ops(json!([{"op": "remove", "path": "/n"}, {"op": "put", "path": "/r", "value": "a"}, {"op": "remove", "path": "/m"}]));
    b.ops(json!([{"op": "increment", "path": "/n", "by": 2}, {"op": "put", "path": "/r", "value": "b"}, {"op": "put", "path": "/m/y", "value": 1}]));
    meet(&mut a, &mut b);
    assert_eq!(
        a.ops(increment("/n", 1)),
        ByDocument,
        "its rest outlived its removal"
    );
    assert_eq!(a.ops(put("/r", "c")), ByDocument, "two were put");
    assert_eq!(
        a.ops(put("/m/z", 1)),
        ByDocument,
        "it is there by what is inside"
    );
    // Now somebody said what is there.
    assert_eq!(a.ops(increment("/n", 1)), ByTip);
    assert_eq!(a.ops(put("/r", "d")), ByTip);
    assert_eq!(a.ops(put("/m/z", 2)), ByTip);
    assert_eq!(
        a.doc.read().unwrap(),
        json!({"n": 4, "r": "d", "m": {"y": 1, "z": 2}})
    );
}

#[test]
fn a_deleted_document_is_made_again_by_itself() {
    let (mut a, mut b) = two(json!({"n": 1}));
    assert_eq!(a.write(&Intent::Delete), ByDocument);
    assert!(!a.tip.as_ref().unwrap().present());
    assert_eq!(a.ops(increment("/n", 1)), ByDocument);
    assert_eq!(a.ops(increment("/n", 1)), ByTip);
    a.write(&Intent::Delete);
    b.ops(put("/other", 1));
    meet(&mut a, &mut b);
    assert_eq!(
        a.ops(increment("/k", 1)),
        ByDocument,
        "what survived does not say that it is there"
    );
    assert_eq!(a.ops(increment("/k", 1)), ByTip);
}

#[test]
fn a_document_begins_by_whatever_is_said_of_it_first() {
    for (value, first, second) in [
        (json!({}), ByTip, ByTip),
        (json!({"a": {"b": [1, "x"]}, "n": 1}), ByTip, ByDocument),
        (json!([]), ByDocument, ByDocument),
    ] {
        let mut a = Pair::new(1);
        assert_eq!(a.write(&Intent::Replace(value.clone())), first);
        assert_eq!(a.write(&Intent::Replace(value)), second);
    }
    let mut a = Pair::new(1);
    assert_eq!(a.ops(json!([])), ByTip);
    assert_eq!(a.ops(json!([{"op": "remove", "path": "/a"}, {"op": "set_remove", "path": "/m/s", "value": 1}])), ByTip);
    assert!(!a.tip.as_ref().unwrap().present());
    assert_eq!(a.write(&Intent::MergePatch(json!({"a": null}))), ByDocument);
    assert_eq!(
        a.write(&Intent::MergePatch(
            json!({"a": {"b": null, "c": {}}, "d": 1})
        )),
        ByTip
    );
    assert_eq!(a.ops(increment("/a/c/likes", 0)), ByTip);
    assert_eq!(
        a.doc.read().unwrap(),
        json!({"a": {"c": {"likes": 0}}, "d": 1})
    );
}

#[test]
fn another_origin_writes_on() {
    let (mut a, mut b) = two(json!({"n": 1}));
    a.ops(adjust("/q", 1));
    for replica in [7, 1, 8, 1] {
        a.reload(replica);
        assert_eq!(a.ops(adjust("/q", 1)), ByTip);
        assert_eq!(a.ops(put("/r", i64::from(replica))), ByTip);
        meet(&mut a, &mut b);
        assert_eq!(a.doc.read(), b.doc.read());
    }
}

#[test]
fn what_is_large_takes_the_document() {
    let mut a = Pair::new(1);
    assert_eq!(a.ops(put("/text", "a".repeat(100_000))), ByDocument);
    assert_eq!(a.ops(put("/list", vec![0; 1_000])), ByDocument);
    let entries: serde_json::Map<String, Value> =
        (0..300).map(|n| (n.to_string(), json!(n))).collect();
    assert_eq!(a.ops(put("/map", entries)), ByDocument);
    // Of such a map the tip knows what was edited.
    assert_eq!(a.ops(put("/map/7", "x")), ByDocument);
    assert_eq!(a.ops(put("/map/7", "y")), ByTip);
    assert_eq!(a.ops(put("/map/new", "x")), ByDocument);
    assert_eq!(a.ops(put("/map/new", "y")), ByTip);
    assert_eq!(
        a.ops(json!([{"op": "append", "path": "/list", "value": 1}])),
        ByTip
    );
    let tip = a.tip.as_ref().unwrap();
    assert!(tip.places.len() < 20, "{} places", tip.places.len());
}

/// 100,000 of them have to fit into about 110 MB.
#[test]
fn a_tip_is_small() {
    let mut a = Pair::new(1);
    for line in 0..5 {
        a.ops(adjust(&format!("/items/{line}/qty"), 1));
    }
    let tip = a.surveyed();
    assert_eq!(tip.places.len(), 12);
    assert!(size_of::<Place>() <= 56, "{}", size_of::<Place>());
    assert!(tip.bytes() <= 1_100, "{}", tip.bytes());
}

#[test]
fn what_is_nested_too_deep_is_refused_as_ever() {
    let mut kept = 0;
    for depth in 55..70 {
        for object in [false, true] {
            let nest = |inside, _| match object {
                true => json!({"x": inside}),
                false => json!([inside]),
            };
            let value = (0..depth).fold(json!(1), nest);
            for (op, path) in [
                ("put", "/a/b"),
                ("append", "/l/m"),
                ("insert", "/l/m/0"),
                ("set_add", "/s/t"),
                ("set_remove", "/s/t"),
            ] {
                let mut a = Pair::new(1);
                let outcome = a.ops(json!([{"op": op, "path": path, "value": value}]));
                kept += usize::from(outcome == ByTip);
            }
            Pair::new(1).write(&Intent::Replace(json!({ "a": value })));
            Pair::new(1).write(&Intent::MergePatch(json!({ "a": value })));
        }
    }
    assert!(kept > 60, "{kept}");
}

/// Runs, and what stands between them, in every column and beyond a byte's count.
#[test]
fn many_operations_are_encoded_as_automerge_does_it() {
    for period in [1, 2, 3, 64, 65, 128, 129, 400] {
        let value = |n: usize| match n % period % 4 {
            _ if n % period > 8 => json!("the same"),
            0 => json!(n),
            1 => json!({"x": n}),
            2 => json!([null, n.is_multiple_of(2), 0.5]),
            _ => json!(u64::MAX - n as u64),
        };
        let mut a = Pair::new(1);
        let many: Vec<_> = (0..130).map(value).collect();
        assert_eq!(a.ops(put("/list", many)), ByTip);
        let edit = |n: usize| match n % period % 3 {
            _ if n % period > 8 => json!({"op": "increment", "path": "/n", "by": 1}),
            0 => json!({"op": "append", "path": "/list", "value": n}),
            1 => json!({"op": "put", "path": format!("/m/{}", n % 7), "value": n}),
            _ => json!({"op": "set_add", "path": "/set", "value": n % 5}),
        };
        assert_eq!(a.ops((0..300).map(edit).collect()), ByTip);
    }
}
