//! What lies in memory of a document until it is in the store.

use bytes::Bytes;

use super::bed::{Bed, increment, namespace, writing};
use crate::persist::{FoldId, Ticket};
use crate::replica::Room;
use crate::replica::shelf::{Made, Shelf, Slice};
use crate::{DocumentId, Key, Lsn, Token};

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

/// Carts that are made many at a time and not written to for a while.
#[test]
fn documents_give_way_before_tips_do() {
    let room = Room {
        loaded_bytes_max: 1 << 20,
        ..Room::default()
    };
    let mut bed = Bed::with_room(room);
    let count = 300;
    let key = |n: usize| format!("k{n:03}");
    let keys: Vec<String> = (0..count).map(key).collect();
    for some in keys.chunks(50) {
        let writes = some.iter().map(|key| increment(key, "/n")).collect();
        bed.ask(writing(writes), &Token::default());
    }
    assert!(bed.replica.shelf.loaded_bytes() <= room.loaded_bytes_max);
    assert!(bed.replica.shelf.loaded() < count / 2, "there was room");
    bed.hold_fetches = true;
    for key in &keys {
        bed.ask(writing(vec![increment(key, "/n")]), &Token::default());
    }
    assert!(bed.fetches.is_empty(), "{}", bed.fetches.len());
}
