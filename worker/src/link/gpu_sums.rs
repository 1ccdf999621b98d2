//! Sums of gradient buckets where they lie: first over the shards of this worker, then over the workers by NCCL.
//!
//! One value serves all shards of a worker in one generation. Buckets go to NCCL in the order of their numbers on
//! every worker, whatever order they become complete in. Invariants: nobody is given a sum that was not seen
//! complete, and the first fault on either side, here or of the data plane, ends the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use ulda_collective::{AbortCause, CollectiveError, DataPlane};
use ulda_nccl::{Communicator, DeviceSpan, NcclError, PendingOperation};
use ulda_run::stage::Stage;

use super::At;
use super::gpu_time::{Clock, GpuTime};

/// How often one that waits for another shard's part looks at the data plane.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which bucket of which step, out of how many.
#[derive(Clone, Copy, Debug)]
pub struct BucketId {
    pub at: At,
    pub index: usize,
    pub of: usize,
    /// Shards that contribute: the first ones.
    pub active: usize,
}

impl std::fmt::Display for BucketId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let At { stage, step, .. } = self.at;
        write!(f, "gradient bucket {} of {stage} step {step}", self.index)
    }
}

/// Sums of buckets over all shards of a run, where the gradients lie.
pub trait BucketSums: Send + Sync {
    /// Gives `shard`'s part. The last shard of this worker to give sends the bucket on.
    ///
    /// # Errors
    /// libtorch refused; the data plane is broken then.
    fn give(&self, bucket: BucketId, shard: u32, part: Part) -> Result<(), CollectiveError>;

    /// Waits for the sum of a bucket; each shard takes each bucket once.
    ///
    /// # Errors
    /// The fault of the data plane, which NCCL's becomes.
    fn take(&self, bucket: BucketId) -> Result<Tensor, CollectiveError>;
}

/// What one shard has for a bucket.
pub enum Part {
    /// A stretch of its flat gradient, float32; it may be overwritten with the sum.
    Gradient(Tensor),
    /// Nothing, of this many values: the shard has no images in this step.
    Nothing { length: i64, device: Device },
}

/// How shards lie on workers, and whether sums keep their order.
#[derive(Clone, Debug)]
pub struct ShardPlacement {
    /// Worker of each shard.
    pub owners: Vec<u32>,
    pub me: u32,
    pub ordered: bool,
}

/// The sums of one worker's shards in one generation.
pub struct GpuSums<C: Clock = GpuTime> {
    plane: Arc<DataPlane>,
    layout: ShardPlacement,
    /// None where no other worker is there.
    communicator: Option<Communicator<C>>,
    patience: Duration,
    buckets: Mutex<Buckets>,
    changed: Condvar,
}

/// A shard that has all sums of a step begins the next one while others still take theirs.
type StepKey = (Stage, u64);

#[derive(Default)]
struct Buckets {
    known: BTreeMap<(StepKey, usize), Bucketful>,
    /// Buckets of a step before this number are with NCCL, or were.
    launched: BTreeMap<StepKey, usize>,
}

impl BucketId {
    fn step(&self) -> StepKey {
        (self.at.stage, self.at.step)
    }

    fn key(&self) -> (StepKey, usize) {
        (self.step(), self.index)
    }
}

enum Bucketful {
    /// By place of the shard within its worker.
    Gathering(Vec<Option<Part>>),
    Complete(Vec<Part>),
    Summing {
        pending: Option<PendingOperation>,
        buffer: Tensor,
    },
    Summed {
        sum: Tensor,
        taken: usize,
    },
}

impl<C: Clock> GpuSums<C> {
    /// `patience` is the longest wait for another shard of this worker.
    #[must_use]
    pub fn new(
        plane: Arc<DataPlane>,
        layout: ShardPlacement,
        communicator: Option<Communicator<C>>,
        patience: Duration,
    ) -> Self {
        Self {
            plane,
            layout,
            communicator,
            patience,
            buckets: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Shards of this worker.
    fn shards(&self) -> usize {
        let mine = self
            .layout
            .owners
            .iter()
            .filter(|owner| **owner == self.layout.me);
        mine.count()
    }

    /// Place of a shard among those of its worker.
    fn place(&self, shard: u32) -> usize {
        let owner = self.layout.owners[shard as usize];
        let before = &self.layout.owners[..shard as usize];
        before.iter().filter(|other| **other == owner).count()
    }

    /// Sends on what is complete, in order.
    fn launch_complete(&self, buckets: &mut Buckets, bucket: BucketId) -> Result<(), TorchFault> {
        let launched = buckets.launched.entry(bucket.step()).or_default();
        while let Some(entry) = buckets.known.get_mut(&(bucket.step(), *launched)) {
            let Bucketful::Complete(parts) = entry else { break };
            let parts = std::mem::take(parts);
            let next = BucketId {
                index: *launched,
                ..bucket
            };
            *entry = self.launch(next, &parts)?;
            *launched += 1;
        }
        Ok(())
    }

    fn launch(&self, bucket: BucketId, parts: &[Part]) -> Result<Bucketful, TorchFault> {
        let Some(communicator) = &self.communicator else {
            let sum = sum_in_order(parts)?;
            return Ok(Bucketful::Summed { sum, taken: 0 });
        };
        let name = bucket.to_string();
        if self.layout.ordered {
            let rows = self.rows_per_worker();
            let all = [i64::from(communicator.seat().ranks) * rows, parts[0].length()];
            let buffer = Tensor::f_zeros(all, (Kind::Float, parts[0].device()))?;
            let mine = buffer.f_narrow(0, i64::from(self.layout.me) * rows, rows)?;
            for (place, part) in parts.iter().enumerate() {
                if let Part::Gradient(gradient) = part {
                    mine.f_get(place as i64)?.f_copy_(gradient)?;
                }
            }
            let pending = communicator.all_gather(
                name,
                span(&mine),
                span(&buffer),
                C::ready(&buffer).map_err(TorchFault::Clock)?,
            );
            return Ok(Bucketful::Summing {
                pending: Some(pending),
                buffer,
            });
        }
        let buffer = sum_in_order(parts)?;
        let pending =
            communicator.all_reduce_sum(name, span(&buffer), C::ready(&buffer).map_err(TorchFault::Clock)?);
        Ok(Bucketful::Summing {
            pending: Some(pending),
            buffer,
        })
    }

    /// Places that an ordered gather has for each worker's shards.
    fn rows_per_worker(&self) -> i64 {
        let mut counts: HashMap<u32, i64> = HashMap::new();
        for owner in &self.layout.owners {
            *counts.entry(*owner).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(1)
    }

    /// The sum that a completed operation left in `buffer`.
    fn sum_of(&self, bucket: BucketId, buffer: Tensor) -> Result<Tensor, TorchFault> {
        if !self.layout.ordered {
            return Ok(buffer);
        }
        let rows = self.rows_per_worker();
        let row_of =
            |shard: usize| i64::from(self.layout.owners[shard]) * rows + self.place(shard as u32) as i64;
        let mut sum = buffer.f_get(row_of(0))?.copy();
        for shard in 1..bucket.active.min(self.layout.owners.len()) {
            sum = sum.f_add_(&buffer.f_get(row_of(shard))?)?;
        }
        Ok(sum)
    }

    /// Breaks the data plane, whose fault is the answer.
    fn fail(&self, cause: String) -> CollectiveError {
        self.plane.abort(AbortCause::new(cause.clone()));
        self.plane.fault().unwrap_or(CollectiveError::Aborted {
            cause: AbortCause::new(cause),
        })
    }

    /// Ends the communicator.
    ///
    /// # Errors
    /// Only what needs another process: NCCL or the driver does not let go.
    pub fn close(self) -> Result<(), NcclError> {
        match self.communicator.map(Communicator::close) {
            Some(Err(error)) if error.needs_new_process() => Err(error),
            // Its cause is the generation's, and was told.
            Some(Ok(()) | Err(_)) | None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Clock> BucketSums for GpuSums<C> {
    fn give(&self, bucket: BucketId, shard: u32, part: Part) -> Result<(), CollectiveError> {
        let shards = self.shards();
        let place = self.place(shard);
        let mut buckets = self.lock();
        let entry = buckets
            .known
            .entry(bucket.key())
            .or_insert_with(|| Bucketful::Gathering((0..shards).map(|_| None).collect()));
        if let Bucketful::Gathering(parts) = entry {
            parts[place] = Some(part);
            if parts.iter().all(Option::is_some) {
                *entry = Bucketful::Complete(parts.drain(..).flatten().collect());
            }
        }
        let outcome = self.launch_complete(&mut buckets, bucket);
        drop(buckets);
        self.changed.notify_all();
        outcome.map_err(|error| self.fail(format!("{bucket}: {error}")))
    }

    fn take(&self, bucket: BucketId) -> Result<Tensor, CollectiveError> {
        let started = Instant::now();
        let mut buckets = self.lock();
        loop {
            if let Some(fault) = self.plane.fault() {
                return Err(fault);
            }
            match buckets.known.get_mut(&bucket.key()) {
                Some(Bucketful::Summed { sum, taken }) => {
                    let sum = sum.shallow_clone();
                    *taken += 1;
                    if *taken == self.shards() {
                        buckets.known.remove(&bucket.key());
                        if bucket.index + 1 == bucket.of {
                            buckets.launched.remove(&bucket.step());
                        }
                    }
                    return Ok(sum);
                }
                Some(Bucketful::Summing { pending, buffer }) if pending.is_some() => {
                    let (pending, buffer) = (pending.take(), buffer.shallow_clone());
                    drop(buckets);
                    let outcome = pending.map_or(Ok(()), PendingOperation::wait);
                    let sum = outcome
                        .map_err(|error| self.fail(error.to_string()))
                        .and_then(|()| {
                            self.sum_of(bucket, buffer)
                                .map_err(|error| self.fail(format!("{bucket}: {error}")))
                        })?;
                    buckets = self.lock();
                    buckets
                        .known
                        .insert(bucket.key(), Bucketful::Summed { sum, taken: 0 });
                    self.changed.notify_all();
                }
                Some(_) | None => {
                    let waited = started.elapsed();
                    if waited >= self.patience {
                        drop(buckets);
                        return Err(self.fail(format!(
                            "waited {} s for {bucket} of this worker's other shards",
                            waited.as_secs()
                        )));
                    }
                    let woken = self.changed.wait_timeout(buckets, LOOK_EVERY);
                    buckets = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum TorchFault {
    #[error(transparent)]
    Tensor(#[from] tch::TchError),
    #[error("{0}")]
    Clock(String),
}

impl Part {
    fn length(&self) -> i64 {
        match self {
            Self::Gradient(gradient) => gradient.numel() as i64,
            Self::Nothing { length, .. } => *length,
        }
    }

    fn device(&self) -> Device {
        match self {
            Self::Gradient(gradient) => gradient.device(),
            Self::Nothing { device, .. } => *device,
        }
    }
}

/// `((p0 + p1) + p2) + …`. The one part of a worker's only shard is the sum itself; that of one among several is
/// copied, since its shard goes on to the next step while others still read.
fn sum_in_order(parts: &[Part]) -> Result<Tensor, TorchFault> {
    let mut sum: Option<Tensor> = None;
    for part in parts {
        if let Part::Gradient(gradient) = part {
            sum = Some(match sum {
                None if parts.len() == 1 => gradient.shallow_clone(),
                None => gradient.copy(),
                Some(sum) => sum.f_add(gradient)?,
            });
        }
    }
    match sum {
        Some(sum) => Ok(sum),
        None => Ok(Tensor::f_zeros(
            [parts[0].length()],
            (Kind::Float, parts[0].device()),
        )?),
    }
}

fn span(buffer: &Tensor) -> DeviceSpan<f32> {
    let keeper = Box::new(buffer.shallow_clone());
    // SAFETY: a contiguous float32 tensor, kept alive by the clone; only its bucket's shard wrote it, before the
    // ready mark, and nobody reads it before the operation was seen complete.
    unsafe { DeviceSpan::new(buffer.data_ptr().cast(), buffer.numel(), keeper) }
}
