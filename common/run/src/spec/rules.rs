//! What makes a run.toml one that can be started. Every broken rule is told, not only the first.

mod classes;
mod files;
mod styles;

use std::collections::BTreeSet;

use super::compute::{CollectiveChoice, DeviceChoice, Precision};
use super::config::RunConfig;
use super::datasets::Layout;
use super::keys::Keys;
use super::path_name::PathName;
use super::resolve::{Host, SpecError};
use super::storage::{url_problem, url_scheme};
use super::styles::StyleSource;
use super::training::{LossConfig, LossKind};
use crate::stage::Stage;

pub(super) struct SpecRules<'a> {
    config: &'a RunConfig,
    problems: Vec<SpecError>,
}

impl<'a> SpecRules<'a> {
    pub(super) fn check(config: &'a RunConfig, host: Host) -> Vec<SpecError> {
        let mut rules = Self {
            config,
            problems: Vec::new(),
        };
        if host.workers == 0 {
            rules.problem("--workers", "0 workers cannot train", "give at least 1");
        }
        rules.ranges();
        rules.run();
        rules.inputs();
        rules.classes();
        rules.files();
        rules.domains();
        rules.text();
        rules.styles();
        rules.pretrain();
        rules.simulate();
        rules.adapt();
        rules.evaluate();
        rules.compute();
        rules.workers_that_can_be();
        rules.storage();
        rules.problems
    }

    fn problem(&mut self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(SpecError {
            key: key.into(),
            what: what.into(),
            hint: hint.into(),
        });
    }

    fn twice(&mut self, key: &str, name: &PathName) {
        self.problem(
            &format!("{key}.name"),
            format!("`{name}` occurs twice, where capital and small letters count as the same"),
            "give each its own name",
        );
    }

    /// Of every key, also where the run has no use for it.
    fn ranges(&mut self) {
        let mut tree = self.config.to_table();
        Keys::of_run().visit(&mut tree, &mut |key, path, value| {
            if let Some((what, hint)) = key.range_problem(value) {
                self.problem(path, what, hint);
            }
        });
    }

    fn run(&mut self) {
        if !Stage::ALL.iter().any(|stage| self.config.includes(*stage)) {
            self.problem(
                "run.end_after",
                "nothing is left to do: files replace every stage up to here, and there is no evaluation set",
                "add an `[[evaluate.set]]`, or make it adapt",
            );
        }
    }

    fn inputs(&mut self) {
        let config = self.config;
        if config.clip.checkpoint.as_os_str().is_empty() {
            self.problem(
                "clip.checkpoint",
                "is not set",
                "name OpenAI's RN50.pt or a safetensors of the same names",
            );
        }
        if config.source.root.as_os_str().is_empty() && config.trains() {
            self.problem("source.root", "is not set", "name the data set's folder");
        }
        if config.source.layout == Layout::Acdc {
            self.problem(
                "source.layout",
                "acdc is not a source data set",
                "use cityscapes, gta5 or files; docs/data.md has the patterns of ACDC for files",
            );
        }
        for (key, split) in [
            ("source.train", &config.source.train),
            ("source.validation", &config.source.validation),
        ] {
            if split.is_empty() {
                self.problem(
                    key,
                    "is empty",
                    "name a split folder (cityscapes), a list file (gta5) or what {split} stands for (files)",
                );
            }
        }
    }

    fn batch_norm(&mut self, stage: &str, batch: u32) {
        if batch == 1 {
            self.problem(
                &format!("{stage}.batch"),
                "is 1, and BatchNorm in the image-pooling branch needs two values per channel",
                "give at least 2",
            );
        }
    }

    fn pretrain(&mut self) {
        let stage = &self.config.pretrain;
        if !self.config.includes(Stage::Pretrain) {
            return;
        }
        if stage.steps == 0 {
            self.problem(
                "pretrain.steps",
                "is 0 and there is no source checkpoint",
                "set pretrain.checkpoint to a published source checkpoint, or train for some steps",
            );
        }
        self.batch_norm("pretrain", stage.batch);
        self.loss("pretrain", stage.loss);
    }

    /// The keys of one loss are not set beside another.
    fn loss(&mut self, stage: &str, loss: LossConfig) {
        let LossConfig { gamma, alpha, .. } = LossConfig::default();
        for (name, value, default) in [("gamma", loss.gamma, gamma), ("alpha", loss.alpha, alpha)] {
            if loss.kind == LossKind::CrossEntropy && value != default {
                self.problem(
                    &format!("{stage}.loss.{name}"),
                    format!("is {value}, and {stage}.loss.kind is cross_entropy, which has none"),
                    format!("remove it, or set {stage}.loss.kind = \"focal_loss\""),
                );
            }
        }
    }

    fn simulate(&mut self) {
        let stage = &self.config.simulate;
        if !self.config.includes(Stage::Simulate) || !stage.styles.reads_source() {
            return;
        }
        if stage.styles == StyleSource::Learned && stage.batch == 1 && stage.lambda_seg > 0.0 {
            self.problem(
                "simulate.batch",
                "is 1, and the head runs on batch statistics, which need two images",
                "give at least 2, or set simulate.lambda_seg to 0",
            );
        }
        if let (false, Some(side)) = (stage.resize_feature, stage.scene_pool) {
            self.problem(
                "simulate.scene_pool",
                format!("is {side}, and simulate.resize_feature is false"),
                "remove one of the two",
            );
        }
        let groups = stage.prompt_groups.unwrap_or(1);
        let shards = self.config.run.shards.unwrap_or(1);
        if u64::from(stage.data_shards) * u64::from(groups) > u64::from(shards.max(1)) {
            self.problem(
                "simulate.data_shards",
                format!(
                    "{} data shards × {groups} prompt groups are more than the run's {shards} shards",
                    stage.data_shards
                ),
                "lower simulate.data_shards or simulate.prompt_groups, or raise run.shards",
            );
        }
        if stage.data_shards > 0 && !stage.batches.is_multiple_of(u64::from(stage.data_shards)) {
            self.problem(
                "simulate.batches",
                format!(
                    "{} batches do not divide over {} data shards",
                    stage.batches, stage.data_shards
                ),
                "make it a multiple of simulate.data_shards",
            );
        }
        let domains = self.config.domains.len();
        if domains > 0 && groups as usize > domains {
            self.problem(
                "simulate.prompt_groups",
                format!("{groups} groups for {domains} domains"),
                "give at most as many groups as domains",
            );
        }
    }

    fn adapt(&mut self) {
        if !self.config.includes(Stage::Adapt) {
            return;
        }
        self.batch_norm("adapt", self.config.adapt.batch);
        self.loss("adapt", self.config.adapt.loss);
        self.source_of_learned_styles();
        self.styles_per_step();
    }

    /// Styles are learned with a source-only head, which a training of adapt that goes on does not bring.
    fn source_of_learned_styles(&mut self) {
        let config = self.config;
        let learns = config.includes(Stage::Simulate) && config.simulate.styles == StyleSource::Learned;
        if learns && !config.has_source_model() {
            self.problem(
                "adapt.continue_from",
                "takes the place of pretrain, and simulate.styles = \"learned\" needs a source-only model",
                "set pretrain.checkpoint, or name the styles of that training: simulate.styles = \"bank\" and simulate.bank",
            );
        }
    }

    fn evaluate(&mut self) {
        let mut seen = BTreeSet::new();
        for (index, set) in self.config.evaluate.sets.iter().enumerate() {
            let key = format!("evaluate.set[{index}]");
            if !seen.insert(set.name.folded()) {
                self.twice(&key, &set.name);
            }
            if set.root.as_os_str().is_empty() {
                self.problem(&format!("{key}.root"), "is empty", "name the data set's folder");
            }
            let conditions = ["fog", "night", "rain", "snow"];
            match (set.layout, set.condition.as_deref()) {
                (Layout::Acdc, Some(condition)) if conditions.contains(&condition) => {}
                (Layout::Acdc, other) => self.problem(
                    &format!("{key}.condition"),
                    format!(
                        "is {}",
                        other.map_or("not set".to_owned(), |name| format!("`{name}`"))
                    ),
                    "give fog, night, rain or snow",
                ),
                (Layout::Cityscapes | Layout::Gta5 | Layout::Files, Some(_)) => {
                    self.problem(
                        &format!("{key}.condition"),
                        "is set, but only acdc has conditions",
                        "remove it",
                    );
                }
                (Layout::Cityscapes | Layout::Gta5 | Layout::Files, None) => {}
            }
        }
    }

    fn compute(&mut self) {
        let compute = &self.config.compute;
        if compute.device == DeviceChoice::Cpu && compute.collective == CollectiveChoice::Nccl {
            self.problem(
                "compute.collective",
                "nccl carries sums between GPUs, and compute.device is cpu",
                "make it tcp or auto, or leave compute.device out",
            );
        }
        if compute.device == DeviceChoice::Cpu && compute.precision == Precision::Tf32 {
            self.problem(
                "compute.precision",
                "tf32 is a number format of GPUs, and compute.device is cpu",
                "make it fp32 or bf16",
            );
        }
        if compute.ordered_sums && compute.collective == CollectiveChoice::Tcp {
            self.problem(
                "compute.ordered_sums",
                "it is about NCCL, and compute.collective is tcp, whose sums are always in shard order",
                "leave it out",
            );
        }
    }

    fn workers_that_can_be(&mut self) {
        let recovery = &self.config.recovery;
        let (least, most) = (recovery.min_workers, recovery.max_workers);
        let shards = self.config.run.shards.unwrap_or(1);
        if least > shards {
            self.problem(
                "recovery.min_workers",
                format!("{least} workers are needed, but {shards} shards give work to {shards} at most"),
                "lower recovery.min_workers or raise run.shards",
            );
        }
        if let Some(most) = most.filter(|most| *most < least) {
            self.problem(
                "recovery.max_workers",
                format!("{most} is below recovery.min_workers = {least}"),
                "raise it, or leave it out",
            );
        }
    }

    fn storage(&mut self) {
        let config = self.config;
        let storage = &config.storage;
        if let Some((what, hint)) = storage.url.as_deref().and_then(url_problem) {
            self.problem("storage.url", what, hint);
        }
        let mut inputs = config.clone();
        for (key, path) in inputs.inputs_mut() {
            let location = path.to_string_lossy();
            if let Some((what, hint)) = url_scheme(&location).and_then(|_| url_problem(&location)) {
                self.problem(&key, what, hint);
            }
        }
        match &storage.endpoint {
            // It may hold a secret, and is not repeated.
            Some(endpoint) if endpoint.contains('@') => self.problem(
                "storage.endpoint",
                "holds credentials",
                "they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials",
            ),
            Some(endpoint) if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") => self
                .problem(
                    "storage.endpoint",
                    format!("`{endpoint}` is not an address"),
                    "write https://host:port",
                ),
            Some(_) | None => {}
        }
    }
}
