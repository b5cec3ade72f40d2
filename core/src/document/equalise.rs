//! Making a place equal to a JSON value by writing only what differs, so that a PUT merges like the edits
//! that a person would have made.

use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value as Stored};
use serde_json::{Map, Value};

use super::genesis::Kind;
use super::pen::{Crdt, Pen, Place};
use super::reading::{self, ROOT_TOMBSTONE, tombstone};
use crate::{EditError, Path, limits};

pub(super) fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

pub(super) fn scalar_of(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(*flag),
        Value::String(text) => ScalarValue::Str(text.as_str().into()),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), _, _) => ScalarValue::Int(n),
            (_, Some(n), _) => ScalarValue::Uint(n),
            (_, _, Some(n)) => ScalarValue::F64(n),
            (None, None, None) => ScalarValue::Null,
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// What an object or an array is stored as.
pub(super) fn container_kind(value: &Value) -> ObjType {
    if value.is_object() {
        ObjType::Map
    } else {
        ObjType::List
    }
}

pub(super) fn check_key(name: &str, at: &Path) -> Result<(), EditError> {
    if name.starts_with('\0') {
        return Err(EditError::Reserved {
            path: at.to_string(),
        });
    }
    if at.parts().len() > limits::DEPTH_MAX {
        return Err(EditError::TooDeep {
            path: at.to_string(),
        });
    }
    Ok(())
}

impl Pen<'_> {
    /// Makes the whole document equal to an object.
    pub(super) fn replace_document(&mut self, value: &Value) -> Result<(), EditError> {
        let Value::Object(entries) = value else {
            return Err(EditError::NotAnObject {
                found: json_kind(value),
            });
        };
        self.unbury_root()?;
        self.equalise_map(&ROOT, entries, &Path::default())?;
        // An empty document that was never written has no change that says that it is there.
        if !reading::present(self.doc) {
            self.doc.put(ROOT, ROOT_TOMBSTONE, true).crdt()?;
            self.doc.delete(ROOT, ROOT_TOMBSTONE).crdt()?;
        }
        Ok(())
    }

    /// Deletes the document as it is seen here.
    pub(super) fn delete_document(&mut self) -> Result<(), EditError> {
        if !reading::present(self.doc) {
            return Ok(());
        }
        self.clear_map(&ROOT, 0)?;
        self.doc.put(ROOT, ROOT_TOMBSTONE, true).crdt()?;
        Ok(())
    }

    /// Sets what stands at a place.
    pub(super) fn set(&mut self, place: &Place, value: &Value, at: &Path) -> Result<(), EditError> {
        match place {
            Place::Entry { map, name } => self.set_entry(map, name, value, at),
            Place::Element { list, index } => self.set_element(list, *index, value, at),
        }
    }

    /// Takes away what stands at a place. A container is emptied, so that what others put into it at the
    /// same time survives.
    pub(super) fn remove(&mut self, place: &Place) -> Result<(), EditError> {
        match place {
            Place::Element { list, index } => Ok(self.doc.delete(list, *index).crdt()?),
            Place::Entry { map, name } => self.remove_entry(map, name, 0),
        }
    }

    fn remove_entry(&mut self, map: &ObjId, name: &str, depth: usize) -> Result<(), EditError> {
        match self
            .doc
            .get(map, name)
            .crdt()?
            .map(|(value, id)| (value.into_owned(), id))
        {
            None => Ok(()),
            Some((Stored::Scalar(_), _)) => Ok(self.doc.delete(map, name).crdt()?),
            Some((Stored::Object(kind), id)) => {
                self.clear(&id, kind, depth + 1)?;
                if self.doc.get(map, tombstone(name)).crdt()?.is_none() {
                    self.doc.put(map, tombstone(name), true).crdt()?;
                }
                Ok(())
            }
        }
    }

    fn clear(&mut self, object: &ObjId, kind: ObjType, depth: usize) -> Result<(), EditError> {
        match kind {
            // Below this nothing is read, either.
            ObjType::Map | ObjType::Table if depth > limits::DEPTH_MAX => Ok(()),
            ObjType::Map | ObjType::Table => self.clear_map(object, depth),
            ObjType::List => {
                let len = self.doc.length(object);
                self.delete_run(object, 0, len)
            }
            ObjType::Text => {
                let len = self.doc.length(object);
                let deleted = isize::try_from(len)
                    .map_err(|_| EditError::Internal("a text too long".to_owned()))?;
                if len > 0 {
                    Ok(self.doc.splice_text(object, 0, deleted, "").crdt()?)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn clear_map(&mut self, map: &ObjId, depth: usize) -> Result<(), EditError> {
        for name in self.names(map) {
            self.remove_entry(map, &name, depth)?;
        }
        Ok(())
    }

    fn names(&self, map: &ObjId) -> Vec<String> {
        self.doc
            .keys(map)
            .filter(|name| !name.starts_with('\0'))
            .collect()
    }

    fn equalise_map(
        &mut self,
        map: &ObjId,
        entries: &Map<String, Value>,
        at: &Path,
    ) -> Result<(), EditError> {
        for name in self.names(map) {
            if !entries.contains_key(&name) {
                self.remove_entry(map, &name, 0)?;
            }
        }
        for (name, value) in entries {
            self.set_entry(map, name, value, &at.child(name))?;
        }
        Ok(())
    }

    pub(super) fn set_entry(
        &mut self,
        map: &ObjId,
        name: &str,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        check_key(name, at)?;
        let found = self
            .doc
            .get(map, name)
            .crdt()?
            .map(|(value, id)| (value.into_owned(), id));
        let place = Place::Entry {
            map: map.clone(),
            name: name.to_owned(),
        };
        match (&found, value) {
            (Some((Stored::Object(ObjType::Map), id)), Value::Object(entries)) => {
                self.unbury(map, name)?;
                self.equalise_map(id, entries, at)
            }
            (Some((Stored::Object(ObjType::List), id)), Value::Array(elements)) => {
                self.unbury(map, name)?;
                self.equalise_list(id, elements, at)
            }
            (Some((Stored::Object(ObjType::Text), id)), Value::String(text)) => {
                self.unbury(map, name)?;
                if self.doc.text(id).crdt()? == *text {
                    Ok(())
                } else {
                    Ok(self.doc.update_text(id, text).crdt()?)
                }
            }
            (_, Value::Object(_) | Value::Array(_)) => {
                if found.is_some() {
                    self.doc.delete(map, name).crdt()?;
                }
                self.unbury(map, name)?;
                let kind = if value.is_object() {
                    Kind::Map
                } else {
                    Kind::List
                };
                let id = self.create(map, name, kind)?;
                self.fill(&id, value, at)
            }
            (Some((Stored::Scalar(old), _)), _) => {
                self.set_scalar(&place, Some(old.as_ref()), value, at)
            }
            _ => {
                self.unbury(map, name)?;
                self.set_scalar(&place, None, value, at)
            }
        }
    }

    fn set_scalar(
        &mut self,
        place: &Place,
        old: Option<&ScalarValue>,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        let Some(new) = scalar_of(value) else {
            return Err(EditError::Internal("a container is no scalar".to_owned()));
        };
        let conflicted = |doc: &automerge::AutoCommit| match place {
            Place::Entry { map, name } => doc.get_all(map, name.as_str()).map(|all| all.len() > 1),
            Place::Element { list, index } => doc.get_all(list, *index).map(|all| all.len() > 1),
        };
        match (old, &new) {
            // Writing the same again is an edit only where it settles a conflict.
            (Some(old), new) if old == new && !conflicted(self.doc).crdt()? => Ok(()),
            // A number over a counter means the difference, so that others' increments still count.
            (Some(ScalarValue::Counter(counter)), ScalarValue::Int(n)) => {
                let overflow = || EditError::Overflow {
                    path: at.to_string(),
                };
                let now = i64::from(counter);
                let by = n.checked_sub(now).ok_or_else(overflow)?;
                self.check_sum(Some(now), by, at)?;
                match place {
                    _ if by == 0 => Ok(()),
                    Place::Entry { map, name } => {
                        Ok(self.doc.increment(map, name.as_str(), by).crdt()?)
                    }
                    Place::Element { list, index } => {
                        Ok(self.doc.increment(list, *index, by).crdt()?)
                    }
                }
            }
            _ => match place {
                Place::Entry { map, name } => Ok(self.doc.put(map, name.as_str(), new).crdt()?),
                Place::Element { list, index } => Ok(self.doc.put(list, *index, new).crdt()?),
            },
        }
    }

    pub(super) fn set_element(
        &mut self,
        list: &ObjId,
        index: usize,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        let found = self
            .doc
            .get(list, index)
            .crdt()?
            .map(|(value, id)| (value.into_owned(), id));
        let place = Place::Element {
            list: list.clone(),
            index,
        };
        match (found, value) {
            (Some((Stored::Object(ObjType::Map), id)), Value::Object(entries)) => {
                self.equalise_map(&id, entries, at)
            }
            (Some((Stored::Object(ObjType::List), id)), Value::Array(elements)) => {
                self.equalise_list(&id, elements, at)
            }
            (Some((Stored::Object(ObjType::Text), id)), Value::String(text)) => {
                Ok(self.doc.update_text(&id, text).crdt()?)
            }
            (_, Value::Object(_) | Value::Array(_)) => {
                let kind = container_kind(value);
                let id = self.doc.put_object(list, index, kind).crdt()?;
                self.fill(&id, value, at)
            }
            (Some((Stored::Scalar(old), _)), _) => {
                self.set_scalar(&place, Some(old.as_ref()), value, at)
            }
            _ => self.set_scalar(&place, None, value, at),
        }
    }

    /// Puts content into a container that was just made.
    fn fill(&mut self, object: &ObjId, value: &Value, at: &Path) -> Result<(), EditError> {
        match value {
            Value::Object(entries) => entries
                .iter()
                .try_for_each(|(name, value)| self.set_entry(object, name, value, &at.child(name))),
            Value::Array(elements) => self.insert_all(object, 0, elements, at),
            _ => Ok(()),
        }
    }

    /// Fills an element that nobody else can know yet, so its insides need no shared identity.
    pub(super) fn fill_new(
        &mut self,
        object: &ObjId,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        match value {
            Value::Array(elements) => self.insert_all(object, 0, elements, at),
            Value::Object(entries) => entries.iter().try_for_each(|(name, value)| {
                let at = at.child(name);
                check_key(name, &at)?;
                if let Some(scalar) = scalar_of(value) {
                    return self.doc.put(object, name.as_str(), scalar).crdt();
                }
                let kind = container_kind(value);
                let id = self.doc.put_object(object, name.as_str(), kind).crdt()?;
                self.fill_new(&id, value, &at)
            }),
            _ => Ok(()),
        }
    }
}
