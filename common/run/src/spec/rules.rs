//! What makes a run.toml one that can be started. Every broken rule is told, not only the first.

mod styles;

use std::collections::BTreeSet;

use super::compute::{CollectiveChoice, DeviceChoice, Precision};
use super::config::RunConfig;
use super::datasets::Layout;
use super::path_name::PathName;
use super::resolve::{Host, SpecError};
use super::storage::{url_problem, url_scheme};
use super::styles::StyleSource;
use crate::stage::Stage;

/// Far beyond what any machine serves, near enough to be told from a slip of the keyboard.
const MOST_SHARDS: u32 = 1024;
const MOST_THREADS: u32 = 1024;
/// Images of one step.
const MOST_IMAGES: u32 = 65_536;

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
        rules.run();
        rules.inputs();
        rules.domains();
        rules.styles();
        rules.pretrain();
        rules.simulate();
        rules.adapt();
        rules.evaluate();
        rules.checkpoint_and_deadlines();
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

    fn at_least_one(&mut self, key: &str, value: u64) {
        if value == 0 {
            self.problem(key, "is 0", "give at least 1");
        }
    }

    fn at_most(&mut self, key: &str, value: u32, most: u32) {
        if value > most {
            self.problem(key, format!("is {value}"), format!("give at most {most}"));
        }
    }

    /// Finite, and within [low, high].
    fn within(&mut self, key: &str, value: f64, low: f64, high: f64) {
        if !value.is_finite() || value < low || value > high {
            let range = if high == f64::MAX {
                format!("{low} or more")
            } else {
                format!("{low} to {high}")
            };
            self.problem(key, format!("is {value}"), format!("give a number of {range}"));
        }
    }

    fn run(&mut self) {
        let run = &self.config.run;
        self.at_most("run.shards", run.shards.unwrap_or(1), MOST_SHARDS);
        self.at_most(
            "run.threads_per_shard",
            run.threads_per_shard.unwrap_or(1),
            MOST_THREADS,
        );
        self.at_least_one("run.shards", u64::from(run.shards.unwrap_or(1)));
        self.at_least_one(
            "run.threads_per_shard",
            u64::from(run.threads_per_shard.unwrap_or(1)),
        );
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
        if config.source.root.as_os_str().is_empty() {
            self.problem(
                "source.root",
                "is not set",
                "name the folder of the Cityscapes or GTA5 data set",
            );
        }
        if config.source.layout == Layout::Acdc {
            self.problem(
                "source.layout",
                "acdc is not a source data set",
                "use cityscapes or gta5",
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
                    "name a split folder (cityscapes) or a list file (gta5)",
                );
            }
        }
    }

    fn batch(&mut self, stage: &str, batch: u32, crop: u32) {
        self.at_least_one(&format!("{stage}.batch"), u64::from(batch));
        self.at_most(&format!("{stage}.batch"), batch, MOST_IMAGES);
        if crop < 32 {
            self.problem(
                &format!("{stage}.crop"),
                format!("is {crop}"),
                "give at least 32 pixels, the network's coarsest stride",
            );
        }
    }

    fn sgd(&mut self, stage: &str, momentum: f64, weight_decay: f64, dropout: f64) {
        self.within(&format!("{stage}.momentum"), momentum, 0.0, 1.0);
        self.within(&format!("{stage}.weight_decay"), weight_decay, 0.0, f64::MAX);
        self.within(&format!("{stage}.dropout"), dropout, 0.0, 0.99);
    }

    fn pretrain(&mut self) {
        let stage = &self.config.pretrain;
        if stage.checkpoint.is_some() {
            return;
        }
        if stage.steps == 0 {
            self.problem(
                "pretrain.steps",
                "is 0 and there is no source checkpoint",
                "set pretrain.checkpoint to a published source checkpoint, or train for some steps",
            );
        }
        self.batch("pretrain", stage.batch, stage.crop);
        if stage.batch == 1 {
            self.problem(
                "pretrain.batch",
                "is 1, and BatchNorm in the image-pooling branch needs two values per channel",
                "give at least 2",
            );
        }
        self.sgd("pretrain", stage.momentum, stage.weight_decay, stage.dropout);
        for (key, value) in [
            ("lr", stage.lr),
            ("poly_power", stage.poly_power),
            ("lr_floor", stage.lr_floor),
        ] {
            self.within(&format!("pretrain.{key}"), value, 0.0, f64::MAX);
        }
        self.within("pretrain.flip", stage.flip, 0.0, 1.0);
        let jitter = stage.jitter;
        for (key, value) in [
            ("brightness", jitter.brightness),
            ("contrast", jitter.contrast),
            ("saturation", jitter.saturation),
        ] {
            self.within(&format!("pretrain.jitter.{key}"), value, 0.0, 1.0);
        }
        self.at_least_one("pretrain.head_channels", u64::from(stage.head_channels));
    }

    fn simulate(&mut self) {
        let stage = &self.config.simulate;
        if !self.config.includes(Stage::Simulate) || !stage.styles.reads_source() {
            return;
        }
        self.at_least_one("simulate.batches", stage.batches);
        self.batch("simulate", stage.batch, stage.crop);
        if stage.styles == StyleSource::Learned {
            self.learning();
        }
        self.at_least_one("simulate.data_shards", u64::from(stage.data_shards));
        let groups = stage.prompt_groups.unwrap_or(1);
        self.at_least_one("simulate.prompt_groups", u64::from(groups));
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

    /// What only the learning of styles needs.
    fn learning(&mut self) {
        let stage = &self.config.simulate;
        if stage.batch == 1 && stage.lambda_seg > 0.0 {
            self.problem(
                "simulate.batch",
                "is 1, and the head runs on batch statistics, which need two images",
                "give at least 2, or set simulate.lambda_seg to 0",
            );
        }
        self.at_least_one("simulate.iterations", u64::from(stage.iterations));
        self.at_least_one("simulate.projector_hidden", u64::from(stage.projector_hidden));
        self.sgd("simulate", stage.momentum, stage.weight_decay, stage.dropout);
        for (key, value) in [
            ("lr_pin", stage.lr_pin),
            ("lr_projector", stage.lr_projector),
            ("lambda_pixel", stage.lambda_pixel),
            ("lambda_region", stage.lambda_region),
            ("lambda_seg", stage.lambda_seg),
            ("lambda_intra", stage.lambda_intra),
            ("lambda_cross", stage.lambda_cross),
            ("temperature", stage.temperature),
        ] {
            self.within(&format!("simulate.{key}"), value, 0.0, f64::MAX);
        }
        if stage.scene_pool == 0 || !stage.scene_pool.is_multiple_of(8) {
            self.problem(
                "simulate.scene_pool",
                format!("is {}", stage.scene_pool),
                "give a multiple of 8, such as 56",
            );
        }
        self.at_least_one("simulate.domains_at_once", u64::from(stage.domains_at_once));
    }

    fn adapt(&mut self) {
        if !self.config.includes(Stage::Adapt) {
            return;
        }
        let stage = &self.config.adapt;
        self.at_least_one("adapt.steps", stage.steps);
        self.batch("adapt", stage.batch, stage.crop);
        if stage.batch == 1 {
            self.problem(
                "adapt.batch",
                "is 1, and BatchNorm in the image-pooling branch needs two values per channel",
                "give at least 2",
            );
        }
        self.sgd("adapt", stage.momentum, stage.weight_decay, stage.dropout);
        for (key, value) in [
            ("lr_head", stage.lr_head),
            ("lr_rectifier", stage.lr_rectifier),
            ("lr_scale", stage.lr_scale),
            ("poly_power", stage.poly_power),
            ("lr_floor", stage.lr_floor),
            ("scale_init", stage.scale_init),
        ] {
            self.within(&format!("adapt.{key}"), value, 0.0, f64::MAX);
        }
        self.styles_per_step();
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
                (Layout::Cityscapes | Layout::Gta5, Some(_)) => {
                    self.problem(
                        &format!("{key}.condition"),
                        "is set, but only acdc has conditions",
                        "remove it",
                    );
                }
                (Layout::Cityscapes | Layout::Gta5, None) => {}
            }
            for (name, size) in [("only_size", set.only_size), ("centre_crop", set.centre_crop)] {
                if size.is_some_and(|[width, height]| width == 0 || height == 0) {
                    self.problem(
                        &format!("{key}.{name}"),
                        "has a side of 0",
                        "give [width, height] in pixels",
                    );
                }
            }
        }
    }

    fn checkpoint_and_deadlines(&mut self) {
        self.at_least_one("checkpoint.every", self.config.checkpoint.every);
        self.at_least_one("checkpoint.keep", u64::from(self.config.checkpoint.keep));
        let deadline = &self.config.deadline;
        for (key, seconds) in [
            ("gather", deadline.gather),
            ("queue", deadline.queue),
            ("form", deadline.form),
            ("collective", deadline.collective),
            ("heartbeat", deadline.heartbeat),
            ("progress", deadline.progress),
            ("drain", deadline.drain),
            ("coordinator", deadline.coordinator),
        ] {
            self.within(&format!("deadline.{key}"), seconds, 0.1, 1e6);
        }
        let recovery = &self.config.recovery;
        for (key, seconds) in [
            ("window", recovery.window),
            ("grace", recovery.grace),
            ("admit_every", recovery.admit_every),
            ("reattach", recovery.reattach),
        ] {
            self.within(&format!("recovery.{key}"), seconds, 0.0, 1e6);
        }
        self.workers_that_can_be();
        self.compute();
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
        self.at_least_one("recovery.min_workers", u64::from(least));
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
        for (key, seconds) in [
            ("request", storage.request),
            ("deadline", storage.deadline),
            ("final_models", storage.final_models),
        ] {
            self.within(&format!("storage.{key}"), seconds, 0.1, 1e6);
        }
    }
}
