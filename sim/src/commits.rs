//! Commits as the store's commit thread does them: in groups, in order, and what became of each is told later.

use anabranch_core::persist::{Commit, StoreError, Ticket};
use anabranch_core::{Batch, DocumentId, Input};
use anabranch_store::CommitError;

use crate::machine::holdings;
use crate::marks::{highest, is_signed};
use crate::schedule::{Event, Life};
use crate::trace::Topic;
use crate::world::World;

/// What was told of commits, or is yet to be.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Durable(Ticket),
    Failed {
        from: Ticket,
        through: Ticket,
        error: StoreError,
    },
}

impl World {
    pub(crate) fn submit(&mut self, life: Life, commit: Commit) {
        let Some(process) = &mut self.machines[life.site].process else {
            return;
        };
        process.queue.push_back(commit);
        if !process.committing && !process.closed {
            process.committing = true;
            let after = self.random.tail(0, 10_000);
            self.schedule.after(after, Event::Commit(life));
        }
    }

    /// The committer takes some of what waits, as one group, or fails what can't follow on what failed before.
    pub(crate) fn commit(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let Some(process) = &mut self.machines[life.site].process else {
            return;
        };
        let Some(first) = process.queue.front() else {
            process.committing = false;
            return;
        };
        let passed = std::mem::take(&mut process.front_has_passed);
        match process.succession.refuses(first).filter(|_| !passed) {
            Some(error) => self.refuse(life, error),
            None => self.commit_group(life),
        }
    }

    /// The first commit that waits, which has passed, and some that came after it.
    fn commit_group(&mut self, life: Life) {
        let site = life.site;
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let count = 1 + self.random.index(process.queue.len());
        let group: Vec<_> = process.queue.drain(..count).collect();
        let (from, through) = match (group.first(), group.last()) {
            (Some(first), Some(last)) => (first.ticket, last.ticket),
            _ => return,
        };
        let result = process.store.commit(&group);
        if let Err(error) = &result {
            process.succession.failed(&group, error);
        }
        self.tally.commits += 1;
        if self.machines[site].medium.is_off() {
            self.note(
                Some(site),
                Topic::Fault,
                format_args!("dies at the commit of {}", through.0),
            );
            return self.died(site);
        }
        match result {
            Ok(()) => {
                self.note(
                    Some(site),
                    Topic::Store,
                    format_args!("committed {count} through {}", through.0),
                );
                self.tell(life, Told::Durable(through));
            }
            Err(error) => self.commit_failed(life, from, through, error),
        }
    }

    fn commit_failed(&mut self, life: Life, from: Ticket, through: Ticket, error: CommitError) {
        let site = life.site;
        let medium = &self.machines[site].medium;
        let is_full = matches!(error, CommitError::Full(_));
        if !(is_full && medium.was_limited() || !is_full && medium.has_faulted()) {
            return self.fail("a whole store commits", error.to_string());
        }
        self.note(
            Some(site),
            Topic::Fault,
            format_args!("commit of {} to {} fails: {error}", from.0, through.0),
        );
        if is_full {
            self.tally.commits_full += 1;
        } else {
            self.tally.disk_faults += 1;
            if let Some(process) = &mut self.machines[site].process {
                process.closed = true;
                process.queue.clear();
            }
        }
        let error = StoreError::from(error);
        self.tell(
            life,
            Told::Failed {
                from,
                through,
                error,
            },
        );
    }

    /// Fails the first commit that waits and those behind it that must fail, too.
    fn refuse(&mut self, life: Life, error: CommitError) {
        let Some(process) = &mut self.machines[life.site].process else {
            return;
        };
        let Some(first) = process.queue.pop_front() else {
            return;
        };
        let mut through = first.ticket;
        // The commit thread looks no further than what is queued by now, and that may be little.
        let most = self.random.index(process.queue.len() + 1);
        for _ in 0..most {
            let Some(next) = process.queue.front() else {
                break;
            };
            if process.succession.refuses(next).is_none() {
                // It is asked once, and goes first.
                process.front_has_passed = true;
                break;
            }
            through = next.ticket;
            process.queue.pop_front();
        }
        self.tell_refused(life, first.ticket, through, error);
    }

    fn tell_refused(&mut self, life: Life, from: Ticket, through: Ticket, error: CommitError) {
        self.note(
            Some(life.site),
            Topic::Store,
            format_args!("{} to {} were built on what failed", from.0, through.0),
        );
        let error = StoreError::from(error);
        self.tell(
            life,
            Told::Failed {
                from,
                through,
                error,
            },
        );
    }

    /// Reports come later, and in order; the next group goes on before.
    fn tell(&mut self, life: Life, told: Told) {
        let took = self.random.tail(100, 30_000);
        let report = self.schedule.now_us + took + self.random.tail(0, 50_000);
        let Some(process) = &mut self.machines[life.site].process else {
            return;
        };
        process.last_persisted_us = process.last_persisted_us.max(report);
        let report = process.last_persisted_us;
        let closed = process.closed;
        self.schedule.at(report, Event::Told(life, told));
        if !closed {
            self.schedule.after(took, Event::Commit(life));
        }
    }

    pub(crate) fn told(&mut self, life: Life, told: Told) {
        if !self.is_alive(life) {
            return;
        }
        let site = life.site;
        match told {
            Told::Durable(through) => {
                self.note(
                    Some(site),
                    Topic::Store,
                    format_args!("durable through {}", through.0),
                );
                if let Some(process) = &mut self.machines[site].process {
                    let settled = process
                        .issued
                        .partition_point(|(ticket, ..)| *ticket <= through);
                    process.issued.drain(..settled);
                    process.unsettled.retain(|ticket| *ticket > through);
                }
                self.feed(site, Input::Persisted { through });
            }
            Told::Failed {
                from,
                through,
                error,
            } => {
                let is_full = matches!(error, StoreError::Full(_));
                self.note(
                    Some(site),
                    Topic::Store,
                    format_args!("told that {} to {} failed", from.0, through.0),
                );
                if is_full {
                    self.take_back(site, from, through);
                }
                self.feed(
                    site,
                    Input::PersistFailed {
                        from,
                        through,
                        error,
                    },
                );
                if !is_full {
                    let after = self.random.between(10_000, 500_000);
                    self.schedule.after(after, Event::Crash(life));
                }
            }
        }
    }

    /// The replica forgets what was handed out from a ticket on. Nothing of it was ever anywhere. If it has heard of an earlier failure and
    /// forgotten it then, what came since is built on nothing that failed.
    fn take_back(&mut self, site: usize, from: Ticket, through: Ticket) {
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        process.was_full = true;
        let failed = |ticket: &Ticket| *ticket >= from && *ticket <= through;
        if !process.unsettled.iter().any(failed) {
            return;
        }
        process.unsettled.retain(|ticket| *ticket < from);
        let mut gone = Vec::new();
        while let Some((_, namespace, position)) =
            process.issued.pop_back_if(|(ticket, ..)| *ticket >= from)
        {
            gone.push((namespace, position));
        }
        process.accepted = holdings(&process.replica);
        for (namespace, position) in gone {
            self.tally.batches_taken_back += 1;
            self.ledger.retract(&namespace, position);
        }
    }

    /// Looks into what goes to the disk: which write became which batch, and what its writer held by then.
    pub(crate) fn observe(&mut self, site: usize, commit: &Commit) {
        if let Some(process) = &mut self.machines[site].process {
            process.unsettled.push_back(commit.ticket);
        }
        for record in &commit.log {
            let batches = match Batch::of_record(record) {
                Ok(batches) => batches,
                Err(error) => return self.fail("the log reads", error.to_string()),
            };
            for batch in batches {
                self.observe_batch(site, commit.ticket, &batch);
            }
        }
    }

    fn observe_batch(&mut self, site: usize, ticket: Ticket, batch: &Batch) {
        if crate::moving::moves(&batch.namespace) {
            return;
        }
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let accepted = process.accepted.entry(batch.namespace.clone()).or_default();
        let past = accepted.clone();
        let new = accepted.raise(batch.origin, batch.seq);
        if batch.origin != process.replica.origin() || !new {
            return;
        }
        let position = (batch.origin, batch.seq);
        let named = (ticket, batch.namespace.clone(), position);
        process.issued.push_back(named);
        let signed = batch.writes.iter().filter(|write| is_signed(&write.key));
        let number = signed
            .flat_map(|write| &write.changes)
            .filter_map(|change| highest(change));
        let number = number.max();
        let documents = batch.writes.iter().map(|write| DocumentId {
            namespace: batch.namespace.clone(),
            key: write.key.clone(),
        });
        let documents = documents.collect();
        let issued = self
            .ledger
            .issue(&batch.namespace, position, number, past, documents);
        self.check("a write is done once", issued);
    }
}
