//! What surfaces look like by themselves, before any light or weather.

use crate::draw::building::Facade;
use crate::rng::{clouds, noise, speck};
use crate::sheet::{Outline, Sheet};
use crate::vector::{Grid, Rgb, V3, paint, ramp, stripe, v3};
use crate::world::World;

/// What a patch is made of.
#[derive(Clone, Copy, Debug)]
pub enum Material {
    /// The ground plane; the street says what lies where.
    Ground,
    /// Even colour with some gloss (0 cloth, 1 car paint).
    Paint { colour: Rgb, gloss: f32 },
    /// Dark glass that shows the sky.
    Glass,
    /// A house front, by its number in the world.
    Facade(u16),
    /// Roof tiles.
    Tiles { colour: Rgb },
    /// Foliage seen as a ball of the outline's radius.
    Leaves { colour: Rgb, salt: u32 },
    /// A trunk or branch of the given radius.
    Bark { radius: f32 },
    /// A post of round section.
    Round { colour: Rgb, radius: f32 },
    /// Bricks, 0.25 by 0.08 m.
    Brick { colour: Rgb },
    /// Cast concrete with joints every 2.5 m.
    Concrete { colour: Rgb },
    /// Upright bars with greenery or street behind them.
    Bars { colour: Rgb, behind: Rgb, gap: f32 },
    /// Something that shines: by day, and when lamps are on (linear light).
    Lamp { colour: Rgb, day: f32, night: f32 },
    /// The face of a sign, `half` metres to each side.
    Sign { face: SignFace, half: f32 },
    /// Posters pasted side by side.
    Posters { colour: Rgb, salt: u32 },
    /// Far houses or hills.
    Distance { colour: Rgb, windows: bool, salt: u32 },
}

/// What is painted on a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignFace {
    Speed,
    NoEntry,
    Parking,
    Priority,
    Warning,
    Stop,
    Direction,
}

/// A surface ready to be lit.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    pub albedo: Rgb,
    /// Light it gives off itself.
    pub glow: Rgb,
    pub normal: V3,
    /// How much of the sky it mirrors head-on.
    pub gloss: f32,
    /// Whether snow can lie on it.
    pub holds_snow: bool,
}

impl Surface {
    pub fn plain(albedo: Rgb, normal: V3) -> Self {
        Self {
            albedo,
            glow: Rgb::default(),
            normal,
            gloss: 0.0,
            holds_snow: true,
        }
    }
}

/// The surface of `sheet` at a point of it. `footprint` is a pixel's width there in metres; `night` is how far the lamps are on (0..=1).
pub fn surface(world: &World, sheet: &Sheet, at: V3, footprint: f32, night: f32) -> Surface {
    let (u, v) = sheet.frame(at);
    let mut out = Surface::plain(Rgb::default(), sheet.normal);
    match sheet.material {
        Material::Ground => {
            return world
                .street
                .surface(at, footprint, (at - world.stand.eye).length());
        }
        Material::Paint { colour, gloss } => {
            out.albedo = colour * (0.92 + 0.16 * fine(u * 7.0, v * 7.0, 3, footprint * 7.0));
            out.gloss = gloss;
        }
        Material::Glass => {
            out.albedo = v3(0.02, 0.025, 0.03);
            out.gloss = 1.0;
            out.holds_snow = false;
        }
        Material::Facade(number) => {
            return facade_surface(
                &world.facades[number as usize],
                (u, v),
                sheet.normal,
                footprint,
                night,
            );
        }
        Material::Tiles { colour } => {
            let rows = 1.0 - 0.35 * stripe(v.wrap(0.32), 0.0, 0.05, footprint);
            out.albedo = colour * (rows * (0.75 + 0.5 * clouds(u * 0.9, v * 0.9, 5)));
        }
        Material::Leaves { colour, salt } => {
            let radius = match sheet.outline {
                Outline::Leafy { radius, .. } | Outline::Disc { radius } => radius,
                _ => 1.0,
            };
            let (x, y) = (u / radius, v / radius);
            let bulge = (1.0 - x * x - y * y).max(0.05).sqrt();
            let toward = sheet.across.cross(sheet.along);
            let toward = if toward.dot(world.stand.eye - sheet.origin) > 0.0 {
                toward
            } else {
                -toward
            };
            let leaf = fine(u * 17.0, v * 17.0, salt ^ 5, footprint * 17.0) - 0.5;
            let twig = fine(u * 6.5, v * 6.5, salt ^ 9, footprint * 6.5);
            let clump = (noise(u * 2.4, v * 2.4, salt) * 0.5 + twig * 0.5 + leaf * 0.45).max(0.0);
            out.normal =
                (sheet.across * (x + clump - 0.5) + sheet.along * (y + 0.35) + toward * bulge).unit();
            out.albedo = colour * (0.30 + 1.35 * clump * clump.abs() + 0.25 * y).max(0.12);
        }
        Material::Bark { radius } => {
            out.normal = rounded(sheet, u, radius);
            out.albedo = paint(0.33, 0.27, 0.22) * (0.6 + 0.8 * fine(u * 14.0, v * 3.0, 11, footprint * 8.0));
        }
        Material::Round { colour, radius } => {
            out.normal = rounded(sheet, u, radius);
            out.albedo = colour;
            out.gloss = 0.08;
        }
        Material::Brick { colour } => out.albedo = bricks(u, v, colour, footprint),
        Material::Concrete { colour } => {
            let joint = stripe(u.wrap(2.5), 0.0, 0.03, footprint);
            let damp = ramp(0.5, 0.0, v) * 0.25;
            out.albedo = colour * ((0.8 + 0.35 * clouds(u * 1.1, v * 1.1, 21) - damp) * (1.0 - 0.5 * joint));
        }
        Material::Bars { colour, behind, gap } => {
            let bar = stripe(u.wrap(gap), gap * 0.5, gap * 0.17, footprint);
            let rails = stripe(v, 0.2, 0.03, footprint).max(stripe(v, 0.95, 0.04, footprint));
            out.albedo = (behind * (0.4 + 0.8 * noise(u * 3.0, v * 3.0, 4))).mix(colour, bar.max(rails));
        }
        Material::Lamp {
            colour,
            day,
            night: dark,
        } => {
            out.albedo = colour * 0.5;
            out.glow = colour * (day + (dark - day) * night);
            out.holds_snow = false;
        }
        Material::Sign { face, half } => {
            out.albedo = sign_colour(face, u / half, v / half);
            out.gloss = 0.1;
            out.holds_snow = false;
        }
        Material::Posters { colour, salt } => {
            out.normal = rounded(sheet, u, 0.6);
            out.albedo = posters(u, v, colour, salt, footprint);
        }
        Material::Distance {
            colour,
            windows,
            salt,
        } => {
            out.albedo = colour * (0.75 + 0.5 * clouds(u * 0.12, v * 0.12, salt));
            if windows {
                let pane =
                    stripe(u.wrap(3.0), 1.5, 0.7, footprint) * stripe(v.wrap(3.2), 1.6, 0.8, footprint);
                out.albedo = out.albedo.mix(colour * 0.45, pane);
                if speck((u / 3.0).cell(), (v / 3.2).cell(), salt) < 0.3 {
                    out.glow = v3(1.0, 0.75, 0.4) * (pane * night * 0.5);
                }
            }
        }
    }
    out
}

fn facade_surface(facade: &Facade, at: (f32, f32), normal: V3, footprint: f32, night: f32) -> Surface {
    let mut out = Surface::plain(Rgb::default(), normal);
    let spot = facade.look(at.0, at.1, footprint, night);
    out.albedo = spot.colour;
    out.glow = spot.glow;
    out.gloss = spot.glass;
    out
}

/// Noise that fades to its mean as its features shrink below a pixel.
pub fn fine(x: f32, y: f32, salt: u32, footprint: f32) -> f32 {
    let fade = ramp(1.2, 0.4, footprint);
    if fade > 0.0 {
        0.5 + (noise(x, y, salt) - 0.5) * fade
    } else {
        0.5
    }
}

/// A wall of bricks, as a colour.
pub fn bricks(u: f32, v: f32, colour: Rgb, footprint: f32) -> Rgb {
    let fade = ramp(0.14, 0.04, footprint);
    let row = (v / 0.083).floor();
    let shift = if row.wrap(2.0) < 1.0 { 0.0 } else { 0.125 };
    let column = ((u + shift) / 0.25).floor();
    let mortar = stripe(v.wrap(0.083), 0.0, 0.008, footprint).max(stripe(
        (u + shift).wrap(0.25),
        0.0,
        0.008,
        footprint,
    ));
    let tone = 0.75 + 0.5 * (0.5 + (speck(column as i32, row as i32, 31) - 0.5) * fade);
    (colour * (tone * (0.85 + 0.3 * clouds(u * 0.6, v * 0.6, 17))))
        .mix(paint(0.66, 0.63, 0.58), mortar * fade * 0.7)
}

/// Bills of 0.55 by 0.8 m in many colours, with a title and lines of print.
fn posters(u: f32, v: f32, paste: Rgb, salt: u32, footprint: f32) -> Rgb {
    let (column, row) = ((u / 0.55).floor(), (v / 0.8).floor());
    let (x, y) = (u - column * 0.55, v - row * 0.8);
    let tone = |part: u32| speck(column as i32, row as i32, salt ^ part);
    let bill = v3(tone(1), tone(2) * 0.8, tone(3) * 0.7) * 0.6 + v3(0.04, 0.04, 0.04);
    let ink = if bill.luminance() > 0.25 {
        v3(0.03, 0.03, 0.05)
    } else {
        v3(0.75, 0.72, 0.65)
    };
    let sheet = stripe(x, 0.275, 0.25, footprint) * stripe(y, 0.4, 0.37, footprint);
    let title = stripe(y, 0.66, 0.05, footprint) * stripe(x, 0.275, 0.06 + 0.14 * tone(4), footprint);
    let print = stripe(y.wrap(0.09), 0.045, 0.018, footprint)
        * stripe(y, 0.17, 0.09, footprint)
        * stripe(x, 0.275, 0.19, footprint);
    let picture = stripe(y, 0.43, 0.12, footprint) * stripe(x, 0.275, 0.1 + 0.08 * tone(5), footprint);
    let shown = bill
        .mix(bill * 0.4 + v3(tone(6), tone(7), tone(8)) * 0.3, picture)
        .mix(ink, title.max(print));
    paste.mix(shown, sheet)
}

/// The normal of a round post whose sheet faces the eye.
fn rounded(sheet: &Sheet, u: f32, radius: f32) -> V3 {
    let x = (u / radius).clamp(-0.98, 0.98);
    (sheet.across * x + sheet.normal * (1.0 - x * x).sqrt()).unit()
}

/// The paint of a sign at `(u, v)` from its centre, in units of its half size.
fn sign_colour(face: SignFace, u: f32, v: f32) -> Rgb {
    let (white, red, blue) = (
        paint(0.93, 0.93, 0.92),
        paint(0.80, 0.07, 0.10),
        paint(0.08, 0.25, 0.65),
    );
    let (dark, yellow) = (paint(0.08, 0.08, 0.09), paint(0.95, 0.75, 0.10));
    let r = (u * u + v * v).sqrt();
    match face {
        SignFace::Speed if r > 0.76 => red,
        SignFace::Speed => {
            let five =
                u < -0.02 && (v.abs() > 0.28 || (v * u > 0.0) == (u < -0.22)) && u > -0.42 && v.abs() < 0.4;
            let hole = (u - 0.24).abs() < 0.1 && v.abs() < 0.27;
            let zero = (u - 0.24).abs() < 0.2 && v.abs() < 0.4 && !hole;
            if five || zero { dark } else { white }
        }
        SignFace::NoEntry => {
            if u.abs() < 0.68 && v.abs() < 0.17 {
                white
            } else {
                red
            }
        }
        SignFace::Parking => {
            let stem = (u + 0.2).abs() < 0.1 && v.abs() < 0.6;
            let ring = (u - 0.02).hypot(v - 0.28);
            if stem || (ring < 0.34 && ring > 0.16 && u > -0.2) {
                white
            } else {
                blue
            }
        }
        SignFace::Priority => {
            let d = u.abs() + v.abs();
            if d > 0.78 { white } else { yellow }
        }
        SignFace::Warning => {
            let edge = (v + 0.5).min((0.75 - v) * 0.5 - u.abs() * 0.87);
            if edge < 0.14 {
                red
            } else if u.abs() < 0.07 && v < 0.35 {
                dark
            } else {
                white
            }
        }
        SignFace::Stop => {
            if v.abs() < 0.22 && u.abs() < 0.7 && (u * 5.0).wrap(1.0) < 0.6 {
                white
            } else {
                red
            }
        }
        SignFace::Direction => {
            if (v.abs() - 0.3).abs() < 0.1 && u.abs() < 0.75 {
                white
            } else {
                blue
            }
        }
    }
}
