//! Lists and texts: those that different writers created are read one after the other, so an index leads to
//! one of them and a place there. Turning one list into another.

use automerge::transaction::Transactable;
use automerge::{ObjId, ReadDoc, hydrate};
use serde_json::Value;

use super::difference::{runs, splices};
use super::pen::{Crdt, Pen};
use super::places::check_key;
use super::scalars::{equal, fresh, scalar_of};
use super::slots::Kind;
use super::standing::Standing;
use crate::{EditError, Path};

fn signed(count: usize) -> Result<isize, EditError> {
    isize::try_from(count).map_err(|_| EditError::Internal("a list too long".to_owned()))
}

/// Refuses a value that is nested too deep where it would go, or whose keys are reserved.
pub(super) fn check_fresh(value: &Value, at: &Path) -> Result<(), EditError> {
    let mut open = vec![(value, at.clone())];
    while let Some((value, at)) = open.pop() {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    let at = at.child(name);
                    check_key(name, &at)?;
                    open.push((value, at));
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    if scalar_of(value).is_none() {
                        let at = at.child(&index.to_string());
                        check_key("", &at)?;
                        open.push((value, at));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

impl Pen<'_> {
    /// Puts a value into a container that was just made.
    pub(super) fn fill(
        &mut self,
        members: &[ObjId],
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    let at = at.child(name);
                    check_key(name, &at)?;
                    let map = Self::primary(members);
                    match scalar_of(value) {
                        Some(scalar) => self.doc.put(map, name.as_str(), scalar).crdt()?,
                        None => {
                            check_fresh(value, &at)?;
                            self.doc
                                .batch_create_object(map, name.as_str(), &fresh(value), false)
                                .crdt()?;
                        }
                    }
                }
                Ok(())
            }
            Value::Array(elements) => self.insert_all(members, 0, elements, at),
            _ => Ok(()),
        }
    }

    pub(super) fn len(&self, members: &[ObjId]) -> usize {
        members.iter().map(|object| self.doc.length(object)).sum()
    }

    /// In which object an index is, and where there; the end is the end of the last.
    pub(super) fn locate(&self, members: &[ObjId], mut index: usize) -> (ObjId, usize) {
        // Automerge counts a list's elements one by one.
        if let [only] = members {
            return (only.clone(), index);
        }
        let mut members = members.iter().peekable();
        while let Some(object) = members.next() {
            let len = self.doc.length(object);
            if index < len || members.peek().is_none() {
                return (object.clone(), index);
            }
            index -= len;
        }
        (ObjId::Root, index)
    }

    /// Inserts into a list.
    pub(super) fn insert(
        &mut self,
        lists: &[ObjId],
        index: usize,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        self.insert_all(lists, index, std::slice::from_ref(value), at)
    }

    /// Inserts several values in one run.
    pub(super) fn insert_all(
        &mut self,
        lists: &[ObjId],
        at: usize,
        values: &[Value],
        path: &Path,
    ) -> Result<(), EditError> {
        if values.is_empty() {
            return Ok(());
        }
        check_key("", path)?;
        values
            .iter()
            .try_for_each(|value| check_fresh(value, path))?;
        let (list, index) = self.locate(lists, at);
        self.doc
            .splice(list, index, 0, values.iter().map(fresh))
            .crdt()
    }

    /// Deletes so many elements from an index on.
    pub(super) fn delete_run(
        &mut self,
        lists: &[ObjId],
        index: usize,
        count: usize,
    ) -> Result<(), EditError> {
        let mut left = count;
        while left > 0 {
            let (list, at) = self.locate(lists, index);
            let here = left.min(self.doc.length(&list).saturating_sub(at));
            if here == 0 {
                return Err(EditError::Internal("a list ended too early".to_owned()));
            }
            let nothing = std::iter::empty::<hydrate::Value>();
            self.doc.splice(list, at, signed(here)?, nothing).crdt()?;
            left -= here;
        }
        Ok(())
    }

    /// Deletes and inserts characters of a text.
    pub(super) fn splice_texts(
        &mut self,
        texts: &[ObjId],
        at: usize,
        delete: usize,
        insert: &str,
    ) -> Result<(), EditError> {
        let (first, index) = self.locate(texts, at);
        let here = delete.min(self.doc.length(&first).saturating_sub(index));
        if here > 0 || !insert.is_empty() {
            self.doc
                .splice_text(&first, index, signed(here)?, insert)
                .crdt()?;
        }
        let mut left = delete - here;
        let after = at + insert.chars().count();
        while left > 0 {
            let (text, index) = self.locate(texts, after);
            let here = left.min(self.doc.length(&text).saturating_sub(index));
            if here == 0 {
                return Err(EditError::Internal("a text ended too early".to_owned()));
            }
            self.doc
                .splice_text(&text, index, signed(here)?, "")
                .crdt()?;
            left -= here;
        }
        Ok(())
    }

    /// Makes a text equal to another by the edits that a person might have made.
    pub(super) fn equalise_text(&mut self, texts: &[ObjId], wanted: &str) -> Result<(), EditError> {
        let here = self.view().text(texts);
        if here == wanted {
            return Ok(());
        }
        if let [text] = texts {
            return self.doc.update_text(text, wanted).crdt();
        }
        // From the end, so that what is still to come stays where it is.
        for (at, delete, insert) in splices(&here, wanted).into_iter().rev() {
            self.splice_texts(texts, at, delete, &insert)?;
        }
        Ok(())
    }

    /// Keeps every element that is equal on both sides in order (longest common subsequence), turns what
    /// stands between into what should stand there, and deletes or inserts the rest.
    pub(super) fn equalise_list(
        &mut self,
        lists: &[ObjId],
        wanted: &[Value],
        at: &Path,
    ) -> Result<(), EditError> {
        let Value::Array(here) = self.view().container(Kind::List, lists, 0) else {
            return Err(EditError::Internal(
                "a list does not read as an array".to_owned(),
            ));
        };
        let conflicted: Vec<bool> = lists
            .iter()
            .flat_map(|list| self.doc.list_range(list, ..).map(|item| item.conflict))
            .collect();
        let (mut index, mut from) = (0, 0);
        for (old, new) in runs(&here, wanted) {
            let shared = old.min(new.len());
            for (offset, value) in new[..shared].iter().enumerate() {
                let at = at.child(&index.to_string());
                let odd = conflicted[from + offset] && self.is_conflicted(lists, index);
                if odd || !equal(&here[from + offset], value) {
                    self.set_element(lists, index, value, &at)?;
                }
                index += 1;
            }
            self.delete_run(lists, index, old - shared)?;
            self.insert_all(lists, index, &new[shared..], at)?;
            index += new.len() - shared;
            from += old;
        }
        Ok(())
    }

    fn is_conflicted(&self, lists: &[ObjId], index: usize) -> bool {
        let (list, index) = self.locate(lists, index);
        self.view().claims_of_element(&list, index).len() > 1
    }

    pub(super) fn set_element(
        &mut self,
        lists: &[ObjId],
        index: usize,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        check_fresh(value, at)?;
        let found = self.element(lists, index)?;
        let (list, here) = self.locate(lists, index);
        let conflicted = self.is_conflicted(lists, index);
        match (found, value) {
            (Some(Standing::Container(Kind::Map, id)), Value::Object(entries)) if !conflicted => {
                self.equalise_map(&id, entries, at)
            }
            (Some(Standing::Container(Kind::List, id)), Value::Array(elements)) if !conflicted => {
                self.equalise_list(&id, elements, at)
            }
            (Some(Standing::Container(Kind::Text, id)), Value::String(text)) if !conflicted => {
                self.equalise_text(&id, text)
            }
            (Some(Standing::Number(_, now)), Value::Number(n)) if !conflicted && n.is_i64() => {
                match n.as_i64().and_then(|n| n.checked_sub(now)) {
                    Some(0) => Ok(()),
                    Some(by) => self.doc.increment(list, here, by).crdt(),
                    None => Err(EditError::Overflow {
                        path: at.to_string(),
                    }),
                }
            }
            (_, Value::Object(_) | Value::Array(_)) => {
                self.doc
                    .batch_create_object(list, here, &fresh(value), false)
                    .crdt()?;
                Ok(())
            }
            (found, value) => {
                let new = scalar_of(value);
                match (found, new) {
                    // Writing the same again is an edit only where it settles a conflict.
                    (Some(Standing::Register(old)), Some(new)) if old == new && !conflicted => {
                        Ok(())
                    }
                    (_, Some(new)) => self.doc.put(list, here, new).crdt(),
                    (_, None) => Err(EditError::Internal("a container is no scalar".to_owned())),
                }
            }
        }
    }
}
