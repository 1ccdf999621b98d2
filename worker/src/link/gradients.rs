//! Gradient buckets, summed over the shards while the backward pass is still at work on the next ones: by the TCP
//! collective in host memory, or by [`BucketSums`] where the gradients lie.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tch::{Device, Kind, Tensor};
use ulda_collective::{Collective, CollectiveError, PendingSum, ShardGroup};
use ulda_method::trainable::{BucketSpan, TrainableSet};
use ulda_method::{MethodError, Result};
use ulda_run::hints;
use ulda_run::ids::Shard;

use super::gpu_sums::{self, BucketSums, Part};
use super::{At, Link, Op};

/// Size of a bucket. Large enough that a frame's overhead vanishes, small enough that the first leaves early.
const BUCKET_BYTES: usize = 4 << 20;

/// The reduction of one stage's flat gradient.
pub struct GradientReduction {
    link: Link,
    buckets: Vec<BucketSpan>,
    group: ShardGroup,
    /// Where sums that were formed in host memory come together, flat; empty where they are formed on a GPU.
    sum: Tensor,
    device: Device,
}

/// The reductions that one backward pass has started.
pub struct InFlight {
    sums: Started,
    _hooks: Option<ulda_torch::grad::GradientHooks>,
}

enum Started {
    Host(Receiver<(usize, PendingSum)>),
    Gpu(At),
}

impl GradientReduction {
    /// The first `active` shards contribute; all receive.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn new(link: &Link, set: &TrainableSet, active: u32) -> Result<Self> {
        let shards = link.shards();
        let length = match link.gpu_sums() {
            Some(_) => 0,
            None => set.flat_len() as i64,
        };
        Ok(Self {
            link: link.clone(),
            buckets: set.buckets(BUCKET_BYTES),
            group: ShardGroup::reduce_to((0..active).map(Shard), (0..shards).map(Shard)),
            sum: Tensor::f_zeros([length], (Kind::Float, Device::Cpu))?,
            device: set.gradient().device(),
        })
    }

    /// To be called before the backward pass: from then on each bucket leaves as soon as it is complete.
    ///
    /// # Errors
    /// When libtorch refuses the hooks.
    pub fn overlap(&self, set: &TrainableSet, at: At) -> Result<InFlight> {
        let gradient = set.gradient().shallow_clone();
        let (sums, hooks) = match self.link.gpu_sums() {
            Some(sums) => {
                let (sums, shard) = (Arc::clone(sums), self.link.shard());
                let (buckets, group) = (self.buckets.clone(), self.group.clone());
                let hooks = set.on_bucket_ready(&self.buckets, move |index| {
                    let part = stretch(&gradient, &buckets[index]).map_err(|error| error.to_string())?;
                    let bucket = numbered(at, index, &buckets, &group);
                    let given = sums.give(bucket, shard, Part::Gradient(part));
                    given.map_err(|error| error.to_string())
                })?;
                (Started::Gpu(at), hooks)
            }
            None => {
                let (sender, started) = channel();
                let (link, group, buckets) = (self.link.clone(), self.group.clone(), self.buckets.clone());
                let hooks = set.on_bucket_ready(&self.buckets, move |index| {
                    start(&link, &group, at, &buckets, index, Some(&gradient), &sender)
                })?;
                (Started::Host(started), hooks)
            }
        };
        Ok(InFlight {
            sums,
            _hooks: Some(hooks),
        })
    }

    /// For a shard that only receives.
    ///
    /// # Errors
    /// When the collective broke.
    pub fn listen(&self, at: At) -> Result<InFlight> {
        let refused = |reason| MethodError::Exchange {
            what: "reduce gradients",
            reason,
        };
        let (sender, started) = channel();
        for (index, bucket) in self.buckets.iter().enumerate() {
            match self.link.gpu_sums() {
                Some(sums) => {
                    let (length, device) = (bucket.range.len() as i64, self.device);
                    let part = Part::Nothing { length, device };
                    let given = sums.give(
                        numbered(at, index, &self.buckets, &self.group),
                        self.link.shard(),
                        part,
                    );
                    given.map_err(|error| refused(error.to_string()))?;
                }
                None => start(&self.link, &self.group, at, &self.buckets, index, None, &sender)
                    .map_err(refused)?,
            }
        }
        Ok(InFlight {
            sums: match self.link.gpu_sums() {
                Some(_) => Started::Gpu(at),
                None => Started::Host(started),
            },
            _hooks: None,
        })
    }

    /// Waits for all buckets; the sum over the shards as one flat tensor, where the gradients are. It holds until the
    /// next call.
    ///
    /// # Errors
    /// When the collective broke, or a bucket never became complete.
    pub fn wait(&mut self, flight: InFlight) -> std::result::Result<Tensor, ReductionError> {
        match (flight.sums, self.link.gpu_sums()) {
            (Started::Gpu(at), Some(sums)) => self.wait_on_gpu(sums.as_ref(), at),
            (Started::Gpu(_), None) => Err(self.incomplete(0)),
            (Started::Host(started), _) => self.wait_on_host(&started),
        }
    }

    fn wait_on_gpu(&self, sums: &dyn BucketSums, at: At) -> std::result::Result<Tensor, ReductionError> {
        let mut parts = Vec::with_capacity(self.buckets.len());
        for index in 0..self.buckets.len() {
            parts.push(sums.take(numbered(at, index, &self.buckets, &self.group))?);
        }
        // Buckets run from the end of the flat gradient to its beginning.
        parts.reverse();
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    fn wait_on_host(
        &mut self,
        started: &Receiver<(usize, PendingSum)>,
    ) -> std::result::Result<Tensor, ReductionError> {
        for done in 0..self.buckets.len() {
            let (index, pending) = started.try_recv().map_err(|_| self.incomplete(done))?;
            let values = pending.wait()?;
            // SAFETY: whoever was given the sum of an earlier step is done with it.
            let sum = unsafe { ulda_torch::host_values_mut(&mut self.sum) }?;
            sum[self.buckets[index].range.clone()].copy_from_slice(&values);
        }
        Ok(self.sum.f_to_device(self.device)?)
    }

    fn incomplete(&self, done: usize) -> ReductionError {
        ReductionError::Incomplete {
            missing: self.buckets.len() - done,
            buckets: self.buckets.len(),
        }
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
    #[error(transparent)]
    Host(#[from] ulda_torch::TorchError),
}

hints!(pub ReductionError {
    Self::Collective(error) => error.hint(),
});

fn start(
    link: &Link,
    group: &ShardGroup,
    at: At,
    buckets: &[BucketSpan],
    index: usize,
    gradient: Option<&Tensor>,
    started: &Sender<(usize, PendingSum)>,
) -> std::result::Result<(), String> {
    let values = match gradient {
        Some(gradient) => values_of(gradient, &buckets[index]).map_err(|error| error.to_string())?,
        None => vec![0f32; buckets[index].range.len()],
    };
    let pending = link
        .rank
        .start_all_reduce(link.tag(at, Op::GradientBucket, index as u32), group, values);
    started
        .send((index, pending))
        .map_err(|_| "the step was given up".to_owned())
}

/// A bucket's part of the flat gradient, in host memory.
fn values_of(gradient: &Tensor, bucket: &BucketSpan) -> std::result::Result<Vec<f32>, ReductionError> {
    let part = stretch(gradient, bucket)?.f_to_device(Device::Cpu)?;
    // SAFETY: the bucket is complete, so the backward pass writes no more to it.
    Ok(unsafe { ulda_torch::host_values(&part) }?.to_vec())
}

/// The part of the flat gradient that a bucket covers.
fn stretch(gradient: &Tensor, bucket: &BucketSpan) -> std::result::Result<Tensor, tch::TchError> {
    gradient.f_narrow(0, bucket.range.start as i64, bucket.range.len() as i64)
}

fn numbered(at: At, index: usize, buckets: &[BucketSpan], group: &ShardGroup) -> gpu_sums::BucketId {
    gpu_sums::BucketId {
        at,
        index,
        of: buckets.len(),
        active: group.contributors().len(),
    }
}
