//! Flat patches, the one primitive all things are built of.

use crate::label::Label;
use crate::material::Material;
use crate::rng::noise;
use crate::vector::V3;

/// The most corners a patch has.
pub const MAX_CORNERS: usize = 8;

/// Which part of the polygon is there.
#[derive(Clone, Copy, Debug)]
pub enum Outline {
    /// All of it.
    Whole,
    /// Within `radius` of the frame's origin.
    Disc { radius: f32 },
    /// Between two radii of the frame's origin.
    Ring { inner: f32, outer: f32 },
    /// A crown of leaves: a ragged disc with gaps towards its rim.
    Leafy { radius: f32, salt: u32 },
}

/// A flat convex patch with its own metric frame: `(u, v)` metres from `origin` along `across` and `along`.
#[derive(Clone, Copy, Debug)]
pub struct Sheet {
    corners: [V3; MAX_CORNERS],
    corner_count: u8,
    pub origin: V3,
    pub across: V3,
    pub along: V3,
    pub normal: V3,
    pub outline: Outline,
    pub label: Label,
    /// Patches of one thing share this number.
    pub thing: u16,
    pub material: Material,
    /// Whether it is seen from behind as well.
    pub two_sided: bool,
}

impl Sheet {
    /// A patch with at most [`MAX_CORNERS`] corners of a convex outline; `across` and `along` are orthogonal unit vectors in its plane.
    pub fn new(
        corners: &[V3],
        origin: V3,
        across: V3,
        along: V3,
        label: Label,
        thing: u16,
        material: Material,
    ) -> Self {
        let mut kept = [V3::default(); MAX_CORNERS];
        let count = corners.len().min(MAX_CORNERS);
        kept[..count].copy_from_slice(&corners[..count]);
        Self {
            corners: kept,
            corner_count: count as u8,
            origin,
            across,
            along,
            normal: along.cross(across),
            outline: Outline::Whole,
            label,
            thing,
            material,
            two_sided: true,
        }
    }

    pub fn corners(&self) -> &[V3] {
        &self.corners[..self.corner_count as usize]
    }

    /// Frame coordinates of a point in the plane, metres.
    pub fn frame(&self, at: V3) -> (f32, f32) {
        let d = at - self.origin;
        (d.dot(self.across), d.dot(self.along))
    }

    /// Whether the point is part of the outline (the polygon itself is not checked).
    pub fn covers(&self, at: V3) -> bool {
        let (u, v) = self.frame(at);
        let square = u * u + v * v;
        match self.outline {
            Outline::Whole => true,
            Outline::Disc { radius } => square < radius * radius,
            Outline::Ring { inner, outer } => square < outer * outer && square > inner * inner,
            // The rim wanders between 0.62 and 1.07 radii; noise is only worth asking for in between.
            Outline::Leafy { radius, salt } => {
                let r = square / (radius * radius);
                if !(0.3844..1.1449).contains(&r) {
                    return r < 0.3844;
                }
                let rag = noise(u * 3.1, v * 3.1, salt) * 0.6 + noise(u * 9.0, v * 9.0, salt ^ 7) * 0.4;
                r.sqrt() < 0.62 + 0.45 * rag
            }
        }
    }

    /// The same patch as a still puddle shows it: below the ground plane.
    pub fn mirrored(&self) -> Self {
        let flip = |v: V3| V3 { y: -v.y, ..v };
        let mut copy = *self;
        copy.corners.iter_mut().for_each(|c| *c = flip(*c));
        copy.origin = flip(copy.origin);
        copy.across = flip(copy.across);
        copy.along = flip(copy.along);
        copy.normal = flip(copy.normal);
        copy
    }
}
