//! How much of everything.

use std::time::Duration;

use super::phases::CALMER;

/// Sizes and times of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// Of a phase that writes.
    pub(crate) time: Duration,
    /// In which nobody writes.
    pub(crate) silence: Duration,
    /// Before that.
    pub(crate) settling: Duration,
    /// Writes per second in each of three datacenters.
    pub(crate) rate: u32,
    /// Carts that are there before anything is measured.
    pub(crate) carts: usize,
    /// Documents that a datacenter misses while it is cut off.
    pub(crate) missed: u64,
    /// How long it is cut off, at least.
    pub(crate) cut: Duration,
    /// Documents that a new replica finds.
    pub(crate) documents: usize,
}

impl Scale {
    /// A rate that no link or machine should mind.
    pub(crate) fn calm_rate(&self) -> u32 {
        (self.rate / CALMER).max(1)
    }

    /// As small as still shows something: for tests of the harness itself.
    pub(crate) fn quick() -> Self {
        Self {
            time: Duration::from_millis(700),
            silence: Duration::from_millis(500),
            settling: Duration::from_millis(200),
            rate: 100,
            carts: 100,
            missed: 100,
            cut: Duration::from_millis(300),
            documents: 300,
        }
    }
}
