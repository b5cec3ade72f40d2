//! Where the datacenters stand, and how far apart that is.

use clap::ValueEnum;

/// Regions of public clouds. The first three, five or all ten take part.
const REGIONS: [&str; 10] = [
    "eu-west",
    "us-east",
    "ap-southeast",
    "us-west",
    "ap-northeast",
    "sa-east",
    "ap-south",
    "au-east",
    "eu-central",
    "ca-central",
];

/// Round trips in ms of each region to those before it: typical public figures, rounded, between Ireland, Virginia,
/// Singapore, Oregon, Tokyo, São Paulo, Mumbai, Sydney, Frankfurt and Montreal. Tables that are measured all the time
/// stand at <https://www.cloudping.co> (AWS) and
/// <https://learn.microsoft.com/azure/networking/azure-network-latency> (Azure). They differ by some per cent between
/// providers and years, which is of no matter here: what is measured is what we add.
const ROUND_TRIPS_MS: [&[f64]; 10] = [
    &[],
    &[68.0],
    &[175.0, 215.0],
    &[120.0, 66.0, 165.0],
    &[205.0, 148.0, 69.0, 98.0],
    &[177.0, 113.0, 325.0, 175.0, 256.0],
    &[122.0, 190.0, 62.0, 220.0, 126.0, 300.0],
    &[255.0, 198.0, 92.0, 140.0, 107.0, 311.0, 150.0],
    &[25.0, 92.0, 160.0, 142.0, 225.0, 203.0, 122.0, 248.0],
    &[68.0, 15.0, 212.0, 60.0, 144.0, 124.0, 190.0, 197.0, 92.0],
];

/// The fixed one, by which earlier figures and those of other systems were taken.
const ANCHORS: [&str; 3] = ["a", "b", "c"];
const ANCHORS_MS: [&[f64]; 3] = [&[], &[40.0], &[80.0, 120.0]];

/// From the new replica to everybody, where there are distances at all.
const NEWCOMER_MS: f64 = 60.0;

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Named {
    /// Three, one-way 20 ms from the first to the second, 40 ms to the third, 60 ms between those
    Anchors,
    /// Three on three continents
    Three,
    /// Five
    Five,
    /// Ten
    Ten,
    /// Three without any distance
    Loopback,
}

/// Datacenters and the distances between them.
#[derive(Clone)]
pub(crate) struct Topology {
    pub(crate) named: Named,
    pub(crate) title: String,
    pub(crate) regions: Vec<&'static str>,
    round_trips_ms: &'static [&'static [f64]],
}

impl Topology {
    pub(crate) fn new(named: Named) -> Self {
        let (title, regions, round_trips_ms): (_, &[&'static str], &'static [&'static [f64]]) =
            match named {
                Named::Anchors => (
                    "Three datacenters, one-way 20, 40 and 60 ms".to_owned(),
                    &ANCHORS,
                    &ANCHORS_MS,
                ),
                Named::Three => (of("Three"), &REGIONS[..3], &ROUND_TRIPS_MS),
                Named::Five => (of("Five"), &REGIONS[..5], &ROUND_TRIPS_MS),
                Named::Ten => (of("Ten"), &REGIONS, &ROUND_TRIPS_MS),
                Named::Loopback => ("Three datacenters, no distance".to_owned(), &ANCHORS, &[]),
            };
        Self {
            named,
            title,
            regions: regions.to_vec(),
            round_trips_ms,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.regions.len()
    }

    /// Between two; one past the last is the new replica.
    pub(crate) fn round_trip_ms(&self, a: usize, b: usize) -> f64 {
        let (near, far) = (a.min(b), a.max(b));
        if near == far || self.round_trips_ms.is_empty() {
            return 0.0;
        }
        if far == self.len() {
            return NEWCOMER_MS;
        }
        self.round_trips_ms[far][near]
    }

    pub(crate) fn one_way_ms(&self, a: usize, b: usize) -> f64 {
        self.round_trip_ms(a, b) / 2.0
    }

    /// All directions between two of them.
    pub(crate) fn directions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let all = self.len();
        (0..all).flat_map(move |from| {
            let others = (0..all).filter(move |to| *to != from);
            others.map(move |to| (from, to))
        })
    }
}

fn of(count: &str) -> String {
    format!("{count} regions of a public cloud")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distance_is_there_and_the_same_both_ways() {
        for named in Named::value_variants() {
            let topology = Topology::new(*named);
            let directions: Vec<_> = topology.directions().collect();
            assert_eq!(directions.len(), topology.len() * (topology.len() - 1));
            for (a, b) in directions {
                let there = topology.round_trip_ms(a, b);
                assert!((there - topology.round_trip_ms(b, a)).abs() < f64::EPSILON);
                assert_eq!(there > 0.0, *named != Named::Loopback);
            }
        }
    }

    #[test]
    fn the_fixed_one_is_as_it_always_was() {
        let anchors = Topology::new(Named::Anchors);
        let one_ways = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| anchors.one_way_ms(a, b));
        assert_eq!(one_ways, [20.0, 40.0, 60.0]);
    }
}
