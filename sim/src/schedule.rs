//! Virtual time: what is going to happen, and when.

use std::collections::BTreeMap;

use anabranch_core::FetchId;
use anabranch_core::persist::{Fetch, Fetched, FoldId, StoreError};
use bytes::Bytes;

use crate::commits::Told;

/// One life of one process; events for an earlier one come to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) site: usize,
    pub(crate) generation: u64,
}

/// One end of one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct EndId {
    pub(crate) connection: u64,
    pub(crate) side: usize,
}

impl EndId {
    pub(crate) fn other(self) -> Self {
        Self {
            connection: self.connection,
            side: 1 - self.side,
        }
    }
}

pub(crate) enum Event {
    Tick(Life),
    Commit(Life),
    Told(Life, Told),
    Fold(Life),
    Folded(Life, FoldId, Result<(), StoreError>),
    /// The store looks after itself.
    Tend(Life),
    FetchRead(Life, FetchId, Fetch),
    FetchAnswer(Life, FetchId, Result<Fetched, StoreError>),
    Client(usize),
    Subscriber(usize),
    Connect(usize),
    Up(EndId),
    Down(EndId),
    Deliver(EndId, Bytes),
    Sent(EndId, usize),
    /// A partition of a pair has lasted so long that its connection is given up.
    Expire(EndId),
    Unblock(usize),
    Crash(Life),
    Restart(usize),
    Backup(usize),
    Chaos,
    /// There is room again.
    Room(usize),
    Probe,
    /// Something is done to the namespace that moves.
    Move,
    Heal,
    Inspect,
}

pub(crate) struct Schedule {
    pub(crate) now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    count: u64,
}

impl Schedule {
    pub(crate) fn new() -> Self {
        Self {
            now_us: 0,
            queue: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn at(&mut self, at_us: u64, event: Event) {
        self.count += 1;
        self.queue
            .insert((at_us.max(self.now_us), self.count), event);
    }

    pub(crate) fn after(&mut self, us: u64, event: Event) {
        self.at(self.now_us + us, event);
    }

    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at_us, _), event) = self.queue.pop_first()?;
        self.now_us = at_us;
        Some(event)
    }
}
