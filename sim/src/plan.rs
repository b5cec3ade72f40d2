//! What a seed decides before anything happens: how many replicas, how unkind the world is.

use anabranch_core::Room;

use crate::random::Random;
use crate::world::CALM_US;

/// A deliberate bug to run with.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// One of the core's.
    Core(anabranch_core::Planted),
    /// A restored disk goes on under the incarnation that it held.
    TrustRestoredDisk,
}

/// How one run goes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Gets every line as it happens.
    pub sink: Option<fn(&crate::Line)>,
    /// A deliberate bug.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl Options {
    /// A quiet run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            sink: None,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// How links behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
    pub(crate) bytes_per_ms: u64,
    /// Per mille of frames.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) garbled: u64,
}

pub(crate) struct Plan {
    pub(crate) replicas: usize,
    /// Where there are fewer, replicas share one.
    pub(crate) datacenters: usize,
    pub(crate) clients_per_replica: usize,
    pub(crate) think_us_max: u64,
    pub(crate) chaos_us: u64,
    /// A fault about this often.
    pub(crate) fault_every_us: u64,
    pub(crate) room: Room,
    /// Replicas before this one are a version behind, and speak the protocol before the newest.
    pub(crate) old_versions: usize,
    /// Those are updated: with their next start they speak the newest. Who is a version behind can't repair.
    pub(crate) updates: bool,
    pub(crate) log_segment_bytes: u64,
    /// The log is let go as soon as all who were ever met hold what is in it. Disks are not lost then: whoever
    /// begins with nothing finds no log that reaches back far enough.
    pub(crate) releases: bool,
    /// Logs are let go of whoever needs them, and what is missing comes by repairs.
    pub(crate) truncates: bool,
    /// The machine in whose files bits flip; no disk is lost then but this one, when it has become unreadable.
    pub(crate) victim: Option<usize>,
    pub(crate) cache_bytes: usize,
    pub(crate) restart_all_at_heal: bool,
    /// A peer that is no replica is linked, and lies.
    pub(crate) liar: bool,
    /// One more replica begins with an empty disk, so late.
    pub(crate) joins: Option<(usize, u64)>,
    /// One goes for good, so late.
    pub(crate) leaves: Option<(usize, u64)>,
    /// Keys per class of hot document.
    pub(crate) hot: u64,
    pub(crate) cold: u64,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let cramped = random.chance(700);
        // Most runs are short, so that many can be had; a few go on for longer.
        let chaos_us = if random.chance(50) {
            random.between(4_000_000, 9_000_000)
        } else {
            random.between(1_200_000, 3_000_000)
        };
        let releases = random.chance(350);
        let mut room = if cramped {
            cramped_room(random)
        } else {
            Room::default()
        };
        if releases {
            room.log_bytes_kept = 0;
            room.fold_after_ms = *random.pick(&[50, 300]);
            room.fold_idle_ms = *random.pick(&[20, 50]);
        }
        let truncates = !releases && random.chance(350);
        if truncates {
            room.log_bytes_kept = 0;
            room.log_bytes_max = 0;
            room.fold_after_ms = *random.pick(&[20, 100]);
            room.fold_idle_ms = *random.pick(&[5, 30]);
            room.recent_log_bytes_max = *random.pick(&[0, 2_000]);
        }
        if releases && random.chance(400) {
            room.set_aside_after_ms = Some(*random.pick(&[200, 600, 2_000]));
        }
        let replicas = *random.pick(&[3, 3, 3, 4, 5]);
        // What a disk spoils after the log has been let go is nowhere else, perhaps.
        let victim = (!releases && !truncates && random.chance(350)).then(|| random.index(3));
        Self {
            victim,
            // What lies in the cache is not read from the disk.
            cache_bytes: if victim.is_some() { 16 << 10 } else { 1 << 20 },
            replicas,
            datacenters: replicas - usize::from(random.chance(300)),
            clients_per_replica: *random.pick(&[1, 2, 3]),
            think_us_max: random.between(60_000, 250_000),
            chaos_us,
            fault_every_us: random.between(100_000, 600_000),
            room,
            old_versions: *random.pick(&[0, 0, 1, 2]),
            updates: truncates || room.set_aside_after_ms.is_some() || random.coin(),
            releases,
            truncates,
            log_segment_bytes: *random.pick(&[8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10]),
            restart_all_at_heal: random.coin(),
            liar: false,
            joins: None,
            leaves: None,
            hot: random.between(1, 3),
            cold: random.between(5, 40),
        }
    }

    /// Who else there is, who comes, and who goes.
    pub(crate) fn draw_company(&mut self, random: &mut Random) {
        self.liar = random.chance(150);
        let churns = random.chance(200) && self.victim.is_none();
        let (joins, leaves) = *random.pick(&[(true, true), (true, false), (false, true)]);
        let calm_us = if self.releases { CALM_US } else { 0 };
        let at_us = |random: &mut Random, chaos_us| {
            calm_us + random.between(chaos_us / 5, chaos_us * 4 / 5)
        };
        if churns && leaves {
            // Never the first, which the last checks read.
            let site = 1 + random.index(self.replicas - 1);
            self.leaves = Some((site, at_us(random, self.chaos_us)));
        }
        if churns && joins {
            self.joins = Some((self.replicas, at_us(random, self.chaos_us)));
            self.replicas += 1;
            self.datacenters += 1;
        }
        // A version behind, nobody could give them what is not in a log any more, or came to others by a repair that a liar made
        // them look for.
        self.updates |= self.liar || self.joins.is_some();
    }

    /// When a replica begins.
    pub(crate) fn begins_us(&self, site: usize) -> u64 {
        let joins = self.joins.filter(|(joins, _)| *joins == site);
        joins.map_or(0, |(_, at_us)| at_us)
    }
}

/// So little room that a short run meets every bound.
fn cramped_room(random: &mut Random) -> Room {
    Room {
        loaded_bytes_max: *random.pick(&[1, 10_000, 30_000, 1_000_000]),
        recent_log_bytes_max: *random.pick(&[0, 500, 4_000, 100_000]),
        log_read_bytes_max: *random.pick(&[500, 4_000, 20_000]),
        frame_bytes_target: *random.pick(&[100, 1_000, 20_000]),
        part_bytes: *random.pick(&[100, 400, 20_000]),
        partial_bytes_max: *random.pick(&[500, 5_000, 100_000]),
        bulk_window_bytes: *random.pick(&[200, 2_000, 100_000]),
        link_window_bytes: *random.pick(&[300, 3_000, 30_000]),
        held_back_bytes_max: *random.pick(&[0, 1_000, 50_000]),
        unpersisted_bytes_max: *random.pick(&[1_000, 10_000, 1_000_000]),
        unfolded_bytes_max: *random.pick(&[8_000, 30_000, 1_000_000]),
        fold_after_ms: *random.pick(&[50, 500, 10_000]),
        fold_idle_ms: *random.pick(&[20, 100, 1_000]),
        fold_documents: *random.pick(&[2, 10, 1_000]),
        fold_bytes: *random.pick(&[1_000, 5_000, 1_000_000]),
        checkpoint_records: *random.pick(&[1, 10, 50]),
        looked_at_documents: *random.pick(&[1, 3, 20]),
        ..Room::default()
    }
}

pub(crate) fn quality(random: &mut Random) -> Quality {
    let wild = random.chance(300);
    let rate = |random: &mut Random, max| if wild { random.between(0, max) } else { 0 };
    Quality {
        delay_us: *random.pick(&[100, 1_000, 20_000, 80_000]),
        jitter_us: *random.pick(&[10, 1_000, 30_000]),
        bytes_per_ms: *random.pick(&[2, 20, 1_000, 100_000]),
        lost: rate(random, 150),
        doubled: rate(random, 100),
        reordered: rate(random, 200),
        garbled: if random.chance(200) { 5 } else { 0 },
    }
}

impl Quality {
    /// As it is once all is well.
    pub(crate) fn healed() -> Self {
        Self {
            delay_us: 20_000,
            jitter_us: 1_000,
            bytes_per_ms: 100_000,
            lost: 0,
            doubled: 0,
            reordered: 0,
            garbled: 0,
        }
    }
}
