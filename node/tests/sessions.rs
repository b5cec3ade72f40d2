//! Batches, sessions and repeats over real nodes.
#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use anabranch::{
    Ack, Answer, Config, Edit, Error, IdempotencyKey, Intent, Key, Lsn, Namespace, Node, Path,
    Reply, Request, RequestError, Session, Token, Write,
};
use bed::cluster;
use serde_json::json;

const GUARD: Duration = Duration::from_secs(30);

fn increment(key: &str, by: i64) -> Write {
    let path = Path::parse("/n").unwrap();
    Write {
        key: Key::new(key).unwrap(),
        intent: Intent::Edits(vec![Edit::Increment { path, by }]),
        guard: None,
        base: None,
    }
}

async fn n(node: &Node, key: &str) -> Option<i64> {
    let snapshot = node.get("carts", key).await.unwrap()?;
    snapshot.value["n"].as_i64()
}

fn once(writes: Vec<Write>, key: &str) -> Request {
    Request::Write {
        namespace: Namespace::new("carts").unwrap(),
        writes,
        idempotency: Some(IdempotencyKey::new(key).unwrap()),
        ack: Ack::Local,
    }
}

fn repeated(answer: &Answer) -> bool {
    matches!(answer.reply, Reply::Written { repeated: true, .. })
}

#[tokio::test]
async fn a_batch_is_whole_or_not_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    let both = || [increment("a", 1), increment("b", 1)];
    assert_eq!(node.batch("carts", both()).await.unwrap().len(), 2);
    let text = Intent::Edits(vec![Edit::Append {
        path: Path::parse("/n").unwrap(),
        value: json!(1),
    }]);
    let bad = Write {
        intent: text,
        ..increment("b", 1)
    };
    let refused = node.batch("carts", [increment("a", 1), bad]).await;
    assert!(matches!(
        refused,
        Err(Error::Request(RequestError::OneOf { index: 1, .. }))
    ));
    node.shutdown().await.unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    assert_eq!(
        (n(&node, "a").await, n(&node, "b").await),
        (Some(1), Some(1))
    );
    node.shutdown().await.unwrap();
}

/// Whoever looks, at any moment, sees money that is neither lost nor doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path()).await;
    let mut feed = nodes[2].subscribe(None, "", None);
    for _ in 0..50 {
        let transfer = [increment("from", -1), increment("to", 1)];
        nodes[0].batch("carts", transfer).await.unwrap();
    }
    for _ in 0..50 {
        let visible = tokio::time::timeout(GUARD, feed.next()).await.unwrap();
        let keys = visible.unwrap().documents;
        let keys: Vec<_> = keys.iter().map(|id| id.key.as_str()).collect();
        assert_eq!(keys, ["from", "to"]);
        // Both are read at once: one page.
        let scan = anabranch::Scan {
            values: true,
            ..anabranch::Scan::default()
        };
        let page = nodes[2].scan("carts", scan).await.unwrap();
        let read = page.documents.iter().map(|listed| {
            let snapshot = listed.snapshot.as_ref().unwrap();
            snapshot.value["n"].as_i64().unwrap()
        });
        assert_eq!(read.sum::<i64>(), 0);
    }
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_moves_sees_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path()).await;
    let mut token = Token::default().to_string();
    for round in 1..=100 {
        let node = &nodes[round % nodes.len()];
        let seen = token.parse().unwrap();
        let mut visitor = node.resume(seen).waiting(GUARD);
        let before = visitor.get("carts", "a").await.unwrap();
        let before = before.map_or(0, |snapshot| snapshot.value["n"].as_i64().unwrap());
        assert_eq!(before, i64::try_from(round).unwrap() - 1);
        let [write] = [increment("a", 1)];
        visitor.batch("carts", [write]).await.unwrap();
        token = visitor.token().to_string();
        assert!(token.len() < 60, "{token}");
    }
    let alone = tempfile::tempdir().unwrap();
    let stranger = Node::open(Config::new(alone.path())).await.unwrap();
    let mut visitor = stranger.resume(token.parse().unwrap());
    visitor = visitor.waiting(Duration::ZERO);
    let Err(Error::Request(RequestError::Behind { missing })) = visitor.get("carts", "a").await
    else {
        panic!("a node that has seen nothing can't serve the session");
    };
    assert_eq!(missing.len(), 1);
    // What it has seen it keeps, and of other namespaces nothing is asked.
    assert_eq!(visitor.token().to_string(), token);
    assert_eq!(visitor.get("orders", "a").await.unwrap(), None);
    stranger.shutdown().await.unwrap();
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_repeat_after_reopening_gets_the_first_answer() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    let request = || once(vec![increment("a", 1), increment("b", 2)], "order-17");
    let first = node.ask(request(), Session::default()).await.unwrap();
    assert!(!repeated(&first));
    node.shutdown().await.unwrap();
    let mut config = Config::new(dir.path());
    let node = Node::open(config.clone()).await.unwrap();
    let again = node.ask(request(), Session::default()).await.unwrap();
    assert!(repeated(&again));
    let documents = |answer: &Answer| match &answer.reply {
        Reply::Written { documents, .. } => documents.clone(),
        other => panic!("asked for a write, got {other:?}"),
    };
    assert_eq!(documents(&again), documents(&first));
    let other = once(vec![increment("a", 1)], "order-17");
    assert!(matches!(
        node.ask(other, Session::default()).await,
        Err(Error::Request(RequestError::KeyReused))
    ));
    assert_eq!(
        (n(&node, "a").await, n(&node, "b").await),
        (Some(1), Some(2))
    );
    node.shutdown().await.unwrap();
    // Nothing is remembered for no time.
    config.receipts_kept = Duration::ZERO;
    let node = Node::open(config).await.unwrap();
    let third = node.ask(request(), Session::default()).await.unwrap();
    assert!(!repeated(&third));
    assert_eq!(n(&node, "a").await, Some(2));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_at_another_node_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path()).await;
    let request = || once(vec![increment("a", 1)], "order-17");
    let first = nodes[0].ask(request(), Session::default()).await.unwrap();
    let mut visitor = nodes[1].resume(first.token).waiting(GUARD);
    let again = visitor.ask(request()).await.unwrap();
    assert!(matches!(again, Reply::Written { repeated: true, .. }));
    assert_eq!(n(&nodes[1], "a").await, Some(1));
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_feed_gives_a_batch_as_one_and_resumes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(Config::new(dir.path())).await.unwrap();
    let keys = ["x/1", "y/1", "x/2"];
    let mut live = node.subscribe(None, "x/", None);
    for _ in 0..3 {
        let writes = keys.map(|key| increment(key, 1));
        node.batch("carts", writes).await.unwrap();
        node.put("carts", "z", json!({})).await.unwrap();
    }
    let mut logged = node.subscribe(None, "x/", Some(Lsn(0)));
    for lsn in [1, 3, 4] {
        let (told, read) = (live.next().await.unwrap(), logged.next().await.unwrap());
        assert_eq!(told, read);
        let keys: Vec<_> = told.documents.iter().map(|id| id.key.as_str()).collect();
        assert_eq!((told.lsn, keys), (Lsn(lsn), vec!["x/1", "x/2"]));
        let resumed = node.subscribe(None, "x/", Some(logged.position()));
        assert_eq!(resumed.position(), Lsn(lsn));
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_waits_until_all_datacenters_hold_it() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(dir.path()).await;
    let long = Duration::from_secs(60);
    // Until it knows of them, they are not waited for.
    let mut held = Vec::new();
    while held.len() < 3 {
        let (written, acknowledged) = nodes[0]
            .batch_acknowledged("carts", [increment("a", 1)], Ack::All, long)
            .await
            .unwrap();
        assert!(written[0].changed);
        let acknowledged = acknowledged.unwrap();
        assert!(acknowledged.reached, "{acknowledged}");
        held = acknowledged.held_by;
        for (node, name) in nodes.iter().zip(["eu", "us", "ap"]) {
            let there = n(node, "a").await;
            let here = n(&nodes[0], "a").await;
            assert!(
                !held.iter().any(|by| by == name) || there == here,
                "{name}: {there:?}"
            );
        }
    }
    assert_eq!(held, ["eu", "ap", "us"]);
    let local = [increment("a", 1)];
    let (_, nobody) = nodes[0]
        .batch_acknowledged("carts", local, Ack::Local, long)
        .await
        .unwrap();
    assert_eq!(nobody, None);
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
