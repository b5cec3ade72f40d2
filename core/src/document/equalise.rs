//! Making a place equal to a JSON value by writing only what differs, so that a PUT merges like the edits
//! that a person would have made.

use automerge::transaction::Transactable;
use automerge::{ObjId, ROOT};
use serde_json::{Map, Value};

use super::cells::Cell;
use super::lists::check_fresh;
use super::pen::{Crdt, New, Pen};
use super::places::{Place, check_key};
use super::scalars::{fresh, json_kind, scalar_of};
use super::slots::{Kind, ROOT_REVIVAL};
use super::standing::{Standing, plain};
use crate::{EditError, Path};

impl Pen<'_> {
    /// Makes the whole document equal to an object.
    pub(super) fn replace_document(&mut self, value: &Value) -> Result<(), EditError> {
        let Value::Object(entries) = value else {
            return Err(EditError::NotAnObject {
                found: json_kind(value),
            });
        };
        self.revive_root()?;
        self.equalise_map(&[ROOT], entries, &Path::default())?;
        // An empty document that was never written has no change that says that it is there.
        if !self.is_there() {
            self.doc.put(ROOT, ROOT_REVIVAL, true).crdt()?;
        }
        Ok(())
    }

    /// Sets what stands at a place.
    pub(super) fn set(&mut self, place: &Place, value: &Value, at: &Path) -> Result<(), EditError> {
        match place {
            Place::Entry { maps, name } => self.set_entry(maps, name, value, at),
            Place::Element { lists, index } => self.set_element(lists, *index, value, at),
        }
    }

    pub(super) fn equalise_map(
        &mut self,
        maps: &[ObjId],
        entries: &Map<String, Value>,
        at: &Path,
    ) -> Result<(), EditError> {
        // What is plain to read can be compared as it is read.
        let mut equal = std::collections::BTreeSet::new();
        let mut inside = Vec::new();
        let mut gone = Vec::new();
        let (plain_items, cells) = self.view().entries(maps);
        for item in plain_items {
            let name = item.key.as_ref();
            let Some(value) = entries.get(name) else {
                gone.push(name.to_owned());
                continue;
            };
            match (plain(&item), value) {
                (None, value) => {
                    let stored = item.value.clone().into_value();
                    if stored.as_scalar() == scalar_of(value).as_ref() {
                        equal.insert(name.to_owned());
                    }
                }
                (Some((Kind::Map, id)), Value::Object(wanted)) => {
                    equal.insert(name.to_owned());
                    inside.push((id, wanted, at.child(name)));
                }
                _ => {}
            }
        }
        gone.extend(cells.into_keys().filter(|name| !entries.contains_key(name)));
        for (map, wanted, at) in inside {
            self.equalise_map(&[map], wanted, &at)?;
        }
        for name in gone {
            let cell = self.cell(maps, &name);
            self.remove_entry(maps, &cell, 0)?;
        }
        for (name, value) in entries.iter().filter(|(name, _)| !equal.contains(*name)) {
            self.set_entry(maps, name, value, &at.child(name))?;
        }
        Ok(())
    }

    pub(super) fn set_entry(
        &mut self,
        maps: &[ObjId],
        name: &str,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        check_key(name, at)?;
        let cell = self.cell(maps, name);
        let mut claims = self.view().claims(maps, &cell, 0).into_iter();
        let Some(winner) = claims.next() else {
            return self.put_anew(maps, &cell, value, at);
        };
        if claims.next().is_some() {
            return self.settle(maps, &cell, &winner.standing, value, at);
        }
        match (&winner.standing, value) {
            (Standing::Container(kind @ Kind::Map, members), Value::Object(entries)) => {
                self.revive(maps, &cell, *kind)?;
                self.equalise_map(members, entries, at)
            }
            (Standing::Container(kind @ Kind::List, members), Value::Array(elements)) => {
                self.revive(maps, &cell, *kind)?;
                self.equalise_list(members, elements, at)
            }
            (Standing::Container(kind @ Kind::Set, members), Value::Array(elements)) => {
                self.revive(maps, &cell, *kind)?;
                self.equalise_set(members, elements, at)
            }
            (Standing::Container(kind @ Kind::Text, members), Value::String(text)) => {
                self.revive(maps, &cell, *kind)?;
                self.equalise_text(members, text)
            }
            (Standing::Number(kind, now), Value::Number(_)) => match integer(value) {
                Some(wanted) => self.set_number(maps, &cell, (*kind, *now), wanted, at),
                None => self.replace(maps, &cell, value, at),
            },
            (Standing::Register(old), value) if scalar_of(value).as_ref() == Some(old) => Ok(()),
            (Standing::Register(_), value) if scalar_of(value).is_some() => {
                self.put_anew(maps, &cell, value, at)
            }
            _ => self.replace(maps, &cell, value, at),
        }
    }

    /// Takes away everything that is seen but what is read, and makes that equal.
    fn settle(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        winner: &Standing,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        let alike = matches!(
            (winner, value),
            (Standing::Container(Kind::Map, _), Value::Object(_))
                | (
                    Standing::Container(Kind::List | Kind::Set, _),
                    Value::Array(_)
                )
                | (Standing::Container(Kind::Text, _), Value::String(_))
        );
        // A number in a conflict begins anew as a register; what others add to it at the same time still counts.
        if !alike {
            return self.replace(maps, cell, value, at);
        }
        for claimed in self.view().claims(maps, cell, 0) {
            if claimed.standing != *winner {
                self.bury_one(maps, cell, &claimed.standing, 0)?;
            }
        }
        self.replace_registers(maps, cell, &New::Nothing)?;
        let cell = self.cell(maps, &cell.name);
        let claims = self.view().claims(maps, &cell, 0);
        match claims.len() {
            1 => self.set_entry(maps, &cell.name, value, at),
            _ => Err(EditError::Internal(
                "a conflict that can't be settled".to_owned(),
            )),
        }
    }

    /// Takes away everything that is seen, and puts a value of another kind there.
    fn replace(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        self.bury(maps, cell, 0)?;
        let cell = self.cell(maps, &cell.name);
        self.put_anew(maps, &cell, value, at)
    }

    /// Puts a value where at most registers stand, in their place.
    fn put_anew(
        &mut self,
        maps: &[ObjId],
        cell: &Cell,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        if let Some(scalar) = scalar_of(value) {
            return self.replace_registers(maps, cell, &New::Register(scalar));
        }
        let kind = if value.is_object() {
            Kind::Map
        } else {
            Kind::List
        };
        // In one go where nothing ever was: most containers are made like this.
        if cell.values.is_empty() && cell.members(kind).next().is_none() {
            check_fresh(value, at)?;
            self.pass_over_graves(maps, cell, kind)?;
            let map = Self::primary(maps).clone();
            let name = cell.name.as_str();
            let made = self
                .doc
                .batch_create_object(map, name, &fresh(value), false);
            return made.map(drop).crdt();
        }
        match (self.create(maps, cell, kind)?, value) {
            ((members, true), value) => self.fill(&members, value, at),
            ((members, false), Value::Object(entries)) => self.equalise_map(&members, entries, at),
            ((members, false), Value::Array(elements)) => {
                self.equalise_list(&members, elements, at)
            }
            _ => Err(EditError::Internal("a scalar is no container".to_owned())),
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    scalar_of(value).and_then(|scalar| match scalar {
        automerge::ScalarValue::Int(n) => Some(n),
        _ => None,
    })
}
