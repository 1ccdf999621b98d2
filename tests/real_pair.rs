//! A run on a real Cityscapes pair, which `ULDA_REAL` names: the folder with `leftImg8bit/val` and `gtFine/val`.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::PathBuf;

use ulda_tests::{Json, World, copy_tree, png_files};

#[test]
fn a_run_on_a_real_pair_goes_through() {
    let Some(real) = std::env::var_os("ULDA_REAL").map(PathBuf::from) else {
        eprintln!("SKIPPED: ULDA_REAL names no folder with a real Cityscapes pair");
        return;
    };
    let world = World::new();
    for split in ["train", "val"] {
        for tree in ["leftImg8bit", "gtFine"] {
            let target = world.path("data/cityscapes").join(tree).join(split);
            copy_tree(&real.join(tree).join("val"), &target);
        }
    }
    world.train("small", 2, &[]);
    let report = Json::read(&world.path("runs/small/report/report.json"));
    assert!(report.0.to_string().contains("mean_iou"), "{report:?}");

    let images = png_files(&real.join("leftImg8bit"));
    assert!(!images.is_empty(), "{} holds no image", real.display());
    let out = std::env::var_os("ULDA_REAL_OUT").map_or_else(|| world.path("out"), PathBuf::from);
    let predict = [
        "predict",
        "--run",
        "runs/small",
        "--out",
        out.to_str().unwrap(),
        real.to_str().unwrap(),
    ];
    let arguments: Vec<&str> = predict[..5]
        .iter()
        .copied()
        .chain(images.iter().map(|path| path.to_str().unwrap()))
        .collect();
    let _ = world.start(&arguments).finish().expect(0);
    for image in &images {
        let name = image.file_stem().unwrap().to_str().unwrap();
        for kind in ["color", "labelIds", "overlay"] {
            let path = out.join(format!("{name}_{kind}.png"));
            assert!(path.is_file(), "{}", path.display());
            assert_eq!(size(&path), size(image), "{}", path.display());
        }
    }
}

fn size(path: &std::path::Path) -> (u32, u32) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    (reader.info().width, reader.info().height)
}
