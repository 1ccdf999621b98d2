//! The state of a training that the authors' scripts save beside the model (`save_ckpt`) and go on from with
//! `--continue_training`: `cur_itrs`, `optimizer_state` and `scheduler_state`.
//!
//! PyTorch numbers the parameters of an optimiser through its groups, in the order in which the network registers them. The
//! head's are one group: the only one of PØDA's scripts, the first of ULDA's `stage2_adapt.py`, whose others train what the
//! file does not hold; and the one after the backbone's in a training without `--freeze_BB`.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};

use crate::head::Head;
use crate::pickle::PickleValue;
use crate::weights::error::TrainingProblem;
use crate::weights::pickled::CollectedTensors;
use crate::weights::{WeightsError, format};

const MOMENTUM: &str = "momentum_buffer";

/// How far a training of the head had come, and the momentum of its SGD.
#[derive(Debug)]
pub struct TrainingState {
    /// Steps that are done.
    pub steps: u64,
    /// Momentum of the head's parameters by their published names, float32 on the CPU; zeros for a parameter that the file
    /// has none of.
    pub momentum: Vec<(String, Tensor)>,
    /// Learning rate of the head at the first step.
    pub lr: Option<f64>,
    /// Factor of the momentum.
    pub momentum_factor: Option<f64>,
    pub weight_decay: Option<f64>,
    /// Steps after which a polynomial schedule ends.
    pub schedule_steps: Option<u64>,
    /// Whether the backbone was trained too.
    pub trains_backbone: bool,
}

/// What the pickle says, without the numbers of tensors.
struct SavedTraining {
    steps: u64,
    lr: Option<f64>,
    momentum_factor: Option<f64>,
    weight_decay: Option<f64>,
    schedule_steps: Option<u64>,
    trains_backbone: bool,
}

impl TrainingState {
    /// Reads the training of the head in the checkpoint at `path`, whose model has `head`.
    ///
    /// # Errors
    /// The file cannot be read, is malformed or beyond a limit, or holds no training of such a head by SGD with momentum.
    pub fn read(path: &Path, head: &Head) -> Result<Self, WeightsError> {
        let unfit = |problem| WeightsError::Training {
            path: path.to_owned(),
            problem,
        };
        let parameters = head.parameters();
        let read = format::read_pickled(path, |root, tensors| {
            SavedTraining::collect(root, tensors, &parameters, unfit)
        })?;
        let (saved, tensors) = read.ok_or_else(|| unfit(TrainingProblem::Missing(OPTIMISER)))?;
        if tensors.is_empty() {
            return Err(unfit(TrainingProblem::NoMomentum));
        }
        let mut tensors = BTreeMap::from_iter(tensors);
        let mut momentum = Vec::with_capacity(parameters.len());
        for (parameter, value) in parameters {
            let found = tensors.remove(&parameter).map_or_else(
                || value.zeros_like(),
                |tensor| tensor.to_kind(Kind::Float).contiguous(),
            );
            let (found_size, expected) = (found.size(), value.size());
            if found_size != expected {
                return Err(unfit(TrainingProblem::Shape {
                    parameter,
                    found: found_size,
                    expected,
                }));
            }
            momentum.push((parameter, found.detach()));
        }
        Ok(Self {
            steps: saved.steps,
            momentum,
            lr: saved.lr,
            momentum_factor: saved.momentum_factor,
            weight_decay: saved.weight_decay,
            schedule_steps: saved.schedule_steps,
            trains_backbone: saved.trains_backbone,
        })
    }

    /// The same for another thread, on the same tensors.
    #[must_use]
    pub fn share(&self) -> Self {
        let momentum = self.momentum.iter();
        Self {
            momentum: momentum
                .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
                .collect(),
            ..*self
        }
    }
}

const OPTIMISER: &str = "optimizer_state";
const STEPS: &str = "cur_itrs";

impl SavedTraining {
    /// Adds the momentum of `parameters` to `tensors`, under their names.
    fn collect<'p>(
        root: PickleValue<'p>,
        tensors: &mut CollectedTensors<'p>,
        parameters: &[(String, Tensor)],
        unfit: impl Fn(TrainingProblem) -> WeightsError,
    ) -> Result<Self, WeightsError> {
        let missing = |name| unfit(TrainingProblem::Missing(name));
        let optimiser = root.entry(OPTIMISER).ok_or_else(|| missing(OPTIMISER))?;
        let steps = root.entry(STEPS).and_then(whole).ok_or_else(|| missing(STEPS))?;
        let groups = optimiser.entry("param_groups").and_then(PickleValue::items);
        let groups = groups.unwrap_or_default();
        let numbers = |group: &PickleValue<'p>| group.entry("params")?.ints();
        let of_head = groups.iter().enumerate().find_map(|(at, group)| {
            let numbers = numbers(group).filter(|numbers| numbers.len() == parameters.len())?;
            Some((at, group, numbers))
        });
        let (at, group, numbers) = of_head.ok_or_else(|| {
            unfit(TrainingProblem::NoGroup {
                parameters: parameters.len(),
            })
        })?;
        let states = optimiser.entry("state").and_then(PickleValue::numbered_entries);
        let states: BTreeMap<i64, PickleValue<'p>> = states.into_iter().flatten().collect();
        for (number, (name, _)) in numbers.iter().zip(parameters) {
            // A parameter without a gradient has none.
            if let Some(momentum) = states.get(number).and_then(|state| state.entry(MOMENTUM)) {
                tensors.add_tensor(name, momentum)?;
            }
        }
        let of_group = |key: &str| group.entry(key).and_then(PickleValue::number);
        let schedule = root.entry("scheduler_state");
        Ok(Self {
            steps,
            lr: of_group("initial_lr").or_else(|| of_group("lr")),
            momentum_factor: of_group("momentum"),
            weight_decay: of_group("weight_decay"),
            schedule_steps: schedule.and_then(|schedule| whole(schedule.entry("max_iters")?)),
            trains_backbone: at > 0,
        })
    }
}

/// A number of steps, which the authors' defaults make a float such as 200e3.
fn whole(value: PickleValue<'_>) -> Option<u64> {
    let number = value.number()?;
    (number >= 0.0 && number.fract() == 0.0 && number < 1e15).then_some(number as u64)
}
