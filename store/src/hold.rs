//! Holding on to the log while it is read.
//!
//! Whoever reads the log from end to end, while it is released behind him, says up to where he is. What is released
//! beyond that goes when he is done, or when there is no more room for both.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_core::Lsn;

#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    held: BTreeMap<u64, Held>,
    /// All before this is to go.
    released: Lsn,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// All before this may go.
    from: Lsn,
    /// Only while the log has no more.
    log_bytes_max: u64,
}

impl Holds {
    /// Holds on to everything.
    pub(crate) fn take(&self, log_bytes_max: u64) -> u64 {
        let mut state = self.state();
        state.last += 1;
        let id = state.last;
        let from = Lsn(0);
        let held = Held {
            from,
            log_bytes_max,
        };
        state.held.insert(id, held);
        id
    }

    /// Needs nothing before a position any more. False when all was let go meanwhile.
    pub(crate) fn advance(&self, id: u64, from: Lsn) -> bool {
        match self.state().held.get_mut(&id) {
            Some(held) => {
                held.from = held.from.max(from);
                true
            }
            None => false,
        }
    }

    pub(crate) fn let_go(&self, id: u64) {
        self.state().held.remove(&id);
    }

    /// All before a position is to go. Whoever stands in the way gives way if the log has too many bytes.
    pub(crate) fn release(&self, before: Lsn, log_bytes: u64) {
        let mut state = self.state();
        let released = state.released.max(before);
        state.released = released;
        state
            .held
            .retain(|_, held| held.from >= released || log_bytes <= held.log_bytes_max);
    }

    /// There is no room: nobody holds on to anything that could be let go. Whether somebody did.
    pub(crate) fn let_all_go(&self) -> bool {
        let mut state = self.state();
        let released = state.released;
        let holding = state.held.len();
        state.held.retain(|_, held| held.from >= released);
        state.held.len() < holding
    }

    /// Before which position the log may go now.
    pub(crate) fn allowed(&self) -> Lsn {
        self.state().allowed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn allowed(&self) -> Lsn {
        let held = self.held.values().map(|held| held.from).min();
        held.map_or(self.released, |held| held.min(self.released))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_until_it_is_let_go() {
        let holds = Holds::default();
        holds.release(Lsn(5), 0);
        assert_eq!(holds.allowed(), Lsn(5));
        let (one, other) = (holds.take(100), holds.take(100));
        holds.release(Lsn(9), 100);
        assert_eq!(holds.allowed(), Lsn(0));
        assert!(holds.advance(one, Lsn(7)) && holds.advance(other, Lsn(8)));
        assert_eq!(holds.allowed(), Lsn(7));
        holds.let_go(one);
        assert_eq!(holds.allowed(), Lsn(8));
        holds.let_go(other);
        assert_eq!(holds.allowed(), Lsn(9));
    }

    #[test]
    fn who_stands_in_the_way_of_room_gives_way() {
        let holds = Holds::default();
        let (behind, ahead) = (holds.take(100), holds.take(100));
        holds.advance(behind, Lsn(3));
        holds.advance(ahead, Lsn(9));
        holds.release(Lsn(8), 101);
        assert_eq!(holds.allowed(), Lsn(8));
        assert!(!holds.advance(behind, Lsn(4)));
        assert!(holds.advance(ahead, Lsn(9)));
        assert!(!holds.let_all_go(), "nobody stood in the way");
        assert!(holds.advance(ahead, Lsn(9)));
        let new = holds.take(100);
        assert!(holds.let_all_go());
        assert!(!holds.advance(new, Lsn(1)));
        assert_eq!(holds.allowed(), Lsn(8));
    }
}
