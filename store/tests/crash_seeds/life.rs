//! One seed: a store that is opened, used, and comes to an end, several times.

use std::fmt;

use anabranch_core::Incarnation;
use anabranch_core::persist::StoreError;
use anabranch_store::conformance::{compact, log};
use anabranch_store::faulty::{Faults, FaultyMedium, Random};
use anabranch_store::{CommitError, Engine as _, OpenError, Opening, Store};

use crate::model::{Model, Outcome};

/// The last one is without faults, and often the first.
const LIVES: u64 = 7;
const STEPS_MAX: u64 = 20;
const CACHE_BYTES: usize = 256 << 10;

/// What has come up, over many seeds.
#[derive(Default)]
pub(crate) struct Tally {
    /// Whether to say what happens.
    talks: bool,
    seeds: u64,
    lives: u64,
    calls: u64,
    commits: u64,
    folds: u64,
    power_cuts: u64,
    kills: u64,
    /// Openings, commits and folds: that failed, and that found no room.
    failed: [u64; 3],
    refused: [u64; 3],
    /// Lives that went on after there was no room.
    recovered_from_full: u64,
    /// Groups of unknown outcome that turned out to be there, and that did not.
    unknown_there: u64,
    unknown_gone: u64,
}

const OPENING: usize = 0;
const COMMIT: usize = 1;
const FOLD: usize = 2;

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [opening, commit, fold] = self.failed;
        let [full_opening, full_commit, full_fold] = self.refused;
        write!(
            f,
            "{} seeds, {} lives, {} calls to the medium: {} commits and {} folds done; {} power cuts, {} kills; failed: {opening} \
             openings, {commit} commits, {fold} folds; no room for {full_opening} openings, {full_commit} commits, {full_fold} folds, \
             {} lives went on after that; of groups under way {} were there, {} were not; nothing was lost",
            self.seeds,
            self.lives,
            self.calls,
            self.commits,
            self.folds,
            self.power_cuts,
            self.kills,
            self.recovered_from_full,
            self.unknown_there,
            self.unknown_gone,
        )
    }
}

impl Tally {
    /// One that says what happens.
    pub(crate) fn talking() -> Self {
        Self {
            talks: true,
            ..Self::default()
        }
    }

    /// Whether all that was to be shown came up.
    pub(crate) fn assert_interesting(&self) {
        let counts = [
            self.power_cuts,
            self.kills,
            self.recovered_from_full,
            self.unknown_there,
            self.unknown_gone,
        ];
        let all = counts.iter().chain(&self.failed).chain(&self.refused);
        for count in all {
            assert!(
                *count >= self.seeds / 100,
                "the seeds show too little: {self}"
            );
        }
    }
}

/// Runs a seed to its end.
pub(crate) fn live(seed: u64, tally: &mut Tally) {
    tally.seeds += 1;
    let mut random = Random(seed);
    let mut test = Test {
        medium: FaultyMedium::new(random.draw()),
        model: Model::new(),
        identity: 1,
        fresh: 0,
        log_segment_bytes: [24 << 10, 64 << 10][usize::from(random.coin())],
        fold_slice_bytes: [1, 64 << 10][usize::from(random.coin())],
        now_ms: 0,
        random,
        tally,
    };
    for life in 1..=LIVES {
        // Half of them begin with something to lose.
        let calm = life == LIVES || life == 1 && seed.is_multiple_of(2);
        test.live(calm);
    }
}

struct Test<'a> {
    random: Random,
    medium: FaultyMedium,
    model: Model,
    /// Names the medium.
    identity: u64,
    /// The last incarnation that was drawn.
    fresh: u64,
    log_segment_bytes: u64,
    fold_slice_bytes: usize,
    now_ms: u64,
    tally: &'a mut Tally,
}

/// One process.
struct Life {
    store: Store,
    /// There may be too little room.
    tight: bool,
    /// Something found none.
    was_full: bool,
    /// A commit has failed, so there are no more.
    closed: bool,
    /// Folds that have failed.
    folds_failed: u64,
}

impl Test<'_> {
    fn live(&mut self, calm: bool) {
        self.tally.lives += 1;
        let tight = !calm && self.arm();
        self.fresh += 1;
        let fresh = Incarnation(1_000 + self.fresh);
        self.model.opening(self.identity, fresh);
        let opening = Opening {
            cache_bytes: CACHE_BYTES,
            log_segment_bytes: self.log_segment_bytes,
            fold_slice_bytes: self.fold_slice_bytes,
            ..Opening::new(self.identity.to_le_bytes(), fresh, compact)
        };
        match Store::open(self.medium.clone(), opening) {
            Ok((store, recovery)) => {
                self.say(|| format!("opened: {recovery:?}"));
                let (there, gone) = self.model.recovered(self.identity, fresh, &recovery);
                self.tally.unknown_there += u64::from(there);
                self.tally.unknown_gone += u64::from(gone);
                let mut life = Life {
                    store,
                    tight,
                    was_full: false,
                    closed: false,
                    folds_failed: 0,
                };
                self.verify(&life, true);
                self.work(&mut life, calm);
                self.verify(&life, false);
                let Life { store, .. } = life;
                self.end(Some(store));
            }
            Err(error) => {
                self.say(|| format!("not opened: {error}"));
                self.assert_excused_opening(&error, tight);
                self.end(None);
            }
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.tally.talks {
            println!("call {:4}: {}", self.medium.calls(), what());
        }
    }

    /// Chooses what goes wrong; whether there may be too little room.
    fn arm(&mut self) -> bool {
        let mut faults = Faults::default();
        let mut tight = false;
        if self.random.below(5) < 3 {
            faults.dies_at = Some(self.call());
        }
        if self.random.below(4) == 0 {
            let call = self.call();
            let until = match self.random.below(3) {
                0 => u64::MAX,
                _ => call + 1,
            };
            faults.fails_at = Some(call);
            faults.fails_until = Some(until);
            faults.fails_full = self.random.below(3) == 0;
            tight |= faults.fails_full;
        }
        if self.random.below(4) == 0 {
            faults.room_bytes = Some(self.medium.used_bytes() + self.random.below(200_000));
            tight = true;
        }
        if self.random.below(8) == 0 {
            self.medium.refuse_writes_after(self.random.below(300_000));
            tight = true;
        }
        self.say(|| format!("a new life: {faults:?}, tight: {tight}"));
        self.medium.set_faults(faults);
        tight
    }

    /// One soon from now.
    fn call(&mut self) -> u64 {
        let range = [40, 80, 160][usize::try_from(self.random.below(3)).unwrap()];
        self.medium.calls() + self.random.below(range)
    }

    /// Whether the medium has failed in this life, so that the store may.
    fn is_excused(&self) -> bool {
        self.medium.failed() > 0 || self.medium.is_dead()
    }

    fn assert_excused_opening(&mut self, error: &OpenError, tight: bool) {
        let excused = match error {
            OpenError::Full(_) => {
                self.tally.refused[OPENING] += 1;
                tight
            }
            OpenError::Io(_) | OpenError::Engine { .. } => {
                self.tally.failed[OPENING] += 1;
                self.is_excused()
            }
            _ => false,
        };
        assert!(excused, "{error}");
    }

    fn verify(&mut self, life: &Life, opened: bool) {
        if let Err(error) = self.model.verify_documents(&life.store, opened) {
            assert!(self.is_excused(), "documents: {error}");
        }
        let failed = self.medium.failed();
        match log(&life.store, 1, usize::MAX) {
            // What can't be read now is left out.
            Ok(_) if self.medium.failed() > failed || self.medium.is_dead() => {}
            Ok(found) => self.model.verify_log(&found),
            Err(error) => {
                let excused = self.medium.failed() > failed || self.medium.is_dead();
                assert!(excused, "the log: {error}");
            }
        }
    }

    fn work(&mut self, life: &mut Life, calm: bool) {
        // A fold takes many more calls: where there are few, more of what goes wrong hits a commit.
        let commits = if self.random.coin() { 11 } else { 7 };
        if commits == 11 && !calm && self.random.coin() {
            let faults = Faults {
                dies_at: Some(self.medium.calls() + self.random.below(16)),
                ..self.medium.faults()
            };
            self.medium.set_faults(faults);
        }
        for _ in 0..self.random.below(STEPS_MAX + 1) {
            match self.random.below(16) {
                step if step < commits => self.commit(life),
                7..12 => self.fold(life),
                12 => life.store.prepare(),
                13 => self.tend(life),
                14 => self.verify(life, false),
                _ => self.make_room(life),
            }
            if self.medium.is_dead() {
                return;
            }
        }
        if life.was_full && !life.closed {
            self.make_room(life);
            self.commit(life);
            self.fold(life);
            self.tally.recovered_from_full += 1;
        }
    }

    /// Nothing is too large any more.
    fn make_room(&mut self, life: &mut Life) {
        let faults = Faults {
            room_bytes: None,
            fails_full: false,
            ..self.medium.faults()
        };
        self.medium.set_faults(faults);
        self.medium.refuse_writes_after(u64::MAX);
        life.tight = false;
    }

    fn commit(&mut self, life: &mut Life) {
        let incarnation = (self.random.below(12) == 0).then(|| {
            self.fresh += 1;
            Incarnation(1_000 + self.fresh)
        });
        let group = self.model.group(&mut self.random, incarnation);
        let result = life.store.commit(&group.commits);
        self.say(|| format!("commit after {}: {result:?}", self.model.log_end()));
        let outcome = match result {
            Ok(()) => {
                self.tally.commits += 1;
                Outcome::Done
            }
            Err(CommitError::Full(error)) => {
                assert!(life.tight, "{error}");
                self.tally.refused[COMMIT] += 1;
                life.was_full = true;
                Outcome::Refused
            }
            Err(CommitError::OutcomeUnknown(error)) => {
                assert!(self.is_excused() && !life.closed, "{error}");
                self.tally.failed[COMMIT] += 1;
                life.closed = true;
                Outcome::Unknown
            }
            Err(CommitError::Closed) if life.closed => return,
            Err(error) => panic!("{error}"),
        };
        assert!(!life.closed || outcome == Outcome::Unknown);
        self.model.committed(group, outcome);
    }

    fn fold(&mut self, life: &mut Life) {
        // What may be there would become too much to follow.
        if life.folds_failed > 1 {
            return;
        }
        let folding = self.model.fold(&mut self.random);
        let result = life.store.fold(&folding.fold);
        self.say(|| format!("{folding}: {result:?}"));
        let outcome = match result {
            Ok(()) => {
                self.tally.folds += 1;
                Outcome::Done
            }
            Err(StoreError::Full(error)) => {
                assert!(life.tight, "{error}");
                self.tally.refused[FOLD] += 1;
                life.was_full = true;
                Outcome::Refused
            }
            Err(error) => {
                assert!(self.is_excused(), "{error}");
                self.tally.failed[FOLD] += 1;
                life.folds_failed += 1;
                Outcome::Unknown
            }
        };
        self.model.has_folded(&folding, outcome);
    }

    fn tend(&mut self, life: &Life) {
        for _ in 0..1 + self.random.below(6) {
            self.now_ms += 3_600_000;
            let damage = life.store.tend(self.now_ms).damage;
            assert!(damage.is_empty() || self.is_excused(), "{damage:?}");
        }
    }

    /// What the next life finds.
    fn end(&mut self, store: Option<Store>) {
        self.tally.calls += self.medium.calls();
        let seed = self.random.draw();
        let choice = if self.medium.is_dead() { 2 } else { 4 };
        let left = match self.random.below(choice) {
            0 => {
                self.say(|| "the power is cut".to_owned());
                self.tally.power_cuts += 1;
                self.medium.after_power_cut(seed)
            }
            1 => {
                self.say(|| "the process is killed".to_owned());
                self.tally.kills += 1;
                self.medium.copy(seed)
            }
            _ => {
                self.say(|| "it is closed".to_owned());
                drop(store);
                self.medium.copy(seed)
            }
        };
        self.medium = left;
        if self.random.below(8) == 0 {
            self.identity += 1;
        }
    }
}
