//! What lies in memory of a document until it is in the store.

use bytes::Bytes;

use super::bed::namespace;
use crate::persist::{FoldId, Ticket};
use crate::replica::shelf::{Made, Shelf, Slice};
use crate::{DocumentId, Key, Lsn};

/// What the next fold would give the store of the records up to one.
fn folded(shelf: &mut Shelf, through: u64) -> Vec<Bytes> {
    let slice = Slice {
        through: Lsn(through),
        documents_max: 10,
        bytes_max: 1_000,
    };
    let documents = shelf.begin_fold(FoldId(1), None, slice, |_| false);
    let changes = documents.into_iter().flat_map(|document| document.changes);
    changes.collect()
}

#[test]
fn what_a_repair_brings_stands_before_what_builds_on_it() {
    let [early, missing, late] = [b"early", b"missi", b"later"].map(|c| Bytes::from_static(c));
    let id = DocumentId {
        namespace: namespace(0),
        key: Key::new("k").unwrap(),
    };
    let mut shelf = Shelf::default();
    for (lsn, change) in [(1, &early), (9, &late)] {
        let changes = std::slice::from_ref(change);
        shelf.add(&id, Lsn(lsn), changes, Ticket(lsn), Made::Elsewhere);
    }
    // All three have come from elsewhere, and count from the fifth record on.
    let brought = [early.clone(), missing.clone(), late.clone()];
    shelf.insert(&id, Lsn(5), &brought);
    assert_eq!(folded(&mut shelf, 4), std::slice::from_ref(&early));
    shelf.end_fold(FoldId(1), false);
    // The one that was there before is there once; the one of after that has come twice, since a checkpoint between the two needs it.
    assert_eq!(
        folded(&mut shelf, 5),
        [early.clone(), missing.clone(), late.clone()]
    );
    shelf.end_fold(FoldId(1), false);
    assert_eq!(folded(&mut shelf, 9), [early, missing, late.clone(), late]);
}
