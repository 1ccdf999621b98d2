//! Pillow's bilinear resizing of 8-bit images (its `Resample.c`), to the last bit: two passes with weights in fixed point,
//! the columns first. Where an image shrinks, the filter spans all pixels that fall into one.

use crate::decode::Image;
use crate::geometry::Size;
use crate::transform::Framing;

/// Bits of a weight behind the point.
const FRACTION_BITS: u32 = 32 - 8 - 2;

/// The pixels of one axis that make up one pixel of the result.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Image {
    /// The square of `side` pixels that torchvision's `Resize(side)` and `CenterCrop(side)` make of a Pillow image, as the
    /// published `predict.py --crop_val` uses them: the shorter side becomes `side`, the middle of the longer one stays.
    #[must_use]
    pub fn resized_and_cropped(&self, side: u32) -> Image {
        let Size { width, height } = self.size;
        let scaled = |long: u32, short: u32| (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
        let resized = match width <= height {
            true => self.resized(Size::new(side, scaled(height, width))),
            false => self.resized(Size::new(scaled(width, height), side)),
        };
        resized.framed(&Framing::centre(resized.size, Size::square(side)))
    }

    /// The image in another size; an axis that keeps its length keeps its pixels.
    fn resized(&self, size: Size) -> Image {
        let mut rgb = self.rgb.clone();
        if size.width != self.size.width {
            let taps = taps(self.size.width, size.width);
            rgb = rgb
                .chunks_exact(self.size.width as usize * 3)
                .flat_map(|row| {
                    let pixel = |tap: &Tap| [0, 1, 2].map(|channel| sum(tap, |at| row[at * 3 + channel]));
                    taps.iter().flat_map(pixel)
                })
                .collect();
        }
        if size.height != self.size.height {
            let row = size.width as usize * 3;
            let value = |tap: &Tap, column: usize| sum(tap, |at| rgb[at * row + column]);
            let taps = taps(self.size.height, size.height);
            rgb = taps
                .iter()
                .flat_map(|tap| (0..row).map(move |column| value(tap, column)))
                .collect();
        }
        Image { size, rgb }
    }
}

fn taps(from: u32, to: u32) -> Vec<Tap> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let tap = |at: u32| {
        let centre = (f64::from(at) + 0.5) * scale;
        let first = (centre - stretch + 0.5).max(0.0) as u32;
        let end = ((centre + stretch + 0.5) as u32).min(from);
        let triangle = |place: u32| {
            let distance = (f64::from(place) - centre + 0.5) * (1.0 / stretch);
            (1.0 - distance.abs()).max(0.0)
        };
        let weights: Vec<f64> = (first..end).map(triangle).collect();
        let total: f64 = weights.iter().sum();
        // No weight is negative.
        let fixed = |weight: f64| (0.5 + weight / total * f64::from(1 << FRACTION_BITS)) as i32;
        Tap {
            first: first as usize,
            weights: weights.into_iter().map(fixed).collect(),
        }
    };
    (0..to).map(tap).collect()
}

fn sum(tap: &Tap, value: impl Fn(usize) -> u8) -> u8 {
    let weighted = tap.weights.iter().enumerate();
    let sum = weighted.fold(1 << (FRACTION_BITS - 1), |sum: i32, (at, weight)| {
        sum + i32::from(value(tap.first + at)) * weight
    });
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}
