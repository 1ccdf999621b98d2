//! Pictures of predictions read back as what was meant.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;

use ulda_dataset::labels::IGNORE;
use ulda_dataset::palette::{coloured, overlay, strip, write_coloured, write_label_ids};
use ulda_dataset::{Image, ImageHeader, LabelMap, Size, read_header, read_image, read_label_ids};
use ulda_run::spec::ClassesConfig;
use ulda_run::{CITYSCAPES, Classes};

fn all_classes() -> LabelMap {
    let mut ids: Vec<u8> = (0..CITYSCAPES.len() as u8).collect();
    ids.push(IGNORE);
    LabelMap {
        size: Size::new(5, 4),
        ids,
    }
}

#[test]
fn palette_files_hold_train_ids_and_show_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prediction.png");
    let map = all_classes();
    write_coloured(&path, &map, &Classes::default()).unwrap();
    let header = read_header(&path).unwrap();
    assert!(matches!(header, ImageHeader::Png(png) if png.colour == png::ColorType::Indexed));
    assert_eq!(read_label_ids(&path).unwrap(), map);
    assert_eq!(read_image(&path).unwrap(), coloured(&map, &Classes::default()));
}

#[test]
fn label_id_files_hold_label_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.png");
    let map = all_classes();
    write_label_ids(&path, &map, &Classes::default()).unwrap();
    let mut want = CITYSCAPES.each_ref().map(|class| class.label_id).to_vec();
    want.push(0);
    assert_eq!(read_label_ids(&path).unwrap().ids, want);
}

#[test]
fn own_classes_are_painted_in_their_colours() {
    let folder = tempfile::tempdir().unwrap();
    let section = ClassesConfig {
        names: Some(["sky", "water"].map(str::to_owned).to_vec()),
        colours: Some(["#0a0b0c", "#ff0000"].map(str::to_owned).to_vec()),
    };
    let classes = Classes::of(&section).unwrap();
    let map = LabelMap {
        size: Size::new(3, 1),
        ids: vec![1, 0, IGNORE],
    };
    let path = folder.path().join("own.png");
    write_coloured(&path, &map, &classes).unwrap();
    assert_eq!(read_image(&path).unwrap().rgb, [255, 0, 0, 10, 11, 12, 0, 0, 0]);
    write_label_ids(&path, &map, &classes).unwrap();
    assert_eq!(read_label_ids(&path).unwrap().ids, [1, 0, 0]);
}

#[test]
fn overlays_blend_and_leave_ignored_pixels_bare() {
    let map = LabelMap {
        size: Size::new(2, 1),
        ids: vec![0, IGNORE],
    };
    let image = Image {
        size: map.size,
        rgb: vec![100; 6],
    };
    let classes = Classes::default();
    let blended = overlay(&image, &map, &classes, 0.5).unwrap();
    assert_eq!(blended.rgb, [114, 82, 114, 100, 100, 100]);
    assert_eq!(
        overlay(&image, &map, &classes, 1.0).unwrap().rgb[..3],
        [128, 64, 128]
    );
    let other = Image {
        size: Size::square(1),
        rgb: vec![0; 3],
    };
    assert_eq!(
        overlay(&other, &map, &classes, 0.5).unwrap_err().to_string(),
        "pictures of 1x1 and 2x1 do not go together"
    );
}

#[test]
fn strips_put_panels_side_by_side() {
    let panel = |value: u8| Image {
        size: Size::new(2, 2),
        rgb: vec![value; 12],
    };
    let picture = strip(&[&panel(1), &panel(2), &panel(3)], 1).unwrap();
    assert_eq!(picture.size, Size::new(8, 2));
    let row: Vec<u8> = picture.rgb[..24].iter().step_by(3).copied().collect();
    assert_eq!(row, [1, 1, 255, 2, 2, 255, 3, 3]);
    assert_eq!(picture.rgb[..24], picture.rgb[24..]);
}

#[test]
fn a_picture_that_cannot_be_written_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder.png");
    let error = write_label_ids(&path, &all_classes(), &Classes::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write `{}`", path.display()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
