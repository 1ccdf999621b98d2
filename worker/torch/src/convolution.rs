//! Convolutions: one with a weight gradient that is fast on CPUs, and the one of frozen networks on GPUs.

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

/// How a convolution moves over its input, the same on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvStep {
    pub stride: i64,
    /// Zeros on each side.
    pub padding: i64,
    pub dilation: i64,
}

/// ReLU(convolution of `x` [N, C, H, W] with `weight` [O, C, h, w] + `bias` `[O]` + `residual`), of the convolution's size,
/// as the residual is. Gradients flow to `x` and the residual only. On a GPU the forward pass is one call of cuDNN, where
/// cuDNN has it: products and sums are those of the separate operations up to rounding.
///
/// # Errors
/// Libtorch's, when the tensors do not fit or memory is out, or weight or bias require a gradient.
pub fn conv2d_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    step: ConvStep,
) -> Result<Tensor, TorchError> {
    let mut y = std::ptr::null_mut();
    let residual = residual.map_or(std::ptr::null_mut(), ffi::raw);
    let ConvStep {
        stride,
        padding,
        dilation,
    } = step;
    // SAFETY: the tensors are alive, null is none, and the out-pointer is valid.
    let status = unsafe {
        ffi::ulda_conv2d_relu(
            ffi::raw(x),
            ffi::raw(weight),
            ffi::raw(bias),
            residual,
            stride,
            padding,
            dilation,
            &mut y,
        )
    };
    ffi::check("conv2d_relu", status)?;
    // SAFETY: on success the tensor is set and ours.
    Ok(unsafe { ffi::own(y) })
}
