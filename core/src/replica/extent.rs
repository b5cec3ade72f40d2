//! What of the log is still there, and how much of it lies between two positions.

use std::collections::VecDeque;

use crate::Lsn;
use crate::codec::{DecodeError, Reader, Writer};

/// Bytes are noted once per so many.
const MARK_EVERY_BYTES: u64 = 1 << 20;

/// The log from its first record on, by size.
pub(super) struct Extent {
    /// The first record that may still be there.
    pub(super) first: Lsn,
    /// All bytes that were ever appended, as far as is known.
    bytes: u64,
    /// How many bytes there were when a record was appended.
    marks: VecDeque<(Lsn, u64)>,
}

impl Default for Extent {
    fn default() -> Self {
        Self {
            first: Lsn(1),
            bytes: 0,
            marks: VecDeque::new(),
        }
    }
}

impl Extent {
    /// A record was appended.
    pub(super) fn grow(&mut self, lsn: Lsn, bytes: usize) {
        let due = self
            .marks
            .back()
            .is_none_or(|(_, at)| self.bytes >= at + MARK_EVERY_BYTES);
        if due {
            self.marks.push_back((lsn, self.bytes));
        }
        self.bytes += bytes as u64;
    }

    /// Records after a position never became durable; they had so many bytes.
    pub(super) fn take_back(&mut self, end: Lsn, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let kept = self.marks.partition_point(|(lsn, _)| *lsn <= end);
        self.marks.truncate(kept);
    }

    /// About how many bytes it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes - self.marks.front().map_or(self.bytes, |(_, at)| *at)
    }

    /// About how many bytes it holds from a record on, and not fewer.
    pub(super) fn bytes_from(&self, lsn: Lsn) -> u64 {
        let after = self.marks.partition_point(|(at, _)| *at <= lsn);
        let mark = after.checked_sub(1).and_then(|at| self.marks.get(at));
        mark.map_or(self.bytes(), |(_, at)| self.bytes - at)
    }

    /// Where it would begin if it held about this many bytes and not more.
    pub(super) fn last_bytes(&self, bytes: u64) -> Lsn {
        if bytes == 0 {
            return Lsn(u64::MAX);
        }
        let from = self.bytes.saturating_sub(bytes);
        let at = self.marks.partition_point(|(_, at)| *at < from);
        match self.marks.get(at) {
            Some((lsn, _)) if from > 0 => *lsn,
            Some(_) => self.first,
            None => self.marks.back().map_or(self.first, |(lsn, _)| *lsn),
        }
    }

    pub(super) fn release_before(&mut self, first: Lsn) {
        self.first = self.first.max(first);
        while self.marks.get(1).is_some_and(|(lsn, _)| *lsn <= first) {
            self.marks.pop_front();
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.number(self.first.0);
        writer.number(self.bytes);
        writer.count(self.marks.len());
        for (lsn, at) in &self.marks {
            writer.number(lsn.0);
            writer.number(*at);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let first = Lsn(reader.number("log begin")?);
        let bytes = reader.number("log bytes")?;
        let mut marks = VecDeque::new();
        for _ in 0..reader.count("log marks", usize::MAX)? {
            marks.push_back((Lsn(reader.number("lsn")?), reader.number("bytes")?));
        }
        Ok(Self {
            first,
            bytes,
            marks,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn it_knows_where_its_last_bytes_begin() {
        let mut extent = Extent::default();
        assert_eq!(extent.last_bytes(1), Lsn(1));
        for lsn in 1..=100 {
            extent.grow(Lsn(lsn), 1 << 20);
        }
        assert_eq!(extent.bytes(), 100 << 20);
        assert_eq!(extent.last_bytes(1 << 40), Lsn(1));
        assert_eq!(extent.last_bytes(10 << 20), Lsn(91));
        assert_eq!(extent.bytes_from(Lsn(91)), 10 << 20);
        assert_eq!(extent.bytes_from(Lsn(1)), 100 << 20);
        assert_eq!(extent.bytes_from(Lsn(500)), 1 << 20);
        extent.release_before(Lsn(91));
        assert_eq!((extent.first, extent.bytes()), (Lsn(91), 10 << 20));
        extent.release_before(Lsn(5));
        assert_eq!(extent.first, Lsn(91), "what is gone stays gone");
        let mut writer = Writer::default();
        extent.encode(&mut writer);
        let read = Extent::decode(&mut Reader::new(writer.finish())).unwrap();
        assert_eq!((read.first, read.bytes()), (extent.first, extent.bytes()));
        assert_eq!(read.last_bytes(5 << 20), Lsn(96));
    }
}
