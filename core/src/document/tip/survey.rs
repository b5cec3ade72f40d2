//! What a loaded document tells a tip of its places.

use std::collections::{BTreeSet, VecDeque};

use automerge::iter::MapRangeItem;
use automerge::legacy::{ElementId, Key, OpId};
use automerge::{ObjId, ROOT, ReadDoc, ScalarValue, ValueRef};
use serde_json::Value;

use super::ground::{Held, Known, Number, Trail};
use super::{Id, PLACES_MAX, Tip};
use crate::document::cells::Cell;
use crate::document::slots::{Kind, Slot};
use crate::document::standing::{Standing, View};
use crate::document::{Document, sets};
use crate::{Edit, Intent, Path};

/// A document with more places is not looked through: of a map or a set that does not fit, the tip learns the
/// places that are edited.
const SURVEY_MAX: usize = 64;

/// Of so many lists it is looked up where they end.
const ENDS_MAX: usize = 4;

/// A map, and what it is made up of.
struct Found {
    trail: Trail,
    maps: Vec<ObjId>,
    object: Id,
}

impl Document {
    /// Notes all places of a small document, and the upper ones of a large.
    pub(crate) fn survey(&self, tip: &mut Tip) {
        if !self.can_be_known() {
            return;
        }
        tip.places.clear();
        let mut surveyor = Surveyor::new(self.view(), tip);
        surveyor.open.push_back(Found {
            trail: Trail::default(),
            maps: vec![ROOT],
            object: Id::ROOT,
        });
        while let Some(map) = surveyor.open.pop_front() {
            surveyor.map(&map);
        }
        tip.places.shrink_to_fit();
    }

    /// Notes the places that a write edits, just after the document has carried it out.
    pub(crate) fn learn(&self, tip: &mut Tip, intent: &Intent) {
        let Intent::Edits(edits) = intent else {
            return;
        };
        if !self.can_be_known() {
            return;
        }
        let mut surveyor = Surveyor::new(self.view(), tip);
        for edit in edits.iter().take(SURVEY_MAX) {
            surveyor.path(edit);
        }
    }

    /// Nothing is known of a document whose deletion a write would have to take back; and a planted bug is to be
    /// met where it was laid.
    fn can_be_known(&self) -> bool {
        #[cfg(feature = "planted")]
        if self.planted.is_some() {
            return false;
        }
        !self.view().is_buried()
    }
}

struct Surveyor<'a> {
    view: View<'a>,
    tip: &'a mut Tip,
    /// Maps still to be looked through.
    open: VecDeque<Found>,
    /// Lists whose ends were looked up.
    ends: usize,
}

impl<'a> Surveyor<'a> {
    fn new(view: View<'a>, tip: &'a mut Tip) -> Self {
        Self {
            view,
            tip,
            open: VecDeque::new(),
            ends: 0,
        }
    }

    fn map(&mut self, found: &Found) {
        let room = SURVEY_MAX.saturating_sub(self.tip.places.len());
        let view = self.view;
        let items = |map| view.doc.map_range(map, ..).take(room + 1);
        let items: Vec<_> = found.maps.iter().flat_map(items).collect();
        let whole = items.len() <= room;
        let object = found.object;
        self.note(found.trail.end(), Known::Map { object, whole });
        if !whole {
            return;
        }
        // Entries with more to them, or with traces of what is gone.
        let odd = |item: &&MapRangeItem<'_>| {
            let reserved = !matches!(Slot::parse(&item.key), Slot::Entry(_));
            reserved || item.conflict || found.maps.len() > 1
        };
        let names = items.iter().filter(odd);
        let names: BTreeSet<_> = names
            .filter_map(|item| Slot::parse(&item.key).name())
            .collect();
        for name in &names {
            let cell = view.cell(&found.maps, name);
            self.cell(found.trail.child(name), &found.maps, &cell);
        }
        for item in &items {
            if let Slot::Entry(name) = Slot::parse(&item.key)
                && !names.contains(name)
            {
                self.plain(found.trail.child(name), object, item);
            }
        }
    }

    fn note(&mut self, trail: [u8; 16], known: Known) {
        if self.tip.places.len() < PLACES_MAX {
            self.tip.note(trail, Some(known));
        }
    }

    /// A value alone at its entry.
    fn plain(&mut self, trail: Trail, map: Id, item: &MapRangeItem<'_>) {
        if let ValueRef::Object(object) = item.value {
            return self.container(trail, Kind::of(object), vec![item.id()]);
        }
        let value = item.value.clone().into_value();
        let known = match (value.as_scalar(), self.tip.id(&item.id())) {
            (Some(ScalarValue::Counter(counter)), Some(id)) => Known::Number(Number {
                kind: Kind::Counter,
                own_name: true,
                beside: false,
                map,
                counter: id,
                total: i64::from(counter),
            }),
            (Some(scalar), Some(put)) => Known::Register {
                map,
                put,
                value: Held::of(scalar),
                bare: true,
            },
            _ => Known::Other,
        };
        self.note(trail.end(), known);
    }

    /// An entry with more to it.
    fn cell(&mut self, trail: Trail, maps: &[ObjId], cell: &Cell) {
        match self.view.claims(maps, cell, 0).as_slice() {
            [claimed] => match &claimed.standing {
                Standing::Number(kind, total) => {
                    let known = self.number(maps, cell, *kind, *total);
                    self.note(trail.end(), known.unwrap_or(Known::Other));
                }
                Standing::Register(value) => {
                    let known = self.register(maps, cell, value);
                    self.note(trail.end(), known.unwrap_or(Known::Other));
                }
                Standing::Container(kind, members) if self.view.is_made(maps, cell, *kind) => {
                    self.container(trail, *kind, members.clone());
                }
                Standing::Container(..) => self.note(trail.end(), Known::Other),
            },
            _ => self.note(trail.end(), Known::Other),
        }
    }

    /// As `Pen::count` would add to it. One that was removed, and is there by what the remover had not seen, takes
    /// more than that.
    fn number(&mut self, maps: &[ObjId], cell: &Cell, kind: Kind, total: i64) -> Option<Known> {
        if !self.view.is_made(maps, cell, kind) {
            return None;
        }
        let alone = cell.members(kind).find(|part| cell.beside(part, kind) == 1);
        let latest = || cell.members(kind).max_by(|a, b| a.id.cmp(&b.id));
        let part = alone.or_else(latest)?;
        Some(Known::Number(Number {
            kind,
            own_name: cell.is_value(part),
            beside: alone.is_none(),
            map: self.tip.id(&part.map)?,
            counter: self.tip.id(&part.id)?,
            total,
        }))
    }

    fn register(&mut self, maps: &[ObjId], cell: &Cell, value: &ScalarValue) -> Option<Known> {
        let [part] = cell.values.as_slice() else {
            return None;
        };
        let bare = cell.parts.is_empty()
            && cell.graves.is_empty()
            && cell.revivals.is_empty()
            && maps.last() == Some(&part.map);
        Some(Known::Register {
            map: self.tip.id(&part.map)?,
            put: self.tip.id(&part.id)?,
            value: Held::of(value),
            bare,
        })
    }

    fn container(&mut self, trail: Trail, kind: Kind, members: Vec<ObjId>) {
        let object = members.last().and_then(|object| self.tip.id(object));
        match (kind, object, members.as_slice()) {
            (Kind::Map, Some(object), _) => self.open.push_back(Found {
                trail,
                maps: members,
                object,
            }),
            (Kind::Set, Some(object), [set]) => self.set(&trail, set, object),
            (Kind::List, Some(object), [list]) => {
                let last = self.last_of(list);
                self.note(trail.end(), Known::List { object, last });
            }
            _ => self.note(trail.end(), Known::Other),
        }
    }

    /// What inserted the last element of a list, whatever was put there since.
    fn last_of(&mut self, list: &ObjId) -> Option<Id> {
        let Some(index) = self.view.doc.length(list).checked_sub(1) else {
            return Some(Id::ROOT);
        };
        // It takes the change from the history.
        self.ends += 1;
        if self.ends > ENDS_MAX {
            return None;
        }
        let (_, id) = self.view.doc.get(list, index).ok()??;
        let ObjId::Id(counter, ..) = id else {
            return None;
        };
        let hash = self.view.doc.hash_for_opid(&id)?;
        let change = ReadDoc::get_change_by_hash(self.view.doc, &hash)?;
        let at = counter.checked_sub(change.start_op().get())?;
        let change = change.decode();
        let operation = change.operations.get(usize::try_from(at).ok()?)?;
        match (&operation.key, operation.insert) {
            (_, true) => self.tip.id(&id),
            (Key::Seq(ElementId::Id(OpId(counter, actor))), false) => {
                self.tip.id(&ObjId::Id(*counter, actor.clone(), 0))
            }
            _ => None,
        }
    }

    fn set(&mut self, trail: &Trail, set: &ObjId, object: Id) {
        let room = SURVEY_MAX.saturating_sub(self.tip.places.len());
        let items = self.view.doc.map_range(set, ..).take(room + 1);
        let items: Vec<_> = items.collect();
        let whole = items.len() <= room;
        self.note(trail.end(), Known::Set { object, whole });
        if !whole {
            return;
        }
        for item in items {
            let value = item.value.clone().into_value().as_bool();
            let put = self.tip.id(&item.id());
            let known = match (value, put) {
                (Some(value), Some(put)) if !item.conflict => Known::Element { put, value },
                _ => Known::Other,
            };
            self.note(trail.element(&item.key), known);
        }
    }

    /// What an edit's path leads to, and the containers on the way.
    fn path(&mut self, edit: &Edit) {
        let (path, element) = target(edit);
        let Some(path) = path else {
            return;
        };
        let (mut maps, mut object) = (vec![ROOT], Id::ROOT);
        let mut trail = Trail::default();
        for (depth, name) in path.iter().enumerate() {
            let whole = matches!(
                self.tip.known(trail.end()),
                Some(Known::Map { whole: true, .. })
            );
            if !whole {
                self.note(trail.end(), Known::Map { object, whole });
            }
            trail = trail.child(name);
            let cell = self.view.cell(&maps, name);
            let claims = self.view.claims(&maps, &cell, 0);
            let [claimed] = claims.as_slice() else {
                return;
            };
            match &claimed.standing {
                Standing::Container(Kind::Map, members)
                    if depth + 1 < path.len() && self.view.is_made(&maps, &cell, Kind::Map) =>
                {
                    let Some(id) = members.last().and_then(|map| self.tip.id(map)) else {
                        return;
                    };
                    (maps, object) = (members.clone(), id);
                }
                _ if depth + 1 < path.len() => return,
                // It is looked through another time.
                Standing::Container(Kind::Map, _) => return,
                Standing::Container(Kind::Set, members)
                    if self.view.is_made(&maps, &cell, Kind::Set) =>
                {
                    self.member(&trail, members, element);
                    return;
                }
                _ => {
                    self.cell(trail, &maps, &cell);
                    return;
                }
            }
        }
    }

    fn member(&mut self, trail: &Trail, members: &[ObjId], element: Option<&Value>) {
        let [set] = members else {
            return;
        };
        let Some(object) = self.tip.id(set) else {
            return;
        };
        let whole = matches!(
            self.tip.known(trail.end()),
            Some(Known::Set { whole: true, .. })
        );
        self.note(trail.end(), Known::Set { object, whole });
        let key = element.and_then(|element| sets::key_of(element, &Path::default()).ok());
        let Some(key) = key else {
            return;
        };
        let parts: Vec<_> = self.view.all(set, &key).collect();
        let [part] = parts.as_slice() else {
            return;
        };
        if let (Some(put), Some(value)) = (self.tip.id(&part.id), part.value.as_bool()) {
            self.note(trail.element(&key), Known::Element { put, value });
        }
    }
}

/// The place that an edit is about, and the element of a set.
fn target(edit: &Edit) -> (Option<&[String]>, Option<&Value>) {
    match edit {
        Edit::Put { path, .. } | Edit::Increment { path, .. } | Edit::Adjust { path, .. } => {
            (Some(path.parts()), None)
        }
        Edit::SetAdd { path, value } | Edit::SetRemove { path, value } => {
            (Some(path.parts()), Some(value))
        }
        Edit::Insert { path, .. } => (path.split_last().map(|(parents, _)| parents), None),
        Edit::Append { path, .. } => (Some(path.parts()), None),
        // Nothing is left that could be known, or nothing ever can be.
        Edit::Remove { .. } | Edit::Splice { .. } => (None, None),
    }
}
