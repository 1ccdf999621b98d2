//! run.toml as a person writes it. Defaults are the published settings (METHOD.md); unknown keys are errors.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compute::ComputeConfig;
use super::course::EndAfter;
use super::datasets::{EvaluationSetConfig, SourceConfig};
use super::path_name::PathName;
use super::storage::{StorageConfig, is_url};
use super::styles::StyleSource;

/// A whole run.toml.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    pub run: RunSection,
    pub clip: ClipConfig,
    pub source: SourceConfig,
    /// The target domains, each a name and a sentence.
    #[serde(rename = "domain")]
    pub domains: Vec<DomainConfig>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// Also the name of the run's directory.
    pub name: PathName,
    /// Folder that holds run directories.
    pub directory: PathBuf,
    pub seed: u64,
    /// Logical ranks. Part of what the run computes; by default as many as workers first asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// CPU threads of one shard. Part of what the run computes; by default the host's cores divided by the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_shard: Option<u32>,
    /// The last stage in which the run trains; the models that exist by then are evaluated.
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

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// OpenAI's `RN50.pt`, or the same state dict as safetensors.
    pub checkpoint: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    pub name: PathName,
    /// A sentence such as "driving at night".
    pub prompt: String,
    /// PNG files, and folders with all PNG files below them, whose statistics are the styles of `simulate.styles =
    /// "images"`, and what learned styles are compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
}

/// Colour jitter of stage 0: each factor is drawn from [1 − x, 1 + x].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JitterConfig {
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self {
            brightness: 0.5,
            contrast: 0.5,
            saturation: 0.5,
        }
    }
}

/// Stage 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// A source checkpoint to start from instead; the stage is then skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    pub steps: u64,
    /// Images per step, over all shards.
    pub batch: u32,
    /// Side of the square crop, in pixels.
    pub crop: u32,
    pub lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub poly_power: f64,
    pub lr_floor: f64,
    pub dropout: f64,
    pub jitter: JitterConfig,
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Width of the head's inner layers when it starts from scratch.
    pub head_channels: u32,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            checkpoint: None,
            steps: 200_000,
            batch: 2,
            crop: 768,
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
            poly_power: 0.9,
            lr_floor: 1e-6,
            dropout: 0.1,
            jitter: JitterConfig::default(),
            flip: 0.5,
            head_channels: 256,
        }
    }
}

/// Stage 1. One step is one round: a batch per data shard with all its iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulateConfig {
    /// Where styles come from. Keys of the learning matter to `learned` alone.
    pub styles: StyleSource,
    /// The style bank of `styles = "bank"`, as a run leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bank: Option<PathBuf>,
    /// Batches over all data shards.
    pub batches: u64,
    /// Images per batch.
    pub batch: u32,
    /// Side of the square crop, in pixels.
    pub crop: u32,
    /// Optimiser iterations per batch.
    pub iterations: u32,
    pub lr_pin: f64,
    pub lr_projector: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub lambda_pixel: f64,
    pub lambda_region: f64,
    pub lambda_seg: f64,
    pub lambda_intra: f64,
    pub lambda_cross: f64,
    pub temperature: f64,
    pub projector_hidden: u32,
    /// Side to which features are pooled before the CLIP branch; the attention pool must have been trained for it.
    pub scene_pool: u32,
    pub dropout: f64,
    /// Batches worked on at once; they share projector gradients. By default 1.
    pub data_shards: u32,
    /// Groups over which the domains of one batch are spread; changes no number while `domains_at_once` is 1. By default
    /// as many as fit the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_groups: Option<u32>,
    /// Domains that a shard computes as one batch; more than it has means all of them. Part of what the run computes,
    /// within rounding: kernels add up a larger batch in another order.
    pub domains_at_once: u32,
}

impl Default for SimulateConfig {
    fn default() -> Self {
        Self {
            styles: StyleSource::Learned,
            bank: None,
            batches: 100,
            batch: 2,
            crop: 768,
            iterations: 100,
            lr_pin: 1.0,
            lr_projector: 1e-3,
            momentum: 0.9,
            weight_decay: 1e-4,
            lambda_pixel: 0.5,
            lambda_region: 1.0,
            lambda_seg: 1.0,
            lambda_intra: 0.0,
            lambda_cross: 20.0,
            temperature: 10.0,
            projector_hidden: 512,
            scene_pool: 56,
            dropout: 0.1,
            data_shards: 1,
            prompt_groups: None,
            domains_at_once: 1,
        }
    }
}

/// Stage 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptConfig {
    pub steps: u64,
    /// Images per step, over all shards.
    pub batch: u32,
    /// Side of the square crop, in pixels.
    pub crop: u32,
    pub lr_head: f64,
    pub lr_rectifier: f64,
    pub lr_scale: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub poly_power: f64,
    pub lr_floor: f64,
    pub dropout: f64,
    /// The text-driven rectifier; off for PØDA.
    pub rectifier: bool,
    /// Start of the rectifier's per-channel scale β.
    pub scale_init: f64,
    /// Steps between validations on the source; 0 for never.
    pub validate_every: u64,
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            steps: 2_000,
            batch: 8,
            crop: 768,
            lr_head: 0.01,
            lr_rectifier: 1e-3,
            lr_scale: 1e-4,
            momentum: 0.9,
            weight_decay: 1e-4,
            poly_power: 0.9,
            lr_floor: 1e-6,
            dropout: 0.1,
            rectifier: true,
            scale_init: 0.01,
            validate_every: 100,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateConfig {
    /// Example pictures per set in the report.
    pub examples: u32,
    #[serde(rename = "set")]
    pub sets: Vec<EvaluationSetConfig>,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            examples: 4,
            sets: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps of pretrain and adapt between checkpoints; simulate writes one per round.
    pub every: u64,
    /// Newest checkpoints kept.
    pub keep: u32,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 100, keep: 2 }
    }
}

/// Longest waits, in seconds. Each error that comes of one names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadlineConfig {
    /// All workers have joined.
    pub gather: f64,
    /// Enough workers have joined that somebody else starts.
    pub queue: f64,
    /// A generation has formed: data plane connected, state in place.
    pub form: f64,
    /// One collective operation.
    pub collective: f64,
    /// Silence of a worker on its attend stream.
    pub heartbeat: f64,
    /// No step committed although all workers are alive.
    pub progress: f64,
    /// Workers leave after they were asked to stop.
    pub drain: f64,
    /// A worker trains on without a coordinator.
    pub coordinator: f64,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self {
            gather: 120.0,
            queue: 604_800.0,
            form: 120.0,
            collective: 300.0,
            heartbeat: 20.0,
            progress: 1800.0,
            drain: 30.0,
            coordinator: 600.0,
        }
    }
}

/// How a run gets over the loss of workers. Decides how soon it goes on, never what it computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecoveryConfig {
    /// Starts of one slot's worker within `window` after which it is not started again.
    pub restarts: u32,
    /// Seconds after which a restart is forgotten.
    pub window: f64,
    /// Seconds that the survivors wait for a lost worker's successor before they go on without it.
    pub grace: f64,
    /// Seconds that a generation trains before it is interrupted to take newcomers in.
    pub admit_every: f64,
    /// Seconds that a worker has to attach again after its stream to the coordinator broke; it trains on meanwhile.
    pub reattach: f64,
    /// Fewer workers than this do not go on; they wait for others.
    pub min_workers: u32,
    /// More workers than this are refused. By default twice the workers asked for, or twice the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
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
        for path in self.paths_mut() {
            if !path.as_os_str().is_empty() {
                *path = base.join(&*path);
            }
        }
    }

    /// All paths of the local file system; what is a URL is none.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let own = [Some(&mut self.run.directory), self.storage.cache.as_mut()];
        let inputs = [
            Some(&mut self.clip.checkpoint),
            self.pretrain.checkpoint.as_mut(),
            self.simulate.bank.as_mut(),
        ];
        let images = self.domains.iter_mut().flat_map(|domain| &mut domain.images);
        let sets = self.evaluate.sets.iter_mut().map(|set| &mut set.root);
        let given = own.into_iter().chain(inputs).flatten();
        given
            .chain([&mut self.source.root])
            .chain(images)
            .chain(sets)
            .filter(|path| !is_url(path))
    }

    /// Where the inputs lie, each a path or a URL, by key.
    pub fn inputs_mut(&mut self) -> Vec<(String, &mut PathBuf)> {
        let mut inputs = vec![
            ("clip.checkpoint".to_owned(), &mut self.clip.checkpoint),
            ("source.root".to_owned(), &mut self.source.root),
        ];
        let source = self.pretrain.checkpoint.as_mut();
        inputs.extend(source.map(|path| ("pretrain.checkpoint".to_owned(), path)));
        let bank = self.simulate.bank.as_mut();
        inputs.extend(bank.map(|path| ("simulate.bank".to_owned(), path)));
        for (domain, config) in self.domains.iter_mut().enumerate() {
            let images = config.images.iter_mut().enumerate();
            inputs.extend(images.map(|(image, path)| (format!("domain[{domain}].images[{image}]"), path)));
        }
        let sets = self.evaluate.sets.iter_mut().enumerate();
        inputs.extend(sets.map(|(index, set)| (format!("evaluate.set[{index}].root"), &mut set.root)));
        inputs
    }
}
