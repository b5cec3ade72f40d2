//! Following paths: to where something stands, and to where it shall stand.

use automerge::{ObjId, ROOT, ReadDoc};
use serde_json::Value;

use super::pen::{Crdt, Pen};
use super::slots::Kind;
use super::standing::Standing;
use crate::{EditError, Path, limits};

/// A place that a path leads to: an entry of a map, or an element of a list, each of which may be made up
/// of several objects.
pub(super) enum Place {
    Entry { maps: Vec<ObjId>, name: String },
    Element { lists: Vec<ObjId>, index: usize },
}

/// Where a path has led so far.
enum Here {
    Map(Vec<ObjId>),
    List(Vec<ObjId>),
}

fn mismatch(at: &Path, found: &Standing, expected: &'static str) -> EditError {
    EditError::TypeMismatch {
        path: at.to_string(),
        found: found.describe(),
        expected,
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
    /// Follows a path to the container that it names, creating maps on the way and `last` at its end.
    pub(super) fn descend(
        &mut self,
        parts: &[String],
        last: Kind,
    ) -> Result<Vec<ObjId>, EditError> {
        match self.walk(parts, Some(last))? {
            Here::Map(members) | Here::List(members) => Ok(members),
        }
    }

    /// `last`: what must stand at the end of the path; none: a map, or the list that is there.
    fn walk(&mut self, parts: &[String], last: Option<Kind>) -> Result<Here, EditError> {
        self.revive_root()?;
        let mut here = Here::Map(vec![ROOT]);
        for (depth, name) in parts.iter().enumerate() {
            let wanted = last.filter(|_| depth + 1 == parts.len());
            here = match here {
                Here::Map(maps) => self.enter(&maps, name, wanted, &parts[..=depth])?,
                Here::List(lists) => {
                    let at = Path::of(&parts[..=depth]);
                    let index = self.index(&lists, name, false, &at)?;
                    match self.element(&lists, index)? {
                        Some(Standing::Container(kind, members)) if fits(kind, wanted) => {
                            enterable(kind, members)
                        }
                        Some(standing) => {
                            let expected = wanted.map_or("a map or a list", Kind::name);
                            return Err(mismatch(&at, &standing, expected));
                        }
                        None => {
                            return Err(EditError::NotFound {
                                path: at.to_string(),
                            });
                        }
                    }
                }
            };
        }
        Ok(here)
    }

    fn enter(
        &mut self,
        maps: &[ObjId],
        name: &str,
        wanted: Option<Kind>,
        at: &[String],
    ) -> Result<Here, EditError> {
        if name.starts_with('\0') || at.len() > limits::DEPTH_MAX {
            check_key(name, &Path::of(at))?;
        }
        let cell = self.cell(maps, name);
        match self.view().winner(maps, &cell) {
            None => {
                let kind = wanted.unwrap_or(Kind::Map);
                Ok(enterable(kind, self.create(maps, &cell, kind)?.0))
            }
            Some(Standing::Container(kind, members)) if fits(kind, wanted) => {
                self.revive(maps, &cell, kind)?;
                Ok(enterable(kind, members))
            }
            Some(standing) => {
                let expected = wanted.map_or("a map or a list", Kind::name);
                Err(mismatch(&Path::of(at), &standing, expected))
            }
        }
    }

    /// Reads an index: below the length, or up to it (`-` too) where `insert` says so.
    pub(super) fn index(
        &self,
        lists: &[ObjId],
        name: &str,
        insert: bool,
        at: &Path,
    ) -> Result<usize, EditError> {
        let canonical =
            name == "0" || !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
        let index: Option<usize> = match name {
            "-" if insert => return Ok(self.len(lists)),
            _ if canonical => name.parse().ok(),
            _ => None,
        };
        // Seeking an element is quicker than counting all.
        let fits = match index {
            Some(0) if insert => true,
            Some(index) => self
                .element(lists, if insert { index - 1 } else { index })?
                .is_some(),
            None => false,
        };
        if let Some(index) = index.filter(|_| fits) {
            return Ok(index);
        }
        let len = self.len(lists);
        Err(EditError::Index {
            path: at.to_string(),
            last: if insert {
                Some(len)
            } else {
                len.checked_sub(1)
            },
            dash: insert,
            past: index.is_some(),
        })
    }

    /// Where a path leads, without creating anything; none if its parent is not there.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Place>, EditError> {
        let (parents, last) = path.split_last().ok_or(EditError::Root)?;
        let mut here = Here::Map(vec![ROOT]);
        for (depth, name) in parents.iter().enumerate() {
            let at = Path::of(&parents[..=depth]);
            let found = match &here {
                Here::List(lists) => {
                    let index = self.index(lists, name, false, &at)?;
                    self.element(lists, index)?
                }
                Here::Map(maps) => self.view().winner(maps, &self.cell(maps, name)),
            };
            here = match found {
                None => return Ok(None),
                Some(Standing::Container(kind, members)) => step(kind, members, &at)?,
                Some(standing) => return Err(mismatch(&at, &standing, "a map or a list")),
            };
        }
        self.inside(here, last, path).map(Some)
    }

    /// The place of a name or an index in a container.
    fn inside(&self, here: Here, last: &str, path: &Path) -> Result<Place, EditError> {
        Ok(match here {
            Here::List(lists) => Place::Element {
                index: self.index(&lists, last, false, path)?,
                lists,
            },
            Here::Map(maps) => Place::Entry {
                maps,
                name: last.to_owned(),
            },
        })
    }

    /// What stands at a place.
    pub(super) fn at(&self, place: &Place) -> Result<Option<Standing>, EditError> {
        match place {
            Place::Entry { maps, name } => Ok(self.view().winner(maps, &self.cell(maps, name))),
            Place::Element { lists, index } => self.element(lists, *index),
        }
    }

    pub(super) fn element(
        &self,
        lists: &[ObjId],
        index: usize,
    ) -> Result<Option<Standing>, EditError> {
        let (list, index) = self.locate(lists, index);
        let found = self.doc.get(&list, index).crdt()?;
        Ok(found.map(|(value, id)| Standing::of(value.into_owned(), id)))
    }

    /// The JSON reading of what a path names; none if there is nothing.
    pub(super) fn read(&mut self, path: &Path) -> Result<Option<Value>, EditError> {
        if path.parts().is_empty() {
            return Ok(self.is_there().then(|| self.view().document()));
        }
        let Some(place) = self.find(path)? else {
            return Ok(None);
        };
        Ok(self.at(&place)?.map(|standing| self.view().json(&standing)))
    }

    /// Where a value can be set: parents that are missing are created.
    pub(super) fn place(&mut self, path: &Path) -> Result<Place, EditError> {
        let (parents, last) = path.split_last().ok_or(EditError::Root)?;
        let here = self.walk(parents, None)?;
        self.inside(here, last, path)
    }
}

/// On the way a list will do as well as a map; only the end must be of the kind asked for.
fn fits(kind: Kind, wanted: Option<Kind>) -> bool {
    match wanted {
        Some(wanted) => kind == wanted,
        None => matches!(kind, Kind::Map | Kind::List),
    }
}

fn enterable(kind: Kind, members: Vec<ObjId>) -> Here {
    match kind {
        Kind::List => Here::List(members),
        Kind::Map | Kind::Text | Kind::Counter | Kind::Quantity | Kind::Set => Here::Map(members),
    }
}

/// Into a container on the way; texts and sets have no inside that a path could name.
fn step(kind: Kind, members: Vec<ObjId>, at: &Path) -> Result<Here, EditError> {
    match kind {
        Kind::Map => Ok(Here::Map(members)),
        Kind::List => Ok(Here::List(members)),
        Kind::Text | Kind::Counter | Kind::Quantity | Kind::Set => Err(mismatch(
            at,
            &Standing::Container(kind, members),
            "a map or a list",
        )),
    }
}
