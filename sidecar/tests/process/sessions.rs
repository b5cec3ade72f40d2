//! Sessions, batches and idempotency keys over real processes: what a client relies on that moves between
//! datacenters, or that outlives a node.

use std::io::{BufRead as _, BufReader};

use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get, wait_for_document, wait_for_view};
use crate::node::{NodeProcess, Plan};

struct Reply {
    status: u16,
    body: Value,
    token: String,
    repeated: bool,
}

/// One request with its headers.
fn ask(
    node: &NodeProcess,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Reply {
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", node.url))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let agent = agent();
    let mut response = match method {
        "GET" => agent.run(request.body(()).unwrap()).unwrap(),
        _ => agent.run(request.body(body.to_string()).unwrap()).unwrap(),
    };
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let (token, repeated) = (header("anabranch-token"), header("anabranch-repeated"));
    let text = response.body_mut().read_to_string().unwrap();
    Reply {
        status: response.status().as_u16(),
        body: serde_json::from_str(&text).unwrap_or_default(),
        token: token.unwrap_or_default(),
        repeated: repeated.is_some(),
    }
}

/// Two datacenters that know each other.
fn cluster(root: &std::path::Path) -> ([Plan; 2], [NodeProcess; 2]) {
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut eu = Plan::in_cluster(root, "eu", &ca, &[]);
    let eu_node = eu.start();
    // Where the other one will look for it when it has been started again.
    eu.gossip = Some((eu_node.gossip.clone(), Vec::new()));
    let us = Plan::in_cluster(root, "us", &ca, std::slice::from_ref(&eu_node.gossip));
    let us_node = us.start();
    wait_for_view(&us_node, "they meet", |view| {
        view["members"][0]["link"] == "up"
    });
    ([eu, us], [eu_node, us_node])
}

/// A client that is sent to the other datacenter with every request sees all that it has done.
#[test]
fn a_session_hops_between_datacenters_and_never_goes_back() {
    let root = tempfile::tempdir().unwrap();
    let (_, nodes) = cluster(root.path());
    let mut token = String::from("AQA");
    let edit = json!({"ops": [{"op": "adjust", "path": "/qty", "by": 1}]});
    for n in 1..=40 {
        let (writer, reader) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let session = |token: &str| {
            vec![
                ("anabranch-token".to_owned(), token.to_owned()),
                ("anabranch-wait".to_owned(), "20s".to_owned()),
            ]
        };
        let headers = session(&token);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let written = ask(writer, "POST", "/v1/docs/carts/alice/ops", &headers, &edit);
        assert_eq!(written.status, 200, "{}", written.body);
        let headers = session(&written.token);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let read = ask(
            reader,
            "GET",
            "/v1/docs/carts/alice",
            &headers,
            &Value::Null,
        );
        assert_eq!((read.status, &read.body), (200, &json!({"qty": n})));
        token = read.token;
    }
}

#[test]
fn a_node_that_is_cut_off_says_whose_writes_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let ([mut eu, _], [eu_node, us_node]) = cluster(root.path());
    let first = ask(
        &eu_node,
        "PUT",
        "/v1/docs/carts/alice",
        &[],
        &json!({"n": 1}),
    );
    wait_for_document(&us_node, "carts", "alice");
    // It comes back where nobody looks for it.
    eu_node.kill();
    eu.gossip = Some(("127.0.0.1:0".to_owned(), Vec::new()));
    let eu_node = eu.start();
    let headers = [("anabranch-token", &*first.token)];
    let second = ask(
        &eu_node,
        "PUT",
        "/v1/docs/carts/alice",
        &headers,
        &json!({"n": 2}),
    );
    assert_eq!(second.status, 200);
    let headers = [
        ("anabranch-token", &*second.token),
        ("anabranch-wait", "50ms"),
    ];
    let behind = ask(
        &us_node,
        "GET",
        "/v1/docs/carts/alice",
        &headers,
        &Value::Null,
    );
    assert_eq!(behind.status, 503, "{}", behind.body);
    let replica = behind.body["missing"][0]["replica"].clone();
    assert!(replica.is_string(), "{}", behind.body);
    let missing = json!([{"ns": "carts", "replica": replica, "name": "eu", "datacenter": "eu", "batches": 1}]);
    assert_eq!(behind.body["missing"], missing, "{}", behind.body);
    // What it has is there for whoever has not seen more.
    let headers = [("anabranch-token", &*first.token)];
    let read = ask(
        &us_node,
        "GET",
        "/v1/docs/carts/alice",
        &headers,
        &Value::Null,
    );
    assert_eq!(read.body, json!({"n": 1}));
}

#[test]
fn a_write_is_done_once_though_the_node_was_killed_in_between() {
    let root = tempfile::tempdir().unwrap();
    let (plans, [eu, us]) = cluster(root.path());
    let path = "/v1/docs/carts/alice/ops";
    let key = [("idempotency-key", "order-17")];
    let edit = json!({"ops": [{"op": "adjust", "path": "/qty", "by": 1}]});
    let first = ask(&eu, "POST", path, &key, &edit);
    assert!(first.status == 200 && !first.repeated, "{}", first.body);
    eu.kill();
    let eu = plans[0].start();
    // Also at a datacenter where the write has arrived.
    wait_for_document(&us, "carts", "alice");
    for node in [&eu, &us] {
        let again = ask(node, "POST", path, &key, &edit);
        assert!(again.repeated);
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        let other = json!({"ops": [{"op": "adjust", "path": "/qty", "by": 2}]});
        let reused = ask(node, "POST", path, &key, &other);
        assert_eq!(reused.status, 422, "{}", reused.body);
        let cart = get(&agent(), &format!("{}/v1/docs/carts/alice", node.url));
        assert_eq!(cart, json!({"qty": 1}));
    }
}

/// Whoever is told of one document of a batch finds the others, and is told of them before anything else.
#[test]
fn a_batch_arrives_as_one() {
    const BATCHES: usize = 30;
    let root = tempfile::tempdir().unwrap();
    let (_, [eu, us]) = cluster(root.path());
    let feed = agent()
        .get(format!("{}/v1/events?ns=shop&after=0", us.url))
        .call()
        .unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..BATCHES {
            let write = |key: &str| json!({"ns": "shop", "key": key, "put": {"n": n}});
            let batch = json!({"writes": [write("a"), write("b"), write("c")]});
            let reply = ask(&eu, "POST", "/v1/batch", &[], &batch);
            assert_eq!(reply.status, 200, "{}", reply.body);
            assert_eq!(reply.body["writes"].as_array().unwrap().len(), 3);
        }
        eu
    });
    let agent = agent();
    let mut events = Vec::new();
    let mut event = (None, None);
    for line in BufReader::new(feed.into_body().into_reader()).lines() {
        let line = line.unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            event.0 = Some(serde_json::from_str::<Value>(data).unwrap());
        } else if let Some(id) = line.strip_prefix("id: ") {
            event.1 = Some(id.to_owned());
        } else if line.is_empty()
            && let (Some(data), id) = std::mem::take(&mut event)
        {
            if data["part"] == 1 {
                let read = |key: &str| {
                    get(&agent, &format!("{}/v1/docs/shop/{key}", us.url))["n"]
                        .as_u64()
                        .unwrap()
                };
                let (c, a) = (read("c"), read("a"));
                let at_least = (events.len() / 3) as u64;
                assert!(
                    c >= at_least && a >= c,
                    "batch {at_least}: a is {a}, c is {c}"
                );
            }
            events.push((data, id));
        }
        if events.len() == BATCHES * 3 {
            break;
        }
    }
    for batch in events.chunks(3) {
        let same = |name: &str| batch.iter().all(|(data, _)| data[name] == batch[0].0[name]);
        assert!(same("batch") && same("lsn") && same("parts"), "{batch:?}");
        let told: Vec<_> = batch
            .iter()
            .map(|(data, id)| (&data["key"], &data["part"], id.is_some()))
            .collect();
        let expected = [("a", 1, false), ("b", 2, false), ("c", 3, true)];
        for ((key, part, resumes), expected) in told.into_iter().zip(expected) {
            assert_eq!(
                (key, part, resumes),
                (&json!(expected.0), &json!(expected.1), expected.2)
            );
        }
        assert_eq!(batch[2].1.as_deref(), Some(&*batch[0].0["lsn"].to_string()));
    }
    drop(writer.join().unwrap());
}
