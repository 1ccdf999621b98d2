//! Tensors in host memory: as slices without a copy, and on their way to a device.

use std::any::type_name;

use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};

use crate::{TorchError, ffi};

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

/// Parts of equal length that are gathered in host memory, one copy each, and go to a device together: [`upload`] without
/// the copies on the way. For a GPU the memory is pinned, and used again once what was copied from it is there.
#[derive(Debug)]
pub struct Staging {
    host: Tensor,
    device: Device,
}

impl Staging {
    /// Bytes [`parts`.len(), `size`…] for `device`; each part in order.
    ///
    /// # Errors
    /// A part has another length, or memory is out.
    pub fn of_bytes<'a>(
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
        size: &[i64],
        device: Device,
    ) -> Result<Self, TorchError> {
        let each = size.iter().product::<i64>() as usize;
        let size: Vec<i64> = [&[parts.len() as i64], size].concat();
        let mut host = host_bytes(&size, device)?;
        // SAFETY: nobody else has the tensor.
        let mut rest = unsafe { host_values_mut::<u8>(&mut host) }?;
        for (number, part) in parts.enumerate() {
            if part.len() != each {
                return Err(TorchError {
                    call: "staging",
                    message: format!("part {number} has {} bytes, expected {each}", part.len()),
                });
            }
            let (place, others) = rest.split_at_mut(each);
            place.copy_from_slice(part);
            rest = others;
        }
        Ok(Self { host, device })
    }

    /// The bytes on the device, behind the work of the current stream; the caller does not wait.
    ///
    /// # Errors
    /// When memory is out.
    pub fn send(self) -> Result<Tensor, TchError> {
        match self.device {
            Device::Cuda(_) => self.host.f_to_device_(self.device, Kind::Uint8, true, false),
            _ => Ok(self.host),
        }
    }
}

fn host_bytes(size: &[i64], device: Device) -> Result<Tensor, TorchError> {
    let pinned = matches!(device, Device::Cuda(_));
    let mut tensor = std::ptr::null_mut();
    // SAFETY: `size` has as many numbers as is said, and the out-pointer is valid.
    let status = unsafe { ffi::ulda_host_bytes(size.as_ptr(), size.len(), pinned.into(), &mut tensor) };
    ffi::check("staging", status)?;
    // SAFETY: on success the tensor is set and ours.
    Ok(unsafe { ffi::own(tensor) })
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
