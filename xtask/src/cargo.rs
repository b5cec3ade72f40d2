//! Commands that run cargo from within cargo.

use std::ffi::{OsStr, OsString};
use std::process::Command;

/// A cargo command that behaves as if typed into a shell.
///
/// `cargo run`, which runs us, describes the package `xtask` in the environment. Build scripts that
/// watch those variables (ring's does) would be run again by the inner cargo, and again by the next
/// outer one, for nothing.
#[must_use]
pub fn command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        if describes_a_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn describes_a_package(variable: &OsStr) -> bool {
    const PREFIXES: [&str; 4] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    let name = variable.to_string_lossy();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO_PRIMARY_PACKAGE"
}

/// Whether `cargo <tool>` is there.
#[must_use]
pub fn has_tool(tool: &str) -> bool {
    tool_version(tool).is_some()
}

/// What `cargo <tool> --version` says, if the tool is there.
#[must_use]
pub fn tool_version(tool: &str) -> Option<String> {
    let output = command().args([tool, "--version"]).output().ok()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_the_outer_package_is_taken_out_and_settings_stay() {
        for name in [
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "CARGO_PRIMARY_PACKAGE",
        ] {
            assert!(describes_a_package(OsStr::new(name)), "{name}");
        }
        for name in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_INCREMENTAL",
            "CARGO_TERM_COLOR",
        ] {
            assert!(!describes_a_package(OsStr::new(name)), "{name}");
        }
    }
}
