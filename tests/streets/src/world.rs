//! A scene as patches in space, and the strokes that things are drawn with.

use crate::camera::Stand;
use crate::draw::building::Facade;
use crate::draw::ego::Hood;
use crate::draw::road::Street;
use crate::label::Label;
use crate::material::Material;
use crate::sheet::{Outline, Sheet};
use crate::vector::{Rgb, UP, V3, v3};

/// A point that shines when lamps are on.
#[derive(Clone, Copy, Debug)]
pub struct Glow {
    pub at: V3,
    pub colour: Rgb,
    /// Brightness of its halo.
    pub power: f32,
    /// How far it lights its surroundings, metres; 0 for a light that is only seen.
    pub reach: f32,
    /// Whether it also shines by day (signals, brake lights).
    pub by_day: bool,
}

/// Everything there is to see in one scene, without weather.
#[derive(Debug)]
pub struct World {
    pub stand: Stand,
    pub street: Street,
    pub sheets: Vec<Sheet>,
    pub facades: Vec<Facade>,
    pub glows: Vec<Glow>,
    pub hood: Option<Hood>,
    thing: u16,
}

impl World {
    /// A bare street: ground and sky.
    pub fn new(stand: Stand, street: Street) -> Self {
        let mut world = Self {
            stand,
            street,
            sheets: Vec::with_capacity(4096),
            facades: Vec::new(),
            glows: Vec::new(),
            hood: None,
            thing: 0,
        };
        let (near, far, wide) = (stand.eye.z - 2.0, 4000.0, 4000.0);
        let corners = [
            v3(-wide, 0.0, near),
            v3(wide, 0.0, near),
            v3(wide, 0.0, far),
            v3(-wide, 0.0, far),
        ];
        let ground = Sheet::new(
            &corners,
            V3::default(),
            v3(1.0, 0.0, 0.0),
            v3(0.0, 0.0, 1.0),
            Label::Road,
            0,
            Material::Ground,
        );
        world.sheets.push(ground);
        world
    }

    /// Begins another thing; the patches that follow belong to it.
    pub fn begin(&mut self) {
        self.thing = self.thing.wrapping_add(1);
    }

    /// A convex patch in the frame of its first corner: `across` runs to the second corner.
    pub fn polygon(&mut self, corners: &[V3], label: Label, material: Material) -> &mut Sheet {
        let across = (corners[1] - corners[0]).unit();
        let toward = corners[corners.len() - 1] - corners[0];
        let along = (toward - across * toward.dot(across)).unit();
        self.framed(corners, corners[0], across, along, label, material)
    }

    /// A convex patch with its frame given.
    pub fn framed(
        &mut self,
        corners: &[V3],
        origin: V3,
        across: V3,
        along: V3,
        label: Label,
        material: Material,
    ) -> &mut Sheet {
        let at = self.sheets.len();
        self.sheets.push(Sheet::new(
            corners, origin, across, along, label, self.thing, material,
        ));
        &mut self.sheets[at]
    }

    /// The horizontal direction square to the line of sight to `at`, to the right.
    pub fn facing(&self, at: V3) -> V3 {
        let sight = at - self.stand.eye;
        v3(sight.x, 0.0, sight.z).unit().rightward()
    }

    /// An upright post with the eye in front of it; `radius` in metres.
    pub fn post(&mut self, base: V3, height: f32, radius: f32, label: Label, colour: Rgb) {
        let across = self.facing(base);
        let top = base + UP * height;
        let corners = [
            base - across * radius,
            base + across * radius,
            top + across * radius,
            top - across * radius,
        ];
        self.framed(
            &corners,
            base,
            across,
            UP,
            label,
            Material::Round { colour, radius },
        );
    }

    /// A tapering limb with rounded ends, turned to the eye.
    pub fn limb(&mut self, ends: (V3, V3), radii: (f32, f32), label: Label, material: Material) {
        let (a, b) = ends;
        let sight = (a - self.stand.eye).unit();
        let along = b - a;
        let along = (along - sight * along.dot(sight)).unit();
        let across = along.cross(sight).unit();
        let (ra, rb) = radii;
        let corners = [
            a - across * ra,
            a - across * (ra * 0.6) - along * (ra * 0.75),
            a + across * (ra * 0.6) - along * (ra * 0.75),
            a + across * ra,
            b + across * rb,
            b + across * (rb * 0.6) + along * (rb * 0.75),
            b - across * (rb * 0.6) + along * (rb * 0.75),
            b - across * rb,
        ];
        // The corners lie in the plane of `across` and `along` only up to the tilt of a-b; the frame flattens it.
        let flat = corners.map(|c| c - sight * (c - a).dot(sight));
        self.framed(&flat, a, across, along, label, material);
    }

    /// A disc (or the outline given) in the plane of `across` and `along`.
    pub fn disc(&mut self, centre: V3, plane: (V3, V3), outline: Outline, label: Label, material: Material) {
        let (across, along) = plane;
        let reach = match outline {
            Outline::Whole => 1.0,
            Outline::Disc { radius } => radius,
            Outline::Ring { outer, .. } => outer,
            Outline::Leafy { radius, .. } => radius * 1.08,
        };
        let (a, b) = (across * reach, along * reach);
        let corners = [centre - a - b, centre + a - b, centre + a + b, centre - a + b];
        self.framed(&corners, centre, across, along, label, material)
            .outline = outline;
    }

    /// A box standing on `base` (the middle of its foot), `heading` along its length.
    pub fn block(
        &mut self,
        base: V3,
        heading: V3,
        half: (f32, f32),
        height: f32,
        label: Label,
        material: Material,
    ) {
        let (long, wide) = (heading * half.0, heading.rightward() * half.1);
        let foot = [
            base - long - wide,
            base - long + wide,
            base + long + wide,
            base + long - wide,
        ];
        let lift = UP * height;
        for side in 0..4 {
            let (a, b) = (foot[side], foot[(side + 1) % 4]);
            self.polygon(&[a, b, b + lift, a + lift], label, material);
        }
        self.polygon(&foot.map(|c| c + lift), label, material);
    }

    /// A prism: a convex profile of `(along, up)` points, drawn out to both sides; `edge` gives each rim's material.
    pub fn prism(
        &mut self,
        place: &Place,
        profile: &[(f32, f32)],
        half_width: f32,
        label: Label,
        side: Material,
        edge: &[Material],
    ) {
        let wide = place.heading.rightward() * half_width;
        let points: Vec<V3> = profile.iter().map(|&(a, y)| place.at(a, 0.0, y)).collect();
        for sign in [-1.0, 1.0] {
            let face: Vec<V3> = points.iter().map(|&p| p + wide * sign).collect();
            self.framed(&face, face[0], place.heading, UP, label, side).normal =
                place.heading.rightward() * sign;
        }
        for (index, &material) in edge.iter().enumerate() {
            let (a, b) = (points[index], points[(index + 1) % points.len()]);
            let outward = (b - a).cross(wide).unit();
            let middle = points.iter().fold(V3::default(), |sum, &p| sum + p) * (1.0 / points.len() as f32);
            let outward = if outward.dot(a - middle) < 0.0 {
                -outward
            } else {
                outward
            };
            self.polygon(&[a - wide, a + wide, b + wide, b - wide], label, material)
                .normal = outward;
        }
    }
}

/// A spot on the ground and the heading of what stands there.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub base: V3,
    /// Horizontal unit vector.
    pub heading: V3,
}

impl Place {
    pub fn new(x: f32, z: f32, heading: V3) -> Self {
        Self {
            base: v3(x, 0.0, z),
            heading,
        }
    }

    /// The point `along` ahead, `right` to the right and `up` above, metres.
    pub fn at(&self, along: f32, right: f32, up: f32) -> V3 {
        self.base + self.heading * along + self.heading.rightward() * right + UP * up
    }
}
