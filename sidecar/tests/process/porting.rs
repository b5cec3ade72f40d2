//! Documents out of a node and into one, past everything that may happen on the way.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{agent, get, listing, put};
use crate::command_line::{json_said, refused, said};
use crate::node::{NodeProcess, PATIENCE, Plan, anabranch};

/// Enough for several batches, and for more of them than are under way at a time.
const MANY: usize = 6_000;

fn start(root: &Path, name: &str) -> NodeProcess {
    Plan::alone(root, name).start()
}

/// A plan whose node comes back where it was.
fn start_to_come_back(root: &Path) -> (Plan, NodeProcess) {
    let mut plan = Plan::alone(root, "eu");
    let node = plan.start();
    plan.http = node.url.strip_prefix("http://").unwrap().to_owned();
    (plan, node)
}

fn run(node: &NodeProcess, arguments: &[&str]) -> Output {
    let mut command = anabranch();
    command.args(arguments).env("ANABRANCH_URL", &node.url);
    command.output().unwrap()
}

fn file(root: &Path, name: &str, text: &str) -> String {
    let path = root.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn path(root: &Path, name: &str) -> String {
    root.join(name).display().to_string()
}

/// Lines of so many documents, each with a list, which would show it if it were made twice.
fn lines(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let document = json!({"key": format!("k{n:06}"), "value": {"n": n, "list": [n, "x"]}});
        writeln!(text, "{document}").unwrap();
    }
    text
}

/// Holds a namespace against [`lines`]: every document is there as it was written, once.
fn check(node: &NodeProcess, namespace: &str, count: usize) {
    let documents = listing(node, namespace);
    assert_eq!(documents.len(), count);
    for (n, document) in documents.iter().enumerate() {
        assert_eq!(document["key"], format!("k{n:06}"));
        assert_eq!(document["value"], json!({"n": n, "list": [n, "x"]}));
    }
    for key in [
        "k000000",
        &*format!("k{:06}", count / 2),
        &*format!("k{:06}", count - 1),
    ] {
        let url = format!("{}/v1/docs/{namespace}/{key}?versions=true", node.url);
        let versions = get(&agent(), &url);
        assert_eq!(versions["versions"].as_array().unwrap().len(), 1, "{key}");
    }
}

/// What is the same wherever a document is.
fn contents(node: &NodeProcess, namespace: &str) -> Vec<(Value, Value)> {
    let documents = listing(node, namespace).into_iter();
    let content = |mut document: Value| (document["key"].take(), document["value"].take());
    documents.map(content).collect()
}

/// An import that is fed through a pipe. Killed when it is dropped.
struct Importing(Child);

impl Importing {
    fn start(node: &NodeProcess, arguments: &[&str]) -> Self {
        let child = anabranch()
            .args(["import", "carts", "-"])
            .args(arguments)
            .env("ANABRANCH_URL", &node.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    fn feed(&mut self, text: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    fn end(mut self) -> Output {
        drop(self.0.stdin.take());
        let mut output = Output {
            status: self.0.wait().unwrap(),
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        std::io::Read::read_to_end(&mut stdout.unwrap(), &mut output.stdout).unwrap();
        std::io::Read::read_to_end(&mut stderr.unwrap(), &mut output.stderr).unwrap();
        output
    }
}

impl Drop for Importing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until an import has written down that it is on its way, and gives how many lines it has behind it.
fn wait_for_lines(state: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(state).unwrap_or_default();
        let state: Value = serde_json::from_str(&text).unwrap_or_default();
        match state["lines"].as_u64() {
            Some(lines @ 1..) => return lines,
            _ => assert!(Instant::now() < deadline, "the import does not come on"),
        }
        // Not to wait for something in particular, but to leave the others some of the processor.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn odd_keys() -> Vec<String> {
    let odd = [
        "/",
        "//",
        "a/b",
        "a%2Fb",
        "\"",
        "\\",
        "'",
        " ",
        "?x=1&y#z",
        "ü",
        "u\u{308}",
        "日本語",
        "🛒",
        "\u{10ffff}",
        "ops",
        "..",
        ".",
        "+",
        "null",
        "{}",
        "key\u{a0}",
        "\u{feff}",
    ];
    let mut keys: Vec<String> = odd.iter().map(|&key| key.to_owned()).collect();
    keys.push("k".repeat(1_024));
    keys.extend((keys.len()..1_000).map(|n| format!("{}/{n}", odd[n % odd.len()])));
    keys
}

#[test]
fn what_is_exported_and_imported_is_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (eu, us) = (start(root.path(), "eu"), start(root.path(), "us"));
    let mut text = String::new();
    for (n, key) in odd_keys().iter().enumerate() {
        let value = json!({
            "n": n, "name": key, key: {"nested": [null, true, {"x": -1}], "": []},
            "float": 31.245_270_191_439_438 / (n + 1) as f64, "huge": 1e300, "text": "a\nb\t\u{1}\"\\/ü🛒",
        });
        writeln!(text, "{}", json!({"key": key, "value": value})).unwrap();
    }
    let given = file(root.path(), "given", &text);
    let summary = json_said(&eu, &["import", "carts", &given]);
    assert_eq!(summary["created"], 1_000);
    assert_eq!(summary["bytes"], text.len());

    let exported = path(root.path(), "exported");
    let summary = json_said(&eu, &["export", "carts", "--out", &exported]);
    assert_eq!(summary["documents"], 1_000);
    let lines = std::fs::read_to_string(&exported).unwrap();
    assert_eq!(summary["bytes"], lines.len());
    let keys: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| line["key"].as_str().unwrap().to_owned())
        .collect();
    let mut sorted = odd_keys();
    sorted.sort_unstable();
    assert_eq!(keys, sorted);

    let said_of_it = said(&us, &["import", "carts", &exported]);
    assert!(said_of_it.contains("1,000 created"), "{said_of_it}");
    assert_eq!(contents(&us, "carts"), contents(&eu, "carts"));
    // And from there, but for the versions, byte for byte.
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines();
        lines
            .map(|line| line.split(",\"version\":\"").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(bare(&said(&us, &["export", "carts"])), bare(&lines));
    let again = json_said(&eu, &["import", "carts", &exported]);
    assert_eq!(
        (&again["unchanged"], &again["changed"]),
        (&json!(1_000), &json!(0))
    );
}

#[test]
fn all_namespaces_go_into_one_file_and_come_out_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (eu, us) = (start(root.path(), "eu"), start(root.path(), "us"));
    for document in ["carts/a", "carts/b", "users/eu/a", "a b/ü"] {
        said(&eu, &["put", document, r#"{"x":1}"#]);
    }
    let all = said(&eu, &["export", "--all"]);
    let names: Vec<_> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| {
            format!(
                "{}/{}",
                line["ns"].as_str().unwrap(),
                line["key"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(names, ["a b/ü", "carts/a", "carts/b", "users/eu/a"]);
    let all = file(root.path(), "all", &all);
    assert_eq!(json_said(&us, &["import", "--all", &all])["created"], 4);
    for namespace in ["a%20b", "carts", "users"] {
        assert_eq!(contents(&us, namespace), contents(&eu, namespace));
    }
    let prefix = ["export", "users", "--prefix", "eu/"];
    let output = run(&eu, &prefix);
    assert_eq!(
        String::from_utf8(output.stdout.clone())
            .unwrap()
            .lines()
            .count(),
        1
    );
    assert!(
        stderr(&output).starts_with("1 document, "),
        "{}",
        stderr(&output)
    );
    // Not everything into one namespace by mistake.
    let output = run(&us, &["import", "carts", &all]);
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("line 1: it is of the namespace \"a b\""));
    refused(&us, &["import", "carts", &all, "--url", "nowhere"], 2);
}

#[test]
fn lines_that_are_wrong_are_left_out_and_told_by_number() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let mut given: Vec<String> = lines(1_200).lines().map(str::to_owned).collect();
    let deep = "{\"a\":".repeat(70) + "1" + &"}".repeat(70);
    let wrong = [
        (3, "nonsense".to_owned(), "no JSON object"),
        (10, r#"{"key":"x","value":[]}"#.to_owned(), "no JSON object"),
        (499, format!(r#"{{"key":"x","value":{deep}}}"#), "64"),
        (
            500,
            r#"{"key":"x","value":{"n":1e999}}"#.to_owned(),
            "number out of range",
        ),
        (
            501,
            r#"{"key":"x","value":{"\u0000":1}}"#.to_owned(),
            "reserved",
        ),
        (
            700,
            format!(r#"{{"key":"{}","value":{{}}}}"#, "k".repeat(1_025)),
            "1024",
        ),
        (
            900,
            format!(r#"{{"key":"x","value":{{"x":"{}"}}}}"#, "x".repeat(1 << 20)),
            "at once",
        ),
        (901, "x".repeat(2 << 20), "2097153 bytes long"),
    ];
    for (number, line, _) in &wrong {
        given[number - 1].clone_from(line);
    }
    let given = file(root.path(), "given", &(given.join("\n") + "\n"));
    let errors = path(root.path(), "errors");
    let arguments = [
        "import", "carts", &given, "--errors", &errors, "--output", "json",
    ];
    let output = run(&node, &arguments);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["left_out"], wrong.len());
    assert_eq!(summary["created"], 1_200 - wrong.len());
    let said = stderr(&output);
    let told: Vec<&str> = said.lines().collect();
    assert_eq!(told.len(), wrong.len() + 1, "{said}");
    assert!(
        told.last().unwrap().contains("8 lines were left out"),
        "{said}"
    );
    let written = std::fs::read_to_string(&errors).unwrap();
    for (((number, _, says), told), written) in wrong.iter().zip(&told).zip(written.lines()) {
        let begins = format!("anabranch: line {number}: ");
        assert!(told.starts_with(&begins) && told.contains(says), "{told}");
        let written: Value = serde_json::from_str(written).unwrap();
        assert_eq!(written["line"], *number);
        assert!(
            written["reason"].as_str().unwrap().contains(says),
            "{written}"
        );
    }
    assert_eq!(listing(&node, "carts").len(), 1_200 - wrong.len());

    // Strictly nothing comes after the first of them, be it found here or by the node.
    for (from, stops_at) in [(0, 3), (10, 489)] {
        let text = std::fs::read_to_string(&given).unwrap();
        let rest: Vec<&str> = text.lines().skip(from).collect();
        let rest = file(root.path(), "rest", &rest.join("\n"));
        let namespace = format!("strict-{from}");
        let said = refused(&node, &["import", &namespace, &rest, "--strict"], 6);
        assert!(
            said.starts_with(&format!("anabranch: line {stops_at}: ")),
            "{said}"
        );
        assert!(
            said.contains(&format!("{} lines (", stops_at - 1)),
            "{said}"
        );
        assert_eq!(listing(&node, &namespace).len(), stops_at - 1);
    }
}

#[test]
fn a_killed_node_that_comes_back_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (plan, node) = start_to_come_back(root.path());
    let state = path(root.path(), "state");
    let text = lines(MANY);
    let (one, other) = text.split_at(text.len() * 3 / 4);
    let mut import = Importing::start(&node, &["--resume", &state, "--wait", "60s"]);
    import.feed(one);
    wait_for_lines(&state);
    node.kill();
    let node = plan.start();
    import.feed(other);
    let output = import.end();
    assert!(output.status.success(), "{}", stderr(&output));
    check(&node, "carts", MANY);
}

#[test]
fn an_import_whose_node_was_killed_goes_on_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let (plan, node) = start_to_come_back(root.path());
    let text = lines(MANY);
    let given = file(root.path(), "given", &text);
    let state = path(root.path(), "state");
    let (one, other) = text.split_at(text.len() * 3 / 4);
    let mut import = Importing::start(&node, &["--resume", &state, "--wait", "0s"]);
    import.feed(one);
    let before = wait_for_lines(&state);
    node.kill();
    // It may have ended already: then nobody reads this.
    let _ = import.0.stdin.as_mut().unwrap().write_all(other.as_bytes());
    let output = import.end();
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("run the same command again"), "{told}");
    let node = plan.start();
    let resumed = ["import", "carts", &given, "--resume", &state];
    let summary = json_said(&node, &resumed);
    assert!(summary["begun_after_line"].as_u64().unwrap() >= before);
    assert_eq!(summary["documents"], MANY);
    // What was taken before, and not acknowledged, is answered as it would have been.
    assert_eq!(summary["created"], MANY);
    check(&node, "carts", MANY);

    let finished = said(&node, &resumed);
    assert!(finished.contains("finished before"), "{finished}");
    let other = file(root.path(), "other", &text.replace("k000000", "K000000"));
    let error = refused(&node, &["import", "carts", &other, "--resume", &state], 2);
    assert!(error.contains("begins otherwise"), "{error}");
    let error = refused(&node, &["import", "users", &given, "--resume", &state], 2);
    assert!(error.contains("import into carts"), "{error}");
}

#[test]
fn an_import_without_a_state_says_how_to_go_on() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let mut given: Vec<String> = lines(1_500).lines().map(str::to_owned).collect();
    let good = given[1_200].clone();
    given[1_200] = "nonsense".to_owned();
    let bad = file(root.path(), "bad", &given.join("\n"));
    let said = refused(&node, &["import", "carts", &bad, "--strict"], 6);
    let position = said.split("--from ").nth(1).unwrap();
    let position = position.split(' ').next().unwrap();
    given[1_200] = good;
    let mended = file(root.path(), "mended", &given.join("\n"));
    let arguments = ["import", "carts", &mended, "--strict", "--from", position];
    // Elsewhere, nobody would know what was under way here.
    let us = start(root.path(), "us");
    let error = refused(&us, &arguments, 2);
    assert!(error.contains("--any-node"), "{error}");
    let summary = json_said(&node, &arguments);
    assert_eq!(
        (&summary["created"], &summary["begun_after_line"]),
        (&json!(300), &json!(1_200))
    );
    check(&node, "carts", 1_500);
    let rest = [&arguments[..], &["--any-node"]].concat();
    assert_eq!(json_said(&us, &rest)["created"], 300);
}

#[test]
fn a_killed_import_goes_on_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let text = lines(MANY);
    let state = path(root.path(), "state");
    let mut import = Importing::start(&node, &["--resume", &state]);
    import.feed(&text[..text.len() * 3 / 4]);
    let before = wait_for_lines(&state);
    import.0.kill().unwrap();
    drop(import);
    // What can't be read twice is passed over.
    let mut import = Importing::start(&node, &["--resume", &state, "--output", "json"]);
    import.feed(&text);
    let output = import.end();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("going on from line"),
        "{}",
        stderr(&output)
    );
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let began = summary["begun_after_line"].as_u64().unwrap();
    assert!((before..MANY as u64).contains(&began), "{summary}");
    assert_eq!(summary["documents"], MANY);
    // What was taken before, and not acknowledged, is answered as it would have been.
    assert_eq!(summary["created"], MANY);
    check(&node, "carts", MANY);
}

#[test]
fn of_lines_with_the_same_key_the_last_one_counts() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let mut text = String::new();
    for n in 0..MANY {
        let key = n % 601;
        writeln!(text, r#"{{"key":"{key:03}","value":{{"n":{n}}}}}"#).unwrap();
    }
    let given = file(root.path(), "given", &text);
    assert_eq!(
        json_said(&node, &["import", "carts", &given])["created"],
        601
    );
    for (key, document) in listing(&node, "carts").iter().enumerate() {
        let last = (0..MANY).rev().find(|n| n % 601 == key).unwrap();
        assert_eq!(document["value"], json!({"n": last}));
    }
}

#[test]
fn what_is_there_is_left_alone_if_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let count = 1_300;
    let given = file(root.path(), "given", &lines(count));
    let url = format!("{}/v1/docs/carts", node.url);
    for key in ["k000007", "k000499", "k000500", "k001299"] {
        assert!(put(
            &agent(),
            &format!("{url}/{key}"),
            &json!({"mine": true})
        ));
    }
    let arguments = ["import", "carts", &given, "--if-absent"];
    let summary = json_said(&node, &arguments);
    assert_eq!(
        (&summary["created"], &summary["skipped"]),
        (&json!(count - 4), &json!(4))
    );
    assert_eq!(
        get(&agent(), &format!("{url}/k000499")),
        json!({"mine": true})
    );
    assert_eq!(get(&agent(), &format!("{url}/k000498"))["n"], 498);
    let again = json_said(&node, &arguments);
    assert_eq!(
        (&again["documents"], &again["skipped"]),
        (&json!(0), &json!(count))
    );
    // Without it they are made equal.
    let summary = json_said(&node, &["import", "carts", &given]);
    assert_eq!(
        (&summary["changed"], &summary["unchanged"]),
        (&json!(4), &json!(count - 4))
    );
}

#[test]
fn an_export_is_whole_however_much_is_written_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let count = 3_000;
    let given = file(root.path(), "given", &lines(count));
    said(&node, &["import", "carts", &given]);
    let out = path(root.path(), "out");
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let agent = agent();
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                for key in [
                    format!("k{:06}", n * 7 % count),
                    format!("new/{n}"),
                    format!("a/{n}"),
                ] {
                    let url = format!("{}/v1/docs/carts/{key}", node.url);
                    assert!(put(&agent, &url, &json!({"n": n, "again": true})));
                }
                n += 1;
            }
            n
        });
        for _ in 0..5 {
            let summary = json_said(&node, &["export", "carts", "--out", &out]);
            let text = std::fs::read_to_string(&out).unwrap();
            let keys: Vec<String> = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .map(|line| line["key"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(summary["documents"], keys.len());
            assert!(keys.is_sorted_by(|one, other| one < other));
            assert_eq!(
                keys.iter().filter(|key| key.starts_with('k')).count(),
                count
            );
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(written > 0);
    assert!(!PathBuf::from(format!("{out}.partial")).exists());
}

#[test]
fn large_documents_make_short_pages_and_small_batches() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let mut text = String::new();
    for n in 0..24 {
        let document = json!({"key": format!("k{n:02}"), "value": {"x": "x".repeat(900_000)}});
        writeln!(text, "{document}").unwrap();
    }
    let given = file(root.path(), "given", &text);
    assert_eq!(
        json_said(&node, &["import", "carts", &given])["created"],
        24
    );
    let out = path(root.path(), "out");
    let summary = json_said(&node, &["export", "carts", "--out", &out]);
    assert_eq!(summary["documents"], 24);
    assert!(summary["bytes"].as_u64().unwrap() > text.len() as u64);
}

#[test]
fn an_export_that_fails_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let node = start(root.path(), "eu");
    let out = file(root.path(), "out", "from before");
    let nowhere = ["--url", "http://127.0.0.1:1", "--wait", "0s"];
    let arguments = [&["export", "carts", "--out", &*out][..], &nowhere].concat();
    let said = refused(&node, &arguments, 1);
    assert!(said.contains("no node can be reached"), "{said}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "from before");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    let arguments = [&["import", "carts", &*out][..], &nowhere].concat();
    refused(&node, &arguments, 1);
    let nothing = refused(&node, &["import", "carts", "/nowhere/x"], 1);
    assert!(nothing.contains("cannot read /nowhere/x"), "{nothing}");
    for usage in [
        &["export"][..],
        &["import", "--all"],
        &["import", "carts"],
        &["export", "carts", "--all"],
    ] {
        assert_eq!(run(&node, usage).status.code(), Some(2), "{usage:?}");
    }
}
