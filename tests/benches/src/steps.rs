//! The steps, timed through the same library calls that the trainer makes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};
use ulda_dataset::{Crop, Dataset, Sampling, Size as PictureSize, load};
use ulda_method::Phases;
use ulda_method::adapt::{self, AdaptStep, Rectification};
use ulda_method::losses::segmentation::valid_pixels;
use ulda_method::optim::SgdSettings;
use ulda_method::pin::Style;
use ulda_method::pretrain;
use ulda_method::simulate::{
    Alone, Hooks, Local, LossWeights, Networks, Round, RoundBatch, Segmenter, SimulateSettings, Start,
};
use ulda_method::stylebank::DrawnStyles;
use ulda_method::supervised::{ShardBatch, ShardStep, StepContext, SupervisedLoss};
use ulda_method::trainable::TrainableSet;
use ulda_model::{Head, TextBank, upsample};
use ulda_run::Classes;
use ulda_run::spec::{DatasetConfig, FilesConfig, Layout};
use ulda_torch::Solo;

use crate::Failure;
use crate::case::{Case, IMAGES};
use crate::setting::Setting;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// One optimiser step of stage 0.
    Pretrain,
    /// One inner iteration of stage 1, all domains.
    Simulate,
    /// One optimiser step of stage 2.
    Adapt,
    /// One whole image.
    Evaluate,
}

pub struct Plan {
    pub repeats: usize,
    pub warm_up: usize,
    /// Dropout off.
    pub agree: bool,
    /// Domains that simulate computes as one batch.
    pub domains_at_once: usize,
}

/// What timing a step gives.
#[derive(Debug, Serialize, Deserialize)]
pub struct Timing {
    /// Wall time of each repeat.
    pub seconds: Vec<f64>,
    /// CPU time of each repeat, all threads.
    pub cpu_seconds: Vec<f64>,
    /// Median of each phase: data, forward, backward, reduce, optimise. Data is the time to read a batch
    /// from PNG files, which the trainer does ahead of time on threads of its own.
    pub phases: [f64; 5],
    /// Loss terms of the first run.
    pub losses: Vec<(String, f64)>,
    pub peak_rss_bytes: u64,
    /// Most memory of tensors on the GPU.
    pub peak_device_bytes: Option<u64>,
}

/// Names of [`Timing::phases`].
pub const PHASES: [&str; 5] = ["data", "forward", "backward", "reduce", "optimise"];

type Losses = Vec<(String, f64)>;

/// Times a step of a case.
///
/// # Errors
/// When the case does not fit the step, or libtorch fails.
pub fn time(case: &Case, step: Step, plan: &Plan) -> Result<Timing, Failure> {
    let mut clock = Clock::new(plan, reading_seconds(case)?, case.setting);
    match step {
        Step::Simulate => simulate(case, plan, &mut clock)?,
        Step::Pretrain => supervised(case, plan, &mut clock, false)?,
        Step::Adapt => supervised(case, plan, &mut clock, true)?,
        Step::Evaluate => evaluate(case, plan, &mut clock)?,
    }
    clock.finish()
}

struct Clock {
    warm_up: usize,
    runs: usize,
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    phases: Vec<Phases>,
    first: Losses,
    reading: f64,
    setting: Setting,
}

impl Clock {
    fn new(plan: &Plan, reading: f64, setting: Setting) -> Self {
        Self {
            warm_up: plan.warm_up,
            runs: 0,
            seconds: Vec::new(),
            cpu_seconds: Vec::new(),
            phases: Vec::new(),
            first: Vec::new(),
            reading,
            setting,
        }
    }

    fn run(&mut self, work: impl FnOnce() -> Result<(Phases, Losses), Failure>) -> Result<(), Failure> {
        let (started, cpu_started) = (Instant::now(), process_cpu_seconds()?);
        let (phases, losses) = work()?;
        self.setting.finish()?;
        let (seconds, cpu) = (
            started.elapsed().as_secs_f64(),
            process_cpu_seconds()? - cpu_started,
        );
        if self.runs == 0 {
            self.first = losses;
        }
        if self.runs >= self.warm_up {
            self.seconds.push(seconds);
            self.cpu_seconds.push(cpu);
            self.phases.push(phases);
        }
        self.runs += 1;
        Ok(())
    }

    fn finish(self) -> Result<Timing, Failure> {
        let of = |pick: fn(&Phases) -> Duration| {
            median(
                self.phases
                    .iter()
                    .map(|phases| pick(phases).as_secs_f64())
                    .collect(),
            )
        };
        Ok(Timing {
            phases: [
                self.reading,
                of(|p| p.forward),
                of(|p| p.backward),
                of(|p| p.reduce),
                of(|p| p.optimise),
            ],
            seconds: self.seconds,
            cpu_seconds: self.cpu_seconds,
            losses: self.first,
            peak_rss_bytes: peak_rss_bytes()?,
            peak_device_bytes: self.setting.peak_device_bytes(),
        })
    }
}

fn simulate(case: &Case, plan: &Plan, clock: &mut Clock) -> Result<(), Failure> {
    let settings = SimulateSettings {
        weights: LossWeights::PARAM2,
        dropout: if plan.agree { 0.0 } else { 0.1 },
        domains_at_once: plan.domains_at_once,
        ..SimulateSettings::default()
    };
    let texts = TextBank {
        scene: case.tensor("scene")?,
        region: case.tensor("region")?,
    };
    let batch = RoundBatch::prepare(
        &case.backbone,
        &case.tensor("images")?,
        &case.tensor("labels")?,
        &texts,
        &settings.weights,
    )?;
    let mut projectors = case.projectors()?;
    let (means, stds) = (case.tensor("start.mean")?, case.tensor("start.std")?);
    let styles = (0..case.spec.domains)
        .map(|domain| Ok(Style::from_values(&means.f_get(domain)?, &stds.f_get(domain)?)?))
        .collect::<Result<Vec<_>, Failure>>()?;
    let networks = Networks {
        clip: &case.backbone,
        segmentation: Some(Segmenter {
            backbone: &case.backbone,
            head: &case.head,
        }),
    };
    let mut round = Round::begin(settings, networks, &batch, &mut projectors, Start::Given(&styles))?;
    let hooks = Hooks {
        exchange: &Local,
        reduce: &Alone,
        dropout_seed: &|iteration, domain| (iteration * 100 + domain) as u64,
    };
    for _ in 0..plan.warm_up + plan.repeats {
        clock.run(|| {
            let report = round.iterate(&hooks)?;
            let terms = report.terms(&settings.weights);
            let losses = [
                ("scene", terms.scene),
                ("pixel", terms.pixel),
                ("region", terms.region),
                ("seg", terms.seg),
                ("intra", terms.intra),
                ("cross", terms.cross),
            ];
            Ok((
                report.phases,
                losses.map(|(name, value)| (name.to_owned(), value)).into(),
            ))
        })?;
    }
    Ok(())
}

/// Pretrain, or adapt when `styled`.
fn supervised(case: &Case, plan: &Plan, clock: &mut Clock, styled: bool) -> Result<(), Failure> {
    case.head.trainable(true);
    let rectifier = case.rectifier()?;
    let sgd = SgdSettings::default();
    let (mut set, rates) = if styled {
        let set = adapt::trainables(&case.head, Some(&rectifier), sgd)?;
        (
            set,
            vec![
                adapt::PUBLISHED_HEAD_LR,
                adapt::PUBLISHED_RECTIFIER_LR,
                adapt::PUBLISHED_SCALE_LR,
            ],
        )
    } else {
        let set = pretrain::trainables(&case.head, sgd)?;
        (set, vec![pretrain::PUBLISHED_LR])
    };
    let (images, labels) = (case.tensor("images")?, case.tensor("labels")?);
    let batch = ShardBatch {
        images: &images,
        labels: &labels,
    };
    let scene = case.tensor("scene")?;
    let styles = DrawnStyles {
        mean: case.tensor("drawn.mean")?,
        std: case.tensor("drawn.std")?,
        domains: Vec::<i64>::try_from(case.tensor("drawn.domains")?)?
            .into_iter()
            .map(|domain| domain as usize)
            .collect(),
    };
    let context = StepContext {
        sync: Arc::new(Solo),
        valid_pixels: valid_pixels(&labels)?,
        images: IMAGES,
        loss: SupervisedLoss::default(),
        dropout: if plan.agree { 0.0 } else { 0.1 },
        dropout_seed: 3,
    };
    let mut head = case.head.shallow_clone();
    for _ in 0..plan.warm_up + plan.repeats {
        clock.run(|| {
            set.zero_gradient()?;
            let done = if styled {
                let part = AdaptStep {
                    backbone: &case.backbone,
                    head: &head,
                    rectification: Some(Rectification {
                        rectifier: &rectifier,
                        scene: &scene,
                    }),
                    mix: None,
                };
                part.run(&batch, &styles, &context)?
            } else {
                pretrain::pretrain_step(&case.backbone, &head, &batch, &context)?
            };
            update(&mut set, &mut head, done, &rates)
        })?;
    }
    Ok(())
}

fn update(
    set: &mut TrainableSet,
    head: &mut Head,
    done: ShardStep,
    rates: &[f64],
) -> Result<(Phases, Losses), Failure> {
    let mut phases = done.phases;
    let started = Instant::now();
    let gradient = set.collect_gradient()?.shallow_clone();
    set.apply(&gradient, rates)?;
    head.commit_batch_stats(&done.batch_stats);
    phases.optimise += started.elapsed();
    Ok((phases, vec![("loss".to_owned(), done.loss)]))
}

fn evaluate(case: &Case, plan: &Plan, clock: &mut Clock) -> Result<(), Failure> {
    let photo = case.tensor("photo")?;
    let size = photo.size();
    for _ in 0..plan.warm_up + plan.repeats {
        clock.run(|| {
            let started = Instant::now();
            let classes = no_grad(|| -> Result<Tensor, Failure> {
                let low = case.backbone.stem_and_layer1(&photo);
                let deep = case.backbone.deep(&low);
                let logits = upsample(&case.head.forward_eval(&deep, &low), [size[2], size[3]]);
                Ok(logits.f_argmax(1, false)?)
            })?;
            let phases = Phases {
                forward: started.elapsed(),
                ..Phases::default()
            };
            let sum = classes.f_sum(Kind::Int64)?.f_int64_value(&[])?;
            Ok((phases, vec![("class_sum".to_owned(), sum as f64)]))
        })?;
    }
    Ok(())
}

/// Time to read, crop and normalise a batch on one thread; median of three.
fn reading_seconds(case: &Case) -> Result<f64, Failure> {
    let dataset = Dataset::open(&DatasetConfig {
        layout: Layout::Cityscapes,
        root: case.folder.join("pictures"),
        split: "train".to_owned(),
        condition: None,
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
        classes: Classes::default(),
    })?;
    let sampling = Sampling {
        crop: Some(Crop::Drawn {
            size: PictureSize::square(u32::try_from(case.spec.crop)?),
            across: 0.4,
            down: 0.6,
        }),
        ..Sampling::default()
    };
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        for sample in 0..dataset.len() {
            load(&dataset, sample, &sampling)?;
        }
        seconds.push(started.elapsed().as_secs_f64());
    }
    Ok(median(seconds))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU time of this process from /proc: fields 14 and 15 of `stat`, in hundredths of a second.
fn process_cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}

fn peak_rss_bytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or("/proc/self/status has no VmHWM")? * 1024)
}
