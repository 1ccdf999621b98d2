//! What NVIDIA's driver says of itself and its GPUs, asked without libtorch: why there is no GPU is a question that
//! libtorch answers in one word.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::fmt;

use libloading::os::unix::{Library, Symbol};

/// The driver's library, which every driver installs.
pub const LIBRARY: &str = "libcuda.so.1";
/// The CUDA version that libtorch 2.11.0 is built for, and the first driver that has it.
pub const NEEDED: (CudaVersion, &str) = (CudaVersion(13_000), "580");

/// CUDA's version as the driver counts it: 1000 · major + 10 · minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion(pub u32);

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

/// One GPU that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    /// Hexadecimal; the same GPU has the same one in every process and container.
    pub uuid: String,
}

/// What there is of a driver on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CudaDriver {
    /// No driver: its library is not on this host.
    Missing,
    /// Its library is there and does not start.
    Refuses { version: CudaVersion, code: i32 },
    /// In order.
    Ready { version: CudaVersion, gpus: Vec<Gpu> },
}

/// Why this process has no GPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    #[error("this host has no NVIDIA driver ({LIBRARY} is not found)")]
    NoDriver,
    #[error("the NVIDIA driver of this host knows CUDA up to {found}, and libtorch needs {wanted}", wanted = NEEDED.0)]
    OldDriver { found: CudaVersion },
    #[error("the NVIDIA driver does not start: CUDA error {code}{meaning}", meaning = meaning(*code))]
    Refuses { code: i32 },
    #[error("the NVIDIA driver shows this process no GPU")]
    NoneVisible,
    #[error("this host has {gpus} GPU(s), but libtorch_cuda.so is not found")]
    NoLibrary { gpus: usize },
    #[error("libtorch found no use for the {gpus} GPU(s) that the driver shows")]
    Unusable { gpus: usize },
}

impl NoGpu {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoDriver => format!(
                "install driver {needed} or later, and start a container with its GPUs (docker run --gpus \
                 all, or a GPU in the pod's limits)",
                needed = NEEDED.1
            ),
            Self::OldDriver { .. } => format!(
                "install driver {driver} or later (nvidia-smi shows which it is)",
                driver = NEEDED.1
            ),
            Self::Refuses { .. } => "nvidia-smi shows what is wrong with it".into(),
            Self::NoneVisible => "look at CUDA_VISIBLE_DEVICES, and at the container's GPUs".into(),
            Self::NoLibrary { .. } => {
                "set LD_LIBRARY_PATH to torch/lib of torch 2.11.0 with CUDA (deploy/libtorch/fetch cuda)"
                    .into()
            }
            Self::Unusable { .. } => {
                "libtorch_cuda.so and its libraries (nvidia/*/lib beside torch) must be of one installation"
                    .into()
            }
        })
    }
}

fn meaning(code: i32) -> &'static str {
    match code {
        3 => " (not initialised)",
        46 => " (a GPU is in use by another process alone)",
        100 => " (no GPU)",
        802 => " (the fabric of the GPUs is not ready yet: nvidia-fabricmanager)",
        803 => " (its library and its kernel module are of different versions)",
        804 => " (this GPU does not go with forward compatibility)",
        999 => " (unknown; often a driver that was updated under running programs)",
        _ => "",
    }
}

/// Asks the driver of this host.
#[must_use]
pub fn inspect() -> CudaDriver {
    inspect_library(LIBRARY)
}

/// Asks the driver whose library is `library`.
pub fn inspect_library(library: impl AsRef<OsStr>) -> CudaDriver {
    // SAFETY: loading the driver's library runs its initialisers, which libtorch would run too.
    let Ok(library) = (unsafe { Library::new(library.as_ref()) }) else {
        return CudaDriver::Missing;
    };
    // SAFETY: the names and types are those of cuda.h.
    let asked = unsafe { ask(&library) };
    // Others in this process may use it.
    std::mem::forget(library);
    asked.unwrap_or(CudaDriver::Missing)
}

/// # Safety
/// `library` is a CUDA driver.
unsafe fn ask(library: &Library) -> Option<CudaDriver> {
    // SAFETY: as the caller promises.
    unsafe {
        let version_of: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            library.get(b"cuDriverGetVersion\0").ok()?;
        let init: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = library.get(b"cuInit\0").ok()?;
        let count_of: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            library.get(b"cuDeviceGetCount\0").ok()?;
        let device_of: Symbol<unsafe extern "C" fn(*mut c_int, c_int) -> c_int> =
            library.get(b"cuDeviceGet\0").ok()?;
        let name_of: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
            library.get(b"cuDeviceGetName\0").ok()?;
        let uuid_of: Symbol<unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int> =
            library.get(b"cuDeviceGetUuid\0").ok()?;

        let mut number = 0;
        let _ = version_of(&mut number);
        let version = CudaVersion(number.max(0).unsigned_abs());
        // "No GPU" is an answer, not a refusal.
        let no_gpu = 100;
        match init(0) {
            0 => {}
            code if code == no_gpu => {
                let gpus = Vec::new();
                return Some(CudaDriver::Ready { version, gpus });
            }
            code => return Some(CudaDriver::Refuses { version, code }),
        }
        let mut count = 0;
        let code = count_of(&mut count);
        if code != 0 {
            return Some(CudaDriver::Refuses { version, code });
        }
        let mut gpus = Vec::new();
        for index in 0..count {
            let (mut device, mut name, mut uuid) = (0, [0; 128], [0; 16]);
            let code = [
                device_of(&mut device, index),
                name_of(name.as_mut_ptr(), 127, device),
                uuid_of(&mut uuid, device),
            ];
            if let Some(code) = code.into_iter().find(|code| *code != 0) {
                return Some(CudaDriver::Refuses { version, code });
            }
            gpus.push(Gpu {
                name: CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(),
                uuid: uuid.map(|byte| format!("{byte:02x}")).concat(),
            });
        }
        Some(CudaDriver::Ready { version, gpus })
    }
}

impl CudaDriver {
    /// The GPUs that libtorch can use; `libtorch` says whether `libtorch_cuda.so` was loaded, and how many GPUs it
    /// sees itself.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gpus(&self, libtorch: Option<usize>) -> Result<&[Gpu], NoGpu> {
        let (version, gpus) = match self {
            Self::Missing => return Err(NoGpu::NoDriver),
            Self::Refuses { version, .. } | Self::Ready { version, .. } if *version < NEEDED.0 => {
                return Err(NoGpu::OldDriver { found: *version });
            }
            Self::Refuses { code, .. } => return Err(NoGpu::Refuses { code: *code }),
            Self::Ready { version, gpus } => (version, gpus),
        };
        debug_assert!(*version >= NEEDED.0);
        match libtorch {
            _ if gpus.is_empty() => Err(NoGpu::NoneVisible),
            None => Err(NoGpu::NoLibrary { gpus: gpus.len() }),
            Some(0) => Err(NoGpu::Unusable { gpus: gpus.len() }),
            Some(seen) => Ok(&gpus[..seen.min(gpus.len())]),
        }
    }
}
