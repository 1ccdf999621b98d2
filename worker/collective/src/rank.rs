//! What a shard's thread calls.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use ulda_run::ids::Shard;

use crate::core::Core;
use crate::error::{AbortCause, CollectiveError};
use crate::group::ShardGroup;
use crate::tag::Tag;
use crate::{reduce, spread};

/// Operations between the shards of a run.
///
/// All shards of a group call the same operation with equal tags and groups. Every call returns: with the
/// result, or with the first cause that broke the plane, within its deadlines.
pub trait Collective {
    /// The shard this handle speaks for.
    fn shard(&self) -> Shard;

    /// Number of shards of the run.
    fn shards(&self) -> u32;

    /// Sums `buffer` over the group's contributors, in ascending shard order: `((c0 + c1) + c2) + …` in
    /// f32, whatever the number of workers. The result lands in every receiver's buffer. A receiver that
    /// does not contribute passes a buffer of the right length, whose content is ignored; the buffer of a
    /// contributor that does not receive is left as it is.
    ///
    /// # Errors
    /// The plane's fault; `LengthMismatch` when the buffers differ in length.
    fn all_reduce(&self, tag: Tag, group: &ShardGroup, buffer: &mut [f32]) -> Result<(), CollectiveError>;

    /// The same for integers, which wrap around.
    ///
    /// # Errors
    /// As [`all_reduce`](Collective::all_reduce).
    fn all_reduce_u64(&self, tag: Tag, group: &ShardGroup, buffer: &mut [u64])
    -> Result<(), CollectiveError>;

    /// Starts [`all_reduce`](Collective::all_reduce) beside the caller, who may start others meanwhile.
    fn start_all_reduce(&self, tag: Tag, group: &ShardGroup, buffer: Vec<f32>) -> PendingSum;

    /// Every contributor's bytes, of any lengths, in shard order; nothing for a shard that only contributes.
    ///
    /// # Errors
    /// The plane's fault.
    fn all_gather(&self, tag: Tag, group: &ShardGroup, mine: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError>;

    /// Copies the root's `buffer` to all members of the group, whose own is replaced. The root waits until
    /// they call.
    ///
    /// # Errors
    /// The plane's fault.
    fn broadcast(
        &self,
        tag: Tag,
        group: &ShardGroup,
        root: Shard,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CollectiveError>;

    /// Returns to a receiver once every contributor has called, to a mere contributor at once.
    ///
    /// # Errors
    /// The plane's fault.
    fn barrier(&self, tag: Tag, group: &ShardGroup) -> Result<(), CollectiveError>;

    /// Gives the generation up on all workers; whoever waits returns at once.
    fn abort(&self, cause: AbortCause);
}

/// A handle for one shard, to be used on its thread, or on several with different tags.
#[derive(Clone)]
pub struct Rank {
    core: Arc<Core>,
    shard: Shard,
}

impl Rank {
    pub(crate) fn new(core: Arc<Core>, shard: Shard) -> Rank {
        Rank { core, shard }
    }
}

impl Collective for Rank {
    fn shard(&self) -> Shard {
        self.shard
    }

    fn shards(&self) -> u32 {
        self.core.membership.shards.len() as u32
    }

    fn all_reduce(&self, tag: Tag, group: &ShardGroup, buffer: &mut [f32]) -> Result<(), CollectiveError> {
        reduce::all_reduce(&self.core, self.shard, tag, group, buffer)
    }

    fn all_reduce_u64(
        &self,
        tag: Tag,
        group: &ShardGroup,
        buffer: &mut [u64],
    ) -> Result<(), CollectiveError> {
        reduce::all_reduce(&self.core, self.shard, tag, group, buffer)
    }

    fn start_all_reduce(&self, tag: Tag, group: &ShardGroup, mut buffer: Vec<f32>) -> PendingSum {
        let (done, outcome) = sync_channel(1);
        let (rank, group) = (self.clone(), group.clone());
        let name = format!("reduce-{}", self.shard.0);
        let started = thread::Builder::new().name(name).spawn(move || {
            let result = rank.all_reduce(tag, &group, &mut buffer).map(|()| buffer);
            // Nobody may be waiting any more.
            let _ = done.send(result);
        });
        match started {
            Ok(handle) => self.core.keep(handle),
            Err(error) => {
                let error = CollectiveError::io(format!("start a thread for {tag}"), error);
                return PendingSum::ready(Err(self.core.fail(error)));
            }
        }
        PendingSum {
            tag: Some(tag),
            outcome,
        }
    }

    fn all_gather(&self, tag: Tag, group: &ShardGroup, mine: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        spread::all_gather(&self.core, self.shard, tag, group, mine)
    }

    fn broadcast(
        &self,
        tag: Tag,
        group: &ShardGroup,
        root: Shard,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CollectiveError> {
        spread::broadcast(&self.core, self.shard, tag, group, root, buffer)
    }

    fn barrier(&self, tag: Tag, group: &ShardGroup) -> Result<(), CollectiveError> {
        spread::barrier(&self.core, self.shard, tag, group)
    }

    fn abort(&self, cause: AbortCause) {
        self.core.fail(CollectiveError::Aborted { cause });
    }
}

/// A sum that is being formed. Dropped unawaited, it is still formed, and the other shards get theirs.
#[must_use = "the sum is in the result of `wait`"]
pub struct PendingSum {
    tag: Option<Tag>,
    outcome: Receiver<Result<Vec<f32>, CollectiveError>>,
}

impl PendingSum {
    /// One that is there already, for other implementations of [`Collective`].
    pub fn ready(result: Result<Vec<f32>, CollectiveError>) -> PendingSum {
        let (done, outcome) = sync_channel(1);
        // The receiver is alive, and there is room for one.
        let _ = done.send(result);
        PendingSum { tag: None, outcome }
    }

    /// The sum. The operation has deadlines of its own, at each of its steps.
    ///
    /// # Errors
    /// As [`all_reduce`](Collective::all_reduce); `Panicked` when its thread did.
    pub fn wait(self) -> Result<Vec<f32>, CollectiveError> {
        self.outcome
            .recv()
            .unwrap_or(Err(CollectiveError::Panicked { tag: self.tag }))
    }
}
