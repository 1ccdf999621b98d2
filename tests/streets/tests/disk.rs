//! The trees on disk: names, formats, lists, and that a scene's file does not depend on its company.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ulda_streets::{PALETTE, Request, Size, StreetsError, generate};

const SMALL: Size = Size {
    width: 64,
    height: 32,
};
const WIDE: Size = Size {
    width: 80,
    height: 44,
};

fn request(out: &Path) -> Request {
    Request {
        size: SMALL,
        gta_size: WIDE,
        train: 7,
        val: 3,
        per_condition: 2,
        gta: 5,
        ..Request::new(out)
    }
}

/// All files under `root` by relative path.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(root).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

struct Decoded {
    size: (u32, u32),
    color: png::ColorType,
    palette: Option<Vec<u8>>,
    bytes: Vec<u8>,
}

fn decode(file: &[u8]) -> Decoded {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(frame.bit_depth, png::BitDepth::Eight);
    let palette = reader.info().palette.as_ref().map(|p| p.to_vec());
    Decoded {
        size: (frame.width, frame.height),
        color: frame.color_type,
        palette,
        bytes,
    }
}

#[test]
fn trees_have_the_published_names() {
    let folder = tempfile::tempdir().unwrap();
    let summary = generate(&request(folder.path())).unwrap();
    assert_eq!(
        (
            summary.cityscapes_train,
            summary.cityscapes_val,
            summary.acdc,
            summary.gta5
        ),
        (7, 3, 16, 5)
    );
    let files = files(folder.path());
    assert_eq!(files.len(), 2 * (7 + 3 + 16 + 5) + 2);
    for name in [
        "cityscapes/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        "cityscapes/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png",
        "cityscapes/leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png",
        "cityscapes/gtFine/train/bochum/bochum_000000_000019_gtFine_labelIds.png",
        "cityscapes/leftImg8bit/val/frankfurt/frankfurt_000000_000019_leftImg8bit.png",
        "cityscapes/gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png",
        "acdc/rgb_anon/fog/train/GOPR0475/GOPR0475_frame_000030_rgb_anon.png",
        "acdc/gt/night/val/GOPR0401/GOPR0401_frame_000060_gt_labelIds.png",
        "acdc/rgb_anon/rain/train/GOPR0400/GOPR0400_frame_000060_rgb_anon.png",
        "acdc/gt/snow/val/GOPR0172/GOPR0172_frame_000030_gt_labelIds.png",
        "gta5/images/00001.png",
        "gta5/labels/00005.png",
    ] {
        assert!(files.contains_key(Path::new(name)), "{name} is missing");
    }
    assert_eq!(
        files[Path::new("gta5/train_list.txt")],
        b"00001.png\n00002.png\n00003.png\n00005.png\n"
    );
    assert_eq!(files[Path::new("gta5/val_list.txt")], b"00004.png\n");
}

#[test]
fn files_have_the_published_formats() {
    let folder = tempfile::tempdir().unwrap();
    generate(&request(folder.path())).unwrap();
    for (path, file) in files(folder.path())
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "png"))
    {
        let png = decode(file);
        let name = path.to_str().unwrap();
        let size = if name.starts_with("gta5") { WIDE } else { SMALL };
        assert_eq!(png.size, (size.width, size.height), "{name}");
        let kind = if name.starts_with("gta5/labels") {
            png::ColorType::Indexed
        } else if name.ends_with("_labelIds.png") {
            png::ColorType::Grayscale
        } else {
            png::ColorType::Rgb
        };
        assert_eq!(png.color, kind, "{name}");
        if kind != png::ColorType::Rgb {
            assert!(
                png.bytes.iter().all(|&id| id <= 33),
                "{name} holds an id above 33"
            );
        }
        if kind == png::ColorType::Indexed {
            assert_eq!(&png.palette.unwrap()[..34 * 3], PALETTE.as_flattened());
        }
    }
}

#[test]
fn threads_and_company_do_not_change_a_file() {
    let (one, many, few) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    generate(&Request {
        threads: 1,
        ..request(one.path())
    })
    .unwrap();
    generate(&Request {
        threads: 5,
        ..request(many.path())
    })
    .unwrap();
    let alone = Request {
        train: 3,
        val: 0,
        per_condition: 1,
        gta: 0,
        ..request(few.path())
    };
    generate(&alone).unwrap();
    let whole = files(one.path());
    assert_eq!(whole, files(many.path()));
    let part = files(few.path());
    assert_eq!(part.len(), 2 * (3 + 8));
    for (path, file) in part {
        assert_eq!(whole[&path], file, "{}", path.display());
    }
}

#[test]
fn a_full_folder_is_refused_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.txt"), "keep").unwrap();
    let ask = Request {
        train: 1,
        val: 0,
        per_condition: 0,
        gta: 0,
        ..request(folder.path())
    };
    let fault = generate(&ask).unwrap_err();
    assert!(matches!(&fault, StreetsError::NotEmpty { path } if path == folder.path()));
    assert!(fault.is_request());
    assert_eq!(files(folder.path()).len(), 1);
    generate(&Request { force: true, ..ask }).unwrap();
    assert_eq!(fs::read(folder.path().join("mine.txt")).unwrap(), b"keep");
    assert_eq!(files(folder.path()).len(), 3);
}

#[test]
fn requests_out_of_bounds_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new");
    let wide = Request {
        size: Size {
            width: 9000,
            height: 32,
        },
        ..request(&out)
    };
    assert!(matches!(
        generate(&wide).unwrap_err(),
        StreetsError::SizeRange {
            field: "size",
            width: 9000,
            ..
        }
    ));
    let thin = Request {
        gta_size: Size { width: 64, height: 2 },
        ..request(&out)
    };
    assert!(matches!(
        generate(&thin).unwrap_err(),
        StreetsError::SizeRange {
            field: "gta-size",
            ..
        }
    ));
    let none = Request {
        train: 0,
        val: 0,
        per_condition: 0,
        gta: 0,
        ..request(&out)
    };
    assert!(matches!(generate(&none).unwrap_err(), StreetsError::Nothing));
    let many = Request {
        per_condition: u32::MAX,
        ..request(&out)
    };
    assert!(matches!(
        generate(&many).unwrap_err(),
        StreetsError::TooMany {
            field: "per-condition",
            ..
        }
    ));
    assert!(!out.exists());
}
