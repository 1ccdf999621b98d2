//! What travels between workers, read off the networks and the trainable sets themselves.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tch::{Device, Kind, Tensor};
use ulda_method::adapt;
use ulda_method::optim::SgdSettings;
use ulda_method::projector::{PUBLISHED_HIDDEN, Projector};
use ulda_method::rectifier::{PUBLISHED_SCALE, Rectifier};
use ulda_method::trainable::TrainableSet;
use ulda_model::work::NetworkSizes;
use ulda_model::{Head, TrainMode};
use ulda_torch::{Pass, ShardSync};

use crate::Failure;

/// As the worker cuts its gradient (`worker/src/link/gradients.rs`).
const BUCKET_BYTES: usize = 4 << 20;
/// CLIP RN50's embedding.
pub const EMBEDDING: i64 = 1024;

/// A gradient bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub bytes: f64,
    /// Share of the backward pass after which it can leave, 0 to 1.
    pub ready: f64,
}

#[derive(Debug)]
pub struct Sizes {
    pub head_parameters: usize,
    pub rectifier_parameters: usize,
    pub projector_parameters: usize,
    pub pretrain: Vec<Bucket>,
    pub adapt: Vec<Bucket>,
    /// Bytes of each exchange of the head's BatchNorm, forward and backward.
    pub norm_messages: Vec<f64>,
}

impl Sizes {
    /// Of CLIP's RN50.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn read() -> Result<Self, Failure> {
        let networks = NetworkSizes::rn50();
        let head = Head::new(networks.head, 1);
        let low = networks.head.low;
        let rectifier = Rectifier::new(EMBEDDING, low, PUBLISHED_SCALE, 1, Device::Cpu)?;
        let projector = Projector::new(low, PUBLISHED_HIDDEN, EMBEDDING, 1, Device::Cpu)?;
        let head_parameters = head.parameters().iter().map(|(_, value)| value.numel()).sum();
        let mut rectifier_parameters = rectifier.scale_parameter().1.numel();
        rectifier_parameters += rectifier
            .mlp_parameters()
            .iter()
            .map(|(_, value)| value.numel())
            .sum::<usize>();
        let projector_parameters = projector.parameters().iter().map(tch::Tensor::numel).sum();
        let pretrain = adapt::trainables(&head, None, SgdSettings::default())?;
        let pretrain = buckets(&pretrain, &networks, 0.0);
        // Behind the head the backward pass goes on through stages 4 to 2 to the rectifier.
        let adapt = adapt::trainables(&head, Some(&rectifier), SgdSettings::default())?;
        let adapt = buckets(&adapt, &networks, networks.deep(1.0, 1.0).total().macs);
        Ok(Self {
            head_parameters,
            rectifier_parameters,
            projector_parameters,
            pretrain,
            adapt,
            norm_messages: norm_messages(&head)?,
        })
    }

    /// Bytes of a stage's reduced gradient, alignment included.
    pub fn gradient_bytes(buckets: &[Bucket]) -> f64 {
        buckets.iter().map(|bucket| bucket.bytes).sum()
    }
}

/// Listens to a training step of the head among two shards.
fn norm_messages(head: &Head) -> Result<Vec<f64>, Failure> {
    /// The other shard has what this one has.
    #[derive(Default)]
    struct Listener(Mutex<Vec<f64>>);
    impl ShardSync for Listener {
        fn shards(&self) -> usize {
            2
        }
        fn gather(&self, _layer: u32, _pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
            let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            messages.push(size_of_val(mine) as f64);
            Ok(mine.repeat(2))
        }
    }
    let head = head.deep_clone();
    head.trainable(true);
    let map = |channels, side| Tensor::f_zeros([1, channels, side, side], (Kind::Float, Device::Cpu));
    let (deep, low) = (map(head.config().deep, 1)?, map(head.config().low, 4)?);
    let listener = Arc::new(Listener::default());
    let mode = TrainMode {
        sync: listener.clone(),
        dropout: None,
    };
    let (logits, _) = head.forward_train(&deep, &low, &mode)?;
    logits.f_sum(Kind::Float)?.f_backward()?;
    let messages = listener.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(messages.clone())
}

/// Buckets with the moment they are ready, for a backward pass that spends `behind` multiply-adds per low-level pixel
/// behind the head.
fn buckets(set: &TrainableSet, networks: &NetworkSizes, behind: f64) -> Vec<Bucket> {
    let whole = 2.0 * networks.head(1.0).total().macs + behind;
    // Autograd works through the head's layers from the last to the first.
    let mut ready = vec![1.0; set.entries().len()];
    let mut done = 0.0;
    for (at, entry) in set.entries().iter().enumerate().rev() {
        if entry.name.starts_with("classifier.") {
            done += 2.0 * head_macs(&entry.name, &entry.shape);
            ready[at] = done / whole;
        }
    }
    let last_of = |entries: Range<usize>| ready[entries].iter().copied().fold(0.0, f64::max);
    let buckets = set.buckets(BUCKET_BYTES).into_iter();
    buckets
        .map(|bucket| Bucket {
            bytes: 4.0 * bucket.range.len() as f64,
            ready: last_of(bucket.entries),
        })
        .collect()
}

/// Multiply-adds of the head's layer with this weight, per low-level pixel.
fn head_macs(name: &str, shape: &[i64]) -> f64 {
    let weights: f64 = shape.iter().map(|side| *side as f64).product();
    match shape.len() {
        4 if name.starts_with("classifier.aspp.convs.4.") => 0.0,
        4 if name.starts_with("classifier.aspp.") => weights / 16.0,
        4 => weights,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_parameter_and_their_moments_agree_with_the_walk() {
        let sizes = Sizes::read().unwrap();
        let networks = NetworkSizes::rn50();
        let head = Head::new(networks.head, 1);
        let counted: f64 = head
            .parameters()
            .iter()
            .map(|(name, value)| head_macs(name, &value.size()))
            .sum();
        assert!((counted / networks.head(1.0).total().macs - 1.0).abs() < 1e-12);
        let parameters = sizes.head_parameters + sizes.rectifier_parameters;
        let padded = Sizes::gradient_bytes(&sizes.adapt) / 4.0;
        assert!(padded >= parameters as f64 && padded < parameters as f64 * 1.0001);
        // f64: count, mean and squared deviations of each channel of the first six layers, of the seventh, of the last;
        // then two sums of each channel.
        let [first, other] = [48.0 + 5.0 * 256.0, 256.0];
        let forward = [6.0 + 2.0 * first, 1.0 + 2.0 * other, 1.0 + 2.0 * other];
        let backward = [2.0 * other, 2.0 * other, 2.0 * first];
        let expected = [forward, backward]
            .concat()
            .into_iter()
            .map(|numbers| 8.0 * numbers);
        assert_eq!(sizes.norm_messages, expected.collect::<Vec<f64>>());
        // Pretrain's backward pass ends in the head, adapt's at the rectifier.
        assert!((sizes.pretrain.last().unwrap().ready - 1.0).abs() < 1e-12);
        assert!((sizes.adapt[0].ready - 1.0).abs() < 1e-12 && sizes.adapt.last().unwrap().ready < 0.7);
    }
}
