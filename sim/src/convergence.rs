//! Checker: equal sets of changes read the same, on any replica at any time.

use std::collections::BTreeMap;

use anabranch_core::persist::Fetch;
use anabranch_core::{DocumentId, FetchId, Frontier, Input, Namespace, Origin, Page, Seq, Session};
use serde_json::Value;

use crate::schedule::Event;
use crate::trace::{Topic, site_name};
use crate::world::{Phase, World};

/// States remembered, over the whole run.
const STATES_MAX: usize = 4_096;

/// A reading that is answered on the spot.
pub(crate) struct Probe {
    pub(crate) site: usize,
    pub(crate) fetches: Vec<(FetchId, Fetch)>,
    pub(crate) page: Option<Page>,
}

type State = (Namespace, Vec<(Origin, Seq)>);

/// What a state read as, and where that was first seen.
#[derive(Default)]
pub(crate) struct Convergence {
    pub(crate) probing: Option<Probe>,
    states: BTreeMap<State, (Vec<String>, usize)>,
}

impl Convergence {
    fn compare(
        &mut self,
        site: usize,
        namespace: &Namespace,
        frontier: &Frontier,
        page: &Page,
    ) -> Result<bool, String> {
        let reading: Vec<String> = page
            .documents
            .iter()
            .map(|listed| match &listed.snapshot {
                Some(snapshot) => format!("{} {} {}", listed.key, snapshot.version, snapshot.value),
                None => listed.key.to_string(),
            })
            .collect();
        let entries = frontier
            .iter()
            .map(|(origin, seq)| (*origin, *seq))
            .collect();
        let state = (namespace.clone(), entries);
        let Some((known, first)) = self.states.get(&state) else {
            if self.states.len() < STATES_MAX {
                self.states.insert(state, (reading, site));
            }
            return Ok(false);
        };
        if *known == reading {
            return Ok(*first != site);
        }
        let mine = reading.iter().find(|line| !known.contains(line));
        let theirs = known.iter().find(|line| !reading.contains(line));
        Err(format!(
            "{namespace} at one frontier reads at {}: {mine:?}, and at {}: {theirs:?}",
            site_name(site),
            site_name(*first)
        ))
    }
}

impl World {
    /// Now and then: replicas with equal frontiers are asked for everything.
    pub(crate) fn probe(&mut self) {
        if self.phase != Phase::Chaos {
            return;
        }
        let pause = self.random.between(100_000, 500_000);
        self.schedule.after(pause, Event::Probe);
        for name in crate::workload::NAMESPACES {
            let Ok(namespace) = Namespace::new(name) else {
                continue;
            };
            let quiet: Vec<_> = (0..self.machines.len())
                .filter_map(|site| Some((site, self.quiet_frontier(site, &namespace)?)))
                .collect();
            for (site, frontier) in &quiet {
                let twin = quiet
                    .iter()
                    .any(|(other, theirs)| other != site && theirs == frontier);
                let known = self.convergence.states.keys().any(|(space, entries)| {
                    *space == namespace && entries.iter().map(|(o, s)| (o, s)).eq(frontier.iter())
                });
                if (twin || known) && !frontier.is_empty() {
                    self.compare_now(*site, &namespace, frontier);
                }
            }
        }
    }

    /// The durable frontier of a replica that has nothing else in memory.
    fn quiet_frontier(&self, site: usize, namespace: &Namespace) -> Option<Frontier> {
        let machine = &self.machines[site];
        let process = machine.process.as_ref()?;
        let status = process.replica.status(machine.now(self.schedule.now_us));
        let quiet = status.unpersisted_bytes == 0
            && status.failed.is_none()
            && !process.closed
            && !process.replica.is_saturated()
            && process.held.is_empty();
        quiet.then(|| process.replica.durable_frontier(namespace))
    }

    fn compare_now(&mut self, site: usize, namespace: &Namespace, frontier: &Frontier) {
        let Some(page) = self.read_everything(site, namespace) else {
            return;
        };
        match self.convergence.compare(site, namespace, frontier, &page) {
            Ok(true) => self.tally.probes_equal += 1,
            Ok(false) => {}
            Err(found) => self.fail("equal changes read the same", found),
        }
    }

    /// A whole namespace through the replica, with its fetches answered at once. None: the machine died.
    pub(crate) fn read_everything(&mut self, site: usize, namespace: &Namespace) -> Option<Page> {
        let (id, request) = self.ask_probe(site, namespace);
        self.convergence.probing = Some(Probe {
            site,
            fetches: Vec::new(),
            page: None,
        });
        let session = Session::default();
        self.give(
            site,
            Input::Request {
                id,
                request,
                session,
            },
        );
        while let Some((id, fetch)) = self
            .convergence
            .probing
            .as_mut()
            .and_then(|probe| probe.fetches.pop())
        {
            let Some(result) = self.read_store(site, &fetch) else {
                self.convergence.probing = None;
                return None;
            };
            self.give(site, Input::Fetched { id, result });
        }
        let page = self.convergence.probing.take().and_then(|probe| probe.page);
        if page.is_none() && self.machines[site].process.is_some() {
            self.fail(
                "liveness",
                "a listing at a quiet replica is not answered".to_owned(),
            );
        }
        page
    }

    /// Every namespace at every replica, compared; the documents of the first.
    pub(crate) fn compare_everything(&mut self) -> BTreeMap<DocumentId, Value> {
        let mut documents = BTreeMap::new();
        for name in crate::workload::NAMESPACES {
            let Ok(namespace) = Namespace::new(name) else {
                continue;
            };
            for site in 0..self.machines.len() {
                let Some(frontier) = self.quiet_frontier(site, &namespace) else {
                    self.fail("liveness", format!("{} is not quiet", site_name(site)));
                    return documents;
                };
                let Some(page) = self.read_everything(site, &namespace) else {
                    return documents;
                };
                let compared = self.convergence.compare(site, &namespace, &frontier, &page);
                self.check("equal changes read the same", compared.map(|_| ()));
                for listed in page.documents.into_iter().filter(|_| site == 0) {
                    let id = DocumentId {
                        namespace: namespace.clone(),
                        key: listed.key,
                    };
                    let value = listed.snapshot.map(|snapshot| snapshot.value);
                    documents.insert(id, value.unwrap_or_default());
                }
            }
        }
        self.note(
            None,
            Topic::World,
            format_args!("{} documents compared", documents.len()),
        );
        documents
    }
}
