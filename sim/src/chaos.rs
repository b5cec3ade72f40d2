//! Faults, one after another.

use crate::machine::Image;
use crate::process::End;
use crate::schedule::Event;
use crate::trace::Topic;
use crate::world::{Phase, World};

impl World {
    /// One fault, and the time of the next.
    pub(crate) fn chaos(&mut self) {
        if self.phase != Phase::Chaos {
            return;
        }
        let pause = self.random.between(0, self.plan.fault_every_us * 2);
        self.schedule.after(pause, Event::Chaos);
        let site = self.random.index(self.machines.len());
        if self.machines[site].gone || self.schedule.now_us < self.plan.begins_us(site) {
            return;
        }
        match self.random.between(0, 99) {
            0..8 => self.crash(site, End::PowerCut),
            8..14 => self.crash(site, End::Kill),
            14..28 => {
                let calls = self.random.tail(0, 500);
                self.machines[site].medium.light_fuse(calls);
                self.note(
                    Some(site),
                    Topic::Fault,
                    format_args!("dies in {calls} calls"),
                );
            }
            28..34 => {
                let calls = self.random.tail(0, 500);
                self.machines[site].medium.inject(calls);
                self.note(
                    Some(site),
                    Topic::Fault,
                    format_args!("one of its calls fails, in {calls} calls"),
                );
            }
            34..50 if self.plan.victim.is_some() => self.flip(),
            34..43 => self.take_image(site),
            43..50 if self.plan.releases => self.crash(site, End::Kill),
            43..50 => self.swap(site),
            50..70 => self.cut_somewhere(),
            70..88 => self.part(),
            88..92 => self.run_out_of_room(site),
            92..95 if self.plan.releases => self.worsen_links(),
            92..93 => {
                let pair = self.random.index(self.pairs.len());
                self.pairs[pair].quality = crate::plan::quality(&mut self.random);
            }
            93..96 => self.isolate(site),
            _ => {
                let offset = self.random.between(0, 600_000);
                self.machines[site].wall_offset_ms = i64::try_from(offset).unwrap_or(0) - 300_000;
                self.tally.clock_jumps += 1;
                self.note(
                    Some(site),
                    Topic::Fault,
                    format_args!("the wall clock jumps"),
                );
            }
        }
    }

    fn crash(&mut self, site: usize, how: End) {
        if self.machines[site].process.is_none() {
            return;
        }
        self.end(site, how);
        if self.random.chance(100) {
            // The machine can't prove that its disk is the one it had; nothing is lost.
            self.machines[site].identity = self.random.bits();
        }
        let after = self.random.tail(1_000, 3_000_000);
        self.schedule.after(after, Event::Restart(site));
    }

    /// A backup, to be restored later.
    pub(crate) fn take_image(&mut self, site: usize) {
        let machine = &mut self.machines[site];
        if machine.process.is_none() {
            return;
        }
        let image = Image {
            content: machine.medium.image(),
            holdings: machine.holdings(),
        };
        machine.image = Some(image);
        self.note(Some(site), Topic::Fault, format_args!("backup taken"));
    }

    fn swap(&mut self, site: usize) {
        let restore = self.machines[site].image.is_some() && self.random.chance(700);
        if self.machines[site].process.is_some() {
            self.end(site, End::Kill);
            let after = self.random.tail(1_000, 3_000_000);
            self.schedule.after(after, Event::Restart(site));
        }
        self.replace_disk(site, restore);
        if restore {
            self.tally.disks_restored += 1;
        } else {
            self.tally.disks_lost += 1;
        }
    }

    /// For a while there is next to no room.
    fn run_out_of_room(&mut self, site: usize) {
        let more = self.random.tail(0, 200_000);
        let medium = &mut self.machines[site].medium;
        medium.limit(Some(more));
        if self.random.coin() {
            // As where room is needed to write over what is there, too.
            let bytes = self.random.tail(0, 20_000);
            medium.refuse_after(bytes);
        }
        self.tally.disks_full += 1;
        self.note(
            Some(site),
            Topic::Fault,
            format_args!("room for {more} bytes is left"),
        );
        let lasts = self.random.between(100_000, 3_000_000);
        self.schedule.after(lasts, Event::Room(site));
    }

    pub(crate) fn make_room(&mut self, site: usize) {
        self.machines[site].medium.limit(None);
        self.note(
            Some(site),
            Topic::Fault,
            format_args!("there is room again"),
        );
    }

    /// A bit of the victim's is not what was written any more. What it loses with it, others must hold.
    fn flip(&mut self) {
        let Some(site) = self.plan.victim else { return };
        let prefix = if self.random.chance(300) && self.is_copied(site) {
            "log-"
        } else {
            "documents"
        };
        // Most of a file is of no more use to anybody, so one alone would seldom be noticed.
        for _ in 0..self.random.tail(1, 60) {
            let Some((name, at)) = self.machines[site].medium.flip(prefix) else {
                return;
            };
            self.tally.bits_flipped += 1;
            self.note(
                Some(site),
                Topic::Fault,
                format_args!("a bit flips in {name}, byte {at}"),
            );
        }
    }

    /// Whether all that is durable there is in its documents and held by all the others.
    fn is_copied(&self, site: usize) -> bool {
        let machine = &self.machines[site];
        let Some(process) = &machine.process else {
            return false;
        };
        let status = process.replica.status(machine.now(self.schedule.now_us));
        let at_rest = status.unfolded_bytes == 0 && status.unpersisted_bytes == 0;
        at_rest
            && machine.holdings().iter().all(|(namespace, frontier)| {
                let mut others = self.machines.iter().filter(|other| !other.gone);
                others.all(|other| {
                    let theirs = other.holdings();
                    theirs
                        .get(namespace)
                        .is_some_and(|held| held.covers(frontier))
                })
            })
    }

    fn worsen_links(&mut self) {
        for pair in 0..self.pairs.len() {
            self.pairs[pair].quality = crate::plan::quality(&mut self.random);
        }
    }

    fn cut_somewhere(&mut self) {
        let pair = self.random.index(self.pairs.len());
        if let Some(connection) = self.pairs[pair].current {
            self.tally.resets += 1;
            self.note(
                None,
                Topic::Fault,
                format_args!("connection {connection} is cut"),
            );
            self.reset(connection);
        }
    }

    fn part(&mut self) {
        let pair = self.random.index(self.pairs.len());
        let ways = *self
            .random
            .pick(&[[true, true], [true, false], [false, true]]);
        let lasts = self.random.tail(50_000, 5_000_000);
        self.tally.partitions += 1;
        self.note(
            None,
            Topic::Fault,
            format_args!("pair {pair} is parted {ways:?}"),
        );
        self.partition(pair, ways, lasts);
    }

    fn isolate(&mut self, site: usize) {
        let lasts = self.random.between(500_000, 4_000_000);
        self.tally.partitions += 1;
        self.note(Some(site), Topic::Fault, format_args!("cut off from all"));
        for pair in 0..self.pairs.len() {
            if self.pairs[pair].sites.contains(&site) {
                self.partition(pair, [true, true], lasts);
            }
        }
    }
}
