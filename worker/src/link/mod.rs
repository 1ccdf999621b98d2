//! A shard's view of the others: the method's exchanges carried by the collective.
//!
//! Knows tags, groups and byte layouts; the method knows none of these, the collective none of the method.

mod gpu_sums;
mod gpu_time;
mod gradients;
mod norms;
mod ops;
mod projectors;
mod prototypes;

use std::sync::Arc;

use ulda_collective::{Collective, CollectiveError, Rank, ShardGroup, Tag};
use ulda_run::ids::Shard;
use ulda_run::stage::Stage;

pub use gpu_sums::{BucketSums, GpuSums, ShardPlacement};
pub use gpu_time::{Clock, GpuTime};
pub use gradients::{GradientReduction, ReductionError};
pub use norms::NormSync;
pub use ops::Op;
pub use projectors::LaneReduce;
pub use prototypes::LanePrototypes;

/// One shard's handle on the data plane.
#[derive(Clone)]
pub struct Link {
    rank: Arc<Rank>,
    shards: u32,
    gpu_sums: Option<Arc<dyn BucketSums>>,
}

/// A step of a stage, as far as tags are concerned.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub stage: Stage,
    pub step: u64,
    pub iteration: u32,
}

impl At {
    #[must_use]
    pub fn step(stage: Stage, step: u64) -> Self {
        Self {
            stage,
            step,
            iteration: 0,
        }
    }
}

impl Link {
    #[must_use]
    pub fn new(rank: Rank) -> Self {
        let shards = rank.shards();
        Self {
            rank: Arc::new(rank),
            shards,
            gpu_sums: None,
        }
    }

    /// With gradients summed on the GPU.
    #[must_use]
    pub fn on_gpu(mut self, sums: Option<Arc<dyn BucketSums>>) -> Self {
        self.gpu_sums = sums;
        self
    }

    pub(super) fn gpu_sums(&self) -> Option<&Arc<dyn BucketSums>> {
        self.gpu_sums.as_ref()
    }

    #[must_use]
    pub fn shard(&self) -> u32 {
        self.rank.shard().0
    }

    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shards
    }

    #[must_use]
    pub fn everyone(&self) -> ShardGroup {
        ShardGroup::all(self.shards)
    }

    /// Integer sums over all shards, in place.
    ///
    /// # Errors
    /// When the collective broke.
    pub fn sum(&self, at: At, op: Op, part: u32, values: &mut [u64]) -> Result<(), CollectiveError> {
        self.rank
            .all_reduce_u64(self.tag(at, op, part), &self.everyone(), values)
    }

    /// Every contributor's bytes, in shard order.
    ///
    /// # Errors
    /// When the collective broke.
    pub fn gather(
        &self,
        at: At,
        op: Op,
        group: &ShardGroup,
        mine: &[u8],
    ) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.rank.all_gather(self.tag(at, op, 0), group, mine)
    }

    /// Replaces `bytes` by those of shard `root`.
    ///
    /// # Errors
    /// When the collective broke.
    pub fn broadcast(
        &self,
        at: At,
        op: Op,
        group: &ShardGroup,
        root: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<(), CollectiveError> {
        self.rank
            .broadcast(self.tag(at, op, 0), group, Shard(root), bytes)
    }

    fn tag(&self, at: At, op: Op, part: u32) -> Tag {
        let stage = ulda_collective::StageName {
            code: at.stage.code(),
            name: at.stage.name(),
        };
        Tag {
            stage,
            step: at.step,
            iteration: at.iteration,
            op: op.named(),
            part,
        }
    }
}
