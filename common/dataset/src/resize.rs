//! Pillow's bilinear resizing of 8-bit images (its `Resample.c`), to the last bit: two passes with weights in fixed point,
//! the columns first. Where an image shrinks, the filter spans all pixels that fall into one.

use crate::decode::Image;
use crate::geometry::Size;

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
        let scaled = |long: u32, short: u32| u64::from(side) * u64::from(long) / u64::from(short);
        let (across, down) = match width <= height {
            true => (u64::from(side), scaled(height, width)),
            false => (scaled(width, height), u64::from(side)),
        };
        // Only the square is made: of a strip, the rest may be far too large.
        let taps = |from: u32, to: u64| taps(from, to, centre_start(to, side), side);
        let columns = (across != u64::from(width) || side != width).then(|| taps(width, across));
        let rows = (down != u64::from(height) || side != height).then(|| taps(height, down));
        self.resampled(Size::square(side), columns.as_deref(), rows.as_deref())
    }

    /// The image of `size` whose columns and rows the taps make; without taps, an axis keeps its pixels.
    fn resampled(&self, size: Size, columns: Option<&[Tap]>, rows: Option<&[Tap]>) -> Image {
        let line = self.size.width as usize * 3;
        // The rows of this image that the result is made of.
        let first = rows.and_then(|taps| taps.first()).map_or(0, |tap| tap.first);
        let end = rows
            .and_then(|taps| taps.last())
            .map(|tap| tap.first + tap.weights.len());
        let end = end.unwrap_or(self.size.height as usize);
        let mut rgb = self.rgb[first * line..end * line].to_vec();
        if let Some(taps) = columns {
            rgb = rgb
                .chunks_exact(line)
                .flat_map(|row| {
                    let pixel = |tap: &Tap| [0, 1, 2].map(|channel| sum(tap, |at| row[at * 3 + channel]));
                    taps.iter().flat_map(pixel)
                })
                .collect();
        }
        if let Some(taps) = rows {
            let row = size.width as usize * 3;
            let value = |tap: &Tap, column: usize| sum(tap, |at| rgb[(at - first) * row + column]);
            rgb = taps
                .iter()
                .flat_map(|tap| (0..row).map(move |column| value(tap, column)))
                .collect();
        }
        Image { size, rgb }
    }
}

/// Where the middle `side` of `length` begins; a half pixel rounds to the even neighbour, as in torchvision's `center_crop`.
fn centre_start(length: u64, side: u32) -> u64 {
    let spare = length - u64::from(side);
    let half = spare / 2;
    half + (spare % 2) * (half % 2)
}

/// Of `to` pixels that `from` become, the `count` from `start` on.
fn taps(from: u32, to: u64, start: u64, count: u32) -> Vec<Tap> {
    let scale = f64::from(from) / to as f64;
    let stretch = scale.max(1.0);
    let tap = |at: u64| {
        let centre = (at as f64 + 0.5) * scale;
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
    (start..start + u64::from(count)).map(tap).collect()
}

fn sum(tap: &Tap, value: impl Fn(usize) -> u8) -> u8 {
    let weighted = tap.weights.iter().enumerate();
    let sum = weighted.fold(1 << (FRACTION_BITS - 1), |sum: i32, (at, weight)| {
        sum + i32::from(value(tap.first + at)) * weight
    });
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}
