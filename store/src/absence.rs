//! Showing that a row is not there.
//!
//! A value's check says that what was found is right; it says nothing when nothing is found, and a
//! damaged key can lead a search astray. `pages.rs` notices that for the part of a file that was
//! verified on opening. Beyond it this is what there is: before "not there" is believed, the rows on
//! both sides of the gap must be whole and in order. (That leaves a page that lost a row inside a
//! gap, or that is the sound page of another place; only a scrub would find those.)

use std::ops::Bound;

use redb::{ReadOnlyTable, ReadableTableMetadata as _};

use crate::engine::Fault;
use crate::seal::{Sealed, unseal};

/// Rows of a table whose keys are bytes.
pub(crate) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

fn astray(table: Sealed) -> Fault {
    Fault::Damaged(format!(
        "rows of the table {table:?} are out of place, so it can't be shown which are missing"
    ))
}

/// Holds that nothing lies between the row before `start` and the `found` rows from there on, and,
/// when `end` is given, nothing between those and the first row at or after it.
pub(crate) fn prove(
    table: Sealed,
    rows: &Rows,
    start: Bound<&[u8]>,
    end: Option<&[u8]>,
    found: u64,
) -> Result<(), Fault> {
    let below = match start {
        Bound::Included(start) => Bound::Excluded(start),
        Bound::Excluded(start) => Bound::Included(start),
        Bound::Unbounded => return Ok(()),
    };
    let before = rows
        .range::<&[u8]>((Bound::Unbounded, below))?
        .next_back()
        .transpose()?;
    if let Some((row_key, row)) = &before {
        let row_key = row_key.value();
        let in_order = match below {
            Bound::Included(below) => row_key <= below,
            Bound::Excluded(below) => row_key < below,
            Bound::Unbounded => true,
        };
        if !in_order || unseal(table, row_key, row.value()).is_none() {
            return Err(astray(table));
        }
    }
    let Some(end) = end else { return Ok(()) };
    let after = rows.range::<&[u8]>(end..)?.next().transpose()?;
    if let Some((row_key, row)) = &after {
        let row_key = row_key.value();
        // The row that was searched for, which the search itself did not find.
        let missed = start == Bound::Included(end) && row_key == end;
        if row_key < end || missed || unseal(table, row_key, row.value()).is_none() {
            return Err(astray(table));
        }
    }
    if before.is_none() && after.is_none() && rows.len()? != found {
        return Err(astray(table));
    }
    Ok(())
}
