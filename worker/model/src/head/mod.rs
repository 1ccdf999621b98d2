//! The DeepLabV3+ head, the part that is trained.

mod forward;
mod layer;
mod state;
mod upsampled;

pub use forward::{HeadStats, TrainMode};
pub(crate) use layer::{ASPP_PROJECT, ConvNorm, HIDDEN, LOW, PLACES, POOLED};
pub(crate) use state::LAST;
pub use state::{Head, HeadConfig};

/// Momentum of the running statistics, PyTorch's default.
pub const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// PyTorch's BatchNorm epsilon.
pub const BATCH_NORM_EPS: f64 = 1e-5;
