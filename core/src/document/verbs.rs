//! What each intent means, in terms of the pen.

use automerge::transaction::Transactable;
use automerge::{ObjType, ROOT, ReadDoc, Value as Stored};
use serde_json::Value;

use super::equalise::json_kind;
use super::genesis::Kind;
use super::pen::{Crdt, Pen, Place, describe};
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
                self.unbury_root()?;
                self.merge(&Path::default(), patch)?;
                self.replace_if_never_written()
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

    fn replace_if_never_written(&mut self) -> Result<(), EditError> {
        if self.doc.is_empty() && self.doc.pending_ops() == 0 {
            self.replace_document(&Value::Object(serde_json::Map::new()))?;
        }
        Ok(())
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
                Ok(None) | Err(EditError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            },
            Edit::Increment { path, by } => self.increment(path, *by),
            Edit::Insert { path, value } => {
                check_depth(value, path)?;
                let (parents, last) = path.split_last().ok_or(EditError::Root)?;
                let list = self.list(parents)?;
                let index = self.index(&list, last, true, path)?;
                self.insert(&list, index, value, path)
            }
            Edit::Append { path, value } => {
                check_depth(value, path)?;
                let list = self.list(path.parts())?;
                let len = self.doc.length(&list);
                self.insert(&list, len, value, &path.child(&len.to_string()))
            }
            Edit::Splice {
                path,
                at,
                delete,
                insert,
            } => self.splice(path, *at, *delete, insert),
            Edit::Adjust { .. } | Edit::SetAdd { .. } | Edit::SetRemove { .. } => Err(
                EditError::Internal("quantities and sets are not built yet".to_owned()),
            ),
        }
    }

    fn list(&mut self, parts: &[String]) -> Result<automerge::ObjId, EditError> {
        if parts.is_empty() {
            return Err(EditError::TypeMismatch {
                path: String::new(),
                found: "a map",
                expected: "a list",
            });
        }
        self.descend(parts, Kind::List)
    }

    /// Where a value can be set: parents that are missing are created.
    fn place(&mut self, path: &Path) -> Result<Place, EditError> {
        let (parents, last) = path.split_last().ok_or(EditError::Root)?;
        if !parents.is_empty()
            && let Some(parent) = self.find(&Path::of(parents))?
            && let Some((Stored::Object(ObjType::List), list)) = self.at(&parent)?
        {
            return Ok(Place::Element {
                index: self.index(&list, last, false, path)?,
                list,
            });
        }
        let map = self.descend(parents, Kind::Map)?;
        Ok(Place::Entry {
            map,
            name: last.to_owned(),
        })
    }

    fn put(&mut self, path: &Path, value: &Value) -> Result<(), EditError> {
        if path.parts().is_empty() {
            return self.replace_document(value);
        }
        let place = self.place(path)?;
        self.set(&place, value, path)
    }

    fn increment(&mut self, path: &Path, by: i64) -> Result<(), EditError> {
        let (parents, last) = path.split_last().ok_or(EditError::Root)?;
        if let Some(place @ Place::Element { .. }) = self.find(path)? {
            let Place::Element { list, index } = &place else {
                return Err(EditError::Root);
            };
            return match self.at(&place)? {
                Some((Stored::Scalar(scalar), _))
                    if matches!(scalar.as_ref(), automerge::ScalarValue::Counter(_)) =>
                {
                    self.check_sum(scalar.as_i64(), by, path)?;
                    Ok(self.doc.increment(list, *index, by).crdt()?)
                }
                Some((value, _)) => Err(EditError::TypeMismatch {
                    path: path.to_string(),
                    found: describe(&value),
                    expected: "a counter",
                }),
                None => Err(EditError::NotFound {
                    path: path.to_string(),
                }),
            };
        }
        let map = self.descend(parents, Kind::Map)?;
        self.container(&map, last, Kind::Counter, path)?;
        let now = self
            .doc
            .get(&map, last)
            .crdt()?
            .and_then(|(value, _)| value.as_i64());
        self.check_sum(now, by, path)?;
        self.doc.increment(&map, last, by).crdt()
    }

    pub(super) fn check_sum(
        &self,
        now: Option<i64>,
        by: i64,
        path: &Path,
    ) -> Result<(), EditError> {
        let exact = -limits::COUNTER_MAX..=limits::COUNTER_MAX;
        match now.unwrap_or(0).checked_add(by) {
            Some(sum) if exact.contains(&by) && exact.contains(&sum) => Ok(()),
            _ => Err(EditError::Overflow {
                path: path.to_string(),
            }),
        }
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
        let text = self.descend(path.parts(), Kind::Text)?;
        let len = self.doc.length(&text);
        let fits = at.checked_add(delete).is_some_and(|end| end <= len);
        let (true, Ok(deleted)) = (fits, isize::try_from(delete)) else {
            return Err(EditError::Splice {
                path: path.to_string(),
                len,
                at,
                delete,
            });
        };
        self.doc.splice_text(&text, at, deleted, insert).crdt()
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
                self.add(path, value)
            }
            PatchOperation::Remove { path } => self.take(path).map(|_| ()),
            PatchOperation::Replace { path, value } => {
                check_depth(value, path)?;
                self.present(path)?;
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
                self.add(path, &value)
            }
            PatchOperation::Copy { from, path } => {
                let value = self.present(from)?;
                check_depth(&value, path)?;
                self.add(path, &value)
            }
            PatchOperation::Test { path, value } => {
                let found = self.present(path)?;
                if found == *value {
                    return Ok(());
                }
                Err(EditError::TestFailed {
                    path: path.to_string(),
                    found,
                })
            }
        }
    }

    fn present(&self, path: &Path) -> Result<Value, EditError> {
        self.read(path)?.ok_or_else(|| EditError::NotFound {
            path: path.to_string(),
        })
    }

    fn take(&mut self, path: &Path) -> Result<Value, EditError> {
        let value = self.present(path)?;
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

    /// JSON Patch's `add`: a map entry is set, a list element inserted; the parent must be there.
    fn add(&mut self, path: &Path, value: &Value) -> Result<(), EditError> {
        let Some((parents, last)) = path.split_last() else {
            return self.replace_document(value);
        };
        let parent = Path::of(parents);
        let list = match parents {
            [] => None,
            _ => match self
                .find(&parent)?
                .map(|place| self.at(&place))
                .transpose()?
                .flatten()
            {
                Some((Stored::Object(ObjType::List), id)) => Some(id),
                Some((Stored::Object(ObjType::Map), _)) => None,
                Some((value, _)) => {
                    let expected = "a map or a list";
                    return Err(EditError::TypeMismatch {
                        path: parent.to_string(),
                        found: describe(&value),
                        expected,
                    });
                }
                None => {
                    return Err(EditError::NotFound {
                        path: parent.to_string(),
                    });
                }
            },
        };
        if let Some(list) = list {
            let index = self.index(&list, last, true, path)?;
            return self.insert(&list, index, value, path);
        }
        let map = if parents.is_empty() {
            ROOT
        } else {
            self.descend(parents, Kind::Map)?
        };
        self.unbury_root()?;
        self.set_entry(&map, last, value, path)
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

/// Bounds nesting before anything recurses into the value.
fn check_depth(value: &Value, at: &Path) -> Result<(), EditError> {
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
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}
