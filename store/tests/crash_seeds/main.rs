//! Random lives of a store on a medium that fails at random: power cuts with lost, torn and reordered writes, killed
//! processes, I/O errors, full disks, one after the other and while the store recovers from the last. After each the
//! store is opened and held against a model: nothing acknowledged is lost, nothing refused is there, and what was
//! under way is there as a whole or not at all.
//!
//! Everything follows from the seed. A failure names its seed, and how to run it alone:
//!
//! ```text
//! ANABRANCH_CRASH_SEED=4711 cargo nextest run -p anabranch-store --test crash_seeds one_seed --no-capture
//! ANABRANCH_CRASH_SEEDS=1000000 cargo nextest run -p anabranch-store --test crash_seeds
//! ```
#![allow(clippy::unwrap_used)]

mod life;
mod model;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use life::{Tally, live};

/// All of them together; each test takes its part.
const SEEDS: u64 = 10_000;
const PARTS: u64 = 8;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .expect("a seed and a number of seeds are numbers"),
    )
}

fn run(seed: u64, tally: &mut Tally) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed, tally))) {
        eprintln!(
            "seed {seed} failed; to run it alone: ANABRANCH_CRASH_SEED={seed} cargo nextest run -p anabranch-store \
             --test crash_seeds one_seed --no-capture"
        );
        resume_unwind(panic);
    }
}

fn part(part: u64) {
    let seeds = from_environment("ANABRANCH_CRASH_SEEDS").unwrap_or(SEEDS);
    let mut tally = Tally::default();
    for seed in (part..seeds).step_by(usize::try_from(PARTS).unwrap()) {
        run(seed, &mut tally);
    }
    println!("{tally}");
    if seeds >= SEEDS {
        tally.assert_interesting();
    }
}

macro_rules! parts {
    ($($name:ident $part:literal)*) => {
        $(
            #[test]
            fn $name() {
                part($part);
            }
        )*
    };
}

parts! {
    seeds_part_1_of_8 0
    seeds_part_2_of_8 1
    seeds_part_3_of_8 2
    seeds_part_4_of_8 3
    seeds_part_5_of_8 4
    seeds_part_6_of_8 5
    seeds_part_7_of_8 6
    seeds_part_8_of_8 7
}

/// The one that the environment names, with all that happens in it.
#[test]
fn one_seed() {
    let seed = from_environment("ANABRANCH_CRASH_SEED").unwrap_or_default();
    let mut tally = Tally::talking();
    run(seed, &mut tally);
    println!("{tally}");
}
