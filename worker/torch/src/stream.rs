//! Streams and events of a GPU: which work waits for which.
//!
//! Invariant: an [`CudaEvent`] is recorded once, when it is made. All calls fail in a process without CUDA.

use std::ffi::c_void;

use crate::{TorchError, ffi};

/// A queue of one GPU's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaStream {
    gpu: u8,
    id: i64,
}

impl CudaStream {
    /// The one that operations of the calling thread go to; by default CUDA's legacy default stream.
    ///
    /// # Errors
    /// No CUDA in this process, or no such GPU.
    pub fn current(gpu: u8) -> Result<Self, TorchError> {
        let mut id = 0;
        // SAFETY: the out-pointer is valid.
        ffi::check("current stream", unsafe {
            ffi::ulda_stream_current(gpu.into(), &mut id)
        })?;
        Ok(Self { gpu, id })
    }

    /// One of libtorch's pool, of high priority. It waits for no other stream by itself.
    ///
    /// # Errors
    /// No CUDA in this process, or no such GPU.
    pub fn from_pool(gpu: u8) -> Result<Self, TorchError> {
        let mut id = 0;
        // SAFETY: the out-pointer is valid.
        ffi::check("pool stream", unsafe {
            ffi::ulda_stream_pool(gpu.into(), &mut id)
        })?;
        Ok(Self { gpu, id })
    }

    /// CUDA's own handle (`cudaStream_t`); null is the legacy default stream.
    ///
    /// # Errors
    /// No CUDA in this process.
    pub fn native(&self) -> Result<*mut c_void, TorchError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the out-pointer is valid, and gpu and id came from libtorch.
        ffi::check("stream handle", unsafe {
            ffi::ulda_stream_native(self.gpu.into(), self.id, &mut handle)
        })?;
        Ok(handle)
    }

    /// Marks the end of what has been queued so far.
    ///
    /// # Errors
    /// CUDA failed, perhaps in earlier work.
    pub fn record(&self) -> Result<CudaEvent, TorchError> {
        let mut event = std::ptr::null_mut();
        // SAFETY: the out-pointer is valid, and gpu and id came from libtorch.
        ffi::check("record an event", unsafe {
            ffi::ulda_event_record(self.gpu.into(), self.id, &mut event)
        })?;
        Ok(CudaEvent(event))
    }

    /// What is queued from now on waits for `event`; the caller does not.
    ///
    /// # Errors
    /// CUDA failed, perhaps in earlier work.
    pub fn wait_for(&self, event: &CudaEvent) -> Result<(), TorchError> {
        // SAFETY: the event is alive, and gpu and id came from libtorch.
        ffi::check("wait for an event", unsafe {
            ffi::ulda_event_block(event.0, self.gpu.into(), self.id)
        })
    }
}

/// A moment in a stream's work.
pub struct CudaEvent(*mut c_void);

// SAFETY: a c10 event may be used from any thread, by one at a time.
unsafe impl Send for CudaEvent {}

impl CudaEvent {
    /// Whether all work before it is done. Does not wait.
    ///
    /// # Errors
    /// CUDA failed, perhaps in earlier work.
    pub fn passed(&self) -> Result<bool, TorchError> {
        let mut passed = 0;
        // SAFETY: the event is alive and the out-pointer valid.
        ffi::check("ask an event", unsafe {
            ffi::ulda_event_query(self.0, &mut passed)
        })?;
        Ok(passed != 0)
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        // SAFETY: made by `record`, freed once.
        unsafe { ffi::ulda_event_free(self.0) };
    }
}

/// Makes `gpu` the calling thread's own, for libraries that ask CUDA which one is meant.
///
/// # Errors
/// No CUDA in this process, or no such GPU.
pub fn use_gpu(gpu: u8) -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("use a GPU", unsafe { ffi::ulda_device_use(gpu.into()) })
}

/// Waits for all work of `gpu`.
///
/// # Errors
/// No CUDA in this process, or work of any stream failed.
pub fn synchronise(gpu: u8) -> Result<(), TorchError> {
    // SAFETY: plain call.
    ffi::check("synchronise", unsafe { ffi::ulda_device_synchronize(gpu.into()) })
}
