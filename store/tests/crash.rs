//! The medium fails at every single call of a reference workload: the power is cut, a call gives an error, there is
//! no room. Nothing that was reported is lost by any of it.
#![allow(clippy::unwrap_used)]

mod bed;

use anabranch_core::Incarnation;
use anabranch_core::persist::Continuity;
use anabranch_store::Store;
use anabranch_store::faulty::{Faults, FaultyMedium};
use bed::opening;
use bed::workload::{GROUPS, Reported, assert_holds, assert_nothing_lost, work};

/// Different choices of what the power cut leaves, for each call.
const SEEDS: u64 = 2;

/// How many calls the whole workload takes.
fn calls() -> u64 {
    let whole = FaultyMedium::new(0);
    assert!(work(&whole).finished);
    whole.calls()
}

fn dying(seed: u64, at: u64) -> (FaultyMedium, Reported) {
    let medium = FaultyMedium::new(seed);
    medium.set_faults(Faults {
        dies_at: Some(at),
        ..Faults::default()
    });
    let reported = work(&medium);
    (medium, reported)
}

#[test]
fn what_was_reported_survives_a_power_cut_at_any_call() {
    let calls = calls();
    let (mut new, mut ahead) = (0, 0);
    for call in 0..calls {
        for seed in 0..SEEDS {
            let seed = call * SEEDS + seed;
            let how = format!("cut at call {call}, seed {seed}");
            let (medium, reported) = dying(seed, call);
            let left = medium.after_power_cut(seed);
            let opened = Store::open(left, opening("medium", 8));
            if let Ok((_, recovery)) = &opened {
                let found = (recovery.continuity, recovery.incarnation.0);
                if recovery.continuity == Continuity::New {
                    assert!(!reported.opened, "{how}: an incarnation was lost");
                    new += 1;
                } else {
                    assert_eq!(found, (Continuity::Proven, 7), "{how}");
                }
            }
            let (groups, folds) = assert_nothing_lost(opened, reported, &how);
            ahead += u64::from(groups > reported.groups || folds > reported.folds);
        }
    }
    println!(
        "{calls} calls, {SEEDS} cuts at each: {new} found nothing yet, {ahead} kept what was not reported, 0 lost"
    );
    assert!(
        new > 0 && ahead > 0,
        "the cuts never came at an interesting moment"
    );
}

/// The second cut comes while the first is being recovered from.
#[test]
fn recovery_survives_power_cuts_too() {
    let calls = calls();
    for at in [calls / 3, calls / 2, calls * 2 / 3] {
        let (medium, reported) = dying(1, at);
        assert!(reported.groups > 1 && !reported.finished);
        let left = medium.after_power_cut(2);
        let probe = left.copy(3);
        drop(Store::open(probe.clone(), opening("medium", 8)).unwrap());
        for call in 0..probe.calls() {
            let medium = left.copy(call);
            medium.set_faults(Faults {
                dies_at: Some(call),
                ..Faults::default()
            });
            // Whether this one opens is its own affair; what it leaves behind must open.
            drop(Store::open(medium.clone(), opening("medium", 9)));
            let opened = Store::open(medium.after_power_cut(call), opening("medium", 10));
            let how = format!("cut at call {at}, and at {call} of recovery");
            if let Ok((_, recovery)) = &opened {
                let found = (recovery.continuity, recovery.incarnation);
                assert_eq!(found, (Continuity::Proven, Incarnation(7)), "{how}");
            }
            assert_nothing_lost(opened, reported, &how);
        }
    }
}

/// Reads go on, commits do not, and the next opening knows what became of it.
#[test]
fn nothing_is_lost_by_an_error_at_any_call() {
    let calls = calls();
    let mut finished = 0;
    for call in 0..calls {
        let medium = FaultyMedium::new(call);
        medium.set_faults(Faults {
            fails_at: Some(call),
            ..Faults::default()
        });
        let reported = work(&medium);
        finished += u64::from(reported.finished);
        let how = format!("an error at call {call}");
        let opened = Store::open(medium.clone(), opening("medium", 7));
        assert_nothing_lost(opened, reported, &how);
        let left = medium.after_power_cut(call);
        let opened = Store::open(left, opening("medium", 7));
        let (store, recovery) = opened.unwrap_or_else(|error| panic!("{how}: {error}"));
        assert!(recovery.log_end.map_or(0, |lsn| lsn.0) >= 2 * reported.groups);
        drop(store);
    }
    println!("an error at each of {calls} calls: {finished} did no harm, 0 lost anything");
}

/// What is refused once is done when it is asked again: no restart is needed.
#[test]
fn a_write_without_room_can_be_tried_again() {
    let whole = FaultyMedium::new(0);
    work(&whole);
    let bytes = whole.written_bytes();
    let step = bytes / 200;
    let mut refused = 0;
    for at in (0..bytes).step_by(usize::try_from(step).unwrap()) {
        let medium = FaultyMedium::new(at);
        medium.refuse_writes_after(at);
        let reported = work(&medium);
        assert!(
            reported.finished,
            "no room for one write after {at} bytes: {reported:?}"
        );
        refused += 1;
        let (store, _) = Store::open(medium, opening("medium", 8)).unwrap();
        assert_holds(&store, GROUPS, reported.folds);
    }
    println!("{refused} writes were refused, each in a run of its own; all runs came to their end");
}
