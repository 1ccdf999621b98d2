//! Gradient buckets, reduced in shard order while the backward pass is still at work on the next ones.

use std::sync::mpsc::{Receiver, Sender, channel};

use tch::Tensor;
use ulda_collective::{Collective, CollectiveError, Group, Pending, Shard};
use ulda_method::trainable::{Bucket, TrainableSet};
use ulda_method::{MethodError, Result};

use super::{At, Link, Op};

/// Size of a bucket. Large enough that a frame's overhead vanishes, small enough that the first leaves early.
const BUCKET_BYTES: usize = 4 << 20;

/// The reduction of one stage's flat gradient.
pub struct GradientReduction {
    link: Link,
    buckets: Vec<Bucket>,
    group: Group,
    length: usize,
}

/// The reductions that one backward pass has started.
pub struct InFlight {
    started: Receiver<(usize, Pending)>,
    _hooks: Option<ulda_torch::grad::GradientHooks>,
}

impl GradientReduction {
    /// The first `active` shards contribute; all receive.
    #[must_use]
    pub fn new(link: &Link, set: &TrainableSet, active: u32) -> Self {
        let shards = link.shards();
        Self {
            link: link.clone(),
            buckets: set.buckets(BUCKET_BYTES),
            group: Group::reduce_to((0..active).map(Shard), (0..shards).map(Shard)),
            length: set.flat_len(),
        }
    }

    /// To be called before the backward pass: from then on each bucket leaves as soon as it is complete.
    ///
    /// # Errors
    /// When libtorch refuses the hooks.
    pub fn overlap(&self, set: &TrainableSet, at: At) -> Result<InFlight> {
        let (sender, started) = channel();
        let gradient = set.gradient().shallow_clone();
        let (link, group, buckets) = (self.link.clone(), self.group.clone(), self.buckets.clone());
        let hooks = set.on_bucket_ready(&self.buckets, move |index| {
            start(&link, &group, at, &buckets, index, Some(&gradient), &sender)
        })?;
        Ok(InFlight {
            started,
            _hooks: Some(hooks),
        })
    }

    /// For a shard that only receives.
    ///
    /// # Errors
    /// Never in practice; the sender and the receiver are both here.
    pub fn listen(&self, at: At) -> Result<InFlight> {
        let (sender, started) = channel();
        for index in 0..self.buckets.len() {
            start(&self.link, &self.group, at, &self.buckets, index, None, &sender).map_err(|reason| {
                MethodError::Exchange {
                    what: "reduce gradients",
                    reason,
                }
            })?;
        }
        Ok(InFlight {
            started,
            _hooks: None,
        })
    }

    /// Waits for all buckets; the sum over the shards as one flat tensor.
    ///
    /// # Errors
    /// When the collective broke, or a bucket never became complete.
    pub fn wait(&self, flight: InFlight) -> std::result::Result<Tensor, ReductionError> {
        let mut sum = vec![0f32; self.length];
        for done in 0..self.buckets.len() {
            let (index, pending) = flight
                .started
                .try_recv()
                .map_err(|_| ReductionError::Incomplete {
                    missing: self.buckets.len() - done,
                    buckets: self.buckets.len(),
                })?;
            let values = pending.wait()?;
            sum[self.buckets[index].range.clone()].copy_from_slice(&values);
        }
        Ok(Tensor::f_from_slice(&sum)?)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReductionError {
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    #[error("{missing} of {buckets} gradient buckets were not complete after the backward pass")]
    Incomplete { missing: usize, buckets: usize },
    #[error("libtorch refused the reduced gradient")]
    Torch(#[from] tch::TchError),
}

fn start(
    link: &Link,
    group: &Group,
    at: At,
    buckets: &[Bucket],
    index: usize,
    gradient: Option<&Tensor>,
    started: &Sender<(usize, Pending)>,
) -> std::result::Result<(), String> {
    let range = &buckets[index].range;
    let mut values = vec![0f32; range.len()];
    if let Some(gradient) = gradient {
        gradient
            .f_narrow(0, range.start as i64, range.len() as i64)
            .and_then(|part| part.f_copy_data(&mut values, range.len()))
            .map_err(|error| error.to_string())?;
    }
    let pending = link
        .rank
        .start_all_reduce(link.tag(at, Op::GradientBucket, index as u32), group, values);
    started
        .send((index, pending))
        .map_err(|_| "the step was given up".to_owned())
}
