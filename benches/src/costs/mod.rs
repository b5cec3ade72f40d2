//! What documents cost: against raw automerge, which loses goods when two create the same cart at once, and
//! against other ways to keep it from that.

mod ours;
mod raw;

use std::time::{Duration, Instant};

use crate::Outcome;

/// A cart in some representation.
pub(crate) trait Cart {
    /// A new cart of one writer.
    fn new() -> Self;
    /// Adds a line of name, price and a quantity of 1 in one write; gives the bytes that travel.
    fn add_line(&mut self, line: usize) -> Outcome<usize>;
    /// One more of a line.
    fn one_more(&mut self, line: usize) -> Outcome<usize>;
    /// The compacted form, in bytes.
    fn saved(&mut self) -> usize;
}

/// A list of posts in some representation.
pub(crate) trait Feed {
    fn new() -> Self;
    fn append(&mut self, post: usize) -> Outcome<usize>;
    fn like(&mut self, post: usize) -> Outcome<usize>;
    fn saved(&mut self) -> usize;
}

pub(crate) fn sku(line: usize) -> String {
    format!("{}", 22_000 + line * 13)
}

pub(crate) fn name(line: usize) -> String {
    format!("WHITE HANGING HEART T-LIGHT HOLDER {line}")
}

pub(crate) fn words(post: usize) -> String {
    format!(
        "Post number {post} says that the river leaves its bed and comes back to it downstream."
    )
}

/// The middle one of several runs, which noise can't move far.
fn median(mut runs: Vec<Duration>) -> f64 {
    runs.sort_unstable();
    runs[runs.len() / 2].as_secs_f64() * 1e6
}

const RUNS: usize = 31;
const CHANGES: usize = 64;

/// What one cart cost in one run.
struct Run {
    line: Duration,
    more: Duration,
    line_wire: f64,
    more_wire: f64,
    /// Compacted, with one write per line.
    lines_saved: f64,
    /// What [`CHANGES`] changes of quantities add to that, each.
    more_saved: f64,
}

fn run<C: Cart>(lines: usize) -> Outcome<Run> {
    // Small carts are over quickly: several, so that the clock has something to measure.
    let carts = (50 / lines).max(1);
    let (mut line_wire, mut more_wire, mut before, mut after) = (0, 0, 0, 0);
    let (mut line, mut more) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..carts {
        let mut cart = C::new();
        let begun = Instant::now();
        for at in 0..lines {
            line_wire += cart.add_line(at)?;
        }
        line += begun.elapsed();
        before = cart.saved();
        let begun = Instant::now();
        for at in 0..CHANGES {
            more_wire += cart.one_more(at % lines)?;
        }
        more += begun.elapsed();
        after = cart.saved();
    }
    let per = |bytes: usize, count: usize| bytes as f64 / count as f64;
    let all = |each: usize| u32::try_from(each * carts);
    Ok(Run {
        line: line / all(lines)?,
        more: more / all(CHANGES)?,
        line_wire: per(line_wire, lines * carts),
        more_wire: per(more_wire, CHANGES * carts),
        lines_saved: per(before, lines),
        more_saved: per(after.saturating_sub(before), CHANGES),
    })
}

type Runner = fn(usize) -> Outcome<Run>;

const CARTS: [(&str, Runner); 5] = [
    ("raw automerge (loses lines)", run::<raw::Plain>),
    ("**ours: merged on reading**", run::<ours::Quantities>),
    ("ours, with counters", run::<ours::Counters>),
    ("declared in a shared first change", run::<raw::Declared>),
    ("an actor per container", run::<raw::Derived>),
];

/// All kinds of carts in turn, so that noise meets them alike.
fn carts(lines: usize) -> Outcome<()> {
    println!("\ncart of {lines} lines, one write each, then {CHANGES} changes of quantities\n");
    println!(
        "| | a line: time | on the wire | compacted | a quantity: time | on the wire | compacted |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut runs: Vec<Vec<Run>> = CARTS.iter().map(|_| Vec::new()).collect();
    for _ in 0..RUNS {
        for ((_, run), runs) in CARTS.iter().zip(&mut runs) {
            runs.push(run(lines)?);
        }
    }
    let line = |runs: &[Run]| median(runs.iter().map(|run| run.line).collect());
    let more = |runs: &[Run]| median(runs.iter().map(|run| run.more).collect());
    let floor = &runs[0];
    for ((name, _), runs) in CARTS.iter().zip(&runs) {
        let bytes = &runs[0];
        println!(
            "| {name} | {:.1} us ({:.2}x) | {:.0} B | {:.0} B ({:.2}x) | {:.1} us ({:.2}x) | {:.0} B | {:.1} B |",
            line(runs),
            line(runs) / line(floor),
            bytes.line_wire,
            bytes.lines_saved,
            bytes.lines_saved / floor[0].lines_saved,
            more(runs),
            more(runs) / more(floor),
            bytes.more_wire,
            bytes.more_saved,
        );
    }
    Ok(())
}

fn feed<F: Feed>(posts: usize) -> Outcome<(f64, f64, f64)> {
    let mut feed = F::new();
    for at in 0..posts {
        feed.append(at)?;
    }
    let saved = feed.saved() as f64 / posts as f64;
    let (mut append, mut like) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let begun = Instant::now();
        for at in 0..8 {
            feed.append(posts + run * 8 + at)?;
        }
        append.push(begun.elapsed() / 8);
        let begun = Instant::now();
        for at in 0..8 {
            feed.like((run * 8 + at) * posts / (RUNS * 8))?;
        }
        like.push(begun.elapsed() / 8);
    }
    Ok((median(append), median(like), saved))
}

/// Prints the tables of `docs/benchmarks.md`.
pub(crate) fn measure() -> Outcome<()> {
    for lines in [1, 10, 100] {
        carts(lines)?;
    }
    println!("\nfeed\n");
    println!("| posts | append: ours | raw | like: ours | raw | compacted, each: ours | raw |");
    println!("|---|---|---|---|---|---|---|");
    for posts in [100, 1_000, 10_000] {
        let (append, like, saved) = feed::<ours::Posts>(posts)?;
        let (raw_append, raw_like, raw_saved) = feed::<raw::Posts>(posts)?;
        println!(
            "| {posts} | {append:.1} us ({:.2}x) | {raw_append:.1} us | {like:.1} us ({:.2}x) | {raw_like:.1} us | {saved:.0} B ({:.2}x) | {raw_saved:.0} B |",
            append / raw_append,
            like / raw_like,
            saved / raw_saved,
        );
    }
    ours::reading()
}
