//! One value out of its range, or of another type, per row; each is refused with the key, the value and the whole range.

use ulda_tests::World;

use super::case::{BAD_INPUT, Case, hold, nothing};

const fn row(command: &'static [&'static str; 2], says: &'static [&'static str; 3]) -> Case {
    Case {
        name: command[1],
        breaks: nothing,
        command,
        code: BAD_INPUT,
        says,
    }
}

const RANGES: &[Case] = &[
    row(
        &["--set", "run.seed=-1"],
        &["`run.seed`", "is -1", "give a whole number of 0 or more"],
    ),
    row(
        &["--set", "run.seed=1.5"],
        &["`run.seed`", "is 1.5", "give a whole number of 0 or more"],
    ),
    row(
        &["--set", "pretrain.dropout=1.0"],
        &["`pretrain.dropout`", "is 1.0", "give a number of 0 to 0.99"],
    ),
    row(
        &["--set", "adapt.dropout=-0.1"],
        &["`adapt.dropout`", "is -0.1", "give a number of 0 to 0.99"],
    ),
    row(
        &["--set", "simulate.dropout=nan"],
        &["`simulate.dropout`", "is nan", "give a number of 0 to 0.99"],
    ),
    row(
        &["--set", "pretrain.flip=1.5"],
        &["`pretrain.flip`", "is 1.5", "give a number of 0 to 1"],
    ),
    row(
        &["--set", "pretrain.jitter.brightness=2.0"],
        &[
            "`pretrain.jitter.brightness`",
            "is 2.0",
            "give a number of 0 to 1",
        ],
    ),
    row(
        &["--set", "pretrain.jitter.contrast=-0.5"],
        &["`pretrain.jitter.contrast`", "is -0.5", "give a number of 0 to 1"],
    ),
    row(
        &["--set", "simulate.iterations=0"],
        &[
            "`simulate.iterations`",
            "is 0",
            "give a whole number of 1 or more",
        ],
    ),
    row(
        &["--set", "simulate.lambda_scene=1"],
        &[
            "`simulate.lambda_scene`",
            "is not a key of a run.toml",
            "the nearest known key is `simulate.lambda_seg`",
        ],
    ),
    row(
        &["--set", "simulate.lambda_cross=-1.0"],
        &["`simulate.lambda_cross`", "is -1.0", "give a number of 0 or more"],
    ),
    row(
        &["--set", "simulate.lambda_pixel=inf"],
        &["`simulate.lambda_pixel`", "is inf", "give a number of 0 or more"],
    ),
    row(
        &["--set", "simulate.weight_decay=-0.0001"],
        &[
            "`simulate.weight_decay`",
            "is -0.0001",
            "give a number of 0 or more",
        ],
    ),
    row(
        &["--set", "simulate.projector_hidden=0"],
        &[
            "`simulate.projector_hidden`",
            "is 0",
            "give a whole number of 1 or more",
        ],
    ),
    row(
        &["--set", "adapt.lr_floor=-1.0"],
        &["`adapt.lr_floor`", "is -1.0", "give a number of 0 or more"],
    ),
    row(
        &["--set", "adapt.poly_power=nan"],
        &["`adapt.poly_power`", "is nan", "give a number of 0 or more"],
    ),
    row(
        &["--set", "adapt.crop=31"],
        &["`adapt.crop`", "is 31", "give a whole number of 32 or more"],
    ),
    row(
        &["--set", "pretrain.head_channels=0"],
        &[
            "`pretrain.head_channels`",
            "is 0",
            "give a whole number of 1 or more",
        ],
    ),
    row(
        &["--set", "evaluate.examples=-1"],
        &["`evaluate.examples`", "is -1", "give a whole number of 0 or more"],
    ),
    row(
        &["--set", "evaluate.examples=many"],
        &[
            "`evaluate.examples`",
            "is the text \"many\"",
            "give a whole number of 0 or more",
        ],
    ),
    row(
        &["--set", "checkpoint.every=0"],
        &["`checkpoint.every`", "is 0", "give a whole number of 1 or more"],
    ),
    row(
        &["--set", "deadline.heartbeat=0.0"],
        &[
            "`deadline.heartbeat`",
            "is 0.0",
            "give a number of 0.1 to 1000000",
        ],
    ),
    row(
        &["--set", "deadline.form=-1.0"],
        &["`deadline.form`", "is -1.0", "give a number of 0.1 to 1000000"],
    ),
    row(
        &["--set", "deadline.nccl=nan"],
        &["`deadline.nccl`", "is nan", "give a number of 0.1 to 1000000"],
    ),
    row(
        &["--set", "deadline.gather=1e9"],
        &[
            "`deadline.gather`",
            "is 1000000000.0",
            "give a number of 0.1 to 1000000",
        ],
    ),
    row(
        &["--set", "recovery.min_workers=0"],
        &[
            "`recovery.min_workers`",
            "is 0",
            "give a whole number of 1 or more",
        ],
    ),
    row(
        &["--set", "recovery.restarts=-1"],
        &["`recovery.restarts`", "is -1", "give a whole number of 0 or more"],
    ),
    row(
        &["--set", "recovery.window=nan"],
        &["`recovery.window`", "is nan", "give a number of 0 to 1000000"],
    ),
    row(
        &["--set", "recovery.grace=-2.0"],
        &["`recovery.grace`", "is -2.0", "give a number of 0 to 1000000"],
    ),
    row(
        &["--set", "compute.precision=fp8"],
        &[
            "`compute.precision`",
            "is the text \"fp8\"",
            "give \"fp32\", \"tf32\" or \"bf16\"",
        ],
    ),
    row(
        &["--set", "compute.device=tpu"],
        &[
            "`compute.device`",
            "is the text \"tpu\"",
            "give \"auto\", \"cpu\" or \"cuda\"",
        ],
    ),
    row(
        &["--set", "compute.collective=mpi"],
        &[
            "`compute.collective`",
            "is the text \"mpi\"",
            "give \"auto\", \"tcp\" or \"nccl\"",
        ],
    ),
    row(
        &["--set", "storage.url=ftp://bucket/runs"],
        &[
            "`storage.url`",
            "`ftp` is not a storage that is known",
            "write s3://BUCKET/PREFIX or file:///FOLDER",
        ],
    ),
    row(
        &["--set", "storage.request=0.0"],
        &["`storage.request`", "is 0.0", "give a number of 0.1 to 1000000"],
    ),
    row(
        &["--set", "simulate.styles=photo"],
        &[
            "`simulate.styles`",
            "is the text \"photo\"",
            "give \"learned\", \"content\", \"images\" or \"bank\"",
        ],
    ),
    row(
        &["--set", "adapt.draw=twice"],
        &[
            "`adapt.draw`",
            "is the text \"twice\"",
            "give \"different\", \"any\" or \"own\"",
        ],
    ),
    row(
        &["--set", "adapt.rectifier=1"],
        &["`adapt.rectifier`", "is 1", "give true or false"],
    ),
    row(
        &["--set", "adapt.scale_init=inf"],
        &["`adapt.scale_init`", "is inf", "give a number of 0 or more"],
    ),
];

#[test]
fn values_out_of_range() {
    hold(RANGES, World::new);
}
