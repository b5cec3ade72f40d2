//! Containers that are put in whole, and what is put into lists.

use std::collections::VecDeque;

use automerge::legacy::OpType;
use automerge::{ObjType, ScalarValue};
use serde_json::Value;

use super::Id;
use super::draft::{Draft, Halt};
use super::edits::{made, storable};
use super::ground::{Held, Known, Trail};
use crate::document::scalars::scalar_of;
use crate::document::slots::Kind;
use crate::{Path, limits};

/// A container whose inside is still to be made.
struct Open<'v> {
    object: Id,
    value: &'v Value,
    /// Of its place; none inside a list, where the tip knows no places.
    trail: Option<Trail>,
    depth: usize,
}

impl Draft<'_> {
    /// Puts an array or an object at an entry where nothing is.
    pub(super) fn put_container(
        &mut self,
        map: Id,
        name: &str,
        trail: &Trail,
        (depth, value): (usize, &Value),
    ) -> Result<(), Halt> {
        let (kind, object) = container(value).ok_or(Halt::Unclear)?;
        let object = self.on_entry(map, name, OpType::Make(object), None)?;
        self.note(trail.end(), made(kind, object))?;
        self.fill(Open {
            object,
            value,
            trail: Some(*trail),
            depth,
        })
    }

    /// Puts a value in front of a list or at its end.
    pub(super) fn insert_into(
        &mut self,
        parts: &[String],
        at_end: bool,
        value: &Value,
    ) -> Result<(), Halt> {
        let scalar = storable(value, &Path::of(parts).child("0"))?;
        let Known::List { object, last } = self.container(parts, Kind::List)? else {
            return Err(Halt::Unclear);
        };
        let depth = parts.len() + 1;
        if depth > limits::DEPTH_MAX {
            return Err(Halt::Unclear);
        }
        let after = match at_end {
            true => last.ok_or(Halt::Unclear)?,
            false => Id::ROOT,
        };
        let element = self.element(object, after, value, scalar)?;
        if Some(after) == last {
            let last = Some(element);
            let list = Known::List { object, last };
            self.note(Trail::of(parts).end(), Some(list))?;
        }
        if container(value).is_none() {
            return Ok(());
        }
        self.fill(Open {
            object: element,
            value,
            trail: None,
            depth,
        })
    }

    fn element(
        &mut self,
        list: Id,
        after: Id,
        value: &Value,
        scalar: Option<ScalarValue>,
    ) -> Result<Id, Halt> {
        match (scalar, container(value)) {
            (Some(scalar), _) => {
                self.weigh_scalar(&scalar)?;
                self.insert(list, after, OpType::Put(scalar))
            }
            (None, Some((_, object))) => self.insert(list, after, OpType::Make(object)),
            (None, None) => Err(Halt::Unclear),
        }
    }

    /// Makes what is inside a container that was just made, level by level, as automerge does it.
    fn fill(&mut self, first: Open<'_>) -> Result<(), Halt> {
        let mut queue = VecDeque::from([first]);
        while let Some(open) = queue.pop_front() {
            match open.value {
                Value::Object(entries) => {
                    let mut entries: Vec<_> = entries.iter().collect();
                    entries.sort_unstable_by_key(|(name, _)| *name);
                    for (name, value) in entries {
                        let inside = self.fill_entry(&open, name, value)?;
                        queue.extend(inside);
                    }
                }
                Value::Array(elements) => {
                    let mut last = Id::ROOT;
                    for value in elements {
                        last = self.element(open.object, last, value, scalar_of(value))?;
                        queue.extend(container(value).map(|_| Open {
                            object: last,
                            value,
                            trail: None,
                            depth: open.depth + 1,
                        }));
                    }
                    if let Some(trail) = &open.trail {
                        let (object, last) = (open.object, Some(last));
                        self.note(trail.end(), Some(Known::List { object, last }))?;
                    }
                }
                _ => return Err(Halt::Unclear),
            }
        }
        Ok(())
    }

    fn fill_entry<'v>(
        &mut self,
        open: &Open<'_>,
        name: &str,
        value: &'v Value,
    ) -> Result<Option<Open<'v>>, Halt> {
        let depth = open.depth + 1;
        if name.starts_with('\0') || depth > limits::DEPTH_MAX {
            return Err(Halt::Unclear);
        }
        let trail = open.trail.as_ref().map(|trail| trail.child(name));
        let map = open.object;
        let (known, inside) = match (scalar_of(value), container(value)) {
            (Some(scalar), _) => {
                self.weigh_scalar(&scalar)?;
                let value = Held::of(&scalar);
                let put = self.on_entry(map, name, OpType::Put(scalar), None)?;
                let bare = true;
                let register = Known::Register {
                    map,
                    put,
                    value,
                    bare,
                };
                (Some(register), None)
            }
            (None, Some((kind, object))) => {
                let object = self.on_entry(map, name, OpType::Make(object), None)?;
                (made(kind, object), Some(object))
            }
            (None, None) => return Err(Halt::Unclear),
        };
        if let Some(trail) = &trail {
            self.note(trail.end(), known)?;
        }
        Ok(inside.map(|object| Open {
            object,
            value,
            trail,
            depth,
        }))
    }

    pub(super) fn weigh_scalar(&mut self, scalar: &ScalarValue) -> Result<(), Halt> {
        match scalar {
            ScalarValue::Str(text) => self.weigh(text.len()),
            _ => self.weigh(8),
        }
    }
}

/// What an array or object is made as.
fn container(value: &Value) -> Option<(Kind, ObjType)> {
    match value {
        Value::Array(_) => Some((Kind::List, ObjType::List)),
        Value::Object(_) => Some((Kind::Map, ObjType::Map)),
        _ => None,
    }
}
