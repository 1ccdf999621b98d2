//! The published validation loop: recorded logits, predictions and confusion matrices of the tiny source model,
//! against the prediction that evaluation runs.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde_json::Value;
use tch::{Device, Tensor};
use ulda_dataset::{ConfusionMatrix, Dataset, Example, Sampling, load};
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_model::{Backbone, Head, SegmentationModel, Weights};
use ulda_run::Classes;
use ulda_run::spec::{DatasetConfig, FilesConfig, Layout};
use ulda_worker::stages::{Normaliser, Predictor};

/// Pixels of a whole set that may flip: the smallest gap between the two highest recorded logits is 9e-4.
const PIXELS: f64 = 3.0;

fn pair(facts: &Value, key: &str) -> [u32; 2] {
    let sides = facts[key].as_array().unwrap();
    std::array::from_fn(|at| u32::try_from(sides[at].as_u64().unwrap()).unwrap())
}

fn dataset(facts: &Value, key: &str) -> Dataset {
    let parts: Vec<&str> = key.split('.').collect();
    let acdc = parts[0] == "acdc";
    let [width, height] = pair(facts, "acdc.fog_filter_size_wh_in_this_fixture");
    let spec = DatasetConfig {
        layout: if acdc { Layout::Acdc } else { Layout::Cityscapes },
        root: ulda_golden::folder().join("data").join(parts[0]),
        split: parts.last().unwrap().to_string(),
        condition: acdc.then(|| parts[1].to_owned()),
        only_size: (acdc && parts[1] == "fog").then_some([width, height]),
        centre_crop: None,
        files: FilesConfig::default(),
        classes: Classes::default(),
    };
    Dataset::open(&spec).unwrap()
}

fn source_model() -> (Backbone, Head) {
    let weights = Weights::read(&ulda_golden::path("tiny_source.pth")).unwrap();
    (Backbone::load(&weights).unwrap(), Head::load(&weights).unwrap())
}

#[test]
fn confusion_matrices_are_the_published_ones() {
    let golden = Fixture::load("data");
    let facts = golden.json();
    let (backbone, head) = source_model();
    let normaliser = Normaliser::new(Device::Cpu).unwrap();
    let mut report = Report::new("data");
    for key in facts["validate"].as_object().unwrap().keys() {
        let dataset = dataset(&facts, key);
        let mut matrix = ConfusionMatrix::new(19);
        for index in 0..dataset.len() {
            let example = load(&dataset, index, &Sampling::default()).unwrap();
            let predictor = Predictor::new(&backbone, &example.image, example.size, &normaliser).unwrap();
            let classes = predictor.classes(&head).unwrap();
            matrix
                .add(&example.label, &predictor.label_map(&classes).unwrap().ids)
                .unwrap();
        }
        let ours: Vec<f64> = matrix.counts().iter().map(|&count| count as f64).collect();
        let recorded = golden.values(&format!("validate.{key}.confusion_matrix"));
        report.compare_values(
            &format!("validate {key} pixels"),
            key,
            &ours,
            &recorded,
            Tolerance::Absolute(PIXELS),
        );
    }
    report.finish();
}

#[test]
fn logits_and_predictions_are_the_published_ones() {
    let golden = Fixture::load("data");
    let facts = golden.json();
    let (backbone, head) = source_model();
    let normaliser = Normaliser::new(Device::Cpu).unwrap();
    let example = load(&dataset(&facts, "cityscapes.val"), 0, &Sampling::default()).unwrap();
    let Example { size, image, .. } = &example;
    let (height, width) = (i64::from(size.height), i64::from(size.width));

    let predictor = Predictor::new(&backbone, image, *size, &normaliser).unwrap();
    let ours = predictor.label_map(&predictor.classes(&head).unwrap()).unwrap();
    let recorded = golden.get("validate.cityscapes.val.0.pred");
    let differing = Tensor::from_slice(&ours.ids)
        .view([height, width])
        .not_equal_tensor(&recorded)
        .sum(tch::Kind::Int64)
        .int64_value(&[]);
    let mut report = Report::new("data");
    report.compare_values(
        "validate pixels that differ",
        "cityscapes.val.0.pred",
        &[differing as f64],
        &[0.0],
        Tolerance::Absolute(PIXELS),
    );

    let model = SegmentationModel { backbone, head };
    let logits = model.logits(&Tensor::from_slice(image.normalised().unwrap()).view([1, 3, height, width]));
    let every_third = logits.get(0).slice(1, 0, height, 3).slice(2, 0, width, 3);
    report.compare(
        "validate logits",
        "cityscapes.val.0",
        &every_third,
        &golden.f32("validate.cityscapes.val.0.logits_stride3"),
        Tolerance::Absolute(2e-4),
    );
    report.finish();
}
