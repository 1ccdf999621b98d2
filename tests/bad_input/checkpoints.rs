//! CLIP's weights and source checkpoints.

use ulda_tests::{Program, World, binary};

use super::breaking::{cut, fixture, halve, patch, remove};
use super::case::{BAD_INPUT, Case, contents, hold, nothing};

const CLIP: &[Case] = &[
    Case {
        name: "no CLIP",
        breaks: |world| remove(&world.path("clip.safetensors")),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "clip.safetensors` does not exist",
            "name OpenAI's RN50.pt",
        ],
    },
    Case {
        name: "CLIP is a folder",
        breaks: nothing,
        command: &["--set", "clip.checkpoint=data"],
        code: BAD_INPUT,
        says: &["`clip.checkpoint`", "data` is a folder", "name OpenAI's RN50.pt"],
    },
    Case {
        name: "CLIP is a device",
        breaks: nothing,
        command: &["--set", "clip.checkpoint=/dev/zero"],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "`/dev/zero` is a pipe or a device, not a file",
        ],
    },
    Case {
        name: "CLIP is text",
        breaks: nothing,
        command: &["--set", "clip.checkpoint=run.toml"],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "run.toml` is not a checkpoint",
            "is it a complete download?",
        ],
    },
    Case {
        name: "empty CLIP",
        breaks: |world| cut(&world.path("clip.safetensors"), 0),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "clip.safetensors`",
            "is it a complete download?",
        ],
    },
    Case {
        name: "safetensors cut within a tensor",
        breaks: |world| halve(&world.path("clip.safetensors")),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "clip.safetensors` as safetensors",
            "is it cut short? copy or download it again",
        ],
    },
    Case {
        name: "safetensors cut within its header",
        breaks: |world| cut(&world.path("clip.safetensors"), 200),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "clip.safetensors` is cut short",
            "copy or download it again",
        ],
    },
    Case {
        name: "archive cut short",
        breaks: |world| {
            std::fs::copy(fixture("tiny_clip.pt"), world.path("RN50.pt")).unwrap();
            halve(&world.path("RN50.pt"));
        },
        command: &["--set", "clip.checkpoint=RN50.pt"],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "RN50.pt` is cut short",
            "copy or download it again",
        ],
    },
    Case {
        name: "weights with missing tensors",
        breaks: |world| {
            patch(
                &world.path("clip.safetensors"),
                b"\"visual.layer2.0.conv1",
                b"\"visual.layer9.0.conv1",
            )
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "lacks 1 tensor",
            "`visual.layer2.0.conv1.weight`",
            "hint:",
        ],
    },
    Case {
        name: "weights without a text tower",
        breaks: |world| {
            patch(
                &world.path("clip.safetensors"),
                b"\"token_embedding.weight",
                b"\"tokex_embedding.weight",
            )
        },
        command: &[],
        code: BAD_INPUT,
        says: &["`clip.checkpoint`", "`token_embedding.weight`", "hint:"],
    },
    Case {
        name: "CLIP without an image tower of the right kind",
        breaks: |world| patch(&world.path("clip.safetensors"), b"\"visual.", b"\"vision."),
        command: &[],
        code: BAD_INPUT,
        says: &["`clip.checkpoint`", "no ResNet image tower", "CLIP's RN50"],
    },
    Case {
        name: "a vision transformer",
        breaks: vision_transformer,
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`clip.checkpoint`",
            "clip.safetensors` is a vision transformer, and the backbones that work are CLIP's ResNets: RN50, RN101, \
             RN50x4, RN50x16 and RN50x64",
            "hint:",
        ],
    },
    Case {
        name: "a vision transformer, in the check",
        breaks: vision_transformer,
        command: &["check"],
        code: BAD_INPUT,
        says: &[
            "clip.checkpoint",
            "clip.safetensors` is a vision transformer, and the backbones that work are CLIP's ResNets: RN50, RN101, \
             RN50x4, RN50x16 and RN50x64",
            "hint:",
        ],
    },
];

/// Gives the CLIP a tensor that only vision transformers have.
fn vision_transformer(world: &World) {
    patch(
        &world.path("clip.safetensors"),
        b"\"visual.bn1.num_batches_tracked\"",
        b"\"visual.class_embedding________\"",
    );
}

const SOURCE: &[Case] = &[
    Case {
        name: "no source checkpoint of that name",
        breaks: nothing,
        command: &["--set", "pretrain.checkpoint=source.pth"],
        code: BAD_INPUT,
        says: &["`pretrain.checkpoint`", "source.pth", "hint:"],
    },
    Case {
        name: "source checkpoint is a device",
        breaks: nothing,
        command: &["--set", "pretrain.checkpoint=/dev/zero"],
        code: BAD_INPUT,
        says: &[
            "`pretrain.checkpoint`",
            "`/dev/zero` is a device, not a file",
            "name the checkpoint's file itself",
        ],
    },
    Case {
        name: "CLIP as source checkpoint",
        breaks: nothing,
        command: &["--set", "pretrain.checkpoint=clip.safetensors"],
        code: BAD_INPUT,
        says: &["`pretrain.checkpoint`", "clip.safetensors", "classifier", "hint:"],
    },
    Case {
        name: "source checkpoint of another width",
        breaks: |world| {
            std::fs::copy(fixture("tiny_source.pth"), world.path("source.pth")).unwrap();
            let mut miniature = std::process::Command::new(binary("worker"));
            miniature
                .args(["miniature-clip", "--resolution", "64", "--width", "16"])
                .arg(world.path("wide.safetensors"));
            let _ = Program::start(miniature).finish().expect(0);
        },
        command: &[
            "--set",
            "pretrain.checkpoint=source.pth",
            "--set",
            "clip.checkpoint=wide.safetensors",
        ],
        code: BAD_INPUT,
        says: &[
            "`pretrain.checkpoint`",
            "low-level channels",
            "trained on the same CLIP",
        ],
    },
    Case {
        name: "source checkpoint cut short",
        breaks: |world| {
            std::fs::copy(fixture("tiny_source.pth"), world.path("source.pth")).unwrap();
            halve(&world.path("source.pth"));
        },
        command: &["--set", "pretrain.checkpoint=source.pth"],
        code: BAD_INPUT,
        says: &[
            "`pretrain.checkpoint`",
            "source.pth` is cut short",
            "copy or download it again",
        ],
    },
];

/// A coordinator without workers of its own, as on a cluster, has no libtorch to look into the checkpoint.
#[test]
fn workers_that_nobody_launched_refuse_before_the_first_step_what_only_the_checkpoint_reveals() {
    let world = World::new();
    let arguments = ["--no-launch", "--http", "off", "--set", "simulate.scene_pool=8"];
    let mut run = world.start(&arguments);
    let address = run.wait_for("its address", |event| {
        let address = event.text("address");
        (event.text("message") == "serving").then(|| format!("https://{address}"))
    });
    let join = ["join", "--coordinator", &address, "--run", "small", "--slot", "0"];
    let mut worker = world.worker(&join);
    worker.args(["--credentials", "runs/small/credentials"]);
    let worker = Program::start(worker).finish().expect(BAD_INPUT);
    let refused = run.finish().expect(BAD_INPUT);
    for said in [worker.err, refused.err] {
        for words in ["simulate.scene_pool is 8", "was made for 16", "set it to 16"] {
            assert!(said.contains(words), "does not say `{words}`:\n{said}");
        }
        assert!(!said.contains("pretrain step"), "{said}");
    }
    assert_eq!(contents(&world.path("runs/small/checkpoints")).len(), 0);
}

#[test]
fn wrong_clip_weights() {
    hold(CLIP, World::new);
}

#[test]
fn wrong_source_checkpoints() {
    hold(SOURCE, World::new);
}
