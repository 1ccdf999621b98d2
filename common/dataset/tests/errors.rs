//! Every mistake a user can make with a dataset gets its sentence.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::fs;
use std::path::Path;

use common::{cityscapes, fixture, image_of, label_of, numbered, spec, write_filled, write_grey};
use ulda_dataset::{Crop, Dataset, Depth, Image, Sampling, Size, Window, load, read_image, write_rgb};
use ulda_run::spec::{DatasetConfig, Layout};

const SIZE: Size = Size::new(8, 6);

/// The text of an error, of what caused it and its hint, with the temporary folder's path shortened to `ROOT`.
fn text(error: &dyn std::error::Error, hint: Option<String>, root: &Path) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text += &format!(": {source}");
    }
    if let Some(hint) = hint {
        text += &format!("\n  hint: {hint}");
    }
    text.replace(root.to_str().unwrap(), "ROOT")
}

fn refusal(spec: &DatasetConfig) -> String {
    let error = Dataset::open(spec).unwrap_err();
    text(&error, error.hint(), &spec.root)
}

fn load_refusal(spec: &DatasetConfig, sampling: &Sampling) -> String {
    let error = load(&Dataset::open(spec).unwrap(), 0, sampling).unwrap_err();
    text(&error, error.hint(), &spec.root)
}

fn findings(spec: &DatasetConfig, depth: Depth, crop: Option<Size>) -> Vec<String> {
    let dataset = Dataset::list(spec).unwrap();
    dataset
        .audit(depth, crop)
        .iter()
        .map(|finding| text(&finding.error, finding.error.hint(), &spec.root))
        .collect()
}

#[test]
fn missing_root() {
    let spec = spec(Layout::Cityscapes, Path::new("/no/such/place"), "train");
    assert_eq!(
        refusal(&spec),
        "data set folder `ROOT` does not exist\n  \
         hint: correct `root`, or mount the data volume there"
    );
}

#[test]
fn missing_split_names_those_that_exist() {
    let (_folder, mut spec) = cityscapes(&["a"], SIZE);
    spec.split = "trian".to_owned();
    assert_eq!(
        refusal(&spec),
        "folder `ROOT/leftImg8bit/trian` does not exist\n  hint: beside it there is train"
    );
}

#[test]
fn missing_image_folder() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(Layout::Cityscapes, folder.path(), "train");
    assert_eq!(
        refusal(&spec),
        "folder `ROOT/leftImg8bit/train` does not exist\n  \
         hint: check `root` and that the archive is unpacked"
    );
}

#[test]
fn split_without_images() {
    let (folder, spec) = cityscapes(&[], SIZE);
    fs::write(folder.path().join("leftImg8bit/train/aachen/readme.txt"), "").unwrap();
    assert_eq!(
        refusal(&spec),
        "no folder below `ROOT/leftImg8bit/train` holds an image ending in `_leftImg8bit.png`\n  \
         hint: the split may not be unpacked"
    );
}

#[test]
fn stray_files_are_no_samples() {
    let (folder, spec) = cityscapes(&["b", "a"], SIZE);
    fs::write(
        folder.path().join("leftImg8bit/train/x_leftImg8bit.png"),
        "not in a city",
    )
    .unwrap();
    fs::write(folder.path().join("leftImg8bit/train/aachen/Thumbs.db"), "").unwrap();
    let dataset = Dataset::open(&spec).unwrap();
    let names: Vec<_> = dataset
        .samples
        .iter()
        .map(|sample| sample.name.as_str())
        .collect();
    assert_eq!(names, ["a_leftImg8bit", "b_leftImg8bit"]);
}

#[test]
fn samples_are_sorted_as_path_strings() {
    let (folder, spec) = cityscapes(&["x"], SIZE);
    for kind in ["leftImg8bit", "gtFine"] {
        let split = folder.path().join(kind).join("train");
        fs::create_dir(split.join("aachen-west")).unwrap();
        for file in fs::read_dir(split.join("aachen")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), split.join("aachen-west").join(file.file_name())).unwrap();
        }
    }
    let dataset = Dataset::open(&spec).unwrap();
    assert_eq!(dataset.len(), 2);
    // `-` comes before `/`, though as path components `aachen` comes before `aachen-west`.
    assert!(dataset.samples[0].image.to_str().unwrap().contains("aachen-west"));
}

#[test]
fn missing_labels_are_counted() {
    let (folder, spec) = cityscapes(&["a", "b", "c"], SIZE);
    for base in ["a", "c"] {
        fs::remove_file(label_of(folder.path(), base)).unwrap();
    }
    assert_eq!(
        refusal(&spec),
        "no label `ROOT/gtFine/train/aachen/a_gtFine_labelIds.png` for image \
         `ROOT/leftImg8bit/train/aachen/a_leftImg8bit.png` (and 1 more without label)\n  \
         hint: unpack the annotations of this split; splits without public labels (test) cannot be used"
    );
}

#[test]
fn acdc_conditions() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("rgb_anon/fog/val")).unwrap();
    fs::create_dir_all(folder.path().join("rgb_anon/night/val")).unwrap();
    let mut spec = spec(Layout::Acdc, folder.path(), "val");
    assert_eq!(
        refusal(&spec),
        "acdc needs a `condition`\n  hint: one of fog, night"
    );
    spec.layout = Layout::Cityscapes;
    spec.condition = Some("fog".to_owned());
    assert_eq!(
        refusal(&spec),
        "`condition` is for acdc only, not for the data set below `ROOT`\n  hint: remove it"
    );
}

#[test]
fn size_that_no_image_has() {
    let (_folder, mut spec) = cityscapes(&["a", "b"], SIZE);
    spec.only_size = Some([1920, 1080]);
    assert_eq!(
        refusal(&spec),
        "none of the 2 images of split `train` below `ROOT` is 1920x1080\n  \
         hint: correct `only_size`, or drop it to keep all sizes"
    );
}

#[test]
fn size_filter_keeps_unreadable_images_for_the_audit_and_refuses_to_open() {
    let (folder, mut spec) = cityscapes(&["a", "b", "c"], SIZE);
    write_filled(&image_of(folder.path(), "b"), Size::new(4, 4), 0);
    fs::write(image_of(folder.path(), "c"), "scrap").unwrap();
    spec.only_size = Some([SIZE.width, SIZE.height]);
    let sentence = "`ROOT/leftImg8bit/train/aachen/c_leftImg8bit.png` is neither a png nor a jpeg file\n  \
                    hint: images must be PNG or JPEG files; convert it, or copy it again";
    assert_eq!(refusal(&spec), sentence);
    assert_eq!(findings(&spec, Depth::Headers, None), [sentence]);
    assert_eq!(Dataset::list(&spec).unwrap().left_out, 1);
}

#[test]
fn list_files() {
    let (folder, mut spec) = numbered(2, SIZE);
    let list = folder.path().join("train.txt");
    fs::write(&list, "00001.png\n\n00007.png\n").unwrap();
    assert_eq!(
        refusal(&spec),
        "line 3 of `ROOT/train.txt` names image `ROOT/images/00007.png`, which does not exist\n  \
         hint: unpack all parts of the data set, or remove the line"
    );
    fs::write(&list, "00001.png\n00000.png\n00001.png\n").unwrap();
    assert_eq!(
        refusal(&spec),
        "lines 1 and 3 of `ROOT/train.txt` both name `00001.png`\n  \
         hint: remove one, an image counts once per epoch"
    );
    fs::write(&list, "\n").unwrap();
    assert_eq!(
        refusal(&spec),
        "list file `ROOT/train.txt` names no image\n  hint: write one image name per line into it"
    );
    fs::write(&list, [0xff, 0xfe]).unwrap();
    assert_eq!(
        refusal(&spec),
        "cannot read list file `ROOT/train.txt`: invalid utf-8 sequence of 1 bytes from index 0\n  \
         hint: check its permissions and its disk"
    );
    spec.split = "val".to_owned();
    assert_eq!(
        refusal(&spec),
        "list file `ROOT/val` does not exist\n  \
         hint: `split` of gta5 is a text file with one image name per line, absolute or below the root"
    );
}

#[test]
fn crops() {
    let (_folder, spec) = cityscapes(&["a"], SIZE);
    let image = "`ROOT/leftImg8bit/train/aachen/a_leftImg8bit.png`";
    let drawn = Crop::Drawn {
        size: Size::square(7),
        across: 0.5,
        down: 0.5,
    };
    let too_large =
        format!("image {image} is 8x6, smaller than the crop 7x7\n  hint: set `crop` to at most 6");
    assert_eq!(
        load_refusal(
            &spec,
            &Sampling {
                crop: Some(drawn),
                ..Sampling::default()
            }
        ),
        too_large
    );
    assert_eq!(
        findings(&spec, Depth::Headers, Some(Size::square(7))),
        [too_large]
    );
    let outside = Crop::At(Window {
        x: 3,
        y: 0,
        size: Size::square(6),
    });
    assert_eq!(
        load_refusal(
            &spec,
            &Sampling {
                crop: Some(outside),
                ..Sampling::default()
            }
        ),
        format!(
            "crop 6x6 at column 3, row 0 reaches outside image {image}, which is 8x6\n  \
             hint: check this file of the data set"
        )
    );
}

#[test]
fn ids_beyond_the_table() {
    let (folder, mut spec) = cityscapes(&["a"], SIZE);
    let mut ids = vec![34; SIZE.pixels()];
    ids[19] = 35;
    ids[30] = 255;
    write_grey(&label_of(folder.path(), "a"), SIZE, &ids);
    let sentence = "label `ROOT/gtFine/train/aachen/a_gtFine_labelIds.png` holds id 35 first at column 3, row 2; \
                    the largest known id is 34\n  \
                    hint: expected a `labelIds` file, not train ids or colours";
    assert_eq!(load_refusal(&spec, &Sampling::default()), sentence);
    // Whatever the crop: the answer may not depend on the draw.
    let elsewhere = Crop::At(Window {
        x: 0,
        y: 0,
        size: Size::square(1),
    });
    assert_eq!(
        load_refusal(
            &spec,
            &Sampling {
                crop: Some(elsewhere),
                ..Sampling::default()
            }
        ),
        sentence
    );
    assert_eq!(findings(&spec, Depth::Pixels, None), [sentence]);
    assert!(findings(&spec, Depth::Headers, None).is_empty());

    let (folder, gta) = numbered(1, SIZE);
    write_grey(&folder.path().join("labels/00000.png"), SIZE, &ids);
    spec = gta;
    let example = load(&Dataset::open(&spec).unwrap(), 0, &Sampling::default()).unwrap();
    assert!(
        example.label.iter().all(|&id| id == 255),
        "gta5 ignores what it does not know"
    );
}

#[test]
fn an_audit_finds_everything() {
    let bases = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let (folder, spec) = cityscapes(&bases, SIZE);
    let root = folder.path();
    fs::remove_file(label_of(root, "a")).unwrap();
    fs::write(image_of(root, "b"), "scrap").unwrap();
    write_filled(&label_of(root, "c"), SIZE, 7);
    write_filled(&image_of(root, "d"), Size::new(9, 6), 7);
    let noise = Image {
        size: SIZE,
        rgb: (0..SIZE.pixels() * 3).map(|v| (v * 97 % 251) as u8).collect(),
    };
    write_rgb(&image_of(root, "e"), &noise).unwrap();
    let whole = fs::read(image_of(root, "e")).unwrap();
    fs::write(image_of(root, "e"), &whole[..whole.len() - 40]).unwrap();
    let mut flipped = whole.clone();
    flipped[60] ^= 0x55;
    fs::write(image_of(root, "f"), flipped).unwrap();
    let mut ending = whole.clone();
    // The checksum of the last pixel chunk, just before the 12 bytes that end the file.
    ending[whole.len() - 13] ^= 1;
    fs::write(image_of(root, "i"), ending).unwrap();
    fs::write(
        label_of(root, "g"),
        fs::read(fixture("formats/grey16.png")).unwrap(),
    )
    .unwrap();

    let image = |base: &str| format!("`ROOT/leftImg8bit/train/aachen/{base}_leftImg8bit.png`");
    let label = |base: &str| format!("`ROOT/gtFine/train/aachen/{base}_gtFine_labelIds.png`");
    let by_header = [
        format!(
            "{} does not exist\n  hint: restore the file, or check that the data volume is mounted",
            label("a")
        ),
        format!(
            "{} is neither a png nor a jpeg file\n  hint: images must be PNG or JPEG files; convert it, or copy it again",
            image("b")
        ),
        format!(
            "label {} is a rgb png, expected 8-bit grey or palette\n  \
             hint: use the `labelIds` files, not the colour ones",
            label("c")
        ),
        format!(
            "image {} is 9x6 but its label {} is 8x6\n  \
             hint: an image and its label have the same size; copy both again",
            image("d"),
            label("d")
        ),
        format!(
            "{} has 16 bits per channel, expected 8\n  hint: convert it to 8 bits per channel",
            label("g")
        ),
    ];
    assert_eq!(findings(&spec, Depth::Headers, None), by_header);

    let deep = findings(&spec, Depth::Pixels, None);
    assert_eq!(deep.len(), 8, "{deep:#?}");
    assert_eq!(
        deep[4],
        format!("{} is cut short\n  hint: copy the file again", image("e"))
    );
    for (finding, base) in [(&deep[5], "f"), (&deep[7], "i")] {
        let sentence = format!("{} is damaged: ", image(base));
        assert!(finding.starts_with(&sentence), "{finding}");
        assert!(finding.ends_with("\n  hint: copy the file again"), "{finding}");
    }
}

#[test]
fn a_header_that_lies_is_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.png");
    write_filled(&path, SIZE, 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    fs::write(&path, bytes).unwrap();
    let error = read_image(&path).unwrap_err();
    assert_eq!(
        text(&error, error.hint(), folder.path()),
        "`ROOT/huge.png` claims 65535x65535 pixels, more than the 268435456 pixels a file may hold\n  \
         hint: is it a picture of this data set? scale it down"
    );
}

#[test]
fn samples_out_of_range() {
    let (_folder, spec) = cityscapes(&["a"], SIZE);
    let error = load(&Dataset::open(&spec).unwrap(), 3, &Sampling::default()).unwrap_err();
    assert_eq!(
        text(&error, error.hint(), &spec.root),
        "sample 3 asked for, but the data set below `ROOT` has 1"
    );
}
