//! A node from the outside: what it promises on its own, and three of them together.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use anabranch::{Config, Edit, Error, Node, Path, Scan};
use bed::cluster;
use serde_json::{Value, json};

fn increment(path: &str, by: i64) -> [Edit; 1] {
    [Edit::Increment {
        path: Path::parse(path).unwrap(),
        by,
    }]
}

async fn value(node: &Node, key: &str) -> Option<Value> {
    node.get("carts", key)
        .await
        .unwrap()
        .map(|snapshot| snapshot.value)
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    for n in 1..=200_i64 {
        node.apply("carts", &format!("c{:03}", n % 50), increment("/n", n))
            .await
            .unwrap();
    }
    node.delete("carts", "c007").await.unwrap();
    node.shutdown().await.unwrap();

    let node = Node::open(Config::new(dir.path())).await.unwrap();
    assert_eq!(
        value(&node, "c001").await,
        Some(json!({"n": 1 + 51 + 101 + 151}))
    );
    assert_eq!(value(&node, "c007").await, None);
    let page = node
        .scan(
            "carts",
            Scan {
                limit: 20,
                ..Scan::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(page.documents.len(), 20);
    let rest = node
        .scan(
            "carts",
            Scan {
                after: Some(page.next.unwrap().to_string()),
                limit: 100,
                ..Scan::default()
            },
        )
        .await
        .unwrap();
    assert_eq!((rest.documents.len(), rest.next), (29, None));
    // The history goes on under the same incarnation: no number is used twice.
    node.apply("carts", "c001", increment("/n", 1))
        .await
        .unwrap();
    assert_eq!(value(&node, "c001").await, Some(json!({"n": 305})));
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    let error = Node::open(Config::new(dir.path()))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("already open"), "{error}");
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_feed_misses_nothing_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    let mut feed = node.subscribe(None, "", None);
    for n in 0..10 {
        node.apply("carts", &format!("k{n}"), increment("/n", 1))
            .await
            .unwrap();
    }
    let mut position = None;
    for n in 0..10 {
        let change = feed.next().await.unwrap();
        assert_eq!(change.documents[0].key.as_str(), format!("k{n}"));
        if n == 4 {
            position = Some(feed.position());
        }
    }
    let mut later = node.subscribe(None, "", position);
    assert_eq!(later.next().await.unwrap().documents[0].key.as_str(), "k5");
    // A reader that is slower than the feed's memory reads the log instead.
    for n in 0..6_000 {
        let node = node.clone();
        let write = async move {
            node.apply("carts", &format!("m{}", n % 7), increment("/n", 1))
                .await
                .unwrap()
        };
        if n % 500 == 499 {
            write.await;
        } else {
            tokio::spawn(write);
        }
    }
    for expected in 0..4 + 6_000 {
        let change = later.next().await.unwrap();
        assert_eq!(change.lsn.0, expected + 7);
    }
    node.shutdown().await.unwrap();
    assert_eq!(later.next().await.unwrap_err(), Error::Closed);
}

/// A feed of a node that was shut down ended only if it happened to be reading the log at that moment;
/// otherwise its reader waited for ever.
#[tokio::test]
async fn a_feed_ends_with_its_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    let mut waiting = node.subscribe(None, "", None);
    let waiting = tokio::spawn(async move { waiting.next().await });
    tokio::task::yield_now().await;
    let mut later = node.subscribe(None, "", None);
    let handle = node.clone();
    node.shutdown().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), Error::Closed);
    assert_eq!(later.next().await.unwrap_err(), Error::Closed);
    let mut after = handle.subscribe(None, "", None);
    assert_eq!(after.next().await.unwrap_err(), Error::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_come_to_one_state() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path()).await;
    let mut feeds: Vec<_> = nodes
        .iter()
        .map(|node| node.subscribe(None, "", None))
        .collect();
    for (at, node) in nodes.iter().enumerate() {
        for n in 0..100_i64 {
            let path = format!("/items/sku-{}/qty", n % 10);
            node.apply("carts", &format!("cart-{}", n % 5), increment(&path, 1))
                .await
                .unwrap();
        }
        assert!(at < 3);
    }
    for feed in &mut feeds {
        for _ in 0..300 {
            tokio::time::timeout(Duration::from_secs(30), feed.next())
                .await
                .unwrap()
                .unwrap();
        }
    }
    let first = nodes[0].fingerprint("carts").await.unwrap();
    for node in &nodes {
        assert_eq!(node.fingerprint("carts").await.unwrap(), first);
        let total: i64 = value(node, "cart-3").await.unwrap()["items"]
            .as_object()
            .unwrap()
            .values()
            .map(|item| item["qty"].as_i64().unwrap())
            .sum();
        assert_eq!(total, 60);
    }
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
