//! What the project wants of all this, and whether it was so.

use super::results::{CatchUp, Direction, Goal, LoadResults, Phase};

const IDLE_P50_OVER_MS: f64 = 2.0;
const IDLE_P99_OVER_MS: f64 = 8.0;
const STEADY_P99_OVER_MS: f64 = 40.0;
const WRITE_BYTES: f64 = 250.0;
const MINUTE_BYTES: f64 = 10_000.0;
const HEAL_ROUND_TRIPS: f64 = 2.0;
const HEAL_MORE_MS: f64 = 1_000.0;
const JOIN_MS: f64 = 10_000.0;
/// How much worse others may get while one link is slow or a replica joins.
const OTHERS_TIMES: f64 = 2.0;
/// Links that the goal for silence is about.
const LINKS: usize = 3;

/// What a phase is held against. Those of a topology are looked at together: some are ratios.
pub(crate) fn of(topology: &str, title: &str, phases: &[Phase]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for phase in phases {
        let mut add = |what: &str, limit: f64, found: f64, unit| {
            goals.push(Goal {
                topology: title.to_owned(),
                phase: phase.title.clone(),
                what: what.to_owned(),
                limit,
                found,
                unit,
                met: found <= limit,
            });
        };
        if let Some(load) = &phase.load {
            of_load(phase, load, phases, &mut add);
        }
        if let Some(quiet) = phase.quiet.as_ref().filter(|quiet| quiet.links == LINKS) {
            add(
                "traffic per minute, all links",
                MINUTE_BYTES,
                quiet.bytes_per_minute,
                "B",
            );
        }
        if let Some(catch_up) = &phase.catch_up {
            of_catch_up(topology, catch_up, &mut add);
        }
    }
    goals
}

fn of_load(
    phase: &Phase,
    load: &LoadResults,
    phases: &[Phase],
    add: &mut impl FnMut(&str, f64, f64, &'static str),
) {
    match &*phase.name {
        "idle" => {
            let (p50, p99) = (worst(load, |d| d.lag_ms.p50), worst(load, |d| d.lag_ms.p99));
            add(
                "lag p50 over one-way, worst direction",
                IDLE_P50_OVER_MS,
                p50,
                "ms",
            );
            add(
                "lag p99 over one-way, worst direction",
                IDLE_P99_OVER_MS,
                p99,
                "ms",
            );
        }
        "steady" => {
            let p99 = worst(load, |d| d.lag_ms.p99);
            add(
                "lag p99 over one-way, worst direction",
                STEADY_P99_OVER_MS,
                p99,
                "ms",
            );
            let bytes = load.bytes_per_write_and_replica;
            add("bytes per cart write and replica", WRITE_BYTES, bytes, "B");
        }
        "slow" => {
            let without = phases.iter().find(|other| other.name == "slow-without");
            if let Some(without) = without.and_then(|phase| phase.load.as_ref()) {
                let times = apart_from_the_slow_link(load, without)
                    .map(|(with, without)| with.lag_ms.p99 / without.lag_ms.p99)
                    .fold(0.0, f64::max);
                add(
                    "lag p99 of others over that before, worst direction",
                    OTHERS_TIMES,
                    times,
                    "x",
                );
            }
        }
        _ => {}
    }
}

fn of_catch_up(
    topology: &str,
    catch_up: &CatchUp,
    add: &mut impl FnMut(&str, f64, f64, &'static str),
) {
    let Some(foreground) = &catch_up.foreground else {
        add(
            "all there after",
            heal_ms(catch_up.round_trip_ms),
            catch_up.last_ms,
            "ms",
        );
        return;
    };
    if topology == "loopback" {
        add("all there after", JOIN_MS, catch_up.last_ms, "ms");
    }
    let times = foreground.meanwhile_ms.p99 / foreground.before_ms.p99;
    add(
        "p99 of writes at the others over that before",
        OTHERS_TIMES,
        times,
        "x",
    );
}

/// When all that was missed should be there after a cut.
pub(crate) fn heal_ms(round_trip_ms: f64) -> f64 {
    HEAL_ROUND_TRIPS * round_trip_ms + HEAL_MORE_MS
}

fn worst(load: &LoadResults, lag: impl Fn(&Direction) -> f64) -> f64 {
    let over = load
        .directions
        .iter()
        .map(|direction| lag(direction) - direction.one_way_ms);
    over.fold(f64::NEG_INFINITY, f64::max)
}

/// Directions that neither use the slow link (first to last) nor end behind it, with what they were before.
///
/// What a third datacenter writes builds on what the first has written, so at the last it has to wait for that.
pub(crate) fn apart_from_the_slow_link<'a>(
    with: &'a LoadResults,
    without: &'a LoadResults,
) -> impl Iterator<Item = (&'a Direction, &'a Direction)> {
    let ends = with.directions.iter().map(|direction| &direction.from);
    let (first, last) = (ends.clone().next(), ends.clone().next_back());
    let pairs = with.directions.iter().zip(&without.directions);
    pairs.filter(move |(direction, _)| {
        let is_back = Some(&direction.from) == last && Some(&direction.to) == first;
        Some(&direction.to) != last && !is_back
    })
}
