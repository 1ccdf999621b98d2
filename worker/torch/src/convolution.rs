//! Convolution with a weight gradient that is fast on CPUs.

use tch::Tensor;

use crate::{TorchError, ffi};

/// Convolution of `x` [N, C, H, W] with `weight` [O, C, h, w], without bias, stride 1, `padding` zeros on each side →
/// [N, O, H + 2·padding − (h − 1)·dilation, likewise]. Libtorch's own, except for the weight gradient on a CPU in float32
/// where the kernel has several taps: a matrix product for each of the h·w. That is libtorch's up to rounding, and for the
/// 3×3 layers of a DeepLabV3+ head more than twice as fast on CPUs without AVX-512, for which oneDNN has no kernel; with
/// AVX-512 it was not measured.
///
/// # Errors
/// Libtorch's, when the tensors do not fit or memory is out.
pub fn conv2d(x: &Tensor, weight: &Tensor, padding: i64, dilation: i64) -> Result<Tensor, TorchError> {
    let mut y = std::ptr::null_mut();
    // SAFETY: both tensors are alive and the out-pointer is valid.
    let status = unsafe { ffi::ulda_conv2d(ffi::raw(x), ffi::raw(weight), padding, dilation, &mut y) };
    ffi::check("conv2d", status)?;
    // SAFETY: on success the tensor is set and ours.
    Ok(unsafe { ffi::own(y) })
}
