//! Switches of the process and of the calling thread.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

use tch::{Device, Kind, Tensor};

use crate::{TorchError, ffi};

/// Algorithms with repeatable results wherever libtorch has one, on or off, for the whole process; where it has none
/// it warns once and goes on. On CUDA, cuBLAS also wants `CUBLAS_WORKSPACE_CONFIG=:4096:8` in the environment before
/// its first use.
pub fn set_deterministic(on: bool) -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("set_deterministic", unsafe {
        ffi::ulda_set_deterministic(on.into())
    })
}

/// Settles the calling thread for training: backward passes run on it, not on libtorch's one thread per GPU, where
/// shards that wait for each other in the middle of a backward pass would queue; and each of libtorch's warnings is
/// said once.
///
/// # Errors
/// libtorch refuses.
pub fn settle_thread() -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("settle_thread", unsafe { ffi::ulda_settle_thread() })
}

/// TF32 in CUDA's convolutions and matrix products, on or off, for the whole process; [`ExactProducts`] excepts some.
pub fn set_tf32(on: bool) -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("set_tf32", unsafe { ffi::ulda_set_tf32(on.into()) })
}

/// Threads that kernels started by the *calling thread* use from now on. It is also what threads that
/// have run no kernel yet will start with; to be sure, each thread calls it for itself. Kernels cut
/// sums by this number, so it is part of a run's definition.
pub fn set_threads(count: u16) -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("set_threads", unsafe { ffi::ulda_set_threads(count.into()) })
}

/// Threads that kernels started by the calling thread use.
pub fn threads() -> Result<u16, TorchError> {
    let mut count = 0;
    // SAFETY: the out-pointer is valid.
    ffi::check("threads", unsafe { ffi::ulda_threads(&mut count) })?;
    Ok(count as u16)
}

/// Lets the allocator keep the memory of freed tensors for the next ones, from now on and for the whole process.
/// Otherwise each large tensor is mapped and unmapped at every use, and the kernel clears its pages each time.
/// One arena serves all threads, so that they share what was freed. Nothing changes where the C library is not
/// glibc.
///
/// # Errors
/// The C library refused.
pub fn keep_freed_memory() -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("keep_freed_memory", unsafe { ffi::ulda_keep_freed_memory() })
}

/// `x` [N, C, H, W] with channels innermost in memory; differentiable; `x` itself when it is so already.
pub fn channels_last(x: &Tensor) -> Result<Tensor, TorchError> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `x` is alive and the out-pointer is valid.
    ffi::check("channels_last", unsafe {
        ffi::ulda_channels_last(ffi::raw(x), &mut out)
    })?;
    // SAFETY: on success the tensor is set and ours.
    Ok(unsafe { ffi::own(out) })
}

/// Autocast on the calling thread until dropped. Guards nest and are dropped in reverse order.
pub struct Autocast {
    cuda: c_int,
    was_enabled: c_int,
    was_kind: c_int,
    thread_bound: PhantomData<*const ()>,
}

impl Autocast {
    /// Lets matrix products and convolutions on `device` run in `kind` (`Half` or `BFloat16`).
    ///
    /// # Errors
    /// Another kind, which autocast does not know.
    pub fn enter(device: Device, kind: Kind) -> Result<Self, TorchError> {
        let scalar_type = match kind {
            Kind::Half => 5,
            Kind::BFloat16 => 15,
            other => {
                return Err(TorchError {
                    call: "autocast",
                    message: format!("kind {other:?} is neither Half nor BFloat16"),
                });
            }
        };
        let cuda = matches!(device, Device::Cuda(_)).into();
        let (mut was_enabled, mut was_kind) = (0, 0);
        // SAFETY: the out-pointers are valid.
        let status = unsafe { ffi::ulda_autocast_enter(cuda, scalar_type, &mut was_enabled, &mut was_kind) };
        ffi::check("autocast", status)?;
        Ok(Self {
            cuda,
            was_enabled,
            was_kind,
            thread_bound: PhantomData,
        })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: plain call with the values that `enter` saved on this thread; it only restores them.
        let _ = unsafe { ffi::ulda_autocast_leave(self.cuda, self.was_enabled, self.was_kind) };
    }
}

/// No autograd and no version counting on the calling thread until dropped: cheaper than `no_grad`, and
/// tensors made meanwhile can never take part in autograd.
pub struct InferenceMode {
    guard: *mut c_void,
}

impl InferenceMode {
    pub fn enter() -> Result<Self, TorchError> {
        let mut guard = std::ptr::null_mut();
        // SAFETY: the out-pointer is valid.
        ffi::check("inference_mode", unsafe { ffi::ulda_inference_enter(&mut guard) })?;
        Ok(Self { guard })
    }
}

impl Drop for InferenceMode {
    fn drop(&mut self) {
        // SAFETY: made by `enter` on this thread (the pointer keeps the guard from being sent), freed once.
        unsafe { ffi::ulda_inference_leave(self.guard) };
    }
}

/// No TF32 on the calling thread until dropped, whatever [`set_tf32`] says: for differences of nearly equal numbers. It
/// holds for what this thread computes meanwhile, a backward pass included. Guards nest.
pub struct ExactProducts {
    guard: *mut c_void,
}

impl ExactProducts {
    pub fn enter() -> Result<Self, TorchError> {
        let mut guard = std::ptr::null_mut();
        // SAFETY: the out-pointer is valid.
        ffi::check("exact products", unsafe {
            ffi::ulda_exact_products_enter(&mut guard)
        })?;
        Ok(Self { guard })
    }
}

impl Drop for ExactProducts {
    fn drop(&mut self) {
        // SAFETY: made by `enter` on this thread (the pointer keeps the guard from being sent), freed once.
        unsafe { ffi::ulda_exact_products_leave(self.guard) };
    }
}
