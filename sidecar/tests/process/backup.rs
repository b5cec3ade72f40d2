//! Backups of running nodes, and nodes made of them, past everything that may happen on the way.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anabranch::backup::verify;
use anabranch::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::client::{agent, get, increment, listing, put, wait_for_document};
use crate::node::{NodeProcess, PATIENCE, Plan, anabranch};

const NAMESPACE: &str = "n";

fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = anabranch();
    command.args(arguments).env("ANABRANCH_URL", url);
    command.output().unwrap()
}

#[track_caller]
fn said(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json_said(url: &str, arguments: &[&str]) -> Value {
    let said = said(url, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&said).unwrap()
}

#[track_caller]
fn refused(url: &str, arguments: &[&str], status: i32) -> String {
    let output = run(url, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn data_dir(plan: &Plan) -> PathBuf {
    plan.directory.join("data")
}

/// Writes one document after the other, so that whatever a node held at one moment is a beginning of them.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(node: &NodeProcess) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let url = node.url.clone();
        let (count, stopping) = (acknowledged.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let agent = agent();
            for n in 0.. {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let url = format!("{url}/v1/docs/{NAMESPACE}/k{n:06}");
                assert!(put(&agent, &url, &json!({"n": n, "pad": "x".repeat(300)})));
                count.store(n + 1, Ordering::Relaxed);
            }
        });
        Self {
            acknowledged,
            stop,
            thread,
        }
    }

    fn wait_for(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "the writer is stuck");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn so_far(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

fn restore_and_start(root: &Path, name: &str, from: &[&str]) -> NodeProcess {
    let plan = Plan::alone(root, name);
    let data_dir = data_dir(&plan);
    said(
        "",
        &[&["restore", "--data-dir", text(&data_dir)], from].concat(),
    );
    plan.start()
}

/// Restores, starts, and gives how many of a writer's documents there are: all of them from the first on.
fn restored(root: &Path, name: &str, from: &[&str]) -> (NodeProcess, u64) {
    let node = restore_and_start(root, name, from);
    let documents = listing(&node, NAMESPACE);
    for (n, document) in documents.iter().enumerate() {
        assert_eq!(document["key"], format!("k{n:06}"));
        assert_eq!(document["value"]["n"], n);
    }
    (node, documents.len() as u64)
}

#[test]
fn backups_under_load_hold_what_was_acknowledged_and_nothing_out_of_order() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    let writer = Writer::start(&node);
    let shelf = root.path().join("shelf");
    let to_shelf = format!("{}/", shelf.display());
    let file = root.path().join("one.anabackup");
    let mut least = Vec::new();
    for round in 0..3 {
        writer.wait_for(writer.so_far() + 200);
        least.push(writer.so_far());
        let view = json_said(&node.url, &["backup", "--out", &to_shelf, "--incremental"]);
        let kind = if round == 0 { "full" } else { "incremental" };
        assert_eq!(view["kind"], kind, "{view}");
    }
    writer.wait_for(writer.so_far() + 100);
    let before = writer.so_far();
    let summary = said(&node.url, &["backup", "--out", text(&file)]);
    assert!(
        summary.contains("full backup") && summary.contains("whole"),
        "{summary}"
    );
    let written = writer.stop();

    let all = json_said("", &["backup", "--list", text(&shelf)]);
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[1]["base"], all[0]["id"]);
    let table = said("", &["backup", "--list", text(&shelf)]);
    assert_eq!(table.lines().count(), 4, "{table}");
    let verified = json_said("", &["backup", "--verify", text(&shelf)]);
    assert!(
        verified
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["verified"] == true)
    );

    let (_, count) = restored(root.path(), "from-file", &[text(&file)]);
    assert!(
        (before..=written).contains(&count),
        "{before} <= {count} <= {written}"
    );
    let (_, count) = restored(root.path(), "from-shelf", &[text(&shelf)]);
    assert!((least[2]..before).contains(&count), "{least:?}, {count}");
    let at = all[1]["id"].as_str().unwrap();
    let (restored_node, count) = restored(root.path(), "at", &[text(&shelf), "--at", &at[..8]]);
    assert!((least[1]..least[2]).contains(&count), "{least:?}, {count}");
    let identity =
        |node: &NodeProcess| get(&agent(), &format!("{}/v1/cluster", node.url))["node"].clone();
    let (one, other) = (identity(&node), identity(&restored_node));
    assert_eq!(one["replica"], other["replica"]);
    assert_ne!(one["incarnation"], other["incarnation"]);
    // The original goes on; what it takes a backup of later does not fit the other one's history.
    let files: Vec<&str> = all
        .iter()
        .map(|one| one["file"].as_str().unwrap())
        .collect();
    let view = json_said(
        &restored_node.url,
        &[
            "backup",
            "--out",
            text(&root.path().join("other")),
            "--since",
            files[1],
        ],
    );
    assert_eq!(view["kind"], "full");
    assert!(
        view["full_because"]
            .as_str()
            .unwrap()
            .contains("new incarnation"),
        "{view}"
    );
    let out = text(&file).to_owned() + "2";
    let error = refused(
        &restored_node.url,
        &["backup", "--out", &out, "--since", files[1], "--no-full"],
        1,
    );
    assert!(error.contains("new incarnation"), "{error}");
    assert!(!Path::new(&out).exists());
    refuse_what_does_not_fit(root.path(), &files);
}

fn refuse_what_does_not_fit(root: &Path, files: &[&str]) {
    let data = root.join("nothing");
    let restore = |from: &[&str], status| {
        let error = refused(
            "",
            &[&["restore", "--data-dir", text(&data)], from].concat(),
            status,
        );
        assert!(!data.exists(), "nothing is left: {error}");
        error
    };
    assert!(restore(&[files[2]], 2).contains("goes on from"));
    assert!(restore(&[files[0], files[2]], 2).contains("goes on from"));
    let mut damaged = std::fs::read(files[0]).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let bad = root.join("bad.anabackup");
    std::fs::write(&bad, &damaged).unwrap();
    assert!(restore(&[text(&bad)], 1).contains("is not what was written"));
    assert!(refused("", &["backup", "--verify", text(&bad)], 1).contains("damaged"));
    std::fs::write(&bad, &damaged[..middle]).unwrap();
    assert!(restore(&[text(&bad)], 1).contains("cut short"));
    std::fs::write(&bad, "something else").unwrap();
    assert!(restore(&[text(&bad)], 1).contains("no backup"));
    let used = root.join("from-file/data");
    let error = refused("", &["restore", "--data-dir", text(&used), files[0]], 2);
    assert!(error.contains("not empty"), "{error}");
}

const NOISY: u64 = 80;

fn noisy(n: u64) -> Value {
    let mut noise = vec![0; 200_000];
    blake3::Hasher::new()
        .update(&n.to_le_bytes())
        .finalize_xof()
        .fill(&mut noise);
    let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"n": n, "noise": noise})
}

fn noisy_url(node: &NodeProcess, n: u64) -> String {
    format!("{}/v1/docs/{NAMESPACE}/k{n:06}", node.url)
}

/// More than fits between a node and whoever reads slowly.
fn fill(node: &NodeProcess) {
    let agent = agent();
    for n in 0..NOISY {
        assert!(put(&agent, &noisy_url(node, n), &noisy(n)));
    }
}

fn check_filled(node: &NodeProcess) {
    let agent = agent();
    for n in 0..NOISY {
        assert_eq!(get(&agent, &noisy_url(node, n)), noisy(n));
    }
}

#[test]
fn a_node_that_is_killed_in_the_middle_leaves_no_backup_that_passes_for_one() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan::alone(root.path(), "eu");
    let node = plan.start();
    fill(&node);
    let mut response = agent()
        .get(format!("{}/v1/backup", node.url))
        .call()
        .unwrap();
    let mut first = vec![0; 100_000];
    response
        .body_mut()
        .as_reader()
        .read_exact(&mut first)
        .unwrap();
    node.kill();
    let mut rest = Vec::new();
    let ended = response.body_mut().as_reader().read_to_end(&mut rest);
    assert!(ended.is_err(), "the connection is broken off");
    verify(&[first.clone(), rest.clone()].concat()[..], |_| ()).unwrap_err();

    // The same to the command line, without chance: what came, and then nothing more.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = [first, rest].concat();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        write!(stream, "{head}{:x}\r\n", sent.len()).unwrap();
        let _ = stream.write_all(&sent);
    });
    let file = root.path().join("out.anabackup");
    std::fs::write(
        root.path().join("out.anabackup.partial"),
        "left by a process that was killed",
    )
    .unwrap();
    let error = refused(&url, &["backup", "--out", text(&file)], 1);
    assert!(
        error.contains("not finished") && error.contains("again"),
        "{error}"
    );
    serving.join().unwrap();
    assert!(!file.exists());

    let node = plan.start();
    said(&node.url, &["backup", "--out", text(&file)]);
    check_filled(&restore_and_start(root.path(), "b", &[text(&file)]));
}

#[test]
fn a_restore_that_is_killed_leaves_nothing_that_serves_and_is_run_again() {
    let root = tempfile::tempdir().unwrap();
    let node = Plan::alone(root.path(), "eu").start();
    fill(&node);
    let file = root.path().join("out.anabackup");
    said(&node.url, &["backup", "--out", text(&file)]);
    let plan = Plan::alone(root.path(), "b");
    let data = data_dir(&plan);
    std::fs::create_dir_all(&data).unwrap();
    let marker = data.join("RESTORING");
    // Until one was killed in the middle, and not before or after.
    loop {
        let mut restoring = anabranch()
            .args(["restore", "--data-dir", text(&data), text(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = || data.join("documents.redb").exists();
        while !begun() && restoring.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        restoring.kill().unwrap();
        restoring.wait().unwrap();
        if marker.exists() {
            break;
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
    let (status, error) = plan.fail();
    assert_eq!(status, Some(1));
    assert!(error.contains("`anabranch restore` again"), "{error}");
    check_filled(&restore_and_start(root.path(), "b", &[text(&file)]));
}

fn increments(node: &NodeProcess, by: &str, count: usize) {
    let url = format!("{}/v1/docs/{NAMESPACE}/counter", node.url);
    for _ in 0..count {
        assert!(increment(&agent(), &url, &format!("/by/{by}")));
    }
}

/// Waits until every node has what every node has written.
fn settle(nodes: &[(&str, &NodeProcess)], round: &str) -> Vec<Value> {
    for (name, node) in nodes {
        let url = format!("{}/v1/docs/{NAMESPACE}/last-{name}-{round}", node.url);
        assert!(put(&agent(), &url, &json!({"round": round})));
    }
    for (_, node) in nodes {
        for (name, _) in nodes {
            wait_for_document(node, NAMESPACE, &format!("last-{name}-{round}"));
        }
    }
    let documents = listing(nodes[0].1, NAMESPACE);
    for (_, node) in &nodes[1..] {
        assert_eq!(listing(node, NAMESPACE), documents, "{round}");
    }
    documents
}

fn count(documents: &[Value], by: &str) -> i64 {
    let counter = documents
        .iter()
        .find(|document| document["key"] == "counter");
    counter.unwrap()["value"]["by"][by].as_i64().unwrap_or(0)
}

/// Throws a node's data away and puts a backup in its place.
fn replace(plan: &Plan, backup: &Path) -> NodeProcess {
    std::fs::remove_dir_all(data_dir(plan)).unwrap();
    said(
        "",
        &["restore", "--data-dir", text(&data_dir(plan)), text(backup)],
    );
    plan.start()
}

#[test]
fn restored_nodes_catch_up_and_give_what_only_they_have() {
    let root = tempfile::tempdir().unwrap();
    let ca = CertificateAuthority::generate("test").unwrap();
    let mut eu_plan = Plan::in_cluster(root.path(), "eu", &ca, &[]);
    let eu = eu_plan.start();
    let mut us_plan = Plan::in_cluster(root.path(), "us", &ca, std::slice::from_ref(&eu.gossip));
    let us = us_plan.start();
    eu_plan.gossip = Some((eu.gossip.clone(), vec![us.gossip.clone()]));
    us_plan.gossip = Some((us.gossip.clone(), vec![eu.gossip.clone()]));
    increments(&eu, "eu", 10);
    increments(&us, "us", 10);
    settle(&[("eu", &eu), ("us", &us)], "1");
    let old = root.path().join("old.anabackup");
    said(&eu.url, &["backup", "--out", text(&old)]);
    let incarnation = |node: &NodeProcess| {
        get(&agent(), &format!("{}/v1/cluster", node.url))["node"]["incarnation"].clone()
    };
    let first = incarnation(&eu);

    // An old backup in the place of a node, while the others have seen more of it: that comes back, and what it writes
    // now counts besides.
    increments(&eu, "eu", 15);
    settle(&[("eu", &eu), ("us", &us)], "2");
    eu.kill();
    let eu = replace(&eu_plan, &old);
    assert_ne!(incarnation(&eu), first);
    increments(&eu, "eu", 5);
    increments(&us, "us", 5);
    let documents = settle(&[("eu", &eu), ("us", &us)], "3");
    assert_eq!((count(&documents, "eu"), count(&documents, "us")), (30, 15));

    // What only the backup has, since the other node was away.
    us.kill();
    increments(&eu, "eu", 7);
    let only = root.path().join("only.anabackup");
    said(&eu.url, &["backup", "--out", text(&only)]);
    eu.kill();
    let eu = replace(&eu_plan, &only);
    let us = us_plan.start();
    let documents = settle(&[("eu", &eu), ("us", &us)], "4");
    assert_eq!((count(&documents, "eu"), count(&documents, "us")), (37, 15));

    // The backup of a node that goes on writing, as another node; and one that begins with nothing has it all from the log.
    let writer = Writer::start(&eu);
    let ap_plan = Plan::in_cluster(
        root.path(),
        "ap",
        &ca,
        &[us.gossip.clone(), eu.gossip.clone()],
    );
    said(
        "",
        &[
            "restore",
            "--data-dir",
            text(&data_dir(&ap_plan)),
            text(&only),
        ],
    );
    let ap = ap_plan.start();
    increments(&ap, "ap", 9);
    writer.wait_for(200);
    let written = writer.stop();
    let documents = settle(&[("eu", &eu), ("us", &us), ("ap", &ap)], "5");
    assert_eq!(count(&documents, "ap"), 9);
    assert_eq!(count(&documents, "eu"), 37);
    let keys = documents
        .iter()
        .filter(|document| document["key"].as_str().unwrap().starts_with('k'));
    assert_eq!(keys.count() as u64, written);
    for node in [us, ap] {
        node.kill();
    }
    let empty = Plan::in_cluster(root.path(), "sa", &ca, std::slice::from_ref(&eu.gossip)).start();
    settle(&[("eu", &eu), ("sa", &empty)], "6");
}
