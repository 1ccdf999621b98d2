//! What a run has left, as verbs that look at runs and runs that start from it open it.

use std::path::PathBuf;
use std::sync::OnceLock;

use ulda_tests::{World, copy_tree};

use super::odd::Odd;
use super::place::{BAD_INPUT, DONE, FAILED, Place, UNAVAILABLE};

const FROM: &[&str] = &[
    "check",
    "--set",
    "run.name=next",
    "--stages",
    "adapt",
    "--from",
    "runs/small",
];
const EVALUATE: &[&str] = &[
    "check",
    "--set",
    "run.name=next",
    "--stages",
    "evaluate",
    "--from",
    "runs/small",
];
const PREDICT: &[&str] = &["predict", "--run", "runs/small", "--out", "out", "in"];

/// SQLite reads as many pages as its header says, and nothing behind them.
const JOURNAL: &[(Odd, i32)] = &[(Odd::Grown, DONE)];

/// It is no damage, but more than is read of one.
const LARGE_TEXT: &[(Odd, i32)] = &[(Odd::Hole, FAILED), (Odd::Grown, FAILED)];

/// Begun anew, or read for what it holds.
const NEW_ONE: &[(Odd, i32)] = &[(Odd::Hole, DONE), (Odd::Grown, DONE), (Odd::Missing, DONE)];

const TOML: &str = "runs/small/run.toml";
const SQLITE: &str = "runs/small/journal.sqlite";
const MANIFEST: &str = "runs/small/checkpoints/final/manifest.json";
const LOCK: &str = "runs/small/run.lock";
const LOG: &str = "runs/small/logs/worker-0.log";
const BANK: &str = "runs/small/styles/bank.safetensors";
const SOURCE: &str = "runs/small/checkpoints/final/source.safetensors";
const ADAPTED: &str = "runs/small/checkpoints/final/adapted.safetensors";

pub const PLACES: &[Place] = &[
    Place::new(TOML, &["status", "runs/small"], BAD_INPUT),
    Place::new(TOML, &["report", "runs/small"], BAD_INPUT).but(LARGE_TEXT),
    Place::new(TOML, &["compare", "runs/small"], BAD_INPUT),
    Place::new(TOML, &["ledger", "runs/small"], BAD_INPUT),
    Place::new(TOML, &["resume", "runs/small"], BAD_INPUT).but(LARGE_TEXT),
    Place::new(TOML, &["list", "runs"], DONE),
    Place::new(TOML, FROM, BAD_INPUT),
    Place::new(SQLITE, &["status", "runs/small"], FAILED).but(JOURNAL),
    Place::new(SQLITE, &["report", "runs/small"], FAILED).but(JOURNAL),
    Place::new(SQLITE, &["compare", "runs/small"], BAD_INPUT).but(JOURNAL),
    Place::new(SQLITE, &["resume", "runs/small"], FAILED).but(&[(Odd::Grown, DONE), (Odd::Missing, DONE)]),
    Place::new(SQLITE, &["list", "runs"], DONE),
    Place::new(MANIFEST, &["report", "runs/small"], FAILED).but(&[(Odd::Missing, DONE)]),
    Place::new(MANIFEST, FROM, BAD_INPUT).but(&[(Odd::Missing, DONE)]),
    Place::new(LOCK, &["status", "runs/small"], DONE),
    Place::new(LOCK, &["stop", "runs/small"], UNAVAILABLE),
    Place::new(LOCK, &["resume", "runs/small"], FAILED).but(NEW_ONE),
    Place::new(LOG, &["logs", "runs/small"], FAILED).but(NEW_ONE),
    Place::new("runs/small/data-plane.key", &["resume", "runs/small"], FAILED).but(&[(Odd::Missing, DONE)]),
    Place::new("runs/small/examples/night/*", &["report", "runs/small"], DONE),
    Place::new(BANK, FROM, BAD_INPUT),
    Place::new(
        BANK,
        &["export", "runs/small", "--format", "pickle-styles"],
        BAD_INPUT,
    ),
    Place::new(SOURCE, EVALUATE, BAD_INPUT),
    Place::new(ADAPTED, EVALUATE, BAD_INPUT),
    Place::new(ADAPTED, &["export", "runs/small", "--format", "onnx"], BAD_INPUT),
    Place::new(ADAPTED, PREDICT, BAD_INPUT),
    Place::new("in/street.png", PREDICT, BAD_INPUT),
    Place::new(
        "in/street.png",
        &["predict", "--run", "runs/small", "--out", "out", "in/street.png"],
        BAD_INPUT,
    ),
    Place::new(
        "film.mp4",
        &["predict", "--run", "runs/small", "--out", "out", "film.mp4"],
        BAD_INPUT,
    ),
    Place::new("out", PREDICT, FAILED).but(&[(Odd::Folder, DONE), (Odd::Missing, DONE)]),
    Place::new(
        "table.csv",
        &["compare", "runs/small", "--format", "csv", "--out", "table.csv"],
        DONE,
    )
    .but(&[(Odd::Folder, FAILED)]),
];

/// A world with a finished run.
pub fn world() -> World {
    static TRAINED: OnceLock<(World, PathBuf)> = OnceLock::new();
    let (_, runs) = TRAINED.get_or_init(|| {
        let world = World::new();
        world.train("small", 2, &[]);
        let runs = world.path("runs");
        (world, runs)
    });
    let world = World::new();
    copy_tree(runs, &world.path("runs"));
    std::fs::create_dir_all(world.path("in")).unwrap();
    let image = ulda_tests::png_files(&world.path("data/cityscapes/leftImg8bit"))[0].clone();
    std::fs::copy(image, world.path("in/street.png")).unwrap();
    std::fs::write(world.path("film.mp4"), "no film").unwrap();
    world
}
