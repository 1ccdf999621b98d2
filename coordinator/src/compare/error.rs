//! Why runs cannot be compared.

use std::path::PathBuf;

use ulda_run::hints;
use ulda_run::with_causes;

use crate::journal::JournalError;
use crate::report::FinalManifestError;
use crate::run_directory::RunDirectoryError;

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    #[error(transparent)]
    Manifest(#[from] FinalManifestError),
    #[error("run `{}` cannot be compared: {}", run.display(), with_causes(cause))]
    Journal { run: PathBuf, cause: JournalError },
    #[error("run `{}` is {state}: {why}", run.display())]
    Unfinished {
        run: PathBuf,
        state: &'static str,
        why: String,
    },
    #[error("run `{}` has no scores of model `{model}`; it has {}", run.display(), list(known))]
    NoModel {
        run: PathBuf,
        model: &'static str,
        known: Vec<String>,
    },
    #[error("run `{}` is given twice for method `{label}`", run.display())]
    Twice { run: PathBuf, label: String },
    #[error("method `{label}` is to be scored by {first} and by {second}")]
    TwoModels {
        label: String,
        first: &'static str,
        second: &'static str,
    },
    #[error("--reference `{name}` is no method; there is {}", list(known))]
    UnknownReference { name: String, known: Vec<String> },
    #[error(
        "--sets `{name}` is no evaluation set of these runs; there is {}",
        list(known)
    )]
    UnknownSet { name: String, known: Vec<String> },
}

hints!(pub CompareError {
    Self::Journal { .. } => "restore its journal, or leave the run out",
    Self::Unfinished { .. } => "only finished runs are compared; leave it out until it is finished",
    Self::NoModel { .. } => "choose another with --model, or for these runs alone with LABEL:MODEL=RUN",
    Self::Twice { .. } => "name each run once",
    Self::TwoModels { .. } => "give runs that are scored by another model another label",
    Self::UnknownReference { .. } => "give the label of one",
    Self::UnknownSet { .. } => "give names of these, separated by commas",
    Self::Directory(error) => error.hint(),
    Self::Manifest(error) => error.hint(),
});

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
