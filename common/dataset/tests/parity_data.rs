//! Datasets, normalised images, labels and scores against the numbers of the published implementation.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use ulda_dataset::{ConfusionMatrix, Dataset, Sampling, Scores, load};
use ulda_run::Classes;
use ulda_run::spec::{DatasetConfig, FilesConfig, Layout};

fn golden() -> PathBuf {
    match std::env::var_os("ULDA_GOLDEN") {
        Some(folder) => folder.into(),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden").into(),
    }
}

fn json(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(golden().join(name)).unwrap()).unwrap()
}

fn report(fixture: &str, group: &str, deviation: f64, tolerance: f64) {
    println!("parity | {fixture} | {group} | {deviation:.3e} | {tolerance:.0e}");
    assert!(
        deviation <= tolerance,
        "{fixture} {group}: {deviation:e} > {tolerance:e}"
    );
}

fn f32s(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

fn f64s(tensors: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| f64::from_le_bytes(*b))
        .collect()
}

fn small_ints(tensors: &SafeTensors<'_>, name: &str) -> Vec<u8> {
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b) as u8)
        .collect()
}

/// A pair of pixels that data.json holds, as it stands there.
fn pair(facts: &Value, key: &str) -> [u32; 2] {
    let sides = facts[key].as_array().unwrap();
    std::array::from_fn(|at| u32::try_from(sides[at].as_u64().unwrap()).unwrap())
}

/// A fixture's dataset by its key in data.json, like `acdc.fog.val`.
fn spec(facts: &Value, key: &str) -> DatasetConfig {
    let parts: Vec<&str> = key.split('.').collect();
    let mut spec = DatasetConfig {
        layout: Layout::Acdc,
        root: golden().join("data").join(parts[0]),
        split: (*parts.last().unwrap()).to_owned(),
        condition: None,
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
        classes: Classes::default(),
    };
    match parts[0] {
        "cityscapes" => spec.layout = Layout::Cityscapes,
        "gta5" => {
            spec.layout = Layout::Gta5;
            spec.split = format!("{}_list.txt", spec.split);
            let [height, width] = pair(facts, "gta5.center_crop");
            spec.centre_crop = Some([width, height]);
        }
        "acdc_fog_realsize" => {
            spec.condition = Some("fog".to_owned());
            spec.only_size = Some([1920, 1080]);
        }
        _ => {
            spec.condition = Some(parts[1].to_owned());
            let [width, height] = pair(facts, "acdc.fog_filter_size_wh_in_this_fixture");
            spec.only_size = (parts[1] == "fog").then_some([width, height]);
        }
    }
    spec
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
}

fn listed_keys(facts: &Value) -> Vec<String> {
    let entries = facts.as_object().unwrap().iter();
    let lists = entries.filter(|(_, value)| value.get(0).is_some_and(|first| first.get("image").is_some()));
    lists.map(|(key, _)| key.clone()).collect()
}

#[test]
fn lists_are_the_published_ones() {
    let facts = json("data.json");
    let root = golden().join("data");
    let mut seen = BTreeSet::new();
    let keys = listed_keys(&facts);
    assert!(!keys.is_empty());
    for key in &keys {
        let dataset = Dataset::open(&spec(&facts, key)).unwrap();
        let expected = facts[key].as_array().unwrap();
        let got: Vec<_> = dataset
            .samples
            .iter()
            .map(|s| (below(&root, &s.image), below(&root, &s.label)))
            .collect();
        let want: Vec<_> = expected
            .iter()
            .map(|e| {
                (
                    e["image"].as_str().unwrap().to_owned(),
                    e["label"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        assert_eq!(got, want, "{key}");
        seen.extend(got.into_iter().flat_map(|(image, label)| [image, label]));
        report("data.json", &format!("{key} file list"), 0.0, 0.0);
    }
    let never: Vec<&str> = facts["never_picked_up"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(!never.is_empty());
    for path in never {
        assert!(!seen.contains(path), "{path} was picked up");
    }
    report("data.json", "never_picked_up", 0.0, 0.0);
}

#[test]
fn images_and_labels_are_the_published_ones() {
    let facts = json("data.json");
    let bytes = fs::read(golden().join("data.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut compared = 0;
    for key in listed_keys(&facts) {
        let dataset = Dataset::open(&spec(&facts, &key)).unwrap();
        let mut worst = 0f64;
        let mut here = 0;
        for index in 0..dataset.len() {
            let name = format!("{key}.{index}.image");
            let Ok(view) = tensors.tensor(&name) else { continue };
            let example = load(&dataset, index, &Sampling::default()).unwrap();
            assert_eq!(
                view.shape(),
                [3, example.size.height as usize, example.size.width as usize],
                "{name}"
            );
            for (got, want) in example
                .image
                .normalised()
                .unwrap()
                .iter()
                .zip(f32s(&tensors, &name))
            {
                worst = worst.max(f64::from((got - want).abs()));
            }
            assert_eq!(
                example.label,
                tensors.tensor(&format!("{key}.{index}.label")).unwrap().data(),
                "{name}"
            );
            here += 1;
        }
        if here > 0 {
            report("data.safetensors", &format!("{key} {here} images"), worst, 1e-6);
            report("data.safetensors", &format!("{key} {here} labels"), 0.0, 0.0);
        }
        compared += here;
    }
    let stored = tensors
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".image"))
        .count();
    assert_eq!(compared, stored, "every stored image is compared");
}

fn score_deviation(scores: &Scores, want: &Value) -> f64 {
    let deviation = |got: Option<f64>, want: &Value| match (got, want.as_f64()) {
        (Some(got), Some(want)) => (got - want).abs(),
        (None, None) => 0.0,
        _ => f64::INFINITY,
    };
    let classes = want["Class IoU"].as_array().unwrap();
    assert_eq!(classes.len(), 19);
    let heads = [
        deviation(scores.overall_accuracy, &want["Overall Acc"]),
        deviation(scores.mean_accuracy, &want["Mean Acc"]),
        deviation(Some(scores.freq_weighted_accuracy), &want["FreqW Acc"]),
        deviation(scores.mean_iou, &want["Mean IoU"]),
    ];
    let classes = scores
        .class_iou
        .iter()
        .zip(classes)
        .map(|(&got, want)| deviation(got, want));
    heads.into_iter().chain(classes).fold(0.0, f64::max)
}

fn matrix(values: &[f64]) -> ConfusionMatrix {
    values
        .iter()
        .map(|&v| v as u64)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

#[test]
fn class_names_are_the_published_ones() {
    let names = json("text.json")["class_names"].clone();
    assert_eq!(names, serde_json::json!(Classes::default().names()));
}

#[test]
fn scores_are_the_published_ones() {
    let facts = json("metrics.json");
    let bytes = fs::read(golden().join("metrics.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (labels, predictions) = (small_ints(&tensors, "labels"), small_ints(&tensors, "preds"));
    let shape = tensors.tensor("labels").unwrap().shape().to_vec();
    let image = shape[1] * shape[2];
    let mut counted = ConfusionMatrix::new(19);
    for call in facts["update_calls"].as_array().unwrap() {
        let mut update = ConfusionMatrix::new(19);
        for index in call.as_array().unwrap() {
            let at = index.as_u64().unwrap() as usize * image;
            update
                .add(&labels[at..at + image], &predictions[at..at + image])
                .unwrap();
        }
        counted.merge(&update);
    }
    assert_eq!(counted, matrix(&f64s(&tensors, "confusion_matrix")));
    report("metrics.safetensors", "confusion matrix", 0.0, 0.0);
    report(
        "metrics.json",
        "scores",
        score_deviation(&counted.scores(), &facts["main"]),
        1e-12,
    );

    let mut ignored = ConfusionMatrix::new(19);
    ignored.add(&vec![255; image], &predictions[..image]).unwrap();
    assert_eq!(ignored, matrix(&f64s(&tensors, "all_ignored.confusion_matrix")));
    report(
        "metrics.json",
        "all_ignored scores",
        score_deviation(&ignored.scores(), &facts["all_ignored"]),
        1e-12,
    );
}

#[test]
fn scores_of_the_validation_runs_are_the_published_ones() {
    let facts = json("data.json");
    let bytes = fs::read(golden().join("data.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (key, want) in facts["validate"].as_object().unwrap() {
        let counts = matrix(&f64s(&tensors, &format!("validate.{key}.confusion_matrix")));
        report(
            "data.json",
            &format!("validate {key} scores"),
            score_deviation(&counts.scores(), want),
            1e-12,
        );
    }
    let key = "cityscapes.val";
    let example = load(
        &Dataset::open(&spec(&facts, key)).unwrap(),
        0,
        &Sampling::default(),
    )
    .unwrap();
    let mut counts = ConfusionMatrix::new(19);
    counts
        .add(
            &example.label,
            tensors.tensor("validate.cityscapes.val.0.pred").unwrap().data(),
        )
        .unwrap();
    assert_eq!(
        counts,
        matrix(&f64s(&tensors, "validate.cityscapes.val.confusion_matrix"))
    );
    report(
        "data.safetensors",
        "validate cityscapes.val confusion matrix",
        0.0,
        0.0,
    );
}
