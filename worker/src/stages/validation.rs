//! Validation on the source while pretrain or adapt trains a head, and the best head so far.

use std::path::Path;
use std::time::Instant;

use tch::Tensor;
use ulda_method::trainable::TrainableSet;
use ulda_model::Head;
use ulda_run::stage::{Cursor, Stage};

use super::StageError;
use super::context::{Context, ShardEvent};
use super::evaluate::{Images, score};
use super::supervised::head_from;
use crate::progress::{Progress, Report};
use crate::state::{RunState, names};

pub struct SourceValidation<'a> {
    context: &'a Context,
    stage: Stage,
    /// Steps from one validation to the next; 0 for none.
    every: u64,
    best: Option<Best>,
}

/// The head that scored highest on the source so far.
struct Best {
    head: Head,
    miou: f64,
}

impl<'a> SourceValidation<'a> {
    /// # Errors
    /// When the state's best head is none.
    pub fn begin(
        context: &'a Context,
        stage: Stage,
        every: u64,
        state: &RunState,
    ) -> Result<Self, StageError> {
        let saved = state.section(names::BEST);
        let best = match saved.is_empty() {
            true => None,
            false => Some(Best {
                head: head_from(saved, &context.resources)?,
                miou: state.fact(names::BEST_MIOU)?,
            }),
        };
        Ok(Self {
            context,
            stage,
            every,
            best,
        })
    }

    /// The best head; none before the first validation.
    pub fn best(&self) -> Option<&Head> {
        self.best.as_ref().map(|best| &best.head)
    }

    /// Runs the step `train` and, where one is due, validates what came of it. If that fails, the step counts as not done.
    ///
    /// # Errors
    /// When the step or the validation fails.
    pub fn after(
        &mut self,
        step: u64,
        head: &mut Head,
        set: &mut TrainableSet,
        train: impl FnOnce(&mut Head, &mut TrainableSet) -> Result<Progress, StageError>,
    ) -> Result<Progress, StageError> {
        if self.every == 0 || !(step + 1).is_multiple_of(self.every) {
            return train(head, set);
        }
        let before = Before::of(head, set)?;
        let mut progress = train(head, set)?;
        match self.validate(step, head) {
            Ok(miou) => {
                progress.losses.push(("validation_miou", miou));
                Ok(progress)
            }
            Err(error) => {
                before.restore(head, set)?;
                Err(error)
            }
        }
    }

    /// Keeps the best head in the state of a stage under way.
    pub fn save(&self, state: &mut RunState) {
        let best = self.best().map(Head::state);
        state.set_section(names::BEST, best.unwrap_or_default());
        state.set_fact(names::BEST_MIOU, self.best.as_ref().map(|best| best.miou));
    }

    /// mIoU on the source validation set; a strictly higher one than any before makes this head the best.
    fn validate(&mut self, step: u64, head: &Head) -> Result<f64, StageError> {
        let stage = self.stage;
        let cursor = Cursor { stage, step };
        self.context.activity(cursor, "validating on the source");
        let started = Instant::now();
        let dataset = &self.context.resources.validation;
        let images = Images { dataset, part: 0 };
        let matrix = score(self.context, cursor, images, &[head], |_, _, _| Ok(()))?.remove(0);
        let miou = matrix.scores().mean_iou.unwrap_or(0.0);
        if miou > self.best.as_ref().map_or(0.0, |best| best.miou) {
            let head = head.deep_clone();
            self.best = Some(Best { head, miou });
        }
        if self.context.leads() {
            let step = step + 1;
            self.context.tell(ShardEvent::Report(Report::Evaluation {
                model: "validation",
                set: "source".to_owned(),
                confusion: matrix.counts().to_vec(),
                images: dataset.len() as u64,
                at: Cursor { stage, step },
                seconds: started.elapsed().as_secs_f64(),
            }));
        }
        Ok(miou)
    }
}

/// What a step whose validation fails must restore.
struct Before {
    values: Vec<(String, Tensor)>,
    velocity: Vec<(String, Tensor)>,
    head: Vec<(String, Tensor)>,
}

impl Before {
    fn of(head: &Head, set: &TrainableSet) -> Result<Self, StageError> {
        let copies = head
            .state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.copy()));
        Ok(Self {
            values: set.named_values()?,
            velocity: set.named_velocity()?,
            head: copies.collect(),
        })
    }

    fn restore(self, head: &mut Head, set: &mut TrainableSet) -> Result<(), StageError> {
        let find = |named: &[(String, Tensor)], name: &str| {
            let mut named = named.iter();
            named
                .find(|(known, _)| known == name)
                .map(|(_, tensor)| tensor.shallow_clone())
        };
        set.load_values(|name| find(&self.values, name))?;
        set.load_velocity(|name| find(&self.velocity, name))?;
        head.load_state(Path::new("state before the step"), self.head)?;
        Ok(())
    }
}
