//! How fast datacenters converge: real node processes, a wide-area network between them, and lag from the call to
//! visible elsewhere; cuts, losses, slow links, new replicas. One JSON file and one page come out.

mod bed;
mod catching_up;
mod chart;
mod clock;
mod feed;
mod goals;
mod member;
mod page;
mod phases;
mod place;
mod plots;
mod position;
mod probe;
mod results;
mod running;
mod scale;
mod streamed;
mod topology;
mod wan;
mod wire;
mod workload;
mod writers;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum as _;
use tokio::signal::unix::{SignalKind, signal};

use self::bed::Bed;
use self::member::Member;
use self::phases::Kind;
use self::results::{Goal, Machine, Phase, Results, TopologyResults};
use self::scale::Scale;
use self::topology::{Named, Topology};
use crate::{Outcome, served};

/// For how long nobody writes, at most, to see what passes all the same.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Before that, at most: until what was written has been acknowledged, and what is said of it again has become as seldom as it gets.
const SETTLING_MAX: Duration = Duration::from_secs(240);

/// Options of `figures convergence`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The program to serve with [default: `anabranch` beside this one].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The WAN tool's program: nodes run in network namespaces that it joins; needs root [default: relays in this
    /// process delay datagrams over loopback].
    #[arg(long, value_name = "FILE")]
    wan: Option<PathBuf>,
    /// Datacenters and distances, several with commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "anchors,three,five,ten,loopback"
    )]
    topology: Vec<Named>,
    /// What they are put through, several with commas [default: what is of interest for each topology].
    #[arg(long, value_delimiter = ',')]
    phase: Vec<Kind>,
    /// Writes per second in each of three datacenters under load.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    rate: u32,
    /// Documents that a datacenter misses while it is cut off.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    missed: u64,
    /// Seconds for which it is cut off, at least; links are given up after 15 by default.
    #[arg(long, default_value_t = 20)]
    cut_seconds: u64,
    /// Documents that a new replica finds.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    documents: u64,
    /// Where `convergence.json` and `convergence.html` go.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    out: PathBuf,
    /// Everything as small as still shows something, three datacenters, in a few seconds: shows that it works, and
    /// nothing else.
    #[arg(long)]
    quick: bool,
}

/// What of it goes on in a topology unless it is said.
fn phases_of(named: Named) -> Vec<Kind> {
    match named {
        Named::Anchors => {
            let all = Kind::value_variants().iter().copied();
            all.filter(|kind| *kind != Kind::Join).collect()
        }
        Named::Three => vec![Kind::Idle, Kind::Quiet, Kind::Steady, Kind::Cut],
        Named::Five | Named::Ten => vec![Kind::Idle, Kind::Quiet, Kind::Steady],
        Named::Loopback => vec![Kind::Idle, Kind::Steady, Kind::Join],
    }
}

/// Measures, and writes both files. Stops at the first sign of Ctrl-C, and leaves nothing behind.
pub(crate) async fn measure(
    options: Options,
    seconds: u64,
    carts: usize,
    memory_mib: Option<usize>,
) -> Outcome<()> {
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let done = tokio::select! {
        done = all(&options, seconds, carts, memory_mib) => done,
        _ = interrupted.recv() => Err("interrupted: nodes and network have been taken down".into()),
        _ = terminated.recv() => Err("terminated: nodes and network have been taken down".into()),
    };
    // What has begun meanwhile is taken down, too.
    place::ended().await?;
    done
}

async fn all(
    options: &Options,
    seconds: u64,
    carts: usize,
    memory_mib: Option<usize>,
) -> Outcome<()> {
    let program = served::program(options.program.clone())?;
    let scale = scale(options, seconds, carts)?;
    std::fs::create_dir_all(&options.out)
        .map_err(|error| format!("cannot make {}: {error}", options.out.display()))?;
    let mut results = nothing_yet(options)?;
    let mut failures = Vec::new();
    for named in topologies(options) {
        let topology = Topology::new(named);
        println!("{}", topology.title);
        let kinds = kinds(options, named);
        let found = one(
            topology,
            &kinds,
            &program,
            options.wan.as_deref(),
            memory_mib,
            &scale,
        )
        .await;
        if let Some(why) = &found.failed {
            eprintln!("  failed: {why}");
            failures.push(format!("{}: {why}", found.title));
        }
        let goals = goals::of(&found.name, &found.title, &found.phases);
        goals.iter().for_each(say);
        results.goals.extend(goals);
        results.topologies.push(found);
        // After each, so that a long run that is stopped has something to show.
        write(&options.out, &results)?;
    }
    println!(
        "wrote {} and convergence.html beside it",
        options.out.join("convergence.json").display()
    );
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("; ").into()),
    }
}

fn scale(options: &Options, seconds: u64, carts: usize) -> Outcome<Scale> {
    if options.quick {
        return Ok(Scale::quick());
    }
    let time = Duration::from_secs(seconds.max(1));
    Ok(Scale {
        time,
        silence: SILENCE_MAX.min(time * 6),
        settling: SETTLING_MAX.min(time * 12),
        rate: options.rate,
        carts,
        missed: options.missed,
        cut: Duration::from_secs(options.cut_seconds),
        documents: usize::try_from(options.documents)?,
    })
}

fn nothing_yet(options: &Options) -> Outcome<Results> {
    let (network, bytes_are) = match &options.wan {
        Some(_) => (
            "network namespaces, joined by a router that holds every packet back for the link's delay",
            "those of IP packets that were delivered, headers and acknowledgements included",
        ),
        None => (
            "relays that hold every datagram back for the link's delay, over loopback",
            "those of UDP payload that was delivered, acknowledgements included; IP and UDP headers, 28 bytes each, are \
             not",
        ),
    };
    Ok(Results {
        made_at_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        machine: machine(),
        network,
        bytes_are,
        goals: Vec::new(),
        topologies: Vec::new(),
    })
}

fn say(goal: &Goal) {
    let (found, limit) = (chart::number(goal.found), chart::number(goal.limit));
    let met = if goal.met { "met" } else { "NOT met" };
    println!(
        "  {:<24} {:<52} {found:>8} {:<2} (goal {limit}: {met})",
        goal.phase, goal.what, goal.unit
    );
}

fn topologies(options: &Options) -> Vec<Named> {
    match options.quick {
        true => vec![Named::Anchors],
        false => options.topology.clone(),
    }
}

fn kinds(options: &Options, named: Named) -> Vec<Kind> {
    match (options.quick, &*options.phase) {
        (true, []) => Kind::value_variants().to_vec(),
        (false, []) => phases_of(named),
        (_, some) => some.to_vec(),
    }
}

/// One topology: whatever goes wrong is among its results.
async fn one(
    topology: Topology,
    kinds: &[Kind],
    program: &Path,
    wan: Option<&Path>,
    memory_mib: Option<usize>,
    scale: &Scale,
) -> TopologyResults {
    let name = topology.named.to_possible_value();
    let all = 0..topology.len();
    let row = |from| {
        all.clone()
            .map(|to| topology.round_trip_ms(from, to))
            .collect()
    };
    let mut found = TopologyResults {
        name: name
            .map(|name| name.get_name().to_owned())
            .unwrap_or_default(),
        title: topology.title.clone(),
        regions: topology
            .regions
            .iter()
            .map(|region| (*region).to_owned())
            .collect(),
        round_trips_ms: all.clone().map(row).collect(),
        links: Vec::new(),
        phases: Vec::new(),
        complaints: Vec::new(),
        failed: None,
    };
    let result = async {
        let mut bed = Bed::start(topology, program, wan, memory_mib).await?;
        if let Err(error) = through(&mut bed, kinds, scale, &mut found.phases).await {
            // A node that has died says more than those who miss it.
            let ends = bed.members.iter_mut().map(Member::complaints);
            let ends = ends.filter_map(|complaints| Some(format!("; {}", complaints.err()?)));
            return Err(format!("{error}{}", ends.collect::<String>()).into());
        }
        (found.links, found.complaints) = bed.links().await?;
        found.complaints.extend(bed.stop().await?);
        Outcome::Ok(())
    };
    if let Err(error) = result.await {
        found.failed = Some(error.to_string());
    }
    found
}

/// Puts a cluster through all of it.
async fn through(
    bed: &mut Bed,
    kinds: &[Kind],
    scale: &Scale,
    phases: &mut Vec<Phase>,
) -> Outcome<()> {
    let carts = match kinds.contains(&Kind::Join) {
        true => scale.documents,
        false => scale.carts,
    };
    bed.fill(carts).await?;
    for kind in kinds {
        println!("  {kind:?} ..");
        phases.extend(phases::run(*kind, bed, scale).await?);
    }
    Ok(())
}

fn write(out: &Path, results: &Results) -> Outcome<()> {
    let files = [
        ("convergence.json", serde_json::to_string(results)?),
        ("convergence.html", page::html(results)),
    ];
    for (name, text) in files {
        let path = out.join(name);
        std::fs::write(&path, text)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn machine() -> Machine {
    // What the system does not say is not worth failing for.
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let processor = processor.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        processor: processor.unwrap_or_default(),
        load_before: read("/proc/loadavg")
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}
