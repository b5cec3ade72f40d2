//! The commands against a running node: what they print and how they end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};

use crate::client::{agent, put};
use crate::node::{NodeProcess, Plan, anabranch};

fn run(node: &NodeProcess, arguments: &[&str]) -> Output {
    anabranch()
        .args(arguments)
        .env("ANABRANCH_URL", &node.url)
        .output()
        .unwrap()
}

#[track_caller]
pub(crate) fn said(node: &NodeProcess, arguments: &[&str]) -> String {
    let output = run(node, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn json_said(node: &NodeProcess, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&said(node, &arguments)).unwrap()
}

#[track_caller]
pub(crate) fn refused(node: &NodeProcess, arguments: &[&str], status: i32) -> String {
    let output = run(node, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
    assert!(error.starts_with("anabranch: "), "{error}");
    assert!(output.stdout.is_empty());
    error
}

#[test]
fn documents_are_written_read_listed_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let created = json_said(&node, &["put", "carts/a b/ü", r#"{"x": 1}"#]);
    assert_eq!(created["created"], true);
    let file = root.path().join("patch.json");
    std::fs::write(&file, r#"[{"op": "add", "path": "/y", "value": 2}]"#).unwrap();
    said(
        &node,
        &["patch", "carts/a b/ü", &format!("@{}", file.display())],
    );
    said(&node, &["patch", "carts/a b/ü", r#"{"x": null}"#]);
    said(
        &node,
        &[
            "ops",
            "carts/a b/ü",
            r#"[{"op": "increment", "path": "/n", "by": 3}]"#,
        ],
    );
    let text = said(
        &node,
        &[
            "ops",
            "carts/a b/ü",
            r#"{"ops": [{"op": "remove", "path": "/z"}]}"#,
        ],
    );
    assert!(
        text.starts_with("carts/a b/ü unchanged, version "),
        "{text}"
    );
    assert_eq!(said(&node, &["get", "carts/a b/ü"]), "{\"n\":3,\"y\":2}\n");
    let read = json_said(&node, &["get", "carts/a b/ü"]);
    assert_eq!(read["value"], json!({"n": 3, "y": 2}));

    let version = read["version"].as_str().unwrap();
    refused(
        &node,
        &["put", "carts/a b/ü", "{}", "--if-none-match", "*"],
        4,
    );
    refused(&node, &["rm", "carts/a b/ü", "--if-match", "nonsense"], 4);
    assert_eq!(
        said(&node, &["rm", "carts/a b/ü", "--if-match", version]),
        "carts/a b/ü deleted\n"
    );
    refused(&node, &["get", "carts/a b/ü"], 3);
    refused(&node, &["rm", "carts/a b/ü"], 3);

    for key in ["p/1", "p/2", "q"] {
        said(&node, &["put", &format!("carts/{key}"), "{}"]);
    }
    assert_eq!(said(&node, &["ls", "carts"]), "p/1\np/2\nq\n");
    assert_eq!(
        said(&node, &["ls", "carts", "--prefix", "p/", "--limit", "1"]),
        "p/1\n"
    );
    assert_eq!(
        said(&node, &["ls", "carts", "--prefix", "q", "--values"]),
        "q\t{}\n"
    );
}

#[test]
fn listing_goes_through_all_pages() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let agent = agent();
    let keys: Vec<String> = (0..1_005).map(|n| format!("k{n:04}")).collect();
    for key in &keys {
        assert!(put(
            &agent,
            &format!("{}/v1/docs/carts/{key}", node.url),
            &json!({})
        ));
    }
    let listed = said(&node, &["ls", "carts"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), keys);
    assert_eq!(
        said(&node, &["ls", "carts", "--limit", "1002"])
            .lines()
            .count(),
        1_002
    );
}

#[test]
fn mistakes_have_their_own_exit_codes() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    assert!(refused(&node, &["get", "carts"], 2).contains("NAMESPACE/KEY"));
    assert!(refused(&node, &["put", "carts/a", "{"], 2).contains("not valid"));
    assert!(refused(&node, &["patch", "carts/a", "1"], 2).contains("neither"));
    assert!(
        refused(&node, &["get", "carts/a", "--url", "https://x"], 2).contains("http://HOST:PORT")
    );
    assert!(refused(&node, &["put", "carts/a", "[]"], 1).contains("JSON object"));
    assert!(refused(&node, &["put", "carts/a", "@/nowhere"], 1).contains("/nowhere"));
    for few in ["12a", "", "what"] {
        assert!(refused(&node, &["get", "carts/a", "--at", few], 2).contains("4 or more"));
    }
    // The node answers while most of it is still to be sent.
    let large = root.path().join("large.json");
    std::fs::write(&large, json!({"x": "x".repeat(8 << 20)}).to_string()).unwrap();
    let large = format!("@{}", large.display());
    let problem = refused(&node, &["put", "carts/a", &large], 1);
    assert!(problem.contains("a body may have"), "{problem}");
    let nobody = refused(&node, &["status", "--url", "http://127.0.0.1:1"], 1);
    assert!(nobody.contains("no node can be reached"), "{nobody}");
    // The next one is asked instead.
    let several = format!("http://127.0.0.1:1,{}", node.url);
    let status = said(&node, &["status", "--url", &several]);
    assert!(status.starts_with("eu in eu, gossip off"), "{status}");
}

#[test]
fn standard_input_is_read_and_completions_are_printed() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let mut child = anabranch()
        .args(["put", "carts/a", "-", "--url", &node.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"{\"a\": [1]}")
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said(&node, &["get", "carts/a"]), "{\"a\":[1]}\n");
    assert!(said(&node, &["completions", "bash"]).contains("anabranch"));
}

/// Killed when dropped.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watching_goes_on_without_loss_when_the_node_was_gone() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = Plan::alone(root.path(), "eu");
    let node = plan.start();
    plan.http = node.url.strip_prefix("http://").unwrap().to_owned();
    let mut watching = Watching(
        anabranch()
            .args([
                "watch", "carts", "--after", "0", "--output", "json", "--url", &node.url,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let write = |node: &NodeProcess, key: &str| {
        assert!(put(
            &agent(),
            &format!("{}/v1/docs/{key}", node.url),
            &json!({})
        ));
    };
    write(&node, "carts/a");
    assert_eq!(next()["key"], "a");
    write(&node, "other/x");
    write(&node, "carts/b");
    node.kill();
    let node = plan.start();
    write(&node, "carts/c");
    for key in ["b", "c"] {
        assert_eq!(next()["key"], key);
    }
}
