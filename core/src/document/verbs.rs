//! What each intent means, in terms of the pen.

use serde_json::Value;

use super::pen::Pen;
use super::places::Place;
use super::scalars::{equal, json_kind};
use super::slots::Kind;
use super::standing::Standing;
use crate::{Edit, EditError, Intent, PatchOperation, Path, limits};

impl Pen<'_> {
    pub(super) fn carry_out(&mut self, intent: &Intent) -> Result<(), EditError> {
        match intent {
            Intent::Edits(edits) => {
                check_count(edits.len())?;
                edits.iter().try_for_each(|edit| self.edit(edit))
            }
            Intent::Replace(value) => {
                check_depth(value, &Path::default())?;
                self.replace_document(value)
            }
            Intent::MergePatch(patch) => {
                check_depth(patch, &Path::default())?;
                if !patch.is_object() {
                    return Err(EditError::NotAnObject {
                        found: json_kind(patch),
                    });
                }
                self.revive_root()?;
                self.merge(&Path::default(), patch)?;
                if self.is_there() {
                    return Ok(());
                }
                self.replace_document(&Value::Object(serde_json::Map::new()))
            }
            Intent::Patch(operations) => {
                check_count(operations.len())?;
                operations
                    .iter()
                    .try_for_each(|operation| self.patch(operation))
            }
            Intent::Delete => self.delete_document(),
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::Put { path, value } => {
                check_depth(value, path)?;
                self.put(path, value)
            }
            Edit::Remove { path } => match self.find(path) {
                Ok(Some(place)) => self.remove(&place),
                // Somebody else may have taken it away already: that is what was wanted.
                Ok(None)
                | Err(EditError::NotFound { .. } | EditError::Index { past: true, .. }) => Ok(()),
                Err(error) => Err(error),
            },
            Edit::Increment { path, by } => self.add_to_number(path, Kind::Counter, *by),
            Edit::Adjust { path, by } => self.add_to_number(path, Kind::Quantity, *by),
            Edit::SetAdd { path, value } => {
                check_depth(value, path)?;
                self.set_add(path, value)
            }
            Edit::SetRemove { path, value } => {
                check_depth(value, path)?;
                self.set_remove(path, value)
            }
            Edit::Insert { path, value } => {
                check_depth(value, path)?;
                let (parents, last) = path.split_last().ok_or(EditError::Root)?;
                let lists = self.list(parents)?;
                let index = self.index(&lists, last, true, path)?;
                self.insert(&lists, index, value, path)
            }
            Edit::Append { path, value } => {
                check_depth(value, path)?;
                let lists = self.list(path.parts())?;
                let len = self.len(&lists);
                self.insert(&lists, len, value, &path.child(&len.to_string()))
            }
            Edit::Splice {
                path,
                at,
                delete,
                insert,
            } => self.splice(path, *at, *delete, insert),
        }
    }

    fn list(&mut self, parts: &[String]) -> Result<Vec<automerge::ObjId>, EditError> {
        if parts.is_empty() {
            return Err(EditError::TypeMismatch {
                path: String::new(),
                found: Kind::Map.name(),
                expected: Kind::List.name(),
            });
        }
        self.descend(parts, Kind::List)
    }

    fn put(&mut self, path: &Path, value: &Value) -> Result<(), EditError> {
        if path.parts().is_empty() {
            return self.replace_document(value);
        }
        let place = self.place(path)?;
        self.set(&place, value, path)
    }

    fn splice(
        &mut self,
        path: &Path,
        at: usize,
        delete: usize,
        insert: &str,
    ) -> Result<(), EditError> {
        if path.parts().is_empty() {
            return Err(EditError::Root);
        }
        let texts = self.descend(path.parts(), Kind::Text)?;
        let len = self.len(&texts);
        if at.checked_add(delete).is_none_or(|end| end > len) {
            return Err(EditError::Splice {
                path: path.to_string(),
                len,
                at,
                delete,
            });
        }
        self.splice_texts(&texts, at, delete, insert)
    }

    fn merge(&mut self, path: &Path, patch: &Value) -> Result<(), EditError> {
        let Value::Object(entries) = patch else {
            return self.put(path, patch);
        };
        if !path.parts().is_empty() && !matches!(self.read(path)?, Some(Value::Object(_))) {
            // RFC 7396: what is no object becomes an empty one before it is patched.
            self.put(path, &Value::Object(serde_json::Map::new()))?;
        }
        for (name, value) in entries {
            if name.starts_with('\0') {
                return Err(EditError::Reserved {
                    path: path.child(name).to_string(),
                });
            }
            let at = path.child(name);
            if !value.is_null() {
                self.merge(&at, value)?;
            } else if let Some(place) = self.find(&at)? {
                self.remove(&place)?;
            }
        }
        Ok(())
    }

    fn patch(&mut self, operation: &PatchOperation) -> Result<(), EditError> {
        match operation {
            PatchOperation::Add { path, value } => {
                check_depth(value, path)?;
                self.add_value(path, value)
            }
            PatchOperation::Remove { path } if path.parts().is_empty() => self.delete_document(),
            PatchOperation::Remove { path } => self.take(path).map(|_| ()),
            PatchOperation::Replace { path, value } => {
                check_depth(value, path)?;
                self.present(path)?;
                if self.set_above(path)?.is_some() {
                    self.take(path)?;
                    return self.add_value(path, value);
                }
                self.put(path, value)
            }
            PatchOperation::Move { from, path } if from == path => self.present(from).map(|_| ()),
            PatchOperation::Move { from, path } if path.begins_with(from) => {
                Err(EditError::MoveIntoItself {
                    from: from.to_string(),
                    path: path.to_string(),
                })
            }
            PatchOperation::Move { from, path } => {
                let value = self.take(from)?;
                self.add_value(path, &value)
            }
            PatchOperation::Copy { from, path } => {
                let value = self.present(from)?;
                check_depth(&value, path)?;
                self.add_value(path, &value)
            }
            PatchOperation::Test { path, value } => {
                let found = self.present(path)?;
                if equal(&found, value) {
                    return Ok(());
                }
                Err(EditError::TestFailed {
                    path: path.to_string(),
                    found,
                })
            }
        }
    }

    fn present(&mut self, path: &Path) -> Result<Value, EditError> {
        if let Some(members) = self.set_above(path)? {
            let name = path.split_last().map_or("", |(_, last)| last);
            return self.element_of_set(&members, name, path);
        }
        self.read(path)?.ok_or_else(|| EditError::NotFound {
            path: path.to_string(),
        })
    }

    fn take(&mut self, path: &Path) -> Result<Value, EditError> {
        let value = self.present(path)?;
        if self.set_above(path)?.is_some() {
            let (parents, _) = path.split_last().ok_or(EditError::Root)?;
            self.set_remove(&Path::of(parents), &value)?;
            return Ok(value);
        }
        match self.find(path)? {
            Some(place) => self.remove(&place)?,
            None => {
                return Err(EditError::NotFound {
                    path: path.to_string(),
                });
            }
        }
        Ok(value)
    }

    /// JSON Patch's `add`: a map entry is set, a list element inserted, a set's element added; the parent
    /// must be there.
    fn add_value(&mut self, path: &Path, value: &Value) -> Result<(), EditError> {
        let Some((parents, last)) = path.split_last() else {
            return self.replace_document(value);
        };
        if parents.is_empty() {
            self.revive_root()?;
            let place = Place::Entry {
                maps: vec![automerge::ROOT],
                name: last.to_owned(),
            };
            return self.set(&place, value, path);
        }
        let parent = Path::of(parents);
        let standing = match self.find(&parent)? {
            Some(place) => self.at(&place)?,
            None => None,
        };
        match standing {
            Some(Standing::Container(Kind::List, lists)) => {
                let index = self.index(&lists, last, true, path)?;
                self.insert(&lists, index, value, path)
            }
            Some(Standing::Container(Kind::Set, _)) => self.set_add(&parent, value),
            Some(Standing::Container(Kind::Map, _)) => {
                let place = self.place(path)?;
                self.set(&place, value, path)
            }
            Some(standing) => Err(EditError::TypeMismatch {
                path: parent.to_string(),
                found: standing.describe(),
                expected: "a map or a list",
            }),
            None => Err(EditError::NotFound {
                path: parent.to_string(),
            }),
        }
    }
}

fn check_count(count: usize) -> Result<(), EditError> {
    let max = limits::EDITS_PER_WRITE_MAX;
    if count > max {
        Err(EditError::TooLarge {
            what: "edits in one write",
            value: count,
            max,
        })
    } else {
        Ok(())
    }
}

/// Bounds nesting before anything recurses into the value, and finds numbers that can't be stored.
pub(super) fn check_depth(value: &Value, at: &Path) -> Result<(), EditError> {
    let mut open = vec![(value, at.parts().len())];
    while let Some((value, depth)) = open.pop() {
        if depth > limits::DEPTH_MAX {
            return Err(EditError::TooDeep {
                path: at.to_string(),
            });
        }
        match value {
            Value::Array(elements) => {
                open.extend(elements.iter().map(|element| (element, depth + 1)));
            }
            Value::Object(entries) => open.extend(entries.values().map(|entry| (entry, depth + 1))),
            Value::Number(n)
                if n.as_i64().is_none() && n.as_u64().is_none() && n.as_f64().is_none() =>
            {
                return Err(EditError::Number {
                    path: at.to_string(),
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}
