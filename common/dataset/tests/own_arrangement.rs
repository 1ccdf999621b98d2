//! Layout `files`: what its labels may hold, and a sentence for each mistake.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::fs;
use std::path::Path;

use common::{fixture, spec, write_filled, write_grey};
use ulda_dataset::{Dataset, Depth, Image, Sampling, Size, load, write_rgb};
use ulda_run::Classes;
use ulda_run::spec::{ClassesConfig, DatasetConfig, FilesConfig, LabelEncoding, Layout};

const SIZE: Size = Size::new(4, 2);

/// `images/val/N.png` and `labels/val/N_gt.png`, all ids 0.
fn folder(count: usize) -> (tempfile::TempDir, DatasetConfig) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["images/val", "labels/val"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    for number in 0..count {
        write_filled(&folder.path().join(format!("images/val/{number}.png")), SIZE, 9);
        write_grey(&label(folder.path(), number), SIZE, &[0; 8]);
    }
    let mut spec = spec(Layout::Files, folder.path(), "val");
    spec.files = FilesConfig {
        images: Some("images/{split}/*.png".into()),
        labels: Some("labels/{split}/*_gt.png".into()),
        ..FilesConfig::default()
    };
    (folder, spec)
}

fn label(root: &Path, number: usize) -> std::path::PathBuf {
    root.join(format!("labels/val/{number}_gt.png"))
}

fn values(files: &mut FilesConfig, listed: &[(&str, u8)]) {
    files.label_values = listed
        .iter()
        .map(|(value, id)| ((*value).to_owned(), *id))
        .collect();
}

fn text(error: impl ToString, hint: Option<String>, root: &Path) -> String {
    let hint = hint.map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    format!("{}{hint}", error.to_string()).replace(root.to_str().unwrap(), "ROOT")
}

fn refusal(spec: &DatasetConfig) -> String {
    let error = Dataset::open(spec).unwrap_err();
    text(&error, error.hint(), &spec.root)
}

fn findings(spec: &DatasetConfig) -> Vec<String> {
    let found = Dataset::list(spec).unwrap().audit(Depth::Pixels, None);
    found
        .iter()
        .map(|finding| text(&finding.error, finding.error.hint(), &spec.root))
        .collect()
}

/// The train ids of a data set whose only label holds `pixels`, or why it is refused.
fn train_ids(pixels: &Pixels, change: impl Fn(&mut FilesConfig)) -> Result<Vec<u8>, String> {
    train_ids_of(&Classes::default(), pixels, change)
}

fn train_ids_of(
    classes: &Classes,
    pixels: &Pixels,
    change: impl Fn(&mut FilesConfig),
) -> Result<Vec<u8>, String> {
    let (folder, mut spec) = folder(1);
    spec.classes = classes.clone();
    let path = label(folder.path(), 0);
    match pixels {
        Pixels::Ids(ids) => write_grey(&path, SIZE, ids),
        Pixels::Colours(colours) => {
            let rgb = colours.concat();
            write_rgb(&path, &Image { size: SIZE, rgb }).unwrap();
        }
    }
    change(&mut spec.files);
    let found = findings(&spec);
    let loaded = load(&Dataset::open(&spec).unwrap(), 0, &Sampling::default());
    let loaded = loaded
        .map(|example| example.label)
        .map_err(|error| text(&error, error.hint(), &spec.root));
    assert_eq!(found, loaded.clone().err().into_iter().collect::<Vec<_>>());
    loaded
}

enum Pixels {
    Ids([u8; 8]),
    Colours([[u8; 3]; 8]),
}

#[test]
fn label_encodings() {
    let cityscapes = Pixels::Ids([0, 7, 8, 33, 34, 0, 0, 0]);
    assert_eq!(
        train_ids(&cityscapes, |_| ()).unwrap(),
        [255, 0, 1, 18, 255, 255, 255, 255]
    );
    let trained = Pixels::Ids([0, 1, 18, 255, 0, 0, 0, 0]);
    let as_train_ids = |files: &mut FilesConfig| files.label_encoding = LabelEncoding::TrainIds;
    assert_eq!(
        train_ids(&trained, as_train_ids).unwrap(),
        [0, 1, 18, 255, 0, 0, 0, 0]
    );
    let listed = Pixels::Ids([200, 3, 3, 0, 0, 0, 0, 0]);
    assert_eq!(
        train_ids(&listed, |files| values(
            files,
            &[("200", 13), ("3", 255), ("0", 2)]
        ))
        .unwrap(),
        [13, 255, 255, 2, 2, 2, 2, 2]
    );
    assert_eq!(
        train_ids(&listed, |files| values(files, &[("200", 13), ("other", 255)])).unwrap(),
        [13, 255, 255, 255, 255, 255, 255, 255]
    );
    let road = [128, 64, 128];
    let mut painted = [road; 8];
    painted[1] = [119, 11, 32];
    painted[2] = [0; 3];
    painted[3] = [111, 74, 0];
    let painted = Pixels::Colours(painted);
    let as_colours = |files: &mut FilesConfig| files.label_encoding = LabelEncoding::Colours;
    assert_eq!(
        train_ids(&painted, as_colours).unwrap(),
        [0, 18, 255, 255, 0, 0, 0, 0]
    );
    let own = |files: &mut FilesConfig| values(files, &[("#804080", 5), ("#770B20", 6), ("other", 255)]);
    assert_eq!(train_ids(&painted, own).unwrap(), [5, 6, 255, 255, 5, 5, 5, 5]);
}

#[test]
fn values_that_an_encoding_lacks() {
    let label = "label `ROOT/labels/val/0_gt.png` holds";
    let refused = |pixels, change: &dyn Fn(&mut FilesConfig)| train_ids(&pixels, change).unwrap_err();
    let mut ids = [0; 8];
    (ids[5], ids[6]) = (19, 255);
    assert_eq!(
        refused(Pixels::Ids(ids), &|files| files.label_encoding =
            LabelEncoding::TrainIds),
        format!(
            "{label} id 19 first at column 1, row 1; train ids are 0 to 18, and 255 for ignored pixels\n  \
             hint: leave out `files.label_encoding` for label ids, or list the ids in `files.label_values`"
        )
    );
    assert_eq!(
        refused(Pixels::Ids(ids), &|_| ()),
        format!(
            "{label} id 255 first at column 2, row 1; the largest known id is 34\n  \
             hint: expected label ids of Cityscapes; set `files.label_encoding` or `files.label_values` if it holds others"
        )
    );
    let lists = "`files.label_values` does not list it\n  hint: list it with its train id, 255 for ignored pixels, or \
                 `other = 255` for all that are not listed";
    assert_eq!(
        refused(Pixels::Ids(ids), &|files| values(
            files,
            &[("0", 0), ("255", 255)]
        )),
        format!("{label} id 19 first at column 1, row 1; {lists}")
    );
    let mut colours = [[128, 64, 128]; 8];
    colours[7] = [1, 2, 255];
    assert_eq!(
        refused(Pixels::Colours(colours), &|files| files.label_encoding =
            LabelEncoding::Colours),
        format!(
            "{label} colour #0102ff first at column 3, row 1; the Cityscapes palette does not have it\n  \
             hint: list the colours of this data set in `files.label_values`"
        )
    );
    assert_eq!(
        refused(Pixels::Colours(colours), &|files| values(
            files,
            &[("#804080", 0)]
        )),
        format!("{label} colour #0102ff first at column 3, row 1; {lists}")
    );
}

#[test]
fn own_classes_have_labels_of_their_own() {
    let texts = |texts: [&str; 3]| Some(texts.map(str::to_owned).to_vec());
    let section = ClassesConfig {
        names: texts(["sky", "water", "shore"]),
        colours: texts(["#0102ff", "#030405", "#804080"]),
    };
    let classes = Classes::of(&section).unwrap();
    let read = |pixels: &Pixels, change: &dyn Fn(&mut FilesConfig)| train_ids_of(&classes, pixels, change);

    let as_train_ids = |files: &mut FilesConfig| files.label_encoding = LabelEncoding::TrainIds;
    let mut ids = [0, 1, 2, 255, 0, 0, 0, 0];
    assert_eq!(read(&Pixels::Ids(ids), &as_train_ids).unwrap(), ids);
    ids[6] = 3;
    let refused = read(&Pixels::Ids(ids), &as_train_ids).unwrap_err();
    let rule = "id 3 first at column 2, row 1; train ids are 0 to 2, and 255 for ignored pixels";
    assert!(refused.contains(rule), "{refused}");
    assert!(!refused.contains("leave out"), "{refused}");
    let listed = |files: &mut FilesConfig| values(files, &[("0", 2), ("other", 255)]);
    assert_eq!(
        read(&Pixels::Ids(ids), &listed).unwrap(),
        [2, 255, 255, 255, 2, 2, 255, 2]
    );

    let as_colours = |files: &mut FilesConfig| files.label_encoding = LabelEncoding::Colours;
    let mut painted = [[1, 2, 255]; 8];
    painted[1] = [128, 64, 128];
    painted[2] = [0; 3];
    assert_eq!(
        read(&Pixels::Colours(painted), &as_colours).unwrap(),
        [0, 2, 255, 0, 0, 0, 0, 0]
    );
    painted[3] = [244, 35, 232];
    let refused = read(&Pixels::Colours(painted), &as_colours).unwrap_err();
    assert!(
        refused.contains("#f423e8 first at column 3, row 0; no class has it"),
        "{refused}"
    );
}

#[test]
fn padding_is_ignored_whatever_id_0_means() {
    let (_folder, mut spec) = folder(1);
    spec.files.label_encoding = LabelEncoding::TrainIds;
    spec.centre_crop = Some([6, 2]);
    let example = load(&Dataset::open(&spec).unwrap(), 0, &Sampling::default()).unwrap();
    assert_eq!(example.label, [255, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255]);
}

#[test]
fn folders_and_dots() {
    let (folder, mut spec) = folder(2);
    let deep = folder.path().join("images/val/a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(folder.path().join("labels/val/a/b")).unwrap();
    write_filled(&deep.join("7.png"), SIZE, 9);
    write_filled(&deep.join("._7.png"), SIZE, 9);
    write_grey(&folder.path().join("labels/val/a/b/7_gt.png"), SIZE, &[0; 8]);
    spec.files.images = Some("images/{split}/**/*.png".into());
    spec.files.labels = Some("labels/{split}/**/*_gt.png".into());
    let names = |spec| -> Vec<String> {
        let dataset = Dataset::open(spec).unwrap();
        dataset.samples.into_iter().map(|sample| sample.name).collect()
    };
    assert_eq!(names(&spec), ["images/val/0", "images/val/1", "images/val/a/b/7"]);
    spec.files.images = Some("**/7.*".into());
    spec.files.labels = Some("labels/**/7_gt.png".into());
    assert!(refusal(&spec).contains("none of the 1 images has a label"));
}

#[test]
fn patterns_that_do_not_fit() {
    let (folder, mut spec) = folder(3);
    let images = |spec: &mut DatasetConfig, text: &str| spec.files.images = Some(text.into());
    let files = "none of the 3 files below `ROOT/images/val` matches";
    images(&mut spec, "images/{split}/*.jpg");
    assert_eq!(
        refusal(&spec),
        format!(
            "{files} `images/val/*.jpg`\n  hint: correct `files.images`; a file there is `images/val/0.png`"
        )
    );
    images(&mut spec, "images/{split}/*/*.png");
    assert!(refusal(&spec).starts_with(&format!("{files} `images/val/*/*.png`")));
    images(&mut spec, "pictures/{split}/*.png");
    assert!(refusal(&spec).starts_with("folder `ROOT/pictures/val` does not exist"));
    spec.split = "train".into();
    images(&mut spec, "images/{split}/*.png");
    assert_eq!(
        refusal(&spec),
        "folder `ROOT/images/train` does not exist\n  hint: beside it there is val"
    );
    fs::create_dir(folder.path().join("images/train")).unwrap();
    assert_eq!(
        refusal(&spec),
        "none of the 0 files below `ROOT/images/train` matches `images/train/*.png`\n  \
         hint: the split may not be unpacked"
    );
    spec.split = "val".into();
    spec.files.labels = Some("labels/{split}/*.png".into());
    assert_eq!(
        refusal(&spec),
        "none of the 3 images has a label; that of `ROOT/images/val/0.png` would be `ROOT/labels/val/0.png`\n  \
         hint: correct `files.labels`, or unpack the annotations of this split"
    );
    spec.files.labels = Some("labels/{split}/*_gt.png".into());
    fs::remove_file(label(folder.path(), 1)).unwrap();
    assert!(
        refusal(&spec).starts_with("no label `ROOT/labels/val/1_gt.png` for image `ROOT/images/val/1.png`")
    );
    assert_eq!(
        findings(&spec),
        [
            "`ROOT/labels/val/1_gt.png` does not exist\n  hint: restore the file, or check that the data volume is mounted"
        ]
    );
    spec.files.labels = None;
    assert!(refusal(&spec).starts_with("`files.labels` is not set\n  hint: give a pattern"));
}

#[test]
fn list_files() {
    let (folder, mut spec) = folder(2);
    spec.files.images = Some("{split}_images.txt".into());
    spec.files.labels = Some("{split}_labels.txt".into());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    assert_eq!(
        refusal(&spec),
        "list file `ROOT/val_images.txt` does not exist\n  \
         hint: `files.images` and `files.labels` name text files with one path below the root per line"
    );
    write("val_images.txt", "images/val/1.png\n\nimages/val/0.png\n");
    write("val_labels.txt", "labels/val/1_gt.png\n");
    assert_eq!(
        refusal(&spec),
        "`ROOT/val_images.txt` names 2 images and `ROOT/val_labels.txt` 1 labels\n  \
         hint: line n of one belongs to line n of the other"
    );
    write("val_labels.txt", "labels/val/1_gt.png\r\nlabels/val/0_gt.png\n");
    let dataset = Dataset::open(&spec).unwrap();
    let names: Vec<&str> = dataset
        .samples
        .iter()
        .map(|sample| sample.name.as_str())
        .collect();
    assert_eq!(names, ["images/val/1", "images/val/0"]);
    write("val_images.txt", "images/val/1.png\nimages/val/1.png\n");
    assert!(refusal(&spec).starts_with("lines 1 and 2 of `ROOT/val_images.txt` both name"));
    write("val_images.txt", "images/val/1.png\nimages/val/7.png\n");
    assert!(
        refusal(&spec).starts_with("line 2 of `ROOT/val_images.txt` names image `ROOT/images/val/7.png`")
    );
}

#[test]
fn labels_are_pngs() {
    let (folder, mut spec) = folder(1);
    fs::copy(fixture("jpeg/grey.jpg"), label(folder.path(), 0)).unwrap();
    for encoding in [LabelEncoding::LabelIds, LabelEncoding::Colours] {
        spec.files.label_encoding = encoding;
        assert_eq!(
            findings(&spec),
            [
                "label `ROOT/labels/val/0_gt.png` is not a png file\n  hint: labels must be PNG files; convert it, or copy it again"
            ]
        );
    }
}
