//! Everything at one entry of a map, gathered from the places where its parts stand and from all objects
//! that make up the map.

use std::collections::BTreeMap;

use automerge::iter::MapRangeItem;
use automerge::{ObjId, ReadDoc, ScalarValue, Value as Stored};

use super::slots::{Kind, RESERVED, Slot};
use super::standing::View;

/// So many reserved keys of a map are looked through; of more, those of one entry are looked up.
const RESERVED_LOOK: usize = 12;

/// One value in an automerge map.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) map: ObjId,
    pub(super) value: Stored<'static>,
    pub(super) id: ObjId,
}

impl Part {
    pub(super) fn counter(&self) -> Option<i64> {
        match &self.value {
            Stored::Scalar(scalar) => match scalar.as_ref() {
                ScalarValue::Counter(counter) => Some(i64::from(counter)),
                _ => None,
            },
            Stored::Object(_) => None,
        }
    }

    /// None for objects and counters.
    pub(super) fn register(&self) -> Option<&ScalarValue> {
        match &self.value {
            Stored::Scalar(scalar) => {
                (!matches!(scalar.as_ref(), ScalarValue::Counter(_))).then(|| scalar.as_ref())
            }
            Stored::Object(_) => None,
        }
    }

    fn kind(&self) -> Option<Kind> {
        match &self.value {
            Stored::Object(object) => Some(Kind::of(*object)),
            Stored::Scalar(_) => self.counter().map(|_| Kind::Counter),
        }
    }

    /// Of a grave: how many objects, or which sum, the remover saw.
    pub(super) fn seen(&self) -> i64 {
        match &self.value {
            Stored::Scalar(scalar) => scalar.as_i64().unwrap_or(0),
            Stored::Object(_) => 0,
        }
    }
}

/// Everything at one entry, unresolved.
#[derive(Default, Debug)]
pub(super) struct Cell {
    pub(super) name: String,
    /// Under the entry's own name.
    pub(super) values: Vec<Part>,
    /// Elsewhere: of counters, quantities and sets.
    pub(super) parts: Vec<(Kind, Part)>,
    pub(super) graves: Vec<(Kind, Part)>,
    pub(super) revivals: Vec<(Kind, Part)>,
}

impl Cell {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.parts.is_empty()
    }

    fn add(&mut self, slot: Slot<'_>, parts: Vec<Part>) {
        match slot {
            Slot::Part(kind, _) => self.parts.extend(of(kind, parts)),
            Slot::Grave(kind, _) => self.graves.extend(of(kind, parts)),
            Slot::Revival(kind, _) => self.revivals.extend(of(kind, parts)),
            Slot::Entry(_) | Slot::Other => self.values.extend(parts),
        }
    }

    fn forget_reserved(&mut self, map: &ObjId) {
        for parts in [&mut self.parts, &mut self.graves, &mut self.revivals] {
            parts.retain(|(_, part)| part.map != *map);
        }
    }

    /// The only value here, if there never was anything else to it.
    pub(super) fn alone(&self) -> Option<&Part> {
        match &self.values[..] {
            [only] if self.parts.is_empty() && self.graves.is_empty() => Some(only),
            _ => None,
        }
    }

    /// What a kind consists of here, buried or not. Whatever else somebody put where its parts stand has no
    /// meaning.
    pub(super) fn members(&self, kind: Kind) -> impl Iterator<Item = &Part> {
        let values = self
            .values
            .iter()
            .filter(move |part| part.kind() == Some(kind));
        let made_of = match kind {
            Kind::Quantity => Kind::Counter,
            Kind::Set => Kind::Map,
            kind => kind,
        };
        let parts = self
            .parts
            .iter()
            .filter(move |(of, part)| *of == kind && part.kind() == Some(made_of));
        values.chain(parts.map(|(_, part)| part))
    }

    pub(super) fn registers(&self) -> impl Iterator<Item = &Part> {
        self.values.iter().filter(|part| part.register().is_some())
    }

    pub(super) fn graves(&self, kind: Kind) -> impl Iterator<Item = &Part> {
        let graves = self.graves.iter().filter(move |(of, _)| *of == kind);
        graves.map(|(_, part)| part)
    }

    pub(super) fn revivals(&self, kind: Kind) -> impl Iterator<Item = &Part> {
        let revivals = self.revivals.iter().filter(move |(of, _)| *of == kind);
        revivals.map(|(_, part)| part)
    }

    /// Whether it stands under the entry's own name.
    pub(super) fn is_value(&self, part: &Part) -> bool {
        self.values.iter().any(|value| value.id == part.id)
    }

    /// How many values stand under the same key as one of a number's parts.
    pub(super) fn beside(&self, part: &Part, kind: Kind) -> usize {
        let here = |other: &&Part| other.map == part.map;
        if self.is_value(part) {
            self.values.iter().filter(here).count()
        } else {
            let parts = self.parts.iter().filter(|(of, _)| *of == kind);
            parts.map(|(_, part)| part).filter(here).count()
        }
    }

    /// The sum of a number's parts, with what was buried.
    pub(super) fn sum(&self, kind: Kind) -> i64 {
        self.members(kind)
            .filter_map(Part::counter)
            .fold(0, i64::saturating_add)
    }
}

/// The entries of a map: those that are plain to read, and those with more to them.
pub(super) type Entries<'a> = (Vec<MapRangeItem<'a>>, BTreeMap<String, Cell>);

impl<'a> View<'a> {
    pub(super) fn all(self, map: &ObjId, key: &str) -> impl Iterator<Item = Part> + use<'a> {
        let found = self.doc.get_all(map, key).unwrap_or_default();
        let map = map.clone();
        found.into_iter().map(move |(value, id)| Part {
            map: map.clone(),
            value: value.into_owned(),
            id,
        })
    }

    /// Everything at one entry of a map that these objects make up.
    pub(super) fn cell(self, maps: &[ObjId], name: &str) -> Cell {
        let mut cell = Cell::named(name);
        for map in maps {
            cell.values.extend(self.all(map, name));
            self.add_reserved(map, &mut cell);
        }
        cell
    }

    /// Adds what stands under reserved keys for an entry. Most maps have none or a few, and then one look is
    /// enough.
    fn add_reserved(self, map: &ObjId, cell: &mut Cell) {
        let (from, to) = RESERVED;
        let mut seen = 0;
        for item in self.doc.map_range(map, from.to_owned()..to.to_owned()) {
            seen += 1;
            if seen > RESERVED_LOOK {
                cell.forget_reserved(map);
                return self.look_up_reserved(map, cell);
            }
            let slot = Slot::parse(&item.key);
            if slot.name() == Some(cell.name.as_str()) {
                let parts = self.parts_of(map, &item);
                cell.add(slot, parts);
            }
        }
    }

    fn look_up_reserved(self, map: &ObjId, cell: &mut Cell) {
        for kind in [Kind::Counter, Kind::Quantity, Kind::Set] {
            let parts = self.all(map, &kind.slot(&cell.name));
            cell.parts.extend(parts.map(|part| (kind, part)));
        }
        for kind in Kind::ALL {
            let graves = self.all(map, &kind.grave(&cell.name));
            cell.graves.extend(graves.map(|part| (kind, part)));
            let revivals = self.all(map, &kind.revival(&cell.name));
            cell.revivals.extend(revivals.map(|part| (kind, part)));
        }
    }

    fn parts_of(self, map: &ObjId, item: &MapRangeItem<'_>) -> Vec<Part> {
        if item.conflict {
            return self.all(map, &item.key).collect();
        }
        vec![Part {
            map: map.clone(),
            id: item.id(),
            value: item.value.clone().into_value(),
        }]
    }

    /// All entries of a map that these objects make up.
    pub(super) fn entries(self, maps: &[ObjId]) -> Entries<'a> {
        let mut plain = Vec::new();
        let mut cells: BTreeMap<String, Cell> = BTreeMap::new();
        for map in maps {
            // Reserved keys come first, so whatever else there is to an entry is known when it comes.
            for item in self.doc.map_range(map, ..) {
                let slot = Slot::parse(&item.key);
                let Some(name) = slot.name() else {
                    continue;
                };
                let entry = matches!(slot, Slot::Entry(_));
                if entry && maps.len() == 1 && !item.conflict && !cells.contains_key(name) {
                    plain.push(item);
                    continue;
                }
                if !cells.contains_key(name) {
                    cells.insert(name.to_owned(), Cell::named(name));
                }
                if let Some(cell) = cells.get_mut(name) {
                    cell.add(slot, self.parts_of(map, &item));
                }
            }
        }
        cells.retain(|_, cell| !cell.is_empty());
        (plain, cells)
    }
}

fn of(kind: Kind, parts: Vec<Part>) -> impl Iterator<Item = (Kind, Part)> {
    parts.into_iter().map(move |part| (kind, part))
}
