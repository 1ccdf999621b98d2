//! Checkpoints that are cut anywhere or changed anywhere are read or refused; no panic, and no endless reading.

#![allow(clippy::unwrap_used)]

mod forge;

use std::io::Read;
use std::path::Path;

use forge::*;
use proptest::prelude::*;
use tch::{Kind, Tensor};
use ulda_model::{Head, TrainingState, Weights};

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = dict(&[("a", row("0", 8)), ("b", row("0", 3))]);
    let pickled = state_archive(folder.path(), "small.pth", &state);
    let model = pickle(&object("Model", state));
    let entries = [
        ("data.pkl", &model[..]),
        ("constants.pkl", b"\x80\x02)."),
        ("data/0", &eight()),
    ];
    let scripted = archive(folder.path(), "small.pt", &entries);
    let plain = folder.path().join("small.safetensors");
    let numbers = Tensor::arange(8, (Kind::Float, tch::Device::Cpu));
    Tensor::write_safetensors(&[("a", &numbers)], &plain).unwrap();
    let cut = folder.path().join("cut");
    for path in [pickled, scripted, plain] {
        assert!(Weights::read(&path).is_ok());
        let bytes = std::fs::read(&path).unwrap();
        for keep in 0..bytes.len() {
            std::fs::write(&cut, &bytes[..keep]).unwrap();
            assert!(
                Weights::read(&cut).is_err(),
                "{} is read from {keep} bytes",
                path.display()
            );
        }
    }
}

/// The entries of an archive, without its folder.
fn entries(file: &Path) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(file).unwrap()).unwrap();
    let wanted = |name: &str| name == "data.pkl" || name == "constants.pkl" || name.starts_with("data/");
    (0..zip.len())
        .filter_map(|index| {
            let mut entry = zip.by_index_raw(index).unwrap();
            let name = entry.name().split_once('/')?.1.to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            wanted(&name).then_some((name, bytes))
        })
        .collect()
}

fn changed(bytes: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

/// Read or refused: what matters is that it returns.
fn outcome(path: &Path) {
    if let Ok(weights) = Weights::read(path) {
        assert!(weights.names().count() <= 10_000);
    }
}

fn pickle_with(file: &Path, changes: &[(prop::sample::Index, u8)], outcome: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let entries = entries(file);
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, bytes)| {
            let bytes = if name == "data.pkl" {
                changed(bytes, changes)
            } else {
                bytes.clone()
            };
            (name.as_str(), bytes)
        })
        .collect();
    let entries: Vec<_> = entries.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    outcome(&archive(folder.path(), "changed", &entries));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The archive is sound, so that the pickle is what has to hold.
    #[test]
    fn a_changed_pickle_of_a_state_dictionary_returns(changes in changes()) {
        pickle_with(&ulda_golden::path("tiny_source.pth"), &changes, outcome);
    }

    #[test]
    fn a_changed_pickle_of_a_module_returns(changes in changes()) {
        pickle_with(&ulda_golden::path("tiny_clip.pt"), &changes, outcome);
    }

    #[test]
    fn a_changed_pickle_of_a_training_returns(changes in changes()) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stage2_training.pth");
        let head = Head::load(&Weights::read(&file).unwrap()).unwrap();
        pickle_with(&file, &changes, |path| {
            if let Ok(training) = TrainingState::read(path, &head) {
                assert_eq!(training.momentum.len(), head.parameters().len());
            }
        });
    }

    #[test]
    fn a_changed_safetensors_header_returns(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = std::fs::read(ulda_golden::path("tiny_source.safetensors")).unwrap();
        let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let path = folder.path().join("changed");
        std::fs::write(&path, [&changed(&bytes[..header], &changes)[..], &bytes[header..]].concat()).unwrap();
        outcome(&path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Anywhere in a small archive: headers, directory, pickle and numbers.
    #[test]
    fn a_changed_archive_returns(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let state = dict(&[("a", row("0", 8)), ("b", row("0", 3))]);
        let path = state_archive(folder.path(), "changed", &state);
        std::fs::write(&path, changed(&std::fs::read(&path).unwrap(), &changes)).unwrap();
        outcome(&path);
    }

    #[test]
    fn any_operations_are_no_panic(
        operations in prop::collection::vec(prop::sample::select(&b"\x80\x81\x85\x86\x87\x88\x94\x91\x90\x8f(.NGKMJ)}]taesubRQqhcX\x01\n\x02a"[..]), 0..200)
    ) {
        let mut bytes = &operations[..];
        if let Ok(pickle) = ulda_model::pickle::Pickle::read(&mut bytes) {
            let root = pickle.root();
            let _ = (root.entry("a").is_some(), root.items(), root.state().is_some(), root.maker());
        }
    }
}
