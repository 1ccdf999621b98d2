//! The light on each patch: sun, sky, lamps, headlights, snow, wet ground, and the air in front.

use crate::camera::{Camera, Size};
use crate::canvas::{Canvas, DepthPlane, SKY};
use crate::label::Label;
use crate::material::{Material, Surface, surface};
use crate::rng::{clouds, noise};
use crate::shadow::{ShadowMap, hugs_ground};
use crate::sheet::Sheet;
use crate::vector::{Grid, Rgb, UP, V3, ramp, v3};
use crate::weather::Atmosphere;
use crate::world::{Glow, World};

/// A world under a sky, ready to be looked at.
pub struct Light<'a> {
    world: &'a World,
    air: &'a Atmosphere,
    camera: &'a Camera,
    planes: Vec<Option<DepthPlane>>,
    lamps: Vec<Glow>,
    sun_shadow: Option<ShadowMap>,
    contact: ShadowMap,
    mirror: Option<Mirror>,
}

/// What the wet ground shows at each pixel.
struct Mirror {
    canvas: Canvas,
    planes: Vec<Option<DepthPlane>>,
}

impl<'a> Light<'a> {
    pub fn new(world: &'a World, air: &'a Atmosphere, camera: &'a Camera, size: Size) -> Self {
        let planes = world.sheets.iter().map(|s| DepthPlane::of(s, camera)).collect();
        let (middle, near) = (world.stand.eye.x, world.stand.eye.z + 1.0);
        let casts = |s: &Sheet| !matches!(s.material, Material::Ground | Material::Distance { .. });
        let sun_shadow = (air.sun.luminance() > 0.2)
            .then(|| ShadowMap::cast(&world.sheets, air.sun_at, middle, near, casts));
        let contact = ShadowMap::cast(&world.sheets, UP, middle, near, hugs_ground);
        let lamps = world
            .glows
            .iter()
            .filter(|g| g.reach > 0.0 && air.lamps > 0.5)
            .copied()
            .collect();
        let mirror = (air.wet > 0.3).then(|| Mirror::new(world, camera, size));
        Self {
            world,
            air,
            camera,
            planes,
            lamps,
            sun_shadow,
            contact,
            mirror,
        }
    }

    /// The colour of patch `number` at a picture position.
    pub fn colour(&self, number: u32, x: f32, y: f32) -> Rgb {
        let ray = self.camera.ray(x, y);
        if number == SKY {
            return self.sky_seen(ray.unit());
        }
        let sheet = &self.world.sheets[number as usize];
        let Some(plane) = &self.planes[number as usize] else {
            return self.air.horizon;
        };
        let depth = 1.0 / plane.inverse_depth(x, y).max(2.5e-4);
        let at = self.camera.eye + ray * depth;
        let mut colour = self.lit(sheet, at, ray, depth);
        let mirrors = number == 0 && self.mirror.is_some();
        if mirrors && let Some(mirror) = &self.mirror {
            colour = self.with_reflection(mirror, colour, at, ray, (x, y), depth);
        }
        self.air.through_air(colour, depth * ray.length())
    }

    /// The sky, with the air in front of it.
    fn sky_seen(&self, direction: V3) -> Rgb {
        let clear = (-self.air.haze * 60.0 / (direction.y.max(0.0) + 0.03)).exp();
        self.air.haze_colour.mix(self.air.sky(direction), clear)
    }

    /// A patch at a point, lit, without the air in front.
    fn lit(&self, sheet: &Sheet, at: V3, ray: V3, depth: f32) -> Rgb {
        let air = self.air;
        let mut s = surface(self.world, sheet, at, depth / self.camera.focal, air.lamps);
        if s.normal.dot(ray) > 0.0 && !matches!(sheet.material, Material::Leaves { .. }) {
            s.normal = -s.normal;
        }
        let ground = matches!(sheet.material, Material::Ground);
        if ground {
            s.albedo = s.albedo
                * (1.0
                    - 0.42
                        * air.wet.min(1.0)
                        * if self.world.street.label(at) == Label::Terrain {
                            0.4
                        } else {
                            1.0
                        });
        }
        if air.snow > 0.0 && s.holds_snow {
            self.snowed(&mut s, ground, at, sheet);
        }
        let light = self.light_at(&s, at, ray, depth, ground);
        let mut colour = s.albedo.times(light) + s.glow;
        if s.gloss > 0.02 {
            let ray = ray.unit();
            let cosine = -ray.dot(s.normal);
            let bounce = ray + s.normal * (2.0 * cosine);
            let fresnel = 0.10 + 0.9 * (1.0 - cosine.clamp(0.0, 1.0)).powi(4);
            let around = if bounce.y > 0.0 {
                self.bounced_sky(bounce)
            } else {
                air.ambient * 0.16
            };
            colour += around * (s.gloss * fresnel);
        }
        colour
    }

    /// The sky as glass shows it, low parts hidden by the other side of the street.
    fn bounced_sky(&self, direction: V3) -> Rgb {
        let open = ramp(0.12, 0.4, direction.y);
        (self.air.ambient * 0.22).mix(
            self.air.horizon.mix(self.air.zenith, ramp(0.0, 0.7, direction.y)),
            open,
        )
    }

    fn snowed(&self, s: &mut Surface, ground: bool, at: V3, sheet: &Sheet) {
        let air = self.air;
        let rough = clouds(at.x * 0.9 + at.y, at.z * 0.5, air.salt);
        let mut cover = if ground {
            let street = &self.world.street;
            let lateral = at.x - street.middle(at.z);
            match street.label(at) {
                Label::Road | Label::RailTrack => {
                    let lane = street.half_width / street.lanes_each_way as f32;
                    let track = ((lateral.abs().wrap(lane) - lane * 0.5).abs() - 0.75).abs();
                    let driven = ramp(0.42, 0.16, track + 0.2 * (rough - 0.5));
                    (0.80 - 0.5 * driven) * ramp(0.05, 0.5, rough + 0.2)
                }
                Label::Sidewalk => 0.72 + 0.5 * (rough - 0.4),
                _ => 0.96,
            }
        } else {
            ramp(0.15, 0.55, s.normal.y + 0.5 * (rough - 0.5)) * if at.y > 0.25 { 1.0 } else { 0.5 }
        };
        if matches!(sheet.material, Material::Leaves { .. }) {
            cover = ramp(
                0.25,
                0.75,
                s.normal.y + 0.4 * (noise(at.x * 5.0 + at.z * 3.0, at.y * 5.0, 3) - 0.5),
            ) * 0.9;
        }
        let shine = 0.86 + 0.14 * rough;
        s.albedo = s
            .albedo
            .mix(v3(0.86, 0.89, 0.95) * shine, (cover * air.snow).clamp(0.0, 1.0));
        s.gloss *= 1.0 - cover.clamp(0.0, 1.0) * 0.8;
    }

    fn light_at(&self, s: &Surface, at: V3, ray: V3, depth: f32, ground: bool) -> Rgb {
        let air = self.air;
        let mut sun = s.normal.dot(air.sun_at).max(0.0);
        let mut open = 0.62 + 0.38 * s.normal.y;
        if ground {
            let dark = self.contact.at(at.x, at.z, 2.2);
            open *= 1.0 - 0.62 * dark;
            if let Some(map) = &self.sun_shadow {
                sun *= 1.0 - map.at(at.x, at.z, 0.0);
            }
        } else {
            // Walls and things get less of the sky close to the ground.
            open *= 0.72 + 0.28 * ramp(0.0, 2.5, at.y);
        }
        if air.cel {
            sun = if sun > 0.55 {
                0.9
            } else if sun > 0.12 {
                0.5
            } else {
                0.0
            };
        }
        let mut light = air.ambient * open + air.sun * sun;
        if air.lamps > 0.5 {
            light +=
                self.lamplight(s.normal, at) * air.lamps + self.headlight(s.normal, at, ray, depth, ground);
        }
        light
    }

    fn lamplight(&self, normal: V3, at: V3) -> Rgb {
        let mut sum = V3::default();
        for lamp in &self.lamps {
            let to = lamp.at - at;
            let square = to.dot(to);
            let limit = lamp.reach * lamp.reach * 4.0;
            if square < limit {
                let facing = (normal.dot(to) / square.sqrt().max(0.1)).max(0.0) * 0.85 + 0.15;
                let fade = 1.0 - square / limit;
                sum += lamp.colour * (facing * fade * fade * 22.0 / (square + 12.0) * lamp.power);
            }
        }
        sum * 0.55
    }

    /// The camera car's dipped beam.
    fn headlight(&self, normal: V3, at: V3, ray: V3, depth: f32, ground: bool) -> Rgb {
        let eye = self.camera.eye;
        let (aside, up) = ((at.x - eye.x) / depth, at.y / depth);
        let cone = ramp(0.62, 0.08, aside.abs()) * ramp(0.10, 0.02, up - 0.015);
        let facing = (-normal.dot(ray.unit())).max(0.0);
        let strength = if ground {
            9.0 * facing.sqrt()
        } else {
            6.5 * facing + 0.6
        };
        v3(1.0, 0.94, 0.82) * (cone * strength * 14.0 / (depth * depth + 90.0))
    }

    fn with_reflection(
        &self,
        mirror: &Mirror,
        dry: Rgb,
        at: V3,
        ray: V3,
        pixel: (f32, f32),
        depth: f32,
    ) -> Rgb {
        let label = self.world.street.label(at);
        if label == Label::Terrain {
            return dry;
        }
        let cosine = (-ray.unit().y).clamp(0.0, 1.0);
        let puddle = ramp(
            0.50,
            0.62,
            clouds(at.x * 0.32, at.z * 0.16, self.world.street.salt ^ 40),
        );
        let film = if label == Label::Sidewalk { 0.5 } else { 0.8 };
        let amount = self.air.wet * (0.05 + 0.95 * (1.0 - cosine).powi(5)) * (film + (1.0 - film) * puddle);
        let rough = (1.0 - 0.75 * puddle) * self.camera.focal * 0.012;
        let ripple = noise(at.x * 6.0, at.z * 6.0, self.air.salt) - 0.5;
        let mut seen = V3::default();
        // A rough film smears the image along the line of sight.
        for tap in [-1.2, -0.3, 0.6, 1.5] {
            let x = pixel.0 + ripple * rough * 0.5;
            let y = pixel.1 + (tap + ripple) * rough;
            seen += self.mirrored(mirror, x, y, depth);
        }
        dry.mix(seen * 0.25, amount.clamp(0.0, 0.9))
    }

    fn mirrored(&self, mirror: &Mirror, x: f32, y: f32, depth: f32) -> Rgb {
        let size = mirror.canvas.size;
        let (px, py) = (
            x.clamp(0.0, size.width as f32 - 1.0),
            y.clamp(0.0, size.height as f32 - 1.0),
        );
        let number = mirror
            .canvas
            .centre(py as usize * size.width as usize + px as usize);
        let ray = self.camera.ray(x, y);
        let up = v3(ray.x, -ray.y, ray.z);
        if number == SKY {
            return self.sky_seen(v3(up.x, up.y.max(0.02), up.z).unit());
        }
        let Some(plane) = &mirror.planes[number as usize] else {
            return self.air.horizon;
        };
        let inverse = plane.inverse_depth(px.floor() + 0.5, py.floor() + 0.5);
        if inverse <= 2.5e-4 {
            return self.air.horizon;
        }
        let below = self.camera.eye + self.camera.ray(px.floor() + 0.5, py.floor() + 0.5) * (1.0 / inverse);
        let at = v3(below.x, -below.y, below.z);
        let colour = self.lit(&self.world.sheets[number as usize], at, up, 1.0 / inverse);
        self.air.through_air(colour, (1.0 / inverse - depth).max(0.0))
    }
}

impl Mirror {
    fn new(world: &World, camera: &Camera, size: Size) -> Self {
        let mut canvas = Canvas::new(size, 1);
        let mut planes = vec![None; world.sheets.len()];
        for (number, sheet) in world.sheets.iter().enumerate().skip(1) {
            let flipped = sheet.mirrored();
            planes[number] = DepthPlane::of(&flipped, camera);
            canvas.draw(number as u32, &flipped, camera);
        }
        Self { canvas, planes }
    }
}
