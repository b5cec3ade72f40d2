//! A namespace that is placed here and there while everything goes wrong.
//!
//! It has clients and checkers of its own: whoever is asked may refuse it, and what is held of it goes away. What is checked is that
//! nothing that was acknowledged is lost, and that in the end it is in its datacenters, the same everywhere, and nowhere else.

use std::collections::BTreeSet;

use anabranch_core::{
    Ack, Answer, Datacenters, Intent, Key, Namespace, Reply, Request, RequestError, Write,
};
use serde_json::json;

use crate::clients::Asked;
use crate::plan::Plan;
use crate::random::Random;
use crate::schedule::Event;
use crate::trace::site_name;
use crate::workload;
use crate::world::{Phase, World};

const NAMESPACE: &str = "moved";
/// Of a thousand runs.
const RUNS: u64 = 300;
const TURN_US_MAX: u64 = 60_000;
/// As many as are read at once.
const WRITES_MAX: u64 = workload::PAGE_MAX as u64;

/// Whether it is the one that moves.
pub(crate) fn moves(namespace: &Namespace) -> bool {
    namespace.as_str() == NAMESPACE
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    Write(u64),
    /// Whether it is the last.
    Place(bool),
}

pub(crate) struct Moving {
    random: Random,
    namespace: Namespace,
    /// How often it is placed elsewhere still.
    left: u64,
    written: u64,
    acknowledged: BTreeSet<u64>,
    /// Where it is to be in the end, and whether everybody is to know that.
    last: Option<Option<Datacenters>>,
    is_last: bool,
}

impl Moving {
    /// In some runs. Those in which some speak a protocol that knows nothing of it are none of them, nor those with a member that never
    /// says that it keeps something: a liar, or one that goes.
    pub(crate) fn draw(seed: u64, plan: &Plan) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x706c_6163_6564);
        let namespace = Namespace::new(NAMESPACE).ok()?;
        let all_answer = !plan.liar && plan.leaves.is_none() && plan.joins.is_none();
        let moves = random.chance(RUNS) && plan.old_versions == 0 && all_answer;
        moves.then(|| Self {
            left: random.between(1, 3),
            random,
            namespace,
            written: 0,
            acknowledged: BTreeSet::new(),
            last: None,
            is_last: false,
        })
    }
}

impl World {
    pub(crate) fn begin_moving(&mut self) {
        if self.moving.is_some() {
            self.schedule.at(300_000, Event::Move);
        }
    }

    /// A turn: something is written, or it is placed elsewhere.
    pub(crate) fn take_turn(&mut self) {
        let sites = self.machines.len();
        let Some(moving) = self.moving.as_mut().filter(|_| self.phase == Phase::Chaos) else {
            return;
        };
        let pause = moving.random.between(1_000, TURN_US_MAX);
        let site = moving.random.index(sites);
        let places = moving.left > 0 && moving.random.chance(60);
        self.schedule.after(pause, Event::Move);
        if self.machines[site].process.is_none() {
            return;
        }
        if places {
            return self.place_somewhere(site, false);
        }
        let Some(moving) = self.moving.as_mut().filter(|it| it.written < WRITES_MAX) else {
            return;
        };
        moving.written += 1;
        let n = moving.written;
        let Ok(key) = Key::new(&format!("m{n}")) else {
            return;
        };
        let request = Request::Write {
            namespace: moving.namespace.clone(),
            writes: vec![Write {
                key,
                intent: Intent::Replace(json!({ "n": n })),
                guard: None,
                base: None,
            }],
            idempotency: None,
            ack: Ack::Local,
        };
        self.request(site, Asked::Moving(Turn::Write(n)), request);
    }

    fn place_somewhere(&mut self, site: usize, is_last: bool) {
        let names: BTreeSet<String> = (0..self.machines.len())
            .map(|site| self.datacenter(site))
            .collect();
        let Some(moving) = &mut self.moving else {
            return;
        };
        moving.left = moving.left.saturating_sub(1);
        let some: Vec<_> = names
            .into_iter()
            .filter(|_| moving.random.chance(600))
            .collect();
        let datacenters = Datacenters::new(some).ok();
        if is_last {
            moving.last = Some(datacenters.clone());
        }
        let request = Request::Place {
            namespace: moving.namespace.clone(),
            datacenters,
            force: true,
        };
        self.request(site, Asked::Moving(Turn::Place(is_last)), request);
    }

    pub(crate) fn moved(&mut self, turn: Turn, reply: Result<Answer, RequestError>) {
        let Some(moving) = &mut self.moving else {
            return;
        };
        match (turn, reply.map(|answer| answer.reply)) {
            (Turn::Write(n), Ok(Reply::Written { .. })) => {
                moving.acknowledged.insert(n);
                self.tally.moving_writes += 1;
            }
            (Turn::Place(is_last), Ok(Reply::Placed { .. })) => {
                moving.is_last |= is_last;
                self.tally.moves += 1;
            }
            (
                _,
                Err(
                    RequestError::NotPlacedHere { .. }
                    | RequestError::MovingIn { .. }
                    | RequestError::Full { .. }
                    | RequestError::Busy
                    | RequestError::Store(_)
                    | RequestError::Damaged { .. },
                ),
            ) => self.tally.moving_refused += 1,
            (_, other) => {
                let found = format!("{turn:?} is answered {other:?}");
                self.fail("requests are answered", found);
            }
        }
    }

    /// After the last fault it is placed once more; whether that has come about everywhere.
    pub(crate) fn has_moved(&mut self) -> bool {
        let Some(moving) = &self.moving else {
            return true;
        };
        if !moving.is_last {
            let asked = |asked: &Asked| matches!(asked, Asked::Moving(Turn::Place(true)));
            let waits = self.requests.values().any(|pending| asked(&pending.asked));
            // Of settings of which neither's author knew the other the greater holds: the last is to know them all, not only to be told
            // the same datacenters by each.
            let known = self.machines.iter().map(|machine| {
                let process = machine.process.as_ref()?;
                Some(process.replica.placed_by(&moving.namespace))
            });
            let known: Option<BTreeSet<_>> = known.collect();
            if !waits && known.is_some_and(|known| known.len() == 1) {
                self.place_somewhere(0, true);
            }
            return false;
        }
        let (namespace, last) = (moving.namespace.clone(), moving.last.clone().flatten());
        let mut first = None;
        (0..self.machines.len()).all(|site| {
            let Some(process) = &self.machines[site].process else {
                return false;
            };
            let replica = &process.replica;
            let held = replica.durable_frontier(&namespace);
            let knows = replica.datacenters_of(&namespace) == last.as_ref();
            knows
                && !replica.is_leaving(&namespace)
                && match replica.is_placed_here(&namespace) {
                    true => *first.get_or_insert_with(|| held.clone()) == held,
                    false => held.is_empty(),
                }
        })
    }

    /// Checker: what was acknowledged is there, the same wherever it is to be, and nowhere else.
    pub(crate) fn check_moved(&mut self) {
        let Some(moving) = &self.moving else {
            return;
        };
        let (namespace, acknowledged) = (moving.namespace.clone(), moving.acknowledged.clone());
        // What only a lost disk had is lost; with a victim's bits as well.
        let lost = self.tally.disks_lost + self.tally.disks_restored > 0;
        let may_lack = lost || self.plan.victim.is_some();
        let mut first: Option<String> = None;
        for site in 0..self.machines.len() {
            let Some(process) = &self.machines[site].process else {
                continue;
            };
            if !process.replica.is_placed_here(&namespace) {
                continue;
            }
            let Some(page) = self.read_everything(site, &namespace) else {
                return;
            };
            let listed = page.documents.iter().map(|listed| {
                let value = listed.snapshot.as_ref().map(|snapshot| &snapshot.value);
                (listed.key.as_str().to_owned(), value)
            });
            let shown = format!("{:?}", listed.collect::<Vec<_>>());
            let keys: BTreeSet<&str> = page.documents.iter().map(|of| of.key.as_str()).collect();
            let gone = acknowledged
                .iter()
                .find(|n| !keys.contains(&*format!("m{n}")));
            if let Some(n) = gone.filter(|_| !may_lack) {
                let found = format!("m{n} is not at {}", site_name(site));
                return self.fail("no acknowledged write is lost", found);
            }
            if *first.get_or_insert_with(|| shown.clone()) != shown {
                let found = format!("{namespace} at {} reads otherwise", site_name(site));
                return self.fail("equal sets read alike", found);
            }
        }
    }
}
