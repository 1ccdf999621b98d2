//! Tensors in host memory: as slices without a copy, and on their way to a device.

use std::any::type_name;

use tch::kind::Element;
use tch::{Device, TchError, Tensor};

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

/// `tensor`, which is in host memory, on `device`. To a GPU it goes from pinned memory behind the work of the current stream,
/// and the caller does not wait.
///
/// # Errors
/// When memory is out.
pub fn upload(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    match device {
        Device::Cuda(_) => tensor
            .f_pin_memory(device)?
            .f_to_device_(device, tensor.kind(), true, false),
        _ => tensor.f_to_device(device),
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
