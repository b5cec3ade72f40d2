//! Reads records, and verifies them.

use std::io;
use std::ops::{ControlFlow, RangeInclusive};

use anabranch_core::Lsn;
use anabranch_core::persist::LogRecord;
use bytes::Bytes;

use super::Log;
use super::walk::{Stuck, Walk};
use crate::engine::Fault;

/// What a piece of scrubbing has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogScrubbed {
    /// Where to go on; none when the log's end was reached.
    pub(crate) next: Option<Lsn>,
    /// Bytes read.
    pub(crate) bytes: u64,
    /// What can't be read, by rising position.
    pub(crate) bad: Vec<RangeInclusive<Lsn>>,
}

/// What comes next in the log.
enum Step<'a> {
    Record(Lsn, &'a [u8]),
    /// What can't be read, and the error if the disk gave one.
    Gap(RangeInclusive<Lsn>, Option<io::Error>),
}

impl Log {
    /// Records from a position on: until they add up to so many bytes, at least one if there is one. Those that can't
    /// be read are left out and remembered as damage. Empty when no record from there on can be read.
    ///
    /// [`Fault::Io`]: the disk gives nothing from there on, or gives up; that may pass.
    pub(crate) fn read(&self, from: Lsn, bytes_max: usize) -> Result<Vec<LogRecord>, Fault> {
        let mut records: Vec<LogRecord> = Vec::new();
        let mut bytes = 0;
        let mut failure = None;
        let mut refused = Vec::new();
        let visited = self.visit(from, bytes_max, &mut |step| match step {
            Step::Record(lsn, payload) => {
                for range in refused.drain(..) {
                    self.damage.note(&range);
                }
                bytes += payload.len();
                records.push(LogRecord {
                    lsn,
                    bytes: Bytes::copy_from_slice(payload),
                });
                flow(bytes < bytes_max)
            }
            // What the disk refuses now it may give later, so the gap is only given to whoever asks from there on.
            Step::Gap(_, Some(_)) if !records.is_empty() => ControlFlow::Break(()),
            Step::Gap(range, None) => {
                self.damage.note(&range);
                ControlFlow::Continue(())
            }
            Step::Gap(range, Some(error)) => {
                refused.push(range);
                failure = Some(error);
                ControlFlow::Continue(())
            }
        });
        let failure = visited.err().map(|Stuck(error)| error).or(failure);
        match failure {
            Some(error) if records.is_empty() => Err(Fault::Io(error)),
            Some(_) | None => Ok(records),
        }
    }

    /// Verifies records from a position on, about so many bytes of them. What can't be read is remembered as damage.
    ///
    /// [`Fault::Io`]: the disk gives up.
    pub(crate) fn scrub(&self, from: Lsn, bytes_max: usize) -> Result<LogScrubbed, Fault> {
        let mut scrubbed = LogScrubbed {
            next: None,
            bytes: 0,
            bad: Vec::new(),
        };
        let mut bytes = 0;
        let visited = self.visit(from, bytes_max, &mut |step| match step {
            Step::Record(lsn, payload) => {
                bytes += payload.len();
                scrubbed.next = Some(lsn.next());
                flow(bytes < bytes_max)
            }
            Step::Gap(range, _) => {
                self.damage.note(&range);
                scrubbed.next = Some(range.end().next());
                scrubbed.bad.push(range);
                ControlFlow::Continue(())
            }
        });
        scrubbed.bytes = visited.map_err(|Stuck(error)| Fault::Io(error))?;
        let end = self.bounds().map(|(_, end)| end);
        scrubbed.next = scrubbed.next.filter(|next| Some(*next) <= end);
        Ok(scrubbed)
    }

    /// Shows what is in the log from a position on, as long as it is wanted. The number of bytes read.
    fn visit(
        &self,
        from: Lsn,
        wanted_bytes: usize,
        show: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<u64, Stuck> {
        let mut expected = from;
        let mut bytes_read = 0;
        loop {
            let (live, released) = {
                let state = self.room.state();
                (state.at(expected), state.is_released(expected))
            };
            let Some(live) = live else {
                return Ok(bytes_read);
            };
            let segment = &*live.segment;
            if expected < segment.first {
                let missing = expected..=Lsn(segment.first.0 - 1);
                expected = segment.first;
                if !released && show(Step::Gap(missing, None)).is_break() {
                    return Ok(bytes_read);
                }
            }
            let from = segment.before(expected);
            let mut walk = Walk::new(segment, from, live.filled).wanting(wanted_bytes);
            let mut flow = ControlFlow::Continue(());
            while flow.is_continue() && expected <= live.last {
                let found = walk.next()?.filter(|found| found.lsn <= live.last);
                if found.is_some_and(|found| found.lsn < expected) {
                    continue;
                }
                let next = found.map_or(live.last.next(), |found| found.lsn);
                let failure = walk.take_failure();
                if expected < next {
                    flow = show(Step::Gap(expected..=Lsn(next.0 - 1), failure));
                    expected = next;
                }
                if let Some(found) = found.filter(|_| flow.is_continue()) {
                    flow = show(Step::Record(found.lsn, walk.payload(&found)));
                    expected = next.next();
                }
            }
            bytes_read += walk.bytes_read();
            if flow.is_break() {
                return Ok(bytes_read);
            }
        }
    }
}

fn flow(on: bool) -> ControlFlow<()> {
    match on {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    }
}
