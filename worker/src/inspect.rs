//! Finds what is wrong with a run's checkpoints, prompts and style bank, before any work.

use std::error::Error;
use std::path::{Path, PathBuf};

use ulda_model::text::{fill, region_prompt};
use ulda_model::{Backbone, Head, TextEncoder, Weights, WeightsError};
use ulda_net::Shortage;
use ulda_run::spec::{Host, RunConfig, RunSpec, StyleSource};
use ulda_run::stage::Stage;
use ulda_run::{Classes, Finding};
use ulda_storage::StorageCounters;
use ulda_storage::fetch::Inputs;

use crate::device::DeviceSurvey;
use crate::fit::domains_at_once;
use crate::resources::{
    OTHER_CLASSES_HINT, ResourceError, backbone_tensors, enough_styles, other_classes, same_backbone,
};
use crate::stages::templates;
use crate::style_sources::given_bank;

/// `error` with its causes as a finding; one that may pass where the system was short of something.
fn finding(key: &str, error: &(dyn Error + 'static), hint: Option<String>) -> Finding {
    Finding {
        is_temporary: Shortage::of(error).is_some(),
        ..Finding::new(
            key,
            crate::with_causes(error),
            Shortage::hint_or(error, hint).unwrap_or_default(),
        )
    }
}

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
    let bank = config.simulate.bank.as_ref().filter(|_| config.needs_styles());
    let bank = bank.and_then(|path| bring("simulate.bank", path));
    let clip = clip.and_then(|path| note(&mut findings, "clip.checkpoint", Weights::read(&path)));
    let backbone = clip
        .as_ref()
        .and_then(|weights| note(&mut findings, "clip.checkpoint", Backbone::load(weights)));
    let learns = config.includes(Stage::Simulate) && config.simulate.styles == StyleSource::Learned;
    if let Some(weights) = &clip
        && (learns || config.includes(Stage::Adapt))
    {
        inspect_prompts(&mut findings, &spec, weights);
    }
    if let Some(backbone) = &backbone {
        inspect_scene_pool(&mut findings, &spec, backbone, learns);
    }
    if let Some(backbone) = &backbone
        && let Some(path) = bank
    {
        let mut here = config.clone();
        here.simulate.bank = Some(path);
        inspect_bank(&mut findings, &here, backbone);
    }
    let classes = spec.classes();
    let mut model = |key: &str, path: Option<PathBuf>| {
        path.and_then(|path| inspect_model(&mut findings, key, &path, backbone.as_ref(), &classes))
    };
    let source = model("pretrain.checkpoint", source);
    let adapted = model("adapt.checkpoint", adapted);
    if let (Some(source), Some(adapted)) = (source, adapted)
        && !same_backbone(&backbone_tensors(&source), &backbone_tensors(&adapted))
    {
        let error = ResourceError::TwoBackbones;
        findings.push(finding("adapt.checkpoint", &error, error.hint()));
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

fn read_spec(path: &Path) -> Result<RunSpec, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
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

fn inspect_prompts(findings: &mut Vec<Finding>, spec: &RunSpec, weights: &Weights) {
    let Some(encoder) = note(
        findings,
        "clip.checkpoint",
        TextEncoder::load(weights, tch::Device::Cpu),
    ) else {
        return;
    };
    let (templates, classes) = (templates(spec.config()), spec.classes());
    for (index, domain) in spec.config().domains.iter().enumerate() {
        let scene = domain.prompt.all();
        let regions = classes
            .iter()
            .flat_map(|class| scene.iter().map(|prompt| region_prompt(&class.name, prompt)));
        let texts: Vec<String> = scene
            .iter()
            .map(|prompt| (*prompt).to_owned())
            .chain(regions)
            .collect();
        if let Err(error) = encoder.tokenize(&fill(&templates, &texts)) {
            findings.push(finding(&format!("domain[{index}].prompt"), &error, error.hint()));
        }
    }
}

fn inspect_scene_pool(findings: &mut Vec<Finding>, spec: &RunSpec, backbone: &Backbone, learns: bool) {
    let config = spec.config();
    let rectifies = config.includes(Stage::Adapt) && config.adapt.rectifier;
    let Some(side) = backbone.config().scene_side() else {
        if learns || rectifies {
            findings.push(Finding::new(
                "clip.checkpoint",
                "has no attention pool, which the scene loss and the rectifier need",
                "use CLIP's own checkpoint, not one of a segmentation model",
            ));
        }
        return;
    };
    if !learns {
        return;
    }
    let simulate = &config.simulate;
    if let Some(pool) = simulate.scene_pool.map(i64::from).filter(|pool| *pool != side) {
        findings.push(Finding::new(
            "simulate.scene_pool",
            format!("is {pool}, but the checkpoint's attention pool was made for {side}"),
            format!("set it to {side}, or leave it out"),
        ));
    }
    // The stem's convolution rounds up, its pooling and that of three stages down.
    let whole = i64::from(simulate.crop.div_ceil(2) / 2);
    if !simulate.resize_feature && whole / 8 != side / 8 {
        findings.push(Finding::new(
            "simulate.crop",
            format!(
                "is {}, whose whole feature the checkpoint's attention pool does not take: it was made for crops of {}",
                simulate.crop,
                4 * side
            ),
            format!("set it to {}, or simulate.resize_feature to true", 4 * side),
        ));
    }
}

fn inspect_bank(findings: &mut Vec<Finding>, config: &RunConfig, backbone: &Backbone) {
    const KEY: &str = "simulate.bank";
    match given_bank(config, backbone) {
        Ok(None) => {}
        Ok(Some(bank)) => findings.extend(
            enough_styles(config, KEY, bank.len())
                .err()
                .map(|error| finding(KEY, &error, error.hint())),
        ),
        Err(error) => findings.push(finding(KEY, &error, error.hint())),
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
    let backbone = note(findings, key, Backbone::load(&weights));
    let head = note(findings, key, Head::load(&weights));
    let other = head.and_then(|head| other_classes(&weights, &head, classes));
    findings.extend(other.map(|what| Finding::new(key, what, OTHER_CLASSES_HINT)));
    if let (Some(model), Some(clip)) = (backbone, clip)
        && model.config().low_channels() != clip.config().low_channels()
    {
        findings.push(Finding::new(
            key,
            format!(
                "has {} low-level channels, clip.checkpoint has {}",
                model.config().low_channels(),
                clip.config().low_channels()
            ),
            "use a checkpoint trained on the same CLIP model",
        ));
    }
    Some(weights)
}
