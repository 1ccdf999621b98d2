//! Shadows on the ground: one map along the sun's rays, one straight down for what hugs the ground.

use crate::label::Label;
use crate::sheet::Sheet;
use crate::vector::{V3, v3};

const CELL: f32 = 0.16;
const COLUMNS: usize = 360;
const ROWS: usize = 560;

/// Which ground cells light along one direction does not reach, around a middle line.
#[derive(Debug)]
pub struct ShadowMap {
    left: f32,
    near: f32,
    dark: Vec<bool>,
}

impl ShadowMap {
    /// Casts every sheet that `casts` along `light` (unit vector towards the light) onto the ground around `(middle, near..)`.
    pub fn cast(sheets: &[Sheet], light: V3, middle: f32, near: f32, casts: impl Fn(&Sheet) -> bool) -> Self {
        let mut map = Self {
            left: middle - COLUMNS as f32 * CELL * 0.5,
            near,
            dark: vec![false; COLUMNS * ROWS],
        };
        for sheet in sheets.iter().filter(|s| casts(s)) {
            map.throw(sheet, light);
        }
        map
    }

    fn throw(&mut self, sheet: &Sheet, light: V3) {
        let fall = |p: V3| p - light * (p.y / light.y);
        let mut points = [(0.0f32, 0.0f32); crate::sheet::MAX_CORNERS];
        let count = sheet.corners().len();
        for (point, &corner) in points.iter_mut().zip(sheet.corners()) {
            let g = fall(corner);
            *point = ((g.x - self.left) / CELL, (g.z - self.near) / CELL);
        }
        let polygon = &points[..count];
        let low = polygon.iter().fold(f32::MAX, |m, p| m.min(p.1)).max(0.0);
        let high = polygon.iter().fold(f32::MIN, |m, p| m.max(p.1)).min(ROWS as f32);
        let facing = sheet.normal.dot(light);
        let shaped = !matches!(sheet.outline, crate::sheet::Outline::Whole);
        if low >= high || facing.abs() < 1e-3 {
            return;
        }
        for row in (low - 0.5).ceil().max(0.0) as usize..((high - 0.5).ceil().max(0.0) as usize).min(ROWS) {
            let Some((from, to)) = crate::canvas::span(polygon, row as f32 + 0.5) else {
                continue;
            };
            let from = (from - 0.5).ceil().clamp(0.0, COLUMNS as f32) as usize;
            let to = (to - 0.5).ceil().clamp(0.0, COLUMNS as f32) as usize;
            for column in from..to {
                if shaped {
                    let ground = v3(
                        self.left + (column as f32 + 0.5) * CELL,
                        0.0,
                        self.near + (row as f32 + 0.5) * CELL,
                    );
                    let reach = sheet.normal.dot(sheet.origin - ground) / facing;
                    if !sheet.covers(ground + light * reach) {
                        continue;
                    }
                }
                self.dark[row * COLUMNS + column] = true;
            }
        }
    }

    /// How much of the light is kept from the ground around `(x, z)`, 0..=1, over about `blur` cells.
    pub fn at(&self, x: f32, z: f32, blur: f32) -> f32 {
        let (u, v) = ((x - self.left) / CELL - 0.5, (z - self.near) / CELL - 0.5);
        if blur <= 0.0 {
            return self.smooth(u, v);
        }
        let taps = [(-1.0, -0.4), (0.4, -1.0), (1.0, 0.4), (-0.4, 1.0), (0.0, 0.0)];
        taps.iter()
            .map(|t| self.smooth(u + t.0 * blur, v + t.1 * blur))
            .sum::<f32>()
            / taps.len() as f32
    }

    fn smooth(&self, u: f32, v: f32) -> f32 {
        if u < 0.0 || v < 0.0 || u >= (COLUMNS - 1) as f32 || v >= (ROWS - 1) as f32 {
            return 0.0;
        }
        let (c, r) = (u as usize, v as usize);
        let (tx, ty) = (u - c as f32, v - r as f32);
        let cell = |row: usize, column: usize| f32::from(u8::from(self.dark[row * COLUMNS + column]));
        (cell(r, c) * (1.0 - tx) + cell(r, c + 1) * tx) * (1.0 - ty)
            + (cell(r + 1, c) * (1.0 - tx) + cell(r + 1, c + 1) * tx) * ty
    }
}

/// Whether a thing stands on the ground with its own dark patch under it.
pub fn hugs_ground(sheet: &Sheet) -> bool {
    matches!(
        sheet.label,
        Label::Car
            | Label::Truck
            | Label::Bus
            | Label::Train
            | Label::Motorcycle
            | Label::Bicycle
            | Label::Person
            | Label::Static
    ) && sheet.corners().iter().any(|c| c.y < 0.9)
}
