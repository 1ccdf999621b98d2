//! Colour jitter on 8-bit images with the arithmetic of torchvision on Pillow images.
//!
//! Every adjustment blends the image with a degenerate one (black, its mean grey, its grey version) and goes back to
//! eight bits before the next, so the order matters. Source: torchvision `ColorJitter`, Pillow `ImageEnhance` and
//! `Image.blend`. No random numbers here: factors and order are drawn by the plan.

use crate::decode::Image;

/// One step of the jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    Brightness,
    Contrast,
    Saturation,
}

impl Adjustment {
    /// All orders in which the three can be applied, for a uniform draw.
    pub const ORDERS: [[Adjustment; 3]; 6] = {
        use Adjustment::{Brightness as B, Contrast as C, Saturation as S};
        [[B, C, S], [B, S, C], [C, B, S], [C, S, B], [S, B, C], [S, C, B]]
    };
}

/// Factors (1 changes nothing) and the order in which they are applied.
///
/// Training with strength `x` draws each factor uniformly from `[max(0, 1 - x), 1 + x]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    pub order: [Adjustment; 3],
}

impl Jitter {
    /// Applies the adjustments in place.
    pub fn apply(&self, image: &mut Image) {
        for adjustment in self.order {
            match adjustment {
                Adjustment::Brightness => blend_with_constant(image, 0, self.brightness),
                Adjustment::Contrast => {
                    let mean = mean_grey(image);
                    blend_with_constant(image, mean, self.contrast);
                }
                Adjustment::Saturation => saturate(image, self.saturation),
            }
        }
    }
}

/// ITU-R 601 luma in 16-bit fixed point, rounded, as Pillow converts RGB to grey.
fn grey(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

fn mean_grey(image: &Image) -> u8 {
    let sum: u64 = image
        .rgb
        .chunks_exact(3)
        .map(|pixel| u64::from(grey(pixel)))
        .sum();
    (sum as f64 / image.size.pixels() as f64 + 0.5) as u8
}

/// Pillow's blend of one sample: truncated towards zero, clipped only where the factor extrapolates.
fn blend(degenerate: u8, value: u8, factor: f32) -> u8 {
    let base = f32::from(degenerate);
    // A float-to-int cast saturates at 0 and 255, which is the clipping of the extrapolating branch.
    (base + factor * (f32::from(value) - base)) as u8
}

fn blend_with_constant(image: &mut Image, degenerate: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(degenerate, value as u8, factor));
    for value in &mut image.rgb {
        *value = table[usize::from(*value)];
    }
}

fn saturate(image: &mut Image, factor: f32) {
    for pixel in image.rgb.chunks_exact_mut(3) {
        let grey = grey(pixel);
        for value in pixel {
            *value = blend(grey, *value, factor);
        }
    }
}
