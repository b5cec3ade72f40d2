//! One document in a tile: its state and the changes since.
//!
//! ```text
//! presence:1  the state's sum:8, if it is known  number of changes, for each its length and bytes, then the state
//! ```
//! Presence is 0 for no, 1 for yes, 2 for unknown, and 3 more where the sum follows.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anabranch_core::persist::{Compact, StoredDocument};
use bytes::Bytes;

use super::varint;
use crate::shield;

/// So many changes are compacted whether or not there is time for it,
const CHANGES_MAX: usize = 128;
/// and so are changes that outgrow the state, if they have so many bytes.
const CHANGES_BYTES_MIN: usize = 16 << 10;

/// What the first byte is raised by where the sum follows it.
const WITH_SUM: u8 = 3;
const SUM_BYTES: usize = 8;

pub(crate) fn encode(document: &StoredDocument) -> Vec<u8> {
    let changes: usize = document.changes.iter().map(|change| change.len() + 3).sum();
    let mut record = Vec::with_capacity(document.state.len() + changes + 12);
    let present = match document.present {
        Some(false) => 0,
        Some(true) => 1,
        None => 2,
    };
    match document.sum {
        None => record.push(present),
        Some(sum) => {
            record.push(present + WITH_SUM);
            record.extend_from_slice(&sum.to_le_bytes());
        }
    }
    varint::put(document.changes.len(), &mut record);
    for change in &document.changes {
        varint::put(change.len(), &mut record);
        record.extend_from_slice(change);
    }
    record.extend_from_slice(&document.state);
    record
}

/// Nothing when it is none. Shares its bytes with the record.
pub(crate) fn decode(record: &Bytes) -> Option<StoredDocument> {
    let mut rest = record.clone();
    let (present, has_sum) = presence(varint::take_bytes(&mut rest, 1)?[0])?;
    let sum = if has_sum {
        let bytes = varint::take_bytes(&mut rest, SUM_BYTES)?;
        Some(u64::from_le_bytes(bytes[..].try_into().ok()?))
    } else {
        None
    };
    let count = varint::take(&mut rest)?;
    let mut changes = Vec::new();
    for _ in 0..count {
        let len = varint::take(&mut rest)?;
        changes.push(varint::take_bytes(&mut rest, len)?);
    }
    Some(StoredDocument {
        state: rest,
        changes,
        present,
        sum,
    })
}

/// Whether the document is there, if that is known, and whether the state's sum follows.
fn presence(byte: u8) -> Option<(Option<bool>, bool)> {
    let present = match byte % WITH_SUM {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    (byte < 2 * WITH_SUM).then_some((present, byte >= WITH_SUM))
}

/// Presence alone, and whether there are changes.
pub(super) fn glance(record: &Bytes) -> Option<(Option<bool>, bool)> {
    let (present, has_sum) = presence(*record.first()?)?;
    let count_at = if has_sum { 1 + SUM_BYTES } else { 1 };
    Some((present, *record.get(count_at)? != 0))
}

/// Adds changes that it does not have yet: after a crash the same ones come again. What is known of its presence is
/// that of the last change.
pub(super) fn extend(document: &mut StoredDocument, changes: &[Bytes], present: Option<bool>) {
    let mut held: HashSet<&[u8]> = document.changes.iter().map(|change| &change[..]).collect();
    let new: Vec<Bytes> = changes
        .iter()
        .filter(|change| held.insert(change))
        .cloned()
        .collect();
    if present.is_some() || !new.is_empty() {
        document.present = present;
    }
    document.changes.extend(new);
}

/// Whether its changes have become many.
pub(super) fn is_overgrown(document: &StoredDocument) -> bool {
    let bytes: usize = document.changes.iter().map(Bytes::len).sum();
    document.changes.len() >= CHANGES_MAX || bytes > document.state.len().max(CHANGES_BYTES_MIN)
}

/// Compacts it. A panic is an error like any other: the document is kept as it is.
pub(super) fn compacted(
    document: &StoredDocument,
    compact: Compact,
) -> Result<StoredDocument, String> {
    // It is a function of the document alone, so it leaves nothing half changed.
    catch_unwind(AssertUnwindSafe(|| compact(document)))
        .unwrap_or_else(|panic| Err(shield::message(&*panic).to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_document_comes_back() {
        for (present, sum) in [
            (None, None),
            (Some(true), None),
            (Some(false), Some(u64::MAX)),
            (None, Some(0)),
            (Some(true), Some(1)),
        ] {
            for changes in [vec![], vec![bytes("one"), bytes("")]] {
                let has_changes = !changes.is_empty();
                let state = bytes("state");
                let document = StoredDocument {
                    state,
                    changes,
                    present,
                    sum,
                };
                let record = encode(&document).into();
                assert_eq!(decode(&record).unwrap(), document);
                assert_eq!(glance(&record), Some((present, has_changes)));
            }
        }
        assert_eq!(decode(&bytes("")), None);
        assert_eq!(decode(&bytes("\x06\0")), None);
        assert_eq!(decode(&bytes("\x03\0")), None, "the sum is missing");
        assert_eq!(decode(&bytes("\x01\x05\x01a")), None);
    }

    #[test]
    fn the_same_changes_again_change_nothing() {
        let mut document = StoredDocument::default();
        extend(&mut document, &[bytes("a"), bytes("b")], None);
        extend(&mut document, &[], Some(true));
        let before = document.clone();
        extend(&mut document, &[bytes("b"), bytes("a")], Some(true));
        assert_eq!(document, before);
        extend(&mut document, &[bytes("a"), bytes("c"), bytes("c")], None);
        assert_eq!(document.changes, [bytes("a"), bytes("b"), bytes("c")]);
        assert_eq!(document.present, None);
    }

    #[test]
    fn what_can_not_be_compacted_is_an_error() {
        let document = StoredDocument::default();
        assert_eq!(
            compacted(&document, |_| Err("no".to_owned())),
            Err("no".to_owned())
        );
        assert_eq!(
            compacted(&document, |_| panic!("ouch")),
            Err("ouch".to_owned())
        );
    }
}
