//! Goes through a segment from one frame to the next, and looks for the next one where there is none.

use std::io;

use anabranch_core::Lsn;

use super::frame::{ALIGNMENT, Frame, HEADER_BYTES, aligned};
use super::header::COPIES_AT;
use super::segment::{Mark, Segment, is_worth};

/// Read at a time, unless a record is larger.
const CHUNK_BYTES: u64 = 256 << 10;
/// Where a chunk can't be read, it is tried page by page.
const PAGE_BYTES: u64 = 4096;
/// So much in a row is more than a bad sector.
const UNREADABLE_BYTES_MAX: u64 = 128 << 10;

/// A frame that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) lsn: Lsn,
    pub(super) frame: Frame,
    pub(super) offset: u64,
}

impl Found {
    /// The first byte after it.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.frame.bytes() as u64
    }

    /// Up to which position the log was durable when this was written.
    pub(super) fn proves(&self) -> Lsn {
        Lsn(self.lsn.0.saturating_sub(u64::from(self.frame.back)))
    }
}

/// Why a walk can't go on: so much can't be read that the disk itself must have failed.
#[derive(Debug)]
pub(super) struct Stuck(pub(super) io::Error);

/// One walk through one segment.
pub(super) struct Walk<'a> {
    segment: &'a Segment,
    /// Nothing from here on is looked at.
    until: u64,
    chunk_bytes: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    buffer_at: u64,
    position: u64,
    /// The first error since it was last taken. What could not be read is taken for zeros.
    failed: Option<io::Error>,
    unreadable_bytes: u64,
    marks: Vec<Mark>,
    bytes_read: u64,
}

impl<'a> Walk<'a> {
    /// `from` is where a frame begins.
    pub(super) fn new(segment: &'a Segment, from: u64, until: u64) -> Self {
        Self {
            segment,
            until: until.min(segment.file.bytes),
            chunk_bytes: CHUNK_BYTES,
            buffer: Vec::new(),
            buffer_at: from,
            position: from,
            failed: None,
            unreadable_bytes: 0,
            marks: Vec::new(),
            bytes_read: 0,
        }
    }

    /// Reads in smaller chunks when little is wanted.
    pub(super) fn wanting(mut self, bytes: usize) -> Self {
        let wanted = (bytes as u64).saturating_mul(2);
        self.chunk_bytes = wanted.clamp(16 << 10, CHUNK_BYTES);
        self
    }

    /// The next frame that verifies.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Stuck> {
        while self.have(HEADER_BYTES)? {
            if let Some(found) = self.here()? {
                let mark = Mark {
                    index: found.frame.index,
                    offset: found.offset,
                };
                if is_worth(self.marks.last(), &mark) {
                    self.marks.push(mark);
                }
                self.position = aligned(found.end());
                return Ok(Some(found));
            }
            self.position += ALIGNMENT as u64;
        }
        Ok(None)
    }

    /// The payload of the frame that [`Self::next`] has just given.
    pub(super) fn payload(&self, found: &Found) -> &[u8] {
        let start = usize::try_from(found.offset - self.buffer_at).unwrap_or(usize::MAX);
        let payload = start.saturating_add(HEADER_BYTES)..start.saturating_add(found.frame.bytes());
        self.buffer.get(payload).unwrap_or_default()
    }

    /// The error on the way to the last frame, if there was one.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn here(&mut self) -> Result<Option<Found>, Stuck> {
        let life = &self.segment.life;
        let header = self.ahead().first_chunk();
        let Some(frame) = header.and_then(|header| Frame::sift(life, self.position, header)) else {
            return Ok(None);
        };
        if !self.have(frame.bytes())? {
            return Ok(None);
        }
        let whole = self.ahead().get(..frame.bytes()).unwrap_or_default();
        let found = Found {
            lsn: Lsn(self.segment.first.0.saturating_add(u64::from(frame.index))),
            frame,
            offset: self.position,
        };
        Ok(Frame::verify(life, whole).then_some(found))
    }

    /// What the buffer has from the position on.
    fn ahead(&self) -> &[u8] {
        let start = usize::try_from(self.position - self.buffer_at).unwrap_or(usize::MAX);
        self.buffer.get(start..).unwrap_or_default()
    }

    /// Sees to it that so many bytes are in the buffer; no if the segment ends before.
    fn have(&mut self, bytes: usize) -> Result<bool, Stuck> {
        if self.ahead().len() >= bytes {
            return Ok(true);
        }
        let left = self.until.saturating_sub(self.position);
        if left < bytes as u64 {
            return Ok(false);
        }
        let len = left.min(self.chunk_bytes.max(bytes as u64));
        let len = usize::try_from(len).map_err(|error| Stuck(io::Error::other(error)))?;
        self.buffer.resize(len, 0);
        self.buffer_at = self.position;
        self.bytes_read += len as u64;
        if let Err(error) = self.segment.file.disk.read(self.position, &mut self.buffer) {
            self.read_in_pieces(error)?;
        }
        Ok(true)
    }

    fn read_in_pieces(&mut self, error: io::Error) -> Result<(), Stuck> {
        let disk = &self.segment.file.disk;
        let mut at = self.buffer_at;
        let mut rest = &mut self.buffer[..];
        let mut lacks_any = false;
        while !rest.is_empty() {
            let page_left = PAGE_BYTES - at % PAGE_BYTES;
            let len = rest.len().min(usize::try_from(page_left).unwrap_or(1));
            let (piece, others) = rest.split_at_mut(len);
            if disk.read(at, piece).is_ok() {
                self.unreadable_bytes = 0;
            } else {
                piece.fill(0);
                lacks_any = true;
                self.unreadable_bytes += len as u64;
                if self.unreadable_bytes >= UNREADABLE_BYTES_MAX {
                    return Err(Stuck(error));
                }
            }
            at += len as u64;
            rest = others;
        }
        if self.unreadable_bytes > 0 && !self.answers() {
            return Err(Stuck(error));
        }
        if lacks_any {
            self.failed.get_or_insert(error);
        }
        Ok(())
    }

    /// Whether the disk gives anything at all: its header was read before, one of the two at least.
    fn answers(&self) -> bool {
        let disk = &self.segment.file.disk;
        COPIES_AT.iter().any(|at| disk.read(*at, &mut [0]).is_ok())
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.segment.mark(&self.marks);
    }
}
