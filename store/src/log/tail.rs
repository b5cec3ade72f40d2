//! Where the log ends: what the newest segment holds, what of it is lost, and what was never reported.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};

use anabranch_core::Lsn;

use super::header::HEADER_BYTES;
use super::segment::Segment;
use super::walk::{Found, Stuck, Walk};

/// What a segment says of the end of the log.
#[derive(Debug)]
pub(super) struct Tail {
    /// The last record that was durable or makes up a whole group; that before the segment's first if there is none.
    pub(super) end: Lsn,
    /// Was durable and can't be read, by rising position.
    pub(super) lost: Vec<RangeInclusive<Lsn>>,
    /// The first byte after the last record that can be read.
    pub(super) filled: u64,
    /// Bytes of the last group, if nothing proves that it was synced.
    pub(super) unproven: Option<Range<u64>>,
    /// Bytes in which there are records of a group that is not whole.
    pub(super) torn: Option<Range<u64>>,
    /// Something could not be read, so there may be more.
    pub(super) unreadable: bool,
}

/// Goes through all of a segment. What is up to `proven` was durable for certain; it is not before the segment.
pub(super) fn examine(segment: &Segment, proven: Lsn) -> Result<Tail, Stuck> {
    let mut sorted = Sorted {
        proven,
        expected: segment.first,
        lost: Vec::new(),
        filled: HEADER_BYTES,
        behind: VecDeque::new(),
    };
    let mut walk = Walk::new(segment, HEADER_BYTES, segment.file.bytes);
    while let Some(found) = walk.next()? {
        sorted.take(found);
    }
    let mut tail = sorted.finish();
    tail.unreadable = walk.take_failure().is_some();
    Ok(tail)
}

/// Frames, told apart by whether they were durable for certain.
struct Sorted {
    proven: Lsn,
    /// The first position that was not seen yet, of those that are proven.
    expected: Lsn,
    lost: Vec<RangeInclusive<Lsn>>,
    filled: u64,
    /// Frames behind what is proven, by rising position: at most one group, unless there is damage.
    behind: VecDeque<Found>,
}

impl Sorted {
    fn take(&mut self, found: Found) {
        let newest = self.behind.back().map(|behind| behind.lsn);
        if found.lsn < self.expected || newest.is_some_and(|newest| found.lsn <= newest) {
            // Positions only rise in a segment; nobody has written this.
            return;
        }
        self.behind.push_back(found);
        self.proven = self.proven.max(found.proves());
        while let Some(found) = self.behind.pop_front_if(|found| found.lsn <= self.proven) {
            self.miss_before(found.lsn);
            self.expected = found.lsn.next();
            self.filled = found.end();
        }
    }

    fn miss_before(&mut self, lsn: Lsn) {
        if self.expected < lsn {
            self.lost.push(self.expected..=Lsn(lsn.0 - 1));
        }
    }

    fn finish(mut self) -> Tail {
        if self.proven >= self.expected {
            self.miss_before(self.proven.next());
        }
        let follows = |(at, found): &(usize, &Found)| found.lsn.0 == self.proven.0 + 1 + *at as u64;
        let in_a_row = self.behind.iter().enumerate().take_while(follows);
        let whole = in_a_row.filter(|(_, found)| found.frame.ends_group);
        let kept = whole.last().map_or(0, |(at, _)| at + 1);
        let torn = self.behind.split_off(kept);
        let mut tail = Tail {
            end: self.proven,
            lost: self.lost,
            filled: self.filled,
            unproven: span(&self.behind),
            torn: span(&torn),
            unreadable: false,
        };
        if let Some(last) = self.behind.back() {
            tail.end = last.lsn;
            tail.filled = last.end();
        }
        tail
    }
}

fn span(frames: &VecDeque<Found>) -> Option<Range<u64>> {
    Some(frames.front()?.offset..frames.back()?.end())
}
