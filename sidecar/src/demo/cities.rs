//! Where the demonstration's datacenters stand, and how far apart that is.

use std::time::Duration;

/// A city with its place on the globe, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct City {
    pub(super) name: &'static str,
    latitude: f64,
    longitude: f64,
}

const fn city(name: &'static str, latitude: f64, longitude: f64) -> City {
    City {
        name,
        latitude,
        longitude,
    }
}

/// The first so many of these take part.
pub(super) const CITIES: [City; 8] = [
    city("Frankfurt", 50.1, 8.7),
    city("Virginia", 39.0, -77.5),
    city("Singapore", 1.3, 103.8),
    city("São Paulo", -23.5, -46.6),
    city("Sydney", -33.9, 151.2),
    city("Oregon", 45.8, -119.7),
    city("Mumbai", 19.1, 72.9),
    city("Tokyo", 35.7, 139.7),
];

const EARTH_RADIUS_KM: f64 = 6_371.0;
/// Light in glass does 200 km in a millisecond; cables run about 1.4 times the great circle.
const KM_PER_MS: f64 = 200.0 / 1.4;

impl City {
    /// How long a packet takes from one to the other, by the length of the great circle.
    pub(super) fn one_way(&self, other: &Self) -> Duration {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let between = (self.longitude - other.longitude).to_radians();
        let haversine =
            ((a - b) / 2.0).sin().powi(2) + a.cos() * b.cos() * (between / 2.0).sin().powi(2);
        let km = 2.0 * EARTH_RADIUS_KM * haversine.sqrt().asin();
        Duration::from_secs_f64((km / KM_PER_MS).round().max(1.0) / 1_000.0)
    }

    /// The name as it stands in paths and certificates.
    pub(super) fn slug(&self) -> String {
        let plain = self.name.to_lowercase().replace('ã', "a");
        plain.replace(' ', "-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let [frankfurt, virginia, singapore, ..] = CITIES;
        assert_eq!(frankfurt.one_way(&virginia).as_millis(), 46);
        assert_eq!(virginia.one_way(&frankfurt), frankfurt.one_way(&virginia));
        assert!(virginia.one_way(&singapore) > Duration::from_millis(100));
    }

    #[test]
    fn slugs_are_plain() {
        assert!(CITIES.iter().all(|city| city.slug().is_ascii()));
    }
}
