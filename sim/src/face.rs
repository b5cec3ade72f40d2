//! What the simulator shows to people.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anabranch_sim::{Line, Outcome, Tally, Topic, flips_bits, site_name};

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
/// One colour per replica, so that an eye can follow it.
const SITES: [&str; 5] = ["\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m"];

/// Text in a colour where colours can be seen.
struct Painted<T>(&'static str, T);

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.is_empty()
            || !std::io::stdout().is_terminal()
            || std::env::var_os("NO_COLOR").is_some();
        if plain {
            self.1.fmt(f)
        } else {
            write!(f, "{}{}{RESET}", self.0, self.1)
        }
    }
}

/// One event: when, who, what.
pub(crate) fn line(line: &Line) {
    let seconds = format!(
        "{:>6}.{:06}",
        line.at_us / 1_000_000,
        line.at_us % 1_000_000
    );
    let (name, colour) = match line.site {
        Some(site) => (site_name(site), SITES[site % SITES.len()]),
        None => ('·', ""),
    };
    let (sign, style) = match line.topic {
        Topic::Client => ("client", ""),
        Topic::Store => ("store ", DIM),
        Topic::Wire => ("wire  ", DIM),
        Topic::Fault => ("FAULT ", RED),
        Topic::World => ("world ", BOLD),
    };
    let text = Painted(style, &line.text);
    // A reader that has seen enough closes the pipe; that is no failure of the run.
    let _ = writeln!(
        std::io::stdout(),
        "{} {} {} {text}",
        Painted(DIM, seconds),
        Painted(colour, name),
        Painted(style, sign),
    );
}

/// A run that broke a promise, and how to see it again.
pub(crate) fn failure(outcome: &Outcome) {
    let Some(violation) = &outcome.violation else {
        return;
    };
    println!(
        "\n{}",
        Painted(RED, format!("seed {} broke a promise", outcome.seed))
    );
    outcome.recent.iter().for_each(line);
    println!("  promised  {}", Painted(BOLD, violation.promise));
    println!("  found     {}", violation.found);
    println!(
        "  replay    cargo run --release -p anabranch-sim -- --seed {} --trace",
        outcome.seed
    );
}

/// Seeds that the storage engine ended, as damage can, and how many of them had no damage in them, as none should.
pub(crate) fn aborted(seeds: &[u64]) -> usize {
    let (damaged, whole): (Vec<u64>, Vec<u64>) = seeds.iter().partition(|seed| flips_bits(**seed));
    if !damaged.is_empty() {
        println!(
            "the engine aborts on a damaged page, which nobody can catch, in seeds {damaged:?}: not looked at further"
        );
    }
    for seed in &whole {
        let text = format!("seed {seed} aborts, and nothing is damaged in it");
        println!("{}", Painted(RED, text));
    }
    whole.len()
}

/// Overwrites itself until all is done.
pub(crate) fn progress(tally: &Tally, seeds: u64, failed: usize, took: Duration) {
    eprint!(
        "\r\x1b[K{}/{seeds} seeds  {} writes  {} crashes  {failed} failed  {:.0} seeds/s",
        tally.seeds,
        tally.writes_acknowledged,
        tally.power_cuts + tally.kills,
        rate(tally.seeds, took),
    );
}

pub(crate) fn progress_done() {
    eprint!("\r\x1b[K");
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(0.001)
}

/// Everything in numbers.
pub(crate) fn summary(tally: &Tally, took: Duration, failed: usize) {
    let mut counted = *tally;
    println!();
    for (name, count) in counted.fields_mut() {
        println!("  {:<24}{:>12}", name.replace('_', " "), count);
    }
    let mean_ms = tally
        .convergence_ms_sum
        .checked_div(tally.seeds)
        .unwrap_or(0);
    let verdict = if failed == 0 {
        Painted(GREEN, "every promise was kept".to_owned())
    } else {
        Painted(
            RED,
            format!("{failed} of {} seeds broke a promise", tally.seeds),
        )
    };
    println!(
        "\n{verdict}: {} seeds, {:.0} virtual minutes in {:.1} s, {:.1} seeds/s; equal after {mean_ms} ms on average, {} ms at most",
        tally.seeds,
        Duration::from_millis(tally.virtual_ms).as_secs_f64() / 60.0,
        took.as_secs_f64(),
        rate(tally.seeds, took),
        tally.convergence_ms_max,
    );
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
