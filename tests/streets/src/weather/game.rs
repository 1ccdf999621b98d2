//! A sunny game: saturated paint, light in steps, dark outlines, bloom, a clean sensor.

use crate::rng::SceneRng;
use crate::vector::{paint, v3};
use crate::weather::{Atmosphere, sun_at};

pub fn atmosphere(rng: &mut SceneRng) -> Atmosphere {
    let dusk = rng.chance(0.3);
    let side = rng.pick(&[-1.0, 1.0]);
    let azimuth = side * rng.within(0.5, 2.6);
    let horizon = if dusk {
        paint(1.0, 0.72, 0.48)
    } else {
        paint(0.72, 0.90, 0.99)
    };
    Atmosphere {
        sun_at: sun_at(if dusk { 0.3 } else { rng.within(0.5, 0.9) }, azimuth),
        sun: if dusk {
            v3(2.1, 1.30, 0.72)
        } else {
            v3(2.2, 2.05, 1.75)
        },
        ambient: if dusk {
            v3(0.46, 0.42, 0.60)
        } else {
            v3(0.44, 0.54, 0.72)
        },
        zenith: if dusk {
            paint(0.35, 0.38, 0.72)
        } else {
            paint(0.16, 0.46, 0.92)
        },
        horizon,
        cloud: rng.within(0.15, 0.5),
        cloud_colour: if dusk {
            paint(1.0, 0.80, 0.70)
        } else {
            paint(1.0, 1.0, 1.0)
        },
        haze: 0.0014,
        haze_colour: horizon * 0.9,
        wet: 0.0,
        snow: 0.0,
        lamps: if dusk { 0.3 } else { 0.0 },
        exposure: 1.08,
        saturation: 1.45,
        tint: v3(1.02, 1.0, 0.98),
        grain: 0.0,
        vignette: 0.1,
        bloom: 0.16,
        streaks: 0.0,
        drops: 0.0,
        flakes: 0.0,
        cel: true,
        salt: rng.salt(),
    }
}
