//! Remembers what can't be read.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use anabranch_core::Lsn;

use super::lock;

/// More ranges are not remembered; a disk with so many is to be replaced, not listed.
const RANGES_MAX: usize = 1_024;

/// Ranges of positions, apart from each other: first to last.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<BTreeMap<Lsn, Lsn>>);

impl Damage {
    /// Adds a range, and says so in the process's log unless it was known.
    pub(super) fn note(&self, range: &RangeInclusive<Lsn>) {
        let (mut first, mut last) = (*range.start(), *range.end());
        let mut ranges = lock(&self.0);
        let before = ranges.range(..=first).next_back();
        if before.is_some_and(|(_, until)| *until >= last) {
            return;
        }
        let touching =
            |(from, until): &(&Lsn, &Lsn)| until.next() >= first && **from <= last.next();
        let known: Vec<_> = ranges
            .range(..=last.next())
            .rev()
            .take_while(touching)
            .map(|(from, until)| (*from, *until))
            .collect();
        for (from, until) in known {
            ranges.remove(&from);
            first = first.min(from);
            last = last.max(until);
        }
        if ranges.len() < RANGES_MAX {
            ranges.insert(first, last);
        }
        drop(ranges);
        tracing::error!(
            first = range.start().0,
            last = range.end().0,
            "records of the log can't be read; check the disk"
        );
    }

    /// What was released is nobody's loss.
    pub(super) fn forget_before(&self, lsn: Lsn) {
        lock(&self.0).retain(|_, last| *last >= lsn);
    }

    pub(super) fn ranges(&self) -> Vec<RangeInclusive<Lsn>> {
        let ranges = lock(&self.0);
        ranges.iter().map(|(first, last)| *first..=*last).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let damage = Damage::default();
        for (first, last) in [(10, 12), (20, 20), (11, 11), (13, 14), (30, 31), (19, 30)] {
            damage.note(&(Lsn(first)..=Lsn(last)));
        }
        assert_eq!(damage.ranges(), [Lsn(10)..=Lsn(14), Lsn(19)..=Lsn(31)]);
        damage.forget_before(Lsn(15));
        assert_eq!(damage.ranges(), [Lsn(19)..=Lsn(31)]);
        damage.note(&(Lsn(1)..=Lsn(40)));
        assert_eq!(damage.ranges(), [Lsn(1)..=Lsn(40)]);
    }
}
