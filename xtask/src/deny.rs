//! cargo-deny: found, or installed.

use crate::cargo;
use crate::steps::Step;

/// What is installed where cargo-deny is missing or too old for `deny.toml`.
pub const VERSION: &str = "0.20.2";

/// The oldest one that reads our `deny.toml`, as (major, minor).
const OLDEST: (u64, u64) = (0, 20);

/// The step that installs cargo-deny, unless a good one is there.
///
/// It is compiled for a short build, not for speed: it runs for a second, once.
#[must_use]
pub fn install_step() -> Option<Step> {
    let found = cargo::tool_version("deny");
    if found.as_deref().is_some_and(is_recent) {
        return None;
    }
    let step = Step::cargo(
        "install cargo-deny",
        &["install", "--locked", "cargo-deny", "--version", VERSION],
    )
    .env("CARGO_PROFILE_RELEASE_LTO", "off")
    .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
    .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    Some(match found {
        None => step.note("cargo-deny is not there; it is built once, which takes some minutes"),
        Some(_) => step.note(
            "the cargo-deny that is there is too old for deny.toml; a newer one is built once",
        ),
    })
}

fn is_recent(version: &str) -> bool {
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut parts = number.unwrap_or("").split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_version_and_later_ones_are_recent() {
        for (version, recent) in [
            (VERSION, true),
            ("cargo-deny 0.20.0\n", true),
            ("cargo-deny 1.0.0", true),
            ("cargo-deny 0.19.9", false),
            ("cargo-deny", false),
            ("", false),
        ] {
            assert_eq!(is_recent(version), recent, "{version:?}");
        }
    }
}
