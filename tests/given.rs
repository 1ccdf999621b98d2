//! Runs that start from given results: the authors' styles, another run's models and bank, a model that is only scored.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::Path;

use serde_json::Value;
use ulda_tests::{Ended, Json, World, tensor_bytes};

const BANK: &str = "styles/bank.safetensors";
const SOURCE: &str = "checkpoints/final/source.safetensors";
const ADAPTED: &str = "checkpoints/final/adapted.safetensors";

/// A run of two workers with further arguments, to its end.
fn train(world: &World, name: &str, arguments: &[&str]) -> Ended {
    let named = format!("run.name={name}");
    let all = [&["--workers", "2", "--set", &named], arguments].concat();
    world.start(&all).finish().expect(0)
}

/// The confusion matrices of a run by model, on its only evaluation set.
fn scores(run: &Path) -> Vec<(String, Value)> {
    let report = Json::read(&run.join("report/report.json"));
    let models = report.0["sets"][0]["models"].as_array().unwrap();
    let of = |model: &Value| {
        let name = model["model"].as_str().unwrap();
        (name.to_owned(), model["confusion"].clone())
    };
    models.iter().map(of).collect()
}

fn stages(run: &Path) -> Vec<String> {
    let report = Json::read(&run.join("report/report.json"));
    let stages = report.0["stages"].as_array().unwrap().iter();
    stages
        .map(|stage| stage["stage"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn exported_styles_serve_a_run_as_the_bank_that_they_were() {
    let world = World::new();
    world.train("learned", 2, &[]);
    let learned = world.path("runs/learned");
    let export = ["export", "learned", "--format", "pickle-styles"];
    let _ = world.start(&export).finish().expect(0);
    let given = |name: &str, bank: &str| {
        let bank = format!("simulate.bank={bank}");
        let source = format!("pretrain.checkpoint=runs/learned/{SOURCE}");
        world.train(name, 2, &["simulate.styles=bank", &bank, &source]);
        let run = world.path("runs").join(name);
        assert_eq!(
            std::fs::read(run.join(BANK)).unwrap(),
            std::fs::read(learned.join(BANK)).unwrap(),
            "the same bank, bit by bit"
        );
        assert!(tensor_bytes(&run.join(ADAPTED)) == tensor_bytes(&learned.join(ADAPTED)));
    };
    given("folder", "runs/learned/export/styles");
    // As the authors' script names them.
    for domain in ["fog", "night", "rain", "snow"] {
        let folder = world.path("runs/learned/export/styles");
        std::fs::rename(folder.join(domain), folder.join(format!("cs_six_{domain}"))).unwrap();
    }
    given("pattern", "runs/learned/export/styles/cs_six_{domain}");
}

#[test]
fn a_run_starts_from_what_another_one_left() {
    let world = World::new();
    world.train("whole", 2, &[]);
    let whole = world.path("runs/whole");
    for (name, chosen) in [("adapted-only", "adapt"), ("from-simulate", "simulate,adapt")] {
        let ended = train(&world, name, &["--stages", chosen, "--from", "whole"]);
        let said = "pretrain.checkpoint: source.safetensors of run `whole`, digest ";
        assert!(ended.err.contains(said), "{}", ended.err);
        let run = world.path("runs").join(name);
        let mut expected: Vec<&str> = chosen.split(',').collect();
        expected.push("evaluate");
        assert_eq!(stages(&run), expected);
        assert!(tensor_bytes(&run.join(ADAPTED)) == tensor_bytes(&whole.join(ADAPTED)));
        assert_eq!(scores(&run), scores(&whole));
        let manifest = Json::read(&whole.join("checkpoints/final/manifest.json"));
        let digest = manifest.0["style_bank"]["blake3"].as_str().unwrap();
        let bank = format!(
            "simulate.bank: styles/bank.safetensors of run `whole`, digest {}",
            &digest[..16]
        );
        assert_eq!(ended.err.contains(&bank), chosen == "adapt", "{}", ended.err);
    }
    // What it took is in its run.toml, so it goes on without the flags.
    let resumed = world.start(&["resume", "adapted-only"]).finish().expect(0);
    assert!(resumed.err.contains("is finished already"), "{}", resumed.err);

    let _ = train(
        &world,
        "styles-only",
        &["--stages", "simulate", "--from", "whole"],
    );
    let run = world.path("runs/styles-only");
    assert_eq!(stages(&run), ["simulate", "evaluate"]);
    assert_eq!(
        std::fs::read(run.join(BANK)).unwrap(),
        std::fs::read(whole.join(BANK)).unwrap()
    );
}

#[test]
fn models_are_scored_without_training() {
    let world = World::new();
    world.train("whole", 2, &[]);
    let whole = world.path("runs/whole");
    let expected = scores(&whole);
    assert_eq!(expected[0].0, "source-only");
    assert_eq!(expected[1].0, "adapted");
    // Such a run needs neither sentences nor a source.
    world.leave_out("[[domain]]");
    world.leave_out("[source]");

    let ended = train(&world, "both", &["--stages", "evaluate", "--from", "whole"]);
    assert!(
        ended.err.contains("adapt.checkpoint: adapted.safetensors"),
        "{}",
        ended.err
    );
    let both = world.path("runs/both");
    assert_eq!(stages(&both), ["evaluate"]);
    assert_eq!(scores(&both), expected[..2]);
    assert!(tensor_bytes(&both.join(ADAPTED)) == tensor_bytes(&whole.join(ADAPTED)));

    let _ = world
        .start(&["export", "whole", "--format", "pth"])
        .finish()
        .expect(0);
    let given = "adapt.checkpoint=runs/whole/export/adapted.pth";
    let ended = train(&world, "pth", &["--set", given]);
    let run = world.path("runs/pth");
    assert_eq!(scores(&run), expected[1..2]);
    assert!(
        !ended.out.contains("source-only") && !ended.out.contains("gain"),
        "{}",
        ended.out
    );
    assert!(run.join(ADAPTED).is_file() && !run.join(SOURCE).exists());
    let page = std::fs::read_to_string(run.join("report/index.html")).unwrap();
    assert!(page.contains("scores of an adapted model that the run was given"));
    assert!(!page.contains("Source-only"), "no empty column");
    let predict = ["predict", "--run", "pth", "--out", "out", "data/acdc/rgb_anon"];
    let predicted = world.start(&predict).finish().expect(0);
    assert!(!predicted.err.contains("source-only"), "{}", predicted.err);

    let source = format!("pretrain.checkpoint=runs/whole/{SOURCE}");
    let _ = train(&world, "source", &["--stages", "evaluate", "--set", &source]);
    assert_eq!(scores(&world.path("runs/source")), expected[..1]);
    let _ = train(&world, "again", &["--stages", "evaluate", "--from", "pth"]);
    assert_eq!(scores(&world.path("runs/again")), expected[1..2]);
}
