//! Which patch each sample of the picture sees. Owns no colour; shading comes after, from the patch numbers.
//!
//! Invariant: sample 0 lies on the pixel's centre, and the label of a pixel is the label of what that sample sees.

use crate::camera::{Camera, Size};
use crate::sheet::{MAX_CORNERS, Outline, Sheet};
use crate::vector::V3;

/// Sample positions in a pixel; the first is the centre.
pub const SAMPLES: [(f32, f32); 4] = [(0.5, 0.5), (0.17, 0.30), (0.75, 0.12), (0.42, 0.87)];

/// The number that stands for "no patch": the sky.
pub const SKY: u32 = u32::MAX;

/// Nearest depth that is drawn, metres.
const NEAR: f32 = 0.25;

/// The inverse depth of a plane over the picture: `a·x + b·y + c`, in 1/metres.
#[derive(Clone, Copy, Debug)]
pub struct DepthPlane {
    a: f32,
    b: f32,
    c: f32,
}

impl DepthPlane {
    /// `None` when the plane passes through the eye.
    pub fn of(sheet: &Sheet, camera: &Camera) -> Option<Self> {
        let distance = sheet.normal.dot(sheet.origin - camera.eye);
        if distance.abs() < 1e-5 {
            return None;
        }
        let a = sheet.normal.dot(camera.right) / camera.focal / distance;
        let b = -sheet.normal.dot(camera.up) / camera.focal / distance;
        let c = sheet.normal.dot(camera.forward) / distance - a * camera.centre_x - b * camera.centre_y;
        Some(Self { a, b, c })
    }

    pub fn inverse_depth(&self, x: f32, y: f32) -> f32 {
        self.a * x + self.b * y + self.c
    }
}

/// Patch numbers and inverse depths, one layer per sample.
#[derive(Debug)]
pub struct Canvas {
    pub size: Size,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    shift: (f32, f32),
    seen: Vec<u32>,
    near: Vec<f32>,
}

impl Canvas {
    /// An empty sky with the first `samples` (at least one) of [`SAMPLES`].
    pub fn new(size: Size, samples: usize) -> Self {
        let layers = SAMPLES[..samples.clamp(1, SAMPLES.len())]
            .iter()
            .map(|&shift| Layer {
                shift,
                seen: vec![SKY; size.pixels()],
                near: vec![0.0; size.pixels()],
            })
            .collect();
        Self { size, layers }
    }

    /// The patch numbers of a pixel's samples.
    pub fn seen(&self, pixel: usize) -> impl Iterator<Item = u32> {
        self.layers.iter().map(move |layer| layer.seen[pixel])
    }

    /// The patch at the pixel's centre.
    pub fn centre(&self, pixel: usize) -> u32 {
        self.layers[0].seen[pixel]
    }

    /// Inverse depth at the pixel's centre, 0 for the sky.
    pub fn inverse_depth(&self, pixel: usize) -> f32 {
        self.layers[0].near[pixel]
    }

    /// Draws one patch under its number, nearer patches hiding farther ones.
    pub fn draw(&mut self, number: u32, sheet: &Sheet, camera: &Camera) {
        if !sheet.two_sided && sheet.normal.dot(camera.eye - sheet.origin) <= 0.0 {
            return;
        }
        let Some(plane) = DepthPlane::of(sheet, camera) else {
            return;
        };
        let mut corners = [(0.0, 0.0); MAX_CORNERS * 2];
        let count = project_clipped(sheet.corners(), camera, &mut corners);
        if count < 3 {
            return;
        }
        let polygon = &corners[..count];
        let low = polygon.iter().fold(f32::MAX, |m, p| m.min(p.1));
        let high = polygon.iter().fold(f32::MIN, |m, p| m.max(p.1));
        let left = polygon.iter().fold(f32::MAX, |m, p| m.min(p.0));
        let right = polygon.iter().fold(f32::MIN, |m, p| m.max(p.0));
        if high < 0.0 || low > self.size.height as f32 || right < 0.0 || left > self.size.width as f32 {
            return;
        }
        for layer in &mut self.layers {
            layer.fill(number, sheet, &plane, polygon, (low, high), self.size, camera);
        }
    }
}

impl Layer {
    #[allow(clippy::too_many_arguments)]
    fn fill(
        &mut self,
        number: u32,
        sheet: &Sheet,
        plane: &DepthPlane,
        polygon: &[(f32, f32)],
        rows: (f32, f32),
        size: Size,
        camera: &Camera,
    ) {
        let first = (rows.0 - self.shift.1).ceil().max(0.0) as usize;
        let last = (rows.1 - self.shift.1).ceil().clamp(0.0, size.height as f32) as usize;
        for row in first..last {
            let y = row as f32 + self.shift.1;
            let Some((left, right)) = span(polygon, y) else {
                continue;
            };
            let from = (left - self.shift.0).ceil().clamp(0.0, size.width as f32) as usize;
            let to = (right - self.shift.0).ceil().clamp(0.0, size.width as f32) as usize;
            if from >= to {
                continue;
            }
            let start = row * size.width as usize;
            let near = &mut self.near[start + from..start + to];
            let seen = &mut self.seen[start + from..start + to];
            let x0 = from as f32 + self.shift.0;
            let base = plane.inverse_depth(x0, y);
            for (step, (near, seen)) in near.iter_mut().zip(seen).enumerate() {
                let inverse = base + plane.a * step as f32;
                if inverse <= *near {
                    continue;
                }
                if !matches!(sheet.outline, Outline::Whole) {
                    let at = camera.eye + camera.ray(x0 + step as f32, y) * (1.0 / inverse);
                    if !sheet.covers(at) {
                        continue;
                    }
                }
                *near = inverse;
                *seen = number;
            }
        }
    }
}

/// Where the row at `y` enters and leaves a convex polygon.
pub fn span(polygon: &[(f32, f32)], y: f32) -> Option<(f32, f32)> {
    let (mut left, mut right) = (f32::MAX, f32::MIN);
    let mut before = polygon[polygon.len() - 1];
    for &corner in polygon {
        if (before.1 <= y) != (corner.1 <= y) {
            let x = before.0 + (corner.0 - before.0) * ((y - before.1) / (corner.1 - before.1));
            left = left.min(x);
            right = right.max(x);
        }
        before = corner;
    }
    (left < right).then_some((left, right))
}

/// Clips a polygon at the near plane and projects it; returns the number of corners left.
fn project_clipped(corners: &[V3], camera: &Camera, out: &mut [(f32, f32)]) -> usize {
    let mut count = 0;
    let mut before = corners[corners.len() - 1];
    let mut before_depth = camera.depth(before);
    for &corner in corners {
        let depth = camera.depth(corner);
        if (before_depth < NEAR) != (depth < NEAR) {
            let t = (NEAR - before_depth) / (depth - before_depth);
            // A whisker beyond the plane, so that rounding cannot put it behind the eye.
            out[count] = camera.project(before.mix(corner, t) + camera.forward * 1e-4);
            count += 1;
        }
        if depth >= NEAR {
            out[count] = camera.project(corner);
            count += 1;
        }
        before = corner;
        before_depth = depth;
    }
    count
}
