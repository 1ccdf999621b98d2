//! What a run's results can be exported to.

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

impl ExportFormat {
    const ALL: [Self; 4] = [Self::Pth, Self::PickleStyles, Self::Onnx, Self::TorchScript];

    /// As `--format` of coordinator and worker writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pth => "pth",
            Self::PickleStyles => "pickle-styles",
            Self::Onnx => "onnx",
            Self::TorchScript => "torchscript",
        }
    }
}

impl std::str::FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{text}` is not one of {names}")
            })
    }
}
