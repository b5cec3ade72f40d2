//! Changes that no honest writer made, of those that look most like it.

use automerge::legacy::{Key, ObjectId, OpId, OpType};
use automerge::{Change, ChangeHash, ExpandedChange};

use super::*;

/// A cart, and what somebody else writes to it next.
fn cart() -> (Pair, ExpandedChange) {
    let (mut a, mut b) = (Pair::new(1), Pair::new(2));
    a.ops(json!([
        {"op": "increment", "path": "/items/1/seen", "by": 3},
        {"op": "increment", "path": "/items/2/seen", "by": 1},
        {"op": "put", "path": "/note", "value": "before"},
    ]));
    b.absorb(&a.log);
    b.ops(json!([{"op": "increment", "path": "/items/1/seen", "by": 1}]));
    let heard = b.log[1..].to_vec();
    a.absorb(&heard);
    assert_eq!(a.followed, (1, 1));
    b.ops(json!([{"op": "increment", "path": "/items/1/seen", "by": 5}]));
    let next = Change::try_from(&b.log[2][..]).unwrap();
    (a, next.decode())
}

fn follows(a: &mut Pair, forged: ExpandedChange) -> bool {
    let bytes = Bytes::copy_from_slice(Change::from(forged).raw_bytes());
    a.tip.as_mut().unwrap().follow(&bytes)
}

#[test]
fn what_no_writer_would_write_next_is_not_followed() {
    let (mut a, honest) = cart();
    assert!(follows(&mut a, honest), "as it was made");
    type Forge = fn(&mut ExpandedChange);
    let forgeries: [(&str, Forge); 13] = [
        ("follows what never was", |change| {
            change.deps = vec![ChangeHash([7; 32])];
        }),
        ("follows nothing", |change| change.deps.clear()),
        ("leaves a number out", |change| change.seq += 1),
        ("has a number twice", |change| change.seq -= 1),
        ("leaves operations out", |change| {
            change.start_op = change.start_op.saturating_add(1);
        }),
        ("has operations twice", |change| {
            change.start_op = std::num::NonZeroU64::new(change.start_op.get() - 1).unwrap();
        }),
        ("is by somebody who has not written before", |change| {
            change.actor_id = ActorId::from([9; 8]);
        }),
        ("is by the writer", |change| {
            change.actor_id = actor(&origin(1));
        }),
        ("counts on what is not there", |change| {
            change.operations[0].pred = vec![OpId(1, ActorId::from([9; 8]))].into();
        }),
        ("counts on nothing", |change| {
            change.operations[0].pred = Vec::new().into();
        }),
        ("counts under another name", |change| {
            change.operations[0].key = Key::Map("else".into());
        }),
        ("counts elsewhere", |change| {
            change.operations[0].obj = ObjectId::Root;
        }),
        ("puts over a number", |change| {
            change.operations[0].action = OpType::Put(ScalarValue::Int(1));
        }),
    ];
    for (what, forge) in forgeries {
        let (mut a, mut change) = cart();
        forge(&mut change);
        assert!(!follows(&mut a, change), "{what}");
    }
}

#[test]
fn what_is_no_change_is_not_followed() {
    let (mut a, honest) = cart();
    let change = Change::from(honest);
    let whole = a.doc.save();
    let bytes = change.raw_bytes();
    let mut spoilt = bytes.to_vec();
    spoilt[20] ^= 1;
    for bytes in [&whole[..], &bytes[..bytes.len() - 1], &spoilt, &[]] {
        let bytes = Bytes::copy_from_slice(bytes);
        assert!(!a.tip.as_mut().unwrap().follow(&bytes));
    }
}

/// It may come again from another peer, or after a restart.
#[test]
fn what_comes_again_changes_nothing() {
    let (mut a, honest) = cart();
    assert!(follows(&mut a, honest.clone()));
    let before = picture(a.tip.as_ref().unwrap());
    assert!(follows(&mut a, honest));
    assert_eq!(before, picture(a.tip.as_ref().unwrap()));
}
