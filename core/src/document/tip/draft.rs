//! A change in the making: operations that are written together, and how they change what the tip knows.

use automerge::legacy::OpType;
use bytes::Bytes;

use super::encoding::{self, Header, Key, Operation};
use super::ground::{Known, Trail};
use super::recent::Passed;
use super::{End, Id, PLACES_MAX, Tip, WRITER};
use crate::EditError;

/// A write that makes more, in changes, in operations or in bytes of names and texts, is left to the document, which
/// knows the limits.
const CHANGES_MAX: usize = 64;
const OPERATIONS_MAX: usize = 512;
const WEIGHT_MAX: usize = 64 << 10;

/// Why nothing came of it.
pub(super) enum Halt {
    /// It takes the document itself.
    Unclear,
    /// The document would refuse it likewise.
    Refused(EditError),
}

pub(super) struct Draft<'t> {
    pub(super) tip: &'t mut Tip,
    /// Of the change that is being made.
    operations: Vec<Operation>,
    /// Those that are complete. Nearly always a write is one.
    changes: Vec<Bytes>,
    time_s: i64,
    /// What was known before, in the order of the changes.
    before: Vec<([u8; 16], Option<Known>)>,
    /// Where the history ended before.
    end: Option<End>,
    weight: usize,
    /// The last of the changes.
    passed: Option<Passed>,
}

impl<'t> Draft<'t> {
    pub(super) fn new(tip: &'t mut Tip, time_s: i64) -> Self {
        Self {
            tip,
            operations: Vec::new(),
            changes: Vec::new(),
            time_s,
            before: Vec::new(),
            end: None,
            weight: 0,
            passed: None,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        self.operations.is_empty() && self.changes.is_empty()
    }

    pub(super) fn known(&self, trail: &Trail) -> Option<Known> {
        self.tip.known(trail.end())
    }

    pub(super) fn note(&mut self, trail: [u8; 16], known: Option<Known>) -> Result<(), Halt> {
        let before = self.tip.note(trail, known);
        self.before.push((trail, before));
        match self.tip.places.len() {
            0..=PLACES_MAX => Ok(()),
            _ => Err(Halt::Unclear),
        }
    }

    /// On an entry of a map.
    pub(super) fn on_entry(
        &mut self,
        map: Id,
        name: &str,
        action: OpType,
        replaced: Option<Id>,
    ) -> Result<Id, Halt> {
        self.weigh(name.len())?;
        self.push(map, Key::Entry(name.to_owned()), action, replaced)
    }

    /// Inserts into a list.
    pub(super) fn insert(&mut self, list: Id, after: Id, action: OpType) -> Result<Id, Halt> {
        self.push(list, Key::After(after), action, None)
    }

    /// Counts bytes that the change will hold.
    pub(super) fn weigh(&mut self, bytes: usize) -> Result<(), Halt> {
        self.weight += bytes;
        if self.weight > WEIGHT_MAX {
            return Err(Halt::Unclear);
        }
        Ok(())
    }

    fn push(
        &mut self,
        object: Id,
        key: Key,
        action: OpType,
        replaced: Option<Id>,
    ) -> Result<Id, Halt> {
        let counter = self.tip.end.next_op + self.operations.len() as u64;
        if self.operations.len() >= OPERATIONS_MAX || self.changes.len() >= CHANGES_MAX {
            return Err(Halt::Unclear);
        }
        let counter = u32::try_from(counter).map_err(|_| Halt::Unclear)?;
        self.operations.push(Operation {
            object,
            key,
            action,
            replaced,
        });
        Ok(Id { counter, actor: 0 })
    }

    /// Makes one change of the operations so far. `joined`: as automerge's own transactions do, which name the
    /// writer's latest change beside the heads.
    pub(super) fn commit(&mut self, joined: bool) -> Result<(), Halt> {
        if self.operations.is_empty() {
            return Ok(());
        }
        let operations = std::mem::take(&mut self.operations);
        let end = &self.tip.end;
        let mut deps = end.heads.clone();
        // What the writer has made in this write is all that there is at the end.
        if joined && self.changes.is_empty() {
            deps.extend(self.tip.recent.own());
            deps.sort_unstable();
            deps.dedup();
        }
        let header = Header {
            deps,
            seq: end.seq,
            start_op: end.next_op,
            time_s: self.time_s,
        };
        let change = encoding::change(&operations, &header, &self.tip.actors);
        let (hash, bytes) = change.ok_or(Halt::Unclear)?;
        let next = End {
            heads: vec![hash],
            seq: end.seq + 1,
            next_op: end.next_op + operations.len() as u64,
            present: true,
        };
        let counted = (hash, end.seq, next.next_op - 1);
        self.passed = Some(Passed::of(WRITER, counted).ok_or(Halt::Unclear)?);
        let before = std::mem::replace(&mut self.tip.end, next);
        self.end.get_or_insert(before);
        self.changes.push(bytes);
        Ok(())
    }

    /// Ends the write.
    pub(super) fn finish(self) -> Vec<Bytes> {
        if let Some(passed) = self.passed {
            self.tip.recent.note(passed);
        }
        self.changes
    }

    /// Takes everything back.
    pub(super) fn abandon(self) {
        for (trail, known) in self.before.into_iter().rev() {
            self.tip.note(trail, known);
        }
        if let Some(end) = self.end {
            self.tip.end = end;
        }
    }
}
