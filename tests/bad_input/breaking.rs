//! Ways to break a world.

use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType};
use ulda_tests::{World, png_files};

/// Size of the world's pictures.
pub const WIDTH: u32 = 128;
pub const HEIGHT: u32 = 64;

/// The training images of the source.
pub fn images(world: &World) -> Vec<PathBuf> {
    png_files(&world.path("data/cityscapes/leftImg8bit/train"))
}

/// The training labels of the source.
pub fn labels(world: &World) -> Vec<PathBuf> {
    png_files(&world.path("data/cityscapes/gtFine/train"))
}

/// The labels of the evaluation set.
pub fn night_labels(world: &World) -> Vec<PathBuf> {
    png_files(&world.path("data/acdc/gt/night/val"))
}

pub fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

/// Keeps the first `count` bytes.
pub fn cut(path: &Path, count: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..count]).unwrap();
}

/// Keeps the first half.
pub fn halve(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Writes an 8-bit grey picture of one value.
pub fn grey(path: &Path, width: u32, height: u32, value: u8) {
    picture(
        path,
        width,
        height,
        (ColorType::Grayscale, BitDepth::Eight),
        value,
    );
}

/// Writes a picture whose bytes all have one value.
pub fn picture(path: &Path, width: u32, height: u32, (colour, depth): (ColorType, BitDepth), value: u8) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    let bytes = colour.samples() * if depth == BitDepth::Sixteen { 2 } else { 1 };
    let pixels = vec![value; width as usize * height as usize * bytes];
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// Replaces text of the run.toml; it must be there.
pub fn edit(world: &World, from: &str, to: &str) {
    let path = world.path("run.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is not in the run.toml");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

/// Replaces bytes of a file by as many others, everywhere.
pub fn patch(path: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|&at| bytes[at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "nothing to replace in {}", path.display());
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    std::fs::write(path, bytes).unwrap();
}

/// A file of the published implementation's fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/golden")
        .join(name)
}
