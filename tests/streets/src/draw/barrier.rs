//! Walls and fences along the edge of plots.

use crate::label::Label;
use crate::material::Material;
use crate::rng::SceneRng;
use crate::vector::{UP, V3, paint};
use crate::world::World;

/// A wall from `a` to `b`, 0.3 m thick.
pub fn wall(world: &mut World, a: V3, b: V3, rng: &mut SceneRng) {
    world.begin();
    let height = rng.within(1.1, 2.4);
    let material = if rng.chance(0.5) {
        Material::Brick {
            colour: rng.pick(&[paint(0.55, 0.33, 0.26), paint(0.60, 0.48, 0.38)]),
        }
    } else {
        Material::Concrete {
            colour: rng.pick(&[
                paint(0.62, 0.61, 0.58),
                paint(0.70, 0.66, 0.58),
                paint(0.52, 0.52, 0.53),
            ]),
        }
    };
    let heading = (b - a).unit();
    world.block(
        a.mix(b, 0.5),
        heading,
        ((b - a).length() * 0.5, 0.15),
        height,
        Label::Wall,
        material,
    );
    world.block(
        a.mix(b, 0.5) + UP * height,
        heading,
        ((b - a).length() * 0.5, 0.2),
        0.08,
        Label::Wall,
        Material::Concrete {
            colour: paint(0.6, 0.6, 0.58),
        },
    );
}

/// A fence of bars from `a` to `b`. What is seen between the bars is part of the fence, as the annotators have it.
pub fn fence(world: &mut World, a: V3, b: V3, rng: &mut SceneRng) {
    world.begin();
    let height = rng.within(0.95, 1.7);
    let colour = rng.pick(&[
        paint(0.12, 0.14, 0.13),
        paint(0.55, 0.56, 0.58),
        paint(0.45, 0.33, 0.22),
        paint(0.80, 0.80, 0.78),
        paint(0.15, 0.30, 0.20),
    ]);
    let behind = rng.pick(&[
        paint(0.28, 0.36, 0.18),
        paint(0.38, 0.36, 0.32),
        paint(0.32, 0.40, 0.24),
    ]);
    let gap = rng.within(0.14, 0.34);
    world.polygon(
        &[a, b, b + UP * height, a + UP * height],
        Label::Fence,
        Material::Bars { colour, behind, gap },
    );
    let steps = ((b - a).length() / 2.4).ceil().max(1.0) as u32;
    for step in 0..=steps {
        world.post(
            a.mix(b, step as f32 / steps as f32),
            height + 0.08,
            0.05,
            Label::Fence,
            colour,
        );
    }
}
