//! A run with classes of its own, end to end: seven groups of Cityscapes' classes, described by patterns.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::{Path, PathBuf};

use ulda_tests::{Json, World, png_files};

const NAMES: [&str; 7] = [
    "flat",
    "construction",
    "object",
    "nature",
    "open sky",
    "human",
    "vehicle",
];

const CLASSES: &str = r##"
[classes]
names = ["flat", "construction", "object", "nature", "open sky", "human", "vehicle"]
colours = ["#804080", "#464646", "#dcdc00", "#6b8e23", "#0a0bfc", "#dc143c", "#00008e"]
"##;

const VALUES: &str = "label_values = { 7 = 0, 8 = 0, 11 = 1, 12 = 1, 13 = 1, 17 = 2, 19 = 2, 20 = 2, 21 = 3, 22 = 3, 23 = 4, \
                      24 = 5, 25 = 5, 26 = 6, 27 = 6, 28 = 6, 31 = 6, 32 = 6, 33 = 6, other = 255 }";

/// The small world, its run.toml with the seven classes beside the one with Cityscapes', which is `cityscapes.toml`.
fn world() -> World {
    let world = World::new();
    let path = world.path("run.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(world.path("cityscapes.toml"), &text).unwrap();
    let source = format!(
        "[source]\nlayout = \"files\"\nroot = \"data/cityscapes\"\n[source.files]\n\
         images = \"leftImg8bit/{{split}}/*/*_leftImg8bit.png\"\nlabels = \"gtFine/{{split}}/*/*_gtFine_labelIds.png\"\n{VALUES}\n"
    );
    let set = format!(
        "layout = \"files\"\nroot = \"data/acdc\"\n[evaluate.set.files]\nimages = \"rgb_anon/night/{{split}}/*/*_rgb_anon.png\"\n\
         labels = \"gt/night/{{split}}/*/*_gt_labelIds.png\"\n{VALUES}\n"
    );
    let own = text
        .replace(
            "[source]\nroot = \"data/cityscapes\"\n",
            &format!("{source}{CLASSES}"),
        )
        .replace(
            "layout = \"acdc\"\nroot = \"data/acdc\"\ncondition = \"night\"\n",
            &set,
        );
    assert!(own.contains(&source) && own.contains(&set), "{own}");
    std::fs::write(path, own).unwrap();
    world
}

fn names_of(value: &serde_json::Value) -> Vec<&str> {
    value["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect()
}

/// Whether some file below holds these bytes.
fn is_in(folder: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_in(&path, wanted),
            false => holds(&path, wanted),
        }
    })
}

fn holds(path: &Path, wanted: &[u8]) -> bool {
    std::fs::read(path)
        .unwrap()
        .windows(wanted.len())
        .any(|part| part == wanted)
}

fn decoded(path: &Path) -> (Vec<u8>, Option<Vec<u8>>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let palette = reader.info().palette.as_ref().map(|palette| palette.to_vec());
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    (pixels, palette)
}

/// All pictures of a prediction, with their bytes.
fn pictures(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let named = png_files(folder).into_iter().map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        (path.strip_prefix(folder).unwrap().to_owned(), bytes)
    });
    named.collect()
}

fn check_report(run: &Path) {
    let report = Json::read(&run.join("report/report.json")).0;
    assert_eq!(names_of(&report["classes"]), NAMES);
    for model in report["sets"][0]["models"].as_array().unwrap() {
        assert_eq!(model["confusion"].as_array().unwrap().len(), 49);
        assert_eq!(model["scores"]["class_iou"].as_array().unwrap().len(), 7);
    }
    let csv = std::fs::read_to_string(run.join("report/scores.csv")).unwrap();
    let of_adapted = csv.lines().filter(|line| line.starts_with("adapted,night,"));
    let classes: Vec<&str> = of_adapted.map(|line| line.split(',').nth(2).unwrap()).collect();
    assert_eq!(classes[..7], NAMES);
    assert_eq!(classes[7..], ["mIoU", "mAcc", "aAcc"]);
    let page = std::fs::read_to_string(run.join("report/index.html")).unwrap();
    assert!(
        page.contains("background:rgb(10,11,252)"),
        "the legend has the class's colour"
    );
    assert!(!page.contains("motorcycle"), "no class of Cityscapes");
    assert!(is_in(
        &run.join("tensorboard"),
        b"class_iou/night/adapted/open_sky"
    ));
}

fn check_prediction(folder: &Path) {
    let legend = Json::read(&folder.join("classes.json")).0;
    assert_eq!(names_of(&legend), NAMES);
    let mut looked_at = 0;
    for path in png_files(folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (pixels, palette) = decoded(&path);
        if name.ends_with("_labelIds.png") {
            assert!(pixels.iter().all(|id| *id < 7), "{name}");
        } else if name.ends_with("_color.png") {
            let palette = palette.unwrap();
            assert_eq!(palette[..6], [128, 64, 128, 70, 70, 70], "{name}");
            assert_eq!(palette[21..24], [0; 3], "{name}: there is no eighth class");
            looked_at += 1;
        }
    }
    assert!(looked_at > 0);
}

#[test]
fn seven_classes_go_through_all_stages_and_out() {
    let world = world();
    let [alone, both] = [1, 2].map(|workers| world.train(&format!("own-by-{workers}"), workers, &[]));
    assert_eq!(alone, both, "2 workers against 1");
    let run = world.path("runs/own-by-2");
    check_report(&run);
    let run = run.to_str().unwrap();
    let predict = |from: &[&str], out: &str| {
        let arguments = [
            &["predict"],
            from,
            &["--out", out, "data/acdc/rgb_anon/night/val"],
        ]
        .concat();
        let _ = world.start(&arguments).finish().expect(0);
        check_prediction(&world.path(out));
        pictures(&world.path(out))
    };
    let predicted = predict(&["--run", run], "out");
    for (format, marked) in [
        ("pth", "ulda.classes"),
        ("onnx", "open sky"),
        ("torchscript", "classes.json"),
    ] {
        let exported = world
            .start(&["export", run, "--format", format])
            .finish()
            .expect(0);
        let model = exported.out.trim_end();
        assert!(holds(Path::new(model), marked.as_bytes()), "{format}");
        if format == "pth" {
            assert_eq!(predict(&["--model", model], "again"), predicted);
        }
    }

    let check = |arguments: &[&str], code: i32| {
        let source = "pretrain.checkpoint=runs/own-by-2/checkpoints/final/source.safetensors";
        let arguments = [&["check", "--set", source], arguments].concat();
        world.start(&arguments).finish().expect(code).said()
    };
    let _ = check(&[], 0);
    for (arguments, what) in [
        (
            &["--config", "cityscapes.toml"][..],
            "tells 7 classes apart, this run 19",
        ),
        (
            &[
                "--set",
                "classes.names=[\"flat\", \"building\", \"object\", \"nature\", \"open sky\", \"human\", \"vehicle\"]",
            ],
            "names a class `construction` where this run has `building`",
        ),
    ] {
        let said = check(arguments, 78);
        assert!(
            said.contains("pretrain.checkpoint") && said.contains(what),
            "{said}"
        );
        assert!(
            said.contains("hint: use a checkpoint of this run's classes"),
            "{said}"
        );
    }
}
