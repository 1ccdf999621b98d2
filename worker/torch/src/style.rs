//! The restyled feature of the method's stages 1 and 2, and the gradient of a style.

use std::ptr::null_mut;

use tch::Tensor;

use crate::{TorchError, ffi};

/// ReLU(`std` · `normalised` + `mean`), [N, C, H, W] for styles [N, C, 1, 1] and B images [B, C, H, W]: style n takes
/// image n mod B. The product is rounded before the sum, as in the published code, so that a pixel of value 0 which was
/// normalised with the same mean and deviation comes back as 0. Outside autograd.
///
/// # Errors
/// When N is no multiple of B, the channels differ, or libtorch is out of memory.
pub fn restyle(normalised: &Tensor, mean: &Tensor, std: &Tensor) -> Result<Tensor, TorchError> {
    let mut styled = null_mut();
    // SAFETY: the tensors are alive and the out-pointer is valid.
    let status =
        unsafe { ffi::ulda_restyle(ffi::raw(normalised), ffi::raw(mean), ffi::raw(std), &mut styled) };
    ffi::check("restyle", status)?;
    // SAFETY: on success the tensor is set and ours.
    Ok(unsafe { ffi::own(styled) })
}

/// Gradients of mean and std, [N, C, 1, 1] each, from that of the `styled` feature [N, C, H, W] which [`restyle`] made
/// of `normalised` [B, C, H, W]. A pixel that the ReLU left at 0 passes nothing. The sums do not depend on the number of
/// threads.
///
/// # Errors
/// When the shapes do not fit or libtorch is out of memory.
pub fn style_gradient(
    normalised: &Tensor,
    styled: &Tensor,
    gradient: &Tensor,
) -> Result<(Tensor, Tensor), TorchError> {
    let (mut mean, mut std) = (null_mut(), null_mut());
    let (normalised, styled, gradient) = (ffi::raw(normalised), ffi::raw(styled), ffi::raw(gradient));
    // SAFETY: the tensors are alive and both out-pointers are valid.
    let status = unsafe { ffi::ulda_style_gradient(normalised, styled, gradient, &mut mean, &mut std) };
    ffi::check("style gradient", status)?;
    // SAFETY: on success both tensors are set and ours.
    Ok(unsafe { (ffi::own(mean), ffi::own(std)) })
}
