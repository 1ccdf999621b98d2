//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use safetensors::SafeTensorError;

use crate::pickle::PickleError;
use crate::weights::source::MOST_BYTES;
use crate::weights::{STATE_KEYS, TensorProblem};

/// The backbones that OpenAI published weights for and that have the features which styles are made for.
const RESNETS: &str = "RN50, RN101, RN50x4, RN50x16 and RN50x64";

/// A checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("read checkpoint `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "`{}` is not a checkpoint: neither a TorchScript archive, nor safetensors, nor a zipped PyTorch pickle",
        .path.display()
    )]
    NotACheckpoint { path: PathBuf },
    #[error("checkpoint `{}` is cut short: {what}", .path.display())]
    Truncated { path: PathBuf, what: &'static str },
    #[error("checkpoint `{}` is damaged in its entry `{entry}`", .path.display())]
    Damaged {
        path: PathBuf,
        entry: String,
        #[source]
        source: std::io::Error,
    },
    #[error("checkpoint `{}` is a pickle in PyTorch's old format (before 1.6), which is not read", .path.display())]
    LegacyPickle { path: PathBuf },
    #[error("read checkpoint `{}` as safetensors", .path.display())]
    Safetensors {
        path: PathBuf,
        #[source]
        source: SafeTensorError,
    },
    #[error("read entry `{entry}` of checkpoint `{}` as a pickle", .path.display())]
    Pickle {
        path: PathBuf,
        entry: String,
        #[source]
        source: PickleError,
    },
    #[error("checkpoint `{}` is {found}, not a file", .path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    #[error("checkpoint `{}` has {bytes} bytes, at most {MOST_BYTES} are read", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error(
        "checkpoint `{}` has a safetensors header of {bytes} bytes, longer than any checkpoint's",
        .path.display()
    )]
    Header { path: PathBuf, bytes: u64 },
    #[error("checkpoint `{}`: its entry `{entry}` {problem}", .path.display())]
    Entry {
        path: PathBuf,
        entry: String,
        problem: EntryProblem,
    },
    #[error("checkpoint `{}`: tensor `{tensor}` {problem}", .path.display())]
    Tensor {
        path: PathBuf,
        tensor: String,
        problem: TensorProblem,
    },
    #[error(
        "checkpoint `{}`: its {module} of class `{class}` is not stored as attributes, but by code of \
         its own, which is never run",
        .path.display()
    )]
    OwnSetState {
        path: PathBuf,
        module: String,
        class: String,
    },
    #[error("checkpoint `{}` has {limit}, more than any checkpoint of the method", .path.display())]
    Limit { path: PathBuf, limit: LimitReached },
    #[error(
        "checkpoint `{}` holds no tensors at its top or under {}{}",
        .path.display(), list(&STATE_KEYS.map(str::to_owned)), but(.keys)
    )]
    NoTensors { path: PathBuf, keys: Vec<String> },
    #[error("checkpoint `{}` {problem}, so its training cannot go on", .path.display())]
    Training { path: PathBuf, problem: TrainingProblem },
    #[error("checkpoint `{}` lacks {} tensor(s): {}", .path.display(), .missing.len(), list(.missing))]
    Missing { path: PathBuf, missing: Vec<String> },
    #[error(
        "checkpoint `{}`: tensor `{tensor}` has shape {found:?}, expected {expected:?}{}", .path.display(), and_others(*.others)
    )]
    Shape {
        path: PathBuf,
        tensor: String,
        found: Vec<i64>,
        expected: Vec<i64>,
        others: usize,
    },
    #[error("checkpoint `{}` has no ResNet image tower: it has neither `visual.*` nor `backbone.*`", .path.display())]
    NoResNet { path: PathBuf },
    #[error("checkpoint `{}` is a vision transformer, and the backbones that work are CLIP's ResNets: {}", .path.display(), RESNETS)]
    VisionTransformer { path: PathBuf },
    #[error("checkpoint `{}`: {field} is {found}, expected {expected}", .path.display())]
    Size {
        path: PathBuf,
        field: &'static str,
        found: i64,
        expected: String,
    },
}

impl WeightsError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotACheckpoint { .. } => "is it a complete download?",
            Self::Truncated { .. } | Self::Damaged { .. } => "copy or download it again",
            Self::LegacyPickle { .. } => "load it in Python and `torch.save` it again",
            Self::NotAFile { .. } => "name the checkpoint's file itself",
            Self::TooLarge { .. } => "keep the model's weights alone in it, without an optimiser's",
            Self::Header { .. } => "name another checkpoint, or download it again",
            Self::Entry { .. } => "load it in Python and `torch.save` its state dict",
            Self::Tensor { .. } => "load it in Python and `torch.save` its state dict, or download it again",
            Self::OwnSetState { .. } => {
                "load it in Python only if you trust it, and `torch.save` its state dict"
            }
            Self::Limit { .. } => "name another checkpoint",
            Self::NoTensors { .. } => "`torch.save` the state dict itself, or under `model_state`",
            Self::Training { .. } => "name a checkpoint that the authors' scripts saved while they trained",
            Self::NoResNet { .. } => "the method needs CLIP's RN50 or another of its ModifiedResNets",
            Self::VisionTransformer { .. } => "name the checkpoint of one of these, such as OpenAI's RN50.pt",
            Self::Read { .. } => "correct the path, or restore the file",
            Self::Safetensors { .. } | Self::Pickle { .. } => "is it cut short? copy or download it again",
            Self::Missing { .. } | Self::Shape { .. } | Self::Size { .. } => {
                "is it a checkpoint of another kind or model? name the right one, or download it again"
            }
        };
        Some(hint.to_owned())
    }
}

/// Why an entry of an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryProblem {
    #[error("is not there")]
    Missing,
    #[error("is there twice")]
    Twice,
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    #[error("is compressed or has two lengths, as PyTorch writes no tensor and no pickle")]
    Compressed,
    #[error("has {bytes} bytes, at most {most_bytes} are read")]
    TooLarge { bytes: u64, most_bytes: u64 },
    #[error("lies outside of the file")]
    OutOfFile,
    #[error("names entries that lie in each other")]
    Overlap,
    #[error("names more than {most} entries")]
    TooMany { most: u64 },
    #[error("says that it has {said} entries and has {found}")]
    Count { said: u64, found: u64 },
    #[error("is malformed: {0}")]
    Malformed(rawzip::Error),
    #[error("does not say `little`, the only order of bytes that is read")]
    ByteOrder,
}

/// Why a training cannot go on from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainingProblem {
    #[error("is of a model alone: it has no `{0}`")]
    Missing(&'static str),
    #[error("has an optimiser without a group of {parameters} parameters, as many as the head has")]
    NoGroup { parameters: usize },
    #[error("has an optimiser without momentum of the head, unlike SGD with momentum")]
    NoMomentum,
    #[error("has momentum of shape {found:?} for `{parameter}`, expected {expected:?}")]
    Shape {
        parameter: String,
        found: Vec<i64>,
        expected: Vec<i64>,
    },
}

/// What a checkpoint has too much of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    #[error("more than {0} tensors")]
    Tensors(usize),
    #[error("modules with more than {0} attributes")]
    Attributes(usize),
    #[error("modules nested more than {0} deep")]
    Nesting(usize),
    #[error("a tensor whose name begins with `{0}` and is longer")]
    Name(String),
}

/// As much of a name in a file as a message shows.
pub fn shortened(name: &str) -> &str {
    name.char_indices().nth(100).map_or(name, |(end, _)| &name[..end])
}

/// At most twelve names.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(SHOWN) {
        Some(rest) if rest > 0 => format!("{} and {rest} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

fn but(keys: &[String]) -> String {
    if keys.is_empty() {
        String::new()
    } else {
        format!(", but {}", list(keys))
    }
}

fn and_others(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" ({count} other tensor(s) do not fit either)")
    }
}
