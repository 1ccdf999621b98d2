//! Where things stand: a street is planned, its sides are built up, then it is peopled.

mod acdc;
mod cityscapes;
mod gta;
mod plots;
mod traffic;

use crate::camera::Stand;
use crate::draw::building::Fashion;
use crate::draw::ego::Hood;
use crate::draw::plant::Growth;
use crate::draw::road::{Junction, Margin, Street};
use crate::rng::SceneRng;
use crate::vector::{Rgb, paint, v3};
use crate::world::World;

/// Which collection a scene belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// European town, seen from a car of a measuring fleet.
    Cityscapes,
    /// Swiss towns and outskirts.
    Acdc,
    /// A game's boulevards.
    Gta,
}

/// What a collection's streets are like; ranges are drawn from uniformly, shares are probabilities.
#[derive(Clone, Debug)]
pub struct Taste {
    pub fashion: Fashion,
    pub stories: (u32, u32),
    pub lanes: &'static [u32],
    pub lane_width: (f32, f32),
    pub bend: f32,
    pub junction: f32,
    pub tram: f32,
    pub parking: f32,
    pub verge: f32,
    pub sidewalk: (f32, f32),
    /// Share of the street sides that are built on.
    pub built: f32,
    pub trees: f32,
    pub growth: &'static [Growth],
    pub people: f32,
    pub cars: f32,
    pub heavy: f32,
    pub two_wheelers: f32,
    pub hills: f32,
    pub lamp: Rgb,
    pub yellow_line: bool,
    pub eye: (f32, f32),
    pub focal: f32,
    /// Downward tilt of the camera, radians.
    pub pitch: (f32, f32),
    pub hood: bool,
}

/// Builds the world of one scene. The same `rng` gives the same world.
pub fn scene(style: Style, rng: &SceneRng) -> World {
    let mut plan_luck = rng.fork(1);
    let taste = match style {
        Style::Cityscapes => cityscapes::taste(&mut plan_luck),
        Style::Acdc => acdc::taste(&mut plan_luck),
        Style::Gta => gta::taste(&mut plan_luck),
    };
    let street = street(&taste, &mut plan_luck);
    let stand = stand(&taste, &street, &mut plan_luck);
    let mut world = World::new(stand, street);
    if taste.hood {
        world.hood = Some(Hood {
            crest: 0.90,
            drop: 0.06,
            paint: paint(0.14, 0.15, 0.16),
        });
    }
    plots::build(&mut world, &taste, &mut rng.fork(2));
    traffic::fill(&mut world, &taste, &mut rng.fork(3));
    world
}

fn street(taste: &Taste, rng: &mut SceneRng) -> Street {
    let lanes = rng.pick(taste.lanes);
    let tram = rng.chance(taste.tram);
    let half_width =
        lanes as f32 * rng.within(taste.lane_width.0, taste.lane_width.1) + if tram { 1.2 } else { 0.0 };
    let mut margin = || Margin {
        parking: if rng.chance(taste.parking) {
            rng.pick(&[2.1, 2.3])
        } else {
            0.0
        },
        sidewalk: rng.within(taste.sidewalk.0, taste.sidewalk.1),
        verge: if rng.chance(taste.verge) {
            rng.within(1.5, 5.0)
        } else {
            0.0
        },
    };
    let margins = [margin(), margin()];
    let junction = rng.chance(taste.junction).then(|| {
        let near = rng.within(15.0, 38.0);
        Junction {
            near,
            far: near + rng.within(8.0, 13.0),
        }
    });
    let tone = rng.within(0.36, 0.50);
    Street {
        slope: rng.within(-0.03, 0.03),
        bend: if rng.chance(0.6) {
            rng.within(-taste.bend, taste.bend)
        } else {
            0.0
        },
        half_width,
        lanes_each_way: lanes,
        margins,
        junction,
        tram,
        tar: paint(tone, tone, tone * rng.within(0.98, 1.04)),
        slabs: rng.pick(&[
            paint(0.62, 0.60, 0.57),
            paint(0.58, 0.57, 0.56),
            paint(0.66, 0.58, 0.52),
            paint(0.55, 0.56, 0.58),
        ]),
        grass: rng.pick(&[
            paint(0.36, 0.46, 0.20),
            paint(0.42, 0.47, 0.24),
            paint(0.30, 0.42, 0.18),
        ]),
        yellow_line: taste.yellow_line,
        salt: rng.salt(),
    }
}

fn stand(taste: &Taste, street: &Street, rng: &mut SceneRng) -> Stand {
    let lane = street.half_width / street.lanes_each_way as f32;
    let offset = lane * (rng.count(0, street.lanes_each_way - 1) as f32 + 0.5) + rng.within(-0.3, 0.3);
    Stand {
        eye: v3(offset, rng.within(taste.eye.0, taste.eye.1), 0.0),
        pitch: rng.within(taste.pitch.0, taste.pitch.1),
        yaw: street.slope + rng.within(-0.05, 0.05),
        focal: taste.focal,
    }
}
