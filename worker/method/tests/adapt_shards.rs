//! An adapt step cut into shards equals the step on one worker, within rounding; a shard may have no image at all.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Meeting, MeetingSync, Tiny, single_threaded};
use tch::Tensor;
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_method::Result;
use ulda_method::adapt::{AdaptStep, Rectification, trainables};
use ulda_method::losses::Focal;
use ulda_method::losses::segmentation::valid_pixels;
use ulda_method::optim::SgdSettings;
use ulda_method::rectifier::Rectifier;
use ulda_method::stylebank::DrawnStyles;
use ulda_method::supervised::{ShardBatch, ShardStep, StepContext, SupervisedLoss};
use ulda_torch::{Pass, ShardSync, Solo};

const IMAGES: i64 = 3;

/// Flat numbers of one shard's step.
struct Outcome {
    /// Buckets in the order in which their gradients were complete.
    announced: Vec<usize>,
    loss: f64,
    gradient: Vec<(String, Vec<f64>)>,
    stats: Vec<(String, Vec<f64>)>,
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(&tensor.to_kind(tch::Kind::Double).flatten(0, -1)).unwrap()
}

fn rectifier(golden: &Fixture) -> Rectifier {
    Rectifier::from_named(|name| Some(golden.f32(&format!("init.{name}")))).unwrap()
}

/// Images `from..to` of a step of three.
fn step(from: i64, to: i64, sync: Arc<dyn ShardSync>, loss: SupervisedLoss) -> Result<Outcome> {
    single_threaded();
    let golden = Fixture::load("stage2");
    let tiny = Tiny::load();
    let rectifier = rectifier(&golden);
    let scene = golden.f32("text_target_all");
    let set = trainables(&tiny.head, Some(&rectifier), SgdSettings::default())?;
    let all_labels = golden.i64("labels_pool");
    let both = |name: &str| {
        Tensor::cat(
            &[
                golden.f32(&format!("step1.{name}")),
                golden.f32(&format!("step2.{name}")),
            ],
            0,
        )
    };
    let mine = |tensor: &Tensor| tensor.narrow(0, from, to - from);
    let styles = DrawnStyles {
        mean: mine(&both("mu")),
        std: mine(&both("std")),
        domains: [1, 4, 0, 2][from as usize..to as usize].to_vec(),
    };
    let context = StepContext {
        sync,
        valid_pixels: valid_pixels(&all_labels)?,
        images: IMAGES,
        loss,
        dropout: 0.0,
        dropout_seed: 0,
    };
    let adapt = AdaptStep {
        backbone: &tiny.source,
        head: &tiny.head,
        rectification: Some(Rectification {
            rectifier: &rectifier,
            scene: &scene,
        }),
        mix: None,
    };
    let (images, labels) = (mine(&golden.f32("images_pool")), mine(&all_labels));
    let buckets = set.buckets(1024);
    let ready = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&ready);
    let hooks = set.on_bucket_ready(&buckets, move |bucket| {
        log.lock().unwrap().push(bucket);
        Ok(())
    })?;
    let ShardStep {
        loss, batch_stats, ..
    } = adapt.run(
        &ShardBatch {
            images: &images,
            labels: &labels,
        },
        &styles,
        &context,
    )?;
    drop(hooks);
    let announced = ready.lock().unwrap().clone();
    let mut once = announced.clone();
    once.sort_unstable();
    assert!(
        once.into_iter().eq(0..buckets.len()),
        "every bucket is announced once, also without images"
    );
    Ok(Outcome {
        announced,
        loss,
        gradient: set
            .named_gradient()?
            .iter()
            .map(|(name, tensor)| (name.clone(), flat(tensor)))
            .collect(),
        stats: batch_stats
            .0
            .iter()
            .map(|(name, stats)| (name.to_string(), flat(&stats.var_biased)))
            .collect(),
    })
}

fn sharded(cuts: &[i64], loss: SupervisedLoss) -> Vec<Outcome> {
    let meeting = Meeting::new(cuts.len() - 1);
    let workers: Vec<_> = cuts
        .windows(2)
        .enumerate()
        .map(|(rank, span)| {
            let (from, to) = (span[0], span[1]);
            let sync = Arc::new(MeetingSync {
                rank,
                meeting: Arc::clone(&meeting),
            });
            thread::spawn(move || step(from, to, sync, loss).unwrap())
        })
        .collect();
    workers.into_iter().map(|worker| worker.join().unwrap()).collect()
}

fn agree(name: &str, cuts: &[i64], loss: SupervisedLoss) {
    let whole = step(0, IMAGES, Arc::new(Solo), loss).unwrap();
    let shards = sharded(cuts, loss);
    assert!(
        shards.iter().all(|shard| shard.announced == whole.announced),
        "buckets come in another order"
    );
    let mut report = Report::new(name);
    let loss: f64 = shards.iter().map(|shard| shard.loss).sum();
    report.compare_values("loss", "loss", &[loss], &[whole.loss], Tolerance::Relative(1e-6));
    for (at, (name, recorded)) in whole.gradient.iter().enumerate() {
        let mut sum = vec![0.0; recorded.len()];
        for shard in &shards {
            sum.iter_mut()
                .zip(&shard.gradient[at].1)
                .for_each(|(sum, part)| *sum += part);
        }
        let noisy = name.contains("aspp.convs.4");
        let (group, limit) = match noisy {
            true => ("gradient, pooled branch", Tolerance::Absolute(1e-4)),
            false => (
                "gradient",
                Tolerance::OfMaxPlus {
                    factor: 1e-4,
                    floor: 1e-7,
                },
            ),
        };
        report.compare_values(group, name, &sum, recorded, limit);
    }
    for (at, (name, recorded)) in whole.stats.iter().enumerate() {
        assert_eq!(name, &shards[0].stats[at].0);
        report.compare_values(
            "batch statistics",
            name,
            &shards[0].stats[at].1,
            recorded,
            Tolerance::OfMax(1e-5),
        );
        assert!(
            shards
                .iter()
                .all(|shard| shard.stats[at].1 == shards[0].stats[at].1),
            "`{name}` differs among shards"
        );
    }
    report.finish();
}

#[test]
fn two_uneven_shards() {
    agree("adapt in 2 shards", &[0, 2, 3], SupervisedLoss::CrossEntropy);
}

#[test]
fn three_shards() {
    agree("adapt in 3 shards", &[0, 1, 2, 3], SupervisedLoss::CrossEntropy);
}

#[test]
fn a_shard_without_images() {
    agree(
        "adapt in 3 shards, one empty",
        &[0, 2, 2, 3],
        SupervisedLoss::CrossEntropy,
    );
}

#[test]
fn the_focal_loss_of_shards_adds_up() {
    let focal = Focal {
        alpha: 0.5,
        gamma: 2.0,
    };
    agree(
        "adapt in 3 shards, focal loss, one empty",
        &[0, 1, 1, 3],
        SupervisedLoss::Focal(focal),
    );
}

#[test]
fn a_broken_exchange_surfaces_from_the_backward_pass() {
    struct Breaks;
    impl ShardSync for Breaks {
        fn shards(&self) -> usize {
            2
        }
        fn gather(&self, _layer: u32, pass: Pass, mine: &[f64]) -> std::result::Result<Vec<f64>, String> {
            match pass {
                Pass::Forward => Ok(mine.repeat(2)),
                Pass::Backward => Err("generation 4 was fenced".into()),
            }
        }
    }
    let error = step(0, IMAGES, Arc::new(Breaks), SupervisedLoss::CrossEntropy)
        .err()
        .unwrap();
    let cause = error.source().unwrap().to_string();
    assert_eq!(error.to_string(), "libtorch refused an operation");
    assert!(cause.contains("generation 4 was fenced"), "{cause}");
}

#[test]
fn a_step_of_one_image_is_refused() {
    single_threaded();
    let golden = Fixture::load("stage2");
    let tiny = Tiny::load();
    let styles = DrawnStyles {
        mean: golden.f32("step1.mu").narrow(0, 0, 1),
        std: golden.f32("step1.std").narrow(0, 0, 1),
        domains: vec![0],
    };
    let context = StepContext {
        sync: Arc::new(Solo),
        valid_pixels: 1,
        images: 1,
        loss: SupervisedLoss::default(),
        dropout: 0.0,
        dropout_seed: 0,
    };
    let adapt = AdaptStep {
        backbone: &tiny.source,
        head: &tiny.head,
        rectification: None,
        mix: None,
    };
    let (images, labels) = (
        golden.f32("images_pool").narrow(0, 0, 1),
        golden.i64("labels_pool").narrow(0, 0, 1),
    );
    let refused = adapt.run(
        &ShardBatch {
            images: &images,
            labels: &labels,
        },
        &styles,
        &context,
    );
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "adapt has 1 image(s) in the batch, but the head normalises over the batch and needs at least 2"
    );
    assert_eq!(refused.hint().as_deref(), Some("raise the batch size"));
}
