//! One moment of the demonstration, as data. The live view, the plain lines and the JSON all show this.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::board::Board;
use super::cluster::Cluster;

/// What is going on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub(super) enum Phase {
    /// All connected.
    Writing,
    /// One is cut off from all others.
    Cut { datacenter: &'static str },
    /// It is connected again and catches up.
    Healed { datacenter: &'static str },
    /// Nobody writes any more.
    Settling,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) event: &'static str,
    pub(super) elapsed_s: f64,
    #[serde(flatten)]
    pub(super) phase: Phase,
    pub(super) datacenters: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) datacenter: &'static str,
    pub(super) writes_per_s: f64,
    pub(super) writes: usize,
    pub(super) documents: usize,
    pub(super) behind: Vec<Behind>,
}

/// How far a datacenter is behind another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Behind {
    pub(super) datacenter: &'static str,
    /// False while the link between them is cut.
    pub(super) linked: bool,
    pub(super) missing_writes: usize,
    /// Age of the oldest write that is missing; with none missing, the usual lag (median).
    pub(super) lag_ms: f64,
}

/// Takes samples, and rates between them.
pub(super) struct Sampler {
    started: Instant,
    before: Option<(Instant, Vec<usize>)>,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            before: None,
        }
    }

    pub(super) fn take(&mut self, cluster: &Cluster, board: &Board, phase: &Phase) -> Sample {
        let now = Instant::now();
        let standings = board.standings();
        let written: Vec<usize> = standings.iter().map(|standing| standing.written).collect();
        let rate = |at: usize| match &self.before {
            Some((then, before)) => {
                let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
                written[at].saturating_sub(before[at]) as f64 / seconds
            }
            None => 0.0,
        };
        let name = |at: usize| cluster.datacenters[at].city.name;
        let rows = standings.iter().enumerate().map(|(there, standing)| Row {
            datacenter: name(there),
            writes_per_s: rate(there),
            writes: standing.written,
            documents: standing.documents,
            behind: (0..standings.len())
                .filter(|from| *from != there)
                .map(|from| {
                    let (missing_writes, age) = standing.behind[from];
                    let linked = !cluster.is_cut(there, from);
                    let usual = board.lag(there, from, 50).unwrap_or_default();
                    let lag = if missing_writes == 0 || linked && age < usual {
                        usual
                    } else {
                        age
                    };
                    Behind {
                        datacenter: name(from),
                        linked,
                        missing_writes,
                        lag_ms: milliseconds(lag),
                    }
                })
                .collect(),
        });
        let sample = Sample {
            event: "sample",
            elapsed_s: (now.duration_since(self.started).as_secs_f64() * 10.0).round() / 10.0,
            phase: phase.clone(),
            datacenters: rows.collect(),
        };
        self.before = Some((now, written));
        sample
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
