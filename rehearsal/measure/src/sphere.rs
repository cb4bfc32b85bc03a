//! How long light needs through fibre between two places, in integers.
//!
//! Angles and their cosines are fixed-point numbers, so that two machines agree about a round trip at the
//! very bound. The sphere has the smallest radius of curvature of the Earth, which makes every distance a
//! little too short: the bound accuses nobody wrongly.

/// One, in fixed point.
const ONE: i128 = 1_000_000_000_000_000;
/// Pi, in fixed point.
const PI: i128 = 3_141_592_653_589_793;
/// In millimetres: the meridian's radius of curvature at the equator.
const RADIUS_MM: i128 = 6_335_400_000;
/// Light in a vacuum over a refractive index of 1.4682, in millimetres a microsecond.
const FIBRE_MM_PER_US: i128 = 204_190;

/// A place on Earth, in millionths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From -90,000,000 to 90,000,000, north positive.
    pub latitude_udeg: i64,
    /// From -180,000,000 to 180,000,000, east positive.
    pub longitude_udeg: i64,
}

impl Place {
    /// From degrees, to the nearest millionth; outside of the range they are drawn to its end.
    pub fn from_degrees(latitude: f64, longitude: f64) -> Self {
        Self {
            latitude_udeg: (latitude.clamp(-90.0, 90.0) * 1e6).round() as i64,
            longitude_udeg: (longitude.clamp(-180.0, 180.0) * 1e6).round() as i64,
        }
    }
}

/// The least round-trip time over fibre along the great circle, rounded down to microseconds.
pub fn fibre_bound_us(one: Place, other: Place) -> u64 {
    let (lat_one, lat_other) = (radians(one.latitude_udeg), radians(other.latitude_udeg));
    let apart = radians(one.longitude_udeg) - radians(other.longitude_udeg);
    let dot = multiply(multiply(cosine(lat_one), cosine(lat_other)), cosine(apart))
        + multiply(sine(lat_one), sine(lat_other));
    // The largest angle, in billionths, whose cosine is not below the product.
    let (mut low, mut high) = (0, PI / 1_000_000);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if cosine(middle * 1_000_000) >= dot {
            low = middle;
        } else {
            high = middle;
        }
    }
    let distance_mm = low * RADIUS_MM / 1_000_000_000;
    u64::try_from(2 * distance_mm / FIBRE_MM_PER_US).unwrap_or(0)
}

fn radians(udeg: i64) -> i128 {
    i128::from(udeg) * PI / 180_000_000
}

fn multiply(a: i128, b: i128) -> i128 {
    a * b / ONE
}

fn sine(x: i128) -> i128 {
    cosine(PI / 2 - x)
}

/// Taylor's series, after bringing the angle between minus and plus pi.
fn cosine(x: i128) -> i128 {
    let mut x = x % (2 * PI);
    if x > PI {
        x -= 2 * PI;
    } else if x < -PI {
        x += 2 * PI;
    }
    let square = multiply(x, x);
    let (mut term, mut sum) = (ONE, ONE);
    for k in 1..=18 {
        term = -multiply(term, square) / ((2 * k - 1) * 2 * k);
        sum += term;
    }
    sum.clamp(-ONE, ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: (f64, f64), other: (f64, f64), least_ms: u64, most_ms: u64) {
        let (one, other) =
            (Place::from_degrees(one.0, one.1), Place::from_degrees(other.0, other.1));
        let us = fibre_bound_us(one, other);
        assert_eq!(us, fibre_bound_us(other, one));
        assert!((least_ms * 1_000..=most_ms * 1_000).contains(&us), "{us} us");
    }

    #[test]
    fn known_distances() {
        let (frankfurt, virginia) = ((50.11, 8.68), (38.95, -77.45));
        let (tokyo, sydney) = ((35.68, 139.69), (-33.87, 151.21));
        check(frankfurt, virginia, 63, 65); // 6,550 km
        check(frankfurt, tokyo, 90, 92); // 9,340 km
        check(tokyo, sydney, 75, 77); // 7,820 km
        check((0.0, 179.5), (0.0, -179.5), 1, 2); // over the date line: 111 km
        check((0.0, 0.0), (0.0, 180.0), 194, 195); // half around
        check((90.0, 0.0), (-90.0, 77.0), 194, 195);
        check(tokyo, tokyo, 0, 0);
    }

    #[test]
    fn cosines_match_the_floating_ones() {
        for i in -700..700 {
            let x = f64::from(i) / 100.0;
            let error = cosine((x * 1e15) as i128) as f64 / 1e15 - x.cos();
            assert!(error.abs() < 1e-13, "{x}: {error}");
        }
    }
}
