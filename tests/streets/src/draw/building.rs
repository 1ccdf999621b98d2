//! Houses: fronts with windows, doors and shops, gables, roofs, balconies.

use crate::label::Label;
use crate::material::{Material, bricks};
use crate::rng::{SceneRng, clouds, hash, speck};
use crate::vector::{Grid, Rgb, UP, V3, paint, ramp, stripe, v3};
use crate::world::World;

/// The pattern of a house front, in metres from its lower near corner.
#[derive(Clone, Copy, Debug)]
pub struct Facade {
    pub wall: Rgb,
    pub trim: Rgb,
    pub shop: Rgb,
    pub brick: bool,
    /// Ground floor height.
    pub base: f32,
    pub floor: f32,
    /// Distance between window middles.
    pub pitch: f32,
    /// Half extents of a window.
    pub pane: (f32, f32),
    pub height: f32,
    pub shops: bool,
    /// Windows in continuous bands, as in offices.
    pub bands: bool,
    pub salt: u32,
}

/// One spot of a front.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub colour: Rgb,
    pub glow: Rgb,
    pub glass: f32,
}

impl Facade {
    /// What is at `u` metres along and `v` metres up.
    pub fn look(&self, u: f32, v: f32, footprint: f32, night: f32) -> Spot {
        let mut wall = if self.brick {
            bricks(u, v, self.wall, footprint)
        } else {
            self.wall * (0.86 + 0.28 * clouds(u * 0.5, v * 0.35, self.salt))
        };
        wall = wall * (0.75 + 0.25 * ramp(0.0, 1.6, v));
        let top = stripe(v, self.height - 0.25, 0.25, footprint);
        wall = wall.mix(self.trim, top);
        if v < self.base {
            self.ground_floor(u, v, wall, footprint, night)
        } else {
            self.upper_floor(u, v, wall, footprint, night)
        }
    }

    fn upper_floor(&self, u: f32, v: f32, wall: Rgb, footprint: f32, night: f32) -> Spot {
        let up = v - self.base;
        let (row, column) = ((up / self.floor).floor(), (u / self.pitch).floor());
        let (du, dv) = (u - (column + 0.5) * self.pitch, up - (row + 0.52) * self.floor);
        let wall = wall.mix(self.trim, stripe(up.wrap(self.floor), 0.0, 0.07, footprint) * 0.7);
        if self.base + (row + 1.0) * self.floor > self.height - 0.3 {
            return Spot {
                colour: wall,
                glow: Rgb::default(),
                glass: 0.0,
            };
        }
        let (half_u, half_v) = if self.bands {
            (self.pitch * 0.47, self.pane.1)
        } else {
            self.pane
        };
        let frame = stripe(du, 0.0, half_u + 0.12, footprint) * stripe(dv, 0.0, half_v + 0.12, footprint);
        let bars = stripe(du, 0.0, 0.03, footprint).max(stripe(dv, half_v * 0.35, 0.03, footprint));
        let pane =
            stripe(du, 0.0, half_u, footprint) * stripe(dv, 0.0, half_v, footprint) * (1.0 - 0.8 * bars);
        let sill = stripe(du, 0.0, half_u + 0.18, footprint) * stripe(dv, -half_v - 0.16, 0.06, footprint);
        self.window(
            wall.mix(self.trim, frame.max(sill)),
            pane,
            (column as i32, row as i32),
            dv / half_v,
            night,
        )
    }

    fn ground_floor(&self, u: f32, v: f32, wall: Rgb, footprint: f32, night: f32) -> Spot {
        let pitch = if self.shops { self.pitch * 1.7 } else { self.pitch };
        let column = (u / pitch).floor();
        let du = u - (column + 0.5) * pitch;
        let cell = (column as i32, -1);
        let door = hash(cell.0, 77, self.salt).is_multiple_of(4);
        if self.shops {
            let board = stripe(v, self.base - 0.4, 0.3, footprint);
            let letters = board
                * stripe(v, self.base - 0.4, 0.14, footprint)
                * stripe((u * 2.6).wrap(1.0), 0.5, 0.3, footprint * 2.6)
                * stripe(du, 0.0, pitch * 0.3, footprint);
            let colour = wall.mix(self.shop, board).mix(self.trim, letters * 0.9);
            let low = if door { 0.05 } else { 0.5 };
            let middle = (low + self.base - 0.8) * 0.5;
            let half = (self.base - 0.8 - low) * 0.5;
            let frame = stripe(du, 0.0, pitch * 0.45, footprint) * stripe(v, middle, half + 0.1, footprint);
            let bars = stripe(du, 0.0, 0.04, footprint);
            let pane =
                stripe(du, 0.0, pitch * 0.42, footprint) * stripe(v, middle, half, footprint) * (1.0 - bars);
            let mut spot = self.window(
                colour.mix(self.shop * 0.6, frame),
                pane,
                cell,
                (v - middle) / half,
                night,
            );
            spot.glow += self.shop * (board * night * 0.7);
            return spot;
        }
        if door {
            let frame = stripe(du, 0.0, 0.65, footprint) * stripe(v, 1.15, 1.2, footprint);
            let leaf = stripe(du, 0.0, 0.52, footprint) * stripe(v, 1.1, 1.08, footprint);
            let panel = stripe(du.abs(), 0.24, 0.15, footprint) * stripe(v.wrap(0.7), 0.35, 0.22, footprint);
            let colour = wall
                .mix(self.trim, frame)
                .mix(self.shop * 0.7, leaf)
                .mix(self.shop * 0.4, leaf * panel);
            return Spot {
                colour,
                glow: Rgb::default(),
                glass: 0.0,
            };
        }
        let middle = self.base * 0.55;
        let frame =
            stripe(du, 0.0, self.pane.0 + 0.1, footprint) * stripe(v, middle, self.pane.1 + 0.1, footprint);
        let pane = stripe(du, 0.0, self.pane.0, footprint)
            * stripe(v, middle, self.pane.1, footprint)
            * (1.0 - stripe(du, 0.0, 0.03, footprint));
        let plinth = stripe(v, 0.25, 0.25, footprint);
        self.window(
            wall.mix(self.trim * 0.6, plinth).mix(self.trim, frame),
            pane,
            cell,
            (v - middle) / self.pane.1,
            night,
        )
    }

    /// Glass, curtains and, when lamps are on, somebody at home.
    fn window(&self, around: Rgb, pane: f32, cell: (i32, i32), height: f32, night: f32) -> Spot {
        if pane <= 0.0 {
            return Spot {
                colour: around,
                glow: Rgb::default(),
                glass: 0.0,
            };
        }
        let mood = speck(cell.0, cell.1, self.salt ^ 0xc0ff);
        let inside = v3(0.03, 0.035, 0.04) * (0.6 + mood);
        let curtain = if mood > 0.55 {
            ramp(0.2 - mood * 0.6, 0.3, height) * 0.35
        } else {
            0.0
        };
        let lit = if mood < if self.shops && cell.1 < 0 { 0.75 } else { 0.33 } {
            night
        } else {
            0.0
        };
        let warmth = v3(1.0, 0.68 + 0.2 * mood, 0.3 + 0.8 * mood);
        Spot {
            colour: around.mix(inside.mix(paint(0.8, 0.78, 0.72), curtain), pane),
            glow: warmth * (lit * pane * (0.8 + 0.25 * height) * (0.55 + mood)),
            glass: pane * (1.0 - curtain) * 0.8,
        }
    }
}

/// The ground plan of a house: its street front from `near` to `far`, `depth` metres deep away from the street.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    pub near: V3,
    pub far: V3,
    /// Horizontal, away from the street.
    pub back: V3,
    pub depth: f32,
    pub height: f32,
}

/// The taste of a neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fashion {
    OldTown,
    Suburb,
    Downtown,
}

const PLASTER: [Rgb; 9] = [
    paint(0.86, 0.82, 0.72),
    paint(0.80, 0.72, 0.58),
    paint(0.88, 0.86, 0.83),
    paint(0.76, 0.60, 0.48),
    paint(0.70, 0.72, 0.70),
    paint(0.84, 0.72, 0.52),
    paint(0.66, 0.58, 0.52),
    paint(0.60, 0.66, 0.70),
    paint(0.82, 0.68, 0.64),
];
const BRICK: [Rgb; 4] = [
    paint(0.60, 0.32, 0.24),
    paint(0.52, 0.30, 0.24),
    paint(0.66, 0.44, 0.30),
    paint(0.58, 0.50, 0.44),
];
const SHOP: [Rgb; 7] = [
    paint(0.75, 0.12, 0.12),
    paint(0.12, 0.35, 0.25),
    paint(0.12, 0.20, 0.45),
    paint(0.85, 0.65, 0.10),
    paint(0.20, 0.20, 0.22),
    paint(0.50, 0.25, 0.12),
    paint(0.10, 0.45, 0.55),
];
const ROOF: [Rgb; 4] = [
    paint(0.55, 0.28, 0.20),
    paint(0.36, 0.30, 0.29),
    paint(0.45, 0.24, 0.18),
    paint(0.30, 0.32, 0.35),
];

fn front(plot: &Plot, fashion: Fashion, rng: &mut SceneRng) -> Facade {
    let tall = fashion == Fashion::Downtown;
    let brick = rng.chance(if tall { 0.15 } else { 0.28 });
    let wall = if brick {
        rng.pick(&BRICK)
    } else {
        rng.pick(&PLASTER)
    };
    let grey = paint(0.55, 0.60, 0.66);
    Facade {
        wall: if tall && rng.chance(0.5) {
            wall.mix(grey, 0.7)
        } else {
            wall
        },
        trim: if rng.chance(0.7) {
            paint(0.90, 0.89, 0.86)
        } else {
            wall * 0.45
        },
        shop: rng.pick(&SHOP),
        brick,
        base: rng.within(3.2, 4.2),
        floor: rng.within(2.9, 3.5),
        pitch: rng.within(2.1, 3.4),
        pane: (rng.within(0.42, 0.75), rng.within(0.65, 0.95)),
        height: plot.height,
        shops: rng.chance(if fashion == Fashion::Suburb { 0.08 } else { 0.55 }),
        bands: tall && rng.chance(0.6),
        salt: rng.salt(),
    }
}

/// Draws one house.
pub fn house(world: &mut World, plot: &Plot, fashion: Fashion, rng: &mut SceneRng) {
    world.begin();
    let facade = front(plot, fashion, rng);
    let number = world.facades.len() as u16;
    world.facades.push(facade);
    let plain = world.facades.len() as u16;
    world.facades.push(Facade {
        shops: false,
        pitch: facade.pitch * 1.5,
        ..facade
    });
    let (lift, away) = (UP * plot.height, plot.back * plot.depth);
    let (a, b) = (plot.near, plot.far);
    let (c, d) = (b + away, a + away);
    world
        .polygon(
            &[a, b, b + lift, a + lift],
            Label::Building,
            Material::Facade(number),
        )
        .normal = -plot.back;
    let toward = (a - b).unit();
    world
        .polygon(
            &[d, a, a + lift, d + lift],
            Label::Building,
            Material::Facade(plain),
        )
        .normal = toward;
    world
        .polygon(
            &[b, c, c + lift, b + lift],
            Label::Building,
            Material::Facade(plain),
        )
        .normal = -toward;
    world
        .polygon(
            &[a + lift, b + lift, c + lift, d + lift],
            Label::Building,
            Material::Concrete {
                colour: paint(0.4, 0.4, 0.4),
            },
        )
        .normal = UP;
    if fashion != Fashion::Downtown && rng.chance(0.7) {
        pitched_roof(world, plot, rng);
    }
    if fashion != Fashion::Suburb && rng.chance(0.35) {
        balconies(world, plot, &facade, rng);
    }
    if facade.shops && rng.chance(0.6) {
        awning(world, plot, &facade, rng);
    }
}

fn pitched_roof(world: &mut World, plot: &Plot, rng: &mut SceneRng) {
    let colour = rng.pick(&ROOF);
    let (lift, away) = (UP * plot.height, plot.back * plot.depth);
    let rise = UP * rng.within(2.0, 4.0) + plot.back * (plot.depth * 0.5);
    let (eave_a, eave_b) = (
        plot.near + lift - plot.back * 0.4,
        plot.far + lift - plot.back * 0.4,
    );
    let (ridge_a, ridge_b) = (plot.near + lift + rise, plot.far + lift + rise);
    let normal = (UP - plot.back).unit();
    world
        .polygon(
            &[eave_a, eave_b, ridge_b, ridge_a],
            Label::Building,
            Material::Tiles { colour },
        )
        .normal = normal;
    let gable = Material::Paint {
        colour: paint(0.72, 0.68, 0.6),
        gloss: 0.0,
    };
    world
        .polygon(
            &[plot.near + lift + away, plot.near + lift, ridge_a],
            Label::Building,
            gable,
        )
        .normal = (plot.near - plot.far).unit();
    let stack = ridge_a.mix(ridge_b, rng.within(0.2, 0.8));
    let heading = (plot.far - plot.near).unit();
    world.block(
        stack - UP * 0.6,
        heading,
        (0.35, 0.35),
        1.6,
        Label::Building,
        Material::Brick {
            colour: paint(0.5, 0.3, 0.25),
        },
    );
}

fn balconies(world: &mut World, plot: &Plot, facade: &Facade, rng: &mut SceneRng) {
    let heading = (plot.far - plot.near).unit();
    let length = (plot.far - plot.near).length();
    let column = rng.count(0, 2) as f32;
    let along = (column + 0.5) * facade.pitch;
    let floors = ((plot.height - facade.base) / facade.floor) as u32;
    if along + 1.0 > length {
        return;
    }
    for floor in 0..floors.min(5) {
        let base = plot.near + heading * along - plot.back * 0.5
            + UP * (facade.base + floor as f32 * facade.floor + 0.2);
        world.block(
            base,
            heading,
            (0.95, 0.5),
            0.95,
            Label::Building,
            Material::Bars {
                colour: facade.trim,
                behind: facade.wall * 0.5,
                gap: 0.16,
            },
        );
    }
}

fn awning(world: &mut World, plot: &Plot, facade: &Facade, rng: &mut SceneRng) {
    let heading = (plot.far - plot.near).unit();
    let length = (plot.far - plot.near).length();
    let (from, to) = (rng.within(0.05, 0.3) * length, rng.within(0.6, 0.95) * length);
    let (high, low) = (
        UP * (facade.base - 0.75),
        UP * (facade.base - 1.25) - plot.back * 1.1,
    );
    let (a, b) = (plot.near + heading * from, plot.near + heading * to);
    let colour = if rng.chance(0.5) {
        facade.shop
    } else {
        rng.pick(&SHOP)
    };
    world
        .polygon(
            &[a + low, b + low, b + high, a + high],
            Label::Building,
            Material::Paint { colour, gloss: 0.0 },
        )
        .normal = (UP - plot.back).unit();
}
