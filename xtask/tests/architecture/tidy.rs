//! Sizes, names, manifests, and nothing of any particular machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proc_macro2::TokenStream;
use xtask::workspace::Workspace;

use crate::{names, none, relative, workspace};

/// A source that passes 500 lines is a question; past this it is an error.
const SOURCE_LINES_MAX: usize = 600;
/// Tests are lists, and may be longer.
const TEST_LINES_MAX: usize = 900;

/// Names that say nothing about what is inside.
const SAYS_NOTHING: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];

/// What must not be left in a source.
const UNFINISHED: [&str; 3] = ["dbg", "todo", "unimplemented"];

/// Directories at the root of somebody's file system.
const SOMEBODYS: [&str; 4] = ["home", "root", "work", "Users"];

/// Every file that is, or is about to be, in the repository.
fn files(workspace: &Workspace) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&workspace.root)
        .stderr(Stdio::null())
        .output();
    let mut files = match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            names
                .split_terminator('\0')
                .map(|name| workspace.root.join(name))
                .collect()
        }
        // An unpacked archive: whatever is there, but for what cargo and the like have made.
        _ => walk(&workspace.root),
    };
    files.retain(|file| file.is_file());
    assert!(
        files.contains(&workspace.root.join("Cargo.toml")),
        "the list of files lacks the manifest"
    );
    files
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("the repository can be read") {
        let path = entry.expect("the repository can be read").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "target" && name != ".git" && name != "node_modules" {
            files.extend(walk(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

fn sources(workspace: &Workspace) -> impl Iterator<Item = (PathBuf, String)> {
    let rust = files(workspace)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|file| {
        let source = fs::read_to_string(&file).expect("a source is text");
        (file, source)
    })
}

fn check_sources(rule: &str, check: impl Fn(&Path, &str) -> Option<String>) {
    let workspace = workspace();
    let mut findings = Vec::new();
    for (file, source) in sources(&workspace) {
        let place = relative(&file, &workspace);
        findings
            .extend(check(Path::new(&place), &source).map(|finding| format!("{place}: {finding}")));
    }
    none(&findings, rule);
}

fn too_long(file: &Path, source: &str) -> Option<String> {
    let is_test =
        file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
    let max = if is_test {
        TEST_LINES_MAX
    } else {
        SOURCE_LINES_MAX
    };
    let lines = source.lines().count();
    (lines > max).then(|| format!("{lines} lines, {max} at most: which noun is hiding in here?"))
}

fn says_nothing(file: &Path, source: &str) -> Option<String> {
    let parts = file.with_extension("");
    let in_path = parts
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .find(|part| SAYS_NOTHING.contains(&part.as_str()));
    in_path.or_else(|| inline_modules(source).find(|name| SAYS_NOTHING.contains(&name.as_str())))
}

fn inline_modules(source: &str) -> impl Iterator<Item = String> {
    source.lines().filter_map(|line| {
        let (before, after) = line.split_once("mod ")?;
        let is_declaration = before.trim().is_empty() || before.trim_start().starts_with("pub");
        let name = after
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()?;
        is_declaration.then(|| name.to_owned())
    })
}

fn unfinished(source: &str) -> Option<String> {
    let tokens: TokenStream = source.parse().ok()?;
    let mut found = names::names(tokens).into_iter();
    let name = found.find(|name| {
        let last = name.segments.last().map_or("", String::as_str);
        UNFINISHED.contains(&last) && name.behind.starts_with('!') && !name.behind.starts_with("!=")
    })?;
    Some(format!("line {}: {}!", name.line, name.segments.join("::")))
}

/// What of this manifest is not the workspace's to say.
fn manifest_findings(manifest: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut section = String::new();
    let mut lints = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            if section.contains("dependencies.") {
                findings.push(format!("[{section}]: write it as `name.workspace = true`"));
            }
        } else if section == "lints" && line == "workspace = true" {
            lints = true;
        } else if section.ends_with("dependencies")
            && !line.is_empty()
            && !line.starts_with('#')
            && !is_inherited(line)
        {
            findings.push(format!(
                "`{line}`: versions are declared in the root Cargo.toml alone"
            ));
        }
    }
    for field in ["version", "edition", "rust-version", "license"] {
        let inherited = format!("{field}.workspace = true");
        if !manifest.lines().any(|line| line.trim() == inherited) {
            findings.push(format!("lacks `{inherited}`"));
        }
    }
    if !lints {
        findings.push("lacks `[lints] workspace = true`".to_owned());
    }
    findings
}

fn is_inherited(line: &str) -> bool {
    line.contains(".workspace = true")
        || (line.contains("workspace = true") && !line.contains("version"))
}

/// A place on somebody's machine, if the text names one.
fn somebodys(text: &str) -> Option<String> {
    for (number, line) in text.lines().enumerate() {
        for name in SOMEBODYS {
            let directory = format!("/{name}/");
            // In the middle of a word it is a part of a relative path or of an address.
            let whole = |at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}*)".contains(c))
            };
            if line.match_indices(&directory).any(|(at, _)| whole(at)) {
                return Some(format!("line {}: {}", number + 1, line.trim()));
            }
        }
    }
    None
}

#[test]
fn no_source_is_too_long() {
    check_sources("a file past its limit hides a noun:", too_long);
}

#[test]
fn modules_are_named_after_what_is_in_them() {
    check_sources("name the noun:", says_nothing);
}

#[test]
fn nothing_is_left_unfinished() {
    check_sources("finish it, or leave it out:", |_, source| {
        unfinished(source)
    });
}

#[test]
fn crates_inherit_what_the_workspace_says() {
    let workspace = workspace();
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let manifest = fs::read_to_string(&package.manifest).expect("cargo has just read it");
        let place = relative(&package.manifest, &workspace);
        findings.extend(
            manifest_findings(&manifest)
                .iter()
                .map(|finding| format!("{place}: {finding}")),
        );
    }
    none(
        &findings,
        "lints, versions and edition are said once, in the root Cargo.toml:",
    );
}

#[test]
fn every_package_comes_from_crates_io() {
    let workspace = workspace();
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))
        .expect("Cargo.lock is in the repository");
    let official = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let others = lock
        .lines()
        .filter(|line| line.starts_with("source = ") && *line != official);
    none(
        &others.map(str::to_owned).collect::<Vec<_>>(),
        "Cargo.lock names other places than crates.io:",
    );
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let workspace = workspace();
    let mut findings = Vec::new();
    for file in files(&workspace) {
        // What is not text (compressed data, images) names no place that anybody reads.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        findings.extend(
            somebodys(&text).map(|finding| format!("{}: {finding}", relative(&file, &workspace))),
        );
    }
    none(&findings, "paths of one machine mean nothing on another:");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_by_kind_of_file() {
        let source = "x\n".repeat(SOURCE_LINES_MAX + 1);
        assert!(too_long(Path::new("core/src/a.rs"), &source).is_some());
        assert!(too_long(Path::new("core/tests/a.rs"), &source).is_none());
        assert!(too_long(Path::new("core/src/a/tests.rs"), &source).is_none());
        assert!(too_long(Path::new("core/tests/a.rs"), &source.repeat(2)).is_some());
        assert!(too_long(Path::new("core/src/a.rs"), "x\n").is_none());
    }

    #[test]
    fn empty_names_are_found_as_files_directories_and_inline() {
        assert!(says_nothing(Path::new("core/src/utils.rs"), "").is_some());
        assert!(says_nothing(Path::new("core/src/types/id.rs"), "").is_some());
        assert!(says_nothing(Path::new("core/src/a.rs"), "pub(crate) mod helpers {").is_some());
        assert!(
            says_nothing(
                Path::new("core/src/a.rs"),
                "// a mod utils would be bad\nmod id;"
            )
            .is_none()
        );
    }

    #[test]
    fn unfinished_work_is_found_and_talk_of_it_is_not() {
        for source in [
            format!("fn f() {{ {}!() }}", "todo"),
            format!("fn f() {{ let x = std::{}!(1); }}", "dbg"),
        ] {
            assert!(unfinished(&source).is_some(), "{source}");
        }
        assert_eq!(
            unfinished("// todo!()\nfn f() { let todo = \"todo!()\"; todo != x }"),
            None
        );
    }

    #[test]
    fn manifests_that_say_too_much_or_too_little_are_found() {
        let good = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                    license.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n# why\na.workspace = true\n\
                    b = { workspace = true, features = [\"x\"] }\n";
        assert_eq!(manifest_findings(good), Vec::<String>::new());
        for bad in [
            good.replace("[lints]\nworkspace = true", ""),
            good.replace("edition.workspace = true", "edition = \"2024\""),
            good.replace("a.workspace = true", "a = \"1\""),
            good.replace(
                "[dependencies]",
                "[target.'cfg(unix)'.dev-dependencies]\nc = { version = \"1\" }",
            ),
            format!("{good}[dependencies.c]\nversion = \"1\"\n"),
        ] {
            assert!(!manifest_findings(&bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn places_on_machines_are_found_and_relative_paths_are_not() {
        for name in SOMEBODYS {
            assert!(somebodys(&format!("see \"/{name}/x\"")).is_some(), "{name}");
            assert!(
                somebodys(&format!(
                    "see docs/{name}/x and https://example.org/{name}/"
                ))
                .is_none(),
                "{name}"
            );
        }
    }
}
