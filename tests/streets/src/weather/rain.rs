//! Rain: grey light, a road that mirrors, streaks in the air and drops on the lens.

use crate::rng::SceneRng;
use crate::vector::{paint, v3};
use crate::weather::{Atmosphere, sun_at};

pub fn atmosphere(rng: &mut SceneRng) -> Atmosphere {
    let grey = rng.within(0.58, 0.74);
    let air = paint(grey, grey + 0.015, grey + 0.03);
    Atmosphere {
        sun_at: sun_at(0.9, rng.within(-2.5, 2.5)),
        sun: v3(0.04, 0.04, 0.04),
        ambient: v3(0.46, 0.49, 0.53),
        zenith: air * 0.75,
        horizon: air,
        cloud: 0.8,
        cloud_colour: air * 0.9,
        haze: rng.within(0.006, 0.012),
        haze_colour: air * 0.9,
        wet: 1.0,
        snow: 0.0,
        lamps: rng.within(0.15, 0.35),
        exposure: 1.1,
        saturation: 0.78,
        tint: v3(0.97, 0.99, 1.02),
        grain: 0.014,
        vignette: 0.3,
        bloom: 0.10,
        streaks: rng.within(0.5, 1.0),
        drops: rng.within(0.3, 1.0),
        flakes: 0.0,
        cel: false,
        salt: rng.salt(),
    }
}
