//! The edits that make of one tree another.

use std::collections::BTreeMap;

use serde_json::Value;

use super::alignment::{Hunk, align};
use super::pairing::{Step, steps};
use super::tree::Tree;
use crate::{Edit, Path, PathError};

/// Equal stretches of a text that are shorter than this, in characters, don't part what was changed around
/// them: letters that words share by chance are no reason to interleave them.
const APART_CHARS_MIN: usize = 4;

/// The edits that make the document which reads `there`, and which its type saw as `before`, what its type
/// sees as `after`; none if the type sees no change. A document that is not there is created, with all that
/// its type sees.
///
/// What the type does not see is left alone. What it saw without being there (by a default) is created once
/// it changes.
///
/// # Errors
/// When a name is reserved, or the tree is too deep.
pub(super) fn difference(
    there: Option<&Value>,
    before: &Tree,
    after: &Tree,
) -> Result<Vec<Edit>, PathError> {
    let mut pencil = Pencil::default();
    if before != after {
        match there {
            None => pencil.create(after)?,
            Some(there) => pencil.entry(Some(there), Some(before), Some(after))?,
        }
    }
    Ok(pencil.edits)
}

/// Notes down edits at the place where it is.
#[derive(Default)]
struct Pencil {
    /// A JSON Pointer.
    at: String,
    edits: Vec<Edit>,
}

type Noted = Result<(), PathError>;

impl Pencil {
    fn within(&mut self, name: &str, note: impl FnOnce(&mut Self) -> Noted) -> Noted {
        let len = self.at.len();
        self.at.push('/');
        self.at.push_str(&super::escaped(name));
        note(self)?;
        self.at.truncate(len);
        Ok(())
    }

    fn within_element(&mut self, index: usize, note: impl FnOnce(&mut Self) -> Noted) -> Noted {
        self.within(&index.to_string(), note)
    }

    fn note(&mut self, edit: impl FnOnce(Path) -> Edit) -> Noted {
        let path = Path::parse(&self.at)?;
        self.edits.push(edit(path));
        Ok(())
    }

    fn put(&mut self, value: Value) -> Noted {
        self.note(|path| Edit::Put { path, value })
    }

    fn splice(&mut self, at: usize, delete: usize, insert: String) -> Noted {
        self.note(|path| Edit::Splice {
            path,
            at,
            delete,
            insert,
        })
    }

    /// An entry of a map: what is there, what the type saw there, what it sees there now.
    fn entry(
        &mut self,
        there: Option<&Value>,
        before: Option<&Tree>,
        after: Option<&Tree>,
    ) -> Noted {
        match (there, before, after) {
            (None, _, None) | (_, None, None) => Ok(()),
            (_, Some(before), Some(after)) if before == after => Ok(()),
            (None, _, Some(after)) => self.create(after),
            (Some(_), Some(_), None) => self.note(|path| Edit::Remove { path }),
            (Some(there), Some(before), Some(after)) if mergeable(there, before, after) => {
                self.change(there, before, after)
            }
            (Some(_), _, Some(after)) => self.replace(after),
        }
    }

    /// Something of the same kind as before.
    fn change(&mut self, there: &Value, before: &Tree, after: &Tree) -> Noted {
        match (there, before, after) {
            (_, Tree::Counter(before), Tree::Counter(after)) => {
                let by = after - before;
                self.note(|path| Edit::Increment { path, by })
            }
            (_, Tree::Quantity(before), Tree::Quantity(after)) => {
                let by = after - before;
                self.note(|path| Edit::Adjust { path, by })
            }
            (_, Tree::Set(before), Tree::Set(after)) => self.set(before, after),
            (Value::String(there), _, Tree::Text(after)) => self.text(there, after),
            (Value::Array(there), Tree::List(before), Tree::List(after)) => {
                self.list(there, before, after)
            }
            (Value::Object(there), Tree::Map(before), Tree::Map(after)) => {
                let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
                for (name, entry) in gone {
                    self.within(name, |pencil| {
                        pencil.entry(there.get(name), Some(entry), None)
                    })?;
                }
                for (name, entry) in after {
                    self.within(name, |pencil| {
                        pencil.entry(there.get(name), before.get(name), Some(entry))
                    })?;
                }
                Ok(())
            }
            _ => self.put(after.plain()),
        }
    }

    /// Something of another kind than what is there.
    fn replace(&mut self, after: &Tree) -> Noted {
        if !matches!(after, Tree::Register(_)) {
            self.note(|path| Edit::Remove { path })?;
        }
        self.create(after)
    }

    /// Where there is nothing: by edits at the innermost places, so that what two datacenters create at the same
    /// time merges.
    fn create(&mut self, after: &Tree) -> Noted {
        match after {
            Tree::Register(value) => self.put(value.clone()),
            Tree::Counter(by) => self.note(|path| Edit::Increment { path, by: *by }),
            Tree::Quantity(by) => self.note(|path| Edit::Adjust { path, by: *by }),
            Tree::Set(elements) => self.set(&BTreeMap::new(), elements),
            Tree::Text(text) => self.splice(0, 0, text.clone()),
            Tree::List(elements) if elements.is_empty() => self.put(after.plain()),
            Tree::List(elements) => elements
                .iter()
                .enumerate()
                .try_for_each(|(index, element)| {
                    let value = element.skeleton();
                    self.note(|path| Edit::Append { path, value })?;
                    self.within_element(index, |pencil| pencil.flesh(element))
                }),
            Tree::Map(entries) => {
                let noted = self.edits.len();
                for (name, entry) in entries {
                    self.within(name, |pencil| pencil.create(entry))?;
                }
                // The first entry makes the map; an empty set is none, since it reads like a set that is missing.
                if self.edits.len() == noted {
                    self.put(after.skeleton())?;
                }
                Ok(())
            }
        }
    }

    /// The sets and texts that a skeleton lacks.
    fn flesh(&mut self, after: &Tree) -> Noted {
        match after {
            Tree::Map(entries) => entries.iter().try_for_each(|(name, entry)| {
                self.within(name, |pencil| match entry {
                    Tree::Set(_) | Tree::Text(_) => pencil.create(entry),
                    inner => pencil.flesh(inner),
                })
            }),
            Tree::List(elements) => elements
                .iter()
                .enumerate()
                .try_for_each(|(index, element)| {
                    self.within_element(index, |pencil| pencil.flesh(element))
                }),
            Tree::Register(_)
            | Tree::Counter(_)
            | Tree::Quantity(_)
            | Tree::Set(_)
            | Tree::Text(_) => Ok(()),
        }
    }

    fn set(&mut self, before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Noted {
        for (_, value) in before.iter().filter(|(text, _)| !after.contains_key(*text)) {
            let value = value.clone();
            self.note(|path| Edit::SetRemove { path, value })?;
        }
        for (_, value) in after.iter().filter(|(text, _)| !before.contains_key(*text)) {
            let value = value.clone();
            self.note(|path| Edit::SetAdd { path, value })?;
        }
        Ok(())
    }

    fn text(&mut self, before: &str, after: &str) -> Noted {
        let (before, after): (Vec<_>, Vec<_>) = (before.chars().collect(), after.chars().collect());
        for hunk in joined(align(&before, &after)) {
            // What comes earlier in the text has been changed already, so the place is that in the text after.
            let insert = after[hunk.after.clone()].iter().collect();
            self.splice(hunk.after.start, hunk.before.len(), insert)?;
        }
        Ok(())
    }

    fn list(&mut self, there: &[Value], before: &[Tree], after: &[Tree]) -> Noted {
        // Where we are in the list as it is once the edits noted so far are done.
        let mut index = 0;
        for step in steps(before, after) {
            self.within_element(index, |pencil| match step {
                Step::Keep { from, to } => pencil.element(&there[from], &before[from], &after[to]),
                Step::Remove => pencil.note(|path| Edit::Remove { path }),
                Step::Insert { to } => {
                    let value = after[to].skeleton();
                    pencil.note(|path| Edit::Insert { path, value })?;
                    pencil.flesh(&after[to])
                }
            })?;
            index += usize::from(!matches!(step, Step::Remove));
        }
        Ok(())
    }

    /// An element that stays. Only in maps can things be created on the way; an element is put.
    fn element(&mut self, there: &Value, before: &Tree, after: &Tree) -> Noted {
        if before == after {
            Ok(())
        } else if mergeable(there, before, after) {
            self.change(there, before, after)
        } else {
            self.put(after.skeleton())?;
            self.flesh(after)
        }
    }
}

/// Whether what is there can become what the type sees now by edits inside, since all three are of one kind.
/// They may not be where a type reads what others wrote in a way of its own.
fn mergeable(there: &Value, before: &Tree, after: &Tree) -> bool {
    match (there, before, after) {
        (_, Tree::Register(_), Tree::Register(_))
        | (Value::Number(_), Tree::Counter(_), Tree::Counter(_))
        | (Value::Number(_), Tree::Quantity(_), Tree::Quantity(_))
        | (Value::Array(_), Tree::Set(_), Tree::Set(_))
        | (Value::String(_), Tree::Text(_), Tree::Text(_))
        | (Value::Object(_), Tree::Map(_), Tree::Map(_)) => true,
        (Value::Array(there), Tree::List(before), Tree::List(_)) => there.len() == before.len(),
        _ => false,
    }
}

/// Hunks, those that are close together made one.
fn joined(hunks: Vec<Hunk>) -> Vec<Hunk> {
    let mut joined: Vec<Hunk> = Vec::new();
    for hunk in hunks {
        match joined.last_mut() {
            Some(last) if hunk.before.start - last.before.end < APART_CHARS_MIN => {
                last.before.end = hunk.before.end;
                last.after.end = hunk.after.end;
            }
            _ => joined.push(hunk),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
