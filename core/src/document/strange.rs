//! Documents as no writer of ours leaves them: whatever stands under the reserved keys, nothing panics, copies
//! agree, and a write still does what it says.
#![allow(clippy::unwrap_used)]

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use proptest::prelude::*;
use serde_json::json;

use super::tests::{Copy, intent, meet, object};
use super::*;
use crate::Edit;

#[derive(Clone, Debug)]
enum Strange {
    Put(ScalarValue),
    Make(ObjType),
    Increment(i64),
    Delete,
}

fn key() -> impl Strategy<Value = String> {
    let reserved = "[cqsMLTCQS+]{0,2}";
    prop_oneof![
        2 => "[a-c]",
        3 => (reserved, "[a-c]?").prop_map(|(mark, name)| format!("\0{mark}{name}")),
        1 => Just("\0\0".to_owned()),
        1 => Just("\0+".to_owned()),
        1 => Just("not json".to_owned()),
    ]
}

fn strange() -> impl Strategy<Value = Strange> {
    let scalar = prop_oneof![
        (-3_i64..4).prop_map(ScalarValue::Int),
        (-3_i64..4).prop_map(ScalarValue::counter),
        // Beyond that automerge's own sums wrap around.
        Just(ScalarValue::counter(1 << 60)),
        Just(ScalarValue::Int(i64::MIN)),
        (-3_i64..4).prop_map(ScalarValue::Timestamp),
        any::<bool>().prop_map(ScalarValue::Boolean),
        Just(ScalarValue::Null),
        Just(ScalarValue::F64(f64::NAN)),
        Just(ScalarValue::Uint(u64::MAX)),
        Just(ScalarValue::Bytes(vec![1, 2])),
        "[a-c]{0,2}".prop_map(|text| ScalarValue::Str(text.as_str().into())),
    ];
    prop_oneof![
        4 => scalar.prop_map(Strange::Put),
        3 => prop_oneof![Just(ObjType::Map), Just(ObjType::List), Just(ObjType::Text)].prop_map(Strange::Make),
        1 => (-3_i64..4).prop_map(Strange::Increment),
        1 => Just(Strange::Delete),
    ]
}

/// Some object of a document.
fn pick(doc: &AutoCommit, at: usize) -> ObjId {
    let mut objects = vec![(ROOT, ObjType::Map)];
    let mut next = 0;
    while let Some((object, kind)) = objects.get(next).cloned() {
        next += 1;
        let inside: Vec<_> = match kind {
            ObjType::Map | ObjType::Table => doc
                .keys(&object)
                .flat_map(|key| doc.get_all(&object, key).unwrap())
                .collect(),
            ObjType::List => (0..doc.length(&object))
                .flat_map(|at| doc.get_all(&object, at).unwrap())
                .collect(),
            ObjType::Text => Vec::new(),
        };
        objects.extend(
            inside
                .into_iter()
                .filter_map(|(value, id)| Some((id, value.to_objtype()?))),
        );
    }
    objects[at % objects.len()].0.clone()
}

/// What another program does to a document, as changes.
fn meddle(copy: &mut Copy, actor: u8, steps: &[(usize, String, Strange)]) {
    let before = copy.doc.doc.get_heads();
    let mut doc = copy.doc.doc.fork().with_actor(ActorId::from([actor; 16]));
    for (at, key, strange) in steps {
        let object = pick(&doc, *at);
        let map = matches!(doc.object_type(&object), Ok(ObjType::Map));
        // Automerge loses its way in texts that contain anything but text.
        let text = matches!(doc.object_type(&object), Ok(ObjType::Text));
        if text && !matches!(strange, Strange::Put(ScalarValue::Str(_)) | Strange::Delete) {
            continue;
        }
        // What does not fit there fails, and leaves nothing.
        let _ = match (strange, map) {
            (Strange::Put(value), true) => doc.put(&object, key.as_str(), value.clone()),
            (Strange::Put(value), false) => doc.insert(&object, 0, value.clone()),
            (Strange::Make(kind), true) => doc.put_object(&object, key.as_str(), *kind).map(drop),
            (Strange::Make(kind), false) => doc.insert_object(&object, 0, *kind).map(drop),
            (Strange::Increment(by), true) => doc.increment(&object, key.as_str(), *by),
            (Strange::Increment(by), false) => doc.increment(&object, 0, *by),
            (Strange::Delete, true) => doc.delete(&object, key.as_str()),
            (Strange::Delete, false) => doc.delete(&object, 0),
        };
    }
    doc.commit();
    let changes: Vec<_> = doc
        .get_changes(&before)
        .iter()
        .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
        .collect();
    assert_eq!(copy.doc.absorb(&changes), []);
    copy.log.extend(changes);
}

fn steps() -> impl Strategy<Value = Vec<(usize, String, Strange)>> {
    prop::collection::vec((any::<usize>(), key(), strange()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn strange_documents_are_read_and_written_all_the_same(
        first in steps(), second in steps(), third in steps(),
        writes in prop::collection::vec((0_usize..2, intent()), 0..8), last in object(),
    ) {
        let (mut a, mut b) = (Copy::new(1), Copy::new(2));
        meddle(&mut a, 11, &first);
        meddle(&mut b, 12, &second);
        meet(&mut [&mut a, &mut b]);
        for (who, intent) in writes {
            let copy = if who == 0 { &mut a } else { &mut b };
            if let Err(EditError::Internal(error)) = copy.write(&intent) {
                prop_assert!(false, "{error}");
            }
        }
        meddle(&mut b, 13, &third);
        meet(&mut [&mut a, &mut b]);
        // A set would stay a set, in its own order.
        a.put(json!({}));
        prop_assert_eq!(a.json(), json!({}));
        a.put(last.clone());
        prop_assert_eq!(a.json(), last);
        meet(&mut [&mut a, &mut b]);
        a.write(&Intent::Delete).unwrap();
        prop_assert_eq!(a.json(), json!("absent"));
        meet(&mut [&mut a, &mut b]);
        b.write(&Intent::Edits(vec![Edit::Adjust { path: crate::Path::parse("/a").unwrap(), by: 2 }])).unwrap();
        prop_assert_eq!(b.json(), json!({"a": 2}));
    }
}
