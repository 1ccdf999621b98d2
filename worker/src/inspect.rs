//! Finds what is wrong with a run's checkpoints, prompts and style bank, before any work.

use std::error::Error;
use std::path::Path;

use ulda_model::text::{fill, region_prompt};
use ulda_model::{Backbone, Head, TextEncoder, Weights, WeightsError};
use ulda_net::Shortage;
use ulda_run::spec::{Host, RunConfig, RunSpec, StyleSource};
use ulda_run::stage::Stage;
use ulda_run::{Classes, Finding};
use ulda_storage::StorageCounters;
use ulda_storage::fetch::Inputs;

use crate::resources::{OTHER_CLASSES_HINT, enough_styles, other_classes};
use crate::stages::{given_bank, templates};

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

/// Everything wrong that can be told from the resolved run.toml at `path` and the files it names.
#[must_use]
pub fn inspect(path: &Path) -> Vec<Finding> {
    let spec = match read_spec(path) {
        Ok(spec) => spec,
        Err(what) => {
            return vec![Finding::new(
                path.display().to_string(),
                what,
                "is this worker of the same build as its coordinator? build both with `make`",
            )];
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
    if let Some(path) = &source {
        inspect_source(&mut findings, path, backbone.as_ref(), &spec.classes());
    }
    findings
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
    let pool = i64::from(config.simulate.scene_pool);
    let rectifies = config.includes(Stage::Adapt) && config.adapt.rectifier;
    let Some(attention) = &backbone.config().pool else {
        if learns || rectifies {
            findings.push(Finding::new(
                "clip.checkpoint",
                "has no attention pool, which the scene loss and the rectifier need",
                "use CLIP's own checkpoint, not one of a segmentation model",
            ));
        }
        return;
    };
    let side = attention.resolution / 4;
    if learns && side != pool {
        findings.push(Finding::new(
            "simulate.scene_pool",
            format!("is {pool}, but the checkpoint's attention pool was made for {side}"),
            format!("set it to {side}"),
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

fn inspect_source(findings: &mut Vec<Finding>, path: &Path, clip: Option<&Backbone>, classes: &Classes) {
    const KEY: &str = "pretrain.checkpoint";
    let Some(weights) = note(findings, KEY, Weights::read(path)) else {
        return;
    };
    let backbone = note(findings, KEY, Backbone::load(&weights));
    let head = note(findings, KEY, Head::load(&weights));
    let other = head.and_then(|head| other_classes(&weights, &head, classes));
    findings.extend(other.map(|what| Finding::new(KEY, what, OTHER_CLASSES_HINT)));
    if let (Some(source), Some(clip)) = (backbone, clip)
        && source.config().low_channels() != clip.config().low_channels()
    {
        findings.push(Finding::new(
            KEY,
            format!(
                "has {} low-level channels, clip.checkpoint has {}",
                source.config().low_channels(),
                clip.config().low_channels()
            ),
            "use a source checkpoint trained on the same CLIP model",
        ));
    }
}
