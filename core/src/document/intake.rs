//! Changes from elsewhere, looked at before they are let in.
//!
//! 104 bytes of run-length-encoded change can hold 50,000 operations, and 64 KB of deflate 64 MB. So a
//! change is measured in its encoded form first: compressed ones are refused (no writer of ours makes
//! them), and the runs of the two columns that multiply work are added up without expanding them. The form
//! is that of <https://automerge.org/automerge-binary-format-spec/>.

use automerge::{AutoCommit, Change};
use bytes::Bytes;

use super::exchange::{is_whole, load_whole};
use crate::limits;

pub(super) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
pub(super) const CHUNK_DOCUMENT: u8 = 0;
const CHUNK_CHANGE: u8 = 1;
const COLUMN_ACTION: u64 = 0x42;
const COLUMN_PREDECESSORS: u64 = 0x70;

/// A change that was not let in, and why. Every replica decides this alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// BLAKE3 of its bytes.
    pub(crate) hash: [u8; 32],
    pub(crate) reason: String,
}

impl Refusal {
    fn new(change: &[u8], reason: impl Into<String>) -> Self {
        Self {
            hash: *blake3::hash(change).as_bytes(),
            reason: reason.into(),
        }
    }
}

pub(super) fn absorb<'a>(
    doc: &mut AutoCommit,
    changes: impl IntoIterator<Item = &'a Bytes>,
) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let mut ready: Vec<Change> = Vec::new();
    for bytes in changes {
        if is_whole(bytes) {
            // Whatever builds on it comes later.
            if let Err(reason) = merge_whole(doc, bytes) {
                refused.push(Refusal::new(bytes, reason));
            }
            continue;
        }
        match guarded(|| parse(bytes)) {
            Ok(change) => ready.push(change),
            Err(reason) => refused.push(Refusal::new(bytes, reason)),
        }
    }
    if ready.is_empty() {
        return refused;
    }
    // In causal order every dependency is either in the document or earlier in the list. What is not
    // would wait inside automerge, in a queue without a bound that is saved with the document.
    let mut known = std::collections::BTreeSet::new();
    ready.retain(|change| {
        let complete = change
            .deps()
            .iter()
            .all(|dep| known.contains(dep) || doc.get_change_meta_by_hash(dep).is_some());
        if complete {
            known.insert(change.hash());
        } else {
            refused.push(Refusal::new(
                change.raw_bytes(),
                "depends on a change that did not come before it",
            ));
        }
        complete
    });
    let before = doc.clone();
    if guarded(|| {
        doc.apply_changes_batch(ready.clone())
            .map_err(|error| error.to_string())
    })
    .is_ok()
    {
        forget_patches(doc);
        return refused;
    }
    // One of them is bad: find out which, and let the others in.
    *doc = before;
    for change in ready {
        let before = doc.clone();
        let bytes = Bytes::copy_from_slice(change.raw_bytes());
        if let Err(reason) = guarded(|| {
            doc.apply_changes([change])
                .map_err(|error| error.to_string())
        }) {
            *doc = before;
            refused.push(Refusal::new(&bytes, reason));
        }
    }
    forget_patches(doc);
    refused
}

/// Takes in all of a document that somebody else has.
fn merge_whole(doc: &mut AutoCommit, bytes: &Bytes) -> Result<(), String> {
    let before = doc.clone();
    let merged = guarded(|| {
        let mut whole = load_whole(bytes)?;
        doc.merge(&mut whole).map_err(|error| error.to_string())
    });
    if merged.is_err() {
        *doc = before;
    }
    forget_patches(doc);
    merged.map(drop)
}

/// Whether every dependency of some changes is in the document or earlier among them.
pub(super) fn has_what_precedes(doc: &mut AutoCommit, changes: &[Bytes]) -> bool {
    let mut known = std::collections::BTreeSet::new();
    changes.iter().all(|bytes| {
        guarded(|| parse(bytes)).is_ok_and(|change| {
            let mut deps = change.deps().iter();
            let complete =
                deps.all(|dep| known.contains(dep) || doc.get_change_meta_by_hash(dep).is_some());
            known.insert(change.hash());
            complete
        })
    })
}

/// automerge 0.12 notes what every batch of changes did for a reader of patches, whether there is one or not, and
/// forgets it only when it is told: a document that stays loaded grew with every change from elsewhere.
fn forget_patches(doc: &mut AutoCommit) {
    doc.reset_diff_cursor();
}

/// Turns a panic over what somebody else sent into an error: it would come again at every start, since the
/// change stands in the log. What the panic left half done is thrown away by the caller.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("the CRDT library can't take it".to_owned()))
}

pub(super) fn parse(bytes: &Bytes) -> Result<Change, String> {
    let operations = measure(bytes).ok_or("not an uncompressed automerge change")?;
    if operations > limits::CHANGE_OPS_MAX {
        return Err(format!(
            "{operations} operations in one change, {} is the limit",
            limits::CHANGE_OPS_MAX
        ));
    }
    Change::try_from(&bytes[..]).map_err(|error| error.to_string())
}

/// Whether something is in the form of a change that a document may take in.
pub(crate) fn is_plain_change(bytes: &[u8]) -> bool {
    measure(bytes).is_some_and(|operations| operations <= limits::CHANGE_OPS_MAX)
}

/// Operations or predecessors in a change, whichever are more; none if it is not an uncompressed change.
pub(super) fn measure(bytes: &[u8]) -> Option<u64> {
    let mut cursor = Cursor(bytes);
    if cursor.take(4)? != MAGIC {
        return None;
    }
    cursor.take(4)?;
    if cursor.take(1)? != [CHUNK_CHANGE] {
        return None;
    }
    let len = cursor.unsigned()?;
    if len != cursor.0.len() as u64 {
        return None;
    }
    let deps = cursor.unsigned()?;
    cursor.take(deps.checked_mul(32)?)?;
    cursor.sized()?; // actor
    cursor.unsigned()?; // seq
    cursor.unsigned()?; // start op
    cursor.signed()?; // time
    cursor.sized()?; // message
    for _ in 0..cursor.unsigned()? {
        cursor.sized()?; // another actor
    }
    let mut columns = Vec::new();
    for _ in 0..cursor.unsigned()? {
        columns.push((cursor.unsigned()?, cursor.unsigned()?));
    }
    let mut operations: u64 = 0;
    for (spec, len) in columns {
        let column = cursor.take(len)?;
        match spec {
            COLUMN_ACTION => operations = operations.max(rows(column, false)?),
            COLUMN_PREDECESSORS => operations = operations.max(rows(column, true)?),
            _ => {}
        }
    }
    Some(operations)
}

/// How many values a run-length-encoded column of unsigned numbers has, or what they add up to.
pub(super) fn rows(column: &[u8], sum: bool) -> Option<u64> {
    let mut cursor = Cursor(column);
    let mut total: u64 = 0;
    while !cursor.0.is_empty() {
        let run = cursor.signed()?;
        let times = run.unsigned_abs();
        total = match run {
            0 => {
                let nulls = cursor.unsigned()?;
                total.saturating_add(if sum { 0 } else { nulls })
            }
            1.. => {
                let value = cursor.unsigned()?;
                total.saturating_add(if sum {
                    times.saturating_mul(value)
                } else {
                    times
                })
            }
            _ => {
                for _ in 0..times {
                    let value = cursor.unsigned()?;
                    total = total.saturating_add(if sum { value } else { 1 });
                }
                total
            }
        };
    }
    Some(total)
}

pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(front)
    }

    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.unsigned()?;
        self.take(len)
    }

    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let mut value: i64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= i64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift + 7 < 64;
                return Some(if negative {
                    value | (-1_i64).checked_shl(shift + 7)?
                } else {
                    value
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use automerge::transaction::Transactable;
    use automerge::{ActorId, ROOT};

    use super::*;

    fn change(edit: impl Fn(&mut AutoCommit)) -> Change {
        let mut doc = AutoCommit::new().with_actor(ActorId::from([1; 8]));
        edit(&mut doc);
        doc.get_last_local_change().unwrap()
    }

    #[test]
    fn operations_are_counted_without_expanding_them() {
        for count in [1, 2, 63, 64, 65, 200, 5_000] {
            let change = change(|doc| {
                for i in 0..count {
                    doc.put(ROOT, format!("k{i}"), i64::from(i % 3)).unwrap();
                }
            });
            assert_eq!(
                measure(change.raw_bytes()),
                Some(change.len() as u64),
                "{count} operations"
            );
        }
    }

    #[test]
    fn predecessors_are_counted_too() {
        let mut doc = AutoCommit::new().with_actor(ActorId::from([1; 8]));
        doc.put(ROOT, "a", 1).unwrap();
        doc.commit();
        doc.put(ROOT, "a", 2).unwrap();
        let change = doc.get_last_local_change().unwrap();
        assert_eq!(measure(change.raw_bytes()), Some(1));
    }

    #[test]
    fn signed_numbers_read_as_leb128() {
        for (bytes, value) in [
            (&[0x7f_u8][..], -1),
            (&[0x3f], 63),
            (&[0x40], -64),
            (&[0xc0, 0x00], 64),
            (&[0xbf, 0x7f], -65),
        ] {
            assert_eq!(Cursor(bytes).signed(), Some(value));
        }
    }

    #[test]
    fn a_bomb_of_operations_is_refused_before_it_is_parsed() {
        let bomb = change(|doc| {
            let list = doc
                .put_object(ROOT, "list", automerge::ObjType::List)
                .unwrap();
            let ones = usize::try_from(limits::CHANGE_OPS_MAX).unwrap();
            doc.splice(
                list,
                0,
                0,
                vec![automerge::ScalarValue::Boolean(true); ones],
            )
            .unwrap();
        });
        let bytes = Bytes::copy_from_slice(bomb.raw_bytes());
        assert!(bytes.len() < 200, "a bomb is small: {} bytes", bytes.len());
        assert!(
            parse(&bytes)
                .unwrap_err()
                .contains("operations in one change")
        );
    }

    #[test]
    fn compressed_changes_are_refused() {
        let mut large = change(|doc| doc.put(ROOT, "text", "a".repeat(10_000)).unwrap());
        let bytes = Bytes::copy_from_slice(&large.bytes());
        assert_eq!(measure(&bytes), None);
    }

    #[test]
    fn a_panic_is_a_refusal() {
        assert_eq!(guarded(|| Ok(1)), Ok(1));
        let refused = guarded::<()>(|| panic!("as over a change that breaks an invariant"));
        assert!(refused.is_err());
    }

    #[test]
    fn one_bad_change_keeps_no_other_out() {
        let mut first = AutoCommit::new().with_actor(ActorId::from([1; 8]));
        first.put(ROOT, "a", 1).unwrap();
        let good = Bytes::copy_from_slice(first.get_last_local_change().unwrap().raw_bytes());
        // The same actor and number with other content: a fork, which no document takes.
        let mut fork = AutoCommit::new().with_actor(ActorId::from([1; 8]));
        fork.put(ROOT, "b", 1).unwrap();
        let bad = Bytes::copy_from_slice(fork.get_last_local_change().unwrap().raw_bytes());
        let mut third = AutoCommit::new().with_actor(ActorId::from([3; 8]));
        third.put(ROOT, "c", 1).unwrap();
        let other = Bytes::copy_from_slice(third.get_last_local_change().unwrap().raw_bytes());
        let mut doc = AutoCommit::new().with_actor(ActorId::from([9; 8]));
        let refused = absorb(&mut doc, [&good, &bad, &other]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].hash, *blake3::hash(&bad).as_bytes());
        assert_eq!(doc.get_heads().len(), 2);
    }

    #[test]
    fn a_change_without_its_dependency_is_refused_and_not_kept() {
        let mut doc = AutoCommit::new().with_actor(ActorId::from([1; 8]));
        doc.put(ROOT, "a", 1).unwrap();
        doc.commit();
        doc.put(ROOT, "b", 1).unwrap();
        let second = Bytes::copy_from_slice(doc.get_last_local_change().unwrap().raw_bytes());
        let mut other = AutoCommit::new();
        assert_eq!(absorb(&mut other, [&second]).len(), 1);
        assert!(other.is_empty());
    }
}
