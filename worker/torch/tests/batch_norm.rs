//! Synchronised BatchNorm against libtorch's own over one big batch.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tch::{Device, Kind, Tensor};
use ulda_torch::{
    BatchStats, NormInput, Normalised, Pass, ShardSync, Solo, sync_batch_norm, sync_batch_norms,
};

const EPS: f64 = 1e-5;

/// An all-gather among threads.
struct Ring {
    shards: usize,
    rank: usize,
    rounds: Arc<Rounds>,
    calls: Mutex<HashMap<(u32, Pass), usize>>,
}

/// One place per shard.
type Slots = Vec<Option<Vec<f64>>>;

#[derive(Default)]
struct Rounds {
    parts: Mutex<HashMap<(u32, Pass, usize), Slots>>,
    arrived: Condvar,
}

impl ShardSync for Ring {
    fn shards(&self) -> usize {
        self.shards
    }

    fn gather(&self, layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        let round = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry((layer, pass)).or_insert(0);
            *count += 1;
            *count
        };
        let mut parts = self.rounds.parts.lock().unwrap();
        let slots = parts
            .entry((layer, pass, round))
            .or_insert_with(|| vec![None; self.shards]);
        slots[self.rank] = Some(mine.to_vec());
        self.rounds.arrived.notify_all();
        let key = (layer, pass, round);
        let (parts, timeout) = self
            .rounds
            .arrived
            .wait_timeout_while(parts, Duration::from_secs(20), |parts| {
                parts[&key].iter().any(Option::is_none)
            })
            .unwrap();
        if timeout.timed_out() {
            return Err(format!("layer {layer}, {pass}: a shard did not come within 20 s"));
        }
        Ok(parts[&key].iter().flatten().flatten().copied().collect())
    }
}

fn input<'a>(x: &'a Tensor, weight: &'a Tensor, bias: &'a Tensor) -> NormInput<'a> {
    NormInput { x, weight, bias }
}

struct Problem {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    dy: Tensor,
}

impl Problem {
    fn new(size: [i64; 4], offset: f64) -> Self {
        tch::manual_seed(11);
        let cpu = (Kind::Float, Device::Cpu);
        Self {
            x: Tensor::randn(size, cpu) * 3.0 + offset,
            weight: Tensor::randn([size[1]], cpu),
            bias: Tensor::randn([size[1]], cpu),
            dy: Tensor::randn(size, cpu),
        }
    }

    fn input(&self) -> NormInput<'_> {
        input(&self.x, &self.weight, &self.bias)
    }

    /// Output, gradients of x, weight, bias, and the running buffers after one update from (0, 1).
    fn by_libtorch(&self) -> Vec<Tensor> {
        let [x, weight, bias] = self.leaves(0, self.x.size()[0]);
        let mean = Tensor::zeros_like(&weight);
        let var = Tensor::ones_like(&weight);
        let y = x.batch_norm(
            Some(&weight),
            Some(&bias),
            Some(&mean),
            Some(&var),
            true,
            0.1,
            EPS,
            false,
        );
        (&y * &self.dy).sum(Kind::Float).backward();
        vec![
            y.detach(),
            x.grad(),
            weight.grad(),
            bias.grad(),
            mean.detach(),
            var.detach(),
        ]
    }

    fn leaves(&self, from: i64, count: i64) -> [Tensor; 3] {
        let x = self.x.narrow(0, from, count).copy().set_requires_grad(true);
        [
            x,
            self.weight.copy().set_requires_grad(true),
            self.bias.copy().set_requires_grad(true),
        ]
    }

    /// The same by shards of the given numbers of images, each on its own thread.
    fn by_shards(&self, images: &[i64]) -> Vec<Tensor> {
        let rounds = Arc::new(Rounds::default());
        let mut from = 0;
        let parts: Vec<Vec<Tensor>> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (rank, &count) in images.iter().enumerate() {
                let rounds = Arc::clone(&rounds);
                let [x, weight, bias] = self.leaves(from, count);
                let dy = self.dy.narrow(0, from, count);
                from += count;
                threads.push(scope.spawn(move || {
                    let sync: Arc<dyn ShardSync> = Arc::new(Ring {
                        shards: images.len(),
                        rank,
                        rounds,
                        calls: Mutex::default(),
                    });
                    let (y, stats) = sync_batch_norm(input(&x, &weight, &bias), EPS, &sync, 7).unwrap();
                    (&y * dy).sum(Kind::Float).f_backward().unwrap();
                    let BatchStats {
                        mean,
                        var_biased,
                        count,
                    } = stats;
                    let unbiased = var_biased * (count as f64 / (count - 1) as f64);
                    vec![
                        y.detach(),
                        x.grad(),
                        weight.grad(),
                        bias.grad(),
                        mean * 0.1,
                        unbiased * 0.1 + 0.9,
                    ]
                }));
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let column = |i: usize| {
            parts
                .iter()
                .map(|part| part[i].shallow_clone())
                .collect::<Vec<_>>()
        };
        let sum = |i: usize| column(i).into_iter().reduce(|a, b| a + b).unwrap();
        for part in &parts {
            assert_eq!(part[4], parts[0][4], "every shard has the same statistics");
            assert_eq!(part[5], parts[0][5], "every shard has the same statistics");
        }
        vec![
            Tensor::cat(&column(0), 0),
            Tensor::cat(&column(1), 0),
            sum(2),
            sum(3),
            parts[0][4].shallow_clone(),
            parts[0][5].shallow_clone(),
        ]
    }
}

fn assert_close(ours: &[Tensor], theirs: &[Tensor], tolerance: f64) {
    let names = [
        "y",
        "grad x",
        "grad weight",
        "grad bias",
        "running mean",
        "running var",
    ];
    for ((a, b), name) in ours.iter().zip(theirs).zip(names) {
        let scale = b.abs().max().double_value(&[]).max(1.0);
        let gap = (a - b).abs().max().double_value(&[]) / scale;
        println!("{name}: {gap:.1e}");
        assert!(gap <= tolerance, "{name} is off by {gap:e}");
    }
}

#[test]
fn one_shard_equals_libtorch() {
    for size in [[4, 5, 7, 9], [2, 3, 1, 1], [2, 64, 16, 16]] {
        let problem = Problem::new(size, 0.5);
        assert_close(&problem.by_shards(&[size[0]]), &problem.by_libtorch(), 1e-5);
    }
}

#[test]
fn shards_equal_one_big_batch() {
    let problem = Problem::new([6, 5, 7, 9], -2.0);
    let whole = problem.by_libtorch();
    for split in [&[3, 3][..], &[1, 5], &[1, 2, 3], &[4, 0, 2], &[0, 0, 6]] {
        assert_close(&problem.by_shards(split), &whole, 1e-5);
    }
}

#[test]
fn the_pooled_branch_works_with_one_image_per_shard() {
    let problem = Problem::new([3, 8, 1, 1], 0.0);
    assert_close(&problem.by_shards(&[1, 1, 1]), &problem.by_libtorch(), 1e-4);
}

#[test]
fn equal_inputs_give_equal_bits() {
    let problem = Problem::new([6, 5, 7, 9], 1.0);
    let (first, second) = (problem.by_shards(&[2, 4]), problem.by_shards(&[2, 4]));
    assert_eq!(first, second);
}

#[test]
fn a_single_value_per_channel_is_refused() {
    let problem = Problem::new([1, 4, 1, 1], 0.0);
    let sync: Arc<dyn ShardSync> = Arc::new(Solo);
    let error = sync_batch_norm(problem.input(), EPS, &sync, 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "libtorch: sync_batch_norm: batch norm layer 3 has 1 value(s) per channel over all shards, needs at least 2; \
         hint: use a batch of 2 or more images"
    );
}

#[test]
fn each_part_is_normalised_as_if_it_came_alone() {
    let mirrored: Arc<dyn ShardSync> = Arc::new(Mirror);
    let solo: Arc<dyn ShardSync> = Arc::new(Solo);
    for (size, parts) in [([6, 5, 7, 9], 3), ([4, 8, 1, 1], 2), ([6, 5, 7, 9], 1)] {
        for sync in [&solo, &mirrored] {
            let problem = Problem::new(size, 0.5);
            let [x, weight, bias] = problem.leaves(0, size[0]);
            let mut layers = sync_batch_norms(&[input(&x, &weight, &bias)], EPS, sync, 7, parts).unwrap();
            let Normalised { y, stats } = layers.remove(0);
            (&y * &problem.dy).sum(Kind::Float).backward();
            assert_eq!(stats.len(), parts);
            let images = size[0] / parts as i64;
            let mut alone = Vec::new();
            for (part, stats) in stats.iter().enumerate() {
                let from = part as i64 * images;
                let [x, weight, bias] = problem.leaves(from, images);
                let (y, expected) = sync_batch_norm(input(&x, &weight, &bias), EPS, sync, 7).unwrap();
                (&y * problem.dy.narrow(0, from, images))
                    .sum(Kind::Float)
                    .backward();
                assert_eq!(
                    (&stats.mean, &stats.var_biased, stats.count),
                    (&expected.mean, &expected.var_biased, expected.count)
                );
                alone.push([y.detach(), x.grad(), weight.grad(), bias.grad()]);
            }
            let joined = |at: usize| Tensor::cat(&alone.iter().map(|part| &part[at]).collect::<Vec<_>>(), 0);
            let summed = |at: usize| {
                joined(at)
                    .view([parts as i64, -1])
                    .sum_dim_intlist(0, false, Kind::Float)
            };
            let ours = [y.detach(), x.grad(), weight.grad(), bias.grad()];
            assert_close(&ours, &[joined(0), joined(1), summed(2), summed(3)], 1e-6);
        }
    }
    let problem = Problem::new([5, 4, 3, 3], 0.0);
    let error = sync_batch_norms(&[problem.input()], EPS, &solo, 3, 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "libtorch: sync_batch_norm: batch norm layer 3 cannot cut 5 image(s) into 2 equal parts"
    );
}

/// As a DeepLabV3+ head has them: wide and narrow ones, and one that sees a single pixel.
fn several() -> [Problem; 3] {
    [[4, 5, 7, 9], [4, 3, 2, 2], [4, 8, 1, 1]].map(|size| Problem::new(size, 0.5))
}

/// y, gradients of x, weight and bias, mean and variance of every layer; normalised together or one by one.
fn normalised(
    problems: &[Problem],
    sync: &Arc<dyn ShardSync>,
    parts: usize,
    together: bool,
) -> Vec<Vec<Tensor>> {
    let leaves: Vec<[Tensor; 3]> = problems.iter().map(|problem| problem.leaves(0, 4)).collect();
    let inputs: Vec<NormInput<'_>> = leaves
        .iter()
        .map(|[x, weight, bias]| input(x, weight, bias))
        .collect();
    let layers: Vec<Normalised> = if together {
        sync_batch_norms(&inputs, EPS, sync, 7, parts).unwrap()
    } else {
        let alone = |(at, input)| {
            sync_batch_norms(&[input], EPS, sync, 7 + at, parts)
                .unwrap()
                .remove(0)
        };
        (0_u32..).zip(inputs).map(alone).collect()
    };
    let losses = layers
        .iter()
        .zip(problems)
        .map(|(layer, problem)| (&layer.y * &problem.dy).sum(Kind::Float));
    losses.reduce(|sum, loss| sum + loss).unwrap().backward();
    let each = layers.into_iter().zip(&leaves);
    each.map(|(Normalised { y, stats }, [x, weight, bias])| {
        let mut told = vec![y.detach(), x.grad(), weight.grad(), bias.grad()];
        for BatchStats {
            mean,
            var_biased,
            count,
        } in stats
        {
            told.extend([mean, var_biased, Tensor::from(count)]);
        }
        told
    })
    .collect()
}

#[test]
fn layers_normalised_together_have_the_bits_of_layers_normalised_one_by_one() {
    let mirrored: Arc<dyn ShardSync> = Arc::new(Mirror);
    let solo: Arc<dyn ShardSync> = Arc::new(Solo);
    for (sync, parts) in [(&solo, 1), (&solo, 2), (&mirrored, 1), (&mirrored, 2)] {
        let problems = several();
        let (together, one_by_one) = (
            normalised(&problems, sync, parts, true),
            normalised(&problems, sync, parts, false),
        );
        assert_eq!(together.len(), problems.len());
        assert_eq!(together, one_by_one);
    }
}

#[test]
fn layers_normalised_together_exchange_once_in_each_pass() {
    /// Counts what it is asked for.
    struct Counting(Mutex<Vec<(u32, Pass, usize)>>);
    impl ShardSync for Counting {
        fn shards(&self) -> usize {
            2
        }
        fn gather(&self, layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
            self.0.lock().unwrap().push((layer, pass, mine.len()));
            Ok(mine.repeat(2))
        }
    }
    let counting = Arc::new(Counting(Mutex::default()));
    let sync: Arc<dyn ShardSync> = counting.clone();
    normalised(&several(), &sync, 1, true);
    // Two numbers of each channel, and in the forward pass how many values they are of.
    let channels = 5 + 3 + 8;
    assert_eq!(
        *counting.0.lock().unwrap(),
        [
            (7, Pass::Forward, 3 + 2 * channels),
            (7, Pass::Backward, 2 * channels)
        ]
    );
}

#[test]
fn layers_that_do_not_fit_together_are_refused() {
    let sync: Arc<dyn ShardSync> = Arc::new(Solo);
    let (four, five) = (Problem::new([4, 5, 7, 9], 0.0), Problem::new([5, 5, 7, 9], 0.0));
    let error = sync_batch_norms(&[four.input(), five.input()], EPS, &sync, 3, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "libtorch: sync_batch_norm: batch norm layer 4 has 5 image(s), layer 3 has 4"
    );
    assert!(sync_batch_norms(&[], EPS, &sync, 3, 1).is_err());
}

/// Another shard that has what this one has.
struct Mirror;

impl ShardSync for Mirror {
    fn shards(&self) -> usize {
        2
    }

    fn gather(&self, _layer: u32, _pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        Ok(mine.repeat(2))
    }
}

/// What one shard gives without an exchange is what an exchange with a shard without images gives.
#[test]
fn one_shard_alone_has_the_bits_of_an_exchange() {
    let problem = Problem::new([4, 5, 7, 9], 0.5);
    assert_eq!(problem.by_shards(&[4]), problem.by_shards(&[4, 0]));
}

/// Fails, or panics, in the pass it is told to.
struct Broken(Pass, bool);

impl ShardSync for Broken {
    fn shards(&self) -> usize {
        2
    }

    fn gather(&self, _layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        if pass != self.0 {
            return Ok(mine.repeat(2));
        }
        assert!(!self.1, "the exchange panicked");
        Err("worker 2 did not answer within 5s".to_owned())
    }
}

#[test]
fn a_failed_exchange_is_an_error_of_its_pass() {
    let problem = Problem::new([2, 4, 3, 3], 0.0);
    let [x, weight, bias] = problem.leaves(0, 2);
    let forward: Arc<dyn ShardSync> = Arc::new(Broken(Pass::Forward, false));
    let error = sync_batch_norm(input(&x, &weight, &bias), EPS, &forward, 1)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "libtorch: sync_batch_norm: batch norm layer 1, forward exchange among 2 shards: worker 2 did not answer within 5s"
    );
    for (panics, text) in [
        (false, "worker 2 did not answer"),
        (true, "callback panicked: the exchange panicked"),
    ] {
        let backward: Arc<dyn ShardSync> = Arc::new(Broken(Pass::Backward, panics));
        let (y, _) = sync_batch_norm(input(&x, &weight, &bias), EPS, &backward, 1).unwrap();
        let error = y.sum(Kind::Float).f_backward().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
