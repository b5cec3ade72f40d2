//! Reading the past, and writing on top of it.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::tests::{Copy, meet, object, two};
use super::*;
use crate::PatchOperation;

#[test]
fn every_version_reads_as_it_was() {
    let mut a = Copy::new(1);
    let mut seen = Vec::new();
    for step in 0..12 {
        a.ops(json!([{"op":"adjust","path":"/qty","by":step},{"op":"put","path":"/last","value":step}])).unwrap();
        if step % 4 == 3 {
            a.ops(json!([{"op":"remove","path":"/qty"}])).unwrap();
        }
        seen.push((a.doc.version(), a.json()));
    }
    for (version, json) in &seen {
        assert_eq!(a.doc.read_at(version).unwrap().unwrap(), *json);
        assert_eq!(version.to_string().parse::<Version>().unwrap(), *version);
    }
    assert!(a.doc.read_at(&Version(vec![[7; 32]])).is_err());
    assert_eq!(a.doc.read_at(&Version::default()).unwrap(), None);
}

#[test]
fn history_lists_newest_first_with_what_each_step_followed() {
    let (mut a, mut b) = two(json!({"n":0}));
    a.ops(json!([{"op":"put","path":"/a","value":1}])).unwrap();
    b.ops(json!([{"op":"put","path":"/b","value":1}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    let both = a.doc.version();
    a.ops(json!([{"op":"put","path":"/c","value":1}])).unwrap();
    let all = a.doc.versions(0, 10);
    assert!(!all.more);
    assert_eq!(all.versions[0].version, a.doc.version());
    assert_eq!(all.versions[0].base, both);
    for (index, step) in all.versions.iter().enumerate() {
        for head in &step.base.0 {
            let before = Version(vec![*head]);
            assert!(
                all.versions[index..]
                    .iter()
                    .any(|older| older.version == before),
                "each comes after what it followed"
            );
        }
    }
    let (mut paged, mut skip) = (Vec::new(), 0);
    loop {
        let page = a.doc.versions(skip, 1);
        skip += page.versions.len();
        paged.extend(page.versions);
        if !page.more {
            break;
        }
    }
    assert_eq!(paged, all.versions);
}

#[test]
fn a_write_on_an_old_version_merges_with_what_came_since() {
    let (mut a, mut b) = two(json!({"list":["x","y","z"],"n":1}));
    let base = a.doc.version();
    a.ops(
        json!([{"op":"insert","path":"/list/0","value":"new"},{"op":"put","path":"/n","value":2}]),
    )
    .unwrap();
    // The index names the element that was there then.
    let remove = Intent::Patch(serde_json::from_value(json!([{"op":"test","path":"/list/1","value":"y"},{"op":"remove","path":"/list/1"},{"op":"replace","path":"/n","value":3}])).unwrap());
    let changes = a
        .doc
        .write_on(&base, &remove, 0, 1)
        .map_err(|_| ())
        .unwrap();
    a.log.extend(changes);
    assert_eq!(a.json()["list"], json!(["new", "x", "z"]));
    let conflicts = a.doc.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].path.to_string(), "/n");
    assert!(
        conflicts[0]
            .winner
            .by
            .actor
            .starts_with(&actor(&tests::origin(1)).to_hex_string())
    );
    // Two on the same base are two branches.
    let append = |value| {
        Intent::Edits(
            serde_json::from_value(json!([{"op":"append","path":"/list","value":value}])).unwrap(),
        )
    };
    for nonce in 2..4 {
        let changes = a
            .doc
            .write_on(&base, &append(nonce), 0, nonce)
            .map_err(|_| ())
            .unwrap();
        a.log.extend(changes);
    }
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json()["list"].as_array().unwrap().len(), 5);
    let (version, json) = (a.doc.version(), a.json());
    let misfit =
        Intent::Patch(serde_json::from_value(json!([{"op":"remove","path":"/none"}])).unwrap());
    assert!(matches!(
        a.doc.write_on(&base, &misfit, 0, 9),
        Err(FailedOn::Write(Failed { spoilt: false, .. }))
    ));
    assert!(matches!(
        a.doc.write_on(&Version(vec![[1; 32]]), &misfit, 0, 9),
        Err(FailedOn::UnknownVersion)
    ));
    assert_eq!((a.doc.version(), a.json()), (version, json));
}

#[test]
fn many_branches_off_one_version_come_together() {
    let (mut a, mut b) = two(json!({"n":0}));
    let base = a.doc.version();
    for nonce in 0..60 {
        let intent = Intent::Edits(
            serde_json::from_value(json!([{"op":"adjust","path":"/n","by":1}])).unwrap(),
        );
        let changes = a.doc.write_on(&base, &intent, 0, nonce).map_err(|_| ());
        a.log.extend(changes.unwrap());
        assert!(a.doc.version().0.len() <= crate::limits::HEADS_MAX + 1);
    }
    meet(&mut [&mut a, &mut b]);
    assert_eq!(b.json(), json!({"n":60}));
    b.ops(json!([{"op":"adjust","path":"/n","by":1}])).unwrap();
    meet(&mut [&mut a, &mut b]);
    assert_eq!(a.doc.version().0.len(), 1);
}

#[test]
fn differences_are_small() {
    let mut a = Copy::new(1);
    a.put(json!({"keep":{"deep":[1,2,3]},"list":["a","b","c"],"n":1}));
    let from = a.doc.version();
    a.put(json!({"keep":{"deep":[1,2,3]},"list":["a","x","b","c"],"n":2,"new":{}}));
    let expected: Vec<PatchOperation> = serde_json::from_value(json!([
        {"op":"add","path":"/list/1","value":"x"},
        {"op":"replace","path":"/n","value":2},
        {"op":"add","path":"/new","value":{}},
    ]))
    .unwrap();
    assert_eq!(a.doc.diff(&from, None).unwrap(), expected);
    assert_eq!(a.doc.diff(&from, Some(&from)).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a difference says makes the one value the other.
    #[test]
    fn a_difference_turns_one_into_the_other(first in object(), second in object()) {
        let mut copy = Copy::new(1);
        copy.put(first.clone());
        let patch = difference::patch(Some(&first), Some(&second));
        copy.write(&Intent::Patch(patch)).unwrap();
        prop_assert_eq!(copy.json(), second);
    }
}
