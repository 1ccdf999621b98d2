//! The bonnet of the car that carries the camera, in picture coordinates.

use crate::rng::noise;
use crate::vector::{Rgb, paint, ramp};

/// The upper edge of the bonnet and its paint. Heights are fractions of the picture's height.
#[derive(Clone, Copy, Debug)]
pub struct Hood {
    /// Where the edge lies in the middle of the picture.
    pub crest: f32,
    /// How far it drops towards the sides.
    pub drop: f32,
    pub paint: Rgb,
}

impl Hood {
    /// How deep below its edge the spot lies, in picture heights; negative above it. `x` and `y` in 0..=1.
    pub fn depth(&self, x: f32, y: f32) -> f32 {
        let side = (x - 0.5) * 2.0;
        y - self.crest - self.drop * side.powi(2) * side.powi(2)
    }

    /// Its colour under a sky.
    pub fn look(&self, x: f32, y: f32, sky: Rgb) -> Rgb {
        let deep = self.depth(x, y);
        let sheen = ramp(0.0, 0.03, deep) * ramp(0.16, 0.02, deep);
        let rib = ramp(0.012, 0.0, (x - 0.5).abs() - 0.18 - deep * 0.5)
            * ramp(0.0, 0.01, (x - 0.5).abs() - 0.17 - deep * 0.5);
        let wobble = 0.8 + 0.4 * noise(x * 9.0, y * 30.0, 77);
        self.paint.times(sky) * 1.2 + sky * (0.22 * sheen * wobble + 0.10 * rib) + paint(0.02, 0.02, 0.02)
    }
}
