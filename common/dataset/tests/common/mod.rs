//! Small datasets written to a temporary folder.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ulda_dataset::palette::write_label_ids;
use ulda_dataset::{Image, LabelMap, Size, write_rgb};
use ulda_run::Classes;
use ulda_run::spec::{DatasetConfig, FilesConfig, Layout};

/// A GTA5-like dataset whose image `i` is filled with the value `i`, and whose labels are all road.
pub fn numbered(count: usize, size: Size) -> (TempDir, DatasetConfig) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["images", "labels"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let mut list = String::new();
    for number in 0..count {
        let name = format!("{number:05}.png");
        write_filled(&folder.path().join("images").join(&name), size, number as u8);
        write_roads(&folder.path().join("labels").join(&name), size);
        list += &format!("{name}\n");
    }
    fs::write(folder.path().join("train.txt"), list).unwrap();
    let spec = spec(Layout::Gta5, folder.path(), "train");
    (folder, spec)
}

pub fn spec(layout: Layout, root: &Path, split: &str) -> DatasetConfig {
    let (root, split) = (root.to_owned(), split.to_owned());
    DatasetConfig {
        layout,
        root,
        split,
        condition: None,
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
        classes: Classes::default(),
    }
}

pub fn write_filled(path: &Path, size: Size, value: u8) {
    write_rgb(
        path,
        &Image {
            size,
            rgb: vec![value; size.pixels() * 3],
        },
    )
    .unwrap();
}

/// A label file whose every pixel is road (label id 7).
pub fn write_roads(path: &Path, size: Size) {
    write_label_ids(
        path,
        &LabelMap {
            size,
            ids: vec![0; size.pixels()],
        },
        &Classes::default(),
    )
    .unwrap();
}

/// Writes an 8-bit grey file with the given values.
pub fn write_grey(path: &Path, size: Size, values: &[u8]) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, size.width, size.height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(values).unwrap();
}

/// Writes an 8-bit palette file with the given indices.
pub fn write_indexed(path: &Path, size: Size, indices: &[u8]) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, size.width, size.height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette((0..=255u8).flat_map(|index| [index, 99, 7]).collect::<Vec<u8>>());
    encoder.write_header().unwrap().write_image_data(indices).unwrap();
}

/// A file among the recorded ones.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A Cityscapes-like dataset with the named images in city `aachen` of split `train`.
pub fn cityscapes(bases: &[&str], size: Size) -> (TempDir, DatasetConfig) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("leftImg8bit/train/aachen")).unwrap();
    fs::create_dir_all(folder.path().join("gtFine/train/aachen")).unwrap();
    for base in bases {
        write_filled(&image_of(folder.path(), base), size, 9);
        write_roads(&label_of(folder.path(), base), size);
    }
    let spec = spec(Layout::Cityscapes, folder.path(), "train");
    (folder, spec)
}

pub fn image_of(root: &Path, base: &str) -> PathBuf {
    root.join(format!("leftImg8bit/train/aachen/{base}_leftImg8bit.png"))
}

pub fn label_of(root: &Path, base: &str) -> PathBuf {
    root.join(format!("gtFine/train/aachen/{base}_gtFine_labelIds.png"))
}
