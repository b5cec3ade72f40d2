//! Driving a replica as a real driver would: inputs in, all outputs out, commits in groups, fetches when they come.

use anabranch_core::persist::{Commit, Fetch, Fetched, Ticket};
use anabranch_core::{Batch, DocumentId, FetchId, Input, Notice, Output, Visible};

use crate::marks::{highest, is_signed};
use crate::process::End;
use crate::schedule::{Event, Life};
use crate::trace::Topic;
use crate::world::{Phase, World};

/// Inputs that wait while a replica is saturated, at most.
const HELD_INPUTS_MAX: usize = 20_000;
/// A replica that is saturated for longer than this will be so forever.
const SATURATED_US_MAX: u64 = 30_000_000;

impl World {
    /// Gives a replica an input, or keeps it while the replica is saturated.
    pub(crate) fn feed(&mut self, site: usize, input: Input) {
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let answers = matches!(
            input,
            Input::Persisted { .. }
                | Input::PersistFailed { .. }
                | Input::Fetched { .. }
                | Input::Tick
        );
        if !answers && (process.replica.is_saturated() || !process.held.is_empty()) {
            process.held.push_back(input);
            let held = process.held.len();
            if held > HELD_INPUTS_MAX {
                self.fail(
                    "bounds",
                    format!("{held} inputs wait for a saturated replica"),
                );
            }
            return;
        }
        self.give(site, input);
        self.release(site);
    }

    fn release(&mut self, site: usize) {
        let now_us = self.schedule.now_us;
        while let Some(process) = &mut self.machines[site].process {
            if process.replica.is_saturated() {
                let begins = process.saturated_since_us.is_none();
                let since = *process.saturated_since_us.get_or_insert(now_us);
                self.tally.saturations += u64::from(begins);
                if now_us - since > SATURATED_US_MAX {
                    self.fail("liveness", "a replica is saturated forever".to_owned());
                }
                return;
            }
            process.saturated_since_us = None;
            let Some(input) = process.held.pop_front() else {
                return;
            };
            self.give(site, input);
        }
    }

    pub(crate) fn give(&mut self, site: usize, input: Input) {
        let persisted = matches!(input, Input::Persisted { .. });
        let ticked = matches!(input, Input::Tick);
        let now = self.machines[site].now(self.schedule.now_us);
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        process.replica.handle(now, input);
        while let Some(output) = self.machines[site]
            .process
            .as_mut()
            .and_then(|process| process.replica.poll())
        {
            self.output(site, output, persisted);
        }
        self.rearm(site, ticked);
    }

    fn output(&mut self, site: usize, output: Output, persisted: bool) {
        let life = self.machines[site].life(site);
        match output {
            Output::Persist(commit) => {
                self.observe(site, &commit);
                let Some(process) = &mut self.machines[site].process else {
                    return;
                };
                process.queue.push_back(commit);
                if !process.committing && !process.closed {
                    process.committing = true;
                    let after = self.random.tail(0, 10_000);
                    self.schedule.after(after, Event::Commit(life));
                }
            }
            Output::Fetch { id, fetch } => self.fetch(life, id, fetch),
            Output::Send { link, frame } => self.send(site, link, frame),
            Output::Disconnect { link, reason } => self.disconnect(site, link, &reason),
            Output::Reply { id, reply } => self.reply(site, id, reply),
            Output::Visible(visible) => self.visible(site, &visible, persisted),
            Output::Notice(notice) => self.notice(site, &notice),
        }
    }

    fn fetch(&mut self, life: Life, id: FetchId, fetch: Fetch) {
        if let Some(probe) = self
            .convergence
            .probing
            .as_mut()
            .filter(|p| p.site == life.site)
        {
            probe.fetches.push((id, fetch));
            return;
        }
        if let Some(process) = &mut self.machines[life.site].process {
            process.fetching.insert(id);
        }
        let after = self.random.tail(0, 20_000);
        self.schedule
            .after(after, Event::FetchRead(life, id, fetch));
    }

    pub(crate) fn fetch_read(&mut self, life: Life, id: FetchId, fetch: &Fetch) {
        if !self.is_alive(life) {
            return;
        }
        let result = if self.phase == Phase::Chaos && self.random.chance(3) {
            self.tally.fetch_faults += 1;
            self.note(
                Some(life.site),
                Topic::Fault,
                format_args!("fetch {} fails", id.0),
            );
            Err("simulated: the read failed".to_owned())
        } else {
            let Some(result) = self.read_store(life.site, fetch) else {
                return;
            };
            result
        };
        let after = if self.random.chance(20) {
            self.random.between(100_000, 1_000_000)
        } else {
            self.random.tail(0, 20_000)
        };
        self.schedule
            .after(after, Event::FetchAnswer(life, id, result));
    }

    /// Asks the store. None: the machine died of it.
    pub(crate) fn read_store(
        &mut self,
        site: usize,
        fetch: &Fetch,
    ) -> Option<Result<Fetched, String>> {
        let machine = &self.machines[site];
        let result = machine.process.as_ref()?.store.fetch(fetch);
        if machine.disk.is_off() {
            self.died(site);
            return None;
        }
        let closed = machine
            .process
            .as_ref()
            .is_some_and(|process| process.closed);
        if let Err(error) = &result
            && !machine.disk.has_faulted()
            && !closed
        {
            self.fail("a whole store answers", format!("{fetch:?}: {error}"));
        }
        Some(result.map_err(|error| error.to_string()))
    }

    pub(crate) fn fetch_answer(
        &mut self,
        life: Life,
        id: FetchId,
        result: Result<Fetched, String>,
    ) {
        if self.is_alive(life) {
            if let Some(process) = &mut self.machines[life.site].process {
                process.fetching.remove(&id);
            }
            let outcome = if result.is_ok() { "answered" } else { "failed" };
            self.note(
                Some(life.site),
                Topic::Store,
                format_args!("fetch {} {outcome}", id.0),
            );
            self.feed(life.site, Input::Fetched { id, result });
        }
    }

    /// The committer takes some of what waits, as one group.
    pub(crate) fn commit(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let site = life.site;
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let most = process.queue.len();
        if most == 0 {
            process.committing = false;
            return;
        }
        let count = 1 + self.random.index(most);
        let group: Vec<_> = process.queue.drain(..count).collect();
        let through = group.last().map_or(Ticket(0), |commit| commit.ticket);
        let result = process.store.commit(&group);
        self.tally.commits += 1;
        if self.machines[site].disk.is_off() {
            self.note(
                Some(site),
                Topic::Fault,
                format_args!("dies at the commit of {}", through.0),
            );
            return self.died(site);
        }
        match result {
            Ok(()) => self.committed(life, through, count),
            Err(error) if self.machines[site].disk.has_faulted() => {
                self.tally.disk_faults += 1;
                if let Some(process) = &mut self.machines[site].process {
                    process.closed = true;
                    process.queue.clear();
                }
                self.note(
                    Some(site),
                    Topic::Fault,
                    format_args!("commit of {} fails", through.0),
                );
                let after = self.random.tail(0, 20_000);
                let event = Event::PersistFailed(life, error.to_string());
                self.schedule.after(after, event);
            }
            Err(error) => self.fail("a whole store commits", error.to_string()),
        }
    }

    fn committed(&mut self, life: Life, through: Ticket, count: usize) {
        let took = self.random.tail(100, 30_000);
        let report = self.schedule.now_us + took + self.random.tail(0, 50_000);
        let Some(process) = &mut self.machines[life.site].process else {
            return;
        };
        // Reports come in order.
        process.last_persisted_us = process.last_persisted_us.max(report);
        let report = process.last_persisted_us;
        self.note(
            Some(life.site),
            Topic::Store,
            format_args!("committed {count} through {}", through.0),
        );
        self.schedule.at(report, Event::Persisted(life, through));
        self.schedule.after(took, Event::Commit(life));
    }

    pub(crate) fn persisted(&mut self, life: Life, through: Ticket) {
        if self.is_alive(life) {
            self.note(
                Some(life.site),
                Topic::Store,
                format_args!("durable through {}", through.0),
            );
            self.feed(life.site, Input::Persisted { through });
        }
    }

    pub(crate) fn persist_failed(&mut self, life: Life, error: String) {
        if self.is_alive(life) {
            self.note(
                Some(life.site),
                Topic::Store,
                format_args!("told that the store failed"),
            );
            self.feed(life.site, Input::PersistFailed { error });
            let after = self.random.between(10_000, 500_000);
            self.schedule.after(after, Event::Crash(life));
        }
    }

    pub(crate) fn tick(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let now_us = self.schedule.now_us;
        if let Some(process) = &mut self.machines[life.site].process {
            if process.tick_at_us > now_us {
                return;
            }
            process.tick_at_us = u64::MAX;
        }
        self.feed(life.site, Input::Tick);
    }

    /// Sees to it that the replica is woken when it wants to be.
    pub(crate) fn rearm(&mut self, site: usize, ticked: bool) {
        let now_us = self.schedule.now_us;
        let machine = &mut self.machines[site];
        let life = machine.life(site);
        let now = machine.now(now_us);
        let offset_ms = machine.mono_offset_ms;
        let Some(process) = &mut machine.process else {
            return;
        };
        let wake_ms = process.replica.wake_at();
        if ticked && wake_ms <= now.mono_ms {
            let found = format!(
                "woken at {} ms it wants to be woken at {wake_ms} ms",
                now.mono_ms
            );
            return self.fail("a replica does not spin", found);
        }
        if wake_ms == u64::MAX {
            return;
        }
        let at_us = wake_ms
            .saturating_sub(offset_ms)
            .saturating_mul(1_000)
            .max(now_us);
        if at_us < process.tick_at_us {
            process.tick_at_us = at_us;
            self.schedule.at(at_us, Event::Tick(life));
        }
    }

    /// Checker: what becomes visible is durable, announced once, in order, after its causes.
    fn visible(&mut self, site: usize, change: &Visible, persisted: bool) {
        self.note(
            Some(site),
            Topic::Store,
            format_args!(
                "shows {:?} by {} {} at {}",
                change.documents, change.origin.incarnation, change.seq.0, change.lsn.0
            ),
        );
        if !persisted {
            let found = format!(
                "{:?} was shown without a commit being reported",
                change.documents
            );
            self.fail("nothing is visible before it is durable", found);
        }
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        // What an earlier incarnation wrote counts as written here, too, and may come back from peers.
        let fresh = change.origin == process.replica.origin();
        let taken = process.live.take(change, &mut self.provenance, fresh);
        if fresh {
            let announced = (change.documents.clone(), change.origin, change.seq);
            process.announced.push_back(announced);
        }
        self.check("the change feed is whole", taken);
        self.check_shown(change);
    }

    /// Looks into what goes to the disk: which write became which batch, and what its writer held by then.
    fn observe(&mut self, site: usize, commit: &Commit) {
        for record in &commit.log {
            let batches = match Batch::of_record(record) {
                Ok(batches) => batches,
                Err(error) => return self.fail("the log reads", error.to_string()),
            };
            for batch in batches {
                self.observe_batch(site, &batch);
            }
        }
    }

    fn observe_batch(&mut self, site: usize, batch: &Batch) {
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let accepted = process.accepted.entry(batch.namespace.clone()).or_default();
        let past = accepted.clone();
        let new = accepted.raise(batch.origin, batch.seq);
        if batch.origin != process.replica.origin() || !new {
            return;
        }
        let signed = batch.writes.iter().filter(|write| is_signed(&write.key));
        let number = signed
            .flat_map(|write| &write.changes)
            .filter_map(|change| highest(change));
        let number = number.max();
        let documents = batch.writes.iter().map(|write| DocumentId {
            namespace: batch.namespace.clone(),
            key: write.key.clone(),
        });
        let position = (batch.origin, batch.seq);
        let documents = documents.collect();
        let issued = self
            .ledger
            .issue(&batch.namespace, position, number, past, documents);
        self.check("a write is done once", issued);
    }

    fn notice(&mut self, site: usize, notice: &Notice) {
        self.note(Some(site), Topic::World, format_args!("notice: {notice:?}"));
        match notice {
            Notice::HistoryAhead { peer, .. } => {
                let found = format!(
                    "{peer} holds more of the history of {} than its own disk, whose continuity was proven",
                    crate::site_name(site)
                );
                self.fail("nothing is sent before it is durable", found);
            }
            Notice::ChangeRefused {
                document, reason, ..
            } => {
                let found = format!("a change to {document} was not let in: {reason}");
                self.fail("changes arrive whole and in order", found);
            }
            Notice::BadRecord { lsn, reason } => {
                self.fail("the log reads", format!("record {}: {reason}", lsn.0));
            }
            Notice::BadFrame { reason, .. } => {
                if self.tally.frames_garbled == 0 {
                    self.fail(
                        "frames read",
                        format!("a frame of a replica's own: {reason}"),
                    );
                }
            }
            _ => self.fail(
                "notices",
                format!("a notice that the simulator does not know: {notice:?}"),
            ),
        }
    }

    pub(crate) fn stop(&mut self, site: usize) {
        self.end(site, End::Stop);
        let after = self.random.between(1_000, 50_000);
        self.schedule.after(after, Event::Restart(site));
    }
}
