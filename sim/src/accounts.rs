//! Checker over content: a reading shows what has been written and what no removal has seen, no more and no
//! less, and nothing without what its writer had seen.
//!
//! A reader is owed what was durable where it asked when it asked (`low`), and may see what was durable there
//! when it was answered (`high`). Where nothing happened in between the two are equal, and there is one answer.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anabranch_core::{DocumentId, Frontier, Key, Namespace};
use serde_json::Value;

use crate::ledger::{Deed, Fate, Ledger, Position, Scope, Write, is_in, join};
use crate::marks::{Place, Reading, Sum, anywhere, is_accounted, mark};

/// From what a reader is owed up to what it may see.
pub(crate) struct Span {
    pub(crate) low: Frontier,
    pub(crate) high: Frontier,
}

/// How many must be shown, and how many may be.
#[derive(Default)]
struct Due {
    sure: usize,
    possible: usize,
}

#[derive(Default)]
struct SumDue {
    least: i64,
    most: i64,
    due: Due,
    /// Some of it was removed. What is left is then told from nothing by its sum.
    removed: bool,
}

/// What a document has to show.
#[derive(Default)]
struct Account {
    marks: BTreeMap<(Place, usize), Due>,
    sums: BTreeMap<(Sum, &'static str), SumDue>,
    /// Nobody has written here what one that deleted the document had not seen.
    gone: bool,
}

struct Removal<'a> {
    scope: &'a Scope,
    at: &'a Position,
    sure: bool,
    past: &'a Frontier,
}

impl Removal<'_> {
    fn takes(&self, number: usize, deed: &Deed) -> bool {
        match (self.scope, deed) {
            (Scope::Document, Deed::Leaves(_) | Deed::Adds { .. })
            | (Scope::Entries, Deed::Leaves(Place::Entry)) => true,
            (Scope::Mark(place, of), Deed::Leaves(at)) => place == at && *of == number,
            (
                Scope::Sum(sum, name),
                Deed::Adds {
                    sum: of, name: at, ..
                },
            ) => sum == of && name == at,
            _ => false,
        }
    }
}

impl Ledger {
    /// Marks what was read as seen.
    pub(crate) fn see(&mut self, reading: &Reading) {
        for (_, number) in reading.marks.keys() {
            if let Some(write) = self.writes.get_mut(*number) {
                write.seen = true;
            }
        }
    }

    /// Raises what is owed by all that the writers of what is shown had seen: whoever shows the one has to
    /// show the other.
    pub(crate) fn close<'a>(
        &self,
        namespace: &Namespace,
        readings: impl Iterator<Item = &'a Reading>,
        span: &mut Span,
    ) -> Result<(), String> {
        for (_, number) in readings.flat_map(|reading| reading.marks.keys()) {
            let Some(write) = self.writes.get(*number) else {
                continue;
            };
            let mut positions = write.positions.iter().filter(|at| is_in(at, &span.high));
            // Of several it can't be said which one is shown.
            let (Some(position), None) = (positions.next(), positions.next()) else {
                continue;
            };
            if is_in(position, &span.low) {
                continue;
            }
            let Some(issued) = self.issued(namespace, position) else {
                continue;
            };
            if !span.high.covers(&issued.past) {
                return Err(format!(
                    "w{number} is shown in {namespace} by a replica that does not hold what its writer had seen"
                ));
            }
            join(&mut span.low, &issued.past);
            span.low.raise(position.0, position.1);
        }
        Ok(())
    }

    /// One document as somebody read it.
    pub(crate) fn check(
        &self,
        document: &DocumentId,
        reading: &Reading,
        span: &Span,
    ) -> Result<(), String> {
        let account = self.account(document, span);
        let shown = |due: &Due| match (due.sure, due.possible) {
            (_, 0) => "that was removed by one who had seen it, or that nobody here can know of",
            (0, _) => "more often than it was written",
            _ => "not as often as it must be",
        };
        for ((place, number), count) in &reading.marks {
            let Some(due) = account.marks.get(&(*place, *number)) else {
                return Err(format!(
                    "{document} shows {} as {place:?}, which nobody wrote there",
                    mark(*number)
                ));
            };
            let most = if place.is_one() {
                due.possible.min(1)
            } else {
                due.possible
            };
            if *count > most {
                let mark = mark(*number);
                return Err(format!(
                    "{document} shows {mark} as {place:?} {count} times, {}",
                    shown(due)
                ));
            }
        }
        for ((place, number), due) in &account.marks {
            let count = reading.marks.get(&(*place, *number)).copied().unwrap_or(0);
            let least = if place.is_one() {
                due.sure.min(1)
            } else {
                due.sure
            };
            if count < least {
                let write = &self.writes[*number];
                return Err(format!(
                    "{document} shows {} as {place:?} {count} times and not {least} (asked of {}, {:?}, {:?})",
                    mark(*number),
                    crate::site_name(write.site),
                    write.fate,
                    write.positions,
                ));
            }
        }
        if account.gone && reading.present {
            return Err(format!(
                "{document} is there with {:?} in it, and was deleted by one who had seen it all",
                reading.names
            ));
        }
        check_sums(document, reading, &account)
    }

    /// All that was asked to be done to a document.
    fn deeds<'a>(
        &'a self,
        document: &'a DocumentId,
    ) -> impl Iterator<Item = (usize, &'a Write, &'a Deed)> {
        let numbers = self.by_document.get(document).into_iter().flatten();
        numbers.flat_map(move |number| {
            let write = &self.writes[*number];
            let parts = write.parts.iter();
            let parts = parts.filter(move |part| part.document == *document);
            let deeds = parts.flat_map(|part| &part.deeds);
            deeds.map(move |deed| (*number, write, deed))
        })
    }

    fn account(&self, document: &DocumentId, span: &Span) -> Account {
        let mut account = Account::default();
        let deeds = || self.deeds(document);
        let mut removals = Vec::new();
        for (number, write, deed) in deeds() {
            match deed {
                Deed::Leaves(place) => {
                    account.marks.entry((*place, number)).or_default();
                }
                Deed::Adds { sum, name, .. } => {
                    account.sums.entry((*sum, name)).or_default();
                }
                Deed::Removes(scope) => {
                    let known = write.positions.iter().filter(|at| is_in(at, &span.high));
                    removals.extend(known.filter_map(|at| {
                        let past = &self.issued(&document.namespace, at)?.past;
                        let sure = is_in(at, &span.low);
                        Some(Removal {
                            scope,
                            at,
                            sure,
                            past,
                        })
                    }));
                }
                Deed::Anything => {}
            }
        }
        let mut all_gone = true;
        for (number, write, deed) in deeds() {
            for at in write.positions.iter().filter(|at| is_in(at, &span.high)) {
                let taken = |sure: bool| {
                    let takes = |removal: &&Removal<'_>| {
                        removal.takes(number, deed) && is_in(at, removal.past)
                    };
                    let mut takes = removals.iter().filter(takes);
                    takes.any(|removal| {
                        !sure
                            || removal.sure
                                && !self.found_nothing(document, removal, &removals, deed)
                    })
                };
                let sure = is_in(at, &span.low) && !taken(false);
                let possible = !taken(true);
                match deed {
                    Deed::Leaves(place) => {
                        all_gone &= !possible;
                        let due = account.marks.entry((*place, number)).or_default();
                        due.add(sure, possible);
                    }
                    Deed::Adds { sum, name, by } => {
                        all_gone &= !possible;
                        let due = account.sums.entry((*sum, name)).or_default();
                        due.add(*by, sure, possible);
                        due.removed |= taken(false);
                    }
                    Deed::Anything | Deed::Removes(_) => {}
                }
            }
        }
        // A container that one removal saw only what was in it by then may stay, with nothing in it.
        let deletions = removals
            .iter()
            .filter(|r| r.sure && *r.scope == Scope::Document);
        account.gone = all_gone
            && deletions.into_iter().any(|deletion| {
                let mut known = deeds()
                    .flat_map(|(_, write, deed)| write.positions.iter().map(move |at| (at, deed)));
                known.all(|(at, deed)| {
                    !is_in(at, &span.high)
                        || is_in(at, deletion.past)
                        || matches!(deed, Deed::Removes(Scope::Document))
                })
            });
        account
    }

    /// Whether what others had added to a number beside an earlier removal cancelled out where this removal was made. There was no number to be
    /// seen then, and nothing to remove.
    fn found_nothing(
        &self,
        document: &DocumentId,
        removal: &Removal<'_>,
        removals: &[Removal<'_>],
        added: &Deed,
    ) -> bool {
        let Deed::Adds { sum, name, .. } = added else {
            return false;
        };
        let (mut left, mut removed) = (0, false);
        for (number, write, deed) in self.deeds(document) {
            let Deed::Adds {
                sum: of,
                name: to,
                by,
            } = deed
            else {
                continue;
            };
            let seen = write.positions.iter().filter(|at| is_in(at, removal.past));
            for at in seen.filter(|_| (of, to) == (sum, name)) {
                let takes = |earlier: &Removal<'_>| {
                    is_in(earlier.at, removal.past)
                        && is_in(at, earlier.past)
                        && earlier.takes(number, deed)
                };
                match removals.iter().any(takes) {
                    true => removed = true,
                    false => left += by,
                }
            }
        }
        removed && left == 0
    }

    /// A whole page of a listing, or a part of one. `snapshot`: it is of one moment.
    pub(crate) fn check_page(
        &mut self,
        namespace: &Namespace,
        page: &BTreeMap<Key, Option<Value>>,
        covers: impl Fn(&Key) -> bool,
        snapshot: bool,
        span: &mut Span,
    ) -> Result<(), String> {
        let mut readings = BTreeMap::new();
        for (key, value) in page {
            if is_accounted(key) {
                let reading = Reading::of(value.as_ref());
                let reading =
                    reading.map_err(|found| format!("{namespace}/{key} shows {found}"))?;
                self.see(&reading);
                readings.insert(key.clone(), reading);
            } else {
                self.check_anything(namespace, key, value.as_ref(), span)?;
            }
        }
        if snapshot {
            self.close(namespace, readings.values(), span)?;
        }
        let nothing = Reading::default();
        let known = self.by_document.keys();
        let known = known.filter(|id| id.namespace == *namespace && is_accounted(&id.key));
        for document in known.filter(|id| covers(&id.key)) {
            let reading = readings.remove(&document.key);
            self.check(document, reading.as_ref().unwrap_or(&nothing), span)?;
        }
        match readings.pop_first() {
            Some((key, _)) => Err(format!("{namespace}/{key} is listed, and nobody wrote it")),
            None => Ok(()),
        }
    }

    /// A document in which anything goes: what is there has been written there.
    pub(crate) fn check_anything(
        &self,
        namespace: &Namespace,
        key: &Key,
        value: Option<&Value>,
        span: &Span,
    ) -> Result<(), String> {
        let Some(value) = value else { return Ok(()) };
        let found = anywhere(value).map_err(|found| format!("{namespace}/{key} shows {found}"))?;
        for number in found {
            let write = self.writes.get(number).filter(|write| {
                let here = |id: &DocumentId| id.namespace == *namespace && id.key == *key;
                write.fate != Fate::Refused && write.parts.iter().any(|part| here(&part.document))
            });
            let mark = mark(number);
            let Some(write) = write else {
                return Err(format!(
                    "{namespace}/{key} shows {mark}, which nobody wrote there"
                ));
            };
            let is_held = |at: &Position| is_in(at, &span.high);
            if !write.positions.is_empty() && !write.positions.iter().any(is_held) {
                return Err(format!(
                    "{namespace}/{key} shows {mark}, which this replica does not hold"
                ));
            }
        }
        Ok(())
    }
}

impl Due {
    fn add(&mut self, sure: bool, possible: bool) {
        self.sure += usize::from(sure);
        self.possible += usize::from(possible);
    }
}

impl SumDue {
    fn add(&mut self, by: i64, sure: bool, possible: bool) {
        self.due.add(sure, possible);
        if sure {
            self.least += by;
            self.most += by;
        } else if possible {
            self.least += by.min(0);
            self.most += by.max(0);
        }
    }
}

fn check_sums(document: &DocumentId, reading: &Reading, account: &Account) -> Result<(), String> {
    for (sum, name) in reading.sums.keys() {
        let known = account.sums.keys();
        if !known.into_iter().any(|(of, at)| of == sum && at == name) {
            return Err(format!(
                "{document} shows {sum:?} {name}, which nobody wrote"
            ));
        }
    }
    for ((sum, name), due) in &account.sums {
        let value = reading.sums.get(&(*sum, (*name).to_owned()));
        let fits = match value {
            Some(value) => due.due.possible > 0 && (due.least..=due.most).contains(value),
            None => {
                let nothing = due.removed && (due.least..=due.most).contains(&0);
                due.due.sure == 0 || nothing
            }
        };
        if !fits {
            return Err(format!(
                "{sum:?} {name} of {document} is {value:?}, and what was written and not removed by one who had seen it makes it {} to {}",
                due.least, due.most
            ));
        }
    }
    Ok(())
}
