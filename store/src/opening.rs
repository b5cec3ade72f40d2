//! What opening finds, and under which incarnation it goes on.

use anabranch_core::persist::{Continuity, Recovery};
use anabranch_core::{Incarnation, Lsn};
use redb::{
    Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _,
};

use crate::engine::{Engine, Fault};
use crate::error::OpenError;
use crate::meta::{Meta, MetaWriter};
use crate::tables::{DOCUMENTS, LOG, META, RECEIPT_ORDER, RECEIPTS};
use crate::witness::Testimony;

/// How to open a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Names the medium: equal for as long as it can't have been copied, restored or rolled back.
    pub identity: Vec<u8>,
    /// Drawn at random for this opening; used when continuity can't be proven.
    pub fresh: Incarnation,
    /// Memory for pages that were read or written lately.
    pub cache_bytes: usize,
    /// A deliberate bug, for the test of the simulator: whatever the medium, the incarnation goes on.
    #[cfg(feature = "planted")]
    pub planted_trust: bool,
}

impl Opening {
    fn is_of(&self, identity: &[u8]) -> bool {
        #[cfg(feature = "planted")]
        if self.planted_trust {
            return true;
        }
        self.identity == identity
    }
}

/// First and last position of a log that has any.
#[derive(Clone, Copy)]
pub(crate) struct LogBounds {
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
}

/// What the file holds; no meta means that nothing was ever made in it.
pub(crate) fn load(engine: &Engine) -> Result<(Option<Meta>, Option<LogBounds>), OpenError> {
    let transaction = engine.begin_read().map_err(Fault::from)?;
    let Some(meta) = Meta::load(&transaction)? else {
        return Ok((None, None));
    };
    let bounds = log_bounds(&transaction)?;
    for table in [DOCUMENTS, RECEIPTS, RECEIPT_ORDER] {
        transaction.open_table(table).map_err(Fault::from)?;
    }
    Ok((Some(meta), bounds))
}

/// A log without gaps whose rows are as many as its ends say: a lookup that was led astray by a
/// damaged page can't make it look shorter than it is.
fn log_bounds(transaction: &ReadTransaction) -> Result<Option<LogBounds>, Fault> {
    let log = transaction.open_table(LOG)?;
    let first = log.first()?.map(|(lsn, _)| lsn.value());
    let last = log.last()?.map(|(lsn, _)| lsn.value());
    let rows = log.len()?;
    match (first, last) {
        (None, None) if rows == 0 => Ok(None),
        (Some(first), Some(last))
            if first > 0 && last.checked_sub(first) == rows.checked_sub(1) =>
        {
            Ok(Some(LogBounds {
                first: Lsn(first),
                last: Lsn(last),
            }))
        }
        _ => Err(Fault::Damaged(format!(
            "the log has {rows} records and ends at {first:?} and {last:?}"
        ))),
    }
}

/// Decides under which incarnation it goes on. `testimony` is absent where no witness is kept.
pub(crate) fn recover(
    opening: &Opening,
    meta: Option<Meta>,
    bounds: Option<LogBounds>,
    testimony: Option<Option<Testimony>>,
) -> Result<Recovery, OpenError> {
    let log_end = bounds.map(|bounds| bounds.last);
    let Some(meta) = meta else {
        let continuity = Continuity::New;
        return Ok(Recovery {
            incarnation: opening.fresh,
            continuity,
            checkpoint: None,
            log_end,
        });
    };
    let held = Testimony {
        incarnation: meta.incarnation,
        log_end,
    };
    let witnessed = testimony.is_none_or(|said| said.is_some_and(|said| said.admits(&held)));
    let checkpoint = meta.checkpoint;
    if witnessed && opening.is_of(&meta.identity) {
        let continuity = Continuity::Proven;
        return Ok(Recovery {
            incarnation: meta.incarnation,
            continuity,
            checkpoint,
            log_end,
        });
    }
    if opening.fresh == meta.incarnation {
        return Err(OpenError::NotFresh);
    }
    Ok(Recovery {
        incarnation: opening.fresh,
        continuity: Continuity::Broken,
        checkpoint,
        log_end,
    })
}

/// Makes a new incarnation durable, and all tables with it when the store is new.
pub(crate) fn begin(
    engine: &Engine,
    opening: &Opening,
    continuity: Continuity,
) -> Result<(), Fault> {
    let mut transaction = engine.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut row = Vec::new();
        let mut meta = MetaWriter {
            table: transaction.open_table(META)?,
            row: &mut row,
        };
        meta.identity(&opening.identity)?;
        meta.incarnation(opening.fresh)?;
        if continuity == Continuity::New {
            meta.format()?;
            meta.checkpoint(None)?;
            transaction.open_table(LOG)?;
            for table in [DOCUMENTS, RECEIPTS, RECEIPT_ORDER] {
                transaction.open_table(table)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}
