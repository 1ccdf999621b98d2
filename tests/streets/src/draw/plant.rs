//! Trees, palms, bushes and hedges.

use crate::label::Label;
use crate::material::Material;
use crate::rng::SceneRng;
use crate::sheet::Outline;
use crate::vector::{Rgb, UP, V3, paint, v3};
use crate::world::World;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    Broadleaf,
    Conifer,
    Bare,
    Palm,
}

fn green(rng: &mut SceneRng) -> Rgb {
    let base = rng.pick(&[
        paint(0.30, 0.42, 0.18),
        paint(0.26, 0.38, 0.20),
        paint(0.38, 0.45, 0.20),
        paint(0.24, 0.36, 0.16),
        paint(0.45, 0.42, 0.18),
    ]);
    base * rng.within(0.8, 1.2)
}

/// A tree of `height` metres.
pub fn tree(world: &mut World, base: V3, height: f32, growth: Growth, rng: &mut SceneRng) {
    world.begin();
    match growth {
        Growth::Broadleaf => broadleaf(world, base, height, rng),
        Growth::Conifer => conifer(world, base, height, rng),
        Growth::Bare => {
            let top = base + v3(rng.within(-0.2, 0.2), height * 0.35, 0.0);
            branch(world, base, top, height * 0.022, 5, rng);
        }
        Growth::Palm => palm(world, base, height, rng),
    }
}

fn leaves(world: &mut World, centre: V3, radius: f32, colour: Rgb, rng: &mut SceneRng) {
    let across = world.facing(centre);
    let salt = rng.salt();
    world.disc(
        centre,
        (across, UP),
        Outline::Leafy { radius, salt },
        Label::Vegetation,
        Material::Leaves { colour, salt },
    );
}

fn bark(world: &mut World, from: V3, to: V3, radii: (f32, f32)) {
    world.limb(
        (from, to),
        radii,
        Label::Vegetation,
        Material::Bark { radius: radii.0 },
    );
}

fn broadleaf(world: &mut World, base: V3, height: f32, rng: &mut SceneRng) {
    let colour = green(rng);
    let trunk = height * rng.within(0.28, 0.4);
    let lean = v3(rng.within(-0.3, 0.3), trunk, 0.0);
    bark(world, base, base + lean, (height * 0.024, height * 0.017));
    let middle = base + v3(lean.x, trunk + (height - trunk) * 0.45, 0.0);
    let (wide, tall) = (height * rng.within(0.24, 0.32), (height - trunk) * 0.5);
    for _ in 0..3 {
        let tip = middle
            + v3(
                rng.within(-wide, wide) * 0.7,
                rng.within(-0.2, 0.5) * tall,
                rng.within(-0.5, 0.5),
            );
        bark(world, base + lean * 0.9, tip, (height * 0.012, height * 0.005));
    }
    for _ in 0..rng.count(10, 16) {
        let (a, r) = (rng.within(0.0, std::f32::consts::TAU), rng.unit().sqrt());
        let centre = middle
            + v3(
                a.cos() * r * wide * 0.75,
                a.sin() * r * tall * 0.7,
                rng.within(-1.0, 1.0) * wide * 0.6,
            );
        let radius = wide * rng.within(0.38, 0.6);
        // Leaves deeper in the crown get less light.
        let shade = 0.75 + 0.35 * ((centre.y - middle.y) / tall);
        leaves(
            world,
            centre,
            radius,
            colour * (shade * rng.within(0.85, 1.15)),
            rng,
        );
    }
}

fn conifer(world: &mut World, base: V3, height: f32, rng: &mut SceneRng) {
    let colour = paint(0.15, 0.27, 0.17) * rng.within(0.8, 1.3);
    bark(
        world,
        base,
        base + UP * (height * 0.3),
        (height * 0.02, height * 0.015),
    );
    let tiers = 9;
    for tier in 0..tiers {
        let t = tier as f32 / tiers as f32;
        let radius = height * (0.19 * (1.0 - t) + 0.025);
        for _ in 0..3 {
            let centre = base
                + v3(
                    rng.within(-0.6, 0.6) * radius,
                    height * (0.14 + 0.83 * t),
                    rng.within(-0.5, 0.5) * radius,
                );
            leaves(world, centre, radius * 0.75, colour * (0.7 + 0.5 * t), rng);
        }
    }
}

fn branch(world: &mut World, from: V3, to: V3, radius: f32, left: u32, rng: &mut SceneRng) {
    bark(world, from, to, (radius, radius * 0.7));
    if left == 0 {
        return;
    }
    for _ in 0..rng.count(2, 3) {
        let along = (to - from) * rng.within(0.6, 0.85);
        let spread = along.length() * 0.6;
        let next = to
            + along
            + v3(
                rng.within(-spread, spread),
                rng.within(-0.1, 0.4) * spread,
                rng.within(-spread, spread),
            );
        branch(world, to, next, radius * 0.62, left - 1, rng);
    }
}

fn palm(world: &mut World, base: V3, height: f32, rng: &mut SceneRng) {
    let top = base + v3(rng.within(-0.5, 0.5), height, 0.0);
    bark(world, base, top, (0.2, 0.13));
    let colour = paint(0.30, 0.52, 0.16);
    for leaf in 0..13 {
        let turn = leaf as f32 * 0.483 * 2.0 + rng.within(-0.2, 0.2);
        let out = v3(turn.cos(), 0.0, turn.sin());
        let reach = rng.within(1.6, 2.3);
        let bow = top + out * (reach * 0.55) + UP * rng.within(0.3, 0.8);
        let tip = top + out * reach - UP * rng.within(0.3, 1.2);
        let leaf = Material::Paint {
            colour: colour * rng.within(0.6, 1.2),
            gloss: 0.05,
        };
        world.limb((top, bow), (0.12, 0.26), Label::Vegetation, leaf);
        world.limb((bow, tip), (0.26, 0.04), Label::Vegetation, leaf);
    }
}

/// A bush about `size` metres tall.
pub fn bush(world: &mut World, base: V3, size: f32, rng: &mut SceneRng) {
    world.begin();
    let colour = green(rng);
    for _ in 0..5 {
        let centre = base
            + v3(
                rng.within(-0.6, 0.6) * size,
                rng.within(0.3, 0.6) * size,
                rng.within(-0.4, 0.4) * size,
            );
        leaves(
            world,
            centre,
            size * rng.within(0.4, 0.55),
            colour * rng.within(0.8, 1.15),
            rng,
        );
    }
}

/// A clipped hedge along the line from `a` to `b`.
pub fn hedge(world: &mut World, a: V3, b: V3, height: f32, rng: &mut SceneRng) {
    world.begin();
    let colour = green(rng) * 0.9;
    let length = (b - a).length();
    let steps = (length / (height * 0.6)).ceil().max(1.0) as u32;
    for step in 0..=steps {
        let base = a.mix(b, step as f32 / steps as f32);
        leaves(
            world,
            base + UP * (height * 0.5),
            height * rng.within(0.62, 0.74),
            colour * rng.within(0.85, 1.1),
            rng,
        );
    }
}
