//! What is wrong with the data sets.

use ulda_core::spec::{DatasetConfig, Layout, RunSpec};
use ulda_data::{Dataset, DatasetSpec, Depth, Size};

use super::finding::Finding;

/// Findings told of one data set; more are counted.
const TOLD: usize = 20;

struct Look {
    key: String,
    set: DatasetConfig,
    /// The stage whose crop is the largest, and the crop.
    crop: Option<(&'static str, u32)>,
}

/// Audits the source's training and validation images and every evaluation set.
pub(super) fn findings(spec: &RunSpec, depth: Depth) -> Vec<Finding> {
    let config = spec.config();
    let mut looks = vec![
        Look {
            key: "source.train".into(),
            set: config.source.training_set(),
            crop: largest_crop(spec),
        },
        Look {
            key: "source.validation".into(),
            set: config.source.validation_set(),
            crop: None,
        },
    ];
    for (index, set) in config.evaluate.sets.iter().enumerate() {
        looks.push(Look {
            key: format!("evaluate.set[{index}]"),
            set: set.dataset(),
            crop: None,
        });
    }
    looks.iter().flat_map(|look| audit(look, depth)).collect()
}

fn largest_crop(spec: &RunSpec) -> Option<(&'static str, u32)> {
    let config = spec.config();
    let pretrain = config
        .pretrain
        .checkpoint
        .is_none()
        .then_some(("pretrain.crop", config.pretrain.crop));
    [
        pretrain,
        Some(("simulate.crop", config.simulate.crop)),
        Some(("adapt.crop", config.adapt.crop)),
    ]
    .into_iter()
    .flatten()
    .max_by_key(|(_, crop)| *crop)
}

fn audit(look: &Look, depth: Depth) -> Vec<Finding> {
    let dataset = match Dataset::list(&dataset_spec(&look.set)) {
        Ok(dataset) => dataset,
        Err(cause) => return vec![Finding::of_text(&look.key, &cause.to_string())],
    };
    let crop = look.crop.map(|(_, side)| Size {
        width: side,
        height: side,
    });
    let found = dataset.audit(depth, crop);
    let mut findings: Vec<Finding> = found
        .iter()
        .take(TOLD)
        .map(|finding| {
            let key = match (&finding.error, look.crop) {
                (ulda_data::SampleError::CropTooLarge { .. }, Some((key, _))) => key,
                _ => &look.key,
            };
            Finding::of_text(key, &finding.to_string())
        })
        .collect();
    if found.len() > TOLD {
        findings.push(Finding {
            key: look.key.clone(),
            what: format!(
                "{} more of {} samples are broken",
                found.len() - TOLD,
                dataset.len()
            ),
            hint: "repair these and check again".into(),
        });
    }
    findings
}

fn dataset_spec(set: &DatasetConfig) -> DatasetSpec {
    let size = |sides: Option<[u32; 2]>| sides.map(|[width, height]| Size { width, height });
    DatasetSpec {
        layout: match set.layout {
            Layout::Cityscapes => ulda_data::Layout::Cityscapes,
            Layout::Gta5 => ulda_data::Layout::Gta5,
            Layout::Acdc => ulda_data::Layout::Acdc,
        },
        root: set.root.clone(),
        split: set.split.clone(),
        condition: set.condition.clone(),
        only_size: size(set.only_size),
        centre_crop: size(set.centre_crop),
    }
}
