//! Lists: inserting and deleting in runs, and turning one list into another.

use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType, Value as Stored, hydrate};
use serde_json::Value;

use super::equalise::{check_key, container_kind, scalar_of};
use super::pen::{Crdt, Pen, Place};
use super::reading;
use crate::{EditError, Path, limits};

/// Past this many comparisons the middle of two lists is replaced element by element.
const LIST_COMPARISONS_MAX: usize = 250_000;

/// A value without objects in it, which can be inserted together with its neighbours. Objects can't: the
/// library would take their keys in an order that differs from run to run.
fn bulk(value: &Value) -> Option<hydrate::Value> {
    match value {
        Value::Array(elements) => {
            let elements: Option<Vec<_>> = elements.iter().map(bulk).collect();
            elements.map(hydrate::Value::from)
        }
        value => scalar_of(value).map(hydrate::Value::Scalar),
    }
}

impl Pen<'_> {
    /// Inserts into a list.
    pub(super) fn insert(
        &mut self,
        list: &ObjId,
        index: usize,
        value: &Value,
        at: &Path,
    ) -> Result<(), EditError> {
        check_key("", at)?;
        if let Some(scalar) = scalar_of(value) {
            return self.doc.insert(list, index, scalar).crdt();
        }
        let kind = container_kind(value);
        let id = self.doc.insert_object(list, index, kind).crdt()?;
        self.fill_new(&id, value, at)
    }

    /// Inserts several values, in runs where that can be: one by one, each would seek its place anew.
    pub(super) fn insert_all(
        &mut self,
        list: &ObjId,
        at: usize,
        values: &[Value],
        path: &Path,
    ) -> Result<(), EditError> {
        let mut run = Vec::new();
        let mut index = at;
        for value in values {
            if let Some(value) = bulk(value) {
                run.push(value);
                continue;
            }
            let len = run.len();
            self.doc.splice(list, index, 0, run.drain(..)).crdt()?;
            index += len;
            self.objects += 1;
            if self.objects > limits::LIST_OBJECTS_PER_WRITE_MAX {
                let max = limits::LIST_OBJECTS_PER_WRITE_MAX;
                return Err(EditError::TooLarge {
                    what: "objects put into lists by this write",
                    value: self.objects,
                    max,
                });
            }
            self.insert(list, index, value, &path.child(&index.to_string()))?;
            index += 1;
        }
        if run.is_empty() {
            return Ok(());
        }
        self.doc.splice(list, index, 0, run).crdt()
    }

    /// Deletes so many elements from an index on.
    pub(super) fn delete_run(
        &mut self,
        list: &ObjId,
        index: usize,
        count: usize,
    ) -> Result<(), EditError> {
        let deleted = isize::try_from(count)
            .map_err(|_| EditError::Internal("a list too long".to_owned()))?;
        if count == 0 {
            return Ok(());
        }
        self.doc
            .splice(list, index, deleted, std::iter::empty::<hydrate::Value>())
            .crdt()
    }

    /// Keeps every element that is equal on both sides in order (longest common subsequence), turns what
    /// stands between into what should stand there, and deletes or inserts the rest.
    pub(super) fn equalise_list(
        &mut self,
        list: &ObjId,
        wanted: &[Value],
        at: &Path,
    ) -> Result<(), EditError> {
        let Value::Array(here) = reading::container(self.doc, list, ObjType::List) else {
            return Err(EditError::Internal(
                "a list does not read as an array".to_owned(),
            ));
        };
        let mut index = 0;
        for (old, new) in runs(&here, wanted) {
            let shared = old.min(new.len());
            for value in &new[..shared] {
                let at = at.child(&index.to_string());
                if self.element_differs(list, index, value)? {
                    self.set_element(list, index, value, &at)?;
                }
                index += 1;
            }
            self.delete_run(list, index, old - shared)?;
            self.insert_all(list, index, &new[shared..], at)?;
            index += new.len() - shared;
        }
        Ok(())
    }

    fn element_differs(
        &self,
        list: &ObjId,
        index: usize,
        value: &Value,
    ) -> Result<bool, EditError> {
        let place = Place::Element {
            list: list.clone(),
            index,
        };
        Ok(match self.at(&place)? {
            Some((Stored::Object(kind), id)) => reading::container(self.doc, &id, kind) != *value,
            _ => true,
        })
    }
}

/// Splits two lists into runs: so many old elements become these new ones. An equal element is a run of its
/// own, one to one.
fn runs<'v>(old: &[Value], new: &'v [Value]) -> Vec<(usize, &'v [Value])> {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let suffix = old[prefix..]
        .iter()
        .rev()
        .zip(new[prefix..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (
        &old[prefix..old.len() - suffix],
        &new[prefix..new.len() - suffix],
    );
    let mut runs: Vec<_> = (0..prefix).map(|i| (1, &new[i..=i])).collect();
    if a.len().saturating_mul(b.len()) > LIST_COMPARISONS_MAX {
        runs.push((a.len(), b));
    } else {
        let (mut i, mut j) = (0, 0);
        for (x, y) in common(a, b) {
            runs.push((x - i, &b[j..y]));
            runs.push((1, &b[y..=y]));
            (i, j) = (x + 1, y + 1);
        }
        runs.push((a.len() - i, &b[j..]));
    }
    runs.extend((new.len() - suffix..new.len()).map(|i| (1, &new[i..=i])));
    runs
}

/// Index pairs of a longest common subsequence.
fn common(a: &[Value], b: &[Value]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    let mut best = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            best[i * width + j] = if a[i] == b[j] {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] >= best[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}
