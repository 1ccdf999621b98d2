//! Stage 0: the source-only head (METHOD.md).

use ulda_method::adapt::trainables;
use ulda_method::optim::{PolyDecay, SgdSettings};
use ulda_method::pretrain::pretrain_step;
use ulda_method::trainable::TrainableSet;
use ulda_model::{Head, HeadConfig};
use ulda_run::plan::Purpose;
use ulda_run::stage::Stage;

use super::context::Context;
use super::feed::Augmentation;
use super::supervised::{
    Supervised, SupervisedSettings, head_from, load_momentum, placed, rate_schedule, supervised_loss,
    tell_of_training,
};
use super::validation::SourceValidation;
use super::{Extent, StageError, StageRun};
use crate::progress::Progress;
use crate::state::{RunState, names};

pub struct Pretrain<'a> {
    context: &'a Context,
    head: Head,
    set: TrainableSet,
    supervised: Supervised<'a>,
    validation: SourceValidation<'a>,
}

impl<'a> Pretrain<'a> {
    /// # Errors
    /// When the state's tensors do not make a head.
    pub fn begin(context: &'a Context, state: &RunState) -> Result<Self, StageError> {
        let config = &context.spec.config().pretrain;
        let saved = state.section(names::HEAD);
        let head = if saved.is_empty() {
            let backbone = context.resources.segmentation.config();
            let channels = i64::from(config.head_channels);
            let classes = context.resources.classes.len() as i64;
            let (deep, low) = (backbone.deep_channels(), backbone.low_channels());
            let published = HeadConfig::published(deep, low, classes);
            let widths = HeadConfig {
                aspp: channels,
                hidden: channels,
                ..published
            };
            let seed = context.seed(Purpose::Initialisation, Stage::Pretrain, 0, 0);
            placed(&Head::new(widths, seed), &context.resources)
        } else {
            head_from(saved, &context.resources)?
        };
        head.trainable(true);
        let sgd = SgdSettings {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
        };
        let mut set = trainables(&head, None, sgd)?;
        load_momentum(&mut set, state, &[])?;
        tell_of_training(context, state.cursor);
        let steps_before = state.steps_before(Stage::Pretrain)?;
        let decay = PolyDecay {
            base: config.lr,
            total: steps_before.saturating_add(config.steps),
            power: config.poly_power,
            floor: config.lr_floor,
        };
        let course = SupervisedSettings {
            stage: Stage::Pretrain,
            batch: config.batch,
            dropout: config.dropout,
            loss: supervised_loss(config.loss),
            steps_before,
            rates: vec![("head", rate_schedule(config.lr_policy, decay, config.step_size))],
        };
        let augmentation = Augmentation {
            crop: config.crop,
            flip: config.flip,
            jitter: Some(config.jitter),
        };
        let supervised = Supervised::new(context, course, &set, augmentation, state.cursor.step)?;
        let validation = SourceValidation::begin(context, Stage::Pretrain, config.validate_every, state)?;
        Ok(Self {
            context,
            head,
            set,
            supervised,
            validation,
        })
    }
}

impl StageRun for Pretrain<'_> {
    fn step(&mut self, step: u64) -> Result<Progress, StageError> {
        let backbone = &self.context.resources.segmentation;
        let supervised = &mut self.supervised;
        self.validation
            .after(step, &mut self.head, &mut self.set, |head, set| {
                supervised.step(step, head, set, |head, batch, context| {
                    pretrain_step(backbone, head, batch, context)
                })
            })
    }

    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError> {
        state.clear_section(names::HEAD);
        state.clear_section(names::MOMENTUM);
        state.clear_section(names::BEST);
        state.set_fact(names::BEST_MIOU, None::<f64>);
        match extent {
            Extent::Midway => {
                state.set_section(names::HEAD, self.head.state());
                state.set_section(names::MOMENTUM, self.set.named_velocity()?);
                self.validation.save(state);
            }
            Extent::Complete => {
                let kept = self.validation.best().unwrap_or(&self.head);
                state.set_section(names::SOURCE, kept.state());
            }
        }
        Ok(())
    }
}
