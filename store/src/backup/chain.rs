//! Which backups go together: a full one, and incremental ones that each go on where the one before ends.

use super::error::ChainError;
use super::header::{BackupId, Summary};

/// Puts the backups of one chain in order. Gives their places in `found`.
///
/// # Errors
/// When they are not those of one chain from its full backup on.
pub fn in_order(found: &[Summary]) -> Result<Vec<usize>, ChainError> {
    let is_base = |summary: &Summary| {
        let bases = found.iter().filter_map(|other| other.header.base);
        bases.map(|base| base.id).any(|id| id == summary.header.id)
    };
    // Of several, one that lacks something says more.
    let tips = found.iter().filter(|summary| !is_base(summary));
    let tip = tips.max_by_key(|summary| summary.header.base.is_some());
    let chain = leading_to(found, tip.ok_or(ChainError::Nothing)?.header.id)?;
    match (0..found.len()).find(|at| !chain.contains(at)) {
        None => Ok(chain),
        Some(at) => Err(ChainError::Apart {
            id: found[at].header.id.to_string(),
        }),
    }
}

/// Those of the backups, in order, that lead from a full one to this one. Gives their places in `found`.
///
/// # Errors
/// When one is missing, or two do not fit together.
pub fn leading_to(found: &[Summary], tip: BackupId) -> Result<Vec<usize>, ChainError> {
    let place = |id: BackupId| found.iter().position(|summary| summary.header.id == id);
    let mut at = place(tip).ok_or(ChainError::Nothing)?;
    let mut chain = vec![at];
    while let Some(base) = found[at].header.base {
        let before = place(base.id).filter(|before| !chain.contains(before));
        let before = before.ok_or_else(|| ChainError::NoBase {
            id: found[at].header.id.to_string(),
            base: base.id.to_string(),
        })?;
        follows(&found[before], &found[at])?;
        chain.push(before);
        at = before;
    }
    chain.reverse();
    Ok(chain)
}

/// Whether one goes on exactly where the other ends.
pub(crate) fn follows(before: &Summary, next: &Summary) -> Result<(), ChainError> {
    let fits = next.header.base.is_some_and(|base| {
        (base.id, base.log_end, base.log_check)
            == (
                before.header.id,
                before.totals.log_end,
                before.totals.log_check,
            )
            && next.header.replica == before.header.replica
    });
    fits.then_some(()).ok_or_else(|| ChainError::Gap {
        id: next.header.id.to_string(),
        before: before.header.id.to_string(),
    })
}
