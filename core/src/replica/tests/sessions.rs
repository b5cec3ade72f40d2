//! Sessions: nobody is shown less than they have seen.

use super::bed::{
    Bed, Outcome, WAIT_MS, batch, increment, namespace, origin, read, write, writing,
};
use crate::effect::{Input, RequestError, RequestId, Session};
use crate::{Batch, Intent, Seq, Token};

pub(super) fn token(positions: &[(u8, u64)]) -> Token {
    let mut token = Token::default();
    let positions = positions.iter();
    let positions = positions.map(|(replica, seq)| (origin(*replica, 1).tag(), Seq(*seq)));
    token.set(&namespace(0), positions);
    token
}

fn plain(replica: u8, seq: u64) -> Batch {
    batch(origin(replica, 1), seq, Vec::new())
}

fn token_of(outcome: Outcome) -> Token {
    outcome.unwrap().token
}

#[test]
fn a_request_waits_for_what_its_session_has_seen() {
    let mut bed = Bed::new();
    bed.meet([]);
    let id = bed.ask(read("k"), &token(&[(2, 2), (3, 1)]));
    bed.hear(plain(2, 1));
    bed.hear(plain(3, 1));
    assert!(bed.answer(id).is_none());
    bed.hold_commits = true;
    bed.hear(plain(2, 2));
    assert!(bed.answer(id).is_none(), "it is not durable yet");
    bed.sync();
    let seen = token_of(bed.answer(id).unwrap());
    assert_eq!(seen, token(&[(2, 2), (3, 1)]));
    assert!(bed.replica.waits.is_empty());
}

#[test]
fn a_request_that_waited_long_enough_is_told_what_is_missing() {
    let mut bed = Bed::new();
    bed.meet([(namespace(0), origin(3, 1), Seq(4))]);
    bed.hear(plain(2, 1));
    let id = bed.ask(read("k"), &token(&[(2, 3), (3, 4), (4, 5)]));
    assert!(bed.replica.wake_at() <= 1 + WAIT_MS);
    bed.run_until(WAIT_MS);
    assert!(bed.answer(id).is_none());
    bed.run_until(WAIT_MS + 1);
    let Err(RequestError::Behind { missing }) = bed.answer(id).unwrap() else {
        panic!("it is behind");
    };
    let mut told: Vec<_> = missing
        .iter()
        .map(|missing| (missing.name.as_deref(), missing.batches))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(None, 4), (None, 5), (Some("b"), 2)]);
    let known = missing.iter().find(|missing| missing.name.is_some());
    assert_eq!(known.unwrap().datacenter.as_deref(), Some("there"));
    assert_eq!(bed.replica.requests_open, 0);
    assert!(bed.replica.waits.is_empty());
}

#[test]
fn who_does_not_want_to_wait_is_told_at_once() {
    let mut bed = Bed::new();
    let session = Session {
        token: token(&[(2, 1)]),
        wait_ms: 0,
    };
    let id = RequestId(77);
    bed.give(Input::Request {
        id,
        request: read("k"),
        session,
    });
    assert!(matches!(
        bed.answer(id).unwrap(),
        Err(RequestError::Behind { .. })
    ));
}

#[test]
fn waiting_requests_are_answered_when_the_store_fails() {
    let mut bed = Bed::new();
    let id = bed.ask(read("k"), &token(&[(2, 1)]));
    bed.break_store();
    assert!(matches!(
        bed.answer(id).unwrap(),
        Err(RequestError::Store(_))
    ));
    assert_eq!(bed.replica.requests_open, 0);
    assert_eq!(bed.replica.wake_at(), u64::MAX);
}

#[test]
fn a_write_is_all_that_a_token_says_of_its_namespace() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(plain(2, 1));
    bed.hear(plain(3, 1));
    let request = || writing(vec![increment("k", "/n")]);
    let mut seen = token(&[(2, 1)]);
    seen.set(&namespace(5), [(origin(9, 1).tag(), Seq(7))]);
    let after = token_of(bed.request(request(), &seen));
    let mut expected = token(&[(1, 1)]);
    expected.set(&namespace(5), [(origin(9, 1).tag(), Seq(7))]);
    assert_eq!(
        after, expected,
        "of another namespace it keeps what it said"
    );
    // Whoever has the write has what came before it.
    assert_eq!(token_of(bed.request(read("k"), &after)), expected);
    bed.hear(plain(3, 2));
    let read_later = token_of(bed.request(read("k"), &Token::default()));
    assert_eq!(read_later, token(&[(1, 1), (3, 2)]));
}

#[test]
fn a_write_that_changed_nothing_shows_what_is_durable() {
    let mut bed = Bed::new();
    bed.meet([]);
    bed.hear(plain(2, 1));
    let remove = writing(vec![write("k", Intent::Delete)]);
    let shown = token_of(bed.request(remove, &Token::default()));
    assert_eq!(shown, token(&[(2, 1)]));
}

#[test]
fn what_implies_the_rest_is_still_known_after_a_restart() {
    let mut bed = Bed::new();
    bed.meet([]);
    for replica in 2..9 {
        bed.hear(plain(replica, 1));
    }
    bed.write("n0").unwrap();
    bed.restart();
    let shown = token_of(bed.request(read("k"), &Token::default()));
    assert_eq!(shown, token(&[(1, 1)]));
    let again = super::recoded(&bed.replica.history);
    let space = again.space(&namespace(0)).unwrap();
    assert_eq!(space.durable_heads.iter().count(), 1);
}

#[test]
fn a_session_that_has_seen_too_much_is_told_so_before_anything_is_written() {
    let mut bed = Bed::new();
    let mut seen = Token::default();
    for index in 1..600 {
        seen.set(&namespace(index), [(origin(3, 1).tag(), Seq(1))]);
    }
    let refused = bed.request(writing(vec![increment("k", "/n")]), &seen);
    assert!(
        matches!(refused, Err(RequestError::SessionTooLong { .. })),
        "{refused:?}"
    );
    assert_eq!(bed.store.log.len(), 0);
}
