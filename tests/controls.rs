//! Controls and sweeps: runs that end early, and styles from elsewhere.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::Path;

use serde_json::Value;
use ulda_tests::{Json, Program, World, binary, checkpoints, png_files, tensor_bytes};

const BANK: &str = "styles/bank.safetensors";
const ADAPTED: &str = "checkpoints/final/adapted.safetensors";

/// The header of a style bank: its domains and the image of each style.
fn bank_header(run: &Path) -> Value {
    let bytes = std::fs::read(run.join(BANK)).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    let header: Value = serde_json::from_slice(&rest[..length]).unwrap();
    let bank = header["__metadata__"]["ulda.style_bank"].as_str().unwrap();
    serde_json::from_str(bank).unwrap()
}

/// Cuts every image and label of the source's training set to the square at its left.
fn square_source(world: &World) {
    for folder in ["leftImg8bit", "gtFine"] {
        for path in png_files(&world.path("data/cityscapes").join(folder).join("train")) {
            let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
            let mut reader = png::Decoder::new(file).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let (info, palette) = (
                reader.next_frame(&mut pixels).unwrap(),
                reader.info().palette.clone(),
            );
            let bytes = info.color_type.samples();
            let (width, side) = (info.width as usize * bytes, info.height as usize * bytes);
            let rows = pixels.chunks(width).flat_map(|row| row[..side].to_vec());
            let mut encoder =
                png::Encoder::new(std::fs::File::create(&path).unwrap(), info.height, info.height);
            encoder.set_color(info.color_type);
            encoder.set_depth(info.bit_depth);
            if let Some(palette) = palette {
                encoder.set_palette(palette);
            }
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&rows.collect::<Vec<u8>>()).unwrap();
        }
    }
}

/// The confusion matrices of a run by model, on its only evaluation set.
fn scores(run: &Path) -> Vec<(String, Value)> {
    let report = Json::read(&run.join("report/report.json"));
    let models = report.0["sets"][0]["models"]
        .as_array()
        .expect("a set has models");
    let of = |model: &Value| {
        (
            model["model"].as_str().unwrap().to_owned(),
            model["confusion"].clone(),
        )
    };
    models.iter().map(of).collect()
}

#[test]
fn a_run_that_ends_after_pretrain_leaves_the_source_only_model_and_its_scores() {
    let world = World::new();
    world.train("whole", 2, &[]);
    world.leave_out("[[domain]]");
    let sets = ["run.end_after=pretrain"];
    let [alone, both] = [1, 2].map(|workers| world.train(&format!("source-by-{workers}"), workers, &sets));
    assert_eq!(alone, both, "2 workers against 1");
    let (whole, run) = (world.path("runs/whole"), world.path("runs/source-by-2"));
    assert_eq!(
        both.files.keys().collect::<Vec<_>>(),
        ["source.safetensors"],
        "no other model is left"
    );
    let model = "checkpoints/final/source.safetensors";
    assert_eq!(tensor_bytes(&run.join(model)), tensor_bytes(&whole.join(model)));
    assert_eq!(scores(&run), scores(&whole)[..1], "source-only scores alone");
    assert!(!run.join(BANK).exists(), "nothing was simulated");

    let page = std::fs::read_to_string(run.join("report/index.html")).unwrap();
    assert!(
        page.contains("This run ends after pretrain"),
        "the report says so"
    );
    let run = run.to_str().unwrap();
    let status = world.start(&["status", run]).finish().expect(0);
    assert!(
        status.out.contains("source-only") && !status.out.contains("adapted"),
        "{}",
        status.out
    );
    let predicted = world
        .start(&["predict", "--run", run, "--out", "out", "data/acdc/rgb_anon"])
        .finish()
        .expect(0);
    assert!(
        predicted.err.contains("its source-only model is used"),
        "{}",
        predicted.err
    );

    let exported = world
        .start(&["export", run, "--format", "pth"])
        .finish()
        .expect(0);
    let model = exported.out.trim_end();
    assert!(model.ends_with("runs/source-by-2/export/source.pth"), "{model}");
    let arguments = [
        "predict",
        "--model",
        model,
        "--out",
        "again",
        "data/acdc/rgb_anon",
    ];
    let _ = world.start(&arguments).finish().expect(0);
    let pictures = |folder: &str| {
        let paths = png_files(&world.path(folder)).into_iter();
        paths.map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    assert!(
        pictures("again") == pictures("out"),
        "the exported model predicts the same"
    );

    let cropped = ["--out", "cropped", "--crop", "48", "data/acdc/rgb_anon"];
    let arguments = [&arguments[..3], &cropped].concat();
    let _ = world.start(&arguments).finish().expect(0);
    let files = png_files(&world.path("cropped"));
    assert_eq!(files.len(), pictures("out").len());
    for file in files {
        let reader = std::io::BufReader::new(std::fs::File::open(&file).unwrap());
        let info = png::Decoder::new(reader).read_info().unwrap();
        assert_eq!(info.info().size(), (48, 48), "{}", file.display());
    }
}

#[test]
fn the_size_of_the_pooled_feature_comes_from_the_checkpoint() {
    let world = World::new();
    let given = world.train("given", 1, &[]);
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(world.path("run.toml")).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(world.path("run.toml"), text.replace(from, to)).unwrap();
    };
    edit("scene_pool = 16\n", "");
    assert_eq!(world.train("left-out", 1, &[]), given);
    let whole = world.train("whole-feature", 1, &["simulate.resize_feature=false"]);
    assert_eq!(whole, given, "a crop of 64 fits the attention pool as it is");

    // Widths, heads and pool in the proportions of RN50x4.
    let mut miniature = std::process::Command::new(binary("worker"));
    miniature
        .args(["miniature-clip", "--resolution", "96", "--width", "20"])
        .arg(world.path("x4.safetensors"));
    let _ = Program::start(miniature).finish().expect(0);
    edit("clip.safetensors", "x4.safetensors");
    let _ = world.start(&["check"]).finish().expect(0);
    let _ = world.train("x4", 2, &[]);
}

/// The head that scored highest is the head of a run of as many steps at the same, constant rate.
#[test]
fn pretrain_keeps_the_head_that_scores_highest_on_the_source() {
    let world = World::new();
    let constant = ["run.end_after=pretrain", "pretrain.poly_power=0"];
    let with = |steps: &str, every: &str| {
        let mut sets = constant.to_vec();
        sets.extend([steps, every]);
        sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>()
    };
    let train = |name: &str, sets: &[String]| {
        world.train(name, 2, &sets.iter().map(String::as_str).collect::<Vec<_>>());
        let run = world.path("runs").join(name);
        (
            tensor_bytes(&run.join("checkpoints/final/source.safetensors")),
            run,
        )
    };
    let (kept, run) = train(
        "validated",
        &with("pretrain.steps=6", "pretrain.validate_every=1"),
    );
    let report = Json::read(&run.join("report/report.json"));
    let validations = report.0["validation"].as_array().unwrap().iter();
    let scores: Vec<(u64, f64)> = validations
        .map(|row| {
            assert_eq!(row["place"]["stage"], "pretrain");
            (
                row["place"]["step"].as_u64().unwrap(),
                row["mean_iou"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        scores.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    let highest = scores.iter().map(|(_, miou)| *miou).fold(0.0, f64::max);
    let (best, _) = scores.iter().find(|(_, miou)| *miou == highest).unwrap();
    let steps = format!("pretrain.steps={best}");
    let (expected, _) = train("unvalidated", &with(&steps, "pretrain.validate_every=0"));
    assert!(kept == expected, "not the head of step {best}: {scores:?}");
    let (last, _) = train("last", &with("pretrain.steps=6", "pretrain.validate_every=0"));
    assert_eq!(kept == last, *best == 6, "{scores:?}");
}

#[test]
fn a_run_that_ends_after_simulate_leaves_the_style_bank() {
    let world = World::new();
    world.train("whole", 2, &[]);
    let simulated = world.train("simulated", 2, &["run.end_after=simulate"]);
    assert_eq!(simulated.files.keys().collect::<Vec<_>>(), ["source.safetensors"]);
    let bank = |run: &str| std::fs::read(world.path(run).join("styles/bank.safetensors")).unwrap();
    assert_eq!(bank("runs/simulated"), bank("runs/whole"));
    assert_eq!(
        scores(&world.path("runs/simulated")),
        scores(&world.path("runs/whole"))[..1]
    );

    let export = ["export", "simulated", "--format", "pickle-styles"];
    let _ = world.start(&export).finish().expect(0);
    let header = bank_header(&world.path("runs/simulated"));
    let styles = header["images"].as_array().unwrap().len();
    let domains = header["bank"]["domains"].as_array().unwrap();
    for domain in domains {
        let folder = world
            .path("runs/simulated/export/styles")
            .join(domain["name"].as_str().unwrap());
        let files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files.len() * domains.len(), styles);
        assert!(
            files.iter().all(|file| file.ends_with("_leftImg8bit.png.pkl")),
            "{files:?}"
        );
    }
    let again = world.start(&export).finish().expect(78);
    assert!(
        again.err.contains("is there and is no empty folder; hint:"),
        "{}",
        again.err
    );
}

#[test]
fn a_run_of_a_given_source_model_that_ends_after_pretrain_only_evaluates_it() {
    let world = World::new();
    world.train("source", 1, &["run.end_after=pretrain"]);
    let model = world.path("runs/source/checkpoints/final/source.safetensors");
    let given = format!("pretrain.checkpoint={}", model.display());
    world.train("scored", 2, &["run.end_after=pretrain", &given]);
    assert_eq!(
        scores(&world.path("runs/scored")),
        scores(&world.path("runs/source"))
    );
}

#[test]
fn the_statistics_of_whole_images_are_those_of_crops_that_are_whole_images() {
    let world = World::new();
    square_source(&world);
    let crops = [
        "simulate.styles=content",
        "simulate.batch=1",
        "simulate.batches=8",
        "simulate.data_shards=4",
        "simulate.prompt_groups=1",
    ];
    world.train("crops", 1, &crops);
    world.name_images([(); 4].map(|()| "[\"data/cityscapes/leftImg8bit/train\"]".to_owned()));
    world.train("images", 1, &["simulate.styles=images"]);
    let (crops, images) = (world.path("runs/crops"), world.path("runs/images"));
    assert_eq!(
        tensor_bytes(&crops.join(BANK)),
        tensor_bytes(&images.join(BANK)),
        "one style per image and domain, in the same order"
    );
    assert_eq!(
        tensor_bytes(&crops.join(ADAPTED)),
        tensor_bytes(&images.join(ADAPTED))
    );

    let header = bank_header(&images);
    let names = header["images"].as_array().unwrap();
    assert_eq!(names.len(), 8 * 4);
    assert!(
        names[0].as_str().unwrap().starts_with("0/aachen/"),
        "{}",
        names[0]
    );
    let page = std::fs::read_to_string(images.join("report/index.html")).unwrap();
    assert!(
        page.contains("The styles are the statistics of images"),
        "the report says so"
    );
    assert!(!page.contains("No image of a target"), "and not the opposite");
}

#[test]
fn a_style_bank_serves_another_run_as_if_it_had_learned_it() {
    let world = World::new();
    world.train("learned", 2, &[]);
    let learned = world.path("runs/learned");
    let bank = format!("simulate.bank={}", learned.join(BANK).display());
    let source = learned.join("checkpoints/final/source.safetensors");
    let source = format!("pretrain.checkpoint={}", source.display());
    let sets = ["simulate.styles=bank", &bank, &source];
    let [alone, both] = [1, 2].map(|workers| world.train(&format!("given-{workers}"), workers, &sets));
    assert_eq!(alone, both, "2 workers against 1");
    let given = world.path("runs/given-2");
    assert_eq!(
        std::fs::read(given.join(BANK)).unwrap(),
        std::fs::read(learned.join(BANK)).unwrap()
    );
    assert_eq!(
        tensor_bytes(&given.join(ADAPTED)),
        tensor_bytes(&learned.join(ADAPTED))
    );
    assert_eq!(scores(&given), scores(&learned));
}

#[test]
fn a_run_with_content_styles_that_was_killed_while_it_measured_goes_on() {
    let world = World::new();
    let sets = [
        "simulate.styles=content",
        "simulate.batches=200",
        "checkpoint.keep=300",
    ];
    let undisturbed = world.train("undisturbed", 2, &sets);
    let mut arguments = vec!["--workers", "2", "--set", "run.name=killed"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let mut program = world.start(&arguments);
    program.wait_for("a checkpoint of simulate", |event| {
        (event.text("message") == "checkpoint written" && event.text("stage") == "simulate").then_some(())
    });
    program.kill_all();
    let run = world.path("runs/killed");
    assert!(
        checkpoints(&run)
            .iter()
            .all(|path| !path.to_string_lossy().contains("adapt")),
        "it was still measuring"
    );
    let _ = world
        .start(&["resume", "runs/killed", "--workers", "1"])
        .finish()
        .expect(0);
    assert_eq!(world.finished("killed"), undisturbed);
}
