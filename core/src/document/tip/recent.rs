//! The latest changes of a document, by which a tip tells whether another one follows them as it ought to.

use std::collections::BinaryHeap;

use automerge::{AutoCommit, ChangeHash};

use super::{Tip, WRITER};

/// So many are known. Replicas that write to one document at once have seldom seen fewer than all of each other's
/// but the last few.
const PASSED_MAX: usize = 6;
/// And so many where nobody else writes.
const OWN_MAX: usize = 1;

/// So many are looked at to find them.
const LOOK_BACK_MAX: usize = 16;

/// A change that the document has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Passed {
    pub(super) hash: ChangeHash,
    /// Among the tip's actors.
    pub(super) actor: u16,
    pub(super) seq: u32,
    pub(super) max_op: u32,
}

impl Passed {
    /// Nothing of a history that is longer than what tips can count.
    pub(super) fn of(actor: u16, (hash, seq, max_op): (ChangeHash, u64, u64)) -> Option<Self> {
        Some(Self {
            hash,
            actor,
            seq: u32::try_from(seq).ok()?,
            max_op: u32::try_from(max_op).ok()?,
        })
    }
}

/// The latest changes; of each actor that is among them its latest, and always the writer's.
#[derive(Default, Debug)]
pub(super) struct Recent {
    /// Earlier ones first.
    passed: Vec<Passed>,
    /// Whether actors may have written that are not among them.
    pub(super) strangers: bool,
}

impl Recent {
    pub(super) fn find(&self, hash: &ChangeHash) -> Option<&Passed> {
        self.passed.iter().find(|passed| passed.hash == *hash)
    }

    /// An actor's latest.
    pub(super) fn latest(&self, actor: u16) -> Option<&Passed> {
        let own = self.passed.iter().filter(|passed| passed.actor == actor);
        own.max_by_key(|passed| passed.seq)
    }

    /// The writer's own latest.
    pub(super) fn own(&self) -> Option<ChangeHash> {
        self.latest(WRITER).map(|own| own.hash)
    }

    /// Adds the latest of all. Of those that are too many the oldest goes, the latest of an actor last.
    pub(super) fn note(&mut self, passed: Passed) {
        let alone = |passed: &Passed| passed.actor == WRITER;
        let max = match alone(&passed) && self.passed.iter().all(alone) {
            true => OWN_MAX,
            false => PASSED_MAX,
        };
        if self.passed.len() >= max {
            self.forget_one(passed.actor);
        }
        self.passed.reserve_exact(1);
        self.passed.push(passed);
    }

    fn forget_one(&mut self, next: u16) {
        let superseded = |at: &usize| {
            let old = self.passed[*at].actor;
            let mut later = self.passed[at + 1..].iter();
            old == next || later.any(|later| later.actor == old)
        };
        let gone = (0..self.passed.len()).find(superseded).or_else(|| {
            self.strangers = true;
            let others = |passed: &Passed| passed.actor != WRITER;
            self.passed.iter().position(others)
        });
        gone.map(|at| self.passed.remove(at));
    }

    pub(super) fn bytes(&self) -> usize {
        self.passed.capacity() * size_of::<Passed>()
    }
}

impl Tip {
    /// Learns of the document's latest changes, and of the writer's latest, which may be older.
    pub(super) fn look_back(&mut self, doc: &mut AutoCommit, own: Option<Passed>) {
        // No change has as many operations before it as one that follows it. So an actor's latest comes before all of
        // its others.
        let mut open = BinaryHeap::new();
        let mut found: Vec<Passed> = Vec::new();
        let mut next = self.end.heads.clone();
        let mut last = None;
        loop {
            for hash in next.drain(..) {
                if let Some(meta) = doc.get_change_meta_by_hash(&hash) {
                    open.push((meta.max_op, hash));
                }
            }
            let Some((max_op, hash)) = open.pop() else {
                break;
            };
            // Several may follow the same.
            if last.replace(hash) == Some(hash) {
                continue;
            }
            let Some(meta) = doc.get_change_meta_by_hash(&hash) else {
                continue;
            };
            let actor = self.index_of(&meta.actor);
            let passed = actor.and_then(|actor| Passed::of(actor, (hash, meta.seq, max_op)));
            let Some(passed) = passed.filter(|_| found.len() < LOOK_BACK_MAX) else {
                self.recent.strangers = true;
                break;
            };
            found.push(passed);
            next.extend_from_slice(&meta.deps);
        }
        found.extend(own.filter(|own| !found.contains(own)));
        found.sort_by_key(|passed| (passed.max_op, passed.seq));
        found
            .into_iter()
            .for_each(|passed| self.recent.note(passed));
    }
}
