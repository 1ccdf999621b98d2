//! From linear light to an 8-bit picture: halos, bloom, outlines, exposure, grain.

use crate::camera::{Camera, Size};
use crate::canvas::{Canvas, SKY};
use crate::rng::hash;
use crate::vector::{Rgb, V3};
use crate::weather::Atmosphere;
use crate::world::World;

/// Adds the halo of every light that is on and in sight.
pub fn halos(picture: &mut [Rgb], canvas: &Canvas, world: &World, camera: &Camera, air: &Atmosphere) {
    let size = canvas.size;
    for glow in &world.glows {
        let strength = if glow.by_day {
            air.lamps.max(0.10)
        } else {
            air.lamps
        };
        let depth = camera.depth(glow.at);
        if strength <= 0.02 || !(2.0..120.0).contains(&depth) {
            continue;
        }
        let (x, y) = camera.project(glow.at);
        if x < 0.0 || y < 0.0 || x >= size.width as f32 || y >= size.height as f32 {
            continue;
        }
        let pixel = y as usize * size.width as usize + x as usize;
        if canvas.inverse_depth(pixel) > 1.12 / depth {
            continue;
        }
        let veil = (-air.haze * depth * 0.7).exp();
        let core = (camera.focal * 0.16 * (0.6 + glow.power) / depth.sqrt() * 0.25).max(1.0);
        let reach = (core * 7.0).min(size.width as f32 * 0.12) as i32;
        let peak = glow.power * strength * veil * 1.2;
        for dy in -reach..=reach {
            let row = y as i32 + dy;
            if row < 0 || row >= size.height as i32 {
                continue;
            }
            for dx in -reach..=reach {
                let column = x as i32 + dx;
                if column < 0 || column >= size.width as i32 {
                    continue;
                }
                let (ox, oy) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
                let r = (ox * ox + oy * oy).sqrt();
                let edge = (1.0 - r / reach.max(1) as f32).max(0.0);
                let soft = 1.0 / (1.0 + (r / core).powi(2));
                picture[row as usize * size.width as usize + column as usize] +=
                    glow.colour * (peak * soft * soft * edge);
            }
        }
    }
}

/// Spreads what is brighter than paper around itself.
pub fn bloom(picture: &mut [Rgb], size: Size, strength: f32) {
    let step = (size.width / 128).max(2) as usize;
    let (width, height) = (size.width as usize, size.height as usize);
    let (columns, rows) = (width.div_ceil(step), height.div_ceil(step));
    let mut small = vec![V3::default(); columns * rows];
    let share = 1.0 / (step * step) as f32;
    for y in 0..height {
        for x in 0..width {
            let colour = picture[y * width + x];
            let over = (colour.luminance() - 0.9).clamp(0.0, 6.0);
            if over > 0.0 {
                small[(y / step) * columns + x / step] += colour * (share * over / colour.luminance());
            }
        }
    }
    for _ in 0..2 {
        small = blurred(&small, columns, rows, 1);
        small = blurred(&small, rows, columns, 1);
    }
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (
                (x as f32 + 0.5) / step as f32 - 0.5,
                (y as f32 + 0.5) / step as f32 - 0.5,
            );
            let (c, r) = (u.max(0.0) as usize, v.max(0.0) as usize);
            let (c1, r1) = ((c + 1).min(columns - 1), (r + 1).min(rows - 1));
            let (tx, ty) = ((u - c as f32).clamp(0.0, 1.0), (v - r as f32).clamp(0.0, 1.0));
            let top = small[r * columns + c].mix(small[r * columns + c1], tx);
            let low = small[r1 * columns + c].mix(small[r1 * columns + c1], tx);
            picture[y * width + x] += top.mix(low, ty) * (strength * 4.0);
        }
    }
}

/// A box blur along rows that also transposes; twice is a blur in both directions.
fn blurred(source: &[Rgb], columns: usize, rows: usize, radius: usize) -> Vec<Rgb> {
    let mut out = vec![V3::default(); source.len()];
    for row in 0..rows {
        for column in 0..columns {
            let from = column.saturating_sub(radius);
            let to = (column + radius).min(columns - 1);
            let sum = (from..=to).fold(V3::default(), |sum, c| sum + source[row * columns + c]);
            out[column * rows + row] = sum * (1.0 / (to - from + 1) as f32);
        }
    }
    out
}

/// Dark lines where one thing ends and another, farther one begins.
pub fn outlines(picture: &mut [Rgb], canvas: &Canvas, world: &World) {
    let (width, height) = (canvas.size.width as usize, canvas.size.height as usize);
    let thing = |pixel: usize| match canvas.centre(pixel) {
        SKY => u16::MAX,
        number => world.sheets[number as usize].thing,
    };
    for y in 1..height {
        for x in 1..width {
            let here = y * width + x;
            let edge = [here - 1, here - width].iter().any(|&there| {
                let (a, b) = (canvas.inverse_depth(here), canvas.inverse_depth(there));
                thing(here) != thing(there) && (a - b).abs() > 0.12 * a.max(b) && a.max(b) > 0.02
            });
            if edge {
                picture[here] = picture[here] * 0.45;
            }
        }
    }
}

/// Exposes, grades and quantises a linear picture to RGB bytes.
pub fn develop(picture: &[Rgb], size: Size, air: &Atmosphere) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(picture.len() * 3);
    let (half_x, half_y) = (size.width as f32 * 0.5, size.height as f32 * 0.5);
    let mut pixels = picture.iter();
    for y in 0..size.height {
        let dy = (y as f32 + 0.5 - half_y) / half_y;
        for x in 0..size.width {
            let Some(&light) = pixels.next() else { break };
            let dx = (x as f32 + 0.5 - half_x) / half_x;
            let fall = 1.0 - air.vignette * 0.35 * (dx * dx + dy * dy);
            let light = light.times(air.tint) * (air.exposure * fall);
            let grey = light.luminance();
            let grade = |c: f32| {
                let c = (grey + (c - grey) * air.saturation).max(0.0) * 1.25;
                let t = (c * (1.0 + c * 0.09) / (1.0 + c * 0.62)).sqrt().min(1.0);
                // A gentle S, as cameras put it on.
                t * (0.58 + t * (1.26 - 0.84 * t))
            };
            let (mut r, mut g, mut b) = (grade(light.x), grade(light.y), grade(light.z));
            if air.grain > 0.0 {
                let h = hash(x as i32, y as i32, air.salt);
                let part = |shift: u32| ((h >> shift) & 0xff) as f32 / 127.5 - 1.0;
                let all = part(0) * 0.75;
                r += air.grain * (all + 0.5 * part(8));
                g += air.grain * (all + 0.3 * part(16));
                b += air.grain * (all + 0.7 * part(24));
            }
            let byte = |c: f32| (c * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
            bytes.extend([byte(r), byte(g), byte(b)]);
        }
    }
    bytes
}
