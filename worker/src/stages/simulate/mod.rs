//! Stage 1: learning styles, spread over data shards × prompt groups (METHOD.md; DESIGN "The run").

mod bank;
mod health;
mod losses;
mod measure;
mod pieces;
mod round;
mod sharing;

use std::time::{Duration, Instant};

use tch::Tensor;
use ulda_method::Phases;
use ulda_method::optim::SgdSettings;
use ulda_method::projector::{PARAMETER_NAMES, Projector};
use ulda_method::simulate::{LossWeights, SimulateSettings};
use ulda_model::{Head, TextBank};
use ulda_run::plan::{Batches, Lane, Lanes, Purpose};
use ulda_run::stage::Stage;

use self::bank::keep_styles;
use self::losses::mean_terms;
use self::pieces::BankPieces;
use self::sharing::projector_from;
use super::context::Context;
use super::feed::{Augmentation, Feed, Portion};
use super::supervised::{head_from, phase_seconds};
use super::{Extent, StageError, StageRun, texts};
use crate::link::At;
use crate::progress::Progress;
use crate::state::{RunState, names};

pub use bank::{STYLE_BANK, bank_bytes, leave_bank, load_bank};
pub use measure::Measure;

pub struct Simulate<'a> {
    context: &'a Context,
    settings: SimulateSettings,
    lanes: Lanes,
    lane: Option<Lane>,
    feed: Option<Feed>,
    texts: TextBank,
    head: Head,
    /// Projectors of all domains, in domain order.
    projectors: Vec<Projector>,
    styles: BankPieces,
    batches: Batches,
    /// By domain, on the shard that leads: mean statistics of the images the domain names.
    references: Vec<Option<Tensor>>,
}

impl<'a> Simulate<'a> {
    /// # Errors
    /// When the state has no source head, or its bank was made with other weights or domains.
    pub fn begin(context: &'a Context, state: &RunState) -> Result<Self, StageError> {
        let domains = context.spec.config().domains.len();
        let lanes = lanes(context);
        let lane = lanes.of_shard(context.link.shard());
        let source = state.section(names::SOURCE);
        if source.is_empty() {
            return Err(StageError::Unprepared {
                stage: "simulate",
                what: "source-only head",
            });
        }
        let feed = lane.map(|lane| feed(context, &lanes, lane, state.cursor.step));
        Ok(Self {
            settings: settings(context),
            lanes,
            lane,
            feed: feed.transpose()?,
            texts: texts::domain_texts(context, state.cursor)?,
            head: head_from(source, &context.resources)?,
            projectors: projectors(context, state, domains)?,
            styles: BankPieces::of(context, state)?,
            batches: batches(context),
            references: match context.leads() {
                true => health::references(context)?,
                false => Vec::new(),
            },
            context,
        })
    }
}

/// How the batches and domains of this run are spread over its shards.
fn lanes(context: &Context) -> Lanes {
    let config = context.spec.config();
    Lanes {
        data_shards: config.simulate.data_shards,
        prompt_groups: context.spec.prompt_groups(),
        domains: config.domains.len() as u32,
    }
}

/// The batches of a lane from round `first` on.
fn feed(context: &Context, lanes: &Lanes, lane: Lane, first: u64) -> Result<Feed, StageError> {
    let config = context.spec.config();
    let portion = Portion {
        stage: Stage::Simulate,
        seed: config.run.seed,
        batch: config.simulate.batch,
        parts: 1,
        part: 0,
        first: lanes.batch_number(first, lane.data_shard),
        stride: u64::from(lanes.data_shards),
    };
    let augmentation = Augmentation {
        crop: config.simulate.crop,
        flip: 0.0,
        jitter: None,
    };
    let (dataset, device) = (&context.resources.train, context.resources.device);
    Feed::new(dataset, portion, augmentation, device, &context.meters.decode)
}

/// Names of the images of a lane's batch, in order.
fn image_names(
    context: &Context,
    batches: &mut Batches,
    lanes: &Lanes,
    step: u64,
    lane: Lane,
) -> Vec<String> {
    let batch = batches.batch(lanes.batch_number(step, lane.data_shard));
    let samples = &context.resources.train.samples;
    let names = batch.iter().map(|sample| samples[sample.index].name.clone());
    names.collect()
}

/// The run's endless row of source batches.
fn batches(context: &Context) -> Batches {
    let config = context.spec.config();
    let images = context.resources.train.len();
    Batches::new(config.run.seed, Stage::Simulate, images, config.simulate.batch)
}

impl StageRun for Simulate<'_> {
    fn step(&mut self, step: u64) -> Result<Progress, StageError> {
        let at = At::step(Stage::Simulate, step);
        let learned = match self.lane {
            Some(lane) => Some(self.learn(step, lane)?),
            None => {
                self.keep_pace(step)?;
                None
            }
        };
        let sharing = Instant::now();
        let messages = self.share(at, learned.as_ref())?;
        let (losses, styles) = self.take(step, &messages)?;
        let mut phases = learned
            .as_ref()
            .map_or_else(Phases::default, |learned| learned.phases);
        phases.reduce += sharing.elapsed();
        let config = &self.context.spec.config().simulate;
        Ok(Progress {
            losses: mean_terms(losses, self.lanes.prompt_groups as usize, &self.settings.weights),
            learning_rates: vec![("pin", config.lr_pin), ("projector", config.lr_projector)],
            phase_seconds: phase_seconds(&phases, learned.map_or(Duration::ZERO, |learned| learned.waited)),
            images: if self.context.leads() {
                u64::from(config.batch * config.data_shards)
            } else {
                0
            },
            styles,
            ..Progress::default()
        })
    }

    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError> {
        let named = self
            .projectors
            .iter()
            .enumerate()
            .flat_map(|(domain, projector)| {
                PARAMETER_NAMES
                    .iter()
                    .zip(projector.parameters())
                    .map(move |(name, value)| (format!("{domain}.{name}"), value))
            });
        state.set_section(names::PROJECTOR, named);
        keep_styles(self.context, &self.styles, state, extent)
    }
}

fn settings(context: &Context) -> SimulateSettings {
    let config = &context.spec.config().simulate;
    SimulateSettings {
        iterations: config.iterations as usize,
        weights: LossWeights {
            scene: 1.0,
            pixel: config.lambda_pixel,
            region: config.lambda_region,
            seg: config.lambda_seg,
            intra: config.lambda_intra,
            cross: config.lambda_cross,
        },
        temperature: config.temperature,
        style_lr: config.lr_pin,
        projector_lr: config.lr_projector,
        sgd: SgdSettings {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
        },
        scene_pool: match config.resize_feature {
            true => config
                .scene_pool
                .map(i64::from)
                .or(context.resources.clip.config().scene_side()),
            false => None,
        },
        dropout: config.dropout,
        domains_at_once: context.spec.domains_at_once() as usize,
    }
}

fn projectors(context: &Context, state: &RunState, domains: usize) -> Result<Vec<Projector>, StageError> {
    let saved = state.section(names::PROJECTOR);
    let image = context.resources.clip.config();
    let hidden = i64::from(context.spec.config().simulate.projector_hidden);
    let embedding = context.resources.embedding_width()?;
    let fresh = |domain: usize| {
        let seed = context.seed(Purpose::Initialisation, Stage::Simulate, 0, domain as u64);
        Projector::new(
            image.low_channels(),
            hidden,
            embedding,
            seed,
            context.resources.device,
        )
    };
    if saved.is_empty() {
        return (0..domains).map(|domain| Ok(fresh(domain)?)).collect();
    }
    let prefixed = saved
        .into_iter()
        .map(|(name, value)| (format!("projector.{name}"), value))
        .collect();
    (0..domains)
        .map(|domain| projector_from(&prefixed, domain, context.resources.device))
        .collect()
}
