//! run.toml as a person writes it: each key with its documentation, range and default, said here and nowhere else.
//!
//! The commented file of `coordinator init`, the checks of keys, types and ranges, docs/configuration.md and the JSON Schema
//! for editors are read off these structs ([`Keys`](super::Keys)). Defaults are the published settings (METHOD.md);
//! rules that join several keys are in `rules.rs`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::classes::ClassesConfig;
use super::compute::ComputeConfig;
use super::course::EndAfter;
use super::datasets::{EvaluationSetConfig, Layout, SourceConfig};
use super::files::FilesConfig;
use super::keys::{Keys, ValueKind};
use super::path_name::PathName;
use super::stages::{AdaptConfig, PretrainConfig, SimulateConfig};
use super::storage::{StorageConfig, url_scheme};
use super::text::{Prompts, TextSettings};
use crate::stage::Stage;

/// Far beyond what any machine serves, near enough to be told from a slip of the keyboard.
const MOST_SHARDS: u32 = 1024;
const MOST_THREADS: u32 = 1024;
/// Seconds.
const MOST_SECONDS: f64 = 1e6;

/// One training run of ULDA (CVPR 2024): labelled source images and one sentence per target domain
/// give one segmentation model for all of those domains.
///
/// - `coordinator check --config run.toml` finds everything that is wrong with it, before any work;
/// - `coordinator --workers 2` trains.
///
/// A value that is left out is the published one. Relative paths are relative to this file. Every key can
/// also be set by `--set adapt.steps=500` or by the environment, `ULDA_ADAPT__STEPS=500`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    pub run: RunSection,
    pub clip: ClipConfig,
    pub source: SourceConfig,
    #[serde(skip_serializing_if = "ClassesConfig::is_unset")]
    pub classes: ClassesConfig,
    /// The target domains: a name, and the sentence that stands for it. No image of a target is read in training, unless
    /// simulate.styles is images. The published runs have these six; with fewer, simulate.lr_pin means longer steps.
    #[serde(rename = "domain")]
    #[schemars(example = DomainConfig::published())]
    pub domains: Vec<DomainConfig>,
    pub text: TextSettings,
    pub pretrain: PretrainConfig,
    pub simulate: SimulateConfig,
    pub adapt: AdaptConfig,
    pub evaluate: EvaluateConfig,
    pub checkpoint: CheckpointConfig,
    pub deadline: DeadlineConfig,
    pub recovery: RecoveryConfig,
    pub compute: ComputeConfig,
    pub storage: StorageConfig,
}

/// The run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// Also the name of the run's directory.
    pub name: PathName,
    /// Folder that holds run directories.
    #[schemars(extend("format" = "path"))]
    pub directory: PathBuf,
    /// All random streams (crops, jitter, flips, dropout, initial weights) start from it.
    pub seed: u64,
    /// Logical ranks each batch is cut into. Part of what the run computes: the numbers do not change when fewer or more
    /// workers serve them. Left out: as many as the workers first asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_SHARDS), example = 2)]
    pub shards: Option<u32>,
    /// CPU threads of one shard. Part of what the run computes. Left out: the host's cores divided by the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MOST_THREADS), example = 1)]
    pub threads_per_shard: Option<u32>,
    /// The last stage in which the run trains. The models that exist by then are evaluated and reported.
    pub end_after: EndAfter,
}

impl Default for RunSection {
    fn default() -> Self {
        Self {
            name: "ulda".parse().expect("a plain name"),
            directory: "runs".into(),
            seed: 1,
            shards: None,
            threads_per_shard: None,
            end_after: EndAfter::Adapt,
        }
    }
}

/// The network that is adapted.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// OpenAI's RN50.pt, another of its ResNets (RN101, RN50x4, RN50x16, RN50x64), or the same state dict as .safetensors.
    /// All sizes are read from it. A path or a URL such as s3://bucket/weights/RN50.pt, as are the roots of data sets,
    /// pretrain.checkpoint, simulate.bank, adapt.checkpoint, the two continue_from and the images of domains.
    #[schemars(extend("format" = "path"), example = &"RN50.pt")]
    pub checkpoint: PathBuf,
}

/// A target domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// Names the domain in styles, logs and scores.
    pub name: PathName,
    /// The sentence that describes it, such as "driving at night", or a list of such sentences, whose mean it is. For each
    /// class, the class's name takes the place of a sentence's first word.
    pub prompt: Prompts,
    /// PNG and JPEG files, and folders with all such files below them, as paths or URLs. Required by simulate.styles = "images", whose
    /// styles are their statistics; learned styles are compared with them and do not depend on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("format" = "path", "examples" = [["photos/fog", "photos/fog-at-dawn.png"]]))]
    pub images: Vec<PathBuf>,
}

impl DomainConfig {
    /// The six of the published runs, in their order.
    #[must_use]
    pub fn published() -> Vec<Self> {
        let prompts = [
            ("rain", "driving under rain"),
            ("night", "driving at night"),
            ("snow", "driving in snow"),
            ("fog", "driving in fog"),
            ("fire", "driving through fire"),
            ("sandstorm", "driving in sandstorm"),
        ];
        let domain = |(name, prompt): (&str, &str)| Self {
            name: name.parse().expect("a plain name"),
            prompt: prompt.into(),
            images: Vec::new(),
        };
        prompts.map(domain).into()
    }
}

/// Scores of the finished models: confusion matrices, IoU and accuracy per class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateConfig {
    /// Example pictures per set in the report.
    pub examples: u32,
    /// The sets of labelled images that the finished models are scored on.
    #[serde(rename = "set")]
    #[schemars(example = published_night())]
    pub sets: Vec<EvaluationSetConfig>,
}

fn published_night() -> Vec<EvaluationSetConfig> {
    vec![EvaluationSetConfig {
        name: "night".parse().expect("a plain name"),
        layout: Layout::Acdc,
        root: "data/acdc".into(),
        split: "val".into(),
        condition: Some("night".into()),
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
    }]
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            examples: 4,
            sets: Vec::new(),
        }
    }
}

/// What a run can be resumed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; rounds in simulate. Evaluate writes one after each set.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Longest time between checkpoints if steps are slow, seconds: the first step that ends later writes one. 0 writes one
    /// after every step.
    #[schemars(range(min = 0.0, max = MOST_SECONDS))]
    pub every_seconds: f64,
    /// Newest checkpoints kept.
    #[schemars(range(min = 1))]
    pub keep: u32,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 100,
            every_seconds: 120.0,
            keep: 2,
        }
    }
}

/// Longest waits, seconds. The error that comes of one names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadlineConfig {
    /// All workers have joined.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub gather: f64,
    /// Enough workers have joined that are started elsewhere (--no-launch, Kubernetes).
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub queue: f64,
    /// A generation has formed: data plane connected, state in place.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub form: f64,
    /// NCCL has connected the GPUs of a generation, at most 0.75 * form; else that generation's sums go over TCP.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub nccl: f64,
    /// One collective operation.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub collective: f64,
    /// Silence of a worker on its attend stream.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub heartbeat: f64,
    /// No step committed although all workers are alive.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub progress: f64,
    /// Workers leave after they were asked to stop.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub drain: f64,
    /// A worker trains on without a coordinator.
    #[schemars(range(min = 0.1, max = MOST_SECONDS))]
    pub coordinator: f64,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self {
            gather: 120.0,
            queue: 604_800.0,
            form: 120.0,
            nccl: 80.0,
            collective: 300.0,
            heartbeat: 20.0,
            progress: 1800.0,
            drain: 30.0,
            coordinator: 600.0,
        }
    }
}

/// How the run gets over lost workers. Decides how soon it goes on, never what it computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecoveryConfig {
    /// Restarts of one slot's worker within the window; after that the run goes on without it.
    pub restarts: u32,
    /// Seconds after which a restart is forgotten.
    #[schemars(range(min = 0.0, max = MOST_SECONDS))]
    pub window: f64,
    /// Seconds that the survivors wait for a lost worker's successor before they go on without it.
    #[schemars(range(min = 0.0, max = MOST_SECONDS))]
    pub grace: f64,
    /// Seconds that a generation trains before it is interrupted to take newcomers in.
    #[schemars(range(min = 0.0, max = MOST_SECONDS))]
    pub admit_every: f64,
    /// Seconds that a worker has to attach again after its stream to the coordinator broke; it trains on meanwhile.
    #[schemars(range(min = 0.0, max = MOST_SECONDS))]
    pub reattach: f64,
    /// Fewer workers than this do not go on; they wait for others.
    #[schemars(range(min = 1))]
    pub min_workers: u32,
    /// More workers than this are refused. Left out: twice the workers asked for, or twice the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 16)]
    pub max_workers: Option<u32>,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            restarts: 3,
            window: 600.0,
            grace: 15.0,
            admit_every: 30.0,
            reattach: 5.0,
            min_workers: 1,
            max_workers: None,
        }
    }
}

impl RunConfig {
    /// Makes relative paths relative to `base`, the folder of the run.toml they were read from.
    pub fn rebase(&mut self, base: &Path) {
        self.map_paths(|path| base.join(path));
    }

    /// Changes all paths of the local file system; what is empty or a URL is none.
    pub fn map_paths(&mut self, change: impl Fn(&Path) -> PathBuf) {
        let change = |value: &mut Value| match value {
            Value::String(path) if !path.is_empty() && url_scheme(path).is_none() => {
                *path = change(Path::new(path)).to_string_lossy().into_owned();
            }
            _ => {}
        };
        let mut tree = self.to_table();
        Keys::of_run().visit(&mut tree, &mut |key, _, value| match (&key.kind, value) {
            (ValueKind::Path, value) => change(value),
            (ValueKind::Paths, Value::Array(paths)) => paths.iter_mut().for_each(change),
            _ => {}
        });
        *self = tree.try_into().expect("a table of a configuration reads back");
    }

    /// The run.toml that says the same, every default filled in.
    #[must_use]
    pub fn to_table(&self) -> Table {
        Table::try_from(self).expect("a run.toml's types all have a TOML form")
    }

    /// Where the inputs lie, each a path or a URL, by key.
    pub fn inputs_mut(&mut self) -> Vec<(String, &mut PathBuf)> {
        let mut inputs = vec![
            ("clip.checkpoint".to_owned(), &mut self.clip.checkpoint),
            ("source.root".to_owned(), &mut self.source.root),
        ];
        let source = self.pretrain.checkpoint.as_mut();
        inputs.extend(source.map(|path| ("pretrain.checkpoint".to_owned(), path)));
        let trained = self.pretrain.continue_from.as_mut();
        inputs.extend(trained.map(|path| ("pretrain.continue_from".to_owned(), path)));
        let bank = self.simulate.bank.as_mut();
        inputs.extend(bank.map(|path| ("simulate.bank".to_owned(), path)));
        let adapted = self.adapt.checkpoint.as_mut();
        inputs.extend(adapted.map(|path| ("adapt.checkpoint".to_owned(), path)));
        let trained = self.adapt.continue_from.as_mut();
        inputs.extend(trained.map(|path| ("adapt.continue_from".to_owned(), path)));
        for (domain, config) in self.domains.iter_mut().enumerate() {
            let images = config.images.iter_mut().enumerate();
            inputs.extend(images.map(|(image, path)| (format!("domain[{domain}].images[{image}]"), path)));
        }
        let sets = self.evaluate.sets.iter_mut().enumerate();
        inputs.extend(sets.map(|(index, set)| (format!("evaluate.set[{index}].root"), &mut set.root)));
        inputs
    }

    /// Those of the inputs that the run reads: a run that trains nothing reads no source, and one without styles no images.
    pub fn inputs_read_mut(&mut self) -> Vec<(String, &mut PathBuf)> {
        let (trains, styles) = (self.trains(), self.needs_styles());
        let scores_a_model = self.given_model().is_some();
        let continued = self.continued().map(|(stage, _)| stage);
        let mut inputs = self.inputs_mut();
        inputs.retain(|(key, _)| match key.as_str() {
            "source.root" => trains,
            "simulate.bank" => styles,
            "adapt.checkpoint" => scores_a_model,
            "pretrain.continue_from" => continued == Some(Stage::Pretrain),
            "adapt.continue_from" => continued == Some(Stage::Adapt),
            key => styles || !key.starts_with("domain["),
        });
        inputs
    }
}
