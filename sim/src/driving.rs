//! Driving a replica as a real driver would: inputs in, all outputs out, fetches when they come.

use anabranch_core::persist::{Fetch, Fetched, StoreError};
use anabranch_core::{FetchId, Input, Notice, Output, Visible};

use crate::moving::moves;
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
                | Input::Folded { .. }
                | Input::Damaged { .. }
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
                self.submit(life, commit);
            }
            Output::Fold(fold) => self.fold_later(life, fold),
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
            Err(StoreError::Failed("simulated: the read failed".to_owned()))
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
    ) -> Option<Result<Fetched, StoreError>> {
        let machine = &self.machines[site];
        let result = machine.process.as_ref()?.store.fetch(fetch);
        if machine.medium.is_off() {
            self.died(site);
            return None;
        }
        let closed = machine
            .process
            .as_ref()
            .is_some_and(|process| process.closed);
        if let Err(error) = &result
            && !machine.medium.has_faulted()
            && !machine.medium.was_flipped()
            && !closed
        {
            self.fail("a whole store answers", format!("{fetch:?}: {error}"));
        }
        Some(result)
    }

    pub(crate) fn fetch_answer(
        &mut self,
        life: Life,
        id: FetchId,
        result: Result<Fetched, StoreError>,
    ) {
        if self.is_alive(life) {
            if let Some(process) = &mut self.machines[life.site].process {
                process.fetching.remove(&id);
            }
            self.note(
                Some(life.site),
                Topic::Store,
                format_args!("fetch {} {}", id.0, Shown(&result)),
            );
            self.feed(life.site, Input::Fetched { id, result });
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
        if moves(&change.namespace) {
            return;
        }
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        if let Some(repaired) = &change.repaired {
            let accepted = process.accepted.entry(change.namespace.clone());
            let accepted = accepted.or_default();
            for (origin, seq) in &repaired.positions {
                accepted.raise(*origin, *seq);
            }
            self.tally.arrivals += 1;
        }
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        // What an earlier incarnation wrote counts as written here, too, and may come back from peers.
        let fresh = change.origin == process.replica.origin() && change.repaired.is_none();
        let position = (change.origin, change.seq);
        let issued = self.ledger.issued(&change.namespace, &position);
        let held = issued.filter(|_| fresh).map(|issued| &issued.past);
        let taken = process.live.take(change, &mut self.provenance, held);
        let write = issued.and_then(|issued| self.ledger.writes.get(issued.number?));
        if fresh && write.is_some_and(|write| !write.ack.is_local()) {
            let name = (change.namespace.clone(), position);
            process.awaiting.insert(name, change.documents.clone());
        } else if fresh {
            let announced = (change.documents.clone(), change.origin, change.seq);
            process.announced.push_back(announced);
        }
        self.check("the change feed is whole", taken);
        self.check_shown(change);
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
            Notice::DiskFull { .. } | Notice::DiskHasRoom => {}
            Notice::FoldFailed { .. } => {}
            Notice::DocumentsDamaged { .. } if self.machines[site].medium.was_flipped() => {
                self.tally.ranges_damaged += 1;
            }
            Notice::DocumentsRepaired { .. } => self.tally.ranges_repaired += 1,
            // Whoever was not met when the log was let go, or begins anew, gets it by a repair.
            Notice::LogTooShort { .. } if self.plan.truncates || self.released_unmet => {}
            Notice::NamespaceRepaired { documents, .. } => {
                self.tally.repairs += 1;
                self.tally.documents_repaired += documents;
            }
            Notice::RootsDiffer { peer, namespace } => {
                self.tally.roots_different += 1;
                // What is lost on a disk is found by this; where nothing was lost there is nothing to find.
                if self.plan.victim.is_none()
                    && self.tally.disks_lost + self.tally.disks_restored == 0
                {
                    let found = format!("{} and {peer} in {namespace}", crate::site_name(site));
                    self.fail("equal sets have equal roots", found);
                }
            }
            Notice::MemberSetAside { .. } if self.plan.room.set_aside_after_ms.is_some() => {
                self.tally.members_set_aside += 1;
            }
            Notice::Placed { namespace, .. } if moves(namespace) => {}
            Notice::LetGo { namespace } if moves(namespace) => self.tally.let_go += 1,
            // Nobody there was to hold it when the log was let go.
            Notice::LogTooShort { namespace, .. } if moves(namespace) => {}
            Notice::MemberWelcomed { .. } => self.tally.members_welcomed += 1,
            Notice::LogTooShort {
                peer,
                namespace,
                origin,
                seq,
            } => {
                let found = format!(
                    "batch {} of {origin} in {namespace}, which {peer} lacks, is not in the log of {} any more",
                    seq.0,
                    crate::site_name(site)
                );
                self.fail("the log is kept for those who need it", found);
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

/// A store's answer in short form.
struct Shown<'a>(&'a Result<Fetched, StoreError>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Ok(Fetched::Log(records)) => {
                write!(f, "answered with records")?;
                for record in records {
                    write!(f, " {}", record.lsn.0)?;
                }
                Ok(())
            }
            Ok(_) => f.write_str("answered"),
            Err(error) => write!(f, "failed: {error}"),
        }
    }
}
