//! JPEG images: their pixels, their sizes, and damage.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::fs;

use common::fixture;
use serde_json::Value;
use ulda_dataset::{ImageHeader, Size, read_header, read_image, read_label_ids};

const SIZE: Size = Size::new(29, 21);
/// blake3 of the pixels of all fixtures, in order of name. Another value means that runs on JPEG images compute other numbers
/// than before, or that they depend on the host.
const PIXELS: &str = "ec21516931dbf4d895c09041945d55cb963e111faf798b6982907d125f39c422";
/// Largest difference of a value from libjpeg's, whose arithmetic rounds differently.
const ROUNDING: u8 = 3;

fn expected() -> serde_json::Map<String, Value> {
    let text = fs::read_to_string(fixture("jpeg/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_kind_decodes_to_what_libjpeg_gives_but_for_rounding_and_to_the_same_bits_everywhere() {
    let mut pixels = blake3::Hasher::new();
    let mut expected: Vec<_> = expected().into_iter().collect();
    expected.sort_by(|(left, _), (right, _)| left.cmp(right));
    assert_eq!(expected.len(), 6);
    for (name, want) in expected {
        let path = fixture("jpeg").join(&name);
        assert_eq!(read_header(&path).unwrap(), ImageHeader::Jpeg(SIZE), "{name}");
        let image = read_image(&path).unwrap();
        assert_eq!(image.size, SIZE, "{name}");
        let want = want
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_u64().unwrap() as u8);
        let differences: Vec<u8> = image
            .rgb
            .iter()
            .zip(want)
            .map(|(got, want)| got.abs_diff(want))
            .collect();
        let worst = differences.iter().max().unwrap();
        assert!(*worst <= ROUNDING, "{name}: differs by {worst}");
        pixels.update(&image.rgb);
    }
    assert_eq!(pixels.finalize().to_hex().as_str(), PIXELS);
}

#[test]
fn the_content_decides_the_format_and_labels_are_no_jpegs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.png");
    fs::copy(fixture("jpeg/grey.jpg"), &path).unwrap();
    assert_eq!(read_image(&path).unwrap().size, SIZE);
    let refused = read_label_ids(&path).unwrap_err().to_string();
    assert!(refused.ends_with("photo.png` is not a png file"), "{refused}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.jpg");
    for name in [
        "quarter_chroma.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "grey.jpg",
    ] {
        let whole = fs::read(fixture("jpeg").join(name)).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let refused = read_image(&path).unwrap_err().to_string();
            let says = match length {
                0..3 => "is neither a png nor a jpeg file",
                _ => "is cut short",
            };
            assert!(refused.contains(says), "{name}, {length} bytes: {refused}");
        }
    }
}

#[test]
fn a_header_that_lies_is_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.jpg");
    for name in ["quarter_chroma.jpg", "progressive.jpg"] {
        let mut bytes = fs::read(fixture("jpeg").join(name)).unwrap();
        let frame = bytes
            .windows(2)
            .position(|pair| pair[0] == 0xff && matches!(pair[1], 0xc0 | 0xc2))
            .unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        fs::write(&path, bytes).unwrap();
        let refused = read_image(&path).unwrap_err().to_string();
        assert!(
            refused.ends_with("claims 65535x65535 pixels, more than the 268435456 pixels a file may hold"),
            "{refused}"
        );
    }
}
