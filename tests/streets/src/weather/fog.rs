//! Fog: light scattered in by the air over each pixel's own distance.

use crate::rng::SceneRng;
use crate::vector::{paint, v3};
use crate::weather::{Atmosphere, sun_at};

pub fn atmosphere(rng: &mut SceneRng) -> Atmosphere {
    let grey = rng.within(0.70, 0.82);
    let air = paint(grey, grey + 0.005, grey + rng.within(0.0, 0.03));
    // Contrast falls to a twentieth at the meteorological visibility.
    let visibility = rng.within(55.0, 150.0);
    Atmosphere {
        sun_at: sun_at(0.8, rng.within(-2.5, 2.5)),
        sun: v3(0.06, 0.06, 0.06),
        ambient: v3(0.66, 0.68, 0.70),
        zenith: air * 1.05,
        horizon: air,
        cloud: 0.0,
        cloud_colour: air,
        haze: 3.0 / visibility,
        haze_colour: air,
        wet: 0.15,
        snow: 0.0,
        lamps: rng.within(0.12, 0.3),
        exposure: 1.05,
        saturation: 0.8,
        tint: v3(0.99, 1.0, 1.0),
        grain: 0.012,
        vignette: 0.2,
        bloom: 0.08,
        streaks: 0.0,
        drops: 0.0,
        flakes: 0.0,
        cel: false,
        salt: rng.salt(),
    }
}
