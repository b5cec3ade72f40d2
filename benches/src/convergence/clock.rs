//! One clock for all that is seen: every process runs on this machine, but all is seen by this one.

use std::sync::LazyLock;
use std::time::Instant;

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call.
pub(crate) fn now_ns() -> u64 {
    u64::try_from(BEGINNING.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds from one moment to a later one; what comes earlier counts as negative.
pub(crate) fn ms_between(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns as f64 - from_ns as f64) / 1e6
}
