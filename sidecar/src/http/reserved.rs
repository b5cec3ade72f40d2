//! What the interface has promised and this version does not have yet. It is refused, never ignored: a
//! caller that asks for it relies on it.

use super::problem::{Kind, Problem};

/// A problem that names a feature to come.
pub(super) fn feature(what: &str) -> Problem {
    Problem::new(
        Kind::NotSupportedYet,
        format!("{what} is not supported by this version; leave it out, or use a later version"),
    )
    .with("feature", what)
}
