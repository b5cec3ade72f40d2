//! The harness that measures convergence, on real node processes with relays between them: that it works and cleans
//! up. What it finds is measured elsewhere, on a quiet machine.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const FIGURES: &str = env!("CARGO_BIN_EXE_figures");
const PHASES: [&str; 11] = [
    "idle",
    "quiet",
    "steady",
    "feed",
    "burst",
    "loss-0.1",
    "loss-1",
    "slow-without",
    "slow",
    "cut",
    "join",
];

/// The harness, with its temporary files in a directory.
fn harness(temporary: &Path) -> Command {
    let mut command = Command::new(FIGURES);
    command.arg("convergence").env("TMPDIR", temporary);
    command
}

/// The same, in its short form: it needs the node's program beside it.
fn quick(temporary: &Path, out: &Path) -> Command {
    let program = Path::new(FIGURES).with_file_name("anabranch");
    assert!(
        program.exists(),
        "{} is not there: run the whole workspace's tests, which build it, or `cargo build -p anabranch-sidecar` first",
        program.display()
    );
    let mut command = harness(temporary);
    command.args(["--quick", "--out"]).arg(out);
    command
}

/// Nothing of a run is left: no files, and no process that was started with one of them.
fn assert_clean(temporary: &Path) {
    let left: Vec<_> = std::fs::read_dir(temporary).unwrap().collect();
    assert!(left.is_empty(), "files are left: {left:?}");
    let place = temporary.to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        // Those that end meanwhile can't be read.
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains(place), "a process is left: {line}");
    }
}

/// Every write that was acknowledged has been seen at both other places, none faster than the network is.
fn assert_sound(load: &Value, name: &str) {
    assert_eq!(load["refused"], 0, "{name}: {}", load["refusal"]);
    assert!(load["writes"].as_u64().unwrap() > 0, "{name}");
    assert!(load["bytes"].as_u64().unwrap() > 0, "{name}");
    let mut seen = 0;
    for direction in load["directions"].as_array().unwrap() {
        seen += direction["lag_ms"]["count"].as_u64().unwrap();
        let one_way = direction["one_way_ms"].as_f64().unwrap();
        for figure in ["lag_ms", "floor_ms"] {
            let least = direction[figure]["min"].as_f64().unwrap();
            let is_floor_empty = direction[figure]["count"] == 0 && figure == "floor_ms";
            assert!(least >= one_way || is_floor_empty, "{name}: {direction}");
        }
    }
    assert_eq!(seen, load["writes"].as_u64().unwrap() * 2, "{name}");
}

#[test]
fn a_quick_run_of_processes_goes_through_every_phase_and_leaves_nothing_behind() {
    let (temporary, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = quick(temporary.path(), out.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_clean(temporary.path());

    let json = std::fs::read(out.path().join("convergence.json")).unwrap();
    let results: Value = serde_json::from_slice(&json).unwrap();
    let topology = &results["topologies"][0];
    assert_eq!(topology["failed"], Value::Null);
    assert_eq!(topology["links"].as_array().unwrap().len(), 6);
    let phases = topology["phases"].as_array().unwrap();
    let names: Vec<&str> = phases
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, PHASES);
    for phase in phases {
        let name = phase["name"].as_str().unwrap();
        if let Some(load) = phase.get("load").filter(|load| !load.is_null()) {
            assert_sound(load, name);
        }
        if let Some(catch_up) = phase.get("catch_up").filter(|catch_up| !catch_up.is_null()) {
            let curve = catch_up["curve"].as_array().unwrap();
            let last = curve.last().unwrap()[1].as_f64().unwrap();
            assert!(
                last >= catch_up["documents"].as_f64().unwrap(),
                "{name}: {last}"
            );
        }
    }
    assert_eq!(results["goals"].as_array().unwrap().len(), 8);

    let page = std::fs::read_to_string(out.path().join("convergence.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<svg").count(), 6);
    for outside in ["src=", "href=", "url(", "@import", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn an_interrupted_run_leaves_no_processes_and_no_files() {
    let (temporary, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut child = quick(temporary.path(), out.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nodes are up once the first phase begins.
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("Idle ..") {
        line.clear();
        assert!(
            said.read_line(&mut line).unwrap() > 0,
            "it has ended by itself"
        );
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(errors.contains("interrupted"), "{errors}");
    assert_clean(temporary.path());
}

#[test]
fn what_is_missing_is_said_with_what_to_do_before_any_processes_start() {
    let temporary = tempfile::tempdir().unwrap();
    for (arguments, advice) in [
        (
            &["--program", "no-such-program"][..],
            "cargo build --release",
        ),
        (
            &["--program", FIGURES, "--wan", "no-such-tool"],
            "leave --wan out",
        ),
        (&["--topology", "moon"], "possible values"),
    ] {
        let output = harness(temporary.path())
            .args(arguments)
            .arg("--out")
            .arg(temporary.path().join("out"))
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(advice),
            "{arguments:?}: {said}"
        );
    }
}
