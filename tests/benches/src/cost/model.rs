//! Seconds of a step and images per second, from work, device and network. Pure.

use ulda_model::work::{NetworkSizes, NetworkWork};
use ulda_run::spec::{AdaptConfig, PretrainConfig, SimulateConfig};
use ulda_run::stage::Stage;

use super::network::Network;
use super::sizes::{Bucket, EMBEDDING, Sizes};

/// Side to which simulate pools for the CLIP branch.
const SCENE_POOL: f64 = 56.0;
/// Classes that an average street crop shows.
const CLASSES_PRESENT: f64 = 8.0;
/// Bytes before each prototype.
const PROTOTYPE_HEADER: f64 = 16.0;
/// Bytes of a confusion matrix.
const CONFUSION_BYTES: f64 = 361.0 * 8.0;
/// Images of a common evaluation set (Cityscapes val).
pub const EVALUATION_SET: u32 = 500;
/// SGD with momentum reads value, gradient and velocity, and writes value and velocity.
const UPDATE_BYTES: f64 = 5.0 * 4.0;

/// What is run, as far as it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    pub stage: Stage,
    /// Pixels of a training crop, or of an image to evaluate.
    pub pixels: f64,
    /// Images per step; per data shard in simulate.
    pub batch: u32,
    pub domains: u32,
    /// Of simulate, per batch.
    pub iterations: u32,
    /// Heads that evaluate scores.
    pub heads: u32,
}

/// Domains of the published run.
pub const DOMAINS: u32 = 6;

impl Job {
    /// With the published values; evaluation of 2048x1024 with source-only, adapted and adapted-best head.
    pub fn published(stage: Stage) -> Self {
        let (simulate, crop) = (
            SimulateConfig::default(),
            f64::from(PretrainConfig::default().crop),
        );
        let batch = match stage {
            Stage::Pretrain => PretrainConfig::default().batch,
            Stage::Simulate => simulate.batch,
            Stage::Adapt => AdaptConfig::default().batch,
            Stage::Evaluate => 1,
        };
        let pixels = match stage {
            Stage::Evaluate => 2048.0 * 1024.0,
            _ => crop * crop,
        };
        Self {
            stage,
            pixels,
            batch,
            domains: DOMAINS,
            iterations: simulate.iterations,
            heads: 3,
        }
    }

    /// Work per image of a step; of simulate, per image and domain of an iteration.
    pub fn work(&self) -> NetworkWork {
        let networks = NetworkSizes::rn50();
        match self.stage {
            Stage::Pretrain => networks.pretrain(self.pixels),
            Stage::Adapt => networks.adapt(self.pixels),
            Stage::Simulate => networks.simulate(self.pixels, SCENE_POOL * SCENE_POOL),
            Stage::Evaluate => networks.evaluate(self.pixels, self.heads),
        }
    }

    /// Share of a step's multiply-adds that its backward pass does.
    fn backward_share(&self) -> f64 {
        let networks = NetworkSizes::rn50();
        let macs = |work: NetworkWork| work.total().macs;
        let (head, deep) = (macs(networks.head(1.0)), macs(networks.deep(1.0, 1.0)));
        let backward = match self.stage {
            Stage::Pretrain => 2.0 * head,
            Stage::Adapt => 2.0 * head + deep,
            Stage::Simulate | Stage::Evaluate => 0.0,
        };
        backward * self.pixels / 16.0 / macs(self.work())
    }
}

/// One worker's arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Attainable, per second.
    pub flops: f64,
    /// Bytes per second.
    pub bandwidth: f64,
    /// Of an activation.
    pub element_bytes: f64,
    /// Host seconds per operation.
    pub launch: f64,
    /// Cores that all workers share; none when each has a device of its own.
    pub cores: Option<f64>,
}

/// What a worker's computation takes. Kernels of a stream run one after the other, so their times add up; the host
/// launches them meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roofs {
    /// Of the kernels that arithmetic bounds.
    pub arithmetic: f64,
    /// Of the kernels that memory bounds.
    pub memory: f64,
    /// Of the host, to launch all of them.
    pub launches: f64,
}

impl Roofs {
    pub fn seconds(&self) -> f64 {
        (self.arithmetic + self.memory).max(self.launches)
    }

    fn times(&self, count: f64) -> Self {
        Self {
            arithmetic: self.arithmetic * count,
            memory: self.memory * count,
            launches: self.launches * count,
        }
    }
}

impl Device {
    fn roofs(&self, work: &NetworkWork, images: f64, workers: u32) -> Roofs {
        let crowding = self
            .cores
            .map_or(1.0, |cores| (f64::from(workers) / cores).max(1.0));
        let mut roofs = Roofs::default();
        for one in &work.0 {
            let arithmetic = one.flops() * images / self.flops * crowding;
            let memory = (one.moved * images + one.weights) * self.element_bytes / self.bandwidth;
            if arithmetic >= memory {
                roofs.arithmetic += arithmetic;
            } else {
                roofs.memory += memory;
            }
            roofs.launches += one.launches * self.launch;
        }
        roofs
    }
}

/// How a run grows with its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// Every worker has the published batch (simulate: as many data shards as pay). Another training run than the
    /// published one.
    Weak,
    /// The published batch is cut; the numbers stay.
    Strong,
}

/// One step (of simulate: one iteration).
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub roofs: Roofs,
    /// Reduction of gradients that no backward pass hides.
    pub gradients: f64,
    /// Small gathers: BatchNorm, counts, losses, prototypes, pulse, round results.
    pub gathers: f64,
    pub update: f64,
    /// Finished images of the step, over all workers; of simulate, an iteration's share of them.
    pub images: f64,
    /// Workers that compute.
    pub active: u32,
}

impl Step {
    pub fn seconds(&self) -> f64 {
        self.roofs.seconds() + self.gradients + self.gathers + self.update
    }

    pub fn images_per_second(&self) -> f64 {
        self.images / self.seconds()
    }

    /// The largest part.
    pub fn limit(&self) -> &'static str {
        let Roofs {
            arithmetic,
            memory,
            launches,
        } = self.roofs;
        let compute = self.roofs.seconds();
        let roof = if compute <= launches {
            "launches"
        } else if arithmetic >= memory {
            "arithmetic"
        } else {
            "memory"
        };
        let parts = [
            (compute, roof),
            (self.gradients, "gradients"),
            (self.gathers, "gathers"),
            (self.update, "update"),
        ];
        parts
            .into_iter()
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(roof, |(_, name)| name)
    }
}

/// A job on `workers` devices.
pub fn step(
    job: &Job,
    scaling: Scaling,
    workers: u32,
    device: &Device,
    network: &Network,
    sizes: &Sizes,
) -> Step {
    match job.stage {
        Stage::Pretrain => supervised(job, scaling, workers, device, network, &sizes.pretrain, sizes),
        Stage::Adapt => supervised(job, scaling, workers, device, network, &sizes.adapt, sizes),
        Stage::Evaluate => evaluate(job, scaling, workers, device, network),
        Stage::Simulate => {
            let lanes = lanes(scaling, workers, job.domains).into_iter();
            let steps = lanes.map(|(data_shards, groups)| {
                simulate(job, (data_shards, groups), workers, device, network, sizes)
            });
            steps
                .max_by(|a, b| a.images_per_second().total_cmp(&b.images_per_second()))
                .expect("one data shard and one prompt group always fit")
        }
    }
}

/// Data shards × prompt groups that fit; data shards divide the published number of batches.
fn lanes(scaling: Scaling, workers: u32, domains: u32) -> Vec<(u32, u32)> {
    let batches = SimulateConfig::default().batches;
    let most = if scaling == Scaling::Strong { 1 } else { workers };
    let data_shards = (1..=most).filter(|shards| batches.is_multiple_of(u64::from(*shards)));
    data_shards
        .flat_map(|shards| (1..=domains).map(move |groups| (shards, groups)))
        .filter(|(shards, groups)| shards * groups <= workers)
        .collect()
}

/// Seconds from the end of the backward pass to that of the last reduction, when buckets leave one after another as
/// soon as they are ready.
pub fn exposed(buckets: &[Bucket], backward_seconds: f64, reduce: impl Fn(f64) -> f64) -> f64 {
    let mut order = buckets.to_vec();
    order.sort_by(|a, b| a.ready.total_cmp(&b.ready));
    let mut free = 0f64;
    for bucket in order {
        free = free.max(bucket.ready * backward_seconds) + reduce(bucket.bytes);
    }
    (free - backward_seconds).max(0.0)
}

fn supervised(
    job: &Job,
    scaling: Scaling,
    workers: u32,
    device: &Device,
    network: &Network,
    buckets: &[Bucket],
    sizes: &Sizes,
) -> Step {
    let (active, images, most) = match scaling {
        Scaling::Weak => (workers, f64::from(workers * job.batch), f64::from(job.batch)),
        Scaling::Strong => {
            let active = workers.min(job.batch);
            (
                active,
                f64::from(job.batch),
                f64::from(job.batch.div_ceil(active)),
            )
        }
    };
    let roofs = device.roofs(&job.work(), most, workers);
    let (everyone, busy) = (network.ranks(workers, 1), network.ranks(active, 1));
    let backward = roofs.seconds() * job.backward_share();
    let norms = sizes
        .norm_messages
        .iter()
        .map(|bytes| network.gather(busy, *bytes));
    let counts = network.gather(busy, 8.0) + network.gather(everyone, 8.0);
    Step {
        roofs,
        gradients: exposed(buckets, backward, |bytes| network.all_reduce(everyone, bytes)),
        gathers: norms.sum::<f64>() + counts,
        update: Sizes::gradient_bytes(buckets) / 4.0 * UPDATE_BYTES / device.bandwidth,
        images,
        active,
    }
}

fn simulate(
    job: &Job,
    (data_shards, groups): (u32, u32),
    workers: u32,
    device: &Device,
    network: &Network,
    sizes: &Sizes,
) -> Step {
    let (domains, batch) = (f64::from(job.domains.div_ceil(groups)), f64::from(job.batch));
    let one = device.roofs(&job.work(), batch, data_shards * groups);
    let roofs = one.times(domains);
    let projector = 4.0 * sizes.projector_parameters as f64;
    let prototypes = domains * batch * (PROTOTYPE_HEADER + CLASSES_PRESENT * EMBEDDING as f64 * 4.0);
    let everyone = network.ranks(workers, 1);
    // Once a round, from every lane to all: styles, and from the lanes of one batch the projectors.
    let styles = domains * batch * 2.0 * 4.0 * NetworkSizes::rn50().head.low as f64;
    let projectors = domains * projector / f64::from(data_shards);
    let result = network.gather(everyone, styles + projectors) / f64::from(job.iterations);
    Step {
        roofs,
        gradients: domains * network.all_reduce(network.ranks(data_shards, groups), projector),
        gathers: network.gather(network.ranks(groups, 1), prototypes)
            + network.gather(everyone, 0.0)
            + result,
        update: domains * projector / 4.0 * UPDATE_BYTES / device.bandwidth,
        images: f64::from(job.batch * data_shards) / f64::from(job.iterations),
        active: data_shards * groups,
    }
}

fn evaluate(job: &Job, scaling: Scaling, workers: u32, device: &Device, network: &Network) -> Step {
    // A set is scored as one step: every shard its images, then one sum of matrices.
    let (active, most, images) = match scaling {
        Scaling::Weak => (workers, EVALUATION_SET, workers * EVALUATION_SET),
        Scaling::Strong => {
            let active = workers.min(EVALUATION_SET);
            (active, EVALUATION_SET.div_ceil(active), EVALUATION_SET)
        }
    };
    let one = device.roofs(&job.work(), 1.0, workers);
    let rounds = f64::from(most);
    let matrices = f64::from(job.heads) * CONFUSION_BYTES;
    Step {
        roofs: one.times(rounds),
        gradients: 0.0,
        gathers: 2.0 * network.gather(network.ranks(workers, 1), matrices),
        update: 0.0,
        images: f64::from(images),
        active,
    }
}

#[cfg(test)]
mod tests {
    use super::super::hosts::{Precision, cluster, h100};
    use ulda_model::work::KernelWork;

    use super::super::network::Gathers;
    use super::*;
    use crate::case::{IMAGES, Size};
    use crate::flops;
    use crate::steps::Step as Timed;

    fn sizes() -> Sizes {
        Sizes::read().unwrap()
    }

    #[test]
    fn multiply_adds_are_those_of_the_bench() {
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-12, "{a} and {b}");
        for (stage, timed) in [
            (Stage::Pretrain, Timed::Pretrain),
            (Stage::Simulate, Timed::Simulate),
            (Stage::Adapt, Timed::Adapt),
        ] {
            let job = Job {
                pixels: 512.0 * 512.0,
                ..Job::published(stage)
            };
            let times = IMAGES as f64 * if stage == Stage::Simulate { 6.0 } else { 1.0 };
            close(
                job.work().total().flops() * times,
                flops::of_step(timed, Size::Rn50, 512, 6, 1024),
            );
        }
        let one_head = Job {
            heads: 1,
            ..Job::published(Stage::Evaluate)
        };
        close(
            one_head.work().total().flops(),
            flops::of_step(Timed::Evaluate, Size::Rn50, 512, 6, 1024),
        );
    }

    #[test]
    fn kernels_of_a_stream_add_up_and_hide_their_launches() {
        let device = Device {
            flops: 2.0,
            bandwidth: 4.0,
            element_bytes: 4.0,
            launch: 0.5,
            cores: None,
        };
        let convolution = NetworkWork(vec![KernelWork {
            macs: 3.0,
            moved: 1.0,
            weights: 1.0,
            launches: 1.0,
        }]);
        // 3 s of arithmetic against 2 of memory, then 5 s of memory; 2 launches.
        let roofs = device.roofs(&(convolution + NetworkWork::streamed(5.0, 1.0)), 1.0, 1);
        assert_eq!((roofs.arithmetic, roofs.memory, roofs.launches), (3.0, 5.0, 1.0));
        assert_eq!(roofs.seconds(), 8.0);
        let many = device.roofs(&NetworkWork::streamed(5.0, 20.0), 1.0, 1);
        assert_eq!(many.seconds(), 10.0);
    }

    #[test]
    fn only_what_comes_last_is_exposed() {
        let bucket = |bytes, ready| Bucket { bytes, ready };
        let second_each = |bytes| bytes;
        // Hidden, except for the last.
        assert_eq!(
            exposed(&[bucket(1.0, 1.0), bucket(2.0, 0.1)], 10.0, second_each),
            1.0
        );
        // The first is still on its way when the last is ready.
        assert_eq!(
            exposed(&[bucket(12.0, 0.5), bucket(1.0, 1.0)], 10.0, second_each),
            8.0
        );
        assert_eq!(exposed(&[bucket(3.0, 0.1)], 10.0, second_each), 0.0);
    }

    #[test]
    fn alone_nothing_is_exchanged_and_more_workers_never_gain_more_than_their_number() {
        let (sizes, device) = (sizes(), h100(Precision::Tf32, 0.35));
        let network = cluster(100.0, Gathers::Mesh);
        for stage in Stage::ALL {
            let job = Job::published(stage);
            for scaling in [Scaling::Weak, Scaling::Strong] {
                let alone = step(&job, scaling, 1, &device, &network, &sizes);
                assert_eq!(alone.gradients + alone.gathers, 0.0);
                for workers in [2, 8, 64, 256] {
                    let many = step(&job, scaling, workers, &device, &network, &sizes);
                    let gain = many.images_per_second() / alone.images_per_second();
                    assert!(
                        gain <= f64::from(workers) * 1.0001,
                        "{stage:?} {scaling:?} {workers}: {gain}"
                    );
                    assert!(many.active <= workers);
                }
            }
        }
    }

    #[test]
    fn a_cut_batch_keeps_no_more_workers_busy_than_it_has_images() {
        let (sizes, device) = (sizes(), h100(Precision::Tf32, 0.35));
        let network = cluster(400.0, Gathers::Mesh);
        let job = Job::published(Stage::Adapt);
        let busy = |workers| step(&job, Scaling::Strong, workers, &device, &network, &sizes).active;
        assert_eq!((busy(4), busy(8), busy(256)), (4, 8, 8));
        let simulate = Job::published(Stage::Simulate);
        let busy = |workers| step(&simulate, Scaling::Strong, workers, &device, &network, &sizes).active;
        assert!(busy(256) <= DOMAINS);
    }

    #[test]
    fn data_shards_divide_the_published_batches() {
        assert!(lanes(Scaling::Weak, 256, 6).contains(&(25, 6)));
        assert!(
            !lanes(Scaling::Weak, 256, 6)
                .iter()
                .any(|(shards, _)| *shards == 3)
        );
        assert_eq!(lanes(Scaling::Strong, 2, 6), [(1, 1), (1, 2)]);
    }
}
