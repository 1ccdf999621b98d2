//! Stage 2: the head on simulated features, with the rectifier (METHOD.md).

use tch::Tensor;
use ulda_method::adapt::{AdaptStep, Rectification, trainables};
use ulda_method::optim::{PolyDecay, SgdSettings};
use ulda_method::rectifier::Rectifier;
use ulda_method::stylebank::StyleBank;
use ulda_method::trainable::TrainableSet;
use ulda_model::{Head, TextBank};
use ulda_run::plan::{Purpose, draw_styles, slice};
use ulda_run::stage::{Cursor, Stage};

use super::context::{Context, ShardEvent};
use super::evaluate::{Images, score};
use super::feed::Augmentation;
use super::simulate::load_bank;
use super::supervised::{Supervised, SupervisedSettings, head_from, load_momentum};
use super::{Extent, StageError, StageRun, names, texts};
use crate::agent::{Progress, Report};
use crate::state::RunState;

pub struct Adapt<'a> {
    context: &'a Context,
    head: Head,
    rectifier: Option<Rectifier>,
    texts: TextBank,
    bank: StyleBank,
    set: TrainableSet,
    supervised: Supervised<'a>,
    best: Option<Best>,
}

/// The head that scored highest on the source so far.
struct Best {
    head: Head,
    miou: f64,
}

/// What a validation that fails must be able to restore.
struct Before {
    values: Vec<(String, Tensor)>,
    velocity: Vec<(String, Tensor)>,
    head: Vec<(String, Tensor)>,
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
        if bank.len() < config.batch as usize {
            return Err(StageError::FewStyles {
                styles: bank.len(),
                batch: config.batch as usize,
            });
        }
        let rectifier = rectifier(context, state)?;
        let sgd = SgdSettings {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
        };
        let mut set = trainables(&head, rectifier.as_ref(), sgd)?;
        load_momentum(&mut set, state)?;
        let decay = |base| PolyDecay {
            base,
            total: config.steps,
            power: config.poly_power,
            floor: config.lr_floor,
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
            rates,
        };
        let augmentation = Augmentation {
            crop: config.crop,
            flip: 0.0,
            jitter: None,
        };
        let supervised = Supervised::new(context, course, &set, augmentation, state.cursor.step)?;
        let best_head = state.section(names::BEST);
        let best = if best_head.is_empty() {
            None
        } else {
            Some(Best {
                head: head_from(best_head, &context.resources)?,
                miou: state.fact(names::BEST_MIOU)?,
            })
        };
        let texts = texts::domain_texts(context, state.cursor)?;
        Ok(Self {
            context,
            head,
            rectifier,
            texts,
            bank,
            set,
            supervised,
            best,
        })
    }

    fn train(&mut self, step: u64) -> Result<Progress, StageError> {
        let context = self.context;
        let config = context.spec.config();
        let batch = config.adapt.batch as usize;
        let drawn = draw_styles(config.run.seed, step, batch, self.bank.len());
        let (shard, active) = (
            context.link.shard() as usize,
            context.link.shards().min(config.adapt.batch) as usize,
        );
        let mine = if shard < active {
            slice(batch, active, shard)
        } else {
            0..0
        };
        let styles = self.bank.gather(&drawn[mine], context.resources.device)?;
        let rectification = self.rectifier.as_ref().map(|rectifier| Rectification {
            rectifier,
            scene: &self.texts.scene,
        });
        self.supervised.step(
            step,
            &mut self.head,
            &mut self.set,
            |head, images, step_context| {
                let part = AdaptStep {
                    backbone: &context.resources.segmentation,
                    head,
                    rectification,
                };
                part.run(images, &styles, step_context)
            },
        )
    }

    fn validation_due(&self, step: u64) -> bool {
        let every = self.context.spec.config().adapt.validate_every;
        every > 0 && (step + 1).is_multiple_of(every)
    }

    /// mIoU on the source validation set; a strictly higher one than any before makes this head the best.
    fn validate(&mut self, step: u64) -> Result<f64, StageError> {
        let cursor = Cursor {
            stage: Stage::Adapt,
            step,
        };
        self.context.activity(cursor, "validating on the source");
        let started = std::time::Instant::now();
        let images = Images {
            dataset: &self.context.resources.validation,
            part: 0,
        };
        let matrix = score(self.context, cursor, images, &[&self.head], |_, _, _| Ok(()))?.remove(0);
        let miou = matrix.scores().mean_iou.unwrap_or(0.0);
        if miou > self.best.as_ref().map_or(0.0, |best| best.miou) {
            self.best = Some(Best {
                head: self.head.deep_clone(),
                miou,
            });
        }
        if self.context.leads() {
            self.context.tell(ShardEvent::Report(Report::Evaluation {
                model: "validation",
                set: "source".to_owned(),
                confusion: matrix.counts().to_vec(),
                images: self.context.resources.validation.len() as u64,
                at: Cursor {
                    step: step + 1,
                    ..cursor
                },
                seconds: started.elapsed().as_secs_f64(),
            }));
        }
        Ok(miou)
    }

    fn before(&self) -> Result<Before, StageError> {
        let copies = self
            .head
            .state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.copy()));
        Ok(Before {
            values: self.set.named_values()?,
            velocity: self.set.named_velocity()?,
            head: copies.collect(),
        })
    }

    fn restore(&mut self, before: Before) -> Result<(), StageError> {
        let find = |named: &[(String, Tensor)], name: &str| {
            named
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, tensor)| tensor.shallow_clone())
        };
        self.set.load_values(|name| find(&before.values, name))?;
        self.set.load_velocity(|name| find(&before.velocity, name))?;
        self.head
            .load_state(std::path::Path::new("state before the step"), before.head)?;
        Ok(())
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

impl StageRun for Adapt<'_> {
    fn step(&mut self, step: u64) -> Result<Progress, StageError> {
        if !self.validation_due(step) {
            return self.train(step);
        }
        let before = self.before()?;
        let mut progress = self.train(step)?;
        match self.validate(step) {
            Ok(miou) => {
                progress.losses.push(("validation_miou", miou));
                Ok(progress)
            }
            Err(error) => {
                self.restore(before)?;
                Err(error)
            }
        }
    }

    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError> {
        let best = self.best.as_ref().map(|best| best.head.state());
        state.set_section(names::BEST, best.unwrap_or_default());
        state.set_fact(names::BEST_MIOU, self.best.as_ref().map(|best| best.miou));
        let rectifier = self.rectifier.iter().flat_map(|rectifier| {
            rectifier
                .mlp_parameters()
                .into_iter()
                .chain([rectifier.scale_parameter()])
        });
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
