//! Writes groups of records.

use std::io;
use std::sync::Arc;

use anabranch_core::Lsn;
use anabranch_core::persist::LogRecord;

use super::frame::{ALIGNMENT, Frame, HEADER_BYTES, PAYLOAD_BYTES_MAX, aligned};
use super::header::Header;
use super::room::Room;
use super::segment::{Blank, Mark, Segment, is_worth};
use super::state::Live;
use super::{Log, lock};
use crate::engine::Fault;

/// A buffer that has grown beyond this for one group does not keep the memory.
const BUFFER_KEPT_BYTES: usize = 8 << 20;

/// What whoever appends needs.
#[derive(Debug, Default)]
pub(super) struct Appender {
    /// One group as it goes to the disk.
    buffer: Vec<u8>,
    marks: Vec<Mark>,
    /// What a group has left behind is unknown, so nothing may follow it.
    closed: bool,
}

impl Log {
    /// Appends records that follow the log's end, all or none of them. They are durable when this returns.
    ///
    /// [`Fault::Full`]: the log is as it was before and goes on taking records. [`Fault::Engine`]: the records are not
    /// such as can be appended; likewise. [`Fault::Io`]: whether they are durable shows when the log is opened
    /// again; until then it takes no more.
    ///
    /// The records are looked at twice: first for the room that they need.
    pub(crate) fn append<'a>(
        &self,
        records: impl Iterator<Item = &'a LogRecord> + Clone,
    ) -> Result<(), Fault> {
        let mut appender = lock(&self.appender);
        if appender.closed {
            return Err(Fault::Io(io::Error::other(
                "the log takes no more records since an earlier group failed",
            )));
        }
        let outcome = appender.append(&self.room, records);
        appender.closed = matches!(outcome, Err(Fault::Io(_) | Fault::Damaged { .. }));
        outcome
    }
}

/// Where a group goes.
enum Place {
    Current { segment: Arc<Segment>, at: u64 },
    New(Blank),
}

impl Appender {
    fn append<'a>(
        &mut self,
        room: &Room,
        records: impl Iterator<Item = &'a LogRecord> + Clone,
    ) -> Result<(), Fault> {
        let (durable, current, sealed) = {
            let state = room.state();
            (state.end, state.live.back().cloned(), state.sealed)
        };
        let bytes = group_bytes(durable, records.clone())?;
        if bytes == 0 {
            return Ok(());
        }
        let before = current
            .as_ref()
            .map_or(Lsn(0), |current| current.segment.first);
        let place = match current.filter(|_| !sealed) {
            Some(current) if aligned(current.filled) + bytes <= current.segment.file.bytes => {
                Place::Current {
                    at: aligned(current.filled),
                    segment: current.segment,
                }
            }
            _ => Place::New(room.take(bytes).map_err(as_want_of_room)?),
        };
        match place {
            Place::Current { segment, at } => {
                self.begin();
                let last = self.encode(&segment, at, durable, records);
                self.write(&segment, at)
                    .inspect_err(|fault| seal_if_full(room, fault))?;
                segment.mark(&self.marks);
                let mut state = room.state();
                state.end = last;
                if let Some(current) = state.live.back_mut() {
                    current.last = last;
                    current.filled = at + self.buffer.len() as u64;
                }
            }
            Place::New(blank) => self.append_first(room, blank, durable, before, records)?,
        }
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// The first group of a segment takes the header along.
    fn append_first<'a>(
        &mut self,
        room: &Room,
        blank: Blank,
        durable: Lsn,
        before: Lsn,
        records: impl Iterator<Item = &'a LogRecord>,
    ) -> Result<(), Fault> {
        let first = durable.next();
        let segment = Segment::new(blank.file.clone(), blank.life, first);
        self.begin();
        Header {
            life: segment.life.number,
            first,
            before,
        }
        .encode(&mut self.buffer);
        let last = self.encode(&segment, 0, durable, records);
        if let Err(fault) = self.write(&segment, 0) {
            let (file, life) = (blank.file, segment.life);
            room.give_back(Blank { file, life });
            seal_if_full(room, &fault);
            return Err(fault);
        }
        segment.mark(&self.marks);
        let mut state = room.state();
        state.end = last;
        state.sealed = false;
        state.live.push_back(Live {
            segment: Arc::new(segment),
            last,
            filled: self.buffer.len() as u64,
        });
        Ok(())
    }

    fn begin(&mut self) {
        self.buffer.clear();
        self.marks.clear();
    }

    /// Adds frames to the buffer, which begins at `at` in the file; the position of the last one.
    fn encode<'a>(
        &mut self,
        segment: &Segment,
        at: u64,
        durable: Lsn,
        records: impl Iterator<Item = &'a LogRecord>,
    ) -> Lsn {
        let mut last = durable;
        let mut records = records.peekable();
        while let Some(record) = records.next() {
            let padded = self.buffer.len().next_multiple_of(ALIGNMENT);
            self.buffer.resize(padded, 0);
            let offset = at + padded as u64;
            let frame = Frame {
                index: narrow(record.lsn.0 - segment.first.0),
                payload_bytes: narrow(record.bytes.len() as u64),
                ends_group: records.peek().is_none(),
                back: narrow(record.lsn.0 - durable.0),
            };
            frame.encode(&segment.life, offset, &record.bytes, &mut self.buffer);
            let mark = Mark {
                index: frame.index,
                offset,
            };
            if is_worth(self.marks.last(), &mark) {
                self.marks.push(mark);
            }
            last = record.lsn;
        }
        last
    }

    fn write(&self, segment: &Segment, at: u64) -> Result<(), Fault> {
        // An error that comes with the write leaves the group without its end, so it is not a group, now or after
        // a crash: the last byte of the buffer belongs to its last frame.
        match segment
            .file
            .disk
            .write(at, &self.buffer)
            .map_err(Fault::from)
        {
            Err(Fault::Full(_)) if self.is_there(segment, at)? => {}
            written => written?,
        }
        // An error that comes with the sync leaves everything open, a full disk included.
        segment.file.disk.sync().map_err(Fault::Io)
    }

    /// Whether what the file held before happens to be the end that a write lacks. Then the group is whole.
    fn is_there(&self, segment: &Segment, at: u64) -> Result<bool, Fault> {
        let mut there = vec![0; self.buffer.len()];
        let read = segment.file.disk.read(at, &mut there);
        // Unless it is known, the outcome is not known either.
        read.map_err(Fault::Io)?;
        Ok(there == self.buffer)
    }
}

/// What was written of a group that failed can't be taken back on a full disk, be it frames in the current segment or
/// a header that says that a new one begins here. But none of it counts once a segment of a later life begins here, so
/// that is where the log goes on.
fn seal_if_full(room: &Room, fault: &Fault) {
    if matches!(fault, Fault::Full(_)) {
        room.state().sealed = true;
    }
}

/// The room that a group takes. Says no to records that do not follow the end, or are too large.
fn group_bytes<'a>(end: Lsn, records: impl Iterator<Item = &'a LogRecord>) -> Result<u64, Fault> {
    let mut expected = end.next();
    let mut bytes = 0;
    for record in records {
        if record.lsn != expected {
            return Err(Fault::Engine(format!(
                "the log goes on at {}, the record is for {}",
                expected.0, record.lsn.0
            )));
        }
        if record.bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(Fault::Engine(format!(
                "a record of {} bytes is over the limit of {PAYLOAD_BYTES_MAX}",
                record.bytes.len()
            )));
        }
        bytes = aligned(bytes) + (HEADER_BYTES + record.bytes.len()) as u64;
        expected = expected.next();
    }
    // Segments would have to be larger than any disk for a count or an index not to fit.
    match expected.0 - end.next().0 {
        count if count <= u64::from(u32::MAX) => Ok(bytes),
        _ => Err(Fault::Engine("too many records in one group".to_owned())),
    }
}

/// Of what is known to fit: see [`group_bytes`].
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// While a segment is taken nothing of the group has been written. What the process or the system has too little of at
/// the moment (ENOMEM, ENFILE, EMFILE) is then like a disk without room: the group may come again.
fn as_want_of_room(fault: Fault) -> Fault {
    match fault {
        Fault::Io(error) if matches!(error.raw_os_error(), Some(12 | 23 | 24)) => {
            Fault::Full(error)
        }
        other => other,
    }
}
