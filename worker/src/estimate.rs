//! What the stages of a run cost by the shapes of its networks and images: floating-point operations and memory. Nothing is
//! computed, and no image is decoded.
//!
//! Operations are those of `ulda_model::work`. Memory is the frozen weights, the trained ones with gradient and momentum, and
//! the activations that a step keeps; a test compares it with what steps of RN50 were measured to take.

use std::path::PathBuf;

use ulda_dataset::{Dataset, DatasetError, SampleError};
use ulda_model::work::NetworkSizes;
use ulda_model::{Head, HeadConfig, ImageConfig, Weights, WeightsError};
use ulda_run::spec::{DatasetConfig, RunConfig, RunSpec, StyleSource, is_url};
use ulda_run::stage::Stage;
use ulda_run::{Classes, StageCost};
use ulda_storage::StorageCounters;
use ulda_storage::fetch::{InputError, Inputs};

use crate::continued;

/// Bytes of a float32.
const ELEMENT_BYTES: f64 = 4.0;
/// A process with libtorch that has computed something.
const PROCESS_BYTES: f64 = 220e6;
/// Copies of the image tower: as read, folded for CLIP's branch, and by its published names for checkpoints.
const TOWERS: f64 = 2.0;
/// What a trained weight takes in a shard: value, gradient, momentum, the sum over shards, and a copy to go back to.
const TRAINED_COPIES: f64 = 5.0;
/// What it takes in its worker: the state between generations, and a checkpoint that is being written.
const STATE_COPIES: f64 = 3.0;

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("{key}")]
    Dataset {
        key: &'static str,
        #[source]
        source: DatasetError,
    },
    #[error(transparent)]
    Sample(#[from] SampleError),
}

impl EstimateError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Input(error) => error.cause.hint(),
            Self::Weights(error) => error.hint(),
            Self::Dataset { source, .. } => source.hint(),
            Self::Sample(error) => error.hint(),
        }
    }
}

/// The cost of each stage of the run, in order.
///
/// # Errors
/// When a checkpoint or the header of an image cannot be read.
pub fn estimate(spec: &RunSpec) -> Result<Vec<StageCost>, EstimateError> {
    let config = spec.config();
    let cache = std::env::var_os("ULDA_CACHE").map(Into::into);
    let inputs = Inputs::new(config, cache, StorageCounters::default());
    let clip = Weights::read(&inputs.bring_input("clip.checkpoint", &config.clip.checkpoint)?)?;
    let adapted = config.given_model().map(|model| ("adapt.checkpoint", model));
    let trained = config
        .continued()
        .map(|(stage, model)| (continued::key(stage), model));
    let source = config.pretrain.checkpoint.as_deref();
    let given = adapted
        .or(trained)
        .or(source.map(|model| ("pretrain.checkpoint", model)));
    let given = given
        .map(|(key, path)| inputs.bring_input(key, path))
        .transpose()?;
    let image = ImageConfig::read(&clip)?;
    let head = head(config, &spec.classes(), &image, given)?;
    let elements = clip.names().filter_map(|name| clip.shape(name));
    let model = CostModel {
        spec,
        sizes: NetworkSizes::of(&image, head),
        clip_weights: elements.map(|shape| shape.iter().product::<i64>() as f64).sum(),
        scene: image.scene_side().unwrap_or(0) as f64,
    };
    let stages = spec.course();
    stages
        .stages()
        .iter()
        .map(|length| model.stage(length.stage, length.steps))
        .collect()
}

fn head(
    config: &RunConfig,
    classes: &Classes,
    image: &ImageConfig,
    given: Option<PathBuf>,
) -> Result<HeadConfig, WeightsError> {
    if let Some(path) = given {
        return Ok(*Head::load(&Weights::read(&path)?)?.config());
    }
    let channels = i64::from(config.pretrain.head_channels);
    Ok(HeadConfig {
        aspp: channels,
        hidden: channels,
        ..HeadConfig::published(image.deep_channels(), image.low_channels(), classes.len() as i64)
    })
}

struct CostModel<'a> {
    spec: &'a RunSpec,
    sizes: NetworkSizes,
    /// Elements of the CLIP checkpoint.
    clip_weights: f64,
    /// Side of the feature that the attention pool was made for.
    scene: f64,
}

/// How many images a set has, and pixels of one.
#[derive(Clone, Copy)]
struct SetSize {
    images: f64,
    pixels: f64,
}

impl CostModel<'_> {
    fn stage(&self, stage: Stage, steps: u64) -> Result<StageCost, EstimateError> {
        let config = self.spec.config();
        let steps = steps as f64;
        let square = |side: u32| f64::from(side) * f64::from(side);
        let (images, shard_flop, shard_bytes) = match stage {
            Stage::Pretrain => {
                let pixels = square(config.pretrain.crop);
                let share = self.share(config.pretrain.batch);
                let flop = self.sizes.pretrain(pixels).total().flops() * share * steps;
                let validations = self.validations(config.pretrain.validate_every, steps)?;
                let held = self.sizes.held_frozen() + self.sizes.held_head();
                (
                    Some(steps * f64::from(config.pretrain.batch)),
                    validations.map(|validations| flop + validations),
                    self.trained() + held * pixels * share,
                )
            }
            Stage::Simulate => self.simulate(steps),
            Stage::Adapt => {
                let pixels = square(config.adapt.crop);
                let share = self.share(config.adapt.batch);
                let flop = self.sizes.adapt(pixels).total().flops() * share * steps;
                let validations = self.validations(config.adapt.validate_every, steps)?;
                let held = self.sizes.held_frozen() + self.sizes.held_head() + self.sizes.held_deep();
                let held = held + 3.0 * self.sizes.held_map();
                (
                    Some(steps * f64::from(config.adapt.batch)),
                    validations.map(|validations| flop + validations),
                    self.trained() + held * pixels * share,
                )
            }
            Stage::Evaluate => self.evaluate()?,
        };
        let weights = self.clip_weights
            + TOWERS * self.sizes.backbone_weights()
            + STATE_COPIES * self.sizes.head_weights();
        Ok(StageCost {
            stage,
            images: images.map(|images| images as u64),
            shard_flop,
            worker_bytes: (PROCESS_BYTES + ELEMENT_BYTES * weights) as u64,
            shard_bytes: (ELEMENT_BYTES * shard_bytes) as u64,
        })
    }

    /// Images of a step that the shard with most of them has.
    fn share(&self, batch: u32) -> f64 {
        f64::from(batch.div_ceil(self.spec.shards().min(batch).max(1)))
    }

    /// Elements of the weights that a shard trains.
    fn trained(&self) -> f64 {
        TRAINED_COPIES * self.sizes.head_weights()
    }

    fn simulate(&self, rounds: f64) -> (Option<f64>, Option<f64>, f64) {
        let config = self.spec.config();
        let simulate = &config.simulate;
        let side = f64::from(simulate.crop);
        let (pixels, batch) = (side * side, f64::from(simulate.batch));
        let frozen = self.sizes.held_frozen() * pixels;
        match simulate.styles {
            StyleSource::Learned => {}
            // Of images whose sizes differ.
            StyleSource::Images => return (None, None, frozen),
            StyleSource::Content | StyleSource::Bank => {
                let images = rounds * batch * f64::from(simulate.data_shards);
                let flop = self.sizes.low_level(pixels).total().flops() * batch * rounds;
                return (Some(images), Some(flop), frozen * batch);
            }
        }
        let domains = u32::try_from(config.domains.len()).unwrap_or(u32::MAX);
        let own = domains.div_ceil(self.spec.prompt_groups().max(1));
        let scene = match simulate.resize_feature {
            true => simulate.scene_pool.map_or(self.scene, f64::from),
            false => side / 4.0,
        };
        let scene = scene * scene;
        // Without these losses, only the scene's branch is computed.
        let segments = simulate.lambda_seg > 0.0;
        let work = match segments {
            true => self.sizes.simulate(pixels, scene),
            false => self.sizes.deep(scene, 2.0) * 2.0,
        };
        let passes = f64::from(own) * batch * f64::from(simulate.iterations);
        let once = self.sizes.low_level(pixels).total().flops() * batch;
        let flop = rounds * (once + work.total().flops() * passes);
        let together = f64::from(self.spec.domains_at_once().min(own).max(1));
        let maps = 12.0 * self.sizes.held_map() * pixels;
        let branch = match segments {
            true => (self.sizes.held_head() + self.sizes.held_deep()) * pixels,
            false => 0.0,
        };
        let held = maps + branch + self.sizes.held_deep() * scene * 16.0;
        (
            Some(rounds * batch * f64::from(simulate.data_shards)),
            Some(flop),
            held * batch * together,
        )
    }

    /// Each shard scores its share of every set.
    fn evaluate(&self) -> Result<(Option<f64>, Option<f64>, f64), EstimateError> {
        let config = self.spec.config();
        let best = config.includes(Stage::Adapt) && config.adapt.validate_every > 0;
        let heads = [config.has_source_model(), config.has_adapted_model(), best];
        let heads = heads.into_iter().filter(|there| *there).count() as u32;
        let (mut images, mut flop, mut largest) = (Some(0.0), Some(0.0), 0f64);
        for set in &config.evaluate.sets {
            let size = self.size("evaluate.set", &set.dataset(&self.spec.classes()))?;
            images = images.zip(size).map(|(sum, size)| sum + size.images);
            let of_set = size.map(|size| self.scoring(size, heads));
            flop = flop.zip(of_set).map(|(sum, of_set)| sum + of_set);
            largest = largest.max(size.map_or(0.0, |size| size.pixels));
        }
        let held = self.sizes.held_frozen() + self.sizes.held_head();
        Ok((images, flop, held * largest))
    }

    /// Operations of a shard that scores its share of a set.
    fn scoring(&self, set: SetSize, heads: u32) -> f64 {
        let images = (set.images / f64::from(self.spec.shards())).ceil();
        images * self.sizes.evaluate(set.pixels, heads).total().flops()
    }

    /// Operations of a shard for all validations on the source in so many steps.
    fn validations(&self, every: u64, steps: f64) -> Result<Option<f64>, EstimateError> {
        if every == 0 {
            return Ok(Some(0.0));
        }
        let config = self.spec.config();
        let source = config.source.validation_set(&self.spec.classes());
        let times = (steps / every as f64).floor();
        let size = self.size("source.validation", &source)?;
        Ok(size.map(|size| times * self.scoring(size, 1)))
    }

    /// The size of a set, whose images are taken to be as large as its first one; none of one that is not on this host.
    fn size(&self, key: &'static str, set: &DatasetConfig) -> Result<Option<SetSize>, EstimateError> {
        if is_url(&set.root) {
            return Ok(None);
        }
        let dataset = Dataset::list(set).map_err(|source| EstimateError::Dataset { key, source })?;
        let first = dataset.image_size(0)?;
        Ok(Some(SetSize {
            images: dataset.len() as f64,
            pixels: f64::from(first.width) * f64::from(first.height),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_run::spec::{DomainConfig, Host};

    /// Bytes of a bench's process, which holds the image tower and the head, and no text tower.
    fn of_bench(stage: Stage, side: u32) -> f64 {
        let mut config = RunConfig {
            domains: DomainConfig::published(),
            ..RunConfig::default()
        };
        config.clip.checkpoint = "clip".into();
        config.source.root = "source".into();
        config.run.shards = Some(1);
        config.simulate.prompt_groups = Some(1);
        for validate_every in [
            &mut config.pretrain.validate_every,
            &mut config.adapt.validate_every,
        ] {
            *validate_every = 0;
        }
        config.pretrain.crop = side;
        config.adapt.crop = side;
        config.adapt.batch = 2;
        config.simulate.crop = side;
        let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap();
        let sizes = NetworkSizes::rn50();
        let model = CostModel {
            spec: &spec,
            sizes,
            clip_weights: 38e6,
            scene: 56.0,
        };
        let cost = model.stage(stage, 1).unwrap();
        let not_of_a_bench = ELEMENT_BYTES * STATE_COPIES * sizes.head_weights();
        (cost.worker_bytes + cost.shard_bytes) as f64 - not_of_a_bench
    }

    /// docs/benchmarks.md, peak RSS of steps on images of 256 and 512 pixels, batch 2.
    #[test]
    fn memory_is_what_steps_of_rn50_were_measured_to_take() {
        let measured = [
            (Stage::Pretrain, 256, 0.95),
            (Stage::Pretrain, 512, 1.18),
            (Stage::Simulate, 256, 0.81),
            (Stage::Simulate, 512, 1.55),
            (Stage::Adapt, 256, 1.01),
            (Stage::Adapt, 512, 1.52),
        ];
        for (stage, side, gib) in measured {
            let ratio = of_bench(stage, side) / f64::from(1 << 30) / gib;
            assert!(
                (0.75..1.35).contains(&ratio),
                "{stage} at {side}: {ratio:.2} of what was measured"
            );
        }
    }
}
