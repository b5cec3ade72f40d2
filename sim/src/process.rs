//! Starting and ending processes.

use anabranch_core::persist::{Continuity, Fetch, Fetched, StoreError};
use anabranch_core::{
    Config, DecodeError, Incarnation, Input, Lsn, Now, Output, PROTOCOL_NEWEST, Replica, Standing,
    compact,
};
use anabranch_store::{OpenError, Opening, Store};

use crate::clients::Pending;
use crate::feed::Feed;
use crate::ledger::Fate;
use crate::machine::{Process, holdings};
use crate::medium::SimMedium;
use crate::schedule::{Event, Life};
use crate::trace::{Topic, site_name};
use crate::world::{CALM_US, Phase, World};

/// Per mille of starts after which a whole namespace is read at once.
const READ_AFTER_START: u64 = 300;

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The power goes: what was not synced may be torn.
    PowerCut,
    /// The process is killed: what it wrote is written.
    Kill,
    /// It is asked to stop.
    Stop,
}

/// Why a start did not work out.
enum Failed {
    /// The disk died or failed, as it may.
    Disk(String),
    /// What lies there can't be read any more.
    Damaged(String),
    /// It should have worked.
    Broken(String),
}

impl Failed {
    fn of(medium: &SimMedium, why: String) -> Self {
        let fails = medium.has_faulted() || medium.was_limited();
        if medium.is_off() || fails && !medium.was_flipped() {
            Self::Disk(why)
        } else if medium.was_flipped() {
            Self::Damaged(why)
        } else {
            Self::Broken(why)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as errors are mapped")]
fn unreadable(error: DecodeError) -> Failed {
    Failed::Broken(error.to_string())
}

impl World {
    pub(crate) fn start(&mut self, site: usize) {
        if self.machines[site].process.is_some() || self.machines[site].gone {
            return;
        }
        self.machines[site].medium.switch_on();
        let calm = self.plan.releases && self.schedule.now_us < CALM_US;
        if self.phase == Phase::Chaos && !calm && self.random.chance(60) {
            let calls = self.random.tail(0, 300);
            self.machines[site].medium.light_fuse(calls);
        }
        match self.open(site) {
            Ok((process, continuity)) => {
                self.machines[site].generation += 1;
                self.began(site, process, continuity);
            }
            Err(Failed::Disk(why)) => {
                self.tally.failed_openings += 1;
                self.note(
                    Some(site),
                    Topic::Fault,
                    format_args!("died while opening: {why}"),
                );
                self.machines[site].medium.switch_off();
                if self.random.coin() {
                    self.machines[site].medium.lose_power();
                }
                let after = self.random.tail(10_000, 1_000_000);
                self.schedule.after(after, Event::Restart(site));
            }
            Err(Failed::Damaged(why)) => {
                self.note(
                    Some(site),
                    Topic::Fault,
                    format_args!("can't be opened: {why}"),
                );
                self.tally.disks_lost += 1;
                self.replace_disk(site, false);
                self.schedule.after(10_000, Event::Restart(site));
            }
            Err(Failed::Broken(why)) => self.fail("a store opens after any crash", why),
        }
    }

    fn open(&mut self, site: usize) -> Result<(Process, Continuity), Failed> {
        let fresh = Incarnation(self.random.bits());
        let spare = Incarnation(self.random.bits());
        let machine = &self.machines[site];
        let opening = Opening {
            cache_bytes: self.plan.cache_bytes,
            log_segment_bytes: self.plan.log_segment_bytes,
            #[cfg(feature = "planted")]
            planted_trust: self.options.planted == Some(crate::Planted::TrustRestoredDisk),
            ..Opening::new(machine.identity.to_be_bytes(), fresh, compact)
        };
        let medium = &machine.medium;
        let (store, recovery) =
            Store::open(medium.handle(), opening).map_err(|error| match error {
                OpenError::Io(_) | OpenError::Full(_)
                    if medium.has_faulted() || medium.was_limited() =>
                {
                    Failed::Disk(error.to_string())
                }
                error => Failed::of(medium, error.to_string()),
            })?;
        let (continuity, log_end) = (recovery.continuity, recovery.log_end);
        let config = Config {
            replica: machine.id,
            name: site_name(site).to_string(),
            datacenter: self.datacenter(site),
            spare_incarnation: spare,
            room: self.plan.room,
            summary_key: [7; 32],
            protocol: match self.is_old(site, machine.generation + 1) {
                true => PROTOCOL_NEWEST - 1,
                false => PROTOCOL_NEWEST,
            },
            #[cfg(feature = "planted")]
            planted: match self.options.planted {
                Some(crate::Planted::Core(planted)) => Some(planted),
                Some(crate::Planted::TrustRestoredDisk) | None => None,
            },
        };
        let (mut replica, from) = Replica::recover(config, recovery).map_err(unreadable)?;
        self.replay(site, &mut replica, &store, from)?;
        replica.begin(log_end);
        Ok((Process::new(replica, store), continuity))
    }

    /// Whether the process of that generation is a version behind.
    pub(crate) fn is_old(&self, site: usize, generation: u64) -> bool {
        site < self.plan.old_versions && !(self.plan.updates && generation > 1)
    }

    /// How many members the log is kept for.
    pub(crate) fn counted(&self, replica: &Replica, now: Now) -> usize {
        let peers = replica.status(now).peers.into_iter();
        peers
            .filter(|peer| peer.standing != Standing::SetAside && !self.is_liar(&peer.replica))
            .count()
    }

    pub(crate) fn datacenter(&self, site: usize) -> String {
        format!("datacenter {}", site % self.plan.datacenters)
    }

    /// Takes in the log as a node does when it starts.
    fn replay(
        &mut self,
        site: usize,
        replica: &mut Replica,
        store: &Store,
        from: Lsn,
    ) -> Result<(), Failed> {
        let machine = &self.machines[site];
        let now = machine.now(self.schedule.now_us);
        let failed = |error: StoreError| match error {
            StoreError::Damaged { .. } if !machine.medium.was_flipped() => {
                Failed::Broken(error.to_string())
            }
            error => Failed::of(&machine.medium, error.to_string()),
        };
        let mut next = from;
        loop {
            let fetch = Fetch::Log {
                from: next,
                bytes_max: 10_000,
            };
            let Fetched::Log(records) = store.fetch(&fetch).map_err(failed)? else {
                let why = "the store answered another question";
                return Err(Failed::Broken(why.to_owned()));
            };
            let Some(last) = records.last() else {
                return Ok(());
            };
            next = last.lsn.next();
            replica.replay(records).map_err(unreadable)?;
            let released = fold_in_between(replica, store, now).map_err(failed)?;
            self.released_unmet |= released && self.counted(replica, now) + 1 < self.plan.replicas;
        }
    }

    fn began(&mut self, site: usize, process: Process, continuity: Continuity) {
        let origin = process.replica.origin();
        let held = holdings(&process.replica);
        self.note(
            Some(site),
            Topic::World,
            format_args!(
                "started as {}, continuity {continuity:?}",
                origin.incarnation
            ),
        );
        self.ledger.took_back(&origin, &held);
        let replaced = std::mem::take(&mut self.machines[site].replaced);
        if replaced {
            self.machines[site].subscriber = Feed::default();
        } else {
            self.check_continuity(site, &held);
        }
        let machine = &mut self.machines[site];
        machine.process = Some(process);
        let before = machine.origin.replace(origin);
        machine.renewed |= before.is_some_and(|before| before != origin);
        let life = machine.life(site);
        if life.generation == 1 && self.plan.begins_us(site) > 0 {
            self.tally.replicas_joined += 1;
        }
        self.rearm(site, false);
        let after = self.random.between(0, 500_000);
        self.schedule.after(after, Event::Tend(life));
        for pair in 0..self.pairs.len() {
            if self.pairs[pair].sites.contains(&site) {
                self.connect_later(pair, 200_000);
            }
        }
        if self.random.chance(READ_AFTER_START) {
            self.read_after_start(site);
        }
    }

    /// Checker: what was reported durable survives, and nobody holds what a crash took back.
    fn check_continuity(&mut self, site: usize, held: &crate::machine::Holdings) {
        let machine = &self.machines[site];
        for (namespace, before) in &machine.known {
            let now = held.get(namespace).cloned().unwrap_or_default();
            if !now.covers(before) {
                let found = format!(
                    "{} of {namespace} was durable at {}, after the restart it is {}",
                    debug(before),
                    site_name(site),
                    debug(&now)
                );
                return self.fail("what was durable survives", found);
            }
        }
        let Some(origin) = machine.origin else { return };
        for (other, machine) in self.machines.iter().enumerate() {
            for (namespace, frontier) in machine.holdings() {
                let there = frontier.of(&origin);
                let here = crate::machine::held(held, &namespace, &origin);
                if other != site && there > here {
                    let found = format!(
                        "{} holds batch {} of {origin} in {namespace}, whose own disk ends at {} after a crash",
                        site_name(other),
                        there.0,
                        here.0
                    );
                    return self.fail("nothing is sent before it is durable", found);
                }
            }
        }
    }

    pub(crate) fn crash_of(&mut self, life: Life) {
        if self.is_alive(life) {
            self.end(life.site, End::Kill);
            let after = self.random.tail(10_000, 500_000);
            self.schedule.after(after, Event::Restart(life.site));
        }
    }

    /// The machine died at an I/O call: that is a power cut or a kill, and it comes back.
    pub(crate) fn died(&mut self, site: usize) {
        let how = if self.random.chance(700) {
            End::PowerCut
        } else {
            End::Kill
        };
        self.end(site, how);
        let after = self.random.tail(10_000, 2_000_000);
        self.schedule.after(after, Event::Restart(site));
    }

    pub(crate) fn end(&mut self, site: usize, how: End) {
        let machine = &mut self.machines[site];
        let Some(process) = machine.process.take() else {
            return;
        };
        machine.known = holdings(&process.replica);
        let counters = process
            .replica
            .status(machine.now(self.schedule.now_us))
            .counters;
        self.count(&counters);
        let machine = &mut self.machines[site];
        if how != End::Stop {
            machine.medium.switch_off();
        }
        drop(process);
        machine.medium.switch_off();
        if how == End::PowerCut {
            machine.medium.lose_power();
        }
        match how {
            End::PowerCut => self.tally.power_cuts += 1,
            End::Kill => self.tally.kills += 1,
            End::Stop => {}
        }
        self.note(Some(site), Topic::Fault, format_args!("down: {how:?}"));
        self.abandon_requests(site);
        self.abandon_links(site);
    }

    pub(crate) fn count(&mut self, counters: &anabranch_core::Counters) {
        self.tally.folds += counters.folds;
        self.tally.stalls += counters.stalls;
        self.tally.duplicates += counters.batches_duplicate;
        self.tally.out_of_order += counters.batches_out_of_order;
        self.tally.changes_refused += counters.changes_refused;
    }

    fn abandon_requests(&mut self, site: usize) {
        let of_site = |pending: &Pending| pending.site == site;
        let ids: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, pending)| of_site(pending))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(pending) = self.requests.remove(&id) else {
                continue;
            };
            self.free_client(id, &pending);
            if let Some(number) = pending.write() {
                let fate = &mut self.ledger.writes[number].fate;
                if *fate == Fate::Pending {
                    *fate = Fate::Unknown;
                }
                self.tally.writes_unknown += 1;
            }
        }
    }

    pub(crate) fn is_alive(&self, life: Life) -> bool {
        let machine = &self.machines[life.site];
        machine.generation == life.generation && machine.process.is_some()
    }

    /// Swaps the medium under a machine that is down.
    pub(crate) fn replace_disk(&mut self, site: usize, restore: bool) {
        let identity = self.random.bits();
        let survivors: Vec<_> = (0..self.machines.len())
            .filter(|other| *other != site && !self.machines[*other].gone)
            .map(|other| self.machines[other].holdings())
            .collect();
        let machine = &mut self.machines[site];
        machine.identity = identity;
        machine.replaced = true;
        machine.ever_replaced = true;
        let image = machine.image.as_ref().filter(|_| restore);
        machine.known = image
            .map(|image| image.holdings.clone())
            .unwrap_or_default();
        machine.medium.replace(image.map(|image| &image.content));
        let mut survivors = survivors;
        survivors.push(machine.known.clone());
        let excused = self.ledger.disk_lost(&survivors);
        self.tally.writes_excused += excused as u64;
        let what = if restore { "restored" } else { "lost" };
        self.note(
            Some(site),
            Topic::Fault,
            format_args!("disk {what}; {excused} writes may be gone"),
        );
    }
}

/// A long replay goes on to the documents as it comes, as it does at the start of a node. Whether log was let go.
fn fold_in_between(replica: &mut Replica, store: &Store, now: Now) -> Result<bool, StoreError> {
    let mut released = false;
    while replica.is_short_of_memory() {
        let mut folded = false;
        replica.handle(now, Input::Tick);
        while let Some(output) = replica.poll() {
            if let Output::Fold(fold) = output {
                store.fold(&fold)?;
                folded = true;
                released |= fold.release_before.is_some();
                let (id, result) = (fold.id, Ok(()));
                replica.handle(now, Input::Folded { id, result });
            }
        }
        if !folded && replica.is_short_of_memory() {
            let why = "a replica that is short of memory has nothing to fold";
            return Err(StoreError::Failed(why.to_owned()));
        }
    }
    Ok(released)
}

fn debug(frontier: &anabranch_core::Frontier) -> String {
    let entries: Vec<_> = frontier
        .iter()
        .map(|(origin, seq)| format!("{}:{}", origin.incarnation, seq.0))
        .collect();
    entries.join(" ")
}
