//! What the stages of a run cost by their shapes: the worker says it to the coordinator as JSON, a line per stage.

use serde::{Deserialize, Serialize};

use crate::stage::Stage;

/// What a whole stage costs, as far as shapes tell; nothing of it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    pub stage: Stage,
    /// Images that the stage reads, over all shards; validations on the source are not counted. `None` where the data
    /// sets are not on this host.
    pub images: Option<u64>,
    /// Floating-point operations of the shard that has most to do, validations included. `None` where the sizes of images
    /// are not known.
    pub shard_flop: Option<f64>,
    /// Memory of a worker without its shards' steps: program, frozen weights, state.
    pub worker_bytes: u64,
    /// What the step of each shard adds.
    pub shard_bytes: u64,
}
