//! Which device this worker computes on.

use tch::Device;
use ulda_run::spec::{DeviceChoice, Precision};
use ulda_torch::driver::{self, CudaDriver, Gpu, NoGpu};
use ulda_torch::{TorchError, runtime, stream};

/// What this process found when it started.
#[derive(Clone, Debug)]
pub struct DeviceSurvey {
    driver: CudaDriver,
    /// GPUs that libtorch sees; none where `libtorch_cuda.so` was not found.
    libtorch: Option<usize>,
}

/// A device and its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub device: Device,
    /// The GPU, where it is one.
    pub gpu: Option<Gpu>,
}

/// A GPU is wanted and there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compute.device is cuda, but {0}")]
pub struct DeviceRefusal(pub NoGpu);

impl DeviceRefusal {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = self.0.hint()?;
        Some(format!("{hint}; or leave compute.device out to train on the CPU"))
    }
}

impl DeviceSurvey {
    /// Looks at this host; `cuda` is whether `libtorch_cuda.so` was loaded.
    #[must_use]
    pub fn of_this_host(cuda: bool) -> Self {
        let driver = driver::inspect();
        // Where the driver cannot serve it, libtorch would only say "no" with a stack trace.
        let usable = driver.gpus(Some(usize::MAX)).is_ok();
        let seen = || match usable && tch::Cuda::is_available() {
            true => usize::try_from(tch::Cuda::device_count()).unwrap_or(0),
            false => 0,
        };
        Self {
            driver,
            libtorch: cuda.then(seen),
        }
    }

    /// As far as `choice` needs it: for the CPU, no driver is asked.
    #[must_use]
    pub fn for_choice(choice: DeviceChoice, cuda: bool) -> Self {
        match choice {
            DeviceChoice::Auto | DeviceChoice::Cuda => Self::of_this_host(cuda),
            DeviceChoice::Cpu => Self {
                driver: CudaDriver::Missing,
                libtorch: None,
            },
        }
    }

    /// GPUs that can be used, or why there are none.
    ///
    /// # Errors
    /// There are none.
    pub fn gpus(&self) -> Result<&[Gpu], NoGpu> {
        self.driver.gpus(self.libtorch)
    }

    /// The device of the worker in `slot`. Workers of one host are in consecutive slots, so they get one GPU each
    /// while there are enough.
    ///
    /// # Errors
    /// `choice` is a GPU, and there is none.
    pub fn choose(&self, choice: DeviceChoice, slot: u32) -> Result<Chosen, DeviceRefusal> {
        let cpu = Chosen {
            device: Device::Cpu,
            gpu: None,
        };
        match (choice, self.gpus()) {
            (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, Err(_)) => Ok(cpu),
            (DeviceChoice::Cuda, Err(why)) => Err(DeviceRefusal(why)),
            (DeviceChoice::Auto | DeviceChoice::Cuda, Ok(gpus)) => {
                let index = slot as usize % gpus.len();
                Ok(Chosen {
                    device: Device::Cuda(index),
                    gpu: Some(gpus[index].clone()),
                })
            }
        }
    }

    /// What somebody should look at although training goes on without: a GPU that is there and cannot be used.
    #[must_use]
    pub fn wasted(&self) -> Option<NoGpu> {
        match self.gpus() {
            Err(
                why @ (NoGpu::OldDriver { .. }
                | NoGpu::Refuses { .. }
                | NoGpu::NoLibrary { .. }
                | NoGpu::Unusable { .. }),
            ) => Some(why),
            Ok(_) | Err(NoGpu::NoDriver | NoGpu::NoneVisible) => None,
        }
    }
}

impl Chosen {
    /// Sets libtorch's switches for a run on this device.
    ///
    /// # Errors
    /// libtorch refuses one.
    pub fn prepare(&self, precision: Precision) -> Result<(), TorchError> {
        if let Some(index) = self.index() {
            stream::use_gpu(index)?;
            runtime::set_tf32(precision != Precision::Fp32)?;
            runtime::set_deterministic(true)?;
        }
        Ok(())
    }

    /// Settles the calling thread for training on this device.
    ///
    /// # Errors
    /// libtorch refuses.
    pub fn settle_thread(&self) -> Result<(), TorchError> {
        runtime::settle_thread()?;
        self.index().map_or(Ok(()), stream::use_gpu)
    }

    /// `cpu` or `cuda:0`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.device {
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        }
    }

    /// Number of the GPU, where it is one.
    #[must_use]
    pub fn index(&self) -> Option<u8> {
        match self.device {
            Device::Cuda(index) => u8::try_from(index).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_torch::driver::CudaVersion;

    fn host(gpus: usize, libtorch: Option<usize>) -> DeviceSurvey {
        let gpus = (0..gpus).map(|number| Gpu {
            name: "NVIDIA H100".into(),
            uuid: format!("{number:032x}"),
        });
        DeviceSurvey {
            driver: CudaDriver::Ready {
                version: CudaVersion(13_000),
                gpus: gpus.collect(),
            },
            libtorch,
        }
    }

    #[test]
    fn slots_get_a_gpu_each_and_share_where_there_are_too_few() {
        let devices: Vec<String> = (0..4)
            .map(|slot| host(3, Some(3)).choose(DeviceChoice::Auto, slot).unwrap().name())
            .collect();
        assert_eq!(devices, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]);
        assert_eq!(
            host(3, Some(3)).choose(DeviceChoice::Cpu, 0).unwrap().name(),
            "cpu"
        );
    }

    #[test]
    fn without_a_gpu_auto_trains_on_the_cpu_and_cuda_refuses_with_the_reason() {
        let none = DeviceSurvey {
            driver: CudaDriver::Missing,
            libtorch: Some(0),
        };
        assert_eq!(none.choose(DeviceChoice::Auto, 0).unwrap().device, Device::Cpu);
        assert_eq!(none.wasted(), None);
        let told = none.choose(DeviceChoice::Cuda, 0).unwrap_err().to_string();
        assert!(
            told.starts_with("compute.device is cuda, but this host has no NVIDIA driver"),
            "{told}"
        );
    }

    #[test]
    fn a_gpu_that_lies_idle_is_told() {
        assert_eq!(host(2, None).wasted(), Some(NoGpu::NoLibrary { gpus: 2 }));
        assert_eq!(host(2, Some(2)).wasted(), None);
        assert_eq!(host(0, None).wasted(), None);
    }
}
