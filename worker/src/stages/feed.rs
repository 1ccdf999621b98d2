//! Examples as tensors, decoded ahead of their step.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::{Device, Tensor};
use ulda_dataset::labels::IGNORE;
use ulda_dataset::{
    Adjustment, Crop, Dataset, DecodeCounters, Example, Jitter, Job, Prefetcher, Sampling, Size,
};
use ulda_run::plan::{Batches, SampleAt, draw_sample, slice};
use ulda_run::spec::JitterConfig;
use ulda_run::stage::Stage;
use ulda_torch::Staging;

use super::StageError;
use super::pixels::{Normaliser, format_for};

/// Steps decoded ahead of the one being trained.
const STEPS_AHEAD: usize = 3;

/// Random choices that a stage makes for its training images.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    pub crop: u32,
    pub flip: f64,
    /// `None` leaves colours alone.
    pub jitter: Option<JitterConfig>,
}

/// Which part of a stage's images a shard reads.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    pub stage: Stage,
    pub seed: u64,
    /// Images per batch.
    pub batch: u32,
    /// Parts that a batch is cut into, and which of them this is.
    pub parts: u32,
    pub part: u32,
    /// Batch of the first step, and batches from one step to the next.
    pub first: u64,
    pub stride: u64,
}

/// Images and labels of one step of one shard.
pub struct Batch {
    /// [n, 3, H, W].
    pub images: Tensor,
    /// [n, H, W], u8 train ids.
    pub labels: Tensor,
    /// Pixels with a class.
    pub labelled: i64,
    /// Time that the step waited for it.
    pub waited: Duration,
}

/// A bounded stream of a shard's batches.
pub struct Feed {
    prefetcher: Prefetcher,
    images_per_step: usize,
    dataset: Arc<Dataset>,
    device: Device,
    normaliser: Normaliser,
}

impl Feed {
    /// Starts decoding.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        dataset: &Arc<Dataset>,
        portion: Portion,
        augmentation: Augmentation,
        device: Device,
        counters: &Arc<DecodeCounters>,
    ) -> Result<Self, StageError> {
        let range = slice(
            portion.batch as usize,
            portion.parts as usize,
            portion.part as usize,
        );
        let images_per_step = range.len();
        let mut batches = Batches::new(portion.seed, portion.stage, dataset.len(), portion.batch);
        let jobs = (0..).flat_map(move |turn| {
            let batch = batches.batch(portion.first + turn * portion.stride);
            let jobs = batch[range.clone()]
                .iter()
                .map(|&sample| job(portion, augmentation, device, sample));
            jobs.collect::<Vec<_>>()
        });
        let prefetcher = read_ahead(dataset, jobs, images_per_step * STEPS_AHEAD, device, counters)?;
        Ok(Self {
            prefetcher,
            images_per_step,
            dataset: Arc::clone(dataset),
            device,
            normaliser: Normaliser::new(device)?,
        })
    }

    /// The next step's images.
    ///
    /// # Errors
    /// When a sample is missing or damaged; the error names its file.
    pub fn next(&mut self) -> Result<Batch, StageError> {
        let started = Instant::now();
        let mut examples = Vec::with_capacity(self.images_per_step);
        for _ in 0..self.images_per_step {
            examples.push(next_of(&mut self.prefetcher, &self.dataset)?);
        }
        let (images, labels) = stack(&examples, &self.normaliser, self.device)?;
        Ok(Batch {
            images,
            labels,
            labelled: examples.iter().map(labelled_pixels).sum(),
            waited: started.elapsed(),
        })
    }
}

/// Starts to read the jobs' samples for one shard on `device`: `ahead` of them, more where there are many threads to keep
/// busy.
///
/// # Errors
/// When no thread can be started.
pub fn read_ahead(
    dataset: &Arc<Dataset>,
    jobs: impl Iterator<Item = Job> + Send + 'static,
    ahead: usize,
    device: Device,
    counters: &Arc<DecodeCounters>,
) -> Result<Prefetcher, StageError> {
    let decoders = decoders(device);
    let ahead = NonZeroUsize::new(ahead).map_or(decoders, |ahead| ahead.max(decoders));
    let (dataset, counters) = (Arc::clone(dataset), Arc::clone(counters));
    Ok(Prefetcher::counted(dataset, jobs, decoders, ahead, counters)?)
}

/// The next example of a reader that has one.
///
/// # Errors
/// When the sample is missing or damaged, which names its file, or none is left.
pub fn next_of(reader: &mut Prefetcher, dataset: &Dataset) -> Result<Example, StageError> {
    let ended = || StageError::FeedEnded {
        root: dataset.root().display().to_string(),
    };
    Ok(reader.next().ok_or_else(ended)??)
}

/// Threads that decode for one shard. On a CPU they would take the step's own; a GPU eats images faster than one
/// thread decodes, so its share of the host's cores serves it.
fn decoders(device: Device) -> NonZeroUsize {
    const MOST: usize = 16;
    let count = match device {
        Device::Cuda(_) => {
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let gpus = usize::try_from(tch::Cuda::device_count()).unwrap_or(1);
            (cores / gpus.max(1)).clamp(1, MOST)
        }
        _ => 1,
    };
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// Images [n, 3, H, W] and labels [n, H, W] of examples of one size.
///
/// # Errors
/// When the sizes differ.
pub fn stack(
    examples: &[Example],
    normaliser: &Normaliser,
    device: Device,
) -> Result<(Tensor, Tensor), StageError> {
    let size = examples.first().map_or(Size::new(0, 0), |example| example.size);
    let (height, width) = (i64::from(size.height), i64::from(size.width));
    for example in examples {
        if example.size != size {
            let what = format!(
                "image `{}` is {}, others of its batch {size}",
                example.name, example.size
            );
            return Err(StageError::Shape { what });
        }
    }
    let images = normaliser.batch(examples.iter().map(|example| &example.image), size)?;
    let labels = examples.iter().map(|example| example.label.as_slice());
    let labels = Staging::of_bytes(labels, &[height, width], device)?.send()?;
    Ok((images, labels))
}

/// Counted before the label goes to a device, which would have to be waited for.
fn labelled_pixels(example: &Example) -> i64 {
    example.label.iter().filter(|id| **id != IGNORE).count() as i64
}

fn job(portion: Portion, augmentation: Augmentation, device: Device, sample: SampleAt) -> Job {
    let draw = draw_sample(
        portion.seed,
        portion.stage,
        sample,
        augmentation.jitter.unwrap_or_default(),
    );
    let jitter = augmentation.jitter.map(|_| Jitter {
        brightness: draw.jitter[0] as f32,
        contrast: draw.jitter[1] as f32,
        saturation: draw.jitter[2] as f32,
        order: draw.jitter_order.map(|index| match index {
            0 => Adjustment::Brightness,
            1 => Adjustment::Contrast,
            _ => Adjustment::Saturation,
        }),
    });
    let crop = Crop::Drawn {
        size: Size::square(augmentation.crop),
        across: draw.crop[0],
        down: draw.crop[1],
    };
    Job {
        sample: sample.index,
        sampling: Sampling {
            crop: Some(crop),
            jitter,
            flip: draw.flip < augmentation.flip,
            format: format_for(device),
        },
    }
}
