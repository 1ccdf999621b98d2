//! The command line and the run.toml.

use ulda_tests::World;

use super::breaking::{edit, remove};
use super::case::{BAD_INPUT, Case, USAGE, hold, nothing};

const COMMAND_LINES: &[Case] = &[
    Case {
        name: "no workers",
        breaks: nothing,
        command: &["--workers", "0"],
        code: BAD_INPUT,
        says: &["`--workers`", "0 workers cannot train", "give at least 1"],
    },
    Case {
        name: "fewer workers than a run may have",
        breaks: nothing,
        command: &["--workers", "1", "--set", "recovery.min_workers=2"],
        code: BAD_INPUT,
        says: &["--workers 1", "recovery.min_workers = 2", "hint:"],
    },
    Case {
        name: "more workers than a run may have",
        breaks: nothing,
        command: &["--workers", "3", "--set", "recovery.max_workers=2"],
        code: BAD_INPUT,
        says: &["--workers 3", "recovery.max_workers = 2", "hint:"],
    },
    Case {
        name: "more workers needed than can have work",
        breaks: nothing,
        command: &["--set", "recovery.min_workers=5"],
        code: BAD_INPUT,
        says: &[
            "recovery.min_workers",
            "5 workers are needed, but 4 shards give work to 4 at most",
        ],
    },
    Case {
        name: "workers in words",
        breaks: nothing,
        command: &["--workers", "two"],
        code: USAGE,
        says: &["invalid value 'two' for '--workers", "--help"],
    },
    Case {
        name: "unknown verb",
        breaks: nothing,
        command: &["trian"],
        code: USAGE,
        says: &["unrecognized subcommand 'trian'", "train"],
    },
    Case {
        name: "set without a value",
        breaks: nothing,
        command: &["--set", "adapt.steps"],
        code: USAGE,
        says: &["`adapt.steps` is not of the form key=value", "adapt.steps=500"],
    },
    Case {
        name: "set without a key",
        breaks: nothing,
        command: &["--set", "=5"],
        code: USAGE,
        says: &["`=5` is not of the form key=value"],
    },
    Case {
        name: "rate of a run that is not dry",
        breaks: nothing,
        command: &["--gflops", "5"],
        code: USAGE,
        says: &["--dry-run"],
    },
    Case {
        name: "rate of nothing",
        breaks: nothing,
        command: &["--dry-run", "--gflops", "0"],
        code: USAGE,
        says: &["invalid value '0' for '--gflops", "no number above 0"],
    },
    Case {
        name: "dry run of a run that goes on",
        breaks: nothing,
        command: &["--dry-run", "--resume"],
        code: USAGE,
        says: &["'--dry-run' cannot be used with '--resume'"],
    },
    Case {
        name: "listen without a port",
        breaks: nothing,
        command: &["--listen", "here"],
        code: USAGE,
        says: &["invalid value 'here' for '--listen"],
    },
    Case {
        name: "predict without a folder for the results",
        breaks: nothing,
        command: &["predict", "--model", "m.safetensors", "data"],
        code: USAGE,
        says: &["--out <DIR>"],
    },
    Case {
        name: "predict with a crop below the network's stride",
        breaks: nothing,
        command: &[
            "predict",
            "--model",
            "m.safetensors",
            "--out",
            "o",
            "--crop",
            "8",
            "data",
        ],
        code: USAGE,
        says: &["invalid value '8' for '--crop <PIXELS>'", "32..=16384"],
    },
    Case {
        name: "unknown key",
        breaks: nothing,
        command: &["--set", "adapt.stpes=3"],
        code: BAD_INPUT,
        says: &[
            "--set: `adapt.stpes` is not a key",
            "the nearest known key is `adapt.steps`",
        ],
    },
    Case {
        name: "wrong type",
        breaks: nothing,
        command: &["--set", "adapt.rectifier=maybe", "--set", "adapt.steps=1.5"],
        code: BAD_INPUT,
        says: &[
            "`adapt.rectifier` is the text \"maybe\"",
            "give true or false",
            "`adapt.steps` is 1.5",
            "a whole number",
        ],
    },
    Case {
        name: "domain that is not there",
        breaks: nothing,
        command: &["--set", "domain.9.prompt=x"],
        code: BAD_INPUT,
        says: &["`domain.9.prompt`", "4 items", "counting from 0"],
    },
];

/// Lets the run.toml extend a base.toml of this text.
fn extend(world: &World, base: &str) {
    std::fs::write(world.path("base.toml"), base).unwrap();
    edit(world, "\n[run]", "extends = \"base.toml\"\n[run]");
}

const FILES: &[Case] = &[
    Case {
        name: "no configuration of that name",
        breaks: nothing,
        command: &["--config", "none.toml"],
        code: BAD_INPUT,
        says: &[
            "configuration `none.toml` does not exist",
            "coordinator init none.toml",
        ],
    },
    Case {
        name: "configuration is a folder",
        breaks: nothing,
        command: &["--config", "data"],
        code: BAD_INPUT,
        says: &["configuration `data`", "is a folder", "name a run.toml"],
    },
    Case {
        name: "configuration is not text",
        breaks: nothing,
        command: &["--config", "clip.safetensors"],
        code: BAD_INPUT,
        says: &[
            "configuration `clip.safetensors`",
            "at most 4194304 are read",
            "name a run.toml",
        ],
    },
    Case {
        name: "configuration is not TOML",
        breaks: |world| edit(world, "steps = 6", "steps : 6"),
        command: &[],
        code: BAD_INPUT,
        says: &["configuration `run.toml` is not TOML", "line 31", "steps : 6"],
    },
    Case {
        name: "no configuration at all",
        breaks: |world| remove(&world.path("run.toml")),
        command: &["--workers", "2"],
        code: BAD_INPUT,
        says: &["`clip.checkpoint`", "`source.root`", "there is no target domain"],
    },
    Case {
        name: "unknown section",
        breaks: |world| edit(world, "[simulate]", "[stimulate]"),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "run.toml:37: `stimulate` is not a key",
            "the nearest known key is `simulate`",
        ],
    },
    Case {
        name: "a list where one section is meant",
        breaks: |world| edit(world, "[clip]", "[[clip]]"),
        command: &[],
        code: BAD_INPUT,
        says: &["run.toml:8: `clip` is a list", "a section"],
    },
    Case {
        name: "a value out of range in the file that is extended",
        breaks: |world| extend(world, "[adapt]\n\nstep_size = 0\n"),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`adapt.step_size`: is 0 (set in base.toml:3)",
            "give a whole number of 1 or more",
        ],
    },
    Case {
        name: "a file that is extended does not exist",
        breaks: |world| edit(world, "\n[run]", "extends = \"none.toml\"\n[run]"),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "run.toml:1: `extends` names a file that cannot be used",
            "configuration `none.toml` does not exist",
            "relative to the file that says it",
        ],
    },
    Case {
        name: "a folder is extended",
        breaks: |world| edit(world, "\n[run]", "extends = \"data\"\n[run]"),
        command: &[],
        code: BAD_INPUT,
        says: &["configuration `data` is a folder", "name a file of TOML"],
    },
    Case {
        name: "a device is extended",
        breaks: |world| edit(world, "\n[run]", "extends = \"/dev/zero\"\n[run]"),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "configuration `/dev/zero`: it is a device, not a file",
            "name a file of TOML",
        ],
    },
    Case {
        name: "a file extends itself",
        breaks: |world| edit(world, "\n[run]", "extends = [\"run.toml\"]\n[run]"),
        command: &["check"],
        code: BAD_INPUT,
        says: &[
            "extend each other in a circle: `run.toml`, then `run.toml`",
            "remove one of these `extends`",
        ],
    },
    Case {
        name: "extends is a number",
        breaks: |world| edit(world, "\n[run]", "extends = 3\n[run]"),
        command: &["train", "--dry-run"],
        code: BAD_INPUT,
        says: &["run.toml:1: `extends` is 3", "give the path of a file in quotes"],
    },
    Case {
        name: "extends below a section",
        breaks: |world| edit(world, "[adapt]", "[adapt]\nextends = \"base.toml\""),
        command: &[],
        code: BAD_INPUT,
        says: &["`adapt.extends` is not a key", "before its first section"],
    },
    Case {
        name: "an unknown key in a file that is extended",
        breaks: |world| extend(world, "[adapt]\nstpes = 3\n"),
        command: &["submit", "--workers", "1", "--image", "x"],
        code: BAD_INPUT,
        says: &["base.toml:2: `adapt.stpes` is not a key", "`adapt.steps`"],
    },
    Case {
        name: "dry run of what check refuses",
        breaks: nothing,
        command: &["train", "--dry-run", "--set", "simulate.scene_pool=8"],
        code: BAD_INPUT,
        says: &["`simulate.scene_pool`: is 8", "set it to 16"],
    },
    Case {
        name: "domain without a prompt",
        breaks: |world| edit(world, "prompt = \"driving in fog\"", ""),
        command: &[],
        code: BAD_INPUT,
        says: &["`domain[0].prompt` is missing", "give a text"],
    },
];

#[test]
fn wrong_command_lines() {
    hold(COMMAND_LINES, World::new);
}

#[test]
fn wrong_configuration_files() {
    hold(FILES, World::new);
}
