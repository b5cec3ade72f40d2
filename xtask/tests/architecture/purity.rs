//! What the core never names: clocks, disks, sockets, threads, randomness.
//!
//! With one exception that no name gives away, it could still be impure only through a dependency; which
//! those may be is in [`crate::dependencies`].

use xtask::workspace::Workspace;

use crate::modules::{self, Module};
use crate::names::{self, Name};
use crate::{none, package, relative, workspace};

/// Paths that are forbidden with everything below them, and what to do instead.
const FORBIDDEN: [(&str, &str); 21] = [
    ("std::time::Instant", "take the time as an argument"),
    ("std::time::SystemTime", "take the time as an argument"),
    ("std::time::UNIX_EPOCH", "take the time as an argument"),
    ("std::fs", "persistence is an effect: hand out a commit"),
    ("std::net", "sending is an effect: hand out bytes"),
    ("std::os", "the core runs on no particular system"),
    ("std::thread", "the driver owns the threads"),
    ("std::process", "the driver owns the process"),
    ("std::env", "take settings as arguments"),
    ("std::io::stdin", "input is an argument"),
    ("std::io::stdout", "output is an effect"),
    ("std::io::stderr", "output is an effect"),
    (
        "std::collections::HashMap",
        "its order differs from run to run: BTreeMap",
    ),
    (
        "std::collections::HashSet",
        "its order differs from run to run: BTreeSet",
    ),
    (
        "std::collections::hash_map",
        "its order differs from run to run: BTreeMap",
    ),
    (
        "std::collections::hash_set",
        "its order differs from run to run: BTreeSet",
    ),
    ("std::hash::RandomState", "it is a random source"),
    (
        "automerge::ActorId::random",
        "actors derive from the origin",
    ),
    ("rand", "take random numbers as arguments"),
    ("getrandom", "take random numbers as arguments"),
    ("tokio", "no async in the core"),
];

/// Constructors that draw a random actor unless one is given in the same breath.
const RANDOM_ACTOR: [&str; 4] = [
    "automerge::Automerge::new",
    "automerge::AutoCommit::new",
    "automerge::Automerge::default",
    "automerge::AutoCommit::default",
];

/// Why this name is forbidden, if it is.
fn verdict(name: &Name) -> Option<&'static str> {
    let path = name.segments.join("::");
    if RANDOM_ACTOR.contains(&path.as_str()) && !name.behind.starts_with("().with_actor") {
        return Some("it draws a random actor: put `.with_actor(..)` right behind it");
    }
    let is_within = |whole: &str, part: &str| {
        whole == part
            || whole
                .strip_prefix(part)
                .is_some_and(|rest| rest.starts_with("::"))
    };
    FORBIDDEN.iter().find_map(|(forbidden, instead)| {
        let hidden_in_glob = path
            .strip_suffix("::*")
            .is_some_and(|glob| is_within(forbidden, glob));
        // A lone word is a crate only as the head of a path: `rand` alone may be a variable.
        let is_crate_path = name.segments.len() > 1;
        ((is_crate_path && is_within(&path, forbidden)) || hidden_in_glob).then_some(*instead)
    })
}

fn findings(modules: &[Module], workspace: Option<&Workspace>) -> Vec<String> {
    let mut findings = Vec::new();
    for module in modules {
        for name in names::names(module.tokens.clone()) {
            if let Some(instead) = verdict(&name) {
                let file = workspace.map_or_else(
                    || module.file.display().to_string(),
                    |w| relative(&module.file, w),
                );
                findings.push(format!(
                    "{file}:{}: {}: {instead}",
                    name.line,
                    name.segments.join("::")
                ));
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

#[test]
fn core_names_no_clock_disk_socket_thread_or_random_source() {
    let workspace = workspace();
    let targets = &package(&workspace, "anabranch-core").targets;
    let library = targets
        .iter()
        .find(|target| target.is("lib"))
        .expect("core is a library");
    let modules = modules::load(&library.root_file);
    assert!(modules.len() > 1, "no module was found in core");
    none(
        &findings(&modules, Some(&workspace)),
        "core is a state machine; it acts only through its outputs:",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Vec<String> {
        findings(&modules::of_source(source), None)
    }

    #[test]
    fn what_acts_is_found() {
        for source in [
            "fn f() { let t = std::time::Instant::now(); }",
            "use std::time::{Duration, SystemTime};",
            "use std::time::*;",
            "use std::*;",
            "use std::collections::*;",
            "use std::collections::HashMap;",
            "use std::collections; struct S(collections::HashSet<u8>);",
            "use std::fs; fn f() { fs::read(x); }",
            "fn f() { assert!(std::env::var(x).is_ok()) }",
            "fn f() { rand::random::<u8>() }",
            "use tokio::sync::mpsc;",
            "use automerge::AutoCommit; fn f() { let mut d = AutoCommit::new(); d.set_actor(a); }",
            "use automerge as am; fn f() { am::ActorId::random() }",
        ] {
            assert!(!of(source).is_empty(), "{source}");
        }
    }

    #[test]
    fn what_is_pure_passes() {
        for source in [
            "use std::time::Duration; use std::collections::{BTreeMap, VecDeque};",
            "fn f(rand: u64) -> u64 { rand }",
            "fn f() { AutoCommit::new().with_actor(actor) } use automerge::AutoCommit;",
            "/// Like std::fs.\nfn f() { \"std::fs\" }",
            "#[cfg(test)] mod tests { use std::time::Instant; fn f() { Instant::now() } }",
            "mod time { pub struct Instant(u64); } fn f(at: time::Instant) {}",
        ] {
            assert_eq!(of(source), Vec::<String>::new(), "{source}");
        }
    }

    #[test]
    fn a_finding_says_where_and_what_instead() {
        assert_eq!(
            of("\nuse std::fs;"),
            ["lib.rs:2: std::fs: persistence is an effect: hand out a commit"]
        );
    }
}
