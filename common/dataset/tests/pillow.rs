//! Decoding and jitter against what Pillow made of the same files (recorded by `fixtures/make_fixtures.py`).
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use ulda_dataset::{Adjustment, Image, Jitter, Size, read_image, read_label_ids};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u8)
        .collect()
}

#[test]
fn jitter_is_pillows_to_the_last_bit() {
    let record = json("jitter.json");
    let side = |name: &str| record[name].as_u64().unwrap() as u32;
    let original = Image {
        size: Size::new(side("width"), side("height")),
        rgb: bytes(&record["rgb"]),
    };
    let cases = record["cases"].as_array().unwrap();
    let mut worst = 0;
    for (number, case) in cases.iter().enumerate() {
        let factor = |name: &str| case[name].as_f64().unwrap() as f32;
        let letters: Vec<_> = case["order"].as_str().unwrap().chars().map(adjustment).collect();
        let jitter = Jitter {
            brightness: factor("brightness"),
            contrast: factor("contrast"),
            saturation: factor("saturation"),
            order: letters.try_into().unwrap(),
        };
        assert_eq!(jitter.order, Adjustment::ORDERS[number % 6]);
        let mut image = original.clone();
        jitter.apply(&mut image);
        for (got, want) in image.rgb.iter().zip(bytes(&case["rgb"])) {
            worst = worst.max(got.abs_diff(want));
        }
    }
    println!(
        "parity | jitter.json | {} jitters on 8-bit images | {worst} | 0",
        cases.len()
    );
    assert_eq!(worst, 0);
}

fn adjustment(letter: char) -> Adjustment {
    match letter {
        'b' => Adjustment::Brightness,
        'c' => Adjustment::Contrast,
        's' => Adjustment::Saturation,
        other => panic!("unknown adjustment {other}"),
    }
}

#[test]
fn every_format_decodes_as_pillow_decodes_it() {
    let expected = json("formats/expected.json");
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), 9);
    for (name, want) in expected {
        let path = fixture("formats").join(name);
        let image = read_image(&path).unwrap();
        assert_eq!(image.size, Size::new(14, 9), "{name}");
        assert_eq!(image.rgb, bytes(&want["rgb"]), "{name}");
        match want.get("ids") {
            Some(ids) => assert_eq!(read_label_ids(&path).unwrap().ids, bytes(ids), "{name}"),
            None => {
                read_label_ids(&path).unwrap_err();
            }
        }
    }
}

#[test]
fn sixteen_bits_are_refused() {
    let error = read_image(&fixture("formats/grey16.png")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("grey16.png` has 16 bits per channel, expected 8"),
        "{error}"
    );
}

#[test]
fn resizing_and_cropping_is_pillows_to_the_last_bit() {
    let record = json("resize.json");
    let cases = record["cases"].as_array().unwrap();
    for case in cases {
        let side = |name: &str| u32::try_from(case[name].as_u64().unwrap()).unwrap();
        let original = Image {
            size: Size::new(side("width"), side("height")),
            rgb: bytes(&case["rgb"]),
        };
        let cropped = original.resized_and_cropped(side("side"));
        assert_eq!(cropped.size, Size::square(side("side")));
        assert_eq!(
            cropped.rgb,
            bytes(&case["cropped"]),
            "{} to {}",
            original.size,
            side("side")
        );
    }
    assert_eq!(cases.len(), 7);
}
