//! What a cluster is put through, one thing after the other.

use std::time::Duration;

use clap::ValueEnum;

use super::bed::Bed;
use super::catching_up;
use super::results::{LoadResults, Phase, Quiet};
use super::running::{Running, steady};
use super::scale::Scale;
use super::workload::Workload;
use super::writers::Load;
use crate::Outcome;

/// Writes per second when next to nothing is going on, at the first datacenter alone.
const IDLE_PER_S: u32 = 20;
/// What is left of the steady rate where links lose, are slow, or a replica joins.
pub(crate) const CALMER: u32 = 10;
/// What a burst has for each write per second of the steady rate.
const BURST_SHARE: u64 = 2;
const BURST_CLIENTS: u64 = 64;
/// Losses that are tried, in parts of a million.
const LOSSES_PPM: [u32; 2] = [1_000, 10_000];
/// What is left of a slow link.
const SLOW_KBIT: u64 = 256;

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// 20 cart writes/s at one datacenter
    Idle,
    /// Nobody writes: what the cluster sends all the same
    Quiet,
    /// The steady rate in three datacenters at once, carts
    Steady,
    /// The same with posts and likes
    Feed,
    /// As many writes as clients can send, all at once
    Burst,
    /// Links that lose datagrams
    Loss,
    /// One slow link, beside a run without it
    Slow,
    /// One datacenter cut off, written around, healed
    Cut,
    /// A new replica joins a cluster that is written to
    Join,
}

/// Runs one kind, which may have several phases.
pub(crate) async fn run(kind: Kind, bed: &mut Bed, scale: &Scale) -> Outcome<Vec<Phase>> {
    match kind {
        Kind::Idle => idle(bed, scale).await,
        Kind::Quiet => quiet(bed, scale).await,
        Kind::Steady => {
            let carts = Workload::Carts { carts: bed.carts };
            let title = "Steady: carts";
            Ok(vec![steadily(bed, scale, "steady", title, carts).await?])
        }
        Kind::Feed => {
            let title = "Steady: feeds";
            Ok(vec![
                steadily(bed, scale, "feed", title, Workload::Feeds).await?,
            ])
        }
        Kind::Burst => burst(bed, scale).await,
        Kind::Loss => lossy(bed, scale).await,
        Kind::Slow => slow(bed, scale).await,
        Kind::Cut => Ok(vec![catching_up::cut_and_heal(bed, scale).await?]),
        Kind::Join => Ok(vec![catching_up::new_replica(bed, scale).await?]),
    }
}

/// A phase that consists of writes.
fn phase(name: &str, title: &str, note: String, load: LoadResults) -> Phase {
    Phase {
        name: name.to_owned(),
        title: title.to_owned(),
        note,
        load: Some(load),
        quiet: None,
        catch_up: None,
    }
}

/// Datacenters that write: three, however many there are.
pub(crate) fn writing(bed: &Bed) -> std::ops::Range<usize> {
    0..bed.members.len().min(3)
}

/// A steady load at each that writes.
pub(crate) fn everywhere(
    bed: &Bed,
    workload: Workload,
    rate: u32,
    time: Duration,
) -> Vec<(usize, Load)> {
    let load = |at| (at, steady(workload, rate, time, at as u64 + 1));
    writing(bed).map(load).collect()
}

async fn measured(bed: &mut Bed, loads: Vec<(usize, Load)>) -> Outcome<LoadResults> {
    let running = Running::start(bed, loads)?;
    running.finished().await?.results(bed).await
}

async fn idle(bed: &mut Bed, scale: &Scale) -> Outcome<Vec<Phase>> {
    let carts = Workload::Carts { carts: bed.carts };
    let load = steady(carts, IDLE_PER_S, scale.time, 1);
    let note = format!("{IDLE_PER_S} cart writes/s at {}", bed.topology.regions[0]);
    let load = measured(bed, vec![(0, load)]).await?;
    Ok(vec![phase("idle", "Idle", note, load)])
}

async fn steadily(
    bed: &mut Bed,
    scale: &Scale,
    name: &str,
    title: &str,
    workload: Workload,
) -> Outcome<Phase> {
    let rate = scale.rate;
    let loads = everywhere(bed, workload, rate, scale.time);
    let note = format!(
        "{rate} writes/s in each of {} datacenters at once",
        loads.len()
    );
    let load = measured(bed, loads).await?;
    Ok(phase(name, title, note, load))
}

async fn burst(bed: &mut Bed, scale: &Scale) -> Outcome<Vec<Phase>> {
    let writes = u64::from(scale.rate) * BURST_SHARE;
    let load = |at| {
        let load = Load {
            workload: Workload::Carts { carts: bed.carts },
            rate: None,
            writes,
            clients: BURST_CLIENTS,
            seed: at as u64 + 1,
        };
        (at, load)
    };
    let loads: Vec<_> = writing(bed).map(load).collect();
    let note = format!(
        "{writes} cart writes in each of {} datacenters, {BURST_CLIENTS} clients each, as fast as they are answered",
        loads.len()
    );
    let load = measured(bed, loads).await?;
    Ok(vec![phase("burst", "Burst", note, load)])
}

async fn quiet(bed: &mut Bed, scale: &Scale) -> Outcome<Vec<Phase>> {
    bed.probe.pause(true);
    // The last acknowledgements of what came before are not what is asked for.
    tokio::time::sleep(scale.settling).await;
    let before: u64 = bed.bytes()?.values().sum();
    tokio::time::sleep(scale.silence).await;
    let bytes = bed.bytes()?.values().sum::<u64>() - before;
    bed.probe.pause(false);
    let seconds = scale.silence.as_secs_f64();
    let all = bed.members.len();
    let quiet = Quiet {
        seconds,
        bytes,
        bytes_per_minute: bytes as f64 * 60.0 / seconds,
        links: all * (all - 1) / 2,
    };
    Ok(vec![Phase {
        name: "quiet".to_owned(),
        title: "Nobody writes".to_owned(),
        note: "what passes over all links all the same".to_owned(),
        load: None,
        quiet: Some(quiet),
        catch_up: None,
    }])
}

async fn lossy(bed: &mut Bed, scale: &Scale) -> Outcome<Vec<Phase>> {
    let mut phases = Vec::new();
    for loss_ppm in LOSSES_PPM {
        shape_all(bed, loss_ppm)?;
        let (workload, rate) = (Workload::Carts { carts: bed.carts }, scale.calm_rate());
        let loads = everywhere(bed, workload, rate, scale.time);
        let percent = f64::from(loss_ppm) / 1e4;
        let note = format!(
            "{rate} cart writes/s in each of {} datacenters; each datagram is lost with a probability of {percent} %",
            loads.len()
        );
        let load = measured(bed, loads).await;
        shape_all(bed, 0)?;
        let (name, title) = (format!("loss-{percent}"), format!("{percent} % loss"));
        phases.push(phase(&name, &title, note, load?));
    }
    Ok(phases)
}

fn shape_all(bed: &mut Bed, loss_ppm: u32) -> Outcome<()> {
    for (a, b) in bed.topology.directions().filter(|(a, b)| a < b) {
        bed.wire.shape(a, b, loss_ppm, 0)?;
    }
    Ok(())
}

/// The link between the first and the last that write is slow; the same load before, without that.
async fn slow(bed: &mut Bed, scale: &Scale) -> Outcome<Vec<Phase>> {
    // Twice what the slow link can carry, at least, or it would not be slow.
    let rate = scale.calm_rate().max(200);
    let (near, far) = (0, writing(bed).end - 1);
    let (from, to) = (bed.topology.regions[near], bed.topology.regions[far]);
    let workload = Workload::Carts { carts: bed.carts };
    let loads = everywhere(bed, workload, rate, scale.time);
    let note = format!(
        "{rate} cart writes/s in each of {} datacenters, all links fast",
        loads.len()
    );
    let without = measured(bed, loads.clone()).await?;
    let without = phase("slow-without", "Before one link is slow", note, without);

    bed.wire.shape(near, far, 0, SLOW_KBIT)?;
    let running = Running::start(bed, loads)?;
    let finished = running.finished().await;
    bed.wire.shape(near, far, 0, 0)?;
    let load = finished?.results(bed).await?;
    let note = format!(
        "the same, while the link between {from} and {to} passes {SLOW_KBIT} kbit/s; it is fast again once all is written. \
         What others write becomes visible at {to} after what it builds on, which may have to come over that link"
    );
    Ok(vec![without, phase("slow", "One slow link", note, load)])
}
