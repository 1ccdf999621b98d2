//! Verbs that look at runs and models.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ulda_tests::{World, copy_tree};

use super::breaking::{cut, images, patch, remove};
use super::case::{BAD_INPUT, Case, UNAVAILABLE, USAGE, hold, nothing};

/// A world with one finished run.
pub fn trained() -> World {
    static TRAINED: OnceLock<(World, PathBuf)> = OnceLock::new();
    let (_, runs) = TRAINED.get_or_init(|| {
        let world = World::new();
        world.train("small", 2, &[]);
        let runs = world.path("runs");
        (world, runs)
    });
    let world = World::new();
    copy_tree(runs, &world.path("runs"));
    world
}

fn adapted(world: &World) -> PathBuf {
    world.path("runs/small/checkpoints/final/adapted.safetensors")
}

fn copy_image(world: &World, to: &str) {
    let target = world.path(to);
    std::fs::create_dir_all(target.parent().unwrap_or(Path::new("."))).unwrap();
    std::fs::copy(&images(world)[0], target).unwrap();
}

const NO_RUN: &[Case] = &[
    Case {
        name: "status of no run",
        breaks: nothing,
        command: &["status", "data"],
        code: BAD_INPUT,
        says: &[
            "`data` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "report of no run",
        breaks: nothing,
        command: &["report", "runs/none"],
        code: BAD_INPUT,
        says: &[
            "`runs/none` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "compare of no run",
        breaks: nothing,
        command: &["compare", "ulda=runs/none"],
        code: BAD_INPUT,
        says: &[
            "`runs/none` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "compare with a model that there is not",
        breaks: nothing,
        command: &["compare", "ulda:best=runs/small"],
        code: USAGE,
        says: &["`best` is no model", "adapted-best"],
    },
    Case {
        name: "stop of no run",
        breaks: nothing,
        command: &["stop", "data"],
        code: BAD_INPUT,
        says: &[
            "`data` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "resume of no run",
        breaks: nothing,
        command: &["resume", "run.toml"],
        code: BAD_INPUT,
        says: &[
            "`run.toml` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "predict with no run",
        breaks: nothing,
        command: &["predict", "--run", "data", "--out", "out", "data/acdc/rgb_anon"],
        code: BAD_INPUT,
        says: &[
            "`data` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "export of no run",
        breaks: nothing,
        command: &["export", "data", "--format", "pth"],
        code: BAD_INPUT,
        says: &[
            "`data` is not a run directory",
            "`coordinator list` shows the runs",
        ],
    },
    Case {
        name: "predict with no model",
        breaks: nothing,
        command: &[
            "predict",
            "--model",
            "none.safetensors",
            "--out",
            "out",
            "data/acdc/rgb_anon",
        ],
        code: BAD_INPUT,
        says: &["none.safetensors`", "No such file", "hint: correct the path"],
    },
    Case {
        name: "predict with CLIP for a model",
        breaks: nothing,
        command: &[
            "predict",
            "--model",
            "clip.safetensors",
            "--out",
            "out",
            "data/acdc/rgb_anon",
        ],
        code: BAD_INPUT,
        says: &["clip.safetensors`", "classifier", "hint:"],
    },
    Case {
        name: "predict with text for a model",
        breaks: nothing,
        command: &[
            "predict",
            "--model",
            "run.toml",
            "--out",
            "out",
            "data/acdc/rgb_anon",
        ],
        code: BAD_INPUT,
        says: &["run.toml` is not a checkpoint", "hint:"],
    },
    Case {
        name: "predict of nothing",
        breaks: nothing,
        command: &[
            "predict",
            "--model",
            "clip.safetensors",
            "--out",
            "out",
            "none.png",
        ],
        code: BAD_INPUT,
        says: &["`none.png` does not exist", "give PNG or JPEG images"],
    },
];

const FINISHED: &[Case] = &[
    Case {
        name: "stop of a run that nobody serves",
        breaks: nothing,
        command: &["stop", "runs/small"],
        code: UNAVAILABLE,
        says: &[
            "runs/small` is not served by any coordinator",
            "coordinator status runs/small",
        ],
    },
    Case {
        name: "compare with a reference that there is not",
        breaks: nothing,
        command: &["compare", "ulda=runs/small", "--reference", "poda"],
        code: BAD_INPUT,
        says: &["--reference `poda` is no method", "`ulda`"],
    },
    Case {
        name: "compare with an evaluation set that there is not",
        breaks: nothing,
        command: &["compare", "runs/small", "--sets", "hail"],
        code: BAD_INPUT,
        says: &["--sets `hail` is no evaluation set of these runs", "`night`"],
    },
    Case {
        name: "compare of a run without its journal",
        breaks: |world| remove(&world.path("runs/small/journal.sqlite")),
        command: &["compare", "runs/small"],
        code: BAD_INPUT,
        says: &["run `runs/small` cannot be compared", "journal.sqlite"],
    },
    Case {
        name: "run directory of another run",
        breaks: nothing,
        command: &[
            "--resume",
            "--set",
            "run.seed=5",
            "--set",
            "domain.0.prompt=driving in smog",
        ],
        code: BAD_INPUT,
        says: &[
            "runs/small` holds another run",
            "run.seed",
            "driving in smog",
            "give this run its own run.name",
        ],
    },
    Case {
        name: "resume with no workers",
        breaks: nothing,
        command: &["resume", "runs/small", "--workers", "0"],
        code: BAD_INPUT,
        says: &["`--workers`", "0 workers cannot train"],
    },
    Case {
        name: "predict before the run has a model",
        breaks: |world| remove(&adapted(world)),
        command: &[
            "predict",
            "--run",
            "runs/small",
            "--out",
            "out",
            "data/acdc/rgb_anon",
        ],
        code: BAD_INPUT,
        says: &[
            "run `runs/small` has no adapted model",
            "coordinator status runs/small",
        ],
    },
    Case {
        name: "predict of a folder without images",
        breaks: |world| std::fs::create_dir(world.path("empty")).unwrap(),
        command: &["predict", "--run", "runs/small", "--out", "out", "empty"],
        code: BAD_INPUT,
        says: &["no PNG or JPEG image below `empty`", "give PNG or JPEG images"],
    },
    Case {
        name: "predict of two images of one name",
        breaks: |world| {
            copy_image(world, "one/street.png");
            copy_image(world, "two/street.png");
        },
        command: &["predict", "--run", "runs/small", "--out", "out", "one", "two"],
        code: BAD_INPUT,
        says: &[
            "`one/street.png` and `two/street.png` would both be written as `street`",
            "different folders",
        ],
    },
    Case {
        name: "predict with a damaged model",
        breaks: |world| cut(&adapted(world), 100_000),
        command: &[
            "predict",
            "--run",
            "runs/small",
            "--out",
            "out",
            "data/acdc/rgb_anon",
        ],
        code: BAD_INPUT,
        says: &["adapted.safetensors`", "is it cut short?"],
    },
    Case {
        name: "export of a damaged model",
        breaks: |world| cut(&adapted(world), 100_000),
        command: &["export", "small", "--format", "onnx"],
        code: BAD_INPUT,
        says: &["adapted.safetensors`", "is it cut short?"],
    },
    Case {
        name: "export of a damaged style bank",
        breaks: |world| cut(&world.path("runs/small/styles/bank.safetensors"), 100),
        command: &["export", "small", "--format", "pickle-styles"],
        code: BAD_INPUT,
        says: &[
            "bank.safetensors` is not readable",
            "hint: name the styles/bank.safetensors",
        ],
    },
    Case {
        name: "segmentation model for CLIP",
        breaks: nothing,
        command: &[
            "--set",
            "run.name=other",
            "--set",
            "clip.checkpoint=runs/small/checkpoints/final/adapted.safetensors",
        ],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "attention pool",
            "hint: use CLIP's own checkpoint",
        ],
    },
    Case {
        name: "source checkpoint with missing tensors",
        breaks: |world| {
            patch(
                &adapted(world),
                b"\"classifier.classifier.0.weight",
                b"\"classifier.classifier.9.weight",
            );
        },
        command: &[
            "--set",
            "run.name=other",
            "--set",
            "pretrain.checkpoint=runs/small/checkpoints/final/adapted.safetensors",
        ],
        code: BAD_INPUT,
        says: &[
            "`pretrain.checkpoint`",
            "lacks 1 tensor",
            "classifier.classifier.0.weight",
            "hint:",
        ],
    },
];

#[test]
fn verbs_without_a_run() {
    hold(NO_RUN, World::new);
}

#[test]
fn verbs_on_a_finished_run() {
    hold(FINISHED, trained);
}

#[test]
fn predict_names_the_image_that_it_cannot_read_and_keeps_what_it_has_done() {
    let world = trained();
    copy_image(&world, "in/a.png");
    std::fs::write(world.path("in/b.png"), "no picture").unwrap();
    let failed = world
        .start(&["predict", "--run", "runs/small", "--out", "out", "in"])
        .finish()
        .expect(BAD_INPUT);
    assert!(
        failed.err.contains("in/b.png` is neither a png nor a jpeg file") && failed.err.contains("hint:"),
        "{}",
        failed.err
    );
    for kind in ["color", "labelIds", "overlay"] {
        assert!(world.path(&format!("out/a_{kind}.png")).is_file(), "{kind}");
        assert!(!world.path(&format!("out/b_{kind}.png")).exists(), "{kind}");
    }
}
