//! A disk that is full, as a limit on the size of files makes it: every write beyond it fails, with bytes of it
//! written. That it can be set and taken away while a node runs is what no small file system offers without
//! privileges.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{agent, get, listing};
use crate::node::{NodeProcess, PATIENCE, Plan};

const NAMESPACE: &str = "n";
/// Less than the first file of the log has.
const FILE_BYTES: &str = "524288";

/// Sets how large files of a process may become; no if this machine has no `prlimit`.
fn limit(node: &NodeProcess, file_bytes: &str) -> bool {
    let arguments = [
        format!("--pid={}", node.id()),
        format!("--fsize={file_bytes}:"),
    ];
    match Command::new("prlimit").args(arguments).status() {
        Ok(status) => {
            assert!(status.success(), "the limit could not be set");
            true
        }
        Err(_) => false,
    }
}

/// Writes a document of some kilobytes; the status, and the problem if there is one.
fn put(node: &NodeProcess, n: usize) -> (u16, Value) {
    let url = format!("{}/v1/docs/{NAMESPACE}/document-{n:04}", node.url);
    let request = agent().put(url).header("content-type", "application/json");
    let mut response = request.send(document(n).to_string()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let body = serde_json::from_str(&text).unwrap_or_default();
    (response.status().as_u16(), body)
}

fn document(n: usize) -> Value {
    json!({"n": n, "text": format!("{n} ").repeat(4_000)})
}

/// Whether just these documents are there, as they were written.
fn assert_holds(node: &NodeProcess, written: &[usize]) {
    let expected: Vec<(String, Value)> = written
        .iter()
        .map(|n| (format!("document-{n:04}"), document(*n)))
        .collect();
    let found: Vec<(String, Value)> = listing(node, NAMESPACE)
        .into_iter()
        .map(|found| {
            (
                found["key"].as_str().unwrap().to_owned(),
                found["value"].clone(),
            )
        })
        .collect();
    assert!(
        found == expected,
        "{} documents of {}",
        found.len(),
        expected.len()
    );
}

#[test]
fn a_node_on_a_full_disk_refuses_writes_goes_on_reading_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::alone(root.path(), "eu");
    let node = plan.start();
    if !limit(&node, FILE_BYTES) {
        println!("skipped: there is no prlimit here (util-linux has it)");
        return;
    }
    let mut written = Vec::new();
    let mut problem = None;
    for n in 0..1_000 {
        match put(&node, n) {
            (200..300, _) => written.push(n),
            (507, found) => {
                problem = Some(found);
                break;
            }
            (status, found) => panic!("{status}: {found}"),
        }
    }
    let problem = problem.expect("a file of the log grew beyond the limit");
    assert!(written.len() > 10, "{}", written.len());
    assert!(
        problem["type"].as_str().unwrap().ends_with("disk-full"),
        "{problem}"
    );
    for n in 1_000..1_020 {
        assert_eq!(put(&node, n).0, 507);
    }
    node.wait_for_log("full");
    assert_holds(&node, &written);
    let url = format!("{}/v1/docs/{NAMESPACE}/document-0003", node.url);
    assert_eq!(get(&agent(), &url), document(3));

    // Room is made, and nobody restarts anything.
    assert!(limit(&node, "unlimited"));
    let deadline = Instant::now() + PATIENCE;
    let taken = (2_000..).find(|n| {
        assert!(Instant::now() < deadline, "no write is taken");
        // Not to wait for something in particular, but to leave the node some of the processor.
        std::thread::park_timeout(Duration::from_millis(5));
        let (status, found) = put(&node, *n);
        assert!(status == 507 || status / 100 == 2, "{status}: {found}");
        status != 507
    });
    written.extend(taken);
    for n in 3_000..3_050 {
        assert_eq!(put(&node, n).0 / 100, 2);
        written.push(n);
    }
    assert_holds(&node, &written);
    node.kill();
    let node = plan.start();
    assert_holds(&node, &written);
}
