//! What libtorch offers and tch does not: BatchNorm synchronised over shards, dropout with a seed of
//! its own, hooks after a gradient is accumulated, the optimiser as one kernel, a convolution with a fast weight gradient
//! on CPUs and one with ReLU in one call on GPUs, the restyled feature in one pass, streams and events, and the switches for determinism, precision and threads. Beside it, what NVIDIA's driver
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

pub use convolution::{ConvStep, conv2d, conv2d_relu};
pub use error::TorchError;
pub use grad::{dropout, dropout_parts, gather_gradients, set_grad};
pub use host::{Staging, host_values, host_values_mut, upload};
pub use optim::{RunningStatistic, Update, fused_sgd, move_running};
pub use style::{restyle, style_gradient};
pub use sync::{BatchStats, NormInput, Normalised, Pass, ShardSync, Solo, sync_batch_norm, sync_batch_norms};
