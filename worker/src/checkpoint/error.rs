//! Why a checkpoint cannot be written, read or used.

use std::io;
use std::path::{Path, PathBuf};

use ulda_run::hints;

use crate::state::StateError;

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("`{}` {difference}", path.display())]
    OtherRun {
        path: PathBuf,
        difference: CheckpointMismatch,
    },
    #[error("`{}` cannot be read as a run state", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: StateError,
    },
    #[error("state could not be written as safetensors")]
    Encode(#[source] StateError),
    #[error(transparent)]
    Storage(#[from] ulda_storage::StorageError),
    #[error("the storage did not take them within {} s", waited.as_secs())]
    NotBrought { waited: std::time::Duration },
}

hints!(pub CheckpointError {
    Self::NotBrought { .. } => {
        "they lie in the run directory of this worker; mend the storage and continue with \
        `coordinator resume`"
    },
    Self::OtherRun { difference, .. } => difference.hint(),
    Self::Storage(error) => error.hint(),
});

impl CheckpointError {
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// By what a checkpoint shows that it is not this run's.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointMismatch {
    #[error("belongs to run `{found}`, not `{expected}`")]
    Name { found: String, expected: String },
    #[error("was made with other CLIP weights ({found}) than clip.checkpoint now holds ({expected})")]
    Clip { found: String, expected: String },
}

hints!(pub CheckpointMismatch {
    Self::Name { .. } => "give this run another directory",
    Self::Clip { .. } => "put the former file back, or start a new run under another run.name",
});
