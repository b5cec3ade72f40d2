//! The world of one run, and its main loop.

use std::collections::BTreeMap;

use anabranch_core::{LinkId, ReplicaId, RequestId};

use crate::clients::{Client, Pending};
use crate::convergence::Convergence;
use crate::feed::{Feed, Provenance};
use crate::ledger::Ledger;
use crate::machine::{Holdings, Machine};
use crate::medium::SimMedium;
use crate::moving::Moving;
use crate::past::Past;
use crate::plan::{Options, Plan};
use crate::random::Random;
use crate::schedule::{EndId, Event, Schedule};
use crate::tally::Tally;
use crate::trace::{Line, Topic, Trace};
use crate::wires::{Connection, Pair};

/// What was promised and not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which promise, in a word or two.
    pub promise: &'static str,
    /// What was found instead.
    pub found: String,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub digest: [u8; 32],
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
    /// The last events.
    pub recent: Vec<Line>,
    /// What happened how often.
    pub tally: Tally,
}

/// No faults for so long at the beginning, where that matters.
pub(crate) const CALM_US: u64 = 600_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Chaos,
    /// All faults are over; clients are quiet.
    Healing {
        since_us: u64,
    },
    /// Equal everywhere; waiting for document states to be written.
    Settling {
        since_us: u64,
    },
    Over,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) schedule: Schedule,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) phase: Phase,
    pub(crate) machines: Vec<Machine>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) links: BTreeMap<LinkId, EndId>,
    pub(crate) names_used: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) requests: BTreeMap<RequestId, Pending>,
    pub(crate) ledger: Ledger,
    pub(crate) provenance: Provenance,
    pub(crate) convergence: Convergence,
    pub(crate) past: Past,
    pub(crate) moving: Option<Moving>,
    /// Somebody let go of log that one whom it had never met may need.
    pub(crate) released_unmet: bool,
    pub(crate) violation: Option<Violation>,
}

/// Runs one seed to its end.
#[must_use]
pub fn run(options: Options) -> Outcome {
    let mut world = World::new(options);
    world.begin();
    while world.violation.is_none() && world.phase != Phase::Over {
        let Some(event) = world.schedule.next() else {
            world.fail(
                "liveness",
                "nothing is ever going to happen again".to_owned(),
            );
            break;
        };
        world.step(event);
    }
    world.outcome()
}

impl World {
    fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed);
        let plan = Plan::draw(&mut random);
        let moving = Moving::draw(options.seed, &plan);
        let machines: Vec<_> = (0..plan.replicas)
            .map(|_| Self::machine(&mut random))
            .collect();
        let mut pairs = Pair::all(plan.replicas, &mut random);
        if plan.releases {
            for pair in &mut pairs {
                pair.quality = crate::plan::Quality::healed();
            }
        }
        let clients = (0..plan.replicas * plan.clients_per_replica)
            .map(|index| Client::new(index % plan.replicas, random.fork()))
            .collect();
        Self {
            plan,
            options,
            random,
            schedule: Schedule::new(),
            trace: Trace::new(options.sink),
            tally: Tally::default(),
            phase: Phase::Chaos,
            machines,
            pairs,
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            names_used: 0,
            clients,
            requests: BTreeMap::new(),
            ledger: Ledger::default(),
            provenance: Provenance::default(),
            convergence: Convergence::default(),
            past: Past::default(),
            moving,
            released_unmet: false,
            violation: None,
        }
    }

    fn machine(random: &mut Random) -> Machine {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.bits().to_be_bytes());
        Machine {
            id: ReplicaId(id),
            medium: SimMedium::new(random.fork()),
            identity: random.bits(),
            wall_offset_ms: i64::try_from(random.between(0, 600_000)).unwrap_or(0) - 300_000,
            mono_offset_ms: random.between(0, 1_000_000),
            generation: 0,
            process: None,
            image: None,
            known: Holdings::new(),
            origin: None,
            folds_failed: 0,
            damage_found: 0,
            replaced: false,
            ever_replaced: false,
            subscriber: Feed::default(),
        }
    }

    fn begin(&mut self) {
        let plan = &self.plan;
        let summary = format!(
            "{} replicas, {} clients each, {} ms of chaos, {:?}",
            plan.replicas,
            plan.clients_per_replica,
            plan.chaos_us / 1_000,
            plan.room
        );
        self.note(None, Topic::World, format_args!("{summary}"));
        for site in 0..self.machines.len() {
            let at_us = self.random.between(0, 50_000);
            self.schedule.at(at_us, Event::Restart(site));
            let at_us = self.random.between(100_000, 1_000_000);
            self.schedule.at(at_us, Event::Subscriber(site));
        }
        for client in 0..self.clients.len() {
            let at_us = self.random.between(10_000, 300_000);
            // Whoever lets go of log has to have met the others first.
            let calm_us = if self.plan.releases { CALM_US / 2 } else { 0 };
            self.schedule.at(calm_us + at_us, Event::Client(client));
        }
        for pair in 0..self.pairs.len() {
            self.connect_later(pair, 100_000);
        }
        let calm_us = if self.plan.releases { CALM_US } else { 0 };
        let chaos_us = self.plan.fault_every_us.max(calm_us);
        self.schedule.at(chaos_us, Event::Chaos);
        for site in 0..self.machines.len() {
            let at_us = self.random.between(200_000, self.plan.chaos_us / 2);
            self.schedule.at(at_us, Event::Backup(site));
        }
        self.schedule.at(500_000, Event::Probe);
        self.begin_moving();
        self.schedule.at(self.plan.chaos_us + calm_us, Event::Heal);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Tick(life) => self.tick(life),
            Event::Commit(life) => self.commit(life),
            Event::Told(life, told) => self.told(life, told),
            Event::Fold(life) => self.fold(life),
            Event::Folded(life, id, result) => self.folded(life, id, result),
            Event::Tend(life) => self.tend(life),
            Event::FetchRead(life, id, fetch) => self.fetch_read(life, id, &fetch),
            Event::FetchAnswer(life, id, result) => self.fetch_answer(life, id, result),
            Event::Client(client) => self.client(client),
            Event::Subscriber(site) => self.subscriber(site),
            Event::Connect(pair) => self.connect(pair),
            Event::Up(end) => self.up(end),
            Event::Down(end) => self.down(end),
            Event::Deliver(end, frame) => self.deliver(end, frame),
            Event::Sent(end, bytes) => self.sent(end, bytes),
            Event::Expire(end) => self.expire(end),
            Event::Unblock(pair) => self.unblock(pair),
            Event::Crash(life) => self.crash_of(life),
            Event::Restart(site) => self.start(site),
            Event::Backup(site) => self.take_image(site),
            Event::Chaos => self.chaos(),
            Event::Room(site) => self.make_room(site),
            Event::Probe => self.probe(),
            Event::Move => self.take_turn(),
            Event::Heal => self.heal(),
            Event::Inspect => self.inspect(),
        }
    }

    pub(crate) fn note(
        &mut self,
        site: Option<usize>,
        topic: Topic,
        what: std::fmt::Arguments<'_>,
    ) {
        self.trace.note(self.schedule.now_us, site, topic, what);
    }

    /// The first violation counts; the run ends there.
    pub(crate) fn fail(&mut self, promise: &'static str, found: String) {
        self.note(
            None,
            Topic::Fault,
            format_args!("violated: {promise}: {found}"),
        );
        self.violation.get_or_insert(Violation { promise, found });
    }

    pub(crate) fn check(&mut self, promise: &'static str, result: Result<(), String>) {
        if let Err(found) = result {
            self.fail(promise, found);
        }
    }

    fn outcome(mut self) -> Outcome {
        self.tally.seeds = 1;
        self.tally.events = self.trace.events;
        self.tally.virtual_ms = self.schedule.now_us / 1_000;
        for machine in &mut self.machines {
            // Nothing may be written any more; the digest is of what happened until here.
            machine.medium.switch_off();
        }
        Outcome {
            seed: self.options.seed,
            digest: self.trace.digest(),
            violation: self.violation,
            recent: self.trace.recent(),
            tally: self.tally,
        }
    }
}
