//! What is wrong with the data sets.

use ulda_dataset::{Dataset, Depth, SampleError, Size};
use ulda_run::Finding;
use ulda_run::spec::{DatasetConfig, RunConfig, RunSpec, StyleDraw, is_url};
use ulda_run::stage::Stage;

use super::finding::finding;

/// Findings told of one data set; more are counted.
pub(super) const MOST_LISTED: usize = 20;

struct Look {
    key: String,
    set: DatasetConfig,
    /// Keys of the crops that stages cut out of it, and their sides.
    crops: Vec<(&'static str, u32)>,
}

/// Simulate makes one style per image and domain; a batch of adapt may need as many different ones, or one of each image.
fn too_few_styles(spec: &RunSpec, images: usize) -> Option<Finding> {
    let config = spec.config();
    let simulate = &config.simulate;
    let in_batches = simulate.batches.saturating_mul(u64::from(simulate.batch));
    match config.adapt.draw {
        StyleDraw::Any => return None,
        StyleDraw::Own => {
            return (in_batches < images as u64).then(|| {
                let what =
                    format!("is own, and simulate makes styles of {in_batches} of {images} training images");
                let batches = images.div_ceil(simulate.batch as usize);
                let hint = format!("raise simulate.batches to {batches}, or make it different or any");
                Finding::new("adapt.draw", what, hint)
            });
        }
        StyleDraw::Different => {}
    }
    let styles = images as u64 * config.domains.len() as u64;
    (u64::from(config.adapt.batch) > styles).then(|| {
        let what = format!(
            "{} images per step need as many different styles, and the {images} training images give {styles}",
            config.adapt.batch
        );
        Finding::new("adapt.batch", what, "lower adapt.batch, or add images or domains")
    })
}

/// Audits the source's training and validation images and every evaluation set. `config` is the spec's with those
/// inputs on this host that are there; others are left to who fetches them.
pub(super) fn findings(spec: &RunSpec, config: &RunConfig, depth: Depth) -> Vec<Finding> {
    let classes = &spec.classes();
    let mut looks = vec![
        Look {
            key: "source.train".into(),
            set: config.source.training_set(classes),
            crops: crops(spec),
        },
        Look {
            key: "source.validation".into(),
            set: config.source.validation_set(classes),
            crops: Vec::new(),
        },
    ];
    if !config.trains() {
        looks.clear();
    }
    for (index, set) in config.evaluate.sets.iter().enumerate() {
        looks.push(Look {
            key: format!("evaluate.set[{index}]"),
            set: set.dataset(classes),
            crops: Vec::new(),
        });
    }
    let here = looks.iter().filter(|look| !is_url(&look.set.root));
    let mut findings: Vec<Finding> = here.flat_map(|look| audit(look, depth)).collect();
    if config.includes(Stage::Adapt)
        && config.simulate.styles.reads_source()
        && let Ok(training) = Dataset::list(&looks[0].set)
    {
        findings.extend(too_few_styles(spec, training.len()));
    }
    findings
}

fn crops(spec: &RunSpec) -> Vec<(&'static str, u32)> {
    let config = spec.config();
    let crops = [
        (Stage::Pretrain, "pretrain.crop", config.pretrain.crop),
        (Stage::Simulate, "simulate.crop", config.simulate.crop),
        (Stage::Adapt, "adapt.crop", config.adapt.crop),
    ];
    let included = crops.into_iter().filter(|(stage, _, _)| {
        let reads_source = *stage != Stage::Simulate || config.simulate.styles.reads_source();
        config.includes(*stage) && reads_source
    });
    included.map(|(_, key, crop)| (key, crop)).collect()
}

fn audit(look: &Look, depth: Depth) -> Vec<Finding> {
    let dataset = match Dataset::list(&look.set) {
        Ok(dataset) => dataset,
        Err(cause) => return vec![finding(&look.key, &cause, cause.hint())],
    };
    let largest = look.crops.iter().map(|(_, side)| *side).max();
    let largest = largest.map(|side| Size {
        width: side,
        height: side,
    });
    let found = dataset.audit(depth, largest);
    let (small, broken): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|finding| matches!(finding.error, SampleError::CropTooLarge { .. }));
    let small: Vec<&SampleError> = small.iter().map(|finding| &finding.error).collect();
    let too_large = look
        .crops
        .iter()
        .filter_map(|(key, side)| crop_too_large(key, *side, &small, dataset.len()));
    let mut findings: Vec<Finding> = too_large.collect();
    let listed = broken.iter().take(MOST_LISTED).map(|found| &found.error);
    findings.extend(listed.map(|error| finding(&look.key, error, error.hint())));
    if broken.len() > MOST_LISTED {
        findings.push(Finding::new(
            look.key.clone(),
            format!(
                "{} more of {} samples are broken",
                broken.len() - MOST_LISTED,
                dataset.len()
            ),
            "repair these and check again",
        ));
    }
    findings
}

/// One finding for a crop, however many of the images are smaller than it.
fn crop_too_large(key: &str, side: u32, small: &[&SampleError], images: usize) -> Option<Finding> {
    let sizes = small.iter().filter_map(|error| match error {
        SampleError::CropTooLarge { path, image, .. } => Some((path, *image, image.width.min(image.height))),
        _ => None,
    });
    let smaller: Vec<_> = sizes.filter(|(_, _, least)| *least < side).collect();
    let (path, size, least) = smaller.iter().min_by_key(|(_, _, least)| *least)?;
    let what = format!(
        "is {side}, and {} of {images} images are smaller than that: `{}` is {size}",
        smaller.len(),
        path.display()
    );
    Some(Finding::new(key, what, format!("set it to at most {least}")))
}
