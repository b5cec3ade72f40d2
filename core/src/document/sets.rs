//! Add-wins sets: an addition is a write of its own, and a removal takes the additions that it has seen
//! (the observed-remove set of Shapiro et al., INRIA RR-7506, 2011).

use automerge::transaction::Transactable;
use automerge::{ObjId, ReadDoc};
use serde_json::Value;

use super::pen::{Crdt, Pen};
use super::places::Place;
use super::scalars::normalised;
use super::slots::Kind;
use super::standing::Standing;
use crate::{EditError, Path, limits};

/// An element as the key under which it stands: its canonical JSON.
pub(super) fn key_of(value: &Value, at: &Path) -> Result<String, EditError> {
    let key = normalised(value).to_string();
    if key.len() > limits::SET_ELEMENT_BYTES_MAX {
        return Err(EditError::Element {
            path: at.to_string(),
            len: key.len(),
        });
    }
    Ok(key)
}

impl Pen<'_> {
    pub(super) fn set_add(&mut self, path: &Path, value: &Value) -> Result<(), EditError> {
        if path.parts().is_empty() {
            return Err(EditError::Root);
        }
        let key = key_of(value, path)?;
        let members = self.descend(path.parts(), Kind::Set)?;
        self.add_element(&members, key)
    }

    pub(super) fn set_remove(&mut self, path: &Path, value: &Value) -> Result<(), EditError> {
        let key = key_of(value, path)?;
        let place = match self.find(path) {
            Ok(Some(place)) => place,
            // Nothing there: that is what was wanted.
            Ok(None) | Err(EditError::NotFound { .. } | EditError::Index { past: true, .. }) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.at(&place)? {
            None => Ok(()),
            Some(Standing::Container(Kind::Set, members)) => self.remove_element(&members, &key),
            Some(standing) => Err(EditError::TypeMismatch {
                path: path.to_string(),
                found: standing.describe(),
                expected: Kind::Set.name(),
            }),
        }
    }

    fn add_element(&mut self, members: &[ObjId], key: String) -> Result<(), EditError> {
        let map = Self::primary(members);
        // The value says nothing; but automerge takes a value that is there already for no write.
        let was = self.doc.get(map, key.as_str()).crdt()?;
        let again = was.and_then(|(value, _)| value.as_bool()).unwrap_or(false);
        self.doc.put(map, key, !again).crdt()
    }

    fn remove_element(&mut self, members: &[ObjId], key: &str) -> Result<(), EditError> {
        for map in members {
            if self.doc.get(map, key).crdt()?.is_some() {
                self.doc.delete(map, key).crdt()?;
            }
        }
        Ok(())
    }

    /// Adds and removes what differs.
    pub(super) fn equalise_set(
        &mut self,
        members: &[ObjId],
        wanted: &[Value],
        at: &Path,
    ) -> Result<(), EditError> {
        let wanted = wanted.iter().map(|value| key_of(value, at));
        let wanted = wanted.collect::<Result<std::collections::BTreeSet<_>, _>>()?;
        let here: std::collections::BTreeSet<String> =
            members.iter().flat_map(|map| self.doc.keys(map)).collect();
        for key in here.difference(&wanted) {
            self.remove_element(members, key)?;
        }
        for key in wanted.difference(&here) {
            self.add_element(members, key.clone())?;
        }
        Ok(())
    }

    /// The element at an index of a set's canonical order, which is how JSON Patch names it.
    pub(super) fn element_of_set(
        &self,
        members: &[ObjId],
        name: &str,
        at: &Path,
    ) -> Result<Value, EditError> {
        let mut elements = self.view().set(members);
        let index: Option<usize> = name.parse().ok();
        match index.filter(|index| *index < elements.len()) {
            Some(index) => Ok(elements.swap_remove(index)),
            None => Err(EditError::NotFound {
                path: at.to_string(),
            }),
        }
    }

    /// The set whose element a path names by its index, if it is one.
    pub(super) fn set_above(&self, path: &Path) -> Result<Option<Vec<ObjId>>, EditError> {
        let Some((parents, _)) = path.split_last().filter(|(parents, _)| !parents.is_empty())
        else {
            return Ok(None);
        };
        let Some(place @ Place::Entry { .. }) = self.find(&Path::of(parents))? else {
            return Ok(None);
        };
        Ok(match self.at(&place)? {
            Some(Standing::Container(Kind::Set, members)) => Some(members),
            _ => None,
        })
    }
}
