//! Whether what a replica shows is a reading that the model allows, and which choices it made.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anabranch_core::{Claim, Conflict};
use serde_json::{Map, Value};

use crate::model::{Assertion, Held, Id, Kind, Model, Place, Says, Slot, Step, Thing, normal};

/// What a replica shows: the document, if it is there, and where values lost.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Shown {
    pub(crate) value: Option<Value>,
    pub(crate) conflicts: Vec<Conflict>,
}

impl Model {
    /// Takes what a replica shows that has these events apart into the model's terms.
    pub(crate) fn explain(
        &self,
        seen: &BTreeSet<usize>,
        shown: &Shown,
    ) -> Result<Option<Thing>, String> {
        let live = self.live(seen);
        let Some(value) = &shown.value else {
            let nothing = live.is_empty() && shown.conflicts.is_empty();
            let why = || format!("the document must be there, as {}", sketch(&live));
            return if nothing { Ok(None) } else { Err(why()) };
        };
        if live.is_empty() {
            return Err("the document must not be there".to_owned());
        }
        let fit = Fit {
            model: self,
            seen,
            live,
            told: &shown.conflicts,
            met: RefCell::default(),
        };
        let root = Candidate {
            kind: Kind::Map,
            place: Place::new(),
            scalar: None,
            items: Vec::new(),
        };
        let thing = fit.thing(&root, value, Some(""))?;
        let met = fit.met.borrow();
        match shown
            .conflicts
            .iter()
            .find(|conflict| !met.contains(&conflict.path.to_string()))
        {
            Some(conflict) => Err(format!("there is no conflict at {}", conflict.path)),
            None => Ok(Some(thing)),
        }
    }
}

/// Something that may be read at a place.
#[derive(Clone, Debug)]
struct Candidate {
    kind: Kind,
    place: Place,
    /// A register's value, or an element's.
    scalar: Option<Value>,
    /// Of an element: what put it there.
    items: Vec<Id>,
}

struct Fit<'a> {
    model: &'a Model,
    seen: &'a BTreeSet<usize>,
    live: Vec<&'a Assertion>,
    told: &'a [Conflict],
    /// The conflicts that were met on the way.
    met: RefCell<BTreeSet<String>>,
}

impl Fit<'_> {
    fn within<'s>(&'s self, place: &'s Place) -> impl Iterator<Item = &'s Assertion> {
        self.live
            .iter()
            .copied()
            .filter(move |said| said.place.starts_with(place))
    }

    /// What may be read under a name.
    fn entry(&self, map: &Place, name: &str) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        for said in self.within(map) {
            let Some(Step::Name(here, kind)) = said.place.get(map.len()) else {
                continue;
            };
            let scalar = match &said.says {
                Says::Put(value)
                    if *kind == Kind::Register && said.place.len() == map.len() + 1 =>
                {
                    Some(value.clone())
                }
                _ => None,
            };
            let place = said.place[..=map.len()].to_vec();
            if here == name && !found.iter().any(|c| c.kind == *kind && c.scalar == scalar) {
                found.push(Candidate {
                    kind: *kind,
                    place,
                    scalar,
                    items: Vec::new(),
                });
            }
        }
        // An integer beside a sum is where the sum begins.
        let counted = found
            .iter()
            .any(|c| matches!(c.kind, Kind::Counter | Kind::Quantity));
        found.retain(|c| !(counted && c.scalar.as_ref().is_some_and(Value::is_i64)));
        found
    }

    fn integers(&self, sum: &Place) -> Vec<&Assertion> {
        let Some((Step::Name(name, _), map)) = sum.split_last() else {
            return Vec::new();
        };
        let mut place = map.to_vec();
        place.push(Step::Name(name.clone(), Kind::Register));
        let integer = |said: &&&Assertion| matches!(&said.says, Says::Put(value) if value.is_i64());
        self.live
            .iter()
            .filter(|said| said.place == place)
            .filter(integer)
            .copied()
            .collect()
    }

    /// Fits a slot to what is shown there. Inside of what lost, `path` is none: nothing is told of it but its value.
    fn slot(
        &self,
        candidates: &[Candidate],
        json: &Value,
        path: Option<&str>,
    ) -> Result<Slot, String> {
        let told = self
            .told
            .iter()
            .find(|conflict| Some(conflict.path.to_string().as_str()) == path);
        let mut why = String::new();
        for (index, candidate) in candidates.iter().enumerate() {
            if told
                .is_some_and(|told| !claims(&told.winner, candidate) || told.winner.value != *json)
            {
                continue;
            }
            let read = match self.thing(candidate, json, path) {
                Ok(read) => read,
                Err(reason) => {
                    why = reason;
                    continue;
                }
            };
            let mut others: Vec<Candidate> = candidates.to_vec();
            others.remove(index);
            others.extend(self.other_bases(&read));
            let claims_told = told.map(|told| told.losers.as_slice());
            match self.losers(&others, claims_told, path.is_some()) {
                Ok(lost) => {
                    self.met.borrow_mut().extend(path.map(str::to_owned));
                    return Ok(Slot { read, lost });
                }
                Err(reason) => why = reason,
            }
        }
        let at = path.unwrap_or("(inside of what lost)");
        let allowed: Vec<String> = candidates.iter().map(|c| self.describe(c)).collect();
        let allowed = allowed.join(" | ");
        Err(format!(
            "{at}: shown {json}; the model: {allowed}{}{why}",
            if why.is_empty() { "" } else { " <- " }
        ))
    }

    /// Integers that were put at the same time as the one with which a sum begins.
    fn other_bases(&self, read: &Thing) -> Vec<Candidate> {
        let Held::Sum(_) = read.held else {
            return Vec::new();
        };
        let mut others: Vec<Candidate> = Vec::new();
        for said in self
            .integers(&read.place)
            .into_iter()
            .filter(|said| !read.of.contains(&said.id))
        {
            let Says::Put(value) = &said.says else {
                continue;
            };
            if !others.iter().any(|c| c.scalar.as_ref() == Some(value)) {
                let (place, scalar) = (said.place.clone(), Some(value.clone()));
                others.push(Candidate {
                    kind: Kind::Register,
                    place,
                    scalar,
                    items: Vec::new(),
                });
            }
        }
        others
    }

    /// Every candidate that is not read must be told of as a loser, and nothing else.
    fn losers(
        &self,
        others: &[Candidate],
        told: Option<&[Claim]>,
        outside: bool,
    ) -> Result<Vec<Thing>, String> {
        let mut left: Vec<&Candidate> = others.iter().collect();
        let mut lost = Vec::new();
        for claim in told.unwrap_or_default() {
            let fits = left
                .iter()
                .position(|c| claims(claim, c) && self.thing(c, &claim.value, None).is_ok());
            let Some(at) = fits else {
                return Err(format!("{} {} has not lost there", claim.kind, claim.value));
            };
            lost.push(self.thing(left.remove(at), &claim.value, None)?);
        }
        if outside && !left.is_empty() {
            let hidden: Vec<String> = left.iter().map(|c| self.describe(c)).collect();
            return Err(format!("not among the conflicts: {}", hidden.join(", ")));
        }
        let of = |c: &&Candidate| self.made_of(c);
        lost.extend(left.iter().map(|c| Thing {
            kind: c.kind,
            place: c.place.clone(),
            held: Held::Sum(0),
            of: of(c),
        }));
        Ok(lost)
    }

    fn made_of(&self, candidate: &Candidate) -> BTreeSet<Id> {
        let made = self.within(&candidate.place);
        let made = made.filter(|said| match (&candidate.scalar, &said.says) {
            (Some(scalar), Says::Put(value)) => scalar == value,
            (scalar, _) => scalar.is_none(),
        });
        made.map(|said| said.id)
            .chain(candidate.items.iter().copied())
            .collect()
    }

    fn thing(
        &self,
        candidate: &Candidate,
        json: &Value,
        path: Option<&str>,
    ) -> Result<Thing, String> {
        let place = &candidate.place;
        let mut of = self.made_of(candidate);
        let differs = || format!("not {json}");
        let held = match (candidate.kind, json) {
            (Kind::Register, json) if candidate.scalar.as_ref() == Some(json) => {
                Held::Scalar(json.clone())
            }
            (Kind::Counter | Kind::Quantity, json) => {
                let added = |said: &&Assertion| {
                    if let Says::Add(by) = said.says {
                        Some(by)
                    } else {
                        None
                    }
                };
                let sum: i64 = self.within(place).filter_map(|said| added(&said)).sum();
                let integers = self.integers(place);
                let of_base = |said: &&Assertion| matches!(&said.says, Says::Put(v) if v.as_i64().map(|v| v + sum) == json.as_i64());
                let Some(base) = integers.iter().copied().find(of_base) else {
                    let bare = integers.is_empty() && json.as_i64() == Some(sum);
                    let sum = Held::Sum(sum);
                    let thing = Thing {
                        kind: candidate.kind,
                        place: place.clone(),
                        held: sum,
                        of,
                    };
                    return if bare { Ok(thing) } else { Err(differs()) };
                };
                let same = integers.iter().filter(|said| said.says == base.says);
                of.extend(same.map(|said| said.id));
                Held::Sum(json.as_i64().unwrap_or(0))
            }
            (Kind::Set, Value::Array(shown)) => {
                let members = self.within(place).filter_map(|said| match &said.says {
                    Says::Member(value) => Some(value.clone()),
                    _ => None,
                });
                let members = in_order(members.collect());
                if members != *shown {
                    return Err(format!("the set {}", Value::from(members)));
                }
                Held::Set(members)
            }
            (Kind::Map, Value::Object(shown)) => Held::Map(self.map(place, shown, path)?),
            (Kind::List, Value::Array(shown)) => Held::List(self.row(place, shown, path)?),
            (Kind::Text, Value::String(shown)) => {
                let shown: Vec<Value> = shown.chars().map(|c| c.to_string().into()).collect();
                let text = |(id, slot): (Id, Slot)| {
                    (id, slot.read.json().as_str().unwrap_or_default().to_owned())
                };
                Held::Text(
                    self.row(place, &shown, None)?
                        .into_iter()
                        .map(text)
                        .collect(),
                )
            }
            _ => return Err(differs()),
        };
        Ok(Thing {
            kind: candidate.kind,
            place: place.clone(),
            held,
            of,
        })
    }

    fn map(
        &self,
        place: &Place,
        shown: &Map<String, Value>,
        path: Option<&str>,
    ) -> Result<BTreeMap<String, Slot>, String> {
        let name = |said: &Assertion| match said.place.get(place.len()) {
            Some(Step::Name(name, _)) => Some(name.clone()),
            _ => None,
        };
        let names: BTreeSet<String> = self.within(place).filter_map(name).collect();
        let at = path.unwrap_or("(inside of what lost)");
        if let Some(extra) = shown.keys().find(|name| !names.contains(*name)) {
            return Err(format!("{at}: {extra:?} must not be there"));
        }
        let mut entries = BTreeMap::new();
        for name in names {
            let path = path.map(|path| format!("{path}/{name}"));
            let candidates = self.entry(place, &name);
            let Some(json) = shown.get(&name) else {
                let allowed: Vec<String> = candidates.iter().map(|c| self.describe(c)).collect();
                return Err(format!(
                    "{at}: {name:?} is missing, as {}",
                    allowed.join(" | ")
                ));
            };
            entries.insert(name, self.slot(&candidates, json, path.as_deref())?);
        }
        Ok(entries)
    }

    /// Fits the elements of a list to what is shown, in an order that the rule allows.
    fn row(
        &self,
        place: &Place,
        shown: &[Value],
        path: Option<&str>,
    ) -> Result<Vec<(Id, Slot)>, String> {
        let mut elements: BTreeMap<Id, Vec<Candidate>> = BTreeMap::new();
        for said in self.live.iter().filter(|said| said.place == *place) {
            let Says::Item { element, value } = &said.says else {
                continue;
            };
            let mut place = place.clone();
            place.push(Step::Item(said.id));
            let (kind, scalar) = match value {
                Ok(scalar) => (Kind::Register, Some(scalar.clone())),
                Err(kind) => (*kind, None),
            };
            let candidates = elements.entry(*element).or_default();
            match candidates
                .iter_mut()
                .find(|c| c.scalar.is_some() && c.scalar == scalar)
            {
                Some(equal) => equal.items.push(said.id),
                None => candidates.push(Candidate {
                    kind,
                    place,
                    scalar,
                    items: vec![said.id],
                }),
            }
        }
        let at = path.unwrap_or("(text, or inside of what lost)");
        let order = Order::new(self, place, elements.keys().copied());
        if elements.len() != shown.len() {
            return Err(format!(
                "{at}: {} elements must be there, of {}",
                elements.len(),
                self.items(&elements)
            ));
        }
        let mut row = Vec::new();
        self.extend_row(&elements, shown, path, &order, &mut row)
            .map_err(|why| format!("{at}: {why} (elements: {})", self.items(&elements)))?;
        Ok(row)
    }

    fn extend_row(
        &self,
        elements: &BTreeMap<Id, Vec<Candidate>>,
        shown: &[Value],
        path: Option<&str>,
        order: &Order,
        row: &mut Vec<(Id, Slot)>,
    ) -> Result<(), String> {
        let Some(json) = shown.get(row.len()) else {
            return order.check(&row.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        };
        let at = path.map(|path| format!("{path}/{}", row.len()));
        let mut why = format!("no element may read {json} at {}", row.len());
        for (id, candidates) in elements {
            if row.iter().any(|(other, _)| other == id) {
                continue;
            }
            if let Ok(slot) = self.slot(candidates, json, at.as_deref()) {
                row.push((*id, slot));
                match self.extend_row(elements, shown, path, order, row) {
                    Ok(()) => return Ok(()),
                    Err(reason) => why = reason,
                }
                row.pop();
            }
        }
        Err(why)
    }

    fn items(&self, elements: &BTreeMap<Id, Vec<Candidate>>) -> String {
        let each = elements.values().map(|c| {
            c.iter()
                .map(|c| self.describe(c))
                .collect::<Vec<_>>()
                .join(" | ")
        });
        each.collect::<Vec<_>>().join(", ")
    }

    fn describe(&self, candidate: &Candidate) -> String {
        let live: Vec<&Assertion> = self.within(&candidate.place).collect();
        match &candidate.scalar {
            Some(scalar) => scalar.to_string(),
            None => format!(
                "{:?} {}",
                candidate.kind,
                sketch_at(&live, &candidate.place)
            ),
        }
    }
}

/// In which order the elements of one list may stand.
struct Order {
    /// The first stands before the second, as somebody saw.
    before: BTreeSet<(Id, Id)>,
    /// Written one right after the other in one hand, and the elements that may not come between.
    runs: Vec<(Id, Id, BTreeSet<Id>)>,
    /// Pairs of elements written at the same time into two lists that became one: of each two lists the
    /// first of all pairs stands first, or the second of all.
    sides: Vec<Vec<(Id, Id)>>,
}

impl Order {
    fn new(fit: &Fit<'_>, place: &Place, elements: impl Iterator<Item = Id>) -> Self {
        let elements: Vec<Id> = elements.collect();
        let events = fit
            .seen
            .iter()
            .map(|event| (*event, &fit.model.events[*event]));
        let rows: Vec<(usize, &Vec<Id>)> = events
            .flat_map(|(number, event)| event.rows.iter().map(move |(at, row)| (number, at, row)))
            .filter(|(_, at, _)| *at == place)
            .map(|(number, _, row)| (number, row))
            .collect();
        let mut before: BTreeSet<(Id, Id)> = BTreeSet::new();
        for (_, row) in &rows {
            before.extend((0..row.len()).flat_map(|j| (0..j).map(move |i| (row[i], row[j]))));
        }
        let all: BTreeSet<Id> = rows
            .iter()
            .flat_map(|(_, row)| row.iter().copied())
            .collect();
        for via in all.iter().filter(|_| rows.len() > 1) {
            let to: Vec<Id> = before
                .iter()
                .filter(|(_, b)| b == via)
                .map(|(a, _)| *a)
                .collect();
            let from: Vec<Id> = before
                .range((*via, (0, 0))..)
                .take_while(|(a, _)| a == via)
                .map(|(_, b)| *b)
                .collect();
            before.extend(to.iter().flat_map(|a| from.iter().map(move |b| (*a, *b))));
        }
        let event = |id: &Id| &fit.model.events[id.0];
        let mut runs = Vec::new();
        for (number, row) in &rows {
            for pair in row.windows(2).filter(|pair| pair[1].0 == *number) {
                let writer = fit.model.events[*number].writer;
                if event(&pair[0]).writer == writer
                    && elements.contains(&pair[0])
                    && elements.contains(&pair[1])
                {
                    let apart = |z: &&Id| {
                        !event(z).seen.contains(&pair[0].0)
                            && z.0 != pair[0].0
                            && !event(&pair[1]).seen.contains(&z.0)
                            && z.0 != pair[1].0
                    };
                    runs.push((
                        pair[0],
                        pair[1],
                        elements.iter().filter(apart).copied().collect(),
                    ));
                }
            }
        }
        // A list that was made anew after a removal is the old one again: it was never two.
        let created = |id: &Id| -> BTreeSet<Id> {
            let known = event(id).seen.iter().chain([&id.0]);
            let said = known.flat_map(|number| &fit.model.events[*number].says);
            said.filter(|said| said.says == Says::There && said.place == *place)
                .map(|said| said.id)
                .collect()
        };
        let mut made: BTreeMap<BTreeSet<Id>, BTreeSet<Id>> = BTreeMap::new();
        for id in &elements {
            made.entry(created(id)).or_default().insert(*id);
        }
        let unseen = |a: &Id, b: &Id| {
            a.0 != b.0 && !event(a).seen.contains(&b.0) && !event(b).seen.contains(&a.0)
        };
        let groups: Vec<_> = made.into_iter().collect();
        let mut sides = Vec::new();
        for (i, (made, ours)) in groups.iter().enumerate() {
            for (_, theirs) in groups[..i]
                .iter()
                .filter(|(other, _)| made.is_disjoint(other))
            {
                let pairs = ours
                    .iter()
                    .flat_map(|a| theirs.iter().map(move |b| (*a, *b)));
                sides.push(pairs.filter(|(a, b)| unseen(a, b)).collect());
            }
        }
        let sides = sides
            .into_iter()
            .filter(|_| !groups.iter().any(|(made, _)| made.is_empty()))
            .collect();
        Self {
            before,
            runs,
            sides,
        }
    }

    fn check(&self, row: &[Id]) -> Result<(), String> {
        let at = |id: &Id| {
            row.iter()
                .position(|other| other == id)
                .unwrap_or(usize::MAX)
        };
        let turned = |j: usize| (0..j).any(|i| self.before.contains(&(row[j], row[i])));
        if let Some(j) = (0..row.len()).find(|j| turned(*j)) {
            return Err(format!(
                "the element at {j} stands after one that its writer saw it before"
            ));
        }
        for (a, b, others) in &self.runs {
            if others.iter().any(|z| (at(a)..at(b)).contains(&at(z))) {
                return Err(format!(
                    "what was written in a row, at {} and {}, is torn apart",
                    at(a),
                    at(b)
                ));
            }
        }
        for pairs in &self.sides {
            let first = pairs.iter().filter(|(a, b)| at(a) < at(b)).count();
            if first > 0 && first < pairs.len() {
                return Err("two lists that became one are mixed".to_owned());
            }
        }
        Ok(())
    }
}

impl Thing {
    /// As a replica shows it.
    pub(crate) fn json(&self) -> Value {
        match &self.held {
            Held::Scalar(value) => value.clone(),
            Held::Sum(sum) => (*sum).into(),
            Held::Set(members) => members.clone().into(),
            Held::Map(entries) => entries
                .iter()
                .map(|(k, slot)| (k.clone(), slot.read.json()))
                .collect::<Map<_, _>>()
                .into(),
            Held::List(row) => row.iter().map(|(_, slot)| slot.read.json()).collect(),
            Held::Text(row) => row
                .iter()
                .map(|(_, c)| c.as_str())
                .collect::<String>()
                .into(),
        }
    }
}

/// Whether a claim can be of this candidate, going by its kind and, of a register, its value.
fn claims(claim: &Claim, candidate: &Candidate) -> bool {
    let kind = match candidate.kind {
        Kind::Register => {
            return candidate.scalar.as_ref() == Some(&claim.value)
                && ![
                    "a map",
                    "a list",
                    "a text",
                    "a set",
                    "a counter",
                    "a quantity",
                ]
                .contains(&claim.kind);
        }
        Kind::Counter => "a counter",
        Kind::Quantity => "a quantity",
        Kind::Set => "a set",
        Kind::Map => "a map",
        Kind::List => "a list",
        Kind::Text => "a text",
    };
    claim.kind == kind
}

/// null, false, true, numbers by value, strings, arrays and objects by their canonical text; each once.
fn in_order(mut members: Vec<Value>) -> Vec<Value> {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(flag) => 1 + u8::from(*flag),
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    };
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    members.sort_by(|a, b| {
        let numbers = || {
            a.as_f64()
                .unwrap_or(0.0)
                .total_cmp(&b.as_f64().unwrap_or(0.0))
        };
        rank(a)
            .cmp(&rank(b))
            .then_with(numbers)
            .then_with(|| text(a).cmp(&text(b)))
    });
    members.dedup_by(|a, b| normal(a) == normal(b));
    members
}

/// What is alive, for people: one line, with `|` between what clashes.
fn sketch(live: &[&Assertion]) -> String {
    sketch_at(live, &Place::new())
}

fn sketch_at(live: &[&Assertion], place: &Place) -> String {
    let mut inside: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut own = Vec::new();
    for said in live.iter().filter(|said| said.place.starts_with(place)) {
        match said.place.get(place.len()) {
            None => own.push(match &said.says {
                Says::There => continue,
                Says::Put(value) | Says::Member(value) => value.to_string(),
                Says::Add(by) => format!("{by:+}"),
                Says::Item {
                    value: Ok(value), ..
                } => value.to_string(),
                Says::Item { value: Err(_), .. } => {
                    let mut inner = place.clone();
                    inner.push(Step::Item(said.id));
                    sketch_at(live, &inner)
                }
            }),
            Some(Step::Item(_)) => {}
            Some(step @ Step::Name(name, kind)) => {
                let mut inner = place.clone();
                inner.push(step.clone());
                let text = format!("{kind:?}{}", sketch_at(live, &inner));
                let here = inside.entry(name.clone()).or_default();
                if !here.contains(&text) {
                    here.push(text);
                }
            }
        }
    }
    own.extend(
        inside
            .iter()
            .map(|(name, texts)| format!("{name}: {}", texts.join(" | "))),
    );
    format!("{{{}}}", own.join(", "))
}
