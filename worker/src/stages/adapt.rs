//! Stage 2: the head on simulated features, with the rectifier (METHOD.md).

use tch::Tensor;
use ulda_method::adapt::{AdaptStep, Rectification, trainables};
use ulda_method::optim::{PolyDecay, SgdSettings};
use ulda_method::rectifier::Rectifier;
use ulda_method::trainable::TrainableSet;
use ulda_model::{Head, TextBank};
use ulda_run::plan::{Purpose, slice};
use ulda_run::spec::RunConfig;
use ulda_run::stage::Stage;

use super::context::Context;
use super::feed::Augmentation;
use super::simulate::load_bank;
use super::styles::Styles;
use super::supervised::{
    Supervised, SupervisedSettings, head_from, load_momentum, rate_schedule, supervised_loss,
    tell_of_training,
};
use super::validation::SourceValidation;
use super::{Extent, StageError, StageRun, texts};
use crate::progress::Progress;
use crate::state::{RunState, names};

pub struct Adapt<'a> {
    context: &'a Context,
    head: Head,
    rectifier: Option<Rectifier>,
    texts: TextBank,
    styles: Styles,
    set: TrainableSet,
    supervised: Supervised<'a>,
    validation: SourceValidation<'a>,
}

impl<'a> Adapt<'a> {
    /// # Errors
    /// When the state has no source head or style bank, or they do not fit this run.
    pub fn begin(context: &'a Context, state: &RunState) -> Result<Self, StageError> {
        let config = &context.spec.config().adapt;
        let start = [names::HEAD, names::SOURCE]
            .into_iter()
            .map(|name| state.section(name))
            .find(|head| !head.is_empty());
        let head = head_from(
            start.ok_or(StageError::Unprepared {
                stage: "adapt",
                what: "source-only head",
            })?,
            &context.resources,
        )?;
        head.trainable(true);
        let bank = load_bank(context, state)?.ok_or(StageError::Unprepared {
            stage: "adapt",
            what: "style bank",
        })?;
        let styles = Styles::new(context, bank)?;
        let rectifier = rectifier(context, state)?;
        let sgd = SgdSettings {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
        };
        let mut set = trainables(&head, rectifier.as_ref(), sgd)?;
        load_momentum(&mut set, state, &new_parameters(rectifier.as_ref(), state))?;
        tell_of_training(context, state.cursor);
        let steps_before = state.steps_before(Stage::Adapt)?;
        let decay = |base| {
            let poly = PolyDecay {
                base,
                total: steps_before.saturating_add(config.steps),
                power: config.poly_power,
                floor: config.lr_floor,
            };
            rate_schedule(config.lr_policy, poly, config.step_size)
        };
        let mut rates = vec![("head", decay(config.lr_head))];
        if rectifier.is_some() {
            rates.extend([
                ("rectifier", decay(config.lr_rectifier)),
                ("scale", decay(config.lr_scale)),
            ]);
        }
        let course = SupervisedSettings {
            stage: Stage::Adapt,
            batch: config.batch,
            dropout: config.dropout,
            loss: supervised_loss(config.loss),
            steps_before,
            rates,
        };
        let augmentation = augmentation(context.spec.config());
        let supervised = Supervised::new(context, course, &set, augmentation, state.cursor.step)?;
        let validation = SourceValidation::begin(context, Stage::Adapt, config.validate_every, state)?;
        let texts = texts::domain_texts(context, state.cursor)?;
        Ok(Self {
            context,
            head,
            rectifier,
            texts,
            styles,
            set,
            supervised,
            validation,
        })
    }
}

/// The random crop, and pretrain's jitter and flips if `adapt.augment` asks for them (`--data_aug` of the published scripts).
fn augmentation(config: &RunConfig) -> Augmentation {
    let crop = config.adapt.crop;
    match config.adapt.augment {
        true => Augmentation {
            crop,
            flip: config.pretrain.flip,
            jitter: Some(config.pretrain.jitter),
        },
        false => Augmentation {
            crop,
            flip: 0.0,
            jitter: None,
        },
    }
}

fn rectifier(context: &Context, state: &RunState) -> Result<Option<Rectifier>, StageError> {
    let config = &context.spec.config().adapt;
    if !config.rectifier {
        return Ok(None);
    }
    let saved = state.section(names::RECTIFIER);
    let device = context.resources.device;
    let rectifier = if saved.is_empty() {
        let seed = context.seed(Purpose::Initialisation, Stage::Adapt, 0, 0);
        let channels = context.resources.segmentation.config().low_channels();
        Rectifier::new(
            context.resources.embedding_width()?,
            channels,
            config.scale_init,
            seed,
            device,
        )?
    } else {
        Rectifier::from_named(|name| saved.get(name).map(|tensor| tensor.to_device(device)))?
    };
    Ok(Some(rectifier))
}

/// Parameters of a rectifier that starts with this stage, although the head may go on with the momentum of another training.
fn new_parameters(rectifier: Option<&Rectifier>, state: &RunState) -> Vec<(String, Tensor)> {
    let new = rectifier.filter(|_| state.section(names::RECTIFIER).is_empty());
    new.map_or_else(Vec::new, Rectifier::parameters)
}

impl StageRun for Adapt<'_> {
    fn step(&mut self, step: u64) -> Result<Progress, StageError> {
        let context = self.context;
        let batch = context.spec.config().adapt.batch;
        let (shard, active) = (
            context.link.shard() as usize,
            context.link.shards().min(batch) as usize,
        );
        let mine = if shard < active {
            slice(batch as usize, active, shard)
        } else {
            0..0
        };
        let device = context.resources.device;
        let mix = match context.spec.config().adapt.mix {
            true => Some(self.styles.mix_of_step(step, mine.clone(), device)?),
            false => None,
        };
        let styles = self.styles.of_step(step, mine, device)?;
        let rectification = self.rectifier.as_ref().map(|rectifier| Rectification {
            rectifier,
            scene: &self.texts.scene,
        });
        let supervised = &mut self.supervised;
        self.validation
            .after(step, &mut self.head, &mut self.set, |head, set| {
                supervised.step(step, head, set, |head, images, step_context| {
                    let part = AdaptStep {
                        backbone: &context.resources.segmentation,
                        head,
                        rectification,
                        mix: mix.as_ref(),
                    };
                    part.run(images, &styles, step_context)
                })
            })
    }

    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError> {
        self.validation.save(state);
        let rectifier = self.rectifier.iter().flat_map(Rectifier::parameters);
        state.set_section(names::RECTIFIER, rectifier);
        state.clear_section(names::HEAD);
        state.clear_section(names::MOMENTUM);
        match extent {
            Extent::Midway => {
                state.set_section(names::HEAD, self.head.state());
                state.set_section(names::MOMENTUM, self.set.named_velocity()?);
            }
            Extent::Complete => state.set_section(names::ADAPTED, self.head.state()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_jittered_and_flipped_as_in_pretrain_where_asked() {
        let mut config = RunConfig::default();
        config.adapt.crop = 512;
        config.pretrain.flip = 0.25;
        let plain = augmentation(&config);
        assert_eq!((plain.crop, plain.flip, plain.jitter), (512, 0.0, None));
        config.adapt.augment = true;
        let augmented = augmentation(&config);
        let jitter = Some(config.pretrain.jitter);
        assert_eq!(
            (augmented.crop, augmented.flip, augmented.jitter),
            (512, 0.25, jitter)
        );
    }
}
