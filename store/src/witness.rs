//! What the last holder of a data directory has reported, kept beside the data.
//!
//! A backup that is written over the data file in place keeps the file's inode, so the identity of
//! the medium alone would not notice it. The witness does: it names the incarnation and the last log
//! position that were reported durable, and data that is behind it has been rolled back.
//!
//! It is written after every commit and never synced: continuity is only ever proven within one
//! run of the machine, and for that long what a killed process wrote is still in the page cache.

use std::fs::File;
use std::io;

use anabranch_core::{Incarnation, Lsn};

use crate::disk::{Disk, FileDisk};
use crate::seal::{CHECK_BYTES, Sealed, seal, unseal};

/// The file beside the data.
#[derive(Debug)]
pub(crate) struct Witness(FileDisk);

/// What it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Testimony {
    pub(crate) incarnation: Incarnation,
    /// Absent for an empty log.
    pub(crate) log_end: Option<Lsn>,
}

impl Testimony {
    /// Whether a store that holds `held` can be the one that this was said of. It may hold more:
    /// what became durable just before a crash and was never reported.
    pub(crate) fn admits(&self, held: &Self) -> bool {
        self.incarnation == held.incarnation && self.log_end <= held.log_end
    }
}

impl Witness {
    pub(crate) fn new(file: File) -> Self {
        Self(FileDisk::new(file))
    }

    /// Nothing when there is none, or none that can be believed.
    pub(crate) fn read(&self) -> io::Result<Option<Testimony>> {
        let mut row = [0; CHECK_BYTES + 16];
        if self.0.len()? != row.len() as u64 {
            return Ok(None);
        }
        self.0.read(0, &mut row)?;
        Ok(unseal(Sealed::Witness, &[], &row).and_then(|value| {
            let (incarnation, log_end) = value.split_first_chunk::<8>()?;
            let log_end = u64::from_le_bytes(log_end.try_into().ok()?);
            Some(Testimony {
                incarnation: Incarnation(u64::from_le_bytes(*incarnation)),
                log_end: (log_end > 0).then_some(Lsn(log_end)),
            })
        }))
    }

    pub(crate) fn write(&self, testimony: &Testimony) -> io::Result<()> {
        let mut row = Vec::with_capacity(CHECK_BYTES + 16);
        let log_end = testimony.log_end.map_or(0, |lsn| lsn.0);
        let parts = [
            &testimony.incarnation.0.to_le_bytes()[..],
            &log_end.to_le_bytes()[..],
        ];
        seal(Sealed::Witness, &[], &parts, &mut row);
        self.0.write(0, &row)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_behind_or_of_another_incarnation_is_not_admitted() {
        let said = |incarnation, log_end: u64| Testimony {
            incarnation: Incarnation(incarnation),
            log_end: (log_end > 0).then_some(Lsn(log_end)),
        };
        assert!(said(1, 5).admits(&said(1, 5)));
        assert!(
            said(1, 5).admits(&said(1, 6)),
            "durable, not yet reported when the process died"
        );
        assert!(said(1, 0).admits(&said(1, 1)));
        assert!(!said(1, 5).admits(&said(1, 4)), "rolled back");
        assert!(!said(1, 1).admits(&said(1, 0)), "rolled back to nothing");
        assert!(!said(1, 5).admits(&said(2, 9)), "another history");
    }

    #[test]
    fn a_torn_witness_says_nothing() {
        let file = tempfile::tempfile().unwrap();
        let witness = Witness::new(file.try_clone().unwrap());
        assert_eq!(witness.read().unwrap(), None);
        let said = Testimony {
            incarnation: Incarnation(7),
            log_end: Some(Lsn(9)),
        };
        witness.write(&said).unwrap();
        assert_eq!(witness.read().unwrap(), Some(said));
        FileDisk::new(file).write(20, &[0xFF]).unwrap();
        assert_eq!(witness.read().unwrap(), None);
    }
}
