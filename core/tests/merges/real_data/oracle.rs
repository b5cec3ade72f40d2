//! What a cart must hold, from the rule alone: it is what was said of it and no removal has seen.
//!
//! A cart is a document with `/items/ITEM/qty`, a quantity, and registers beside that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::bed::Held;
use crate::model::normal;
use crate::reading::Shown;

/// What happens to a cart in one write.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// So many pieces more or less, and what registers of the line are set to.
    Line {
        item: String,
        pieces: i64,
        registers: Vec<(&'static str, Value)>,
    },
    RemoveLine(String),
    RemovePieces(String),
    Delete,
}

/// One batch: whose, and which of that replica's.
type Stamp = (usize, u64);

fn within((site, seq): Stamp, view: &Held) -> bool {
    seq <= view[site]
}

#[derive(Clone, PartialEq)]
enum Says {
    There,
    Add(i64),
    Put(Value),
}

struct Said {
    says: Says,
    by: Stamp,
    /// What its writer held, itself included.
    view: Held,
    taken_by: Vec<Stamp>,
}

impl Said {
    fn is_live(&self, view: &Held) -> bool {
        within(self.by, view) && !self.taken_by.iter().any(|by| within(*by, view))
    }
}

#[derive(Default)]
pub(super) struct Cart {
    said: BTreeMap<String, Vec<Said>>,
    removals: Vec<(String, Stamp, Held)>,
}

/// How often the rule had to decide.
#[derive(Default, Debug)]
pub(super) struct Decided {
    /// Additions that are left although somebody removed their line or cart at the same time.
    pub(super) spared: usize,
    /// Additions that two removed at the same time.
    pub(super) taken_twice: usize,
    /// Registers with more than one value.
    pub(super) conflicts: usize,
    /// Lines without a quantity, and quantities of nothing.
    pub(super) bare: usize,
    /// What survived came to nothing, and so is not there.
    pub(super) vanished: usize,
}

pub(super) fn line_path(item: &str) -> String {
    format!("/items/{}", item.replace('~', "~0").replace('/', "~1"))
}

pub(super) fn pieces_path(item: &str) -> String {
    line_path(item) + "/qty"
}

fn is_inside(place: &str, of: &str) -> bool {
    place
        .strip_prefix(of)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Cart {
    /// Carries out a write at a replica that then holds `view`, of which the write is the last of `site`. Says whether there
    /// was anything to write.
    pub(super) fn write(&mut self, site: usize, view: &Held, deed: &Deed) -> bool {
        let by = (site, view[site]);
        match deed {
            Deed::Line {
                item,
                pieces,
                registers,
            } => {
                let line = line_path(item);
                let quantity = pieces_path(item);
                let mut changed = false;
                for place in ["", "/items", &line, &quantity] {
                    changed |= self.say_there(place, by, view);
                }
                if *pieces != 0 {
                    changed |= self.say(&quantity, Says::Add(*pieces), by, view);
                }
                for (name, value) in registers {
                    changed |= self.put(&format!("{line}/{name}"), &normal(value), by, view);
                }
                changed
            }
            Deed::RemoveLine(item) => self.remove(&line_path(item), by, view),
            Deed::RemovePieces(item) => self.remove(&pieces_path(item), by, view),
            Deed::Delete => self.remove("", by, view),
        }
    }

    fn live<'a>(&'a self, place: &str, view: &Held) -> impl Iterator<Item = &'a Said> + use<'a> {
        let (said, view) = (self.said.get(place), *view);
        said.into_iter()
            .flatten()
            .filter(move |said| said.is_live(&view))
    }

    fn say(&mut self, place: &str, says: Says, by: Stamp, view: &Held) -> bool {
        let said = Said {
            says,
            by,
            view: *view,
            taken_by: Vec::new(),
        };
        self.said.entry(place.to_owned()).or_default().push(said);
        true
    }

    /// Whoever writes into something says that it is there, unless that is said already.
    fn say_there(&mut self, place: &str, by: Stamp, view: &Held) -> bool {
        let there = self.live(place, view).any(|said| said.says == Says::There);
        !there && self.say(place, Says::There, by, view)
    }

    /// A put takes all that its writer saw; of what is there already it is nothing.
    fn put(&mut self, place: &str, value: &Value, by: Stamp, view: &Held) -> bool {
        if self.values(place, view) == [value] {
            return false;
        }
        self.take(place, by, view);
        self.say(place, Says::Put(value.clone()), by, view)
    }

    fn remove(&mut self, place: &str, by: Stamp, view: &Held) -> bool {
        let there = self.is_there(place, view);
        if there {
            self.take(place, by, view);
            self.removals.push((place.to_owned(), by, *view));
        }
        there
    }

    fn take(&mut self, place: &str, by: Stamp, view: &Held) {
        let below = self.said.range_mut(place.to_owned()..);
        for (at, said) in below.take_while(|(at, _)| at.starts_with(place)) {
            if is_inside(at, place) {
                let seen = said.iter_mut().filter(|said| said.is_live(view));
                seen.for_each(|said| said.taken_by.push(by));
            }
        }
    }

    /// Whether anything can be seen at or below a place by whoever holds this.
    pub(super) fn is_there(&self, place: &str, view: &Held) -> bool {
        let below = self.said.range(place.to_owned()..);
        let mut below = below.take_while(|(at, _)| at.starts_with(place));
        below.any(|(at, _)| {
            let something = |said: &Said| !matches!(said.says, Says::Add(_));
            is_inside(at, place) && (self.sum(at, view) != 0 || self.live(at, view).any(something))
        })
    }

    fn sum(&self, place: &str, view: &Held) -> i64 {
        let added = |said: &Said| match said.says {
            Says::Add(by) => by,
            Says::There | Says::Put(_) => 0,
        };
        self.live(place, view).map(added).sum()
    }

    /// The values of a register, each once; more than one are a conflict.
    fn values(&self, place: &str, view: &Held) -> Vec<&Value> {
        let mut values: Vec<&Value> = Vec::new();
        for said in self.live(place, view) {
            if let Says::Put(value) = &said.says
                && !values.contains(&value)
            {
                values.push(value);
            }
        }
        values
    }

    /// Whether a replica that holds `view` may show this.
    pub(super) fn check(&self, view: &Held, shown: &Shown) -> Result<(), String> {
        let mut places: BTreeMap<String, Option<&Value>> = BTreeMap::new();
        if let Some(value) = &shown.value {
            flatten(value, String::new(), &mut places);
        }
        let known = self.said.keys().filter(|at| self.is_there(at, view));
        let known: BTreeSet<&String> = known.collect();
        let here: BTreeSet<&String> = places.keys().collect();
        if known != here {
            let missing: Vec<_> = known.difference(&here).collect();
            let extra: Vec<_> = here.difference(&known).collect();
            return Err(format!("missing: {missing:?}, should be gone: {extra:?}"));
        }
        let mut conflicts = shown.conflicts.iter();
        for (place, value) in &places {
            let Some(value) = value else { continue };
            if place.ends_with("/qty") {
                let sum = self.sum(place, view);
                if value.as_i64() != Some(sum) {
                    return Err(format!("{place}: {value} instead of {sum}"));
                }
                continue;
            }
            let value = normal(value);
            let mut others = self.values(place, view);
            let Some(at) = others.iter().position(|other| **other == value) else {
                return Err(format!("{place}: {value} instead of one of {others:?}"));
            };
            others.remove(at);
            if others.is_empty() {
                continue;
            }
            let told = conflicts.find(|conflict| conflict.path.to_string() == *place);
            let losers = told.map_or(&[][..], |told| &told.losers);
            let losers: Vec<Value> = losers.iter().map(|claim| normal(&claim.value)).collect();
            if losers.len() != others.len() || !others.iter().all(|o| losers.contains(o)) {
                return Err(format!(
                    "{place}: {others:?} lost, and it tells of {losers:?}"
                ));
            }
        }
        let told = shown.conflicts.len();
        let conflicts = places.keys().filter(|at| self.values(at, view).len() > 1);
        let conflicts = conflicts.count();
        if told != conflicts {
            return Err(format!("{told} conflicts instead of {conflicts}"));
        }
        Ok(())
    }

    /// Counts what the rule had to decide for who holds everything.
    pub(super) fn count(&self, view: &Held, decided: &mut Decided) {
        for (place, said) in &self.said {
            let adds = || said.iter().filter(|said| matches!(said.says, Says::Add(_)));
            let apart = |said: &Said| {
                self.removals.iter().any(|(at, by, seen)| {
                    is_inside(place, at) && !within(said.by, seen) && !within(*by, &said.view)
                })
            };
            let spared = adds().filter(|said| said.is_live(view) && apart(said));
            decided.spared += spared.count();
            decided.taken_twice += adds().filter(|said| said.taken_by.len() > 1).count();
            decided.conflicts += usize::from(self.values(place, view).len() > 1);
            let there = self.is_there(place, view);
            if place.ends_with("/qty") {
                decided.bare += usize::from(there && self.sum(place, view) == 0);
                let left = adds().any(|said| said.is_live(view));
                decided.vanished += usize::from(left && !there);
            } else if place.matches('/').count() == 2 {
                let pieces = format!("{place}/qty");
                decided.bare += usize::from(there && !self.is_there(&pieces, view));
            }
        }
    }
}

/// The places of a document: maps, and what is no map with its value.
fn flatten<'v>(value: &'v Value, at: String, places: &mut BTreeMap<String, Option<&'v Value>>) {
    let Value::Object(entries) = value else {
        places.insert(at, Some(value));
        return;
    };
    for (name, value) in entries {
        let name = name.replace('~', "~0").replace('/', "~1");
        flatten(value, format!("{at}/{name}"), places);
    }
    places.insert(at, None);
}
