//! Controls and sweeps: runs that end early, and styles from elsewhere.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::Path;

use serde_json::Value;
use ulda_tests::{Json, World, tensor_bytes};

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
    assert!(
        !run.join("styles/bank.safetensors").exists(),
        "nothing was simulated"
    );

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
        predicted.err.contains("predicting with its source-only model"),
        "{}",
        predicted.err
    );
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
