//! Whether commits can follow what is there.

use anabranch_core::Lsn;
use anabranch_core::persist::{Commit, Fold, StoreError};

use crate::error::CommitError;
use crate::limits;

/// Whether the commits can follow a log that ends at `log_end`, none being one that begins at 1; where it ends then.
pub(crate) fn check(
    commits: &[Commit],
    mut log_end: Option<Lsn>,
) -> Result<Option<Lsn>, CommitError> {
    for record in commits.iter().flat_map(|commit| &commit.log) {
        let expected = log_end.map_or(Lsn(1), Lsn::next);
        if record.lsn != expected {
            return Err(CommitError::OutOfOrder {
                expected,
                found: record.lsn,
            });
        }
        log_end = Some(record.lsn);
        let (max, len) = (limits::VALUE_BYTES_MAX, record.bytes.len());
        if len > max {
            return Err(CommitError::TooLarge { max, len });
        }
    }
    Ok(log_end)
}

/// Whether a fold is one that can be done: values within the limit, documents by rising id, each once, and nothing
/// let go that replay needs.
pub(crate) fn check_fold(fold: &Fold, replay_from: Lsn) -> Result<(), StoreError> {
    let changes = fold.documents.iter().flat_map(|document| &document.changes);
    let repaired = fold.repair.iter().flat_map(|repair| &repair.documents);
    let lens = changes
        .map(bytes::Bytes::len)
        .chain(fold.receipts.iter().map(|receipt| receipt.bytes.len()))
        .chain(
            fold.checkpoint
                .iter()
                .map(|checkpoint| checkpoint.state.len()),
        )
        .chain(repaired.clone().map(|(_, stored)| stored.state.len()));
    if let Some(len) = lens.max().filter(|len| *len > limits::VALUE_BYTES_MAX) {
        let max = limits::VALUE_BYTES_MAX;
        return refused(&CommitError::TooLarge { max, len }.to_string());
    }
    if !fold.documents.is_sorted_by(|a, b| a.id < b.id) {
        return refused("its documents do not come by rising id, each once");
    }
    if let Some(repair) = &fold.repair {
        let within = repair
            .documents
            .iter()
            .all(|(id, _)| repair.range.contains(id));
        if !within || !repair.documents.is_sorted_by(|(a, _), (b, _)| a < b) {
            return refused(
                "its repair does not bring the documents of its range by rising id, each once",
            );
        }
    }
    let replay_from = fold
        .checkpoint
        .as_ref()
        .map_or(replay_from, |to| to.replay_from);
    if fold
        .release_before
        .is_some_and(|before| before > replay_from)
    {
        return refused("it lets go of records that replay needs");
    }
    Ok(())
}

/// The caller's fault.
fn refused(why: &str) -> Result<(), StoreError> {
    Err(StoreError::Failed(format!(
        "a fold was refused, nothing was written: {why}"
    )))
}
