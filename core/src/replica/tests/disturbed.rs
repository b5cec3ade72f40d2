//! What comes between: folds between questions, full disks between batches, gaps in the log.

use serde_json::json;

use super::bed::{Bed, batch, increment, namespace, origin, read, writing};
use crate::document::Document;
use crate::effect::{Input, Notice, Output, Reply, Request, RequestError};
use crate::message::Message;
use crate::persist::Fetched;
use crate::replica::Room;
use crate::{Batch, Intent, Lsn, Seq, Token};

fn bed() -> Bed {
    Bed::with_room(Room {
        fold_after_ms: 100,
        fold_idle_ms: 100,
        recent_log_bytes_max: 0,
        ..Room::default()
    })
}

fn add(bed: &mut Bed, key: &str) {
    bed.request(writing(vec![increment(key, "/n")]), &Token::default())
        .unwrap();
}

fn listing() -> Request {
    Request::Scan {
        namespace: namespace(0),
        prefix: String::new(),
        after: None,
        limit: 10,
        values: true,
    }
}

/// A batch of the peer's to the document `k`.
fn remote() -> Batch {
    let mut document = Document::empty(&origin(2, 1));
    let changes = document.write(&Intent::Replace(json!({"m": 1})), 0);
    batch(origin(2, 1), 1, changes.map_err(|f| f.error).unwrap())
}

/// The page was read before the fold; the document came into memory and went again before the page was answered.
#[test]
fn a_listing_shows_what_was_folded_while_its_document_was_fetched() {
    let mut bed = bed();
    add(&mut bed, "a");
    bed.replica.shelf.evict(0, None);
    bed.hold_folds = true;
    bed.run_until(200);
    bed.hold_fetches = true;
    let listing = bed.ask(listing(), &Token::default());
    bed.ask(read("a"), &Token::default());
    bed.fold();
    let (id, _, fetched) = bed.fetches.pop_back().unwrap();
    let result = Ok(fetched);
    bed.give(Input::Fetched { id, result });
    bed.replica.shelf.evict(0, None);
    assert_eq!(bed.replica.shelf.loaded(), 0);
    bed.fetch();
    let answer = format!("{:?}", bed.answer(listing).unwrap());
    assert!(answer.contains("Number(1)"), "{answer}");
}

/// The store tells of a document no more than that it is there, and there are changes to it that it does not have.
#[test]
fn names_are_listed_of_documents_that_were_just_written() {
    let mut bed = bed();
    add(&mut bed, "a");
    bed.run_until(2_000);
    bed.hold_folds = true;
    add(&mut bed, "a");
    bed.replica.shelf.evict(0, None);
    let id = crate::replica::Replica::address(&namespace(0), &crate::Key::new("a").unwrap());
    let entry = bed.replica.shelf.get(&id).unwrap();
    assert!(!entry.knows_presence() && entry.first().is_some());
    let names = Request::Scan {
        namespace: namespace(0),
        prefix: String::new(),
        after: None,
        limit: 10,
        values: false,
    };
    let answer = format!("{:?}", bed.request(names, &Token::default()).unwrap());
    assert!(answer.contains("\"a\""), "{answer}");
}

#[test]
fn after_a_full_disk_others_go_on_although_nobody_writes_here() {
    let mut bed = bed();
    bed.meet([]);
    bed.hold_commits = true;
    bed.hear(remote());
    bed.is_full();
    assert!(
        bed.request(listing(), &Token::default()).is_ok(),
        "what was taken back is not waited for"
    );
    bed.hold_commits = false;
    bed.hear(remote());
    let accepted = |bed: &Bed| bed.replica.history.accepted(&namespace(0), &origin(2, 1));
    assert_eq!(accepted(&bed), Seq(0), "nothing is tried yet");
    bed.now_ms += 1_000;
    bed.hear(remote());
    assert_eq!(accepted(&bed), Seq(1));
}

#[test]
fn a_forgotten_document_weighs_nothing() {
    let mut bed = bed();
    bed.meet([]);
    add(&mut bed, "k");
    let id = crate::replica::Replica::address(&namespace(0), &crate::Key::new("k").unwrap());
    // Its tip stays, until somebody else writes what it can't follow.
    bed.replica.shelf.unload(&id);
    assert_ne!(bed.replica.shelf.loaded_bytes(), 0);
    let mut document = Document::empty(&origin(2, 1));
    let changes = document.write(&Intent::Replace(json!({"n": 1})), 0);
    let changes = changes.map_err(|failed| failed.error).unwrap();
    bed.hear(batch(origin(2, 1), 1, changes));
    bed.run_until(2_000);
    assert!(bed.replica.shelf.get(&id).is_none());
    assert_eq!(bed.replica.shelf.loaded_bytes(), 0);
}

/// While the log was read for it, somebody else sent it the batches, and they were let go.
#[test]
fn a_log_is_not_too_short_for_a_peer_that_has_it_all() {
    let mut bed = bed();
    for _ in 0..3 {
        add(&mut bed, "a");
    }
    bed.hold_fetches = true;
    bed.meet([]);
    bed.tell(&Message::Frontier {
        whole: false,
        sections: vec![(namespace(0), vec![(origin(1, 1), Seq(3))])],
    });
    let (id, ..) = bed.fetches.pop_front().unwrap();
    let result = Ok(Fetched::Log(Vec::new()));
    bed.give(Input::Fetched { id, result });
    let short = |output: &Output| matches!(output, Output::Notice(Notice::LogTooShort { .. }));
    assert!(!bed.outputs.iter().any(short));
    assert!(bed.fetches.is_empty(), "nothing is looked for any more");
}

#[test]
fn a_feed_says_what_it_can_not_show() {
    let mut bed = bed();
    for _ in 0..3 {
        add(&mut bed, "a");
    }
    bed.store.log.remove(1);
    let mut follow = |after| {
        bed.request(
            Request::Changes {
                after: Lsn(after),
                namespace: None,
            },
            &Token::default(),
        )
    };
    let first = follow(0).unwrap().reply;
    assert!(
        matches!(first, Reply::Changes { next: Lsn(1), .. }),
        "{first:?}"
    );
    let refused = follow(1);
    let named =
        |error: &RequestError| matches!(error, RequestError::Released { first: Lsn(3), .. });
    assert!(refused.as_ref().is_err_and(named), "{refused:?}");
    let last = follow(2).unwrap().reply;
    assert!(
        matches!(last, Reply::Changes { next: Lsn(3), .. }),
        "{last:?}"
    );
}
