//! Event files of real runs: framing, checksums and fields are read here by hand, from their description.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ulda_coordinator::journal::JournalReader;
use ulda_run::stage::Stage;

use super::bench::{Bench, outcome, told, wait_for};
use super::lives::{signal, start, workers};

/// A field of a protobuf message.
#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// All fields of a message, with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, Field::Number(varint(&mut bytes))));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            5 => 4,
            kind => panic!("wire type {kind}"),
        };
        found.push((key >> 3, Field::Bytes(&bytes[..length])));
        bytes = &bytes[length..];
    }
    found
}

fn bytes_of<'a>(message: &[(u64, Field<'a>)], number: u64) -> Option<&'a [u8]> {
    message.iter().find_map(|(found, field)| match field {
        Field::Bytes(bytes) if *found == number => Some(*bytes),
        _ => None,
    })
}

fn number_of(message: &[(u64, Field<'_>)], number: u64) -> u64 {
    let found = message.iter().find_map(|(found, field)| match field {
        Field::Number(value) if *found == number => Some(*value),
        _ => None,
    });
    found.unwrap_or_default()
}

/// CRC-32C, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let mut state = !0_u32;
    for byte in bytes {
        state ^= u32::from(*byte);
        for _ in 0..8 {
            state = (state >> 1) ^ (0x82f6_3b78 * (state & 1));
        }
    }
    !state
}

/// The records of a file; every checksum must be right.
fn records(file: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut found) = (file, Vec::new());
    let checked = |content: &[u8], stored: &[u8]| {
        let right = checksum(content);
        let masked = right.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(u32::from_le_bytes(stored.try_into().unwrap()), masked);
    };
    while !rest.is_empty() {
        let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
        checked(&rest[..8], &rest[8..12]);
        let content = &rest[12..12 + length];
        checked(content, &rest[12 + length..16 + length]);
        found.push(content);
        rest = &rest[16 + length..];
    }
    found
}

/// What a reader knows after all files of a folder.
#[derive(Debug, Default)]
struct Shown {
    scalars: BTreeMap<(String, u64), f32>,
    images: BTreeMap<String, (u64, Vec<u8>)>,
    texts: BTreeMap<String, String>,
    plugins: Vec<(String, String)>,
    voided: usize,
}

impl Shown {
    fn curve(&self, tag: &str) -> Vec<(u64, f32)> {
        let points = self.scalars.iter().filter(|((found, _), _)| found == tag);
        points.map(|((_, step), value)| (*step, *value)).collect()
    }

    fn read(&mut self, value: &[u8], step: u64) {
        let value = fields(value);
        let tag = String::from_utf8(bytes_of(&value, 1).unwrap().to_vec()).unwrap();
        if let Some(scalar) = bytes_of(&value, 2) {
            let scalar = f32::from_le_bytes(scalar.try_into().unwrap());
            let before = self.scalars.insert((tag.clone(), step), scalar);
            let is_loss = tag.contains("/loss/");
            assert!(before.is_none() || !is_loss, "two truths of {tag} at {step}");
        }
        if let Some(image) = bytes_of(&value, 4) {
            let image = fields(image);
            assert_eq!(
                (number_of(&image, 1), number_of(&image, 2), number_of(&image, 3)),
                (48, 64, 3)
            );
            self.images
                .insert(tag.clone(), (step, bytes_of(&image, 4).unwrap().to_vec()));
        }
        if let Some(metadata) = bytes_of(&value, 9) {
            let metadata = fields(metadata);
            let plugin = fields(bytes_of(&metadata, 1).unwrap());
            let plugin = String::from_utf8(bytes_of(&plugin, 1).unwrap().to_vec()).unwrap();
            if let Some(tensor) = bytes_of(&value, 8) {
                let text = bytes_of(&fields(tensor), 8).unwrap().to_vec();
                self.texts.insert(tag.clone(), String::from_utf8(text).unwrap());
            }
            self.plugins.push((plugin, tag));
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Reads all files of a folder in their order, as TensorBoard does.
fn shown(folder: &Path) -> Shown {
    let mut shown = Shown::default();
    for path in files(folder) {
        let file = std::fs::read(path).unwrap();
        let records = records(&file);
        assert_eq!(bytes_of(&fields(records[0]), 3), Some(&b"brain.Event:2"[..]));
        for record in records {
            let event = fields(record);
            let seconds = f64::from_le_bytes(bytes_of(&event, 1).unwrap().try_into().unwrap());
            assert!(seconds > 1.7e9, "{seconds}");
            let step = number_of(&event, 2);
            if let Some(log) = bytes_of(&event, 7) {
                assert_eq!(number_of(&fields(log), 1), 1);
                let before = shown.scalars.len();
                shown.scalars.retain(|(_, told), _| *told < step);
                shown.voided += before - shown.scalars.len();
            }
            if let Some(summary) = bytes_of(&event, 5) {
                for (number, value) in fields(summary) {
                    let Field::Bytes(value) = value else {
                        panic!("{value:?}")
                    };
                    assert_eq!(number, 1);
                    shown.read(value, step);
                }
            }
        }
    }
    shown
}

/// Curves of a stage as the journal has them, at steps of the whole run.
fn journal_curve(bench: &Bench, stage: Stage, before: u64, name: &str) -> Vec<(u64, f32)> {
    let journal = JournalReader::open(&bench.run().join("journal.sqlite")).unwrap();
    let points = journal.curves().unwrap()[&stage][name].clone();
    points
        .iter()
        .map(|point| (point.step + before, point.value.unwrap() as f32))
        .collect()
}

#[test]
fn a_run_leaves_events_that_tell_what_its_journal_tells() {
    let bench = Bench::new();
    let run = start(&bench, &["--workers", "2"], "5");
    let picture = bench.path("city/leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png");
    let folder = bench.run().join("examples/night");
    wait_for("the run's directory", || {
        bench.run().join("examples").is_dir().then_some(())
    });
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&picture, folder.join("00.png")).unwrap();
    let output = outcome(run);
    assert_eq!(output.status.code(), Some(0));

    let live = shown(&bench.run().join("tensorboard"));
    assert_eq!(live.curve("adapt/loss/seg").len(), 100);
    for (tag, stage, before, name) in [
        ("pretrain/loss/seg", Stage::Pretrain, 0, "loss.seg"),
        ("simulate/loss/cross", Stage::Simulate, 60, "loss.cross"),
        ("adapt/loss/seg", Stage::Adapt, 140, "loss.seg"),
        ("adapt/learning_rate/head", Stage::Adapt, 140, "lr.head"),
    ] {
        assert_eq!(
            live.curve(tag),
            journal_curve(&bench, stage, before, name),
            "{tag}"
        );
    }
    assert_eq!(live.curve("miou/source/validation").len(), 5);
    assert_eq!(live.curve("miou/fog/adapted").last().unwrap().0, 242);
    assert_eq!(live.curve("class_iou/fog/adapted/traffic_light").len(), 1);
    let phase = live.curve("adapt/phase_seconds/backward/rank_1");
    assert!((phase.last().unwrap().1 - 0.03).abs() < 1e-6, "{phase:?}");
    assert!(live.curve("adapt/images_per_second").last().unwrap().1 > 1.0);
    let (step, png) = &live.images["examples/night/00"];
    assert_eq!((*step, png), (241, &std::fs::read(picture).unwrap()));
    assert!(live.texts["configuration/text_summary"].contains("[adapt]\n"));
    let kinds = |shown: &Shown| shown.plugins.clone();
    for tag in ["_hparams_/session_start_info", "_hparams_/session_end_info"] {
        assert!(kinds(&live).contains(&("hparams".into(), tag.into())), "{tag}");
    }

    let refused = told(&bench, &bench.output(&["export-tensorboard", "runs/small"]));
    assert!(
        refused.starts_with("exit 78\nerror: `DIR/runs/small/tensorboard` already holds event files"),
        "{refused}"
    );
    let exported = bench.output(&["export-tensorboard", "runs/small", "--out", "events"]);
    assert_eq!(exported.status.code(), Some(0));
    let exported = shown(&bench.path("events"));
    let but_pace = |shown: &Shown| {
        let timed = |tag: &str| tag.contains("/phase_seconds/") || tag.ends_with("/images_per_second");
        let scalars = shown.scalars.clone().into_iter();
        scalars
            .filter(|((tag, _), _)| !timed(tag))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(but_pace(&exported), but_pace(&live));
    assert_eq!(exported.images, live.images);
    assert_eq!(exported.texts, live.texts);
    assert_eq!(kinds(&exported), kinds(&live));
    let phase = exported.curve("adapt/phase_seconds/backward/rank_1");
    assert!((phase[0].1 - 0.03).abs() < 1e-6, "{phase:?}");
}

#[test]
fn what_is_trained_again_has_one_truth() {
    let bench = Bench::new();
    let mut run = start(&bench, &["--workers", "2"], "10");
    let processes = workers(&bench, 2);
    let folder = bench.run().join("tensorboard");
    wait_for("events of the second stage", || {
        let path = files(&folder).pop()?;
        let file = std::fs::read(path).ok()?;
        let part = b"simulate/loss/scene";
        file.windows(part.len())
            .any(|window| window == part)
            .then_some(())
    });
    run.kill().unwrap();
    run.wait().unwrap();
    for process in &processes {
        signal(process.process_id, libc::SIGKILL);
    }
    let before = shown(&folder);
    assert_eq!(before.curve("pretrain/loss/seg").len(), 60);
    // The workers that only count keep nothing: the run starts anew.
    let resumed = bench.output(&["resume", "runs/small"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", told(&bench, &resumed));
    assert_eq!(files(&folder).len(), 2);
    let after = shown(&folder);
    assert!(after.voided >= 60, "{}", after.voided);
    for (tag, from, to) in [
        ("pretrain/loss/seg", 1, 60),
        ("simulate/loss/scene", 61, 140),
        ("adapt/loss/seg", 141, 240),
    ] {
        let steps: Vec<u64> = after.curve(tag).iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, (from..=to).collect::<Vec<u64>>(), "{tag}");
    }
}

#[test]
fn events_can_be_left_out() {
    let bench = Bench::new();
    let output = bench.output(&["--workers", "1", "--tensorboard", "off"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(!bench.run().join("tensorboard").exists());
    let exported = told(&bench, &bench.output(&["export-tensorboard", "runs/small"]));
    assert!(
        exported.ends_with("exit 0\nDIR/runs/small/tensorboard\n"),
        "{exported}"
    );
    assert_eq!(
        shown(&bench.run().join("tensorboard"))
            .curve("adapt/loss/seg")
            .len(),
        100
    );
}
