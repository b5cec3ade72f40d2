//! Fifty datacenters in virtual time, each with a link to every other: when every write is everywhere, and how often it was sent there.
//!
//! They lie at random places of a sphere of the earth's size. A frame takes the way at two thirds of the speed of light, on a line one and a
//! half times as long as the shortest, and a little chance; a sync of a disk takes two milliseconds, and what comes meanwhile waits for the
//! next.

#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use anabranch_core::measure::carried;
use anabranch_core::persist::{Continuity, Fetch, Fetched, FoldId, LogRecord, Recovery, Ticket};
use anabranch_core::{
    Ack, Config, Incarnation, Input, Intent, Key, LinkId, Namespace, Now, Origin, Output, Replica,
    ReplicaId, Request, RequestId, Seq, Session, Write,
};
use bytes::Bytes;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

const DATACENTERS: usize = 50;
const WRITES_EACH: u64 = 20;
/// The last write begins before.
const WRITING_US: u64 = 20_000_000;
const SYNC_US: u64 = 2_000;
const WALL_MS: u64 = 1_790_000_000_000;

/// Something that is due at a datacenter.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Write(u64),
    Frame(usize, Bytes),
    Synced(Ticket),
    Folded(FoldId),
    Tick,
}

struct Site {
    replica: Replica,
    log: Vec<LogRecord>,
    /// Commits that wait for the disk.
    waiting: Option<Ticket>,
    syncing: bool,
    tick_us: u64,
}

struct World {
    now_us: u64,
    /// By time, and then in the order in which they were made.
    due: BinaryHeap<Reverse<(u64, u64, usize, Due)>>,
    made: u64,
    sites: Vec<Site>,
    delays_us: Vec<Vec<u64>>,
    random: Xoshiro256PlusPlus,
    written_us: BTreeMap<(Origin, Seq), u64>,
    visible: BTreeMap<(Origin, Seq), (usize, u64)>,
    /// How often each was sent to each.
    sent: BTreeMap<(usize, Origin, Seq), u32>,
}

fn link(peer: usize) -> LinkId {
    LinkId(peer as u64 + 1)
}

fn id(site: usize) -> ReplicaId {
    ReplicaId([u8::try_from(site).unwrap() + 1; 16])
}

/// One way between points of a globe, in microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some hundred thousand at most"
)]
fn delays(random: &mut Xoshiro256PlusPlus) -> Vec<Vec<u64>> {
    let mut place = || loop {
        let point: [f64; 3] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
        let length = point.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 0.1 && length <= 1.0 {
            return point.map(|x| x / length);
        }
    };
    let places: Vec<[f64; 3]> = (0..DATACENTERS).map(|_| place()).collect();
    let us = |a: &[f64; 3], b: &[f64; 3]| {
        let cosine: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        let kilometres = cosine.clamp(-1.0, 1.0).acos() * 6_371.0 * 1.5;
        (kilometres / 0.2) as u64 + 200
    };
    let row = |a| places.iter().map(|b| us(a, b)).collect();
    places.iter().map(row).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let delays_us = delays(&mut random);
        let site = |site: usize| {
            let incarnation = Incarnation(site as u64 + 1);
            let name = format!("dc{site}");
            let config = Config::new(id(site), name.clone(), name, Incarnation(1_000));
            let recovery = Recovery {
                incarnation,
                continuity: Continuity::Proven,
                checkpoint: None,
                log_end: None,
                log_first: None,
            };
            let (mut replica, _) = Replica::recover(config, recovery).unwrap();
            replica.begin(None);
            Site {
                replica,
                log: Vec::new(),
                waiting: None,
                syncing: false,
                tick_us: u64::MAX,
            }
        };
        Self {
            now_us: 0,
            due: BinaryHeap::new(),
            made: 0,
            sites: (0..DATACENTERS).map(site).collect(),
            delays_us,
            random,
            written_us: BTreeMap::new(),
            visible: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    fn after(&mut self, us: u64, site: usize, due: Due) {
        self.made += 1;
        let at = self.now_us + us;
        self.due.push(Reverse((at, self.made, site, due)));
    }

    fn give(&mut self, site: usize, input: Input) {
        let ms = self.now_us / 1_000;
        let now = Now {
            mono_ms: ms,
            wall_ms: WALL_MS + ms,
        };
        self.sites[site].replica.handle(now, input);
        while let Some(output) = self.sites[site].replica.poll() {
            self.take(site, now, output);
        }
        let wake_us = self.sites[site].replica.wake_at().saturating_mul(1_000);
        if wake_us < self.sites[site].tick_us {
            self.sites[site].tick_us = wake_us.max(self.now_us);
            self.after(wake_us.saturating_sub(self.now_us), site, Due::Tick);
        }
    }

    fn take(&mut self, site: usize, now: Now, output: Output) {
        match output {
            Output::Persist(commit) => {
                self.sites[site].log.extend(commit.log);
                self.sites[site].waiting = Some(commit.ticket);
                self.sync(site);
            }
            // Nobody reads here: what is folded is in the log all the same.
            Output::Fold(fold) => self.after(SYNC_US, site, Due::Folded(fold.id)),
            Output::Fetch { id, fetch } => {
                let result = Ok(self.fetched(site, &fetch));
                let input = Input::Fetched { id, result };
                self.sites[site].replica.handle(now, input);
            }
            Output::Send { link: to, frame } => {
                let (to, bytes) = (usize::try_from(to.0 - 1).unwrap(), frame.len());
                for (_, origin, seq) in carried(&frame).unwrap() {
                    *self.sent.entry((to, origin, seq)).or_default() += 1;
                }
                // A little chance, but in order, as a stream is.
                let jitter = self.random.random_range(0..50);
                let delay = self.delays_us[site][to] + jitter;
                self.after(delay, to, Due::Frame(site, frame));
                let input = Input::Sent {
                    link: link(to),
                    bytes,
                };
                self.sites[site].replica.handle(now, input);
            }
            Output::Visible(visible) => {
                assert!(visible.repaired.is_none(), "nothing takes a repair here");
                let name = (visible.origin, visible.seq);
                if visible.local {
                    self.visible.insert(name, (1, self.now_us));
                } else {
                    let (count, last_us) = self.visible.get_mut(&name).unwrap();
                    *count += 1;
                    *last_us = self.now_us;
                }
            }
            Output::Reply { reply, .. } => assert!(reply.is_ok(), "{reply:?}"),
            Output::Disconnect { reason, .. } => panic!("{reason}"),
            Output::Notice(_) => {}
        }
    }

    fn sync(&mut self, site: usize) {
        let state = &mut self.sites[site];
        if !state.syncing
            && let Some(ticket) = state.waiting.take()
        {
            state.syncing = true;
            self.after(SYNC_US, site, Due::Synced(ticket));
        }
    }

    fn fetched(&self, site: usize, fetch: &Fetch) -> Fetched {
        match fetch {
            Fetch::Log { from, .. } => {
                let log = self.sites[site].log.iter();
                Fetched::Log(log.filter(|record| record.lsn >= *from).cloned().collect())
            }
            Fetch::Document(_) => Fetched::Document(None),
            Fetch::Sums { .. } => Fetched::Sums {
                documents: Vec::new(),
                more: false,
            },
            other => panic!("nobody asks for {other:?}"),
        }
    }

    fn write(&mut self, site: usize, number: u64) {
        let origin = self.sites[site].replica.origin();
        self.written_us.insert((origin, Seq(number)), self.now_us);
        let write = Write {
            key: Key::new(&format!("{site}-{number}")).unwrap(),
            intent: Intent::Replace(json!({"of": site, "number": number})),
            guard: None,
            base: None,
        };
        let request = Request::Write {
            namespace: Namespace::new("carts").unwrap(),
            writes: vec![write],
            idempotency: None,
            ack: Ack::Local,
        };
        let input = Input::Request {
            id: RequestId(number),
            request,
            session: Session::default(),
        };
        self.give(site, input);
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((at, _, site, due))) = self.due.pop() else {
            return false;
        };
        self.now_us = at;
        match due {
            Due::Write(number) => self.write(site, number),
            Due::Frame(from, bytes) => {
                let link = link(from);
                self.give(site, Input::Frame { link, bytes });
            }
            Due::Synced(through) => {
                self.sites[site].syncing = false;
                self.sync(site);
                self.give(site, Input::Persisted { through });
            }
            Due::Folded(id) => {
                let result = Ok(());
                self.give(site, Input::Folded { id, result });
            }
            Due::Tick => {
                self.sites[site].tick_us = u64::MAX;
                self.give(site, Input::Tick);
            }
        }
        true
    }
}

#[test]
fn every_write_is_everywhere_after_one_way_and_was_sent_there_once() {
    let mut world = World::new(50);
    for a in 0..DATACENTERS {
        for b in (0..DATACENTERS).filter(|b| *b != a) {
            let (link, peer) = (link(b), id(b));
            world.give(a, Input::LinkUp { link, peer });
        }
    }
    for site in 0..DATACENTERS {
        let mut times: Vec<u64> = (0..WRITES_EACH)
            .map(|_| world.random.random_range(1_000_000..WRITING_US))
            .collect();
        times.sort_unstable();
        for (number, at) in (1..).zip(times) {
            world.after(at, site, Due::Write(number));
        }
    }
    let all = DATACENTERS * usize::try_from(WRITES_EACH).unwrap();
    while world.now_us < 2 * WRITING_US && world.step() {}
    let longest_us = *world.delays_us.iter().flatten().max().unwrap();
    assert_eq!(world.written_us.len(), all);
    let mut worst = 0;
    for (name, written_us) in &world.written_us {
        let (count, last_us) = world.visible[name];
        assert_eq!(count, DATACENTERS, "{name:?}");
        worst = worst.max(last_us - written_us);
    }
    let most = world.sent.values().max().unwrap();
    let sent = world
        .sent
        .values()
        .map(|times| u64::from(*times))
        .sum::<u64>();
    println!(
        "{all} writes in {DATACENTERS} datacenters: everywhere after {} ms at most, {:.2} of the longest way of {} ms; each sent \
         {:.3} times to each, {most} at most",
        worst / 1_000,
        ratio(worst, longest_us),
        longest_us / 1_000,
        ratio(sent, (all * (DATACENTERS - 1)) as u64),
    );
    assert!(2 * worst <= 3 * longest_us, "{worst} us");
    assert!(*most <= 2, "sent {most} times");
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}
