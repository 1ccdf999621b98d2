//! Snow: white ground, roofs and tree tops under a pale sky, flakes in the air.

use crate::rng::SceneRng;
use crate::vector::{paint, v3};
use crate::weather::{Atmosphere, sun_at};

pub fn atmosphere(rng: &mut SceneRng) -> Atmosphere {
    let pale = rng.within(0.80, 0.88);
    let air = paint(pale, pale + 0.01, pale + 0.025);
    Atmosphere {
        sun_at: sun_at(0.5, rng.within(-2.5, 2.5)),
        sun: v3(0.10, 0.10, 0.09),
        ambient: v3(0.72, 0.76, 0.82),
        zenith: air * 0.9,
        horizon: air,
        cloud: 0.6,
        cloud_colour: air * 0.97,
        haze: rng.within(0.005, 0.011),
        haze_colour: air,
        wet: 0.1,
        snow: rng.within(0.75, 1.0),
        lamps: 0.1,
        exposure: 1.14,
        saturation: 0.8,
        tint: v3(0.97, 0.99, 1.03),
        grain: 0.010,
        vignette: 0.15,
        bloom: 0.06,
        streaks: 0.0,
        drops: 0.0,
        flakes: rng.within(0.35, 1.0),
        cel: false,
        salt: rng.salt(),
    }
}
