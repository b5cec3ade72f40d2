//! One file of the log while it holds records.

use std::sync::{Arc, Mutex};

use anabranch_core::Lsn;

use super::frame::Life;
use super::header::HEADER_BYTES;
use super::lock;
use crate::disk::Disk;

/// A mark in the index stands at least so many records after the one before it…
const MARK_RECORDS: u32 = 64;
/// …or so many bytes.
const MARK_BYTES: u64 = 64 << 10;

/// A file that is ready to take its first group: zeros or the remains of an earlier life, and a header with a new life,
/// synced.
#[derive(Debug)]
pub(super) struct Blank {
    pub(super) file: LogFile,
    pub(super) life: Life,
}

/// A file, and as what it is known.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    pub(super) name: String,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) bytes: u64,
}

/// A file with records in it. Readers hold it while they read, and it is not recycled while anyone holds it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: LogFile,
    pub(super) life: Life,
    pub(super) first: Lsn,
    /// Where some of the records are, by rising position, as far as they were written or read in this process.
    marks: Mutex<Vec<Mark>>,
}

/// Where a record begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) index: u32,
    pub(super) offset: u64,
}

impl Segment {
    pub(super) fn new(file: LogFile, life: Life, first: Lsn) -> Self {
        Self {
            file,
            life,
            first,
            marks: Mutex::new(Vec::new()),
        }
    }

    /// A place to begin reading if the record at `lsn` is wanted.
    pub(super) fn before(&self, lsn: Lsn) -> u64 {
        let index = lsn.0.saturating_sub(self.first.0);
        let marks = lock(&self.marks);
        let after = marks.partition_point(|mark| u64::from(mark.index) <= index);
        match after.checked_sub(1) {
            Some(at) => marks[at].offset,
            None => HEADER_BYTES,
        }
    }

    /// Takes over marks by rising position; what is known already is passed over.
    pub(super) fn mark(&self, found: &[Mark]) {
        let mut marks = lock(&self.marks);
        for mark in found {
            if is_worth(marks.last(), mark) {
                marks.push(*mark);
            }
        }
    }
}

/// Whether a mark is far enough from the last one.
pub(super) fn is_worth(last: Option<&Mark>, mark: &Mark) -> bool {
    last.is_none_or(|last| {
        mark.index > last.index
            && (mark.index - last.index >= MARK_RECORDS
                || mark.offset.saturating_sub(last.offset) >= MARK_BYTES)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::medium::Medium as _;
    use crate::medium::faulty::FaultyMedium;

    #[test]
    fn reading_begins_at_the_last_mark_before() {
        let file = LogFile {
            name: "log".to_owned(),
            disk: FaultyMedium::new(0).open("log").unwrap(),
            bytes: 1 << 20,
        };
        let segment = Segment::new(file, Life::new(1), Lsn(100));
        assert_eq!(segment.before(Lsn(500)), HEADER_BYTES);
        let marks: Vec<_> = (0..300)
            .map(|index| Mark {
                index,
                offset: HEADER_BYTES + 32 * u64::from(index),
            })
            .collect();
        segment.mark(&marks);
        segment.mark(&marks[..200]);
        assert_eq!(lock(&segment.marks).len(), 5);
        assert_eq!(segment.before(Lsn(100 + 63)), HEADER_BYTES);
        assert_eq!(segment.before(Lsn(100 + 64)), marks[64].offset);
        assert_eq!(segment.before(Lsn(100 + 200)), marks[192].offset);
        assert_eq!(segment.before(Lsn(9)), HEADER_BYTES);
        let far = Mark {
            index: 300,
            offset: 1 << 19,
        };
        segment.mark(&[far]);
        assert_eq!(segment.before(Lsn(400)), far.offset, "a large record");
    }
}
