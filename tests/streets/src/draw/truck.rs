//! Trucks, buses and trams.

use crate::draw::vehicle::{LightPlan, RUBBER, Use, any_paint, lights, side_glass, wheels};
use crate::label::Label;
use crate::material::Material;
use crate::rng::SceneRng;
use crate::vector::{Rgb, UP, paint};
use crate::world::{Place, World};

fn painted(colour: Rgb) -> Material {
    Material::Paint { colour, gloss: 0.3 }
}

/// A pane across the front (`way` 1) or rear (-1) of a body.
fn end_glass(world: &mut World, place: &Place, along: f32, half: f32, rows: (f32, f32), label: Label) {
    let right = place.heading.rightward();
    let (low, high) = (place.at(along, 0.0, rows.0), place.at(along, 0.0, rows.1));
    world.framed(
        &[
            low - right * half,
            low + right * half,
            high + right * half,
            high - right * half,
        ],
        low,
        right,
        UP,
        label,
        Material::Glass,
    );
}

/// A lorry with a box body, or a flat bed with a load.
pub fn truck(world: &mut World, place: &Place, usage: Use, rng: &mut SceneRng) {
    world.begin();
    let long = rng.within(3.2, 4.6);
    let (wide, tall) = (1.2, rng.within(2.9, 3.6));
    let cab = any_paint(rng);
    let cargo = rng.pick(&[
        paint(0.86, 0.86, 0.85),
        paint(0.78, 0.55, 0.15),
        paint(0.20, 0.35, 0.60),
        paint(0.65, 0.15, 0.12),
        paint(0.45, 0.48, 0.45),
    ]);
    let label = Label::Truck;
    let under = painted(RUBBER * 2.0);
    world.block(
        place.at(0.0, 0.0, 0.45),
        place.heading,
        (long, wide - 0.3),
        0.4,
        label,
        under,
    );
    world.block(
        place.at(-0.9, 0.0, 0.85),
        place.heading,
        (long - 0.95, wide),
        tall - 0.85,
        label,
        painted(cargo),
    );
    for side in [-1.0, 1.0] {
        let stripe = [
            place.at(-long + 0.3, side * (wide + 0.01), 1.5),
            place.at(long - 2.4, side * (wide + 0.01), 1.5),
            place.at(long - 2.4, side * (wide + 0.01), 2.1),
            place.at(-long + 0.3, side * (wide + 0.01), 2.1),
        ];
        world.polygon(&stripe, label, painted(cab)).normal = place.heading.rightward() * side;
    }
    let roof = tall.min(2.8) - 0.15;
    let profile = [
        (long - 1.75, 0.55),
        (long, 0.55),
        (long, 1.4),
        (long - 0.25, roof),
        (long - 1.75, roof),
    ];
    world.prism(
        place,
        &profile,
        wide - 0.08,
        label,
        painted(cab),
        &[under, painted(cab), Material::Glass, painted(cab), painted(cab)],
    );
    side_glass(
        world,
        place,
        &[
            (long - 1.3, 1.45),
            (long - 0.3, 1.45),
            (long - 0.45, roof - 0.25),
            (long - 1.3, roof - 0.25),
        ],
        wide - 0.06,
        0.0,
        label,
    );
    let right = place.heading.rightward();
    let door = place.at(-long - 0.08, 0.0, 0.95);
    world.framed(
        &[
            door - right * 0.02,
            door + right * 0.02,
            door + right * 0.02 + UP * (tall - 1.1),
            door - right * 0.02 + UP * (tall - 1.1),
        ],
        door,
        right,
        UP,
        label,
        under,
    );
    wheels(
        world,
        place,
        &[-long + 0.9, -long + 2.0, long - 1.0],
        wide - 0.02,
        0.48,
        label,
    );
    lights(
        world,
        place,
        &LightPlan {
            half: (long + 0.02, wide - 0.1),
            head: 0.85,
            tail: 0.75,
            size: (0.15, 0.1),
        },
        usage,
        label,
    );
}

/// A city bus.
pub fn bus(world: &mut World, place: &Place, usage: Use, rng: &mut SceneRng) {
    world.begin();
    let colour = rng.pick(&[
        paint(0.80, 0.10, 0.10),
        paint(0.90, 0.72, 0.12),
        paint(0.88, 0.88, 0.86),
        paint(0.12, 0.35, 0.60),
        paint(0.20, 0.50, 0.30),
    ]);
    let (long, wide, tall) = (rng.within(5.2, 6.1), 1.26, 3.05);
    coach(world, place, (long, wide, tall), colour, Label::Bus);
    wheels(
        world,
        place,
        &[-long + 2.6, long - 2.4],
        wide + 0.01,
        0.48,
        Label::Bus,
    );
    lights(
        world,
        place,
        &LightPlan {
            half: (long + 0.02, wide),
            head: 0.8,
            tail: 0.9,
            size: (0.16, 0.13),
        },
        usage,
        Label::Bus,
    );
    let right = place.heading.rightward();
    for way in [-1.0, 1.0] {
        let c = place.at(way * (long + 0.03), 0.0, tall - 0.25);
        let (a, b) = (right * 0.7, UP * 0.13);
        let board = Material::Lamp {
            colour: paint(0.95, 0.60, 0.10),
            day: 0.45,
            night: 1.5,
        };
        world.framed(
            &[c - a - b, c + a - b, c + a + b, c - a + b],
            c,
            right,
            UP,
            Label::Bus,
            board,
        );
    }
}

/// A tram of two cars on the rails.
pub fn tram(world: &mut World, place: &Place, rng: &mut SceneRng) {
    world.begin();
    let colour = rng.pick(&[
        paint(0.85, 0.80, 0.66),
        paint(0.15, 0.45, 0.30),
        paint(0.70, 0.12, 0.12),
        paint(0.20, 0.40, 0.65),
    ]);
    for part in [-1.0, 1.0] {
        let car = Place {
            base: place.at(part * 7.3, 0.0, 0.0),
            heading: place.heading,
        };
        coach(world, &car, (6.9, 1.25, 3.4), colour, Label::Train);
        world.block(
            car.base,
            place.heading,
            (6.2, 1.0),
            0.5,
            Label::Train,
            painted(RUBBER * 2.0),
        );
    }
    world.block(
        place.at(0.0, 0.0, 0.5),
        place.heading,
        (0.5, 1.1),
        2.7,
        Label::Train,
        painted(RUBBER * 2.0),
    );
    world.block(
        place.at(0.0, 0.0, 3.4),
        place.heading,
        (1.2, 0.5),
        0.35,
        Label::Train,
        painted(paint(0.4, 0.4, 0.4)),
    );
    lights(
        world,
        place,
        &LightPlan {
            half: (14.25, 1.25),
            head: 0.95,
            tail: 0.95,
            size: (0.13, 0.12),
        },
        Use::Driven,
        Label::Train,
    );
}

/// A long body with a band of windows; `size` is half length, half width, height.
fn coach(world: &mut World, place: &Place, size: (f32, f32, f32), colour: Rgb, label: Label) {
    let (long, wide, tall) = size;
    world.block(
        place.at(0.0, 0.0, 0.35),
        place.heading,
        (long, wide),
        tall - 0.35,
        label,
        painted(colour),
    );
    let skirt = painted(colour * 0.35);
    for side in [-1.0, 1.0] {
        let out = side * (wide + 0.008);
        let face = [
            place.at(-long, out, 0.35),
            place.at(long, out, 0.35),
            place.at(long, out, 0.8),
            place.at(-long, out, 0.8),
        ];
        world.polygon(&face, label, skirt).normal = place.heading.rightward() * side;
    }
    let panes = (long * 2.0 / 1.5) as u32;
    let step = long * 2.0 / panes as f32;
    for pane in 0..panes {
        let from = -long + pane as f32 * step + 0.09;
        let door = pane % 4 == 1;
        let low = if door { 0.5 } else { 1.3 };
        let to = from + step - 0.16;
        side_glass(
            world,
            place,
            &[(from, low), (to, low), (to, tall - 0.55), (from, tall - 0.55)],
            wide + 0.014,
            0.0,
            label,
        );
        let light = Material::Lamp {
            colour: paint(0.95, 0.90, 0.78),
            day: 0.06,
            night: 0.7,
        };
        for side in [-1.0, 1.0] {
            let out = side * (wide + 0.02);
            let strip = [
                place.at(from, out, tall - 0.95),
                place.at(to, out, tall - 0.95),
                place.at(to, out, tall - 0.6),
                place.at(from, out, tall - 0.6),
            ];
            world.polygon(&strip, label, light).normal = place.heading.rightward() * side;
        }
    }
    for way in [-1.0, 1.0] {
        end_glass(
            world,
            place,
            way * (long + 0.015),
            wide - 0.12,
            (1.25, tall - 0.5),
            label,
        );
    }
}
