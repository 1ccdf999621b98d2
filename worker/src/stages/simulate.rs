//! Stage 1: learning styles, spread over data shards × prompt groups (METHOD.md; DESIGN "The run").

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tch::{Device, Tensor};
use ulda_collective::{Group, Shard};
use ulda_core::plan::{Batches, Lane, Lanes, Purpose};
use ulda_core::stage::{Cursor, Stage};
use ulda_method::Phases;
use ulda_method::optim::SgdSettings;
use ulda_method::projector::{PARAMETER_NAMES, Projector};
use ulda_method::simulate::{
    DomainLosses, DomainProjector, Hooks, LossTerms, LossWeights, Networks, Round, RoundBatch, Segmenter,
    SimulateSettings, Start,
};
use ulda_method::stylebank::{BankDomain, BankHeader, BankStyle, StyleBank};
use ulda_model::{Head, TextBank};

use super::context::Context;
use super::feed::{Augmentation, Batch, Feed, Portion};
use super::supervised::{head_from, phase_seconds};
use super::{Extent, StageError, StageRun, names, texts};
use crate::agent::Progress;
use crate::link::{At, LanePrototypes, LaneReduce, Op};
use crate::state::{RunState, StateError, read_tensors, write_tensors};

/// Least time between two notes on how far a round has come.
const NOTE_EVERY: Duration = Duration::from_secs(1);

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
    bank: StyleBank,
    batches: Batches,
}

/// What a lane learned in a round.
struct Learned {
    tensors: BTreeMap<String, Tensor>,
    losses: RoundLosses,
    phases: Phases,
    waited: Duration,
}

/// Loss pieces of a round's last iteration.
#[derive(serde::Serialize, serde::Deserialize)]
struct RoundLosses {
    domains: Vec<PlainLosses>,
    cross: Vec<f64>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct PlainLosses {
    domain: usize,
    scene: f64,
    seg: f64,
    region: Vec<f64>,
    pixel: Vec<f64>,
    intra: Vec<f64>,
}

impl<'a> Simulate<'a> {
    /// # Errors
    /// When the state has no source head, or its bank was made with other weights or domains.
    pub fn begin(context: &'a Context, state: &RunState) -> Result<Self, StageError> {
        let config = &context.spec.config().simulate;
        let domains = context.spec.config().domains.len();
        let lanes = Lanes {
            data_shards: config.data_shards,
            prompt_groups: context.spec.prompt_groups(),
            domains: domains as u32,
        };
        let lane = lanes.of_shard(context.link.shard());
        let source = state.section(names::SOURCE);
        if source.is_empty() {
            return Err(StageError::Unprepared {
                stage: "simulate",
                what: "source-only head",
            });
        }
        let feed = lane.map(|lane| {
            let portion = Portion {
                stage: Stage::Simulate,
                seed: context.spec.config().run.seed,
                batch: config.batch,
                parts: 1,
                part: 0,
                first: lanes.batch_number(state.cursor.step, lane.data_shard),
                stride: u64::from(lanes.data_shards),
            };
            let augmentation = Augmentation {
                crop: config.crop,
                flip: 0.0,
                jitter: None,
            };
            Feed::new(
                &context.resources.train,
                portion,
                augmentation,
                context.resources.device,
            )
        });
        let seed = context.spec.config().run.seed;
        Ok(Self {
            settings: settings(context),
            lanes,
            lane,
            feed: feed.transpose()?,
            texts: texts::domain_texts(context, state.cursor)?,
            head: head_from(source, context.resources.device)?,
            projectors: projectors(context, state, domains)?,
            bank: load_bank(context, state)?.unwrap_or_else(|| StyleBank::new(bank_header(context))),
            batches: Batches::new(seed, Stage::Simulate, context.resources.train.len(), config.batch),
            context,
        })
    }

    fn learn(&mut self, step: u64, lane: Lane) -> Result<Learned, StageError> {
        let feed = self.feed.as_mut().ok_or(StageError::Unprepared {
            stage: "simulate",
            what: "feed",
        })?;
        let batch = feed.next()?;
        let mut mine = Vec::new();
        for domain in self.lanes.domains_of(lane.prompt_group) {
            let projector = Projector::from_values(&self.projectors[domain].parameters())?;
            mine.push(DomainProjector { domain, projector });
        }
        let (losses, phases, styles) = self.round(step, lane, &batch, &mut mine)?;
        let mut tensors = BTreeMap::new();
        for style in styles {
            tensors.insert(format!("style.{}.mean", style.domain), style.mean);
            tensors.insert(format!("style.{}.std", style.domain), style.std);
        }
        if lane.data_shard == 0 {
            for owned in &mine {
                for (name, value) in PARAMETER_NAMES.iter().zip(owned.projector.parameters()) {
                    tensors.insert(format!("projector.{}.{name}", owned.domain), value.detach());
                }
            }
        }
        Ok(Learned {
            tensors,
            losses,
            phases,
            waited: batch.waited,
        })
    }

    fn round(
        &self,
        step: u64,
        lane: Lane,
        batch: &Batch,
        projectors: &mut [DomainProjector],
    ) -> Result<(RoundLosses, Phases, Vec<ulda_method::simulate::DomainStyle>), StageError> {
        let resources = &self.context.resources;
        let at = At::step(Stage::Simulate, step);
        let prepared = RoundBatch::prepare(
            &resources.clip,
            &batch.images,
            &batch.labels,
            &self.texts,
            &self.settings.weights,
        )?;
        let networks = Networks {
            clip: &resources.clip,
            segmentation: Some(Segmenter {
                backbone: &resources.segmentation,
                head: &self.head,
            }),
        };
        let mut round = Round::begin(self.settings, networks, &prepared, projectors, Start::Content)?;
        let exchange = LanePrototypes::new(&self.context.link, at, &self.lanes, lane);
        let reduce = LaneReduce::new(&self.context.link, at, &self.lanes, lane);
        let dropout_seed = |iteration: usize, domain: usize| {
            let position = (iteration * self.projectors.len() + domain) as u64;
            let batch = self.lanes.batch_number(step, lane.data_shard);
            self.context
                .seed(Purpose::Dropout, Stage::Simulate, batch, position)
        };
        let hooks = Hooks {
            exchange: &exchange,
            reduce: &reduce,
            dropout_seed: &dropout_seed,
        };
        let mut phases = Phases::default();
        let mut noted = Instant::now();
        let mut last = None;
        while round.done() < self.settings.iterations {
            self.context.interrupt.check()?;
            let report = round.iterate(&hooks)?;
            phases.add(&report.phases);
            self.pulse(step, report.iteration)?;
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                let note = format!("iteration {} of {}", report.iteration, self.settings.iterations);
                self.context.activity(
                    Cursor {
                        stage: Stage::Simulate,
                        step,
                    },
                    note,
                );
            }
            last = Some(report);
        }
        let losses = last.map_or(
            RoundLosses {
                domains: Vec::new(),
                cross: Vec::new(),
            },
            |report| RoundLosses {
                domains: report
                    .domains
                    .into_iter()
                    .map(|domain| PlainLosses::from(domain.losses))
                    .collect(),
                cross: report.cross,
            },
        );
        Ok((losses, phases, round.styles()?))
    }

    /// Keeps all shards within one iteration of each other, so that no wait is as long as a round.
    fn pulse(&self, step: u64, iteration: usize) -> Result<(), StageError> {
        let at = At {
            iteration: iteration as u32,
            ..At::step(Stage::Simulate, step)
        };
        let everyone = self.context.link.everyone();
        self.context.link.gather(at, Op::Pulse, &everyone, &[])?;
        Ok(())
    }

    /// A shard without a lane only keeps pace.
    fn keep_pace(&self, step: u64) -> Result<(), StageError> {
        (1..=self.settings.iterations).try_for_each(|iteration| {
            self.context.interrupt.check()?;
            self.pulse(step, iteration)
        })
    }

    /// Every lane's styles and projectors, on every shard.
    fn share(&self, at: At, learned: Option<&Learned>) -> Result<Vec<Vec<u8>>, StageError> {
        let link = &self.context.link;
        let group = Group::reduce_to((0..self.lanes.count()).map(Shard), (0..link.shards()).map(Shard));
        let message = match learned {
            None => Vec::new(),
            Some(learned) => {
                let losses = serde_json::to_string(&learned.losses).expect("losses are plain numbers");
                write_tensors(&learned.tensors, HashMap::from([("losses".to_owned(), losses)]))?
            }
        };
        Ok(link.gather(at, Op::RoundResult, &group, &message)?)
    }

    /// Takes in a round's results; all or nothing.
    fn take(&mut self, step: u64, messages: &[Vec<u8>]) -> Result<Vec<RoundLosses>, StageError> {
        let mut bank = self.bank.clone();
        let mut projector_values: BTreeMap<String, Tensor> = BTreeMap::new();
        let mut losses = Vec::new();
        for (shard, message) in messages.iter().enumerate() {
            let Some(lane) = self.lanes.of_shard(shard as u32) else {
                continue;
            };
            let mut tensors = read_tensors(message)?;
            let names = self.image_names(step, lane);
            for domain in self.lanes.domains_of(lane.prompt_group) {
                let mut take = |what: &str| {
                    let name = format!("style.{domain}.{what}");
                    tensors.remove(&name).ok_or(StateError::Missing(name))
                };
                let (mean, std) = (take("mean")?, take("std")?);
                for (row, name) in names.iter().enumerate() {
                    bank.insert(
                        name,
                        domain,
                        BankStyle {
                            mean: row_of(&mean, row)?,
                            std: row_of(&std, row)?,
                        },
                    )?;
                }
            }
            projector_values.extend(tensors);
            losses.push(losses_of(message)?);
        }
        let mut projectors = Vec::with_capacity(self.projectors.len());
        for domain in 0..self.projectors.len() {
            projectors.push(projector_from(
                &projector_values,
                domain,
                self.context.resources.device,
            )?);
        }
        self.bank = bank;
        self.projectors = projectors;
        Ok(losses)
    }

    fn image_names(&mut self, step: u64, lane: Lane) -> Vec<String> {
        let batch = self.batches.batch(self.lanes.batch_number(step, lane.data_shard));
        let samples = &self.context.resources.train.samples;
        batch
            .iter()
            .map(|sample| samples[sample.index].name.clone())
            .collect()
    }

    /// Mean loss terms over the data shards.
    fn terms(&self, lanes: Vec<RoundLosses>) -> Vec<(&'static str, f64)> {
        let groups = self.lanes.prompt_groups as usize;
        let mut sums = [0.0; 7];
        let mut lanes = lanes.into_iter().peekable();
        let mut batches = 0;
        while lanes.peek().is_some() {
            let mut domains = Vec::new();
            let mut cross = Vec::new();
            for lane in lanes.by_ref().take(groups) {
                domains.extend(lane.domains.into_iter().map(DomainLosses::from));
                cross = lane.cross;
            }
            let terms = LossTerms::combine(&domains, &cross, &self.settings.weights);
            let values = [
                terms.scene,
                terms.pixel,
                terms.region,
                terms.seg,
                terms.intra,
                terms.cross,
                terms.total,
            ];
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            batches += 1;
        }
        let names = ["scene", "pixel", "region", "seg", "intra", "cross", "total"];
        names
            .into_iter()
            .zip(sums.map(|sum| sum / f64::from(batches.max(1))))
            .collect()
    }
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
        let losses = self.take(step, &messages)?;
        let mut phases = learned
            .as_ref()
            .map_or_else(Phases::default, |learned| learned.phases);
        phases.reduce += sharing.elapsed();
        let config = &self.context.spec.config().simulate;
        Ok(Progress {
            losses: self.terms(losses),
            learning_rates: vec![("pin", config.lr_pin), ("projector", config.lr_projector)],
            phase_seconds: phase_seconds(&phases, learned.map_or(Duration::ZERO, |learned| learned.waited)),
            images: if self.context.leads() {
                u64::from(config.batch * config.data_shards)
            } else {
                0
            },
            activity: String::new(),
        })
    }

    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError> {
        let bytes = self.bank.to_bytes()?;
        state
            .tensors
            .insert(names::BANK.to_owned(), Tensor::f_from_slice(&bytes)?);
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
        if extent == Extent::Complete && self.context.leads() {
            let folder = self.context.resources.run_directory.join("styles");
            let path = folder.join("bank.safetensors");
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(&path, &bytes))
                .map_err(|source| StageError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The bank a state carries, checked against this run's weights and domains.
///
/// # Errors
/// When it is unreadable or was made with something else.
pub fn load_bank(context: &Context, state: &RunState) -> Result<Option<StyleBank>, StageError> {
    let Some(tensor) = state.tensors.get(names::BANK) else {
        return Ok(None);
    };
    let mut bytes = vec![0u8; tensor.numel()];
    tensor.f_copy_data(&mut bytes, tensor.numel())?;
    let origin = "bank of the run's state";
    let bank = StyleBank::from_bytes(&bytes, origin)?;
    bank.check(&bank_header(context), origin)?;
    Ok(Some(bank))
}

fn bank_header(context: &Context) -> BankHeader {
    let config = context.resources.clip.config();
    let domains = context.spec.config().domains.iter();
    BankHeader {
        backbone: context.resources.clip.digest().to_owned(),
        channels: config.low_channels() as usize,
        domains: domains
            .map(|domain| BankDomain {
                name: domain.name.clone(),
                prompt: domain.prompt.clone(),
            })
            .collect(),
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
        scene_pool: i64::from(config.scene_pool),
        dropout: config.dropout,
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

fn projector_from(
    values: &BTreeMap<String, Tensor>,
    domain: usize,
    device: Device,
) -> Result<Projector, StageError> {
    let named = PARAMETER_NAMES.iter().map(|name| {
        let name = format!("projector.{domain}.{name}");
        values
            .get(&name)
            .map(|value| value.to_device(device))
            .ok_or(StateError::Missing(name))
    });
    Ok(Projector::from_values(&named.collect::<Result<Vec<_>, _>>()?)?)
}

fn row_of(tensor: &Tensor, row: usize) -> Result<Vec<f32>, StageError> {
    let row = tensor.f_get(row as i64)?.f_flatten(0, -1)?.f_contiguous()?;
    let mut values = vec![0f32; row.numel()];
    row.f_copy_data(&mut values, row.numel())?;
    Ok(values)
}

fn losses_of(message: &[u8]) -> Result<RoundLosses, StageError> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(message).map_err(StateError::Format)?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|map| map.get("losses"))
        .ok_or(StateError::NoHeader)?;
    Ok(serde_json::from_str(text).map_err(StateError::Header)?)
}

impl From<DomainLosses> for PlainLosses {
    fn from(losses: DomainLosses) -> Self {
        let DomainLosses {
            domain,
            scene,
            seg,
            region,
            pixel,
            intra,
        } = losses;
        Self {
            domain,
            scene,
            seg,
            region,
            pixel,
            intra,
        }
    }
}

impl From<PlainLosses> for DomainLosses {
    fn from(losses: PlainLosses) -> Self {
        let PlainLosses {
            domain,
            scene,
            seg,
            region,
            pixel,
            intra,
        } = losses;
        Self {
            domain,
            scene,
            seg,
            region,
            pixel,
            intra,
        }
    }
}
