//! Trees, palms, bushes and hedges.

use crate::label::Label;
use crate::luck::Luck;
use crate::material::Material;
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

fn green(luck: &mut Luck) -> Rgb {
    let base = luck.pick(&[
        paint(0.30, 0.42, 0.18),
        paint(0.26, 0.38, 0.20),
        paint(0.38, 0.45, 0.20),
        paint(0.24, 0.36, 0.16),
        paint(0.45, 0.42, 0.18),
    ]);
    base * luck.within(0.8, 1.2)
}

/// A tree of `height` metres.
pub fn tree(world: &mut World, base: V3, height: f32, growth: Growth, luck: &mut Luck) {
    world.begin();
    match growth {
        Growth::Broadleaf => broadleaf(world, base, height, luck),
        Growth::Conifer => conifer(world, base, height, luck),
        Growth::Bare => {
            let top = base + v3(luck.within(-0.2, 0.2), height * 0.35, 0.0);
            branch(world, base, top, height * 0.022, 5, luck);
        }
        Growth::Palm => palm(world, base, height, luck),
    }
}

fn leaves(world: &mut World, centre: V3, radius: f32, colour: Rgb, luck: &mut Luck) {
    let across = world.facing(centre);
    let salt = luck.salt();
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

fn broadleaf(world: &mut World, base: V3, height: f32, luck: &mut Luck) {
    let colour = green(luck);
    let trunk = height * luck.within(0.28, 0.4);
    let lean = v3(luck.within(-0.3, 0.3), trunk, 0.0);
    bark(world, base, base + lean, (height * 0.024, height * 0.017));
    let middle = base + v3(lean.x, trunk + (height - trunk) * 0.45, 0.0);
    let (wide, tall) = (height * luck.within(0.24, 0.32), (height - trunk) * 0.5);
    for _ in 0..3 {
        let tip = middle
            + v3(
                luck.within(-wide, wide) * 0.7,
                luck.within(-0.2, 0.5) * tall,
                luck.within(-0.5, 0.5),
            );
        bark(world, base + lean * 0.9, tip, (height * 0.012, height * 0.005));
    }
    for _ in 0..luck.count(10, 16) {
        let (a, r) = (luck.within(0.0, std::f32::consts::TAU), luck.unit().sqrt());
        let centre = middle
            + v3(
                a.cos() * r * wide * 0.75,
                a.sin() * r * tall * 0.7,
                luck.within(-1.0, 1.0) * wide * 0.6,
            );
        let radius = wide * luck.within(0.38, 0.6);
        // Leaves deeper in the crown get less light.
        let shade = 0.75 + 0.35 * ((centre.y - middle.y) / tall);
        leaves(
            world,
            centre,
            radius,
            colour * (shade * luck.within(0.85, 1.15)),
            luck,
        );
    }
}

fn conifer(world: &mut World, base: V3, height: f32, luck: &mut Luck) {
    let colour = paint(0.15, 0.27, 0.17) * luck.within(0.8, 1.3);
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
                    luck.within(-0.6, 0.6) * radius,
                    height * (0.14 + 0.83 * t),
                    luck.within(-0.5, 0.5) * radius,
                );
            leaves(world, centre, radius * 0.75, colour * (0.7 + 0.5 * t), luck);
        }
    }
}

fn branch(world: &mut World, from: V3, to: V3, radius: f32, left: u32, luck: &mut Luck) {
    bark(world, from, to, (radius, radius * 0.7));
    if left == 0 {
        return;
    }
    for _ in 0..luck.count(2, 3) {
        let along = (to - from) * luck.within(0.6, 0.85);
        let spread = along.length() * 0.6;
        let next = to
            + along
            + v3(
                luck.within(-spread, spread),
                luck.within(-0.1, 0.4) * spread,
                luck.within(-spread, spread),
            );
        branch(world, to, next, radius * 0.62, left - 1, luck);
    }
}

fn palm(world: &mut World, base: V3, height: f32, luck: &mut Luck) {
    let top = base + v3(luck.within(-0.5, 0.5), height, 0.0);
    bark(world, base, top, (0.2, 0.13));
    let colour = paint(0.30, 0.52, 0.16);
    for leaf in 0..13 {
        let turn = leaf as f32 * 0.483 * 2.0 + luck.within(-0.2, 0.2);
        let out = v3(turn.cos(), 0.0, turn.sin());
        let reach = luck.within(1.6, 2.3);
        let bow = top + out * (reach * 0.55) + UP * luck.within(0.3, 0.8);
        let tip = top + out * reach - UP * luck.within(0.3, 1.2);
        let leaf = Material::Paint {
            colour: colour * luck.within(0.6, 1.2),
            gloss: 0.05,
        };
        world.limb((top, bow), (0.12, 0.26), Label::Vegetation, leaf);
        world.limb((bow, tip), (0.26, 0.04), Label::Vegetation, leaf);
    }
}

/// A bush about `size` metres tall.
pub fn bush(world: &mut World, base: V3, size: f32, luck: &mut Luck) {
    world.begin();
    let colour = green(luck);
    for _ in 0..5 {
        let centre = base
            + v3(
                luck.within(-0.6, 0.6) * size,
                luck.within(0.3, 0.6) * size,
                luck.within(-0.4, 0.4) * size,
            );
        leaves(
            world,
            centre,
            size * luck.within(0.4, 0.55),
            colour * luck.within(0.8, 1.15),
            luck,
        );
    }
}

/// A clipped hedge along the line from `a` to `b`.
pub fn hedge(world: &mut World, a: V3, b: V3, height: f32, luck: &mut Luck) {
    world.begin();
    let colour = green(luck) * 0.9;
    let length = (b - a).length();
    let steps = (length / (height * 0.6)).ceil().max(1.0) as u32;
    for step in 0..=steps {
        let base = a.mix(b, step as f32 / steps as f32);
        leaves(
            world,
            base + UP * (height * 0.5),
            height * luck.within(0.62, 0.74),
            colour * luck.within(0.85, 1.1),
            luck,
        );
    }
}
