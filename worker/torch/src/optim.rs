//! The optimiser's update as one kernel, and BatchNorm's running statistics in few.

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

/// A running statistic, and what one forward pass found: tensors of one shape.
#[derive(Debug)]
pub struct RunningStatistic<'a> {
    pub running: &'a Tensor,
    pub found: &'a Tensor,
    /// What was found is multiplied by it.
    pub factor: f64,
}

/// In place, for every entry: running = running · (1 − `momentum`) + found · factor · `momentum`; and every counter
/// (int64) plus 1.
///
/// # Errors
/// An entry's tensors differ in shape, kind or device, or a list is empty.
pub fn move_running(
    entries: &[RunningStatistic<'_>],
    counters: &[&Tensor],
    momentum: f64,
) -> Result<(), TorchError> {
    let running: Vec<_> = entries.iter().map(|entry| ffi::raw(entry.running)).collect();
    let found: Vec<_> = entries.iter().map(|entry| ffi::raw(entry.found)).collect();
    let factors: Vec<f64> = entries.iter().map(|entry| entry.factor).collect();
    let counters: Vec<_> = counters.iter().map(|counter| ffi::raw(counter)).collect();
    // SAFETY: three lists of `entries.len()` places and one of counters, all of tensors that are alive.
    ffi::check("move running statistics", unsafe {
        ffi::ulda_move_running(
            running.as_ptr(),
            found.as_ptr(),
            factors.as_ptr(),
            entries.len(),
            counters.as_ptr(),
            counters.len(),
            momentum,
        )
    })
}
