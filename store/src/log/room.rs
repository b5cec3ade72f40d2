//! Makes room for records: new files, and files used again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use anabranch_core::Lsn;

use super::frame::Life;
use super::header::{HEADER_BYTES, Header};
use super::segment::{Blank, LogFile};
use super::state::{Live, Spare, State};
use super::{FIRST_SEGMENT_BYTES, SPARES_MAX, lock};
use crate::engine::Fault;
use crate::medium::Medium;

const PREFIX: &str = "log-";
/// A file with this before its name could not be read, and is nothing to us any more.
const ASIDE_PREFIX: &str = "damaged-";
/// Sizes are multiples of this.
const SIZE_STEP_BYTES: u64 = 4096;
const ZEROS_BYTES: usize = 256 << 10;

/// The files, and the way to more of them.
#[derive(Debug)]
pub(super) struct Room {
    medium: Arc<dyn Medium>,
    segment_bytes: u64,
    state: Mutex<State>,
    /// Held by whoever prepares; two would each make a segment.
    preparing: Mutex<()>,
    /// Where the log's newest segment began when there was no room for the next one.
    refused: Mutex<Option<Lsn>>,
}

pub(super) fn name(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}

/// The number in a name, if it is one of ours.
pub(super) fn number(of: &str) -> Option<u64> {
    let number = of.strip_prefix(PREFIX)?.parse().ok()?;
    (name(number) == of).then_some(number)
}

/// Puts a file out of the way under another name.
pub(super) fn set_aside(medium: &dyn Medium, name: &str) -> io::Result<()> {
    medium.rename(name, &format!("{ASIDE_PREFIX}{name}"))
}

/// Gives a file a new life. Durable, like the end of all that is in it, when this returns.
pub(super) fn revive(file: &LogFile, life: u64) -> io::Result<Life> {
    let mut block = Vec::new();
    Header {
        life,
        first: Lsn(0),
        before: Lsn(0),
    }
    .encode(&mut block);
    file.disk.write(0, &block)?;
    file.disk.sync()?;
    Ok(Life::new(life))
}

impl Room {
    pub(super) fn new(medium: Arc<dyn Medium>, segment_bytes: u64, state: State) -> Self {
        Self {
            medium,
            segment_bytes: segment_bytes.max(2 * HEADER_BYTES),
            state: Mutex::new(state),
            preparing: Mutex::new(()),
            refused: Mutex::new(None),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A segment for a group of this size, at once: what is ready, what can be used again, or else a new one that is
    /// no larger than it has to be, for someone is waiting. If it fails, all is as it was before.
    pub(super) fn take(&self, group_bytes: u64) -> Result<Blank, Fault> {
        let bytes_min = (HEADER_BYTES + group_bytes).next_multiple_of(SIZE_STEP_BYTES);
        // Not in one line with what follows: the lock would be held on.
        let ready = self.state().take_ready(bytes_min);
        if let Some(blank) = ready {
            return Ok(blank);
        }
        if let Some(spare) = self.spare(bytes_min) {
            return self.recycle(spare);
        }
        let first = FIRST_SEGMENT_BYTES.min(self.segment_bytes);
        self.make(first.max(bytes_min))
    }

    /// Puts back what was taken and could not be used.
    pub(super) fn give_back(&self, blank: Blank) {
        let mut state = self.state();
        state.failed_life = state.failed_life.max(blank.life.number);
        // Parts of a group may be in it, so it needs a new life.
        let (file, was) = (blank.file, None);
        state.spares.push(Spare { file, was });
    }

    pub(super) fn prepare(&self) -> Result<(), Fault> {
        let _one_at_a_time = lock(&self.preparing);
        let wanted = {
            let state = self.state();
            let current = state.live.back();
            let half_full = |live: &Live| live.filled > live.segment.file.bytes / 2;
            if state.ready.is_some() || !(current.is_none_or(half_full) || state.sealed) {
                return Ok(());
            }
            let sizes = state.live.iter().map(|live| live.segment.file.bytes);
            (2 * sizes.max().unwrap_or(0))
                .max(FIRST_SEGMENT_BYTES)
                .min(self.segment_bytes)
        };
        let blank = match self.spare(wanted / 2) {
            Some(spare) => self.recycle(spare)?,
            None => {
                let current = self.state().live.back().map(|live| live.segment.first);
                if current.is_some() && *lock(&self.refused) == current {
                    return Ok(());
                }
                self.make(wanted).inspect_err(|_| {
                    // Trying again with every few commits would take the last room from everybody else, time and
                    // again. Whoever needs a segment makes a small one.
                    *lock(&self.refused) = current;
                })?
            }
        };
        self.state().ready = Some(blank);
        Ok(())
    }

    pub(super) fn release_before(&self, lsn: Lsn) -> Result<(), Fault> {
        let surplus = {
            let mut state = self.state();
            state.retire_before(lsn);
            state.surplus(SPARES_MAX, self.segment_bytes)
        };
        // One that can't be removed is found as a spare by the next opening.
        let mut outcome = Ok(());
        for spare in surplus {
            outcome = outcome.and(self.medium.remove(&spare.file.name));
        }
        Ok(outcome?)
    }

    /// Takes out the smallest spare that is large enough and that nobody reads.
    fn spare(&self, bytes_min: u64) -> Option<Spare> {
        let mut state = self.state();
        let fitting = state
            .spares
            .iter_mut()
            .enumerate()
            .filter_map(|(at, spare)| {
                (spare.file.bytes >= bytes_min && spare.is_free()).then_some((spare.file.bytes, at))
            });
        let (_, at) = fitting.min()?;
        Some(state.spares.swap_remove(at))
    }

    fn recycle(&self, spare: Spare) -> Result<Blank, Fault> {
        let life = self.state().life();
        match revive(&spare.file, life) {
            Ok(life) => Ok(Blank {
                file: spare.file,
                life,
            }),
            Err(error) => {
                self.state().spares.push(spare);
                Err(error.into())
            }
        }
    }

    fn make(&self, bytes: u64) -> Result<Blank, Fault> {
        let (number, life) = {
            let mut state = self.state();
            let number = state.next_name;
            state.next_name += 1;
            (number, state.life())
        };
        let name = name(number);
        self.fill(&name, bytes, life).map_err(|error| {
            // Should this fail too, the next opening finds a file in which there is nothing.
            if let Err(error) = self.medium.remove(&name) {
                tracing::debug!(name, %error, "a segment that could not be made was not removed");
            }
            error.into()
        })
    }

    fn fill(&self, name: &str, bytes: u64, life: u64) -> io::Result<Blank> {
        let disk = self.medium.open(name)?;
        disk.set_len(bytes)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut offset = HEADER_BYTES;
        while offset < bytes {
            let len = (bytes - offset).min(ZEROS_BYTES as u64);
            disk.write(
                offset,
                &zeros[..usize::try_from(len).unwrap_or(ZEROS_BYTES)],
            )?;
            offset += len;
        }
        let file = LogFile {
            name: name.to_owned(),
            disk,
            bytes,
        };
        let life = revive(&file, life)?;
        self.medium.sync()?;
        Ok(Blank { file, life })
    }
}
