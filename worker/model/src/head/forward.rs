//! The head's arithmetic (DeepLabV3+ as in the authors' `_deeplab.py`).

use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use ulda_torch::runtime::Autocast;
use ulda_torch::{BatchStats, ShardSync, Solo, TorchError, dropout_parts};

use crate::clip::channels_last;
use crate::head::layer::{ASPP_PROJECT, ConvNorm, HIDDEN, LOW, PLACES, POOLED};
use crate::head::state::Head;

/// How a training forward is done.
#[derive(Clone)]
pub struct TrainMode {
    /// Exchange of BatchNorm sums with the step's other shards.
    pub sync: Arc<dyn ShardSync>,
    /// Dropout at the end of the ASPP: probability (0.1 as published) and seed of the mask.
    pub dropout: Option<(f64, u64)>,
}

impl TrainMode {
    /// One shard, no dropout.
    pub fn solo() -> Self {
        Self {
            sync: Arc::new(Solo),
            dropout: None,
        }
    }
}

/// Statistics of one training forward: per BatchNorm layer its published name and its statistics.
#[derive(Debug)]
pub struct HeadStats(pub Vec<(&'static str, BatchStats)>);

impl Head {
    /// Logits at the low-level size, on running statistics, without dropout.
    /// `deep` [N, deep, h, w] and `low` [N, C₁, H, W] → [N, classes, H, W].
    pub fn forward_eval(&self, deep: &Tensor, low: &Tensor) -> Tensor {
        let normalise = |layers: &[ConvNorm], convolved: &[Tensor]| {
            let each = layers.iter().zip(convolved);
            Ok::<_, NeverFails>(each.map(|(layer, x)| layer.eval(x)).collect())
        };
        let Ok(logits) = self.compose(deep, low, normalise, Ok);
        logits
    }

    /// The same on batch statistics of all shards, with dropout; also gives the statistics, for
    /// [`Head::commit_batch_stats`]. Running statistics do not change. N may be 0 if other shards have
    /// images.
    ///
    /// # Errors
    /// An exchange failed, or all shards together have one image only (BatchNorm of the pooled branch
    /// needs two values per channel).
    pub fn forward_train(
        &self,
        deep: &Tensor,
        low: &Tensor,
        mode: &TrainMode,
    ) -> Result<(Tensor, HeadStats), TorchError> {
        let (dropout, seed) = mode.dropout.unwrap_or((0.0, 0));
        let (logits, mut stats) = self.forward_train_parts(deep, low, &mode.sync, dropout, &[seed])?;
        Ok((logits, stats.swap_remove(0)))
    }

    /// The same for several batches of equal size that lie one after the other in `deep` and `low`, as many as there
    /// are `seeds`. Convolutions see one large batch; each part has statistics of its own, in turn, and the
    /// dropout mask of its seed, as if it had come alone.
    ///
    /// # Errors
    /// As [`Head::forward_train`], or the images cannot be cut so.
    pub fn forward_train_parts(
        &self,
        deep: &Tensor,
        low: &Tensor,
        sync: &Arc<dyn ShardSync>,
        dropout: f64,
        seeds: &[u64],
    ) -> Result<(Tensor, Vec<HeadStats>), TorchError> {
        let empty = || HeadStats(Vec::with_capacity(Self::BATCH_NORMS));
        let mut stats: Vec<HeadStats> = seeds.iter().map(|_| empty()).collect();
        let normalise = |layers: &[ConvNorm], convolved: &[Tensor]| {
            let normalised = ConvNorm::train(layers, convolved, sync, seeds.len())?;
            let each = layers.iter().zip(normalised);
            Ok(each
                .map(|(layer, normalised)| {
                    for (part, found) in stats.iter_mut().zip(normalised.stats) {
                        part.0.push((layer.norm_name(), found));
                    }
                    normalised.y
                })
                .collect())
        };
        let logits = self.compose(deep, low, normalise, |x| dropout_parts(&x, dropout, seeds))?;
        Ok((logits, stats))
    }

    /// Updates the running statistics by one training forward, as PyTorch does during it: momentum 0.1,
    /// unbiased variance, batch counter. Forwards are committed in the order the method defines.
    pub fn commit_batch_stats(&mut self, stats: &HeadStats) {
        let layer_of = |name: &str| self.layers.iter().find(|layer| layer.norm_name() == name);
        let forwards = stats.0.iter();
        let forwards = forwards.filter_map(|(name, found)| Some((layer_of(name)?, found)));
        let forwards: Vec<_> = forwards.collect();
        if !forwards.is_empty() {
            ConvNorm::commit(&forwards);
        }
    }

    /// `normalise` does what follows the convolutions of layers that do not need each other: the low-level projection
    /// and the five branches of the ASPP at once, then one layer after the other.
    fn compose<E>(
        &self,
        deep: &Tensor,
        low: &Tensor,
        mut normalise: impl FnMut(&[ConvNorm], &[Tensor]) -> Result<Vec<Tensor>, E>,
        end_of_aspp: impl FnOnce(Tensor) -> Result<Tensor, E>,
    ) -> Result<Tensor, E> {
        let _autocast = self
            .autocast
            .map(|kind| Autocast::enter(self.device(), kind).expect("bfloat16 or half, as `autocast` says"));
        let layers = &self.layers;
        let deep = &channels_last(deep);
        let size = deep.size();
        let pooled = deep.mean_dim([2_i64, 3].as_slice(), true, Kind::Float);
        let mut convolved = vec![layers[LOW].convolve(&channels_last(low))];
        convolved.extend(layers[LOW + 1..POOLED].iter().map(|branch| branch.convolve(deep)));
        convolved.push(layers[POOLED].convolve(&pooled));
        let mut branches = normalise(&layers[LOW..=POOLED], &convolved)?;
        drop(convolved);
        let low = branches.remove(LOW);
        // One pixel upsampled to any size is that pixel everywhere.
        let pooled = &mut branches[POOLED - 1];
        *pooled = pooled.expand([-1, -1, size[2], size[3]], false);
        if let Device::Cuda(_) = pooled.device() {
            // Else the branches together would lose the layout that the convolutions work in.
            *pooled = channels_last(pooled);
        }
        let mut block = |index: usize, convolved: Tensor| {
            normalise(&layers[index..=index], &[convolved]).map(|mut normalised| normalised.remove(0))
        };
        let projected = layers[ASPP_PROJECT].convolve(&Tensor::cat(&branches, 1));
        drop(branches);
        let aspp = end_of_aspp(block(ASPP_PROJECT, projected)?)?;
        let hidden = block(HIDDEN, layers[HIDDEN].convolve_joined(&low, &aspp))?;
        // Few channels at many pixels: upsampling and softmax prefer them apart.
        Ok(hidden
            .conv2d(
                &self.last_weight,
                Some(&self.last_bias),
                [1, 1],
                [0, 0],
                [1, 1],
                1,
            )
            .to_kind(Kind::Float)
            .contiguous())
    }
}

impl ConvNorm {
    fn norm_name(&self) -> &'static str {
        PLACES[self.index()].norm
    }
}

/// Error of the evaluation forward, which has none.
enum NeverFails {}
