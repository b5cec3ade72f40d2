//! How a store is opened, and under which incarnation it goes on.

use anabranch_core::persist::{Checkpoint, Compact, Continuity, Recovery};
use anabranch_core::{Incarnation, Lsn};

use crate::error::OpenError;
use crate::limits;
use crate::log;
use crate::witness::Testimony;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Names the medium: equal for as long as it can't have been copied, restored or rolled back.
    pub identity: Vec<u8>,
    /// Drawn at random for this opening; used when continuity can't be proven.
    pub fresh: Incarnation,
    /// Makes a document's state of its state and its changes.
    pub compact: Compact,
    /// Memory for pages of documents that were read or written lately.
    pub cache_bytes: usize,
    /// Largest segment of the log.
    pub log_segment_bytes: u64,
    /// About so many bytes of documents are written in one transaction.
    pub fold_slice_bytes: usize,
    /// A deliberate bug, for the test of the simulator: whatever the medium, the incarnation goes on.
    #[cfg(feature = "planted")]
    pub planted_trust: bool,
}

impl Opening {
    /// On a medium of that identity, with limits that fit a process with other things to do.
    #[must_use]
    pub fn new(identity: impl Into<Vec<u8>>, fresh: Incarnation, compact: Compact) -> Self {
        Self {
            identity: identity.into(),
            fresh,
            compact,
            cache_bytes: 32 << 20,
            log_segment_bytes: log::SEGMENT_BYTES,
            fold_slice_bytes: limits::FOLD_SLICE_BYTES,
            #[cfg(feature = "planted")]
            planted_trust: false,
        }
    }

    fn is_of(&self, identity: &[u8]) -> bool {
        #[cfg(feature = "planted")]
        if self.planted_trust {
            return true;
        }
        self.identity == identity
    }
}

/// What a store has found of itself.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) identity: Vec<u8>,
    pub(crate) incarnation: Incarnation,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) log_first: Option<Lsn>,
    pub(crate) log_end: Option<Lsn>,
    /// Records are missing that were durable and may be needed.
    pub(crate) log_lost: bool,
    /// What the last holder has said; absent where no witness is kept, absent within when it can't be read.
    pub(crate) testimony: Option<Option<Testimony>>,
}

/// Decides under which incarnation it goes on. Nothing held means that nothing was ever made.
pub(crate) fn recover(opening: &Opening, held: Option<&Held>) -> Result<Recovery, OpenError> {
    let Some(held) = held else {
        return Ok(Recovery {
            incarnation: opening.fresh,
            continuity: Continuity::New,
            checkpoint: None,
            log_end: None,
            log_first: None,
        });
    };
    let found = Testimony {
        incarnation: held.incarnation,
        log_end: held.log_end,
    };
    let witnessed = held
        .testimony
        .is_none_or(|said| said.is_some_and(|said| said.admits(&found)));
    let proven = witnessed && !held.log_lost && opening.is_of(&held.identity);
    if !proven && opening.fresh == held.incarnation {
        return Err(OpenError::NotFresh);
    }
    let (incarnation, continuity) = if proven {
        (held.incarnation, Continuity::Proven)
    } else {
        (opening.fresh, Continuity::Broken)
    };
    Ok(Recovery {
        incarnation,
        continuity,
        checkpoint: held.checkpoint.clone(),
        log_end: held.log_end,
        log_first: held.log_first,
    })
}
