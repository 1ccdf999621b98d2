//! Night in a lit town: dark blue air, lamps, windows, the camera's own headlights, a noisy sensor.

use crate::rng::SceneRng;
use crate::vector::v3;
use crate::weather::{Atmosphere, sun_at};

pub fn atmosphere(rng: &mut SceneRng) -> Atmosphere {
    let deep = rng.within(0.5, 1.2);
    let horizon = v3(0.022, 0.022, 0.034) * deep;
    Atmosphere {
        sun_at: sun_at(0.7, rng.within(-2.5, 2.5)),
        sun: v3(0.006, 0.008, 0.013),
        ambient: v3(0.016, 0.020, 0.034) * deep,
        zenith: v3(0.004, 0.006, 0.014) * deep,
        horizon,
        cloud: rng.within(0.0, 0.6),
        cloud_colour: v3(0.020, 0.018, 0.020) * deep,
        haze: 0.0022,
        haze_colour: horizon,
        wet: if rng.chance(0.5) {
            rng.within(0.35, 0.7)
        } else {
            0.08
        },
        snow: 0.0,
        lamps: 1.0,
        exposure: 2.1,
        saturation: 0.9,
        tint: v3(0.94, 0.97, 1.06),
        grain: 0.034,
        vignette: 0.35,
        bloom: 0.14,
        streaks: 0.0,
        drops: 0.0,
        flakes: 0.0,
        cel: false,
        salt: rng.salt(),
    }
}
