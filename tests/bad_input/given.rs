//! Stages that are chosen, and models and runs that others start from.

use std::fs;
use std::path::PathBuf;

use ulda_tests::World;

use super::breaking::{fixture, remove};
use super::case::{BAD_INPUT, Case, USAGE, hold, nothing};
use super::runs::trained;

const NEXT: &str = "--set=run.name=next";

/// Adds a byte to a file of the finished run.
fn change(world: &World, file: &str) {
    let path: PathBuf = world.path("runs/small").join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(path, bytes).unwrap();
}

const ALONE: &[Case] = &[
    Case {
        name: "a stage that is none",
        breaks: nothing,
        command: &["--stages", "train"],
        code: USAGE,
        says: &["`train` is not a stage (pretrain, simulate, adapt, evaluate)"],
    },
    Case {
        name: "stages with a gap",
        breaks: nothing,
        command: &["check", "--stages", "pretrain,adapt"],
        code: USAGE,
        says: &["stages are named in order and without gaps, such as simulate,adapt"],
    },
    Case {
        name: "a run to start from, and no stages",
        breaks: nothing,
        command: &["--from", "runs/small"],
        code: USAGE,
        says: &["--stages <STAGES>"],
    },
    Case {
        name: "stages without what they begin with",
        breaks: nothing,
        command: &["--stages", "simulate,adapt"],
        code: BAD_INPUT,
        says: &[
            "--stages leaves pretrain out, and nothing replaces it",
            "name a run with --from, or set pretrain.checkpoint",
        ],
    },
    Case {
        name: "a stage that a key leaves out",
        breaks: nothing,
        command: &["--stages", "pretrain", "--set", "pretrain.checkpoint=source.pth"],
        code: BAD_INPUT,
        says: &[
            "--stages names pretrain, and `pretrain.checkpoint` leaves it out",
            "remove the key, or do not name the stage",
        ],
    },
    Case {
        name: "a run to start from that is none",
        breaks: nothing,
        command: &["--stages", "adapt", "--from", "data"],
        code: BAD_INPUT,
        says: &["`data`", "`coordinator list` shows the runs"],
    },
    Case {
        name: "an adapted model that does not exist",
        breaks: nothing,
        command: &["--set", "adapt.checkpoint=adapted.pth"],
        code: BAD_INPUT,
        says: &["`adapt.checkpoint`", "adapted.pth`", "correct the path"],
    },
    Case {
        name: "CLIP as an adapted model",
        breaks: nothing,
        command: &["check", "--set", "adapt.checkpoint=clip.safetensors"],
        code: BAD_INPUT,
        says: &["adapt.checkpoint", "clip.safetensors", "classifier"],
    },
    Case {
        name: "a training to go on with that does not exist",
        breaks: nothing,
        command: &["check", "--set", "pretrain.continue_from=latest.pth"],
        code: BAD_INPUT,
        says: &["pretrain.continue_from", "latest.pth`", "correct the path"],
    },
    Case {
        name: "a model alone as a training to go on with",
        breaks: |world| {
            fs::copy(fixture("tiny_source.safetensors"), world.path("latest.pth")).unwrap();
        },
        command: &["--set", "pretrain.continue_from=latest.pth"],
        code: BAD_INPUT,
        says: &[
            "`pretrain.continue_from`",
            "latest.pth` is of a model alone: it has no `optimizer_state`, so its training cannot go on",
            "name a checkpoint that the authors' scripts saved while they trained",
        ],
    },
    Case {
        name: "a training of adapt to go on with, and styles to learn without a source-only model",
        breaks: nothing,
        command: &["--set", "adapt.continue_from=adapted.pth"],
        code: BAD_INPUT,
        says: &[
            "`adapt.continue_from`: takes the place of pretrain",
            "needs a source-only model",
            "set pretrain.checkpoint",
        ],
    },
    Case {
        name: "a training of adapt in a run that is to pretrain",
        breaks: nothing,
        command: &[
            "--stages",
            "pretrain,simulate,adapt",
            "--set",
            "adapt.continue_from=adapted.pth",
        ],
        code: BAD_INPUT,
        says: &["--stages names pretrain, and `adapt.continue_from` leaves it out"],
    },
    Case {
        name: "an adapted model, and nothing to score it on",
        breaks: |world| world.leave_out("[[evaluate.set]]"),
        command: &["--set", "adapt.checkpoint=adapted.pth"],
        code: BAD_INPUT,
        says: &[
            "`run.end_after`: nothing is left to do",
            "add an `[[evaluate.set]]`",
        ],
    },
];

const AFTER_A_RUN: &[Case] = &[
    Case {
        name: "a model that was changed after its run",
        breaks: |world| change(world, "checkpoints/final/adapted.safetensors"),
        command: &["--stages", "evaluate", "--from", "small", NEXT],
        code: BAD_INPUT,
        says: &[
            "adapted.safetensors` has digest",
            "the run's manifest says",
            "it was changed after the run",
        ],
    },
    Case {
        name: "a bank that was changed after its run",
        breaks: |world| change(world, "styles/bank.safetensors"),
        command: &["check", "--stages", "adapt", "--from", "runs/small", NEXT],
        code: BAD_INPUT,
        says: &["bank.safetensors` has digest", "the run's manifest says"],
    },
    Case {
        name: "a run to start from without its model",
        breaks: |world| remove(&world.path("runs/small/checkpoints/final/source.safetensors")),
        command: &["--stages", "simulate", "--from", "small", NEXT],
        code: BAD_INPUT,
        says: &["run `small` has no source-only model", "coordinator status small"],
    },
    Case {
        name: "a run to start from, and all stages",
        breaks: nothing,
        command: &["--stages", "pretrain,simulate,adapt", "--from", "small", NEXT],
        code: BAD_INPUT,
        says: &[
            "--from takes nothing from another run, since --stages begins with pretrain",
            "leave --from out",
        ],
    },
    Case {
        name: "two models on different backbones",
        breaks: |world| {
            fs::copy(fixture("tiny_source.pth"), world.path("source.pth")).unwrap();
        },
        command: &[
            "--stages",
            "evaluate",
            "--from",
            "small",
            NEXT,
            "--set",
            "pretrain.checkpoint=source.pth",
        ],
        code: BAD_INPUT,
        says: &[
            "adapt.checkpoint and pretrain.checkpoint have different backbones",
            "score them in two runs",
        ],
    },
];

#[test]
fn wrong_stages_and_given_models() {
    hold(ALONE, World::new);
}

#[test]
fn wrong_runs_to_start_from() {
    hold(AFTER_A_RUN, trained);
}
