//! Differences, checked by carrying them out on a small model of documents.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The place that a path leads to, as an entry; maps on the way are made.
fn place<'a>(mut here: &'a mut Tree, parts: &[String]) -> Option<&'a mut Tree> {
    for part in parts {
        here = match here {
            Tree::Map(entries) => entries
                .entry(part.clone())
                .or_insert(Tree::Map(BTreeMap::new())),
            Tree::List(elements) => elements.get_mut(part.parse::<usize>().unwrap())?,
            other => panic!("{part:?} inside {}", other.kind()),
        };
    }
    Some(here)
}

fn number(there: Option<&Tree>) -> i64 {
    there.map_or(0, |there| there.plain().as_i64().unwrap())
}

/// Carries out an edit as docs/types.md says, and as strictly.
fn carry_out(document: &mut Tree, edit: &Edit) {
    let (path, made) = match edit {
        Edit::Put { path, value } => (path, Tree::of_json(value.clone())),
        Edit::Increment { path, by } | Edit::Adjust { path, by } => {
            let there = existing(document, path);
            let value = number(there.as_ref()) + by;
            match (edit, there) {
                (Edit::Increment { .. }, None | Some(Tree::Counter(_) | Tree::Register(_))) => {
                    (path, Tree::Counter(value))
                }
                (Edit::Adjust { .. }, None | Some(Tree::Quantity(_) | Tree::Register(_))) => {
                    (path, Tree::Quantity(value))
                }
                (edit, there) => panic!("{edit:?} on {there:?}"),
            }
        }
        Edit::SetAdd { path, value } | Edit::SetRemove { path, value } => {
            let mut elements = match existing(document, path) {
                None => BTreeMap::new(),
                Some(Tree::Set(elements)) => elements,
                Some(other) => panic!("{edit:?} on {other:?}"),
            };
            if matches!(edit, Edit::SetAdd { .. }) {
                elements.insert(value.to_string(), value.clone());
            } else {
                elements.remove(&value.to_string()).unwrap();
            }
            (path, Tree::Set(elements))
        }
        Edit::Splice {
            path,
            at,
            delete,
            insert,
        } => {
            let text = match existing(document, path) {
                None => String::new(),
                Some(Tree::Text(text)) => text,
                Some(other) => panic!("{edit:?} on {other:?}"),
            };
            let mut chars: Vec<char> = text.chars().collect();
            chars.splice(*at..at + delete, insert.chars());
            (path, Tree::Text(chars.into_iter().collect()))
        }
        Edit::Append { path, value } => {
            let mut elements = match existing(document, path) {
                None => Vec::new(),
                Some(Tree::List(elements)) => elements,
                Some(other) => panic!("{edit:?} on {other:?}"),
            };
            elements.push(Tree::of_json(value.clone()));
            (path, Tree::List(elements))
        }
        Edit::Insert { path, .. } | Edit::Remove { path } => {
            let (parents, last) = path.split_last().unwrap();
            match (place(document, parents).unwrap(), edit) {
                (Tree::List(elements), Edit::Insert { value, .. }) => {
                    elements.insert(last.parse().unwrap(), Tree::of_json(value.clone()));
                }
                (Tree::List(elements), _) => drop(elements.remove(last.parse().unwrap())),
                (Tree::Map(entries), Edit::Remove { .. }) => drop(entries.remove(last).unwrap()),
                (other, edit) => panic!("{edit:?} in {other:?}"),
            }
            return;
        }
    };
    *place(document, path.parts()).unwrap() = made;
}

fn existing(document: &Tree, path: &Path) -> Option<Tree> {
    path.parts()
        .iter()
        .try_fold(document, |here, part| match here {
            Tree::Map(entries) => entries.get(part),
            Tree::List(elements) => elements.get(part.parse::<usize>().unwrap()),
            other => panic!("{part:?} inside {}", other.kind()),
        })
        .cloned()
}

/// What a document can tell apart: a number may be a counter yet to be counted, and an empty set or text need
/// not be there.
fn as_told(tree: &Tree) -> Tree {
    match tree {
        Tree::Counter(value) | Tree::Quantity(value) => Tree::Register(json!(value)),
        Tree::List(elements) => Tree::List(elements.iter().map(as_told).collect()),
        Tree::Map(entries) => {
            let told = entries.iter().filter(|(_, entry)| match entry {
                Tree::Set(elements) => !elements.is_empty(),
                Tree::Text(text) => !text.is_empty(),
                _ => true,
            });
            Tree::Map(
                told.map(|(name, entry)| (name.clone(), as_told(entry)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let register = prop_oneof![
        Just(json!(null)),
        (0..3).prop_map(|n| json!(n)),
        "[ab]".prop_map(|s| json!(s))
    ];
    let leaf = prop_oneof![
        register.clone().prop_map(Tree::Register),
        (0_i64..3).prop_map(Tree::Counter),
        (0_i64..3).prop_map(Tree::Quantity),
        prop::collection::vec(register, 0..3).prop_map(|set| {
            Tree::Set(
                set.into_iter()
                    .map(|value| (value.to_string(), value))
                    .collect(),
            )
        }),
        "[abcé]{0,9}".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            2 => prop::collection::btree_map("[abc/~]|id", inner.clone(), 0..4).prop_map(Tree::Map),
            1 => prop::collection::vec(inner.prop_map(Tree::into_element), 0..5).prop_map(Tree::List),
        ]
    })
}

fn document() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map("[abcdef]", tree(), 0..6).prop_map(Tree::Map)
}

/// A document and something that is made of it by a few changes at the top.
fn changed() -> impl Strategy<Value = (Tree, Tree)> {
    (
        document(),
        document(),
        prop::collection::btree_set("[abcdef]", 0..4),
    )
        .prop_map(|(before, other, names)| {
            let (Tree::Map(mut after), Tree::Map(other)) = (before.clone(), other) else {
                unreachable!("documents are maps")
            };
            for name in names {
                match other.get(&name) {
                    Some(entry) => drop(after.insert(name, entry.clone())),
                    None => drop(after.remove(&name)),
                }
            }
            (before, Tree::Map(after))
        })
}

/// Takes entries away that a document may lack, where the type has a default: those with the name.
fn without(tree: &Tree, name: &str) -> Tree {
    match tree {
        Tree::Map(entries) => {
            let entries = entries.iter().filter(|(entry, _)| *entry != name);
            Tree::Map(
                entries
                    .map(|(entry, inner)| (entry.clone(), without(inner, name)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// What the document must be afterwards if it lacked entries before: those that did not change are still not there.
fn still_without(there: &Tree, before: &Tree, after: &Tree) -> Tree {
    match (there, before, after) {
        (there, before, after) if before == after => there.clone(),
        (Tree::Map(there), Tree::Map(before), Tree::Map(after)) => {
            let entries = after.iter().filter_map(|(name, entry)| {
                let was = before.get(name);
                let now = match (there.get(name), was) {
                    (None, Some(was)) if was == entry => return None,
                    (Some(there), Some(was)) => still_without(there, was, entry),
                    _ => entry.clone(),
                };
                Some((name.clone(), now))
            });
            Tree::Map(entries.collect())
        }
        _ => after.clone(),
    }
}

fn outcome(there: &Tree, before: &Tree, after: &Tree) -> Tree {
    let mut document = there.clone();
    for edit in difference(Some(&there.plain()), before, after).unwrap() {
        carry_out(&mut document, &edit);
    }
    document
}

proptest! {
    #[test]
    fn edits_make_the_tree_before_the_tree_after((before, after) in prop_oneof![changed(), (document(), document())]) {
        prop_assert_eq!(as_told(&outcome(&before, &before, &after)), as_told(&after));
    }

    #[test]
    fn what_a_document_lacks_and_nobody_changed_it_goes_on_lacking((before, after) in changed()) {
        let there = without(&before, "a");
        let expected = still_without(&there, &before, &after);
        prop_assert_eq!(as_told(&outcome(&there, &before, &after)), as_told(&expected));
    }

    #[test]
    fn a_document_that_is_not_there_is_created_whole((before, after) in changed()) {
        if before == after {
            return Ok(());
        }
        let mut document = Tree::Map(BTreeMap::new());
        for edit in difference(None, &before, &after).unwrap() {
            carry_out(&mut document, &edit);
        }
        prop_assert_eq!(as_told(&document), as_told(&after));
    }

    #[test]
    fn what_did_not_change_has_no_edits((before, after) in changed()) {
        for edit in difference(Some(&before.plain()), &before, &after).unwrap() {
            let path = serde_json::to_value(&edit).unwrap()["path"].as_str().unwrap().to_owned();
            let (mut was, mut is) = (&before, &after);
            for part in Path::parse(&path).unwrap().parts() {
                let (Tree::Map(entries_before), Tree::Map(entries_after)) = (was, is) else { break };
                let (Some(inner_before), Some(inner_after)) = (entries_before.get(part), entries_after.get(part)) else { break };
                prop_assert_ne!(inner_before, inner_after, "{:?}", edit);
                (was, is) = (inner_before, inner_after);
            }
        }
        prop_assert_eq!(difference(Some(&after.plain()), &after, &after).unwrap(), []);
    }
}

fn edits(before: &Value, after: &Value) -> Value {
    let of = |value: &Value| Tree::of_json(value.clone());
    serde_json::to_value(difference(Some(before), &of(before), &of(after)).unwrap()).unwrap()
}

#[test]
fn elements_that_stay_keep_their_identity() {
    let post = |id: u32, text: &str| json!({"id": id, "text": text, "likes": 0});
    let before = json!({"posts": [post(1, "a"), post(2, "b"), post(3, "c")]});
    let after = json!({"posts": [post(4, "new"), post(1, "a"), post(3, "mended")]});
    assert_eq!(
        edits(&before, &after),
        json!([
            {"op": "insert", "path": "/posts/0", "value": post(4, "new")},
            {"op": "remove", "path": "/posts/2"},
            {"op": "put", "path": "/posts/2/text", "value": "mended"},
        ])
    );
}

#[test]
fn elements_without_an_id_are_known_by_what_they_share() {
    let before = json!({"lines": [{"sku": "x", "qty": 1, "note": "red"}]});
    let after = json!({"lines": [{"sku": "y", "qty": 9, "note": ""}, {"sku": "x", "qty": 2, "note": "red"}]});
    assert_eq!(
        edits(&before, &after),
        json!([
            {"op": "insert", "path": "/lines/0", "value": {"sku": "y", "qty": 9, "note": ""}},
            {"op": "put", "path": "/lines/1/qty", "value": 2},
        ])
    );
    assert_eq!(
        edits(&json!({"l": ["a", "b"]}), &json!({"l": ["a", "c"]})),
        json!([{"op": "put", "path": "/l/1", "value": "c"}])
    );
}

#[test]
fn a_long_list_that_changed_all_over_is_still_edited_inside() {
    let posts = |likes: i64| (0..2_000).map(move |id| json!({"id": id, "likes": likes}));
    let before = json!({"posts": posts(0).collect::<Vec<_>>()});
    let mut after: Vec<_> = posts(1).collect();
    after.insert(0, json!({"id": "new"}));
    let edits = edits(&before, &json!({"posts": after}));
    assert_eq!(edits.as_array().unwrap().len(), 2_001);
    assert_eq!(
        edits[2_000],
        json!({"op": "put", "path": "/posts/2000/likes", "value": 1})
    );
}

#[test]
fn changes_far_apart_in_a_text_are_splices_of_their_own() {
    let text = |text: &str| {
        Tree::Map(BTreeMap::from([(
            "note".to_owned(),
            Tree::Text(text.to_owned()),
        )]))
    };
    let splices = |before: &str, after: &str| {
        let edits =
            difference(Some(&json!({"note": before})), &text(before), &text(after)).unwrap();
        let splice = |edit| match edit {
            Edit::Splice {
                at, delete, insert, ..
            } => (at, delete, insert),
            other => panic!("{other:?}"),
        };
        edits.into_iter().map(splice).collect::<Vec<_>>()
    };
    let owned = |splices: &[(usize, usize, &str)]| {
        splices
            .iter()
            .map(|(at, delete, insert)| (*at, *delete, (*insert).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        splices("Käse, bread and wine", "Käse, white bread and wine!"),
        owned(&[(6, 0, "white "), (26, 0, "!")])
    );
    // Letters that two words share by chance do not part them.
    assert_eq!(
        splices("ring twice", "knock twice"),
        owned(&[(0, 4, "knock")])
    );
}

#[test]
fn new_entries_are_created_from_within() {
    let line = Tree::Map(BTreeMap::from([
        ("qty".to_owned(), Tree::Quantity(2)),
        (
            "tags".to_owned(),
            Tree::Set(BTreeMap::from([("\"gift\"".to_owned(), json!("gift"))])),
        ),
        ("price".to_owned(), Tree::Register(json!(2.5))),
    ]));
    let cart = |lines: &[(&str, &Tree)]| {
        let lines = lines
            .iter()
            .map(|(sku, line)| ((*sku).to_owned(), (*line).clone()));
        Tree::Map(BTreeMap::from([(
            "items".to_owned(),
            Tree::Map(lines.collect()),
        )]))
    };
    let edits = difference(
        Some(&json!({"items": {}})),
        &cart(&[]),
        &cart(&[("7/8", &line)]),
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(edits).unwrap(),
        json!([
            {"op": "put", "path": "/items/7~18/price", "value": 2.5},
            {"op": "adjust", "path": "/items/7~18/qty", "by": 2},
            {"op": "set_add", "path": "/items/7~18/tags", "value": "gift"},
        ])
    );
}

#[test]
fn names_that_documents_do_not_have_are_refused() {
    let odd = Tree::Map(BTreeMap::from([("\0x".to_owned(), Tree::Counter(1))]));
    let empty = Tree::Map(BTreeMap::new());
    assert!(matches!(
        difference(None, &empty, &odd),
        Err(PathError::Reserved(_))
    ));
}
