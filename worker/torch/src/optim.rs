//! The optimiser's update as one kernel.

use std::ffi::c_void;

use tch::Tensor;

use crate::{TorchError, ffi};

/// What one update of a parameter needs: three contiguous tensors of one shape. All updates of a call are of one kind
/// and on one device.
#[derive(Debug)]
pub struct Update<'a> {
    pub parameter: &'a mut Tensor,
    pub gradient: &'a Tensor,
    /// The momentum buffer of PyTorch's SGD; zeros before the first step.
    pub velocity: &'a mut Tensor,
}

/// In place, for every entry: d = gradient + `weight_decay` · parameter; velocity = `momentum` · velocity + d;
/// parameter −= `lr` · velocity. Everything is read and written once; on a GPU it is one launch for all entries.
///
/// # Errors
/// A tensor is not contiguous, an entry's differ in shape, or tensors differ in kind or device; nothing is changed then.
pub fn fused_sgd(
    updates: &mut [Update<'_>],
    lr: f64,
    momentum: f64,
    weight_decay: f64,
) -> Result<(), TorchError> {
    let list = |of: fn(&Update<'_>) -> *mut c_void| updates.iter().map(of).collect::<Vec<_>>();
    let parameters = list(|update| ffi::raw(update.parameter));
    let gradients = list(|update| ffi::raw(update.gradient));
    let velocities = list(|update| ffi::raw(update.velocity));
    // SAFETY: three lists of `updates.len()` tensors that the borrow keeps alive.
    ffi::check("fused_sgd", unsafe {
        ffi::ulda_fused_sgd(
            parameters.as_ptr(),
            gradients.as_ptr(),
            velocities.as_ptr(),
            updates.len(),
            lr,
            momentum,
            weight_decay,
        )
    })
}
