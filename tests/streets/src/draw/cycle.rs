//! Bicycles and motorcycles, ridden or parked, seen from the side or end-on.

use crate::draw::figure::rider;
use crate::draw::vehicle::{CHROME, RUBBER};
use crate::label::Label;
use crate::material::Material;
use crate::rng::SceneRng;
use crate::sheet::Outline;
use crate::vector::{Rgb, UP, V3, paint, v3};
use crate::world::{Glow, World};

/// Which way a two-wheeler is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// From the side; 1 heads right in the picture, -1 left.
    Side(i8),
    /// From behind or in front.
    Rear,
    Front,
}

const FRAMES: [Rgb; 6] = [
    paint(0.12, 0.12, 0.13),
    paint(0.60, 0.10, 0.10),
    paint(0.12, 0.25, 0.50),
    paint(0.75, 0.76, 0.78),
    paint(0.15, 0.40, 0.25),
    paint(0.85, 0.60, 0.10),
];

fn tube(colour: Rgb) -> Material {
    Material::Paint { colour, gloss: 0.15 }
}

/// A bicycle at `base`, with a rider if `ridden`.
pub fn bicycle(world: &mut World, base: V3, view: View, ridden: bool, rng: &mut SceneRng) {
    world.begin();
    let across = world.facing(base);
    let colour = rng.pick(&FRAMES);
    let label = Label::Bicycle;
    let at = |x: f32, y: f32| base + across * x + UP * y;
    match view {
        View::Side(way) => {
            let way = f32::from(way);
            for x in [-0.52, 0.54] {
                let hub = at(x, 0.34);
                world.disc(
                    hub,
                    (across, UP),
                    Outline::Ring {
                        inner: 0.27,
                        outer: 0.345,
                    },
                    label,
                    tube(RUBBER),
                );
                for spoke in 0..3 {
                    let a = spoke as f32 * 1.047;
                    let d = across * (a.cos() * 0.3) + UP * (a.sin() * 0.3);
                    world.limb((hub - d, hub + d), (0.012, 0.012), label, tube(CHROME * 0.7));
                }
            }
            let (back, front, crank, seat, head) = (
                (-0.52 * way, 0.34),
                (0.54 * way, 0.34),
                (-0.06 * way, 0.31),
                (-0.2 * way, 0.86),
                (0.38 * way, 0.88),
            );
            for (a, b) in [
                (back, crank),
                (crank, seat),
                (seat, back),
                (crank, head),
                (seat, (0.36 * way, 0.8)),
                (head, front),
                (head, (0.32 * way, 1.02)),
            ] {
                world.limb((at(a.0, a.1), at(b.0, b.1)), (0.028, 0.028), label, tube(colour));
            }
            world.limb(
                (at(-0.32 * way, 0.92), at(-0.12 * way, 0.93)),
                (0.045, 0.03),
                label,
                tube(RUBBER),
            );
            world.limb(
                (at(0.28 * way, 1.04), at(0.46 * way, 1.05)),
                (0.03, 0.03),
                label,
                tube(RUBBER),
            );
        }
        View::Rear | View::Front => {
            world.limb(
                (at(0.0, 0.04), at(0.0, 0.66)),
                (0.035, 0.035),
                label,
                tube(RUBBER),
            );
            world.limb((at(0.0, 0.4), at(0.0, 0.95)), (0.06, 0.05), label, tube(colour));
            world.limb(
                (at(-0.28, 1.02), at(0.28, 1.02)),
                (0.028, 0.028),
                label,
                tube(RUBBER),
            );
            world.limb(
                (at(-0.09, 0.93), at(0.09, 0.93)),
                (0.05, 0.05),
                label,
                tube(RUBBER),
            );
            if ridden {
                beam(world, at(0.0, 0.72), view, label, 0.15);
            }
        }
    }
    if ridden {
        rider(
            world,
            seat_of(base, across, view, 0.95),
            ahead(view),
            rng.chance(0.6),
            rng,
        );
    }
}

/// A motorcycle or scooter at `base`.
pub fn motorcycle(world: &mut World, base: V3, view: View, ridden: bool, rng: &mut SceneRng) {
    world.begin();
    let across = world.facing(base);
    let colour = rng.pick(&FRAMES);
    let label = Label::Motorcycle;
    let at = |x: f32, y: f32| base + across * x + UP * y;
    match view {
        View::Side(way) => {
            let way = f32::from(way);
            for x in [-0.68, 0.70] {
                world.disc(
                    at(x, 0.31),
                    (across, UP),
                    Outline::Disc { radius: 0.31 },
                    label,
                    tube(RUBBER),
                );
                world.disc(
                    at(x, 0.31) - world_depth(world, base),
                    (across, UP),
                    Outline::Disc { radius: 0.17 },
                    label,
                    tube(CHROME * 0.5),
                );
            }
            for (a, b, r, c) in [
                ((-0.45, 0.42), (0.3, 0.42), 0.16, paint(0.25, 0.25, 0.26)),
                ((-0.75, 0.72), (-0.1, 0.74), 0.09, RUBBER),
                ((-0.05, 0.78), (0.38, 0.82), 0.16, colour),
                ((0.38, 0.95), (0.7, 0.31), 0.045, CHROME),
                ((-0.8, 0.62), (-0.55, 0.6), 0.07, colour),
                ((0.30, 1.05), (0.48, 1.02), 0.04, RUBBER),
                ((-0.2, 0.25), (-0.85, 0.3), 0.05, CHROME),
            ] {
                world.limb(
                    (at(a.0 * way, a.1), at(b.0 * way, b.1)),
                    (r, r * 0.8),
                    label,
                    tube(c),
                );
            }
        }
        View::Rear | View::Front => {
            world.limb((at(0.0, 0.1), at(0.0, 0.58)), (0.09, 0.09), label, tube(RUBBER));
            world.limb((at(0.0, 0.5), at(0.0, 0.88)), (0.17, 0.14), label, tube(colour));
            world.limb(
                (at(-0.38, 1.0), at(0.38, 1.0)),
                (0.035, 0.035),
                label,
                tube(RUBBER),
            );
            world.limb(
                (at(-0.16, 0.42), at(0.18, 0.42)),
                (0.07, 0.08),
                label,
                tube(CHROME * 0.6),
            );
            beam(world, at(0.0, 0.78), view, label, 0.3);
        }
    }
    if ridden {
        rider(world, seat_of(base, across, view, 0.86), ahead(view), true, rng);
    }
}

/// A hand's breadth away from the eye.
fn world_depth(world: &World, base: V3) -> V3 {
    (base - world.stand.eye).unit() * 0.03
}

fn beam(world: &mut World, at: V3, view: View, label: Label, power: f32) {
    let colour = if view == View::Rear {
        v3(1.0, 0.05, 0.03)
    } else {
        v3(1.0, 0.93, 0.78)
    };
    let across = world.facing(at);
    let at = at - world_depth(world, at) * 4.0;
    let material = Material::Lamp {
        colour,
        day: 0.4,
        night: if view == View::Rear { 2.5 } else { 7.0 },
    };
    world.disc(at, (across, UP), Outline::Disc { radius: 0.07 }, label, material);
    world.glows.push(Glow {
        at,
        colour,
        power,
        reach: 0.0,
        by_day: false,
    });
}

fn ahead(view: View) -> f32 {
    match view {
        View::Side(way) => f32::from(way),
        View::Rear | View::Front => 0.0,
    }
}

fn seat_of(base: V3, across: V3, view: View, up: f32) -> V3 {
    base + across * (ahead(view) * -0.2) + UP * up
}
