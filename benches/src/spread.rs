//! Durations, and what to say of them.

use std::fmt;
use std::time::Duration;

/// Measured durations.
#[derive(Clone, Default)]
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
        let mut some = self.0.clone();
        let at = (some.len() * p / 100).min(some.len().saturating_sub(1));
        if some.is_empty() {
            return f64::NAN;
        }
        let (_, duration, _) = some.select_nth_unstable(at);
        duration.as_secs_f64() * 1_000.0
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [50, 99].map(|p| self.percentile_ms(p));
        write!(f, "p50 {p50:.3} ms, p99 {p99:.3} ms")
    }
}

/// One line of a table.
pub(crate) fn row(name: &str, rate: f64, spread: Option<&Spread>, note: &str) {
    let spread = spread.map(ToString::to_string).unwrap_or_default();
    println!("  {name:<46} {rate:>9.0}/s   {spread:<32} {note}");
}
