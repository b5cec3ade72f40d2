//! Who may depend on whom.
//!
//! `core` <- `store`, `net` <- `node` <- `sidecar`. What is not allowed directly must not come in
//! through another crate either, where the rule is about an ability (a runtime, a socket) rather than
//! about a type.

use std::collections::BTreeSet;

use xtask::cargo;
use xtask::workspace::{DependencyKind, Package};

use crate::{none, package, workspace};

/// All that the core is made of. None of these gives it a runtime, clock, disk or socket.
const CORE_ALLOWED: [&str; 12] = [
    "automerge",
    "base64",
    "blake3",
    "bytes",
    "hex",
    "imara-diff",
    "indexmap",
    "lz4_flex",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];

/// Async runtimes, and the ways to a socket.
const NETWORK: [&str; 14] = [
    "async-std",
    "axum",
    "futures-executor",
    "hyper",
    "mio",
    "quinn",
    "quinn-proto",
    "rcgen",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "ureq",
];

/// Ways to speak HTTP.
const HTTP: [&str; 9] = [
    "actix-web",
    "axum",
    "h2",
    "http",
    "hyper",
    "reqwest",
    "tower-http",
    "tungstenite",
    "ureq",
];

/// Crates of ours, and what each must not depend on directly.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    (
        "anabranch-store",
        &["anabranch-net", "anabranch", "automerge", "rand"],
    ),
    (
        "anabranch-net",
        &["anabranch-store", "anabranch", "automerge", "redb"],
    ),
    (
        "anabranch",
        &[
            "anabranch-sidecar",
            "automerge",
            "quinn",
            "quinn-proto",
            "redb",
            "rcgen",
            "rustls",
        ],
    ),
    (
        "anabranch-sidecar",
        &[
            "anabranch-core",
            "anabranch-net",
            "anabranch-store",
            "automerge",
            "quinn",
            "quinn-proto",
            "redb",
            "rcgen",
            "rustls",
        ],
    ),
    (
        "anabranch-sim",
        &[
            "anabranch",
            "anabranch-sidecar",
            "automerge",
            "quinn",
            "tokio",
        ],
    ),
];

/// Crates whose types stay inside one crate of ours, and that crate. The benches measure the parts
/// alone, and the simulator plants its faults under redb: both may name them.
const WRAPPED: [(&str, &str); 10] = [
    ("automerge", "anabranch-core"),
    ("redb", "anabranch-store"),
    ("foca", "anabranch-net"),
    ("quinn", "anabranch-net"),
    ("quinn-proto", "anabranch-net"),
    ("rustls", "anabranch-net"),
    ("rcgen", "anabranch-net"),
    ("rustls-pki-types", "anabranch-net"),
    ("rustls-webpki", "anabranch-net"),
    ("x509-parser", "anabranch-net"),
];
const MAY_NAME_WRAPPED: [(&str, &[&str]); 2] = [
    (
        "anabranch-benches",
        &[
            "automerge",
            "redb",
            "quinn",
            "quinn-proto",
            "rustls",
            "rcgen",
        ],
    ),
    ("anabranch-sim", &["redb"]),
];

/// What is built into a package or its build script.
fn built_in(package: &Package) -> BTreeSet<&str> {
    let normal = package.dependencies_of(DependencyKind::Normal);
    normal
        .chain(package.dependencies_of(DependencyKind::Build))
        .collect()
}

/// Everything that is built into the package, at any distance, with all features.
fn closure(package: &str) -> BTreeSet<String> {
    let output = cargo::command()
        .args([
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--all-features",
        ])
        .args(["--prefix", "none", "--format", "{p}", "--target", "all"])
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert!(
        names.contains(package),
        "cargo tree does not begin with {package} itself"
    );
    names
}

fn among<'a>(names: impl IntoIterator<Item = &'a str>, forbidden: &[&str]) -> Vec<&'a str> {
    names
        .into_iter()
        .filter(|name| forbidden.contains(name))
        .collect()
}

#[test]
fn core_depends_on_nothing_that_acts() {
    let workspace = workspace();
    let others: Vec<String> = built_in(package(&workspace, "anabranch-core"))
        .into_iter()
        .filter(|name| !CORE_ALLOWED.contains(name))
        .map(str::to_owned)
        .collect();
    none(
        &others,
        "core takes time, randomness and bytes as arguments; it may not depend on:",
    );
}

#[test]
fn core_and_store_reach_no_runtime_and_no_socket_at_any_distance() {
    for name in ["anabranch-core", "anabranch-store"] {
        let closure = closure(name);
        let found = among(closure.iter().map(String::as_str), &NETWORK);
        assert!(
            found.is_empty(),
            "{name} reaches {found:?}: see `cargo tree -p {name} -i {}`",
            found[0]
        );
    }
}

#[test]
fn net_reaches_no_disk_and_no_automerge_of_its_own() {
    let closure = closure("anabranch-net");
    let found = among(
        closure.iter().map(String::as_str),
        &["redb", "anabranch-store"],
    );
    assert!(found.is_empty(), "anabranch-net reaches {found:?}");
}

#[test]
fn the_library_speaks_no_http() {
    let closure = closure("anabranch");
    let found = among(closure.iter().map(String::as_str), &HTTP);
    assert!(
        found.is_empty(),
        "anabranch (node/) reaches {found:?}: see `cargo tree -p anabranch -i {}`",
        found[0]
    );
}

#[test]
fn no_crate_looks_past_its_neighbour() {
    let workspace = workspace();
    let mut findings = Vec::new();
    for (name, forbidden) in FORBIDDEN {
        let built_in = built_in(package(&workspace, name));
        findings.extend(
            among(built_in, forbidden)
                .iter()
                .map(|other| format!("{name} depends on {other}")),
        );
    }
    none(
        &findings,
        "the parts see each other only as the architecture lets them:",
    );
}

#[test]
fn what_is_wrapped_is_named_by_its_wrapper_alone() {
    let workspace = workspace();
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let exempt = MAY_NAME_WRAPPED
            .iter()
            .filter(|(name, _)| *name == package.name);
        let exempt: Vec<&str> = exempt
            .flat_map(|(_, crates)| crates.iter().copied())
            .collect();
        for (wrapped, wrapper) in WRAPPED {
            if package.name != wrapper
                && built_in(package).contains(wrapped)
                && !exempt.contains(&wrapped)
            {
                findings.push(format!(
                    "{} depends on {wrapped}, which is {wrapper}'s",
                    package.name
                ));
            }
        }
    }
    none(
        &findings,
        "automerge, redb and QUIC stay inside the crate that wraps them:",
    );
}

#[test]
fn nothing_that_ships_depends_on_the_simulator_or_the_tools() {
    let workspace = workspace();
    let mut findings = Vec::new();
    for package in &workspace.packages {
        for other in among(
            built_in(package),
            &["anabranch-sim", "anabranch-benches", "xtask"],
        ) {
            if package.name != "anabranch-benches" {
                findings.push(format!("{} depends on {other}", package.name));
            }
        }
    }
    none(
        &findings,
        "tools depend on what they test, never the other way round:",
    );
}

#[test]
fn the_checker_sees_what_it_forbids() {
    assert_eq!(among(["bytes", "tokio"], &NETWORK), ["tokio"]);
    assert!(closure("anabranch-net").contains("quinn"));
    assert!(closure("anabranch-core").contains("automerge"));
    let workspace = workspace();
    assert!(built_in(package(&workspace, "anabranch-store")).contains("redb"));
}
