//! Which files there are and what is in them. Locked for moments only.

use std::collections::VecDeque;
use std::sync::Arc;

use anabranch_core::Lsn;

use super::segment::{Blank, LogFile, Segment};

/// A segment with records.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) segment: Arc<Segment>,
    /// The last position that belongs here, readable or not.
    pub(super) last: Lsn,
    /// Nothing of interest lies from here on.
    pub(super) filled: u64,
}

/// A file whose records are of no use any more.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: LogFile,
    /// What it was until now: readers may still be at it, and as long as they are, it is not written to.
    pub(super) was: Option<Arc<Segment>>,
}

impl Spare {
    pub(super) fn is_free(&mut self) -> bool {
        self.was
            .as_mut()
            .is_none_or(|was| Arc::get_mut(was).is_some())
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct State {
    /// By rising position. The last one is current.
    pub(super) live: VecDeque<Live>,
    /// The log goes on after this one; 0 at its beginning.
    pub(super) end: Lsn,
    /// The current segment takes no more groups.
    pub(super) sealed: bool,
    pub(super) spares: Vec<Spare>,
    /// What comes after the current segment.
    pub(super) ready: Option<Blank>,
    /// The life of the last segment that a group has failed to begin. What begins in its place has to be of a later
    /// one.
    pub(super) failed_life: u64,
    /// No file has, or had, a life of this number or a higher one.
    pub(super) next_life: u64,
    /// No file has a name of this number or a higher one.
    pub(super) next_name: u64,
}

impl State {
    pub(super) fn bounds(&self) -> Option<(Lsn, Lsn)> {
        let first = self.live.front()?.segment.first;
        (first <= self.end).then_some((first, self.end))
    }

    pub(super) fn bytes(&self) -> u64 {
        let Some(current) = self.live.back() else {
            return 0;
        };
        let older = self.live.iter().rev().skip(1);
        current.filled + older.map(|live| live.segment.file.bytes).sum::<u64>()
    }

    /// About what is in records from a position on, as if they were all alike.
    pub(super) fn bytes_from(&self, lsn: Lsn) -> u64 {
        let wanted = self.live.iter().filter(|live| live.last >= lsn);
        let bytes = wanted.map(|live| {
            let first = live.segment.first;
            let all = live.last.0 + 1 - first.0;
            let part = live.last.0 + 1 - first.max(lsn).0;
            live.filled.saturating_mul(part) / all.max(1)
        });
        bytes.sum()
    }

    /// The segment that `lsn` belongs to, or else the first one after it.
    pub(super) fn at(&self, lsn: Lsn) -> Option<Live> {
        let at = self.live.partition_point(|live| live.last < lsn);
        self.live.get(at).cloned()
    }

    /// Before all that is there.
    pub(super) fn is_released(&self, lsn: Lsn) -> bool {
        self.live
            .front()
            .is_none_or(|live| lsn < live.segment.first)
    }

    /// Takes out the segment that is ready, if it is large enough.
    pub(super) fn take_ready(&mut self, bytes_min: u64) -> Option<Blank> {
        let outlived = self.failed_life;
        if let Some(blank) = self.ready.take_if(|blank| blank.life.number < outlived) {
            let (file, was) = (blank.file, None);
            self.spares.push(Spare { file, was });
        }
        self.ready.take_if(|blank| blank.file.bytes >= bytes_min)
    }

    pub(super) fn life(&mut self) -> u64 {
        let life = self.next_life;
        self.next_life += 1;
        life
    }

    /// Moves the segments in which all is before `lsn` to the spares.
    pub(super) fn retire_before(&mut self, lsn: Lsn) {
        while self.live.len() > 1 && self.live.front().is_some_and(|live| live.last < lsn) {
            if let Some(live) = self.live.pop_front() {
                self.spares.push(Spare {
                    file: live.segment.file.clone(),
                    was: Some(live.segment),
                });
            }
        }
    }

    /// Takes out the spares that are too many: those first that are of least use.
    pub(super) fn surplus(&mut self, spares_max: usize, segment_bytes: u64) -> Vec<Spare> {
        // A file made for one large group would be kept for ever if size were all.
        let use_of = |spare: &Spare| match spare.file.bytes {
            bytes if bytes <= segment_bytes => bytes,
            _ => 0,
        };
        self.spares.sort_by_key(use_of);
        let surplus = self.spares.len().saturating_sub(spares_max);
        self.spares.drain(..surplus).collect()
    }
}
