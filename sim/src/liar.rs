//! A peer with a valid certificate that is no replica: it hears what it is sent and says what it likes.
//!
//! Authentication of origins is not what is tested: of a batch under another's number, or of documents that fit the sums they come with,
//! nobody can tell yet that they are forged, so those lies are left out (see `lies`). Batches of its own it writes like anybody, but with changes
//! that no document takes in, the same to everybody.

use std::collections::{BTreeMap, VecDeque};

use anabranch_core::hostile::{self, Heard};
use anabranch_core::{
    Frontier, Incarnation, Input, LinkId, Namespace, Origin, Replica, ReplicaId, Seq,
};
use bytes::Bytes;

use crate::lies::Scene;
use crate::machine::Holdings;
use crate::random::Random;
use crate::schedule::{Event, Life};
use crate::trace::{Topic, site_name};
use crate::world::{Phase, World};

/// Of what it hears from one replica it remembers so much.
const HEARD_MAX: usize = 32;
/// While so many inputs wait at a replica, it reads no more from links.
const HELD_INPUTS_MAX: usize = 50;
/// A replica that is at rest but for the liar says so many frames to it in a second, at most: it answers, and states what it holds, in
/// parts of a hundred bytes in some runs.
const FRAMES_PER_SECOND_MAX: u64 = 1_000;
/// Bytes of the largest batch of which it says parts.
const PARTS_BYTES_MAX: usize = 20_000;
/// What is on its way to the disk may be above its room by one batch, or by what a repair brings at once.
const UNPERSISTED_SLACK_BYTES: usize = 4 << 20;

/// Its link to one replica.
struct Tie {
    link: LinkId,
    generation: u64,
}

pub(crate) struct Liar {
    pub(crate) id: ReplicaId,
    pub(crate) incarnation: Incarnation,
    pub(crate) random: Random,
    ties: Vec<Option<Tie>>,
    pub(crate) heard: Vec<VecDeque<Heard>>,
    /// Frames of comparisons and the like, to be said again with a bit changed.
    pub(crate) frames: VecDeque<Bytes>,
    /// All that anybody was heard to hold.
    pub(crate) positions: Holdings,
    /// Batches of its own, by namespace.
    pub(crate) written: BTreeMap<Namespace, u64>,
    /// Frames that it was sent by each in this second, after the chaos.
    frames_heard: Vec<(u64, u64)>,
}

impl Liar {
    pub(crate) fn new(replicas: usize, mut random: Random) -> Self {
        let mut id = [0xee; 16];
        id[..8].copy_from_slice(&random.bits().to_be_bytes());
        Self {
            id: ReplicaId(id),
            incarnation: Incarnation(random.bits()),
            random,
            ties: (0..replicas).map(|_| None).collect(),
            heard: vec![VecDeque::new(); replicas],
            frames: VecDeque::new(),
            positions: Holdings::new(),
            written: BTreeMap::new(),
            frames_heard: vec![(0, 0); replicas],
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin {
            replica: self.id,
            incarnation: self.incarnation,
        }
    }

    /// Somebody wants to know whether it has written something.
    fn is_asked(&self, site: usize) -> bool {
        self.heard[site].iter().any(is_question)
    }

    /// The question that it answers next.
    pub(crate) fn question(&mut self, site: usize) -> Option<Heard> {
        let at = self.heard[site].iter().position(is_question)?;
        self.heard[site].remove(at)
    }

    fn hear(&mut self, site: usize, frame: &Bytes) {
        let heard = hostile::hear(frame);
        let known = &mut self.positions;
        let mut raise = |namespace: &Namespace, origin, seq| {
            known
                .entry(namespace.clone())
                .or_default()
                .raise(origin, seq);
        };
        match heard {
            Some(Heard::Holds(sections)) => {
                for (namespace, positions) in &sections {
                    for (origin, seq) in positions {
                        raise(namespace, *origin, *seq);
                    }
                }
            }
            Some(Heard::Batches(batches)) => {
                for batch in batches {
                    raise(&batch.namespace, batch.origin, batch.seq);
                }
            }
            Some(Heard::Other) | None => {}
            Some(heard) => {
                let of_site = &mut self.heard[site];
                of_site.push_back(heard);
                if of_site.len() > HEARD_MAX {
                    of_site.pop_front();
                }
            }
        }
        // Of batches and positions a changed bit would make others that read; of the rest it makes nonsense.
        if matches!(frame.first(), Some(4 | 7 | 9 | 10 | 12..=16 | 23 | 24 | 26)) {
            self.frames.push_back(frame.clone());
            if self.frames.len() > HEARD_MAX {
                self.frames.pop_front();
            }
        }
    }
}

fn is_question(heard: &Heard) -> bool {
    matches!(heard, Heard::Root { confirms: true, .. })
}

impl World {
    /// The liar has something to say to a replica.
    pub(crate) fn lie(&mut self, site: usize) {
        let pause = match self.phase {
            Phase::Chaos => self.random_of_liar(|random| random.tail(3_000, 400_000)),
            Phase::Healing { .. } | Phase::Settling { .. } => {
                self.random_of_liar(|random| random.tail(50_000, 1_000_000))
            }
            Phase::Over => return,
        };
        self.schedule.after(pause, Event::Lie(site));
        self.speak(site, true);
    }

    /// It speaks, if it has a link, or gets one.
    pub(crate) fn speak(&mut self, site: usize, links: bool) {
        let generation = self.machines[site].generation;
        let Some(process) = &self.machines[site].process else {
            return;
        };
        if process.held.len() > HELD_INPUTS_MAX {
            return;
        }
        let scene = self.scene(site, &process.replica);
        let Some(liar) = &mut self.liar else { return };
        let tie =
            liar.ties[site].take_if(|tie| tie.generation != generation || liar.random.chance(10));
        if let Some(tie) = tie.filter(|tie| tie.generation == generation) {
            let link = tie.link;
            return self.feed(site, Input::LinkDown { link });
        }
        if liar.ties[site].is_none() {
            if links {
                self.tie_liar(site);
            }
            return;
        }
        let frames = liar.lies(&scene);
        self.say_as_liar(site, frames);
    }

    fn random_of_liar<T>(&mut self, draw: impl FnOnce(&mut Random) -> T) -> T {
        match &mut self.liar {
            Some(liar) => draw(&mut liar.random),
            None => draw(&mut self.random),
        }
    }

    /// It gets a link, and says who it is.
    fn tie_liar(&mut self, site: usize) {
        self.names_used += 1;
        let link = LinkId(self.names_used);
        let generation = self.machines[site].generation;
        let Some(liar) = &mut self.liar else { return };
        let peer = liar.id;
        liar.ties[site] = Some(Tie { link, generation });
        let mut frames = hostile::hello("liar", "datacenter liar", liar.incarnation).to_vec();
        frames.push(hostile::frontier(true, Vec::new()));
        self.note(
            Some(site),
            Topic::Wire,
            format_args!("link {} to the liar is up", link.0),
        );
        self.feed(site, Input::LinkUp { link, peer });
        self.say_as_liar(site, frames);
    }

    fn say_as_liar(&mut self, site: usize, frames: Vec<Bytes>) {
        for bytes in frames {
            let Some(liar) = &self.liar else { return };
            let Some(link) = liar.ties[site].as_ref().map(|tie| tie.link) else {
                return;
            };
            self.tally.lies += 1;
            self.note(
                Some(site),
                Topic::Wire,
                format_args!(
                    "hears a lie of kind {:?} and {} bytes over link {}",
                    bytes.first(),
                    bytes.len(),
                    link.0
                ),
            );
            self.feed(site, Input::Frame { link, bytes });
        }
    }

    /// What the liar needs to know to leave out what nobody can tell to be a lie.
    fn scene(&self, site: usize, replica: &Replica) -> Scene {
        let machine = &self.machines[site];
        let status = replica.status(machine.now(self.schedule.now_us));
        let writers = self.machines.iter().enumerate().filter(|(other, machine)| {
            let mut peers = status.peers.iter();
            let pair = self
                .pairs
                .iter()
                .find(|pair| pair.sites.contains(&site) && pair.sites.contains(other));
            // Of whom it has heard, on a link that loses nothing, under which incarnation it writes.
            pair.is_some_and(|pair| pair.quality.lost == 0 && pair.blocked == [false; 2])
                && !machine.renewed
                && peers.any(|peer| {
                    // Its hello has come.
                    let introduced = !peer.name.is_empty();
                    peer.replica == machine.id && peer.away_ms.is_none() && introduced
                })
        });
        Scene {
            site,
            is_old: self.is_old(site, machine.generation),
            own: replica.origin(),
            writers: writers.filter_map(|(_, machine)| machine.origin).collect(),
            writes: self.phase == Phase::Chaos,
            held: replica
                .namespaces()
                .map(|namespace| (namespace.clone(), replica.durable_frontier(namespace)))
                .collect(),
        }
    }

    /// A replica says something to the liar.
    pub(crate) fn tell_liar(&mut self, site: usize, link: LinkId, frame: &Bytes) {
        let life = self.machines[site].life(site);
        let now_us = self.schedule.now_us;
        let Some(liar) = &mut self.liar else { return };
        let is_link = |tie: &Tie| tie.link == link && tie.generation == life.generation;
        if !liar.ties[site].as_ref().is_some_and(is_link) {
            return;
        }
        liar.hear(site, frame);
        let second = now_us / 1_000_000;
        let (of, count) = &mut liar.frames_heard[site];
        if *of != second {
            (*of, *count) = (second, 0);
        }
        // While there is work for all, what it is sent of that is no answer to lies.
        *count += u64::from(self.phase != Phase::Chaos);
        let count = *count;
        let answers = liar.random.chance(300) && self.phase == Phase::Chaos || liar.is_asked(site);
        let after = liar.random.between(500, 20_000);
        self.tally.frames_to_liar += 1;
        self.tally.frames_to_liar_max = self.tally.frames_to_liar_max.max(count);
        self.trace.absorb(frame);
        let bytes = frame.len();
        self.schedule
            .after(after, Event::LiarTook(life, link, bytes));
        if answers {
            self.schedule.after(after + 1, Event::Retort(site));
        }
        if count > FRAMES_PER_SECOND_MAX {
            let found = format!(
                "{} says {count} frames in a second to the liar",
                site_name(site)
            );
            self.fail("a liar makes no endless work", found);
        }
    }

    pub(crate) fn liar_took(&mut self, life: Life, link: LinkId, bytes: usize) {
        if self.is_alive(life) {
            self.feed(life.site, Input::Sent { link, bytes });
        }
    }

    /// A replica will not hear the liar any more, on this link.
    pub(crate) fn drop_liar(&mut self, site: usize, link: LinkId) {
        if let Some(liar) = &mut self.liar {
            liar.ties[site].take_if(|tie| tie.link == link);
        }
    }

    pub(crate) fn is_liar(&self, replica: &ReplicaId) -> bool {
        self.liar.as_ref().is_some_and(|liar| liar.id == *replica)
    }

    /// Checker: nobody holds what nobody wrote.
    pub(crate) fn check_written(&mut self, site: usize) {
        for (namespace, frontier) in self.machines[site].holdings() {
            if let Some((origin, seq)) = self.unwritten_in(&namespace, &frontier) {
                let found = format!(
                    "{} holds batch {} of {origin} in {namespace}",
                    site_name(site),
                    seq.0
                );
                return self.fail("nobody holds what nobody wrote", found);
            }
        }
    }

    fn unwritten_in(&self, namespace: &Namespace, frontier: &Frontier) -> Option<(Origin, Seq)> {
        let mut positions = frontier.iter();
        let unwritten = positions.find(|(origin, seq)| {
            let of_liar = self.liar.as_ref().filter(|liar| liar.origin() == **origin);
            let written = match of_liar {
                Some(liar) => Seq(liar.written.get(namespace).copied().unwrap_or(0)),
                None => self.ledger.last_written(namespace, origin),
            };
            **seq > written
        });
        unwritten.map(|(origin, seq)| (*origin, *seq))
    }

    /// Checker: whatever the liar says, memory stays within its room.
    pub(crate) fn check_room(&mut self, site: usize) {
        let machine = &self.machines[site];
        let Some(process) = &machine.process else {
            return;
        };
        let status = process.replica.status(machine.now(self.schedule.now_us));
        let room = &self.plan.room;
        let partial_max = room.partial_bytes_max.max(PARTS_BYTES_MAX);
        let mut peers = status.peers.iter();
        let of_liar = peers.find(|peer| self.is_liar(&peer.replica));
        let found = if status.held_back_bytes > room.held_back_bytes_max {
            format!("{} bytes held back", status.held_back_bytes)
        } else if of_liar.is_some_and(|liar| liar.partial_bytes > partial_max) {
            format!("{of_liar:?}")
        } else if status.unpersisted_bytes > room.unpersisted_bytes_max + UNPERSISTED_SLACK_BYTES {
            format!("{} bytes unpersisted", status.unpersisted_bytes)
        } else {
            return;
        };
        self.fail(
            "memory has its bounds",
            format!("{}: {found}", site_name(site)),
        );
    }
}
