//! The repository's rules about itself, as `ARCHITECTURE.md` and `CONTRIBUTING.md` state them.
//!
//! * [`dependencies`]: who may depend on whom, from `cargo metadata` and `cargo tree`;
//! * [`purity`]: what the core never names;
//! * [`surface`]: whose types a crate's public items must not show;
//! * [`tidy`]: sizes, names, manifests.
//!
//! Each checker has tests of its own on small sources, good and bad: a rule that cannot fail keeps nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dependencies;
mod modules;
mod names;
mod purity;
mod scope;
mod stripped;
mod surface;
mod tidy;

use std::path::Path;

use xtask::workspace::{Package, Workspace};

fn workspace() -> Workspace {
    Workspace::load().expect("cargo describes the workspace that it is testing")
}

fn package<'a>(workspace: &'a Workspace, name: &str) -> &'a Package {
    workspace
        .package(name)
        .unwrap_or_else(|| panic!("no package {name} in the workspace"))
}

/// Where a finding is, from the repository's root.
fn relative(path: &Path, workspace: &Workspace) -> String {
    path.strip_prefix(&workspace.root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Fails with all findings at once.
fn none(findings: &[String], rule: &str) {
    assert!(
        findings.is_empty(),
        "{rule}\n\n  {}\n",
        findings.join("\n  ")
    );
}
