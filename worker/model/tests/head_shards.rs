//! The head trained on shards, each on its own thread, against one big batch.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tch::{Kind, Tensor};
use ulda_model::{Head, HeadConfig, Seeded, TrainMode};
use ulda_torch::{Pass, ShardSync, Solo};

type Place = (u32, Pass);

/// An all-gather among the threads of one step; each (layer, pass) happens once.
#[derive(Default)]
struct Meeting {
    parts: Mutex<HashMap<Place, HashMap<usize, Vec<f64>>>>,
    arrived: Condvar,
}

struct Seat {
    meeting: Arc<Meeting>,
    rank: usize,
    shards: usize,
}

impl ShardSync for Seat {
    fn shards(&self) -> usize {
        self.shards
    }

    fn gather(&self, layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        let mut parts = self.meeting.parts.lock().unwrap();
        parts
            .entry((layer, pass))
            .or_default()
            .insert(self.rank, mine.to_vec());
        self.meeting.arrived.notify_all();
        let here =
            |parts: &mut HashMap<Place, HashMap<usize, Vec<f64>>>| parts[&(layer, pass)].len() < self.shards;
        let deadline = Duration::from_secs(60);
        let (parts, timeout) = self
            .meeting
            .arrived
            .wait_timeout_while(parts, deadline, here)
            .unwrap();
        if timeout.timed_out() {
            return Err(format!("layer {layer}, {pass}: a shard did not come"));
        }
        let round = &parts[&(layer, pass)];
        Ok((0..self.shards).flat_map(|rank| round[&rank].clone()).collect())
    }
}

/// Logits, gradient of `low`, then of every parameter (summed over shards), then the buffers.
fn step(images: &[i64]) -> Vec<Tensor> {
    let total: i64 = images.iter().sum();
    let config = HeadConfig {
        aspp: 6,
        hidden: 7,
        low_projection: 5,
        ..HeadConfig::published(12, 8, 19)
    };
    let deep = Seeded::new(1).normal(&[total, 12, 5, 6], 1.0);
    let low = Seeded::new(2).normal(&[total, 8, 9, 11], 1.0);
    let weight = Seeded::new(3).normal(&[total, 19, 9, 11], 1.0);
    let meeting = Arc::new(Meeting::default());
    let mut from = 0;
    let shards: Vec<Vec<Tensor>> = std::thread::scope(|scope| {
        let threads: Vec<_> = images
            .iter()
            .enumerate()
            .map(|(rank, &count)| {
                let part = |t: &Tensor| t.narrow(0, from, count).copy();
                let (deep, low, weight) = (part(&deep), part(&low).set_requires_grad(true), part(&weight));
                from += count;
                let seat = Seat {
                    meeting: Arc::clone(&meeting),
                    rank,
                    shards: images.len(),
                };
                scope.spawn(move || {
                    let mut head = Head::new(config, 4);
                    head.trainable(true);
                    let mode = TrainMode {
                        sync: Arc::new(seat),
                        dropout: None,
                    };
                    let (logits, stats) = head.forward_train(&deep, &low, &mode).unwrap();
                    (&logits * weight).sum(Kind::Float).f_backward().unwrap();
                    head.commit_batch_stats(&stats);
                    let gradients = head
                        .parameters()
                        .into_iter()
                        .map(|(_, parameter)| parameter.grad());
                    let buffers = head.buffers().into_iter().map(|(_, buffer)| buffer);
                    [logits.detach(), low.grad()]
                        .into_iter()
                        .chain(gradients)
                        .chain(buffers)
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let column =
        |index: usize| -> Vec<Tensor> { shards.iter().map(|shard| shard[index].shallow_clone()).collect() };
    let buffers = shards[0].len() - 3 * Head::BATCH_NORMS;
    (0..shards[0].len())
        .map(|index| match index {
            0 | 1 => Tensor::cat(&column(index), 0),
            _ if index < buffers => column(index).into_iter().reduce(|a, b| a + b).unwrap(),
            _ => {
                let column = column(index);
                assert!(
                    column.iter().all(|buffer| *buffer == column[0]),
                    "buffers are the same on every shard"
                );
                column[0].shallow_clone()
            }
        })
        .collect()
}

#[test]
fn shards_train_like_one_big_batch() {
    let whole = step(&[4]);
    for split in [&[2, 2][..], &[1, 3], &[1, 1, 2], &[4, 0], &[0, 3, 1]] {
        for (index, (ours, theirs)) in step(split).iter().zip(&whole).enumerate() {
            let scale = theirs.abs().max().double_value(&[]).max(1.0);
            let gap = (ours - theirs).abs().max().double_value(&[]) / scale;
            assert!(gap < 2e-5, "{split:?}: tensor {index} is off by {gap:e}");
        }
    }
}

#[test]
fn equal_splits_give_equal_bits() {
    assert_eq!(step(&[1, 2, 1]), step(&[1, 2, 1]));
}

#[test]
fn parts_of_a_batch_train_as_if_each_came_alone() {
    let config = HeadConfig {
        aspp: 6,
        hidden: 7,
        low_projection: 5,
        ..HeadConfig::published(12, 8, 19)
    };
    let head = Head::new(config, 4);
    let deep = Seeded::new(1).normal(&[6, 12, 5, 6], 1.0);
    let low = Seeded::new(2).normal(&[6, 8, 9, 11], 1.0);
    let sync: Arc<dyn ShardSync> = Arc::new(Solo);
    let seeds = [3, 4, 5];
    let (logits, stats) = head.forward_train_parts(&deep, &low, &sync, 0.1, &seeds).unwrap();
    assert_eq!(stats.len(), 3);
    for (part, stats) in stats.iter().enumerate() {
        let cut = |t: &Tensor| t.narrow(0, 2 * part as i64, 2);
        let mode = TrainMode {
            dropout: Some((0.1, seeds[part])),
            ..TrainMode::solo()
        };
        let (alone, expected) = head.forward_train(&cut(&deep), &cut(&low), &mode).unwrap();
        assert!(
            cut(&logits).allclose(&alone, 1e-5, 1e-5, false),
            "logits of part {part}"
        );
        assert_eq!(
            (stats.0.len(), expected.0.len()),
            (Head::BATCH_NORMS, Head::BATCH_NORMS)
        );
        for ((name, ours), (layer, alone)) in stats.0.iter().zip(&expected.0) {
            assert_eq!((name, ours.count), (layer, alone.count));
            assert!(
                ours.mean.allclose(&alone.mean, 1e-5, 1e-6, false),
                "mean of {name}"
            );
            let (ours, alone) = (&ours.var_biased, &alone.var_biased);
            assert!(ours.allclose(alone, 1e-5, 1e-6, false), "variance of {name}");
        }
    }
    assert!(
        head.forward_train_parts(&deep, &low, &sync, 0.1, &[1, 2, 3, 4])
            .is_err()
    );
}
