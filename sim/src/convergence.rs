//! Checker: equal sets of changes read the same, on any replica at any time.

use std::collections::BTreeMap;

use anabranch_core::persist::Fetch;
use anabranch_core::{
    Answer, Claim, Conflict, DocumentId, FetchId, Frontier, Input, Key, Namespace, Origin, Page,
    Reply, Request, RequestError, Seq, Session,
};
use serde_json::Value;

use crate::accounts::Span;
use crate::clients::Asked;
use crate::schedule::Event;
use crate::trace::{Topic, site_name};
use crate::world::{Phase, World};

/// States remembered, over the whole run.
const STATES_MAX: usize = 4_096;

/// A reading that is answered on the spot.
pub(crate) struct Probe {
    pub(crate) site: usize,
    pub(crate) fetches: Vec<(FetchId, Fetch)>,
    pub(crate) reply: Option<Result<Answer, RequestError>>,
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
        conflicts: Vec<String>,
    ) -> Result<bool, String> {
        let mut reading: Vec<String> = page
            .documents
            .iter()
            .map(|listed| match &listed.snapshot {
                Some(snapshot) => format!("{} {} {}", listed.key, snapshot.version, snapshot.value),
                None => listed.key.to_string(),
            })
            .collect();
        reading.extend(conflicts);
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

/// A conflict without the names of replicas, which not all know.
fn shown(key: &Key, conflict: &Conflict) -> String {
    let claim = |claim: &Claim| {
        format!(
            "{} {} {} {}",
            claim.kind, claim.value, claim.by.actor, claim.time_s
        )
    };
    let losers: Vec<_> = conflict.losers.iter().map(claim).collect();
    let winner = claim(&conflict.winner);
    format!(
        "conflict in {key} at {:?}: {winner}, over {losers:?}",
        conflict.path.parts()
    )
}

impl World {
    /// Now and then: replicas with equal frontiers are asked for everything.
    pub(crate) fn probe(&mut self) {
        if self.phase != Phase::Chaos {
            return;
        }
        let pause = self.random.between(100_000, 500_000);
        self.schedule.after(pause, Event::Probe);
        for site in self.sites() {
            self.check_written(site);
            self.check_room(site);
        }
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
            && status.arriving == 0
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
        self.account_for(namespace, frontier, &page);
        let Some(conflicts) = self.read_beside(site, namespace, &page, 2) else {
            return;
        };
        let compared = self
            .convergence
            .compare(site, namespace, frontier, &page, conflicts);
        match compared {
            Ok(true) => self.tally.probes_equal += 1,
            Ok(false) => {}
            Err(found) => self.fail("equal changes read the same", found),
        }
    }

    /// What a replica shows of its own disk as soon as it runs.
    pub(crate) fn read_after_start(&mut self, site: usize) {
        let name = *self.random.pick(&crate::workload::NAMESPACES);
        let Ok(namespace) = Namespace::new(name) else {
            return;
        };
        let Some(frontier) = self.quiet_frontier(site, &namespace) else {
            return;
        };
        if let Some(page) = self.read_everything(site, &namespace) {
            self.account_for(&namespace, &frontier, &page);
        }
    }

    /// Checker: what is shown is what this set of batches comes to.
    fn account_for(&mut self, namespace: &Namespace, frontier: &Frontier, page: &Page) {
        let shown = page.documents.iter().map(|listed| {
            let snapshot = listed.snapshot.as_ref();
            (
                listed.key.clone(),
                snapshot.map(|snapshot| snapshot.value.clone()),
            )
        });
        let mut span = Span {
            low: frontier.clone(),
            high: frontier.clone(),
        };
        let checked =
            self.ledger
                .check_page(namespace, &shown.collect(), |_| true, true, &mut span);
        self.tally.states_accounted += 1;
        self.check("what is stored is what was written", checked);
        for listed in &page.documents {
            let id = DocumentId {
                namespace: namespace.clone(),
                key: listed.key.clone(),
            };
            if let Some(snapshot) = &listed.snapshot {
                let agreed = self.past.agree(&id, snapshot);
                self.check("equal versions are equal documents", agreed);
            }
        }
    }

    /// Asks for something that a quiet replica can answer at once. None: the machine died.
    fn ask_now(
        &mut self,
        site: usize,
        request: Request,
        session: Session,
    ) -> Option<Result<Answer, RequestError>> {
        let id = self.ask(site, None, Asked::Probe, &request);
        self.convergence.probing = Some(Probe {
            site,
            fetches: Vec::new(),
            reply: None,
        });
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
        let reply = self
            .convergence
            .probing
            .take()
            .and_then(|probe| probe.reply);
        // A document that is on its way into memory already is waited for.
        let process = self.machines[site].process.as_ref();
        if reply.is_none() && process.is_some_and(|process| process.fetching.is_empty()) {
            self.fail(
                "liveness",
                format!(
                    "#{} is not answered at a quiet replica that lacks nothing",
                    id.0
                ),
            );
        }
        reply
    }

    /// A whole namespace through the replica, with its fetches answered at once. None: the machine died, or
    /// a promise is broken.
    pub(crate) fn read_everything(&mut self, site: usize, namespace: &Namespace) -> Option<Page> {
        let request = Request::Scan {
            namespace: namespace.clone(),
            prefix: String::new(),
            after: None,
            limit: crate::workload::PAGE_MAX,
            values: true,
        };
        let here = self.durable(site, namespace);
        let session = self.satisfied_session(namespace, &here);
        match self.ask_now(site, request, session)? {
            Ok(Answer {
                reply: Reply::Page(page),
                ..
            }) => Some(page),
            other => {
                self.not_a_reading(site, &other);
                None
            }
        }
    }

    fn not_a_reading(&mut self, site: usize, reply: &Result<Answer, RequestError>) {
        // A read of a disk that fails is no fault of the replica's.
        let medium = &self.machines[site].medium;
        let excused = match reply {
            Err(RequestError::Store(_)) => {
                medium.has_faulted() || medium.was_flipped() && self.phase != Phase::Over
            }
            Err(RequestError::Damaged { what }) => {
                let searched = matches!(self.phase, Phase::Settling { .. });
                // By then the scrub has read every tile, and what it found has come from elsewhere.
                let late = searched && what.starts_with("documents near");
                medium.was_flipped() && self.phase != Phase::Over && !late
            }
            _ => false,
        };
        if !excused {
            self.fail("requests are answered", format!("a reading with {reply:?}"));
        }
    }

    /// Any reading at all, for a session that may lack something.
    pub(crate) fn read_something(
        &mut self,
        site: usize,
        namespace: &Namespace,
        session: Session,
    ) -> Option<Result<Answer, RequestError>> {
        let request = Request::Read {
            document: crate::workload::any_document(&mut self.random, &self.plan),
            at: None,
            conflicts: false,
        };
        let Request::Read { document, .. } = &request else {
            return None;
        };
        let document = DocumentId {
            namespace: namespace.clone(),
            key: document.key.clone(),
        };
        let request = Request::Read {
            document,
            at: None,
            conflicts: false,
        };
        self.ask_now(site, request, session)
    }

    /// Checker: a document reads alone as it is listed, and so it does at its version. Gives the conflicts of
    /// those in which there can be any. `others`: how many of the rest are read.
    fn read_beside(
        &mut self,
        site: usize,
        namespace: &Namespace,
        page: &Page,
        others: usize,
    ) -> Option<Vec<String>> {
        let mut found = Vec::new();
        let skip = self.random.index(page.documents.len().max(1));
        let mut left = others;
        for listed in page
            .documents
            .iter()
            .cycle()
            .skip(skip)
            .take(page.documents.len())
        {
            let clashing = listed.key.as_str().starts_with("cart/");
            if !clashing && left == 0 {
                continue;
            }
            left -= usize::from(!clashing);
            let document = DocumentId {
                namespace: namespace.clone(),
                key: listed.key.clone(),
            };
            let at = listed
                .snapshot
                .as_ref()
                .map(|snapshot| snapshot.version.clone());
            let at = at.filter(|_| !clashing && self.random.coin());
            let request = Request::Read {
                document,
                at,
                conflicts: clashing,
            };
            match self.ask_now(site, request, Session::default())? {
                Ok(Answer {
                    reply:
                        Reply::Document {
                            snapshot,
                            conflicts,
                        },
                    ..
                }) => {
                    if snapshot != listed.snapshot {
                        let found = format!(
                            "{namespace}/{} is {snapshot:?}, and listed as {:?}",
                            listed.key, listed.snapshot
                        );
                        self.fail("a document reads as it is listed", found);
                        return None;
                    }
                    self.tally.conflicts_compared += conflicts.len() as u64;
                    found.extend(
                        conflicts
                            .iter()
                            .map(|conflict| shown(&listed.key, conflict)),
                    );
                }
                other => {
                    self.not_a_reading(site, &other);
                    return None;
                }
            }
        }
        found.sort();
        Some(found)
    }

    /// Every namespace at every replica, compared; the documents of the first.
    pub(crate) fn compare_everything(&mut self) -> BTreeMap<DocumentId, Value> {
        let mut documents = BTreeMap::new();
        for name in crate::workload::NAMESPACES {
            let Ok(namespace) = Namespace::new(name) else {
                continue;
            };
            for site in self.sites() {
                let Some(frontier) = self.quiet_frontier(site, &namespace) else {
                    self.fail("liveness", format!("{} is not quiet", site_name(site)));
                    return documents;
                };
                let Some(page) = self.read_everything(site, &namespace) else {
                    return documents;
                };
                self.account_for(&namespace, &frontier, &page);
                let Some(conflicts) = self.read_beside(site, &namespace, &page, 8) else {
                    return documents;
                };
                let compared = self
                    .convergence
                    .compare(site, &namespace, &frontier, &page, conflicts);
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
