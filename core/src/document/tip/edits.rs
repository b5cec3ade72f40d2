//! What edits come to where the tip knows the ground: the same as in `verbs`, `equalise`, `numbers` and `sets`, of
//! places that are simple.

use automerge::ScalarValue;
use automerge::legacy::OpType;
use serde_json::{Map, Value};

use super::Id;
use super::draft::{Draft, Halt};
use super::ground::{Held, Known, Number, Trail};
use crate::document::numbers::check_sum;
use crate::document::scalars::scalar_of;
use crate::document::sets;
use crate::document::slots::{Kind, ROOT_REVIVAL};
use crate::document::verbs::check_depth;
use crate::{Edit, Intent, Path, limits};

/// What a path leads to.
enum Ground {
    Known(Known),
    /// Nothing, and nothing ever was there.
    Absent,
}

impl Draft<'_> {
    pub(super) fn carry_out(&mut self, intent: &Intent) -> Result<(), Halt> {
        match intent {
            Intent::Edits(edits) if edits.len() <= limits::EDITS_PER_WRITE_MAX => {
                edits.iter().try_for_each(|edit| self.edit(edit))
            }
            Intent::Replace(Value::Object(entries)) => self.replace_document(entries),
            Intent::MergePatch(Value::Object(entries)) => {
                self.merge(&Path::default(), entries)?;
                match self.tip.end.present || !self.is_blank() {
                    true => Ok(()),
                    false => Err(Halt::Unclear),
                }
            }
            Intent::Edits(_)
            | Intent::Replace(_)
            | Intent::MergePatch(_)
            | Intent::Patch(_)
            | Intent::Delete => Err(Halt::Unclear),
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), Halt> {
        match edit {
            Edit::Put { path, value } => self.put(path, value),
            Edit::Remove { path } => self.remove(path),
            Edit::Increment { path, by } => self.add_to_number(path, Kind::Counter, *by),
            Edit::Adjust { path, by } => self.add_to_number(path, Kind::Quantity, *by),
            Edit::SetAdd { path, value } => self.set_add(path, value),
            Edit::SetRemove { path, value } => self.set_remove(path, value),
            Edit::Insert { path, value } => match path.split_last() {
                Some((parents, "0")) => self.insert_into(parents, false, value),
                Some((parents, "-")) => self.insert_into(parents, true, value),
                _ => Err(Halt::Unclear),
            },
            Edit::Append { path, value } => self.insert_into(path.parts(), true, value),
            Edit::Splice { .. } => Err(Halt::Unclear),
        }
    }

    /// What a path leads to. Nothing is made.
    fn look(&self, parts: &[String]) -> Result<Ground, Halt> {
        if let Some(known) = self.known(&Trail::of(parts)) {
            return Ok(Ground::Known(known));
        }
        let (_, parents) = parts.split_last().ok_or(Halt::Unclear)?;
        match self.look(parents)? {
            Ground::Absent | Ground::Known(Known::Map { whole: true, .. }) => Ok(Ground::Absent),
            Ground::Known(_) => Err(Halt::Unclear),
        }
    }

    /// The container at a path, made with those above it if it is not there.
    pub(super) fn container(&mut self, parts: &[String], kind: Kind) -> Result<Known, Halt> {
        let trail = Trail::of(parts);
        match (self.known(&trail), kind) {
            (Some(map @ Known::Map { .. }), Kind::Map) => return Ok(map),
            (Some(list @ Known::List { .. }), Kind::List) => return Ok(list),
            (Some(set @ Known::Set { .. }), Kind::Set) => return Ok(set),
            (Some(_), _) => return Err(Halt::Unclear),
            (None, _) => {}
        }
        let (name, parents) = parts.split_last().ok_or(Halt::Unclear)?;
        let map = self.free(parents)?;
        let object = kind.object().ok_or(Halt::Unclear)?;
        let object = self.on_entry(map, &kind.slot(name), OpType::Make(object), None)?;
        let made = made(kind, object).ok_or(Halt::Unclear)?;
        self.note(trail.end(), Some(made))?;
        Ok(made)
    }

    /// The map at a path, for an entry that the tip does not know: then there is none.
    fn free(&mut self, parts: &[String]) -> Result<Id, Halt> {
        match self.container(parts, Kind::Map)? {
            Known::Map {
                object,
                whole: true,
            } => Ok(object),
            _ => Err(Halt::Unclear),
        }
    }

    fn add_to_number(&mut self, path: &Path, kind: Kind, by: i64) -> Result<(), Halt> {
        let (parents, name) = path.split_last().ok_or(Halt::Unclear)?;
        let trail = Trail::of(path.parts()).end();
        match self.tip.known(trail) {
            Some(Known::Number(number)) if number.kind == kind => {
                check_sum(number.total, by, path).map_err(Halt::Refused)?;
                self.count(name, trail, number, by)
            }
            // An integer becomes where the number begins.
            Some(Known::Register {
                map,
                value,
                bare: true,
                ..
            }) => {
                let base = value.integer().ok_or(Halt::Unclear)?;
                if by == 0 {
                    return Ok(());
                }
                check_sum(base, by, path).map_err(Halt::Refused)?;
                self.begin(name, trail, (map, kind, false), (base, by))
            }
            Some(_) => Err(Halt::Unclear),
            None => {
                let map = self.free(parents)?;
                check_sum(0, by, path).map_err(Halt::Refused)?;
                self.begin(name, trail, (map, kind, kind == Kind::Counter), (0, by))
            }
        }
    }

    fn begin(
        &mut self,
        name: &str,
        trail: [u8; 16],
        (map, kind, own_name): (Id, Kind, bool),
        (base, by): (i64, i64),
    ) -> Result<(), Halt> {
        let action = OpType::Put(ScalarValue::counter(by));
        let counter = match own_name {
            true => self.on_entry(map, name, action, None)?,
            false => self.on_entry(map, &kind.slot(name), action, None)?,
        };
        let number = Number {
            kind,
            own_name,
            beside: false,
            map,
            counter,
            total: base + by,
        };
        self.note(trail, Some(Known::Number(number)))
    }

    /// Adds to a number that is there.
    fn count(&mut self, name: &str, trail: [u8; 16], number: Number, by: i64) -> Result<(), Halt> {
        if by == 0 {
            return Ok(());
        }
        if number.beside {
            self.commit(true)?;
        }
        let action = OpType::Increment(by);
        let counter = Some(number.counter);
        match number.own_name {
            true => self.on_entry(number.map, name, action, counter)?,
            false => self.on_entry(number.map, &number.kind.slot(name), action, counter)?,
        };
        if number.beside {
            self.commit(false)?;
        }
        let total = number.total + by;
        self.note(trail, Some(Known::Number(Number { total, ..number })))
    }

    fn put(&mut self, path: &Path, value: &Value) -> Result<(), Halt> {
        let Some((parents, name)) = path.split_last() else {
            return match value {
                Value::Object(entries) => self.replace_document(entries),
                _ => Err(Halt::Unclear),
            };
        };
        let trail = Trail::of(path.parts());
        let end = trail.end();
        let scalar = storable(value, path)?;
        match (self.tip.known(end), scalar) {
            (Some(Known::Number(number)), Some(ScalarValue::Int(wanted))) => {
                let by = wanted.checked_sub(number.total).ok_or(Halt::Unclear)?;
                check_sum(number.total, by, path).map_err(Halt::Refused)?;
                self.count(name, end, number, by)
            }
            (
                Some(Known::Register {
                    map,
                    put,
                    value,
                    bare,
                }),
                Some(scalar),
            ) => {
                if value == Held::of(&scalar) {
                    return Ok(());
                }
                self.register(map, name, end, scalar, (Some(put), bare))
            }
            (Some(_), _) => Err(Halt::Unclear),
            (None, Some(scalar)) => {
                let map = self.free(parents)?;
                self.register(map, name, end, scalar, (None, true))
            }
            (None, None) => {
                let map = self.free(parents)?;
                self.put_container(map, name, &trail, (path.parts().len(), value))
            }
        }
    }

    fn register(
        &mut self,
        map: Id,
        name: &str,
        trail: [u8; 16],
        scalar: ScalarValue,
        (replaced, bare): (Option<Id>, bool),
    ) -> Result<(), Halt> {
        self.weigh_scalar(&scalar)?;
        let value = Held::of(&scalar);
        let put = self.on_entry(map, name, OpType::Put(scalar), replaced)?;
        let register = Known::Register {
            map,
            put,
            value,
            bare,
        };
        self.note(trail, Some(register))
    }

    fn remove(&mut self, path: &Path) -> Result<(), Halt> {
        let (_, name) = path.split_last().ok_or(Halt::Unclear)?;
        match self.look(path.parts())? {
            Ground::Absent => Ok(()),
            Ground::Known(Known::Register { map, put, bare, .. }) => {
                self.on_entry(map, name, OpType::Delete, Some(put))?;
                let left = (!bare).then_some(Known::Other);
                self.note(Trail::of(path.parts()).end(), left)
            }
            Ground::Known(_) => Err(Halt::Unclear),
        }
    }

    fn set_add(&mut self, path: &Path, value: &Value) -> Result<(), Halt> {
        storable(value, path)?;
        let key = sets::key_of(value, path).map_err(|_| Halt::Unclear)?;
        let Known::Set { object, whole } = self.container(path.parts(), Kind::Set)? else {
            return Err(Halt::Unclear);
        };
        let trail = Trail::of(path.parts()).element(&key);
        let (replaced, value) = match self.tip.known(trail) {
            Some(Known::Element { put, value }) => (Some(put), !value),
            None if whole => (None, true),
            _ => return Err(Halt::Unclear),
        };
        let action = OpType::Put(ScalarValue::Boolean(value));
        let put = self.on_entry(object, &key, action, replaced)?;
        self.note(trail, Some(Known::Element { put, value }))
    }

    fn set_remove(&mut self, path: &Path, value: &Value) -> Result<(), Halt> {
        storable(value, path)?;
        let key = sets::key_of(value, path).map_err(|_| Halt::Unclear)?;
        let (object, whole) = match self.look(path.parts())? {
            Ground::Absent => return Ok(()),
            Ground::Known(Known::Set { object, whole }) => (object, whole),
            Ground::Known(_) => return Err(Halt::Unclear),
        };
        let trail = Trail::of(path.parts()).element(&key);
        match self.tip.known(trail) {
            Some(Known::Element { put, .. }) => {
                self.on_entry(object, &key, OpType::Delete, Some(put))?;
                self.note(trail, None)
            }
            None if whole => Ok(()),
            _ => Err(Halt::Unclear),
        }
    }

    fn replace_document(&mut self, entries: &Map<String, Value>) -> Result<(), Halt> {
        let root = self.known(&Trail::default());
        // Only where nothing is there that could differ.
        let Some(Known::Map { whole: true, .. }) = root.filter(|_| self.tip.places.len() == 1)
        else {
            return Err(Halt::Unclear);
        };
        if entries.is_empty() && !self.tip.end.present && self.is_blank() {
            let said = OpType::Put(ScalarValue::Boolean(true));
            return self.on_entry(Id::ROOT, ROOT_REVIVAL, said, None).map(drop);
        }
        entries
            .iter()
            .try_for_each(|(name, value)| self.put(&child(&Path::default(), name)?, value))
    }

    fn merge(&mut self, path: &Path, entries: &Map<String, Value>) -> Result<(), Halt> {
        for (name, value) in entries {
            let at = child(path, name)?;
            match value {
                Value::Null => self.remove(&at)?,
                Value::Object(entries) => {
                    match self.look(at.parts())? {
                        Ground::Known(Known::Map { .. }) => {}
                        Ground::Absent => self.put(&at, &Value::Object(Map::new()))?,
                        Ground::Known(_) => return Err(Halt::Unclear),
                    }
                    self.merge(&at, entries)?;
                }
                value => self.put(&at, value)?,
            }
        }
        Ok(())
    }
}

/// A name that the document would not take is its to refuse.
pub(super) fn child(path: &Path, name: &str) -> Result<Path, Halt> {
    if name.starts_with('\0') || path.parts().len() >= limits::DEPTH_MAX {
        return Err(Halt::Unclear);
    }
    Ok(path.child(name))
}

/// A value's scalar, none of an array or object. What can't be stored at the path is the document's to refuse.
pub(super) fn storable(value: &Value, at: &Path) -> Result<Option<ScalarValue>, Halt> {
    match (value, scalar_of(value)) {
        (Value::Number(_), Some(ScalarValue::Null)) => Err(Halt::Unclear),
        (_, Some(scalar)) => Ok(Some(scalar)),
        (_, None) => {
            check_depth(value, at).map_err(|_| Halt::Unclear)?;
            Ok(None)
        }
    }
}

/// A container without anything in it.
pub(super) fn made(kind: Kind, object: Id) -> Option<Known> {
    let whole = true;
    match kind {
        Kind::Map => Some(Known::Map { object, whole }),
        Kind::Set => Some(Known::Set { object, whole }),
        Kind::List => Some(Known::List {
            object,
            last: Some(Id::ROOT),
        }),
        Kind::Text | Kind::Counter | Kind::Quantity => None,
    }
}
