//! Counters and quantities.
//!
//! Both are made of automerge counters, which are summed: whoever creates one unaware of another's adds
//! to the other's. An increment goes to exactly one of them. A removal leaves them where they are and notes
//! how far they had come, so that what the remover did not see still counts, and counts once.

use automerge::legacy::OpType;
use automerge::transaction::Transactable;
use automerge::{ObjId, ScalarValue};

use super::cells::{Cell, Part};
use super::pen::{Crdt, Pen};
use super::places::{Place, check_key};
use super::slots::Kind;
use super::standing::{Standing, is_integer};
use crate::{EditError, Path, limits};

impl Pen<'_> {
    /// Adds to the number at a path; creates it there if nothing is.
    pub(super) fn add_to_number(
        &mut self,
        path: &Path,
        kind: Kind,
        by: i64,
    ) -> Result<(), EditError> {
        match self.place(path)? {
            Place::Element { lists, index } => self.add_to_element(&lists, index, kind, by, path),
            Place::Entry { maps, name } => {
                check_key(&name, path)?;
                let cell = self.cell(&maps, &name);
                match self.view().winner(&maps, &cell) {
                    None => {
                        check_sum(0, by, path)?;
                        self.begin(&maps, &cell, kind, by)
                    }
                    Some(Standing::Number(found, now)) if found == kind => {
                        check_sum(now, by, path)?;
                        self.add(&maps, &cell, kind, by)
                    }
                    Some(Standing::Register(value)) if is_integer(&value) => {
                        if by == 0 {
                            return Ok(());
                        }
                        check_sum(value.as_i64().unwrap_or(0), by, path)?;
                        self.begin(&maps, &cell, kind, by)
                    }
                    Some(Standing::Register(ScalarValue::Uint(_))) => Err(overflow(path)),
                    Some(standing) => Err(EditError::TypeMismatch {
                        path: path.to_string(),
                        found: standing.describe(),
                        expected: kind.name(),
                    }),
                }
            }
        }
    }

    /// Only a counter that some other automerge program put into a list can be counted there.
    fn add_to_element(
        &mut self,
        lists: &[ObjId],
        index: usize,
        kind: Kind,
        by: i64,
        path: &Path,
    ) -> Result<(), EditError> {
        match self.element(lists, index)? {
            Some(Standing::Number(found, now)) if found == kind => {
                check_sum(now, by, path)?;
                let (list, index) = self.locate(lists, index);
                self.doc.increment(list, index, by).crdt()
            }
            Some(_) => Err(EditError::NotInList {
                path: path.to_string(),
                kind: kind.name(),
            }),
            None => Err(EditError::NotFound {
                path: path.to_string(),
            }),
        }
    }

    /// Turns what is seen into what is wanted by adding the difference.
    pub(super) fn set_number(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        (kind, now): (Kind, i64),
        wanted: i64,
        at: &Path,
    ) -> Result<(), EditError> {
        let by = wanted.checked_sub(now).ok_or_else(|| overflow(at))?;
        check_sum(now, by, at)?;
        self.add(maps, cell, kind, by)
    }

    /// The first that is counted here, as far as is known; or the first again.
    fn begin(&mut self, maps: &[ObjId], cell: &Cell, kind: Kind, by: i64) -> Result<(), EditError> {
        if cell.members(kind).next().is_some() {
            self.revive(maps, cell, kind)?;
            return self.count(cell, kind, by);
        }
        let alone = kind == Kind::Counter && cell.values.is_empty();
        let key = if alone {
            cell.name.clone()
        } else {
            kind.slot(&cell.name)
        };
        self.pass_over_graves(maps, cell, kind)?;
        self.before_counting()?;
        self.doc
            .put(Self::primary(maps), key, ScalarValue::counter(by))
            .crdt()
    }

    /// Adds to a number that is there.
    fn add(&mut self, maps: &[ObjId], cell: &Cell, kind: Kind, by: i64) -> Result<(), EditError> {
        if by == 0 {
            return Ok(());
        }
        self.revive(maps, cell, kind)?;
        self.count(cell, kind, by)
    }

    /// Adds to one of the counters that make up a number.
    fn count(&mut self, cell: &Cell, kind: Kind, by: i64) -> Result<(), EditError> {
        if by == 0 {
            return Ok(());
        }
        self.before_counting()?;
        // A transaction's increment counts on every value that can be seen under the key, so the key must
        // hold nothing else.
        for part in cell.members(kind) {
            if cell.beside(part, kind) == 1 {
                let key = key_of(cell, kind, part);
                return self.doc.increment(&part.map, key, by).crdt();
            }
        }
        let part = cell
            .members(kind)
            .max_by(|a, b| a.id.cmp(&b.id))
            .ok_or_else(|| EditError::Internal("a number without parts".to_owned()))?;
        let key = key_of(cell, kind, part);
        self.exactly(
            &part.map,
            &key,
            OpType::Increment(by),
            std::slice::from_ref(&part.id),
        )
    }
}

/// The key under which one of a number's counters stands.
fn key_of(cell: &Cell, kind: Kind, part: &Part) -> String {
    if cell.is_value(part) {
        cell.name.clone()
    } else {
        kind.slot(&cell.name)
    }
}

fn overflow(path: &Path) -> EditError {
    EditError::Overflow {
        path: path.to_string(),
    }
}

pub(super) fn check_sum(now: i64, by: i64, path: &Path) -> Result<(), EditError> {
    let exact = -limits::COUNTER_MAX..=limits::COUNTER_MAX;
    match now.checked_add(by) {
        Some(sum) if exact.contains(&by) && exact.contains(&sum) => Ok(()),
        _ => Err(overflow(path)),
    }
}
