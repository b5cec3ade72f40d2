//! Types of the kinds that people write, and the edits that come of them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::typed::{Counter, Quantity, Set, Text};

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Cart {
    status: String,
    lines: BTreeMap<String, Line>,
    coupons: Set<String>,
    note: Text,
    changes: Counter,
    gift: Option<Gift>,
    log: Vec<Entry>,
    #[serde(flatten)]
    delivery: Delivery,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
struct Line {
    pieces: Quantity,
    #[serde(default)]
    price: f64,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Gift {
    Card { text: Text },
    Wrap,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Entry {
    what: String,
    seen_by: Set<u32>,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Delivery {
    door: Text,
    attempts: Counter,
}

fn edits<T>(there: Option<Value>, change: impl FnOnce(&mut T)) -> Result<Value, TypedError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let (before, mut content) = Before::read::<T>(there)?;
    change(&mut content);
    Ok(serde_json::to_value(before.edits(&content)?).unwrap())
}

#[test]
fn what_changed_is_written_by_intent() {
    let there = json!({
        "lines": {"7": {"pieces": 2, "price": 1.0, "theirs": true}},
        "coupons": ["A", "B"], "note": "ring twice", "changes": 4, "unknown": [1],
    });
    let edits = edits(Some(there), |cart: &mut Cart| {
        let line = cart.lines.get_mut("7").unwrap();
        line.pieces.adjust(-1);
        line.price = 2.0;
        cart.lines
            .entry("8".to_owned())
            .or_default()
            .pieces
            .adjust(3);
        cart.coupons.remove("A");
        cart.coupons.insert("C");
        cart.note.splice(5, 0, "only ");
        cart.changes.add(1);
        cart.gift = Some(Gift::Card { text: "x".into() });
        cart.delivery.attempts.add(1);
        cart.log.push(Entry {
            what: "gift".to_owned(),
            seen_by: [1].into_iter().collect(),
        });
    });
    assert_eq!(
        edits.unwrap(),
        json!([
            {"op": "increment", "path": "/attempts", "by": 1},
            {"op": "increment", "path": "/changes", "by": 1},
            {"op": "set_remove", "path": "/coupons", "value": "A"},
            {"op": "set_add", "path": "/coupons", "value": "C"},
            {"op": "put", "path": "/gift/kind", "value": "card"},
            {"op": "splice", "path": "/gift/text", "at": 0, "delete": 0, "insert": "x"},
            {"op": "adjust", "path": "/lines/7/pieces", "by": -1},
            {"op": "put", "path": "/lines/7/price", "value": 2},
            {"op": "adjust", "path": "/lines/8/pieces", "by": 3},
            {"op": "put", "path": "/lines/8/price", "value": 0},
            {"op": "append", "path": "/log", "value": {"what": "gift"}},
            {"op": "set_add", "path": "/log/0/seen_by", "value": 1},
            {"op": "splice", "path": "/note", "at": 5, "delete": 0, "insert": "only "},
        ])
    );
}

#[test]
fn no_change_writes_nothing_whether_there_is_a_document_or_not() {
    assert_eq!(edits(None, |_: &mut Cart| ()).unwrap(), json!([]));
    let there = json!({"status": "open", "gift": {"kind": "wrap"}});
    let same = |cart: &mut Cart| {
        cart.status = "open".to_owned();
        cart.changes.add(2);
        cart.changes.add(-2);
    };
    assert_eq!(edits(Some(there), same).unwrap(), json!([]));
}

#[test]
fn a_new_document_has_every_field() {
    let edits = edits(None, |cart: &mut Cart| cart.status = "open".to_owned()).unwrap();
    assert_eq!(
        edits,
        json!([
            {"op": "increment", "path": "/attempts", "by": 0},
            {"op": "increment", "path": "/changes", "by": 0},
            {"op": "splice", "path": "/door", "at": 0, "delete": 0, "insert": ""},
            {"op": "put", "path": "/gift", "value": null},
            {"op": "put", "path": "/lines", "value": {}},
            {"op": "put", "path": "/log", "value": []},
            {"op": "splice", "path": "/note", "at": 0, "delete": 0, "insert": ""},
            {"op": "put", "path": "/status", "value": "open"},
        ])
    );
}

#[test]
fn what_takes_the_place_of_null_is_created_as_what_it_is() {
    let there = json!({"gift": null, "note": null, "changes": null});
    let edits = edits(Some(there), |cart: &mut Cart| {
        cart.gift = Some(Gift::Wrap);
        cart.note.push_str("x");
        cart.changes.add(1);
    });
    assert_eq!(
        edits.unwrap(),
        json!([
            {"op": "remove", "path": "/changes"},
            {"op": "increment", "path": "/changes", "by": 1},
            {"op": "remove", "path": "/gift"},
            {"op": "put", "path": "/gift/kind", "value": "wrap"},
            {"op": "remove", "path": "/note"},
            {"op": "splice", "path": "/note", "at": 0, "delete": 0, "insert": "x"},
        ])
    );
}

#[test]
fn a_document_that_does_not_fit_says_where_and_why() {
    let message = |there: Value| read::<Cart>(&there).unwrap_err().to_string();
    let error = message(json!({"lines": {"7/8": {"pieces": "two"}}}));
    assert!(error.contains("\"/lines/7~18/pieces\""), "{error}");
    assert!(
        error.contains("Cart: invalid type: string \"two\", expected i64"),
        "{error}"
    );
    let error = message(json!({"log": [{"seen_by": []}]}));
    assert!(
        error.contains("\"/log/0\"") && error.contains("missing field `what`"),
        "{error}"
    );
    let error = message(json!({"lines": {"7": {"pieces": 1.5}}}));
    assert!(
        error.contains("floating point `1.5`, expected i64"),
        "{error}"
    );
}

#[test]
fn what_no_document_can_hold_is_refused_with_its_place() {
    let past = edits(None, |cart: &mut Cart| {
        cart.lines
            .entry("7".to_owned())
            .or_default()
            .pieces
            .adjust(i64::MAX);
    });
    let (path, value) = ("/lines/7/pieces".to_owned(), i64::MAX.to_string());
    assert_eq!(past, Err(TypedError::OutOfRange { path, value }));
    let endless = edits(None, |cart: &mut Cart| {
        cart.lines.entry("7".to_owned()).or_default().price = f64::INFINITY;
    });
    let (path, value) = ("/lines/7/price".to_owned(), "inf".to_owned());
    assert_eq!(endless, Err(TypedError::OutOfRange { path, value }));

    #[derive(Serialize, Deserialize, Default)]
    struct Odd {
        points: HashMap<u8, HashMap<(u8, u8), u8>>,
    }
    let keys = Tree::of_document(&Odd {
        points: [(1, [((1, 2), 3)].into())].into(),
    });
    let path = "/points/1".to_owned();
    assert_eq!(
        keys,
        Err(TypedError::Key {
            path,
            found: "a list"
        })
    );

    let list = edits(None, |list: &mut Vec<u8>| list.push(1));
    let found = "a list";
    let type_name = std::any::type_name::<Vec<u8>>();
    assert_eq!(list, Err(TypedError::NotAnObject { type_name, found }));
}

#[test]
fn to_other_serialisers_fields_are_plain() {
    let cart = Cart {
        changes: Counter::from(3),
        coupons: ["A".to_owned()].into_iter().collect(),
        note: "x".into(),
        ..Cart::default()
    };
    let json = serde_json::to_value(&cart).unwrap();
    assert_eq!(
        json,
        json!({
            "status": "", "lines": {}, "coupons": ["A"], "note": "x", "changes": 3, "gift": null,
            "log": [], "door": "", "attempts": 0,
        })
    );
    assert_eq!(serde_json::from_value::<Cart>(json).unwrap(), cart);
}

#[test]
fn fields_that_are_missing_are_empty_without_a_default() {
    #[derive(Deserialize)]
    struct Bare {
        count: Counter,
        pieces: Quantity,
        tags: Set<String>,
        text: Text,
    }
    let bare: Bare = read(&json!({})).unwrap();
    assert_eq!((bare.count.value(), bare.pieces.value()), (0, 0));
    assert!(bare.tags.is_empty() && bare.text.is_empty());
}

#[test]
fn a_text_is_spliced_by_characters() {
    let mut text = Text::from("Käse");
    text.splice(1, 1, "ä");
    text.splice(4, 0, "!");
    text.splice(0, 1, "");
    assert_eq!(text, "äse!");
}
