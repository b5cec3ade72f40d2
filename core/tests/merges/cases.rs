//! Every pair and every triple of edits that are made at the same time, type by type.

use crate::bed::{Bed, SITES};
use crate::trial::{Trial, site_name};

/// What may be done to one type: starting states (each edit with its writer), and edits, of which the first
/// few are also combined in threes.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) starts: &'static [&'static [&'static str]],
    pub(crate) edits: &'static [&'static str],
    pub(crate) in_threes: usize,
}

/// The orders in which three replicas can come together, pair by pair, until all hold all; up to the names
/// of the two that write, which every pair of edits has both ways.
const ORDERS: [[(usize, usize); SITES]; 3] = [
    [(0, 1), (1, 2), (0, 2)],
    [(1, 2), (0, 1), (0, 2)],
    [(1, 2), (0, 2), (0, 1)],
];

/// Documents that share a bed.
const DOCUMENTS: usize = 400;
/// Failures that are printed.
const PRINTED: usize = 12;

/// One document's part of a bed.
struct Case {
    start: &'static [&'static str],
    /// What each replica does at the same time as the others; several edits are parted by "; ".
    edits: Vec<(usize, &'static str)>,
    /// What one of them does to the outcome.
    after: (usize, &'static str),
}

impl Group {
    /// Every two edits (the same one twice, too) on two replicas, while the third only listens.
    fn pairs(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for start in self.starts {
            for (i, a) in self.edits.iter().enumerate() {
                for (j, b) in self.edits.iter().enumerate() {
                    let after = self.edits[(i * 7 + j * 3 + cases.len() / 5) % self.edits.len()];
                    let after = (cases.len() % SITES, after);
                    cases.push(Case {
                        start,
                        edits: vec![(0, a), (1, b)],
                        after,
                    });
                }
            }
        }
        cases
    }

    fn triples(&self) -> Vec<Case> {
        let edits = &self.edits[..self.in_threes];
        let mut cases = Vec::new();
        for start in self.starts {
            for (i, a) in edits.iter().enumerate() {
                for (j, b) in edits.iter().enumerate() {
                    for c in edits {
                        let after = self.edits[(i * 7 + j * 3 + cases.len()) % self.edits.len()];
                        let after = (cases.len() % SITES, after);
                        cases.push(Case {
                            start,
                            edits: vec![(0, a), (1, b), (2, c)],
                            after,
                        });
                    }
                }
            }
        }
        cases
    }

    /// Runs all pairs in all orders, and each triple in one: every assignment of the three edits to replicas is a
    /// triple of its own, so all orders are met up to the replicas' names.
    pub(crate) fn check(&self) {
        let mut failures = Failures::default();
        let pairs = self.pairs();
        for order in &ORDERS {
            pairs
                .chunks(DOCUMENTS)
                .for_each(|cases| self.run(cases, order, &mut failures));
        }
        let triples = self.triples();
        for (index, cases) in triples.chunks(DOCUMENTS).enumerate() {
            self.run(cases, &ORDERS[index % ORDERS.len()], &mut failures);
        }
        failures.report(self.name, pairs.len() * ORDERS.len() + triples.len());
    }

    fn run(&self, cases: &[Case], order: &[(usize, usize); SITES], failures: &mut Failures) {
        let mut bed = Bed::new();
        let trial = |index: usize| Trial::new(&format!("d{index}"), self.name);
        let mut trials: Vec<Trial> = (0..cases.len()).map(trial).collect();
        for (trial, case) in trials.iter_mut().zip(cases) {
            for step in case.start {
                let (writer, edit) = step.split_once(' ').expect("a writer and an edit");
                let site = (0..SITES).find(|site| site_name(*site).to_string() == writer);
                trial.edit(&mut bed, site.expect("a writer"), edit);
            }
        }
        sync_all(&mut bed, &mut trials);
        for (trial, case) in trials.iter_mut().zip(cases) {
            trial.note("at the same time:");
            for (site, edits) in &case.edits {
                edits
                    .split("; ")
                    .for_each(|edit| trial.edit(&mut bed, *site, edit));
            }
        }
        for (a, b) in order {
            bed.sync(*a, *b);
            for trial in &mut trials {
                trial.synced(*a, *b);
                trial.agree(&mut bed, &[*a, *b]);
            }
        }
        for site in 0..SITES {
            bed.compact(site);
            bed.restart(site);
        }
        for trial in &mut trials {
            trial.note("compacted and restarted");
            trial.agree(&mut bed, &[0, 1, 2]);
        }
        for (trial, case) in trials.iter_mut().zip(cases) {
            let (site, edits) = case.after;
            edits
                .split("; ")
                .for_each(|edit| trial.edit(&mut bed, site, edit));
        }
        sync_all(&mut bed, &mut trials);
        failures.take(trials);
    }
}

fn sync_all(bed: &mut Bed, trials: &mut [Trial]) {
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        bed.sync(a, b);
        trials.iter_mut().for_each(|trial| trial.synced(a, b));
    }
    trials
        .iter_mut()
        .for_each(|trial| trial.agree(bed, &[0, 1, 2]));
}

#[derive(Default)]
struct Failures {
    count: usize,
    /// The shortest of each sort.
    shown: Vec<(String, String)>,
}

impl Failures {
    fn take(&mut self, trials: Vec<Trial>) {
        for trial in trials {
            let Some(why) = &trial.failure else { continue };
            self.count += 1;
            let text = trial.to_string();
            let sort: String = why
                .split("<-")
                .last()
                .unwrap_or(why)
                .chars()
                .filter(char::is_ascii_lowercase)
                .collect();
            match self.shown.iter_mut().find(|(other, _)| *other == sort) {
                Some((_, shown)) if shown.lines().count() <= text.lines().count() => {}
                Some((_, shown)) => *shown = text,
                None => self.shown.push((sort, text)),
            }
        }
    }

    fn report(mut self, name: &str, of: usize) {
        self.shown.sort_by_key(|(_, text)| text.len());
        let sorts = self.shown.len();
        let printed: Vec<String> = self
            .shown
            .into_iter()
            .take(PRINTED)
            .map(|(_, text)| text)
            .collect();
        let count = self.count;
        assert!(
            count == 0,
            "{name}: {count} of {of} cases differ from the model, in {sorts} ways:\n\n{}",
            printed.join("\n")
        );
    }
}
