//! Everything is mended; from then on all replicas have to become equal, and what was promised is looked up.

use anabranch_core::persist::{Fetch, Fetched};
use anabranch_core::{DocumentId, Namespace, Standing, compact};

use crate::machine::holdings;
use crate::plan::Quality;
use crate::schedule::Event;
use crate::trace::{Topic, site_name};
use crate::world::{Phase, World};

/// From the last fault until all are equal, at most.
const CONVERGENCE_US_MAX: u64 = 60_000_000;
/// From then until all document states are written, at most.
const SETTLING_US_MAX: u64 = 30_000_000;
const INSPECT_EVERY_US: u64 = 10_000;

impl World {
    pub(crate) fn heal(&mut self) {
        self.note(None, Topic::World, format_args!("all faults are over"));
        self.phase = Phase::Healing {
            since_us: self.schedule.now_us,
        };
        for pair in 0..self.pairs.len() {
            self.pairs[pair].quality = Quality::healed();
            self.pairs[pair].blocked = [false; 2];
            self.connect_later(pair, 100_000);
        }
        for site in 0..self.machines.len() {
            let running = self.machines[site].process.as_ref();
            let closed = running.is_some_and(|process| process.closed)
                || self.machines[site].medium.has_faulted();
            let old = self.plan.updates && self.is_old(site, self.machines[site].generation);
            self.machines[site].medium.mend();
            if self.machines[site].process.is_none() {
                self.schedule.after(1_000, Event::Restart(site));
            } else if closed
                || old
                || self.plan.restart_all_at_heal
                || self.plan.victim == Some(site)
            {
                self.stop(site);
            }
        }
        self.schedule.after(INSPECT_EVERY_US, Event::Inspect);
    }

    pub(crate) fn inspect(&mut self) {
        let now_us = self.schedule.now_us;
        match self.phase {
            Phase::Healing { since_us } => {
                if self.has_moved() && self.is_equal() {
                    let took_ms = (now_us - since_us) / 1_000;
                    self.tally.convergence_ms_sum = took_ms;
                    self.tally.convergence_ms_max = took_ms;
                    self.note(None, Topic::World, format_args!("equal after {took_ms} ms"));
                    self.phase = Phase::Settling { since_us: now_us };
                } else if now_us - since_us > CONVERGENCE_US_MAX {
                    let differences = self.differences();
                    return self.fail("all become equal", differences);
                }
            }
            Phase::Settling { since_us } => {
                if self.has_moved() && self.is_settled() {
                    if self.reads_whole() {
                        return self.conclude();
                    }
                    self.phase = Phase::Healing { since_us: now_us };
                }
                if now_us - since_us > SETTLING_US_MAX {
                    let differences = self.differences();
                    return self.fail(
                        "liveness",
                        format!("it does not come to rest: {differences}"),
                    );
                }
            }
            Phase::Chaos | Phase::Over => return,
        }
        self.schedule.after(INSPECT_EVERY_US, Event::Inspect);
    }

    fn is_equal(&self) -> bool {
        let mut all = self.machines.iter().map(|machine| machine.process.as_ref());
        let Some(first) = all.next().flatten() else {
            return false;
        };
        let first = holdings_that_matter(&first.replica);
        all.all(|process| {
            process.is_some_and(|process| holdings_that_matter(&process.replica) == first)
        })
    }

    fn is_settled(&self) -> bool {
        let victim = self.plan.victim.map(|site| &self.machines[site].process);
        let whole =
            victim.is_none_or(|process| process.as_ref().is_some_and(|process| process.scrubbed));
        whole
            && self.is_equal()
            && self.machines.iter().all(|machine| {
                machine.process.as_ref().is_some_and(|process| {
                    let status = process.replica.status(machine.now(self.schedule.now_us));
                    let summed = |of: &anabranch_core::NamespaceStatus| of.documents.is_some();
                    status.unfolded_bytes == 0
                        && status.arriving == 0
                        && status.namespaces.iter().all(summed)
                        && status.damaged.is_empty()
                        && status.unpersisted_bytes == 0
                        && status.requests_open == 0
                        && status
                            .peers
                            .iter()
                            .all(|peer| peer.standing == Standing::Counted)
                        && status.namespaces.iter().all(|of| of.stable == of.batches)
                        && process.held.is_empty()
                        && process.queue.is_empty()
                        && !process.replica.is_saturated()
                })
            })
    }

    /// Whether the one in whose files bits flipped can be read. What is damaged of the engine's own can't be
    /// repaired; it may not come to light before, and whoever runs it gives the disk up.
    fn reads_whole(&mut self) -> bool {
        let Some(site) = self.plan.victim else {
            return true;
        };
        for name in crate::workload::NAMESPACES {
            let namespace = Namespace::new(name);
            if namespace.is_ok_and(|of| self.read_everything(site, &of).is_none()) {
                self.give_up(site);
                return false;
            }
        }
        true
    }

    fn differences(&self) -> String {
        let mut lines = Vec::new();
        for (site, machine) in self.machines.iter().enumerate() {
            let Some(process) = &machine.process else {
                lines.push(format!("{} is down", site_name(site)));
                continue;
            };
            let status = process.replica.status(machine.now(self.schedule.now_us));
            let namespaces: Vec<_> = status
                .namespaces
                .iter()
                .map(|namespace| format!("{} {}", namespace.namespace, namespace.batches))
                .collect();
            lines.push(format!(
                "{}: batches {}, {} bytes unpersisted, {} unfolded, {} held back, {} requests, {} inputs kept, damaged: {:?}, failed: {:?}",
                site_name(site),
                namespaces.join(" "),
                status.unpersisted_bytes,
                status.unfolded_bytes,
                status.held_back_bytes,
                status.requests_open,
                process.held.len(),
                status.damaged,
                status.failed,
            ));
        }
        lines.join("; ")
    }

    /// The last checks, on replicas that are equal and at rest.
    fn conclude(&mut self) {
        self.note(None, Topic::World, format_args!("at rest"));
        self.phase = Phase::Over;
        if let Some((id, _)) = self.requests.iter().find(|(_, pending)| !pending.is_feed()) {
            let found = format!("#{} was never answered", id.0);
            return self.fail("every request is answered", found);
        }
        for site in 0..self.machines.len() {
            let machine = &self.machines[site];
            let Some(process) = &machine.process else {
                continue;
            };
            let status = process.replica.status(machine.now(self.schedule.now_us));
            self.count(&status.counters);
            // A cause that was lost with a disk never comes, and what was sent before that waits in vain.
            let lost = self.tally.disks_lost + self.tally.disks_restored > 0;
            if status.held_back_bytes > 0 && !lost {
                let found = format!(
                    "{} bytes wait for causes at {}",
                    status.held_back_bytes,
                    site_name(site)
                );
                return self.fail("nothing waits in the end", found);
            }
        }
        self.check_moved();
        self.compare_roots();
        let documents = self.compare_everything();
        if self.violation.is_some() {
            return;
        }
        for name in crate::workload::NAMESPACES {
            let Ok(namespace) = Namespace::new(name) else {
                continue;
            };
            let end = self.durable(0, &namespace);
            let settled = self.ledger.settle(&namespace, &end);
            self.check("no acknowledged write is lost", settled);
        }
        self.check_sessions();
        let apart = self
            .ledger
            .writes
            .iter()
            .filter(|write| write.positions.len() > 1);
        self.tally.writes_done_apart = apart.count() as u64;
        if self.violation.is_some() {
            return;
        }
        self.compare_states(documents.into_keys());
    }

    /// Which documents are counted otherwise than they are.
    #[cfg(feature = "planted")]
    fn tell_sums(&mut self) {
        for site in 0..self.machines.len() {
            let from = std::ops::Bound::Unbounded;
            let fetch = Fetch::Sums {
                from,
                limit: 10_000,
            };
            let Some(Ok(Fetched::Sums { documents, .. })) = self.read_store(site, &fetch) else {
                continue;
            };
            for (id, _) in documents {
                let fetch = Fetch::Document(id.clone());
                let Some(Ok(Fetched::Document(Some(stored)))) = self.read_store(site, &fetch)
                else {
                    continue;
                };
                let stored_sum = stored.sum;
                let changes = stored.changes.len();
                let sum = compact(&stored).ok().and_then(|compacted| compacted.sum);
                let Some(process) = &mut self.machines[site].process else {
                    continue;
                };
                let counted = process.replica.counted(&id);
                if Some(counted) != sum {
                    self.note(
                        Some(site),
                        Topic::World,
                        format_args!("{id} is counted {counted:x}, and is {sum:x?} (stored {stored_sum:x?} and {changes} changes)"),
                    );
                }
            }
        }
    }

    /// Checker: replicas that hold the same have the same roots.
    fn compare_roots(&mut self) {
        let mut known: std::collections::BTreeMap<Namespace, Option<String>> = Default::default();
        for site in 0..self.machines.len() {
            let machine = &self.machines[site];
            let Some(process) = &machine.process else {
                continue;
            };
            let status = process.replica.status(machine.now(self.schedule.now_us));
            let all = status.namespaces.into_iter();
            for of in all.filter(|of| !crate::moving::moves(&of.namespace)) {
                let first = known.entry(of.namespace.clone());
                let first = first.or_insert_with(|| of.root.clone());
                if *first != of.root {
                    let found = format!(
                        "{} is {:?} at {}, and {first:?} elsewhere",
                        of.namespace,
                        of.root,
                        site_name(site)
                    );
                    #[cfg(feature = "planted")]
                    self.tell_sums();
                    return self.fail("equal sets have equal roots", found);
                }
                self.tally.roots_compared += 1;
            }
        }
    }

    /// Whether stored states are equal to the byte is counted; equal content is what is promised.
    fn compare_states(&mut self, documents: impl Iterator<Item = DocumentId>) {
        for id in documents {
            let fetch = Fetch::Document(id);
            let mut states = Vec::new();
            for site in 0..self.machines.len() {
                match self.read_store(site, &fetch) {
                    Some(Ok(Fetched::Document(Some(stored)))) => match compact(&stored) {
                        Ok(compacted) => states.push(compacted),
                        Err(found) => return self.fail("documents read", found),
                    },
                    other => {
                        let found = format!("{} has for {fetch:?}: {other:?}", site_name(site));
                        return self.fail("states are written in the end", found);
                    }
                }
            }
            self.tally.states_compared += 1;
            if states
                .iter()
                .any(|state| state.present != states[0].present)
            {
                return self.fail("equal states", format!("{fetch:?} is there and is not"));
            }
            if states.iter().any(|state| state.state != states[0].state) {
                self.tally.states_of_other_bytes += 1;
            }
        }
    }
}

/// Namespaces in which nothing is held say nothing.
fn holdings_that_matter(
    replica: &anabranch_core::Replica,
) -> Vec<(Namespace, anabranch_core::Frontier)> {
    holdings(replica)
        .into_iter()
        .filter(|(_, frontier)| !frontier.is_empty())
        .collect()
}
