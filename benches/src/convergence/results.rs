//! What a run has found, as it goes into its JSON file.

use serde::Serialize;

/// Points of a curve, at most.
const POINTS_MAX: usize = 160;

/// A whole run.
#[derive(Serialize)]
pub(crate) struct Results {
    /// Seconds since 1970.
    pub(crate) made_at_s: u64,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// What lay between the datacenters.
    pub(crate) network: &'static str,
    /// What counts as a byte on the wire.
    pub(crate) bytes_are: &'static str,
    pub(crate) goals: Vec<Goal>,
    pub(crate) topologies: Vec<TopologyResults>,
}

#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    /// The load average over a minute, when it began: what else was going on.
    pub(crate) load_before: String,
}

/// One of the project's goals, and what was found.
#[derive(Serialize, Clone)]
pub(crate) struct Goal {
    pub(crate) topology: String,
    pub(crate) phase: String,
    pub(crate) what: String,
    pub(crate) limit: f64,
    pub(crate) found: f64,
    pub(crate) unit: &'static str,
    pub(crate) met: bool,
}

#[derive(Serialize)]
pub(crate) struct TopologyResults {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) regions: Vec<String>,
    /// As asked for.
    pub(crate) round_trips_ms: Vec<Vec<f64>>,
    /// As QUIC has measured them on the nodes' own links.
    pub(crate) links: Vec<LinkResult>,
    pub(crate) phases: Vec<Phase>,
    /// Warnings and errors in the nodes' logs, the first few of each.
    pub(crate) complaints: Vec<String>,
    /// Why it ended before its time.
    pub(crate) failed: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct LinkResult {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) round_trip_ms: f64,
}

/// A part of a run. What it has depends on its kind.
#[derive(Serialize)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) load: Option<LoadResults>,
    pub(crate) quiet: Option<Quiet>,
    pub(crate) catch_up: Option<CatchUp>,
}

/// What writes found.
#[derive(Serialize)]
pub(crate) struct LoadResults {
    pub(crate) writes: u64,
    pub(crate) refused: u64,
    pub(crate) refusal: Option<String>,
    /// From the first write until the last was visible everywhere.
    pub(crate) seconds: f64,
    /// Writes per second at each datacenter that writes, while it wrote.
    pub(crate) writes_per_s: Vec<f64>,
    /// From the call to the answer.
    pub(crate) answer_ms: Quantiles,
    /// How late clients were to send what was due.
    pub(crate) late_ms: Quantiles,
    /// Lag less the one-way delay, all directions together.
    pub(crate) over_one_way_ms: Quantiles,
    /// The same of what was called in each second.
    pub(crate) over_one_way_by_second: Vec<Quantiles>,
    pub(crate) directions: Vec<Direction>,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_write_and_replica: f64,
    pub(crate) cpu: Cpu,
}

#[derive(Serialize)]
pub(crate) struct Direction {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) one_way_ms: f64,
    /// Bare datagrams over the same way, in the same seconds.
    pub(crate) floor_ms: Quantiles,
    /// From the call to visible there.
    pub(crate) lag_ms: Quantiles,
    pub(crate) bytes: u64,
}

/// Shares of one core over the phase; 2 is two cores.
#[derive(Serialize)]
pub(crate) struct Cpu {
    pub(crate) nodes: Vec<f64>,
    /// This program: clients, readers, and relays if there are any.
    pub(crate) harness: f64,
    /// Its busiest thread of clients: near 1 it would be what is measured.
    pub(crate) clients_busiest: f64,
    /// The WAN tool, if it is used.
    pub(crate) wan: Option<f64>,
    /// What nobody used of all of them together.
    pub(crate) idle: f64,
    /// What the machine below took away: with more than a little of it, this was measured on less than it seems.
    pub(crate) stolen: f64,
    /// How long a fixed piece of work took just before: to tell runs in fast and in slow hours apart.
    pub(crate) pace_ms: f64,
}

#[derive(Serialize)]
pub(crate) struct Quiet {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_minute: f64,
    pub(crate) links: usize,
}

/// One datacenter getting what it lacks.
#[derive(Serialize)]
pub(crate) struct CatchUp {
    pub(crate) datacenter: String,
    pub(crate) documents: u64,
    pub(crate) round_trip_ms: f64,
    /// Visible there, in ms since the cut was healed, or since the new replica's process was begun.
    pub(crate) first_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) last_ms: f64,
    /// Both ways, until the last was there.
    pub(crate) bytes: u64,
    pub(crate) bytes_per_document: f64,
    /// (ms, documents)
    pub(crate) curve: Vec<(f64, f64)>,
    /// What writes at the others took, before and meanwhile.
    pub(crate) foreground: Option<Foreground>,
    /// Whether nodes still took their links to it for up when the cut was healed.
    pub(crate) links_up: Option<bool>,
}

#[derive(Serialize)]
pub(crate) struct Foreground {
    pub(crate) writes_per_s: f64,
    pub(crate) before_ms: Quantiles,
    pub(crate) meanwhile_ms: Quantiles,
}

/// How numbers are spread.
#[derive(Serialize, Clone, Default)]
pub(crate) struct Quantiles {
    pub(crate) count: usize,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// (value, share of all that are at most that); left out where nobody draws it
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cdf: Vec<(f64, f64)>,
}

impl Quantiles {
    /// Of milliseconds, to the microsecond: clocks are no better.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Self {
        for number in &mut numbers {
            *number = rounded(*number, 1e3);
        }
        numbers.sort_unstable_by(f64::total_cmp);
        let (Some(min), Some(max)) = (numbers.first(), numbers.last()) else {
            return Self::default();
        };
        // The n-th of the thousand, rounded to the rank at or above it.
        let at = |per_mille: usize| {
            let rank = (numbers.len() * per_mille).div_ceil(1_000).max(1);
            numbers[rank - 1]
        };
        let all = numbers.len();
        Self {
            count: all,
            min: *min,
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p999: at(999),
            max: *max,
            cdf: ranks(all)
                .map(|rank| (numbers[rank - 1], rounded(rank as f64 / all as f64, 1e5)))
                .collect(),
        }
    }

    /// The same without its curve.
    pub(crate) fn in_short(numbers: Vec<f64>) -> Self {
        Self {
            cdf: Vec::new(),
            ..Self::of(numbers)
        }
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Some ranks of so many, the first and last among them, closer to each other at the far end: that is where it matters.
fn ranks(all: usize) -> impl Iterator<Item = usize> {
    let steps = POINTS_MAX.min(all);
    let mut last = 0;
    (0..steps).filter_map(move |step| {
        let left = 1.0 - step as f64 / (steps - 1).max(1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank"
        )]
        let rank = (all as f64 * (1.0 - left * left)).round() as usize;
        let rank = rank.clamp(1, all);
        let is_new = rank > last;
        last = rank;
        is_new.then_some(rank)
    })
}

/// Of a curve that only rises, as many points as are of use.
pub(crate) fn thinned(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = curve.len().div_ceil(POINTS_MAX).max(1);
    let mut points: Vec<_> = curve.iter().step_by(step).copied().collect();
    if let Some(last) = curve.last()
        && points.last() != Some(last)
    {
        points.push(*last);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_numbers() {
        let quantiles = Quantiles::of((1..=1_000).rev().map(f64::from).collect());
        let found = [
            quantiles.min,
            quantiles.p50,
            quantiles.p90,
            quantiles.p99,
            quantiles.p999,
            quantiles.max,
        ];
        assert_eq!(found, [1.0, 500.0, 900.0, 990.0, 999.0, 1_000.0]);
        let cdf = &quantiles.cdf;
        assert!(cdf.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
        assert!(cdf.len() <= POINTS_MAX && cdf.len() > POINTS_MAX / 2);
        assert_eq!((cdf[0].0, cdf[cdf.len() - 1]), (1.0, (1_000.0, 1.0)));
    }

    #[test]
    fn few_numbers_and_none_are_no_trouble() {
        assert_eq!(Quantiles::of(Vec::new()).count, 0);
        let one = Quantiles::of(vec![7.0]);
        assert_eq!((one.p50, one.p999, one.cdf), (7.0, 7.0, vec![(7.0, 1.0)]));
        let two = Quantiles::of(vec![9.0, 1.0]);
        assert_eq!((two.p50, two.p99), (1.0, 9.0));
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends() {
        let curve: Vec<(f64, f64)> = (0..10_000).map(|n| (f64::from(n), f64::from(n))).collect();
        let thin = thinned(&curve);
        assert!(thin.len() <= POINTS_MAX + 1);
        assert_eq!((thin[0], thin[thin.len() - 1]), (curve[0], curve[9_999]));
        assert!(thinned(&[]).is_empty());
    }
}
