#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Edit, Incarnation, PatchOperation, Path, ReplicaId};

pub(super) fn origin(replica: u8) -> Origin {
    Origin {
        replica: ReplicaId([replica; 16]),
        incarnation: Incarnation(1),
    }
}

/// A document with everything that was ever written to it.
pub(super) struct Copy {
    pub(super) doc: Document,
    pub(super) log: Vec<Bytes>,
}

impl Copy {
    pub(super) fn new(replica: u8) -> Self {
        Self {
            doc: Document::empty(&origin(replica)),
            log: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, intent: &Intent) -> Result<(), EditError> {
        match self.doc.write(intent, 0) {
            Ok(changes) => {
                self.log.extend(changes);
                Ok(())
            }
            Err(failed) => {
                // As the replica does: a spoilt document is loaded anew.
                if failed.spoilt {
                    let origin = Origin {
                        replica: ReplicaId([99; 16]),
                        incarnation: Incarnation(1),
                    };
                    let mut fresh = Document::empty(&origin);
                    assert_eq!(fresh.absorb(&self.log), []);
                    let actor = self.doc.doc.get_actor().clone();
                    fresh.doc.set_actor(actor);
                    self.doc = fresh;
                }
                Err(failed.error)
            }
        }
    }

    pub(super) fn ops(&mut self, ops: Value) -> Result<(), EditError> {
        self.write(&Intent::Edits(serde_json::from_value(ops).unwrap()))
    }

    pub(super) fn patch(&mut self, ops: Value) -> Result<(), EditError> {
        self.write(&Intent::Patch(serde_json::from_value(ops).unwrap()))
    }

    pub(super) fn put(&mut self, value: Value) {
        self.write(&Intent::Replace(value)).unwrap();
    }

    pub(super) fn json(&mut self) -> Value {
        self.doc.read().unwrap_or(json!("absent"))
    }
}

pub(super) fn meet(copies: &mut [&mut Copy]) {
    let all: Vec<Vec<Bytes>> = copies.iter().map(|copy| copy.log.clone()).collect();
    for copy in copies.iter_mut() {
        for log in &all {
            assert_eq!(copy.doc.absorb(log), []);
        }
        let mut seen = std::collections::BTreeSet::new();
        copy.log = copy
            .log
            .iter()
            .chain(all.iter().flatten())
            .filter(|change| seen.insert((*change).clone()))
            .cloned()
            .collect();
    }
    let json = copies[0].json();
    for copy in copies.iter_mut() {
        assert_eq!(copy.json(), json);
    }
    for at in 1..copies.len() {
        let version = copies[0].doc.version();
        assert_eq!(copies[at].doc.version(), version);
        let conflicts = copies[0].doc.conflicts();
        assert_eq!(copies[at].doc.conflicts(), conflicts);
    }
}

pub(super) fn two(start: Value) -> (Copy, Copy) {
    let (mut a, mut b) = (Copy::new(1), Copy::new(2));
    if !start.is_null() {
        a.put(start);
    }
    meet(&mut [&mut a, &mut b]);
    (a, b)
}

#[test]
fn two_datacenters_that_create_the_same_cart_lose_no_item() {
    let (mut a, mut b) = two(json!(null));
    a.ops(json!([{"op":"increment","path":"/items/22752/qty","by":2},{"op":"put","path":"/items/22752/price","value":2.55}])).unwrap();
    b.ops(json!([{"op":"increment","path":"/items/22752/qty","by":3},{"op":"increment","path":"/items/85123A/qty","by":1}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(
        a.json(),
        json!({"items":{"22752":{"qty":5,"price":2.55},"85123A":{"qty":1}}})
    );
}

#[test]
fn containers_made_by_a_put_are_the_same_everywhere_too() {
    let (mut a, mut b) = two(json!(null));
    a.put(json!({"items":{"x":{"n":1}},"tags":["a"]}));
    b.put(json!({"items":{"y":{"n":2}},"tags":["b"]}));
    meet(&mut [&mut a, &mut b]);
    let json = a.json();
    assert_eq!(json["items"], json!({"x":{"n":1},"y":{"n":2}}));
    assert_eq!(json["tags"].as_array().unwrap().len(), 2);
}

#[test]
fn an_edit_inside_survives_a_concurrent_removal() {
    let (mut a, mut b) = two(json!({"items":{"x":{"n":1},"y":{"n":1}}}));
    a.ops(json!([{"op":"remove","path":"/items/x"}])).unwrap();
    b.ops(json!([{"op":"put","path":"/items/x/gift","value":true}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"items":{"x":{"gift":true},"y":{"n":1}}}));
}

#[test]
fn an_edit_survives_a_concurrent_deletion_of_the_document() {
    let (mut a, mut b) = two(json!({"items":{"x":{"n":1}}, "note":"old"}));
    a.write(&Intent::Delete).unwrap();
    assert_eq!(a.json(), json!("absent"));
    b.ops(json!([{"op":"put","path":"/items/z/n","value":7}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"items":{"z":{"n":7}}}));
    a.write(&Intent::Delete).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json(), json!("absent"));
    b.put(json!({}));
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({}));
}

#[test]
fn what_was_removed_can_be_created_again_by_both_at_once() {
    let (mut a, mut b) = two(json!(null));
    a.ops(json!([{"op":"increment","path":"/likes","by":4},{"op":"append","path":"/posts","value":"p"}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    a.ops(json!([{"op":"remove","path":"/likes"},{"op":"remove","path":"/posts"}]))
        .unwrap();
    assert_eq!(a.json(), json!({}));
    meet(&mut [&mut a, &mut b]);
    a.ops(json!([{"op":"increment","path":"/likes","by":1},{"op":"append","path":"/posts","value":"q"}])).unwrap();
    b.ops(json!([{"op":"increment","path":"/likes","by":2},{"op":"append","path":"/posts","value":"r"}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json()["likes"], json!(3));
    assert_eq!(a.json()["posts"].as_array().unwrap().len(), 2);
}

#[test]
fn a_name_that_held_a_scalar_can_hold_a_container_again() {
    let (mut a, mut b) = two(json!({"x":{"deep":1}}));
    a.ops(json!([{"op":"put","path":"/x","value":5}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    a.ops(json!([{"op":"put","path":"/x","value":{"a":1}}]))
        .unwrap();
    b.ops(json!([{"op":"put","path":"/x","value":{"b":2}}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"x":{"a":1,"b":2}}));
}

#[test]
fn a_like_on_the_same_post_counts_from_both_sides() {
    let (mut a, mut b) = two(json!({"posts":[{"text":"hello"}]}));
    a.ops(json!([{"op":"increment","path":"/posts/0/likes","by":1}]))
        .unwrap();
    b.ops(json!([{"op":"insert","path":"/posts/0","value":{"text":"newer"}},{"op":"increment","path":"/posts/1/likes","by":1}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(
        a.json(),
        json!({"posts":[{"text":"newer"},{"text":"hello","likes":2}]})
    );
}

#[test]
fn a_put_writes_only_what_differs() {
    let (mut a, mut b) = two(json!({"items":{"x":{"n":1}},"list":[1,2,{"k":3},4]}));
    let before = a.log.len();
    a.put(json!({"items":{"x":{"n":1}},"list":[1,2,{"k":3},4]}));
    assert_eq!(a.log.len(), before, "an equal document is no change");
    a.put(json!({"items":{"x":{"n":1}},"list":[1,{"k":9},4]}));
    b.ops(json!([{"op":"put","path":"/list/2/k2","value":5}, {"op":"append","path":"/list","value":6}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(
        a.json()["list"].as_array().unwrap().last().unwrap(),
        &json!(6)
    );
}

#[test]
fn a_number_put_over_a_counter_keeps_what_others_add() {
    let (mut a, mut b) = two(json!(null));
    a.ops(json!([{"op":"increment","path":"/n","by":10}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    a.put(json!({"n":12}));
    b.ops(json!([{"op":"increment","path":"/n","by":5}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"n":17}));
}

#[test]
fn texts_merge_by_character() {
    let (mut a, mut b) = two(json!(null));
    a.ops(json!([{"op":"splice","path":"/note","at":0,"insert":"héllo wörld"}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    a.ops(json!([{"op":"splice","path":"/note","at":0,"delete":5,"insert":"Goodbye"}]))
        .unwrap();
    b.put(json!({"note":"héllo wörld!"}));
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.json(), json!({"note":"Goodbye wörld!"}));
    let error = a
        .ops(json!([{"op":"splice","path":"/note","at":13,"delete":9}]))
        .unwrap_err();
    assert!(
        matches!(error, EditError::Splice { len: 14, .. }),
        "{error}"
    );
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let (mut a, _) = two(json!({"name":"x"}));
    let (version, json) = (a.doc.version(), a.json());
    let error = a
        .ops(json!([{"op":"increment","path":"/fresh/counter","by":1},{"op":"put","path":"/y","value":1},{"op":"increment","path":"/name","by":1}]))
        .unwrap_err();
    assert_eq!(
        error,
        EditError::TypeMismatch {
            path: "/name".into(),
            found: "a string",
            expected: "a counter"
        }
    );
    assert_eq!((a.doc.version(), a.json()), (version, json));
}

#[test]
fn misfit_edits_say_what_is_wrong() {
    let (mut a, _) = two(json!({"s":"x","list":[1],"map":{}}));
    for (ops, message) in [
        (
            json!([{"op":"increment","path":"/s","by":1}]),
            "\"/s\" is a string, and this edit needs a counter",
        ),
        (
            json!([{"op":"append","path":"/map","value":1}]),
            "\"/map\" is a map, and this edit needs a list",
        ),
        (
            json!([{"op":"put","path":"/s/t","value":1}]),
            "\"/s\" is a string, and this edit needs a map",
        ),
        (
            json!([{"op":"insert","path":"/list/3","value":1}]),
            "the index must be a number from 0 to 1, or \"-\"",
        ),
        (
            json!([{"op":"put","path":"/list/01","value":1}]),
            "the index must be a number from 0 to 0",
        ),
        (
            json!([{"op":"increment","path":"","by":1}]),
            "can't be applied to the whole document",
        ),
        (
            json!([{"op":"put","path":"","value":[]}]),
            "a document must be a JSON object; this is an array",
        ),
        (
            json!([{"op":"increment","path":"/c","by":1_i64 << 53},{"op":"increment","path":"/c","by":1}]),
            "must stay within",
        ),
        (
            json!([{"op":"put","path":"/x","value":{"\u{0}y":1}}]),
            "U+0000 are reserved",
        ),
    ] {
        let error = a.ops(ops.clone()).unwrap_err().to_string();
        assert!(error.contains(message), "{ops}: {error}");
    }
    let mut deep = json!(1);
    for _ in 0..70 {
        deep = json!([deep]);
    }
    assert!(matches!(
        a.ops(json!([{"op":"put","path":"/deep","value":deep}])),
        Err(EditError::TooDeep { .. })
    ));
}

#[test]
fn a_removal_of_nothing_is_no_error_and_no_change() {
    let (mut a, _) = two(json!({"a":1}));
    let before = a.log.len();
    a.ops(json!([{"op":"remove","path":"/b"},{"op":"remove","path":"/b/c"}]))
        .unwrap();
    assert_eq!(a.log.len(), before);
}

#[test]
fn json_patch_does_what_rfc_6902_says() {
    let (mut a, _) = two(json!({"foo":["bar","baz"],"o":{"x":1}}));
    a.patch(json!([
        {"op":"test","path":"/foo/0","value":"bar"},
        {"op":"add","path":"/foo/1","value":"qux"},
        {"op":"add","path":"/foo/-","value":{"n":1}},
        {"op":"replace","path":"/o/x","value":[1]},
        {"op":"copy","from":"/o","path":"/p"},
        {"op":"move","from":"/foo/0","path":"/first"},
        {"op":"remove","path":"/o"}
    ]))
    .unwrap();
    assert_eq!(
        a.json(),
        json!({"foo":["qux","baz",{"n":1}],"p":{"x":[1]},"first":"bar"})
    );
    for (patch, message) in [
        (
            json!([{"op":"remove","path":"/none"}]),
            "nothing at \"/none\"",
        ),
        (
            json!([{"op":"replace","path":"/none","value":1}]),
            "nothing at \"/none\"",
        ),
        (
            json!([{"op":"add","path":"/none/x","value":1}]),
            "nothing at \"/none\"",
        ),
        (
            json!([{"op":"add","path":"/q","value":1},{"op":"test","path":"/first","value":"no"}]),
            "the test at \"/first\" failed",
        ),
        (
            json!([{"op":"move","from":"/p","path":"/p/q"}]),
            "can't be moved into itself",
        ),
    ] {
        let error = a.patch(patch).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(a.json()["q"], json!(null));
}

#[test]
fn merge_patch_does_what_rfc_7396_says() {
    // The examples of its appendix A that have an object for a document.
    for (before, patch, after) in [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (
            json!({"a":"b","b":"c"}),
            json!({"a":null}),
            json!({"b":"c"}),
        ),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (
            json!({"a":{"b":"c"}}),
            json!({"a":{"b":"d","c":null}}),
            json!({"a":{"b":"d"}}),
        ),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (
            json!({}),
            json!({"a":{"bb":{"ccc":null}}}),
            json!({"a":{"bb":{}}}),
        ),
    ] {
        let mut copy = Copy::new(1);
        copy.put(before.clone());
        copy.write(&Intent::MergePatch(patch.clone())).unwrap();
        assert_eq!(copy.json(), after, "{before} patched with {patch}");
    }
}

#[test]
fn long_lists_go_in_and_out_in_runs() {
    let (mut a, mut b) = two(json!(null));
    let numbers: Vec<Value> = (0..50_000).map(Value::from).collect();
    a.put(json!({"n": numbers, "nested": [[1, 2], "x", {"k": 1}, [3]]}));
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json()["n"][49_999], json!(49_999));
    assert_eq!(b.json()["nested"], json!([[1, 2], "x", {"k": 1}, [3]]));
    a.put(json!({"n": numbers[100..40_000]}));
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json()["n"].as_array().unwrap().len(), 39_900);
    a.ops(json!([{"op":"remove","path":"/n"}])).unwrap();
    assert_eq!(a.json(), json!({}));
    let objects: Vec<Value> = (0..20_000).map(|n| json!({ "n": n })).collect();
    a.ops(json!([{"op":"put","path":"/o","value":objects}]))
        .unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json()["o"][19_999], json!({"n": 19_999}));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

pub(super) fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", value(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop_oneof!["[a-c]", "[0-1]"], 1..4).prop_map(|parts| Path::of(&parts))
}

pub(super) fn intent() -> impl Strategy<Value = Intent> {
    let edit = prop_oneof![
        (path(), value()).prop_map(|(path, value)| Edit::Put { path, value }),
        path().prop_map(|path| Edit::Remove { path }),
        (path(), -3_i64..4).prop_map(|(path, by)| Edit::Increment { path, by }),
        (path(), -3_i64..4).prop_map(|(path, by)| Edit::Adjust { path, by }),
        (path(), value()).prop_map(|(path, value)| Edit::SetAdd { path, value }),
        (path(), value()).prop_map(|(path, value)| Edit::SetRemove { path, value }),
        (path(), value()).prop_map(|(path, value)| Edit::Insert { path, value }),
        (path(), value()).prop_map(|(path, value)| Edit::Append { path, value }),
        (path(), "[x-z]{0,3}").prop_map(|(path, insert)| Edit::Splice {
            path,
            at: 0,
            delete: 0,
            insert
        }),
    ];
    prop_oneof![
        6 => prop::collection::vec(edit, 1..4).prop_map(Intent::Edits),
        2 => object().prop_map(Intent::Replace),
        1 => object().prop_map(Intent::MergePatch),
        1 => (path(), value()).prop_map(|(path, value)| Intent::Patch(vec![PatchOperation::Add { path, value }])),
        1 => Just(Intent::Delete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever three replicas write and whenever they meet, they end equal: JSON, version and saved bytes.
    #[test]
    fn copies_converge(steps in prop::collection::vec((0_usize..3, intent(), prop::option::weighted(0.2, 0_usize..3)), 1..24)) {
        let mut copies = [Copy::new(1), Copy::new(2), Copy::new(3)];
        for (who, intent, with) in steps {
            let (version, json) = (copies[who].doc.version(), copies[who].json());
            if copies[who].write(&intent).is_err() {
                prop_assert_eq!((copies[who].doc.version(), copies[who].json()), (version, json));
            }
            if let Some(with) = with && with != who {
                let [a, b] = copies.get_disjoint_mut([who, with]).unwrap();
                meet(&mut [a, b]);
            }
        }
        let [a, b, c] = &mut copies;
        meet(&mut [a, b, c]);
        let saved = copies.each_mut().map(|copy| copy.doc.save());
        let loaded = saved.each_ref().map(|state| Document::load(&origin(9), state).unwrap().read());
        prop_assert_eq!(&loaded[0], &copies[0].doc.read());
        prop_assert!(loaded.iter().all(|json| *json == loaded[0]));
    }

    /// A PUT makes the document read as what was put.
    #[test]
    fn a_put_is_read_back(first in object(), edits in prop::collection::vec(intent(), 0..4), last in object()) {
        let mut copy = Copy::new(1);
        copy.put(first);
        // A set would stay a set, in its own order.
        let makes_sets = |intent: &Intent| match intent {
            Intent::Edits(edits) => edits.iter().any(|edit| matches!(edit, Edit::SetAdd { .. })),
            _ => false,
        };
        for intent in edits.iter().filter(|intent| !makes_sets(intent)) {
            let _ = copy.write(intent);
        }
        copy.put(last.clone());
        prop_assert_eq!(copy.json(), last);
    }
}
