//! The data sets.

use std::path::Path;

use png::{BitDepth, ColorType};
use ulda_tests::{World, png_files};

use super::breaking::{HEIGHT, WIDTH, cut, grey, halve, images, labels, night_labels, picture, remove};
use super::case::{BAD_INPUT, Case, hold, nothing};

const SOURCE: &[Case] = &[
    Case {
        name: "no data set",
        breaks: |world| remove(&world.path("data/cityscapes")),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`source.train`: data set folder",
            "data/cityscapes` does not exist",
            "mount the data volume",
        ],
    },
    Case {
        name: "no such split",
        breaks: nothing,
        command: &["--set", "source.train=train_extra"],
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "leftImg8bit/train_extra` does not exist",
            "beside it there is train, val",
        ],
    },
    Case {
        name: "empty split",
        breaks: |world| images(world).iter().for_each(|image| remove(image)),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "leftImg8bit/train",
            "_leftImg8bit.png`",
            "may not be unpacked",
        ],
    },
    Case {
        name: "image without a label",
        breaks: |world| remove(&labels(world)[0]),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "aachen_000000_000019_gtFine_labelIds.png` does not exist",
            "restore the file",
        ],
    },
    Case {
        name: "empty image file",
        breaks: |world| cut(&images(world)[1], 0),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "aachen_000001_000019_leftImg8bit.png` is neither a png nor a jpeg file",
            "copy it again",
        ],
    },
    Case {
        name: "image cut within its header",
        breaks: |world| cut(&images(world)[1], 20),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "aachen_000001_000019_leftImg8bit.png` is neither a png nor a jpeg file",
            "copy it again",
        ],
    },
    Case {
        name: "image cut within its pixels",
        breaks: |world| halve(&images(world)[1]),
        command: &["check", "--pixels"],
        code: BAD_INPUT,
        says: &[
            "source.train",
            "aachen_000001_000019_leftImg8bit.png` is cut short",
            "copy the file again",
        ],
    },
    Case {
        name: "JPEG cut short, under a PNG's name",
        breaks: |world| {
            std::fs::write(&images(world)[0], b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01").unwrap()
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_leftImg8bit.png` is cut short",
            "copy the file again",
        ],
    },
    Case {
        name: "WebP under a PNG's name",
        breaks: |world| std::fs::write(&images(world)[0], b"RIFF\x00\x01\x00\x00WEBPVP8 ").unwrap(),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_leftImg8bit.png` is neither a png nor a jpeg file",
            "convert it",
        ],
    },
    Case {
        name: "JPEG for a label",
        breaks: |world| {
            let label = &labels(world)[0];
            std::fs::write(label, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01").unwrap()
        },
        command: &[],
        code: BAD_INPUT,
        says: &["_gtFine_labelIds.png` is cut short", "copy the file again"],
    },
    Case {
        name: "image of 16 bits",
        breaks: |world| {
            picture(
                &images(world)[0],
                WIDTH,
                HEIGHT,
                (ColorType::Rgb, BitDepth::Sixteen),
                9,
            )
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_leftImg8bit.png` has 16 bits per channel, expected 8",
            "convert it",
        ],
    },
    Case {
        name: "image that is a folder",
        breaks: |world| {
            remove(&images(world)[0]);
            std::fs::create_dir(
                world.path("data/cityscapes/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"),
            )
            .unwrap();
        },
        command: &[],
        code: BAD_INPUT,
        says: &["aachen_000000_000019_leftImg8bit.png`", "check that it is a file"],
    },
    Case {
        name: "label of another size",
        breaks: |world| grey(&labels(world)[0], WIDTH / 2, HEIGHT, 7),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_leftImg8bit.png` is 128x64",
            "aachen_000000_000019_gtFine_labelIds.png` is 64x64",
            "same size",
        ],
    },
    Case {
        name: "colours for labels",
        breaks: |world| {
            picture(
                &labels(world)[0],
                WIDTH,
                HEIGHT,
                (ColorType::Rgb, BitDepth::Eight),
                7,
            )
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_gtFine_labelIds.png` is a",
            "use the `labelIds` files",
        ],
    },
    Case {
        name: "label ids that do not exist",
        breaks: |world| grey(&labels(world)[0], WIDTH, HEIGHT, 77),
        command: &["check", "--pixels"],
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_gtFine_labelIds.png` holds id 77",
            "column 0, row 0",
            "expected a `labelIds` file",
        ],
    },
    Case {
        name: "two crops larger than the images, in a line each",
        breaks: nothing,
        command: &["--set", "adapt.crop=96", "--set", "simulate.crop=128"],
        code: BAD_INPUT,
        says: &["2 problems found", "`adapt.crop`", "`simulate.crop`"],
    },
    Case {
        name: "crop larger than the images",
        breaks: nothing,
        command: &["--set", "adapt.crop=96"],
        code: BAD_INPUT,
        says: &["`adapt.crop`", "is 96, and", "is 128x64", "set it to at most 64"],
    },
    Case {
        name: "fewer images than a step needs styles",
        breaks: |world| {
            images(world)
                .iter()
                .chain(&labels(world))
                .skip(1)
                .filter(|path| !is_first(path))
                .for_each(|path| remove(path));
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`adapt.batch`: 6 images per step",
            "1 training images give 4",
            "lower adapt.batch",
        ],
    },
    Case {
        name: "validation images missing",
        breaks: |world| remove(&world.path("data/cityscapes/leftImg8bit/val")),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`source.validation`",
            "leftImg8bit/val` does not exist",
            "beside it there is train",
        ],
    },
];

fn is_first(path: &Path) -> bool {
    path.to_string_lossy().contains("aachen_000000")
}

/// Sets that make the generated GTA5 tree the source.
macro_rules! gta5 {
    () => {
        &[
            "--set",
            "source.layout=gta5",
            "--set",
            "source.root=data/gta5",
            "--set",
            "source.train=train_list.txt",
            "--set",
            "source.validation=val_list.txt",
            "--set",
            "source.centre_crop=[128, 64]",
        ]
    };
}

fn rewrite_list(world: &World, change: impl Fn(&str) -> String) {
    let path = world.path("data/gta5/train_list.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(&text)).unwrap();
}

const LISTS: &[Case] = &[
    Case {
        name: "no list of images",
        breaks: |world| remove(&world.path("data/gta5/train_list.txt")),
        command: gta5!(),
        code: BAD_INPUT,
        says: &[
            "`source.train`: list file",
            "data/gta5/train_list.txt` does not exist",
            "one image name per line",
        ],
    },
    Case {
        name: "empty list",
        breaks: |world| rewrite_list(world, |_| "\n\n".to_owned()),
        command: gta5!(),
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "train_list.txt` names no image",
            "one image name per line",
        ],
    },
    Case {
        name: "list that names a missing image",
        breaks: |world| rewrite_list(world, |text| format!("{text}99999.png\n")),
        command: gta5!(),
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "data/gta5/images/99999.png` does not exist",
            "restore the file",
        ],
    },
    Case {
        name: "image listed twice",
        breaks: |world| rewrite_list(world, |text| format!("{text}{text}")),
        command: gta5!(),
        code: BAD_INPUT,
        says: &["train_list.txt` both name", "remove one"],
    },
    Case {
        name: "listed image without a label",
        breaks: |world| {
            png_files(&world.path("data/gta5/labels"))
                .iter()
                .for_each(|label| remove(label))
        },
        command: gta5!(),
        code: BAD_INPUT,
        says: &[
            "`source.train`",
            "data/gta5/labels/",
            "does not exist",
            "restore the file",
        ],
    },
];

const EVALUATION: &[Case] = &[
    Case {
        name: "fog whose images all have another size",
        breaks: nothing,
        command: &["--set", "evaluate.set.0.condition=fog"],
        code: BAD_INPUT,
        says: &[
            "`evaluate.set[0]`",
            "none of the 2 images of split `val`",
            "1920x1080",
            "correct `only_size`",
        ],
    },
    Case {
        name: "weather that is not unpacked",
        breaks: |world| remove(&world.path("data/acdc/rgb_anon/night")),
        command: &[],
        code: BAD_INPUT,
        says: &["`evaluate.set[0]`", "rgb_anon/night", "does not exist", "hint:"],
    },
    Case {
        name: "labels that are not unpacked",
        breaks: |world| remove(&world.path("data/acdc/gt/night/val")),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`evaluate.set[0]`",
            "gt/night/val/",
            "_gt_labelIds.png` does not exist",
            "restore the file",
        ],
    },
    Case {
        name: "every label broken",
        breaks: |world| {
            night_labels(world)
                .iter()
                .for_each(|label| grey(label, 16, 16, 7))
        },
        command: &["check"],
        code: BAD_INPUT,
        says: &["2 problems found", "is 16x16", "evaluate.set[0]"],
    },
];

#[test]
fn wrong_source_data() {
    hold(SOURCE, World::new);
}

#[test]
fn wrong_lists() {
    hold(LISTS, World::new);
}

#[test]
fn wrong_evaluation_data() {
    hold(EVALUATION, World::new);
}
