//! Writes to several documents: all of each, or nothing.

use serde_json::json;

use super::bed::{Bed, increment, read, write, writing, written};
use crate::effect::RequestError;
use crate::replica::Room;
use crate::{Edit, Guard, Intent, Path, Token, limits};

fn failing(key: &str) -> crate::Write {
    // The first edit leaves traces that only dropping the document takes back.
    let path = |path| Path::parse(path).unwrap();
    let edits = vec![
        Edit::Increment {
            path: path("/deep/in/n"),
            by: 1,
        },
        Edit::Append {
            path: path("/deep"),
            value: json!(1),
        },
    ];
    write(key, Intent::Edits(edits))
}

#[test]
fn documents_of_one_write_become_visible_together() {
    let mut bed = Bed::new();
    bed.hold_commits = true;
    let writes = vec![
        increment("b", "/n"),
        increment("a", "/n"),
        increment("b", "/n"),
    ];
    let id = bed.ask(writing(writes), &Token::default());
    assert_eq!(bed.commits.len(), 1, "one batch");
    assert_eq!(bed.commits[0].log.len(), 1);
    assert!(bed.answer(id).is_none() && bed.visible().is_empty());
    bed.sync();
    let answer = bed.answer(id).unwrap();
    let (documents, repeated) = written(&answer);
    let created: Vec<_> = documents.iter().map(|written| written.created).collect();
    assert_eq!((created, repeated), (vec![true, true, false], false));
    let together = [(1, 1, vec!["b".to_owned(), "a".to_owned()])];
    assert_eq!(bed.visible(), together);
    assert_eq!(bed.feed(), together);
    assert_eq!(bed.read("b"), Some(json!({"n": 2})));
}

#[test]
fn nothing_stays_of_a_write_of_which_a_part_fails() {
    let mut bed = Bed::new();
    bed.request(writing(vec![increment("a", "/n")]), &Token::default())
        .unwrap();
    let guarded = crate::Write {
        guard: Some(Guard::Absent),
        ..increment("a", "/n")
    };
    for bad in [failing("c"), failing("a"), guarded] {
        let writes = vec![increment("a", "/n"), increment("b", "/n"), bad.clone()];
        let refused = bed.request(writing(writes), &Token::default()).unwrap_err();
        let RequestError::OneOf { index, key, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!((index, key), (2, bad.key));
        assert_eq!(bed.store.log.len(), 1);
        assert_eq!(bed.read("a"), Some(json!({"n": 1})));
        assert_eq!((bed.read("b"), bed.read("c")), (None, None));
    }
    let alone = bed.request(writing(vec![failing("a")]), &Token::default());
    assert!(matches!(alone, Err(RequestError::Edit(_))), "{alone:?}");
    // What comes after has nothing of it either, here and in the log.
    bed.request(writing(vec![increment("b", "/n")]), &Token::default())
        .unwrap();
    bed.restart();
    assert_eq!(bed.read("a"), Some(json!({"n": 1})));
    assert_eq!(bed.read("b"), Some(json!({"n": 1})));
}

#[test]
fn a_write_larger_than_a_batch_is_refused_as_a_whole() {
    let mut bed = Bed::new();
    let text = "x".repeat(limits::BATCH_BYTES_MAX / 3);
    let big = |key: &str| write(key, Intent::Replace(json!({"text": text})));
    let writes = vec![big("a"), big("b"), big("c")];
    let refused = bed.request(writing(writes), &Token::default());
    assert!(matches!(refused, Err(RequestError::Edit(_))), "{refused:?}");
    assert_eq!((bed.read("a"), bed.store.log.len()), (None, 0));
    bed.request(writing(vec![big("a"), big("b")]), &Token::default())
        .unwrap();
}

#[test]
fn too_many_writes_and_none_are_refused() {
    let mut bed = Bed::new();
    let many = vec![increment("a", "/n"); limits::WRITES_MAX + 1];
    for writes in [Vec::new(), many] {
        let count = writes.len();
        let refused = bed.request(writing(writes), &Token::default()).unwrap_err();
        assert!(matches!(refused, RequestError::Count { count: found, .. } if found == count));
    }
}

/// A document that had just come was let go to make room for the next one of the same write, for ever.
#[test]
fn a_write_of_more_documents_than_stay_loaded_comes_to_an_end() {
    let mut bed = Bed::with_room(Room {
        loaded_bytes_max: 1,
        ..Room::default()
    });
    bed.hold_fetches = true;
    let writes = |from: usize| {
        let keys = (from..from + 5).map(|index| increment(&format!("k{}", index % 7), "/n"));
        writing(keys.collect())
    };
    let ids: Vec<_> = (0..4)
        .map(|from| bed.ask(writes(from), &Token::default()))
        .collect();
    let single = bed.ask(read("k3"), &Token::default());
    for _ in 0..100 {
        bed.fetch();
    }
    for id in ids {
        let answer = bed.answer(id).unwrap();
        assert_eq!(written(&answer).0.len(), 5);
    }
    assert!(bed.answer(single).is_some());
    assert!(bed.replica.shelf.loaded() <= 1);
    bed.hold_fetches = false;
    assert_eq!(bed.read("k3"), Some(json!({"n": 4})));
}

#[test]
fn a_document_that_is_dropped_while_others_are_awaited_is_loaded_again() {
    let mut bed = Bed::new();
    bed.request(writing(vec![increment("a", "/n")]), &Token::default())
        .unwrap();
    bed.hold_fetches = true;
    let both = vec![increment("a", "/n"), increment("b", "/n")];
    let id = bed.ask(writing(both), &Token::default());
    bed.ask(writing(vec![failing("a")]), &Token::default());
    bed.fetch();
    bed.fetch();
    assert_eq!(written(&bed.answer(id).unwrap()).0.len(), 2);
    bed.hold_fetches = false;
    assert_eq!(bed.read("a"), Some(json!({"n": 2})));
}

#[test]
fn everybody_is_answered_when_the_store_fails() {
    let mut bed = Bed::with_room(Room {
        loaded_bytes_max: 1,
        ..Room::default()
    });
    bed.hold_fetches = true;
    let both = || writing(vec![increment("a", "/n"), increment("b", "/n")]);
    let ids: Vec<_> = (0..3).map(|_| bed.ask(both(), &Token::default())).collect();
    bed.break_store();
    for id in ids {
        assert!(matches!(
            bed.answer(id).unwrap(),
            Err(RequestError::Store(_))
        ));
    }
    assert_eq!(bed.replica.requests_open, 0);
}
