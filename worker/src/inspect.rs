//! Finds what is wrong with a run's checkpoints, prompts and style bank, before any work.

use std::path::Path;

use ulda_model::text::{CLASSES, fill, region_prompt};
use ulda_model::{Backbone, Head, TextEncoder, Weights, WeightsError};
use ulda_net::Shortage;
use ulda_run::spec::{Host, RunConfig, RunSpec, StyleSource};
use ulda_run::stage::Stage;
use ulda_storage::StorageCounters;
use ulda_storage::fetch::Inputs;

use crate::resources::enough_styles;
use crate::stages::{given_bank, templates};

/// One thing wrong, as the coordinator's table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectionFinding {
    pub key: String,
    pub what: String,
    pub hint: String,
    /// Nothing may be wrong with the input: the system was short of descriptors or memory.
    pub is_temporary: bool,
}

impl InspectionFinding {
    /// Splits the hint that an error's text may carry off from it.
    fn new(key: &str, text: &str) -> Self {
        let (what, hint) = text.split_once("hint:").unwrap_or((text, ""));
        let tidy = |part: &str| part.trim().trim_end_matches([';', ':']).trim().to_owned();
        Self {
            key: key.to_owned(),
            what: tidy(what),
            hint: tidy(hint),
            is_temporary: false,
        }
    }

    /// The same, and whether `error` is about the input at all.
    fn of(key: &str, error: &(dyn std::error::Error + 'static), text: &str) -> Self {
        Self {
            is_temporary: Shortage::of(error).is_some(),
            ..Self::new(key, text)
        }
    }
}

/// Everything wrong that can be told from the resolved run.toml at `path` and the files it names.
#[must_use]
pub fn inspect(path: &Path) -> Vec<InspectionFinding> {
    let spec = match read_spec(path) {
        Ok(spec) => spec,
        Err(what) => {
            return vec![InspectionFinding {
                key: path.display().to_string(),
                what,
                hint: "is this worker of the same build as its coordinator? build both with `make`"
                    .to_owned(),
                is_temporary: false,
            }];
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
            findings.push(InspectionFinding::of(key, &error.cause, &error.cause.to_string()));
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
        inspect_source(&mut findings, path, backbone.as_ref());
    }
    findings
}

fn read_spec(path: &Path) -> Result<RunSpec, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let config: RunConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
    RunSpec::resolve(config, Host { workers: 1, cores: 1 }).map_err(|problems| problems.to_string())
}

fn note<T>(findings: &mut Vec<InspectionFinding>, key: &str, outcome: Result<T, WeightsError>) -> Option<T> {
    outcome
        .map_err(|error| {
            findings.push(InspectionFinding::of(
                key,
                &error,
                &crate::advice::on_weights(&error),
            ))
        })
        .ok()
}

fn inspect_prompts(findings: &mut Vec<InspectionFinding>, spec: &RunSpec, weights: &Weights) {
    let Some(encoder) = note(
        findings,
        "clip.checkpoint",
        TextEncoder::load(weights, tch::Device::Cpu),
    ) else {
        return;
    };
    let templates = templates(spec.config());
    for (index, domain) in spec.config().domains.iter().enumerate() {
        let scene = domain.prompt.all();
        let regions = CLASSES
            .iter()
            .flat_map(|class| scene.iter().map(|prompt| region_prompt(class, prompt)));
        let texts: Vec<String> = scene
            .iter()
            .map(|prompt| (*prompt).to_owned())
            .chain(regions)
            .collect();
        if let Err(error) = encoder.tokenize(&fill(&templates, &texts)) {
            let text = crate::with_causes(&error);
            findings.push(InspectionFinding::new(&format!("domain[{index}].prompt"), &text));
        }
    }
}

fn inspect_scene_pool(
    findings: &mut Vec<InspectionFinding>,
    spec: &RunSpec,
    backbone: &Backbone,
    learns: bool,
) {
    let config = spec.config();
    let pool = i64::from(config.simulate.scene_pool);
    let rectifies = config.includes(Stage::Adapt) && config.adapt.rectifier;
    let Some(attention) = &backbone.config().pool else {
        if learns || rectifies {
            findings.push(InspectionFinding {
                key: "clip.checkpoint".to_owned(),
                what: "has no attention pool, which the scene loss and the rectifier need".to_owned(),
                hint: "use CLIP's own checkpoint, not one of a segmentation model".to_owned(),
                is_temporary: false,
            });
        }
        return;
    };
    let side = attention.resolution / 4;
    if learns && side != pool {
        findings.push(InspectionFinding {
            key: "simulate.scene_pool".to_owned(),
            what: format!("is {pool}, but the checkpoint's attention pool was made for {side}"),
            hint: format!("set it to {side}"),
            is_temporary: false,
        });
    }
}

fn inspect_bank(findings: &mut Vec<InspectionFinding>, config: &RunConfig, backbone: &Backbone) {
    const KEY: &str = "simulate.bank";
    let text = match given_bank(config, backbone) {
        Ok(None) => return,
        Ok(Some(bank)) => match enough_styles(config, KEY, bank.len()) {
            Ok(()) => return,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let mut finding = InspectionFinding::new(KEY, &text);
    if finding.hint.is_empty() {
        "name the styles/bank.safetensors of another run".clone_into(&mut finding.hint);
    }
    findings.push(finding);
}

fn inspect_source(findings: &mut Vec<InspectionFinding>, path: &Path, clip: Option<&Backbone>) {
    const KEY: &str = "pretrain.checkpoint";
    let Some(weights) = note(findings, KEY, Weights::read(path)) else {
        return;
    };
    let backbone = note(findings, KEY, Backbone::load(&weights));
    note(findings, KEY, Head::load(&weights));
    if let (Some(source), Some(clip)) = (backbone, clip)
        && source.config().low_channels() != clip.config().low_channels()
    {
        findings.push(InspectionFinding {
            key: KEY.to_owned(),
            what: format!(
                "has {} low-level channels, clip.checkpoint has {}",
                source.config().low_channels(),
                clip.config().low_channels()
            ),
            hint: "use a source checkpoint trained on the same CLIP model".to_owned(),
            is_temporary: false,
        });
    }
}
