//! What falls between the lens and the street, and what lies on the lens. Labels are not touched.

use crate::camera::Size;
use crate::rng::SceneRng;
use crate::vector::{Rgb, v3};
use crate::weather::Atmosphere;

/// Draws streaks, flakes and lens drops over a linear picture.
pub fn fall(picture: &mut [Rgb], size: Size, atmosphere: &Atmosphere) {
    let mut rng = SceneRng::keyed(u64::from(atmosphere.salt), 0xfa11, 0);
    if atmosphere.streaks > 0.0 {
        streaks(picture, size, atmosphere, &mut rng);
    }
    if atmosphere.flakes > 0.0 {
        flakes(picture, size, atmosphere, &mut rng);
    }
    if atmosphere.drops > 0.0 {
        drops(picture, size, atmosphere, &mut rng);
    }
}

fn blend(picture: &mut [Rgb], size: Size, x: i32, y: i32, colour: Rgb, cover: f32) {
    if x >= 0 && y >= 0 && x < size.width as i32 && y < size.height as i32 {
        let at = y as usize * size.width as usize + x as usize;
        picture[at] = picture[at].mix(colour, cover.clamp(0.0, 1.0));
    }
}

fn streaks(picture: &mut [Rgb], size: Size, atmosphere: &Atmosphere, rng: &mut SceneRng) {
    let colour = atmosphere.horizon * 1.15;
    let scale = size.height as f32 / 256.0;
    let slant = rng.within(-0.18, 0.18);
    let count = (atmosphere.streaks * 420.0) as u32;
    for _ in 0..count {
        let near = rng.unit();
        let (x, y) = (
            rng.within(0.0, size.width as f32),
            rng.within(-0.1, 1.0) * size.height as f32,
        );
        let length = (5.0 + 26.0 * near * near) * scale;
        let width = (0.35 + 0.7 * near * near) * scale;
        let cover = (0.10 + 0.14 * near) * width.min(1.0);
        let reach = (width * 0.5).ceil() as i32;
        for step in 0..length.ceil() as i32 {
            let cx = x + slant * step as f32;
            let fade = 1.0 - (2.0 * step as f32 / length - 1.0).abs();
            for side in -reach..=reach {
                let inside = (width * 0.5 + 0.5 - (side as f32 - cx.fract() + 0.5).abs()).clamp(0.0, 1.0);
                blend(
                    picture,
                    size,
                    cx as i32 + side,
                    y as i32 + step,
                    colour,
                    cover * fade * inside * 1.6,
                );
            }
        }
    }
}

fn flakes(picture: &mut [Rgb], size: Size, atmosphere: &Atmosphere, rng: &mut SceneRng) {
    let scale = size.height as f32 / 256.0;
    let count = (atmosphere.flakes * 620.0) as u32;
    for _ in 0..count {
        let near = rng.unit().powi(6);
        let radius = (0.45 + 0.5 * rng.unit() + 4.0 * near) * scale;
        let centre = (
            rng.within(0.0, size.width as f32),
            rng.within(0.0, size.height as f32),
        );
        let stretch = rng.within(1.0, 1.5);
        let cover = if near > 0.3 { 0.55 } else { 0.85 } * (radius * 1.4).min(1.0);
        spot(size, centre, (radius, radius * stretch), |at, r| {
            let t = ((1.0 - r) * if near > 0.3 { 1.4 } else { 2.5 }).clamp(0.0, 1.0);
            picture[at] = picture[at].mix(v3(0.95, 0.97, 1.0), cover * t);
        });
    }
}

/// Drops show the scene upside down and blurred, with a bright rim below.
fn drops(picture: &mut [Rgb], size: Size, atmosphere: &Atmosphere, rng: &mut SceneRng) {
    let scale = size.height as f32 / 256.0;
    let before = picture.to_vec();
    let count = (atmosphere.drops * 26.0) as u32 + 4;
    for _ in 0..count {
        let radius = (1.6 + 6.0 * rng.unit() * rng.unit()) * scale;
        let centre = (
            rng.within(0.0, size.width as f32),
            rng.within(0.0, 0.9) * size.height as f32,
        );
        let tall = rng.within(1.0, 1.45);
        spot(size, centre, (radius, radius * tall), |at, r| {
            let (x, y) = (
                (at % size.width as usize) as f32,
                (at / size.width as usize) as f32,
            );
            let (dx, dy) = (x - centre.0, y - centre.1);
            let pick = |fx: f32, fy: f32| {
                let sx = (centre.0 - dx * fx).clamp(0.0, size.width as f32 - 1.0) as usize;
                let sy = (centre.1 - dy * fy).clamp(0.0, size.height as f32 - 1.0) as usize;
                before[sy * size.width as usize + sx]
            };
            let seen = (pick(2.2, 3.0) + pick(3.0, 4.0) + pick(1.5, 5.0)) * (1.0 / 3.0);
            let rim = 0.8 + 0.35 * (dy / (radius * tall)) * r;
            let soft = ((1.0 - r) * 3.0).clamp(0.0, 1.0) * 0.72;
            picture[at] = picture[at].mix(seen * rim, soft);
        });
    }
}

/// Visits the pixels of an ellipse with their distance from its centre (0..1).
fn spot(size: Size, centre: (f32, f32), radius: (f32, f32), mut visit: impl FnMut(usize, f32)) {
    // Never thinner than a pixel, or it would fall between centres.
    let (rx, ry) = (radius.0.max(0.75), radius.1.max(0.75));
    let rows = (centre.1 - ry).floor().max(0.0) as usize
        ..((centre.1 + ry).ceil().max(0.0) as usize).min(size.height as usize);
    for y in rows {
        let columns = (centre.0 - rx).floor().max(0.0) as usize
            ..((centre.0 + rx).ceil().max(0.0) as usize).min(size.width as usize);
        for x in columns {
            let (dx, dy) = ((x as f32 + 0.5 - centre.0) / rx, (y as f32 + 0.5 - centre.1) / ry);
            let r = (dx * dx + dy * dy).sqrt();
            if r < 1.0 {
                visit(y * size.width as usize + x, r);
            }
        }
    }
}
