//! The conditions a scene can be seen in, as light, air and what falls through it.

mod clear;
pub mod falling;
mod fog;
mod game;
mod night;
mod rain;
mod snow;

use crate::rng::{SceneRng, clouds};
use crate::vector::{Rgb, V3, ramp, v3};

/// What the weather is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    Clear,
    Fog,
    Night,
    Rain,
    Snow,
    /// Clear weather as a game engine draws it.
    Game,
}

impl Condition {
    /// The four adverse conditions, in ACDC's order.
    pub const ADVERSE: [Condition; 4] = [Condition::Fog, Condition::Night, Condition::Rain, Condition::Snow];

    /// The folder name of the condition.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Clear => "clear",
            Condition::Fog => "fog",
            Condition::Night => "night",
            Condition::Rain => "rain",
            Condition::Snow => "snow",
            Condition::Game => "game",
        }
    }
}

/// Light and air of one scene. Light is linear; 1 on white paper is a well exposed day.
#[derive(Clone, Copy, Debug)]
pub struct Atmosphere {
    /// Towards the sun, unit length.
    pub sun_at: V3,
    pub sun: Rgb,
    /// Light from the whole sky.
    pub ambient: Rgb,
    pub zenith: Rgb,
    pub horizon: Rgb,
    /// Share of the sky under cloud, 0..=1.
    pub cloud: f32,
    pub cloud_colour: Rgb,
    /// Extinction of the air, 1/m.
    pub haze: f32,
    pub haze_colour: Rgb,
    /// How wet the ground is, 0..=1.
    pub wet: f32,
    /// How much snow lies, 0..=1.
    pub snow: f32,
    /// How far the lamps are on, 0..=1.
    pub lamps: f32,
    pub exposure: f32,
    pub saturation: f32,
    pub tint: Rgb,
    /// Sensor noise, in display units.
    pub grain: f32,
    pub vignette: f32,
    pub bloom: f32,
    /// Rain streaks, drops on the lens and flakes, 0..=1 each.
    pub streaks: f32,
    pub drops: f32,
    pub flakes: f32,
    /// Light in steps and dark outlines, as games draw.
    pub cel: bool,
    pub salt: u32,
}

impl Atmosphere {
    /// The condition's light and air, with the variety that `rng` brings.
    pub fn of(condition: Condition, rng: &mut SceneRng) -> Self {
        match condition {
            Condition::Clear => clear::atmosphere(rng),
            Condition::Fog => fog::atmosphere(rng),
            Condition::Night => night::atmosphere(rng),
            Condition::Rain => rain::atmosphere(rng),
            Condition::Snow => snow::atmosphere(rng),
            Condition::Game => game::atmosphere(rng),
        }
    }

    /// The colour of the sky in a direction of unit length.
    pub fn sky(&self, direction: V3) -> Rgb {
        let up = direction.y.max(0.0);
        let mut colour = self.horizon.mix(self.zenith, ramp(0.0, 0.55, up.sqrt() * 0.8));
        if self.cloud > 0.0 {
            let scale = 1.1 / (up + 0.12);
            let (x, y) = (direction.x * scale, direction.z * scale);
            let body = clouds(x * 0.9 + 7.0, y * 0.9, self.salt);
            let cover = ramp(0.72 - self.cloud * 0.5, 0.92 - self.cloud * 0.42, body) * ramp(0.0, 0.10, up);
            let lit = 0.72 + 0.5 * (body - 0.5) + 0.25 * clouds(x * 2.1, y * 2.1, self.salt ^ 3);
            colour = colour.mix(self.cloud_colour * lit, cover);
        }
        let facing = direction.dot(self.sun_at).max(0.0);
        let near = facing * facing * facing * facing;
        colour + self.sun * (0.05 * near + 0.35 * near.powi(8))
    }

    /// What the air leaves of a colour `distance` metres away.
    pub fn through_air(&self, colour: Rgb, distance: f32) -> Rgb {
        colour.mix(self.haze_colour, 1.0 - (-self.haze * distance).exp())
    }
}

/// A sun direction at an elevation and an azimuth (0 ahead, positive right), radians.
fn sun_at(elevation: f32, azimuth: f32) -> V3 {
    v3(
        azimuth.sin() * elevation.cos(),
        elevation.sin(),
        azimuth.cos() * elevation.cos(),
    )
}
