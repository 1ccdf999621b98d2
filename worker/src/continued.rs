//! A training of the authors' scripts that a stage goes on with (`--continue_training`): what of it the run takes, and what it
//! has to leave.

use std::path::Path;

use tch::Tensor;
use ulda_model::{Head, TrainingState, WeightsError};
use ulda_run::Finding;
use ulda_run::spec::{LrPolicy, RunConfig};
use ulda_run::stage::Stage;

/// The key that names the file.
pub const fn key(stage: Stage) -> &'static str {
    match stage {
        Stage::Adapt => "adapt.continue_from",
        Stage::Pretrain | Stage::Simulate | Stage::Evaluate => "pretrain.continue_from",
    }
}

/// Head and optimiser of such a training.
#[derive(Debug)]
pub struct ContinuedTraining {
    pub stage: Stage,
    pub head: Head,
    training: TrainingState,
    notes: Vec<Finding>,
}

impl ContinuedTraining {
    /// The training of `head` in the file at `path`, which `stage` of the run goes on with.
    ///
    /// # Errors
    /// When the file holds no such training.
    pub fn read(stage: Stage, path: &Path, head: Head, config: &RunConfig) -> Result<Self, WeightsError> {
        let training = TrainingState::read(path, &head)?;
        let notes = notes(stage, &training, config);
        Ok(Self {
            stage,
            head,
            training,
            notes,
        })
    }

    /// Steps that it had done.
    pub fn steps(&self) -> u64 {
        self.training.steps
    }

    /// Momentum of the head by the names of its parameters.
    pub fn momentum(&self) -> impl Iterator<Item = (String, Tensor)> {
        let named = self.training.momentum.iter();
        named.map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
    }

    /// What does not go on as it was.
    pub fn notes(&self) -> &[Finding] {
        &self.notes
    }

    /// The same for another thread; nobody changes the tensors.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            stage: self.stage,
            head: self.head.shallow_clone(),
            training: self.training.share(),
            notes: self.notes.clone(),
        }
    }
}

/// Settings of a stage that the file knows too.
struct StageSettings {
    steps: u64,
    policy: LrPolicy,
    /// The key of the head's learning rate, and its value.
    lr: (&'static str, f64),
    momentum: f64,
    weight_decay: f64,
}

fn settings(stage: Stage, config: &RunConfig) -> StageSettings {
    let (pretrain, adapt) = (&config.pretrain, &config.adapt);
    match stage {
        Stage::Adapt => StageSettings {
            steps: adapt.steps,
            policy: adapt.lr_policy,
            lr: ("lr_head", adapt.lr_head),
            momentum: adapt.momentum,
            weight_decay: adapt.weight_decay,
        },
        Stage::Pretrain | Stage::Simulate | Stage::Evaluate => StageSettings {
            steps: pretrain.steps,
            policy: pretrain.lr_policy,
            lr: ("lr", pretrain.lr),
            momentum: pretrain.momentum,
            weight_decay: pretrain.weight_decay,
        },
    }
}

fn notes(stage: Stage, training: &TrainingState, config: &RunConfig) -> Vec<Finding> {
    let key = key(stage);
    let ours = settings(stage, config);
    let mut notes = Vec::new();
    let done = training.steps;
    if training.trains_backbone {
        notes.push(Finding::note(
            key,
            "the file's training changed its backbone too, which here stays as it is in the file",
            "the momentum of the backbone is left out",
        ));
    }
    if stage == Stage::Adapt && config.adapt.rectifier {
        notes.push(Finding::note(
            key,
            format!(
                "the file holds no rectifier, which the authors' scripts do not save: it starts anew, at the learning rates of \
                 step {}",
                done + 1
            ),
            "set adapt.rectifier = false to go on without one",
        ));
    }
    let end = done.saturating_add(ours.steps);
    let schedule = training.schedule_steps.filter(|_| ours.policy == LrPolicy::Poly);
    if let Some(planned) = schedule.filter(|planned| *planned != end) {
        let hint = match planned.checked_sub(done) {
            Some(left) if left > 0 => format!("{stage}.steps = {left} ends where it was planned"),
            Some(_) | None => format!("its training was complete; {stage}.steps more are added to it"),
        };
        notes.push(Finding::note(
            key,
            format!(
                "the file's schedule ends after step {planned}; with its {done} steps and {stage}.steps = {} it now ends after \
                 step {end}",
                ours.steps
            ),
            hint,
        ));
    }
    for (name, theirs, ours) in [
        (ours.lr.0, training.lr, ours.lr.1),
        ("momentum", training.momentum_factor, ours.momentum),
        ("weight_decay", training.weight_decay, ours.weight_decay),
    ] {
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            notes.push(Finding::note(
                key,
                format!("the file was trained with {theirs}, and goes on with {stage}.{name} = {ours}"),
                format!("{stage}.{name} = {theirs} goes on as it was"),
            ));
        }
    }
    notes
}
