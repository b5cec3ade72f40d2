//! The simulator's command: replays one seed, or runs many.

mod face;

use std::cell::{Cell, RefCell};
use std::io::IsTerminal as _;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use anabranch_sim::{Options, Outcome, Tally, run};
use clap::Parser;

/// Runs replicas of Anabranch through failures, deterministically: one seed, one history.
#[derive(Parser)]
#[command(name = "anabranch-sim", version)]
struct Arguments {
    /// Run this seed alone
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from", "jobs"])]
    seed: Option<u64>,
    /// Show every event of the seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run so many seeds
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    seeds: u64,
    /// Begin with this seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Seeds at a time, one thread each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
}

thread_local! {
    /// The last panic on this thread, and where.
    static PANICKED: RefCell<String> = const { RefCell::new(String::new()) };
    /// The seed that runs on this thread,
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    /// and who waits for it.
    static WAITING: RefCell<Option<mpsc::Sender<Ended>>> = const { RefCell::new(None) };
}

/// How a seed came to its end.
enum Ended {
    Here(Box<Outcome>),
    /// The storage engine panicked on a damaged page, and once more while that was unwound, which ends a process. No promise is broken
    /// by that, and nothing more can be seen of the seed.
    WithTheProcess(u64),
}

/// Remembers a panic. Where it would end the process, one thread stops for good instead.
fn panicked(panicked: &PanicHookInfo<'_>) {
    PANICKED.with_borrow_mut(|last| *last = panicked.to_string());
    let unwinds = panicked.payload_as_str() != Some("panic in a destructor during cleanup");
    if unwinds {
        return;
    }
    let told = WAITING.with_borrow(|waiting| {
        let ended = Ended::WithTheProcess(CURRENT.get());
        waiting
            .as_ref()
            .is_some_and(|waiting| waiting.send(ended).is_ok())
    });
    if told {
        loop {
            std::thread::park();
        }
    }
}

/// Runs a seed on a thread of its own.
fn apart(options: Options) -> Ended {
    let (waiting, ended) = mpsc::channel();
    let seed = options.seed;
    std::thread::spawn(move || {
        CURRENT.set(seed);
        WAITING.set(Some(waiting.clone()));
        let _ = waiting.send(Ended::Here(Box::new(tried(options))));
    });
    match ended.recv() {
        Ok(ended) => ended,
        Err(_) => panic!("seed {seed} panicked"),
    }
}

/// The storage engine panics on pages that are damaged, which the store catches. Only a panic that nobody has caught
/// is worth showing.
fn tried(options: Options) -> Outcome {
    panic::catch_unwind(|| run(options)).unwrap_or_else(|panicked| {
        let what = PANICKED.with_borrow(Clone::clone);
        eprintln!("seed {} panicked: {what}", options.seed);
        panic::resume_unwind(panicked)
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    panic::set_hook(Box::new(panicked));
    let failures = match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(&arguments),
    };
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(seed: u64, trace: bool) -> usize {
    let started = Instant::now();
    let mut options = Options::new(seed);
    if trace {
        options.sink = Some(face::line);
    }
    let mut outcome = match apart(options) {
        Ended::Here(outcome) => *outcome,
        Ended::WithTheProcess(seed) => return face::aborted(&[seed]),
    };
    if trace {
        // They have been shown already.
        outcome.recent.clear();
    }
    println!("seed {seed}: digest {}", face::hex(&outcome.digest));
    face::failure(&outcome);
    let failed = usize::from(outcome.violation.is_some());
    face::summary(&outcome.tally, started.elapsed(), failed);
    failed
}

fn many(arguments: &Arguments) -> usize {
    let started = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let mut tally = Tally::default();
    let mut failed = 0;
    let mut aborted = Vec::new();
    let shows_progress = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        let (done, outcomes) = mpsc::sync_channel(16);
        for _ in 0..arguments.jobs {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || done.send(apart(Options::new(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for ended in outcomes {
            let outcome = match ended {
                Ended::Here(outcome) => outcome,
                Ended::WithTheProcess(seed) => {
                    aborted.push(seed);
                    continue;
                }
            };
            tally.add(&outcome.tally);
            if outcome.violation.is_some() {
                // At once: whoever waits for many seeds need not wait for the first that fails.
                if shows_progress {
                    face::progress_done();
                }
                failed += 1;
                face::failure(&outcome);
            }
            if shows_progress {
                face::progress(&tally, arguments.seeds, failed, started.elapsed());
            }
        }
    });
    if shows_progress {
        face::progress_done();
    }
    failed += face::aborted(&aborted);
    face::summary(&tally, started.elapsed(), failed);
    failed
}
