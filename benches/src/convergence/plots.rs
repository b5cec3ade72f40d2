//! Which charts a topology's results become.

use super::chart::{Axis, Chart, Mark, Rule, Series};
use super::goals;
use super::results::{CatchUp, Direction, LoadResults, Phase, Quantiles, TopologyResults};

/// What is less than this over the one-way delay is drawn as this: below it is the clock.
const LEAST_MS: f64 = 0.1;
/// Directions that still can be told apart by colour.
const COLOURED_MAX: usize = 6;

pub(crate) fn of(topology: &TopologyResults) -> Vec<Chart> {
    let mut charts = Vec::new();
    let loads: Vec<(&Phase, &LoadResults)> = topology
        .phases
        .iter()
        .filter_map(|phase| Some((phase, phase.load.as_ref()?)))
        .collect();
    if !loads.is_empty() {
        charts.push(over_one_way(&loads));
    }
    for (phase, load) in &loads {
        if !["idle", "steady"].contains(&&*phase.name) {
            continue;
        }
        if load.directions.len() <= COLOURED_MAX {
            charts.push(by_direction(phase, load));
        } else {
            charts.push(against_distance(phase, load));
        }
        if load.over_one_way_by_second.len() > 1 {
            charts.push(by_second(phase, load));
        }
    }
    if let Some(chart) = slow_link(&loads) {
        charts.push(chart);
    }
    for phase in &topology.phases {
        if let Some(catch_up) = &phase.catch_up {
            charts.push(caught_up(phase, catch_up));
        }
    }
    charts
}

fn share() -> Axis {
    Axis {
        label: "share of writes".to_owned(),
        min: 0.0,
        max: 1.0,
        is_log: false,
        ticks: &[
            (0.0, "0 %"),
            (0.25, "25 %"),
            (0.5, "50 %"),
            (0.75, "75 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
        ],
    }
}

fn over_one_way(loads: &[(&Phase, &LoadResults)]) -> Chart {
    let values = || {
        loads
            .iter()
            .flat_map(|(_, load)| load.over_one_way_ms.cdf.iter().map(|(ms, _)| *ms))
    };
    let series = loads
        .iter()
        .enumerate()
        .map(|(colour, (phase, load))| Series {
            name: phase.title.clone(),
            mark: Mark::Line,
            colour,
            points: load.over_one_way_ms.cdf.clone(),
        });
    Chart {
        title: "Lag over the one-way delay".to_owned(),
        note: "all directions together; 0 would be the speed of light".to_owned(),
        x: Axis::log("ms over the one-way delay", values(), LEAST_MS),
        y: share(),
        series: series.collect(),
        rules: Vec::new(),
        diagonal: None,
    }
}

fn name(direction: &Direction) -> String {
    format!("{} → {}", direction.from, direction.to)
}

fn by_direction(phase: &Phase, load: &LoadResults) -> Chart {
    let directions = &load.directions;
    let values = directions.iter().flat_map(|direction| {
        let lags = direction.lag_ms.cdf.iter().map(|(ms, _)| *ms);
        lags.chain([direction.floor_ms.p50])
    });
    let x = Axis::log("ms from the call to visible", values, LEAST_MS);
    let series = directions
        .iter()
        .enumerate()
        .map(|(colour, direction)| Series {
            name: name(direction),
            mark: Mark::Line,
            colour,
            points: direction.lag_ms.cdf.clone(),
        });
    let measured = directions
        .iter()
        .enumerate()
        .filter(|(_, direction)| direction.floor_ms.count > 0);
    let rules = measured.map(|(colour, direction)| Rule {
        at: direction.floor_ms.p50,
        name: "one-way floor, as measured".to_owned(),
        colour: Some(colour),
    });
    Chart {
        title: format!("Lag by direction: {}", phase.title),
        note: "dotted: what a bare datagram took over the same way".to_owned(),
        series: series.collect(),
        rules: rules.collect(),
        x,
        y: share(),
        diagonal: None,
    }
}

fn by_second(phase: &Phase, load: &LoadResults) -> Chart {
    let seconds = &load.over_one_way_by_second;
    let line = |name: &str, colour, of: fn(&Quantiles) -> f64| Series {
        name: name.to_owned(),
        mark: Mark::Line,
        colour,
        points: (0..).map(f64::from).zip(seconds.iter().map(of)).collect(),
    };
    let values = || seconds.iter().flat_map(|second| [second.p50, second.p99]);
    Chart {
        title: format!(
            "Lag over the one-way delay, second by second: {}",
            phase.title
        ),
        note: "of what was called in that second, all directions together".to_owned(),
        x: Axis::linear("s", (seconds.len() - 1) as f64),
        y: Axis::log("ms over the one-way delay", values(), LEAST_MS),
        series: vec![line("p50", 0, |of| of.p50), line("p99", 1, |of| of.p99)],
        rules: Vec::new(),
        diagonal: None,
    }
}

fn against_distance(phase: &Phase, load: &LoadResults) -> Chart {
    let directions = &load.directions;
    let farthest = directions
        .iter()
        .map(|direction| direction.one_way_ms)
        .fold(0.0, f64::max);
    let latest = directions
        .iter()
        .map(|direction| direction.lag_ms.p99)
        .fold(farthest, f64::max);
    let points = |lag: fn(&Direction) -> f64| {
        directions
            .iter()
            .map(move |direction| (direction.one_way_ms, lag(direction)))
    };
    Chart {
        title: format!("Lag against distance: {}", phase.title),
        note: format!("{} directions, each a point", directions.len()),
        x: Axis::linear("one-way delay, ms", farthest),
        y: Axis::linear("lag, ms", latest),
        series: vec![
            Series {
                name: "p50".to_owned(),
                mark: Mark::Dots,
                colour: 0,
                points: points(|direction| direction.lag_ms.p50).collect(),
            },
            Series {
                name: "p99".to_owned(),
                mark: Mark::Rings,
                colour: 1,
                points: points(|direction| direction.lag_ms.p99).collect(),
            },
        ],
        rules: Vec::new(),
        diagonal: Some("the one-way delay".to_owned()),
    }
}

/// The others while one link is slow, beside the same directions before.
fn slow_link(loads: &[(&Phase, &LoadResults)]) -> Option<Chart> {
    let find = |name: &str| {
        loads
            .iter()
            .find(|(phase, _)| phase.name == name)
            .map(|(_, load)| *load)
    };
    let (with, without) = (find("slow")?, find("slow-without")?);
    let mut series = Vec::new();
    for (colour, (slow, fast)) in goals::apart_from_the_slow_link(with, without).enumerate() {
        for (direction, when, colour) in [
            (fast, "before", colour + COLOURED_MAX),
            (slow, "meanwhile", colour),
        ] {
            series.push(Series {
                name: format!("{}, {when}", name(direction)),
                mark: Mark::Line,
                colour,
                points: direction.lag_ms.cdf.clone(),
            });
        }
    }
    let values = series
        .iter()
        .flat_map(|series| series.points.iter().map(|(ms, _)| *ms));
    Some(Chart {
        title: "The others, while one link is slow".to_owned(),
        note: "directions that neither use that link nor end behind it".to_owned(),
        x: Axis::log("ms from the call to visible", values, LEAST_MS),
        y: share(),
        series,
        rules: Vec::new(),
        diagonal: None,
    })
}

fn caught_up(phase: &Phase, catch_up: &CatchUp) -> Chart {
    let end = catch_up.curve.last().copied().unwrap_or_default();
    let is_heal = catch_up.foreground.is_none();
    let goal = is_heal.then(|| goals::heal_ms(catch_up.round_trip_ms));
    let mut points = vec![(0.0, 0.0)];
    points.extend(&catch_up.curve);
    let since = if is_heal {
        "the cut was healed"
    } else {
        "its process was started"
    };
    Chart {
        title: format!("{}: what is there, over time", phase.title),
        note: format!("at {}, since {since}", catch_up.datacenter),
        x: Axis::linear("ms", goal.unwrap_or_default().max(end.0)),
        y: Axis::linear(if is_heal { "documents" } else { "changes" }, end.1),
        series: vec![Series {
            name: "visible".to_owned(),
            mark: Mark::Steps,
            colour: 0,
            points,
        }],
        rules: goal
            .map(|at| Rule {
                at,
                name: "goal: two round trips and a second".to_owned(),
                colour: None,
            })
            .into_iter()
            .collect(),
        diagonal: None,
    }
}
