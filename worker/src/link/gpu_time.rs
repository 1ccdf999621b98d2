//! A GPU's time as libtorch keeps it: NCCL's own stream, and events between it and the one that computes.

use std::ffi::c_void;

use tch::{Device, Tensor};
use ulda_nccl::Timeline;
use ulda_torch::TorchError;
use ulda_torch::stream::{CudaEvent, CudaStream, use_gpu};

/// A timeline that knows when a tensor's values are there.
pub trait Clock: Timeline {
    /// A mark after all that the calling thread has queued for `buffer` on its device.
    ///
    /// # Errors
    /// What the device's runtime says.
    fn ready(buffer: &Tensor) -> Result<Self::Mark, String>;
}

/// A stream of its own on one GPU.
pub struct GpuTime {
    gpu: u8,
    stream: CudaStream,
    native: *mut c_void,
}

// SAFETY: the handle is a CUDA stream, which any thread may use.
unsafe impl Send for GpuTime {}

impl GpuTime {
    /// # Errors
    /// No such GPU.
    pub fn new(gpu: u8) -> Result<Self, TorchError> {
        let stream = CudaStream::from_pool(gpu)?;
        let native = stream.native()?;
        Ok(Self { gpu, stream, native })
    }
}

impl Clock for GpuTime {
    fn ready(buffer: &Tensor) -> Result<CudaEvent, String> {
        let Device::Cuda(index) = buffer.device() else {
            return Err(format!("a gradient lies on {:?}, not on a GPU", buffer.device()));
        };
        let recorded = CudaStream::current(index as u8).and_then(|stream| stream.record());
        recorded.map_err(|error| error.to_string())
    }
}

impl Timeline for GpuTime {
    type Mark = CudaEvent;

    fn enter(&mut self) -> Result<(), String> {
        use_gpu(self.gpu).map_err(|error| error.to_string())
    }

    fn stream(&self) -> *mut c_void {
        self.native
    }

    fn after(&mut self, ready: &CudaEvent) -> Result<(), String> {
        self.stream.wait_for(ready).map_err(|error| error.to_string())
    }

    fn mark(&mut self) -> Result<CudaEvent, String> {
        self.stream.record().map_err(|error| error.to_string())
    }

    fn passed(&self, mark: &CudaEvent) -> Result<bool, String> {
        mark.passed().map_err(|error| error.to_string())
    }
}
