//! Writes and changes at the limits.
#![allow(clippy::unwrap_used)]

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ObjType, ROOT};
use serde_json::json;

use super::*;
use crate::{Incarnation, ReplicaId, limits};

fn origin(replica: u8) -> Origin {
    Origin {
        replica: ReplicaId([replica; 16]),
        incarnation: Incarnation(1),
    }
}

fn edits(edits: Value) -> Intent {
    Intent::Edits(serde_json::from_value(edits).unwrap())
}

#[test]
fn a_write_refused_for_its_size_spoils_the_document() {
    let mut doc = Document::empty(&origin(1));
    doc.write(
        &edits(json!([{"op":"splice","path":"/text","at":0,"insert":"a"}])),
        0,
    )
    .map_err(|failed| failed.error)
    .unwrap();
    let before = doc.version();
    let many = "a".repeat(usize::try_from(limits::CHANGE_OPS_MAX).unwrap() + 1);
    let failed = doc
        .write(
            &edits(json!([{"op":"splice","path":"/text","at":0,"insert":many},{"op":"put","path":"/new","value":{}}])),
            0,
        )
        .map(drop)
        .unwrap_err();
    assert!(matches!(failed.error, EditError::TooLarge { .. }));
    assert!(failed.spoilt || doc.version() == before);
}

#[test]
fn what_is_written_here_is_taken_everywhere() {
    let count = limits::CHANGE_OPS_MAX / 2 + 1;
    let mut doc = Document::empty(&origin(1));
    for writer in 1..=2 {
        let mut other = AutoCommit::new().with_actor(ActorId::from([writer; 8]));
        for i in 0..count {
            other.put(ROOT, format!("{i}"), u64::from(writer)).unwrap();
        }
        let change = other.get_last_local_change().unwrap();
        assert_eq!(
            doc.absorb([&Bytes::copy_from_slice(change.raw_bytes())]),
            []
        );
    }
    let state = doc.save();
    // Each of its operations takes the place of two.
    match doc.write(&Intent::Replace(json!({})), 0) {
        Ok(changes) => {
            let mut elsewhere = Document::load(&origin(2), &state).unwrap();
            assert_eq!(elsewhere.absorb(&changes), []);
        }
        Err(failed) => assert!(matches!(failed.error, EditError::TooLarge { .. })),
    }
}

#[test]
fn nesting_without_end_is_read_without_recursing_into_it() {
    let mut other = AutoCommit::new().with_actor(ActorId::from([1; 8]));
    let mut here = ROOT;
    for _ in 0..limits::CHANGE_OPS_MAX / 2 {
        here = other.put_object(here, "x", ObjType::Map).unwrap();
    }
    other.put(ROOT, "kept", 1).unwrap();
    let change = Bytes::copy_from_slice(other.get_last_local_change().unwrap().raw_bytes());
    let mut doc = Document::empty(&origin(1));
    assert_eq!(doc.absorb([&change]), []);
    assert!(doc.present());
    assert_eq!(doc.read().unwrap()["kept"], 1);
    let written = doc.write(&Intent::Replace(json!({"kept": 2})), 0);
    assert!(written.is_ok());
    assert!(doc.write(&Intent::Delete, 0).is_ok());
    assert!(!doc.present());
}
