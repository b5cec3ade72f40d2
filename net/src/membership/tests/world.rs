//! Many members on one thread, under virtual time, over links that lose, delay and break.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use anabranch_core::ReplicaId;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::identity::Identity;
use crate::member::{KnownMember, MemberState};
use crate::membership::announcement::Pen;
use crate::membership::own::Settled;
use crate::membership::{Input, Membership, Now, Output};
use crate::pki::{CertificateAuthority, Validity};

const STEP: Duration = Duration::from_millis(50);
const DIAL: Duration = Duration::from_millis(500);
const SILENT_AFTER: Duration = Duration::from_millis(2_700);
const DOWN_AFTER: Duration = Duration::from_secs(15);
/// The wall clock at the start: some day in 2026.
pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;

pub(crate) struct Node {
    pub(crate) identity: Identity,
    /// None while it is not running.
    pub(crate) members: Option<Membership>,
    /// What it wrote down before it stopped.
    pub(crate) known: Vec<KnownMember>,
    address: String,
    seeds: Vec<String>,
    /// How wrong its wall clock is.
    pub(crate) clock_ms: i64,
    pub(crate) complaints: usize,
    pub(crate) bytes_sent: u64,
}

type Datagram = (Duration, u64, usize, usize, Bytes);

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Duration,
    links: BTreeMap<(usize, usize), Option<Duration>>,
    /// Pairs that can't reach each other.
    cuts: BTreeSet<(usize, usize)>,
    /// Due when, in which order, from whom, to whom.
    under_way: BinaryHeap<Reverse<Datagram>>,
    sent: u64,
    pub(crate) loss: f64,
    dial_due: Duration,
    rng: StdRng,
    dials: BTreeMap<(usize, usize), u64>,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl World {
    /// Nodes that are not running yet, each with the seeds that are given by number.
    pub(crate) fn new(seeds: &[Vec<usize>], seed: u64) -> Self {
        let authority = CertificateAuthority::generate("cluster").unwrap();
        let ca = authority.to_pem().cert_pem;
        let address = |n: usize| format!("10.0.0.{n}:7172");
        let node = |(n, seeds): (usize, &Vec<usize>)| {
            let node = authority
                .issue(&format!("n{n}"), Validity::default())
                .unwrap();
            Node {
                identity: Identity::from_pem(&ca, &node.cert_pem, &node.key_pem).unwrap(),
                members: None,
                known: Vec::new(),
                address: address(n),
                seeds: seeds.iter().map(|n| address(*n)).collect(),
                clock_ms: 0,
                complaints: 0,
                bytes_sent: 0,
            }
        };
        Self {
            nodes: seeds.iter().enumerate().map(node).collect(),
            now: Duration::ZERO,
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            under_way: BinaryHeap::new(),
            sent: 0,
            loss: 0.0,
            dial_due: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            dials: BTreeMap::new(),
        }
    }

    /// All running, the first one the seed of all others.
    pub(crate) fn running(count: usize, seed: u64) -> Self {
        let seeds: Vec<_> = (0..count)
            .map(|n| if n == 0 { vec![] } else { vec![0] })
            .collect();
        let mut world = Self::new(&seeds, seed);
        (0..count).for_each(|n| world.start(n));
        world
    }

    pub(crate) fn id(&self, n: usize) -> ReplicaId {
        self.nodes[n].identity.replica_id()
    }

    pub(crate) fn clock(&self, n: usize) -> Now {
        let wall_ms = EPOCH_MS + u64::try_from(self.now.as_millis()).unwrap();
        Now {
            mono: self.now,
            wall_ms: wall_ms.checked_add_signed(self.nodes[n].clock_ms).unwrap(),
        }
    }

    pub(crate) fn start(&mut self, n: usize) {
        let now = self.clock(n);
        let seed = self.rng.random();
        let node = &mut self.nodes[n];
        let fixed = Settled {
            name: node.identity.name().to_owned(),
            datacenter: format!("dc-{n}"),
            addresses: vec![node.address.clone()],
        };
        let pen = Pen::new(&node.identity).unwrap();
        let known = node.known.clone();
        node.members = Some(Membership::new(pen, fixed, known, now, seed).unwrap());
    }

    /// Stops without a word, as after a power cut; what it knew is on its disk.
    pub(crate) fn kill(&mut self, n: usize) {
        let now_ms = self.clock(n).wall_ms;
        self.nodes[n].known = self.nodes[n].members.take().unwrap().known(now_ms);
        for other in 0..self.nodes.len() {
            // The others notice as they would notice a cut.
            if let Some(since) = self.links.get_mut(&pair(n, other)) {
                since.get_or_insert(self.now);
            }
        }
    }

    pub(crate) fn leave(&mut self, n: usize) {
        self.input(n, Input::Leave);
        self.run_until(Duration::from_secs(10), "all have noted it", |world| {
            world.members(n).is_noted()
        });
        self.kill(n);
    }

    pub(crate) fn moved(&mut self, n: usize, address: &str) {
        self.nodes[n].address = address.to_owned();
    }

    pub(crate) fn set_seeds(&mut self, n: usize, seeds: &[&str]) {
        self.nodes[n].seeds = seeds.iter().map(|&seed| seed.to_owned()).collect();
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert(pair(a, b));
        if let Some(since) = self.links.get_mut(&pair(a, b)) {
            since.get_or_insert(self.now);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        let nodes = &self.nodes;
        for ((a, b), since) in &mut self.links {
            if nodes[*a].members.is_some() && nodes[*b].members.is_some() {
                *since = None;
            }
        }
        let links: Vec<_> = self.links.keys().copied().collect();
        for (a, b) in links {
            self.silence(a, b, false);
        }
    }

    fn silence(&mut self, a: usize, b: usize, silent: bool) {
        for (n, peer) in [(a, b), (b, a)] {
            let peer = self.id(peer);
            self.input(n, Input::Silence { peer, silent });
        }
    }

    pub(crate) fn members(&mut self, n: usize) -> &mut Membership {
        self.nodes[n].members.as_mut().unwrap()
    }

    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains_key(&pair(a, b))
    }

    /// How often one has dialled another.
    pub(crate) fn dials(&self, from: usize, to: usize) -> u64 {
        self.dials.get(&(from, to)).copied().unwrap_or_default()
    }

    pub(crate) fn state(&mut self, n: usize, of: usize) -> Option<MemberState> {
        let (now, of) = (self.clock(n), self.id(of));
        let members = self.members(n).members(now);
        let member = members.iter().find(|member| member.replica == of);
        member.map(|member| member.state)
    }

    /// Whether every running node holds every other running one to be alive, and knows where it is.
    pub(crate) fn all_know_all(&mut self) -> bool {
        let running: Vec<_> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].members.is_some())
            .collect();
        running.iter().all(|&n| {
            let now = self.clock(n);
            let members = self.members(n).members(now);
            running.iter().all(|&other| {
                let (id, address) = (self.id(other), &self.nodes[other].address);
                n == other
                    || members.iter().any(|member| {
                        member.replica == id
                            && member.state == MemberState::Alive
                            && member.addresses.contains(address)
                            && member.datacenter == format!("dc-{other}")
                    })
            })
        })
    }

    pub(crate) fn input(&mut self, n: usize, input: Input) {
        let now = self.clock(n);
        let Some(members) = &mut self.nodes[n].members else {
            return;
        };
        members.handle(now, input);
        while let Some(output) = self.nodes[n].members.as_mut().and_then(Membership::poll) {
            match output {
                Output::Send { peer, bytes } => self.send(n, peer, bytes),
                Output::Complain { .. } => self.nodes[n].complaints += 1,
                Output::Changed => {}
            }
        }
    }

    fn send(&mut self, from: usize, peer: ReplicaId, bytes: Bytes) {
        self.nodes[from].bytes_sent += bytes.len() as u64;
        let Some(to) = (0..self.nodes.len()).find(|n| self.id(*n) == peer) else {
            panic!("sent to nobody");
        };
        assert!(self.is_linked(from, to), "sent without a link");
        if self.links[&pair(from, to)].is_some() || self.rng.random_bool(self.loss) {
            return;
        }
        let delay = Duration::from_millis(self.rng.random_range(1..150));
        self.sent += 1;
        let due = self.now + delay;
        self.under_way
            .push(Reverse((due, self.sent, from, to, bytes)));
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step();
        }
    }

    /// Hours go by in which nothing happens, but that all clocks go on.
    pub(crate) fn skip_hours(&mut self, hours: i64) {
        for node in &mut self.nodes {
            node.clock_ms += hours * 3_600_000;
        }
        // Long enough for everyone to look at the clock.
        self.run_for(Duration::from_secs(700));
    }

    /// Runs until something holds, and says how long it took; fails if that is too long.
    pub(crate) fn run_until(
        &mut self,
        within: Duration,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let start = self.now;
        while !holds(self) {
            assert!(self.now - start < within, "not within {within:?}: {what}");
            self.run_for(Duration::from_millis(500));
        }
        self.now - start
    }

    fn step(&mut self) {
        self.now += STEP;
        while let Some(Reverse((due, ..))) = self.under_way.peek() {
            if *due > self.now {
                break;
            }
            let Some(Reverse((_, _, from, to, bytes))) = self.under_way.pop() else {
                break;
            };
            if self.links.get(&pair(from, to)).is_some_and(Option::is_none) {
                let peer = self.id(from);
                self.input(to, Input::Datagram { peer, bytes });
            }
        }
        self.age_links();
        if self.dial_due <= self.now {
            self.dial_due = self.now + DIAL;
            self.dial();
        }
        for n in 0..self.nodes.len() {
            let members = self.nodes[n].members.as_ref();
            if members.is_some_and(|members| members.wake_at() <= self.now) {
                self.input(n, Input::Tick);
            }
        }
    }

    fn age_links(&mut self) {
        let broken: Vec<_> = self
            .links
            .iter()
            .filter_map(|(pair, since)| Some((*pair, self.now - (*since)?)))
            .collect();
        for ((a, b), age) in broken {
            if age >= DOWN_AFTER {
                self.unlink(a, b);
            } else if age >= SILENT_AFTER {
                self.silence(a, b, true);
            }
        }
    }

    fn unlink(&mut self, a: usize, b: usize) {
        self.links.remove(&pair(a, b));
        for (n, peer) in [(a, b), (b, a)] {
            let peer = self.id(peer);
            self.input(n, Input::LinkDown { peer });
        }
    }

    /// Every running node dials all its seeds and all members that it is to dial, wherever they are.
    fn dial(&mut self) {
        for from in 0..self.nodes.len() {
            let Some(members) = &self.nodes[from].members else {
                continue;
            };
            let learnt = members.to_dial();
            let learnt = learnt.flat_map(|member| members.addresses(member).unwrap_or_default());
            let mut addresses: BTreeSet<_> = learnt.collect();
            addresses.extend(self.nodes[from].seeds.clone());
            for address in addresses {
                self.dial_at(from, &address);
            }
        }
    }

    fn dial_at(&mut self, from: usize, address: &str) {
        let found = self.nodes.iter().position(|node| node.address == address);
        let Some(to) = found.filter(|to| *to != from) else {
            return;
        };
        if self.is_linked(from, to) && self.nodes[to].members.is_some() {
            // A restarted node is linked anew at once, as a stateless reset brings about.
            let fresh =
                self.links[&pair(from, to)].is_some() && !self.cuts.contains(&pair(from, to));
            if !fresh {
                return;
            }
            self.unlink(from, to);
        }
        *self.dials.entry((from, to)).or_default() += 1;
        if self.nodes[to].members.is_none() || self.cuts.contains(&pair(from, to)) {
            return;
        }
        self.links.insert(pair(from, to), None);
        for (n, peer, outgoing) in [(from, to, true), (to, from, false)] {
            let name = self.nodes[peer].identity.name().to_owned();
            let remote = match self.nodes[peer].address.parse() {
                Ok(remote) => remote,
                Err(_) => ([10, 9, 9, 9], 1).into(),
            };
            let peer = self.id(peer);
            self.input(
                n,
                Input::LinkUp {
                    peer,
                    name,
                    remote,
                    outgoing,
                },
            );
        }
    }
}
