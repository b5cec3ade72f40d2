//! Writers who wait for other datacenters, and whether what they are told of those is true.

use anabranch_core::{Ack, Acknowledged};

use crate::clients::Pending;
use crate::machine::held;
use crate::trace::site_name;
use crate::world::World;

impl World {
    /// Checker: a datacenter that is said to hold a write has a replica on whose disk it is, which no crash takes
    /// away; and nobody is told less before their time is up.
    pub(crate) fn check_acknowledged(
        &mut self,
        pending: &Pending,
        number: usize,
        acknowledged: Option<&Acknowledged>,
    ) {
        let wanted = self.ledger.writes[number].ack;
        let Some(acknowledged) = acknowledged else {
            if !wanted.is_local() {
                self.fail(
                    "who waits for others is told of them",
                    format!("w{number} for {wanted} says nothing"),
                );
            }
            return;
        };
        let untrue = self.untrue(number, acknowledged);
        let claims = match acknowledged.wanted {
            Ack::Local => true,
            Ack::Datacenters(count) => acknowledged.held_by.len() >= usize::from(count),
            Ack::All => acknowledged.missing.is_empty(),
        };
        let waited_ms = (self.schedule.now_us / 1_000).saturating_sub(pending.asked_us / 1_000);
        let process = self.machines[pending.site].process.as_ref();
        // A store that fails ends all waiting.
        let closed = process.is_some_and(|process| process.closed);
        if acknowledged.reached {
            self.tally.acks_reached += 1;
        } else {
            self.tally.acks_missed += 1;
        }
        let early = !acknowledged.reached && waited_ms < pending.wait_ms && !closed;
        let found = match untrue {
            Some(name) => format!("{name} is said to hold it, and has no disk with it"),
            None if claims != acknowledged.reached || acknowledged.wanted != wanted => {
                "it is not what was asked for".to_owned()
            }
            None if early => format!(
                "it was given up after {waited_ms} of {} ms",
                pending.wait_ms
            ),
            None => return,
        };
        self.fail(
            "who is said to hold a write holds it",
            format!(
                "w{number} at {}: {found}: {acknowledged:?}",
                site_name(pending.site)
            ),
        );
    }

    /// A datacenter that holds nothing of the write, and from which no disk was taken since.
    fn untrue(&self, number: usize, acknowledged: &Acknowledged) -> Option<String> {
        let write = &self.ledger.writes[number];
        let holds = |site: usize| {
            let holdings = self.machines[site].holdings();
            let mut positions = write.positions.iter();
            positions.any(|(origin, seq)| held(&holdings, &write.namespace, origin) >= *seq)
        };
        let mut names = acknowledged.held_by.iter();
        let untrue = names.find(|name| {
            let sites = 0..self.machines.len();
            let there: Vec<_> = sites
                .filter(|site| self.datacenter(*site) == **name)
                .collect();
            let replaced = there.iter().any(|site| self.machines[*site].ever_replaced);
            // A datacenter with a liar in it alone says what it likes.
            !there.is_empty() && !replaced && !there.into_iter().any(holds)
        });
        untrue.cloned()
    }
}
