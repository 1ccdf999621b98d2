//! People: on foot, and the upper bodies of riders.

use crate::label::Label;
use crate::material::Material;
use crate::rng::SceneRng;
use crate::vector::{Rgb, UP, V3, paint};
use crate::world::World;

const COATS: [Rgb; 11] = [
    paint(0.15, 0.16, 0.20),
    paint(0.10, 0.10, 0.11),
    paint(0.60, 0.14, 0.14),
    paint(0.18, 0.28, 0.48),
    paint(0.75, 0.72, 0.66),
    paint(0.35, 0.30, 0.24),
    paint(0.22, 0.38, 0.28),
    paint(0.80, 0.55, 0.15),
    paint(0.48, 0.50, 0.53),
    paint(0.55, 0.30, 0.45),
    paint(0.85, 0.84, 0.82),
];
const LEGS: [Rgb; 5] = [
    paint(0.14, 0.17, 0.26),
    paint(0.10, 0.10, 0.11),
    paint(0.30, 0.33, 0.42),
    paint(0.45, 0.40, 0.32),
    paint(0.20, 0.18, 0.17),
];
const SKIN: [Rgb; 4] = [
    paint(0.82, 0.62, 0.50),
    paint(0.70, 0.50, 0.38),
    paint(0.48, 0.32, 0.23),
    paint(0.88, 0.70, 0.58),
];
const HAIR: [Rgb; 5] = [
    paint(0.12, 0.09, 0.07),
    paint(0.28, 0.18, 0.10),
    paint(0.55, 0.42, 0.22),
    paint(0.45, 0.45, 0.45),
    paint(0.06, 0.06, 0.06),
];

fn cloth(colour: Rgb) -> Material {
    Material::Paint { colour, gloss: 0.0 }
}

/// A frame to draw a figure in: right and up in the picture, towards the eye, all per metre.
struct Easel {
    base: V3,
    across: V3,
    toward: V3,
}

impl Easel {
    fn new(world: &World, base: V3) -> Self {
        let across = world.facing(base);
        let sight = (base - world.stand.eye).unit();
        Self {
            base,
            across,
            toward: -sight,
        }
    }

    /// `layer` lifts a limb towards the eye, so that it hides those behind.
    fn at(&self, x: f32, y: f32, layer: f32) -> V3 {
        self.base + self.across * x + UP * y + self.toward * (layer * 0.02)
    }
}

/// Someone on foot at `base`.
pub fn person(world: &mut World, base: V3, rng: &mut SceneRng) {
    world.begin();
    let easel = Easel::new(world, base);
    let scale = if rng.chance(0.12) {
        rng.within(0.62, 0.8)
    } else {
        rng.within(0.93, 1.08)
    };
    let (coat, legs, skin, hair) = (
        rng.pick(&COATS),
        rng.pick(&LEGS),
        rng.pick(&SKIN),
        rng.pick(&HAIR),
    );
    let stride = rng.within(-0.22, 0.22);
    let swing = rng.within(-0.16, 0.16);
    let side_on = rng.chance(0.5);
    let half = if side_on { 0.10 } else { 0.15 };
    let label = Label::Person;
    let mut limb = |a: (f32, f32), b: (f32, f32), radii: (f32, f32), layer: f32, colour: Rgb| {
        let ends = (
            easel.at(a.0 * scale, a.1 * scale, layer),
            easel.at(b.0 * scale, b.1 * scale, layer),
        );
        world.limb(ends, (radii.0 * scale, radii.1 * scale), label, cloth(colour));
    };
    let hips = if side_on { 0.02 } else { 0.09 };
    for (side, step) in [(-1.0, stride), (1.0, -stride)] {
        let (knee, foot) = (side * hips + step * 0.45, side * hips + step);
        limb(
            (side * hips, 0.88),
            (knee, 0.48),
            (0.085, 0.065),
            1.0 + side * 0.3,
            legs,
        );
        limb(
            (knee, 0.48),
            (foot, 0.1),
            (0.062, 0.045),
            1.0 + side * 0.3,
            legs * 0.9,
        );
        limb(
            (foot - 0.03, 0.05),
            (foot + 0.07, 0.04),
            (0.045, 0.035),
            1.5,
            paint(0.12, 0.11, 0.10),
        );
        limb(
            (side * (half + 0.04), 1.38),
            (side * (half + 0.06) + swing * side, 1.08),
            (0.055, 0.05),
            if side > 0.0 { 3.0 } else { 1.0 },
            coat * 0.85,
        );
        limb(
            (side * (half + 0.06) + swing * side, 1.08),
            (side * (half + 0.04) + swing * side * 1.8, 0.84),
            (0.047, 0.04),
            if side > 0.0 { 3.0 } else { 1.0 },
            coat * 0.8,
        );
    }
    let skirt = rng.chance(0.25);
    limb(
        (0.0, if skirt { 0.62 } else { 0.86 }),
        (0.0, 1.38),
        (if skirt { half + 0.06 } else { half }, half + 0.03),
        2.0,
        coat,
    );
    limb((0.0, 1.45), (0.0, 1.54), (0.05, 0.05), 2.2, skin * 0.9);
    limb((0.0, 1.58), (0.0, 1.66), (0.088, 0.092), 2.5, skin);
    limb((0.0, 1.685), (0.0, 1.70), (0.095, 0.08), 2.8, hair);
    if rng.chance(0.3) {
        limb(
            (half + 0.12, 0.95),
            (half + 0.12, 0.75),
            (0.10, 0.12),
            3.5,
            rng.pick(&COATS),
        );
    }
}

/// The rider on a bicycle or motorcycle whose saddle is at `saddle`; `ahead` points along the picture to the handlebar (zero when seen from front or rear).
pub fn rider(world: &mut World, saddle: V3, ahead: f32, helmet: bool, rng: &mut SceneRng) {
    world.begin();
    let easel = Easel::new(world, saddle);
    let (coat, legs, skin) = (rng.pick(&COATS), rng.pick(&LEGS), rng.pick(&SKIN));
    let cap = if helmet { rng.pick(&COATS) } else { rng.pick(&HAIR) };
    let label = Label::Rider;
    let mut limb = |a: (f32, f32), b: (f32, f32), radii: (f32, f32), layer: f32, colour: Rgb| {
        world.limb(
            (easel.at(a.0, a.1, layer), easel.at(b.0, b.1, layer)),
            radii,
            label,
            cloth(colour),
        );
    };
    let spread = if ahead == 0.0 { 0.13 } else { 0.0 };
    let lean = ahead * 0.28;
    for side in [-1.0, 1.0] {
        let knee = (
            side * (spread + 0.03) + ahead * (0.32 - 0.12 * side),
            -0.18 + 0.10 * side,
        );
        limb((side * spread * 0.7, 0.0), knee, (0.09, 0.07), 1.0 + side, legs);
        limb(
            knee,
            (side * spread + ahead * (0.22 - 0.1 * side), -0.56 + 0.12 * side),
            (0.065, 0.05),
            1.0 + side,
            legs * 0.9,
        );
        let elbow = (side * (spread + 0.14) + lean + ahead * 0.12, 0.32);
        limb(
            (side * (spread + 0.06) + lean, 0.52),
            elbow,
            (0.055, 0.05),
            3.0 + side,
            coat * 0.85,
        );
        limb(
            elbow,
            (side * (spread + 0.12) + ahead * 0.55, 0.2),
            (0.05, 0.04),
            3.0 + side,
            coat * 0.8,
        );
    }
    limb((0.0, 0.02), (lean, 0.54), (0.14, 0.17), 2.5, coat);
    limb((lean * 1.1, 0.72), (lean * 1.15, 0.78), (0.09, 0.09), 3.2, skin);
    limb(
        (lean * 1.12, 0.80),
        (lean * 1.15, 0.83),
        (if helmet { 0.12 } else { 0.1 }, 0.09),
        3.4,
        cap,
    );
}
