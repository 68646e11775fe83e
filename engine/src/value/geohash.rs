//! Positions on the earth as scores of a sorted set: GEOADD's 52 bits, and what searching by them needs.
//!
//! ```text
//! cell     of `step` halvings of each axis: y x y x … from the high bits down, 2 × step bits
//! score    the cell of a position at step 26, as a number below 2^52
//! axes     longitude ±180, latitude ±85.05112878 (the square of the web's Mercator maps)
//! ```
//!
//! Members whose cells at some step are equal are neighbours in the sorted set. So an area is searched in
//! the cell around its centre and the eight cells around that, at the step at which they cover it: nine
//! ranges of scores; what lies outside the area is passed over.
//!
//! The arithmetic is, operation by operation, that of Redis, since clients see its rounding. Source: the
//! GEO pages of <https://redis.io/commands/?group=geo>, and the behaviour of Redis 7.0.

use super::interleave::{EVEN, gather, spread};
use core::f64::consts::PI;
use smallvec::SmallVec;

/// Halvings of each axis in a score.
const STEP_MAX: u32 = 26;
/// The northernmost latitude.
pub const LATITUDE_MAX: f64 = 85.05112878;
/// The easternmost longitude.
pub const LONGITUDE_MAX: f64 = 180.0;

const LONGITUDES: (f64, f64) = (-LONGITUDE_MAX, LONGITUDE_MAX);
const LATITUDES: (f64, f64) = (-LATITUDE_MAX, LATITUDE_MAX);

/// The earth's quadratic mean radius in metres.
const EARTH_RADIUS: f64 = 6372797.560856;
/// Half of the equator's length on the map, in metres.
const MERCATOR_MAX: f64 = 20037726.37;

const ODD: u64 = EVEN << 1;

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// A position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Degrees east.
    pub longitude: f64,
    /// Degrees north.
    pub latitude: f64,
}

/// A square of the map: `step` halvings of each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u32,
}

/// The extent of a cell: (least, greatest).
struct Extent {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

/// A score as the integer that the processor makes of it, which scores that no GEOADD made may overflow.
fn score_bits(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let signed = |x: f64| {
        if (-HALF..HALF).contains(&x) {
            x as i64
        } else {
            i64::MIN
        }
    };
    if score < HALF {
        signed(score) as u64
    } else {
        signed(score - HALF) as u64 ^ 1 << 63
    }
}

impl Cell {
    fn of(position: Position, step: u32, longitudes: (f64, f64), latitudes: (f64, f64)) -> Cell {
        let along = |value: f64, (min, max): (f64, f64)| {
            let offset = (value - min) / (max - min);
            (offset * (1u64 << step) as f64) as u32
        };
        let y = along(position.latitude, latitudes);
        let x = along(position.longitude, longitudes);
        Cell {
            bits: spread(y) | spread(x) << 1,
            step,
        }
    }

    fn extent(self) -> Extent {
        let (y, x) = (gather(self.bits), gather(self.bits >> 1));
        let scale = (1u64 << self.step) as f64;
        let along = |n: u32, (min, max): (f64, f64)| {
            let at = |n: u32| min + (f64::from(n) / scale) * (max - min);
            (at(n), at(n.wrapping_add(1)))
        };
        Extent {
            longitude: along(x, LONGITUDES),
            latitude: along(y, LATITUDES),
        }
    }

    /// The cell that many steps east and north (−1, 0, 1) of this one, around the edges of the map.
    fn neighbour(self, east: i32, north: i32) -> Cell {
        let shift = 64 - self.step * 2;
        let moved = |bits: u64, own: u64, other: u64, by: i32| {
            let ones = other >> shift;
            let bits = match by {
                1 => bits.wrapping_add(ones + 1),
                -1 => (bits | ones).wrapping_sub(ones + 1),
                _ => return bits,
            };
            bits & (own >> shift)
        };
        let x = moved(self.bits & ODD, ODD, EVEN, east);
        let y = moved(self.bits & EVEN, EVEN, ODD, north);
        Cell {
            bits: x | y,
            step: self.step,
        }
    }

    /// The scores of the positions in the cell: from the first to before the second.
    fn scores(self) -> (f64, f64) {
        let align = |bits: u64| (bits << (52 - self.step * 2)) as f64;
        (align(self.bits), align(self.bits.wrapping_add(1)))
    }
}

/// The score of a position within the map.
pub fn encode(position: Position) -> u64 {
    Cell::of(position, STEP_MAX, LONGITUDES, LATITUDES).bits
}

/// The position that a score stands for: the centre of its cell.
pub fn decode(score: f64) -> Position {
    let cell = Cell {
        bits: score_bits(score),
        step: STEP_MAX,
    };
    let Extent {
        longitude,
        latitude,
    } = cell.extent();
    let centre = |(min, max): (f64, f64), limit: f64| ((min + max) / 2.0).min(limit).max(-limit);
    Position {
        longitude: centre(longitude, LONGITUDE_MAX),
        latitude: centre(latitude, LATITUDE_MAX),
    }
}

/// The usual geohash of a position, which has the poles in it: eleven characters, the last always `0`.
pub fn text(position: Position) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let cell = Cell::of(position, STEP_MAX, LONGITUDES, (-90.0, 90.0));
    let mut text = [b'0'; 11];
    for (i, c) in text[..10].iter_mut().enumerate() {
        *c = ALPHABET[(cell.bits >> (52 - (i + 1) * 5) & 31) as usize];
    }
    text
}

fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * libm::fabs(radians(b) - radians(a))
}

/// The distance of two positions in metres, along the great circle.
pub fn distance(a: Position, b: Position) -> f64 {
    let (lon_a, lon_b) = (radians(a.longitude), radians(b.longitude));
    let v = libm::sin((lon_b - lon_a) / 2.0);
    if v == 0.0 {
        return latitude_distance(a.latitude, b.latitude);
    }
    let (lat_a, lat_b) = (radians(a.latitude), radians(b.latitude));
    let u = libm::sin((lat_b - lat_a) / 2.0);
    let haversine = u * u + libm::cos(lat_a) * libm::cos(lat_b) * v * v;
    2.0 * EARTH_RADIUS * libm::asin(libm::sqrt(haversine))
}

/// The form of an area, in a unit of the caller's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// All within a distance.
    Circle {
        /// That distance.
        radius: f64,
    },
    /// All within half the width and half the height.
    Box {
        /// East to west.
        width: f64,
        /// North to south.
        height: f64,
    },
}

/// An area to be searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Its centre.
    pub centre: Position,
    /// Its form.
    pub form: Form,
    /// Metres to the unit of the form.
    pub unit: f64,
}

impl Area {
    /// The distance of a position from the centre in metres, if it lies in the area.
    pub fn distance(&self, position: Position) -> Option<f64> {
        match self.form {
            Form::Circle { radius } => {
                let away = distance(self.centre, position);
                // Written so that what is no number is inside, as in Redis.
                let outside = away > radius * self.unit;
                (!outside).then_some(away)
            }
            Form::Box { width, height } => {
                let (width, height) = (width * self.unit, height * self.unit);
                let north = latitude_distance(position.latitude, self.centre.latitude);
                if north > height / 2.0 {
                    return None;
                }
                let same_latitude = Position {
                    latitude: position.latitude,
                    ..self.centre
                };
                if distance(position, same_latitude) > width / 2.0 {
                    return None;
                }
                Some(distance(self.centre, position))
            }
        }
    }

    /// The area's extent on the map, more or less.
    fn extent(&self) -> Extent {
        let (width, height) = match self.form {
            Form::Circle { radius } => (radius, radius),
            Form::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width, height) = (self.unit * width, self.unit * height);
        let Position {
            longitude,
            latitude,
        } = self.centre;
        let north = degrees(height / EARTH_RADIUS);
        // The edge nearer to the pole is the longer one in degrees.
        let widest = if latitude < 0.0 {
            latitude - north
        } else {
            latitude + north
        };
        let east = degrees(width / EARTH_RADIUS / libm::cos(radians(widest)));
        Extent {
            longitude: (longitude - east, longitude + east),
            latitude: (latitude - north, latitude + north),
        }
    }

    /// How often to halve the map so that nine cells are likely to cover the area.
    fn estimated_step(&self) -> u32 {
        let mut metres = match self.form {
            Form::Circle { radius } => radius,
            Form::Box { width, height } => {
                libm::sqrt((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0))
            }
        } * self.unit;
        if metres == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while metres < MERCATOR_MAX {
            metres *= 2.0;
            step += 1;
        }
        step -= 2;
        // Cells are narrower near the poles.
        let latitude = self.centre.latitude;
        if !(-66.0..=66.0).contains(&latitude) {
            step -= 1;
            if !(-80.0..=80.0).contains(&latitude) {
                step -= 1;
            }
        }
        step.clamp(1, STEP_MAX as i32) as u32
    }

    /// The ranges of scores in which the area's positions are, each from the first score to before the
    /// second, in the order in which they are to be searched.
    pub fn ranges(&self) -> SmallVec<[(f64, f64); 9]> {
        let wanted = self.extent();
        let cell_at = |step| Cell::of(self.centre, step, LONGITUDES, LATITUDES);
        let mut cell = cell_at(self.estimated_step());
        let reaches = |east, north| cell.neighbour(east, north).extent();
        let too_small = reaches(0, 1).latitude.1 < wanted.latitude.1
            || reaches(0, -1).latitude.0 > wanted.latitude.0
            || reaches(1, 0).longitude.1 < wanted.longitude.1
            || reaches(-1, 0).longitude.0 > wanted.longitude.0;
        if cell.step > 1 && too_small {
            cell = cell_at(cell.step - 1);
        }
        let here = cell.extent();
        // On which sides the middle cell reaches beyond the area, so that no more is needed there.
        let beyond = |east: i32, north: i32| {
            cell.step >= 2
                && ((north < 0 && here.latitude.0 < wanted.latitude.0)
                    || (north > 0 && here.latitude.1 > wanted.latitude.1)
                    || (east < 0 && here.longitude.0 < wanted.longitude.0)
                    || (east > 0 && here.longitude.1 > wanted.longitude.1))
        };
        const ORDER: [(i32, i32); 9] = [
            (0, 0),
            (0, 1),
            (0, -1),
            (1, 0),
            (-1, 0),
            (1, 1),
            (-1, 1),
            (1, -1),
            (-1, -1),
        ];
        let mut ranges = SmallVec::new();
        let mut last = None;
        for (i, (east, north)) in ORDER.into_iter().enumerate() {
            let next = cell.neighbour(east, north);
            // Around a small map a cell is its own neighbour; Redis looks no further back than this.
            if beyond(east, north) || last == Some(next) {
                continue;
            }
            ranges.push(next.scores());
            last = (i > 0).then_some(next);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position {
            longitude,
            latitude,
        }
    }

    /// The values of Redis's documentation and of Redis 7.0.15.
    #[test]
    fn palermo_and_catania() {
        let palermo = at(13.361389, 38.115556);
        let catania = at(15.087269, 37.502669);
        assert_eq!(encode(palermo), 3479099956230698);
        assert_eq!(encode(catania), 3479447370796909);
        assert_eq!(&text(decode(3479099956230698.0)), b"sqc8b49rny0");
        assert_eq!(&text(decode(3479447370796909.0)), b"sqdtr74hyu0");
        let away = distance(decode(3479099956230698.0), decode(3479447370796909.0));
        assert!((away - 166274.1516).abs() < 0.0001, "{away}");
    }

    #[test]
    fn scores_of_any_origin_are_positions() {
        for score in [
            0.0,
            -1.0,
            -0.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e300,
            -1e300,
            1e19,
            5e18,
        ] {
            let Position {
                longitude,
                latitude,
            } = decode(score);
            assert!((-180.0..=180.0).contains(&longitude), "{score}");
            assert!(
                (-LATITUDE_MAX..=LATITUDE_MAX).contains(&latitude),
                "{score}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_position_comes_back(longitude in -180.0f64..180.0, latitude in -85.05f64..85.05) {
            let back = decode(encode(at(longitude, latitude)) as f64);
            prop_assert!((back.longitude - longitude).abs() < 1e-5);
            prop_assert!((back.latitude - latitude).abs() < 1e-5);
        }

        /// What lies in an area that does not cross the edge of the map is found in its ranges.
        #[test]
        fn ranges_cover_the_area(
            longitude in -120.0f64..120.0, latitude in -60.0f64..60.0, radius in 1.0f64..1_000_000.0,
            boxed: bool, turn in 0.0f64..6.3, part in 0.0f64..1.0,
        ) {
            let form = if boxed {
                Form::Box { width: radius, height: radius / 3.0 }
            } else {
                Form::Circle { radius }
            };
            let area = Area { centre: at(longitude, latitude), form, unit: 1.0 };
            let reach = degrees(radius * part / EARTH_RADIUS);
            let other = at(longitude + reach * libm::cos(turn), latitude + reach * libm::sin(turn));
            let score = encode(other) as f64;
            if area.distance(decode(score)).is_some() {
                prop_assert!(area.ranges().iter().any(|(min, max)| *min <= score && score < *max));
            }
        }
    }
}
