//! CUDA at run time: the binary links only libtorch's CPU part and finds the rest when it starts.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::{TorchError, ffi};

/// Loads `libtorch_cuda.so` if it can be found (rpath or `LD_LIBRARY_PATH`); says whether it was.
///
/// Must be the first thing `main` does: whatever touches libtorch's CUDA hooks earlier switches CUDA
/// off for the life of the process. Takes up to a second and some 230 MB when the library is there.
pub fn load() -> bool {
    // SAFETY: the library's initialisers only register kernels with libtorch, once per process.
    match unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            // Registered kernels must never be unmapped.
            std::mem::forget(library);
            true
        }
        Err(_) => false,
    }
}

/// Memory of one GPU: libtorch's allocator in this process, and the device as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    pub allocated_bytes: u64,
    pub allocated_peak_bytes: u64,
    pub reserved_bytes: u64,
    pub reserved_peak_bytes: u64,
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Times the allocator had to give up.
    pub out_of_memory_count: u64,
}

/// Memory figures of GPU `index`.
///
/// # Errors
/// No CUDA in this process, or no such device.
pub fn memory(index: u8) -> Result<DeviceMemory, TorchError> {
    let mut figures = [0_i64; 7];
    // SAFETY: the shim writes exactly seven figures.
    ffi::check("cuda memory", unsafe {
        ffi::ulda_cuda_memory(index.into(), figures.as_mut_ptr())
    })?;
    let [
        allocated,
        allocated_peak,
        reserved,
        reserved_peak,
        free,
        total,
        ooms,
    ] = figures.map(|v| v.max(0) as u64);
    Ok(DeviceMemory {
        allocated_bytes: allocated,
        allocated_peak_bytes: allocated_peak,
        reserved_bytes: reserved,
        reserved_peak_bytes: reserved_peak,
        free_bytes: free,
        total_bytes: total,
        out_of_memory_count: ooms,
    })
}
