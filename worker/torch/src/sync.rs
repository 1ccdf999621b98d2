//! BatchNorm in training mode over the images of all shards of a step.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::sync::Arc;

use tch::Tensor;

use crate::{TorchError, ffi};

/// Which half of a step an exchange belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    Forward,
    Backward,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        })
    }
}

/// The all-gather that BatchNorm needs. All shards of a step call it in the same order of
/// (layer, pass), with vectors of equal length. One shard alone gathers nothing.
pub trait ShardSync: Send + Sync {
    /// Number of shards of the step, at least 1.
    fn shards(&self) -> usize;

    /// Every shard's vector, concatenated in shard order: `shards() * mine.len()` numbers. The error
    /// text ends up in the [`TorchError`] of the forward, or of `f_backward`.
    fn gather(&self, layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String>;
}

/// The exchange of a step with one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl ShardSync for Solo {
    fn shards(&self) -> usize {
        1
    }

    fn gather(&self, _layer: u32, _pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        Ok(mine.to_vec())
    }
}

/// One BatchNorm layer's input and affine parameters.
#[derive(Clone, Copy, Debug)]
pub struct NormInput<'a> {
    /// [N, C, H, W], f32.
    pub x: &'a Tensor,
    /// [C].
    pub weight: &'a Tensor,
    /// [C].
    pub bias: &'a Tensor,
}

/// What one BatchNorm layer gives.
#[derive(Debug)]
pub struct Normalised {
    /// [N, C, H, W], f32.
    pub y: Tensor,
    /// Of each part of the batch, in turn.
    pub stats: Vec<BatchStats>,
}

/// Statistics of one BatchNorm layer over all shards; the same bits on each of them.
#[derive(Debug)]
pub struct BatchStats {
    /// [C], f32.
    pub mean: Tensor,
    /// [C], f32, divided by `count`.
    pub var_biased: Tensor,
    /// Values per channel, over all shards.
    pub count: i64,
}

/// Normalises `x` with the statistics of every shard's images together, then applies `weight` and `bias`.
/// Differentiable: the gradient of `x` is that of the whole batch; the gradients of `weight` and `bias` are this
/// shard's part, to be summed with the others later. N may differ among shards and may be 0.
///
/// Equal inputs give equal bits, whatever process each shard runs in. Running buffers are the
/// caller's, who has the statistics.
///
/// # Errors
/// A wrong shape or kind, fewer than two values per channel over all shards, or the exchange failed.
pub fn sync_batch_norm(
    input: NormInput<'_>,
    eps: f64,
    sync: &Arc<dyn ShardSync>,
    layer: u32,
) -> Result<(Tensor, BatchStats), TorchError> {
    let mut layers = sync_batch_norms(&[input], eps, sync, layer, 1)?;
    let Normalised { y, mut stats } = layers.swap_remove(0);
    Ok((y, stats.swap_remove(0)))
}

/// The same for several layers, of which none needs what another gives, at the price of one exchange in each
/// [`Pass`]; `layer` numbers the first. Each batch consists of `parts` batches of equal size that lie one after the
/// other: each is normalised with statistics of its own, as if it had come alone.
///
/// # Errors
/// As [`sync_batch_norm`], or N is no multiple of `parts` or not the same in all layers.
pub fn sync_batch_norms(
    inputs: &[NormInput<'_>],
    eps: f64,
    sync: &Arc<dyn ShardSync>,
    layer: u32,
    parts: usize,
) -> Result<Vec<Normalised>, TorchError> {
    let list = |of: for<'a> fn(&NormInput<'a>) -> &'a Tensor| {
        let handles = inputs.iter().map(|input| ffi::raw(of(input)));
        handles.collect::<Vec<_>>()
    };
    let (xs, weights, biases) = (
        list(|input| input.x),
        list(|input| input.weight),
        list(|input| input.bias),
    );
    let empty = || vec![std::ptr::null_mut(); inputs.len()];
    let (mut ys, mut means, mut vars) = (empty(), empty(), empty());
    let mut counts = vec![0.0; inputs.len()];
    let shared = Box::into_raw(Box::new(Arc::clone(sync)));
    // SAFETY: the tensors outlive the call; `shared` belongs to the shim, which gives it to
    // `release` exactly once; all lists have `inputs.len()` places.
    let status = unsafe {
        ffi::ulda_sync_batch_norms(
            xs.as_ptr(),
            weights.as_ptr(),
            biases.as_ptr(),
            inputs.len(),
            eps,
            shared.cast(),
            release,
            gather,
            sync.shards(),
            layer,
            parts,
            ys.as_mut_ptr(),
            means.as_mut_ptr(),
            vars.as_mut_ptr(),
            counts.as_mut_ptr(),
        )
    };
    ffi::check("sync_batch_norm", status)?;
    let found = ys.into_iter().zip(means).zip(vars).zip(counts);
    Ok(found
        .map(|(((y, mean), var), count)| {
            // SAFETY: on success the tensors are set and ours.
            let (y, mean, var) = unsafe { (ffi::own(y), ffi::own(mean), ffi::own(var)) };
            Normalised {
                y,
                stats: by_part(&mean, &var, count as i64),
            }
        })
        .collect())
}

/// Rows of [parts, C].
fn by_part(means: &Tensor, vars: &Tensor, count: i64) -> Vec<BatchStats> {
    let each = means.unbind(0).into_iter().zip(vars.unbind(0));
    each.map(|(mean, var_biased)| BatchStats {
        mean,
        var_biased,
        count,
    })
    .collect()
}

unsafe extern "C" fn release(sync: *mut c_void) {
    // SAFETY: `sync` came from `Box::into_raw` above and is released once.
    drop(unsafe { Box::from_raw(sync.cast::<Arc<dyn ShardSync>>()) });
}

unsafe extern "C" fn gather(
    sync: *mut c_void,
    layer: u32,
    backward: c_int,
    mine: *const f64,
    len: usize,
    all: *mut f64,
    error: *mut c_char,
    error_len: usize,
) -> c_int {
    // SAFETY: the shim keeps `sync` alive, and `mine`, `all` and `error` have the lengths it says.
    unsafe {
        ffi::answer(error, error_len, || {
            let sync = &*sync.cast::<Arc<dyn ShardSync>>();
            let pass = if backward == 0 {
                Pass::Forward
            } else {
                Pass::Backward
            };
            let gathered = sync.gather(layer, pass, std::slice::from_raw_parts(mine, len))?;
            let expected = len * sync.shards();
            if gathered.len() != expected {
                return Err(format!(
                    "exchange gave {} numbers, expected {expected}",
                    gathered.len()
                ));
            }
            std::ptr::copy_nonoverlapping(gathered.as_ptr(), all, expected);
            Ok(())
        })
    }
}
