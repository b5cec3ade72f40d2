//! How far an export or import is: to people, while they watch, and at its end.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::client::error::ClientError;
use crate::client::output::{bytes, grouped};

const TICK: Duration = Duration::from_millis(200);

/// A bar on standard error. It draws itself only where that is a terminal.
pub(in crate::client) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    is_waiting: AtomicBool,
}

impl Progress {
    /// Through an input, whose length is known or not.
    pub(in crate::client) fn through(length: Option<u64>) -> Self {
        match length {
            Some(length) => Self::drawn(
                ProgressBar::new(length),
                "{bar:30} {decimal_bytes}/{decimal_total_bytes}  {msg}  {eta} left",
            ),
            None => Self::drawn(ProgressBar::no_length(), "{spinner} {decimal_bytes}  {msg}"),
        }
    }

    /// Through a listing, of which nobody knows how long it is.
    pub(super) fn of_pages() -> Self {
        Self::drawn(ProgressBar::no_length(), "{spinner} {msg}  {decimal_bytes}")
    }

    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self::over(ProgressBar::hidden())
    }

    fn drawn(bar: ProgressBar, template: &str) -> Self {
        // A template that is none would only cost the looks.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self::over(bar)
    }

    fn over(bar: ProgressBar) -> Self {
        Self {
            bar,
            begun: Instant::now(),
            is_waiting: AtomicBool::new(false),
        }
    }

    /// What was done before this process began says nothing of how fast it is.
    pub(super) fn begins_at(&self, done: u64, bytes: u64) {
        self.is_at(done, bytes);
        self.bar.reset_eta();
    }

    pub(in crate::client) fn is_at(&self, done: u64, bytes: u64) {
        self.is_waiting.store(false, Ordering::Relaxed);
        self.bar.set_message(documents(done));
        self.bar.set_position(bytes);
    }

    /// How long it is turns out to be different.
    pub(in crate::client) fn expects(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// A line on standard error, above the bar if there is one.
    pub(in crate::client) fn say(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    }

    /// Says once that a node is waited for, until something has come of it.
    pub(super) fn say_waiting(&self, error: &ClientError, wait: Duration) {
        if !wait.is_zero() && !self.is_waiting.swap(true, Ordering::Relaxed) {
            self.say(&format!(
                "anabranch: {}; trying again for {} s",
                error.cause(),
                wait.as_secs_f64()
            ));
        }
    }

    /// Takes the bar away, and tells the time since the beginning.
    pub(in crate::client) fn end(&self) -> Duration {
        self.bar.finish_and_clear();
        self.begun.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// So many of them.
pub(in crate::client) fn documents(count: u64) -> String {
    match count {
        1 => "1 document".to_owned(),
        count => format!("{} documents", grouped(count)),
    }
}

/// What was done, and how fast.
pub(super) fn summary(done: u64, size: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let mut summary = format!("{}, {}, {seconds:.1} s", documents(done), bytes(size));
    // Of next to no time a rate says nothing.
    if seconds >= 0.1 {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let rate = done.saturating_mul(1_000) / millis.max(1);
        summary += &format!(" ({} documents/s)", grouped(rate));
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_documents_bytes_and_time() {
        assert_eq!(
            summary(12_345, 2_500_000, Duration::from_millis(2_500)),
            "12,345 documents, 2.5 MB, 2.5 s (4,938 documents/s)"
        );
        assert_eq!(
            summary(1, 20, Duration::from_millis(3)),
            "1 document, 20 B, 0.0 s"
        );
    }
}
