//! Finds what is wrong with a run's checkpoints, prompts and style bank, before any work.

use std::path::{Path, PathBuf};

use ulda_files::MOST_CONFIGURATION_BYTES;
use ulda_model::{Backbone, Head, SegmentationModel, Weights, WeightsError};
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_run::stage::Stage;
use ulda_run::{Classes, Finding};
use ulda_storage::StorageCounters;
use ulda_storage::fetch::Inputs;

use crate::continued::{self, ContinuedTraining};
use crate::device::DeviceSurvey;
use crate::domains_at_once::domains_at_once;
use crate::fit::{finding, misfits};
use crate::resources::{OTHER_CLASSES_HINT, ResourceError, backbone_tensors, other_classes, same_backbone};
use crate::style_sources::{TooFewStyles, given_bank};

/// What a look at a run's inputs gives.
#[derive(Debug, Default)]
pub struct Inspection {
    pub findings: Vec<Finding>,
    /// What a run that leaves it open should have, where this host has GPUs.
    pub domains_at_once: Option<u32>,
}

/// Everything wrong that can be told from the resolved run.toml at `path` and the files it names; `cuda` says whether
/// libtorch's CUDA library was found, `workers` how many will share this host.
#[must_use]
pub fn inspect(path: &Path, cuda: bool, workers: u32) -> Inspection {
    let spec = match read_spec(path) {
        Ok(spec) => spec,
        Err(what) => {
            let finding = Finding::new(
                path.display().to_string(),
                what,
                "is this worker of the same build as its coordinator? build both with `make`",
            );
            return Inspection {
                findings: vec![finding],
                domains_at_once: None,
            };
        }
    };
    let mut findings = Vec::new();
    let config = spec.config();
    let inputs = Inputs::new(
        config,
        std::env::var_os("ULDA_CACHE").map(Into::into),
        StorageCounters::default(),
    );
    let mut bring = |key: &str, path: &Path| match inputs.bring_input(key, path) {
        Ok(path) => Some(path),
        Err(error) => {
            findings.push(finding(key, &*error.cause, error.cause.hint()));
            None
        }
    };
    let clip = bring("clip.checkpoint", &config.clip.checkpoint);
    let source = config.pretrain.checkpoint.as_ref();
    let source = source.and_then(|path| bring("pretrain.checkpoint", path));
    let adapted = config.given_model();
    let adapted = adapted.and_then(|path| bring("adapt.checkpoint", path));
    let trained = config.continued();
    let trained = trained.and_then(|(stage, path)| Some((stage, bring(continued::key(stage), path)?)));
    let bank = config.simulate.bank.as_ref().filter(|_| config.needs_styles());
    let bank = bank.and_then(|path| bring("simulate.bank", path));
    let clip = clip.and_then(|path| note(&mut findings, "clip.checkpoint", Weights::read(&path)));
    let backbone = clip
        .as_ref()
        .and_then(|weights| note(&mut findings, "clip.checkpoint", Backbone::load(weights)));
    let classes = spec.classes();
    if let (Some(weights), Some(backbone)) = (&clip, &backbone) {
        findings.extend(misfits(config, &classes, weights, backbone));
    }
    if let Some(backbone) = &backbone
        && let Some(path) = bank
    {
        let mut here = config.clone();
        here.simulate.bank = Some(path);
        inspect_bank(&mut findings, &here, backbone);
    }
    let mut model = |key: &str, path: Option<PathBuf>| {
        path.and_then(|path| inspect_model(&mut findings, key, &path, backbone.as_ref(), &classes))
    };
    let source = model("pretrain.checkpoint", source);
    let adapted = model("adapt.checkpoint", adapted).map(|model| ("adapt.checkpoint", model));
    let later = match trained {
        Some((stage, path)) => {
            let key = continued::key(stage);
            let model = model(key, Some(path));
            if let Some(model) = &model {
                inspect_training(&mut findings, stage, model, config);
            }
            model.map(|model| (key, model))
        }
        None => adapted,
    };
    if let (Some(source), Some((key, model))) = (source, later)
        && !same_backbone(&backbone_tensors(&source), &backbone_tensors(&model))
    {
        let error = ResourceError::TwoBackbones { key };
        findings.push(finding(key, &error, error.hint()));
    }
    let domains_at_once = backbone.and_then(|backbone| {
        let survey = DeviceSurvey::for_choice(config.compute.device, cuda);
        domains_at_once(&spec, backbone.config(), &survey, workers)
    });
    Inspection {
        findings,
        domains_at_once,
    }
}

pub(crate) fn read_spec(path: &Path) -> Result<RunSpec, String> {
    let text = ulda_files::read_text(path, MOST_CONFIGURATION_BYTES)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let config: RunConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
    RunSpec::resolve(config, Host { workers: 1, cores: 1 }).map_err(|problems| problems.to_string())
}

fn note<T>(findings: &mut Vec<Finding>, key: &str, outcome: Result<T, WeightsError>) -> Option<T> {
    outcome
        .map_err(|error| {
            findings.push(finding(key, &error, error.hint()));
        })
        .ok()
}

fn inspect_bank(findings: &mut Vec<Finding>, config: &RunConfig, backbone: &Backbone) {
    const KEY: &str = "simulate.bank";
    match given_bank(config, backbone) {
        Ok(None) => {}
        Ok(Some(bank)) => findings.extend(
            TooFewStyles::check(config, KEY, bank.len())
                .err()
                .map(|error| finding(KEY, &error, Some(TooFewStyles::HINT.to_owned()))),
        ),
        Err(error) => findings.push(finding(KEY, &error, error.hint())),
    }
}

/// Looks at a training that `stage` goes on with, and tells what does not go on as it was.
fn inspect_training(findings: &mut Vec<Finding>, stage: Stage, model: &Weights, config: &RunConfig) {
    // What is wrong with the head itself is told already.
    let Ok(head) = Head::load(model) else { return };
    let key = continued::key(stage);
    let training = ContinuedTraining::read(stage, model.path(), head, config);
    if let Some(training) = note(findings, key, training) {
        findings.extend(training.notes().iter().cloned());
    }
}

/// Looks at a whole model; the file's tensors where it can be read.
fn inspect_model(
    findings: &mut Vec<Finding>,
    key: &str,
    path: &Path,
    clip: Option<&Backbone>,
    classes: &Classes,
) -> Option<Weights> {
    let weights = note(findings, key, Weights::read(path))?;
    let model = note(findings, key, SegmentationModel::load(&weights));
    if let Some(SegmentationModel { backbone, head }) = model {
        let other = other_classes(&weights, &head, classes);
        findings.extend(other.map(|what| Finding::new(key, what, OTHER_CLASSES_HINT)));
        if let Some(clip) = clip
            && backbone.config().low_channels() != clip.config().low_channels()
        {
            findings.push(Finding::new(
                key,
                format!(
                    "has {} low-level channels, clip.checkpoint has {}",
                    backbone.config().low_channels(),
                    clip.config().low_channels()
                ),
                "use a checkpoint trained on the same CLIP model",
            ));
        }
    }
    Some(weights)
}
