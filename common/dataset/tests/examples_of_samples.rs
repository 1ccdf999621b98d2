//! What [`ulda_dataset::load`] makes of crops, flips and centre crops, and what a fingerprint notices.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::fs;

use common::{cityscapes, image_of, label_of, write_grey};
use proptest::prelude::*;
use ulda_dataset::labels::{IGNORE, to_train_id};
use ulda_dataset::{
    Crop, Dataset, Image, ImagePixels, PixelFormat, Sampling, Size, Window, load, normalise, read_header,
    read_image, read_label_ids, write_rgb,
};
use ulda_run::spec::DatasetConfig;

const SIZE: Size = Size::new(9, 7);

/// One sample in which every pixel and label can be told apart.
fn telling() -> (tempfile::TempDir, DatasetConfig, Image, Vec<u8>) {
    let (folder, spec) = cityscapes(&["a"], SIZE);
    let image = Image {
        size: SIZE,
        rgb: (0..SIZE.pixels() * 3).map(|v| v as u8).collect(),
    };
    let ids: Vec<u8> = (0..SIZE.pixels()).map(|v| (v % 34) as u8).collect();
    write_rgb(&image_of(folder.path(), "a"), &image).unwrap();
    write_grey(&label_of(folder.path(), "a"), SIZE, &ids);
    (folder, spec, image, ids)
}

fn expected(image: &Image, ids: &[u8], window: Window, flip: bool) -> (Vec<f32>, Vec<u8>) {
    let mut part = Image {
        size: window.size,
        rgb: Vec::new(),
    };
    let mut label = Vec::new();
    for y in window.y..window.y + window.size.height {
        for column in 0..window.size.width {
            let column = if flip {
                window.size.width - 1 - column
            } else {
                column
            };
            let at = (y * SIZE.width + window.x + column) as usize;
            part.rgb.extend(&image.rgb[3 * at..3 * at + 3]);
            label.push(to_train_id(ids[at]));
        }
    }
    (normalise(&part), label)
}

#[test]
fn every_crop_and_flip_is_the_right_pixels() {
    let (_folder, spec, image, ids) = telling();
    let dataset = Dataset::open(&spec).unwrap();
    for size in [
        Size::new(1, 1),
        Size::new(4, 3),
        Size::new(9, 2),
        Size::new(2, 7),
        SIZE,
    ] {
        for x in 0..=SIZE.width - size.width {
            for y in 0..=SIZE.height - size.height {
                for flip in [false, true] {
                    let window = Window { x, y, size };
                    let sampling = Sampling {
                        crop: Some(Crop::At(window)),
                        flip,
                        ..Sampling::default()
                    };
                    let example = load(&dataset, 0, &sampling).unwrap();
                    let (pixels, label) = expected(&image, &ids, window, flip);
                    assert_eq!(
                        (example.image, &example.label),
                        (ImagePixels::Normalised(pixels.clone()), &label),
                        "{window} {flip}"
                    );
                    let format = PixelFormat::Rgb;
                    let bytes = load(&dataset, 0, &Sampling { format, ..sampling }).unwrap();
                    let ImagePixels::Rgb(rgb) = bytes.image else {
                        panic!("asked for bytes")
                    };
                    assert_eq!(normalise(&Image { size, rgb }), pixels, "{window} {flip}");
                    assert_eq!(bytes.label, label, "{window} {flip}");
                }
            }
        }
    }
}

#[test]
fn a_crop_after_a_padding_centre_crop() {
    let (_folder, mut spec, image, ids) = telling();
    spec.centre_crop = Some([13, 5]);
    let dataset = Dataset::open(&spec).unwrap();
    assert_eq!(dataset.image_size(0).unwrap(), Size::new(13, 5));
    let window = Window {
        x: 1,
        y: 0,
        size: Size::new(3, 5),
    };
    let example = load(
        &dataset,
        0,
        &Sampling {
            crop: Some(Crop::At(window)),
            ..Sampling::default()
        },
    )
    .unwrap();
    let seen = Window {
        x: 0,
        y: 1,
        size: Size::new(2, 5),
    };
    let (_, label) = expected(&image, &ids, seen, false);
    for row in 0..5 {
        assert_eq!(example.label[row * 3], IGNORE);
        assert_eq!(
            example.label[row * 3 + 1..row * 3 + 3],
            label[row * 2..row * 2 + 2]
        );
    }
    let black = normalise(&Image {
        size: Size::square(1),
        rgb: vec![0; 3],
    });
    assert_eq!(
        example.image.normalised().unwrap()[0],
        black[0],
        "padding is black before normalisation"
    );
}

#[test]
fn drawn_crops_reach_every_place() {
    let (_folder, spec, ..) = telling();
    let dataset = Dataset::open(&spec).unwrap();
    let size = Size::new(7, 7);
    let at = |across: f64| {
        let drawn = Sampling {
            crop: Some(Crop::Drawn {
                size,
                across,
                down: 0.7,
            }),
            ..Sampling::default()
        };
        let got = load(&dataset, 0, &drawn).unwrap();
        (0..3).find(|&x| {
            let crop = Some(Crop::At(Window { x, y: 0, size }));
            load(
                &dataset,
                0,
                &Sampling {
                    crop,
                    ..Sampling::default()
                },
            )
            .unwrap()
                == got
        })
    };
    let places: Vec<_> = [0.0, 0.32, 0.34, 0.65, 0.67, 0.999_999]
        .into_iter()
        .map(at)
        .collect();
    assert_eq!(places, [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
}

#[test]
fn a_fingerprint_notices_changes_but_not_moves() {
    let (folder, spec, ..) = telling();
    let before = Dataset::open(&spec).unwrap().fingerprint().unwrap();
    assert_eq!(before.to_string().len(), 64);

    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    fs::rename(folder.path(), &moved).unwrap();
    let mut spec = DatasetConfig { root: moved, ..spec };
    assert_eq!(Dataset::open(&spec).unwrap().fingerprint().unwrap(), before);

    fs::copy(image_of(&spec.root, "a"), image_of(&spec.root, "b")).unwrap();
    fs::copy(label_of(&spec.root, "a"), label_of(&spec.root, "b")).unwrap();
    let grown = Dataset::open(&spec).unwrap().fingerprint().unwrap();
    assert_ne!(grown, before);
    common::write_filled(&image_of(&spec.root, "b"), SIZE, 0);
    assert_ne!(Dataset::open(&spec).unwrap().fingerprint().unwrap(), grown);
    spec.only_size = Some([SIZE.width, SIZE.height]);
    assert_eq!(Dataset::open(&spec).unwrap().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damage gives an error or other pixels, never a panic.
    #[test]
    fn damaged_files_do_not_panic(
        format in prop::sample::select(vec![
            "formats/rgb.png", "formats/palette4.png", "formats/interlaced.png", "formats/grey.png", "formats/bilevel.png",
            "formats/grey_alpha.png", "jpeg/quarter_chroma.jpg", "jpeg/progressive.jpg", "jpeg/restarts.jpg", "jpeg/grey.jpg",
        ]),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
        let mut bytes = fs::read(format!("{fixtures}/{format}")).unwrap();
        for (place, value) in hits {
            // Past the signature, whose loss is an error of its own.
            let at = 8 + place.index(bytes.len() - 8);
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.png");
        fs::write(&path, bytes).unwrap();
        for result in [read_image(&path).map(drop), read_label_ids(&path).map(drop)] {
            if let Err(error) = result {
                prop_assert!(error.to_string().contains("damaged.png"));
            }
        }
    }

    #[test]
    fn what_is_written_is_read(width in 1u32..40, height in 1u32..20, seed in any::<u32>()) {
        let size = Size::new(width, height);
        let mut state = seed;
        let rgb = (0..size.pixels() * 3).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }).collect();
        let image = Image { size, rgb };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        write_rgb(&path, &image).unwrap();
        prop_assert_eq!(read_header(&path).unwrap().size(), size);
        prop_assert_eq!(read_image(&path).unwrap(), image);
        prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part file is left");
    }
}
