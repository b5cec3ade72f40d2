//! Seeds in which every promise must be kept, and equal runs of equal seeds.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use anabranch_sim::{Options, Outcome, run};

fn clean(seed: u64) -> Outcome {
    let outcome = run(Options::new(seed));
    assert!(
        outcome.violation.is_none(),
        "{:?}\nreplay: cargo run --release -p anabranch-sim -- --seed {seed} --trace",
        outcome.violation
    );
    outcome
}

/// A quarter each, so that a test runner with threads to spare can share them out.
fn quarter(which: u64) {
    let mut acknowledged = 0;
    for seed in (0..100).filter(|seed| seed % 4 == which) {
        acknowledged += clean(seed).tally.writes_acknowledged;
    }
    assert!(acknowledged > 1_000, "{acknowledged} writes are no test");
}

#[test]
fn promises_are_kept_in_the_first_quarter() {
    quarter(0);
}

#[test]
fn promises_are_kept_in_the_second_quarter() {
    quarter(1);
}

#[test]
fn promises_are_kept_in_the_third_quarter() {
    quarter(2);
}

#[test]
fn promises_are_kept_in_the_fourth_quarter() {
    quarter(3);
}

#[test]
fn a_seed_means_the_same_every_time() {
    for seed in 0..8 {
        let (first, second) = (run(Options::new(seed)), run(Options::new(seed)));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(run(Options::new(1)).digest, run(Options::new(2)).digest);
}

#[test]
fn a_seed_means_the_same_in_another_process() {
    for seed in [3, 14] {
        let here: String = run(Options::new(seed))
            .digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let there = Command::new(env!("CARGO_BIN_EXE_anabranch-sim"))
            .args(["--seed", &seed.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8(there.stdout).unwrap();
        assert!(said.contains(&here), "seed {seed}: {here} is not in {said}");
    }
}
