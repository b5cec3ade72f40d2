//! What stands at an entry: everything that has been written there and that no removal has seen, put
//! together into values.
//!
//! Objects of one kind that different writers created at the same time are read as one; the counters that
//! make up a number are added. What remains apart are registers, and things of different kinds: then one
//! is read, and the others are conflicts.
//!
//! A removed container is emptied rather than taken out, so that what somebody else does inside it at the
//! same time still has its place. Its *grave* says how many objects the remover saw. A removed number
//! stays as it is, and its grave says how far it had come: from there on it counts. If two removed it at
//! once, what either had seen is looked up in the history. What is made again after its removal gets a
//! *revival* beside the grave.

use std::collections::BTreeMap;

use automerge::iter::MapRangeItem;
use automerge::transaction::Transactable;
use automerge::{
    AutoCommit, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value as Stored, ValueRef,
};

use super::slots::{Kind, RESERVED, ROOT_GRAVE, ROOT_REVIVAL, Slot};
use crate::limits;

/// So many reserved keys of a map are looked through; of more, those of one entry are looked up.
const RESERVED_LOOK: usize = 12;

/// A document to read from.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) doc: &'a AutoCommit,
    #[cfg(feature = "planted")]
    pub(super) planted: Option<crate::Planted>,
}

/// One value in an automerge map.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) map: ObjId,
    pub(super) value: Stored<'static>,
    pub(super) id: ObjId,
}

impl Part {
    fn counter(&self) -> Option<i64> {
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
    fn alone(&self) -> Option<&Part> {
        match &self.values[..] {
            [only] if self.parts.is_empty() && self.graves.is_empty() => Some(only),
            _ => None,
        }
    }

    /// What a kind consists of here, buried or not.
    pub(super) fn members(&self, kind: Kind) -> impl Iterator<Item = &Part> {
        let values = self
            .values
            .iter()
            .filter(move |part| part.kind() == Some(kind));
        let parts = self.parts.iter().filter(move |(of, _)| *of == kind);
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

/// What can be read at a place.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Standing {
    Register(ScalarValue),
    Number(Kind, i64),
    /// A map, a list, a text or a set, and the objects that are read as one, in the order in which they
    /// were created.
    Container(Kind, Vec<ObjId>),
}

impl Standing {
    /// Of a value alone, as in a list.
    pub(super) fn of(value: Stored<'static>, id: ObjId) -> Self {
        match value {
            Stored::Object(object) => Self::Container(Kind::of(object), vec![id]),
            Stored::Scalar(scalar) => match scalar.into_owned() {
                ScalarValue::Counter(counter) => Self::Number(Kind::Counter, i64::from(&counter)),
                scalar => Self::Register(scalar),
            },
        }
    }

    /// As errors name it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Number(kind, _) | Self::Container(kind, _) => kind.name(),
            Self::Register(scalar) => match scalar {
                ScalarValue::Str(_) => "a string",
                ScalarValue::Int(_) | ScalarValue::Uint(_) => "a number",
                ScalarValue::F64(_) => "a number with a fraction",
                ScalarValue::Boolean(_) => "true or false",
                ScalarValue::Null => "null",
                ScalarValue::Timestamp(_) => "a timestamp",
                ScalarValue::Counter(_) => Kind::Counter.name(),
                ScalarValue::Bytes(_) | ScalarValue::Unknown { .. } => "bytes",
            },
        }
    }
}

/// One of the values at an entry.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Claimed {
    pub(super) standing: Standing,
    /// The latest thing that was created for it.
    pub(super) top: ObjId,
}

/// The entries of a map: those that are plain to read, and those with more to them.
pub(super) type Entries<'a> = (Vec<MapRangeItem<'a>>, BTreeMap<String, Cell>);

impl<'a> View<'a> {
    fn all(self, map: &ObjId, key: &str) -> impl Iterator<Item = Part> + use<'a> {
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

    /// The value that is read at an entry.
    pub(super) fn winner(self, maps: &[ObjId], cell: &Cell) -> Option<Standing> {
        if let Some(only) = cell.alone() {
            return Some(Standing::of(only.value.clone(), only.id.clone()));
        }
        self.claims(maps, cell, 0)
            .into_iter()
            .next()
            .map(|claimed| claimed.standing)
    }

    /// The values at an entry: first the one that is read, then those that lost, later ones first.
    pub(super) fn claims(self, maps: &[ObjId], cell: &Cell, depth: usize) -> Vec<Claimed> {
        if let Some(only) = cell.alone() {
            return vec![Claimed {
                standing: Standing::of(only.value.clone(), only.id.clone()),
                top: only.id.clone(),
            }];
        }
        let mut claims = Vec::new();
        for kind in [Kind::Map, Kind::List, Kind::Text, Kind::Set] {
            let mut members: Vec<_> = cell
                .members(kind)
                .filter(|part| matches!(part.value, Stored::Object(_)))
                .map(|part| part.id.clone())
                .collect();
            members.sort();
            #[cfg(feature = "planted")]
            if self.planted == Some(crate::Planted::LocalIdentity) && members.len() > 1 {
                members.drain(..members.len() - 1);
            }
            let Some(top) = members.last().cloned() else {
                continue;
            };
            if self.container_is_there(maps, cell, kind, &members, depth) {
                let standing = Standing::Container(kind, members);
                claims.push(Claimed { standing, top });
            }
        }
        let mut numbers: Vec<_> = [Kind::Counter, Kind::Quantity]
            .into_iter()
            .filter_map(|kind| self.number(maps, cell, kind))
            .collect();
        numbers.sort_by(|a, b| a.top.cmp(&b.top));
        let mut registers: Vec<_> = cell
            .registers()
            .filter_map(|part| Some((part.register()?.clone(), part.id.clone())))
            .collect();
        registers.sort_by(|(_, a), (_, b)| a.cmp(b));
        // An integer beside a counter or quantity is where that begins.
        if let Some(Claimed {
            standing: Standing::Number(_, sum),
            top,
        }) = numbers.last_mut()
            && let Some(at) = registers
                .iter()
                .rposition(|(value, _)| value.as_i64().is_some() && is_integer(value))
        {
            let (base, id) = registers.remove(at);
            *sum = sum.saturating_add(base.as_i64().unwrap_or(0));
            *top = id.max(top.clone());
        }
        claims.extend(numbers);
        claims.extend(registers.into_iter().map(|(value, top)| Claimed {
            standing: Standing::Register(value),
            top,
        }));
        claims.sort_by(|a, b| b.top.cmp(&a.top));
        claims
    }

    fn container_is_there(
        self,
        maps: &[ObjId],
        cell: &Cell,
        kind: Kind,
        members: &[ObjId],
        depth: usize,
    ) -> bool {
        let graves: Vec<_> = cell.graves(kind).collect();
        if graves.is_empty()
            || cell.revivals(kind).next().is_some()
            || self.holds_anything(members, kind, depth + 1)
        {
            return true;
        }
        // Empty, and gone if the removers saw all of it.
        if let [only] = graves[..]
            && usize::try_from(only.seen()) == Ok(members.len())
        {
            return false;
        }
        let then = self.seen_by(&graves);
        let slot = kind.slot(&cell.name);
        let seen: Vec<_> = maps
            .iter()
            .flat_map(|map| {
                self.doc
                    .get_all_at(map, slot.as_str(), &then)
                    .unwrap_or_default()
            })
            .map(|(_, id)| id)
            .collect();
        members.iter().any(|member| !seen.contains(member))
    }

    fn number(self, maps: &[ObjId], cell: &Cell, kind: Kind) -> Option<Claimed> {
        let top = cell
            .members(kind)
            .filter(|part| part.counter().is_some())
            .map(|part| part.id.clone())
            .max()?;
        let sum = cell.sum(kind);
        let value = sum.saturating_sub(self.taken(maps, cell, kind));
        let there = cell.graves(kind).next().is_none() || cell.revivals(kind).next().is_some();
        (there || value != 0).then_some(Claimed {
            standing: Standing::Number(kind, value),
            top,
        })
    }

    /// How much of a number's sum removals have taken.
    fn taken(self, maps: &[ObjId], cell: &Cell, kind: Kind) -> i64 {
        let graves: Vec<_> = cell.graves(kind).collect();
        match graves[..] {
            [] => 0,
            [only] => only.seen(),
            _ => self.sum_at(maps, cell, kind, &self.seen_by(&graves)),
        }
    }

    /// How far a number had come in a part of the history.
    fn sum_at(self, maps: &[ObjId], cell: &Cell, kind: Kind, then: &[ChangeHash]) -> i64 {
        let mut slots = vec![kind.slot(&cell.name)];
        if kind == Kind::Counter {
            slots.push(cell.name.clone());
        }
        let mut sum: i64 = 0;
        for map in maps {
            for slot in &slots {
                for (value, _) in self
                    .doc
                    .get_all_at(map, slot.as_str(), then)
                    .unwrap_or_default()
                {
                    if let Stored::Scalar(scalar) = value
                        && let ScalarValue::Counter(counter) = scalar.as_ref()
                    {
                        sum = sum.saturating_add(i64::from(counter));
                    }
                }
            }
        }
        sum
    }

    /// The history that those had seen who made these.
    fn seen_by(self, parts: &[&Part]) -> Vec<ChangeHash> {
        parts
            .iter()
            .filter_map(|part| self.doc.hash_for_opid(&part.id))
            .collect()
    }

    /// True when there is anything in a container.
    pub(super) fn holds_anything(self, members: &[ObjId], kind: Kind, depth: usize) -> bool {
        // No write of ours goes so deep; whoever's does must not take our stack with it.
        if depth > limits::DEPTH_MAX {
            return false;
        }
        match kind {
            Kind::List | Kind::Text => members.iter().any(|object| self.doc.length(object) > 0),
            Kind::Set => members
                .iter()
                .any(|map| self.doc.map_range(map, ..).next().is_some()),
            Kind::Map => {
                let (plain, cells) = self.entries(members);
                !plain.is_empty()
                    || cells
                        .values()
                        .any(|cell| !self.claims(members, cell, depth).is_empty())
            }
            Kind::Counter | Kind::Quantity => false,
        }
    }

    /// True unless the document was never written, or was deleted and nothing survived that.
    pub(super) fn is_there(self) -> bool {
        if self.doc.is_empty() && self.doc.pending_ops() == 0 {
            return false;
        }
        !self.is_buried() || self.holds_anything(&[ROOT], Kind::Map, 0)
    }

    /// True when somebody deleted the document and nobody has made it again, whether or not anything
    /// survived.
    pub(super) fn is_buried(self) -> bool {
        self.all(&ROOT, ROOT_GRAVE).next().is_some()
            && self.all(&ROOT, ROOT_REVIVAL).next().is_none()
    }
}

fn of(kind: Kind, parts: Vec<Part>) -> impl Iterator<Item = (Kind, Part)> {
    parts.into_iter().map(move |part| (kind, part))
}

pub(super) fn is_integer(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Int(_) => true,
        ScalarValue::Uint(n) => i64::try_from(*n).is_ok(),
        _ => false,
    }
}

/// What a plain entry is.
pub(super) fn plain(item: &MapRangeItem<'_>) -> Option<(Kind, ObjId)> {
    match &item.value {
        ValueRef::Object(
            object @ (ObjType::Map | ObjType::Table | ObjType::List | ObjType::Text),
        ) => Some((Kind::of(*object), item.id())),
        ValueRef::Scalar(_) => None,
    }
}
