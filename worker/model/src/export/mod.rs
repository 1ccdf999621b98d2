//! Writes a segmentation model for other programs: the authors' scripts, ONNX runtimes, LibTorch.
//!
//! Where a file goes is the caller's business; nothing here runs the model.

mod archive;
mod graph;
pub mod onnx;
mod pth;
mod torchscript;

use crate::segmentation::SegmentationModel;
use crate::weights::{Weights, WeightsError};

pub use onnx::write_onnx;
pub use pth::write_pth;
pub use torchscript::write_torchscript;

/// A model cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ModelExportError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the model has {bytes} bytes, and an ONNX file less than 2 GiB")]
    TooLarge { bytes: usize },
    #[error("write the exported model")]
    Write(#[from] std::io::Error),
}

/// Refuses weights that are no whole segmentation model.
fn check(weights: &Weights) -> Result<(), WeightsError> {
    SegmentationModel::load(weights).map(drop)
}
