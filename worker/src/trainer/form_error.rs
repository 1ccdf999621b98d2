//! Why a generation could not be formed, and why NCCL cannot carry its gradients.

use serde::{Deserialize, Serialize};
use ulda_collective::CollectiveError;
use ulda_nccl::NcclError;
use ulda_run::hints;
use ulda_run::ids::Generation;

use super::TrainerError;
use crate::state::StateError;

/// Why a generation could not be formed.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    #[error("{0} gives this worker no shard")]
    NoShard(Generation),
    #[error("state received from another worker")]
    Received(#[source] StateError),
    #[error("no member holds the state at {0}, from which the generation was to start")]
    NoSource(ulda_run::stage::Cursor),
    #[error("workers start from different states: {0}")]
    Disagree(String),
    #[error("compute.collective is nccl, and NCCL did not form: {}", .0.why)]
    Nccl(NcclRefusal),
    #[error(transparent)]
    Own(Box<TrainerError>),
}

hints!(pub FormError {
    Self::Collective(error) => error.hint(),
    Self::Nccl(refusal) => refusal.hint.clone(),
    Self::Own(error) => error.hint(),
});

impl From<CarrierRefused> for FormError {
    fn from(refused: CarrierRefused) -> Self {
        Self::Own(Box::new(TrainerError::Carrier(refused)))
    }
}

/// Why a worker has no NCCL or no communicator, as the others are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NcclRefusal {
    pub why: String,
    pub hint: Option<String>,
}

impl From<&NcclError> for NcclRefusal {
    fn from(error: &NcclError) -> Self {
        Self {
            why: error.to_string(),
            hint: error.hint(),
        }
    }
}

/// Why NCCL cannot serve these workers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("the worker at place {worker} computes on the CPU")]
    OnCpu { worker: usize },
    #[error("the workers at places {first} and {second} share one GPU, and NCCL takes one worker per GPU")]
    SharedGpu { first: usize, second: usize },
    #[error("at place {worker}, {}", refusal.why)]
    NoLibrary { worker: usize, refusal: NcclRefusal },
    #[error("the worker at place {worker} has NCCL {has} and the first one {first}")]
    Versions {
        worker: usize,
        has: String,
        first: String,
    },
    #[error("it did not form at place {worker}: {}", refusal.why)]
    NotFormed { worker: usize, refusal: NcclRefusal },
}

hints!(pub Obstacle {
    Self::OnCpu { .. } => "its log says why, give it a GPU",
    Self::SharedGpu { .. } => "start no more workers than there are GPUs, shards may be more",
    Self::Versions { .. } => "use one image for all",
    Self::NoLibrary { refusal, .. } | Self::NotFormed { refusal, .. } => refusal.hint.clone(),
});

/// compute.collective is nccl, and it cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compute.collective is nccl, but {0}")]
pub struct CarrierRefused(pub(super) Obstacle);

impl CarrierRefused {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let other = "make compute.collective auto or tcp";
        Some(match self.0.hint() {
            Some(hint) => format!("{hint}; or {other}"),
            None => other.to_owned(),
        })
    }
}
