//! Documents: what folds make of them.

use anabranch_core::Lsn;
use anabranch_core::persist::{
    Checkpoint, DocumentFold, DocumentRange, Fold, FoldId, Repair, StoreError, StoredDocument,
};

use super::asking::{
    change, content, crash, document, folding, held, holding, id, logging, open, whole_log,
};
use super::{Bed, INDIGESTIBLE, compact};
use crate::seam::Engine as _;

/// In its namespace, under its key, and nowhere else.
pub fn a_folded_document_is_found_and_no_other(bed: &mut impl Bed) {
    let engine = open(bed);
    assert_eq!(held(&engine, "a"), None);
    engine.fold(&folding([("a", "1"), ("b/c", "2")])).unwrap();
    let assert_there = |engine: &_| {
        assert_eq!(held(engine, "a"), holding(&["1"]));
        assert_eq!(held(engine, "b/c"), holding(&["2"]));
        for key in ["b", "b/", "b/cc", "A", "aa", "é"] {
            assert_eq!(held(engine, key), None, "{key}");
        }
        for namespace in ["m", "n!", "nb"] {
            assert_eq!(document(engine, &id(namespace, "a")).unwrap(), None);
        }
    };
    assert_there(&engine);
    let engine = crash(bed, engine);
    assert_there(&engine);
}

/// Fold by fold, in their order, whether or not they are compacted in between.
pub fn changes_add_up(bed: &mut impl Bed) {
    let mut engine = open(bed);
    let mut expected = Vec::new();
    for round in 0..12_u64 {
        let mut fold = folding([]);
        for key in ["a", "b"] {
            let number = |at: u64| change(format!("{key}{round}.{at}"));
            fold.documents.push(DocumentFold {
                id: id("n", key),
                changes: (0..=round % 3).map(number).collect(),
                present: Some(true),
            });
        }
        expected.extend((0..=round % 3).map(|at| change(format!("a{round}.{at}"))));
        fold.compact = round % 4 == 2;
        engine.fold(&fold).unwrap();
        if round % 5 == 4 {
            engine = crash(bed, engine);
        }
        assert_eq!(
            held(&engine, "a").as_ref(),
            Some(&expected),
            "round {round}"
        );
    }
    assert_eq!(
        held(&engine, "b").map(|changes| changes.len()),
        Some(expected.len())
    );
}

/// Then there are no changes beside the state, and presence is known.
pub fn a_fold_with_time_compacts_what_it_touches(bed: &mut impl Bed) {
    let engine = open(bed);
    engine
        .fold(&folding([("a", "1"), ("b", "1"), ("c", "1")]))
        .unwrap();
    let fold = Fold {
        compact: true,
        ..folding([("a", "2"), ("b", "-2")])
    };
    engine.fold(&fold).unwrap();
    for (key, last, present) in [("a", "2", true), ("b", "-2", false)] {
        let stored = document(&engine, &id("n", key)).unwrap().unwrap();
        assert_eq!(content(&stored), [change("1"), change(last)]);
        assert!(stored.changes.is_empty());
        assert_eq!(stored.present, Some(present));
        assert_eq!(stored, compact(&stored).unwrap());
    }
    assert_eq!(held(&engine, "c"), holding(&["1"]));
}

/// Reading a document must not take longer and longer.
pub fn many_changes_are_compacted_in_any_hurry(bed: &mut impl Bed) {
    let engine = open(bed);
    let numbers: Vec<String> = (0..300).map(|n: u32| n.to_string()).collect();
    for number in &numbers {
        engine.fold(&folding([("a", number.as_str())])).unwrap();
    }
    let stored = document(&engine, &id("n", "a")).unwrap().unwrap();
    assert_eq!(content(&stored).len(), numbers.len());
    assert!(stored.changes.len() < numbers.len() / 2);
}

/// Whoever reads it finds out what is wrong with it; nothing is lost by it, and no other document suffers.
pub fn a_document_that_does_not_compact_is_kept(bed: &mut impl Bed) {
    let engine = open(bed);
    let mut fold = folding([("a", "1"), ("b", "1"), ("c", "1")]);
    fold.documents[1].changes.push(change(INDIGESTIBLE));
    fold.compact = true;
    engine.fold(&fold).unwrap();
    assert_eq!(held(&engine, "a"), holding(&["1"]));
    assert_eq!(held(&engine, "c"), holding(&["1"]));
    let stored = document(&engine, &id("n", "b")).unwrap().unwrap();
    assert_eq!(stored.changes, [change("1"), change(INDIGESTIBLE)]);
    assert!(stored.state.is_empty());
}

/// After a crash nobody knows whether the last fold was done, so it is done again.
pub fn a_fold_may_be_repeated(bed: &mut impl Bed) {
    let mut engine = open(bed);
    for compact in [false, true, false] {
        let fold = Fold {
            compact,
            ..folding([("a", "1"), ("b", "2")])
        };
        engine.fold(&fold).unwrap();
        engine.fold(&fold).unwrap();
        engine = crash(bed, engine);
        engine.fold(&fold).unwrap();
        assert_eq!(held(&engine, "a"), holding(&["1"]));
        assert_eq!(held(&engine, "b"), holding(&["2"]));
    }
}

/// All of the range, nothing beside it; and the fold's own changes come on top.
pub fn a_repair_takes_the_place_of_its_range(bed: &mut impl Bed) {
    let engine = open(bed);
    let keys = ["a", "b", "c", "d", "e"];
    engine.fold(&folding(keys.map(|key| (key, "old")))).unwrap();
    let repaired = |key: &str| {
        let stored = StoredDocument {
            changes: vec![change("new")],
            ..StoredDocument::default()
        };
        (id("n", key), compact(&stored).unwrap())
    };
    let fold = Fold {
        repair: Some(Repair {
            range: DocumentRange {
                from: Some(id("n", "b")),
                before: Some(id("n", "d")),
            },
            documents: vec![repaired("b"), repaired("bb")],
        }),
        ..folding([("bb", "more"), ("d", "more")])
    };
    engine.fold(&fold).unwrap();
    let engine = crash(bed, engine);
    assert_eq!(held(&engine, "a"), holding(&["old"]));
    assert_eq!(held(&engine, "b"), holding(&["new"]));
    assert_eq!(held(&engine, "bb"), holding(&["new", "more"]));
    assert_eq!(held(&engine, "c"), None);
    assert_eq!(held(&engine, "d"), holding(&["old", "more"]));
    assert_eq!(held(&engine, "e"), holding(&["old"]));
    let everything = Fold {
        repair: Some(Repair {
            range: DocumentRange {
                from: None,
                before: None,
            },
            documents: vec![repaired("z")],
        }),
        ..Fold::new(FoldId(3))
    };
    engine.fold(&everything).unwrap();
    assert_eq!(held(&engine, "z"), holding(&["new"]));
    assert!(keys.iter().all(|key| held(&engine, key).is_none()));
}

/// A mistake of the caller's is told, and does nothing.
pub fn a_fold_that_makes_no_sense_is_refused(bed: &mut impl Bed) {
    let engine = open(bed);
    engine
        .commit(&[logging(1, "one"), logging(2, "two")])
        .unwrap();
    engine.fold(&folding([("a", "1")])).unwrap();
    let mut twice = folding([("a", "2"), ("b", "2")]);
    twice.documents[1].id = id("n", "a");
    let mut falling = folding([("a", "2"), ("b", "2")]);
    falling.documents.swap(0, 1);
    let needed = Fold {
        release_before: Some(Lsn(2)),
        checkpoint: Some(Checkpoint {
            replay_from: Lsn(1),
            state: change("state"),
        }),
        ..folding([("a", "2")])
    };
    for fold in [twice, falling, needed] {
        let refused = engine.fold(&fold).unwrap_err();
        assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
        assert_eq!(held(&engine, "a"), holding(&["1"]));
        assert_eq!(held(&engine, "b"), None);
    }
    engine.fold(&folding([("a", "2")])).unwrap();
    assert_eq!(held(&engine, "a"), holding(&["1", "2"]));
    assert_eq!(whole_log(&engine).len(), 2);
}
