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

use std::collections::BTreeSet;

use automerge::iter::MapRangeItem;
use automerge::transaction::Transactable;
use automerge::{
    AutoCommit, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value as Stored, ValueRef,
};

use super::cells::{Cell, Part};
use super::slots::{Kind, ROOT_GRAVE, ROOT_REVIVAL};
use crate::limits;

/// A document to read from.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) doc: &'a AutoCommit,
    #[cfg(feature = "planted")]
    pub(super) planted: Option<crate::Planted>,
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

impl<'a> View<'a> {
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
            let mut members: Vec<_> = cell.members(kind).map(|part| part.id.clone()).collect();
            members.sort();
            #[cfg(feature = "planted")]
            if self.planted == Some(crate::Planted::LocalIdentity) && members.len() > 1 {
                members.drain(..members.len() - 1);
            }
            let Some(top) = members.last().cloned() else {
                continue;
            };
            if self.is_made(maps, cell, kind) || self.holds_anything(&members, kind, depth + 1) {
                let standing = Standing::Container(kind, members);
                claims.push(Claimed { standing, top });
            }
        }
        let mut registers: Vec<_> = cell
            .registers()
            .filter_map(|part| Some((part.register()?.clone(), part.id.clone())))
            .collect();
        registers.sort_by(|(_, a), (_, b)| b.cmp(a));
        // Two who wrote the same agree.
        let mut told = BTreeSet::new();
        registers.retain(|(value, _)| told.insert(format!("{value:?}")));
        let mut apart = registers;
        let mut numbers: Vec<_> = [Kind::Counter, Kind::Quantity]
            .into_iter()
            .filter_map(|kind| self.number(maps, cell, kind))
            .collect();
        // An integer beside a counter or quantity is where that begins.
        if !numbers.is_empty()
            && let Some(at) = apart.iter().position(|(value, _)| is_integer(value))
        {
            let (base, id) = apart.remove(at);
            for claimed in &mut numbers {
                if let Standing::Number(_, sum) = &mut claimed.standing {
                    *sum = sum.saturating_add(base.as_i64().unwrap_or(0));
                }
            }
            if let Some(last) = numbers.iter_mut().max_by(|a, b| a.top.cmp(&b.top)) {
                last.top = id.max(last.top.clone());
            }
        }
        claims.extend(numbers);
        claims.extend(apart.into_iter().map(|(value, top)| Claimed {
            standing: Standing::Register(value),
            top,
        }));
        claims.sort_by(|a, b| b.top.cmp(&a.top));
        claims
    }

    /// The values at one element of a list: first the one that is read, then those that lost.
    pub(super) fn claims_of_element(self, list: &ObjId, index: usize) -> Vec<Claimed> {
        let all = self.doc.get_all(list, index).unwrap_or_default();
        let mut all: Vec<_> = all
            .into_iter()
            .map(|(value, id)| (value.into_owned(), id))
            .collect();
        all.sort_by(|(_, a), (_, b)| b.cmp(a));
        let mut told = BTreeSet::new();
        all.retain(|(value, _)| match value {
            Stored::Object(_) => true,
            Stored::Scalar(value) => told.insert(format!("{value:?}")),
        });
        let claimed = |(value, top): (Stored<'static>, ObjId)| Claimed {
            standing: Standing::of(value, top.clone()),
            top,
        };
        all.into_iter().map(claimed).collect()
    }

    /// Whether somebody made this whom no remover has seen: then it is there, even with nothing in it.
    pub(super) fn is_made(self, maps: &[ObjId], cell: &Cell, kind: Kind) -> bool {
        let graves: Vec<_> = cell.graves(kind).collect();
        if graves.is_empty() || cell.revivals(kind).next().is_some() {
            return true;
        }
        let members: Vec<_> = cell.members(kind).collect();
        // One of the removers saw all there is. Of a number a grave tells the sum, so only one part is told.
        let all = match kind.object() {
            Some(_) => graves
                .iter()
                .any(|grave| usize::try_from(grave.seen()) == Ok(members.len())),
            None => members.len() == 1,
        };
        if all {
            return false;
        }
        let then = self.seen_by(&graves);
        let seen: Vec<_> = self
            .parts_at(maps, cell, kind, &then)
            .map(|(_, id)| id)
            .collect();
        members.iter().any(|member| !seen.contains(&member.id))
    }

    fn number(self, maps: &[ObjId], cell: &Cell, kind: Kind) -> Option<Claimed> {
        let parts = cell.members(kind).filter(|part| part.counter().is_some());
        let top = parts.map(|part| part.id.clone()).max()?;
        let value = cell.sum(kind).saturating_sub(self.taken(maps, cell, kind));
        (value != 0 || self.is_made(maps, cell, kind)).then_some(Claimed {
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
        let counters = self
            .parts_at(maps, cell, kind, then)
            .filter_map(|(value, _)| match value {
                Stored::Scalar(scalar) => match scalar.as_ref() {
                    ScalarValue::Counter(counter) => Some(i64::from(counter)),
                    _ => None,
                },
                Stored::Object(_) => None,
            });
        counters.fold(0, i64::saturating_add)
    }

    /// What stood where a kind's parts stand, in a part of the history.
    fn parts_at<'v>(
        self,
        maps: &'v [ObjId],
        cell: &Cell,
        kind: Kind,
        then: &'v [ChangeHash],
    ) -> impl Iterator<Item = (Stored<'a>, ObjId)> + use<'a, 'v> {
        let mut slots = vec![kind.slot(&cell.name)];
        if kind == Kind::Counter {
            slots.push(cell.name.clone());
        }
        maps.iter().flat_map(move |map| {
            let at = |slot: &String| {
                self.doc
                    .get_all_at(map, slot.as_str(), then)
                    .unwrap_or_default()
            };
            slots.iter().flat_map(at).collect::<Vec<_>>()
        })
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

    /// The changes that deleted the document, if it was deleted, not made again, and nothing in it survived.
    pub(super) fn deleted_by(self) -> Option<Vec<ChangeHash>> {
        if !self.is_buried() || self.holds_anything(&[ROOT], Kind::Map, 0) {
            return None;
        }
        let graves: Vec<_> = self.all(&ROOT, ROOT_GRAVE).collect();
        Some(self.seen_by(&graves.iter().collect::<Vec<_>>()))
    }

    /// True when somebody deleted the document and nobody has made it again, whether or not anything
    /// survived.
    pub(super) fn is_buried(self) -> bool {
        self.all(&ROOT, ROOT_GRAVE).next().is_some()
            && self.all(&ROOT, ROOT_REVIVAL).next().is_none()
    }
}

/// True unless the document was never written, or was deleted and nothing survived that.
pub(super) fn is_there(
    doc: &mut AutoCommit,
    #[cfg(feature = "planted")] planted: Option<crate::Planted>,
) -> bool {
    if doc.is_empty() && doc.pending_ops() == 0 {
        return false;
    }
    let view = View {
        doc,
        #[cfg(feature = "planted")]
        planted,
    };
    match view.deleted_by() {
        None => true,
        // Whoever made it where there was none, unseen by those who deleted it, still has it.
        Some(_) if doc.pending_ops() > 0 => false,
        Some(deleters) => {
            let unseen = doc.get_changes_meta(&deleters);
            unseen.iter().any(|change| change.deps.is_empty())
        }
    }
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
