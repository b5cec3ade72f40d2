//! Durations, and what to say of them.

use std::fmt;
use std::time::Duration;

/// Measured durations.
#[derive(Default)]
pub(crate) struct Spread(Vec<Duration>);

impl Spread {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The p-th of a hundred, in milliseconds.
    pub(crate) fn percentile_ms(&self, p: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * p / 100).min(sorted.len().saturating_sub(1));
        sorted
            .get(at)
            .map_or(f64::NAN, |duration| duration.as_secs_f64() * 1_000.0)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [50, 99].map(|p| self.percentile_ms(p));
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}
