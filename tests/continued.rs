//! Stages that go on with a training of the authors' scripts: a `.pth` with a model, the momentum of its head and a number of
//! steps.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use ulda_tests::{Json, World, tensor_bytes};
use zip::write::SimpleFileOptions;

const SOURCE: &str = "checkpoints/final/source.safetensors";
const ADAPTED: &str = "checkpoints/final/adapted.safetensors";

/// Layers of the authors' `DeepLabHeadV3Plus`, each a convolution without bias and a BatchNorm, in the order in which its
/// `parameters()` come.
const LAYERS: [[&str; 2]; 8] = [
    ["project.0", "project.1"],
    ["aspp.convs.0.0", "aspp.convs.0.1"],
    ["aspp.convs.1.0", "aspp.convs.1.1"],
    ["aspp.convs.2.0", "aspp.convs.2.1"],
    ["aspp.convs.3.0", "aspp.convs.3.1"],
    ["aspp.convs.4.1", "aspp.convs.4.2"],
    ["aspp.project.0", "aspp.project.1"],
    ["classifier.0", "classifier.1"],
];

fn parameters() -> Vec<String> {
    let inner = LAYERS.iter().flat_map(|[convolution, norm]| {
        [
            format!("classifier.{convolution}.weight"),
            format!("classifier.{norm}.weight"),
            format!("classifier.{norm}.bias"),
        ]
    });
    let last = ["weight", "bias"].map(|part| format!("classifier.classifier.3.{part}"));
    inner.chain(last).collect()
}

/// A tensor of a safetensors file.
struct Stored {
    kind: String,
    size: Vec<i64>,
    bytes: Vec<u8>,
}

impl Stored {
    fn floats(&self) -> Vec<f32> {
        let parts = self.bytes.chunks_exact(4);
        parts
            .map(|part| f32::from_le_bytes(part.try_into().unwrap()))
            .collect()
    }
}

fn model(path: &Path) -> BTreeMap<String, Stored> {
    let bytes = std::fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let read = |about: &Value| {
        let whole = |value: &Value| value.as_i64().unwrap();
        let place = |at: usize| usize::try_from(whole(&about["data_offsets"][at])).unwrap();
        Stored {
            kind: about["dtype"].as_str().unwrap().to_owned(),
            size: about["shape"].as_array().unwrap().iter().map(whole).collect(),
            bytes: data[place(0)..place(1)].to_vec(),
        }
    };
    tensors.map(|(name, about)| (name, read(&about))).collect()
}

/// Operations of a pickle that push a value; protocol 2.
mod pickled {
    pub fn text(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    pub fn int(number: i64) -> Vec<u8> {
        [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
    }

    pub fn float(number: f64) -> Vec<u8> {
        [b"G", &number.to_be_bytes()[..]].concat()
    }

    pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
        [b"(", &items.concat()[..], b"t"].concat()
    }

    pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
        [b"](", &items.concat()[..], b"e"].concat()
    }

    pub fn dict(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<u8> = entries
            .iter()
            .flat_map(|(key, value)| [&key[..], value].concat())
            .collect();
        [b"}(", &entries[..], b"u"].concat()
    }
}

/// An archive as `torch.save` writes it.
struct Archive {
    zip: zip::ZipWriter<std::fs::File>,
    storages: usize,
}

impl Archive {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        self.zip.start_file(format!("archive/{name}"), stored).unwrap();
        self.zip.write_all(bytes).unwrap();
    }

    fn tensor(&mut self, tensor: &Stored) -> Vec<u8> {
        use pickled::{int, text, tuple};
        let key = self.storages.to_string();
        self.storages += 1;
        self.add(&format!("data/{key}"), &tensor.bytes);
        let (class, width) = match tensor.kind.as_str() {
            "F32" => ("FloatStorage", 4),
            "I64" => ("LongStorage", 8),
            other => panic!("a model has a tensor of {other}"),
        };
        let count = (tensor.bytes.len() / width) as i64;
        let class = format!("ctorch\n{class}\n").into_bytes();
        let storage = [text("storage"), class, text(&key), text("cuda:0"), int(count)];
        let mut strides = vec![1; tensor.size.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.size[axis];
        }
        let numbers = |all: &[i64]| tuple(&all.iter().map(|number| int(*number)).collect::<Vec<_>>());
        let parts = [
            [tuple(&storage), b"Q".to_vec()].concat(),
            int(0),
            numbers(&tensor.size),
            numbers(&strides),
            b"\x89".to_vec(),
            b"ccollections\nOrderedDict\n)R".to_vec(),
        ];
        [&b"ctorch._utils\n_rebuild_tensor_v2\n"[..], &tuple(&parts), b"R"].concat()
    }
}

/// Momentum of the parameter at `place`, in all its elements.
fn momentum(place: usize) -> f32 {
    0.01 * (place + 1) as f32
}

/// Writes what the authors' `save_ckpt` would have saved after four steps of twenty with the model at `from`, wrapped in
/// `DataParallel`; its momentum is `factor` times [`momentum`].
fn write_training(from: &Path, to: &Path, factor: f32) {
    use pickled::{dict, float, int, list, text};
    let mut archive = Archive {
        zip: zip::ZipWriter::new(std::fs::File::create(to).unwrap()),
        storages: 0,
    };
    let model = model(from);
    let mut state = Vec::new();
    for (name, tensor) in &model {
        state.push((text(&format!("module.{name}")), archive.tensor(tensor)));
    }
    let mut buffers = Vec::new();
    for (place, name) in parameters().iter().enumerate() {
        let size = model[name].size.clone();
        let count = usize::try_from(size.iter().product::<i64>()).unwrap();
        let buffer = Stored {
            kind: "F32".to_owned(),
            size,
            bytes: (factor * momentum(place)).to_le_bytes().repeat(count),
        };
        let entry = (text("momentum_buffer"), archive.tensor(&buffer));
        buffers.push((int(place as i64), dict(&[entry])));
    }
    let group = dict(&[
        (text("lr"), float(0.005)),
        (text("momentum"), float(0.9)),
        (text("weight_decay"), float(1e-4)),
        (text("initial_lr"), float(0.02)),
        (text("params"), list(&(0..26).map(int).collect::<Vec<_>>())),
    ]);
    let root = dict(&[
        (text("cur_itrs"), int(4)),
        (text("model_state"), dict(&state)),
        (
            text("optimizer_state"),
            dict(&[
                (text("state"), dict(&buffers)),
                (text("param_groups"), list(&[group])),
            ]),
        ),
        (text("scheduler_state"), dict(&[(text("max_iters"), int(20))])),
        (text("best_score"), float(0.5)),
    ]);
    archive.add("data.pkl", &[&b"\x80\x02"[..], &root, b"."].concat());
    archive.zip.finish().unwrap();
}

/// A run to its end, which may leave no source-only model.
fn train(world: &World, name: &str, workers: &str, sets: &[&str]) {
    let named = format!("run.name={name}");
    let sets = [&[named.as_str()], sets].concat();
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["--workers", workers].into_iter().chain(sets).collect();
    let _ = world.start(&arguments).finish().expect(0);
}

/// Trains one step of `stage` from files that differ in their momentum alone, and compares what it changes in the models
/// at `left` with lr * 0.9 * momentum.
fn momentum_moves_the_head(world: &World, stage: &str, lr: f64, left: &str, sets: &[&str]) {
    let step = |file: &str| {
        let name = format!("{stage}-{file}");
        let given = format!("{stage}.continue_from={file}.pth");
        let steps = format!("{stage}.steps=1");
        let validate = format!("{stage}.validate_every=0");
        let all = [&[given.as_str(), &steps, &validate], sets].concat();
        train(world, &name, "1", &all);
        model(&world.path("runs").join(name).join(left))
    };
    let (with, without) = (step("moving"), step("resting"));
    for (place, name) in parameters().iter().enumerate() {
        let expected = -lr * 0.9 * f64::from(momentum(place));
        for (one, other) in with[name].floats().iter().zip(without[name].floats()) {
            let moved = f64::from(*one) - f64::from(other);
            assert!(
                (moved - expected).abs() < 2e-6,
                "{name} moved by {moved}, expected {expected}"
            );
        }
    }
}

fn stages(run: &Path) -> Vec<String> {
    let report = Json::read(&run.join("report/report.json"));
    let stages = report.0["stages"].as_array().unwrap().iter();
    stages
        .map(|stage| stage["stage"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_training_of_others_goes_on_with_its_momentum_and_its_schedule() {
    let world = World::new();
    world.train("whole", 2, &[]);
    let whole = world.path("runs/whole");
    for (file, factor) in [("moving.pth", 1.0), ("resting.pth", 0.0)] {
        write_training(&whole.join(SOURCE), &world.path(file), factor);
    }
    // The fifth of five steps: 4 of the file, 1 of the run.
    let rate = |base: f64| base * (1.0_f64 - 4.0 / 5.0).powf(0.9);
    momentum_moves_the_head(
        &world,
        "pretrain",
        rate(0.1),
        SOURCE,
        &["run.end_after=pretrain", "pretrain.lr=0.1"],
    );
    let bank = "simulate.bank=runs/whole/styles/bank.safetensors";
    let styles = ["simulate.styles=bank", bank, "adapt.lr_head=0.05"];
    momentum_moves_the_head(&world, "adapt", rate(0.05), ADAPTED, &styles);
    let run = world.path("runs/adapt-moving");
    assert_eq!(stages(&run), ["adapt", "evaluate"]);
    assert!(!run.join(SOURCE).exists(), "nobody gave a source-only model");

    let sets = [
        &styles[..],
        &["adapt.continue_from=moving.pth", "checkpoint.every=1"],
    ]
    .concat();
    let [alone, both] = ["1", "2"].map(|workers| {
        let name = format!("by-{workers}");
        train(&world, &name, workers, &sets);
        tensor_bytes(&world.path("runs").join(name).join(ADAPTED))
    });
    assert!(alone == both, "2 workers against 1");
}

#[test]
fn what_does_not_go_on_as_it_was_is_noted() {
    let world = World::new();
    world.train("source", 2, &["run.end_after=pretrain"]);
    write_training(
        &world.path("runs/source").join(SOURCE),
        &world.path("moving.pth"),
        1.0,
    );
    let check = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let arguments: Vec<&str> = ["check"].into_iter().chain(sets).collect();
        world.start(&arguments).finish().expect(0).err
    };
    let source = format!("pretrain.checkpoint=runs/source/{SOURCE}");
    let adapted = check(&[&source, "adapt.continue_from=moving.pth"]);
    for said in [
        "note: `adapt.continue_from`: the file holds no rectifier, which the authors' scripts do not save: it starts anew, at \
         the learning rates of step 5\n  hint: set adapt.rectifier = false",
        "the file's schedule ends after step 20; with its 4 steps and adapt.steps = 6 it now ends after step 10\n  hint: \
         adapt.steps = 16 ends where it was planned",
        "the file was trained with 0.02, and goes on with adapt.lr_head = 0.01\n  hint: adapt.lr_head = 0.02 goes on as it was",
    ] {
        assert!(adapted.contains(said), "{said}: {adapted}");
    }
    let same = check(&[
        "pretrain.continue_from=moving.pth",
        "pretrain.steps=16",
        "pretrain.lr=0.02",
    ]);
    assert!(!same.contains("note: `pretrain"), "{same}");
}
