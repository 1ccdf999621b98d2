//! Where and how precisely a step is computed.

use clap::{Args, ValueEnum};
use tch::{Device, Kind};
use ulda_torch::{runtime, stream};

use crate::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    Cpu,
    /// The first GPU.
    Cuda,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    Fp32,
    /// Convolutions of a GPU in TF32.
    Tf32,
    /// Convolutions and matrix products of the networks in bfloat16.
    Bf16,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Setting {
    #[arg(long, value_enum, default_value_t = On::Cpu)]
    pub device: On,
    #[arg(long, value_enum, default_value_t = Precision::Fp32)]
    pub precision: Precision,
}

impl Setting {
    /// Sets libtorch's switches, as the worker does.
    ///
    /// # Errors
    /// There is no GPU, and one is asked for.
    pub fn prepare(&self) -> Result<(), Failure> {
        runtime::settle_thread()?;
        if self.device == On::Cuda {
            if !tch::Cuda::is_available() {
                return Err("--device cuda, and libtorch finds no GPU".into());
            }
            stream::use_gpu(0)?;
            runtime::set_tf32(self.precision != Precision::Fp32)?;
            runtime::set_deterministic(true)?;
        }
        Ok(())
    }

    pub fn device(&self) -> Device {
        match self.device {
            On::Cpu => Device::Cpu,
            On::Cuda => Device::Cuda(0),
        }
    }

    /// What the networks work in, if not in float32.
    pub fn reduced(&self) -> Option<Kind> {
        (self.precision == Precision::Bf16).then_some(Kind::BFloat16)
    }

    /// Waits until the device has done all it was asked for.
    ///
    /// # Errors
    /// Earlier work of the device failed.
    pub fn finish(&self) -> Result<(), Failure> {
        match self.device {
            On::Cpu => Ok(()),
            On::Cuda => Ok(stream::synchronise(0)?),
        }
    }

    /// Most memory that tensors took on the GPU, where it is one.
    pub fn peak_device_bytes(&self) -> Option<u64> {
        match self.device {
            On::Cpu => None,
            On::Cuda => ulda_torch::cuda::memory(0)
                .ok()
                .map(|memory| memory.allocated_peak_bytes),
        }
    }
}
