//! One scene, drawn: an RGB picture and its labels, from the same samples.

use crate::camera::{Camera, Size};
use crate::canvas::{Canvas, SAMPLES, SKY};
use crate::finish::{bloom, develop, halos, outlines};
use crate::label::Label;
use crate::material::Material;
use crate::shade::Light;
use crate::sheet::Sheet;
use crate::vector::{Rgb, V3};
use crate::weather::{Atmosphere, falling};
use crate::world::World;

/// A picture with one label id per pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub size: Size,
    /// `height × width × 3` bytes, RGB.
    pub rgb: Vec<u8>,
    /// `height × width` Cityscapes label ids.
    pub labels: Vec<u8>,
}

/// Looks at a world under a sky.
///
/// The label of a pixel is what the ray through its centre meets; weather never changes it.
pub fn draw(world: &World, air: &Atmosphere, size: Size) -> Picture {
    let camera = Camera::new(&world.stand, size);
    let mut canvas = Canvas::new(size, SAMPLES.len());
    for number in near_to_far(world, &camera) {
        canvas.draw(number, &world.sheets[number as usize], &camera);
    }
    let light = Light::new(world, air, &camera, size);
    let mut linear = Vec::with_capacity(size.pixels());
    for y in 0..size.height {
        for x in 0..size.width {
            linear.push(pixel(&canvas, &light, x, y));
        }
    }
    if air.cel {
        outlines(&mut linear, &canvas, world);
    }
    halos(&mut linear, &canvas, world, &camera, air);
    if air.bloom > 0.0 {
        bloom(&mut linear, size, air.bloom);
    }
    let mut labels = labels(world, &canvas, &camera);
    bonnet(world, air, size, &mut linear, &mut labels);
    falling::fall(&mut linear, size, air);
    Picture {
        size,
        rgb: develop(&linear, size, air),
        labels,
    }
}

/// The patch numbers, nearest first: what is hidden then costs only a depth test.
fn near_to_far(world: &World, camera: &Camera) -> Vec<u32> {
    let depth = |sheet: &Sheet| {
        sheet
            .corners()
            .iter()
            .fold(f32::MAX, |near, &c| near.min(camera.depth(c)))
    };
    let mut order: Vec<(f32, u32)> = world
        .sheets
        .iter()
        .zip(0..)
        .map(|(sheet, number)| (depth(sheet), number))
        .collect();
    // The ground last: nearly all of it is compared with something nearer.
    order[0].0 = f32::MAX;
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, number)| number).collect()
}

/// The mean over a pixel's samples; each patch is shaded once, at the middle of its samples.
fn pixel(canvas: &Canvas, light: &Light<'_>, x: u32, y: u32) -> Rgb {
    let at = y as usize * canvas.size.width as usize + x as usize;
    let (left, top) = (x as f32, y as f32);
    let centre = canvas.centre(at);
    if canvas.seen(at).all(|n| n == centre) {
        return light.colour(centre, left + 0.5, top + 0.5);
    }
    let mut seen = [SKY; SAMPLES.len()];
    seen.iter_mut().zip(canvas.seen(at)).for_each(|(s, n)| *s = n);
    let mut sum = V3::default();
    for (index, &number) in seen.iter().enumerate() {
        if seen[..index].contains(&number) {
            continue;
        }
        let (mut sx, mut sy, mut count) = (0.0, 0.0, 0.0);
        for (other, shift) in seen.iter().zip(SAMPLES) {
            if *other == number {
                sx += shift.0;
                sy += shift.1;
                count += 1.0;
            }
        }
        sum += light.colour(number, left + sx / count, top + sy / count) * count;
    }
    sum * (1.0 / SAMPLES.len() as f32)
}

fn labels(world: &World, canvas: &Canvas, camera: &Camera) -> Vec<u8> {
    let width = canvas.size.width as usize;
    (0..canvas.size.pixels())
        .map(|at| {
            let number = canvas.centre(at);
            if number == SKY {
                return Label::Sky as u8;
            }
            let sheet = &world.sheets[number as usize];
            if matches!(sheet.material, Material::Ground) {
                let ray = camera.ray((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
                return world
                    .street
                    .label(camera.eye + ray * (1.0 / canvas.inverse_depth(at))) as u8;
            }
            sheet.label as u8
        })
        .collect()
}

/// Lays the camera car's own bonnet over the lower edge.
fn bonnet(world: &World, air: &Atmosphere, size: Size, linear: &mut [Rgb], labels: &mut [u8]) {
    let Some(hood) = &world.hood else { return };
    let sky = air.ambient * 0.5 + air.horizon * 0.6;
    let top = ((hood.crest - 0.02) * size.height as f32).max(0.0) as u32;
    for y in top..size.height {
        for x in 0..size.width {
            let (u, v) = (
                (x as f32 + 0.5) / size.width as f32,
                (y as f32 + 0.5) / size.height as f32,
            );
            let deep = hood.depth(u, v);
            let cover = (deep * size.height as f32 + 0.5).clamp(0.0, 1.0);
            if cover > 0.0 {
                let at = y as usize * size.width as usize + x as usize;
                linear[at] = linear[at].mix(hood.look(u, v, sky), cover);
                if deep >= 0.0 {
                    labels[at] = Label::EgoVehicle as u8;
                }
            }
        }
    }
}
