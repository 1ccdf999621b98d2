//! Inputs that each target accepts, from the project's own writers: where its search begins.

use std::fs;
use std::path::PathBuf;

use prost::Message;
use tch::{Device, Kind, Tensor};
use ulda_coordinator::config::{Preset, commented_run_toml};
use ulda_dataset::{Image, LabelMap, Size};
use ulda_method::stylebank::{BankDomain, BankHeader, BankStyle, StyleBank};
use ulda_model::pickle::write as pickle;
use ulda_proto::v1;
use ulda_run::Classes;
use ulda_run::stage::{Cursor, Stage};
use ulda_run::style_health::StyleHealth;
use ulda_worker::state::RunState;

/// Writes `seed-N` into the folder of each target.
pub fn write(folder: &dyn Fn(&str) -> PathBuf) {
    for (target, inputs) in all() {
        fs::create_dir_all(folder(target)).unwrap();
        for (number, bytes) in inputs.iter().enumerate() {
            fs::write(folder(target).join(format!("seed-{number}")), bytes).unwrap();
        }
    }
}

fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        ("configuration", configurations()),
        ("wire", messages()),
        ("frame", vec![frame()]),
        ("refusal", refusals()),
        (
            "png",
            vec![written("image.png", |path| {
                ulda_dataset::write_rgb(path, &picture())
            })],
        ),
        (
            "jpeg",
            vec![fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photo.jpg")).unwrap()],
        ),
        (
            "labels",
            vec![written("labels.png", |path| {
                ulda_dataset::palette::write_label_ids(path, &labels(), &Classes::default())
            })],
        ),
        (
            "pickle",
            vec![style().to_authors_pickle(), pickle::pickle(&state())],
        ),
        ("safetensors", vec![safetensors()]),
        ("checkpoint", vec![checkpoint()]),
        ("archive", archives()),
        ("manifest", vec![MANIFEST.into()]),
        ("state", vec![run_state()]),
        ("bank", vec![bank()]),
        ("journal", vec![RECORDS.into()]),
        (
            "tokenizer",
            vec![
                "driving at night".into(),
                "Caf\u{e9} &amp;lt; it\u{2019}s 12 \u{1f327}".into(),
            ],
        ),
    ]
}

fn written<E: std::fmt::Debug>(name: &str, write: impl FnOnce(&std::path::Path) -> Result<(), E>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write(&path).unwrap();
    fs::read(path).unwrap()
}

const SIZE: Size = Size { width: 5, height: 3 };

fn picture() -> Image {
    Image {
        size: SIZE,
        rgb: (0..45).map(|value| value * 5).collect(),
    }
}

fn labels() -> LabelMap {
    LabelMap {
        size: SIZE,
        ids: (0..15).collect(),
    }
}

fn configurations() -> Vec<Vec<u8>> {
    let preset = commented_run_toml(&Preset::PodaFog.config());
    vec![include_bytes!("run.toml").to_vec(), preset.into_bytes()]
}

fn place() -> Option<v1::StateClaim> {
    Some(v1::StateClaim {
        stage: "adapt".into(),
        step: 3,
        digest: "ab".repeat(32),
    })
}

fn value(name: &str) -> Vec<v1::Value> {
    vec![v1::Value {
        name: name.into(),
        value: 0.5,
    }]
}

/// Each message that a worker sends, behind the number of its kind.
fn messages() -> Vec<Vec<u8>> {
    use v1::attendance::Fact;
    use v1::report_request::Fact as Report;
    let clip = v1::ClipWeights {
        digest: "cd".repeat(32),
        training: "unmarked".into(),
    };
    let progress = v1::Progress {
        state: place(),
        losses: value("scene"),
        learning_rates: value("head"),
        phase_seconds: value("forward"),
        images: 8,
        activity: "iteration 4 of 9".into(),
        styles: vec![v1::DomainStyles {
            domain: "fog".into(),
            health: StyleHealth::MEASURES.into_iter().flat_map(value).collect(),
        }],
    };
    let storage = v1::Storage {
        operations: vec![v1::StorageOperation {
            name: "put".into(),
            total: 3,
            failures: 0,
            retries: 1,
            bytes: 1000,
            seconds: 0.5,
        }],
        pending: 1,
        last_put_millis: 1_700_000_000_000,
        process: 7,
    };
    let facts = [
        Fact::Heartbeat(v1::Heartbeat {}),
        Fact::Ready(v1::Ready {
            state: place(),
            clip: Some(clip),
        }),
        Fact::Formed(v1::Formed { state: place() }),
        Fact::Progress(progress),
        Fact::Broke(v1::Broke {
            cause: "closed".into(),
            waiting_for: vec![1],
            state: place(),
        }),
        Fact::Finished(v1::Finished {
            digest: "ab".repeat(32),
        }),
        Fact::Failed(v1::Failed {
            cause: "no data".into(),
            exit_code: 78,
        }),
        Fact::Storage(storage),
    ];
    let reports = [
        Report::Checkpoint(v1::CheckpointWritten {
            path: "checkpoints/adapt-3".into(),
            state: place(),
            size_bytes: 1000,
        }),
        Report::Evaluation(v1::EvaluationDone {
            model: "adapted".into(),
            set: "night".into(),
            confusion: vec![1; 361],
            images: 4,
            state: place(),
            seconds: 1.0,
        }),
        Report::Stage(v1::StageDone {
            stage: "pretrain".into(),
            seconds: 1.0,
            digest: "ab".repeat(32),
        }),
    ];
    let attendances = facts.map(|fact| v1::Attendance {
        worker: 1,
        generation: 1,
        fact: Some(fact),
        ..v1::Attendance::default()
    });
    let reports = reports.map(|fact| v1::ReportRequest {
        worker: 1,
        generation: 1,
        fact: Some(fact),
    });
    let log = v1::LogRequest {
        worker: 1,
        number: 1,
        lines: vec!["{}".into()],
        ..v1::LogRequest::default()
    };
    let mut all: Vec<Vec<u8>> = attendances.iter().map(|message| numbered(0, message)).collect();
    all.extend(reports.iter().map(|message| numbered(1, message)));
    all.push(numbered(2, &log));
    all
}

fn numbered(number: u8, message: &impl Message) -> Vec<u8> {
    [vec![number], message.encode_to_vec()].concat()
}

/// A header without its check: a whole contribution of 16 bytes.
fn frame() -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[..4].copy_from_slice(b"ULF2");
    bytes[4] = 1;
    bytes[5] = 1;
    bytes[8] = 1;
    bytes[44] = 16;
    bytes[48] = 16;
    bytes
}

/// Code and fields of each refusal (worker/collective/src/refusal.rs).
fn refusals() -> Vec<Vec<u8>> {
    let fields = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let mut all: Vec<Vec<u8>> = (1..=12).map(|code| [&[code], &fields[..]].concat()).collect();
    all.push([&[2, 1, 0], &b"a"[..], &[2, 0], &b"bc"[..]].concat());
    all
}

fn style() -> BankStyle {
    BankStyle {
        mean: vec![1.5, -0.25],
        std: vec![0.5, 2.0],
    }
}

/// A dictionary with one tensor.
fn state() -> Vec<u8> {
    let row = pickle::tensor(pickle::storage("FloatStorage", "0", 8), 0, &[2, 4], &[4, 1]);
    pickle::dict(&[("model_state", pickle::dict(&[("weight", row)]))])
}

/// A state in the middle of adapt with a tensor of each of two kinds.
fn run_state() -> Vec<u8> {
    let mut state = RunState::new(Cursor {
        stage: Stage::Adapt,
        step: 3,
    });
    let numbers = |kind| Tensor::arange(6, (kind, Device::Cpu)).reshape([2, 3]);
    state.set_section("head", [("weight".to_owned(), numbers(Kind::Float))]);
    state.set_section("count", [("seen".to_owned(), numbers(Kind::Int64))]);
    state.set_fact("best", 0.5);
    state.to_bytes().unwrap()
}

fn bank() -> Vec<u8> {
    let domains = ["fog", "night"].map(|name| BankDomain {
        name: name.into(),
        prompt: format!("driving at {name}"),
    });
    let mut bank = StyleBank::new(BankHeader {
        backbone: "ab".repeat(32),
        channels: 2,
        domains: domains.to_vec(),
    });
    for domain in 0..2 {
        bank.insert("a.png", domain, style()).unwrap();
    }
    bank.to_bytes().unwrap()
}

fn safetensors() -> Vec<u8> {
    let numbers = Tensor::arange(8, (Kind::Float, Device::Cpu));
    written("a.safetensors", |path| {
        Tensor::write_safetensors(&[("weight", &numbers)], path)
    })
}

/// Entries as they are, in a zip archive.
fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut zip, bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn checkpoint() -> Vec<u8> {
    let numbers: Vec<u8> = (0..8).flat_map(|number| (number as f32).to_le_bytes()).collect();
    zipped(&[("a/data.pkl", &pickle::pickle(&state())), ("a/data/0", &numbers)])
}

/// One of each format, behind its number.
fn archives() -> Vec<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_cksum();
    tar.append_data(&mut header, "city/a.txt", &b"abc"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &tar).unwrap();
    let zip = zipped(&[("city/a.txt", b"abc")]);
    let formats = [tar, gz.finish().unwrap(), zip];
    (0..)
        .zip(formats)
        .map(|(number, bytes)| [vec![number], bytes].concat())
        .collect()
}

const MANIFEST: &str = r#"{"format":1,"run":"small","cursor":{"stage":"adapt","step":3},"digest":"ab","clip":{"digest":"cd","training":"unmarked"},
"files":{"state.safetensors":{"blake3":"ef","size_bytes":8}},"version":"0.1.0"}"#;

const RECORDS: &str = r#"{"record":"run-started","term":1}
{"record":"worker-joined","worker":1,"slot":0,"attempt":0,"data_address":"127.0.0.1:4000","device":"cpu"}
{"record":"generation-formed","generation":1,"formation":{"members":[{"worker":1,"slot":0,"data_address":"127.0.0.1:4000"}],"shard_owner":[1,1],"state":null,"holder":1}}
{"record":"committed","generation":1,"state":{"cursor":{"stage":"adapt","step":3},"digest":"ab"}}
{"record":"restarted","slot":0,"attempt":1}
{"record":"finished","digest":"ab"}
{"record":"stopped"}
"#;
