//! What the store does behind the log: folds, and looking after what lies there. Commits go on meanwhile.

use anabranch_core::Input;
use anabranch_core::persist::{Fold, FoldId, StoreError};
use anabranch_store::Engine as _;

use crate::process::End;
use crate::schedule::{Event, Life};
use crate::trace::Topic;
use crate::world::{Phase, World};

/// Up to so much later, by its own clock, the store is asked to look after its data again: at the pace of the clock
/// of a run it would never go round twice.
const TEND_MS_MAX: u64 = 4 * 60 * 60 * 1_000;

/// After so many folds in a row that failed on damage nobody expects another to work.
const FOLDS_FAILED_MAX: u32 = 3;
/// A disk on which, after the last fault, damage has been found so often does not get well: what the engine notes of its own pages is
/// damaged, so that it spoils what has just been mended.
const DAMAGE_FOUND_MAX: u32 = 100;

impl World {
    pub(crate) fn fold_later(&mut self, life: Life, fold: Fold) {
        let now = self.machines[life.site].now(self.schedule.now_us);
        let Some(process) = &self.machines[life.site].process else {
            return;
        };
        let counted = self.counted(&process.replica, now);
        self.released_unmet |= fold.release_before.is_some() && counted + 1 < self.plan.replicas;
        let Some(process) = &mut self.machines[life.site].process else {
            return;
        };
        if process.fold.replace(fold).is_some() {
            return self.fail("one fold at a time", "there are two".to_owned());
        }
        let after = self.random.tail(0, 100_000);
        self.schedule.after(after, Event::Fold(life));
    }

    /// The fold thread has come to it.
    pub(crate) fn fold(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let site = life.site;
        if self.phase == Phase::Chaos && self.random.chance(10) {
            // Of all moments, in the middle of it.
            let calls = self.random.between(0, 40);
            self.machines[site].medium.light_fuse(calls);
        }
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let Some(fold) = process.fold.take() else {
            return;
        };
        let result = process.store.fold(&fold);
        let medium = &self.machines[site].medium;
        if medium.is_off() {
            self.note(
                Some(site),
                Topic::Fault,
                format_args!("dies at fold {}", fold.id.0),
            );
            return self.died(site);
        }
        let allowed = match &result {
            Ok(()) => true,
            Err(StoreError::Full(_)) => medium.was_limited(),
            Err(StoreError::Failed(_)) => medium.has_faulted() || medium.was_flipped(),
            Err(StoreError::Damaged { .. }) => medium.was_flipped(),
        };
        if !allowed {
            return self.fail("a whole store folds", format!("{result:?}"));
        }
        // Documents that take the place of unreadable ones may go where the engine's own pages spoil them again.
        if result.is_ok() && !fold.documents.is_empty() {
            self.machines[site].folds_failed = 0;
        }
        self.tally.log_releases += u64::from(result.is_ok() && fold.release_before.is_some());
        self.tally.folds_full += u64::from(matches!(result, Err(StoreError::Full(_))));
        self.note(
            Some(site),
            Topic::Store,
            format_args!(
                "fold {} of {} documents to {:?}: {}",
                fold.id.0,
                fold.documents.len(),
                fold.checkpoint.as_ref().map(|to| to.replay_from.0),
                Shown(&result),
            ),
        );
        let after = self.random.tail(0, 100_000);
        self.schedule
            .after(after, Event::Folded(life, fold.id, result));
    }

    pub(crate) fn folded(&mut self, life: Life, id: FoldId, result: Result<(), StoreError>) {
        if !self.is_alive(life) {
            return;
        }
        let machine = &mut self.machines[life.site];
        if machine.medium.was_flipped()
            && let Err(StoreError::Damaged { .. } | StoreError::Failed(_)) = &result
        {
            machine.folds_failed += 1;
            if machine.folds_failed > FOLDS_FAILED_MAX {
                return self.give_up(life.site);
            }
        }
        if let Err(StoreError::Failed(_)) = &result {
            // Whoever runs it sees that no more documents are written, and starts it again.
            let after = self.random.between(10_000, 2_000_000);
            self.schedule.after(after, Event::Crash(life));
        }
        self.feed(life.site, Input::Folded { id, result });
    }

    /// The engine's own pages are damaged, and nothing can be written any more. Whoever runs it moves the data away.
    pub(crate) fn give_up(&mut self, site: usize) {
        self.end(site, End::Kill);
        self.tally.disks_given_up += 1;
        self.tally.disks_lost += 1;
        self.replace_disk(site, false);
        self.machines[site].folds_failed = 0;
        self.machines[site].damage_found = 0;
        self.schedule.after(10_000, Event::Restart(site));
    }

    /// The store gets ready for later commits, or looks after its data.
    pub(crate) fn tend(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let site = life.site;
        // In the end all that is damaged is to be found.
        let searches = self.plan.victim == Some(site) && self.phase != Phase::Chaos;
        let pause = if searches {
            5_000
        } else {
            self.random.tail(20_000, 2_000_000)
        };
        self.schedule.after(pause, Event::Tend(life));
        let prepares = !searches && self.random.chance(700);
        let later = if searches {
            TEND_MS_MAX
        } else {
            self.random.tail(0, TEND_MS_MAX)
        };
        let Some(process) = &mut self.machines[site].process else {
            return;
        };
        let mut damage = Vec::new();
        if prepares {
            process.store.prepare();
        } else {
            process.tended_ms += later;
            let tended = process.store.tend(process.tended_ms);
            damage = tended.damage;
            process.scrubbed |= tended.pass_finished;
        }
        if self.machines[site].medium.is_off() {
            return self.died(site);
        }
        for damage in damage {
            self.found_damage(life, damage);
        }
    }

    fn found_damage(&mut self, life: Life, damage: anabranch_store::Damage) {
        let anabranch_store::Damage { range, what } = damage;
        self.note(
            Some(life.site),
            Topic::Store,
            format_args!("the store finds damage: {what}"),
        );
        let machine = &mut self.machines[life.site];
        machine.damage_found += u32::from(self.phase != Phase::Chaos);
        if machine.damage_found > DAMAGE_FOUND_MAX && self.is_alive(life) {
            return self.give_up(life.site);
        }
        if let Some(range) = range
            && self.is_alive(life)
        {
            self.feed(life.site, Input::Damaged { range, what });
        }
    }
}

struct Shown<'a>(&'a Result<(), StoreError>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Ok(()) => f.write_str("done"),
            Err(error) => error.fmt(f),
        }
    }
}
