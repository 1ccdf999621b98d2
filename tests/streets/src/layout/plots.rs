//! The sides of the street: houses, parks, walls and fences, and the furniture along the kerb.

use crate::draw::barrier::{fence, wall};
use crate::draw::building::{Fashion, Plot, house};
use crate::draw::furniture::{Aspect, fixture, gantry, lamp, shelter, sign, signal};
use crate::draw::plant::{bush, hedge, tree};
use crate::label::Label;
use crate::layout::Taste;
use crate::material::{Material, SignFace};
use crate::rng::SceneRng;
use crate::vector::{UP, V3, paint, v3};
use crate::world::World;

/// How far the street is built up, metres.
const END: f32 = 170.0;

pub fn build(world: &mut World, taste: &Taste, rng: &mut SceneRng) {
    background(world, taste, rng);
    for side in [-1.0, 1.0] {
        row(world, taste, side, rng);
        kerb(world, taste, side, rng);
    }
    junction(world, taste, rng);
}

/// The point `lateral` metres right of the street's middle at `z`.
fn beside(world: &World, lateral: f32, z: f32) -> V3 {
    v3(world.street.middle(z) + lateral, 0.0, z)
}

/// Horizontal, from the street outwards on one side.
fn outward(world: &World, side: f32, z: f32) -> V3 {
    world.street.heading(z).rightward() * side
}

fn row(world: &mut World, taste: &Taste, side: f32, rng: &mut SceneRng) {
    let line = side * (world.street.half_width + world.street.margin(side).width() + 0.1);
    let mut z = -4.0;
    while z < END {
        let length = rng.within(8.0, 19.0)
            * if taste.fashion == Fashion::Downtown {
                1.25
            } else {
                1.0
            };
        if let Some(j) = world.street.junction
            && z + length > j.near - 3.0
            && z < j.far + 3.0
        {
            // The last plot before the corner ends there.
            if j.near - 3.0 - z > 5.0 {
                plot(world, taste, side, line, (z, j.near - 3.0), rng);
            }
            corner_street(world, taste, side, line, rng);
            z = j.far + 3.0;
            continue;
        }
        plot(world, taste, side, line, (z, z + length), rng);
        z += length
            + if taste.fashion == Fashion::Suburb && rng.chance(0.6) {
                rng.within(2.0, 6.0)
            } else {
                0.0
            };
    }
}

/// What closes the view into the crossing street.
fn corner_street(world: &mut World, taste: &Taste, side: f32, line: f32, rng: &mut SceneRng) {
    let Some(j) = world.street.junction else { return };
    let (near, far) = (line + side * 6.0, line + side * 60.0);
    let (a, b) = (beside(world, near, j.far + 4.0), beside(world, far, j.far + 4.0));
    let (near_at, far_at) = if side > 0.0 { (a, b) } else { (b, a) };
    let height = rng.count(taste.stories.0, taste.stories.1) as f32 * 3.1 + 3.5;
    if rng.chance(taste.built) {
        house(
            world,
            &Plot {
                near: near_at,
                far: far_at,
                back: v3(0.0, 0.0, 1.0),
                depth: 10.0,
                height,
            },
            taste.fashion,
            rng,
        );
    }
    let end = beside(world, line + side * 75.0, j.near - 8.0);
    let heading = v3(0.0, 0.0, 1.0);
    let plot = Plot {
        near: end,
        far: end + heading * (j.far - j.near + 22.0),
        back: v3(side, 0.0, 0.0),
        depth: 8.0,
        height,
    };
    house(world, &plot, taste.fashion, rng);
}

fn plot(world: &mut World, taste: &Taste, side: f32, line: f32, (from, to): (f32, f32), rng: &mut SceneRng) {
    let back = outward(world, side, (from + to) * 0.5);
    let (a, b) = (beside(world, line, from), beside(world, line, to));
    if rng.chance(taste.built) {
        let suburb = taste.fashion == Fashion::Suburb;
        let garden = if suburb {
            rng.within(2.5, 7.0)
        } else {
            rng.pick(&[0.0, 0.0, 0.0, 0.8])
        };
        let height = rng.count(taste.stories.0, taste.stories.1) as f32 * 3.15 + rng.within(0.6, 1.6);
        let house_plot = Plot {
            near: a + back * garden,
            far: b + back * garden,
            back,
            depth: rng.within(9.0, 14.0),
            height,
        };
        house(world, &house_plot, taste.fashion, rng);
        if suburb {
            front_garden(world, taste, (a, b, back, garden), rng);
        }
        return;
    }
    park(world, taste, (a, b, back), rng);
}

fn front_garden(world: &mut World, taste: &Taste, (a, b, back, deep): (V3, V3, V3, f32), rng: &mut SceneRng) {
    match rng.count(0, 3) {
        0 => wall(world, a, b.mix(a, 0.15), rng),
        1 => fence(world, a, b, rng),
        2 => hedge(world, a.mix(b, 0.05), a.mix(b, 0.8), rng.within(0.8, 1.5), rng),
        _ => {}
    }
    for _ in 0..rng.count(1, 3) {
        let base = a.mix(b, rng.within(0.1, 0.9)) + back * rng.within(0.4, 0.8) * deep;
        bush(world, base, rng.within(0.7, 1.5), rng);
    }
    if rng.chance(taste.trees) {
        let base = a.mix(b, rng.within(0.2, 0.8)) + back * (deep * 0.55);
        let growth = rng.pick(taste.growth);
        tree(world, base, rng.within(4.5, 8.0), growth, rng);
    }
}

fn park(world: &mut World, taste: &Taste, (a, b, back): (V3, V3, V3), rng: &mut SceneRng) {
    match rng.count(0, 4) {
        0 | 1 => wall(world, a, b, rng),
        2 | 3 => fence(world, a, b, rng),
        _ => hedge(world, a, b, rng.within(0.8, 1.6), rng),
    }
    for _ in 0..rng.count(2, 5) {
        let base = a.mix(b, rng.unit()) + back * rng.within(1.5, 14.0);
        let growth = rng.pick(taste.growth);
        tree(world, base, rng.within(6.0, 13.0), growth, rng);
    }
    for _ in 0..rng.count(1, 4) {
        let base = a.mix(b, rng.unit()) + back * rng.within(0.8, 5.0);
        bush(world, base, rng.within(0.7, 1.9), rng);
    }
    // Behind the green there is usually another street.
    if rng.chance(0.6) {
        let deep = back * rng.within(22.0, 40.0);
        let height = rng.count(taste.stories.0, taste.stories.1) as f32 * 3.2 + 1.0;
        house(
            world,
            &Plot {
                near: a + deep,
                far: b + deep,
                back,
                depth: 10.0,
                height,
            },
            taste.fashion,
            rng,
        );
    }
}

fn kerb(world: &mut World, taste: &Taste, side: f32, rng: &mut SceneRng) {
    let margin = *world.street.margin(side);
    let edge = side * (world.street.half_width + margin.parking + 0.45);
    let inner = side * (world.street.half_width + margin.parking + margin.sidewalk - 0.4);
    let lamp_gap = rng.within(22.0, 32.0);
    let lined = rng.chance(taste.trees);
    let tree_gap = rng.within(8.0, 14.0);
    let growth = rng.pick(taste.growth);
    let (mut next_lamp, mut next_tree, mut next_sign) = (
        rng.within(6.0, 26.0),
        rng.within(4.0, 14.0),
        rng.within(8.0, 30.0),
    );
    let mut z = 4.0;
    while z < 130.0 {
        z += 1.0;
        if world.street.in_junction(z, 4.5) {
            continue;
        }
        let (heading, out) = (world.street.heading(z), outward(world, side, z));
        if z > next_lamp {
            lamp(world, beside(world, edge, z), -out, taste.lamp, rng);
            next_lamp = z + lamp_gap;
        } else if z > next_sign {
            let face = rng.pick(&[
                SignFace::Speed,
                SignFace::NoEntry,
                SignFace::Parking,
                SignFace::Priority,
                SignFace::Warning,
                SignFace::Stop,
                SignFace::Direction,
            ]);
            if rng.chance(0.12) && margin.verge > 1.0 {
                gantry(world, beside(world, inner + side * 1.2, z), rng);
            } else {
                sign(world, beside(world, edge, z), face, rng);
            }
            next_sign = z + rng.within(9.0, 30.0);
        } else if lined && z > next_tree {
            let at = if margin.verge > 1.4 {
                inner + side * (0.4 + margin.verge * 0.5)
            } else {
                edge + side * 0.2
            };
            let height = if taste.yellow_line {
                rng.within(7.0, 10.0)
            } else {
                rng.within(5.0, 8.5)
            };
            tree(world, beside(world, at, z), height, growth, rng);
            next_tree = z + tree_gap;
        } else if rng.chance(0.03) {
            fixture(
                world,
                beside(world, if rng.chance(0.5) { edge } else { inner }, z),
                heading,
                rng,
            );
        } else if rng.chance(0.006) && margin.sidewalk > 2.4 {
            shelter(world, beside(world, edge + side * 0.3, z), heading, out);
        }
    }
}

fn junction(world: &mut World, taste: &Taste, rng: &mut SceneRng) {
    let Some(j) = world.street.junction else { return };
    let half = world.street.half_width;
    let aspect = rng.pick(&[Aspect::Red, Aspect::Green, Aspect::Green, Aspect::Amber]);
    let wide = world.street.lanes_each_way > 1;
    for (side, z) in [
        (1.0, j.near - 4.2),
        (-1.0, j.near - 4.0),
        (1.0, j.far + 4.2),
        (-1.0, j.far + 4.0),
    ] {
        let at = side * (half + world.street.margin(side).parking + 0.5);
        let arm = (wide && (side > 0.0 || taste.yellow_line)).then(|| half * rng.within(0.5, 0.9));
        signal(world, beside(world, at, z), -outward(world, side, z), arm, aspect);
    }
}

/// Far skyline and hills, so that no street ends in nothing.
fn background(world: &mut World, taste: &Taste, rng: &mut SceneRng) {
    world.begin();
    let across = v3(1.0, 0.0, 0.0);
    if rng.chance(taste.hills) {
        let mut x = -900.0;
        let mut before = rng.within(20.0, 80.0);
        while x < 900.0 {
            let next = (before + rng.within(-38.0, 38.0)).clamp(15.0, 120.0);
            let corners = [
                v3(x, 0.0, 900.0),
                v3(x + 90.0, 0.0, 900.0),
                v3(x + 90.0, next, 900.0),
                v3(x, before, 900.0),
            ];
            let hill = Material::Distance {
                colour: paint(0.28, 0.36, 0.24),
                windows: false,
                salt: world.street.salt,
            };
            world.framed(&corners, v3(0.0, 0.0, 900.0), across, UP, Label::Vegetation, hill);
            before = next;
            x += 90.0;
        }
    }
    let mut x = -420.0;
    while x < 420.0 {
        let wide = rng.within(14.0, 34.0);
        let z = rng.within(215.0, 255.0);
        let corners = |height: f32| {
            [
                v3(x, 0.0, z),
                v3(x + wide, 0.0, z),
                v3(x + wide, height, z),
                v3(x, height, z),
            ]
        };
        world.begin();
        if rng.chance(0.62) {
            let height = rng.count(taste.stories.0, taste.stories.1) as f32 * 3.2 + rng.within(2.0, 6.0);
            let colour = rng.pick(&[
                paint(0.62, 0.58, 0.54),
                paint(0.52, 0.53, 0.55),
                paint(0.66, 0.62, 0.52),
                paint(0.48, 0.42, 0.40),
            ]);
            let salt = rng.salt();
            world.framed(
                &corners(height),
                v3(x, 0.0, z),
                across,
                UP,
                Label::Building,
                Material::Distance {
                    colour,
                    windows: true,
                    salt,
                },
            );
        } else {
            for _ in 0..5 {
                bush(
                    world,
                    v3(x + rng.within(0.0, wide), 0.0, z - 4.0),
                    rng.within(6.0, 11.0),
                    rng,
                );
            }
        }
        x += wide * rng.within(0.85, 1.0);
    }
}
