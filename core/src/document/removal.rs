//! Taking away exactly what is seen.

use automerge::transaction::Transactable;
use automerge::{ObjId, ROOT, ReadDoc};

use super::cells::Cell;
use super::pen::{Crdt, New, Pen};
use super::places::Place;
use super::slots::{Kind, ROOT_GRAVE, ROOT_REVIVAL};
use super::standing::Standing;
use crate::{EditError, limits};

impl Pen<'_> {
    /// Deletes the document as it is seen here.
    pub(super) fn delete_document(&mut self) -> Result<(), EditError> {
        if !self.is_there() {
            return Ok(());
        }
        self.clear_map(&[ROOT], 0)?;
        if self.doc.get(ROOT, ROOT_REVIVAL).crdt()?.is_some() {
            self.doc.delete(ROOT, ROOT_REVIVAL).crdt()?;
        }
        // What it says means nothing; but automerge takes the same again for no write.
        let was = self.doc.get(ROOT, ROOT_GRAVE).crdt()?;
        let again = was.and_then(|(value, _)| value.as_bool()).unwrap_or(false);
        self.doc.put(ROOT, ROOT_GRAVE, !again).crdt()
    }

    /// Takes away what stands at a place.
    pub(super) fn remove(&mut self, place: &Place) -> Result<(), EditError> {
        match place {
            Place::Element { lists, index } => {
                let (list, index) = self.locate(lists, *index);
                self.doc.delete(list, index).crdt()
            }
            Place::Entry { maps, name } => {
                let cell = self.cell(maps, name);
                self.remove_entry(maps, &cell, 0)
            }
        }
    }

    /// Takes away everything that stands at an entry.
    pub(super) fn remove_entry(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        depth: usize,
    ) -> Result<(), EditError> {
        self.bury(maps, cell, depth)?;
        if cell.registers().next().is_some() {
            self.replace_registers(maps, cell, &New::Nothing)?;
        }
        Ok(())
    }

    /// Takes away everything at an entry but registers.
    pub(super) fn bury(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        depth: usize,
    ) -> Result<(), EditError> {
        for claimed in self.view().claims(maps, cell, depth) {
            self.bury_one(maps, cell, &claimed.standing, depth)?;
        }
        Ok(())
    }

    /// Takes away one of the values at an entry, unless it is a register.
    pub(super) fn bury_one(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        standing: &Standing,
        depth: usize,
    ) -> Result<(), EditError> {
        match standing {
            Standing::Register(_) => Ok(()),
            #[cfg(feature = "planted")]
            Standing::Number(kind @ Kind::Quantity, _)
                if self.planted == Some(crate::Planted::RemoveUnseen) =>
            {
                cell.members(*kind)
                    .try_for_each(|part| self.doc.delete(&part.map, kind.slot(&cell.name)).crdt())
            }
            Standing::Number(kind, _) => self.dig_grave(maps, cell, *kind, cell.sum(*kind)),
            Standing::Container(kind, members) => {
                self.clear(members, *kind, depth + 1)?;
                let seen = i64::try_from(members.len()).unwrap_or(i64::MAX);
                self.dig_grave(maps, cell, *kind, seen)
            }
        }
    }

    fn clear(&mut self, members: &[ObjId], kind: Kind, depth: usize) -> Result<(), EditError> {
        match kind {
            // Below this nothing is read, either.
            Kind::Map if depth > limits::DEPTH_MAX => Ok(()),
            Kind::Map => self.clear_map(members, depth),
            Kind::List => {
                let len = self.len(members);
                self.delete_run(members, 0, len)
            }
            Kind::Text => {
                let len = self.len(members);
                self.splice_texts(members, 0, len, "")
            }
            Kind::Set => {
                for map in members {
                    for key in self.doc.keys(map).collect::<Vec<_>>() {
                        self.doc.delete(map, key).crdt()?;
                    }
                }
                Ok(())
            }
            Kind::Counter | Kind::Quantity => Ok(()),
        }
    }

    fn clear_map(&mut self, maps: &[ObjId], depth: usize) -> Result<(), EditError> {
        for name in self.names(maps) {
            let cell = self.cell(maps, &name);
            self.remove_entry(maps, &cell, depth)?;
        }
        Ok(())
    }

    /// The entries that can be read.
    pub(super) fn names(&self, maps: &[ObjId]) -> Vec<String> {
        let view = self.view();
        let (plain, cells) = view.entries(maps);
        let mut names: Vec<_> = plain
            .into_iter()
            .map(|item| item.key.into_owned())
            .collect();
        let there = cells
            .into_iter()
            .filter(|(_, cell)| !view.claims(maps, cell, 0).is_empty());
        names.extend(there.map(|(name, _)| name));
        names
    }
}
