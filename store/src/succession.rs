//! Which commits may still be written after one that found no room.
//!
//! Whoever hands out commits goes on while they are written. When a group finds no room, it takes back everything
//! from there on and begins again at the same position of the log. Meanwhile commits that were built on the failed
//! ones are queued, and behind them, sooner or later, the new ones. An old commit must not be written: its
//! positions belong to others now.
//!
//! The new ones are known by how they begin. Everything that was handed out before the failure was known lies
//! before them in the queue, and has later positions than the first that failed; so the first commit with records
//! at that very position is new. A new incarnation that failed is handed out again before anything else, and
//! nobody hands out two of them without knowing what became of the first; so if one failed, the next is new.

use anabranch_core::Lsn;
use anabranch_core::persist::Commit;

use crate::error::CommitError;

/// What the commit thread remembers of failures; for whoever drives an engine without that thread.
#[derive(Debug)]
pub enum Succession {
    /// There were none, or they have been taken back.
    Unbroken,
    /// There was no room for what is described here.
    Full {
        /// The first position that was not written.
        first: Option<Lsn>,
        /// Whether an incarnation was not written.
        incarnation: bool,
        /// What was said of it.
        error: CommitError,
    },
    /// Nothing is written any more.
    Ended,
}

impl Succession {
    /// Why a commit must fail without being tried, if it must. To be asked once for each commit, in order.
    pub fn refuses(&mut self, commit: &Commit) -> Option<CommitError> {
        let (first, incarnation, error) = match self {
            Self::Unbroken => return None,
            Self::Ended => return Some(CommitError::Closed),
            Self::Full {
                first,
                incarnation,
                error,
            } => (first, incarnation, error),
        };
        let begins = commit.log.first().map(|record| record.lsn);
        let is_new = match (*incarnation, commit.incarnation) {
            (true, found) => found.is_some(),
            (false, Some(_)) => false,
            (false, None) => begins == *first,
        };
        if is_new {
            *self = Self::Unbroken;
            return None;
        }
        let error = error.clone();
        *first = first.or(begins);
        *incarnation |= commit.incarnation.is_some();
        Some(error)
    }

    /// A group was tried and failed.
    pub fn failed(&mut self, group: &[Commit], error: &CommitError) {
        *self = if matches!(error, CommitError::Full(_)) {
            Self::Full {
                first: group
                    .iter()
                    .find_map(|commit| commit.log.first())
                    .map(|record| record.lsn),
                incarnation: group.iter().any(|commit| commit.incarnation.is_some()),
                error: error.clone(),
            }
        } else {
            // Order is part of the promise: once a group is missing, nothing after it may be durable.
            Self::Ended
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use anabranch_core::Incarnation;
    use anabranch_core::persist::{LogRecord, Ticket};

    use super::*;

    fn logging(lsn: u64) -> Commit {
        Commit {
            log: vec![LogRecord {
                lsn: Lsn(lsn),
                bytes: "x".into(),
            }],
            ..Commit::new(Ticket(0))
        }
    }

    fn renewing(incarnation: u64) -> Commit {
        Commit {
            incarnation: Some(Incarnation(incarnation)),
            ..Commit::new(Ticket(0))
        }
    }

    fn full(group: &[Commit]) -> Succession {
        let mut succession = Succession::Unbroken;
        let error = CommitError::Full(Arc::new(io::ErrorKind::StorageFull.into()));
        succession.failed(group, &error);
        succession
    }

    /// Which of the commits are refused.
    fn refused(succession: &mut Succession, commits: &[Commit]) -> Vec<bool> {
        let refuses = |commit| match succession.refuses(commit) {
            None => false,
            Some(CommitError::Full(_)) => true,
            Some(other) => panic!("{other}"),
        };
        commits.iter().map(refuses).collect()
    }

    #[test]
    fn what_was_built_on_a_failed_commit_fails_until_its_position_comes_again() {
        let mut succession = full(&[logging(5), logging(6)]);
        let queued = [logging(7), logging(8), logging(5), logging(6), logging(7)];
        let expected = [true, true, false, false, false];
        assert_eq!(refused(&mut succession, &queued), expected);
    }

    /// The replica does not know yet that the first attempt failed when the second does.
    #[test]
    fn the_second_attempt_may_fail_like_the_first() {
        let mut succession = full(&[logging(5)]);
        assert_eq!(
            refused(&mut succession, &[logging(6), logging(5)]),
            [true, false]
        );
        let error = CommitError::Full(Arc::new(io::ErrorKind::StorageFull.into()));
        succession.failed(&[logging(5)], &error);
        let queued = [logging(6), logging(7), logging(5)];
        assert_eq!(refused(&mut succession, &queued), [true, true, false]);
    }

    /// A record that was made under an incarnation that is not durable begins where the log ends, as the record
    /// that replaces it will.
    #[test]
    fn what_was_built_on_a_failed_incarnation_fails_until_one_comes_again() {
        let mut succession = full(&[renewing(2)]);
        let queued = [logging(5), logging(6), renewing(2), logging(5)];
        assert_eq!(
            refused(&mut succession, &queued),
            [true, true, false, false]
        );
    }

    #[test]
    fn an_incarnation_behind_a_failed_record_fails_with_it_and_comes_again() {
        let mut succession = full(&[logging(5)]);
        let queued = [renewing(2), logging(6), renewing(2), logging(5)];
        assert_eq!(
            refused(&mut succession, &queued),
            [true, true, false, false]
        );
        let mut succession = full(&[logging(5), renewing(2)]);
        let queued = [logging(6), renewing(2), logging(5)];
        assert_eq!(refused(&mut succession, &queued), [true, false, false]);
    }

    #[test]
    fn after_any_other_failure_nothing_is_written() {
        let mut succession = Succession::Unbroken;
        let expected = Lsn(1);
        let error = CommitError::OutOfOrder {
            expected,
            found: Lsn(2),
        };
        succession.failed(&[logging(2)], &error);
        for commit in [logging(1), logging(2), renewing(1)] {
            assert!(matches!(
                succession.refuses(&commit),
                Some(CommitError::Closed)
            ));
        }
    }
}
