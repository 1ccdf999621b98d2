//! Street furniture: lamps, signals, signs, bins, bollards, benches, shelters.

use crate::label::Label;
use crate::material::{Material, SignFace};
use crate::rng::SceneRng;
use crate::sheet::Outline;
use crate::vector::{Rgb, UP, V3, paint, v3};
use crate::world::{Glow, World};

const STEEL: Rgb = paint(0.46, 0.48, 0.49);

/// The light of a street lamp: sodium in some towns, white in others.
pub const SODIUM: Rgb = v3(1.0, 0.62, 0.22);
pub const WHITE_LAMP: Rgb = v3(1.0, 0.90, 0.72);

/// A street lamp whose arm reaches `inward` (horizontal unit vector).
pub fn lamp(world: &mut World, base: V3, inward: V3, light: Rgb, rng: &mut SceneRng) {
    world.begin();
    let height = rng.within(6.2, 8.2);
    world.post(base, height, 0.075, Label::Pole, STEEL);
    world.post(base, 1.0, 0.11, Label::Pole, STEEL * 0.8);
    let top = base + UP * height;
    let head = top + inward * 1.5 + UP * 0.25;
    world.limb(
        (top, head),
        (0.05, 0.04),
        Label::Pole,
        Material::Paint {
            colour: STEEL,
            gloss: 0.1,
        },
    );
    world.block(
        head - UP * 0.06,
        inward,
        (0.42, 0.14),
        0.14,
        Label::Pole,
        Material::Paint {
            colour: STEEL * 1.2,
            gloss: 0.2,
        },
    );
    world.block(
        head - UP * 0.11,
        inward,
        (0.34, 0.11),
        0.05,
        Label::Pole,
        Material::Lamp {
            colour: light,
            day: 0.35,
            night: 9.0,
        },
    );
    world.glows.push(Glow {
        at: head - UP * 0.1,
        colour: light,
        power: 1.0,
        reach: 13.0,
        by_day: false,
    });
}

/// Which light of a signal is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    Red,
    Amber,
    Green,
}

/// A traffic light at the roadside, with one over the road when `arm` names how far that reaches.
pub fn signal(world: &mut World, base: V3, inward: V3, arm: Option<f32>, aspect: Aspect) {
    world.begin();
    let height = if arm.is_some() { 5.6 } else { 3.4 };
    world.post(base, height, 0.085, Label::Pole, STEEL * 0.8);
    signal_head(world, base + UP * 2.4, aspect, 1.0);
    if let Some(reach) = arm {
        let top = base + UP * height;
        world.limb(
            (top, top + inward * reach),
            (0.07, 0.05),
            Label::Pole,
            Material::Paint {
                colour: STEEL * 0.8,
                gloss: 0.1,
            },
        );
        signal_head(world, top + inward * (reach - 0.2) - UP * 1.0, aspect, 1.15);
    }
}

fn signal_head(world: &mut World, foot: V3, aspect: Aspect, scale: f32) {
    let across = world.facing(foot);
    let toward = -across.cross(UP);
    let toward = if toward.dot(world.stand.eye - foot) > 0.0 {
        toward
    } else {
        -toward
    };
    world.block(
        foot + toward * 0.12,
        toward,
        (0.12, 0.17 * scale),
        0.95 * scale,
        Label::TrafficLight,
        Material::Paint {
            colour: paint(0.10, 0.11, 0.10),
            gloss: 0.1,
        },
    );
    let lights = [
        (Aspect::Green, v3(0.08, 1.0, 0.35), 0.18),
        (Aspect::Amber, v3(1.0, 0.55, 0.05), 0.475),
        (Aspect::Red, v3(1.0, 0.07, 0.05), 0.77),
    ];
    for (which, colour, up) in lights {
        let at = foot + toward * 0.26 + UP * (up * scale);
        let on = which == aspect;
        let (day, night) = if on { (1.6, 6.0) } else { (0.02, 0.01) };
        world.disc(
            at,
            (across, UP),
            Outline::Disc {
                radius: 0.115 * scale,
            },
            Label::TrafficLight,
            Material::Lamp {
                colour: if on { colour } else { colour * 0.15 },
                day,
                night,
            },
        );
        if on {
            world.glows.push(Glow {
                at: at + toward * 0.05,
                colour,
                power: 0.35,
                reach: 0.0,
                by_day: true,
            });
        }
    }
}

/// A sign on a post, facing the eye.
pub fn sign(world: &mut World, base: V3, face: SignFace, rng: &mut SceneRng) {
    world.begin();
    let height = rng.within(2.2, 2.7);
    world.post(base, height + 0.25, 0.04, Label::Pole, STEEL * 1.1);
    board(world, base + UP * height, face, 1.0);
    if rng.chance(0.25) {
        board(world, base + UP * (height - 0.8), SignFace::Direction, 0.7);
    }
}

fn board(world: &mut World, centre: V3, face: SignFace, scale: f32) {
    let across = world.facing(centre);
    let toward = (world.stand.eye - centre).unit() * 0.06;
    let centre = centre + v3(toward.x, 0.0, toward.z);
    let half = 0.36 * scale;
    let material = Material::Sign { face, half };
    let ring = |count: u32, turn: f32, size: f32| -> Vec<V3> {
        (0..count)
            .map(|i| {
                let a = turn + i as f32 * std::f32::consts::TAU / count as f32;
                centre + across * (a.cos() * size) + UP * (a.sin() * size)
            })
            .collect()
    };
    let corners = match face {
        SignFace::Speed | SignFace::NoEntry => {
            world.disc(
                centre,
                (across, UP),
                Outline::Disc { radius: half },
                Label::TrafficSign,
                material,
            );
            return;
        }
        SignFace::Warning => ring(3, std::f32::consts::FRAC_PI_2, half * 1.15),
        SignFace::Priority => ring(4, 0.0, half * 1.1),
        SignFace::Stop => ring(8, std::f32::consts::FRAC_PI_8, half * 1.05),
        SignFace::Parking => ring(4, std::f32::consts::FRAC_PI_4, half * 1.35),
        SignFace::Direction => {
            let (a, b) = (across * (half * 2.0), UP * half);
            vec![centre - a - b, centre + a - b, centre + a + b, centre - a + b]
        }
    };
    world.framed(&corners, centre, across, UP, Label::TrafficSign, material);
}

/// A large direction board on two posts over the verge.
pub fn gantry(world: &mut World, base: V3, rng: &mut SceneRng) {
    world.begin();
    let across = world.facing(base);
    for side in [-1.0, 1.0] {
        world.post(base + across * (side * 1.1), 3.2, 0.07, Label::Pole, STEEL);
    }
    let height = rng.within(2.4, 2.9);
    let (a, b) = (across * 1.5, UP * 0.75);
    let centre = base + UP * height;
    let centre = centre + (world.stand.eye - centre).unit() * 0.1;
    world.framed(
        &[centre - a - b, centre + a - b, centre + a + b, centre - a + b],
        centre,
        across,
        UP,
        Label::TrafficSign,
        Material::Sign {
            face: SignFace::Direction,
            half: 0.75,
        },
    );
}

/// Something small that never moves: bin, bollards, bench, letter box, advertising column.
pub fn fixture(world: &mut World, base: V3, heading: V3, rng: &mut SceneRng) {
    world.begin();
    match rng.count(0, 4) {
        0 => {
            let colour = rng.pick(&[
                paint(0.20, 0.22, 0.22),
                paint(0.15, 0.32, 0.20),
                paint(0.75, 0.40, 0.08),
            ]);
            world.post(base, 1.0, 0.24, Label::Static, colour);
            world.post(base, 1.08, 0.26, Label::Static, colour * 0.7);
        }
        1 => {
            for step in 0..4 {
                world.post(
                    base + heading * (step as f32 * 1.4),
                    0.9,
                    0.07,
                    Label::Static,
                    paint(0.25, 0.25, 0.26),
                );
            }
        }
        2 => {
            let wood = Material::Paint {
                colour: paint(0.50, 0.34, 0.20),
                gloss: 0.05,
            };
            world.block(base + UP * 0.42, heading, (0.9, 0.22), 0.06, Label::Static, wood);
            world.block(
                base + UP * 0.5 + heading.rightward() * 0.2,
                heading,
                (0.9, 0.03),
                0.4,
                Label::Static,
                wood,
            );
            for end in [-0.7, 0.7] {
                world.block(
                    base + heading * end,
                    heading,
                    (0.05, 0.2),
                    0.42,
                    Label::Static,
                    Material::Paint {
                        colour: STEEL * 0.6,
                        gloss: 0.1,
                    },
                );
            }
        }
        3 => {
            let colour = rng.pick(&[
                paint(0.92, 0.75, 0.10),
                paint(0.75, 0.12, 0.12),
                paint(0.35, 0.36, 0.40),
            ]);
            world.block(
                base,
                heading,
                (0.3, 0.25),
                1.35,
                Label::Static,
                Material::Paint { colour, gloss: 0.2 },
            );
        }
        _ => {
            let colour = rng.pick(&[
                paint(0.85, 0.80, 0.66),
                paint(0.60, 0.20, 0.25),
                paint(0.25, 0.45, 0.60),
            ]);
            column(world, base, colour, rng.salt());
            world.post(
                base + UP * 2.9,
                0.25,
                0.68,
                Label::Static,
                paint(0.25, 0.30, 0.27),
            );
        }
    }
}

/// A round advertising column.
fn column(world: &mut World, base: V3, colour: Rgb, salt: u32) {
    let across = world.facing(base) * 0.6;
    let lift = UP * 2.9;
    let corners = [
        base - across,
        base + across,
        base + across + lift,
        base - across + lift,
    ];
    let material = Material::Posters { colour, salt };
    world.framed(&corners, base, across.unit(), UP, Label::Static, material);
}

/// A bus shelter of glass.
pub fn shelter(world: &mut World, base: V3, heading: V3, outward: V3) {
    world.begin();
    let (long, deep) = (heading * 1.9, outward * 1.3);
    let back = [base - long + deep, base + long + deep];
    let lift = UP * 2.4;
    let pane = Material::Bars {
        colour: paint(0.35, 0.37, 0.38),
        behind: paint(0.50, 0.56, 0.56),
        gap: 1.25,
    };
    world.polygon(
        &[back[0], back[1], back[1] + lift, back[0] + lift],
        Label::Static,
        pane,
    );
    world.polygon(
        &[
            back[0],
            base - long + outward * 0.3,
            base - long + outward * 0.3 + lift,
            back[0] + lift,
        ],
        Label::Static,
        Material::Lamp {
            colour: paint(0.70, 0.75, 0.80),
            day: 0.05,
            night: 0.9,
        },
    );
    world.block(
        base + lift + outward * 0.65,
        heading,
        (2.1, 0.9),
        0.12,
        Label::Static,
        Material::Paint {
            colour: STEEL * 0.7,
            gloss: 0.2,
        },
    );
}
