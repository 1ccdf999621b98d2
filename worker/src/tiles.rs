//! Images in parts that fit into memory. One up to [`WHOLE_PIXELS`] is one part.

use ulda_dataset::{Image, LEAST_SIDE, Size, Window};

/// Pixels up to which an image is looked at as a whole; a network of RN50's size then holds some 8 GiB.
const WHOLE_PIXELS: usize = 1 << 24;
/// Side of a tile, pixels.
const SIDE: u32 = 2048;
/// Pixels that a tile shares with each neighbour, on its own side of the seam. Like the side, a multiple of the network's
/// coarsest stride, so that its cells are those of the whole image.
const MARGIN: u32 = 256;

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// What the network sees.
    pub seen: Window,
    /// What counts of its output: no two tiles have a pixel in common, and all of the image is in some.
    pub kept: Window,
}

/// The tiles of an image, row by row.
pub fn tiles(size: Size) -> Vec<Tile> {
    // As the network sees it, see `cut`.
    let padded = Size::new(size.width.max(LEAST_SIDE), size.height.max(LEAST_SIDE));
    match padded.pixels() <= WHOLE_PIXELS {
        true => grid(size, [size.width, size.height], 0),
        false => grid(size, [SIDE; 2], MARGIN),
    }
}

fn grid(size: Size, [width, height]: [u32; 2], margin: u32) -> Vec<Tile> {
    let across = spans(size.width, width, margin);
    let down = spans(size.height, height, margin);
    let window = |(x, end_x): (u32, u32), (y, end_y): (u32, u32)| Window {
        x,
        y,
        size: Size::new(end_x - x, end_y - y),
    };
    let rows = down.iter().map(|&(seen_y, kept_y)| {
        across.iter().map(move |&(seen_x, kept_x)| Tile {
            seen: window(seen_x, seen_y),
            kept: window(kept_x, kept_y),
        })
    });
    rows.flatten().collect()
}

/// Begin and end of what tiles see and keep along one side of an image.
fn spans(length: u32, side: u32, margin: u32) -> Vec<((u32, u32), (u32, u32))> {
    if length <= side {
        return vec![((0, length), (0, length))];
    }
    let step = side - 2 * margin;
    let starts = (0..length).step_by(step as usize);
    let spans = starts.map(|start| {
        let end = start.saturating_add(step).min(length);
        let seen = (
            start.saturating_sub(margin),
            end.saturating_add(margin).min(length),
        );
        (seen, (start, end))
    });
    spans.collect()
}

/// The part of an image that a tile sees. Where the image has fewer than 32 pixels on a side, its last row and column are
/// repeated up to there: the network's coarsest stride needs them.
pub fn cut(image: &Image, seen: Window) -> Image {
    let size = Size::new(seen.size.width.max(LEAST_SIDE), seen.size.height.max(LEAST_SIDE));
    let mut rgb = Vec::with_capacity(3 * size.pixels());
    for row in 0..size.height {
        let y = seen.y + row.min(seen.size.height - 1);
        let first = 3 * (y as usize * image.size.width as usize + seen.x as usize);
        let line = &image.rgb[first..first + 3 * seen.size.width as usize];
        rgb.extend_from_slice(line);
        let last = &line[line.len() - 3..];
        for _ in seen.size.width..size.width {
            rgb.extend_from_slice(last);
        }
    }
    Image { size, rgb }
}

/// Puts what a tile keeps of `values`, one for each pixel of its [`cut`] part, into `all`, those of the whole image.
pub fn paste(all: &mut [u8], image: Size, tile: Tile, values: &[u8], part: Size) {
    let Tile { seen, kept } = tile;
    let columns = kept.size.width as usize;
    for row in 0..kept.size.height {
        let from = (kept.y - seen.y + row) as usize * part.width as usize + (kept.x - seen.x) as usize;
        let to = (kept.y + row) as usize * image.width as usize + kept.x as usize;
        all[to..to + columns].copy_from_slice(&values[from..from + columns]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_image_is_one_tile_and_is_cut_as_it_is() {
        for (width, height) in [(2048, 1024), (1, 1), (4096, 4096), (20_000, 1)] {
            let size = Size::new(width, height);
            let whole = Window { x: 0, y: 0, size };
            assert_eq!(
                tiles(size),
                [Tile {
                    seen: whole,
                    kept: whole
                }]
            );
        }
        let image = Image {
            size: Size::new(33, 32),
            rgb: (0..33 * 32 * 3).map(|value| value as u8).collect(),
        };
        assert_eq!(cut(&image, tiles(image.size)[0].seen), image);
    }

    #[test]
    fn tiles_keep_every_pixel_once_and_see_around_it() {
        for (width, height) in [(16_384, 16_384), (5_000, 4_001), (1 << 25, 1), (1, 1 << 25)] {
            let size = Size::new(width, height);
            let tiles = tiles(size);
            let kept: usize = tiles.iter().map(|tile| tile.kept.size.pixels()).sum();
            assert_eq!(kept, size.pixels(), "{size}");
            for Tile { seen, kept } in tiles {
                assert!(seen.lies_in(size) && kept.lies_in(size), "{size} {seen}");
                assert!(seen.size.pixels() <= (SIDE * SIDE) as usize, "{size} {seen}");
                assert_eq!(
                    (seen.x % LEAST_SIDE, seen.y % LEAST_SIDE),
                    (0, 0),
                    "{size} {seen}"
                );
                assert!(kept.x == 0 || kept.x - seen.x == MARGIN, "{size} {seen}");
                let right = (kept.x + kept.size.width, seen.x + seen.size.width);
                assert!(
                    right.0 == width || right.1 == width || right.1 - right.0 == MARGIN,
                    "{size} {seen}"
                );
            }
        }
    }

    #[test]
    fn cut_and_pasted_tiles_are_the_image() {
        let size = Size::new(150, 90);
        let image = Image {
            size,
            rgb: (0..size.pixels()).flat_map(|at| [(at % 251) as u8; 3]).collect(),
        };
        let mut all = vec![0; size.pixels()];
        let grid = grid(size, [96, 64], 16);
        assert_eq!(grid.len(), 9);
        for tile in grid {
            let part = cut(&image, tile.seen);
            let values: Vec<u8> = part.rgb.iter().step_by(3).copied().collect();
            paste(&mut all, size, tile, &values, part.size);
        }
        assert_eq!(all, image.rgb.iter().step_by(3).copied().collect::<Vec<u8>>());
    }

    #[test]
    fn a_side_that_is_too_short_repeats_its_end() {
        let image = Image {
            size: Size::new(2, 1),
            rgb: vec![1, 2, 3, 4, 5, 6],
        };
        let grown = cut(&image, tiles(image.size)[0].seen);
        assert_eq!(grown.size, Size::square(32));
        assert_eq!(grown.rgb[..9], [1, 2, 3, 4, 5, 6, 4, 5, 6]);
        assert_eq!(grown.rgb[..96], grown.rgb[31 * 96..]);
    }
}
