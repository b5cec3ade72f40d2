//! The commands that read the past, write batches, and go on with a session.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anabranch::pki::CertificateAuthority;
use serde_json::json;

use crate::command_line::{json_said, refused, said};
use crate::node::{Plan, anabranch};

#[test]
fn history_is_listed_compared_and_read() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let version = |json: &str| {
        let written = json_said(&node, &["put", "carts/a", json]);
        written["version"].as_str().unwrap().to_owned()
    };
    let first = version(r#"{"price": 1}"#);
    let second = version(r#"{"price": 2}"#);
    let listed = said(&node, &["history", "carts/a"]);
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("VERSION       WHEN"), "{listed}");
    assert!(
        lines[1].starts_with(&second[..12]) && lines[1].ends_with("eu in eu"),
        "{listed}"
    );
    assert!(!listed.contains(&second[..13]));
    let newest = said(&node, &["history", "carts/a", "--limit", "1", "--full"]);
    assert!(
        newest.contains(&second) && newest.contains("older ones"),
        "{newest}"
    );
    let one = json_said(&node, &["history", "carts/a", "--limit", "1"]);
    assert_eq!(one["version"], second);

    let short = &first[..12];
    assert_eq!(
        said(&node, &["get", "carts/a", "--at", short]),
        "{\"price\":1}\n"
    );
    assert_eq!(
        said(&node, &["diff", "carts/a", short]),
        "replace /price 2\n"
    );
    let diff = json_said(&node, &["diff", "carts/a", &second, &first]);
    assert_eq!(
        diff,
        json!([{"op": "replace", "path": "/price", "value": 1}])
    );
    said(
        &node,
        &["put", "carts/a", r#"{"price": "3"}"#, "--base", short],
    );
    let found = json_said(&node, &["get", "carts/a", "--conflicts"]);
    assert_eq!(found["conflicts"][0]["path"], "/price");

    refused(&node, &["history", "carts/nobody"], 3);
    refused(&node, &["get", "carts/a", "--at", "ffffffff"], 3);
    refused(&node, &["get", "carts/a", "--at", &"f".repeat(64)], 3);
    refused(&node, &["get", "carts/a", "--at", "nonsense"], 2);
}

#[test]
fn batches_come_from_files() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let file = root.path().join("batch.json");
    let batch = json!([
        {"ns": "shop", "key": "a/1", "put": {"x": 1}},
        {"ns": "shop", "key": "b", "ops": [{"op": "set_add", "path": "/tags", "value": "x"}]},
    ]);
    std::fs::write(&file, batch.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let key = ["--idempotency-key", "once"];
    let text = said(&node, &[&["batch", file], &key[..]].concat());
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("shop/a/1 created, version "), "{text}");
    assert!(lines[1].starts_with("shop/b created, version "), "{text}");
    let again = said(&node, &[&["batch", file], &key[..]].concat());
    assert!(again.contains("written before"), "{again}");
    let again = json_said(&node, &[&["batch", file], &key[..]].concat());
    assert_eq!(again["repeated"], true);
    assert!(again["token"].is_string());
    assert_eq!(said(&node, &["get", "shop/b"]), "{\"tags\":[\"x\"]}\n");
    std::fs::write(file, "1").unwrap();
    assert!(refused(&node, &["batch", file], 2).contains("neither"));
    refused(&node, &["batch", "/nowhere"], 1);
}

/// A script that is sent to another datacenter with every command.
#[test]
fn a_session_file_carries_a_script_between_datacenters() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let eu = Plan::in_cluster(root.path(), "eu", &ca, &[]).start();
    let us = Plan::in_cluster(root.path(), "us", &ca, std::slice::from_ref(&eu.gossip)).start();
    let file = root.path().join("session");
    let session = ["--session", file.to_str().unwrap(), "--wait", "20s"];
    let nodes = [&eu, &us];
    for n in 1..=6 {
        let edit = r#"[{"op": "adjust", "path": "/qty", "by": 1}]"#;
        said(
            nodes[n % 2],
            &[&["ops", "carts/a", edit], &session[..]].concat(),
        );
        let read = said(
            nodes[(n + 1) % 2],
            &[&["get", "carts/a"], &session[..]].concat(),
        );
        assert_eq!(read, format!("{{\"qty\":{n}}}\n"));
    }
    // Somebody who has never heard of either of them.
    let alone = Plan::alone(root.path(), "ap").start();
    let token = std::fs::read_to_string(&file).unwrap();
    let behind = refused(
        &alone,
        &["get", "carts/a", "--token", token.trim(), "--wait", "1ms"],
        5,
    );
    assert!(behind.contains("behind"), "{behind}");
    std::fs::write(&file, "nonsense").unwrap();
    let broken = refused(&alone, &["get", "carts/a", "--session", session[1]], 2);
    assert!(broken.contains("remove the file"), "{broken}");
    let output = anabranch()
        .args(["get", "carts/a", "--wait", "soon"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Forwards connections to a node; of the first it swallows the answer.
fn forgetful(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let to = to.to_owned();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let (mut client, mut node) = (stream.unwrap(), TcpStream::connect(&to).unwrap());
            let (mut up, mut request) = (node.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut request, &mut up));
            let mut answer = [0; 16 << 10];
            while let Ok(read @ 1..) = node.read(&mut answer) {
                if n == 0 || client.write_all(&answer[..read]).is_err() {
                    break;
                }
            }
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
    });
    format!("http://{address}")
}

#[test]
fn a_write_whose_connection_broke_is_sent_again_and_done_once() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let address = node.url.strip_prefix("http://").unwrap();
    let edit = r#"[{"op": "adjust", "path": "/qty", "by": 1}]"#;
    let text = said(
        &node,
        &["ops", "carts/a", edit, "--url", &forgetful(address)],
    );
    assert!(text.contains("written before"), "{text}");
    assert_eq!(said(&node, &["get", "carts/a"]), "{\"qty\":1}\n");
    let unknown = refused(
        &node,
        &[
            "ops",
            "carts/a",
            edit,
            "--no-retry",
            "--url",
            &forgetful(address),
        ],
        1,
    );
    assert!(unknown.contains("not known"), "{unknown}");
}
