//! Dry days of every hour and cloudiness, taken with a car's camera.

use crate::rng::SceneRng;
use crate::vector::{paint, v3};
use crate::weather::{Atmosphere, sun_at};

pub fn atmosphere(rng: &mut SceneRng) -> Atmosphere {
    let overcast = rng.chance(0.35);
    let low = rng.chance(0.3);
    let elevation = if low {
        rng.within(0.22, 0.4)
    } else {
        rng.within(0.5, 1.0)
    };
    let side = rng.pick(&[-1.0, 1.0]);
    let azimuth = side * rng.within(0.6, 2.9);
    let warm = if low {
        v3(1.0, 0.78, 0.52)
    } else {
        v3(1.0, 0.95, 0.86)
    };
    let strength = if overcast { 0.12 } else { rng.within(1.5, 2.1) };
    let zenith = if overcast {
        paint(0.74, 0.77, 0.80)
    } else {
        paint(0.38, 0.56, 0.80)
    };
    let horizon = if overcast {
        paint(0.88, 0.89, 0.90)
    } else if low {
        paint(0.95, 0.88, 0.78)
    } else {
        paint(0.80, 0.88, 0.94)
    };
    Atmosphere {
        sun_at: sun_at(elevation, azimuth),
        sun: warm * strength,
        ambient: if overcast {
            v3(0.92, 0.95, 0.98)
        } else {
            v3(0.52, 0.60, 0.70)
        },
        zenith,
        horizon,
        cloud: if overcast { 0.75 } else { rng.within(0.1, 0.7) },
        cloud_colour: if overcast {
            paint(0.86, 0.87, 0.88)
        } else {
            paint(0.98, 0.97, 0.96)
        },
        haze: rng.within(0.0008, 0.002),
        haze_colour: horizon * 0.85,
        wet: 0.0,
        snow: 0.0,
        lamps: 0.0,
        exposure: rng.within(1.0, 1.3),
        saturation: rng.within(0.85, 1.0),
        tint: v3(0.97, 1.0, 0.96),
        grain: 0.012,
        vignette: 0.25,
        bloom: 0.04,
        streaks: 0.0,
        drops: 0.0,
        flakes: 0.0,
        cel: false,
        salt: rng.salt(),
    }
}
