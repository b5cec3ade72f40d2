//! A document reads the same however it was put together: from changes, or from a saved state and changes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::tests::{Copy, origin};
use super::*;
use crate::persist::StoredDocument;

/// What one of three writers does.
#[derive(Clone, Debug)]
enum Step {
    Write {
        by: usize,
        edit: Value,
    },
    Delete {
        by: usize,
    },
    /// One learns all that another one knows.
    Learn {
        by: usize,
        from: usize,
    },
}

fn edit() -> impl Strategy<Value = Value> {
    let path = prop::sample::select(vec![
        "/q/x", "/q/y", "/q", "/n/x", "/n", "/m/a/q", "/m/a", "/m", "/s",
    ]);
    (path, 0..8, -5_i64..6).prop_map(|(path, verb, by)| match verb {
        0..=2 if !matches!(path, "/q" | "/n" | "/m" | "/m/a" | "/s") => {
            json!({"op": "adjust", "path": path, "by": by})
        }
        3 if !matches!(path, "/q" | "/n" | "/m" | "/m/a" | "/s") => {
            json!({"op": "increment", "path": path, "by": by})
        }
        4 => json!({"op": "set_add", "path": "/s", "value": by}),
        5 => json!({"op": "put", "path": "/m/a/v", "value": by}),
        _ => json!({"op": "remove", "path": path}),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, edit()).prop_map(|(by, edit)| Step::Write { by, edit }),
        1 => (0..3_usize).prop_map(|by| Step::Delete { by }),
        3 => (0..3_usize, 0..3_usize).prop_map(|(by, from)| Step::Learn { by, from }),
    ]
}

fn learn(copy: &mut Copy, log: &[Bytes]) {
    assert_eq!(copy.doc.absorb(log), []);
    for change in log {
        if !copy.log.contains(change) {
            copy.log.push(change.clone());
        }
    }
}

fn shown(document: &mut Document) -> (Option<Value>, bool, String) {
    let conflicts = format!("{:?}", document.conflicts());
    (document.read(), document.present(), conflicts)
}

proptest! {
    #[test]
    fn a_document_reads_the_same_however_it_was_put_together(
        steps in prop::collection::vec(step(), 1..60), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..5), reads in any::<u8>(),
    ) {
        let mut copies = [1, 2, 3].map(Copy::new);
        for step in steps {
            match step {
                Step::Write { by, edit } => drop(copies[by].ops(json!([edit]))),
                Step::Delete { by } => copies[by].write(&Intent::Delete).unwrap(),
                Step::Learn { by, from } => {
                    let log = copies[from].log.clone();
                    learn(&mut copies[by], &log);
                }
            }
        }
        let logs = copies.each_ref().map(|copy| copy.log.clone());
        for log in &logs {
            learn(&mut copies[0], log);
        }
        let log = copies[0].log.clone();
        let expected = shown(&mut copies[0].doc);
        let nobody = origin(9);
        let mut at_once = Document::empty(&nobody);
        prop_assert_eq!(at_once.absorb(&log), []);
        prop_assert_eq!(shown(&mut at_once), expected.clone());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(log.len() + 1)).collect();
        cuts.sort_unstable();
        // Saved at some points, and loaded.
        let mut stored = StoredDocument::default();
        let mut begin = 0;
        for cut in &cuts {
            stored.changes = log[begin..*cut].to_vec();
            stored = compact(&stored).unwrap();
            begin = *cut;
        }
        stored.changes = log[begin..].to_vec();
        let mut loaded = Document::of_stored(&nobody, Some(&stored)).unwrap();
        prop_assert_eq!(shown(&mut loaded), expected.clone());
        stored.changes.clear();
        let mut pieces = Document::of_stored(&nobody, Some(&stored)).unwrap();
        for change in &log[begin..] {
            prop_assert_eq!(pieces.absorb([change]), []);
            if reads & 1 == 1 {
                shown(&mut pieces);
            }
        }
        prop_assert_eq!(shown(&mut pieces), expected);
    }
}
