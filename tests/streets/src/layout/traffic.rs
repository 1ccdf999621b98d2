//! Vehicles on the lanes and in the parking bays, people on the sidewalks and crossings.

use crate::draw::cycle::{View, bicycle, motorcycle};
use crate::draw::figure::person;
use crate::draw::truck::{bus, tram, truck};
use crate::draw::vehicle::{Use, car};
use crate::layout::Taste;
use crate::rng::SceneRng;
use crate::vector::{V3, v3};
use crate::world::{Place, World};

pub fn fill(world: &mut World, taste: &Taste, rng: &mut SceneRng) {
    rails(world, rng);
    for lane in 0..world.street.lanes_each_way {
        for side in [-1.0, 1.0] {
            lane_traffic(world, taste, side, lane, rng);
        }
    }
    for side in [-1.0, 1.0] {
        parked(world, taste, side, rng);
        sidewalk(world, taste, side, rng);
    }
    crossing(world, taste, rng);
}

fn spot(world: &World, lateral: f32, z: f32) -> V3 {
    v3(world.street.middle(z) + lateral, 0.0, z)
}

fn rails(world: &mut World, rng: &mut SceneRng) {
    if !world.street.tram || !rng.chance(0.75) {
        return;
    }
    // Ours may be in the way of a tram of the same direction, so it comes towards us or is far ahead.
    let (lateral, z, turn) = if rng.chance(0.7) {
        (-1.6, rng.within(26.0, 50.0), -1.0)
    } else {
        (1.6, rng.within(34.0, 55.0), 1.0)
    };
    if !world.street.in_junction(z, 18.0) || rng.chance(0.5) {
        let base = spot(world, lateral, z);
        tram(
            world,
            &Place {
                base,
                heading: world.street.heading(z) * turn,
            },
            rng,
        );
    }
}

fn lane_traffic(world: &mut World, taste: &Taste, side: f32, lane: u32, rng: &mut SceneRng) {
    if world.street.tram && lane == 0 {
        return;
    }
    let width = world.street.half_width / world.street.lanes_each_way as f32;
    let lateral = side * width * (lane as f32 + 0.5);
    let ours = (lateral - world.stand.eye.x).abs() < width * 0.5;
    let mut z = if ours {
        rng.within(11.0, 34.0)
    } else {
        rng.within(5.0, 30.0)
    };
    while z < 120.0 {
        let busy = rng.chance(taste.cars);
        if busy && !world.street.in_junction(z, 6.0) {
            let heading = world.street.heading(z) * if side > 0.0 { 1.0 } else { -1.0 };
            let place = Place {
                base: spot(world, lateral + rng.within(-0.25, 0.25), z),
                heading,
            };
            let usage = if rng.chance(0.3) {
                Use::Braking
            } else {
                Use::Driven
            };
            let roll = rng.unit();
            let heavy = taste.heavy * if z > 14.0 { 0.36 } else { 0.0 };
            let room = if roll < heavy * 0.5 {
                bus(world, &place, usage, rng);
                9.0
            } else if roll < heavy {
                truck(world, &place, usage, rng);
                7.0
            } else if roll < heavy + taste.two_wheelers * 0.14 {
                let view = if side > 0.0 { View::Rear } else { View::Front };
                motorcycle(world, place.base, view, true, rng);
                2.0
            } else if roll < heavy + taste.two_wheelers * 0.42 {
                let view = if side > 0.0 { View::Rear } else { View::Front };
                bicycle(
                    world,
                    spot(world, side * (world.street.half_width - 0.6), z),
                    view,
                    true,
                    rng,
                );
                3.0
            } else {
                car(world, &place, usage, rng);
                3.0
            };
            z += room;
        }
        z += rng.within(7.0, 30.0);
    }
}

fn parked(world: &mut World, taste: &Taste, side: f32, rng: &mut SceneRng) {
    let margin = *world.street.margin(side);
    if margin.parking <= 0.0 {
        return;
    }
    let lateral = side * (world.street.half_width + margin.parking * 0.5);
    let full = rng.within(0.45, 0.95);
    let mut z = rng.within(3.0, 8.0);
    while z < 110.0 {
        if !world.street.in_junction(z, 7.0) && rng.chance(full) {
            let turn = if rng.chance(0.85) { side } else { -side };
            let place = Place {
                base: spot(world, lateral, z),
                heading: world.street.heading(z) * turn,
            };
            if rng.chance(0.05 * taste.heavy * 2.0) && z > 12.0 {
                truck(world, &place, Use::Parked, rng);
                z += 4.0;
            } else if rng.chance(0.07) {
                motorcycle(world, place.base, View::Side(rng.pick(&[-1, 1])), false, rng);
            } else {
                car(world, &place, Use::Parked, rng);
            }
        }
        z += rng.within(5.4, 6.6);
    }
}

fn sidewalk(world: &mut World, taste: &Taste, side: f32, rng: &mut SceneRng) {
    let margin = *world.street.margin(side);
    let start = world.street.half_width + margin.parking;
    let mut z = rng.within(6.0, 12.0);
    while z < 90.0 {
        if rng.chance(taste.people) && !world.street.in_junction(z, 1.0) {
            for _ in 0..rng.pick(&[1, 1, 1, 2, 2, 3]) {
                let lateral = side * (start + rng.within(0.7, (margin.sidewalk - 0.4).max(0.9)));
                person(world, spot(world, lateral, z + rng.within(-0.8, 0.8)), rng);
            }
        }
        if rng.chance(taste.two_wheelers * 0.3) && !world.street.in_junction(z, 4.0) {
            let lateral = side * (start + (margin.sidewalk - 0.5).max(0.6));
            for step in 0..rng.count(1, 3) {
                let base = spot(world, lateral, z + 2.0 + step as f32 * 0.8);
                bicycle(world, base, View::Side(rng.pick(&[-1, 1])), false, rng);
            }
        }
        z += rng.within(4.0, 16.0);
    }
}

fn crossing(world: &mut World, taste: &Taste, rng: &mut SceneRng) {
    let Some(j) = world.street.junction else { return };
    let half = world.street.half_width;
    for z in [j.near - 2.6, j.far + 2.6] {
        for _ in 0..(taste.people * 4.0 * rng.unit() + 0.4) as u32 {
            person(
                world,
                spot(world, rng.within(-half, half), z + rng.within(-0.9, 0.9)),
                rng,
            );
        }
    }
    let lanes = [
        (j.near + (j.far - j.near) * 0.28, 1.0),
        (j.near + (j.far - j.near) * 0.72, -1.0),
    ];
    for (z, way) in lanes {
        if !rng.chance(0.75) {
            continue;
        }
        let x = rng.within(-1.4, 1.4) * half;
        let place = Place::new(world.street.middle(z) + x, z, v3(way, 0.0, 0.0));
        let view = View::Side(if way > 0.0 { 1 } else { -1 });
        let roll = rng.unit();
        if roll < taste.two_wheelers * 0.4 {
            bicycle(world, place.base, view, true, rng);
        } else if roll < taste.two_wheelers * 0.55 {
            motorcycle(world, place.base, view, true, rng);
        } else if roll < taste.two_wheelers * 0.55 + taste.heavy * 0.2 {
            bus(world, &place, Use::Driven, rng);
        } else if roll < taste.two_wheelers * 0.55 + taste.heavy * 0.4 {
            truck(world, &place, Use::Driven, rng);
        } else {
            car(world, &place, Use::Driven, rng);
        }
    }
}
