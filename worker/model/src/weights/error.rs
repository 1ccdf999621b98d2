//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use tch::Kind;
use ulda_torch::TorchError;

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
        "`{}` is not a checkpoint: neither a TorchScript archive, nor safetensors, nor a zipped PyTorch pickle; \
         hint: is it a complete download?", .path.display()
    )]
    NotACheckpoint { path: PathBuf },
    #[error("checkpoint `{}` is cut short: {what}; hint: copy or download it again", .path.display())]
    Truncated { path: PathBuf, what: &'static str },
    #[error("checkpoint `{}` is damaged in its entry `{entry}`; hint: copy or download it again", .path.display())]
    Damaged {
        path: PathBuf,
        entry: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "checkpoint `{}` is a pickle in PyTorch's old format (before 1.6), which is not read; \
         hint: load it in Python and `torch.save` it again", .path.display()
    )]
    LegacyPickle { path: PathBuf },
    #[error("read checkpoint `{}` as a TorchScript archive", .path.display())]
    Archive {
        path: PathBuf,
        #[source]
        source: TorchError,
    },
    #[error("read checkpoint `{}` as safetensors", .path.display())]
    Safetensors {
        path: PathBuf,
        #[source]
        source: tch::TchError,
    },
    #[error("read checkpoint `{}` as a PyTorch pickle", .path.display())]
    Pickle {
        path: PathBuf,
        #[source]
        source: candle_core::Error,
    },
    #[error("checkpoint `{}`: tensor `{tensor}` has kind {found:?}, expected floats or integers", .path.display())]
    Kind {
        path: PathBuf,
        tensor: String,
        found: Kind,
    },
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
    #[error(
        "checkpoint `{}` has no ResNet image tower: it has {found}; hint: the method needs CLIP's RN50 or another \
         of its ModifiedResNets", .path.display()
    )]
    NoResNet { path: PathBuf, found: &'static str },
    #[error("checkpoint `{}`: {field} is {found}, expected {expected}", .path.display())]
    Size {
        path: PathBuf,
        field: &'static str,
        found: i64,
        expected: String,
    },
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

fn and_others(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" ({count} other tensor(s) do not fit either)")
    }
}
