//! Values of keys of run.toml that cannot be.

use ulda_tests::World;

use super::breaking::edit;
use super::case::{BAD_INPUT, Case, hold, nothing};

const VALUES: &[Case] = &[
    Case {
        name: "no domains",
        breaks: |world| world.leave_out("[[domain]]"),
        command: &[],
        code: BAD_INPUT,
        says: &["`domain`: there is no target domain", "add `[[domain]]`"],
    },
    Case {
        name: "a stage after which no run ends",
        breaks: nothing,
        command: &["--set", "run.end_after=never"],
        code: BAD_INPUT,
        says: &[
            "`run.end_after` is the text \"never\"",
            "give \"pretrain\", \"simulate\" or \"adapt\"",
        ],
    },
    Case {
        name: "a run with nothing to do",
        breaks: |world| world.leave_out("[[evaluate.set]]"),
        command: &[
            "--set",
            "run.end_after=pretrain",
            "--set",
            "pretrain.checkpoint=source.pth",
        ],
        code: BAD_INPUT,
        says: &[
            "`run.end_after`",
            "nothing is left to do",
            "add an `[[evaluate.set]]`",
        ],
    },
    Case {
        name: "two domains of one name",
        breaks: |world| edit(world, "name = \"rain\"", "name = \"fog\""),
        command: &[],
        code: BAD_INPUT,
        says: &["`domain[2].name`: `fog` occurs twice", "its own name"],
    },
    Case {
        name: "empty prompt",
        breaks: nothing,
        command: &["--set", "domain.1.prompt= "],
        code: BAD_INPUT,
        says: &["`domain[1].prompt`: is empty", "describe the domain"],
    },
    Case {
        name: "no sentence among a domain's prompts",
        breaks: nothing,
        command: &["--set", "domain.1.prompt=[]"],
        code: BAD_INPUT,
        says: &["`domain[1].prompt`: is empty", "describe the domain"],
    },
    Case {
        name: "one of several prompts of more than 77 tokens",
        breaks: |world| {
            let long = "driving at night ".repeat(30);
            edit(
                world,
                "prompt = \"driving at night\"",
                &format!("prompt = [\"driving at dusk\", \"{long}\"]"),
            );
        },
        command: &[],
        code: BAD_INPUT,
        says: &["`domain[1].prompt`", "tokens", "CLIP reads 77", "shorten it"],
    },
    Case {
        name: "templates of no publication",
        breaks: nothing,
        command: &["--set", "text.templates=clip"],
        code: BAD_INPUT,
        says: &[
            "`text.templates` is the text \"clip\"",
            "give \"ulda\", \"imagenet\", or a list of texts",
        ],
    },
    Case {
        name: "templates without a place for the prompt",
        breaks: nothing,
        command: &["--set", "text.templates=[\"a photo of a {}.\", \"a photo\"]"],
        code: BAD_INPUT,
        says: &[
            "`text.templates`: `a photo` does not have {} once",
            "give sentences such as",
        ],
    },
    Case {
        name: "an empty list of templates",
        breaks: nothing,
        command: &["--set", "text.templates=[]"],
        code: BAD_INPUT,
        says: &["`text.templates`: is empty"],
    },
    Case {
        name: "prompt of more than 77 tokens",
        breaks: |world| edit(world, "driving at night", &"driving at night ".repeat(30)),
        command: &[],
        code: BAD_INPUT,
        says: &["`domain[1].prompt`", "tokens", "CLIP reads 77", "shorten it"],
    },
    Case {
        name: "learning rate that is no number",
        breaks: nothing,
        command: &["--set", "adapt.lr_head=nan"],
        code: BAD_INPUT,
        says: &["`adapt.lr_head`: is nan", "give a number of 0 or more"],
    },
    Case {
        name: "negative and infinite learning rates, all told at once",
        breaks: nothing,
        command: &[
            "--set",
            "pretrain.lr=-0.1",
            "--set",
            "simulate.lr_pin=inf",
            "--set",
            "adapt.momentum=1.5",
        ],
        code: BAD_INPUT,
        says: &[
            "3 problems found",
            "`pretrain.lr`: is -0.1",
            "`simulate.lr_pin`: is inf",
            "`adapt.momentum`: is 1.5",
            "0 to 1",
        ],
    },
    Case {
        name: "more styles per step than there are",
        breaks: nothing,
        command: &["--set", "adapt.batch=40"],
        code: BAD_INPUT,
        says: &["`adapt.batch`", "simulate makes 32", "lower adapt.batch"],
    },
    Case {
        name: "lanes that do not fit the shards",
        breaks: nothing,
        command: &["--set", "simulate.prompt_groups=4"],
        code: BAD_INPUT,
        says: &["2 data shards × 4 prompt groups", "4 shards", "raise run.shards"],
    },
    Case {
        name: "lanes beyond counting",
        breaks: nothing,
        command: &["--set", "simulate.data_shards=4000000000"],
        code: BAD_INPUT,
        says: &["`simulate.data_shards`", "raise run.shards"],
    },
    Case {
        name: "batches that do not divide",
        breaks: nothing,
        command: &["--set", "simulate.batches=5"],
        code: BAD_INPUT,
        says: &[
            "`simulate.batches`",
            "5 batches do not divide over 2 data shards",
            "a multiple",
        ],
    },
    Case {
        name: "batches beyond counting",
        breaks: nothing,
        command: &["--set", "simulate.batches=9223372036854775806"],
        code: BAD_INPUT,
        says: &[
            "`run.directory`",
            "MiB free, and the run needs about",
            "hint: free some",
        ],
    },
    Case {
        name: "more prompt groups than domains",
        breaks: nothing,
        command: &["--set", "run.shards=16", "--set", "simulate.prompt_groups=5"],
        code: BAD_INPUT,
        says: &[
            "`simulate.prompt_groups`: 5 groups for 4 domains",
            "at most as many",
        ],
    },
    Case {
        name: "no domain at once",
        breaks: nothing,
        command: &["--set", "simulate.domains_at_once=0"],
        code: BAD_INPUT,
        says: &["`simulate.domains_at_once`: is 0", "a whole number of 1 or more"],
    },
    Case {
        name: "one image where BatchNorm needs two",
        breaks: nothing,
        command: &["--set", "pretrain.batch=1"],
        code: BAD_INPUT,
        says: &["`pretrain.batch`: is 1", "give at least 2"],
    },
    Case {
        name: "scene pool that no attention pool has",
        breaks: nothing,
        command: &["--set", "simulate.scene_pool=20"],
        code: BAD_INPUT,
        says: &["`simulate.scene_pool`: is 20", "a multiple of 8"],
    },
    Case {
        name: "scene pool of another CLIP",
        breaks: nothing,
        command: &["--set", "simulate.scene_pool=56"],
        code: BAD_INPUT,
        says: &["`simulate.scene_pool`", "was made for 16", "set it to 16"],
    },
    Case {
        name: "scene pool of a feature that is not resized",
        breaks: nothing,
        command: &["--set", "simulate.resize_feature=false"],
        code: BAD_INPUT,
        says: &[
            "`simulate.scene_pool`: is 16, and simulate.resize_feature is false",
            "remove one of the two",
        ],
    },
    Case {
        name: "whole feature that the attention pool does not take",
        breaks: |world| edit(world, "scene_pool = 16", "resize_feature = false"),
        command: &["--set", "simulate.crop=48"],
        code: BAD_INPUT,
        says: &[
            "`simulate.crop`: is 48",
            "it was made for crops of 64",
            "set it to 64, or simulate.resize_feature to true",
        ],
    },
    Case {
        name: "switches that are neither on nor off",
        breaks: nothing,
        command: &[
            "--set",
            "simulate.resize_feature=56",
            "--set",
            "adapt.mix=0.5",
            "--set",
            "adapt.augment=flip",
        ],
        code: BAD_INPUT,
        says: &[
            "`simulate.resize_feature` is 56",
            "`adapt.mix` is 0.5",
            "`adapt.augment` is the text \"flip\"",
            "give true or false",
        ],
    },
    Case {
        name: "losses and schedules of no publication",
        breaks: nothing,
        command: &[
            "--set",
            "pretrain.loss.kind=focal",
            "--set",
            "adapt.loss.kind=dice",
            "--set",
            "pretrain.lr_policy=cosine",
            "--set",
            "adapt.lr_policy=exp",
        ],
        code: BAD_INPUT,
        says: &[
            "`pretrain.loss.kind` is the text \"focal\"",
            "`adapt.loss.kind` is the text \"dice\"",
            "give \"cross_entropy\" or \"focal_loss\"",
            "`pretrain.lr_policy` is the text \"cosine\"",
            "`adapt.lr_policy` is the text \"exp\"",
            "give \"poly\" or \"step\"",
        ],
    },
    Case {
        name: "a schedule without steps and a focal loss below nothing",
        breaks: nothing,
        command: &[
            "--set",
            "pretrain.step_size=0",
            "--set",
            "adapt.step_size=0",
            "--set",
            "pretrain.loss.kind=focal_loss",
            "--set",
            "pretrain.loss.gamma=-1.0",
            "--set",
            "adapt.loss.kind=focal_loss",
            "--set",
            "adapt.loss.alpha=inf",
        ],
        code: BAD_INPUT,
        says: &[
            "`pretrain.step_size`: is 0",
            "`adapt.step_size`: is 0",
            "`pretrain.loss.gamma`: is -1",
            "`adapt.loss.alpha`: is inf",
        ],
    },
    Case {
        name: "settings of the focal loss beside a cross-entropy",
        breaks: nothing,
        command: &[
            "--set",
            "pretrain.loss.alpha=0.25",
            "--set",
            "adapt.loss.gamma=2.0",
        ],
        code: BAD_INPUT,
        says: &[
            "`pretrain.loss.alpha`: is 0.25, and pretrain.loss.kind is cross_entropy, which has none",
            "`adapt.loss.gamma`: is 2, and adapt.loss.kind is cross_entropy, which has none",
            "set adapt.loss.kind = \"focal_loss\"",
        ],
    },
    Case {
        name: "crop below the network's stride",
        breaks: nothing,
        command: &["--set", "simulate.crop=16"],
        code: BAD_INPUT,
        says: &["`simulate.crop`: is 16", "give a whole number of 32 or more"],
    },
    Case {
        name: "target data as source",
        breaks: nothing,
        command: &["--set", "source.layout=acdc"],
        code: BAD_INPUT,
        says: &[
            "`source.layout`: acdc is not a source",
            "use cityscapes, gta5 or files",
        ],
    },
    Case {
        name: "unknown weather",
        breaks: nothing,
        command: &["--set", "evaluate.set.0.condition=hail"],
        code: BAD_INPUT,
        says: &[
            "`evaluate.set[0].condition`: is `hail`",
            "fog, night, rain or snow",
        ],
    },
    Case {
        name: "weather where there is none",
        breaks: nothing,
        command: &["--set", "evaluate.set.0.layout=cityscapes"],
        code: BAD_INPUT,
        says: &["`evaluate.set[0].condition`"],
    },
    Case {
        name: "run name that leads elsewhere",
        breaks: nothing,
        command: &["--set", "run.name=../elsewhere"],
        code: BAD_INPUT,
        says: &[
            "`run.name` holds `/`",
            "give a name of at most 100 ASCII letters, digits, `-`, `_` and `.`",
        ],
    },
    Case {
        name: "evaluation set whose pictures would go elsewhere",
        breaks: nothing,
        command: &["--set", "evaluate.set.0.name=../../elsewhere"],
        code: BAD_INPUT,
        says: &["`evaluate.set.0.name` holds `/`", "give a name of at most 100"],
    },
    Case {
        name: "names that are no file names",
        breaks: |world| {
            edit(world, "name = \"rain\"", "name = \"..\"");
            edit(world, "name = \"snow\"", "name = \"a\\u0000b\"");
            edit(
                world,
                "name = \"fog\"",
                &format!("name = \"{}\"", "f".repeat(300)),
            );
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`domain[0].name` has 300 bytes",
            "`domain[2].name` starts with `.`",
            "`domain[3].name` holds `\\0`",
            "give a name of at most 100",
        ],
    },
    Case {
        name: "two domains whose folders are one where case does not count",
        breaks: |world| edit(world, "name = \"rain\"", "name = \"FOG\""),
        command: &[],
        code: BAD_INPUT,
        says: &["`domain[2].name`: `FOG` occurs twice", "its own name"],
    },
    Case {
        name: "no shards",
        breaks: nothing,
        command: &["--set", "run.shards=0"],
        code: BAD_INPUT,
        says: &["`run.shards`: is 0", "give a whole number of 1 to 1024"],
    },
    Case {
        name: "more than any machine has",
        breaks: nothing,
        command: &[
            "--set",
            "run.shards=4000000000",
            "--set",
            "run.threads_per_shard=4000000000",
            "--set",
            "pretrain.batch=4000000000",
        ],
        code: BAD_INPUT,
        says: &[
            "3 problems found",
            "`run.shards`: is 4000000000",
            "`run.threads_per_shard`: is 4000000000",
            "`pretrain.batch`: is 4000000000",
            "give a whole number of 1 to 1024",
        ],
    },
    Case {
        name: "a deadline without end",
        breaks: nothing,
        command: &["--set", "deadline.collective=inf"],
        code: BAD_INPUT,
        says: &["`deadline.collective`: is inf"],
    },
    Case {
        name: "nothing kept to resume from",
        breaks: nothing,
        command: &["--set", "checkpoint.keep=0"],
        code: BAD_INPUT,
        says: &["`checkpoint.keep`: is 0", "give a whole number of 1 or more"],
    },
    Case {
        name: "a negative time between checkpoints",
        breaks: nothing,
        command: &["--set", "checkpoint.every_seconds=-1"],
        code: BAD_INPUT,
        says: &["`checkpoint.every_seconds`: is -1"],
    },
];

#[test]
fn wrong_values() {
    hold(VALUES, World::new);
}
