//! Tensors in host memory as slices, without a copy.

use std::any::type_name;

use tch::kind::Element;
use tch::{Device, Tensor};

use crate::TorchError;

/// The values of a contiguous tensor in host memory.
///
/// # Safety
/// For as long as the slice lives, nothing writes the tensor's memory, which its clones and views share.
///
/// # Errors
/// The tensor is elsewhere, not contiguous or of another kind.
pub unsafe fn host_values<T: Element>(tensor: &Tensor) -> Result<&[T], TorchError> {
    check::<T>(tensor)?;
    match tensor.numel() {
        0 => Ok(&[]),
        // SAFETY: `check` saw that many contiguous values of the kind in host memory; the slice
        // borrows the tensor. That nobody writes it is the caller's promise.
        length => Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), length) }),
    }
}

/// As [`host_values`], to be written to.
///
/// # Safety
/// For as long as the slice lives, nothing else reads or writes the tensor's memory, which its clones and views share.
///
/// # Errors
/// As [`host_values`].
pub unsafe fn host_values_mut<T: Element>(tensor: &mut Tensor) -> Result<&mut [T], TorchError> {
    check::<T>(tensor)?;
    match tensor.numel() {
        0 => Ok(&mut []),
        // SAFETY: as in `host_values`; that nobody else is there is the caller's promise.
        length => Ok(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), length) }),
    }
}

fn check<T: Element>(tensor: &Tensor) -> Result<(), TorchError> {
    if tensor.device() == Device::Cpu && tensor.is_contiguous() && tensor.kind() == T::KIND {
        return Ok(());
    }
    Err(TorchError {
        call: "host_values",
        message: format!(
            "expected contiguous {} in host memory, got {:?} on {:?} with strides {:?}",
            type_name::<T>(),
            tensor.kind(),
            tensor.device(),
            tensor.stride()
        ),
    })
}
