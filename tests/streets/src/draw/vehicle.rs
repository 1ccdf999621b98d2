//! Cars, and what all vehicles share: wheels, lights, glass set into a side.

use crate::label::Label;
use crate::material::Material;
use crate::rng::SceneRng;
use crate::sheet::Outline;
use crate::vector::{Rgb, UP, paint, v3};
use crate::world::{Glow, Place, World};

pub const RUBBER: Rgb = paint(0.09, 0.09, 0.09);
pub const CHROME: Rgb = paint(0.62, 0.63, 0.65);

const CAR_PAINT: [Rgb; 12] = [
    paint(0.75, 0.76, 0.78),
    paint(0.88, 0.88, 0.87),
    paint(0.14, 0.14, 0.15),
    paint(0.10, 0.10, 0.12),
    paint(0.36, 0.37, 0.40),
    paint(0.55, 0.56, 0.58),
    paint(0.58, 0.08, 0.08),
    paint(0.10, 0.18, 0.42),
    paint(0.16, 0.28, 0.46),
    paint(0.12, 0.30, 0.22),
    paint(0.86, 0.70, 0.12),
    paint(0.55, 0.44, 0.30),
];

/// Whether a vehicle is used: driven ones show lights, and their brakes may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Parked,
    Driven,
    Braking,
}

pub fn any_paint(rng: &mut SceneRng) -> Rgb {
    rng.pick(&CAR_PAINT)
}

/// Wheels at `along` positions on both sides, `out` metres from the middle.
pub fn wheels(world: &mut World, place: &Place, along: &[f32], out: f32, radius: f32, label: Label) {
    for &a in along {
        for side in [-1.0, 1.0] {
            let centre = place.at(a, side * out, radius);
            let plane = (place.heading, UP);
            let paint_of = |colour| Material::Paint { colour, gloss: 0.05 };
            world.disc(centre, plane, Outline::Disc { radius }, label, paint_of(RUBBER));
            let hub = place.at(a, side * (out + 0.012), radius);
            world.disc(
                hub,
                plane,
                Outline::Disc {
                    radius: radius * 0.62,
                },
                label,
                paint_of(CHROME * 0.6),
            );
            let cap = place.at(a, side * (out + 0.02), radius);
            world.disc(
                cap,
                plane,
                Outline::Disc { radius: radius * 0.2 },
                label,
                paint_of(CHROME * 0.3),
            );
            world.block(
                place.at(a, side * (out - 0.12), 0.0),
                place.heading,
                (radius * 0.85, 0.11),
                radius * 1.2,
                label,
                paint_of(RUBBER),
            );
        }
    }
}

/// Where the lights of a vehicle sit.
#[derive(Clone, Copy, Debug)]
pub struct LightPlan {
    /// Half length and half width of the body.
    pub half: (f32, f32),
    /// Heights of head and tail lights.
    pub head: f32,
    pub tail: f32,
    /// Half extents of one light.
    pub size: (f32, f32),
}

/// Head and tail lights, plates.
pub fn lights(world: &mut World, place: &Place, plan: &LightPlan, usage: Use, label: Label) {
    let (long, wide) = plan.half;
    let right = place.heading.rightward();
    let (tail_day, tail_night) = match usage {
        Use::Parked => (0.03, 0.0),
        Use::Driven => (0.15, 2.2),
        Use::Braking => (2.2, 5.0),
    };
    let (head_day, head_night) = if usage == Use::Parked {
        (0.12, 0.0)
    } else {
        (0.9, 9.0)
    };
    let (red, white) = (v3(1.0, 0.04, 0.03), v3(1.0, 0.94, 0.80));
    for side in [-1.0, 1.0] {
        let out = side * (wide - plan.size.0 - 0.04);
        let mut panel = |along: f32, up: f32, material: Material| {
            let c = place.at(along, out, up);
            let (a, b) = (right * plan.size.0, UP * plan.size.1);
            world.framed(
                &[c - a - b, c + a - b, c + a + b, c - a + b],
                c,
                right,
                UP,
                label,
                material,
            );
            c
        };
        let tail = panel(
            -long - 0.03,
            plan.tail,
            Material::Lamp {
                colour: red.mix(paint(0.5, 0.05, 0.05), 0.2),
                day: tail_day,
                night: tail_night,
            },
        );
        let head = panel(
            long + 0.03,
            plan.head,
            Material::Lamp {
                colour: white,
                day: head_day,
                night: head_night,
            },
        );
        if usage != Use::Parked {
            let back = place.heading * -0.1;
            world.glows.push(Glow {
                at: tail + back,
                colour: red,
                power: if usage == Use::Braking { 0.4 } else { 0.18 },
                reach: 0.0,
                by_day: usage == Use::Braking,
            });
            world.glows.push(Glow {
                at: head - back,
                colour: white,
                power: 1.1,
                reach: 0.0,
                by_day: false,
            });
        }
    }
    for (along, up) in [
        (-long - 0.035, plan.tail - 0.22),
        (long + 0.035, plan.head - 0.22),
    ] {
        let c = place.at(along, 0.0, up);
        let (a, b) = (right * 0.26, UP * 0.06);
        world.framed(
            &[c - a - b, c + a - b, c + a + b, c - a + b],
            c,
            right,
            UP,
            label,
            Material::Paint {
                colour: paint(0.85, 0.85, 0.80),
                gloss: 0.1,
            },
        );
    }
}

/// A pane of glass on both sides of a body: `(along, up)` corners, `out` from the middle at the foot, less `lean` at the top.
pub fn side_glass(
    world: &mut World,
    place: &Place,
    corners: &[(f32, f32)],
    out: f32,
    lean: f32,
    label: Label,
) {
    let low = corners.iter().fold(f32::MAX, |m, c| m.min(c.1));
    let high = corners.iter().fold(f32::MIN, |m, c| m.max(c.1));
    for side in [-1.0, 1.0] {
        let at = |&(a, y): &(f32, f32)| place.at(a, side * (out - lean * (y - low) / (high - low)), y);
        let face: Vec<_> = corners.iter().map(at).collect();
        world.polygon(&face, label, Material::Glass).normal = place.heading.rightward() * side;
    }
}

/// How a car is shaped, in metres from its middle.
struct Shape {
    long: f32,
    wide: f32,
    tall: f32,
    /// Shoulder height, where body and cabin meet.
    shoulder: f32,
    /// Cabin: foot of the rear window, roof's ends, foot of the windscreen.
    cabin: [f32; 4],
}

fn shape(rng: &mut SceneRng) -> Shape {
    match rng.count(0, 3) {
        0 => Shape {
            long: 2.0,
            wide: 0.86,
            tall: 1.46,
            shoulder: 0.92,
            cabin: [-1.95, -1.55, 0.35, 1.15],
        },
        1 => Shape {
            long: 2.3,
            wide: 0.90,
            tall: 1.44,
            shoulder: 0.92,
            cabin: [-1.75, -0.95, 0.45, 1.25],
        },
        2 => Shape {
            long: 2.35,
            wide: 0.90,
            tall: 1.48,
            shoulder: 0.93,
            cabin: [-2.28, -1.95, 0.45, 1.25],
        },
        _ => Shape {
            long: 2.25,
            wide: 0.95,
            tall: 1.72,
            shoulder: 1.08,
            cabin: [-2.18, -1.85, 0.45, 1.15],
        },
    }
}

/// A car standing at `place`.
pub fn car(world: &mut World, place: &Place, usage: Use, rng: &mut SceneRng) {
    world.begin();
    let s = shape(rng);
    let colour = any_paint(rng);
    let body = Material::Paint { colour, gloss: 0.55 };
    let dark = Material::Paint {
        colour: colour * 0.35,
        gloss: 0.2,
    };
    let under = Material::Paint {
        colour: RUBBER,
        gloss: 0.0,
    };
    let nose = s.shoulder - 0.2;
    let hull = [
        (-s.long, 0.32),
        (s.long, 0.32),
        (s.long, nose - 0.1),
        (s.long - 0.12, nose),
        (s.cabin[3], s.shoulder),
        (-s.long + 0.12, s.shoulder),
        (-s.long, s.shoulder - 0.12),
    ];
    world.prism(
        place,
        &hull,
        s.wide,
        Label::Car,
        body,
        &[under, body, body, body, body, body, body],
    );
    let sill = [
        (-s.long + 0.1, 0.18),
        (s.long - 0.1, 0.18),
        (s.long - 0.02, 0.36),
        (-s.long + 0.02, 0.36),
    ];
    world.prism(
        place,
        &sill,
        s.wide - 0.02,
        Label::Car,
        dark,
        &[under, dark, dark, dark],
    );
    cabin(world, place, &s, body);
    wheels(
        world,
        place,
        &[-s.long * 0.62, s.long * 0.64],
        s.wide - 0.01,
        0.32,
        Label::Car,
    );
    let plan = LightPlan {
        half: (s.long, s.wide),
        head: nose - 0.18,
        tail: s.shoulder - 0.2,
        size: (0.18, 0.085),
    };
    lights(world, place, &plan, usage, Label::Car);
    let grille = place.at(s.long + 0.02, 0.0, nose - 0.3);
    let (a, b) = (place.heading.rightward() * 0.5, UP * 0.07);
    world.framed(
        &[grille - a - b, grille + a - b, grille + a + b, grille - a + b],
        grille,
        place.heading.rightward(),
        UP,
        Label::Car,
        under,
    );
}

fn cabin(world: &mut World, place: &Place, s: &Shape, body: Material) {
    let [rear, roof_rear, roof_front, front] = s.cabin;
    let (low, top) = (s.wide - 0.04, s.wide - 0.2);
    let corner = |a: f32, out: f32, y: f32| place.at(a, out, y);
    let quad = |world: &mut World, a: (f32, f32, f32), b: (f32, f32, f32), material: Material| {
        let face = [
            corner(a.0, -a.1, a.2),
            corner(a.0, a.1, a.2),
            corner(b.0, b.1, b.2),
            corner(b.0, -b.1, b.2),
        ];
        world.polygon(&face, Label::Car, material);
    };
    let (sh, tall) = (s.shoulder, s.tall);
    quad(world, (roof_rear, top, tall), (roof_front, top, tall), body);
    let windows = [((rear, roof_rear), -1.0), ((front, roof_front), 1.0)];
    for ((foot, head), way) in windows {
        quad(world, (foot, low, sh), (head, top, tall), body);
        let at = |t: f32| foot + (head - foot) * t + way * 0.012;
        let out = |t: f32| low + (top - low) * t - 0.09;
        let up = |t: f32| sh + (tall - sh) * t + 0.012;
        quad(
            world,
            (at(0.1), out(0.1), up(0.1)),
            (at(0.9), out(0.9), up(0.9)),
            Material::Glass,
        );
    }
    for side in [-1.0, 1.0] {
        let face = [
            corner(rear, side * low, sh),
            corner(front, side * low, sh),
            corner(roof_front, side * top, tall),
            corner(roof_rear, side * top, tall),
        ];
        world.polygon(&face, Label::Car, body).normal = (place.heading.rightward() * side + UP * 0.25).unit();
    }
    let middle = (rear + front) * 0.5 - 0.1;
    let inset = |t: f32| {
        (
            rear + (roof_rear - rear) * t + 0.14,
            front + (roof_front - front) * t - 0.14,
        )
    };
    let ((a0, b0), (a1, b1)) = (inset(0.08), inset(0.86));
    let (y0, y1) = (sh + 0.03, tall - 0.07);
    let lean = (low - top) * 0.8;
    side_glass(
        world,
        place,
        &[(a0, y0), (middle - 0.05, y0), (middle - 0.05, y1), (a1, y1)],
        low + 0.012,
        lean,
        Label::Car,
    );
    side_glass(
        world,
        place,
        &[(middle + 0.05, y0), (b0, y0), (b1, y1), (middle + 0.05, y1)],
        low + 0.012,
        lean,
        Label::Car,
    );
}
