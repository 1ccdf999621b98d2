use ulda_method::projector::{PARAMETER_NAMES, Projector};
use ulda_method::stylebank::{BankDomain, BankStyle};
use ulda_model::{Head, HeadConfig};
use ulda_run::clip::{ClipOrigin, ClipTraining};
use ulda_run::stage::{Cursor, Stage};

use super::*;
use crate::checkpoint::{CheckpointStore, Checkpoints};

fn header() -> BankHeader {
    BankHeader {
        backbone: "abc".into(),
        channels: 1,
        domains: vec![BankDomain {
            name: "fog".into(),
            prompt: "driving in fog".into(),
        }],
    }
}

fn none() -> BankPieces {
    BankPieces::new(header())
}

/// The styles of a round: of an image of its own, and of one that each round learns again.
fn round(round: u64) -> StyleBank {
    let mut bank = StyleBank::new(header());
    for image in [format!("{round}.png"), "again.png".to_owned()] {
        let style = BankStyle {
            mean: vec![round as f32],
            std: vec![1.0],
        };
        bank.insert(&image, 0, style).unwrap();
    }
    bank
}

fn names_in(pieces: &BankPieces) -> Vec<String> {
    let mut state = RunState::new(Cursor {
        stage: Stage::Simulate,
        step: 0,
    });
    pieces.save(&mut state);
    state.tensors.into_keys().collect()
}

#[test]
fn sixteen_pieces_of_a_size_become_one_and_hold_the_same_styles() {
    let mut pieces = none();
    let mut whole = StyleBank::new(header());
    let mut most = 0;
    for step in 0..530 {
        pieces.add(step, &round(step)).unwrap();
        whole.merge(round(step), "a round").unwrap();
        most = most.max(pieces.pieces.len());
    }
    assert_eq!(pieces.whole().unwrap(), whole);
    assert_eq!(
        names_in(&pieces),
        [
            "rounds-00000000-00000256.bank",
            "rounds-00000256-00000512.bank",
            "rounds-00000512-00000528.bank",
            "rounds-00000528-00000529.bank",
            "rounds-00000529-00000530.bank",
        ]
    );
    assert!(most <= 32, "{most} at once");
}

#[test]
fn the_one_bank_of_an_earlier_version_is_a_piece_of_all_its_rounds() {
    let mut before = StyleBank::new(header());
    for step in 0..5 {
        before.merge(round(step), "a round").unwrap();
    }
    let mut pieces = none();
    let bytes = piece_of(&before).unwrap();
    pieces.pieces.insert(0, Piece { end: 5, bytes });
    let mut whole = before;
    for step in 5..17 {
        pieces.add(step, &round(step)).unwrap();
        whole.merge(round(step), "a round").unwrap();
    }
    assert_eq!(pieces.whole().unwrap(), whole);
    assert_eq!(
        names_in(&pieces),
        ["rounds-00000000-00000016.bank", "rounds-00000016-00000017.bank"]
    );
}

#[test]
fn a_round_of_another_run_is_refused_and_changes_nothing() {
    let mut pieces = none();
    for step in 0..15 {
        pieces.add(step, &round(step)).unwrap();
    }
    let before = names_in(&pieces);
    let mut other = header();
    other.backbone = "xyz".into();
    let refused = pieces.add(15, &StyleBank::new(other)).unwrap_err();
    assert!(refused.to_string().contains("another backbone"), "{refused}");
    assert_eq!(names_in(&pieces), before);
}

/// ULDA on Cityscapes: 2,975 images in batches of two, six domains, RN50's sizes.
const IMAGES: u64 = 2975;
const BATCH: u64 = 2;
const DOMAINS: [&str; 6] = ["fog", "night", "rain", "snow", "fire", "sandstorm"];
const LOW_CHANNELS: i64 = 256;
const MB: f64 = 1e6;

/// The styles of a round of that run; the last one has an image less.
fn published_round(header: &BankHeader, round: u64) -> StyleBank {
    let mut bank = StyleBank::new(header.clone());
    for image in (round * BATCH..(round + 1) * BATCH).filter(|image| *image < IMAGES) {
        for domain in 0..DOMAINS.len() {
            let values = |scale: f32| -> Vec<f32> {
                let of = |channel: i64| (image as f32 + channel as f32 * 0.37).sin() * scale;
                (0..LOW_CHANNELS).map(of).collect()
            };
            let style = BankStyle {
                mean: values(1.0 + domain as f32),
                std: values(0.5),
            };
            let name = format!("hamburg/hamburg_000000_{image:06}_leftImg8bit.png");
            bank.insert(&name, domain, style).unwrap();
        }
    }
    bank
}

/// The projectors after a round.
fn projectors(round: u64) -> Vec<(String, Tensor)> {
    let mut named = Vec::new();
    for domain in 0..DOMAINS.len() {
        let seed = round * DOMAINS.len() as u64 + domain as u64;
        let projector = Projector::new(LOW_CHANNELS, 512, 1024, seed, tch::Device::Cpu).unwrap();
        let values = PARAMETER_NAMES.iter().zip(projector.parameters());
        named.extend(values.map(|(name, value)| (format!("{domain}.{name}"), value)));
    }
    named
}

/// What a checkpoint after each round of a run over Cityscapes writes, against all of its state, which it wrote before.
/// Prints the table of docs/benchmarks.md.
#[test]
fn a_round_at_the_size_of_cityscapes_writes_its_styles_and_the_projectors() {
    let folder = tempfile::tempdir().unwrap();
    let clip = ClipOrigin {
        digest: "c".into(),
        training: ClipTraining::Untrained,
    };
    let store = CheckpointStore::new(folder.path().join("checkpoints"), "a".into(), clip, 2);
    let header = BankHeader {
        channels: LOW_CHANNELS as usize,
        domains: DOMAINS
            .map(|name| BankDomain {
                name: name.into(),
                prompt: format!("driving in {name}"),
            })
            .to_vec(),
        ..header()
    };
    let mut state = RunState::new(Cursor {
        stage: Stage::Simulate,
        step: 0,
    });
    let head = Head::new(HeadConfig::published(2048, LOW_CHANNELS, 19), 1);
    state.set_section(names::SOURCE, head.state());
    let mut pieces = BankPieces::new(header.clone());
    let rounds = IMAGES.div_ceil(BATCH);
    let of_projectors = projectors(0)
        .iter()
        .map(|(_, value)| value.numel() * 4)
        .sum::<usize>() as f64;
    // Of a round: two numbers for each channel of 12 styles, their domains, and the names of their images.
    let of_styles = (BATCH * DOMAINS.len() as u64) as f64 * (LOW_CHANNELS as f64 * 8.0 + 8.0 + 60.0);
    println!("| after round | all of the state, MB | written, MB | files |");
    println!("|--|--|--|--|");
    let mut last = None;
    for round in 0..rounds {
        pieces.add(round, &published_round(&header, round)).unwrap();
        let done = round + 1;
        if ![1, 2, 100, 255, 256, 700, 1279, 1280, rounds - 1, rounds].contains(&done) {
            continue;
        }
        state.cursor.step = done;
        state.set_section(names::PROJECTOR, projectors(done));
        pieces.save(&mut state);
        let written = store.write(&state, &state.digest()).unwrap();
        let (all, new) = (written.size_bytes as f64 / MB, written.written_bytes as f64 / MB);
        let files = std::fs::read_dir(&written.path).unwrap().count();
        println!("| {done} | {all:.1} | {new:.1} | {files} |");
        assert!(files <= 3 * FAN as usize, "{files}");
        if last == Some(round) {
            // A style is written again when its piece becomes part of a larger one: at worst those of 256 rounds.
            let again = match done % (FAN * FAN) {
                0 => FAN * FAN,
                _ => FAN,
            };
            let most = (of_projectors + again as f64 * of_styles) / MB * 1.1;
            assert!(new <= most, "after round {done}: {new} MB of at most {most}");
        }
        last = Some(done);
    }
    let (found, passed_over) = Checkpoints::local(store).newest().unwrap();
    let found = found.unwrap();
    assert!(passed_over.is_empty());
    assert_eq!(found.state.digest(), state.digest());
}
