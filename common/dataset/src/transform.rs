//! Where pixels go: crops, padding, flips and normalisation. Pure functions on buffers.

use crate::decode::{Image, LabelMap};
use crate::geometry::{Size, Window};

/// Channel means CLIP was trained with, red green blue, on values in 0..1.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Channel standard deviations CLIP was trained with.
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Which part of a file's pixels is wanted, and where it lies in the picture that is made of it.
///
/// Pixels of the target outside the source part are black, and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The part of the file that is read.
    pub source: Window,
    /// Size of the picture that results.
    pub target: Size,
    /// Column and row of the target that receive the first pixel of the source part.
    pub offset: (u32, u32),
}

impl Framing {
    /// All pixels of the file.
    pub const fn whole(image: Size) -> Self {
        Self::window(Window::all_of(image))
    }

    /// The pixels of a window.
    pub const fn window(window: Window) -> Self {
        Self {
            source: window,
            target: window.size,
            offset: (0, 0),
        }
    }

    /// The central `crop` of an image as torchvision's `center_crop` takes it: a half pixel rounds to the even
    /// neighbour, and where the image is smaller than the crop it is padded, the odd pixel at the far side.
    pub fn centre(image: Size, crop: Size) -> Self {
        let across = centre_axis(image.width, crop.width);
        let down = centre_axis(image.height, crop.height);
        Self {
            source: Window {
                x: across.start,
                y: down.start,
                size: Size::new(across.length, down.length),
            },
            target: crop,
            offset: (across.offset, down.offset),
        }
    }
}

struct Span {
    start: u32,
    length: u32,
    offset: u32,
}

fn centre_axis(image: u32, crop: u32) -> Span {
    if image < crop {
        return Span {
            start: 0,
            length: image,
            offset: (crop - image) / 2,
        };
    }
    let spare = image - crop;
    let half = spare / 2;
    let start = if spare % 2 == 1 && half % 2 == 1 {
        half + 1
    } else {
        half
    };
    Span {
        start,
        length: crop,
        offset: 0,
    }
}

/// Copies the framed part of `source` (rows of `width` pixels, `channels` bytes each) into a new zeroed buffer.
pub(crate) fn frame(source: &[u8], width: u32, channels: usize, framing: &Framing) -> Vec<u8> {
    let mut target = vec![0; framing.target.pixels() * channels];
    let part = framing.source;
    for row in 0..part.size.height {
        let from = ((part.y + row) as usize * width as usize + part.x as usize) * channels;
        let line = &source[from..from + part.size.width as usize * channels];
        place_row(&mut target, line, channels, framing, row);
    }
    target
}

/// Writes row `row` of the source part into the target buffer.
pub(crate) fn place_row(target: &mut [u8], line: &[u8], channels: usize, framing: &Framing, row: u32) {
    let (x, y) = framing.offset;
    let to = ((y + row) as usize * framing.target.width as usize + x as usize) * channels;
    target[to..to + line.len()].copy_from_slice(line);
}

impl Image {
    /// The framed part of this image. The framing's source window must lie inside the image.
    pub fn framed(&self, framing: &Framing) -> Image {
        Image {
            size: framing.target,
            rgb: frame(&self.rgb, self.size.width, 3, framing),
        }
    }

    /// Mirrors the image left to right.
    pub(crate) fn mirror(&mut self) {
        for row in self.rgb.chunks_exact_mut(3 * self.size.width as usize) {
            row.reverse();
            row.chunks_exact_mut(3).for_each(<[u8]>::reverse);
        }
    }
}

impl LabelMap {
    /// The framed part of a map; padding becomes 0.
    pub fn framed(&self, framing: &Framing) -> LabelMap {
        LabelMap {
            size: framing.target,
            ids: frame(&self.ids, self.size.width, 1, framing),
        }
    }

    /// Mirrors the map left to right.
    pub(crate) fn mirror(&mut self) {
        for row in self.ids.chunks_exact_mut(self.size.width as usize) {
            row.reverse();
        }
    }
}

/// Direction in which pixels of a row are laid down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Facing {
    AsIs,
    Mirrored,
}

/// `(v / 255 - mean) / std` per channel with CLIP's constants, as a `[3, height, width]` tensor in f32.
///
/// Follows torchvision's `ToTensor` and `Normalize` operation by operation, so values agree to the last bit.
pub fn normalise(image: &Image) -> Vec<f32> {
    normalise_facing(image, Facing::AsIs)
}

pub(crate) fn normalise_facing(image: &Image, facing: Facing) -> Vec<f32> {
    let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|value| (value as f32 / 255.0 - CLIP_MEAN[channel]) / CLIP_STD[channel])
    });
    let area = image.size.pixels();
    let width = image.size.width as usize;
    let mut tensor = vec![0f32; 3 * area];
    let (red, rest) = tensor.split_at_mut(area);
    let (green, blue) = rest.split_at_mut(area);
    let planes = red
        .chunks_exact_mut(width)
        .zip(green.chunks_exact_mut(width))
        .zip(blue.chunks_exact_mut(width));
    for (row, ((red, green), blue)) in image.rgb.chunks_exact(3 * width).zip(planes) {
        let targets = red.iter_mut().zip(green).zip(blue);
        let write = |pixel: &[u8], ((r, g), b): ((&mut f32, &mut f32), &mut f32)| {
            *r = tables[0][usize::from(pixel[0])];
            *g = tables[1][usize::from(pixel[1])];
            *b = tables[2][usize::from(pixel[2])];
        };
        match facing {
            Facing::AsIs => row
                .chunks_exact(3)
                .zip(targets)
                .for_each(|(pixel, at)| write(pixel, at)),
            Facing::Mirrored => row
                .chunks_exact(3)
                .rev()
                .zip(targets)
                .for_each(|(pixel, at)| write(pixel, at)),
        }
    }
    tensor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centre_rounds_half_pixels_to_even() {
        // (image, crop) -> start; Python: int(round((image - crop) / 2.0))
        for (image, crop, start) in [
            (10, 7, 2),
            (10, 5, 2),
            (11, 8, 2),
            (12, 7, 2),
            (13, 6, 4),
            (9, 8, 0),
            (1914, 1914, 0),
        ] {
            assert_eq!(centre_axis(image, crop).start, start, "{image} to {crop}");
        }
    }

    #[test]
    fn centre_pads_the_far_side_with_the_odd_pixel() {
        let framing = Framing::centre(Size::new(5, 3), Size::new(4, 6));
        assert_eq!(
            framing.source,
            Window {
                x: 0,
                y: 0,
                size: Size::new(4, 3)
            }
        );
        assert_eq!(framing.offset, (0, 1));
        let map = LabelMap {
            size: Size::new(5, 3),
            ids: (1..=15).collect(),
        };
        let framed = map.framed(&framing);
        assert_eq!(framed.ids[..4], [0; 4]);
        assert_eq!(framed.ids[4..8], [1, 2, 3, 4]);
        assert_eq!(framed.ids[16..], [0; 8]);
    }

    #[test]
    fn mirrored_planes_are_reversed_rows() {
        let image = Image {
            size: Size::new(3, 2),
            rgb: (0..18).map(|v| v * 13).collect(),
        };
        let plain = normalise(&image);
        let mirrored = normalise_facing(&image, Facing::Mirrored);
        for (a, b) in plain.chunks(3).zip(mirrored.chunks(3)) {
            assert_eq!(a.iter().rev().copied().collect::<Vec<_>>(), b);
        }
        let mut turned = image.clone();
        turned.mirror();
        assert_eq!(normalise(&turned), mirrored);
    }
}
