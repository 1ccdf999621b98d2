//! Sums of gradients where they lie, by NCCL's stand-in on host memory, against the sums of the TCP collective: the
//! same questions to every carrier.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod simulated;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use simulated::{SimulatedTime, nccl, planes};
use tch::{Device, Kind, Tensor};
use ulda_collective::{AbortCause, DataPlane};
use ulda_method::optim::SgdSettings;
use ulda_method::trainable::{ParameterGroup, TrainableSet};
use ulda_nccl::{Communicator, NcclDeadlines, RankSeat};
use ulda_run::ids::Shard;
use ulda_run::stage::Stage;
use ulda_worker::link::{At, BucketSums, GpuSums, GradientReduction, Link, ShardPlacement};

const PATIENCE: Duration = Duration::from_secs(20);

/// What carries sums between the workers of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Tcp,
    Nccl {
        ordered: bool,
    },
    /// One worker alone, without NCCL.
    Alone,
}

/// A worker's shards, all parameters 0; `seed` makes the gradient of each shard and step.
fn gradient_of(shard: u32, step: u64, values: &Tensor) -> Tensor {
    let factor = (f64::from(shard) + 1.37) * (step as f64 + 0.61);
    let weights = (Tensor::arange(values.numel() as i64, (Kind::Float, Device::Cpu)) * 0.37 + factor).sin();
    (values * weights).sum(Kind::Float) * factor
}

fn sums_of(
    plane: &Arc<DataPlane>,
    shard: Shard,
    active: u32,
    sums: Option<Arc<dyn BucketSums>>,
) -> Vec<Vec<f32>> {
    let link = Link::new(plane.rank(shard).unwrap()).on_gpu(sums);
    let leaf = |count: i64| Tensor::zeros([count], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    // More than one bucket of 4 MiB.
    let leaves: Vec<Tensor> = [1_500_000, 7, 900_000, 600_000].map(leaf).into();
    let parameters = leaves.iter().enumerate();
    let group = ParameterGroup {
        name: "all",
        parameters: parameters
            .map(|(at, leaf)| (format!("p{at}"), leaf.shallow_clone()))
            .collect(),
    };
    let set = TrainableSet::new(vec![group], SgdSettings::default()).unwrap();
    let mut reduction = GradientReduction::new(&link, &set, active).unwrap();
    let mut found = Vec::new();
    for step in 0..3 {
        let at = At::step(Stage::Adapt, step);
        set.zero_gradient().unwrap();
        let flight = if shard.0 < active {
            let flight = reduction.overlap(&set, at).unwrap();
            let loss: Tensor = leaves.iter().map(|leaf| gradient_of(shard.0, step, leaf)).sum();
            loss.backward();
            flight
        } else {
            reduction.listen(at).unwrap()
        };
        let sum = reduction.wait(flight).unwrap();
        found.push(Vec::<f32>::try_from(&sum).unwrap());
    }
    found
}

/// The sums that every shard saw, which must be the same for all.
fn train(workers: u32, shards: u32, active: u32, carrier: Carrier) -> Vec<Vec<f32>> {
    let planes = planes(workers, shards);
    let id = match carrier {
        Carrier::Nccl { .. } => Some(nccl().unique_id().unwrap()),
        Carrier::Tcp | Carrier::Alone => None,
    };
    let serve = |plane: Arc<DataPlane>| {
        let membership = plane.membership().clone();
        let sums = (carrier != Carrier::Tcp).then(|| {
            let communicator = id.map(|id| {
                let seat = RankSeat {
                    rank: membership.me.0,
                    ranks: workers,
                };
                let time = SimulatedTime::new();
                Communicator::form(nccl(), id, seat, time, NcclDeadlines::default(), || None).unwrap()
            });
            let layout = ShardPlacement {
                owners: membership.shards.iter().map(|owner| owner.0).collect(),
                me: membership.me.0,
                ordered: carrier == Carrier::Nccl { ordered: true },
            };
            Arc::new(GpuSums::new(Arc::clone(&plane), layout, communicator, PATIENCE))
        });
        let mine = membership.shards_of(membership.me);
        let found = thread::scope(|scope| {
            let running: Vec<_> = mine
                .iter()
                .map(|shard| {
                    scope.spawn(|| {
                        sums_of(
                            &plane,
                            *shard,
                            active,
                            sums.clone().map(|sums| sums as Arc<dyn BucketSums>),
                        )
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|shard| shard.join().unwrap())
                .collect::<Vec<_>>()
        });
        if let Some(sums) = sums {
            Arc::into_inner(sums).unwrap().close().unwrap();
        }
        found
    };
    let all: Vec<Vec<Vec<f32>>> = thread::scope(|scope| {
        let running: Vec<_> = planes
            .into_iter()
            .map(|plane| scope.spawn(|| serve(plane)))
            .collect();
        running
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    for other in &all[1..] {
        assert!(*other == all[0], "{carrier:?}: shards saw different sums");
    }
    all.into_iter().next().unwrap()
}

fn far(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f32 {
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs
        .map(|(a, b)| (a - b).abs() / b.abs().max(1.0))
        .fold(0.0, f32::max)
}

#[test]
fn every_carrier_gives_the_same_sums() {
    let exact = train(1, 4, 4, Carrier::Tcp);
    assert!(exact[0] != exact[1], "the steps differ");
    for workers in [1, 2, 4] {
        for ordered in [false, true] {
            let sums = train(workers, 4, 4, Carrier::Nccl { ordered });
            assert!(far(&sums, &exact) < 1e-5, "{workers} workers, ordered {ordered}");
        }
    }
}

#[test]
fn ordered_sums_are_those_of_tcp_to_the_bit_for_any_number_of_workers() {
    let exact = train(2, 5, 5, Carrier::Tcp);
    assert!(train(1, 5, 5, Carrier::Alone) == exact);
    for workers in [1, 2, 3, 5] {
        let sums = train(workers, 5, 5, Carrier::Nccl { ordered: true });
        assert!(sums == exact, "{workers} workers");
    }
}

#[test]
fn shards_without_images_follow() {
    let exact = train(2, 4, 3, Carrier::Tcp);
    for carrier in [Carrier::Nccl { ordered: false }, Carrier::Nccl { ordered: true }] {
        assert!(far(&train(2, 4, 3, carrier), &exact) < 1e-5, "{carrier:?}");
        assert!(far(&train(4, 4, 3, carrier), &exact) < 1e-5, "{carrier:?}");
    }
    assert!(train(1, 4, 3, Carrier::Alone) == exact);
}

#[test]
fn a_broken_plane_ends_a_wait_for_another_shard() {
    let plane = planes(1, 2).remove(0);
    let layout = ShardPlacement {
        owners: vec![0, 0],
        me: 0,
        ordered: false,
    };
    let sums = GpuSums::<SimulatedTime>::new(Arc::clone(&plane), layout, None, PATIENCE);
    let sums: Arc<dyn BucketSums> = Arc::new(sums);
    let link = Link::new(plane.rank(Shard(1)).unwrap()).on_gpu(Some(sums));
    let leaf = Tensor::zeros([8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let group = ParameterGroup {
        name: "all",
        parameters: vec![("p".into(), leaf)],
    };
    let set = TrainableSet::new(vec![group], SgdSettings::default()).unwrap();
    let mut reduction = GradientReduction::new(&link, &set, 1).unwrap();
    let flight = reduction.listen(At::step(Stage::Adapt, 0)).unwrap();
    let started = std::time::Instant::now();
    let told = thread::scope(|scope| {
        let waiting = scope.spawn(move || reduction.wait(flight).unwrap_err().to_string());
        plane.abort(AbortCause::new("shard 0 is gone"));
        waiting.join().unwrap()
    });
    assert!(told.contains("shard 0 is gone"), "{told}");
    assert!(started.elapsed() < PATIENCE / 2);
}
