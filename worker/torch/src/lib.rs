//! What libtorch offers and tch does not: BatchNorm synchronised over shards, dropout with a seed of
//! its own, hooks after a gradient is accumulated, the optimiser as one kernel, a convolution with a fast weight gradient
//! on CPUs, the restyled feature in one pass, streams and events, and the switches for determinism, precision and threads. Beside it, what NVIDIA's driver
//! says of itself ([`driver`]).
//!
//! A small C++ shim (`cpp/`) does the work. Every entry point catches C++ exceptions and gives them as
//! [`TorchError`]; a panic in a Rust callback becomes an error of the call that ran it. No file or
//! socket is touched.
//!
//! [`cuda::load`] comes first in `main`: libtorch decides once per process whether CUDA exists.

mod convolution;
pub mod cuda;
pub mod driver;
mod error;
mod ffi;
pub mod grad;
mod host;
mod optim;
pub mod runtime;
pub mod stream;
mod style;
mod sync;

pub use convolution::conv2d;
pub use error::TorchError;
pub use grad::{dropout, dropout_parts, set_grad};
pub use host::{host_values, host_values_mut, upload};
pub use optim::{Update, fused_sgd};
pub use style::{restyle, style_gradient};
pub use sync::{BatchStats, NormInput, Normalised, Pass, ShardSync, Solo, sync_batch_norm, sync_batch_norms};
