//! Typed documents on a running node.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use anabranch::typed::{Counter, Quantity, Set, Text, TypedError};
use anabranch::{Config, Error, Node};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Cart {
    status: String,
    lines: BTreeMap<String, Line>,
    coupons: Set<String>,
    note: Text,
    changes: Counter,
    log: Vec<Entry>,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Line {
    pieces: Quantity,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
struct Entry {
    id: u32,
    text: Text,
    seen_by: Set<u32>,
    likes: Counter,
}

async fn alone() -> (tempfile::TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    (dir, node)
}

async fn json(node: &Node, key: &str) -> Option<Value> {
    node.get("carts", key)
        .await
        .unwrap()
        .map(|snapshot| snapshot.value)
}

#[tokio::test]
async fn what_is_written_is_read() {
    let (_dir, node) = alone().await;
    assert_eq!(node.read::<Cart>("carts", "a").await.unwrap(), None);
    let change = |cart: &mut Cart| {
        cart.status = "open".to_owned();
        cart.lines
            .entry("7/8".to_owned())
            .or_default()
            .pieces
            .adjust(2);
        cart.coupons.extend(["A".to_owned(), "B".to_owned()]);
        cart.note.push_str("Käse");
        cart.changes.add(1);
        let text = "first".into();
        let seen_by = [1, 2].into_iter().collect();
        cart.log.push(Entry {
            id: 1,
            text,
            seen_by,
            likes: Counter::default(),
        });
        cart.status.len()
    };
    assert_eq!(node.edit("carts", "a", change).await.unwrap(), 4);
    assert_eq!(
        json(&node, "a").await.unwrap(),
        json!({
            "status": "open", "lines": {"7/8": {"pieces": 2}}, "coupons": ["A", "B"], "note": "Käse", "changes": 1,
            "log": [{"id": 1, "text": "first", "seen_by": [1, 2], "likes": 0}],
        })
    );
    let change = |cart: &mut Cart| {
        cart.log.insert(
            0,
            Entry {
                id: 2,
                ..Entry::default()
            },
        );
        cart.log[1].likes.add(3);
        cart.log[1].text.splice(0, 5, "last");
        cart.log[1].seen_by.remove(&1);
        cart.lines.get_mut("7/8").unwrap().pieces.adjust(-1);
        cart.coupons.remove("A");
        cart.note.splice(4, 0, "!");
    };
    node.edit("carts", "a", change).await.unwrap();
    let cart: Cart = node.read("carts", "a").await.unwrap().unwrap();
    assert_eq!(
        (
            cart.log[0].id,
            cart.log[1].likes.value(),
            &*cart.log[1].text
        ),
        (2, 3, "last")
    );
    assert_eq!(cart.log[1].seen_by.iter().collect::<Vec<_>>(), [&2]);
    assert_eq!(
        (cart.lines["7/8"].pieces.value(), &*cart.note),
        (1, "Käse!")
    );
    assert!(!cart.coupons.contains("A") && cart.coupons.contains("B"));
    node.shutdown().await.unwrap();
}

/// Two edits that read the same version used to be the classic lost update; here they are branches that merge.
#[tokio::test]
async fn edits_at_the_same_time_are_all_kept() {
    let (_dir, node) = alone().await;
    for _ in 0..2 {
        // The first round creates the document as well: from nothing, all at once.
        let mut drafts = Vec::new();
        for _ in 0..20 {
            drafts.push(node.draft::<Cart>("carts", "a").await.unwrap());
        }
        for (index, mut cart) in drafts.into_iter().enumerate() {
            cart.changes.add(1);
            cart.lines
                .entry("tea".to_owned())
                .or_default()
                .pieces
                .adjust(2);
            cart.lines
                .entry(format!("l{index}"))
                .or_default()
                .pieces
                .adjust(1);
            cart.coupons.insert(format!("C{index}"));
            cart.note.push_str("x");
            let write = cart.into_write().unwrap().unwrap();
            node.batch("carts", [write]).await.unwrap();
        }
    }
    let cart: Cart = node.read("carts", "a").await.unwrap().unwrap();
    assert_eq!(
        (cart.changes.value(), cart.lines["tea"].pieces.value()),
        (40, 80)
    );
    assert_eq!((cart.lines.len(), cart.lines["l7"].pieces.value()), (21, 2));
    assert_eq!((cart.coupons.len(), cart.note.len()), (20, 40));
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_document_that_was_deleted_is_created_anew() {
    let (_dir, node) = alone().await;
    let change = |cart: &mut Cart| {
        cart.lines
            .entry("tea".to_owned())
            .or_default()
            .pieces
            .adjust(2);
        cart.log.push(Entry::default());
        cart.coupons.insert("A");
        cart.note.push_str("x");
    };
    node.edit("carts", "a", change).await.unwrap();
    let first: Option<Cart> = node.read("carts", "a").await.unwrap();
    node.delete("carts", "a").await.unwrap();
    assert_eq!(json(&node, "a").await, None);
    node.edit("carts", "a", change).await.unwrap();
    assert_eq!(node.read("carts", "a").await.unwrap(), first);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_changes_nothing_or_refuses_writes_nothing() {
    let (_dir, node) = alone().await;
    node.edit("carts", "a", |_: &mut Cart| ()).await.unwrap();
    assert_eq!(json(&node, "a").await, None);
    node.put(
        "carts",
        "a",
        json!({"coupons": [], "unknown": {"kept": true}}),
    )
    .await
    .unwrap();
    let before = node.get("carts", "a").await.unwrap();
    node.edit("carts", "a", |cart: &mut Cart| cart.status = String::new())
        .await
        .unwrap();
    let refused: Result<(), Box<dyn std::error::Error>> = node
        .try_edit("carts", "a", |cart: &mut Cart| {
            cart.changes.add(1);
            Err("not today".into())
        })
        .await;
    assert_eq!(refused.unwrap_err().to_string(), "not today");
    assert_eq!(node.get("carts", "a").await.unwrap(), before);
    node.edit("carts", "a", |cart: &mut Cart| cart.changes.add(1))
        .await
        .unwrap();
    let kept = json!({"coupons": [], "changes": 1, "unknown": {"kept": true}});
    assert_eq!(json(&node, "a").await, Some(kept));
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_document_that_does_not_fit_is_left_alone() {
    let (_dir, node) = alone().await;
    let odd = json!({"lines": {"7": {"pieces": "two"}}});
    node.put("carts", "a", odd.clone()).await.unwrap();
    let error = node
        .edit("carts", "a", |cart: &mut Cart| cart.changes.add(1))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Typed(TypedError::Unfit { path, .. }) if path == "/lines/7/pieces"),
        "{error}"
    );
    assert_eq!(node.read::<Cart>("carts", "a").await.unwrap_err(), error);
    #[derive(Deserialize, Debug)]
    struct Whole {
        #[serde(rename = "owner")]
        _owner: String,
    }
    let error = node.read::<Whole>("carts", "a").await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("the document does not fit") && error.contains("missing field `owner`"),
        "{error}"
    );
    assert_eq!(json(&node, "a").await, Some(odd));
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_session_takes_typed_edits_along() {
    let (_dir, node) = alone().await;
    let mut session = node.session();
    session
        .edit("carts", "a", |cart: &mut Cart| cart.changes.add(1))
        .await
        .unwrap();
    assert!(!session.token().is_empty());
    let mut later = node.resume(session.token().clone());
    assert_eq!(
        later
            .read::<Cart>("carts", "a")
            .await
            .unwrap()
            .unwrap()
            .changes
            .value(),
        1
    );
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn drafts_that_nobody_changed_are_nothing_to_write() {
    let (_dir, node) = alone().await;
    let draft = node.draft::<Cart>("carts", "a").await.unwrap();
    let write = draft.into_write().unwrap();
    assert_eq!(node.batch("carts", write.clone()).await.unwrap(), []);
    assert_eq!(node.session().batch("carts", write).await.unwrap(), []);
    assert_eq!(json(&node, "a").await, None);
    node.shutdown().await.unwrap();
}
