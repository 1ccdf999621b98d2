//! What pretrain and adapt share: batches, the reduction of gradients over shards, the update.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tch::Tensor;
use ulda_collective::ShardGroup;
use ulda_method::Phases;
use ulda_method::losses::Focal;
use ulda_method::optim::{PolyDecay, RateSchedule, StepDecay};
use ulda_method::supervised::{ShardBatch, ShardStep, StepContext, SupervisedLoss};
use ulda_method::trainable::TrainableSet;
use ulda_model::{Head, Weights, WeightsKind};
use ulda_run::ids::Shard;
use ulda_run::plan::Purpose;
use ulda_run::spec::{LossConfig, LossKind, LrPolicy};
use ulda_run::stage::{Cursor, Stage};

use super::StageError;
use super::context::Context;
use super::feed::{Augmentation, Batch, Feed, Portion};
use crate::link::{At, GradientReduction, NormSync, Op};
use crate::progress::Progress;
use crate::resources::Resources;
use crate::state::{RunState, StateError, names, read_tensors, write_tensors};

/// Settings that differ between the two stages.
pub struct SupervisedSettings {
    pub stage: Stage,
    pub batch: u32,
    pub dropout: f64,
    pub loss: SupervisedLoss,
    /// Steps that a training which the stage goes on with had done.
    pub steps_before: u64,
    /// One schedule per parameter group, over those steps and the stage's.
    pub rates: Vec<(&'static str, RateSchedule)>,
}

/// The loss that a stage's configuration asks for.
pub fn supervised_loss(config: LossConfig) -> SupervisedLoss {
    match config.kind {
        LossKind::CrossEntropy => SupervisedLoss::CrossEntropy,
        LossKind::FocalLoss => SupervisedLoss::Focal(Focal {
            alpha: config.alpha,
            gamma: config.gamma,
        }),
    }
}

/// The schedule of a rate that starts at `poly.base`: `poly`, or a decay every `step_size` steps.
pub fn rate_schedule(policy: LrPolicy, poly: PolyDecay, step_size: u64) -> RateSchedule {
    match policy {
        LrPolicy::Poly => RateSchedule::Poly(poly),
        LrPolicy::Step => RateSchedule::Step(StepDecay::published(poly.base, step_size)),
    }
}

/// One shard's share of a supervised stage.
pub struct Supervised<'a> {
    context: &'a Context,
    course: SupervisedSettings,
    /// Shards that have images; the others follow along.
    active: u32,
    feed: Option<Feed>,
    reduction: GradientReduction,
}

impl<'a> Supervised<'a> {
    /// # Errors
    /// When decoding cannot be started.
    pub fn new(
        context: &'a Context,
        course: SupervisedSettings,
        set: &TrainableSet,
        augmentation: Augmentation,
        first_step: u64,
    ) -> Result<Self, StageError> {
        let active = context.link.shards().min(course.batch);
        let shard = context.link.shard();
        let portion = Portion {
            stage: course.stage,
            seed: context.spec.config().run.seed,
            batch: course.batch,
            parts: active,
            part: shard,
            first: first_step,
            stride: 1,
        };
        let feed = if shard < active {
            Some(Feed::new(
                &context.resources.train,
                portion,
                augmentation,
                context.resources.device,
                &context.meters.decode,
            )?)
        } else {
            None
        };
        let reduction = GradientReduction::new(&context.link, set, active)?;
        Ok(Self {
            context,
            course,
            active,
            feed,
            reduction,
        })
    }

    /// One step: `forward` computes this shard's loss and gradients from its images.
    ///
    /// # Errors
    /// When the images, the computation or the collective fail; nothing was updated then.
    pub fn step(
        &mut self,
        step: u64,
        head: &mut Head,
        set: &mut TrainableSet,
        forward: impl FnOnce(&Head, &ShardBatch<'_>, &StepContext) -> ulda_method::Result<ShardStep>,
    ) -> Result<Progress, StageError> {
        let at = At::step(self.course.stage, step);
        set.zero_gradient()?;
        let mut waited = Duration::ZERO;
        let mut phases = Phases::default();
        let (flight, mine) = match &mut self.feed {
            None => (self.reduction.listen(at)?, None),
            Some(feed) => {
                let batch = feed.next()?;
                waited = batch.waited;
                let step_context =
                    Self::exchange_counts(self.context, &self.course, at, self.active, &batch)?;
                let flight = self.reduction.overlap(set, at)?;
                let shard_batch = ShardBatch {
                    images: &batch.images,
                    labels: &batch.labels,
                };
                let done = forward(head, &shard_batch, &step_context)?;
                phases.add(&done.phases);
                (flight, Some(done))
            }
        };
        let reducing = std::time::Instant::now();
        let gradient = self.reduction.wait(flight)?;
        let loss = self.total_loss(at, mine.as_ref())?;
        let followed = if mine.is_none() {
            Some(self.follow_buffers(at)?)
        } else {
            None
        };
        phases.reduce += reducing.elapsed();

        let optimising = std::time::Instant::now();
        let rates: Vec<f64> = self
            .course
            .rates
            .iter()
            .map(|(_, schedule)| schedule.at(self.course.steps_before + step + 1))
            .collect();
        set.apply(&gradient, &rates)?;
        match (&mine, followed) {
            (Some(step), _) => head.commit_batch_stats(&step.batch_stats),
            (None, Some(buffers)) => copy_buffers(head, &buffers)?,
            (None, None) => {}
        }
        phases.optimise += optimising.elapsed();
        self.lead_buffers(at, head)?;
        Ok(self.progress(loss, &rates, phases, waited))
    }

    fn exchange_counts(
        context: &Context,
        course: &SupervisedSettings,
        at: At,
        active: u32,
        batch: &Batch,
    ) -> Result<StepContext, StageError> {
        let group = ShardGroup::of(0..active);
        let counts = context
            .link
            .gather(at, Op::ValidPixels, &group, &batch.labelled.to_le_bytes())?;
        let valid = counts
            .iter()
            .map(|bytes| i64::from_le_bytes(bytes.as_slice().try_into().unwrap_or_default()))
            .sum();
        let shard = u64::from(context.link.shard());
        Ok(StepContext {
            sync: Arc::new(NormSync::new(&context.link, at, active)),
            valid_pixels: valid,
            images: i64::from(course.batch),
            loss: course.loss,
            dropout: course.dropout,
            dropout_seed: context.seed(Purpose::Dropout, course.stage, at.step, shard),
        })
    }

    /// The shares of the active shards, summed in shard order.
    fn total_loss(&self, at: At, mine: Option<&ShardStep>) -> Result<f64, StageError> {
        let link = &self.context.link;
        let group = ShardGroup::reduce_to((0..self.active).map(Shard), (0..link.shards()).map(Shard));
        let share = mine.map_or(0.0, |step| step.loss);
        let all = link.gather(at, Op::Loss, &group, &share.to_le_bytes())?;
        let share_of = |bytes: &Vec<u8>| bytes.as_slice().try_into().map_or(f64::NAN, f64::from_le_bytes);
        Ok(all.iter().map(share_of).sum())
    }

    /// Shards without images see no batch statistics; shard 0 sends them the buffers that come of them.
    fn idle_group(&self) -> Option<ShardGroup> {
        let shards = self.context.link.shards();
        (self.active < shards).then(|| ShardGroup::reduce_to([Shard(0)], (self.active..shards).map(Shard)))
    }

    fn follow_buffers(&self, at: At) -> Result<BTreeMap<String, Tensor>, StageError> {
        let Some(group) = self.idle_group() else {
            return Ok(BTreeMap::new());
        };
        let all = self.context.link.gather(at, Op::IdleBuffers, &group, &[])?;
        Ok(read_tensors(all.first().map_or(&[], Vec::as_slice))?)
    }

    fn lead_buffers(&self, at: At, head: &Head) -> Result<(), StageError> {
        let (Some(group), true) = (self.idle_group(), self.context.leads()) else {
            return Ok(());
        };
        let bytes = write_tensors(&head.buffers().into_iter().collect(), HashMap::new())?;
        if let Err(error) = self.context.link.gather(at, Op::IdleBuffers, &group, &bytes) {
            // The step is applied here, so it counts; the next operation will fail for the same cause.
            tracing::debug!(%error, "buffers did not reach the idle shards");
        }
        Ok(())
    }

    fn progress(&self, loss: f64, rates: &[f64], phases: Phases, waited: Duration) -> Progress {
        let names = self.course.rates.iter().map(|(name, _)| *name);
        Progress {
            losses: vec![("seg", loss)],
            learning_rates: names.zip(rates.iter().copied()).collect(),
            phase_seconds: phase_seconds(&phases, waited),
            images: if self.context.leads() {
                u64::from(self.course.batch)
            } else {
                0
            },
            ..Progress::default()
        }
    }
}

/// Phases under the names that metrics and reports use.
pub fn phase_seconds(phases: &Phases, waited: Duration) -> Vec<(&'static str, f64)> {
    vec![
        ("data", waited.as_secs_f64()),
        ("forward", phases.forward.as_secs_f64()),
        ("backward", phases.backward.as_secs_f64()),
        ("reduce", phases.reduce.as_secs_f64()),
        ("optimise", phases.optimise.as_secs_f64()),
    ]
}

fn copy_buffers(head: &Head, buffers: &BTreeMap<String, Tensor>) -> Result<(), StageError> {
    for (name, mut mine) in head.buffers() {
        let theirs = buffers.get(&name).ok_or(StateError::Missing(name))?;
        tch::no_grad(|| mine.f_copy_(theirs))?;
    }
    Ok(())
}

/// A head from a section of the run's state.
///
/// # Errors
/// When its tensors do not make a head.
pub fn head_from(section: BTreeMap<String, Tensor>, resources: &Resources) -> Result<Head, StageError> {
    let origin = std::path::Path::new("run state");
    let weights = Weights::from_tensors(origin, WeightsKind::Safetensors, section.into_iter().collect())?;
    Ok(placed(&Head::load(&weights)?, resources))
}

/// A head where and in what this run's networks work.
pub fn placed(head: &Head, resources: &Resources) -> Head {
    head.to_device(resources.device).autocast(resources.reduced)
}

/// Momentum of `set` from a state, or zeros where the stage starts. Parameters that are `new` have none in any case.
///
/// # Errors
/// When a state has momentum that does not fit.
pub fn load_momentum(
    set: &mut TrainableSet,
    state: &RunState,
    new: &[(String, Tensor)],
) -> Result<(), StageError> {
    let saved = state.section(names::MOMENTUM);
    let none = |name: &str| {
        let parameter = new.iter().find(|(known, _)| known == name)?;
        Some(parameter.1.zeros_like())
    };
    if !saved.is_empty() {
        set.load_velocity(|name| saved.get(name).map(Tensor::shallow_clone).or_else(|| none(name)))?;
    }
    Ok(())
}

/// Says once in a run what of a training that `stage` goes on with does not go on as it was.
pub fn tell_of_training(context: &Context, cursor: Cursor) {
    let training = context.resources.continued.as_ref();
    let Some(training) = training.filter(|training| training.stage == cursor.stage) else {
        return;
    };
    if !context.leads() || cursor.step > 0 {
        return;
    }
    let (stage, steps) = (cursor.stage, training.steps());
    tracing::info!(%stage, steps, "goes on with a training of the authors' scripts");
    for note in training.notes() {
        tracing::warn!(key = note.key, hint = note.hint, "{}", note.what);
    }
}
