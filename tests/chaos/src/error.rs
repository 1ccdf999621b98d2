//! What can go wrong with the harness itself, and with the runs it disturbs.

use std::io;
use std::path::PathBuf;

use crate::patience::Overdue;

#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    #[error("binary `{}` does not exist; hint: cargo build --release --workspace", path.display())]
    NoBinary { path: PathBuf },
    #[error("{what} `{}`", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("start `{}`", path.display())]
    Start { path: PathBuf, source: io::Error },
    #[error("{what} ended with {status}; its output ends with:\n{tail}")]
    Ended {
        what: String,
        status: String,
        tail: String,
    },
    #[error("streets cannot be drawn")]
    Streets(#[source] ulda_streets::StreetsError),
    #[error("the undisturbed run left no digest in `{}`", path.display())]
    NoDigest { path: PathBuf },
    #[error(transparent)]
    Overdue(#[from] Overdue),
    #[error("interrupted")]
    Interrupted,
    #[error("`{text}` is not a kind of fault; hint: {known}")]
    UnknownKind { text: String, known: String },
    #[error("`{text}` is not a site; hint: {known}")]
    UnknownSite { text: String, known: String },
    #[error("none of the wanted faults can be inflicted here; hint: some take root, see above")]
    NothingPossible,
    #[error("build a network of this process's own")]
    Network(#[source] io::Error),
    #[error("{what} did what it must not: {told}")]
    Broken { what: String, told: String },
    #[error("a connection to the desk for worker addresses broke")]
    Desk(#[source] io::Error),
}

impl ChaosError {
    pub(crate) fn io<'a>(
        what: &'static str,
        path: &'a std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}
