//! Why a configuration cannot be had.

use std::io;
use std::path::PathBuf;

use ulda_files::FileRefusal;

use super::problem::{Origin, Problems};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("configuration `{}` does not exist", path.display())]
    Missing { path: PathBuf },
    #[error("configuration `{}` is a folder", path.display())]
    Folder { path: PathBuf },
    #[error("configuration `{}` is not text", path.display())]
    NotText { path: PathBuf },
    #[error("read configuration `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("configuration `{}` is not TOML\n{}", path.display(), reason.trim_end())]
    Syntax { path: PathBuf, reason: String },
    #[error("{by}: `extends` names a file that cannot be used")]
    Extended { by: Origin, source: Box<Self> },
    #[error("configurations extend each other in a circle: {}", list(files))]
    Circle { files: Vec<PathBuf> },
    #[error("configuration `{}` is one file too many: at most {most_deep} may extend each other in a row, and {most} in all", path.display())]
    TooManyFiles {
        path: PathBuf,
        most_deep: usize,
        most: usize,
    },
    #[error("{0}")]
    Keys(Problems),
    #[error("configuration cannot be read: {reason}")]
    Shape { reason: String },
}

impl LoadError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { path } => format!(
                "write one with `coordinator init {}`, or name it with --config",
                path.display()
            ),
            Self::Folder { .. } | Self::NotText { .. } => "name a run.toml with --config".into(),
            Self::Read { source, .. } if FileRefusal::of(source).is_some() => {
                "name a run.toml with --config".into()
            }
            Self::Syntax { .. } => "`coordinator init -` shows how one is written".into(),
            Self::Extended { source, .. } => match &**source {
                Self::Missing { .. } => "a path in `extends` is relative to the file that says it".into(),
                Self::Folder { .. } | Self::NotText { .. } | Self::Read { .. } => {
                    "name a file of TOML".into()
                }
                _ => return source.hint(),
            },
            Self::Circle { .. } => "remove one of these `extends`".into(),
            Self::TooManyFiles { .. } => "write some of them into one file".into(),
            Self::Shape { .. } => "compare it with the output of `coordinator init -`".into(),
            Self::Read { .. } | Self::Keys(_) => return None,
        })
    }
}

/// "`a.toml`, then `b.toml`".
fn list(files: &[PathBuf]) -> String {
    let shown: Vec<String> = files.iter().map(|file| format!("`{}`", file.display())).collect();
    shown.join(", then ")
}
