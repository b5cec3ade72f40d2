//! Membership changes in the middle of faults: one comes with an empty disk, one goes for good and is set aside by whoever runs the others.

use anabranch_core::{PeerStatus, Request, Standing};

use crate::clients::Asked;
use crate::process::End;
use crate::schedule::Event;
use crate::trace::Topic;
use crate::world::{Phase, World};

impl World {
    /// Those that have not gone for good.
    pub(crate) fn sites(&self) -> Vec<usize> {
        let sites = 0..self.machines.len();
        sites.filter(|site| !self.machines[*site].gone).collect()
    }

    /// A replica goes for good, with its disk. What no other one holds by then may be gone.
    pub(crate) fn leave(&mut self, site: usize) {
        if self.phase != Phase::Chaos {
            return;
        }
        self.end(site, End::Kill);
        self.machines[site].gone = true;
        let survivors = self.sites().into_iter();
        let survivors: Vec<_> = survivors
            .map(|other| self.machines[other].holdings())
            .collect();
        let excused = self.ledger.disk_lost(&survivors);
        self.tally.writes_excused += excused as u64;
        self.tally.disks_lost += 1;
        self.tally.replicas_left += 1;
        self.note(
            Some(site),
            Topic::Fault,
            format_args!("gone for good; {excused} writes may be gone"),
        );
        let after = self.random.between(0, 500_000);
        self.schedule.after(after, Event::Operator);
    }

    /// Sees to it that everybody who has met the one that went sets it aside.
    pub(crate) fn operate(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        let pause = self.random.between(100_000, 600_000);
        self.schedule.after(pause, Event::Operator);
        let Some(gone) = self.machines.iter().find(|machine| machine.gone) else {
            return;
        };
        let member = gone.id;
        for site in self.sites() {
            let machine = &self.machines[site];
            let Some(process) = &machine.process else {
                continue;
            };
            let status = process.replica.status(machine.now(self.schedule.now_us));
            let counts =
                |peer: &PeerStatus| peer.replica == member && peer.standing != Standing::SetAside;
            let mut open = self.requests.values();
            let is_asked = open
                .any(|pending| pending.site == site && matches!(pending.asked, Asked::SetAside));
            if is_asked || process.closed || !status.peers.iter().any(counts) {
                continue;
            }
            let aside = true;
            let request = Request::SetAside { member, aside };
            self.request(site, Asked::SetAside, request);
        }
    }

    /// In the end: who went is set aside, and all others count; a liar may stand where it likes.
    pub(crate) fn stands_as_it_should(&self, peer: &PeerStatus) -> bool {
        let mut gone = self.machines.iter().filter(|machine| machine.gone);
        let expected = match gone.any(|machine| machine.id == peer.replica) {
            true => Standing::SetAside,
            false => Standing::Counted,
        };
        peer.standing == expected || self.is_liar(&peer.replica)
    }
}
