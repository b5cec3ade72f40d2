//! One write in the making: edits become operations of one change, or of a few where automerge's own
//! transactions would replace more than the edit means to.

use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{
    AutoCommit, AutomergeError, Change, ExpandedChange, ObjId, ROOT, ReadDoc, ScalarValue,
};
use bytes::Bytes;

use super::cells::{Cell, Part};
use super::intake;
use super::slots::{Kind, ROOT_REVIVAL};
use super::standing::{View, is_there};
use crate::{EditError, limits};

/// Writes to one document and gathers the changes that come of it, in causal order.
pub(super) struct Pen<'a> {
    pub(super) doc: &'a mut AutoCommit,
    #[cfg(feature = "planted")]
    pub(super) planted: Option<crate::Planted>,
    time_s: i64,
    /// The document is known to be there.
    unburied: bool,
    changes: Vec<Bytes>,
    bytes: usize,
    /// Whether anything went into the document that a rollback can't take back.
    committed: bool,
    /// Whether this change removes a number.
    buried_number: bool,
}

/// What the CRDT library refuses is a bug of ours: everything was checked before.
pub(super) trait Crdt<T> {
    fn crdt(self) -> Result<T, EditError>;
}

impl<T> Crdt<T> for Result<T, AutomergeError> {
    fn crdt(self) -> Result<T, EditError> {
        self.map_err(|error| EditError::Internal(error.to_string()))
    }
}

/// What takes the place of an entry's registers.
pub(super) enum New {
    Nothing,
    Register(ScalarValue),
    Container(Kind),
}

impl<'a> Pen<'a> {
    pub(super) fn new(doc: &'a mut AutoCommit, time_s: i64, unburied: bool) -> Self {
        Self {
            doc,
            #[cfg(feature = "planted")]
            planted: None,
            time_s,
            unburied,
            changes: Vec::new(),
            bytes: 0,
            committed: false,
            buried_number: false,
        }
    }

    #[cfg(feature = "planted")]
    pub(super) fn plant(&mut self, planted: Option<crate::Planted>) {
        self.planted = planted;
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            doc: self.doc,
            #[cfg(feature = "planted")]
            planted: self.planted,
        }
    }

    /// Ends the write. The changes are in the document.
    pub(super) fn finish(mut self) -> Result<Vec<Bytes>, EditError> {
        self.commit()?;
        Ok(self.changes)
    }

    /// True once anything went into the document that [`Self::abandon`] can't take back.
    pub(super) fn abandon(self) -> bool {
        self.doc.rollback();
        self.committed
    }

    fn keep(&mut self, change: &Change) -> Result<(), EditError> {
        // Measured as everybody measures it who takes it in, this replica after a restart included.
        let operations = intake::measure(change.raw_bytes())
            .ok_or_else(|| EditError::Internal("made a change that nobody takes".to_owned()))?;
        let within = |count| usize::try_from(count).unwrap_or(usize::MAX);
        if operations > limits::CHANGE_OPS_MAX {
            return Err(EditError::TooLarge {
                what: "operations in this write",
                value: within(operations),
                max: within(limits::CHANGE_OPS_MAX),
            });
        }
        self.bytes += change.raw_bytes().len();
        self.changes
            .push(Bytes::copy_from_slice(change.raw_bytes()));
        if self.bytes > limits::BATCH_BYTES_MAX {
            return Err(EditError::TooLarge {
                what: "bytes of this write's changes",
                value: self.bytes,
                max: limits::BATCH_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EditError> {
        if self.doc.pending_ops() == 0 {
            return Ok(());
        }
        let options = CommitOptions::default().with_time(self.time_s);
        let Some(hash) = self.doc.commit_with(options) else {
            return Ok(());
        };
        self.committed = true;
        let change = self
            .doc
            .get_change_by_hash(&hash)
            .ok_or_else(|| EditError::Internal("lost a change".to_owned()))?;
        self.keep(&change)
    }

    /// Makes one operation on a map's key that replaces exactly these values. A transaction of automerge's
    /// would replace all that can be seen there.
    pub(super) fn exactly(
        &mut self,
        map: &ObjId,
        key: &str,
        action: OpType,
        replaced: &[ObjId],
    ) -> Result<(), EditError> {
        self.commit()?;
        let lost = || EditError::Internal("a change follows nothing".to_owned());
        let deps = self.doc.get_heads();
        let mut max_op = 0;
        for head in &deps {
            let meta = self.doc.get_change_meta_by_hash(head).ok_or_else(lost)?;
            max_op = max_op.max(meta.max_op);
        }
        // The document looks its own actor up only when it is told.
        let actor = self.doc.get_actor().clone();
        self.doc.set_actor(actor.clone());
        let seq = self
            .doc
            .get_last_local_change()
            .map_or(0, |change| change.seq())
            + 1;
        let id = |id: &ObjId| match id {
            ObjId::Root => None,
            ObjId::Id(counter, actor, _) => Some(OpId::new(*counter, actor)),
        };
        let change = Change::from(ExpandedChange {
            operations: vec![Op {
                action,
                obj: id(map).map_or(ObjectId::Root, ObjectId::Id),
                key: Key::Map(key.into()),
                pred: replaced.iter().filter_map(id).collect::<SortedVec<_>>(),
                insert: false,
            }],
            actor_id: actor,
            hash: None,
            seq,
            start_op: NonZeroU64::new(max_op + 1).ok_or_else(lost)?,
            time: self.time_s,
            message: None,
            deps,
            extra_bytes: Vec::new(),
            author: None,
        });
        self.committed = true;
        self.doc.apply_changes([change.clone()]).crdt()?;
        self.keep(&change)
    }

    /// Everything at one entry.
    pub(super) fn cell(&self, maps: &[ObjId], name: &str) -> Cell {
        self.view().cell(maps, name)
    }

    /// The object in which new things of a map are put: the one that automerge's own readers see.
    pub(super) fn primary(maps: &[ObjId]) -> &ObjId {
        maps.last().unwrap_or(&ROOT)
    }

    /// Takes away all registers that are seen at an entry, and puts something else there or nothing.
    /// Containers and counters that stand there, buried or not, stay.
    pub(super) fn replace_registers(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        new: &New,
    ) -> Result<(), EditError> {
        let target = cell
            .registers()
            .last()
            .map_or(Self::primary(maps), |part| &part.map);
        for map in maps {
            let here = |part: &&Part| part.map == *map;
            let old: Vec<_> = cell
                .registers()
                .filter(here)
                .map(|part| part.id.clone())
                .collect();
            let same = |part: &Part| match new {
                New::Register(value) => part.register() == Some(value),
                New::Nothing | New::Container(_) => false,
            };
            // Of a value that is among those that it replaces, automerge would only take away the others.
            let alone = cell.values.iter().filter(here).count() == old.len()
                && !(old.len() > 1 && cell.registers().filter(here).any(same));
            let action = match new {
                New::Register(value) if map == target => OpType::Put(value.clone()),
                New::Container(kind) if map == target => {
                    let object = kind
                        .object()
                        .ok_or_else(|| EditError::Internal("a number is no object".to_owned()))?;
                    OpType::Make(object)
                }
                _ if old.is_empty() => continue,
                _ => OpType::Delete,
            };
            let name = cell.name.as_str();
            match action {
                action if !alone => self.exactly(map, name, action, &old)?,
                OpType::Put(value) => self.doc.put(map, name, value).crdt()?,
                OpType::Make(object) => {
                    self.doc.put_object(map, name, object).crdt()?;
                }
                _ => self.doc.delete(map, name).crdt()?,
            }
        }
        Ok(())
    }

    /// Notes for a kind at an entry what was seen of it when it was removed, in place of the graves and
    /// revivals that are seen.
    pub(super) fn dig_grave(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        kind: Kind,
        seen: i64,
    ) -> Result<(), EditError> {
        let target = Self::primary(maps).clone();
        let revival = kind.revival(&cell.name);
        for part in cell.revivals(kind) {
            self.delete_if_there(&part.map, &revival)?;
        }
        let grave = kind.grave(&cell.name);
        for part in cell.graves(kind).filter(|part| part.map != target) {
            self.delete_if_there(&part.map, &grave)?;
        }
        if kind.object().is_none() {
            self.buried_number = true;
        }
        let here = |part: &&Part| part.map == target;
        if cell
            .graves(kind)
            .filter(here)
            .all(|part| part.seen() != seen)
        {
            return self.doc.put(&target, grave, seen).crdt();
        }
        // The same number again, but seen later; automerge would take it for no write.
        let old: Vec<_> = cell
            .graves(kind)
            .filter(here)
            .map(|part| part.id.clone())
            .collect();
        self.exactly(&target, &grave, OpType::Put(ScalarValue::Int(seen)), &old)
    }

    /// Several may stand under one key, and all go at once.
    fn delete_if_there(&mut self, map: &ObjId, key: &str) -> Result<(), EditError> {
        if self.doc.get(map, key).crdt()?.is_some() {
            self.doc.delete(map, key).crdt()?;
        }
        Ok(())
    }

    /// A grave of what never was must not take what is made now with it. No writer of ours digs one.
    pub(super) fn pass_over_graves(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        kind: Kind,
    ) -> Result<(), EditError> {
        if cell.graves(kind).next().is_none() {
            return Ok(());
        }
        self.dig_grave(maps, cell, kind, 0)?;
        let key = kind.revival(&cell.name);
        self.doc.put(Self::primary(maps), key, true).crdt()
    }

    /// What was removed is there from now on.
    pub(super) fn revive(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        kind: Kind,
    ) -> Result<(), EditError> {
        if self.view().is_made(maps, cell, kind) {
            return Ok(());
        }
        let key = kind.revival(&cell.name);
        self.doc.put(Self::primary(maps), key, true).crdt()
    }

    /// The document is there from now on.
    pub(super) fn revive_root(&mut self) -> Result<(), EditError> {
        if !self.unburied && self.view().is_buried() {
            self.doc.put(ROOT, ROOT_REVIVAL, true).crdt()?;
        }
        Ok(())
    }

    /// What is counted from here on comes after the removals of this write in its own change, so that
    /// history can tell what they had seen.
    pub(super) fn before_counting(&mut self) -> Result<(), EditError> {
        if std::mem::take(&mut self.buried_number) {
            self.commit()?;
        }
        Ok(())
    }

    /// Creates a container at an entry where nothing is, or brings back the one that was removed. Says
    /// whether it is new: nothing that was ever in there can be seen.
    pub(super) fn create(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        kind: Kind,
    ) -> Result<(Vec<ObjId>, bool), EditError> {
        let mut members: Vec<_> = cell.members(kind).map(|part| part.id.clone()).collect();
        if !members.is_empty() {
            self.replace_registers(maps, cell, &New::Nothing)?;
            self.revive(maps, cell, kind)?;
            members.sort();
            return Ok((members, false));
        }
        let object = kind
            .object()
            .ok_or_else(|| EditError::Internal("a number is no object".to_owned()))?;
        self.pass_over_graves(maps, cell, kind)?;
        if kind == Kind::Set || cell.values.is_empty() {
            self.replace_registers(maps, cell, &New::Nothing)?;
            let map = Self::primary(maps).clone();
            let made = self
                .doc
                .put_object(map, kind.slot(&cell.name), object)
                .crdt()?;
            return Ok((vec![made], true));
        }
        self.replace_registers(maps, cell, &New::Container(kind))?;
        let made = self.cell(maps, &cell.name);
        let made = made.members(kind).map(|part| part.id.clone()).max();
        made.map(|id| (vec![id], true))
            .ok_or_else(|| EditError::Internal(format!("{:?} did not come into being", cell.name)))
    }

    /// Whether the document is there.
    pub(super) fn is_there(&mut self) -> bool {
        is_there(
            self.doc,
            #[cfg(feature = "planted")]
            self.planted,
        )
    }
}
