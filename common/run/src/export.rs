//! What a run's results can be exported to.

use crate::variant_names;

/// A format that other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A model as a checkpoint of the authors' scripts.
    Pth,
    /// A style bank as the files of the authors' stage 1.
    PickleStyles,
    /// A model for ONNX runtimes.
    Onnx,
    /// A model for LibTorch and `torch.jit.load`.
    TorchScript,
}

// As `--format` of coordinator and worker writes them.
variant_names!(ExportFormat parsed as "a format" {
    Pth = "pth",
    PickleStyles = "pickle-styles",
    Onnx = "onnx",
    TorchScript = "torchscript",
});
