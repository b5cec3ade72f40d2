//! What a document means, said as shortly as it can be: a document is the set of assertions which no removal
//! has seen. An edit, made on what its writer could see, adds assertions and kills some that are there; what
//! a replica shows follows from the set of events that it has, in whatever order they came.
//!
//! The model leaves open what `docs/types.md` leaves open: which of several concurrent values is read, and in
//! which order concurrent neighbours stand. [`Model::explain`] takes what a replica shows and says
//! whether it is one of the readings allowed; the choices that the replica made are those on which it edits.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_core::{Edit, Intent, Path};
use serde_json::{Map, Value};

/// The number of an event, and which of its assertions.
pub(crate) type Id = (usize, usize);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Register,
    Counter,
    Quantity,
    Set,
    Map,
    List,
    Text,
}

/// Two things of one kind under one name are one thing. What stands in a list element belongs to the value
/// that was put there, and goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Name(String, Kind),
    Item(Id),
}

/// Where a thing is: the names and kinds from the document (which is the empty place) to it.
pub(crate) type Place = Vec<Step>;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Says {
    /// The container (or document) is there.
    There,
    /// A register's value.
    Put(Value),
    /// So much is added to a counter or quantity.
    Add(i64),
    /// The set has this element.
    Member(Value),
    /// An element of a list, or a character of a text, holds this; a container, if it is of that kind.
    Item {
        element: Id,
        value: Result<Value, Kind>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Assertion {
    pub(crate) id: Id,
    pub(crate) place: Place,
    pub(crate) says: Says,
}

/// One local edit.
#[derive(Clone, Default, Debug)]
pub(crate) struct Event {
    pub(crate) writer: usize,
    pub(crate) seen: BTreeSet<usize>,
    pub(crate) says: Vec<Assertion>,
    pub(crate) kills: BTreeSet<Id>,
    /// Lists and texts into which it inserted, in the order in which the writer then saw their elements.
    pub(crate) rows: Vec<(Place, Vec<Id>)>,
}

/// What is read at a place, and what lost against it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) read: Thing,
    pub(crate) lost: Vec<Thing>,
}

#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) held: Held,
    /// The assertions that make it, those inside it included.
    pub(crate) of: BTreeSet<Id>,
}

#[derive(Clone, Debug)]
pub(crate) enum Held {
    Scalar(Value),
    Sum(i64),
    Set(Vec<Value>),
    Map(BTreeMap<String, Slot>),
    List(Vec<(Id, Slot)>),
    Text(Vec<(Id, String)>),
}

/// The edit does not fit what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

/// All edits ever made to one document, anywhere.
#[derive(Clone, Default, Debug)]
pub(crate) struct Model {
    pub(crate) events: Vec<Event>,
}

impl Model {
    /// What the events say and no removal among them has seen.
    pub(crate) fn live(&self, seen: &BTreeSet<usize>) -> Vec<&Assertion> {
        let events = || seen.iter().map(|event| &self.events[*event]);
        let killed: BTreeSet<Id> = events()
            .flat_map(|event| event.kills.iter().copied())
            .collect();
        let alive = |id: &Id| !killed.contains(id);
        let inside_alive =
            |step: &Step| !matches!(step, Step::Item(holder) if killed.contains(holder));
        let said = events().flat_map(|event| &event.says);
        said.filter(|said| alive(&said.id) && said.place.iter().all(inside_alive))
            .collect()
    }

    /// The edit that a writer makes who has seen these events and reads `root` (none: no document).
    pub(crate) fn write(
        &self,
        writer: usize,
        seen: &BTreeSet<usize>,
        root: Option<&Thing>,
        intent: &Intent,
    ) -> Result<Event, Refused> {
        let event = Event {
            writer,
            seen: seen.clone(),
            ..Event::default()
        };
        let mut draft = Draft {
            number: self.events.len(),
            live: self.live(seen),
            event,
        };
        let nothing = Thing {
            kind: Kind::Map,
            place: Place::new(),
            held: Held::Map(BTreeMap::new()),
            of: BTreeSet::new(),
        };
        draft.carry_out(root.unwrap_or(&nothing), intent)?;
        Ok(draft.event)
    }
}

/// Where a value can be: an entry of a map, or an element of a list.
enum At {
    Entry(Place, String),
    Element(Place, Id),
}

impl At {
    fn place(&self, kind: Kind) -> Place {
        let (Self::Entry(place, _) | Self::Element(place, _)) = self;
        let mut place = place.clone();
        if let Self::Entry(_, name) = self {
            place.push(Step::Name(name.clone(), kind));
        }
        place
    }
}

type Spot<'v> = (At, Option<&'v Slot>);

struct Draft<'m> {
    number: usize,
    live: Vec<&'m Assertion>,
    event: Event,
}

impl Draft<'_> {
    fn say(&mut self, place: Place, says: Says) -> Id {
        let id = (self.number, self.event.says.len());
        self.event.says.push(Assertion { id, place, says });
        id
    }

    /// Whoever writes into a container says that it is there, unless that has been said and not removed since.
    fn there(&mut self, place: &Place) {
        let own = self.event.says.iter();
        let mut said = self.live.iter().copied().chain(own);
        let item = matches!(place.last(), Some(Step::Item(_)));
        if !item && !said.any(|said| said.says == Says::There && said.place == *place) {
            self.say(place.clone(), Says::There);
        }
    }

    fn carry_out(&mut self, root: &Thing, intent: &Intent) -> Result<(), Refused> {
        match intent {
            Intent::Edits(edits) => edits.iter().try_for_each(|edit| self.edit(root, edit)),
            Intent::Replace(value) => self.equalise(root, value),
            Intent::Delete => {
                self.event
                    .kills
                    .extend(self.live.iter().map(|said| said.id));
                Ok(())
            }
            Intent::MergePatch(_) | Intent::Patch(_) => {
                unreachable!("these are made of the others")
            }
        }
    }

    fn edit(&mut self, root: &Thing, edit: &Edit) -> Result<(), Refused> {
        match edit {
            Edit::Put { path, value } => {
                let (at, slot) = self.walk(root, path.parts())?;
                self.set(&at, slot, value)
            }
            Edit::Remove { path } => {
                if let Some((_, Some(slot))) = find(root, path.parts())? {
                    self.event.kills.extend(&slot.read.of);
                    self.event
                        .kills
                        .extend(slot.lost.iter().flat_map(|lost| &lost.of));
                }
                Ok(())
            }
            Edit::Increment { path, by } => self.add(root, path, Kind::Counter, *by),
            Edit::Adjust { path, by } => self.add(root, path, Kind::Quantity, *by),
            Edit::SetAdd { path, value } => {
                let (place, _) = self.container(root, path.parts(), Kind::Set)?;
                self.say(place, Says::Member(normal(value)));
                Ok(())
            }
            Edit::SetRemove { path, value } => {
                let Some((_, Some(slot))) = find(root, path.parts())? else {
                    return Ok(());
                };
                let Held::Set(_) = slot.read.held else {
                    return Err(Refused);
                };
                self.remove_member(&slot.read.place, &normal(value));
                Ok(())
            }
            Edit::Insert { path, value } => {
                let (list, index) = path.split_last().ok_or(Refused)?;
                let (place, row) = self.container(root, list, Kind::List)?;
                let index = index
                    .parse()
                    .ok()
                    .filter(|at| *at <= row.len())
                    .ok_or(Refused)?;
                self.replace(&place, row, index, 0, std::slice::from_ref(value));
                Ok(())
            }
            Edit::Append { path, value } => {
                let (place, row) = self.container(root, path.parts(), Kind::List)?;
                let end = row.len();
                self.replace(&place, row, end, 0, std::slice::from_ref(value));
                Ok(())
            }
            Edit::Splice {
                path,
                at,
                delete,
                insert,
            } => {
                let (place, row) = self.container(root, path.parts(), Kind::Text)?;
                if at + delete > row.len() {
                    return Err(Refused);
                }
                self.replace(&place, row, *at, *delete, &characters(insert));
                Ok(())
            }
        }
    }

    /// Where a value is to be put. The maps on the way are there from now on.
    fn walk<'v>(&mut self, root: &'v Thing, parts: &[String]) -> Result<Spot<'v>, Refused> {
        let (last, parents) = parts.split_last().ok_or(Refused)?;
        for depth in 0..parents.len() {
            if let Some((_, Some(slot))) = find(root, &parents[..=depth])? {
                self.there(&slot.read.place);
            }
        }
        self.there(&Place::new());
        if let Some((at, slot)) = find(root, parts)? {
            return Ok((at, slot));
        }
        let (place, _) = self.container(root, parents, Kind::Map)?;
        Ok((At::Entry(place, last.clone()), None))
    }

    /// The container at a path, made if there is nothing, and the elements that it has in a row.
    fn container(
        &mut self,
        root: &Thing,
        parts: &[String],
        kind: Kind,
    ) -> Result<(Place, Vec<Id>), Refused> {
        let (at, slot) = self.walk(root, parts)?;
        let (place, row) = match slot {
            Some(slot) if slot.read.kind == kind => row_of(&slot.read),
            Some(_) => return Err(Refused),
            None => (at.place(kind), Vec::new()),
        };
        self.there(&place);
        Ok((place, row))
    }

    fn add(&mut self, root: &Thing, path: &Path, kind: Kind, by: i64) -> Result<(), Refused> {
        let (at, slot) = self.walk(root, path.parts())?;
        let fits = match slot.map(|slot| &slot.read.held) {
            None => true,
            Some(Held::Scalar(value)) => value.is_i64() && matches!(at, At::Entry(..)),
            Some(_) => slot.is_some_and(|slot| slot.read.kind == kind),
        };
        if !fits {
            return Err(Refused);
        }
        if by != 0 || slot.is_none() {
            self.say(at.place(kind), Says::Add(by));
        }
        Ok(())
    }

    fn remove_member(&mut self, place: &Place, member: &Value) {
        let says = |said: &&&Assertion| matches!(&said.says, Says::Member(m) if m == member);
        let here = self.live.iter().filter(|said| said.place == *place);
        self.event
            .kills
            .extend(here.filter(says).map(|said| said.id));
    }

    /// Replaces elements in a row by others; gives the row that comes of it.
    fn replace(
        &mut self,
        place: &Place,
        mut row: Vec<Id>,
        at: usize,
        gone: usize,
        new: &[Value],
    ) -> Vec<Id> {
        let fresh: Vec<Id> = new
            .iter()
            .map(|value| self.hold(place, None, value))
            .collect();
        for element in row.splice(at..at + gone, fresh) {
            let holds = |said: &&&Assertion| matches!(said.says, Says::Item { element: e, .. } if e == element);
            self.event
                .kills
                .extend(self.live.iter().filter(holds).map(|said| said.id));
        }
        if !new.is_empty() {
            self.event.rows.retain(|(other, _)| other != place);
            self.event.rows.push((place.clone(), row.clone()));
        }
        row
    }

    /// Puts a value into an element, a new one if none is named.
    fn hold(&mut self, list: &Place, element: Option<Id>, value: &Value) -> Id {
        let kind = kind_of(value);
        let own = (self.number, self.event.says.len());
        let held = if kind == Kind::Register {
            Ok(normal(value))
        } else {
            Err(kind)
        };
        let id = self.say(
            list.clone(),
            Says::Item {
                element: element.unwrap_or(own),
                value: held,
            },
        );
        let mut inside = list.clone();
        inside.push(Step::Item(id));
        self.fill(&inside, value);
        id
    }

    fn fill(&mut self, place: &Place, value: &Value) {
        match value {
            Value::Object(entries) => entries.iter().for_each(|(name, value)| {
                self.create(&At::Entry(place.clone(), name.clone()), value);
            }),
            Value::Array(values) => drop(self.replace(place, Vec::new(), 0, 0, values)),
            _ => {}
        }
    }

    fn create(&mut self, at: &At, value: &Value) {
        let kind = kind_of(value);
        match at {
            At::Element(list, element) => {
                self.hold(list, Some(*element), value);
            }
            At::Entry(..) if kind == Kind::Register => {
                self.say(at.place(kind), Says::Put(normal(value)));
            }
            At::Entry(..) => {
                self.say(at.place(kind), Says::There);
                self.fill(&at.place(kind), value);
            }
        }
    }

    /// A put: makes what is there equal if it is of the same type, and else takes its place. Either way it
    /// settles a conflict by taking all that lost.
    fn set(&mut self, at: &At, slot: Option<&Slot>, value: &Value) -> Result<(), Refused> {
        let Some(slot) = slot else {
            self.create(at, value);
            return Ok(());
        };
        self.event
            .kills
            .extend(slot.lost.iter().flat_map(|lost| &lost.of));
        let same = match (&slot.read.held, value) {
            (Held::Scalar(old), value) => *old == normal(value) && slot.lost.is_empty(),
            (Held::Sum(_), value) => normal(value).is_i64() && slot.lost.is_empty(),
            (Held::Map(_), value) => value.is_object(),
            (Held::List(_) | Held::Set(_), value) => value.is_array(),
            (Held::Text(_), value) => value.is_string(),
        };
        if same {
            return self.equalise(&slot.read, value);
        }
        self.event.kills.extend(&slot.read.of);
        self.create(at, value);
        Ok(())
    }

    /// Says and kills what differs.
    fn equalise(&mut self, thing: &Thing, value: &Value) -> Result<(), Refused> {
        let place = &thing.place;
        if !matches!(thing.held, Held::Scalar(_) | Held::Sum(_)) {
            self.there(place);
        }
        match (&thing.held, value) {
            (Held::Map(here), Value::Object(wanted)) => {
                for (_, slot) in here.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                    let gone = slot
                        .lost
                        .iter()
                        .chain([&slot.read])
                        .flat_map(|thing| &thing.of);
                    self.event.kills.extend(gone);
                }
                wanted.iter().try_for_each(|(name, value)| {
                    self.set(
                        &At::Entry(place.clone(), name.clone()),
                        here.get(name),
                        value,
                    )
                })
            }
            (Held::Sum(sum), value) => {
                let by = normal(value).as_i64().unwrap_or(0) - sum;
                if by != 0 {
                    self.say(place.clone(), Says::Add(by));
                }
                Ok(())
            }
            (Held::Set(here), Value::Array(wanted)) => {
                let wanted: Vec<Value> = wanted.iter().map(normal).collect();
                here.iter()
                    .filter(|m| !wanted.contains(m))
                    .for_each(|m| self.remove_member(place, m));
                let mut new: Vec<&Value> = wanted.iter().filter(|m| !here.contains(m)).collect();
                new.dedup();
                for member in new {
                    self.say(place.clone(), Says::Member(member.clone()));
                }
                Ok(())
            }
            (Held::List(here), Value::Array(wanted)) => self.equalise_list(thing, here, wanted),
            (Held::Text(here), Value::String(wanted)) => {
                let old: Vec<Value> = here.iter().map(|(_, c)| c.clone().into()).collect();
                let new = characters(wanted);
                let (mut i, mut j) = (old.len(), new.len());
                let mut row = row_of(thing).1;
                // From the end, so that what stands before keeps its position.
                for (x, y) in common(&old, &new)
                    .into_iter()
                    .rev()
                    .map(|(x, y)| (x + 1, y + 1))
                    .chain([(0, 0)])
                {
                    row = self.replace(place, row, x, i - x, &new[y..j]);
                    (i, j) = (x.saturating_sub(1), y.saturating_sub(1));
                }
                Ok(())
            }
            (Held::Scalar(_), _) => Ok(()),
            _ => Err(Refused),
        }
    }

    /// Equal elements stay. Between them, one by one, old elements are made what should stand there; the rest
    /// goes, or is new.
    fn equalise_list(
        &mut self,
        list: &Thing,
        here: &[(Id, Slot)],
        wanted: &[Value],
    ) -> Result<(), Refused> {
        let old: Vec<Value> = here.iter().map(|(_, slot)| slot.read.json()).collect();
        let new: Vec<Value> = wanted.iter().map(normal).collect();
        let (mut i, mut j, mut row) = (0, 0, row_of(list).1);
        let mut at = 0;
        for (x, y) in common(&old, &new)
            .into_iter()
            .chain([(old.len(), new.len())])
        {
            let shared = (x - i).min(y - j);
            let pairs = (0..shared)
                .map(|k| (i + k, j + k))
                .chain((x < old.len()).then_some((x, y)));
            for (old, new) in pairs {
                let element = At::Element(list.place.clone(), here[old].0);
                self.set(&element, Some(&here[old].1), &wanted[new])?;
            }
            let (gone, new) = (x - i - shared, &wanted[j + shared..y]);
            row = self.replace(&list.place, row, at + shared, gone, new);
            (at, i, j) = (at + (y - j) + 1, x + 1, y + 1);
        }
        Ok(())
    }
}

/// What stands at a path; none if there is nothing on the way.
fn find<'v>(root: &'v Thing, parts: &[String]) -> Result<Option<Spot<'v>>, Refused> {
    let (part, rest) = parts.split_first().ok_or(Refused)?;
    let (at, slot) = match &root.held {
        Held::Map(entries) => (
            At::Entry(root.place.clone(), part.clone()),
            entries.get(part),
        ),
        Held::List(row) => {
            let index: usize = part.parse().map_err(|_| Refused)?;
            let Some((element, slot)) = row.get(index) else {
                return Ok(None);
            };
            (At::Element(root.place.clone(), *element), Some(slot))
        }
        _ => return Err(Refused),
    };
    match slot {
        _ if rest.is_empty() => Ok(Some((at, slot))),
        Some(slot) => find(&slot.read, rest),
        None => Ok(None),
    }
}

fn row_of(thing: &Thing) -> (Place, Vec<Id>) {
    let row = match &thing.held {
        Held::List(row) => row.iter().map(|(id, _)| *id).collect(),
        Held::Text(row) => row.iter().map(|(id, _)| *id).collect(),
        _ => Vec::new(),
    };
    (thing.place.clone(), row)
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Object(_) => Kind::Map,
        Value::Array(_) => Kind::List,
        _ => Kind::Register,
    }
}

fn characters(text: &str) -> Vec<Value> {
    text.chars().map(|c| c.to_string().into()).collect()
}

/// Numbers of the same worth are the same number.
pub(crate) fn normal(value: &Value) -> Value {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() && f.fract() == 0.0 => format!("{f:.0}")
                .parse::<i64>()
                .map_or(value.clone(), Value::from),
            _ => value.clone(),
        },
        Value::Array(values) => values.iter().map(normal).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(k, v)| (k.clone(), normal(v)))
            .collect::<Map<_, _>>()
            .into(),
        _ => value.clone(),
    }
}

/// Index pairs of a longest common subsequence.
fn common(a: &[Value], b: &[Value]) -> Vec<(usize, usize)> {
    let (Some(x), Some(y)) = (a.first(), b.first()) else {
        return Vec::new();
    };
    let on =
        |pairs: Vec<(usize, usize)>, i, j| pairs.into_iter().map(|(x, y)| (x + i, y + j)).collect();
    if x == y {
        let mut pairs = vec![(0, 0)];
        let rest: Vec<_> = on(common(&a[1..], &b[1..]), 1, 1);
        pairs.extend(rest);
        return pairs;
    }
    let (left, right): (Vec<_>, Vec<_>) =
        (on(common(&a[1..], b), 1, 0), on(common(a, &b[1..]), 0, 1));
    if left.len() >= right.len() {
        left
    } else {
        right
    }
}
