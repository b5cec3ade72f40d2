//! One write in the making: edits become operations of our own change, containers become changes of theirs.

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{
    AutoCommit, AutomergeError, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value as Stored,
};
use bytes::Bytes;
use serde_json::Value;

use super::genesis::{self, Kind};
use super::intake;
use super::reading::{self, ROOT_TOMBSTONE, tombstone};
use crate::{EditError, Path, limits};

/// Writes to one document and gathers the changes that come of it, in causal order.
pub(super) struct Pen<'a> {
    pub(super) doc: &'a mut AutoCommit,
    time_s: i64,
    changes: Vec<Bytes>,
    bytes: usize,
    /// Objects put into lists, each of which must seek its place.
    pub(super) objects: usize,
    /// Whether anything went into the document that a rollback can't take back.
    committed: bool,
}

/// A place that a path leads to: an entry of a map, or an element of a list.
pub(super) enum Place {
    Entry { map: ObjId, name: String },
    Element { list: ObjId, index: usize },
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

pub(super) fn describe(value: &Stored<'_>) -> &'static str {
    match value {
        Stored::Object(ObjType::Map | ObjType::Table) => "a map",
        Stored::Object(ObjType::List) => "a list",
        Stored::Object(ObjType::Text) => "a text",
        Stored::Scalar(scalar) => match scalar.as_ref() {
            ScalarValue::Counter(_) => "a counter",
            ScalarValue::Str(_) => "a string",
            ScalarValue::Int(_) | ScalarValue::Uint(_) | ScalarValue::F64(_) => "a number",
            ScalarValue::Boolean(_) => "true or false",
            ScalarValue::Null => "null",
            ScalarValue::Timestamp(_) => "a timestamp",
            ScalarValue::Bytes(_) | ScalarValue::Unknown { .. } => "bytes",
        },
    }
}

fn kind_of(value: &Stored<'_>) -> Option<Kind> {
    match value {
        Stored::Object(ObjType::Map | ObjType::Table) => Some(Kind::Map),
        Stored::Object(ObjType::List) => Some(Kind::List),
        Stored::Object(ObjType::Text) => Some(Kind::Text),
        Stored::Scalar(scalar) => {
            matches!(scalar.as_ref(), ScalarValue::Counter(_)).then_some(Kind::Counter)
        }
    }
}

impl<'a> Pen<'a> {
    pub(super) fn new(doc: &'a mut AutoCommit, time_s: i64) -> Self {
        Self {
            doc,
            time_s,
            changes: Vec::new(),
            bytes: 0,
            objects: 0,
            committed: false,
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

    fn keep(&mut self, bytes: Bytes) -> Result<(), EditError> {
        self.bytes += bytes.len();
        self.changes.push(bytes);
        if self.bytes > limits::BATCH_BYTES_MAX {
            let max = limits::BATCH_BYTES_MAX;
            return Err(EditError::TooLarge {
                what: "bytes of this write's changes",
                value: self.bytes,
                max,
            });
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EditError> {
        if self.doc.pending_ops() == 0 {
            return Ok(());
        }
        let Some(hash) = self
            .doc
            .commit_with(CommitOptions::default().with_time(self.time_s))
        else {
            return Ok(());
        };
        self.committed = true;
        let change = self
            .doc
            .get_change_by_hash(&hash)
            .ok_or_else(|| EditError::Internal("lost a change".to_owned()))?;
        // Measured as everybody measures it who takes it in, this replica after a restart included.
        let operations = intake::measure(change.raw_bytes())
            .ok_or_else(|| EditError::Internal("made a change that nobody takes".to_owned()))?;
        if operations > limits::CHANGE_OPS_MAX {
            let within = |count| usize::try_from(count).unwrap_or(usize::MAX);
            return Err(EditError::TooLarge {
                what: "operations in this write",
                value: within(operations),
                max: within(limits::CHANGE_OPS_MAX),
            });
        }
        self.keep(Bytes::copy_from_slice(change.raw_bytes()))
    }

    /// Creates a container or counter at an empty entry.
    pub(super) fn create(
        &mut self,
        map: &ObjId,
        name: &str,
        kind: Kind,
    ) -> Result<ObjId, EditError> {
        self.commit()?;
        let change = genesis::change(self.doc, map, name, kind)
            .ok_or_else(|| EditError::Internal(format!("no parent for {name:?}")))?;
        let bytes = Bytes::copy_from_slice(change.raw_bytes());
        self.committed = true;
        self.doc.apply_changes([change]).crdt()?;
        self.keep(bytes)?;
        match self.doc.get(map, name).crdt()? {
            Some((_, id)) => Ok(id),
            None => Err(EditError::Internal(format!(
                "{name:?} did not come into being"
            ))),
        }
    }

    /// Takes a tombstone away, if there is one.
    pub(super) fn unbury(&mut self, map: &ObjId, name: &str) -> Result<(), EditError> {
        let stone = tombstone(name);
        if self.doc.get(map, &stone).crdt()?.is_some() {
            self.doc.delete(map, stone).crdt()?;
        }
        Ok(())
    }

    /// The document is there from now on.
    pub(super) fn unbury_root(&mut self) -> Result<(), EditError> {
        if self.doc.get(ROOT, ROOT_TOMBSTONE).crdt()?.is_some() {
            self.doc.delete(ROOT, ROOT_TOMBSTONE).crdt()?;
        }
        Ok(())
    }

    /// What stands at an entry, unless it is gone.
    pub(super) fn entry(
        &self,
        map: &ObjId,
        name: &str,
    ) -> Result<Option<(Stored<'static>, ObjId)>, EditError> {
        let found = self
            .doc
            .get(map, name)
            .crdt()?
            .map(|(value, id)| (value.into_owned(), id));
        Ok(found.filter(|(value, id)| match value {
            Stored::Object(kind) => reading::entry_present(self.doc, map, name, id, *kind),
            Stored::Scalar(_) => true,
        }))
    }

    /// The container or counter at an entry, created there if nothing is.
    pub(super) fn container(
        &mut self,
        map: &ObjId,
        name: &str,
        kind: Kind,
        at: &Path,
    ) -> Result<ObjId, EditError> {
        match self
            .doc
            .get(map, name)
            .crdt()?
            .map(|(value, id)| (value.into_owned(), id))
        {
            None => {
                self.unbury(map, name)?;
                self.create(map, name, kind)
            }
            Some((value, id)) if kind_of(&value) == Some(kind) => {
                self.unbury(map, name)?;
                Ok(id)
            }
            // Emptied and gone, so its name is free for something of another kind.
            Some((Stored::Object(old), id))
                if !reading::entry_present(self.doc, map, name, &id, old) =>
            {
                self.doc.delete(map, name).crdt()?;
                self.unbury(map, name)?;
                self.create(map, name, kind)
            }
            Some((value, _)) => Err(EditError::TypeMismatch {
                path: at.to_string(),
                found: describe(&value),
                expected: kind.name(),
            }),
        }
    }

    /// Follows a path to the container that it names, creating maps on the way and `last` at its end.
    pub(super) fn descend(&mut self, parts: &[String], last: Kind) -> Result<ObjId, EditError> {
        self.unbury_root()?;
        let mut here = (ROOT, ObjType::Map);
        for (depth, name) in parts.iter().enumerate() {
            let at = Path::of(&parts[..=depth]);
            let kind = if depth + 1 == parts.len() {
                last
            } else {
                Kind::Map
            };
            here = match here.1 {
                ObjType::List => {
                    self.element(&here.0, name, kind, depth + 1 == parts.len(), &at)?
                }
                // On the way a list will do as well as a map; only the end must be of the kind asked for.
                _ => match self.entry(&here.0, name)? {
                    Some((Stored::Object(ObjType::List), id)) if depth + 1 < parts.len() => {
                        (id, ObjType::List)
                    }
                    _ => {
                        let id = self.container(&here.0, name, kind, &at)?;
                        (
                            id,
                            if kind == Kind::List {
                                ObjType::List
                            } else {
                                ObjType::Map
                            },
                        )
                    }
                },
            };
        }
        Ok(here.0)
    }

    fn element(
        &self,
        list: &ObjId,
        name: &str,
        kind: Kind,
        last: bool,
        at: &Path,
    ) -> Result<(ObjId, ObjType), EditError> {
        let index = self.index(list, name, false, at)?;
        let Some((value, id)) = self.doc.get(list, index).crdt()? else {
            return Err(EditError::NotFound {
                path: at.to_string(),
            });
        };
        match &value {
            Stored::Object(kind_here @ (ObjType::Map | ObjType::List)) if !last => {
                Ok((id, *kind_here))
            }
            value if kind_of(value) == Some(kind) => Ok((
                id,
                if kind == Kind::List {
                    ObjType::List
                } else {
                    ObjType::Map
                },
            )),
            value => Err(EditError::TypeMismatch {
                path: at.to_string(),
                found: describe(value),
                expected: kind.name(),
            }),
        }
    }

    /// Reads an index: below the length, or up to it (`-` too) where `insert` says so.
    pub(super) fn index(
        &self,
        list: &ObjId,
        name: &str,
        insert: bool,
        at: &Path,
    ) -> Result<usize, EditError> {
        let len = self.doc.length(list);
        let canonical =
            name == "0" || !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
        let index = match name {
            "-" if insert => Some(len),
            _ if canonical => name.parse().ok(),
            _ => None,
        };
        match index {
            Some(index) if index < len || insert && index == len => Ok(index),
            _ if len == 0 && !insert => Err(EditError::NotFound {
                path: at.to_string(),
            }),
            _ => Err(EditError::Index {
                path: at.to_string(),
                len: if insert { len } else { len - 1 },
                dash: insert,
            }),
        }
    }

    /// Where a path leads, without creating anything; none if its parent is not there.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Place>, EditError> {
        let (parents, last) = path.split_last().ok_or(EditError::Root)?;
        let mut here = (ROOT, ObjType::Map);
        for (depth, name) in parents.iter().enumerate() {
            let at = Path::of(&parents[..=depth]);
            let found = match here.1 {
                ObjType::List => {
                    let index = self.index(&here.0, name, false, &at)?;
                    self.doc
                        .get(&here.0, index)
                        .crdt()?
                        .map(|(value, id)| (value.into_owned(), id))
                }
                _ => self.entry(&here.0, name)?,
            };
            here = match found {
                None => return Ok(None),
                Some((Stored::Object(kind @ (ObjType::Map | ObjType::List)), id)) => (id, kind),
                Some((value, _)) => {
                    let expected = "a map or a list";
                    return Err(EditError::TypeMismatch {
                        path: at.to_string(),
                        found: describe(&value),
                        expected,
                    });
                }
            };
        }
        Ok(Some(match here.1 {
            ObjType::List => Place::Element {
                index: self.index(&here.0, last, false, path)?,
                list: here.0,
            },
            _ => Place::Entry {
                map: here.0,
                name: last.to_owned(),
            },
        }))
    }

    /// What stands at a place.
    pub(super) fn at(&self, place: &Place) -> Result<Option<(Stored<'static>, ObjId)>, EditError> {
        match place {
            Place::Entry { map, name } => self.entry(map, name),
            Place::Element { list, index } => Ok(self
                .doc
                .get(list, *index)
                .crdt()?
                .map(|(value, id)| (value.into_owned(), id))),
        }
    }

    /// The JSON reading of what a path names; none if there is nothing.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Value>, EditError> {
        if path.parts().is_empty() {
            return Ok(reading::document(self.doc));
        }
        let Some(place) = self.find(path)? else {
            return Ok(None);
        };
        Ok(self.at(&place)?.map(|(value, id)| match value {
            Stored::Object(kind) => reading::container(self.doc, &id, kind),
            Stored::Scalar(scalar) => reading::scalar(&scalar_ref(&scalar)),
        }))
    }
}

fn scalar_ref(scalar: &ScalarValue) -> automerge::ScalarValueRef<'_> {
    use automerge::ScalarValueRef as Ref;
    match scalar {
        ScalarValue::Bytes(bytes) => Ref::Bytes(bytes.into()),
        ScalarValue::Str(text) => Ref::Str(text.as_str().into()),
        ScalarValue::Int(n) => Ref::Int(*n),
        ScalarValue::Uint(n) => Ref::Uint(*n),
        ScalarValue::F64(n) => Ref::F64(*n),
        ScalarValue::Counter(n) => Ref::Counter(i64::from(n)),
        ScalarValue::Timestamp(n) => Ref::Timestamp(*n),
        ScalarValue::Boolean(flag) => Ref::Boolean(*flag),
        ScalarValue::Unknown { type_code, bytes } => Ref::Unknown {
            type_code: *type_code,
            bytes: bytes.into(),
        },
        ScalarValue::Null => Ref::Null,
    }
}
