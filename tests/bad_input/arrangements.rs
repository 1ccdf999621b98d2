//! Data sets that patterns or list files describe.

use png::{BitDepth, ColorType};
use ulda_tests::World;

use super::breaking::{HEIGHT, WIDTH, grey, labels, picture, remove};
use super::case::{BAD_INPUT, Case, hold, nothing};

const KEYS: &[Case] = &[
    Case {
        name: "patterns for a layout of its own",
        breaks: nothing,
        command: &["--set", "source.files.images=a/*.png"],
        code: BAD_INPUT,
        says: &[
            "`source.files`: is set, but the layout is not files",
            "source.layout = \"files\"",
        ],
    },
    Case {
        name: "layout files without patterns, for the source and for a set",
        breaks: nothing,
        command: &[
            "--set",
            "source.layout=files",
            "--set",
            "evaluate.set.0.layout=files",
        ],
        code: BAD_INPUT,
        says: &[
            "`source.files.images`: is not set",
            "`evaluate.set[0].files.images`: is not set",
            "give a pattern",
        ],
    },
    Case {
        name: "one set of images to train and to validate on",
        breaks: nothing,
        command: &[
            "--set",
            "source.layout=files",
            "--set",
            "source.files.images=a/*.png",
            "--set",
            "source.files.labels=b/*.png",
        ],
        code: BAD_INPUT,
        says: &[
            "`source.files.images`: does not depend on the split",
            "write {split}",
        ],
    },
    Case {
        name: "labels with other wildcards than images",
        breaks: nothing,
        command: &[
            "--set",
            "source.layout=files",
            "--set",
            "source.files.images={split}/*.png",
            "--set",
            "source.files.labels={split}/*/*.png",
        ],
        code: BAD_INPUT,
        says: &["`source.files.labels`: has other wildcards", "in the same order"],
    },
    Case {
        name: "label value without a train id",
        breaks: nothing,
        command: &[
            "--set",
            "source.layout=files",
            "--set",
            "source.files.label_values={ 7 = 19 }",
        ],
        code: BAD_INPUT,
        says: &[
            "`source.files.label_values`: gives `7` the train id 19",
            "train ids are 0 to 18",
        ],
    },
    Case {
        name: "label value of the wrong type",
        breaks: nothing,
        command: &["--set", "source.files.label_values={ 7 = \"road\" }"],
        code: BAD_INPUT,
        says: &[
            "`source.files.label_values`",
            "give a section of whole numbers of 0 to 255",
        ],
    },
];

/// Sets that describe the generated Cityscapes tree by patterns; images and labels are given by the row.
macro_rules! files {
    ($($set:literal),*) => {
        &[
            "check",
            "--pixels",
            "--set",
            "source.layout=files",
            $("--set", $set),*
        ]
    };
}

const ARRANGEMENTS: &[Case] = &[
    Case {
        name: "pattern that matches nothing",
        breaks: nothing,
        command: files!(
            "source.files.images=leftImg8bit/{split}/*/*.jpg",
            "source.files.labels=gtFine/{split}/*/*.png"
        ),
        code: BAD_INPUT,
        says: &[
            "none of the 8 files below `",
            "leftImg8bit/train` matches `leftImg8bit/train/*/*.jpg`",
            "correct `files.images`; a file there is `leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png`",
        ],
    },
    Case {
        name: "label pattern that fits no image",
        breaks: nothing,
        command: files!(
            "source.files.images=leftImg8bit/{split}/*/*_leftImg8bit.png",
            "source.files.labels=gtFine/{split}/*/*_labelIds.png"
        ),
        code: BAD_INPUT,
        says: &[
            "none of the 8 images has a label; that of `",
            "gtFine/train/aachen/aachen_000000_000019_labelIds.png`",
            "correct `files.labels`",
        ],
    },
    Case {
        name: "image without its label",
        breaks: |world| remove(&labels(world)[0]),
        command: files!(
            "source.files.images=leftImg8bit/{split}/*/*_leftImg8bit.png",
            "source.files.labels=gtFine/{split}/*/*_gtFine_labelIds.png"
        ),
        code: BAD_INPUT,
        says: &[
            "source.train",
            "aachen_000000_000019_gtFine_labelIds.png` does not exist",
            "restore the file",
        ],
    },
    Case {
        name: "label ids where train ids are said to be",
        breaks: nothing,
        command: files!(
            "source.files.images=leftImg8bit/{split}/*/*_leftImg8bit.png",
            "source.files.labels=gtFine/{split}/*/*_gtFine_labelIds.png",
            "source.files.label_encoding=train-ids"
        ),
        code: BAD_INPUT,
        says: &[
            "label `",
            "train ids are 0 to 18, and 255 for ignored pixels",
            "leave out `files.label_encoding`",
        ],
    },
    Case {
        name: "id that is not listed",
        breaks: |world| grey(&labels(world)[0], WIDTH, HEIGHT, 9),
        command: files!(
            "source.files.images=leftImg8bit/{split}/*/*_leftImg8bit.png",
            "source.files.labels=gtFine/{split}/*/*_gtFine_labelIds.png",
            "source.files.label_values={ 7 = 0, 8 = 1 }"
        ),
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_gtFine_labelIds.png` holds id 9 first at column 0, row 0",
            "`files.label_values` does not list it",
            "`other = 255`",
        ],
    },
    Case {
        name: "colour that the palette lacks",
        breaks: |world| {
            let label = &labels(world)[0];
            picture(label, WIDTH, HEIGHT, (ColorType::Rgb, BitDepth::Eight), 7)
        },
        command: files!(
            "source.files.images=leftImg8bit/{split}/*/*_leftImg8bit.png",
            "source.files.labels=gtFine/{split}/*/*_gtFine_labelIds.png",
            "source.files.label_encoding=colours"
        ),
        code: BAD_INPUT,
        says: &[
            "aachen_000000_000019_gtFine_labelIds.png` holds colour #070707 first at column 0, row 0",
            "the Cityscapes palette does not have it",
            "list the colours",
        ],
    },
    Case {
        name: "list files that are not there",
        breaks: nothing,
        command: files!(
            "source.files.images={split}_images.txt",
            "source.files.labels={split}_labels.txt"
        ),
        code: BAD_INPUT,
        says: &[
            "list file",
            "train_images.txt` does not exist",
            "one path below the root per line",
        ],
    },
];

#[test]
fn wrong_keys() {
    hold(KEYS, World::new);
}

#[test]
fn wrong_arrangements() {
    hold(ARRANGEMENTS, World::new);
}
